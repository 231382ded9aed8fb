"""Operators that give the same elements another shape or order, and those that ask for shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from octolite.errors import ShapeError
from octolite.ir.types import (
    BFLOAT16,
    BOOL,
    FLOAT32,
    INT4,
    INT8,
    INT16,
    INT32,
    INT64,
    STRING,
    UINT8,
    UINT32,
    Array,
    Dim,
    DType,
    Operand,
    Shape,
    TensorType,
)
from octolite.kernels.views import Move, View
from octolite.ops.base import ANYTHING, COMPLEX, Operator, QuantRule, attr
from octolite.ops.case import case, const, f32, flags, given, ints
from octolite.ops.movement import Extents, Movement, view_of
from octolite.ops.shapes import (
    axes_of,
    axis_of,
    broadcast,
    constant_int,
    constant_ints,
    integer,
    integers,
    length,
    product,
    same_dtype,
    sized,
    unknown,
)


class Reshape(Movement):
    """The same elements in another shape; one extent may be -1, for what is left.

    The shape is an input or, in its absence, an attribute.
    """

    name = "RESHAPE"
    options = "ReshapeOptions"
    inputs = "input shape?"
    new_shape: tuple[int, ...] = attr(())
    quant = QuantRule(same_scale=True)
    view = True

    def infer(self, x: Operand, shape: Operand | None = None) -> Sequence[TensorType]:
        target = constant_ints(shape) if shape is not None else list(self._legacy_shape())
        if target is None:
            return [TensorType(x.dtype, unknown(length(shape)) if shape is not None else None)]
        return [TensorType(x.dtype, _resolve(x.name, x.shape, target))]

    def reference(self, x: Array, shape: Array | None = None) -> Array:
        target = self._legacy_shape() if shape is None else integers(shape)
        return x.reshape([d or 0 for d in _resolve("input", x.shape, target)])

    def _legacy_shape(self) -> tuple[int, ...]:
        """The attribute, in which old files write a scalar's shape as (0,)."""
        return () if self.new_shape == (0,) else self.new_shape

    cases = (
        case(f32(2, 3, 4), const([6, 4])),
        case(f32(2, 3, 4), const([2, -1])),
        case(f32(1, 1), const(np.zeros(0, np.int32))),
        case(f32(), const([1, 1])),
        case(f32(0, 3), const([3, 0])),
        case(f32(2, 3), None, new_shape=(3, 2)),
        case(ints(2, 3, dtype=INT64), const([-1])),
        case(flags(4), const([2, 2])),
        case(f32(2, 6), given([3, 4])),
    )


def _resolve(name: str, shape: Shape | None, target: Sequence[int]) -> Shape:
    """``target`` with its -1 worked out, where the extents in ``shape`` allow."""
    wanted = list(target)
    if wanted.count(-1) > 1 or any(d < -1 for d in wanted):
        raise ShapeError(f"{name!r} cannot be reshaped to {wanted}: one extent at most may be -1")
    size = None if shape is None else product(shape)
    rest = math.prod(d for d in wanted if d != -1)
    if size is None:
        return tuple(None if d == -1 else d for d in wanted)
    if (-1 not in wanted and rest != size) or (-1 in wanted and (rest == 0 or size % rest)):
        raise ShapeError(f"{name!r} of shape {shape} cannot be reshaped to {wanted}")
    return tuple(size // rest if d == -1 else d for d in wanted)


class Transpose(Movement):
    """The axes in another order: axis i of the result is axis ``perm[i]`` of the input."""

    name = "TRANSPOSE"
    options = "TransposeOptions"
    inputs = "input perm"
    quant = QuantRule(same_scale=True)
    dtype_versions = {BFLOAT16: 8, INT4: 7, INT16: 5, BOOL: 3, INT8: 2}

    def infer(self, x: Operand, perm: Operand) -> Sequence[TensorType]:
        order = constant_ints(perm)
        rank = length(perm) if x.shape is None else len(x.shape)
        if order is None:
            return [TensorType(x.dtype, unknown(rank))]
        axes = _permutation(order, len(order) if x.shape is None else len(x.shape))
        if x.shape is None:
            return [TensorType(x.dtype, unknown(len(axes)))]
        return [TensorType(x.dtype, tuple(x.shape[a] for a in axes))]

    def reference(self, x: Array, perm: Array) -> Array:
        # An array of no dimensions stays one, which NumPy's ascontiguousarray would not see to.
        return np.asarray(x.transpose(_permutation(integers(perm), x.ndim)), order="C")

    def moves(
        self, inputs: Sequence[Operand | None], results: Sequence[Extents]
    ) -> list[Move] | None:
        order = constant_ints(inputs[1])
        if order is None:
            return None
        axes = _permutation(order, len(results[0]))
        return [Move(view_of(inputs[0]).transposed(axes), View.of(results[0]))]

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        x = inputs[0]
        rank = len(x.shape) if x is not None and x.shape is not None else 0
        by_rank = 8 if rank > 6 else 6 if rank > 5 else 4 if rank > 4 else 1
        return max(super().version(inputs, outputs), by_rank)

    cases = (
        case(f32(2, 3, 4), const([2, 0, 1])),
        case(f32(2, 3), const([1, 0])),
        case(f32(2, 3, 4), const([0, -1, -2])),
        case(f32(1, 2, 3, 2, 2, 2), const([5, 0, 2, 1, 4, 3])),
        case(ints(2, 3, 4, dtype=INT64), const([1, 0, 2])),
        case(flags(2, 3), const([1, 0])),
        case(f32(2, 3, 4), given([2, 0, 1])),
    )


def _permutation(order: Sequence[int], rank: int) -> list[int]:
    if len(order) != rank:
        raise ShapeError(f"perm {list(order)} should list {rank} axes")
    axes = [axis_of(a, rank) for a in order]
    if len(set(axes)) != rank:
        raise ShapeError(f"perm {list(order)} names an axis twice")
    return axes


class ExpandDims(Movement):
    """A new axis of extent 1, at ``axis`` of the result."""

    name = "EXPAND_DIMS"
    options = "ExpandDimsOptions"
    inputs = "input axis"
    quant = QuantRule(same_scale=True)
    view = True

    def infer(self, x: Operand, axis: Operand) -> Sequence[TensorType]:
        known = constant_int(axis)
        if x.shape is None:
            return [TensorType(x.dtype, None)]
        if known is None:
            return [TensorType(x.dtype, unknown(len(x.shape) + 1))]
        at = axis_of(known, len(x.shape) + 1)
        return [TensorType(x.dtype, (*x.shape[:at], 1, *x.shape[at:]))]

    def reference(self, x: Array, axis: Array) -> Array:
        return np.expand_dims(x, axis_of(integer(axis), x.ndim + 1))

    cases = (
        case(f32(2, 3), const(0)),
        case(f32(2, 3), const([-1])),
        case(f32(2, 3), const(1)),
        case(f32(), const(0)),
        case(ints(3), const(-2)),
    )


class Squeeze(Movement):
    """Without the listed axes, which have extent 1; without all such axes if none is listed."""

    name = "SQUEEZE"
    options = "SqueezeOptions"
    inputs = "input"
    squeeze_dims: tuple[int, ...] = attr(())
    quant = QuantRule(same_scale=True)
    dtype_versions = {STRING: 2}
    view = True

    def infer(self, x: Operand) -> Sequence[TensorType]:
        if x.shape is None or (not self.squeeze_dims and None in x.shape):
            return [TensorType(x.dtype, None)]
        gone = self._axes(x.shape)
        if any(x.shape[a] not in (1, None) for a in gone):
            raise ShapeError(f"{x.name!r} {x.shape} is not 1 along all of {gone}")
        return [TensorType(x.dtype, tuple(d for i, d in enumerate(x.shape) if i not in gone))]

    def _axes(self, shape: Shape) -> tuple[int, ...]:
        if not self.squeeze_dims:
            return tuple(i for i, d in enumerate(shape) if d == 1)
        return axes_of(self.squeeze_dims, len(shape))

    def reference(self, x: Array) -> Array:
        return x.squeeze(self._axes(x.shape))

    cases = (
        case(f32(1, 3, 1, 2)),
        case(f32(1, 3, 1, 2), squeeze_dims=(0,)),
        case(f32(1, 3, 1, 2), squeeze_dims=(-2,)),
        case(f32(1, 1)),
        case(ints(3, 1, dtype=UINT8), squeeze_dims=(1,)),
    )


class ShapeOf(Operator):
    """The extents of a tensor."""

    kinds = ANYTHING
    name = "SHAPE"
    options = "ShapeOptions"
    inputs = "input"
    out_type: DType = attr(INT32)
    shape_only = True

    def infer(self, x: Operand) -> Sequence[TensorType]:
        return [TensorType(self.out_type, (None if x.shape is None else len(x.shape),))]

    def reference(self, x: Array) -> Array:
        return np.array(x.shape, self.out_type.numpy)

    cases = (
        case(f32(2, 3, 4)),
        case(f32(2, 3), out_type=INT64),
        case(f32()),
        case(f32(2, 0)),
    )


class Rank(Operator):
    """How many axes a tensor has."""

    kinds = ANYTHING
    name = "RANK"
    options = "RankOptions"
    inputs = "input"
    shape_only = True

    def infer(self, x: Operand) -> Sequence[TensorType]:
        return [TensorType(INT32, ())]

    def reference(self, x: Array) -> Array:
        return np.array(x.ndim, np.int32)

    def fold(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> tuple[Array, ...] | None:
        x = inputs[0]  # its extents may be unknown
        return None if x is None or x.shape is None else (np.array(len(x.shape), np.int32),)

    cases = (case(f32(2, 3, 4)), case(f32()))


class BroadcastTo(Movement):
    """The input repeated along axes of extent 1 until it has the shape."""

    name = "BROADCAST_TO"
    options = "BroadcastToOptions"
    inputs = "input shape"
    quant = QuantRule(same_scale=True)

    def infer(self, x: Operand, shape: Operand) -> Sequence[TensorType]:
        target = constant_ints(shape)
        if target is None:
            return [TensorType(x.dtype, unknown(length(shape)))]
        wanted = sized(target)
        _check_broadcast(x.name, x.shape, wanted)
        return [TensorType(x.dtype, wanted)]

    def reference(self, x: Array, shape: Array) -> Array:
        target = sized(integers(shape))
        _check_broadcast("input", x.shape, target)
        return np.broadcast_to(x, target).copy()

    def moves(
        self, inputs: Sequence[Operand | None], results: Sequence[Extents]
    ) -> list[Move] | None:
        return [Move(view_of(inputs[0]).broadcast(results[0]), View.of(results[0]))]

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        x = inputs[0]
        return 3 if x is not None and x.dtype in (INT8, INT16) else 2

    cases = (
        case(f32(3, 1), const([2, 3, 4])),
        case(f32(), const([2, 2])),
        case(ints(1, 4), const([3, 4], INT64)),
        case(flags(2), const([2, 2])),
        case(f32(2, 1), given([2, 3])),
    )


def _check_broadcast(name: str, shape: Shape | None, target: tuple[int, ...]) -> None:
    if shape is None:
        return
    tail = target[len(target) - len(shape) :]
    if len(shape) > len(target) or any(
        d not in (1, None, t) for d, t in zip(shape, tail, strict=True)
    ):
        raise ShapeError(f"{name!r} {shape} does not broadcast to {list(target)}")


class BroadcastArgs(Operator):
    """The shape to which two shapes broadcast."""

    name = "BROADCAST_ARGS"
    inputs = "shape1 shape2"

    def infer(self, a: Operand, b: Operand) -> Sequence[TensorType]:
        lengths = [length(a), length(b)]
        rank: Dim = None if None in lengths else max(n or 0 for n in lengths)
        return [TensorType(same_dtype(a, b), (rank,))]

    def reference(self, a: Array, b: Array) -> Array:
        return np.array(broadcast(integers(a), integers(b)), a.dtype)

    cases = (
        case(given([3, 1]), given([2, 3, 4])),
        case(given([2, 1], INT64), given([1, 5], INT64)),
    )


class Bitcast(Operator):
    """The same bytes read as another dtype.

    A narrower one adds a last axis, for the parts of each element; a wider one takes it away.
    """

    kinds = COMPLEX
    name = "BITCAST"
    options = "BitcastOptions"
    inputs = "input"
    dtype: DType = attr(FLOAT32, stored=False)

    def settle(self, outputs: Sequence[Operand]) -> Bitcast:
        return self.replace(dtype=outputs[0].dtype)

    def passes_codes(self) -> bool:
        return True

    def infer(self, x: Operand) -> Sequence[TensorType]:
        if 0 in (x.dtype.bits, self.dtype.bits):
            raise ShapeError(f"{x.name!r} of {x.dtype} cannot be read as {self.dtype}")
        if x.shape is None or x.dtype.bits == self.dtype.bits:
            return [TensorType(self.dtype, x.shape)]
        if x.dtype.bits > self.dtype.bits:
            return [TensorType(self.dtype, (*x.shape, x.dtype.bits // self.dtype.bits))]
        parts = self.dtype.bits // x.dtype.bits
        if not x.shape or x.shape[-1] not in (parts, None):
            raise ShapeError(
                f"{x.name!r} {x.shape} should end in {parts}, for {parts} {x.dtype} to make one "
                f"{self.dtype}"
            )
        return [TensorType(self.dtype, x.shape[:-1])]

    def reference(self, x: Array) -> Array:
        target = self.dtype.numpy
        source = np.ascontiguousarray(x)
        if x.dtype.itemsize == target.itemsize:
            return source.view(target).reshape(x.shape)
        if x.dtype.itemsize > target.itemsize:
            parts = x.dtype.itemsize // target.itemsize
            return source.reshape(*x.shape, 1).view(target).reshape(*x.shape, parts)
        return source.view(target).reshape(x.shape[:-1])

    cases = (
        case(f32(2, 3), dtype=INT32),
        case(f32(3), dtype=UINT8),
        case(ints(3, 2, low=-9), dtype=INT64),
        case(ints(4, dtype=UINT32), dtype=FLOAT32),
    )
