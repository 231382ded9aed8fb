"""Elementary functions in vector form."""

from __future__ import annotations

import math

from octolite.kernels.simd import I32, Builder, Value, like

# Adding it leaves the nearest integer, halves to even, in the low bits of the sum.
ROUNDER = 1.5 * 2.0**23
ROUNDER_BITS = 0x4B400000


def nearest(k: Builder, x: Value) -> Value:
    """``x`` rounded to int32, halves to even; for |x| < 2^22."""
    return (x + ROUNDER).bits(like(x.type, I32)) - ROUNDER_BITS


def tanh(k: Builder, x: Value) -> Value:
    """Hyperbolic tangent, within 3 units in the last place; NaN stays NaN.

    ``tanh x = t / (t + 2)`` with ``t = e^2x - 1``; ``2x = n ln 2 + r`` and the Taylor series of
    ``e^r - 1`` for ``|r| <= ln 2 / 2`` keep small arguments exact to the last digits.
    """
    # Beyond 9.1 the result is ±1 in float32.
    y = k.smin(k.smax(x, -10.0), 10.0) * 2.0
    n = nearest(k, y * (1 / math.log(2)))
    turns = n.to_float()
    high = 0.693359375  # few enough bits for turns · high to be exact
    r = k.fma(turns, high - math.log(2), k.fma(turns, -high, y))
    series = k.const(x.type, 1 / math.factorial(8))
    for degree in range(7, 0, -1):
        series = k.fma(series, r, 1 / math.factorial(degree))
    power = ((n + 127) << 23).bits(x.type)
    t = k.fma(series * r, power, power - 1.0)
    return t / (t + 2.0)
