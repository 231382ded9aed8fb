"""A checkpoint's tensors: the index of a TensorBundle, and its data, which stay on disk.

Each tensor has an entry that says in which shard it lies, where, and its checksum. Of a tensor in
slices (a partitioned variable) the entry lists the slices, each of which has an entry of its own
under a key that is made from name and extents. Facts: TensorFlow's ``tensor_bundle.proto`` and
``tensor_bundle.h``, ``ordered_code.h`` for the keys.
"""

from __future__ import annotations

import glob
import math
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from octolite.errors import FormatError, InvalidGraphError, UnsupportedError, did_you_mean
from octolite.frontends.graphdef.tensors import LIMIT, TfType, shape_of, tf_type
from octolite.frontends.savedmodel import proto
from octolite.frontends.savedmodel.crc import crc32c, mask, unmask
from octolite.frontends.savedmodel.table import is_table, read_table, varint
from octolite.ir.types import Array

Span = tuple[int, int]
"""Where a slice begins along an axis, and how long it is there; a length of -1 is all of it."""

_HEADER = b""


@dataclass
class Bundle:
    """The checkpoint ``prefix.index`` and ``prefix.data-…``.

    Raises :class:`FormatError` for what is damaged or missing, naming the file and the tensor.
    """

    prefix: Path
    entries: dict[bytes, bytes]
    shards: int
    _files: dict[int, memoryview] = field(default_factory=dict)
    _arrays: dict[tuple[str, str], Array] = field(default_factory=dict)

    @classmethod
    def open(cls, prefix: Path) -> Bundle:
        """Read the index of the checkpoint whose files' names begin with ``prefix``."""
        path = index_of(prefix)
        try:
            entries = read_table(path.read_bytes())
            header = _parse(proto.BundleHeaderProto, entries.pop(_HEADER, b""))
        except OSError as error:
            if old := _version_1(prefix):
                raise FormatError(
                    f"{str(old)!r} is a checkpoint of version 1; restore it with TensorFlow and "
                    "save it with tf.train.Saver(write_version=tf.train.SaverDef.V2)"
                ) from None
            raise FormatError(f"{str(path)!r} cannot be read: {error.strerror}") from None
        except FormatError as error:
            raise FormatError(f"the index {str(path)!r} cannot be read: {error}") from None
        if header.endianness:
            raise UnsupportedError(f"{str(path)!r} was written on a big-endian machine")
        if not 0 < header.num_shards < 100_000:
            raise FormatError(f"the index {str(path)!r} speaks of {header.num_shards} data files")
        return cls(prefix, entries, header.num_shards)

    def names(self) -> list[str]:
        """The names of all tensors."""
        return [k.decode(errors="replace") for k in self.entries if not k.startswith(b"\0")]

    def tensor(self, name: str, part: str = "") -> Array:
        """A tensor, or the part of it that a text such as ``"8 4 0,4:-"`` says.

        That text has the extents of the whole, then begin and length, or ``-``, for each axis. The
        array is a view of the file where its type is one that TFLite has.
        """
        if (name, part) not in self._arrays:
            self._arrays[name, part] = self._tensor(name, part)
        return self._arrays[name, part]

    def _tensor(self, name: str, part: str) -> Array:
        entry, row = self._entry(name.encode(), name)
        extents = self._extents(entry, name)
        wanted = _spans(part, extents) if part else [(0, d) for d in extents]
        if wanted is None:
            raise InvalidGraphError(
                f"tensor {name!r} of {str(self.prefix)!r} has shape {list(extents)}, of which "
                f"{part!r} is asked"
            )
        if entry.slices:
            found = self._joined(name, entry, row, extents, wanted)
        else:
            whole = self._data(entry, row, extents, name)
            found = whole[tuple(slice(b, b + n) for b, n in wanted)]
        return np.asarray(found, row.dtype.numpy)

    def _entry(self, key: bytes, name: str) -> tuple[Any, TfType]:
        if key not in self.entries:
            hint = did_you_mean(name, self.names())
            raise FormatError(f"the checkpoint {str(self.prefix)!r} has no tensor {name!r}. {hint}")
        entry = _parse(proto.BundleEntryProto, self.entries[key])
        try:
            return entry, tf_type(entry.dtype)
        except UnsupportedError as error:
            raise UnsupportedError(f"tensor {name!r} of {str(self.prefix)!r}: {error}") from None

    def _extents(self, entry: Any, name: str) -> tuple[int, ...]:
        shape = shape_of(entry.shape)
        if shape is None or None in shape:
            raise self._damaged(name, f"its shape is {shape}")
        return tuple(d for d in shape if d is not None)

    def _damaged(self, name: str, what: str) -> FormatError:
        return FormatError(f"tensor {name!r} of checkpoint {str(self.prefix)!r} is damaged: {what}")

    # -- a tensor in one piece -------------------------------------------------------------------

    def _data(self, entry: Any, row: TfType, extents: Sequence[int], name: str) -> Array:
        """The elements that ``entry`` leads to, in the type in which they are stored."""
        stored, count = np.dtype(row.stored), math.prod(extents)
        if count * max(stored.itemsize, row.dtype.numpy.itemsize) > LIMIT:
            raise self._damaged(name, f"shape {list(extents)} is larger than a .tflite file can be")
        raw = self._bytes(entry, name)
        if stored.kind == "O":
            return self._strings(raw, count, entry.crc32c, name).reshape(extents)
        if len(raw) != count * stored.itemsize:
            raise self._damaged(
                name, f"{len(raw)} bytes are no {stored} elements of shape {list(extents)}"
            )
        if crc32c(raw) != unmask(entry.crc32c):
            raise self._damaged(name, "its bytes do not have their checksum")
        if stored.kind == "b":
            return np.asarray(np.frombuffer(raw, np.uint8) != 0).reshape(extents)
        flat = np.frombuffer(raw, stored)
        return (flat if flat.flags.aligned else flat.copy()).reshape(extents)

    def _bytes(self, entry: Any, name: str) -> memoryview:
        if not 0 <= entry.shard_id < self.shards:
            raise self._damaged(name, f"it lies in data file {entry.shard_id} of {self.shards}")
        file = self._file(entry.shard_id)
        if entry.offset < 0 or entry.size < 0 or entry.offset + entry.size > len(file):
            raise self._damaged(
                name,
                f"bytes {entry.offset} to {entry.offset + entry.size} of a data file that has "
                f"{len(file)}",
            )
        return file[entry.offset : entry.offset + entry.size]

    def _file(self, shard: int) -> memoryview:
        """A data file, mapped."""
        if shard not in self._files:
            path = f"{self.prefix}.data-{shard:05d}-of-{self.shards:05d}"
            try:
                with open(path, "rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
            except OSError as error:
                raise FormatError(
                    f"the data file {path!r} cannot be read: {error.strerror}"
                ) from None
            self._files[shard] = memoryview(mapped)
        return self._files[shard]

    def _strings(self, raw: memoryview, count: int, checksum: int, name: str) -> Array:
        """Lengths, the checksum of these, then the characters."""
        if count > len(raw):  # each has a length of at least a byte
            raise self._damaged(name, f"{len(raw)} bytes are no {count} strings")
        lengths, at = [], 0
        try:
            for _ in range(count):
                length, at = varint(raw, at)
                lengths.append(length)
        except FormatError as error:
            raise self._damaged(name, f"it holds no {count} strings: {error}") from None
        begin = at + 4
        if begin + sum(lengths) != len(raw):
            raise self._damaged(name, f"{len(raw)} bytes are not strings of {sum(lengths)} in all")
        wide = b"".join(n.to_bytes(4 if n < 1 << 32 else 8, "little") for n in lengths)
        crc = crc32c(wide)
        if raw[at:begin] != mask(crc).to_bytes(4, "little"):
            raise self._damaged(name, "the lengths of its strings do not have their checksum")
        if crc32c(raw[at:], crc) != unmask(checksum):
            raise self._damaged(name, "its bytes do not have their checksum")
        values = np.empty(count, np.object_)
        for i, length in enumerate(lengths):
            values[i] = bytes(raw[begin : begin + length])
            begin += length
        return values

    # -- a tensor in slices ----------------------------------------------------------------------

    def _joined(
        self, name: str, entry: Any, row: TfType, extents: Sequence[int], wanted: Sequence[Span]
    ) -> Array:
        """What lies in ``wanted``, from all slices that have some of it."""
        saved = [self._slice(name, s, extents) for s in entry.slices]
        pieces = [(spans, c) for spans in saved if (c := _overlap(spans, wanted)) is not None]
        size = math.prod(n for _, n in wanted)
        if sum(math.prod(n for _, n in common) for _, common in pieces) != size:
            raise self._damaged(name, f"its slices are not all of shape {list(extents)}")
        arrays = [self._piece(name, row, extents, spans) for spans, _ in pieces]
        if len(pieces) == 1 and list(pieces[0][0]) == list(wanted):
            return arrays[0]
        whole: Array = np.empty([n for _, n in wanted], row.stored)
        for (spans, common), array in zip(pieces, arrays, strict=True):
            whole[_inside(common, wanted)] = array[_inside(common, spans)]
        return whole

    def _slice(self, name: str, message: Any, extents: Sequence[int]) -> list[Span]:
        """A slice's spans as the file has them; all of an axis is (0, -1)."""
        spans = [(e.start, e.length if e.HasField("length") else -1) for e in message.extent]
        full = [(b, d if n == -1 else n) for (b, n), d in zip(spans, extents, strict=False)]
        if len(spans) != len(extents) or not _within(full, extents):
            raise self._damaged(name, f"it has a slice {spans} of shape {list(extents)}")
        return full

    def _piece(
        self, name: str, row: TfType, extents: Sequence[int], spans: Sequence[Span]
    ) -> Array:
        """One slice's elements."""
        coded = [
            (0, -1) if span == (0, d) else span for span, d in zip(spans, extents, strict=True)
        ]
        # A slice that is all of an axis is written so, or with its length.
        keys = (slice_key(name, coded), slice_key(name, spans))
        key = next((k for k in keys if k in self.entries), None)
        if key is None:
            raise self._damaged(name, f"its slice {list(spans)} is missing")
        entry, its = self._entry(key, name)
        if its is not row or self._extents(entry, name) != tuple(n for _, n in spans):
            raise self._damaged(name, f"its slice {list(spans)} is of another type or shape")
        return self._data(entry, row, [n for _, n in spans], name)


def index_of(prefix: Path) -> Path:
    """The index file of the checkpoint whose files begin with ``prefix``."""
    return prefix.with_name(prefix.name + ".index")


def _version_1(prefix: Path) -> Path | None:
    """The file of a checkpoint in the format before this one, if there is one."""
    for path in (prefix, *prefix.parent.glob(f"{glob.escape(prefix.name)}-?????-of-?????")):
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - 64))
                if is_table(file.read(64)):
                    return path
        except OSError:
            continue
    return None


def _parse(message: Any, data: bytes) -> Any:
    try:
        return message.FromString(data)
    except DecodeError as error:
        raise FormatError(f"an entry is no {message.DESCRIPTOR.name} ({error})") from None


# -- extents and keys of slices --------------------------------------------------------------------


def _spans(text: str, extents: Sequence[int]) -> list[Span] | None:
    """The spans that a part's text says, or ``None`` where it does not fit ``extents``."""
    *shape, part = text.split() or [""]
    pieces = part.split(":") if extents else []
    try:
        if [int(d) for d in shape] != list(extents) or len(pieces) != len(extents):
            return None
        spans = [_span(piece, d) for piece, d in zip(pieces, extents, strict=True)]
    except ValueError:
        return None
    return spans if _within(spans, extents) else None


def _span(text: str, extent: int) -> Span:
    if text == "-":
        return 0, extent
    begin, _, length = text.partition(",")
    return int(begin), int(length)


def _within(spans: Sequence[Span], extents: Sequence[int]) -> bool:
    return all(b >= 0 and n >= 0 and b + n <= d for (b, n), d in zip(spans, extents, strict=True))


def _overlap(a: Sequence[Span], b: Sequence[Span]) -> list[Span] | None:
    """What two slices have in common."""
    common = []
    for (p, n), (q, m) in zip(a, b, strict=True):
        begin, end = max(p, q), min(p + n, q + m)
        if end <= begin:
            return None
        common.append((begin, end - begin))
    return common


def _inside(spans: Sequence[Span], whole: Sequence[Span]) -> tuple[slice, ...]:
    """``spans`` as an index into an array that is the slice ``whole``."""
    pairs = zip(spans, whole, strict=True)
    return tuple(slice(b - start, b - start + n) for (b, n), (start, _) in pairs)


def slice_key(name: str, spans: Sequence[Span]) -> bytes:
    """The key of a slice's entry: 0, name, rank, spans, each so that keys sort as these do."""
    escaped = name.encode().replace(b"\0", b"\0\xff")
    numbers = b"".join(_signed(n) for span in spans for n in span)
    return _unsigned(0) + escaped + b"\0\1" + _unsigned(len(spans)) + numbers


def _unsigned(number: int) -> bytes:
    size = (number.bit_length() + 7) // 8
    return bytes([size]) + number.to_bytes(size, "big")


def _signed(number: int) -> bytes:
    """As many leading ones as there are bytes, then the number; all inverted below zero."""
    magnitude = ~number if number < 0 else number
    size = magnitude.bit_length() // 7 + 1
    header = ((1 << size) - 1) << (8 * size - size)
    return ((number & ((1 << 8 * size) - 1)) ^ header).to_bytes(size, "big")
