"""TRANSPOSE_CONV: the gradient of a convolution, which makes images larger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from octolite.errors import ShapeError
from octolite.ir import numerics
from octolite.ir.fixed_point import Codes, OutputStage
from octolite.ir.types import (
    FLOAT32,
    INT8,
    INT16,
    UINT8,
    Activation,
    Array,
    Operand,
    Padding,
    Shape,
    TensorType,
)
from octolite.kernels import spec
from octolite.ops.base import Operator, QuantRule, attr, is_symmetric, weight_quant
from octolite.ops.case import case, const, f32, int8_weights, weights
from octolite.ops.conv import check_bias
from octolite.ops.shapes import constant_ints, rank_of, window_padding
from octolite.ops.sums import codes_of_sums, takes_weights

MAX_PHASES = 1024
"""Strides (of both axes, multiplied) up to which a kernel is built: each phase has its own."""


def layer_shapes(x: Operand, w: Operand, bias: Operand | None) -> tuple[Shape | None, Shape | None]:
    """The shapes of images and weights. Raises :class:`ShapeError` where they do not fit."""
    filters, shape = rank_of(w, "weights", 4), rank_of(x, "input", 4)
    if filters is not None and shape is not None:
        depth = {d for d in (filters[3], shape[3]) if d is not None}
        if len(depth) > 1:
            raise ShapeError(
                f"input {x.name!r} {shape} and weights {w.name!r} {filters} should end in "
                "the same number of channels"
            )
    check_bias(bias, w, None if filters is None else filters[0])
    return shape, filters


class TransposeConv(Operator):
    """Every pixel of x [n, h, w, c] spreads weights [out, kernel_h, kernel_w, c] over the result.

    ``output_shape`` names the result's extents; what falls outside is cut off.
    """

    name = "TRANSPOSE_CONV"
    spread = "sums"
    options = "TransposeConvOptions"
    inputs = "output_shape weights input bias?"
    padding: Padding = attr(Padding.SAME)
    stride_w: int = attr(1)
    stride_h: int = attr(1)
    activation: Activation = attr(Activation.NONE, "FusedActivationFunction")
    quantized_bias_type: int = attr(0)
    quant = QuantRule(weights={"weights": 0}, hybrid=True)
    integer_types = (INT8, UINT8, INT16)
    data_input = 2

    def infer(
        self, size: Operand, w: Operand, x: Operand, bias: Operand | None = None
    ) -> Sequence[TensorType]:
        if self.stride_h < 1 or self.stride_w < 1:
            raise ShapeError(f"strides {self.stride_h} and {self.stride_w} must be at least 1")
        shape, filters = layer_shapes(x, w, bias)
        channels = None if filters is None else filters[0]
        target = constant_ints(size)
        if target is None:
            batch = None if shape is None else shape[0]
            return [TensorType(x.dtype, (batch, None, None, channels))]
        self._check_target(size, target, shape, filters)
        return [TensorType(x.dtype, tuple(target))]

    @staticmethod
    def _check_target(
        size: Operand, target: list[int], shape: Shape | None, filters: Shape | None
    ) -> None:
        batch = None if shape is None else shape[0]
        channels = None if filters is None else filters[0]
        if (
            len(target) != 4
            or min(target) < 0
            or batch not in (None, target[0])
            or channels not in (None, target[3])
        ):
            raise ShapeError(
                f"output shape {size.name!r} is {target}, expected 4 extents: {batch} images "
                f"and {channels} channels"
            )

    def is_hybrid(self, inputs: Sequence[Operand | None]) -> bool:
        """As any operator, but the activations are not its first input."""
        x, axis = inputs[2], self.quant.weights["weights"]
        return x is not None and x.dtype.is_float and is_symmetric(inputs[1], axis)

    def _before(self, size: Sequence[int], kernel: Sequence[int]) -> tuple[int, int]:
        """Rows above and columns left of a result of ``size`` that are cut off."""
        rows, columns = (
            window_padding(extent, taps, stride, 1, self.padding)[0]
            for extent, taps, stride in zip(
                size[1:3], kernel, (self.stride_h, self.stride_w), strict=True
            )
        )
        return rows, columns

    def _spread(self, size: Array, w: Array, x: Array) -> Array:
        """The result before bias and activation, in the type of ``x``."""
        n, height, width, channels = (int(d) for d in size)
        out, kernel_h, kernel_w, depth = w.shape
        stride_h, stride_w = self.stride_h, self.stride_w
        rows, columns = x.shape[1:3]
        top, left = self._before((n, height, width, channels), (kernel_h, kernel_w))
        spread = (
            x.reshape(n * rows * columns, depth) @ w.reshape(out * kernel_h * kernel_w, depth).T
        )
        spread = spread.reshape(n, rows, columns, out, kernel_h, kernel_w)
        canvas = np.zeros(
            (
                n,
                max(rows * stride_h + kernel_h, top + height),
                max(columns * stride_w + kernel_w, left + width),
                channels,
            ),
            spread.dtype,
        )
        for i, j in np.ndindex(kernel_h, kernel_w):
            there = canvas[
                :, i : i + rows * stride_h : stride_h, j : j + columns * stride_w : stride_w
            ]
            there += spread[..., i, j]
        return canvas[:, top : top + height, left : left + width]

    def reference(self, size: Array, w: Array, x: Array, bias: Array | None = None) -> Array:
        result = self._spread(size, w, x)
        return numerics.activate(result if bias is None else result + bias, self.activation)

    def is_integer(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> bool:
        return super().is_integer(inputs, outputs) and takes_weights(inputs[2], inputs[1], 0)

    def integer(
        self,
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
        size: Array,
        w: Array,
        x: Array,
        bias: Array | None = None,
    ) -> Array:
        weights, codes = (Codes.of(inputs[i]).centred(a) for i, a in ((1, w), (2, x)))
        sums = self._spread(size, weights.astype(np.float64), codes.astype(np.float64))
        stage = OutputStage.of_convolution(inputs[2], inputs[3] if len(inputs) > 3 else None)
        sums = sums.astype(np.int64)
        return codes_of_sums(sums, bias, inputs[2], inputs[1], outputs[0], self.activation, stage)

    def hybrid(
        self,
        inputs: Sequence[Operand | None],
        size: Array,
        w: Array,
        x: Array,
        bias: Array | None = None,
    ) -> Array:
        images = numerics.quantize_rows(x.reshape(len(x), x[:1].size), asymmetric=True)
        # Pixels see different taps: what the zero point adds is taken off before they are summed.
        # float64 holds the sums exactly, and is what BLAS is fast at.
        real = images.q.astype(np.float64) - images.zero_point[:, None]
        acc = self._spread(size, w.astype(np.float64), real.reshape(x.shape)).astype(np.int32)
        pixels = acc.shape[1] * acc.shape[2]
        rows = numerics.QuantizedRows(
            images.q, np.repeat(images.scale, pixels), np.zeros(len(x) * pixels, np.int32)
        )
        scale, none = weight_quant(inputs, 1).scale, np.zeros(len(w), np.int32)
        flat = acc.reshape(len(rows.scale), len(w))
        out = numerics.hybrid_output(flat, rows, scale, none, bias, self.activation)
        return out.reshape(acc.shape)

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.Request | None:
        w, x = inputs[1], inputs[2]
        if x is None or w is None or w.data is None or x.dtype is not FLOAT32:
            return None
        hybrid, phases = self.is_hybrid(inputs), self.stride_h * self.stride_w
        if not (hybrid or w.dtype is FLOAT32) or not 1 <= phases <= MAX_PHASES:
            return None
        channels, height, width, depth = w.data.shape
        return spec.TransposeConv2D(
            (height, width),
            depth,
            channels,
            (self.stride_h, self.stride_w),
            self.activation,
            hybrid,
        )

    def geometry(self, inputs: Sequence[Operand | None]) -> dict[str, Any] | None:
        size, w, x = inputs[:3]
        assert w is not None
        assert w.data is not None
        assert x is not None
        target = constant_ints(size)
        if target is None or x.shape is None or 0 in x.shape:
            return None
        return self.placed(target, w.data.shape, x.shape)

    def placed(self, size: Sequence[int], filters: Sequence[int], shape: Shape) -> dict[str, Any]:
        """What a kernel has to know of a result of ``size`` beside its request."""
        return {
            "input_shape": shape,
            "padding": self._before(size, filters[1:3]),
            "output_hw": (size[1], size[2]),
        }

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        w = inputs[1]
        if self.activation is not Activation.NONE:
            return 4
        if len(inputs) > 3 and inputs[3] is not None:
            return 3
        return 2 if w is not None and w.dtype is INT8 else 1

    cases = (
        case(const([2, 8, 8, 3]), weights(3, 3, 3, 4), f32(2, 4, 4, 4), stride_w=2, stride_h=2),
        case(
            const([1, 9, 7, 3]),
            weights(3, 3, 2, 4),
            f32(1, 4, 6, 4),
            weights(3),
            padding=Padding.VALID,
            stride_h=2,
        ),
        case(
            const([1, 5, 7, 2]),
            weights(2, 4, 4, 3),
            f32(1, 3, 4, 3),
            weights(2),
            stride_w=2,
            stride_h=2,
            activation=Activation.RELU,
        ),
        case(const([1, 9, 9, 2]), weights(2, 2, 2, 3), f32(1, 3, 3, 3), stride_w=3, stride_h=3),
        case(
            const([2, 8, 8, 6]),
            int8_weights(6, 4, 4, 16),
            f32(2, 4, 4, 16),
            weights(6),
            stride_w=2,
            stride_h=2,
        ),
        case(
            const([1, 7, 6, 5]),
            int8_weights(5, 3, 2, 16),
            f32(1, 5, 3, 16, low=-0.1),
            padding=Padding.VALID,
            stride_w=2,
        ),
        case(const([1, 4, 4, 6]), int8_weights(6, 3, 3, 16, axis=None), f32(1, 4, 4, 16)),
    )
