"""Pooling: one number for each window of each channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from octolite.errors import ShapeError
from octolite.ir import fixed_point, numerics
from octolite.ir.fixed_point import Codes
from octolite.ir.types import (
    FLOAT32,
    INT8,
    INT16,
    UINT8,
    Activation,
    Array,
    Operand,
    Padding,
    Quant,
    Shape,
    TensorType,
)
from octolite.kernels import spec
from octolite.ops.base import FLOATS, Operator, QuantRule, attr
from octolite.ops.case import case, codes, f32
from octolite.ops.shapes import rank_of
from octolite.ops.windows import COLUMN, ROW, Windows


class Pool2D(Operator, abstract=True):
    """Windows over x [n, h, w, c]. What is outside of the image does not take part."""

    options = "Pool2DOptions"
    inputs = "input"
    padding: Padding = attr(Padding.SAME)
    stride_w: int = attr(1)
    stride_h: int = attr(1)
    filter_width: int = attr(1)
    filter_height: int = attr(1)
    activation: Activation = attr(Activation.NONE, "FusedActivationFunction")

    @property
    def windows(self) -> Windows:
        return Windows(
            (self.filter_height, self.filter_width),
            (self.stride_h, self.stride_w),
            (1, 1),
            self.padding,
        )

    def infer(self, x: Operand) -> Sequence[TensorType]:
        if self.filter_height < 1 or self.filter_width < 1:
            raise ShapeError(
                f"a window of {self.filter_height} × {self.filter_width} over {x.name!r} is empty"
            )
        shape: Shape = rank_of(x, "input", 4) or (None,) * 4
        return [TensorType(x.dtype, (shape[0], *self.windows.extents(shape), shape[3]))]

    def geometry(self, inputs: Sequence[Operand | None]) -> dict[str, Any]:
        x = inputs[0]
        assert x is not None
        assert x.shape is not None
        return {"padding": self.windows.before(x.shape), "output_hw": self.windows.extents(x.shape)}

    def _request(self, kind: str, x: Operand | None) -> spec.Pool2D | None:
        if x is None or x.dtype is not FLOAT32 or self.activation not in spec.ACTIVATIONS:
            return None
        windows = self.windows
        return spec.Pool2D(kind, windows.kernel, windows.stride, self.activation)

    def _integer_request(self, kind: str, out: Operand) -> spec.Pool2D | None:
        windows, limits = self.windows, Codes.of(out).range(self.activation)
        most = 2**out.dtype.bits * self.filter_height * self.filter_width
        if most >= 2**31:  # which int32 may not hold
            return None
        return spec.Pool2D(kind, windows.kernel, windows.stride, codes=out.dtype, limits=limits)

    def passes_codes(self) -> bool:
        return super().passes_codes() and self.activation is Activation.NONE

    def _reduce(self, x: Array, combine: np.ufunc, fill: float) -> Array:
        """``combine`` over each window: along columns, then along rows."""
        seen = self.windows.padded(x, fill)
        for axis in (COLUMN, ROW):
            seen = combine.reduce(self.windows.along(seen, axis), axis=-1)
        return seen

    def _mean(self, x: Array) -> Array:
        """The mean over each window, of the pixels that are in the image."""
        real = x if x.dtype.kind == "f" else x.astype(np.float64)
        inside = np.ones((1, *x.shape[1:3], 1), real.dtype)
        return self._reduce(real, np.add, 0) / self._reduce(inside, np.add, 0)


class AveragePool2D(Pool2D):
    """The mean of each window; codes are rounded, halves away from zero."""

    name = "AVERAGE_POOL_2D"
    spread = "other"
    quant = QuantRule(same_scale=True)
    integer_types = (INT8, UINT8, INT16)
    dtype_versions = {INT8: 2, INT16: 3}

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.Pool2D | None:
        return self._request("average", inputs[0])

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> spec.Pool2D | None:
        return self._integer_request("average", outputs[0])

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], x: Array
    ) -> Array:
        out = Codes.of(outputs[0])
        inside = np.ones((1, *x.shape[1:3], 1), np.int64)
        count = self._reduce(inside, np.add, 0)
        total = self._reduce(x.astype(np.int64), np.add, 0)
        half = np.where(total > 0, count // 2, -(count // 2))
        return out.store(fixed_point.divide(total + half, count) - out.zero, self.activation)

    def reference(self, x: Array) -> Array:
        mean = self._mean(x)
        if x.dtype.kind != "f":
            return numerics.round_half_away(mean).astype(x.dtype)
        return numerics.activate(mean, self.activation)

    cases = (
        case(f32(2, 7, 6, 3), filter_width=3, filter_height=2),
        case(f32(1, 8, 8, 3), filter_width=2, filter_height=2, stride_w=2, stride_h=2),
        case(f32(1, 7, 5, 4), filter_width=5, filter_height=7, padding=Padding.VALID),
        case(
            f32(1, 6, 6, 3),
            filter_width=3,
            filter_height=3,
            stride_w=2,
            activation=Activation.RELU,
        ),
        case(
            codes(1, 7, 6, 3, quant=Quant.of(0.5, 3)),
            filter_width=3,
            filter_height=3,
            stride_h=2,
            results=[(INT8, Quant.of(0.5, 3))],
        ),
    )


class MaxPool2D(Pool2D):
    """The largest of each window."""

    name = "MAX_POOL_2D"
    quant = QuantRule(same_scale=True)
    integer_types = (INT8, UINT8, INT16)
    dtype_versions = {INT8: 2, INT16: 3}

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.Pool2D | None:
        return self._request("max", inputs[0])

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> spec.Pool2D | None:
        return self._integer_request("max", outputs[0])

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], x: Array
    ) -> Array:
        out = Codes.of(outputs[0])
        largest = self._reduce(x, np.maximum, out.limits[0])
        return out.store(largest.astype(np.int64) - out.zero, self.activation)

    def reference(self, x: Array) -> Array:
        least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        return numerics.activate(self._reduce(x, np.maximum, least), self.activation)

    cases = (
        case(f32(2, 7, 6, 3), filter_width=3, filter_height=2),
        case(f32(1, 8, 8, 3), filter_width=2, filter_height=2, stride_w=2, stride_h=2),
        case(f32(1, 9, 7, 2), filter_width=3, filter_height=4, padding=Padding.VALID, stride_h=3),
        case(f32(1, 6, 6, 3), filter_width=3, filter_height=3, activation=Activation.RELU_N1_TO_1),
        case(
            codes(1, 7, 6, 3, quant=Quant.of(0.5, 3)),
            filter_width=3,
            filter_height=3,
            results=[(INT8, Quant.of(0.5, 3))],
        ),
        case(
            codes(1, 7, 6, 3, quant=Quant.of(0.5, 3)),
            filter_width=2,
            filter_height=2,
            activation=Activation.RELU6,
            results=[(INT8, Quant.of(0.5, 3))],
        ),
    )


class L2Pool2D(Pool2D):
    """The root of the mean square of each window."""

    kinds = FLOATS
    name = "L2_POOL_2D"
    spread = "other"
    nonnegative = "always"

    def reference(self, x: Array) -> Array:
        return numerics.activate(np.sqrt(self._mean(x * x)), self.activation)

    cases = (
        case(f32(2, 7, 6, 3), filter_width=3, filter_height=2),
        case(f32(1, 8, 8, 3), filter_width=2, filter_height=2, stride_w=2, padding=Padding.VALID),
        case(f32(1, 6, 6, 3), filter_width=3, filter_height=3, activation=Activation.RELU6),
    )
