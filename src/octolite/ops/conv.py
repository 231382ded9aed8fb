"""CONV_2D and DEPTHWISE_CONV_2D: convolutions of NHWC images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from octolite.errors import ShapeError
from octolite.ir import numerics
from octolite.ir.fixed_point import Codes, OutputStage
from octolite.ir.numerics import QuantizedRows
from octolite.ir.types import (
    FLOAT32,
    INT4,
    INT8,
    INT16,
    UINT8,
    Activation,
    Array,
    Dim,
    Operand,
    Padding,
    Shape,
    TensorType,
)
from octolite.kernels import spec
from octolite.ops.base import Operator, QuantRule, attr, weight_quant
from octolite.ops.case import case, f32, int8_weights, weights
from octolite.ops.shapes import rank_of
from octolite.ops.sums import codes_of_sums, quantized_layer, takes_weights
from octolite.ops.windows import Windows


class Convolution(Operator, abstract=True):
    """What both convolutions share: weights [*, kernel_h, kernel_w, *] slide over x [n, h, w, c].

    There is no attribute that says how activations of the hybrid form are quantized; it is
    asymmetric, which suits what comes out of a ReLU.
    """

    inputs = "input weights bias?"
    padding: Padding = attr(Padding.SAME)
    stride_w: int = attr(1)
    stride_h: int = attr(1)
    activation: Activation = attr(Activation.NONE, "FusedActivationFunction")
    dilation_w_factor: int = attr(1)
    dilation_h_factor: int = attr(1)
    integer_types = (INT8, UINT8, INT16)

    def is_integer(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> bool:
        axis = self.quant.weights["weights"]
        return super().is_integer(inputs, outputs) and takes_weights(inputs[0], inputs[1], axis)

    def windows(self, kernel: Sequence[int]) -> Windows:
        """The windows of weights that are ``kernel`` (height, width) large."""
        return Windows(
            (kernel[0], kernel[1]),
            (self.stride_h, self.stride_w),
            (self.dilation_h_factor, self.dilation_w_factor),
            self.padding,
        )

    @abstractmethod
    def layer(
        self, inputs: Sequence[Operand | None], hybrid: bool, activation: Activation
    ) -> spec.Conv2D | spec.DepthwiseConv2D | None:
        """What the kernels are told of the layer; ``None`` where shapes are not known."""

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.Request | None:
        x, w = inputs[0], inputs[1]
        if x is None or w is None or w.data is None or x.dtype is not FLOAT32:
            return None
        hybrid = self.is_hybrid(inputs)
        return self.layer(inputs, hybrid, self.activation) if hybrid or w.dtype is FLOAT32 else None

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> spec.Quantized | None:
        layer = self.layer(inputs, True, Activation.NONE)
        if layer is None:
            return None
        stage = self._stage(inputs)
        return quantized_layer(inputs, outputs[0], layer, self.activation, stage)

    @staticmethod
    def _stage(inputs: Sequence[Operand | None]) -> OutputStage:
        return OutputStage.of_convolution(inputs[0], inputs[2] if len(inputs) > 2 else None)

    def _result(self, x: Operand, w: Operand, channels: Dim) -> Sequence[TensorType]:
        shape: Shape = x.shape if x.shape is not None else (None,) * 4
        kernel = (None, None) if w.shape is None else w.shape[1:3]
        if kernel[0] is None or kernel[1] is None:
            return [TensorType(x.dtype, (shape[0], None, None, channels))]
        extents = self.windows((kernel[0], kernel[1])).extents(shape)
        return [TensorType(x.dtype, (shape[0], *extents, channels))]

    def geometry(self, inputs: Sequence[Operand | None]) -> dict[str, Any]:
        x, w = inputs[0], inputs[1]
        assert x is not None
        assert x.shape is not None
        assert w is not None
        assert w.data is not None
        windows = self.windows(w.data.shape[1:3])
        return {"padding": windows.before(x.shape), "output_hw": windows.extents(x.shape)}


class Conv2D(Convolution):
    """``out = act(x * weights + bias)``; weights [out, kernel_h, kernel_w, c / groups].

    The number of groups follows from the shapes. LiteRT insists on a bias, be it zeros, and in a
    grouped hybrid convolution on a scale per channel.
    """

    name = "CONV_2D"
    spread = "sums"
    options = "Conv2DOptions"
    quantized_bias_type: int = attr(0)
    quant = QuantRule(weights={"weights": 0}, hybrid=True, narrow="any")
    dtype_versions = {INT8: 3, INT16: 4}

    def infer(self, x: Operand, w: Operand, bias: Operand | None = None) -> Sequence[TensorType]:
        shape = rank_of(x, "input", 4)
        filters = rank_of(w, "weights", 4)
        channels = None if filters is None else filters[0]
        groups = self.groups(x, w)
        if groups is not None and channels is not None and channels % groups:
            raise ShapeError(
                f"weights {w.name!r} {filters} of {channels} channels do not fit the {groups} "
                f"groups that input {x.name!r} {shape} gives"
            )
        check_bias(bias, w, channels)
        return self._result(x, w, channels)

    @staticmethod
    def groups(x: Operand, w: Operand) -> int | None:
        """In how many groups the channels fall, if known. Raises :class:`ShapeError`."""
        depth = None if x.shape is None else x.shape[3]
        group = None if w.shape is None else w.shape[3]
        if depth is None or group is None:
            return None
        if group == 0 or depth % group:
            raise ShapeError(
                f"input {x.name!r} {x.shape} has {depth} channels, weights {w.name!r} {w.shape} "
                f"read {group}: not a whole number of groups"
            )
        return max(depth // group, 1)

    def reference(self, x: Array, w: Array, bias: Array | None = None) -> Array:
        patches = self.windows(w.shape[1:3]).patches(x)
        out = np.matmul(*_grouped(patches, w))
        out = _ungrouped(out).reshape(*patches.shape[:3], len(w))
        return numerics.activate(out if bias is None else out + bias, self.activation)

    def integer(
        self,
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
        x: Array,
        w: Array,
        bias: Array | None = None,
    ) -> Array:
        # Floats hold these sums exactly, and are what BLAS is fast at.
        few = x.itemsize == 1 and w[0].size * 255**2 < 2**24
        real = np.float32 if few else np.float64
        patches = self.windows(w.shape[1:3]).patches(Codes.of(inputs[0]).centred(x).astype(real))
        filters = Codes.of(inputs[1]).centred(w).astype(real)
        sums = _ungrouped(np.matmul(*_grouped(patches, filters))).astype(np.int64)
        stage = self._stage(inputs)
        out = codes_of_sums(sums, bias, inputs[0], inputs[1], outputs[0], self.activation, stage)
        return out.reshape(*patches.shape[:3], len(w))

    def hybrid(
        self, inputs: Sequence[Operand | None], x: Array, w: Array, bias: Array | None = None
    ) -> Array:
        windows = self.windows(w.shape[1:3])
        if windows.kernel == (1, 1) and x.shape[3] == w.shape[3]:  # see spec.per_pixel
            pixels = windows.patches(x)
            rows = numerics.quantize_rows(pixels.reshape(-1, w.shape[3]), asymmetric=True)
            patches = rows.q.reshape(pixels.shape)
        else:
            images = _quantize_images(x)
            patches = windows.patches(images.q.reshape(x.shape), images.zero_point)
            rows = _per_output(images, patches)
        acc = _ungrouped(numerics.exact_product(*_grouped(patches, w)))
        sums = w.sum(axis=(1, 2, 3), dtype=np.int32)
        scale = weight_quant(inputs, 1).scale
        out = numerics.hybrid_output(acc, rows, scale, sums, bias, self.activation)
        return out.reshape(*patches.shape[:3], len(w))

    def layer(
        self, inputs: Sequence[Operand | None], hybrid: bool, activation: Activation
    ) -> spec.Conv2D | None:
        x, w = inputs[0], inputs[1]
        if x is None or w is None or w.data is None or not (groups := self.groups(x, w)):
            return None
        channels, height, width, depth = w.data.shape
        windows = self.windows((height, width))
        return spec.Conv2D(
            windows.kernel,
            depth * groups,
            channels,
            windows.stride,
            windows.dilation,
            groups,
            activation,
            hybrid,
        )

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        x, w = inputs[0], inputs[1]
        needed = [super().version(inputs, outputs)]
        if self.is_hybrid(inputs) and w is not None and w.quant is not None:
            needed.append(5 if w.quant.per_channel else 2)
        if x is not None and w is not None and (self.groups(x, w) or 1) > 1:
            needed.append(6)
        return max(needed)

    cases = (
        case(f32(2, 7, 6, 3), weights(5, 3, 3, 3), weights(5)),
        case(f32(1, 7, 6, 3), weights(5, 3, 2, 3), weights(5), padding=Padding.VALID),
        case(f32(1, 7, 6, 3), weights(5, 3, 2, 3), None, litert=False),
        case(f32(2, 5, 5, 8), weights(4, 1, 1, 8), weights(4), activation=Activation.RELU6),
        case(f32(1, 8, 9, 3), weights(4, 3, 3, 3), weights(4), stride_w=3, stride_h=2),
        case(
            f32(1, 9, 9, 3),
            weights(4, 3, 3, 3),
            weights(4),
            dilation_w_factor=3,
            dilation_h_factor=2,
            activation=Activation.RELU,
        ),
        case(f32(2, 6, 6, 6), weights(9, 3, 3, 2), weights(9)),
        case(f32(2, 9, 9, 8), int8_weights(6, 3, 3, 8), weights(6)),
        case(f32(2, 9, 9, 16), int8_weights(6, 1, 1, 16), weights(6), stride_w=2, stride_h=2),
        case(f32(2, 9, 9, 8, low=-0.1), int8_weights(6, 3, 3, 8, axis=None), weights(6)),
        case(f32(2, 9, 9, 8), int8_weights(6, 3, 3, 8, dtype=INT4), weights(6)),
        case(f32(1, 9, 9, 8), int8_weights(6, 5, 5, 4), weights(6), padding=Padding.VALID),
    )


class DepthwiseConv2D(Convolution):
    """Every channel of x with filters of its own; weights [1, kernel_h, kernel_w, c · multiplier].

    Results k · multiplier … (k + 1) · multiplier - 1 come from channel k. The multiplier follows
    from the shapes; the attribute only repeats it. LiteRT's hybrid form takes a scale per channel
    for granted.
    """

    name = "DEPTHWISE_CONV_2D"
    spread = "sums"
    options = "DepthwiseConv2DOptions"
    depth_multiplier: int = attr(1)
    quant = QuantRule(weights={"weights": 3}, hybrid=True, single_scale=False)
    dtype_versions = {INT8: 3, INT16: 5}

    def infer(self, x: Operand, w: Operand, bias: Operand | None = None) -> Sequence[TensorType]:
        rank_of(x, "input", 4)
        filters = rank_of(w, "weights", 4)
        if filters is not None and filters[0] not in (None, 1):
            raise ShapeError(f"weights {w.name!r} {filters} should begin with an extent of 1")
        multiplier = self.multiplier(x, w)
        channels = None if filters is None else filters[3]
        if channels is None and x.shape is not None and x.shape[3] is not None:
            channels = x.shape[3] * (multiplier or self.depth_multiplier)
        check_bias(bias, w, channels)
        return self._result(x, w, channels)

    @staticmethod
    def multiplier(x: Operand, w: Operand) -> int | None:
        """How many results each channel has, if known. Raises :class:`ShapeError`."""
        depth = None if x.shape is None else x.shape[3]
        channels = None if w.shape is None else w.shape[3]
        if depth is None or channels is None:
            return None
        if depth == 0 or channels % depth:
            raise ShapeError(
                f"input {x.name!r} {x.shape} has {depth} channels, weights {w.name!r} {w.shape} "
                f"have {channels}: not a multiple"
            )
        return channels // depth

    def _accumulate(self, x: Array, w: Array, fill: Array | float) -> Array:
        """Σ over the window, in the type of ``w``: [n, out_h, out_w, c · multiplier]."""
        patches = self.windows(w.shape[1:3]).patches(x, fill)
        depth = x.shape[3]
        filters = w.reshape(*w.shape[1:3], depth, w.shape[3] // depth)
        out = np.zeros((*patches.shape[:3], *filters.shape[2:]), w.dtype)
        for i, j in np.ndindex(*w.shape[1:3]):
            out += patches[:, :, :, i, j, :, None] * filters[i, j]
        return out.reshape(*out.shape[:3], w.shape[3])

    def reference(self, x: Array, w: Array, bias: Array | None = None) -> Array:
        out = self._accumulate(x, w, 0)
        return numerics.activate(out if bias is None else out + bias, self.activation)

    def integer(
        self,
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
        x: Array,
        w: Array,
        bias: Array | None = None,
    ) -> Array:
        codes, filters = Codes.of(inputs[0]).centred(x), Codes.of(inputs[1]).centred(w)
        # float32 holds sums of 8-bit products under 2²⁴, in half the memory of integers.
        few = x.itemsize == 1 and filters[..., 0].size * 255**2 < 2**24
        real = np.float32 if few else np.float64
        sums = self._accumulate(codes.astype(real), filters.astype(real), 0).astype(np.int64)
        stage = self._stage(inputs)
        return codes_of_sums(sums, bias, inputs[0], inputs[1], outputs[0], self.activation, stage)

    def hybrid(
        self, inputs: Sequence[Operand | None], x: Array, w: Array, bias: Array | None = None
    ) -> Array:
        images = _quantize_images(x)
        acc = self._accumulate(images.q.reshape(x.shape), w.astype(np.int32), images.zero_point)
        sums = w.sum(axis=(0, 1, 2), dtype=np.int32)
        scale = weight_quant(inputs, 1).scale
        rows = _per_output(images, acc)
        out = numerics.hybrid_output(
            acc.reshape(-1, w.shape[3]), rows, scale, sums, bias, self.activation
        )
        return out.reshape(acc.shape)

    def layer(
        self, inputs: Sequence[Operand | None], hybrid: bool, activation: Activation
    ) -> spec.DepthwiseConv2D | None:
        x, w = inputs[0], inputs[1]
        if x is None or w is None or w.data is None or not (multiplier := self.multiplier(x, w)):
            return None
        windows = self.windows(w.data.shape[1:3])
        return spec.DepthwiseConv2D(
            windows.kernel,
            w.data.shape[3] // multiplier,
            multiplier,
            windows.stride,
            windows.dilation,
            activation,
            hybrid,
        )

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        w = inputs[1]
        needed = [super().version(inputs, outputs)]
        if self.is_hybrid(inputs) and w is not None and w.quant is not None:
            needed.append(6 if w.quant.per_channel else 4)
        if (self.dilation_h_factor, self.dilation_w_factor) != (1, 1):
            needed.append(2)
        return max(needed)

    cases = (
        case(f32(2, 7, 6, 3), weights(1, 3, 3, 3), weights(3)),
        case(
            f32(1, 7, 6, 3),
            weights(1, 3, 2, 6),
            None,
            padding=Padding.VALID,
            depth_multiplier=2,
        ),
        case(
            f32(1, 8, 9, 4),
            weights(1, 3, 3, 4),
            weights(4),
            stride_w=2,
            stride_h=2,
            activation=Activation.RELU6,
        ),
        case(
            f32(1, 9, 9, 3),
            weights(1, 3, 3, 3),
            weights(3),
            dilation_w_factor=2,
            dilation_h_factor=2,
        ),
        case(f32(2, 9, 9, 8), int8_weights(1, 3, 3, 8, axis=3), weights(8)),
        case(
            f32(2, 9, 9, 4),
            int8_weights(1, 3, 3, 8, axis=3),
            None,
            stride_w=2,
            stride_h=2,
            depth_multiplier=2,
        ),
    )


def check_bias(bias: Operand | None, w: Operand, channels: Dim) -> None:
    """Raise :class:`ShapeError` when ``bias`` is not one number for each channel of ``w``."""
    if bias is None or bias.shape is None or channels is None:
        return
    if len(bias.shape) != 1 or bias.shape[0] not in (None, channels):
        raise ShapeError(
            f"bias {bias.name!r} has shape {bias.shape}, expected ({channels},) as weights "
            f"{w.name!r} {w.shape} have {channels} channels"
        )


def _grouped(patches: Array, w: Array) -> tuple[Array, Array]:
    """Patches and weights as two stacks of matrices, one for each group, ready to multiply.

    [n, oh, ow, kh, kw, c] becomes [groups, n·oh·ow, kh·kw·c/groups], and [out, kh, kw, c/groups]
    becomes [groups, kh·kw·c/groups, out/groups].
    """
    count, height, width, depth = w.shape
    groups = max(patches.shape[5] // depth, 1) if depth else 1
    rows = patches.shape[0] * patches.shape[1] * patches.shape[2]
    split = patches.reshape(rows, height * width, groups, depth).transpose(2, 0, 1, 3)
    filters = w.reshape(groups, count // groups, height * width * depth)
    return split.reshape(groups, rows, height * width * depth), filters.transpose(0, 2, 1)


def _ungrouped(out: Array) -> Array:
    """[groups, rows, out / groups] as [rows, out]."""
    groups, rows, channels = out.shape
    return out.transpose(1, 0, 2).reshape(rows, groups * channels)


def _quantize_images(x: Array) -> QuantizedRows:
    """Each image of a batch by its own range: what a row is, is an image."""
    return numerics.quantize_rows(x.reshape(len(x), x[:1].size), asymmetric=True)


def _per_output(images: QuantizedRows, out: Array) -> QuantizedRows:
    """Scales and zero points repeated for every pixel of ``out`` [n, oh, ow, ...]."""
    pixels = out.shape[1] * out.shape[2]
    return QuantizedRows(
        images.q, np.repeat(images.scale, pixels), np.repeat(images.zero_point, pixels)
    )
