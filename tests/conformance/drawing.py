"""What every generator draws from: extents, shapes, axes, attributes, and numbers of a type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st

from octolite.ir.types import BOOL, STRING, Activation, Array, DType
from octolite.ops import Operator
from octolite.ops.case import Case, Tensor, const

T = TypeVar("T")
EXTENTS = st.sampled_from([2, 1, 3, 4, 5, 7, 8, 9, 17, 33, 0])
MOST = 2048
"""Elements of a tensor that is drawn, more or less."""

ACTIVATIONS = [Activation.NONE, Activation.RELU, Activation.RELU6, Activation.RELU_N1_TO_1]


@dataclass
class Drawer:
    """Draws for one example of an operator whose numbers have one type."""

    draw: st.DrawFn
    dtype: DType

    def integer(self, low: int, high: int) -> int:
        """Any of ``low`` … ``high``, both included."""
        return self.draw(st.integers(low, high))

    def pick(self, options: Sequence[T]) -> T:
        return self.draw(st.sampled_from(options))

    def flag(self) -> bool:
        return self.draw(st.booleans())

    def rarely(self) -> bool:
        return self.integer(0, 7) == 7

    def shape(self, least: int = 0, most: int = 6, smallest: int = 0) -> tuple[int, ...]:
        """Extents, few of them 0, of ``least`` … ``most`` axes."""
        rank, size, extents = self.integer(least, most), 1, []
        for _ in range(rank):
            extent = max(self.draw(EXTENTS), smallest)
            extent = extent if size * extent <= MOST else max(1, smallest)
            size *= max(extent, 1)
            extents.append(extent)
        return tuple(extents)

    def axis(self, rank: int) -> int:
        return self.integer(-rank, rank - 1)

    def broadcasting(self, full: Sequence[int]) -> tuple[int, ...]:
        """A shape that broadcasts to ``full``: axes missing in front, or of extent 1."""
        start = self.pick([0, 0, self.integer(0, len(full))])
        return tuple(d if self.integer(0, 3) else 1 for d in full[start:])

    def numbers(self, *shape: int, dtype: DType | None = None, **limits: float) -> Tensor:
        return numbers(dtype or self.dtype, *shape, **limits)

    def positive(self, *shape: int) -> Tensor:
        """Numbers that may be divided by, shifted by and rooted."""
        return numbers(self.dtype, *shape, low=1 if self.dtype.is_integer else 0.5, high=5)

    def vector(self, values: Sequence[int], types: Sequence[Any] = (np.int32, np.int64)) -> Tensor:
        """A constant vector of integers (one type in eight draws is the second)."""
        return const(np.array(values, types[-1] if self.rarely() else types[0]))

    def window(self, *axes: str) -> dict[str, int]:
        """Strides and dilations along ``axes``; at most one of the two is not 1."""
        wide, dilated = self.integer(1, 3), self.flag()
        strides = {f"stride_{a}": 1 if dilated else self.integer(1, wide) for a in axes}
        factors = {f"dilation_{a}_factor": wide if dilated else 1 for a in axes}
        return strides | factors

    def attributes(self, operator: type[Operator], **chosen: Any) -> dict[str, Any]:
        """A value for each attribute whose declaration says what values it has: flags and
        vocabularies. ``chosen`` are others, or the same."""
        drawn: dict[str, Any] = {}
        for attribute in operator.attribute_list():
            kind = type(attribute.default)
            if attribute.name in chosen:
                continue
            if kind is Activation:
                drawn[attribute.name] = self.pick(ACTIVATIONS)
            elif kind is bool:
                drawn[attribute.name] = self.flag()
            elif issubclass(kind, IntEnum):
                drawn[attribute.name] = self.pick(list(kind))
        return drawn | chosen


def numbers(dtype: DType, *shape: int, low: float = -2.0, high: float = 2.0) -> Tensor:
    """An input of ``dtype``: floats in [low, high), as many integers around 0 as fit."""
    return Tensor(shape, dtype, _Numbers(dtype, low, high))


@dataclass(frozen=True)
class _Numbers:
    dtype: DType
    low: float
    high: float

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        if self.dtype is BOOL:
            return rng.random(shape) < 0.5
        if self.dtype is STRING:
            words = np.empty(shape, object)
            words[...] = ""
            for place in np.ndindex(*shape):
                words[place] = b"ab\x00c"[: rng.integers(0, 5)] * int(rng.integers(1, 4))
            return words
        if self.dtype.is_integer:
            info = np.iinfo(self.dtype.numpy)
            wide = 1 if self.low > 0 else 10
            low = max(int(self.low * wide), int(info.min))
            return rng.integers(low, max(int(self.high * wide), low + 1), shape)
        real = rng.uniform(self.low, self.high, shape)
        return (
            real + 1j * rng.uniform(self.low, self.high, shape) if self.dtype.kind == "c" else real
        )


def coded(example: Case, quant: Any, dtype: DType) -> Case:
    """The example with ``quant`` said of all tensors and results of ``dtype``."""
    from dataclasses import replace

    tensors = [t if t is None or t.dtype is not dtype else replace(t, quant=quant)
               for t in example.tensors]  # fmt: skip
    return replace(example, tensors=tensors, results=[(dtype, quant)])
