"""Operators that choose elements by a condition, or find where it holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from octolite.errors import ShapeError
from octolite.ir.types import (
    BOOL,
    INT8,
    INT32,
    INT64,
    UINT32,
    Array,
    DType,
    Operand,
    Quant,
    Shape,
    TensorType,
)
from octolite.kernels.expression import Expression, apply
from octolite.ops.base import ANYTHING, CODES, COMPLEX, Operator, QuantRule, attr
from octolite.ops.case import case, codes, const, f32, flags, given, ints
from octolite.ops.comparison import check_bool
from octolite.ops.elementwise import Elementwise
from octolite.ops.shapes import broadcast_operands, same_dtype, same_shape


class Select(Elementwise):
    """``x`` where the condition holds, ``y`` elsewhere.

    The condition is a scalar, has the shape of ``x``, or one element for each slice of it.
    """

    kinds = ANYTHING
    name = "SELECT"
    options = "SelectOptions"
    inputs = "condition x y"
    quant = QuantRule(same_scale=True)

    def infer(self, condition: Operand, x: Operand, y: Operand) -> Sequence[TensorType]:
        check_bool(self.name, condition)
        dtype, shape = same_dtype(x, y), same_shape(x, y)
        wanted = () if shape is None or condition.shape is None else condition.shape
        if not any(_may_equal(wanted, s) for s in ((), (shape or ())[:1], shape or ())):
            raise ShapeError(
                f"condition {condition.name!r} {wanted} does not fit {x.name!r} {shape}: neither "
                "a scalar, nor of its shape, nor one for each slice"
            )
        return [TensorType(dtype, shape)]

    def reference(self, condition: Array, x: Array, y: Array) -> Array:
        if condition.ndim == 1:
            condition = condition.reshape(-1, *(1,) * (x.ndim - 1))
        return np.where(condition, x, y)

    def kernel(self, inputs: Sequence[Operand | None]) -> Expression | None:
        shapes = [None if v is None else v.shape for v in inputs]
        if None in shapes[:2] or len(shapes[0] or ()) not in (0, len(shapes[1] or ())):
            return None  # a condition for each slice does not broadcast
        return super().kernel(inputs)

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        first = inputs[0]
        if first is not None and first.dtype is UINT32:
            return 4
        return (
            3
            if any(v is not None and v.shape is not None and len(v.shape) == 5 for v in inputs)
            else 1
        )

    cases = (
        case(flags(2, 3), f32(2, 3), f32(2, 3)),
        case(flags(3), f32(3, 2), f32(3, 2)),
        case(given(True), f32(2), f32(2)),
        case(flags(4), ints(4), ints(4)),
        case(flags(2, 2), flags(2, 2), flags(2, 2)),
    )


def _may_equal(a: Shape, b: Shape) -> bool:
    return len(a) == len(b) and all(
        m is None or n is None or m == n for m, n in zip(a, b, strict=True)
    )


class SelectV2(Elementwise):
    """``x`` where the condition holds, ``y`` elsewhere; all three broadcast together."""

    kinds = ANYTHING
    name = "SELECT_V2"
    options = "SelectV2Options"
    inputs = "condition x y"
    quant = QuantRule(same_scale=True)
    dtype_versions = {UINT32: 2}

    def infer(self, condition: Operand, x: Operand, y: Operand) -> Sequence[TensorType]:
        check_bool(self.name, condition)
        return [TensorType(same_dtype(x, y), broadcast_operands(condition, x, y))]

    def reference(self, condition: Array, x: Array, y: Array) -> Array:
        return np.where(condition, x, y)

    def kernel(self, inputs: Sequence[Operand | None]) -> Expression | None:
        return apply("select", [v.dtype for v in inputs if v is not None])

    cases = (
        case(flags(2, 3), f32(2, 3), f32(2, 3)),
        case(flags(3), f32(2, 1), f32()),
        case(flags(2, 1, 1), f32(3, 1), f32(4)),
        case(flags(2, 1), ints(3), const(0)),
        case(flags(4), ints(4, dtype=INT64), ints(4, dtype=INT64)),
        case(
            flags(6),
            codes(6, quant=Quant.of(0.5, 3)),
            codes(6, quant=Quant.of(0.5, 3)),
            results=[(INT8, Quant.of(0.5, 3))],
        ),
    )


class Where(Operator):
    """The coordinates of the elements that are not zero: int64 [how many, rank], in order."""

    kinds = COMPLEX
    name = "WHERE"
    plain_types = CODES
    options = "WhereOptions"
    inputs = "condition"

    def infer(self, condition: Operand) -> Sequence[TensorType]:
        rank = None if condition.shape is None else len(condition.shape)
        count = None if condition.data is None else int(np.count_nonzero(condition.data))
        return [TensorType(INT64, (count, rank))]

    def reference(self, condition: Array) -> Array:
        return np.argwhere(condition).astype(np.int64)

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        condition = inputs[0]
        return 1 if condition is not None and condition.dtype is BOOL else 2

    cases = (
        case(flags(3, 4)),
        case(flags(9)),
        case(flags(2, 2, 3)),
        case(given([0.0, 2.0, 0.0, -1.0])),
        case(given([[0, 2], [1, 0]])),
    )


class Unique(Operator):
    """The distinct elements of a vector as they first occur, and for each element which it is."""

    kinds = ANYTHING
    name = "UNIQUE"
    plain_types = CODES
    options = "UniqueOptions"
    inputs = "input"
    outputs = "values indices"
    idx_out_type: DType = attr(INT32)

    def infer(self, x: Operand) -> Sequence[TensorType]:
        if x.shape is not None and len(x.shape) != 1:
            raise ShapeError(f"UNIQUE takes a vector, and {x.name!r} has shape {x.shape}")
        count = None if x.data is None else len(np.unique(x.data))
        return [
            TensorType(x.dtype, (count,)),
            TensorType(self.idx_out_type, x.shape if x.shape is not None else (None,)),
        ]

    def reference(self, x: Array) -> tuple[Array, Array]:
        _, first, which = np.unique(x, return_index=True, return_inverse=True)
        order = np.argsort(first)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return x[first[order]], place[which.reshape(x.shape)].astype(self.idx_out_type.numpy)

    cases = (
        case(given([4.0, 1.0, 4.0, 2.0, 1.0])),
        case(given([3, 3, 1, 2, 1]), idx_out_type=INT64),
        case(ints(12, high=5, dtype=INT64)),
    )
