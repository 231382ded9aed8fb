"""CRC-32C of large data with NumPy: lanes of 32-bit words beside each other.

A cyclic redundancy check is linear: rows of words are congruent to one row once each row has been
carried past the next and added to it. Carrying a word past ``n`` others multiplies it by
``x^(32 n)`` modulo the polynomial, which two tables of 16 bits each do. So data shrinks to a row
of 16,384 words, then to shorter ones, and the last few words go through the tables one at a time.
Polynomial and bit order are those of RFC 3720, section 12.1.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from octolite.ir.types import Array

_POLYNOMIAL = 0x82F63B78
_LANES = (1 << 14, 1 << 10, 1 << 6)
_MASK_DELTA = 0xA282EAD8


def crc32c(data: bytes | memoryview, start: int = 0) -> int:
    """The checksum of ``data``, going on from ``start``, that of what comes before it."""
    view = memoryview(data).cast("B")
    whole = len(view) - len(view) % 4
    words: Array = np.frombuffer(view[:whole], "<u4")
    state = start ^ 0xFFFFFFFF
    for lanes in _LANES:
        if len(words) >= 4 * lanes:
            words, state = _fold(words, lanes, state), 0
    table = _byte_table()
    for part in (words.tobytes(), view[whole:]):
        for byte in part:
            state = table[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state ^ 0xFFFFFFFF


def unmask(stored: int) -> int:
    """The checksum behind the form in which LevelDB's tables and bundles store it."""
    rotated = (stored - _MASK_DELTA) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def mask(checksum: int) -> int:
    """The form in which a checksum is stored beside what it is of."""
    return ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & 0xFFFFFFFF


def _fold(words: Array, lanes: int, state: int) -> Array:
    """One row of ``lanes`` words that has the same remainder as ``words`` behind ``state``."""
    low, high = _carry(lanes)
    row = np.zeros(lanes, np.uint32)
    first = len(words) % lanes or lanes
    row[lanes - first :] = words[:first]
    row[lanes - first] ^= np.uint32(state)
    part = np.empty_like(row)
    for begin in range(first, len(words), lanes):
        np.take(low, row & 0xFFFF, out=part, mode="clip")
        np.take(high, row >> 16, out=row, mode="clip")
        row ^= part
        row ^= words[begin : begin + lanes]
    return row


@cache
def _carry(words: int) -> tuple[Array, Array]:
    """Tables of what 16 low and 16 high bits become ``words`` zero words later."""
    images = [_later(1 << bit, 32 * words) for bit in range(32)]
    return _spanned(images[:16]), _spanned(images[16:])


def _spanned(images: list[int]) -> Array:
    """All sums of ``images``, at the index whose bits say which are in it."""
    table = np.zeros(1, np.uint32)
    for image in images:
        table = np.concatenate([table, table ^ np.uint32(image)])
    return table


def _later(state: int, bits: int) -> int:
    """``state`` after so many zero bits: times x to their number, by repeated squaring."""
    power, factor = _UNIT, _UNIT >> 1  # 1 and x: the highest coefficient is the lowest bit
    while bits:
        if bits & 1:
            power = _product(power, factor)
        factor = _product(factor, factor)
        bits >>= 1
    return _product(state, power)


_UNIT = 1 << 31


def _product(a: int, b: int) -> int:
    """The product of two polynomials modulo that of the checksum."""
    result = 0
    for bit in range(31, -1, -1):
        if b >> bit & 1:
            result ^= a
        a = a >> 1 ^ (_POLYNOMIAL if a & 1 else 0)
    return result


@cache
def _byte_table() -> list[int]:
    """What each byte becomes 8 bits later."""
    return [int(word) for word in _spanned([_later(1 << bit, 8) for bit in range(8)])]
