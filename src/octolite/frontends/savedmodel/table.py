"""LevelDB's table format: sorted keys and values, as a checkpoint's ``.index`` file holds them.

A file is a row of blocks and, at its end, a footer that says where the index block lies; the index
block's values say where the others lie. In a block, keys share beginnings with their predecessors.
Facts: LevelDB's ``doc/table_format.md``, Snappy's ``format_description.txt``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from octolite.errors import FormatError
from octolite.frontends.savedmodel.crc import crc32c, unmask

MAGIC = 0xDB4775248B80FB57
_FOOTER, _TRAILER = 48, 5
_PLAIN, _SNAPPY = 0, 1
_BLOCK_LIMIT = 1 << 26
"""Bytes that a compressed block may hold."""
_KEYS_LIMIT = 1 << 28
"""Bytes that all keys of a table may have."""


def is_table(data: bytes) -> bool:
    """Whether ``data`` ends as a table does."""
    return len(data) >= _FOOTER and data[-8:] == MAGIC.to_bytes(8, "little")


def read_table(data: bytes) -> dict[bytes, bytes]:
    """All keys and values of a table. Raises :class:`FormatError`."""
    if not is_table(data):
        raise FormatError("it does not end as a table does: it is cut off or something else")
    footer = data[-_FOOTER:]
    _, at = _handle(footer, 0)  # of the block of metadata, which is empty
    (offset, size), _ = _handle(footer, at)
    entries: dict[bytes, bytes] = {}
    last, end, spent = b"", 0, 0
    for _, handle in _entries(_block(data, offset, size)):
        (offset, size), _ = _handle(handle, 0)
        if offset < end:
            raise FormatError(f"its block at {offset} overlaps the one before")
        end = offset + size
        for key, value in _entries(_block(data, offset, size)):
            if key <= last and entries:
                raise FormatError(f"its keys are out of order at {_text(key)}")
            spent += len(key)
            if spent > _KEYS_LIMIT:
                raise FormatError(f"its keys have more than {_KEYS_LIMIT >> 20} MiB")
            last = key
            entries[key] = value
    return entries


def _block(data: bytes, offset: int, size: int) -> bytes:
    """The contents of the block at ``offset``, its checksum checked."""
    end = offset + size
    if end + _TRAILER > len(data) - _FOOTER:
        raise FormatError(f"its block at {offset} of {size} bytes reaches beyond the end")
    kind, checksum = data[end], int.from_bytes(data[end + 1 : end + _TRAILER], "little")
    if crc32c(memoryview(data)[offset : end + 1]) != unmask(checksum):
        raise FormatError(f"its block at {offset} does not have its checksum: it is damaged")
    contents = data[offset:end]
    if kind == _SNAPPY:
        return decompress(contents)
    if kind != _PLAIN:
        raise FormatError(f"its block at {offset} is compressed in a way of number {kind}")
    return contents


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block, in order."""
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if len(block) < 4 or end < 0:
        raise FormatError(f"a block of {len(block)} bytes claims {restarts} restarts")
    at, key = 0, b""
    while at < end:
        shared, at = varint(block, at)
        fresh, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or at + fresh + length > end:
            raise FormatError(f"a block's entry behind key {_text(key)} reaches beyond its block")
        key = key[:shared] + block[at : at + fresh]
        at += fresh + length
        yield key, block[at - length : at]


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Where a block lies, ``(offset, size)``, and where the next number begins."""
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return (offset, size), at


def varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """A number of 7 bits to a byte, low ones first, and where the next begins."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise FormatError(f"a number at byte {at} breaks off")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _text(key: bytes) -> str:
    return repr(key[:60].decode(errors="replace"))


# -- Snappy -------------------------------------------------------------------------------------


def decompress(data: bytes) -> bytes:
    """Snappy's raw format: literals and copies of what has been written. Raises `FormatError`."""
    length, at = varint(data, 0)
    if length > _BLOCK_LIMIT:
        raise FormatError(f"a compressed block claims {length:,} bytes")
    out = bytearray()
    while at < len(data) and len(out) <= length:
        tag = data[at]
        count, offset, at = _element(data, at + 1, tag)
        if tag & 3 == 0:
            out += data[at : at + count]
            at += count
        elif not 0 < offset <= len(out):
            raise FormatError("a compressed block copies from before its beginning")
        else:
            piece = out[len(out) - offset : len(out) - offset + count]
            out += (piece * -(-count // len(piece)))[:count]
    if len(out) != length or at != len(data):
        raise FormatError(f"a compressed block holds {len(out)} bytes and claims {length}")
    return bytes(out)


def _element(data: bytes, at: int, tag: int) -> tuple[int, int, int]:
    """How much a literal or a copy gives, how far back that lies, and where the data go on."""
    try:
        match tag & 3:
            case 0:
                extra = max(0, (tag >> 2) - 59)
                number = int.from_bytes(data[at : at + extra], "little") if extra else tag >> 2
                return number + 1, 0, at + extra
            case 1:
                return 4 + (tag >> 2 & 7), (tag >> 5) << 8 | data[at], at + 1
            case 2:
                return 1 + (tag >> 2), struct.unpack_from("<H", data, at)[0], at + 2
            case _:
                return 1 + (tag >> 2), struct.unpack_from("<I", data, at)[0], at + 4
    except (IndexError, struct.error):
        raise FormatError("a compressed block breaks off") from None
