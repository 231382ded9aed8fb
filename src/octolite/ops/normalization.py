"""Normalization of each pixel by what its channels hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from octolite.errors import ShapeError
from octolite.ir import fixed_point, numerics
from octolite.ir.fixed_point import Codes
from octolite.ir.types import FLOAT32, INT8, UINT8, Activation, Array, Operand, Quant, TensorType
from octolite.kernels import spec
from octolite.ops.base import FLOATS, Operator, QuantRule, attr
from octolite.ops.case import case, codes, f32, given
from octolite.ops.shapes import like, rank_of


class L2Normalization(Operator):
    """``x / max(‖x‖, 1e-6)``, the norm taken along the last axis."""

    kinds = FLOATS
    name = "L2_NORMALIZATION"
    nonnegative = "kept"
    options = "L2NormOptions"
    inputs = "input"
    activation: Activation = attr(Activation.NONE, "FusedActivationFunction")
    quant = QuantRule(fixed_output=(1 / 128, 0))
    dtype_versions = {INT8: 2}
    integer_types = (INT8, UINT8)

    def infer(self, x: Operand) -> Sequence[TensorType]:
        if x.shape == ():
            raise ShapeError(f"{self.name} of {x.name!r}: a scalar has no last axis")
        return like(x)

    def is_integer(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> bool:
        if not super().is_integer(inputs, outputs) or self.activation is not Activation.NONE:
            return False
        out = Codes.of(outputs[0])
        return out.real_scale == 1 / 128 and out.zero == sum(out.limits) / 2 + 0.5

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], x: Array
    ) -> Array:
        centred = Codes.of(inputs[0]).centred(x)
        factor = fixed_point.inverse_root((centred * centred).sum(axis=-1, keepdims=True))
        if x.dtype == np.uint8:
            return Codes.of(outputs[0]).store(factor(centred * 128))
        return Codes.of(outputs[0]).store(factor.shifted(7)(centred))

    def reference(self, x: Array) -> Array:
        norm = np.sqrt(np.sum(x * x, axis=-1, keepdims=True))
        return numerics.activate(x / np.maximum(norm, np.float32(1e-6)), self.activation)

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.L2Normalization | None:
        x = inputs[0]
        if x is None or x.dtype is not FLOAT32 or self.activation not in spec.ACTIVATIONS:
            return None
        return spec.L2Normalization(self.activation)

    cases = (
        case(f32(3, 10)),
        case(f32(2, 3, 4, 5)),
        case(given([[0.0, 0.0], [1e-8, 0.0]])),
        case(codes(3, 40, quant=Quant.of(0.05, 7)), results=[(INT8, Quant.of(1 / 128))]),
    )


class LocalResponseNormalization(Operator):
    """``x · (bias + alpha · Σ x²)^-beta``, summed over channels at most ``radius`` away.

    Source: Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks".
    """

    kinds = FLOATS
    name = "LOCAL_RESPONSE_NORMALIZATION"
    options = "LocalResponseNormalizationOptions"
    inputs = "input"
    radius: int = attr(5)
    bias: float = attr(1.0)
    alpha: float = attr(1.0)
    beta: float = attr(0.5)

    def infer(self, x: Operand) -> Sequence[TensorType]:
        rank_of(x, "input", 4)
        if self.radius < 0:
            raise ShapeError(f"{self.name} of {x.name!r}: radius {self.radius} is negative")
        return like(x)

    def reference(self, x: Array) -> Array:
        depth = x.shape[-1]
        # Summing from 0 and subtracting would cancel; a band of ones adds each window on its own.
        distance = np.abs(np.arange(depth)[:, None] - np.arange(depth))
        sums = (x * x) @ (distance <= self.radius).astype(x.dtype)
        scale = np.float32(self.bias) + np.float32(self.alpha) * sums
        return np.asarray(x * scale ** np.float32(-self.beta))

    cases = (
        case(f32(2, 3, 4, 12), radius=2, alpha=0.1, beta=0.75, bias=2.0),
        case(f32(1, 2, 2, 3)),
    )
