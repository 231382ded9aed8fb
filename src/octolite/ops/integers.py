"""Integer arithmetic of elementwise operators as expressions, for kernels.

Each function has the meaning of its namesake in :mod:`octolite.ir.fixed_point`. All between codes
is int32, which wraps where the reference does.
"""

from __future__ import annotations

from octolite.ir.fixed_point import Codes, Multiplier
from octolite.ir.types import INT32, Activation, DType, Operand
from octolite.kernels.expression import Expression, join


def centred(operand: Operand) -> Expression:
    """Codes less their zero point."""
    zero, integers = Codes.of(operand).zero, whole(operand.dtype)
    return integers.then("sub", zero) if zero else integers


def whole(dtype: DType) -> Expression:
    """Integers of any type as int32."""
    return Expression((dtype,), (("to_int32", (0,)),))


def scaled(x: Expression, factor: Multiplier) -> Expression:
    """``factor(x)``."""
    mantissa, shift = int(factor.mantissa), int(factor.shift)
    for bits in (31,) * (shift // 31) + (shift % 31,) if shift > 0 else ():
        x = x.then("shift_left", bits)
    x = x.then("half") if mantissa == 2**30 else x.then("high_product", mantissa)
    return x.then("rounding_shift", -shift) if shift < 0 else x


def combined(function: str, a: Expression, b: Expression) -> Expression:
    """``function`` of two int32, each of which is made of an input."""
    both = Expression((INT32, INT32), ((function, (0, 1)),))
    inputs = {"a": a.inputs[0], "b": b.inputs[0]}
    return join(
        inputs, [(a, ["a"], "left"), (b, ["b"], "right"), (both, ["left", "right"], "both")]
    )


def stored(x: Expression, result: Operand, activation: Activation = Activation.NONE) -> Expression:
    """Codes of what counts from the zero point, within the activation's range."""
    return stored_within(x, result, Codes.of(result).range(activation))


def stored_within(x: Expression, result: Operand, limits: tuple[int, int]) -> Expression:
    """Codes of what counts from the zero point, within two codes."""
    out = Codes.of(result)
    low, high = limits
    if result.dtype.bits < 32:
        x = x.then("maximum", low - out.zero).then("minimum", high - out.zero)
    if out.zero:
        x = x.then("add", out.zero)
    return x.then(f"to_{result.dtype}")
