"""Layers: convolutions, matrix products, normalization, pooling, activations, resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from octolite.errors import UnsupportedError
from octolite.frontends import compose
from octolite.frontends.einsum import einsum
from octolite.frontends.graphdef.engine import Site, tf
from octolite.ir.graph import Value
from octolite.ir.types import FLOAT32, Padding

NCHW_TO_NHWC, NHWC_TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
_PADDINGS = {"SAME": Padding.SAME, "VALID": Padding.VALID, "EXPLICIT": Padding.VALID}
_LAYOUTS = {"NHWC": False, "NCHW": True}


class Images:
    """A node that slides windows over images: its layout, and its padding, in TFLite's terms.

    TFLite knows NHWC alone; around a node in NCHW go two TRANSPOSE, most of which the passes
    cancel.
    """

    def __init__(self, n: Site, x: Value, border: float | None = 0.0) -> None:
        self.n = n
        self.channels_first = n.choice("data_format", _LAYOUTS, "NHWC")
        self.x = n.transpose(x, NCHW_TO_NHWC) if self.channels_first else x
        self.padding = n.choice("padding", _PADDINGS)
        if n.text("padding") == "EXPLICIT":
            self._pad(n.ints("explicit_paddings"), border)

    def _pad(self, amounts: list[int], border: float | None) -> None:
        if len(amounts) != 8:
            raise UnsupportedError(f"{self.n.op_type} with {len(amounts)} explicit paddings")
        if border is None:
            raise UnsupportedError(f"{self.n.op_type} with explicit paddings")
        pairs = np.asarray(self.channels_last(list(zip(amounts[::2], amounts[1::2], strict=True))))
        pairs = pairs.astype(np.int32)
        if border == 0:
            self.x = self.n.op("PAD", self.x, pairs)
        else:
            self.x = self.n.op("PADV2", self.x, pairs, border)

    def channels_last(self, per_axis: Sequence[Any]) -> list[Any]:
        """A list with an item for each axis, in the order n, h, w, c."""
        order = NCHW_TO_NHWC if self.channels_first else range(4)
        return [per_axis[i] for i in order]

    def pair(self, name: str, default: Sequence[int] | None = None) -> tuple[int, int]:
        """Height and width of an attribute that has a number for each axis."""
        per_axis = self.n.ints(name, default)
        if len(per_axis) != 4:
            raise UnsupportedError(f"{self.n.op_type} with {name} {per_axis}: 2-D images only")
        n, h, w, c = self.channels_last(per_axis)
        if (n, c) != (1, 1):
            raise UnsupportedError(f"{self.n.op_type} with {name} {per_axis} across batch or depth")
        return h, w

    def window(self) -> dict[str, Any]:
        """The attributes that all convolutions share."""
        stride_h, stride_w = self.pair("strides")
        return {"padding": self.padding, "stride_h": stride_h, "stride_w": stride_w}

    def dilation(self) -> dict[str, int]:
        h, w = self.pair("dilations", (1, 1, 1, 1))
        return {"dilation_h_factor": h, "dilation_w_factor": w}

    def result(self, y: Value) -> Value:
        return self.n.transpose(y, NHWC_TO_NCHW) if self.channels_first else y


# -- convolutions and matrix products ----------------------------------------------------------


@tf("Conv2D")
def conv2d(n: Site, x: Value, weights: Value) -> Value:
    images = Images(n, x)
    w = n.transpose(weights, (3, 0, 1, 2))  # HWIO → OHWI
    return images.result(n.op("CONV_2D", images.x, w, None, **images.window(), **images.dilation()))


@tf("DepthwiseConv2dNative")
def depthwise_conv2d(n: Site, x: Value, weights: Value) -> Value:
    images = Images(n, x)
    if weights.shape is None or None in weights.shape:
        raise UnsupportedError(f"{n.op_type} needs weights of known shape")
    h, w, channels, multiplier = (d or 0 for d in weights.shape)
    filters = n.reshape(weights, (1, h, w, channels * multiplier))
    attributes = images.window() | images.dilation() | {"depth_multiplier": multiplier}
    return images.result(n.op("DEPTHWISE_CONV_2D", images.x, filters, None, **attributes))


@tf("Conv2DBackpropInput")
def conv2d_transpose(n: Site, sizes: Value, weights: Value, x: Value) -> Value:
    images = Images(n, x, border=None)
    if images.pair("dilations", (1, 1, 1, 1)) != (1, 1):
        raise UnsupportedError(f"{n.op_type} with dilation")
    shape = n.int32(sizes)
    if images.channels_first:
        shape = n.op("GATHER", shape, NCHW_TO_NHWC)
    w = n.transpose(weights, (2, 0, 1, 3))  # HWOI → OHWI
    return images.result(n.op("TRANSPOSE_CONV", shape, w, images.x, None, **images.window()))


@tf("MatMul")
def matmul(n: Site, a: Value, b: Value) -> Value:
    return compose.product(n, a, b, n.flag("transpose_a", False), n.flag("transpose_b", False))


@tf("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def batch_matmul(n: Site, a: Value, b: Value) -> Value:
    return compose.product(n, a, b, n.flag("adj_x", False), n.flag("adj_y", False))


@tf("Einsum")
def einsum_(n: Site, *operands: Value) -> Value:
    return einsum(n, n.text("equation"), *operands)


# -- bias and normalization --------------------------------------------------------------------


def per_channel(n: Site, x: Value, parameter: Value) -> Value:
    """A parameter with a number per channel, shaped to broadcast over ``x``."""
    if not n.choice("data_format", _LAYOUTS, "NHWC"):
        return parameter
    return n.reshape(parameter, (-1, *(1,) * (n.rank(x) - 2)))


@tf("BiasAdd", "BiasAddV1")
def bias_add(n: Site, x: Value, bias: Value) -> Value:
    return n.op("ADD", x, per_channel(n, x, bias))


@tf("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def fused_batch_norm(
    n: Site, x: Value, scale: Value, offset: Value, mean: Value, variance: Value
) -> tuple[Value, ...]:
    if n.flag("is_training", True):
        raise UnsupportedError(
            f"{n.op_type} in training mode, which normalizes by its batch: freeze the graph for "
            "inference (is_training=False)"
        )
    return (
        _normalize(n, x, scale, offset, mean, variance, n.number("epsilon", 1e-4)),
        mean,
        variance,
    )


@tf("BatchNormWithGlobalNormalization")
def batch_norm(
    n: Site, x: Value, mean: Value, variance: Value, offset: Value, scale: Value
) -> Value:
    if not n.flag("scale_after_normalization"):
        scale = n.like(scale, 1)
    return _normalize(n, x, scale, offset, mean, variance, n.number("variance_epsilon"))


def _normalize(
    n: Site, x: Value, scale: Value, offset: Value, mean: Value, variance: Value, epsilon: float
) -> Value:
    factor, shift = compose.normalization(n, scale, offset, mean, variance, epsilon)
    scaled = n.op("MUL", x, per_channel(n, x, factor))
    return n.op("ADD", scaled, per_channel(n, x, shift))


@tf("LRN")
def local_response_normalization(n: Site, x: Value) -> Value:
    return n.op(
        "LOCAL_RESPONSE_NORMALIZATION",
        x,
        radius=n.integer("depth_radius", 5),
        bias=n.number("bias", 1.0),
        alpha=n.number("alpha", 1.0),
        beta=n.number("beta", 0.5),
    )


# -- pooling -----------------------------------------------------------------------------------


def _pool(n: Site, x: Value, operator: str, border: float | None) -> Value:
    images = Images(n, x, border)
    h, w = images.pair("ksize")
    attributes = images.window() | {"filter_height": h, "filter_width": w}
    return images.result(n.op(operator, images.x, **attributes))


@tf("AvgPool")
def avg_pool(n: Site, x: Value) -> Value:
    return _pool(n, x, "AVERAGE_POOL_2D", None)


@tf("MaxPool")
def max_pool(n: Site, x: Value) -> Value:
    return _pool(n, x, "MAX_POOL_2D", float(np.finfo(np.float32).min))


# -- activations -------------------------------------------------------------------------------


@tf("LeakyRelu")
def leaky_relu(n: Site, x: Value) -> Value:
    return n.op("LEAKY_RELU", x, alpha=n.number("alpha", 0.2))


tf("Selu")(compose.selu)
tf("Softplus")(compose.softplus)
tf("Softsign")(compose.softsign)


# -- resizing and blocks -----------------------------------------------------------------------


@tf("ResizeBilinear", "ResizeNearestNeighbor")
def resize(n: Site, x: Value, size: Value) -> Value:
    grid = {name: n.flag(name, False) for name in ("align_corners", "half_pixel_centers")}
    if n.op_type == "ResizeBilinear":
        return n.op("RESIZE_BILINEAR", n.cast(x, FLOAT32), n.int32(size), **grid)
    return n.op("RESIZE_NEAREST_NEIGHBOR", x, n.int32(size), **grid)


@tf("SpaceToDepth", "DepthToSpace")
def space_depth(n: Site, x: Value) -> Value:
    channels_first = n.choice("data_format", _LAYOUTS, "NHWC")
    operator = "SPACE_TO_DEPTH" if n.op_type == "SpaceToDepth" else "DEPTH_TO_SPACE"
    x = n.transpose(x, NCHW_TO_NHWC) if channels_first else x
    y = n.op(operator, x, block_size=n.integer("block_size"))
    return n.transpose(y, NHWC_TO_NCHW) if channels_first else y
