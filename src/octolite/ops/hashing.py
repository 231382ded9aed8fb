"""Text and items as features: n-grams that leave words out, and projections by hashes.

Source of the hash: FarmHash's 64-bit fingerprint (Pike and Alakuijala, 2014).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any

import numpy as np

from octolite.errors import RuntimeModelError, ShapeError
from octolite.ir.types import FLOAT32, INT32, STRING, Array, Operand, TensorType
from octolite.ops.base import ANYTHING, Operator, attr
from octolite.ops.case import case, const, f32, given, ints, weights
from octolite.ops.cells import expect, extent
from octolite.ops.shapes import length, product, rank_of

MOST_WORDS = 100
"""Words of an n-gram."""

MOST_BYTES = 2**28
"""Bytes that the n-grams of one sentence may take."""


class SkipGram(Operator):
    """Every ``ngram_size`` words of a sentence, in its order, with at most ``max_skip_size`` left
    out between two; with ``include_all_ngrams`` also fewer words."""

    kinds = ANYTHING
    name = "SKIP_GRAM"
    options = "SkipGramOptions"
    inputs = "sentence"
    ngram_size: int = attr(0)
    max_skip_size: int = attr(0)
    include_all_ngrams: bool = attr(False)

    def infer(self, sentence: Operand) -> Sequence[TensorType]:
        if sentence.dtype is not STRING or length(sentence) not in (None, 1):
            raise ShapeError(
                f"{self.name} takes one string, and {sentence.name!r} is {sentence.dtype} of shape "
                f"{sentence.shape}"
            )
        if self.ngram_size < 1 or self.max_skip_size < 0:
            raise ShapeError(
                f"{self.name}: {self.ngram_size} words with {self.max_skip_size} left out; "
                "expected at least 1 and 0"
            )
        if self.ngram_size > MOST_WORDS:
            raise ShapeError(f"{self.name}: {self.ngram_size} words, more than {MOST_WORDS}")
        if sentence.data is None:
            return [TensorType(STRING, (None,))]
        return [TensorType(STRING, (self._count(self._words(sentence.data)),))]

    def _words(self, sentence: Array) -> list[bytes]:
        if sentence.size != 1:
            raise ShapeError(f"{self.name} takes one string, not {sentence.size}")
        (text,) = sentence.reshape(-1).tolist()
        return _words(text if isinstance(text, bytes) else str(text).encode())

    def _count(self, words: list[bytes]) -> int:
        """How many n-grams there are. Raises :class:`RuntimeModelError` for more than anybody
        wants, before any is made."""
        if len(words) < self.ngram_size:
            return 0
        starting = np.ones(len(words))  # n-grams of a size that begin with each word
        counts = [float(len(words))]
        for _ in range(1, self.ngram_size):
            sums = np.append(np.cumsum(starting[::-1])[::-1], 0.0)
            ends = np.minimum(np.arange(len(words)) + self.max_skip_size + 2, len(words))
            starting = sums[1:] - sums[ends]
            counts.append(float(starting.sum()))
        if not self.include_all_ngrams:
            counts = [0.0] * (self.ngram_size - 1) + counts[-1:]
        size = (max(map(len, words)) + 64) * sum((i + 1) * n for i, n in enumerate(counts))
        if not size <= MOST_BYTES:
            raise RuntimeModelError(
                f"{self.name}: {len(words)} words give {sum(counts):,.0f} n-grams, of more than "
                f"{MOST_BYTES:,} bytes"
            )
        return int(sum(counts))

    def reference(self, sentence: Array) -> Array:
        words = self._words(sentence)
        found = np.empty(self._count(words), object)
        if found.size:
            starts = range(len(words))
            found[:] = [b" ".join(g) for first in starts for g in self._grams(words, [first])]
        return found

    def _grams(self, words: list[bytes], chosen: list[int]) -> Iterator[list[bytes]]:
        """The n-grams that begin with the words ``chosen``, longer ones first."""
        if len(chosen) < self.ngram_size:
            last = chosen[-1]
            for following in range(last + 1, min(last + self.max_skip_size + 2, len(words))):
                yield from self._grams(words, [*chosen, following])
        if self.include_all_ngrams or len(chosen) == self.ngram_size:
            yield [words[i] for i in chosen]

    cases = (
        case(given([b"the quick brown fox jumps"], STRING), ngram_size=2, max_skip_size=1),
        case(
            given([b"the quick  brown\tfox jumps over "], STRING),
            ngram_size=3,
            max_skip_size=2,
            include_all_ngrams=True,
        ),
        case(given([b" a b c"], STRING), ngram_size=1, max_skip_size=0, include_all_ngrams=True),
        case(const(np.array([b"x y z"], object)), ngram_size=3, max_skip_size=0),
    )


def _words(text: bytes) -> list[bytes]:
    """What lies between blanks. A blank in front takes the first word with it, as in LiteRT."""
    pieces, start = [], 0
    for at in range(1, len(text)):
        if text[at : at + 1].isspace():
            if at > start and not text[start : start + 1].isspace():
                pieces.append(text[start:at])
            start = at + 1
    return [*pieces, text[start:]] if len(text) > start else pieces


class Projection(IntEnum):
    """How the bits come out: each by itself, or those of a function as one number."""

    UNKNOWN = 0
    SPARSE = 1
    DENSE = 2


class LshProjection(Operator):
    """Bits that are alike for inputs of alike items (locality-sensitive hashing).

    ``hash`` [functions, bits] holds the seeds. A bit is the sign of the sum over the items of
    ``input`` [items, …] of the hash of seed and item, each times its ``weight`` [items]. DENSE
    gives int32 [functions · bits], SPARSE a number for each function, in its own range.
    """

    kinds = ANYTHING
    name = "LSH_PROJECTION"
    options = "LSHProjectionOptions"
    inputs = "hash input weight?"
    type: Projection = attr(Projection.UNKNOWN)

    def infer(
        self, seeds: Operand, x: Operand, weight: Operand | None = None
    ) -> Sequence[TensorType]:
        shape = rank_of(seeds, "hash", 2)
        if seeds.dtype is not FLOAT32 or (shape is not None and (shape[1] or 0) > 32):
            raise ShapeError(
                f"{self.name}: the seeds {seeds.name!r} are {seeds.dtype} {shape}, expected "
                "float32 of up to 32 bits for each function"
            )
        if x.dtype.kind in "so" or x.shape == ():
            raise ShapeError(
                f"{self.name} takes rows of numbers, and {x.name!r} is {x.dtype} {x.shape}"
            )
        if weight is not None and weight.dtype is not FLOAT32:
            raise ShapeError(f"{self.name}: the weights {weight.name!r} are {weight.dtype}")
        expect(weight, "weights", extent(x, 0))
        if self.type is Projection.UNKNOWN:
            raise ShapeError(f"{self.name} does not say whether it is sparse or dense")
        count = None if shape is None else shape[0]
        if shape is not None and self.type is Projection.DENSE:
            count = product(shape)
        return [TensorType(INT32, (count,))]

    def reference(self, seeds: Array, x: Array, weight: Array | None = None) -> Array:
        items = np.ascontiguousarray(x).reshape(len(x), -1).view(np.uint8) if x.size else None
        bits = np.array([self._bit(seed, items, weight) for seed in seeds.reshape(-1)], np.int32)
        if self.type is Projection.DENSE:
            return bits
        functions, width = seeds.shape
        numbers = bits.reshape(functions, width).astype(np.int64) @ (1 << np.arange(width)[::-1])
        return np.asarray(numbers + np.arange(functions) * (1 << width), np.int32)

    @staticmethod
    def _bit(seed: np.float32, items: Array | None, weight: Array | None) -> bool:
        if items is None:
            return False
        front = np.frombuffer(np.float32(seed).tobytes(), np.uint8)
        keys = np.hstack([np.broadcast_to(front, (len(items), 4)), items])
        values = fingerprints(keys).view(np.int64).astype(np.float64)
        if weight is not None:
            values *= weight.astype(np.float64)
        return bool(np.cumsum(values)[-1] > 0)  # one after the other, as a sum in a loop

    cases = (
        case(f32(3, 4), ints(5, low=-999, high=999), None, type=Projection.DENSE),
        case(weights(2, 5), ints(6, low=-999, high=999), f32(6), type=Projection.SPARSE),
        *(
            case(weights(2, 8), f32(3, width), f32(3), type=Projection.DENSE)
            for width in (2, 3, 6, 10, 15, 16, 31, 40)
        ),
    )


_K0, _K1, _K2 = (np.uint64(k) for k in (0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F))


def _turn(x: Array, bits: int) -> Array:
    return np.asarray(x >> np.uint64(bits) | x << np.uint64(64 - bits))


def _fold(x: Array) -> Array:
    return np.asarray(x ^ x >> np.uint64(47))


def _mix(u: Array, v: Array, factor: Any) -> Array:
    a = _fold((u ^ v) * factor)
    return np.asarray(_fold((v ^ a) * factor) * factor)


def fingerprints(keys: Array) -> Array:
    """FarmHash's 64-bit fingerprint of each row of uint8 [n, length], as uint64 [n]."""
    size = keys.shape[1]
    with np.errstate(over="ignore"):
        for limit, function in ((16, _short), (32, _medium), (64, _long)):
            if size <= limit:
                return function(_Keys(keys), _K2 + np.uint64(2 * size))
        return _longer(_Keys(keys))


class _Keys:
    """Little-endian numbers at bytes of each key; negative places count from the end."""

    def __init__(self, keys: Array) -> None:
        self.keys = keys
        self.size = keys.shape[1]

    def at(self, place: int, size: int = 8) -> Array:
        start = place + self.size if place < 0 else place
        part = np.ascontiguousarray(self.keys[:, start : start + size])
        return part.view(f"<u{size}").reshape(-1).astype(np.uint64)


def _short(s: _Keys, factor: np.uint64) -> Array:
    size = np.uint64(s.size)
    if s.size >= 8:
        a, b = s.at(0) + _K2, s.at(-8)
        return _mix(_turn(b, 37) * factor + a, (_turn(a, 25) + b) * factor, factor)
    if s.size >= 4:
        return _mix(size + (s.at(0, 4) << np.uint64(3)), s.at(-4, 4), factor)
    if not s.size:
        return np.full(len(s.keys), _K2)
    y = s.at(0, 1) + (s.at(s.size >> 1, 1) << np.uint64(8))
    z = size + (s.at(-1, 1) << np.uint64(2))
    return _fold(y * _K2 ^ z * _K0) * _K2


def _medium(s: _Keys, factor: np.uint64) -> Array:
    a, b, c, d = s.at(0) * _K1, s.at(8), s.at(-8) * factor, s.at(-16) * _K2
    return _mix(_turn(a + b, 43) + _turn(c, 30) + d, a + _turn(b + _K2, 18) + c, factor)


def _long(s: _Keys, factor: np.uint64) -> Array:
    a, b, c, d = s.at(0) * _K2, s.at(8), s.at(-8) * factor, s.at(-16) * _K2
    y = _turn(a + b, 43) + _turn(c, 30) + d
    z = _mix(y, a + _turn(b + _K2, 18) + c, factor)
    e, f = s.at(16) * factor, s.at(24)
    g, h = (y + s.at(-32)) * factor, (z + s.at(-24)) * factor
    return _mix(_turn(e + f, 43) + _turn(g, 30) + h, e + _turn(f + a, 18) + g, factor)


def _longer(s: _Keys) -> Array:
    """64 bytes at a time, and the last 64 once more."""
    n, zero = len(s.keys), np.zeros(len(s.keys), np.uint64)
    seed = np.uint64(81)
    x, y = np.full(n, seed * _K2), np.full(n, seed * _K1 + np.uint64(113))
    z = _fold(y * _K2 + np.uint64(113)) * _K2
    x = x + s.at(0)
    v, w = (zero, zero), (zero, zero)
    for at in range(0, (s.size - 1) // 64 * 64, 64):
        x = _turn(x + y + v[0] + s.at(at + 8), 37) * _K1
        y = _turn(y + v[1] + s.at(at + 48), 42) * _K1
        x ^= w[1]
        y += v[0] + s.at(at + 40)
        z = _turn(z + w[0], 33) * _K1
        v = _weak(s, at, v[1] * _K1, x + w[0])
        w = _weak(s, at + 32, z + w[1], y + s.at(at + 16))
        z, x = x, z
    factor, nine = _K1 + ((z & np.uint64(0xFF)) << np.uint64(1)), np.uint64(9)
    at, rest = s.size - 64, np.uint64((s.size - 1) & 63)
    w = (w[0] + rest, w[1])
    v = (v[0] + w[0], v[1])
    w = (w[0] + v[0], w[1])
    x = _turn(x + y + v[0] + s.at(at + 8), 37) * factor
    y = _turn(y + v[1] + s.at(at + 48), 42) * factor
    x ^= w[1] * nine
    y += v[0] * nine + s.at(at + 40)
    z = _turn(z + w[0], 33) * factor
    v = _weak(s, at, v[1] * factor, x + w[0])
    w = _weak(s, at + 32, z + w[1], y + s.at(at + 16))
    z, x = x, z
    return _mix(_mix(v[0], w[0], factor) + _fold(y) * _K0 + z, _mix(v[1], w[1], factor) + x, factor)


def _weak(s: _Keys, at: int, a: Array, b: Array) -> tuple[Array, Array]:
    """A quick hash of 32 bytes, with two seeds."""
    first, *middle, last = (s.at(at + 8 * i) for i in range(4))
    a = a + first
    b = _turn(b + a + last, 21)
    before = a
    a = a + middle[0] + middle[1]
    return a + last, b + _turn(a, 44) + before
