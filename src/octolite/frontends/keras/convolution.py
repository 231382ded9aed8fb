"""Convolutions in one, two and three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from octolite.errors import UnsupportedError
from octolite.frontends.keras.core import int32
from octolite.frontends.keras.engine import Call, layer
from octolite.frontends.keras.images import Images, rank_of
from octolite.ir.graph import Value
from octolite.ir.types import Padding

PADDINGS = {"same": Padding.SAME, "valid": Padding.VALID, "causal": Padding.VALID}
AXES = "dhw"


def window(strides: Sequence[int], dilations: Sequence[int], padding: Padding) -> dict[str, Any]:
    """The attributes that convolutions share; of two axes at least."""
    names = AXES[-max(len(strides), 2) :]
    strides, dilations = ([1] * (len(names) - len(v)) + list(v) for v in (strides, dilations))
    found: dict[str, Any] = {"padding": padding}
    found |= {f"stride_{a}": s for a, s in zip(names, strides, strict=True)}
    return found | {f"dilation_{a}_factor": d for a, d in zip(names, dilations, strict=True)}


class Sliding:
    """A layer that slides weights over images: where it moves, and what it sees beyond them."""

    def __init__(self, n: Call, x: Value) -> None:
        self.n, self.rank = n, rank_of(n)
        self.size = n.sizes("kernel_size", self.rank)
        self.strides = n.sizes("strides", self.rank, 1)
        self.dilations = n.sizes("dilation_rate", self.rank, 1)
        self.padding = n.choice("padding", PADDINGS, "valid")
        self.images = Images(n, n.real(x), self.rank)
        if n.text("padding", "valid") == "causal":
            past = (self.size[0] - 1) * self.dilations[0]
            borders = int32(0, 0, 0, 0, past, 0, 0, 0).reshape(4, 2)
            self.images.x = n.op("PAD", self.images.x, borders)

    def kernel(self, name: str, *channels: int) -> Value:
        """A kernel [height, width, …], or [depth, height, width, …]."""
        n = self.n
        found = n.weight(name, *self.size, *channels)
        return n.reshape(found, (1, *self.size, *channels)) if self.rank == 1 else found

    @property
    def window(self) -> dict[str, Any]:
        return window(self.strides, self.dilations, self.padding)


def _bias(n: Call, channels: int) -> Value | None:
    return n.optional("bias", channels)


# -- ordinary ---------------------------------------------------------------------------------


@layer("Conv1D", "Conv2D", "Conv3D", weights="kernel bias?use_bias", masks="kept")
def convolution(n: Call, x: Value) -> Value:
    """With groups, dilation and causal padding."""
    s = Sliding(n, x)
    filters, groups = n.count("filters"), n.count("groups", 1)
    depth = n.extent(s.images.x, -1)
    if depth % groups or filters % groups:
        raise UnsupportedError(f"{n.op_type} of {depth} channels in {groups} groups")
    kernel = s.kernel("kernel", depth // groups, filters)
    bias = _bias(n, filters)
    if s.rank == 3:
        y = _volume(n, s, kernel, bias, groups)
    elif groups == depth > 1:
        w = n.reshape(kernel, (1, *_extents(kernel)[:2], filters))
        attributes = s.window | {"depth_multiplier": filters // depth}
        y = n.op("DEPTHWISE_CONV_2D", s.images.x, w, bias, **attributes)
    else:
        y = n.op("CONV_2D", s.images.x, n.transpose(kernel, (3, 0, 1, 2)), bias, **s.window)
    return n.activate(s.images.result(y))


def _volume(n: Call, s: Sliding, kernel: Value, bias: Value | None, groups: int) -> Value:
    """CONV_3D knows no groups: each becomes an operator."""
    if groups == 1:
        return n.op("CONV_3D", s.images.x, kernel, bias, **s.window)
    parts = n.ops("SPLIT", int32(4), s.images.x, num_splits=groups)
    kernels = n.ops("SPLIT", int32(4), kernel, num_splits=groups)
    biases: Sequence[Value | None] = [None] * groups
    if bias is not None:
        biases = n.ops("SPLIT", int32(0), bias, num_splits=groups)
    results = [
        n.op("CONV_3D", *given, **s.window) for given in zip(parts, kernels, biases, strict=True)
    ]
    return n.op("CONCATENATION", *results, axis=4)


def _extents(x: Value) -> list[int]:
    return [d or 0 for d in x.shape or ()]


# -- by channel -------------------------------------------------------------------------------


def _depthwise(n: Call, s: Sliding, name: str, bias: Value | None) -> Value:
    depth, multiplier = n.extent(s.images.x, -1), n.count("depth_multiplier", 1)
    kernel = s.kernel(name, depth, multiplier)
    w = n.reshape(kernel, (1, *_extents(kernel)[:2], depth * multiplier))
    attributes = s.window | {"depth_multiplier": multiplier}
    return n.op("DEPTHWISE_CONV_2D", s.images.x, w, bias, **attributes)


def _kernel_name(n: Call) -> str:
    return "depthwise_kernel" if "depthwise_kernel" in n.layer.stored else "kernel"


@layer("DepthwiseConv1D", "DepthwiseConv2D", weights="kernel bias?use_bias", masks="kept")
def depthwise_convolution(n: Call, x: Value) -> Value:
    """DEPTHWISE_CONV_2D."""
    s = Sliding(n, x)
    bias = _bias(n, n.extent(s.images.x, -1) * n.count("depth_multiplier", 1))
    return n.activate(s.images.result(_depthwise(n, s, _kernel_name(n), bias)))


@layer(
    "SeparableConv1D", "SeparableConv2D", masks="kept",
    weights="depthwise_kernel pointwise_kernel bias?use_bias",
)  # fmt: skip
def separable_convolution(n: Call, x: Value) -> Value:
    """By channel, then across channels."""
    s = Sliding(n, x)
    y = _depthwise(n, s, "depthwise_kernel", None)
    filters, depth = n.count("filters"), n.extent(y, -1)
    point = n.weight("pointwise_kernel", *[1] * s.rank, depth, filters)
    w = n.view(point, ("T", "pointwise"), lambda a: np.ascontiguousarray(
        a.reshape(1, 1, depth, filters).transpose(3, 0, 1, 2)))  # fmt: skip
    y = n.op("CONV_2D", y, w, _bias(n, filters), **window([1, 1], [1, 1], Padding.VALID))
    return n.activate(s.images.result(y))


# -- transposed -------------------------------------------------------------------------------


@layer(
    "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose",
    weights="kernel bias?use_bias", masks="kept",
)  # fmt: skip
def transposed_convolution(n: Call, x: Value) -> Value:
    """A dilated kernel is one with zeros in it."""
    s = Sliding(n, x)
    filters, depth = n.count("filters"), n.extent(s.images.x, -1)
    if n.count("groups", 1) != 1:
        raise UnsupportedError(f"{n.op_type} in groups")
    kernel = _spread(n, s.kernel("kernel", filters, depth), s)
    spatial: list[int | Value] = [] if s.rank > 1 else [1]
    spatial += [_grown(n, s, axis) for axis in range(s.rank)]
    shape = n.extents([(s.images.x, 0), *spatial, filters])
    attributes = window(s.strides, [1] * s.rank, s.padding)
    if s.rank == 3:
        y = n.op("CONV_3D_TRANSPOSE", shape, kernel, s.images.x, _bias(n, filters), **attributes)
    else:
        w = n.transpose(kernel, (2, 0, 1, 3))  # HWOI → OHWI
        moves = {k: v for k, v in attributes.items() if not k.startswith("dilation")}
        y = n.op("TRANSPOSE_CONV", shape, w, s.images.x, _bias(n, filters), **moves)
    return n.activate(s.images.result(y))


def _spread(n: Call, kernel: Value, s: Sliding) -> Value:
    """The kernel with ``dilation - 1`` zeros between its elements."""
    if all(d == 1 for d in s.dilations):
        return kernel
    dilations = [1] * (2 - s.rank) + s.dilations

    def change(w: Any) -> Any:
        sizes = [(k - 1) * d + 1 for k, d in zip(w.shape, dilations, strict=False)]
        wide = np.zeros((*sizes, *w.shape[len(sizes) :]), w.dtype)
        wide[tuple(slice(None, None, d) for d in dilations)] = w
        return wide

    return n.view(kernel, ("D", *dilations), change)


def _grown(n: Call, s: Sliding, axis: int) -> int | Value:
    """The extent of the result along an axis, as Keras has it."""
    size = (s.size[axis] - 1) * s.dilations[axis] + 1
    stride = s.strides[axis]
    given = n.get("output_padding")
    if given is not None:
        extra = n.ints("output_padding")
        more = extra[axis] if len(extra) > 1 else extra[0]
        pad = size // 2 if s.padding is Padding.SAME else 0
        add = size - stride - 2 * pad + more
    else:
        add = 0 if s.padding is Padding.SAME else max(size - stride, 0)
    at = axis + (2 if s.rank == 1 else 1)
    known = n.shape(s.images.x)[at]
    if known is not None:
        return known * stride + add
    return n.op("ADD", n.op("MUL", n.scalar(s.images.x, at), stride), add)
