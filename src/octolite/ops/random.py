"""Random numbers: the same as LiteRT's for the same seeds.

Source of the generator: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011),
Philox 4×32 with 10 rounds.
"""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from octolite.errors import ShapeError
from octolite.ir.types import FLOAT32, INT32, INT64, Array, DType, Operand, TensorType
from octolite.ops.base import NUMBERS, attr
from octolite.ops.case import case, const, f32, given
from octolite.ops.control import Effectful, Session
from octolite.ops.shapes import (
    constant_int,
    constant_ints,
    integer,
    integers,
    length,
    rank_of,
    sized,
    unknown,
)

_MASK = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
_STEPS = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
_WORDS = 4  # uint32 numbers in a block
_RESERVED = 512  # blocks that LiteRT sets aside for each sample of a MULTINOMIAL
_AT_ONCE = 1 << 16  # blocks that are made together


class Philox:
    """A stream of random bits: a block of four words for each value of a 128-bit counter."""

    def __init__(self, seed: int, seed2: int) -> None:
        self.key = seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
        self.counter = (seed2 & (1 << 64) - 1) << 64

    def words(self, count: int) -> Array:
        """The next ``count`` words, uint32; what is left of the last block is lost."""
        blocks = np.empty((-(-count // _WORDS), _WORDS), np.uint32)
        for first in range(0, len(blocks), _AT_ONCE):
            self._fill(blocks[first : first + _AT_ONCE])
        return blocks.reshape(-1)[:count]

    def _fill(self, blocks: Array) -> None:
        """Put the next blocks [count, 4] where ``blocks`` is."""
        start, count = self.counter, len(blocks)
        self.counter = (start + count) % (1 << 128)
        first = np.uint64(start & (1 << 64) - 1)
        low = first + np.arange(count, dtype=np.uint64)
        high = np.full(count, start >> 64, np.uint64) + (low < first)
        words = [low & _MASK, low >> _HALF, high & _MASK, high >> _HALF]
        key = list(self.key)
        for _ in range(_ROUNDS):
            a, b = words[0] * _MULTIPLIERS[0], words[2] * _MULTIPLIERS[1]
            words = [
                (b >> _HALF) ^ words[1] ^ np.uint64(key[0]),
                b & _MASK,
                (a >> _HALF) ^ words[3] ^ np.uint64(key[1]),
                a & _MASK,
            ]
            key = [(k + step) & 0xFFFFFFFF for k, step in zip(key, _STEPS, strict=True)]
        blocks[...] = np.stack(words, axis=1)


def uniform(words: Array) -> Array:
    """float32 in [0, 1) of the 23 lowest bits of each word."""
    bits = words & np.uint32(0x7FFFFF) | np.uint32(127 << 23)
    return bits.view(np.float32) - np.float32(1)


def uniform64(words: Array) -> Array:
    """float64 in [0, 1), 52 bits of each pair of words, the upper ones first."""
    upper, lower = words.astype(np.uint64).reshape(-1, 2).T
    bits = (upper & np.uint64(0xFFFFF)) << _HALF | lower | np.uint64(1023 << 52)
    return bits.view(np.float64) - 1.0


def normal(words: Array) -> Array:
    """float32 of a normal distribution: Box and Muller's transform of each pair of words."""
    pairs = uniform(words).reshape(-1, 2)
    radius = np.sqrt(np.float32(-2) * np.log(np.maximum(pairs[:, 0], np.float32(1e-7))))
    angle = np.float32(2 * np.pi) * pairs[:, 1]
    return np.stack([np.sin(angle) * radius, np.cos(angle) * radius], axis=1).reshape(-1)


class Random(Effectful, abstract=True):
    """Numbers from a stream that goes on from run to run.

    Of the seeds, 32 bits with their sign count; with both 0, nobody can foretell the stream.
    """

    kinds = NUMBERS
    options = "RandomOptions"
    seed: int = attr(0)
    seed2: int = attr(0)

    def flow(self, session: Session, arrays: Sequence[Array]) -> Sequence[Array]:
        key = self.name, id(self)
        stream = session.state.own(key)
        if stream is None:
            seeds = [_signed(seed) for seed in (self.seed, self.seed2)]
            stream = Philox(*(seeds if any(seeds) else (secrets.randbits(64) for _ in seeds)))
            session.state.keep(key, stream)
        return [self.draw(stream, *arrays)]

    @abstractmethod
    def draw(self, stream: Philox, *arrays: Array) -> Array:
        """The result, made of the next numbers of ``stream``."""


def _signed(seed: int) -> int:
    """The lowest 32 bits, as a number with a sign."""
    return (seed + (1 << 31)) % (1 << 32) - (1 << 31)


class _Filled(Random, abstract=True):
    """A float32 tensor of the shape that the input says."""

    inputs = "shape"

    def infer(self, shape: Operand) -> Sequence[TensorType]:
        rank_of(shape, "shape", 1)
        extents = constant_ints(shape)
        return [TensorType(FLOAT32, unknown(length(shape)) if extents is None else sized(extents))]


class RandomUniform(_Filled):
    """Numbers evenly spread over [0, 1)."""

    name = "RANDOM_UNIFORM"

    def draw(self, stream: Philox, *arrays: Array) -> Array:
        extents = sized(integers(arrays[0]))
        return uniform(stream.words(int(np.prod(extents)))).reshape(extents)

    cases = (
        case(const([3, 7]), seed=1234, seed2=5678),
        case(given([2, 2, 5]), seed=7, rtol=0),
        case(const([0, 3]), seed=7),
    )


class RandomStandardNormal(_Filled):
    """Numbers of a normal distribution with mean 0 and deviation 1."""

    name = "RANDOM_STANDARD_NORMAL"

    def draw(self, stream: Philox, *arrays: Array) -> Array:
        extents = sized(integers(arrays[0]))
        count = int(np.prod(extents))
        return normal(stream.words(count + count % 2))[:count].reshape(extents)

    cases = (
        case(const([3, 7]), seed=1234, seed2=5678),
        case(const([64, 64]), seed=-3, seed2=1 << 31, rtol=1e-6),
        case(given([5]), seed=7),
    )


class Multinomial(Random):
    """``num_samples`` classes for each row of ``logits`` [batch, classes], each drawn with the
    probability that the softmax of the row gives it."""

    name = "MULTINOMIAL"
    inputs = "logits num_samples"
    dtype: DType = attr(INT64, stored=False)

    def settle(self, outputs: Sequence[Operand]) -> Multinomial:
        return self.replace(dtype=outputs[0].dtype)

    def infer(self, logits: Operand, num_samples: Operand) -> Sequence[TensorType]:
        shape = rank_of(logits, "logits", 2)
        if length(num_samples) not in (None, 1):
            raise ShapeError(f"{self.name}: {num_samples.name!r} should hold one number")
        count = constant_int(num_samples)
        if count is not None:
            sized([count])
        return [TensorType(self.dtype, (None if shape is None else shape[0], count))]

    def draw(self, stream: Philox, *arrays: Array) -> Array:
        logits, samples = arrays[0], integer(arrays[1])
        if logits.ndim != 2 or not logits.shape[1]:
            raise ShapeError(
                f"{self.name}: logits have shape {logits.shape}, expected [n, classes]"
            )
        extents = sized((len(logits), samples))
        out = np.empty(extents, self.dtype.numpy)
        start = stream.counter
        numbers = uniform64(stream.words(2 * out.size)).reshape(extents)
        stream.counter = start + len(out) * -(-samples // 4) * 4 * _RESERVED
        for row, drawn, spots in zip(logits.astype(np.float64), out, numbers, strict=True):
            finite = np.isfinite(row)
            largest = np.max(row[finite], initial=-np.inf)
            sums = np.cumsum(np.where(finite, np.exp(row - largest), 0))
            chosen = np.searchsorted(sums, spots * sums[-1], "right")
            drawn[...] = np.minimum(chosen, len(row) - 1)
        return out

    cases = (
        case(f32(3, 5, low=-2, high=2), const(9), seed=1234, seed2=5678, dtype=INT64),
        case(f32(2, 4), given(6), seed=3, dtype=INT32),
    )
