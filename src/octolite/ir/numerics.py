"""The arithmetic of quantization: every formula in one place.

``real = scale * (q - zero_point)`` throughout. Weights are symmetric; activations of hybrid
operators are quantized on the fly, a row at a time, and come back as float through
:func:`hybrid_output`. Sources: TFLite's 8-bit quantization specification, and Jacob et al.,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference".
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from octolite.ir.types import Activation, Array, Quant

# Below this range a reciprocal would overflow float32; the row is then as good as zero.
TINY_RANGE = np.float32(2.0**-118)
MICRO_TINY_RANGE = np.float32(2.0**-113)
"""The same for codes with factors, of which a range has up to 127 · 255."""


def round_half_away(x: Array) -> Array:
    """Round to the nearest integer, halves away from zero (C's ``round``)."""
    magnitude = np.abs(x)
    whole = np.floor(magnitude)
    return np.asarray(np.copysign(whole + (magnitude - whole >= 0.5), x))


def channel_shape(quant: Quant, rank: int) -> tuple[int, ...]:
    """The shape in which per-channel parameters broadcast over a tensor of ``rank``."""
    if quant.scale.size == 1:
        return (1,) * rank
    shape = [1] * rank
    shape[quant.axis] = quant.scale.size
    return tuple(shape)


def quantize_weights(
    weights: Array, axis: int | None = None, bits: int = 8, reach: Array | None = None
) -> tuple[Array, Quant]:
    """Symmetric weights: ``scale = max|w| / qmax``, ``q = round_half_away(w / scale)``, zp 0.

    Works block by block, so that beside the result only a few hundred kilobytes are needed.

    Args:
        weights: float array of any shape.
        axis: the channel axis, or ``None`` for one scale for the whole tensor.
        bits: 8 (±127) or 4 (±7).
        reach: the magnitude of each channel that gets the largest code; what exceeds it is
            clipped. The largest magnitude when ``None``.

    Returns:
        int8 array of the same shape, and its parameters. A channel of zeros gets scale 1, one
        with NaN or Inf a scale that is not finite either, which the caller must refuse.
    """
    qmax = np.float32(2 ** (bits - 1) - 1)
    whole = _by_channel(weights, axis)
    q = np.empty(whole.shape, np.int8)
    scale = np.empty((whole.shape[1], 1), np.float32)

    def encode(some: slice) -> None:
        view, codes = whole[:, some], q[:, some]
        given = None if reach is None else np.asarray(reach, np.float32).reshape(-1, 1)[some]
        scales = scale[some] = _scales(_peaks(view) if given is None else given, qmax)
        halves = np.empty(min(view.size, _BLOCK), np.float32)
        with np.errstate(invalid="ignore"):
            for at, scratch in _blocks(view):
                np.divide(view[at], scales[at[1]], out=scratch)
                _reach_for_next(scratch, halves)
                np.clip(scratch, -qmax, qmax, out=scratch)
                np.copyto(codes[at], scratch, casting="unsafe")  # cuts off behind the point

    _for_channels(whole, encode)
    return q.reshape(np.shape(weights)), Quant.of(scale.reshape(-1), 0, axis or 0)


REACHES = np.linspace(1, 0.3, 29, dtype=np.float32)
"""Parts of the largest magnitude that are tried as the reach of codes."""


def least_error_peak(weights: Array, axis: int | None = None, bits: int = 8) -> Array:
    """The reach of each channel, of :data:`REACHES`, that leaves the least squared error.

    Arguments as those of :func:`quantize_weights`; returns float32 [channels].
    """
    qmax = np.float32(2 ** (bits - 1) - 1)
    whole = _by_channel(weights, axis)
    best = np.empty((whole.shape[1], 1), np.float32)

    def search(some: slice) -> None:
        view = whole[:, some]
        peak = _peaks(view)
        tried = [_scales(peak * part, qmax) for part in REACHES]
        errors = np.zeros((len(REACHES), len(peak)))
        halves = np.empty(min(view.size, _BLOCK), np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            for at, scratch in _blocks(view):
                for error, scale in zip(errors, tried, strict=True):
                    np.divide(view[at], scale[at[1]], out=scratch)
                    _reach_for_next(scratch, halves)
                    np.clip(scratch, -qmax, qmax, out=scratch)
                    np.trunc(scratch, out=scratch)
                    scratch *= scale[at[1]]
                    scratch -= view[at]
                    error[at[1]] += np.einsum("ijk,ijk->j", scratch, scratch)
        best[some] = peak * REACHES[np.argmin(errors, axis=0)][:, None]

    _for_channels(whole, search)
    return best.reshape(-1)


_WORTH_A_THREAD = 1 << 19  # elements


def _for_channels(whole: Array, work: Callable[[slice], None]) -> None:
    """Call ``work`` for ranges of channels that cover a [outer, channels, inner] array.

    NumPy lets go of the interpreter, so threads share the work on large arrays. Each channel is
    worked on by itself: results do not depend on how many there are.
    """
    channels = whole.shape[1]
    parts = min(os.cpu_count() or 1, 4, channels, whole.size // _WORTH_A_THREAD)
    if parts < 2:
        work(slice(0, channels))
        return
    ends = [channels * i // parts for i in range(parts + 1)]
    with ThreadPoolExecutor(parts) as threads:
        list(threads.map(work, map(slice, ends[:-1], ends[1:])))


def _by_channel(weights: Array, axis: int | None) -> Array:
    """Weights as float32 [outer, channels, inner]."""
    w = np.asarray(weights, np.float32, order="C")
    channels = 1 if axis is None else w.shape[axis]
    inner = w.size if axis is None else math.prod(w.shape[axis + 1 :])
    return w.reshape(-1, channels, inner) if w.size else w.reshape(0, channels, 0)


def _peaks(view: Array) -> Array:
    """The largest magnitude of each channel [channels, 1]."""
    peak = np.zeros((view.shape[1], 1), np.float32)
    for at, scratch in _blocks(view):
        np.abs(view[at], out=scratch)
        np.maximum(peak[at[1]], scratch.max(axis=(0, 2))[:, None], out=peak[at[1]])
    return peak


def _scales(reach: Array, qmax: np.float32) -> Array:
    scale = np.where(reach == 0, np.float32(1), reach / qmax)
    scale[scale == 0] = 1  # a denormal reach: its scale underflows, its weights are zero
    return np.asarray(scale, np.float32)


_BLOCK = 1 << 16  # elements: two float32 blocks stay in the second-level cache


def _blocks(view: Array) -> Iterator[tuple[tuple[slice, slice, slice], Array]]:
    """Slices that cover a [outer, channels, inner] array, each with scratch space of its shape."""
    outer, channels, inner = view.shape
    length = max(1, min(inner, _BLOCK))
    rows = max(1, min(channels, _BLOCK // length))
    depth = max(1, _BLOCK // (length * rows))
    space = np.empty(min(view.size, length * rows * depth), np.float32)
    for i, j, k in itertools.product(
        range(0, outer, depth), range(0, channels, rows), range(0, inner, length)
    ):
        at = (slice(i, i + depth), slice(j, j + rows), slice(k, k + length))
        shape = view[at].shape
        yield at, space[: math.prod(shape)].reshape(shape)


_BELOW_HALF = np.nextafter(np.float32(0.5), np.float32(0))


def _reach_for_next(x: Array, space: Array) -> None:
    """Add the float32 just below ½ with the sign of ``x``, so that cutting off rounds halves away.

    Exact for every float32. Plain ½ would not do: the sum of the float below ½ and ½ rounds up
    to 1. ``space`` is scratch space of no fewer elements.
    """
    x += np.copysign(_BELOW_HALF, x, out=space[: x.size].reshape(x.shape))


def quantize(real: Array, quant: Quant, dtype: np.dtype[Any]) -> Array:
    """``clip(round_half_away(real / scale) + zero_point)`` to the limits of ``dtype``."""
    shape = channel_shape(quant, real.ndim)
    limits = np.iinfo(dtype)
    q = round_half_away(real / quant.scale.reshape(shape)) + quant.zero_point.reshape(shape)
    return np.asarray(np.clip(q, limits.min, limits.max).astype(dtype))


def dequantize(q: Array, quant: Quant) -> Array:
    """``scale * (q - zero_point)`` in float32."""
    shape = channel_shape(quant, q.ndim)
    zero_point = quant.zero_point.reshape(shape)
    # int8 - int64 would make an array 8 times the size; symmetric weights need no subtraction.
    shifted = (q.astype(np.int32) - zero_point.astype(np.int32)) if zero_point.any() else q
    return np.multiply(shifted, quant.scale.reshape(shape), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class QuantizedRows:
    """Rows quantized on the fly: ``real[m] ≈ scale[m] * (q[m] - zero_point[m])``.

    ``q``: int8 (from :func:`microscale_rows`: int16) [rows, depth]; ``scale``: float32 [rows], NaN
    where a row holds NaN or Inf; ``zero_point``: int32 [rows].
    """

    q: Array
    scale: Array
    zero_point: Array


def quantize_rows(rows: Array, asymmetric: bool) -> QuantizedRows:
    """Quantize each row of a float32 [rows, depth] array by its own range.

    Symmetric: ``scale = max|x| / 127``, zero point 0, codes ±127. Asymmetric: the range is
    widened to hold 0, ``scale = (max - min) / 255``, codes -128…127. Halves round to even, as
    the vector units do. A row whose range is under :data:`TINY_RANGE` gives zeros; a row with
    NaN or Inf gets scale NaN, so that all that is computed from it is NaN.
    """
    x = np.asarray(rows, np.float32)
    low = np.min(x, axis=1, initial=0.0).astype(np.float32)
    high = np.max(x, axis=1, initial=0.0).astype(np.float32)
    finite = np.isfinite(low) & np.isfinite(high)
    steps = np.float32(255 if asymmetric else 127)
    with np.errstate(invalid="ignore", over="ignore"):
        span = (high - low) if asymmetric else np.maximum(high, -low)
        finite &= np.isfinite(span)
        live = finite & (span >= TINY_RANGE)
        safe = np.where(live, span, np.float32(1))
        inverse = np.where(live, steps / safe, np.float32(0)).astype(np.float32)
        scale = np.where(live, safe / steps, np.float32(1)).astype(np.float32)
        if asymmetric:
            # low·inverse is in [-255, 0]: the code of low is -128, so that of 0 is this.
            zero_point = np.rint(np.float32(-128) - np.where(finite, low, 0) * inverse)
        else:
            zero_point = np.zeros(len(x), np.float32)
        codes = np.rint(x * inverse[:, None]) + zero_point[:, None]
        codes = np.where(finite[:, None], codes, 0)
        q = np.clip(codes, -128 if asymmetric else -127, 127).astype(np.int8)
    return QuantizedRows(
        q, np.where(finite, scale, np.float32(np.nan)), zero_point.astype(np.int32)
    )


MICRO_BLOCK = 32
"""Codes that share a factor in :func:`microscale_rows`."""


def micro_blocks(depth: int) -> int:
    """How many factors a row of ``depth`` codes has. What is over belongs to the last whole block,
    unless it is nearly one itself."""
    return max((depth + 7) // MICRO_BLOCK, 1)


def micro_factors(depth: int) -> int:
    """The greatest factor in a row of ``depth`` codes: sums with int8 weights must fit int32, and
    a code times its factor int16."""
    return min(255, (2**31 - 1) // (127 * 128 * max(depth, 1)))


def microscale_rows(rows: Array) -> QuantizedRows:
    """Quantize rows that are known to be >= 0, float32 [rows, depth], to 7 bits in small blocks.

    Every :data:`MICRO_BLOCK` numbers of a row share an integer factor ``f``, as fine as the block
    allows: with ``F`` from :func:`micro_factors`, ``scale = max / (127 · F)`` of the row,
    ``f = round(F · max of the block / max + ½)`` but at least 1, codes ``round(x / (scale · f))``
    in 0…127. ``q`` is ``f · code``. Halves round to even. What is negative all the same counts as
    0; rows that are tiny or not finite are as in :func:`quantize_rows`.

    Raises :class:`ValueError` where the depth leaves no factor (beyond 132,104).
    """
    x = np.asarray(rows, np.float32)
    count, depth = x.shape
    most = micro_factors(depth)
    if most < 1:
        raise ValueError(f"rows of {depth} numbers are too long for 7-bit codes with factors")
    finite = np.asarray(np.isfinite(x).all(axis=1))
    x = np.maximum(np.where(finite[:, None], x, np.float32(0)), np.float32(0))
    starts = np.arange(micro_blocks(depth)) * MICRO_BLOCK
    block = np.minimum(np.arange(depth) // MICRO_BLOCK, len(starts) - 1)
    peaks = np.maximum.reduceat(x, starts, axis=1)
    peak = peaks.max(axis=1)
    live = peak >= MICRO_TINY_RANGE
    safe = np.where(live, peak, np.float32(1)).astype(np.float32)
    unit = np.where(live, np.float32(most) / safe, np.float32(0))
    inverse = np.where(live, np.float32(127 * most) / safe, np.float32(0))
    factors = np.clip(np.rint(peaks * unit[:, None] + np.float32(0.5)), 1, most)
    steps = (inverse[:, None] / factors).astype(np.float64)
    q = (np.rint(x.astype(np.float64) * steps[:, block]) * factors[:, block]).astype(np.int16)
    scale = np.where(live, safe / np.float32(127 * most), np.float32(1))
    return QuantizedRows(q, np.where(finite, scale, np.float32(np.nan)), np.zeros(count, np.int32))


def exact_product(a: Array, b: Array) -> Array:
    """``a @ b`` of integer codes, [..., m, k] and [..., k, n], as exact int32 [..., m, n].

    Floating point is what BLAS is fast at: float32 holds every sum of int8 products as long as
    ``k · 128² <= 2²⁴``, float64 beyond any depth that int32 can hold.
    """
    real = np.float32 if a.dtype == np.int8 and a.shape[-1] <= 1024 else np.float64
    return np.asarray((a.astype(real) @ b.astype(real)).astype(np.int32))


def hybrid_output(
    acc: Array,
    rows: QuantizedRows,
    weight_scale: Array,
    weight_sum: Array,
    bias: Array | None,
    activation: Activation = Activation.NONE,
) -> Array:
    """Float results of an int8 product: the one place that owns the hybrid formula.

    ``out[m, n] = act(scale_a[m] · scale_w[n] · (acc[m, n] - zp_a[m] · sum_w[n]) + bias[n])``

    Args:
        acc: exact int32 [rows, channels], the product of the codes.
        rows: the quantized activations that went into it.
        weight_scale: float32 [channels] (or [1]).
        weight_sum: int32 [channels], the sum of each channel's weight codes.
        bias: float32 [channels] or ``None``.

    ``acc``, the rows' parameters and ``weight_sum`` may have batch axes in front.
    """
    exact = acc - rows.zero_point[..., None] * weight_sum[..., None, :]
    out = exact.astype(np.float32) * (rows.scale[..., None] * weight_scale)
    if bias is not None:
        out = out + bias
    return activate(out.astype(np.float32), activation)


def activate(x: Array, activation: Activation) -> Array:
    """Apply a fused activation in the dtype of ``x``; NaN stays NaN."""
    one = x.dtype.type(1)
    match activation:
        case Activation.NONE:
            return x
        case Activation.RELU:
            return np.asarray(np.maximum(x, one * 0))
        case Activation.RELU_N1_TO_1:
            return np.clip(x, -one, one)
        case Activation.RELU6:
            return np.clip(x, one * 0, one * 6)
        case Activation.TANH:
            return np.tanh(x)
        case Activation.SIGN_BIT:
            return np.signbit(x).astype(x.dtype)
