"""Integer arithmetic of fully quantized operators, bit for bit that of TFLite's reference kernels.

A real factor becomes a 32-bit mantissa and a power of two; sums of products are multiplied by it,
rounded twice: to the upper half of the 64-bit product, and by the shift. Functions are evaluated
by tables or in fixed point, where ``F(n)`` has n integer bits: ``real = raw / 2^(31 - n)``.

Arrays are int64 that hold int32 values; what would overflow int32 wraps or saturates as it does in
the kernels. Sources: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference"; gemmlowp's notes on fixed-point functions and output stages;
TFLite's 8-bit quantization specification; and runs of its kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from typing import Any

import numpy as np

from octolite.ir.numerics import round_half_away
from octolite.ir.types import INT16, INT32, Activation, Array, DType, Operand, Quant

INT32_MAX, INT32_MIN = 2**31 - 1, -(2**31)
ONE = INT32_MAX
"""1 in F(0), or nearly so."""


@dataclass(frozen=True, slots=True)
class Multiplier:
    """A real factor ``mantissa · 2^(shift - 31)``: scalars, or int64 arrays that broadcast."""

    mantissa: Array
    shift: Array

    @classmethod
    def of(cls, real: Any) -> Multiplier:
        """The nearest to float64 ``real``; under 2⁻³² it is zero."""
        fraction, shift = np.frexp(np.asarray(real, np.float64))
        mantissa = round_half_away(fraction * 2.0**31).astype(np.int64)
        carried = mantissa == 2**31
        mantissa = np.where(carried, 2**30, mantissa)
        shift = shift.astype(np.int64) + carried
        lost = shift < -31
        return cls(np.where(lost, 0, mantissa), np.where(lost, 0, shift))

    def shifted(self, bits: int) -> Multiplier:
        """This factor times ``2^bits``."""
        return Multiplier(self.mantissa, self.shift + bits)

    def shared(self, count: int) -> Multiplier:
        """This scalar factor divided by ``count``, cut off, as means are scaled."""
        count, shift = max(count, 1), int(self.shift)
        bits = min(count.bit_length() - 1, 32, 31 + shift)
        mantissa = (int(self.mantissa) << bits) // count
        return Multiplier(np.asarray(mantissa), np.asarray(shift - bits))

    def __call__(self, x: Array) -> Array:
        """``x`` times the factor, int32: rounded to the upper half, then by the shift."""
        scaled = wrap(np.asarray(x, np.int64) << np.maximum(self.shift, 0))
        return rounding_shift(high_product(scaled, self.mantissa), np.maximum(-self.shift, 0))

    def short(self) -> tuple[Array, Array]:
        """A mantissa of 15 bits, and how far what it is multiplied by moves right."""
        short = np.where(self.mantissa < 0x7FFF0000, (self.mantissa + 2**15) >> 16, 0x7FFF)
        return short, 15 - self.shift

    def upward(self, x: Array) -> Array:
        """The same, but the shift, too, rounds halves up, as matrix products of vector units do."""
        scaled = wrap(np.asarray(x, np.int64) << np.maximum(self.shift, 0))
        bits = np.maximum(-self.shift, 0)
        rounded = (high_product(scaled, self.mantissa) + (np.int64(1) << bits >> 1)) >> bits
        return np.asarray(rounded)

    def wide(self, x: Array) -> Array:
        """``x``, int64 of 48 bits, times the factor with a mantissa of 15 bits, rounded once."""
        short, bits = self.short()
        return wrap((np.asarray(x, np.int64) * short + (np.int64(1) << (bits - 1))) >> bits)


class OutputStage(Enum):
    """How a sum is multiplied by a real factor."""

    FIXED = auto()
    """32 bits by a mantissa of 31 bits, rounded to the upper half and by the shift."""
    WIDE = auto()
    """48 bits by a mantissa of 15 bits, rounded once."""
    REAL = auto()
    """In float64, rounded to the nearest."""

    @classmethod
    def of_convolution(cls, x: Operand | None, bias: Operand | None) -> OutputStage:
        """That of convolutions: 16 bits make long sums, unless the bias is short."""
        short = bias is not None and bias.dtype is INT32
        return cls.WIDE if x is not None and x.dtype is INT16 and not short else cls.FIXED


def wrap(x: Array) -> Array:
    """The lower 32 bits of int64, as a signed number."""
    return ((np.asarray(x, np.int64) + 2**31) & 0xFFFFFFFF) - 2**31


def saturate(x: Array, low: int = INT32_MIN, high: int = INT32_MAX) -> Array:
    return np.asarray(np.clip(x, low, high))


def high_product(a: Array | int, b: Array | int, bits: int = 32) -> Array:
    """``a · b / 2^(bits - 1)`` rounded, halves up: the product of fixed-point numbers."""
    top = bits - 1
    rounded = (np.asarray(a, np.int64) * b + (1 << (top - 1))) >> top
    return np.asarray(np.minimum(rounded, (1 << top) - 1))


def rounding_shift(x: Array, bits: Array | int) -> Array:
    """``x / 2^bits`` rounded, halves away from zero."""
    x = np.asarray(x, np.int64)
    mask = (np.int64(1) << bits) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> bits) + ((x & mask) > threshold)


def rescale(x: Array, bits: int, width: int = 32) -> Array:
    """``x · 2^bits``: to the left saturating in ``width`` bits, to the right rounding."""
    top = 1 << (width - 1)
    return saturate(x << bits, -top, top - 1) if bits >= 0 else rounding_shift(x, -bits)


def leading_zeros(x: Array) -> Array:
    """How many of the 32 bits of non-negative ``x`` are zero before the first that is one."""
    return 32 - np.frexp(x.astype(np.float64))[1].astype(np.int64)


def divide(a: Array, b: Array | int) -> Array:
    """``a / b`` of integers, cut off towards zero."""
    quotient = np.abs(a) // np.abs(b)
    return np.where((a < 0) != (np.asarray(b) < 0), -quotient, quotient)


# -- codes -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Codes:
    """What the codes of a whole tensor stand for: ``real = scale · (q - zero)``."""

    scale: np.float32
    zero: int
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, operand: Operand | None) -> Codes:
        """Of an operand with one scale."""
        assert operand is not None
        return cls.like(operand.quant, operand.dtype)

    @classmethod
    def like(cls, quant: Quant | None, dtype: DType) -> Codes:
        assert quant is not None
        return cls(quant.scale[0], int(quant.zero_point[0]), dtype.numpy)

    @property
    def real_scale(self) -> float:
        return float(self.scale)

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest code."""
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)

    def centred(self, q: Array) -> Array:
        """``q - zero``, int64."""
        return q.astype(np.int64) - self.zero

    @property
    def farthest(self) -> int:
        """The greatest distance of a code from the zero point."""
        return max(abs(limit - self.zero) for limit in self.limits)

    def nearest(self, real: float) -> int:
        """The code of a real number, before it is clipped, as float32 division gives it."""
        return self.zero + int(round_half_away(np.asarray(np.float32(real) / self.scale)))

    def store(self, centred: Array, activation: Activation = Activation.NONE) -> Array:
        """Codes of ``centred``, which counts from the zero point, within the activation's range."""
        return self.store_within(centred, *_BOUNDS.get(activation, (None, None)))

    def range(self, activation: Activation) -> tuple[int, int]:
        """The least and greatest code that a fused activation leaves."""
        return self.between(*_BOUNDS.get(activation, (None, None)))

    def between(self, below: float | None, above: float | None) -> tuple[int, int]:
        """The least and greatest code of what lies between two real numbers."""
        low, high = self.limits
        if below is not None:
            low = max(low, self.nearest(below))
        if above is not None:
            high = min(high, self.nearest(above))
        return low, high

    def store_within(self, centred: Array, below: float | None, above: float | None) -> Array:
        """Codes of ``centred``, which counts from the zero point, between two real numbers."""
        low, high = self.between(below, above)
        shifted = np.asarray(centred, np.int64) + self.zero
        return np.minimum(np.maximum(shifted, low), high).astype(self.dtype)


_BOUNDS: dict[Activation, tuple[float | None, float | None]] = {
    Activation.RELU: (0.0, None),
    Activation.RELU6: (0.0, 6.0),
    Activation.RELU_N1_TO_1: (-1.0, 1.0),
}


# -- tables ----------------------------------------------------------------------------------------


def by_table(x: Codes, out: Codes, function: Callable[[Array], Array], q: Array) -> Array:
    """A function of codes, looked up for all codes that there are.

    8 bits: float32 ``function`` of each code. 16 bits: of 512 steps, the rest interpolated.
    ``function`` takes and gives float32; the middle of what it is computed in counts for nothing.
    """
    if q.dtype.itemsize == 2:
        low, high = x.limits
        first, last = (np.float32(x.scale * np.float32(v - x.zero)) for v in (low, high))
        least, most = (np.float32(out.scale * np.float32(v - out.zero)) for v in out.limits)
        return interpolate(steps(first, last, least, most, function), q)
    low, high = x.limits
    every = np.arange(low, high + 1, dtype=np.int64)
    real = x.scale * (every - x.zero).astype(np.float32)
    scaled = round_half_away(function(real).astype(np.float32) * (np.float32(1) / out.scale))
    codes = scaled + np.float32(out.zero)
    table = np.clip(codes, *out.limits).astype(out.dtype)
    return table[q.astype(np.int64) - low]


STEPS = 512


def steps(low: Any, high: Any, least: Any, most: Any, function: Callable[[Array], Array]) -> Array:
    """A table of int16 with 513 entries for ``function`` over int16 codes from ``low`` to ``high``.

    Results count from ``least`` to ``most``. Each entry is moved by half of what linear
    interpolation misses in the middle of its step. All is computed in the type of ``low``.
    """
    real = type(low)
    step = (high - low) / real(STEPS)
    unit = real(65536) / (most - least)
    start = low + np.arange(STEPS).astype(real) * step
    following = low + np.arange(1, STEPS + 1).astype(real) * step
    sample = round_half_away(function(start) * unit)
    middle = round_half_away((function(following) * unit + sample) / real(2))
    error = middle - round_half_away(function(start + step / real(2)) * unit)
    entries = np.append(
        sample - round_half_away(error / real(2)),
        round_half_away(function(np.asarray(high)) * unit),
    )
    return np.asarray(np.clip(entries, -32768, 32767), np.int64)


def interpolate(table: Array, x: Array) -> Array:
    """int16 codes looked up in a table of :func:`steps`: 9 bits choose, 7 interpolate."""
    x = x.astype(np.int64)
    index = 256 + (x >> 7)
    base = table[index]
    slope = _int16(table[index + 1] - base)
    return np.asarray(_int16(base + ((slope * (x & 0x7F) + 64) >> 7)), np.int16)


def _int16(x: Array) -> Array:
    return np.asarray(((x + 2**15) & 0xFFFF) - 2**15)


# -- functions in fixed point ----------------------------------------------------------------------


def exp_of_negative(a: Array, integer_bits: int, width: int = 32) -> Array:
    """``e^a`` in F(0) of ``a <= 0`` in F(integer_bits), both of ``width`` bits.

    ``a`` is a multiple of -1/4, whose bits choose from powers of e, and a rest in [-1/4, 0), for
    which a Taylor series of four terms around -1/8 is enough. Under -32 it is 0.
    """
    fraction_bits = width - 1 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    rest = (a & (quarter - 1)) - quarter
    result = _exp_of_rest(rescale(rest, integer_bits, width), width)
    remainder = rest - a
    for exponent in range(-2, min(integer_bits, 5)):
        factor = fixed(math.exp(-(2.0**exponent)), width=width)
        chosen = remainder & (1 << (fraction_bits + exponent)) != 0
        result = np.where(chosen, high_product(result, factor, width), result)
    if integer_bits > 5:
        result = np.where(a < -(32 << fraction_bits), 0, result)
    return np.where(a == 0, one(width), result)


def one(width: int) -> int:
    """1 in F(0) of ``width`` bits, or nearly so."""
    return (1 << (width - 1)) - 1


def fixed(real: float, integer_bits: int = 0, width: int = 32) -> int:
    """A constant in F(integer_bits) of 32 bits, or what of it goes into ``width``."""
    full = round_half_away(np.asarray(real * 2.0 ** (31 - integer_bits)))
    return int(rounding_shift(full.astype(np.int64), 32 - width))


def _exp_of_rest(a: Array, width: int) -> Array:
    """``e^a`` in F(0) of ``a`` in F(0), -1/4 <= a < 0."""
    constant = fixed(math.exp(-1 / 8), width=width)
    third = fixed(1 / 3, width=width)
    x = a + (1 << (width - 4))
    x2 = high_product(x, x, width)
    x3 = high_product(x2, x, width)
    x4 = high_product(x2, x2, width)
    series = rounding_shift(high_product(rounding_shift(x4, 2) + x3, third, width) + x2, 1)
    return saturate(constant + high_product(constant, x + series, width), high=one(width))


def reciprocal_of_one_plus(a: Array, width: int = 32) -> Array:
    """``1 / (1 + a)`` in F(0) of ``a`` in F(0), 0 <= a < 1."""
    return rescale(_half_reciprocal(a, width), 1, width)


def ratio_of_one_minus_to_one_plus(a: Array, width: int = 32) -> Array:
    """``(1 - a) / (1 + a)`` in F(0) of ``a`` in F(0), 0 <= a < 1."""
    return rescale(_half_reciprocal(a, width) - (1 << (width - 3)), 2, width)


def _half_reciprocal(a: Array, width: int) -> Array:
    """``2 / (1 + a)`` in F(2), by Newton and Raphson."""
    half = (a + one(width) + 1) >> 1
    x = fixed(48 / 17, 2, width) + high_product(half, fixed(-32 / 17, 2, width), width)
    for _ in range(3):
        missing = (1 << (width - 3)) - high_product(half, x, width)
        x = x + rescale(high_product(x, missing, width), 2, width)
    return np.asarray(x)


def reciprocal(x: Array, integer_bits: int) -> tuple[Array, Array]:
    """``1 / x`` of ``x > 0`` in F(integer_bits): F(0) in [½, 1], and how far to shift it right."""
    zeros = leading_zeros(x)
    return reciprocal_of_one_plus((x << zeros) - 2**31), integer_bits - zeros


def quotient(a: Array, b: Array, factor: Multiplier) -> Array:
    """``factor · a / b`` of integers, ``b`` not 0."""
    a, b = np.broadcast_arrays(np.where(b < 0, -a, a), np.abs(b))
    inverse, bits = reciprocal(b, 31)
    room = leading_zeros(np.maximum(a, -a - 1)) - 1
    ratio = high_product(high_product(a << room, inverse), factor.mantissa)
    return rounding_shift(ratio, np.clip(bits + room - factor.shift, 0, 62))


def inverse_root(x: Array) -> Multiplier:
    """``1 / √x`` of integers ``x >= 0`` by Newton and Raphson; 0 counts as 1."""
    tiny = x <= 1
    value = np.where(tiny, 2, x)
    shift = np.full(value.shape, 11, np.int64)
    while (large := value >= 1 << 29).any():
        value = np.where(large, value // 4, value)
        shift = shift + large
    pairs = (leading_zeros(value) - 1) // 2 - 1
    shift -= pairs
    value <<= 2 * pairs
    start = value >> 1  # in F(3)
    half = rounding_shift(start, 1)
    three_halves = fixed(1.5, 3)
    root = np.full(value.shape, 1 << 28, np.int64)
    for _ in range(5):
        cube = rescale(high_product(high_product(root, root), root), 6)
        root = rescale(high_product(root, three_halves) - high_product(half, cube), 3)
    mantissa = high_product(root, fixed(math.sqrt(2) / 2))
    mantissa = np.where(shift < 0, mantissa << np.maximum(-shift, 0), mantissa)
    shift = np.maximum(shift, 0)
    return Multiplier(np.where(tiny, INT32_MAX, mantissa), np.where(tiny, 0, -shift))


def log(x: Array, integer_bits: int, result_bits: int) -> Array:
    """``ln x`` in F(result_bits) of ``x >= 1`` in F(integer_bits).

    ``x`` is a power of two times r near ``⁴√½``, for which there are two candidates; the logarithm
    of r is a quotient of polynomials.
    """
    bits = result_bits + 1
    root = 2**0.25
    sqrt_half, middle = fixed(math.sqrt(0.5)), fixed(math.sqrt(math.sqrt(0.5)))
    quarter = rescale(np.asarray(fixed(0.25)), -bits)
    zeros = leading_zeros(x)
    upper = saturate(high_product(saturate(x << (zeros - 1)), sqrt_half) << 1)
    upper_power = saturate(((integer_bits - zeros) << (31 - bits)) + quarter)
    room = leading_zeros(high_product(x, sqrt_half)) - 1
    lower = saturate(x << room)
    lower_power = saturate(((integer_bits - room) << (31 - bits)) - quarter)
    r = np.minimum(upper, lower)
    power = np.maximum(upper_power, lower_power)
    p, q = (r + middle + 1) >> 1, 2 * (r - middle)
    square = high_product(q, q)
    above = high_product(q, r) + high_product(high_product(q, square), fixed(11 / 240 * root))
    below = high_product(
        p, fixed(2 / root - root) + q + high_product(fixed(root / 20), square)
    ) + high_product(fixed(root / 4), q)
    ratio = high_product(rescale(above, -bits), reciprocal_of_one_plus(below))
    return rescale(high_product(power, fixed(math.log(2))) + ratio, 1)


# -- sigmoid and hyperbolic tangent of 16 bits -----------------------------------------------------


@cache
def _sigmoid_table() -> Array:
    """``2¹⁶ / (1 + e^-x)`` at x = i / 24, moved by half of what linear interpolation will miss."""
    x = np.arange(256) / 24

    def value(x: Array) -> Array:
        return np.asarray(65536 / (1 + np.exp(-x)))

    here, following, middle = value(x), value(x + 1 / 24), value(x + 1 / 48)
    table = np.floor(here - ((here + following) / 2 - middle) / 2 + 0.5).astype(np.int64)
    table[-1] = 65535
    return table


def _sigmoid_at(x: Array, bits: int, top: int) -> Array:
    """The table's value at ``x >= 0``, of which the lower ``bits`` interpolate; ``top`` beyond."""
    index = x >> bits
    table = _sigmoid_table()
    here = table[np.minimum(index, 254)]
    following = table[np.minimum(index, 254) + 1]
    inside = (here << bits) + (x & ((1 << bits) - 1)) * (following - here)
    return np.where(index >= 255, top, inside)


def _to_third_of_4096(scale: np.float32) -> tuple[int, int]:
    """A factor that makes codes of ``scale`` such of 1 / (3 · 4096), and its right shift."""
    factor, shift = float(scale) * 4096.0 * 3.0, 0
    while factor <= 32767.0 / 2.0 and shift <= 30:
        factor, shift = factor * 2.0, shift + 1
    return int(factor), shift


def power_of_two(scale: np.float32) -> int | None:
    """The logarithm of a scale that is a power of two, or within a thousandth of one."""
    exponent = math.log2(float(scale))
    nearest = round(exponent)
    return nearest if abs(exponent - nearest) < 1e-3 else None


def logistic16(q: Array, scale: np.float32) -> Array:
    """``1 / (1 + e^-x)`` of symmetric int16 codes, as codes of 2⁻¹⁵."""
    factor, shift = (3, 0) if power_of_two(scale) == -12 else _to_third_of_4096(scale)
    x = wrap(q.astype(np.int64) * factor + (1 << shift >> 1)) >> shift
    value = _sigmoid_at(np.abs(x), 9, 0x7FFF << 10)
    value = np.where(x >= 0, value + (1 << 9), (1 << 25) - value + (1 << 9) - 1)
    return (value >> 10).astype(np.int16)


def tanh16(q: Array, scale: np.float32) -> Array:
    """``tanh x`` of symmetric int16 codes, as codes of 2⁻¹⁵."""
    exponent = power_of_two(scale)
    if exponent in (-12, -11):
        x = q.astype(np.int64) * (3 << (exponent + 12))
    else:
        factor, shift = _to_third_of_4096(scale)
        x = wrap(q.astype(np.int64) * factor + (1 << shift >> 1)) >> shift
    value = _sigmoid_at(np.abs(x), 8, 0xFFFF << 8)
    half = 1 << 23
    value = np.where(x >= 0, value - half + 128, half - value + 128 - 1)
    return (value >> 8).astype(np.int16)


# -- softmax ---------------------------------------------------------------------------------------

SUM_BITS = 12
"""Integer bits of a sum of exponentials: up to 4096 of them."""


def softmax(x: Array, unit: float, dtype: np.dtype[Any]) -> Array:
    """Softmax of 8-bit codes along the last axis, as codes of ``dtype`` from its least to its most.

    ``unit``: beta times the scale of ``x``.
    """
    below, powers = _powers_below(x, unit, greater=True)
    total = rounding_shift(powers, SUM_BITS).sum(axis=-1, keepdims=True)
    share, bits = reciprocal(total, SUM_BITS)
    limits = np.iinfo(dtype)
    scaled = rounding_shift(high_product(share, powers), bits + 31 - limits.bits)
    codes = np.where(below, scaled, 0) + limits.min
    return np.asarray(np.clip(codes, limits.min, limits.max), dtype)


def powers_by_distance(unit: float) -> Array:
    """What :func:`softmax` adds up: e to the power of 0 … -255 units in F(0), or 0."""
    return _powers_below(-np.arange(256), unit, greater=True)[1]


def log_softmax(x: Array, unit: float) -> Array:
    """The logarithm of softmax of 8-bit codes along the last axis, as codes of -16 … 0."""
    factor, radius = _difference_scale(unit)
    _, powers = _powers_below(x, unit, greater=False)
    total = rounding_shift(powers, SUM_BITS).sum(axis=-1, keepdims=True)
    logarithm = log(wrap(total), SUM_BITS, 5)
    back = Multiplier.of((1 << int(31 - factor.shift)) / float(factor.mantissa))
    least = np.maximum(-radius - 1, back(logarithm + INT32_MIN))
    difference = _below_most(x)
    low, high = np.iinfo(x.dtype).min, np.iinfo(x.dtype).max
    result = rounding_shift(factor(difference) - logarithm, 31 - 5 - 4) + high
    return np.where(difference > least, np.clip(result, low, high), low).astype(x.dtype)


def _below_most(x: Array) -> Array:
    x = x.astype(np.int64)
    return np.asarray(x - x.max(axis=-1, keepdims=True))


def _difference_scale(unit: float) -> tuple[Multiplier, int]:
    """What makes differences of codes numbers in F(5), and how many of them fit there."""
    factor = Multiplier.of(min(unit * (1 << 26), 2.0**31 - 1))
    return factor, math.floor(31 * 2.0**26 / 2.0 ** int(factor.shift))


def _powers_below(x: Array, unit: float, greater: bool) -> tuple[Array, Array]:
    """Which codes are near enough to the largest of their row to count, and e to the power of the
    difference in F(0), 0 for others. ``greater``: the factor is not under 1, and so not shifted
    right."""
    factor, radius = _difference_scale(unit)
    difference = _below_most(x)
    near = difference >= -radius
    within = np.where(near, difference, 0)
    scaled = high_product(within << factor.shift, factor.mantissa) if greater else factor(within)
    return near, np.where(near, exp_of_negative(scaled, 5), 0)


@cache
def _softmax_tables() -> tuple[Array, Array]:
    """e^x for x in -10 … 0 and 1 / (1 + x) for x in 0 … 1, for int16 codes of the whole range."""
    span, least, most = np.float64(65535), np.float64(-32768), np.float64(32767)
    unit = np.float64(2.0) / span
    tenth, one = np.float64(10.0) / span, np.float64(1.0) / span
    powers = steps(tenth * (least - most), tenth * 0, unit * least, unit * most, np.exp)
    shares = steps(one * 0, one * span, unit * least, unit * most, lambda x: 1 / (1 + x))
    return powers, shares


def softmax16(x: Array, unit: float) -> Array:
    """Softmax of symmetric int16 codes along the last axis, as codes of 2⁻¹⁵."""
    powers, shares = _softmax_tables()
    scaled = Multiplier.of(unit / (10.0 / 65535.0))(_below_most(x)) + 32767
    power = interpolate(powers, np.clip(scaled, -32768, 32767)).astype(np.int64)
    total = power.sum(axis=-1, keepdims=True)
    zeros = leading_zeros(total)
    mantissa = ((total << (zeros - 1)) + (1 << 13)) >> 14
    share = interpolate(shares, np.clip(mantissa - (1 << 15) - (1 << 16), -32768, 32767))
    shift = 31 - zeros
    result = (power * share.astype(np.int64) + (np.int64(1) << (shift - 1))) >> shift
    return np.asarray(np.clip(result, 0, 32767), np.int16)


# -- hard swish ------------------------------------------------------------------------------------


def hard_swish(x: Array, to_result: Multiplier, to_gate: Multiplier) -> Array:
    """``x · min(max(x + 3, 0), 6) / 6`` of int16 ``x`` whose unit is a 128th of a code's, in codes.

    ``to_result`` makes results of ``x``, ``to_gate`` numbers of which 32768 stand for 3. All is
    computed in 16 bits; a gate beyond ±3 saturates.
    """
    result = high_product(x, _short(to_result), 16)
    left = int(np.maximum(to_gate.shift, 0))
    gate = x
    if left:
        gate = saturate(gate << (left - 1), -(2**15), 2**15 - 1)
    gate = high_product(gate, _short(to_gate), 16)
    if left:
        gate = saturate(gate << 1, -(2**15), 2**15 - 1)
    gate = rounding_shift(gate, int(np.maximum(-to_gate.shift, 0)))
    gate = (gate + 2**15) >> 1
    # Cut off, not rounded: that makes up for the bias of the products above.
    return rounding_shift(divide(gate * result, 2**15), int(-to_result.shift))


def _short(factor: Multiplier) -> Array:
    """The mantissa in 16 bits."""
    return np.asarray(np.minimum((factor.mantissa + 2**15) >> 16, 2**15 - 1))
