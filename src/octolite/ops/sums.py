"""Sums of products of codes as codes: the last step of fully quantized layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from octolite.ir import fixed_point
from octolite.ir.fixed_point import Codes, Multiplier, OutputStage
from octolite.ir.numerics import round_half_away
from octolite.ir.types import INT2, INT4, INT8, UINT8, Activation, Array, Operand, Quant
from octolite.kernels import spec


def takes_weights(x: Operand | None, w: Operand | None, axis: int | None) -> bool:
    """Whether ``w`` holds weights as integer layers multiply them by activations ``x``.

    uint8 with one scale and zero point beside uint8; otherwise int8, or narrower, around 0, with
    one scale or one for each channel of ``axis``.
    """
    if x is None or w is None or w.quant is None:
        return False
    if x.dtype is UINT8:
        return w.dtype is UINT8 and not w.quant.per_channel
    symmetric = w.dtype in (INT8, INT4, INT2) and not w.quant.zero_point.any()
    return symmetric and (not w.quant.per_channel or w.quant.axis == axis)


def quantized_layer(
    inputs: Sequence[Operand | None],
    result: Operand,
    layer: spec.Conv2D | spec.DepthwiseConv2D,
    activation: Activation,
    stage: OutputStage,
    *,
    flat: bool = False,
) -> spec.Quantized | None:
    """What to ask of the kernels; ``None`` where what they add up in int32 may not fit it."""
    x, w, bias = (*inputs, None)[:3]
    if x is None or w is None or w.quant is None or w.data is None:
        return None
    source, weights, out = Codes.of(x), Codes.like(w.quant, w.dtype), Codes.of(result)
    if source.dtype == np.int16 and (source.zero, out.zero) != (0, 0):
        return None
    factor = factor_of(source, w.quant, out, stage)
    axis = 3 if isinstance(layer, spec.DepthwiseConv2D) else 0
    others = tuple(a for a in range(w.data.ndim) if a != axis)
    distances = np.abs(w.data.astype(np.int16) - np.int16(weights.zero))
    largest = distances.sum(axis=others, dtype=np.float64) * source.farthest
    if bias is not None:
        if bias.data is None:
            return None
        largest = largest + np.abs(bias.data.astype(np.float64)).reshape(-1)
    if not _fits(largest, Multiplier.of(factor), stage):
        return None
    low, high = out.range(activation)
    codes = spec.Requantize(stage, tuple(factor.tolist()), result.dtype, out.zero, low, high)
    return spec.Quantized(layer, x.dtype, source.zero, weights.zero, codes, flat)


def _fits(largest: Array, factor: Multiplier, stage: OutputStage) -> bool:
    """Whether sums up to ``largest`` fit int32 at every step on their way to codes."""
    moved = np.ldexp(largest, np.maximum(factor.shift, 0))
    if stage is OutputStage.FIXED:
        # A channel that is always 0 has the least of all factors, and a bias near 2³⁰.
        scaled = np.ldexp(moved * factor.mantissa, -31) + 1
        moved = np.maximum(moved, scaled + np.ldexp(0.5, np.maximum(-factor.shift, 0)))
    return bool(np.max(moved, initial=0) < 2**31 and np.max(factor.shift) <= 14)


def factor_of(source: Codes, weights: Quant, out: Codes, stage: OutputStage) -> Array:
    """``scale_x · scale_w / scale``, float64: one, or one for each channel."""
    if source.dtype == np.uint8 and stage is OutputStage.FIXED:
        return np.asarray((source.scale * weights.scale).astype(np.float64) / out.real_scale)
    return np.asarray(source.real_scale * weights.scale.astype(np.float64) / out.real_scale)


def codes_of_sums(
    sums: Array,
    bias: Array | None,
    x: Operand | None,
    w: Operand | None,
    result: Operand,
    activation: Activation,
    stage: OutputStage = OutputStage.FIXED,
) -> Array:
    """``act((sums + bias) · scale_x · scale_w / scale)`` as codes of ``result``.

    ``sums`` and ``bias``: exact integers [..., channels]; the products have the zero points taken
    off. Which ``stage`` it is differs from kernel to kernel.
    """
    assert w is not None
    assert w.quant is not None
    source, out = Codes.of(x), Codes.of(result)
    factor = factor_of(source, w.quant, out, stage)
    channels = sums.shape[-1]
    rows = sums.reshape(-1, channels) if sums.size else sums.reshape(0, channels)
    codes = np.empty(rows.shape, out.dtype)
    step = max(1, _BLOCK // max(channels, 1))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        scaled = _scaled(block if bias is None else block + bias, factor, stage)
        codes[start : start + step] = out.store(scaled, activation)
    return codes.reshape(sums.shape)


_BLOCK = 1 << 14  # sums: a dozen passes over them stay in the second-level cache


def _scaled(sums: Array, factor: Array, stage: OutputStage) -> Array:
    """``sums · factor``, int64."""
    match stage:
        case OutputStage.FIXED:
            return Multiplier.of(factor)(fixed_point.wrap(sums))
        case OutputStage.WIDE:
            return Multiplier.of(factor).wide(sums)
        case OutputStage.REAL:
            real = round_half_away(sums * factor)
            return fixed_point.saturate(real).astype(np.int64)
