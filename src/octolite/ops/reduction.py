"""Operators that fold axes away: sums, extrema, their positions, and running sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from octolite.errors import ShapeError
from octolite.ir.fixed_point import Codes, Multiplier, wrap
from octolite.ir.types import (
    BOOL,
    FLOAT32,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    Array,
    DType,
    Operand,
    Quant,
    TensorType,
)
from octolite.kernels import spec
from octolite.ops.base import CODES, COMPLEX, Operator, QuantRule, attr
from octolite.ops.case import case, codes, const, f32, flags, given, ints
from octolite.ops.comparison import check_bool
from octolite.ops.shapes import (
    axes_of,
    axis_of,
    constant_int,
    constant_ints,
    integer,
    integers,
    like,
    unknown,
)


class Reduction(Operator, abstract=True):
    """``function`` over the axes that ``axis`` lists (none: nothing changes)."""

    kinds = COMPLEX
    options = "ReducerOptions"
    inputs = "input axis"
    keep_dims: bool = attr(False)
    function: ClassVar[np.ufunc]

    def infer(self, x: Operand, axis: Operand) -> Sequence[TensorType]:
        listed = constant_ints(axis)
        if x.shape is None:
            return [TensorType(x.dtype, None)]
        if listed is None:
            return [TensorType(x.dtype, unknown(len(x.shape)) if self.keep_dims else None)]
        try:
            axes = axes_of(listed, len(x.shape))
        except ShapeError as error:
            raise ShapeError(f"input {x.name!r} {x.shape}: {error}") from None
        if self.keep_dims:
            return [
                TensorType(x.dtype, tuple(1 if i in axes else d for i, d in enumerate(x.shape)))
            ]
        return [TensorType(x.dtype, tuple(d for i, d in enumerate(x.shape) if i not in axes))]

    def reference(self, x: Array, axis: Array) -> Array:
        return self.reduce(x, axes_of(integers(axis), x.ndim))

    def reduce(self, x: Array, axes: tuple[int, ...]) -> Array:
        options: Any = {"keepdims": self.keep_dims, "initial": self.initial(x.dtype)}
        return np.asarray(self.function.reduce(x, axis=axes, dtype=x.dtype, **options))

    def initial(self, dtype: np.dtype[Any]) -> Any:
        """What an empty reduction gives."""
        return self.function.identity


class Numeric(Reduction, abstract=True):
    """A reduction of numbers, compiled for floats."""

    compiled: ClassVar[str]
    """The kind of compiled reduction that does the same."""

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.Reduce | None:
        x = inputs[0]
        if x is None or x.dtype is not FLOAT32:
            return None
        return spec.Reduce(self.compiled, self.keep_dims)

    def geometry(self, inputs: Sequence[Operand | None]) -> dict[str, Any] | None:
        x, listed = inputs[0], constant_ints(inputs[1])
        if x is None or x.shape is None or listed is None:
            return None
        return {"axes": axes_of(listed, len(x.shape))}


class Total(Numeric, abstract=True):
    """A sum, whole or divided by the number of its terms."""

    integer_types = (INT8, UINT8, INT16)

    def integer(
        self,
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
        x: Array,
        axis: Array,
    ) -> Array:
        source, out = Codes.of(inputs[0]), Codes.of(outputs[0])
        axes = axes_of(integers(axis), x.ndim)
        total = source.centred(x).sum(axis=axes, keepdims=self.keep_dims)
        factor = Multiplier.of(source.real_scale / out.real_scale)
        if self.compiled == "mean":
            factor = factor.shared(math.prod(x.shape[a] for a in axes))
        return out.store(factor(wrap(total)))

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> spec.Reduce | None:
        source, out = Codes.of(inputs[0]), Codes.of(outputs[0])
        scale = source.real_scale / out.real_scale
        if scale >= 2.0**31:
            return None
        codes = outputs[0].dtype
        return spec.Reduce(self.compiled, self.keep_dims, codes, scale, source.zero, out.zero)


class Sum(Total):
    """The sum."""

    name = "SUM"
    spread = "other"
    nonnegative = "kept"
    compiled = "sum"
    function = np.add
    dtype_versions = {INT8: 2}
    cases = (
        case(f32(2, 3, 4), const([1])),
        case(f32(2, 3, 4), const([-1, 0]), keep_dims=True),
        case(f32(2, 3, 4), const([1, 1, -2])),
        case(f32(2, 3, 4), const(2)),
        case(f32(2, 3), const(np.zeros(0, np.int32))),
        case(f32(), const([0])),
        case(f32(0, 3), const([0])),
        case(f32(2, 3, 1, 2, 3), const([1, 3, 4])),
        case(ints(2, 3, low=-9), const([0])),
        case(ints(2, 3, dtype=INT64), const([1]), keep_dims=True),
        case(f32(2, 3), given([0]), keep_dims=True),
        case(f32(2, 3), given([0])),
    )


class Mean(Total):
    """The mean; that of integers is cut off towards zero."""

    name = "MEAN"
    spread = "other"
    nonnegative = "kept"
    compiled = "mean"
    dtype_versions = {INT16: 3, INT8: 2}

    def reduce(self, x: Array, axes: tuple[int, ...]) -> Array:
        count = math.prod(x.shape[a] for a in axes)
        if x.dtype.kind not in "iu":
            total = np.sum(x, axis=axes, dtype=x.dtype, keepdims=self.keep_dims)
            return np.asarray(total / x.dtype.type(count), x.dtype)
        total = np.sum(x, axis=axes, dtype=np.int64, keepdims=self.keep_dims)
        return np.asarray(np.sign(total) * (np.abs(total) // max(count, 1)), x.dtype)

    cases = (
        case(f32(2, 4, 4, 3), const([1, 2])),
        case(f32(2, 4, 4, 3), const([1, 2]), keep_dims=True),
        case(f32(2, 3, 4), const([-1])),
        case(f32(2, 3, 4), const(0)),
        case(f32(2, 3), const(np.zeros(0, np.int32))),
        case(given([[-7, 2], [4, 4]]), const([1])),
        case(ints(2, 5, low=-99, dtype=INT64), const([1])),
        case(
            codes(2, 5, 3, quant=Quant.of(0.5, 3)),
            const([1]),
            results=[(INT8, Quant.of(0.25, -2))],
        ),
    )


class Extremum(Numeric, abstract=True):
    """The largest or smallest element."""

    quant = QuantRule(same_scale=True)
    dtype_versions = {INT16: 3, INT8: 2}
    largest: ClassVar[bool]

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.Reduce | None:
        x = inputs[0]
        if x is None or x.dtype not in CODES:
            return super().kernel(inputs)
        return spec.Reduce(self.compiled, self.keep_dims, x.dtype)

    def initial(self, dtype: np.dtype[Any]) -> Any:
        if dtype.kind == "b":
            return not self.largest
        if dtype.kind not in "iu":
            return -np.inf if self.largest else np.inf
        limits = np.iinfo(dtype)
        return limits.min if self.largest else limits.max


class ReduceMax(Extremum):
    """The largest element."""

    name = "REDUCE_MAX"
    compiled = "max"
    function = np.maximum
    largest = True
    cases = (
        case(f32(2, 3, 4), const([1])),
        case(f32(2, 3, 4), const([0, 2]), keep_dims=True),
        case(ints(2, 3, low=-9), const([-1])),
        case(ints(2, 3, low=-9, dtype=INT64), const([0])),
        case(ints(2, 3, dtype=UINT8), const([0, 1])),
    )


class ReduceMin(Extremum):
    """The smallest element."""

    name = "REDUCE_MIN"
    compiled = "min"
    function = np.minimum
    largest = False
    cases = (
        case(f32(2, 3, 4), const([1])),
        case(f32(2, 3, 4), const([-2]), keep_dims=True),
        case(ints(2, 3, low=-9), const([-1])),
    )


class ReduceProd(Numeric):
    """The product."""

    name = "REDUCE_PROD"
    nonnegative = "kept"
    integer_types = (INT8, INT16)
    compiled = "prod"
    function = np.multiply
    dtype_versions = {INT8: 2, INT16: 2}

    def integer(
        self,
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
        x: Array,
        axis: Array,
    ) -> Array:
        """Each product is scaled at once, so that none overflows."""
        source, out = Codes.of(inputs[0]), Codes.of(outputs[0])
        axes = axes_of(integers(axis), x.ndim)
        count = math.prod(x.shape[a] for a in axes)
        kept = [d for i, d in enumerate(x.shape) if i not in axes]
        terms = np.moveaxis(source.centred(x), axes, range(len(axes))).reshape(count, *kept)
        factor = Multiplier.of(source.real_scale / out.real_scale ** (1 / count))
        product = terms[0]
        for term in terms[1:]:
            product = factor.wide(product * term)
        result = out.store(factor.wide(product))
        return np.expand_dims(result, axes) if self.keep_dims else result

    cases = (
        case(f32(2, 3, 4), const([1])),
        case(f32(2, 3, 4), const([0, 1, 2])),
        case(ints(2, 3, low=-9), const([0]), keep_dims=True),
        case(ints(4, dtype=INT64), const([0])),
    )


class Truth(Reduction, abstract=True):
    """A reduction of truth values."""

    def infer(self, x: Operand, axis: Operand) -> Sequence[TensorType]:
        check_bool(self.name, x)
        return super().infer(x, axis)


class ReduceAll(Truth):
    """Whether all are true."""

    name = "REDUCE_ALL"
    function = np.logical_and
    cases = (
        case(flags(2, 3), const([1])),
        case(flags(2, 3), const([0, 1]), keep_dims=True),
        case(given([True, True]), const([0])),
    )


class ReduceAny(Truth):
    """Whether any is true."""

    name = "REDUCE_ANY"
    function = np.logical_or
    cases = (
        case(flags(2, 3), const([1])),
        case(flags(2, 3), const([-1]), keep_dims=True),
        case(given([False, False]), const([0])),
    )


class ArgExtremum(Operator, abstract=True):
    """The position along one axis of the extremum; of equals the first."""

    inputs = "input dimension"
    kind: ClassVar[str]
    output_type: DType = attr(INT64)
    dtype_versions = {BOOL: 3, INT8: 2}

    def infer(self, x: Operand, dimension: Operand) -> Sequence[TensorType]:
        if self.output_type not in (INT32, INT64):
            raise ShapeError(
                f"{self.name} of {x.name!r} gives int32 or int64, not {self.output_type}"
            )
        axis = constant_int(dimension)
        if x.shape is None:
            return [TensorType(self.output_type, None)]
        if axis is None:
            return [TensorType(self.output_type, unknown(len(x.shape) - 1))]
        axis = axis_of(axis, len(x.shape))
        if x.shape[axis] == 0:
            raise ShapeError(f"{self.name} of {x.name!r} {x.shape}, which is empty along {axis}")
        return [TensorType(self.output_type, (*x.shape[:axis], *x.shape[axis + 1 :]))]

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.ArgExtremum | None:
        x, size = inputs[0], self.output_type.numpy.itemsize
        if x is None or x.dtype is not FLOAT32 or size not in (4, 8):
            return None
        return spec.ArgExtremum(self.kind, size)

    def geometry(self, inputs: Sequence[Operand | None]) -> dict[str, Any] | None:
        x, axis = inputs[0], constant_int(inputs[1])
        if x is None or x.shape is None or axis is None:
            return None
        axis = axis_of(axis, len(x.shape))
        return {"axis": axis} if x.shape[axis] else None


class ArgMax(ArgExtremum):
    """Where the largest element is."""

    name = "ARG_MAX"
    options = "ArgMaxOptions"
    kind = "max"

    def reference(self, x: Array, dimension: Array) -> Array:
        found = np.argmax(x, axis=axis_of(integer(dimension), x.ndim))
        return np.asarray(found, self.output_type.numpy)

    cases = (
        case(f32(2, 3, 4), const(-1)),
        case(f32(2, 3, 4), const([1]), output_type=INT32),
        case(given([[3, 5, 5], [2, 2, 1]]), const(1)),
        case(f32(6), const(0), output_type=INT32),
        case(ints(2, 7, dtype=UINT8), const(1)),
        case(f32(2, 3), given(0), output_type=INT32),
    )


class ArgMin(ArgExtremum):
    """Where the smallest element is."""

    name = "ARG_MIN"
    options = "ArgMinOptions"
    kind = "min"

    def reference(self, x: Array, dimension: Array) -> Array:
        found = np.argmin(x, axis=axis_of(integer(dimension), x.ndim))
        return np.asarray(found, self.output_type.numpy)

    cases = (
        case(f32(2, 3, 4), const(-2)),
        case(given([[3, 5, 3], [2, 1, 1]]), const(1), output_type=INT32),
    )


class Cumsum(Operator):
    """Running sums along one axis.

    ``exclusive``: each sum stops before its own element; ``reverse``: sums run from the end.
    """

    kinds = COMPLEX
    name = "CUMSUM"
    nonnegative = "kept"
    options = "CumsumOptions"
    inputs = "input axis"
    exclusive: bool = attr(False)
    reverse: bool = attr(False)

    def infer(self, x: Operand, axis: Operand) -> Sequence[TensorType]:
        known = constant_int(axis)
        if x.shape is not None and known is not None:
            axis_of(known, len(x.shape))
        return like(x)

    def reference(self, x: Array, axis: Array) -> Array:
        along = axis_of(integer(axis), x.ndim)
        source = np.flip(x, along) if self.reverse else x
        sums = np.cumsum(source, axis=along, dtype=x.dtype)
        if self.exclusive:
            sums = np.roll(sums, 1, along)
            first = (slice(None),) * along + (slice(0, 1),)
            sums[first] = 0
        return np.flip(sums, along) if self.reverse else sums

    cases = (
        case(f32(2, 5), const(1)),
        case(f32(2, 5), const(-1), exclusive=True),
        case(f32(2, 5), const(0), reverse=True),
        case(f32(2, 5, 3), const(1), exclusive=True, reverse=True),
        case(ints(6, low=-9), const(0)),
        case(ints(6, low=-9, dtype=INT64), const(0), exclusive=True),
    )
