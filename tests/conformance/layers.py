"""Generators: layers, which have weights or windows."""

from __future__ import annotations

import numpy as np

from octolite.ir.types import FLOAT32, INT2, INT4, INT8, Activation, Padding
from octolite.ops import Operator
from octolite.ops.case import Case, Tensor, case, const, int8_weights, weights
from octolite.ops.pooling import Pool2D
from octolite.ops.resize import Resize
from tests.conformance.drawing import Drawer
from tests.conformance.registry import draws


def stored(d: Drawer, *shape: int, axis: int | None) -> Tensor:
    """Float weights, or codes of 8, 4 or 2 bits, with a scale for each channel or one."""
    match d.integer(0, 5):
        case 0 | 1 | 2:
            return weights(*shape)
        case 3:
            return int8_weights(*shape, axis=d.pick([axis, None]))
        case 4:
            return int8_weights(*shape, axis=axis)
        case _:
            return int8_weights(*shape, axis=axis, dtype=d.pick([INT4, INT2]))


def bias(d: Drawer, channels: int) -> Tensor | None:
    return weights(channels) if d.integer(0, 7) else None


@draws("CONV_2D")
def convolution(d: Drawer, operator: type[Operator]) -> Case:
    kernel = d.integer(1, 4), d.integer(1, 4)
    groups = d.pick([1, 1, 1, 2])
    group, channels = d.pick([1, 2, 3, 8, 16]), groups * d.pick([1, 2, 5, 8, 16])
    batch = d.pick([1, 2, 0])
    x = d.numbers(batch, d.integer(4, 11), d.integer(4, 11), groups * group, dtype=FLOAT32)
    w = stored(d, channels, *kernel, group, axis=0)
    return case(x, w, bias(d, channels), **d.attributes(operator, **window(d)))


def window(d: Drawer) -> dict[str, int]:
    strides, dilated = [d.integer(1, 3) for _ in "hw"], d.rarely()
    return {
        "stride_h": 1 if dilated else strides[0],
        "stride_w": 1 if dilated else strides[1],
        "dilation_h_factor": strides[0] if dilated else 1,
        "dilation_w_factor": strides[1] if dilated else 1,
    }


@draws("DEPTHWISE_CONV_2D")
def depthwise(d: Drawer, operator: type[Operator]) -> Case:
    depth, multiplier = d.pick([1, 2, 3, 8, 17]), d.pick([1, 1, 1, 2, 3])
    kernel = d.integer(1, 4), d.integer(1, 4)
    x = d.numbers(d.pick([1, 2, 0]), d.integer(4, 11), d.integer(4, 11), depth, dtype=FLOAT32)
    w = stored(d, 1, *kernel, depth * multiplier, axis=3)
    attributes = d.attributes(operator, depth_multiplier=multiplier, **window(d))
    return case(x, w, bias(d, depth * multiplier), **attributes)


@draws("TRANSPOSE_CONV")
def transposed(d: Drawer, operator: type[Operator]) -> Case:
    kernel, strides = (d.integer(1, 4), d.integer(1, 4)), (d.integer(1, 3), d.integer(1, 3))
    depth, channels = d.pick([1, 3, 8]), d.pick([1, 2, 5, 8])
    padding = d.pick(list(Padding))
    rows, columns = d.integer(1, 5), d.integer(1, 5)
    size = [
        n * s if padding is Padding.SAME else (n - 1) * s + k
        for n, s, k in zip((rows, columns), strides, kernel, strict=True)
    ]
    batch = d.pick([1, 2])
    shape = const(np.array([batch, *size, channels], np.int32))
    w = weights(channels, *kernel, depth)
    tensors = [shape, w, d.numbers(batch, rows, columns, depth, dtype=FLOAT32)]
    if d.flag():
        tensors.append(weights(channels))
    return case(
        *tensors, padding=padding, stride_h=strides[0], stride_w=strides[1],
        activation=d.pick([Activation.NONE, Activation.RELU, Activation.RELU6]),
    )  # fmt: skip


@draws("CONV_3D")
def convolution_3d(d: Drawer, operator: type[Operator]) -> Case:
    kernel, depth, channels = [d.integer(1, 3) for _ in "dhw"], d.integer(1, 4), d.integer(1, 5)
    x = d.numbers(d.pick([1, 2]), *(d.integer(3, 6) for _ in "dhw"), depth, dtype=FLOAT32)
    steps = {f"stride_{a}": d.integer(1, 2) for a in "dhw"}
    return case(x, weights(*kernel, depth, channels), bias(d, channels),
                **d.attributes(operator, **steps))  # fmt: skip


@draws("CONV_3D_TRANSPOSE")
def transposed_3d(d: Drawer, operator: type[Operator]) -> Case:
    kernel, depth, channels = [d.integer(1, 3) for _ in "dhw"], d.integer(1, 4), d.integer(1, 5)
    extents, steps = [d.integer(1, 4) for _ in "dhw"], [d.integer(1, 2) for _ in "dhw"]
    padding, batch = d.pick(list(Padding)), d.pick([1, 2])
    size = [
        n * s if padding is Padding.SAME else (n - 1) * s + k
        for n, s, k in zip(extents, steps, kernel, strict=True)
    ]
    shape = const(np.array([batch, *size, channels], np.int32))
    x = d.numbers(batch, *extents, depth, dtype=FLOAT32)
    strides = {f"stride_{a}": s for a, s in zip("dhw", steps, strict=True)}
    return case(shape, weights(*kernel, channels, depth), x, padding=padding, **strides)


@draws("FULLY_CONNECTED")
def fully_connected(d: Drawer, operator: type[Operator]) -> Case:
    depth, channels = d.pick([1, 3, 8, 16, 33, 64]), d.pick([1, 2, 5, 8, 17])
    outer = d.shape(1, 3)
    w = stored(d, channels, depth, axis=0)
    chosen = {"quantized_bias_type": 0, "weights_format": 0}
    return case(d.numbers(*outer, depth, dtype=FLOAT32), w, bias(d, channels),
                **d.attributes(operator, **chosen))  # fmt: skip


@draws("BATCH_MATMUL")
def matrices(d: Drawer, operator: type[Operator]) -> Case:
    m, k, n = (d.pick([1, 2, 3, 5, 8, 17]) for _ in "mkn")
    outer = d.shape(0, 3)
    adj_x, adj_y = d.flag(), d.flag()
    x = d.numbers(*d.broadcasting(outer), *((k, m) if adj_x else (m, k)))
    y = d.numbers(*d.broadcasting(outer), *((n, k) if adj_y else (k, n)))
    return case(x, y, adj_x=adj_x, adj_y=adj_y)


@draws(Pool2D)
def pool(d: Drawer, operator: type[Operator]) -> Case:
    image = d.pick([1, 2, 0]), d.integer(4, 10), d.integer(4, 10), d.pick([1, 3, 8, 17])
    sizes = {f"{k}": d.integer(1, 4) for k in ("filter_width", "filter_height")}
    strides = {f"stride_{a}": d.integer(1, 3) for a in "hw"}
    return case(d.numbers(*image), **d.attributes(operator, **sizes, **strides))


@draws(Resize)
def resize(d: Drawer, operator: type[Operator]) -> Case:
    image = d.pick([1, 2, 0]), d.integer(1, 9), d.integer(1, 9), d.pick([1, 3, 8])
    size = const(np.array([d.integer(1, 12), d.integer(1, 12)], np.int32))
    corners, centers = d.pick([(False, False), (True, False), (False, True)])
    return case(d.numbers(*image), size, align_corners=corners, half_pixel_centers=centers)


@draws("LOCAL_RESPONSE_NORMALIZATION")
def response(d: Drawer, operator: type[Operator]) -> Case:
    image = d.pick([1, 2]), d.integer(1, 5), d.integer(1, 5), d.pick([1, 3, 8, 17])
    return case(
        d.numbers(*image, dtype=FLOAT32), radius=d.integer(0, 5), bias=d.pick([1.0, 2.0]),
        alpha=d.pick([1.0, 0.1]), beta=d.pick([0.5, 0.75, 1.0]),
    )  # fmt: skip


@draws("RFFT2D")
def transform(d: Drawer, operator: type[Operator]) -> Case:
    shape, size = d.shape(2, 4, smallest=1), [2 ** d.integer(0, 4), 2 ** d.integer(1, 4)]
    return case(d.numbers(*shape, dtype=FLOAT32), const(np.array(size, np.int32)))


@draws("DEQUANTIZE")
def dequantize(d: Drawer, operator: type[Operator]) -> Case:
    if d.dtype.is_float:
        return case(d.numbers(*d.shape()))
    dtype = d.pick([INT8, INT4, INT2])
    shape = d.shape(1, 4, smallest=1)
    return case(int8_weights(*shape, axis=d.pick([None, 0, len(shape) - 1]), dtype=dtype))
