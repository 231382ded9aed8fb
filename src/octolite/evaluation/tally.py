"""Sums over samples, from which differences and spreads follow without keeping the samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from octolite.evaluation.layers import Difference, Spread
from octolite.ir import numerics
from octolite.ir.graph import Value
from octolite.ir.types import Array, Quant


def sqnr(signal: float, noise: float) -> float:
    """``10 · log10(signal / noise)`` of two powers in dB: inf without noise, -inf where the noise
    is not finite or all there is."""
    if noise == 0:
        return math.inf
    if not (math.isfinite(noise) and signal > 0):
        return -math.inf
    return 10 * math.log10(signal / noise)


@dataclass(slots=True)
class Tally:
    """What differs between arrays that should be equal, added up in float64."""

    elements: int = 0
    signal: float = 0.0
    other: float = 0.0
    noise: float = 0.0
    product: float = 0.0
    error: float = 0.0
    largest: float = 0.0
    by_channel: Array | None = None
    """Powers of signal and noise [2, channels]."""

    def add(self, reference: Array, found: Array) -> None:
        """Both real and of the same number of elements. Numbers that both have count as equal,
        infinities and NaN included."""
        expected = np.asarray(reference, np.float64).reshape(-1)
        got = np.asarray(found, np.float64).reshape(-1)
        same = ~np.isfinite(expected) & ((expected == got) | (np.isnan(expected) & np.isnan(got)))
        expected, got = np.where(same, 0, expected), np.where(same, 0, got)
        with np.errstate(invalid="ignore", over="ignore"):
            error = got - expected
            self.signal += float(expected @ expected)
            self.other += float(got @ got)
            self.product += float(expected @ got)
            self.noise += float(error @ error)
            self.error += float(error.sum())
            largest = float(np.max(np.abs(error), initial=0))
            self.add_channels(reference.shape, expected, error)
        self.elements += expected.size
        # NaN is the largest there is, whatever it is compared to.
        self.largest = largest if not largest <= self.largest else self.largest

    def add_channels(self, shape: tuple[int, ...], expected: Array, error: Array) -> None:
        if len(shape) < 2 or shape[-1] < 2:
            return
        powers = np.stack(
            [
                np.einsum("ij,ij->j", a, a)
                for a in (x.reshape(-1, shape[-1]) for x in (expected, error))
            ]
        )
        known = self.by_channel
        same = known is not None and known.shape == powers.shape
        self.by_channel = known + powers if same and known is not None else powers

    def channels(self) -> float:
        """The median SQNR of channels that have a signal; that of all without channels."""
        if self.by_channel is not None:
            found = [sqnr(s, n) for s, n in self.by_channel.T.tolist() if s or n]
            if found:
                return sorted(found)[(len(found) - 1) // 2]
        return sqnr(self.signal, self.noise)

    def difference(self) -> Difference | None:
        """``None`` if nothing was compared."""
        if not self.elements:
            return None
        lengths = math.sqrt(self.signal) * math.sqrt(self.other)
        cosine = self.product / lengths if lengths else float(self.signal == self.other)
        return Difference(
            self.elements,
            sqnr(self.signal, self.noise),
            self.largest,
            self.error / self.elements,
            math.sqrt(self.noise / self.elements),
            cosine,
            self.channels(),
        )


@dataclass(slots=True)
class Range:
    """What arrays held."""

    elements: int = 0
    low: float = math.inf
    high: float = -math.inf
    zeros: int = 0
    saturated: int = 0

    def add(self, array: Array, saturated: int = 0) -> None:
        """A real array; ``saturated`` of its elements were beyond what codes can say."""
        self.elements += array.size
        self.zeros += int(np.count_nonzero(array == 0))
        self.saturated += saturated
        finite = array[np.isfinite(array)]
        if finite.size:
            self.low = min(self.low, float(finite.min()))
            self.high = max(self.high, float(finite.max()))

    def spread(self) -> Spread | None:
        """``None`` if there was nothing."""
        if not self.elements:
            return None
        parts = (count / self.elements for count in (self.zeros, self.saturated))
        return Spread(self.low, self.high, *parts)


@dataclass(slots=True)
class Pair:
    """A tally of a tensor, with what it holds before and after."""

    tally: Tally = field(default_factory=Tally)
    before: Range = field(default_factory=Range)
    after: Range = field(default_factory=Range)

    def add(self, reference: Array, found: Array, value: Value) -> None:
        """Both real; ``value``: the tensor that ``found`` was in."""
        self.tally.add(reference, found)
        self.before.add(reference)
        self.after.add(found, beyond(reference, value))


def real(array: Array, value: Value) -> Array:
    """What ``array`` stands for in the tensor ``value``: codes become real numbers."""
    if value.quant is not None and value.dtype.is_integer:
        return numerics.dequantize(array, value.quant)
    return array


def stored(array: Array, value: Value) -> Array:
    """``array``, which is real, as the tensor ``value`` holds it."""
    if value.quant is not None and value.dtype.is_integer:
        return numerics.quantize(np.asarray(array, np.float32), value.quant, value.dtype.numpy)
    return array.astype(value.dtype.numpy, copy=False)


def limits(quant: Quant, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """The least and the greatest real number of each scale."""
    codes = np.iinfo(dtype)
    return (
        quant.scale * (codes.min - quant.zero_point),
        quant.scale * (codes.max - quant.zero_point),
    )


def beyond(reference: Array, value: Value) -> int:
    """How many real numbers the codes of ``value`` cannot reach: those past half a step."""
    quant = value.quant
    if quant is None or not value.dtype.is_integer:
        return 0
    shape = numerics.channel_shape(quant, reference.ndim)
    half = quant.scale / 2
    low, high = limits(quant, value.dtype.numpy)
    under = reference < (low - half).reshape(shape)
    over = reference > (high + half).reshape(shape)
    return int(np.count_nonzero(under | over))
