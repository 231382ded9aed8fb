"""Elementary functions in vector form."""

from __future__ import annotations

import math

from octolite.kernels.simd import I32, Builder, Scalar, Value, like, mangle

# Adding it leaves the nearest integer, halves to even, in the low bits of the sum.
ROUNDER = 1.5 * 2.0**23
ROUNDER_BITS = 0x4B400000


def nearest(k: Builder, x: Value) -> Value:
    """``x`` rounded to int32, halves to even; for |x| < 2^22."""
    return (x + ROUNDER).bits(like(x.type, I32)) - ROUNDER_BITS


def _power(k: Builder, n: Value, like_: Value) -> Value:
    """``2^n`` for n in -126…127."""
    return ((n + 127) << 23).bits(like_.type)


def _split_exponent(k: Builder, y: Value) -> tuple[Value, Value]:
    """``e^y = 2^n · (1 + p)``: n and p. ``y = n ln 2 + r``, ``|r| <= ln 2 / 2``, and p is the
    Taylor series of ``e^r - 1``, whose relative error stays under 2^-26."""
    n = nearest(k, y * (1 / math.log(2)))
    turns = n.to_float()
    high = 0.693359375  # few enough bits for turns · high to be exact
    r = k.fma(turns, high - math.log(2), k.fma(turns, -high, y))
    series = k.const(y.type, 1 / math.factorial(8))
    for degree in range(7, 0, -1):
        series = k.fma(series, r, 1 / math.factorial(degree))
    return n, series * r


def exp(k: Builder, x: Value) -> Value:
    """``e^x``, within 2 units in the last place; 0 and Inf beyond the format, NaN stays NaN."""
    n, p = _split_exponent(k, k.smin(k.smax(x, -104.0), 89.0))
    half = n >> 1  # 2^n itself may be out of range where the result is not
    return (p + 1.0) * _power(k, half, x) * _power(k, n - half, x)


def expm1(k: Builder, x: Value) -> Value:
    """``e^x - 1`` for x up to 80, exact to the last digits near 0; NaN stays NaN."""
    n, p = _split_exponent(k, k.smax(x, -30.0))
    power = _power(k, n, x)
    return k.fma(p, power, power - 1.0)


def tanh(k: Builder, x: Value) -> Value:
    """Hyperbolic tangent, ``t / (t + 2)`` with ``t = e^2x - 1``, within 3 units in the last place.

    NaN stays NaN.
    """
    # Beyond 9.1 the result is ±1 in float32.
    t = expm1(k, k.smin(k.smax(x, -10.0), 10.0) * 2.0)
    return t / (t + 2.0)


def logistic(k: Builder, x: Value) -> Value:
    """``1 / (1 + e^-x)``; NaN stays NaN."""
    return k.const(x.type, 1.0) / (exp(k, k.const(x.type, 0.0) - x) + 1.0)


def log(k: Builder, x: Value) -> Value:
    """Natural logarithm, within 2 units in the last place; -Inf at 0, NaN below it.

    ``x = 2^n · m`` with m in [√½, √2), and ``ln m = 2 artanh s``, ``s = (m - 1) / (m + 1)``, whose
    series ``2 (s + s³/3 + s⁵/5 + …)`` is cut off where its terms fall under 2^-29.
    """
    whole = like(x.type, I32)
    least = 2.0**-126  # below it, numbers have fewer digits than a float holds
    normal = k.select(x < least, x * 2.0**23, x)
    # Seen from √½, the exponent of m is 0 throughout.
    bits = normal.bits(whole) - 0x3F3504F3
    n = bits >> 23
    m = ((bits & 0x7FFFFF) + 0x3F3504F3).bits(x.type)
    turns = n.to_float() - k.select(x < least, k.const(x.type, 23.0), 0.0)
    s = (m - 1.0) / (m + 1.0)
    square = s * s
    series = k.const(x.type, 2 / 11)
    for odd in (9, 7, 5, 3):
        series = k.fma(series, square, 2 / odd)
    high = 0.693359375  # few enough bits for turns · high to be exact
    rest = k.fma(turns, math.log(2) - high, series * square * s)
    result = k.fma(turns, high, s * 2.0 + rest)
    result = k.select(x.compare("<", math.inf), result, x)  # Inf and NaN stay
    result = k.select(x.equals(0.0), float("-inf"), result)
    return k.select(x < 0.0, float("nan"), result)


# (2^r - 1) / r for |r| <= 1/2, highest power first: r times it is 2^r - 1 within 2^-23 (Lawson's
# iteration towards the least largest error of 2^r).
_POWER = (
    0.0013264727252460798,
    0.009671512785780711,
    0.05550733744471743,
    0.2402224208311176,
    0.6931469775976786,
)


def _fast_power(k: Builder, y: Value) -> tuple[Value, Value]:
    """``2^y = s · (1 + p)``: s and p; for y in -126…126, relative error under 2^-22."""
    shifted = y + (ROUNDER + 127)  # whose low bits are the exponent of s
    r = y - (shifted - (ROUNDER + 127))
    series = k.const(y.type, _POWER[0])
    for coefficient in _POWER[1:]:
        series = k.fma(series, r, coefficient)
    return (shifted.bits(like(y.type, I32)) << 23).bits(y.type), series * r


def fast_tanh(k: Builder, x: Value) -> Value:
    """Hyperbolic tangent with an error under 2e-7, and under 1e-6 of its value; NaN stays NaN."""
    y = clamp(k, x, -10.0, 10.0) * (2 / math.log(2))
    s, p = _fast_power(k, y)
    t = k.fma(p, s, s - 1.0)
    return t / (t + 2.0)


def fast_logistic(k: Builder, x: Value) -> Value:
    """``1 / (1 + e^-x)`` with an error under 2e-7; NaN stays NaN."""
    y = clamp(k, x, -80.0, 80.0) * (-1 / math.log(2))
    s, p = _fast_power(k, y)
    return k.const(x.type, 1.0) / (k.fma(p, s, s) + 1.0)


def clamp(k: Builder, x: Value, low: Scalar, high: Scalar) -> Value:
    """``min(max(x, low), high)``; NaN stays NaN."""
    return k.smin(k.smax(x, low), high)


def maximum(k: Builder, a: Value, b: Value) -> Value:
    """The greater; NaN where either is."""
    return k.call(f"llvm.maximum.{mangle(a.type)}", a.type, a, b)


def minimum(k: Builder, a: Value, b: Value) -> Value:
    """The lesser; NaN where either is."""
    return k.call(f"llvm.minimum.{mangle(a.type)}", a.type, a, b)


def sqrt(k: Builder, x: Value) -> Value:
    return k.call(f"llvm.sqrt.{mangle(x.type)}", x.type, x)


def absolute(k: Builder, x: Value) -> Value:
    return k.call(f"llvm.fabs.{mangle(x.type)}", x.type, x)
