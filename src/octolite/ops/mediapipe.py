"""Custom operators of MediaPipe's networks that LiteRT runs, too: its delegate for CPUs knows them
by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from octolite.errors import ShapeError
from octolite.ir.types import Array, Dim, Operand, Padding, Shape, TensorType
from octolite.kernels import spec
from octolite.ops.base import Operator, attr
from octolite.ops.case import case, f32, weights
from octolite.ops.shapes import sized
from octolite.ops.transpose_conv import TransposeConv, layer_shapes


class Convolution2DTransposeBias(Operator):
    """TRANSPOSE_CONV with a bias, whose result is as large as padding and strides make it.

    ``padding`` is 1 for SAME, where a result has ``stride`` pixels for each of the input's, and 2
    for VALID, where nothing is cut off.
    """

    name = "Convolution2DTransposeBias"
    custom = True
    packed = "<3i"
    spread = "sums"
    inputs = "input weights bias"
    padding: int = attr(1)
    stride_w: int = attr(1)
    stride_h: int = attr(1)

    @property
    def _layer(self) -> TransposeConv:
        padding = Padding.SAME if self.padding == 1 else Padding.VALID
        return TransposeConv(padding=padding, stride_w=self.stride_w, stride_h=self.stride_h)

    def infer(self, x: Operand, w: Operand, bias: Operand) -> Sequence[TensorType]:
        if self.padding not in (1, 2) or min(self.stride_w, self.stride_h) < 1:
            raise ShapeError(
                f"{self.name}: padding {self.padding} is neither 1 nor 2, or one of the strides "
                f"{self.stride_h} and {self.stride_w} is under 1"
            )
        shape, filters = layer_shapes(x, w, bias)
        return [TensorType(x.dtype, self._result(shape, filters))]

    def _result(self, shape: Shape | None, filters: Shape | None) -> Shape:
        n, *extents = shape[:3] if shape else (None, None, None)
        channels, *taps = filters[:3] if filters else (None, None, None)
        strides = self.stride_h, self.stride_w
        return n, *map(self._extent, extents, taps, strides), channels

    def _extent(self, extent: Dim, taps: Dim, stride: int) -> Dim:
        if extent is None or taps is None:
            return None
        return sized([extent * stride if self.padding == 1 else (extent - 1) * stride + taps])[0]

    def reference(self, x: Array, w: Array, bias: Array) -> Array:
        size = np.array(self._result(x.shape, w.shape))
        return self._layer.reference(size, w, x, bias)

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.Request | None:
        x, w, bias = inputs
        return self._layer.kernel([None, w, x, bias])

    def geometry(self, inputs: Sequence[Operand | None]) -> dict[str, Any] | None:
        x, w, _ = inputs
        assert x is not None
        assert w is not None
        assert w.data is not None
        size = [d for d in self._result(x.shape, w.data.shape) if d is not None]
        if x.shape is None or 0 in x.shape or len(size) < 4:
            return None
        return self._layer.placed(size, w.data.shape, x.shape)

    cases = (
        case(
            f32(2, 4, 5, 3), weights(2, 2, 2, 3), weights(2), stride_w=2, stride_h=2, litert=False
        ),
        case(f32(1, 4, 5, 3), weights(2, 4, 3, 3), weights(2), stride_h=3, litert=False),
        case(
            f32(1, 3, 3, 4),
            weights(5, 3, 3, 4),
            weights(5),
            padding=2,
            stride_w=2,
            stride_h=2,
            litert=False,
        ),
    )
