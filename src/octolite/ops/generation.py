"""Operators that make a tensor from a few numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from octolite.errors import ShapeError
from octolite.ir.types import (
    BOOL,
    FLOAT16,
    INT8,
    INT16,
    INT64,
    STRING,
    Array,
    Dim,
    Operand,
    TensorType,
)
from octolite.ops.base import ANYTHING, Operator, QuantRule
from octolite.ops.case import case, const, f32, given, ints
from octolite.ops.shapes import constant_ints, integers, length, rank_of, same_dtype, sized, unknown


class Fill(Operator):
    """A tensor of one value."""

    kinds = ANYTHING
    name = "FILL"
    options = "FillOptions"
    inputs = "dims value"
    quant = QuantRule(same_scale=True)

    def infer(self, dims: Operand, value: Operand) -> Sequence[TensorType]:
        rank_of(dims, "dims", 1)
        if length(value) not in (None, 1):
            raise ShapeError(f"FILL with {value.name!r} {value.shape}, expected a scalar")
        extents = constant_ints(dims)
        shape = unknown(length(dims)) if extents is None else sized(extents)
        return [TensorType(value.dtype, shape)]

    def reference(self, dims: Array, value: Array) -> Array:
        if dims.ndim != 1:
            raise ShapeError(f"FILL: the shape is given by an array of rank {dims.ndim}, not 1")
        return np.full(sized(integers(dims)), value.reshape(()), value.dtype)

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        value = inputs[1]
        newer = {FLOAT16: 4, INT8: 3, INT16: 3, BOOL: 2, STRING: 2}
        return 1 if value is None else newer.get(value.dtype, 1)

    cases = (
        case(const([2, 3]), f32()),
        case(const([2, 3], INT64), ints()),
        case(const(np.zeros(0, np.int32)), f32()),
        case(const([0, 3]), f32()),
        case(const([4]), given(True)),
        case(given([2, 2]), const(1.5)),
    )


class Range(Operator):
    """``start``, ``start + delta``, … as far as ``limit``, which is left out."""

    name = "RANGE"
    options = "RangeOptions"
    inputs = "start limit delta"
    dtype_versions = {INT64: 2}

    def infer(self, start: Operand, limit: Operand, delta: Operand) -> Sequence[TensorType]:
        operands = (start, limit, delta)
        for operand in operands:
            if length(operand) not in (None, 1):
                raise ShapeError(f"RANGE to {operand.name!r} {operand.shape}, expected a scalar")
        if not (start.dtype.is_integer or start.dtype.is_float):
            raise ShapeError(f"RANGE takes numbers, and {start.name!r} is {start.dtype}")
        count: Dim = None
        if start.data is not None and limit.data is not None and delta.data is not None:
            count = _count(start.data, limit.data, delta.data)
        return [TensorType(same_dtype(*operands), (count,))]

    def reference(self, start: Array, limit: Array, delta: Array) -> Array:
        steps = np.arange(_count(start, limit, delta))
        return np.asarray(start.reshape(()) + steps * delta.reshape(()), start.dtype)

    cases = (
        case(const(0), const(5), const(1)),
        case(given(10), given(1), given(-3)),
        case(const(0.0), const(1.0), const(0.3)),
        case(const(2.0), const(-1.0), const(-0.5)),
        case(const(3), const(3), const(1)),
        case(const(1, INT64), const(9, INT64), const(2, INT64)),
    )


def _count(start: Array, limit: Array, delta: Array) -> int:
    """How many elements RANGE has. Raises :class:`ShapeError` where it would never end."""
    first, last, step = (_number(v) for v in (start, limit, delta))
    if step == 0 or not math.isfinite(first + last + step) or (last - first) * step < 0:
        raise ShapeError(f"RANGE from {first} to {last} cannot be made in steps of {step}")
    if isinstance(first, int):
        count = -((first - last) // step)
    else:
        # In the dtype of the bounds, as a run time computes it.
        count = math.ceil(abs((limit.reshape(()) - start.reshape(())) / delta.reshape(())))
    return sized([count])[0]


def _number(x: Array) -> Any:
    if x.size != 1:
        raise ShapeError(f"a bound of RANGE has shape {x.shape}, expected a scalar")
    return x.reshape(()).item()
