"""Complex numbers, and Fourier transforms that make them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from octolite.errors import ShapeError
from octolite.ir.types import (
    COMPLEX64,
    COMPLEX128,
    FLOAT32,
    FLOAT64,
    Array,
    DType,
    Operand,
    TensorType,
)
from octolite.ops.base import COMPLEX, Operator
from octolite.ops.case import Tensor, case, const, f32, given
from octolite.ops.shapes import constant_ints, integers, length, sized

_PARTS = {COMPLEX64: FLOAT32, COMPLEX128: FLOAT64}


def _complex(*shape: int, dtype: DType = COMPLEX64) -> Tensor:
    return Tensor(shape, dtype, lambda rng, s: rng.uniform(-1, 1, s) + 1j * rng.uniform(-1, 1, s))


class PartOfComplex(Operator, abstract=True):
    """A real number for each complex one."""

    kinds = COMPLEX
    inputs = "input"

    def infer(self, x: Operand) -> Sequence[TensorType]:
        if x.dtype not in _PARTS:
            raise ShapeError(f"{self.name} takes complex numbers, and {x.name!r} is {x.dtype}")
        return [TensorType(_PARTS[x.dtype], x.shape)]

    cases = (case(_complex(2, 3)), case(_complex(4, dtype=COMPLEX128)), case(_complex()))


class Real(PartOfComplex):
    name = "REAL"

    def reference(self, x: Array) -> Array:
        return np.asarray(x.real)


class Imag(PartOfComplex):
    name = "IMAG"

    def reference(self, x: Array) -> Array:
        return np.asarray(x.imag)


class ComplexAbs(PartOfComplex):
    name = "COMPLEX_ABS"

    def reference(self, x: Array) -> Array:
        return np.asarray(np.abs(x))


class Rfft2d(Operator):
    """The Fourier transform over the last two axes of real numbers.

    These are cropped or filled up with zeros to ``fft_length`` [2], powers of two; the result has
    the ``fft_length[1] / 2 + 1`` frequencies that do not follow from others.
    """

    name = "RFFT2D"
    options = "Rfft2dOptions"
    inputs = "input fft_length"

    def infer(self, x: Operand, lengths: Operand) -> Sequence[TensorType]:
        if x.dtype is not FLOAT32:
            raise ShapeError(f"{self.name} takes float32, and {x.name!r} is {x.dtype}")
        if length(lengths) not in (None, 2):
            raise ShapeError(f"{self.name}: {lengths.name!r} {lengths.shape} should hold 2 numbers")
        if x.shape is None:
            return [TensorType(COMPLEX64, None)]
        if len(x.shape) < 2:
            raise ShapeError(f"{self.name} of {x.name!r} {x.shape}, expected rank 2 or more")
        known = constant_ints(lengths)
        if known is None:
            return [TensorType(COMPLEX64, (*x.shape[:-2], None, None))]
        rows, columns = self._checked(known)
        return [TensorType(COMPLEX64, (*x.shape[:-2], rows, columns // 2 + 1))]

    def _checked(self, lengths: Sequence[int]) -> tuple[int, int]:
        if len(lengths) != 2 or any(n < 1 or n & (n - 1) for n in lengths):
            raise ShapeError(f"{self.name} of the lengths {list(lengths)}, expected powers of two")
        rows, columns = sized(lengths)
        return rows, columns

    def reference(self, x: Array, lengths: Array) -> Array:
        rows, columns = self._checked(integers(lengths))
        sized((*x.shape[:-2], rows, columns))
        return np.fft.rfft2(x, (rows, columns)).astype(np.complex64)

    cases = (
        case(f32(8, 16), const([8, 16])),
        case(f32(2, 3, 8, 8), const([4, 16])),
        case(f32(2, 5, 6), given([8, 4])),
        case(f32(1, 8), const([1, 8])),
    )
