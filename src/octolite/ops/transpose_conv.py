"""TRANSPOSE_CONV: the gradient of a convolution, which makes images larger."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from octolite.errors import ShapeError
from octolite.ir import numerics
from octolite.ir.types import INT8, Activation, Array, Operand, Padding, Shape, TensorType
from octolite.ops.base import Operator, QuantRule, attr
from octolite.ops.case import case, const, f32, weights
from octolite.ops.conv import check_bias
from octolite.ops.shapes import constant_ints, rank_of, window_padding


class TransposeConv(Operator):
    """Every pixel of x [n, h, w, c] spreads weights [out, kernel_h, kernel_w, c] over the result.

    ``output_shape`` names the result's extents; what falls outside is cut off.
    """

    name = "TRANSPOSE_CONV"
    options = "TransposeConvOptions"
    inputs = "output_shape weights input bias?"
    padding: Padding = attr(Padding.SAME)
    stride_w: int = attr(1)
    stride_h: int = attr(1)
    activation: Activation = attr(Activation.NONE, "FusedActivationFunction")
    quantized_bias_type: int = attr(0)
    quant = QuantRule(weights={"weights": 0})

    def infer(
        self, size: Operand, w: Operand, x: Operand, bias: Operand | None = None
    ) -> Sequence[TensorType]:
        if self.stride_h < 1 or self.stride_w < 1:
            raise ShapeError(f"strides {self.stride_h} and {self.stride_w} must be at least 1")
        filters, shape = rank_of(w, "weights", 4), rank_of(x, "input", 4)
        if filters is not None and shape is not None:
            depth = {d for d in (filters[3], shape[3]) if d is not None}
            if len(depth) > 1:
                raise ShapeError(
                    f"input {x.name!r} {shape} and weights {w.name!r} {filters} should end in "
                    "the same number of channels"
                )
        channels = None if filters is None else filters[0]
        check_bias(bias, w, channels)
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

    def reference(self, size: Array, w: Array, x: Array, bias: Array | None = None) -> Array:
        n, height, width, channels = (int(d) for d in size)
        out, kernel_h, kernel_w, depth = w.shape
        stride_h, stride_w = self.stride_h, self.stride_w
        rows, columns = x.shape[1:3]
        top, _ = window_padding(height, kernel_h, stride_h, 1, self.padding)
        left, _ = window_padding(width, kernel_w, stride_w, 1, self.padding)
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
        result = canvas[:, top : top + height, left : left + width]
        return numerics.activate(result if bias is None else result + bias, self.activation)

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
    )
