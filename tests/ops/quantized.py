"""Fully quantized operators at work: shapes, scales, zero points and attributes by hypothesis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from octolite.ir.types import (
    INT2,
    INT4,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    Activation,
    DType,
    Padding,
    Quant,
)
from octolite.ops.case import Case, Tensor, case, codes, const

Draw = Any
ACTIVATIONS = st.sampled_from(
    [Activation.NONE, Activation.RELU, Activation.RELU6, Activation.RELU_N1_TO_1]
)
EXTENT = st.integers(1, 7)


def limits(dtype: DType) -> tuple[int, int]:
    info = np.iinfo(dtype.numpy)
    return int(info.min), int(info.max)


def unit(dtype: DType) -> float:
    """A scale with which codes of ``dtype`` span some units."""
    return 0.03 if dtype is not INT16 else 0.03 / 256


@st.composite
def quants(draw: Draw, dtype: DType, scale: float | None = None) -> Quant:
    """A scale within a factor of 4 of ``scale``, and any zero point (16 bits: 0)."""
    factor = 2.0 ** draw(st.floats(-2, 2, allow_nan=False))
    low, high = limits(dtype)
    zero = 0 if dtype is INT16 else draw(st.integers(low, high))
    return Quant.of((unit(dtype) if scale is None else scale) * factor, zero)


def codes_of(dtype: DType, quant: Quant, *shape: int, low: int | None = None) -> Tensor:
    least, most = limits(dtype)
    start = least if low is None else max(low, least)
    return codes(*shape, quant=quant, dtype=dtype, low=start, high=most + 1)


def constant(
    dtype: DType, quant: Quant | None, *shape: int, low: int = -127, high: int = 128
) -> Tensor:
    return Tensor(shape, dtype, lambda rng, s: rng.integers(low, high, s), True, quant=quant)


@st.composite
def shapes(draw: Draw, least: int = 1, most: int = 4) -> tuple[int, ...]:
    return tuple(draw(st.lists(EXTENT, min_size=least, max_size=most)))


@st.composite
def pairs(draw: Draw, dtype: DType) -> tuple[Tensor, Tensor]:
    """Two operands that broadcast."""
    full = draw(shapes())
    sides = []
    for _ in range(2):
        part = full[draw(st.integers(0, len(full))) :]
        sides.append([draw(st.sampled_from([1, d])) for d in part])
    first, second = (codes_of(dtype, draw(quants(dtype)), *s) for s in sides)
    return first, second


def scale_of(tensor: Tensor) -> float:
    assert tensor.quant is not None
    return float(tensor.quant.scale[0])


@st.composite
def sums(draw: Draw, dtype: DType) -> Case:
    a, b = draw(pairs(dtype))
    out = draw(quants(dtype, max(scale_of(a), scale_of(b))))
    pot = {"pot_scale_int16": False} if dtype is INT16 else {}
    return case(a, b, results=[(dtype, out)], activation=draw(ACTIVATIONS), **pot)


@st.composite
def products(draw: Draw, dtype: DType) -> Case:
    a, b = draw(pairs(dtype))
    out = draw(quants(dtype, scale_of(a) * scale_of(b) * (100 if dtype is not INT16 else 16000)))
    return case(a, b, results=[(dtype, out)], activation=draw(ACTIVATIONS))


@st.composite
def quotients(draw: Draw, dtype: DType) -> Case:
    """Divisors of 1 … 63 under what is not less: TFLite's shifts are undefined beyond 31 bits."""
    shape = draw(shapes())
    low, high = limits(dtype)
    zero = 0 if dtype is INT16 else draw(st.integers(low, high - 127))
    quant = Quant.of(unit(dtype), zero)
    a = codes(*shape, quant=quant, dtype=dtype, low=zero + 64, high=zero + 128)
    b = codes(*shape, quant=quant, dtype=dtype, low=zero + 1, high=zero + 64)
    out = Quant.of(0.02 * 2.0 ** draw(st.floats(0, 3)), 0 if dtype is INT16 else low)
    return case(a, b, results=[(dtype, out)], activation=draw(ACTIVATIONS))


@st.composite
def squares(draw: Draw, dtype: DType) -> Case:
    a, b = draw(pairs(dtype))
    out = draw(quants(dtype, max(scale_of(a), scale_of(b)) ** 2 * 100))
    return case(a, b, results=[(dtype, out)])


@st.composite
def comparisons(draw: Draw, dtype: DType) -> Case:
    return case(*draw(pairs(dtype)), results=[])


@st.composite
def elementwise(draw: Draw, dtype: DType, **attributes: Any) -> Case:
    x = codes_of(dtype, draw(quants(dtype)), *draw(shapes(2)))
    drawn = {name: draw(strategy) for name, strategy in attributes.items()}
    return case(x, results=[(dtype, draw(quants(dtype, scale_of(x))))], **drawn)


@st.composite
def powers(draw: Draw, dtype: DType) -> Case:
    """Exponentials that the result's type holds, more or less."""
    x = codes_of(dtype, draw(quants(dtype, unit(dtype) / 4)), *draw(shapes(2)))
    return case(x, results=[(dtype, draw(quants(dtype)))])


@st.composite
def roots(draw: Draw, dtype: DType) -> Case:
    quant = draw(quants(dtype))
    low = int(quant.zero_point[0])
    x = codes_of(dtype, quant, *draw(shapes(2)), low=low)
    return case(x, results=[(dtype, draw(quants(dtype)))])


@st.composite
def swishes(draw: Draw, dtype: DType) -> Case:
    x = codes_of(dtype, draw(quants(dtype)), *draw(shapes(2)))
    return case(x, results=[(dtype, draw(quants(dtype, scale_of(x))))])


def fixed(scale: Callable[[DType], float], zero: Callable[[DType], int]) -> Any:
    """Operators whose results have a fixed scale and zero point."""

    @st.composite
    def drawn(draw: Draw, dtype: DType) -> Case:
        x = codes_of(dtype, draw(quants(dtype, unit(dtype) * 2)), *draw(shapes(2)), 40)
        return case(x, results=[(dtype, Quant.of(scale(dtype), zero(dtype)))])

    return drawn


def low_zero(dtype: DType) -> int:
    return 0 if dtype is INT16 else limits(dtype)[0]


def middle_zero(dtype: DType) -> int:
    return 128 if dtype is UINT8 else 0


@st.composite
def softmaxes(draw: Draw, dtype: DType) -> Case:
    x = codes_of(dtype, draw(quants(dtype)), *draw(shapes(0, 2)), draw(st.integers(1, 300)))
    scale = 2.0**-15 if dtype is INT16 else 1 / 256
    beta = draw(st.sampled_from([1.0, 0.3, 2.5]))
    return case(x, results=[(dtype, Quant.of(scale, low_zero(dtype)))], beta=beta)


@st.composite
def prelus(draw: Draw, dtype: DType) -> Case:
    shape = draw(shapes(2))
    slopes = [draw(st.sampled_from([1, d])) for d in shape]
    x = codes_of(dtype, draw(quants(dtype)), *shape)
    slope = INT8 if dtype is INT16 else dtype
    low, high = limits(slope)
    alpha = constant(slope, draw(quants(slope, 0.01)), *slopes, low=low, high=high + 1)
    return case(x, alpha, results=[(dtype, draw(quants(dtype, scale_of(x))))])


@st.composite
def pools(draw: Draw, dtype: DType) -> Case:
    height, width = draw(EXTENT), draw(EXTENT)
    quant = draw(quants(dtype))
    x = codes_of(dtype, quant, draw(EXTENT), height + 4, width + 4, draw(EXTENT))
    return case(
        x,
        results=[(dtype, draw(st.just(quant) | quants(dtype)))],
        padding=draw(st.sampled_from(Padding)),
        filter_height=height,
        filter_width=width,
        stride_h=draw(st.integers(1, 3)),
        stride_w=draw(st.integers(1, 3)),
        activation=draw(ACTIVATIONS),
    )


@st.composite
def reductions(draw: Draw, dtype: DType) -> Case:
    shape = draw(shapes(2))
    axis = draw(st.lists(st.integers(-len(shape), len(shape) - 1), min_size=1, unique=True))
    x = codes_of(dtype, draw(quants(dtype)), *shape)
    out = draw(quants(dtype, scale_of(x)))
    keep = draw(st.booleans())
    return case(x, const(axis), results=[(dtype, out)], keep_dims=keep)


@st.composite
def weights(
    draw: Draw,
    dtype: DType,
    channels: int,
    axis: int,
    *shape: int,
    narrow: Sequence[DType] = (),
) -> Tensor:
    """uint8 with a zero point; or int8, or ``narrow``, with one scale or one for each channel."""
    if dtype is UINT8:
        quant = draw(quants(UINT8, 0.01))
        return constant(UINT8, quant, *shape, low=0, high=256)
    count = draw(st.sampled_from([1, channels]))
    scale = [0.01 * 2.0 ** draw(st.floats(-2, 2)) for _ in range(count)]
    stored = draw(st.sampled_from([INT8, INT8, *narrow]))
    most = 2 ** (stored.bits - 1) - 1
    return constant(stored, Quant.of(scale, 0, axis), *shape, low=-most, high=most + 1)


@st.composite
def biases(draw: Draw, dtype: DType, x: Tensor, w: Tensor, count: int) -> tuple[Tensor, int]:
    """A bias, and what ``quantized_bias_type`` says of it."""
    bias_type = draw(st.sampled_from([INT32, INT64])) if dtype is INT16 else INT32
    size = 4000 if dtype is not INT16 else 400_000
    assert w.quant is not None
    scale = np.float32(scale_of(x)) * w.quant.scale
    quant = Quant.of(scale, 0)
    return constant(bias_type, quant, count, low=-size, high=size), bias_type.code


def sum_scale(dtype: DType, x: Tensor, depth: int) -> float:
    """A scale that holds sums of ``depth`` products with weights of about 0.01."""
    return scale_of(x) * 0.5 * math.sqrt(depth)


@st.composite
def window_attributes(draw: Draw) -> dict[str, Any]:
    dilated = draw(st.booleans())
    return {
        "padding": draw(st.sampled_from(Padding)),
        "stride_h": 1 if dilated else draw(st.integers(1, 2)),
        "stride_w": 1 if dilated else draw(st.integers(1, 2)),
        "dilation_h_factor": 2 if dilated else 1,
        "dilation_w_factor": 2 if dilated else 1,
        "activation": draw(ACTIVATIONS),
    }


@st.composite
def convolutions(draw: Draw, dtype: DType) -> Case:
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    group, groups = draw(st.integers(1, 9)), draw(st.sampled_from([1, 1, 2]))
    if dtype is UINT8:
        groups = 1
    channels = groups * draw(st.integers(1, 5))
    x = codes_of(dtype, draw(quants(dtype)), draw(st.integers(1, 2)), 8, 7, group * groups)
    w = draw(weights(dtype, channels, 0, channels, *kernel, group, narrow=[INT4]))
    bias, code = draw(biases(dtype, x, w, channels))
    out = draw(quants(dtype, sum_scale(dtype, x, group * kernel[0] * kernel[1])))
    extra = {"quantized_bias_type": code} if dtype is INT16 else {}
    return case(x, w, bias, results=[(dtype, out)], **draw(window_attributes()), **extra)


@st.composite
def depthwise(draw: Draw, dtype: DType) -> Case:
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    depth, multiplier = draw(EXTENT), draw(st.integers(1, 3))
    channels = depth * multiplier
    x = codes_of(dtype, draw(quants(dtype)), draw(st.integers(1, 2)), 8, 7, depth)
    narrow = [INT4] if dtype is INT8 else []  # LiteRT takes two codes for one beside int16
    w = draw(weights(dtype, channels, 3, 1, *kernel, channels, narrow=narrow))
    bias, _ = draw(biases(dtype, x, w, channels).filter(lambda b: b[1] != 2 or dtype is not INT16))
    out = draw(quants(dtype, sum_scale(dtype, x, kernel[0] * kernel[1])))
    attributes = draw(window_attributes())
    return case(x, w, bias, results=[(dtype, out)], depth_multiplier=multiplier, **attributes)


@st.composite
def fully_connected(draw: Draw, dtype: DType) -> Case:
    rows, depth, channels = draw(EXTENT), draw(st.integers(1, 70)), draw(EXTENT)
    x = codes_of(dtype, draw(quants(dtype)), rows, depth)
    w = draw(weights(dtype, channels, 0, channels, depth, narrow=[INT4, INT2]))
    bias, code = draw(biases(dtype, x, w, channels))
    out = draw(quants(dtype, sum_scale(dtype, x, depth)))
    return case(
        x,
        w,
        bias,
        results=[(dtype, out)],
        activation=draw(ACTIVATIONS),
        keep_num_dims=draw(st.booleans()),
        quantized_bias_type=code,
    )


@st.composite
def transposed(draw: Draw, dtype: DType) -> Case:
    kernel = (draw(st.integers(2, 4)), draw(st.integers(2, 4)))
    depth, channels = draw(EXTENT), draw(EXTENT)
    rows, columns = draw(EXTENT), draw(EXTENT)
    x = codes_of(dtype, draw(quants(dtype)), 1, rows, columns, depth)
    w = draw(weights(dtype, channels, 0, channels, *kernel, depth))
    size = const([1, 2 * rows, 2 * columns, channels])
    out = draw(quants(dtype, sum_scale(dtype, x, depth * 4)))
    tensors: list[Tensor] = [size, w, x]
    extra = {}
    if draw(st.booleans()):
        bias, code = draw(biases(dtype, x, w, channels))
        tensors.append(bias)
        extra = {"quantized_bias_type": code} if dtype is INT16 else {}
    activation = draw(ACTIVATIONS)
    return case(
        *tensors, results=[(dtype, out)], stride_h=2, stride_w=2, activation=activation, **extra
    )


@st.composite
def matrices(draw: Draw, dtype: DType) -> Case:
    batch, m, k, n = (draw(EXTENT) for _ in range(4))
    adj_x, adj_y = draw(st.booleans()), draw(st.booleans())
    left, right = [batch, k, m] if adj_x else [batch, m, k], [n, k] if adj_y else [k, n]
    x = codes_of(dtype, draw(quants(dtype)), *left)
    y = codes_of(dtype, draw(quants(dtype)), *([batch] if draw(st.booleans()) else []), *right)
    spread = 100 if dtype is not INT16 else 16000
    out = draw(quants(dtype, scale_of(x) * scale_of(y) * spread * math.sqrt(k)))
    return case(x, y, results=[(dtype, out)], adj_x=adj_x, adj_y=adj_y)


@st.composite
def joined(draw: Draw, dtype: DType) -> Case:
    shape = draw(shapes())
    axis = draw(st.integers(0, len(shape) - 1))
    parts = [
        codes_of(dtype, draw(quants(dtype)), *shape[:axis], draw(EXTENT), *shape[axis + 1 :])
        for _ in range(draw(st.integers(1, 3)))
    ]
    out = draw(st.sampled_from([p.quant for p in parts]) | quants(dtype))
    return case(*parts, results=[(dtype, out)], axis=axis)


@st.composite
def padded(draw: Draw, dtype: DType) -> Case:
    shape, quant = draw(shapes()), draw(quants(dtype))
    borders = [[draw(st.integers(0, 2)), draw(st.integers(0, 2))] for _ in shape]
    out = draw(st.just(quant) | quants(dtype))
    return case(codes_of(dtype, quant, *shape), const(borders), results=[(dtype, out)])


@st.composite
def spread_over_batch(draw: Draw, dtype: DType) -> Case:
    quant, blocks, before = draw(quants(dtype)), draw(st.integers(1, 3)), draw(st.integers(0, 2))
    width = draw(st.integers(1, 7))
    border = [before, -(width + before) % blocks]
    x = codes_of(dtype, quant, 1, width, width, draw(EXTENT))
    return case(x, const([blocks] * 2), const([border] * 2), results=[(dtype, quant)])


@st.composite
def resized(draw: Draw, dtype: DType) -> Case:
    quant = draw(quants(dtype))
    x = codes_of(dtype, quant, 1, draw(EXTENT), draw(EXTENT), draw(EXTENT))
    size = [draw(st.integers(1, 12)), draw(st.integers(1, 12))]
    corners, centers = draw(st.sampled_from([(False, False), (True, False), (False, True)]))
    return case(
        x,
        const(size),
        results=[(dtype, draw(st.just(quant) | quants(dtype)))],
        align_corners=corners,
        half_pixel_centers=centers,
    )


REQUANTIZED: dict[DType, Sequence[DType]] = {
    INT8: (INT8, UINT8),
    UINT8: (INT8, UINT8),
    INT16: (INT8, INT16, INT32),
    INT32: (INT8, INT16),
}
"""Types of codes that QUANTIZE makes of codes."""


@st.composite
def requantized(draw: Draw, dtype: DType) -> Case:
    target = draw(st.sampled_from(REQUANTIZED[dtype]))
    if dtype is INT32:
        x = codes(40, quant=Quant.of(1e-4), dtype=INT32, low=-40_000, high=40_000)
    else:
        x = codes_of(dtype, draw(quants(dtype)), *draw(shapes(2)))
    out = Quant.of(2e-7) if target is INT32 else draw(quants(target))
    return case(x, results=[(target, out)])


_SLOPES = st.sampled_from([0.1, 0.3, 1.5])
STRATEGIES: dict[str, Callable[[DType], st.SearchStrategy[Case]]] = {
    "ABS": elementwise,
    "ADD": sums,
    "AVERAGE_POOL_2D": pools,
    "BATCH_MATMUL": matrices,
    "CONCATENATION": joined,
    "CONV_2D": convolutions,
    "DEPTHWISE_CONV_2D": depthwise,
    "DIV": quotients,
    "ELU": elementwise,
    "EQUAL": comparisons,
    "EXP": powers,
    "FULLY_CONNECTED": fully_connected,
    "GELU": lambda dtype: elementwise(dtype, approximate=st.booleans()),
    "GREATER": comparisons,
    "GREATER_EQUAL": comparisons,
    "HARD_SWISH": swishes,
    "L2_NORMALIZATION": fixed(lambda dtype: 1 / 128, middle_zero),
    "LEAKY_RELU": lambda dtype: elementwise(dtype, alpha=_SLOPES),
    "LESS": comparisons,
    "LESS_EQUAL": comparisons,
    "LOG": elementwise,
    "LOGISTIC": fixed(lambda dtype: 2.0**-15 if dtype is INT16 else 1 / 256, low_zero),
    "LOG_SOFTMAX": fixed(lambda dtype: 1 / 16, lambda dtype: limits(dtype)[1]),
    "MAX_POOL_2D": pools,
    "MEAN": reductions,
    "MUL": products,
    "NOT_EQUAL": comparisons,
    "PAD": padded,
    "PRELU": prelus,
    "QUANTIZE": requantized,
    "REDUCE_PROD": reductions,
    "RELU": elementwise,
    "RELU6": elementwise,
    "RELU_0_TO_1": elementwise,
    "RELU_N1_TO_1": elementwise,
    "RESIZE_BILINEAR": resized,
    "RESIZE_NEAREST_NEIGHBOR": resized,
    "RSQRT": roots,
    "SOFTMAX": softmaxes,
    "SPACE_TO_BATCH_ND": spread_over_batch,
    "SQRT": roots,
    "SQUARED_DIFFERENCE": squares,
    "SUB": sums,
    "SUM": reductions,
    "TANH": fixed(lambda dtype: 2.0**-15 if dtype is INT16 else 1 / 128, middle_zero),
    "TRANSPOSE_CONV": transposed,
}
"""Operator → what to try it on, for codes of a type."""
