"""What the gates of fully quantized recurrent cells do in 16 bits, bit for bit as TFLite does it.

Numbers are int64 that hold int16; see :mod:`octolite.ir.fixed_point` for ``F(n)``. Sources:
gemmlowp's notes on fixed-point functions, TFLite's specification of its quantized LSTM, and runs of
its kernels.
"""

from __future__ import annotations

import numpy as np

from octolite.ir import fixed_point
from octolite.ir.fixed_point import Multiplier, divide, saturate, wrap
from octolite.ir.types import Array

WIDTH = 16
LOW, HIGH = -(2**15), 2**15 - 1


def short(x: Array) -> Array:
    """Saturated to 16 bits."""
    return saturate(x, LOW, HIGH)


def sigmoid(x: Array) -> Array:
    """``1 / (1 + e^-x)`` in F(0) of ``x`` in F(3)."""
    powers = fixed_point.exp_of_negative(-np.abs(x), 3, WIDTH)
    value = fixed_point.reciprocal_of_one_plus(powers, WIDTH)
    return np.where(x == 0, 1 << (WIDTH - 2), np.where(x > 0, value, HIGH - value))


def tanh(x: Array, integer_bits: int = 3) -> Array:
    """``tanh x`` in F(0) of ``x`` in F(integer_bits)."""
    powers = fixed_point.exp_of_negative(-np.abs(x), integer_bits + 1, WIDTH)  # e^(-2·|x|)
    value = fixed_point.ratio_of_one_minus_to_one_plus(powers, WIDTH)
    return np.where(x == 0, 0, np.where(x > 0, value, -value))


def product(a: Array, b: Array, shift: int) -> Array:
    """``a · b / 2^shift``, rounded."""
    return fixed_point.rounding_shift(np.asarray(a, np.int64) * b, shift)


_MORE = 2**10
"""How much finer a mean, and what is normalized, is than the numbers."""


def normalize(x: Array, coefficients: Array, bias: Array, factor: Multiplier, least: int) -> Array:
    """Rows brought to mean 0 and variance 1, times ``coefficients``, and ``bias``; in F(3).

    Args:
        factor: what a coefficient counts.
        least: the variance of rows that have less than 1.
    """
    count = x.shape[-1]
    mean = divide(x.sum(axis=-1, keepdims=True) * _MORE, count)
    squares = np.square(x).sum(axis=-1, keepdims=True)
    variance = divide(squares * (_MORE**2 // count) - np.square(mean), _MORE**2)
    inverse = fixed_point.inverse_root(np.where(variance < 1, least, variance))
    centred = inverse(_MORE * x - mean)
    weighed = wrap(wrap(centred * coefficients) + bias)
    rounded = divide(np.where(weighed > 0, weighed + _MORE // 2, weighed - _MORE // 2), _MORE)
    return short(factor.shifted(12)(rounded))
