"""Operators on the bits of integers, and what makes small integers of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from octolite.errors import ShapeError
from octolite.ir.types import (
    BOOL,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT16,
    UINT32,
    Array,
    Operand,
    TensorType,
)
from octolite.ops.base import Operator, attr
from octolite.ops.case import case, f32, given, ints
from octolite.ops.shapes import broadcast_operands, same_dtype


class Bitwise(Operator, abstract=True):
    """Two integer operands of one type that broadcast together."""

    inputs = "a b"

    def infer(self, a: Operand, b: Operand) -> Sequence[TensorType]:
        dtype = same_dtype(a, b)
        if not (dtype.is_integer or dtype is BOOL):
            raise ShapeError(f"{self.name} takes integers, and {a.name!r} is {dtype}")
        return [TensorType(dtype, broadcast_operands(a, b))]


class BitwiseXor(Bitwise):
    """The bits in which ``a`` and ``b`` differ."""

    name = "BITWISE_XOR"
    options = "BitwiseXorOptions"

    def reference(self, a: Array, b: Array) -> Array:
        return np.bitwise_xor(a, b)

    cases = (
        case(ints(2, 3, low=-99, high=99), ints(2, 3, low=-99, high=99)),
        case(ints(2, 3, high=255, dtype=UINT8), ints(3, high=255, dtype=UINT8)),
        case(ints(2, 1, low=-99, dtype=INT16), ints(4, low=-99, dtype=INT16)),
        case(ints(3, dtype=UINT32), ints(dtype=UINT32)),
        case(ints(5, low=-9, dtype=INT8), ints(5, dtype=INT8)),
        case(ints(5, dtype=INT64), ints(5, dtype=INT64), litert=False),
    )


class RightShift(Bitwise):
    """``a`` shifted by ``b`` bits, copies of the sign moving in.

    A shift by less than 0 counts as 0, one by more bits than there are as one by all but one.
    """

    name = "RIGHT_SHIFT"
    options = "RightShiftOptions"

    def reference(self, a: Array, b: Array) -> Array:
        most = 8 * a.dtype.itemsize - 1
        return np.asarray(np.right_shift(a, np.clip(b, 0, most).astype(a.dtype)))

    cases = (
        case(ints(2, 3, low=-999, high=999), ints(2, 3)),
        case(given([[-8, 8, 7]]), given([[-1], [40], [1]])),
        case(ints(2, 3, high=255, dtype=UINT8), ints(3, dtype=UINT8)),
        case(ints(2, 1, low=-99, dtype=INT16), ints(4, high=20, dtype=INT16)),
        case(ints(3, high=999, dtype=UINT16), ints(dtype=UINT16)),
    )


class Bucketize(Operator):
    """For each number, how many of the sorted ``boundaries`` it is not below."""

    name = "BUCKETIZE"
    options = "BucketizeOptions"
    inputs = "input"
    boundaries: tuple[float, ...] = attr(())

    def infer(self, x: Operand) -> Sequence[TensorType]:
        if list(self.boundaries) != sorted(self.boundaries):
            raise ShapeError(f"{self.name}: the boundaries {self.boundaries} are not sorted")
        return [TensorType(INT32, x.shape)]

    def reference(self, x: Array) -> Array:
        limits = np.array(self.boundaries, np.float32)
        return np.searchsorted(limits, x.astype(np.result_type(x, 1.0)), "right").astype(np.int32)

    cases = (
        case(f32(3, 5, low=-2, high=2), boundaries=(-1.5, -0.5, 0.25, 1.0)),
        case(given([1.0, 0.999, -1.5, 9.0]), boundaries=(-1.5, -0.5, 0.25, 1.0)),
        case(ints(2, 3, low=-5), boundaries=(0.0, 2.5, 7.0)),
        case(ints(4, dtype=INT64), boundaries=(3.0,)),
    )
