"""Elementary functions in vector form."""

from __future__ import annotations

import math

from octolite.kernels.simd import (
    F32,
    F64,
    I16,
    I32,
    I64,
    Builder,
    Scalar,
    Type,
    Value,
    lanes_of,
    like,
    mangle,
    vec,
)

# Adding it leaves the nearest integer, halves to even, in the low bits of the sum.
ROUNDER = 1.5 * 2.0**23
ROUNDER_BITS = 0x4B400000


def nearest(k: Builder, x: Value) -> Value:
    """``x`` rounded to int32, halves to even; for |x| < 2^22."""
    return (x + ROUNDER).bits(like(x.type, I32)) - ROUNDER_BITS


# (e^r - 1) / r for |r| <= ln 2 / 2, highest power first: within 1.4e-8 of its value (Lawson's
# iteration).
_GROWTH = (
    0.0013882516452980486,
    0.008366547129263047,
    0.0416672007118252,
    0.16666543424290323,
    0.4999999814961932,
    1.0,
)


def _split_exponent(k: Builder, y: Value, bias: int) -> tuple[Value, Value]:
    """``e^y = 2^n · (1 + p)``: n + bias in the low 22 bits of an int32, and p.

    ``y = n ln 2 + r``, ``|r| <= ln 2 / 2``; n is found by what a sum drops.
    """
    shifted = k.fma(y, 1 / math.log(2), ROUNDER + bias)
    turns = shifted - (ROUNDER + bias)
    high = 0.693359375  # few enough bits for turns · high to be exact
    r = k.fma(turns, high - math.log(2), k.fma(turns, -high, y))
    series = k.const(y.type, _GROWTH[0])
    for coefficient in _GROWTH[1:]:
        series = k.fma(series, r, coefficient)
    return shifted.bits(like(y.type, I32)), series * r


def _power(bits: Value, kind: Type) -> Value:
    """``2^(m - 127)`` for m in the low bits, 0…255; Inf for 255."""
    return (bits << 23).bits(kind)


def exp(k: Builder, x: Value) -> Value:
    """``e^x``, within 2 units in the last place; 0 and Inf beyond the format, NaN stays NaN."""
    m, p = _split_exponent(k, clamp(k, x, -104.0, 89.0), 2 * 127)
    half = m >> 1  # 2^n itself may be out of range where the result is not
    first = _power(half, x.type)
    return k.fma(p, first, first) * _power(m - half, x.type)


def _exp_of_normal(k: Builder, x: Value) -> Value:
    """``e^x`` from 2^-126 on, which is what smaller ones become; Inf from 2^127.5 on."""
    m, p = _split_exponent(k, clamp(k, x, -87.3, 88.9), 127)
    return (p + 1.0) * _power(m, x.type)  # no sum, of which a part may be infinite


def expm1(k: Builder, x: Value) -> Value:
    """``e^x - 1`` for x up to 80, exact to the last digits near 0; NaN stays NaN."""
    m, p = _split_exponent(k, k.smax(x, -30.0), 127)
    power = _power(m, x.type)
    return k.fma(p, power, power - 1.0)


def tanh(k: Builder, x: Value) -> Value:
    """Hyperbolic tangent, ``t / (t + 2)`` with ``t = e^2x - 1``, within 3 units in the last place.

    NaN stays NaN.
    """
    # Beyond 9.1 the result is ±1 in float32.
    m, p = _split_exponent(k, clamp(k, x, -10.0, 10.0) * 2.0, 127)
    power = _power(m, x.type)
    t = k.fma(p, power, power - 1.0)
    return t / (t + 2.0)


def logistic(k: Builder, x: Value) -> Value:
    """``1 / (1 + e^-x)``, within 3 units in the last place; 0 where it would be denormal, NaN
    stays NaN."""
    return k.const(x.type, 1.0) / (_exp_of_normal(k, k.const(x.type, 0.0) - x) + 1.0)


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
    if not a.is_float:
        return k.smax(a, b)
    return k.call(f"llvm.maximum.{mangle(a.type)}", a.type, a, b)


def minimum(k: Builder, a: Value, b: Value) -> Value:
    """The lesser; NaN where either is."""
    if not a.is_float:
        return k.smin(a, b)
    return k.call(f"llvm.minimum.{mangle(a.type)}", a.type, a, b)


def sqrt(k: Builder, x: Value) -> Value:
    return k.call(f"llvm.sqrt.{mangle(x.type)}", x.type, x)


def absolute(k: Builder, x: Value) -> Value:
    """``|x|``; the least integer stays what it is."""
    if not x.is_float:
        return k.select(x < 0, x * -1, x)
    return k.call(f"llvm.fabs.{mangle(x.type)}", x.type, x)


def copysign(k: Builder, x: Value, sign: Value) -> Value:
    """``|x|`` with the sign of ``sign``."""
    return k.call(f"llvm.copysign.{mangle(x.type)}", x.type, x, sign)


def sign(k: Builder, x: Value) -> Value:
    """-1, 0 or 1; NaN stays NaN."""
    one = k.const(x.type, 1)
    return k.select(x > 0, one, k.select(x < 0, k.const(x.type, -1), k.select(x.equals(0), 0, x)))


# Rounding; instructions for it are not part of every machine ----------------------------------


def round_even(k: Builder, x: Value) -> Value:
    """The nearest integer, halves to the even one."""
    size = absolute(k, x)
    whole = (size + 2.0**23) - 2.0**23  # beyond 2^23 there are no fractions
    return copysign(k, k.select(size < 2.0**23, whole, size), x)


def floor(k: Builder, x: Value) -> Value:
    """The greatest integer that is not more."""
    near = round_even(k, x)
    return near - k.select(near > x, k.const(x.type, 1.0), 0.0)


def ceil(k: Builder, x: Value) -> Value:
    """The least integer that is not less; those of -1 … 0 are -0."""
    near = round_even(k, x)
    return copysign(k, near + k.select(near < x, k.const(x.type, 1.0), 0.0), x)


def round_half_away(k: Builder, x: Value) -> Value:
    """The nearest integer, halves away from 0."""
    size = absolute(k, x)
    whole = floor(k, size)
    up = k.select(size - whole >= 0.5, k.const(x.type, 1.0), 0.0)
    return copysign(k, whole + up, x)


# Integers of 32 bits --------------------------------------------------------------------------


def high_product(k: Builder, a: Value, b: Value) -> Value:
    """``a · b / 2^31`` of int32 rounded, halves up; -2^31 twice wraps.

    Products of even and of odd lanes, as machines multiply 32 bits to 64.
    """
    lanes = lanes_of(a.type)
    if lanes < 2:
        return ((a.sext(I64) * b.sext(I64) + (1 << 30)) >> 31).trunc(I32)
    pairs = vec(I64, lanes // 2)
    odd = [i | 1 for i in range(lanes)]

    def product(a: Value, b: Value) -> Value:
        """Of the even lanes, as int64."""
        return ((a.bits(pairs) << 32) >> 32) * ((b.bits(pairs) << 32) >> 32) + (1 << 30)

    evens, odds = product(a, b) >> 31, product(a.pick(odd), b.pick(odd)) << 1
    found = [i + lanes * (i % 2) for i in range(lanes)]
    return evens.bits(a.type).pick(found, odds.bits(a.type))


def rounding_shift(k: Builder, x: Value, bits: Value) -> Value:
    """``x / 2^bits`` rounded, halves away from zero; ``bits`` from 0 to 31."""
    mask = (k.const(x.type, 1) << bits) - 1
    threshold = (mask >> 1) - (x >> 31)  # 1 more below 0
    return (x >> bits) + ((x & mask) > threshold).zext(I32)


# The normal distribution ----------------------------------------------------------------------

# Φ(-a) · e^(a²/2) for a in [0, 14.7] as a polynomial in t = (a - 4) / (a + 4), highest power
# first: within 1.8e-8 of its value (Lawson's iteration). Beyond, Φ(-a) is under the least float.
_TAIL = (
    -6.488301046107541e-05,
    -0.0001671423751668094,
    0.0006577512251903159,
    0.0005021009463832427,
    -0.00849799706905265,
    0.03086559849623181,
    -0.07170672756385635,
    0.12437919394936779,
    -0.17039774168054952,
    0.09441064224654819,
)


def gelu(k: Builder, x: Value) -> Value:
    """``x · Φ(x)``, Φ the normal distribution, within 1e-6 of its value; -0 at -Inf."""
    a = k.smin(absolute(k, x), 14.7)
    t = (a - 4.0) / (a + 4.0)
    series = k.const(x.type, _TAIL[0])
    for coefficient in _TAIL[1:]:
        series = k.fma(series, t, coefficient)
    # e^(-a²/2), for which a² must be exact: the square of the leading 12 bits is, and the rest
    # is small.
    head = (a.bits(like(x.type, I32)) & ~0xFFF).bits(x.type)
    rest = (a - head) * (a + head) * -0.5
    power = k.const(x.type, 1 / 24)
    for factorial in (6, 2, 1, 1):
        power = k.fma(power, rest, 1 / factorial)
    tail = exp(k, head * head * -0.5) * (power * series)
    return k.smax(x, -20.0) * k.select(x < 0.0, tail, k.const(x.type, 1.0) - tail)


def gelu_tanh(k: Builder, x: Value) -> Value:
    """``x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`` as ``x / (1 + e^-2u)``; -0 at -Inf."""
    u = (x + x * x * x * 0.044715) * (-2 * math.sqrt(2 / math.pi))
    return k.smax(x, -20.0) / (_exp_of_normal(k, u) + 1.0)


# Angles ---------------------------------------------------------------------------------------

# 2/π in words of 32 bits behind one of zeros.
_TWO_BY_PI = (
    0, 0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0, 0xDB629599, 0x3C439041, 0xFE5163AB,
)  # fmt: skip


def _quarters(k: Builder, x: Value) -> tuple[Value, Value]:
    """``|x| = (4i + n) π/2 + r`` with ``|r| <= π/4``: n and r, for ``|x| >= π/4`` of any size.

    ``|x| = m 2^s`` with a whole m; ``|x| · 2/π`` modulo 4 needs but those 96 bits of 2/π that m
    neither lifts over 4 nor leaves under 2^-62 (Payne and Hanek, "Radian reduction for
    trigonometric functions").
    """
    bits = x.bits(like(x.type, I32)) & 0x7FFFFFFF
    m = ((bits & 0x7FFFFF) | 0x800000).zext(I64)
    start = k.smin(k.smax((bits >> 23) - (127 + 23) - 2 + 32, 6), 134)
    word = start >> 5

    def at(index: int) -> Value:
        found = k.const(m.type, _TWO_BY_PI[index])
        for first in range(1, 5):
            found = k.select(word >= first, _TWO_BY_PI[index + first], found)
        return found

    w = [at(index) for index in range(4)]
    shift = (start & 31).zext(I64)
    back = k.const(m.type, 32) - shift
    whole = (((w[0] << 32) | w[1]) << shift) | (w[2] >> back)
    part = (((w[2] << 32) | w[3]) >> back) & 0xFFFFFFFF
    turn = m * whole + ((m * part) >> 32)  # quarters · 2^62, modulo 4
    n = ((turn + 2**61) >> 62).trunc(I32)
    return n, ((turn << 2) >> 2).to_float() * (math.pi / 2 * 2.0**-62)


def sine(k: Builder, x: Value, quarters: int = 0) -> Value:
    """``sin(x + quarters · π/2)`` within 3 units in the last place; NaN for infinities."""
    small = absolute(k, x) < math.pi / 4
    n, r = _quarters(k, x)
    mirror = x < 0.0
    n = k.select(small, 0, k.select(mirror, k.const(n.type, 0) - n, n)) + quarters
    r = k.select(small, x, k.select(mirror, r * -1.0, r))
    square = r * r
    odd, even = (k.const(x.type, 1 / math.factorial(degree)) for degree in (9, 10))
    for degree in (7, 5, 3):
        odd = k.fma(odd, square * -1.0, 1 / math.factorial(degree))
    for degree in (8, 6, 4, 2, 0):
        even = k.fma(even, square * -1.0, 1 / math.factorial(degree))
    odd = k.fma(odd, square * r * -1.0, r)
    result = k.select((n & 1).equals(0), odd, even)
    result = k.select((n & 2).equals(0), result, result * -1.0)
    return k.select(absolute(k, x) < math.inf, result, float("nan"))


# Powers ---------------------------------------------------------------------------------------


def _log2(k: Builder, x: Value) -> Value:
    """The binary logarithm of finite positive doubles that come from floats, within 1e-14."""
    whole = like(x.type, I64)
    root = 0x3FE6A09E667F3BCD  # √½: seen from there, the exponent of m is 0 throughout
    bits = x.bits(whole) - root
    n = bits >> 52
    m = ((bits & (2**52 - 1)) + root).bits(x.type)
    s = (m - 1.0) / (m + 1.0)
    square = s * s
    series = k.const(x.type, 1 / 19)
    for odd in range(17, 0, -2):
        series = series * square + 1 / odd
    return n.trunc(I32).to_float(F64) + series * s * (2 / math.log(2))


def power(k: Builder, a: Value, b: Value) -> Value:
    """``a^b`` within 1 unit in the last place, with C's ``pow`` for what is no number."""
    size = absolute(k, a)
    normal = k.select(size < math.inf, k.select(size > 0.0, size, 1.0), 1.0)
    log = _log2(k, normal.to_double())
    log = k.select(size.equals(0.0), float("-inf"), log)
    log = k.select(size.equals(math.inf), math.inf, log)
    log = k.select(size.equals(size), log, float("nan"))
    y = clamp(k, log * b.to_double(), -200.0, 200.0)
    shifted = y + 1.5 * 2.0**52  # whose low bits are the nearest integer
    r = (y - (shifted - 1.5 * 2.0**52)) * math.log(2)
    series = k.const(y.type, 1 / math.factorial(12))
    for degree in range(11, -1, -1):
        series = series * r + 1 / math.factorial(degree)
    scale = ((shifted.bits(like(y.type, I64)) + 1023) << 52).bits(y.type)
    result = (series * scale).to_single()
    half = b * 0.5
    whole = floor(k, b).equals(b)
    odd = whole & (floor(k, half).equals(half) ^ 1)
    below = a.bits(like(a.type, I32)) < 0
    result = k.select(below & odd, result * -1.0, result)
    result = k.select(below & (size > 0.0) & (size < math.inf) & (whole ^ 1), float("nan"), result)
    one = b.equals(0.0) | a.equals(1.0) | (a.equals(-1.0) & absolute(k, b).equals(math.inf))
    return k.select(one, 1.0, result)


# Half precision -------------------------------------------------------------------------------


def from_half(k: Builder, x: Value) -> Value:
    """float32 of the bits of float16, int16; exact."""
    bits = x.zext(I32)
    size = (bits & 0x7FFF) << 13
    kind = like(x.type, F32)
    real = (size.bits(kind) * 2.0**112).bits(bits.type)  # the other exponent bias
    real = k.select(size >= 0x7C00 << 13, size | 0x7F800000, real)
    return (real | ((bits & 0x8000) << 16)).bits(kind)


def to_half(k: Builder, x: Value) -> Value:
    """The bits of float16 as int16, of the nearest, halves to even."""
    bits = x.bits(like(x.type, I32))
    size = bits & 0x7FFFFFFF
    # Below 2^-14 the last place of a half is 2^-24, which is that of a float32 around ½.
    small = (size.bits(x.type) + 0.5).bits(bits.type) - 0x3F000000
    normal = (size - (112 << 23) + 0xFFF + ((size >> 13) & 1)) >> 13
    half = k.select(size < 113 << 23, small, normal)
    half = k.select(size >= 0x477FF000, k.const(bits.type, 0x7C00), half)  # from 65520 on
    half = k.select(size > 0x7F800000, (size >> 13) & 0x3FF | 0x7E00, half)
    return (half | ((bits >> 16) & 0x8000)).trunc(I16)


def to_integer(k: Builder, x: Value, low: int, high: int, element: Type) -> Value:
    """``x`` without its fraction, kept between ``low`` and ``high`` (2^n - 1); 0 for NaN."""
    above = float(high + 1)
    within = clamp(k, x, float(low), above * (1 - 2.0**-24))  # the float before it
    number = k.select(x.equals(x), within, 0.0)
    whole = number.to_int(element)
    return k.select(x >= above, k.const(whole.type, high), whole)
