"""Activation functions as operators of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.polynomial import Chebyshev

from octolite.errors import ShapeError
from octolite.ir import numerics
from octolite.ir.types import (
    INT8,
    INT16,
    UINT8,
    Activation,
    Array,
    Operand,
    Quant,
    TensorType,
)
from octolite.kernels.expression import Expression, apply
from octolite.ops.base import QuantRule, attr
from octolite.ops.case import Case, case, codes, f32, given, weights
from octolite.ops.elementwise import Elementwise
from octolite.ops.shapes import broadcast, like

EXTREMES = given([-np.inf, -200.0, -20.0, -3.0, -1e-3, 0.0, 1e-3, 3.0, 20.0, 200.0, np.inf])


class ActivationFunction(Elementwise, abstract=True):
    """A function of one tensor."""

    inputs = "input"

    def infer(self, x: Operand) -> Sequence[TensorType]:
        return like(x)


def clamp_cases(*more: Case) -> tuple[Case, ...]:
    """What every piecewise linear activation is tried on."""
    scaled = codes(2, 40, quant=Quant.of(0.05, 7))
    return (
        case(f32(3, 5, low=-8, high=8)),
        case(EXTREMES),
        case(scaled, results=[(INT8, Quant.of(0.05, 7))]),
        *more,
    )


class Relu(ActivationFunction):
    """``max(x, 0)``."""

    name = "RELU"
    nonnegative = "always"
    dtype_versions = {INT8: 2, UINT8: 2, INT16: 3}
    cases = clamp_cases()

    def reference(self, x: Array) -> Array:
        return numerics.activate(x, Activation.RELU)


class Relu6(ActivationFunction):
    """``min(max(x, 0), 6)``."""

    name = "RELU6"
    nonnegative = "always"
    dtype_versions = {INT8: 2, INT16: 3}
    cases = clamp_cases()

    def reference(self, x: Array) -> Array:
        return numerics.activate(x, Activation.RELU6)


class ReluN1To1(ActivationFunction):
    """``min(max(x, -1), 1)``."""

    name = "RELU_N1_TO_1"
    spread = "other"
    cases = clamp_cases()

    def reference(self, x: Array) -> Array:
        return numerics.activate(x, Activation.RELU_N1_TO_1)


class Relu0To1(ActivationFunction):
    """``min(max(x, 0), 1)``."""

    name = "RELU_0_TO_1"
    spread = "other"
    nonnegative = "always"
    cases = clamp_cases()

    def reference(self, x: Array) -> Array:
        return np.clip(x, np.float32(0), np.float32(1))


class Logistic(ActivationFunction):
    """``1 / (1 + exp(-x))``, without overflow on either side."""

    name = "LOGISTIC"
    spread = "other"
    nonnegative = "always"
    quant = QuantRule(fixed_output=(1 / 256, -128))
    dtype_versions = {INT8: 2, INT16: 3}
    cases = (
        case(f32(3, 5, low=-8, high=8)),
        case(EXTREMES),
        case(codes(2, 40, quant=Quant.of(0.05, 7)), results=[(INT8, Quant.of(1 / 256, -128))]),
    )

    def reference(self, x: Array) -> Array:
        small = np.exp(-np.abs(x))
        return np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(x.dtype)


class Tanh(ActivationFunction):
    """The hyperbolic tangent."""

    name = "TANH"
    spread = "other"
    quant = QuantRule(fixed_output=(1 / 128, 0))
    dtype_versions = {INT8: 2, INT16: 3}
    cases = (
        case(f32(3, 5, low=-8, high=8)),
        case(EXTREMES),
        case(codes(2, 40, quant=Quant.of(0.02, 7)), results=[(INT8, Quant.of(1 / 128))]),
    )

    def reference(self, x: Array) -> Array:
        return np.tanh(x)


class Elu(ActivationFunction):
    """``x`` where positive, else ``exp(x) - 1``."""

    name = "ELU"
    cases = (
        case(f32(3, 5, low=-8, high=8)),
        case(EXTREMES),
        case(codes(2, 40, quant=Quant.of(0.05, 7)), results=[(INT8, Quant.of(0.03, -90))]),
    )

    def reference(self, x: Array) -> Array:
        return np.where(x < 0, np.expm1(np.minimum(x, 0)), x)


class LeakyRelu(ActivationFunction):
    """``x`` where positive, else ``alpha · x``."""

    name = "LEAKY_RELU"
    options = "LeakyReluOptions"
    alpha: float = attr(0.0)
    dtype_versions = {INT16: 2}
    cases = (
        case(f32(3, 5), alpha=0.3),
        case(f32(3, 5), alpha=1.5),
        case(
            codes(2, 40, quant=Quant.of(0.05, 7)),
            alpha=0.1,
            results=[(INT8, Quant.of(0.03, -90))],
        ),
    )

    def reference(self, x: Array) -> Array:
        return np.where(x > 0, x, x * np.float32(self.alpha))

    def kernel(self, inputs: Sequence[Operand | None]) -> Expression | None:
        return apply("leaky_relu", [v.dtype for v in inputs if v is not None], self.alpha)


class Prelu(Elementwise):
    """``x`` where not negative, else ``alpha · x``; alpha broadcasts over x."""

    name = "PRELU"
    inputs = "input alpha"

    def infer(self, x: Operand, alpha: Operand) -> Sequence[TensorType]:
        shape = broadcast(x.shape, alpha.shape)
        if shape is not None and x.shape is not None and len(shape) != len(x.shape):
            raise ShapeError(
                f"alpha {alpha.name!r} {alpha.shape} has more axes than input {x.name!r} {x.shape}"
            )
        return [TensorType(x.dtype, shape)]

    def reference(self, x: Array, alpha: Array) -> Array:
        return np.where(x >= 0, x, x * alpha)

    cases = (
        case(f32(2, 3, 4, 5), weights(1, 1, 5)),
        case(f32(2, 3, 4, 5), weights(3, 4, 5)),
    )


class HardSwish(ActivationFunction):
    """``x · min(max(x + 3, 0), 6) / 6``."""

    name = "HARD_SWISH"
    nonnegative = "kept"
    options = "HardSwishOptions"
    cases = (
        case(f32(3, 5, low=-8, high=8)),
        case(codes(2, 40, quant=Quant.of(0.05, 7)), results=[(INT8, Quant.of(0.03, -90))]),
    )

    def reference(self, x: Array) -> Array:
        return x * numerics.activate(x + np.float32(3), Activation.RELU6) / np.float32(6)


class Gelu(ActivationFunction):
    """``x · Φ(x)``, Φ the normal distribution, or its approximation by a hyperbolic tangent.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units".
    """

    name = "GELU"
    options = "GeluOptions"
    approximate: bool = attr(False)
    dtype_versions = {INT8: 2, UINT8: 2}
    cases = (
        case(f32(3, 50, low=-8, high=8)),
        case(f32(3, 50, low=-8, high=8), approximate=True),
        case(EXTREMES, litert=False),  # LiteRT's is NaN at -Inf
        case(codes(2, 40, quant=Quant.of(0.05, 7)), results=[(INT8, Quant.of(0.03, -90))]),
    )

    def kernel(self, inputs: Sequence[Operand | None]) -> Expression | None:
        function = "gelu_tanh" if self.approximate else "gelu"
        return apply(function, [v.dtype for v in inputs if v is not None])

    def reference(self, x: Array) -> Array:
        x = np.maximum(x, x.dtype.type(-40))  # the result is 0 there, not the -Inf · 0 of -Inf
        if self.approximate:
            cubic = x + 0.044715 * x * x * x
            smooth = 1 + np.tanh(math.sqrt(2 / math.pi) * cubic)
            return np.asarray(0.5 * x * smooth, x.dtype)
        return (0.5 * x * erfc(x * -math.sqrt(0.5))).astype(x.dtype)


_FAR = 26.0  # erfc is under 1e-294 from here on


@cache
def _scaled_erfc() -> Chebyshev:
    """``erfc(z) · exp(z²)`` for z in [0, 26], as a series in ``t = 2 / (2 + z)``: smooth there."""

    def exact(t: Array) -> Array:
        z = 2 / t - 2
        return np.array([math.erfc(v) * math.exp(v * v) for v in z])

    return Chebyshev.interpolate(exact, 24, domain=[2 / (2 + _FAR), 1])


def erfc(x: Array) -> Array:
    """The complementary error function in float64, to 1e-12 of its value; NumPy has none."""
    z = np.minimum(np.abs(x, dtype=np.float64), _FAR)
    upper = _scaled_erfc()(2 / (2 + z)) * np.exp(-z * z)
    return np.asarray(np.where(x < 0, 2 - upper, upper))
