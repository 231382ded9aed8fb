"""Comparisons and logic: results are bool."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

import numpy as np

from octolite.errors import ShapeError
from octolite.ir.fixed_point import Codes, Multiplier
from octolite.ir.types import (
    BOOL,
    INT8,
    INT16,
    INT64,
    STRING,
    UINT8,
    Array,
    DType,
    Operand,
    Quant,
    TensorType,
)
from octolite.kernels.expression import Expression
from octolite.ops.base import ANYTHING
from octolite.ops.case import case, codes, f32, flags, given, ints
from octolite.ops.elementwise import Elementwise
from octolite.ops.integers import centred, combined, scaled
from octolite.ops.shapes import broadcast_operands, like, same_dtype


class Comparison(Elementwise, abstract=True):
    """Two operands of one type that broadcast together, compared pair by pair."""

    inputs = "a b"
    function: ClassVar[np.ufunc]
    integer_types: ClassVar[Collection[DType]] = (INT8, UINT8)
    plain_types: ClassVar[Collection[DType]] = (INT16,)

    def is_integer(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> bool:
        return super().is_integer(inputs, outputs) and all(
            Codes.of(v).real_scale < 1 for v in inputs
        )

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], *arrays: Array
    ) -> Array:
        a, b = (
            Multiplier.of(c.real_scale)(c.centred(q) << 8)
            for c, q in zip(map(Codes.of, inputs), arrays, strict=True)
        )
        return np.asarray(self.function(a, b), np.bool_)

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> Expression | None:
        if outputs[0].dtype is not BOOL:
            return None  # the model declares what cannot be, which is told when it runs
        a, b = (
            scaled(centred(v).then("shift_left", 8), Multiplier.of(Codes.of(v).real_scale))
            for v in inputs
            if v is not None
        )
        return combined(self.name.lower(), a, b)

    def infer(self, a: Operand, b: Operand) -> Sequence[TensorType]:
        same_dtype(a, b)
        return [TensorType(BOOL, broadcast_operands(a, b))]

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(self.function(a, b), np.bool_)


class Logical(Comparison, abstract=True):
    """A comparison of truth values."""

    integer_types = ()

    def infer(self, a: Operand, b: Operand) -> Sequence[TensorType]:
        check_bool(self.name, a, b)
        return super().infer(a, b)


def check_bool(operator: str, *operands: Operand) -> None:
    """Raise :class:`ShapeError` for operands that are no truth values."""
    for operand in operands:
        if operand.dtype is not BOOL:
            raise ShapeError(f"{operator} takes bool, and {operand.name!r} is {operand.dtype}")


# Few distinct values, so that equal pairs occur.
_FLOATS = given([[0.5, -1.0, 2.0], [0.0, 3.0, -0.0]])
_BOUNDS = given([0.5, 0.0, -0.0])
_SCALE, _OTHER = Quant.of(0.5, 3), Quant.of(0.25, -5)


class Equal(Comparison):
    """``a == b``."""

    kinds = ANYTHING
    name = "EQUAL"
    options = "EqualOptions"
    integer_types = (INT8, UINT8, INT16)
    function = np.equal
    dtype_versions = {INT16: 5, STRING: 3, INT8: 2}
    cases = (
        case(_FLOATS, _BOUNDS),
        case(given([float("nan"), 1.0]), given([float("nan"), 1.0])),
        case(ints(2, 1, 4, high=3), ints(3, 1, high=3)),
        case(ints(6, high=3, dtype=INT64), ints(1, high=3, dtype=INT64)),
        case(
            codes(9, quant=_SCALE, dtype=UINT8, low=0, high=4),
            codes(9, quant=_SCALE, dtype=UINT8, low=0, high=4),
        ),
        case(flags(2, 5), flags(5)),
        case(f32(0, 3), f32(3)),
        case(given([b"cat", b"dog"], STRING), given([b"cat", b"hen"], STRING)),
    )


class NotEqual(Comparison):
    """``a != b``."""

    kinds = ANYTHING
    name = "NOT_EQUAL"
    options = "NotEqualOptions"
    integer_types = (INT8, UINT8, INT16)
    function = np.not_equal
    dtype_versions = {INT16: 4, STRING: 3, INT8: 2}
    cases = (
        case(_FLOATS, _BOUNDS),
        case(given([float("nan"), 1.0]), given([float("nan"), 1.0])),
        case(ints(2, 3, high=3), ints(3, high=3)),
        case(flags(4), flags()),
    )


class Less(Comparison):
    """``a < b``."""

    name = "LESS"
    options = "LessOptions"
    function = np.less
    dtype_versions = {INT16: 3, INT8: 2}
    cases = (
        case(_FLOATS, _BOUNDS),
        case(f32(2, 1, 4), f32(3, 1)),
        case(ints(2, 3, high=3), ints(3, high=3)),
        case(ints(2, 3, high=3, dtype=INT64), ints(1, high=3, dtype=INT64)),
        case(codes(20, quant=_SCALE), codes(20, quant=_SCALE)),
    )


class LessEqual(Comparison):
    """``a <= b``."""

    name = "LESS_EQUAL"
    options = "LessEqualOptions"
    function = np.less_equal
    dtype_versions = {INT8: 2}
    cases = (
        case(_FLOATS, _BOUNDS),
        case(ints(2, 3, high=3), ints(2, 1, high=3)),
        case(ints(2, 3, high=3, dtype=INT64), ints(3, high=3, dtype=INT64)),
    )


class Greater(Comparison):
    """``a > b``."""

    name = "GREATER"
    options = "GreaterOptions"
    function = np.greater
    dtype_versions = {INT8: 2}
    cases = (
        case(_FLOATS, _BOUNDS),
        case(ints(2, 3, high=3), ints(3, high=3)),
        case(codes(20, quant=_SCALE), codes(20, quant=_OTHER)),
    )


class GreaterEqual(Comparison):
    """``a >= b``."""

    name = "GREATER_EQUAL"
    options = "GreaterEqualOptions"
    function = np.greater_equal
    dtype_versions = {INT16: 3, INT8: 2}
    cases = (
        case(_FLOATS, _BOUNDS),
        case(ints(2, 3, high=3), ints(3, high=3)),
        case(f32(), f32(3)),
    )


class LogicalAnd(Logical):
    """``a and b``."""

    name = "LOGICAL_AND"
    options = "LogicalAndOptions"
    function = np.logical_and
    cases = (case(flags(2, 5), flags(2, 5)), case(flags(2, 1, 5), flags(3, 1)))


class LogicalOr(Logical):
    """``a or b``."""

    name = "LOGICAL_OR"
    options = "LogicalOrOptions"
    function = np.logical_or
    cases = (case(flags(2, 5), flags(2, 5)), case(flags(5), flags()))


class LogicalNot(Elementwise):
    """``not x``."""

    name = "LOGICAL_NOT"
    options = "LogicalNotOptions"
    inputs = "x"

    def infer(self, x: Operand) -> Sequence[TensorType]:
        check_bool(self.name, x)
        return like(x)

    def reference(self, x: Array) -> Array:
        return np.logical_not(x)

    cases = (case(flags(2, 5)), case(flags()))
