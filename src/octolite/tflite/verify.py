"""A FlatBuffer looked over before anything in it is believed: what every offset leads to lies in
the file, where it may lie.

The walk follows the format's tables (:mod:`octolite.tflite.layout`), which never nest in
themselves. Tables and vectors may be shared. Lest a small file stand for endlessly many, all that
is met, as often as it is met, must not come to more than :data:`TIMES` the file. Numbers of 8 bytes
may lie at any multiple of 4, as they do where a tool attached metadata to a file.

Source: FlatBuffers' internals (the binary format's description).
"""

from __future__ import annotations

import struct
from typing import NamedTuple, NoReturn

from octolite.errors import FormatError
from octolite.tflite import layout
from octolite.tflite.layout import Field
from octolite.tflite.tables import Content

TIMES = 16
"""How often the tables and vectors of a file may be met, on the average of its bytes."""

_UINT8 = struct.Struct("<B").unpack_from
_UINT16 = struct.Struct("<HH").unpack_from
_UINT32 = struct.Struct("<I").unpack_from
_INT32 = struct.Struct("<i").unpack_from


class Path(NamedTuple):
    """Where a table was found; written out only when something is wrong."""

    above: Path | None
    name: str
    item: int = -1

    def __str__(self) -> str:
        here = self.name if self.item < 0 else f"{self.name}[{self.item}]"
        return here if self.above is None else f"{self.above}.{here}"


class _Shape(NamedTuple):
    """What a list of fields (vtable) says of tables that share it."""

    size: int
    offsets: tuple[tuple[Field, int, int], ...]
    """Fields that lead elsewhere, their place in the table, and that of the field in front."""


def verify(content: Content) -> None:
    """Check every table, vector and string that can be reached from the root.

    Raises :class:`FormatError` naming the path to what is wrong, and where it lies.
    """
    _Verifier(content).run()


class _Verifier:
    def __init__(self, content: Content) -> None:
        self.content = content
        self.size = len(content)
        self.left = TIMES * self.size
        self.shapes: dict[tuple[int, str], _Shape] = {}

    def run(self) -> None:
        path = Path(None, "Model")
        if self.size < 8:
            self.fail(path, f"the file has {self.size} bytes, fewer than any model")
        self.table("Model", self.target(0, path), path)

    def fail(self, path: Path, problem: str) -> NoReturn:
        raise FormatError(f"the TFLite file is damaged: {path}: {problem} ({self.size:,} bytes)")

    # -- places -------------------------------------------------------------------------------

    def target(self, at: int, path: Path) -> int:
        """Where the offset at byte ``at`` leads."""
        (offset,) = _UINT32(self.content, at)
        target = at + int(offset)
        if offset == 0 or target + 4 > self.size:
            self.fail(path, f"the offset {offset} at byte {at} leads outside the file")
        if target % 4:
            self.fail(path, f"the offset {offset} at byte {at} leads to no multiple of 4")
        return target

    def vector(self, at: int, element: int, path: Path) -> int:
        """How many elements a vector at byte ``at`` has, all of them in the file."""
        (count,) = _UINT32(self.content, at)
        length = int(count)
        if at + 4 + length * element > self.size:
            self.fail(
                path, f"{length:,} elements of {element} bytes from byte {at + 4} end outside"
            )
        return length

    def spend(self, size: int, path: Path) -> None:
        self.left -= size
        if self.left < 0:
            self.fail(path, f"shared tables and vectors come to more than {TIMES} times the file")

    # -- tables -------------------------------------------------------------------------------

    def table(self, name: str, at: int, path: Path) -> None:
        listed = at - int(_INT32(self.content, at)[0])
        shape = self.shapes.get((listed, name)) or self.shape(name, listed, path)
        if at + shape.size > self.size:
            self.fail(path, f"a table of {shape.size} bytes at byte {at} ends outside the file")
        self.spend(shape.size, path)
        for field, place, front in shape.offsets:
            inner = Path(path, field.name)
            target = self.target(at + place, inner)
            if field.kind == "union":
                kind = int(_UINT8(self.content, at + front)[0]) if front else 0
                self.union(field, kind, target, inner)
            else:
                self.follow(field, target, inner)

    def shape(self, name: str, listed: int, path: Path) -> _Shape:
        """Check a list of fields, once for all tables of a kind that share it."""
        if listed % 2 or not 0 <= listed <= self.size - 4:
            self.fail(path, f"its fields are listed at byte {listed}, where they cannot be")
        length, size = _UINT16(self.content, listed)
        if length < 4 or length % 2 or listed + length > self.size or size < 4:
            self.fail(path, f"the list of fields at byte {listed} claims {length} bytes for {size}")
        places = struct.unpack_from(f"<{length // 2 - 2}H", self.content, listed + 4)
        fields = layout.fields_of(name)
        present = [
            (f, p, front) for f, p, front in zip(fields, places, (0, *places), strict=False) if p
        ]
        for field, place, _ in present:
            width = field.width
            if place < 4 or place + width > size or place % (min(width, 4) or 1):
                self.fail(
                    Path(path, field.name),
                    f"the list of fields at byte {listed} puts {width} bytes at {place} of {size}",
                )
        shape = _Shape(size, tuple(entry for entry in present if entry[0].kind != "number"))
        self.shapes[listed, name] = shape
        return shape

    def follow(self, field: Field, target: int, path: Path) -> None:
        """Check what a field leads to."""
        match field.kind:
            case "table":
                self.table(field.of, target, path)
            case "tables":
                count = self.vector(target, 4, path)
                self.spend(4 + 4 * count, path)
                for index in range(count):
                    inner = Path(path.above, path.name, index)
                    self.table(field.of, self.target(target + 4 + 4 * index, inner), inner)
            case "string":
                length = self.vector(target, 1, path)
                self.spend(5 + length, path)
                end = target + 4 + length
                if end >= self.size or self.content[end] != 0:
                    self.fail(path, f"a string of {length:,} bytes at byte {target} has no end")
            case "bytes":
                self.vector(target, 1, path)
                self.spend(4, path)
            case _:
                self.spend(4 + field.size * self.vector(target, field.size, path), path)

    def union(self, field: Field, kind: int, target: int, path: Path) -> None:
        """A table of the type numbered ``kind``; nobody reads one whose type is not known."""
        name = layout.members(field.of).get(kind)
        if name is not None:
            self.table(name, target, path)
