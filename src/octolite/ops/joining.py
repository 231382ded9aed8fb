"""Operators that join tensors into one, or divide one into several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from octolite.errors import ShapeError
from octolite.ir import numerics
from octolite.ir.fixed_point import Codes
from octolite.ir.types import (
    BFLOAT16,
    BOOL,
    FLOAT16,
    INT4,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT32,
    Activation,
    Array,
    Dim,
    Operand,
    Quant,
    Shape,
    TensorType,
)
from octolite.kernels import spec
from octolite.kernels.views import Move, View
from octolite.ops.base import QuantRule, attr
from octolite.ops.case import case, codes, const, f32, flags, ints
from octolite.ops.movement import Extents, Movement, view_of
from octolite.ops.shapes import (
    axis_of,
    constant_int,
    constant_ints,
    integer,
    integers,
    length,
    same_dtype,
    same_shape,
    unknown,
)


class Concatenation(Movement):
    """The tensors one behind the other along one axis, then the activation."""

    name = "CONCATENATION"
    options = "ConcatenationOptions"
    inputs = "parts*"
    axis: int = attr(0)
    activation: Activation = attr(Activation.NONE, "FusedActivationFunction")
    quant = QuantRule(same_scale=True)
    dtype_versions = {INT4: 5, UINT32: 4, INT16: 3, INT8: 2}
    integer_types = (UINT8,)

    def is_integer(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> bool:
        plain = self.activation is Activation.NONE
        single = all(v is not None and v.quant and not v.quant.per_channel for v in inputs)
        return super().is_integer(inputs, outputs) and plain and single

    def infer(self, *parts: Operand) -> Sequence[TensorType]:
        if not parts:
            raise ShapeError("CONCATENATION of no tensors")
        dtype = same_dtype(*parts)
        ranks = [len(p.shape) for p in parts if p.shape is not None]
        if not ranks:
            return [TensorType(dtype, None)]
        axis = axis_of(self.axis, ranks[0])
        shape = same_shape(*parts, but=axis)
        assert shape is not None
        extents = [None if p.shape is None else p.shape[axis] for p in parts]
        return [TensorType(dtype, (*shape[:axis], _sum(extents), *shape[axis + 1 :]))]

    def passes_codes(self) -> bool:
        return self.activation is Activation.NONE

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], *parts: Array
    ) -> Array:
        out = Codes.of(outputs[0])
        return np.concatenate(
            [_rescaled(q, Codes.of(v), out) for q, v in zip(parts, inputs, strict=True)], self.axis
        )

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> spec.Recode:
        every, line = np.arange(256).astype(np.uint8), self.replace(axis=0)
        tables = [
            None if v is None or v.quant == outputs[0].quant else line.integer([v], outputs, every)
            for v in inputs
        ]
        return spec.Recode(tuple(None if t is None else spec.Table(t) for t in tables))

    def reference(self, *parts: Array) -> Array:
        return numerics.activate(np.concatenate(parts, axis=self.axis), self.activation)

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.Copy | None:
        return super().kernel(inputs) if self.activation is Activation.NONE else None

    def moves(
        self, inputs: Sequence[Operand | None], results: Sequence[Extents]
    ) -> list[Move] | None:
        whole = View.of(results[0])
        axis, start, moves = axis_of(self.axis, len(results[0])), 0, []
        for i, part in enumerate(map(view_of, inputs)):
            extent = part.shape[axis]
            moves.append(Move(part, whole.part(axis, start, extent), read=f"input{i}"))
            start += extent
        return moves

    cases = (
        case(f32(2, 3), f32(4, 3)),
        case(f32(2, 3), f32(2, 1), f32(2, 2), axis=-1),
        case(f32(2, 3, 4), f32(2, 3, 4), axis=1),
        case(f32(0, 3), f32(2, 3)),
        case(ints(2, dtype=INT64), const([4, 5, 6], INT64)),
        case(flags(2, 2), flags(2, 1), axis=1),
        case(ints(3, dtype=UINT8), ints(2, dtype=UINT8)),
        # LiteRT has no fused activation here, though the format has.
        case(f32(2, 3), f32(2, 3), axis=1, activation=Activation.RELU, litert=False),
        case(
            codes(2, 3, quant=Quant.of(0.5, 3)),
            codes(2, 2, quant=Quant.of(0.5, 3)),
            axis=1,
            results=[(INT8, Quant.of(0.5, 3))],
        ),
    )


def _rescaled(q: Array, source: Codes, out: Codes) -> Array:
    """uint8 codes in another scale, computed in float32."""
    if source == out:
        return q
    scale = source.scale * (np.float32(1) / out.scale)
    real = q.astype(np.float32) * scale + np.float32(-source.zero) * scale
    return out.store(numerics.round_half_away(real).astype(np.int64))


def _sum(extents: Sequence[Dim]) -> Dim:
    total = 0
    for extent in extents:
        if extent is None:
            return None
        total += extent
    return total


class Split(Movement):
    """``num_splits`` parts of equal extent along one axis."""

    name = "SPLIT"
    options = "SplitOptions"
    inputs = "axis input"
    outputs = "parts*"
    num_splits: int = attr(0)
    quant = QuantRule(same_scale=True)
    moved = 1

    def infer(self, axis: Operand, x: Operand) -> Sequence[TensorType]:
        along = constant_int(axis)
        if self.num_splits < 1:
            raise ShapeError(f"SPLIT of {x.name!r} into {self.num_splits} parts")
        if x.shape is None or along is None:
            rank = None if x.shape is None else len(x.shape)
            return [TensorType(x.dtype, unknown(rank))] * self.num_splits
        along = axis_of(along, len(x.shape))
        dim = x.shape[along]
        if dim is not None and dim % self.num_splits:
            raise ShapeError(
                f"{x.name!r} {x.shape} cannot be split into {self.num_splits} equal parts along "
                f"axis {along}"
            )
        part = None if dim is None else dim // self.num_splits
        shape = (*x.shape[:along], part, *x.shape[along + 1 :])
        return [TensorType(x.dtype, shape)] * self.num_splits

    def reference(self, axis: Array, x: Array) -> tuple[Array, ...]:
        return tuple(np.split(x, self.num_splits, axis_of(integer(axis), x.ndim)))

    def moves(
        self, inputs: Sequence[Operand | None], results: Sequence[Extents]
    ) -> list[Move] | None:
        return _split_moves(inputs, 1, constant_int(inputs[0]), results)

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        x = inputs[1]
        return 1 if x is None else {INT16: 4, INT32: 3, INT8: 2}.get(x.dtype, 1)

    cases = (
        case(const(1), f32(2, 6), num_splits=3),
        case(const(-1), f32(2, 3, 4), num_splits=2),
        case(const(0), f32(4), num_splits=1),
        case(const(0), ints(4, 2), num_splits=4),
        case(const([1]), ints(2, 4, dtype=UINT8), num_splits=2),
    )


class SplitV(Movement):
    """Parts of the extents ``size_splits`` along one axis; one may be -1, for what is left."""

    name = "SPLIT_V"
    options = "SplitVOptions"
    inputs = "input size_splits axis"
    outputs = "parts*"
    num_splits: int = attr(0)
    quant = QuantRule(same_scale=True)
    dtype_versions = {INT8: 2}

    def infer(self, x: Operand, size_splits: Operand, axis: Operand) -> Sequence[TensorType]:
        along, sizes = constant_int(axis), constant_ints(size_splits)
        count = length(size_splits)
        if self.num_splits < 1 or count not in (None, self.num_splits):
            raise ShapeError(
                f"SPLIT_V of {x.name!r} into {self.num_splits} parts with {count} sizes"
            )
        if x.shape is None or along is None:
            rank = None if x.shape is None else len(x.shape)
            return [TensorType(x.dtype, unknown(rank))] * self.num_splits
        along = axis_of(along, len(x.shape))
        extents: Sequence[Dim] = [None] * self.num_splits
        if sizes is not None:
            extents = _parts(x.name, x.shape[along], sizes)
        return [
            TensorType(x.dtype, (*x.shape[:along], extent, *x.shape[along + 1 :]))
            for extent in extents
        ]

    def reference(self, x: Array, size_splits: Array, axis: Array) -> tuple[Array, ...]:
        along = axis_of(integer(axis), x.ndim)
        if size_splits.size != self.num_splits:
            raise ShapeError(f"SPLIT_V into {self.num_splits} parts with {size_splits.size} sizes")
        parts = _parts("input", x.shape[along], integers(size_splits))
        return tuple(np.split(x, np.cumsum(np.array(parts, np.int64))[:-1], along))

    def moves(
        self, inputs: Sequence[Operand | None], results: Sequence[Extents]
    ) -> list[Move] | None:
        return _split_moves(inputs, 0, constant_int(inputs[2]), results)

    cases = (
        case(f32(2, 6), const([1, 2, 3]), const(1), num_splits=3),
        case(f32(2, 6), const([4, -1]), const(-1), num_splits=2),
        case(f32(6), const([0, 6]), const(0), num_splits=2),
        case(ints(5, 2, dtype=INT64), const([2, 3]), const(0), num_splits=2),
    )


def _split_moves(
    inputs: Sequence[Operand | None], index: int, axis: int | None, results: Sequence[Extents]
) -> list[Move] | None:
    """Parts of one input, one behind the other along ``axis``."""
    if axis is None:
        return None
    source = view_of(inputs[index])
    along, start, moves = axis_of(axis, len(source.shape)), 0, []
    for i, shape in enumerate(results):
        part = source.part(along, start, shape[along])
        moves.append(Move(part, View.of(shape), f"input{index}", f"output{i}"))
        start += shape[along]
    return moves


def _parts(name: str, dim: Dim, sizes: Sequence[int]) -> list[Dim]:
    """``sizes`` with the -1 worked out, where ``dim`` is known."""
    given = sum(s for s in sizes if s >= 0)
    open_ones = sum(s == -1 for s in sizes)
    fits = dim is None or (given <= dim if open_ones else given == dim)
    if open_ones > 1 or any(s < -1 for s in sizes) or not fits:
        raise ShapeError(f"{name!r} with an extent of {dim} cannot be split into {list(sizes)}")
    rest = None if dim is None else dim - given
    return [rest if s == -1 else s for s in sizes]


class Pack(Movement):
    """Tensors of one shape, stacked along a new axis."""

    name = "PACK"
    options = "PackOptions"
    inputs = "values*"
    values_count: int = attr(0)
    axis: int = attr(0)
    quant = QuantRule(same_scale=True)
    dtype_versions = {UINT32: 4, INT16: 3, INT8: 2}

    def infer(self, *values: Operand) -> Sequence[TensorType]:
        if not values or self.values_count != len(values):
            raise ShapeError(f"PACK of {self.values_count} values was given {len(values)}")
        dtype, shape = same_dtype(*values), same_shape(*values)
        if shape is None:
            return [TensorType(dtype, None)]
        axis = axis_of(self.axis, len(shape) + 1)
        return [TensorType(dtype, (*shape[:axis], len(values), *shape[axis:]))]

    def reference(self, *values: Array) -> Array:
        return np.stack(values, axis=self.axis)

    def moves(
        self, inputs: Sequence[Operand | None], results: Sequence[Extents]
    ) -> list[Move] | None:
        whole = View.of(results[0])
        axis = axis_of(self.axis, len(results[0]))
        return [
            Move(view_of(value), whole.at(axis, i), read=f"input{i}")
            for i, value in enumerate(inputs)
        ]

    cases = (
        case(f32(2, 3), f32(2, 3), values_count=2),
        case(f32(2, 3), f32(2, 3), f32(2, 3), values_count=3, axis=-1),
        case(f32(2, 3), f32(2, 3), values_count=2, axis=1),
        case(const(2), ints(), ints(), values_count=3),
        case(ints(2, dtype=INT64), ints(2, dtype=INT64), values_count=2, axis=1),
        case(ints(2, dtype=UINT8), ints(2, dtype=UINT8), values_count=2),
    )


class Unpack(Movement):
    """The slices of a tensor along one axis, which goes."""

    name = "UNPACK"
    options = "UnpackOptions"
    inputs = "input"
    outputs = "slices*"
    num: int = attr(0)
    axis: int = attr(0)
    quant = QuantRule(same_scale=True)
    dtype_versions = {FLOAT16: 5, BFLOAT16: 5, INT16: 4, BOOL: 3, INT8: 2, UINT8: 2}

    def infer(self, x: Operand) -> Sequence[TensorType]:
        shape: Shape | None = None
        if x.shape is not None:
            axis = axis_of(self.axis, len(x.shape))
            if x.shape[axis] not in (None, self.num):
                raise ShapeError(
                    f"{x.name!r} {x.shape} has not {self.num} slices along axis {axis}"
                )
            shape = (*x.shape[:axis], *x.shape[axis + 1 :])
        return [TensorType(x.dtype, shape)] * self.num

    def reference(self, x: Array) -> tuple[Array, ...]:
        slices = tuple(np.moveaxis(x, self.axis, 0))
        if len(slices) != self.num:
            raise ShapeError(f"{x.shape} has not {self.num} slices along axis {self.axis}")
        return slices

    def moves(
        self, inputs: Sequence[Operand | None], results: Sequence[Extents]
    ) -> list[Move] | None:
        source = view_of(inputs[0])
        axis = axis_of(self.axis, len(source.shape))
        return [
            Move(source.at(axis, i), View.of(shape), write=f"output{i}")
            for i, shape in enumerate(results)
        ]

    cases = (
        case(f32(2, 3, 4), num=2),
        case(f32(2, 3, 4), num=4, axis=-1),
        case(f32(3), num=3),
        case(ints(2, 3), num=3, axis=1),
        case(flags(2, 2), num=2),
    )
