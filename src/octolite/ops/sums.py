"""Sums of products of codes as codes: the last step of fully quantized layers."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

import numpy as np

from octolite.ir import fixed_point
from octolite.ir.fixed_point import Codes, Multiplier
from octolite.ir.numerics import round_half_away
from octolite.ir.types import INT8, UINT8, Activation, Array, Operand
from octolite.kernels import spec


class OutputStage(Enum):
    """How a sum is multiplied by a real factor."""

    FIXED = auto()
    """32 bits by a mantissa of 31 bits, rounded to the upper half and by the shift."""
    WIDE = auto()
    """48 bits by a mantissa of 15 bits, rounded once."""
    REAL = auto()
    """In float64, rounded to the nearest."""

    @classmethod
    def of_convolution(cls, x: Array, bias: Array | None) -> OutputStage:
        """That of convolutions: 16 bits make long sums, unless the bias is short."""
        short = x.dtype != np.int16 or (bias is not None and bias.dtype == np.int32)
        return cls.FIXED if short else cls.WIDE


def takes_weights(x: Operand | None, w: Operand | None, axis: int | None) -> bool:
    """Whether ``w`` holds weights as integer layers multiply them by activations ``x``.

    uint8 with one scale and zero point beside uint8; otherwise int8 around 0, with one scale or one
    for each channel of ``axis``.
    """
    if x is None or w is None or w.quant is None:
        return False
    if x.dtype is UINT8:
        return w.dtype is UINT8 and not w.quant.per_channel
    symmetric = not w.quant.zero_point.any()
    return w.dtype is INT8 and symmetric and (not w.quant.per_channel or w.quant.axis == axis)


def quantized_convolution(
    inputs: Sequence[Operand | None],
    result: Operand,
    conv: spec.Conv2D,
    activation: Activation,
    *,
    fully_connected: bool = False,
) -> spec.QuantizedConv2D | None:
    """What to ask of the kernels for int8 codes; ``None`` where sums may not fit their float32."""
    x, w = inputs[0], inputs[1]
    if x is None or w is None or w.data is None or x.dtype is not INT8:
        return None
    source, out = Codes.of(x), Codes.of(result)
    farthest = max(abs(limit - source.zero) for limit in source.limits)
    taken = np.abs(w.data.astype(np.int32)).reshape(len(w.data), -1).sum(axis=1)
    if int(taken.max(initial=0)) * farthest >= 2**24:
        return None
    low, high = out.range(activation)
    return spec.QuantizedConv2D(
        conv,
        source.real_scale,
        source.zero,
        out.real_scale,
        out.zero,
        low,
        high,
        real=fully_connected,
        flat=fully_connected,
    )


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
    if source.dtype == np.uint8 and stage is OutputStage.FIXED:
        factor = (source.scale * w.quant.scale).astype(np.float64) / out.real_scale
    else:
        factor = source.real_scale * w.quant.scale.astype(np.float64) / out.real_scale
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
