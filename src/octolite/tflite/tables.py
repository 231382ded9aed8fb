"""Tables of a FlatBuffer, read where they lie.

The generated accessors look a field's place up anew for each access; a table here reads its list of
places once, and vectors come as arrays, so that a large model's thousands of fields take
milliseconds. Source of the layout: "FlatBuffer Internals", flatbuffers.dev.

What leads outside the file raises ``struct.error``, ``ValueError`` or ``IndexError``.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from octolite.ir.mapped import Content as Content
from octolite.ir.types import Array

BOOL, INT8, UINT8, UINT16, INT32, UINT32, UINT64 = (struct.Struct(f"<{c}") for c in "?bBHiIQ")


class Table:
    """A table that starts at byte ``at``. Fields are known by their number in the schema."""

    __slots__ = ("at", "content", "places")

    def __init__(self, content: Content, at: int) -> None:
        self.content = content
        self.at = at
        listed = at - INT32.unpack_from(content, at)[0]
        if listed < 0:
            raise ValueError(f"the table at byte {at} lists its fields outside the file")
        (size,) = UINT16.unpack_from(content, listed)
        self.places = struct.unpack_from(f"<{size // 2 - 2}H", content, listed + 4)

    @classmethod
    def root(cls, content: Content) -> Table:
        return cls(content, UINT32.unpack_from(content, 0)[0])

    def _place(self, field: int) -> int:
        """Where a field lies; 0 where the table has none."""
        place = self.places[field] if field < len(self.places) else 0
        return self.at + place if place else 0

    def has(self, field: int) -> bool:
        """Whether the table has a field; it may still lead to nothing."""
        return self._place(field) != 0

    def number(self, field: int, kind: struct.Struct, default: int = 0) -> int:
        at = self._place(field)
        return kind.unpack_from(self.content, at)[0] if at else default

    def _target(self, field: int) -> int:
        """Where the offset in a field leads; 0 where the table has none."""
        at = self._place(field)
        return at + int(UINT32.unpack_from(self.content, at)[0]) if at else 0

    def table(self, field: int) -> Table | None:
        at = self._target(field)
        return Table(self.content, at) if at else None

    def vector(self, field: int, dtype: Any) -> Array | None:
        """The elements, as a view of the file."""
        at = self._target(field)
        if not at:
            return None
        (count,) = UINT32.unpack_from(self.content, at)
        if not count:
            return np.empty(0, dtype)
        return np.frombuffer(self.content, dtype, count, at + 4)

    def tables(self, field: int) -> list[Table]:
        offsets = self.vector(field, np.uint32)
        if offsets is None:
            return []
        first = self._target(field) + 4
        return [Table(self.content, first + 4 * i + o) for i, o in enumerate(offsets.tolist())]

    def text(self, field: int) -> str:
        raw = self.vector(field, np.uint8)
        return "" if raw is None else raw.tobytes().decode("utf-8", "replace")
