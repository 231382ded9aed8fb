"""Elementwise arithmetic of two tensors, with broadcasting; some have a fused activation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from octolite.errors import RuntimeModelError, ShapeError
from octolite.ir import fixed_point, numerics
from octolite.ir.fixed_point import Codes, Multiplier
from octolite.ir.types import (
    COMPLEX64,
    FLOAT16,
    FLOAT32,
    INT8,
    INT16,
    INT64,
    UINT8,
    UINT32,
    Activation,
    Array,
    Operand,
    TensorType,
)
from octolite.kernels.expression import Expression, apply
from octolite.ops.base import CODES, COMPLEX, QuantRule, attr
from octolite.ops.case import case, const, f32, given, ints
from octolite.ops.elementwise import Elementwise
from octolite.ops.integers import centred, combined, scaled, stored
from octolite.ops.shapes import broadcast_operands, same_dtype, same_shape


class Binary(Elementwise, abstract=True):
    """Two operands of one type that broadcast together; ``function`` is applied to each pair."""

    kinds = COMPLEX
    inputs = "a b"
    function: ClassVar[np.ufunc]

    def infer(self, a: Operand, b: Operand) -> Sequence[TensorType]:
        return [TensorType(same_dtype(a, b), broadcast_operands(a, b))]

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(self.function(a, b), a.dtype)


class Activated(Binary, abstract=True):
    """A binary operator with a fused activation."""

    activation: Activation = attr(Activation.NONE, "FusedActivationFunction")

    def reference(self, a: Array, b: Array) -> Array:
        return numerics.activate(super().reference(a, b), self.activation)


def wide_broadcast(inputs: Sequence[Operand | None]) -> bool:
    """Whether operands of different shapes need more than four dimensions."""
    shapes = [v.shape for v in inputs if v is not None and v.shape is not None]
    return len(set(shapes)) > 1 and max(map(len, shapes)) > 4


def check_divisor(name: str, divisor: Array) -> None:
    """Raise :class:`RuntimeModelError` where integers would be divided by zero."""
    if divisor.dtype.kind in "iu" and not divisor.all():
        where = tuple(int(i) for i in np.argwhere(divisor == 0)[0])
        raise RuntimeModelError(f"{name} of integers by zero, at {where} of the divisor")


class Sum(Activated, abstract=True):
    """A sum or difference: codes of both operands are brought to a common, finer scale."""

    integer_types = (INT8, UINT8, INT16)
    pot_scale_int16: bool = attr(True)

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], *arrays: Array
    ) -> Array:
        sides, out = [Codes.of(v) for v in inputs], Codes.of(outputs[0])
        shifts = self._shifts(sides, out)
        if shifts is not None:
            a, b = map(fixed_point.rounding_shift, arrays, shifts)
            return out.store(self.function(a, b), self.activation)
        bits, factors, back = self._factors(sides, out)
        a, b = (
            factor(c.centred(q) << bits)
            for factor, c, q in zip(factors, sides, arrays, strict=True)
        )
        return out.store(back(self.function(a, b)), self.activation)

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> Expression | None:
        operands = [v for v in inputs if v is not None]
        sides, out = [Codes.of(v) for v in operands], Codes.of(outputs[0])
        if self._shifts(sides, out) is not None:
            return None
        bits, factors, back = self._factors(sides, out)
        a, b = (
            scaled(centred(v).then("shift_left", bits), factor)
            for v, factor in zip(operands, factors, strict=True)
        )
        total = scaled(combined(self.name.lower(), a, b), back)
        return stored(total, outputs[0], self.activation)

    def _shifts(self, sides: Sequence[Codes], out: Codes) -> Sequence[int] | None:
        """How far the operands are shifted to the right, where that is all that their scales ask
        for: int16 codes whose scales are powers of two."""
        powers = [fixed_point.power_of_two(c.scale) for c in (*sides, out)]
        if out.dtype != np.int16 or not self.pot_scale_int16 or None in powers:
            return None
        *given, result = (p or 0 for p in powers)
        return [result - power for power in given]

    @staticmethod
    def _factors(
        sides: Sequence[Codes], out: Codes
    ) -> tuple[int, Sequence[Multiplier], Multiplier]:
        """The bits that operands are shifted to the left, what they and the sum are scaled by."""
        bits = 15 if out.dtype == np.int16 else 20
        twice = 2 * max(c.real_scale for c in sides)
        factors = [Multiplier.of(c.real_scale / twice) for c in sides]
        return bits, factors, Multiplier.of(twice / (2.0**bits * out.real_scale))


class Add(Sum):
    """``act(a + b)``."""

    name = "ADD"
    spread = "added"
    nonnegative = "kept"
    options = "AddOptions"
    function = np.add
    dtype_versions = {FLOAT16: 6, INT64: 4, INT8: 2}

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        first = inputs[0]
        if first is None or first.dtype is not INT16:
            return super().version(inputs, outputs)
        if first.quant is None:
            return 5
        return 1 if self.pot_scale_int16 else 3

    cases = (
        case(f32(2, 3, 4), f32(4)),
        case(f32(2, 1, 4), f32(3, 1), activation=Activation.RELU),
        case(f32(2, 3), f32(2, 3), activation=Activation.RELU_N1_TO_1),
        case(f32(), f32(2, 2), activation=Activation.RELU6),
        case(f32(), const(0.5)),
        case(f32(0, 3), f32(3)),
        case(f32(1, 2, 1, 2, 3, 2), f32(2, 1, 3, 1, 1, 1)),
        case(ints(5, low=-9), ints(5, low=-9)),
        case(ints(3, 1, low=-9), ints(1, 4, low=-9), activation=Activation.RELU),
        case(given([2**31 - 1, -(2**31)]), given([1, -1])),
        case(ints(2, 3, dtype=INT64), const([2**40, -1, 5], INT64)),
    )


class Sub(Sum):
    """``act(a - b)``."""

    name = "SUB"
    options = "SubOptions"
    function = np.subtract

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        first = inputs[0]
        if first is not None and first.dtype is INT16 and not self.pot_scale_int16:
            return 5
        if first is not None and first.dtype is INT64:
            return 4
        if wide_broadcast(inputs):
            return 3
        return 2 if first is not None and first.dtype is INT8 else 1

    cases = (
        case(f32(2, 3, 4), f32(3, 1)),
        case(f32(4), f32(2, 3, 4), activation=Activation.RELU),
        case(f32(1, 2, 3, 1, 2), f32(2, 1, 1, 4, 1)),
        case(ints(2, 3), ints(3)),
        case(given([-(2**31)]), given([1])),
        case(ints(4, dtype=INT64), ints(4, dtype=INT64)),
    )


class Mul(Activated):
    """``act(a · b)``."""

    name = "MUL"
    nonnegative = "kept"
    options = "MulOptions"
    function = np.multiply
    integer_types = (INT8, UINT8, INT16)
    dtype_versions = {FLOAT16: 8, UINT32: 7, COMPLEX64: 6, INT64: 5, INT8: 2}

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        base = super().version(inputs, outputs)
        first = inputs[0]
        if first is not None and first.dtype is INT16:
            return 7 if first.quant is None else 4
        quants = [v.quant for v in (*inputs, *outputs) if v is not None and v.quant is not None]
        if len(quants) == 3:
            a, b, out = (float(q.scale[0]) for q in quants)
            if a * b >= out:  # the product of codes is scaled up
                return max(base, 3)
        return base

    def integer(
        self,
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
        a: Array,
        b: Array,
    ) -> Array:
        left, right, out = Codes.of(inputs[0]), Codes.of(inputs[1]), Codes.of(outputs[0])
        factor = Multiplier.of(left.scale * right.scale / out.scale)
        return out.store(factor(left.centred(a) * right.centred(b)), self.activation)

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> Expression:
        left, right, out = (Codes.of(v) for v in (*inputs, outputs[0]))
        a, b = (centred(v) for v in inputs if v is not None)
        product = combined("mul", a, b)
        factor = Multiplier.of(left.scale * right.scale / out.scale)
        return stored(scaled(product, factor), outputs[0], self.activation)

    cases = (
        case(f32(2, 3, 4), f32(2, 1, 4)),
        case(f32(3), f32(), activation=Activation.RELU6),
        case(f32(2, 1, 2, 1, 3), f32(1, 3, 1, 2, 1)),
        case(ints(2, 3, low=-9), ints(3, low=-9)),
        case(given([2**20, -(2**20)]), given([2**13, 2**12])),
        case(ints(2, 2, dtype=INT64), ints(2, dtype=INT64)),
    )


class Div(Activated):
    """``act(a / b)``; integers are divided towards zero, and not by zero."""

    name = "DIV"
    nonnegative = "kept"
    options = "DivOptions"
    function = np.divide
    integer_types = (INT8, UINT8, INT16)

    def integer(
        self,
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
        a: Array,
        b: Array,
    ) -> Array:
        left, right, out = Codes.of(inputs[0]), Codes.of(inputs[1]), Codes.of(outputs[0])
        divisor = right.centred(b)
        check_divisor("DIV", divisor)
        factor = Multiplier.of(left.scale / (right.scale * out.scale))
        quotient = fixed_point.quotient(left.centred(a), divisor, factor)
        return out.store(quotient, self.activation)

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        return 2 if wide_broadcast(inputs) else 1

    def reference(self, a: Array, b: Array) -> Array:
        if a.dtype.kind not in "iu":
            return super().reference(a, b)
        check_divisor("DIV", b)
        floor = np.floor_divide(a, b)
        negative = (a < 0) != (b < 0)
        quotient = np.asarray(floor + (negative & (floor * b != a)), a.dtype)
        return numerics.activate(quotient, self.activation)

    cases = (
        case(f32(2, 3, 4), f32(4, low=0.5, high=2)),
        case(f32(2, 3), f32(2, 1, low=1, high=2), activation=Activation.RELU),
        # LiteRT clamps infinities to the largest float; TensorFlow does not.
        case(given([1.0, -1.0, 0.0]), given([0.0, 0.0, 0.0]), litert=False),
        case(f32(1, 2, 3, 1, 2), f32(2, 1, 1, 4, 1, low=1, high=2)),
        case(given([7, -7, 7, -7, 6, 0]), given([2, 2, -2, -2, -3, 5])),
    )


class Extremum(Binary, abstract=True):
    """The larger or smaller of two; NaN wins."""

    options = "MaximumMinimumOptions"
    quant = QuantRule(same_scale=True)

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        first = inputs[0]
        if first is not None and first.dtype is INT16:
            return 4
        if wide_broadcast(inputs):
            return 3
        return 2 if first is not None and first.dtype is INT8 else 1


class Maximum(Extremum):
    """The larger of two."""

    name = "MAXIMUM"
    function = np.maximum
    cases = (
        case(f32(2, 3, 4), f32(3, 1)),
        case(f32(), f32(2, 2)),
        case(f32(1, 2, 1, 2, 2), f32(2, 1, 3, 1, 1)),
        case(ints(2, 3, low=-9), ints(3, low=-9)),
        case(ints(4, low=-9, dtype=INT64), ints(1, low=-9, dtype=INT64)),
        case(ints(6, low=-9, dtype=INT8), ints(6, low=-9, dtype=INT8)),
    )


class Minimum(Extremum):
    """The smaller of two."""

    name = "MINIMUM"
    bounded = True
    function = np.minimum
    cases = (
        case(f32(2, 3, 4), f32(4)),
        case(f32(2, 1), f32(1, 5)),
        case(ints(2, 3, low=-9), ints(2, 1, low=-9)),
        case(ints(4, low=-9, dtype=INT64), ints(4, low=-9, dtype=INT64)),
    )


class Pow(Binary):
    """``a`` to the power ``b``; integers only to powers that are not negative."""

    name = "POW"
    options = "PowOptions"
    function = np.power

    def reference(self, a: Array, b: Array) -> Array:
        if b.dtype.kind == "i" and (b < 0).any():
            raise RuntimeModelError(f"POW of integers to a negative power ({b.min()})")
        return super().reference(a, b)

    def kernel(self, inputs: Sequence[Operand | None]) -> Expression | None:
        """Small whole powers are products: spectrograms, variances, the tangent form of GELU."""
        types = [v.dtype for v in inputs if v is not None]
        data = None if inputs[1] is None else inputs[1].data
        if data is None or data.size != 1 or data.dtype != np.float32:
            return apply("pow", types)
        whole = {2.0: "square", 3.0: "cube"}.get(float(data.reshape(())))
        if whole is None:
            return apply("pow", types)
        # The exponent is an input all the same: the result may have its rank.
        return Expression((FLOAT32, FLOAT32), ((whole, (0,)),)) if types[0] is FLOAT32 else None

    cases = (
        case(f32(2, 3, low=0.1, high=3), f32(2, 3, low=-2, high=2)),
        case(f32(2, 3, low=0.1, high=3), const(0.5)),
        case(f32(2, 3, low=-3, high=3), const(2.0)),
        case(f32(2, 3, low=-3, high=3), const([2.0])),
        case(given([-2.0, 0.0, -1.5]), given([3.0, 0.0, 2.0])),
        case(ints(2, 3, low=-4, high=5), ints(3, high=5)),
    )


class FloorDiv(Binary):
    """``floor(a / b)``."""

    name = "FLOOR_DIV"
    plain_types = CODES
    options = "FloorDivOptions"
    dtype_versions = {INT16: 3, INT8: 3, FLOAT32: 2}

    def reference(self, a: Array, b: Array) -> Array:
        check_divisor("FLOOR_DIV", b)
        if a.dtype.kind in "iu":
            return np.asarray(np.floor_divide(a, b), a.dtype)
        return np.asarray(np.floor(np.divide(a, b)), a.dtype)

    cases = (
        case(given([7, -7, 7, -7, 6]), given([2, 2, -2, -2, -3])),
        case(ints(2, 3, low=-20), ints(3, low=1)),
        case(f32(2, 3, low=-9, high=9), f32(3, low=1, high=3)),
        case(given([7, -7], INT16), given([2, 2], INT16)),
    )


class FloorMod(Binary):
    """The remainder of :class:`FloorDiv`: it has the sign of ``b``."""

    name = "FLOOR_MOD"
    plain_types = CODES
    options = "FloorModOptions"
    function = np.mod
    dtype_versions = {INT16: 2, INT8: 2}

    def reference(self, a: Array, b: Array) -> Array:
        check_divisor("FLOOR_MOD", b)
        return super().reference(a, b)

    cases = (
        case(given([7, -7, 7, -7, 6]), given([2, 2, -2, -2, -3])),
        case(ints(2, 3, low=-20, dtype=INT64), ints(3, low=1, dtype=INT64)),
        case(f32(2, 3, low=-9, high=9), f32(3, low=1, high=3)),
        case(given([7.5, -7.5]), const(-2.0)),
    )


class SquaredDifference(Binary):
    """``(a - b)²``."""

    name = "SQUARED_DIFFERENCE"
    nonnegative = "always"
    options = "SquaredDifferenceOptions"
    dtype_versions = {INT8: 2}
    integer_types = (INT8,)

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], *arrays: Array
    ) -> Array:
        sides, out = [Codes.of(v) for v in inputs], Codes.of(outputs[0])
        factors, back = self._factors(sides, out)
        a, b = (
            factor(c.centred(q) << 7) for factor, c, q in zip(factors, sides, arrays, strict=True)
        )
        return out.store(back((a - b) ** 2))

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> Expression:
        operands = [v for v in inputs if v is not None]
        factors, back = self._factors([Codes.of(v) for v in operands], Codes.of(outputs[0]))
        a, b = (
            scaled(centred(v).then("shift_left", 7), factor)
            for v, factor in zip(operands, factors, strict=True)
        )
        return stored(scaled(combined("squared_difference", a, b), back), outputs[0])

    @staticmethod
    def _factors(sides: Sequence[Codes], out: Codes) -> tuple[Sequence[Multiplier], Multiplier]:
        """What the operands, shifted by 7 bits, and the square are scaled by."""
        twice = 2 * max(c.real_scale for c in sides)
        factors = [Multiplier.of(c.real_scale / twice) for c in sides]
        return factors, Multiplier.of(twice * twice / (2.0**14 * out.real_scale))

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(np.square(np.subtract(a, b)), a.dtype)

    cases = (
        case(f32(2, 3, 4), f32(2, 3, 1)),
        case(f32(2, 3), f32()),
        case(ints(2, 3), ints(3)),
    )


class Atan2(Binary):
    """The angle of the point (b, a), in radians."""

    name = "ATAN2"
    options = "ATan2Options"
    function = np.arctan2
    cases = (
        case(f32(2, 3, low=-2, high=2), f32(2, 3, low=-2, high=2)),
        case(given([0.0, 0.0, 1.0, -1.0]), given([1.0, -1.0, 0.0, 0.0])),
        case(f32(2, 3), f32(3), litert=False),  # LiteRT wants equal shapes
    )


class AddN(Elementwise):
    """The sum of any number of tensors of one shape."""

    kinds = COMPLEX
    name = "ADD_N"
    spread = "added"
    nonnegative = "kept"
    options = "AddNOptions"
    inputs = "terms*"

    def infer(self, *terms: Operand) -> Sequence[TensorType]:
        if not terms:
            raise ShapeError("ADD_N has no terms")
        return [TensorType(same_dtype(*terms), same_shape(*terms))]

    def reference(self, *terms: Array) -> Array:
        total = terms[0]
        for term in terms[1:]:
            total = np.asarray(np.add(total, term), total.dtype)
        return total

    def kernel(self, inputs: Sequence[Operand | None]) -> Expression | None:
        types = [v.dtype for v in inputs if v is not None]
        if len(types) < 2 or apply("add", types[:2]) is None:
            return None
        count = len(types)
        sums = (
            ("add", (i if i == 1 else count + i - 2, 0 if i == 1 else i)) for i in range(1, count)
        )
        return Expression(tuple(types), tuple(sums))

    cases = (
        case(f32(2, 3), f32(2, 3), f32(2, 3)),
        case(f32(4), litert=False),  # LiteRT wants two terms
        case(ints(5), ints(5)),
    )
