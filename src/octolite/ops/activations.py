"""Activation functions as operators of their own."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.polynomial import Chebyshev

from octolite.errors import ShapeError
from octolite.ir import fixed_point, numerics
from octolite.ir.fixed_point import Codes, Multiplier, by_table
from octolite.ir.types import (
    BOOL,
    INT8,
    INT16,
    INT32,
    UINT8,
    Activation,
    Array,
    DType,
    Operand,
    Quant,
    TensorType,
)
from octolite.kernels.expression import Expression, apply, join
from octolite.ops.base import FLOATS, NUMBERS, QuantRule, attr
from octolite.ops.case import Case, case, codes, f32, given, weights
from octolite.ops.elementwise import Elementwise
from octolite.ops.integers import centred, scaled, stored, stored_within, whole
from octolite.ops.shapes import broadcast, like

EXTREMES = given([-np.inf, -200.0, -20.0, -3.0, -1e-3, 0.0, 1e-3, 3.0, 20.0, 200.0, np.inf])


class ActivationFunction(Elementwise, abstract=True):
    """A function of one tensor."""

    kinds = FLOATS
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


class Clamp(ActivationFunction, abstract=True):
    """``min(max(x, low), high)``."""

    kinds = NUMBERS
    bounds: ClassVar[tuple[float | None, float | None]]
    integer_types: ClassVar[Collection[DType]] = (INT8, UINT8)

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], x: Array
    ) -> Array:
        source, out = Codes.of(inputs[0]), Codes.of(outputs[0])
        factor = Multiplier.of(source.scale / out.scale)
        return out.store_within(factor(source.centred(x)), *self.bounds)

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> Expression | None:
        x = inputs[0]
        assert x is not None
        source, out = Codes.of(x), Codes.of(outputs[0])
        result = scaled(centred(x), Multiplier.of(source.scale / out.scale))
        return stored_within(result, outputs[0], out.between(*self.bounds))


class Function(ActivationFunction, abstract=True):
    """A function whose codes of 8 bits are looked up in a table of float32 results."""

    integer_types: ClassVar[Collection[DType]] = (INT8, UINT8)

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], x: Array
    ) -> Array:
        return by_table(Codes.of(inputs[0]), Codes.of(outputs[0]), self.nearest, x)

    def nearest(self, x: Array) -> Array:
        """The function of float32, as near as float32 comes."""
        return np.asarray(self.reference(x.astype(np.float64)), np.float32)


class Sigmoid(Function, abstract=True):
    """A function with a table for 16 bits, too, whose results are codes of 2⁻¹⁵."""

    integer_types = (INT8, UINT8, INT16)

    def is_integer(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> bool:
        if not super().is_integer(inputs, outputs):
            return False
        source, out = Codes.of(inputs[0]), Codes.of(outputs[0])
        unit = source.zero == out.zero == 0 and out.real_scale == 2.0**-15
        return source.dtype != np.int16 or unit

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], x: Array
    ) -> Array:
        if x.dtype == np.int16:
            return self.of_16_bits(x, Codes.of(inputs[0]).scale)
        return super().integer(inputs, outputs, x)

    @abstractmethod
    def of_16_bits(self, x: Array, scale: np.float32) -> Array:
        """The results for symmetric int16 codes."""


class Relu(Clamp):
    """``max(x, 0)``."""

    name = "RELU"
    nonnegative = "always"
    bounds = (0.0, None)
    integer_types = (INT8, UINT8, INT16)
    dtype_versions = {INT8: 2, UINT8: 2, INT16: 3}
    cases = clamp_cases()

    def reference(self, x: Array) -> Array:
        return numerics.activate(x, Activation.RELU)


class Relu6(Clamp):
    """``min(max(x, 0), 6)``."""

    name = "RELU6"
    nonnegative = "always"
    bounded = True
    bounds = (0.0, 6.0)
    integer_types = (INT8, UINT8, INT16)
    dtype_versions = {INT8: 2, INT16: 3}
    cases = clamp_cases()

    def reference(self, x: Array) -> Array:
        return numerics.activate(x, Activation.RELU6)


class ReluN1To1(Clamp):
    """``min(max(x, -1), 1)``."""

    name = "RELU_N1_TO_1"
    bounds = (-1.0, 1.0)
    spread = "other"
    cases = clamp_cases()

    def reference(self, x: Array) -> Array:
        return numerics.activate(x, Activation.RELU_N1_TO_1)


class Relu0To1(Clamp):
    """``min(max(x, 0), 1)``."""

    name = "RELU_0_TO_1"
    bounds = (0.0, 1.0)
    spread = "other"
    nonnegative = "always"
    cases = clamp_cases()

    def reference(self, x: Array) -> Array:
        return np.clip(x, np.float32(0), np.float32(1))


class Logistic(Sigmoid):
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

    def nearest(self, x: Array) -> Array:
        # Each step is rounded to float32.
        power = np.exp(-x.astype(np.float64)).astype(np.float32)
        return np.asarray(1 / (1 + power), np.float32)

    def of_16_bits(self, x: Array, scale: np.float32) -> Array:
        return fixed_point.logistic16(x, scale)

    def reference(self, x: Array) -> Array:
        small = np.exp(-np.abs(x))
        return np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(x.dtype)


class Tanh(Sigmoid):
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

    def of_16_bits(self, x: Array, scale: np.float32) -> Array:
        return fixed_point.tanh16(x, scale)

    def reference(self, x: Array) -> Array:
        return np.tanh(x)


class Elu(Function):
    """``x`` where positive, else ``exp(x) - 1``."""

    name = "ELU"
    integer_types = (INT8,)
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
    integer_types = (INT8, UINT8, INT16)
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

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], x: Array
    ) -> Array:
        source, out = Codes.of(inputs[0]), Codes.of(outputs[0])
        real = source.centred(x)
        same = Multiplier.of(source.scale / out.scale)
        slope = Multiplier.of(source.scale * np.float32(self.alpha) / out.scale)
        return out.store(np.where(real >= 0, same(real), slope(real)))

    def reference(self, x: Array) -> Array:
        return np.where(x > 0, x, x * np.float32(self.alpha))

    def kernel(self, inputs: Sequence[Operand | None]) -> Expression | None:
        return apply("leaky_relu", [v.dtype for v in inputs if v is not None], self.alpha)


class Prelu(Elementwise):
    """``x`` where not negative, else ``alpha · x``; alpha broadcasts over x."""

    name = "PRELU"
    inputs = "input alpha"
    integer_types = (INT8, UINT8, INT16)

    def is_integer(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> bool:
        """Slopes beside int16 are int8; of int16 slopes TFLite's kernel reads every other byte."""
        x, alpha = inputs[0], inputs[1]
        short = x is not None and x.dtype is INT16
        wanted = INT8 if short or x is None else x.dtype
        return super().is_integer(inputs, outputs) and alpha is not None and alpha.dtype is wanted

    def infer(self, x: Operand, alpha: Operand) -> Sequence[TensorType]:
        shape = broadcast(x.shape, alpha.shape)
        if shape is not None and x.shape is not None and len(shape) != len(x.shape):
            raise ShapeError(
                f"alpha {alpha.name!r} {alpha.shape} has more axes than input {x.name!r} {x.shape}"
            )
        return [TensorType(x.dtype, shape)]

    def integer(
        self,
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
        x: Array,
        alpha: Array,
    ) -> Array:
        source, slope, out = Codes.of(inputs[0]), Codes.of(inputs[1]), Codes.of(outputs[0])
        real = source.centred(x)
        above = Multiplier.of(source.scale / out.scale)(real)
        below = Multiplier.of(source.scale * slope.scale / out.scale)(real * slope.centred(alpha))
        return out.store(np.where(real >= 0, above, below))

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> Expression:
        x, alpha = (v for v in inputs if v is not None)
        source, slope, out = Codes.of(x), Codes.of(alpha), Codes.of(outputs[0])
        product = Expression((INT32, INT32), (("mul", (0, 1)),))
        above = scaled(whole(INT32), Multiplier.of(source.scale / out.scale))
        below = scaled(product, Multiplier.of(source.scale * slope.scale / out.scale))
        either = Expression((BOOL, INT32, INT32), (("select", (0, 1, 2)),))
        return join(
            {"x": x.dtype, "alpha": alpha.dtype},
            [
                (centred(x), ["x"], "centred"),
                (centred(alpha), ["alpha"], "slope"),
                (whole(INT32).then("greater_equal", 0), ["centred"], "positive"),
                (above, ["centred"], "above"),
                (below, ["centred", "slope"], "below"),
                (stored(either, outputs[0]), ["positive", "above", "below"], "result"),
            ],
        )

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
    integer_types = (INT8, UINT8)
    cases = (
        case(f32(3, 5, low=-8, high=8)),
        case(codes(2, 40, quant=Quant.of(0.05, 7)), results=[(INT8, Quant.of(0.03, -90))]),
    )

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], x: Array
    ) -> Array:
        source, out = Codes.of(inputs[0]), Codes.of(outputs[0])
        fine = source.scale * np.float32(1 / 128)
        return out.store(
            fixed_point.hard_swish(
                source.centred(x) << 7,
                Multiplier.of(fine / out.scale),
                Multiplier.of(fine / np.float32(3 / 32768)),
            )
        )

    def reference(self, x: Array) -> Array:
        return x * numerics.activate(x + np.float32(3), Activation.RELU6) / np.float32(6)


class Gelu(Function):
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

    def nearest(self, x: Array) -> Array:
        # Each step is rounded to float32.
        half = np.float32(0.5) * x
        if self.approximate:
            inner = x + np.float32(0.044715) * x * x * x
            smooth = _rounded(np.tanh, np.float32(math.sqrt(2 / math.pi)) * inner)
            return np.asarray(half * (1 + smooth))
        return np.asarray(half * _rounded(erfc, x * np.float32(-math.sqrt(0.5))))

    def reference(self, x: Array) -> Array:
        x = np.maximum(x, x.dtype.type(-40))  # the result is 0 there, not the -Inf · 0 of -Inf
        if self.approximate:
            cubic = x + 0.044715 * x * x * x
            smooth = 1 + np.tanh(math.sqrt(2 / math.pi) * cubic)
            return np.asarray(0.5 * x * smooth, x.dtype)
        return (0.5 * x * erfc(x * -math.sqrt(0.5))).astype(x.dtype)


def _rounded(function: Callable[[Array], Array], x: Array) -> Array:
    """The nearest float32 to a function of float32."""
    return np.asarray(function(x.astype(np.float64)), np.float32)


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
