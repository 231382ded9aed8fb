"""Operators that look elements up, or put them, where indices say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from octolite.errors import RuntimeModelError, ShapeError
from octolite.ir import numerics
from octolite.ir.types import (
    BOOL,
    FLOAT32,
    INT4,
    INT8,
    INT16,
    INT32,
    INT64,
    STRING,
    Array,
    Operand,
    Quant,
    Shape,
    TensorType,
)
from octolite.kernels import spec
from octolite.ops.base import (
    ANYTHING,
    CODES,
    COMPLEX,
    Operator,
    QuantRule,
    attr,
    is_symmetric,
    weight_quant,
)
from octolite.ops.case import case, codes, const, f32, flags, given, int8_weights, ints, weights
from octolite.ops.movement import known
from octolite.ops.shapes import (
    axis_of,
    constant_int,
    constant_ints,
    integer,
    integers,
    length,
    rank_of,
    same_dtype,
    sized,
    unknown,
)


def check_indices(operator: str, indices: Array, extent: int) -> None:
    """Raise :class:`RuntimeModelError` for an index that is not in [0, extent)."""
    if indices.size and (indices.min() < 0 or indices.max() >= extent):
        wrong = indices[(indices < 0) | (indices >= extent)].reshape(-1)[0]
        raise RuntimeModelError(f"{operator}: index {wrong} is not in [0, {extent})")


class Gather(Operator):
    """The slices of ``params`` along ``axis`` that ``indices`` name.

    With ``batch_dims`` b, the first b axes of both are matched one to one.
    """

    kinds = ANYTHING
    name = "GATHER"
    options = "GatherOptions"
    inputs = "params indices"
    axis: int = attr(0)
    batch_dims: int = attr(0)
    quant = QuantRule(same_scale=True)

    def infer(self, x: Operand, indices: Operand) -> Sequence[TensorType]:
        if x.shape is None or indices.shape is None:
            return [TensorType(x.dtype, None)]
        axis, batch = self._axes(len(x.shape), len(indices.shape))
        for a, b in zip(x.shape[:batch], indices.shape[:batch], strict=True):
            if a is not None and b is not None and a != b:
                raise ShapeError(
                    f"{x.name!r} {x.shape} and {indices.name!r} {indices.shape} differ within "
                    f"the first {batch} axes"
                )
        return [
            TensorType(x.dtype, (*x.shape[:axis], *indices.shape[batch:], *x.shape[axis + 1 :]))
        ]

    def _axes(self, rank: int, index_rank: int) -> tuple[int, int]:
        """``axis`` and ``batch_dims``, counted from the front."""
        axis = axis_of(self.axis, rank)
        batch = self.batch_dims + index_rank if self.batch_dims < 0 else self.batch_dims
        if not 0 <= batch <= min(axis, index_rank):
            raise ShapeError(
                f"batch_dims {self.batch_dims} should be at most axis {axis} and the rank "
                f"{index_rank} of the indices"
            )
        return axis, batch

    def reference(self, x: Array, indices: Array) -> Array:
        axis, batch = self._axes(x.ndim, indices.ndim)
        if x.shape[:batch] != indices.shape[:batch]:
            raise ShapeError(f"{x.shape} and {indices.shape} differ within the first {batch} axes")
        check_indices(self.name, indices, x.shape[axis])
        if batch == 0:
            return np.take(x, indices, axis)
        outer, inner = x.shape[batch:axis], x.shape[axis + 1 :]
        items = math.prod(x.shape[:batch])
        flat = x.reshape(items, math.prod(outer), x.shape[axis], math.prod(inner))
        each = indices.reshape(items, math.prod(indices.shape[batch:]))
        found = flat[np.arange(items)[:, None], :, each]  # [items, indices, outer, inner]
        shape = (*x.shape[:axis], *indices.shape[batch:], *inner)
        return found.swapaxes(1, 2).reshape(shape)

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        x, indices = inputs[0], inputs[1]
        if x is not None and x.dtype is INT4:
            return 7
        if indices is not None and indices.dtype is INT16:
            return 6
        if self.batch_dims:
            return 5
        return 1 if x is None else {INT16: 4, BOOL: 3, INT8: 2}.get(x.dtype, 1)

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.Lookup | None:
        x, indices = inputs[0], inputs[1]
        if x is None or indices is None or x.dtype.kind in "so":
            return None
        size, index = x.dtype.numpy.itemsize, indices.dtype.numpy.itemsize
        return spec.Lookup(size, index, table_first=True) if size in spec.COPIED else None

    def geometry(self, inputs: Sequence[Operand | None]) -> dict[str, Any] | None:
        x, indices = (None if v is None else known(v.shape) for v in inputs)
        if x is None or indices is None:
            return None
        axis, batch = self._axes(len(x), len(indices))
        return {"input_shape": indices, "table": x, "axis": axis, "batch_dims": batch}

    cases = (
        case(f32(5, 3), const([4, 0, 0])),
        case(f32(5, 3), const([[1, 0], [2, 2]]), axis=1),
        case(f32(2, 3, 4), const([3, 1], INT64), axis=-1),
        case(f32(5, 3), const(2)),
        case(f32(2, 5, 3), const([[1, 0], [4, 2]]), axis=1, batch_dims=1),
        case(f32(2, 3, 4, 5), const([[3, 1], [0, 2]]), axis=2, batch_dims=1),
        case(f32(2, 3, 4), ints(2, 3, 2, high=4), axis=2, batch_dims=2),
        case(f32(2, 3, 4), ints(2, 3, high=4), axis=2, batch_dims=-1),
        case(ints(5), ints(2, 2, high=5)),
        case(flags(5), const([1, 1])),
        case(
            codes(5, 3, quant=Quant.of(0.5, 3)),
            const([1, 4]),
            results=[(INT8, Quant.of(0.5, 3))],
        ),
    )


class GatherNd(Operator):
    """The slices of ``params`` at the points [..., k] that ``indices`` names by k coordinates."""

    kinds = ANYTHING
    name = "GATHER_ND"
    options = "GatherNdOptions"
    inputs = "params indices"
    quant = QuantRule(same_scale=True)

    def infer(self, x: Operand, indices: Operand) -> Sequence[TensorType]:
        if x.shape is None or indices.shape is None or not indices.shape:
            if indices.shape == ():
                raise ShapeError(f"GATHER_ND: {indices.name!r} is a scalar, expected points")
            return [TensorType(x.dtype, None)]
        depth = indices.shape[-1]
        if depth is None:
            return [TensorType(x.dtype, None)]
        if depth > len(x.shape):
            raise ShapeError(
                f"{indices.name!r} {indices.shape} has {depth} coordinates for {x.name!r} {x.shape}"
            )
        return [TensorType(x.dtype, (*indices.shape[:-1], *x.shape[depth:]))]

    def reference(self, x: Array, indices: Array) -> Array:
        depth = indices.shape[-1]
        rows, flat = _rows(self.name, indices, x.shape[:depth])
        found = x.reshape(flat, math.prod(x.shape[depth:]))[rows]
        return found.reshape((*indices.shape[:-1], *x.shape[depth:]))

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        x, indices = inputs[0], inputs[1]
        if x is not None and x.dtype is BOOL:
            return 5
        if indices is not None and indices.dtype is INT16:
            return 4
        return 1 if x is None else {INT16: 3, STRING: 2}.get(x.dtype, 1)

    cases = (
        case(f32(3, 4), const([[0, 1], [2, 3]])),
        case(f32(3, 4), const([[2], [0]])),
        case(f32(2, 3, 4), const([[[1, 2]], [[0, 0]]], INT64)),
        case(ints(5), ints(3, 1, high=5)),
        case(ints(2, 2, dtype=INT64), const([1, 0])),
    )


def _rows(operator: str, indices: Array, extents: Sequence[int]) -> tuple[Array, int]:
    """Points [..., k] as positions in the flattened first k axes, and how many there are."""
    rows = np.zeros(indices.shape[:-1], np.int64)
    for axis, extent in enumerate(extents):
        check_indices(operator, indices[..., axis], extent)
        rows = rows * extent + indices[..., axis]
    return rows.reshape(-1), math.prod(extents)


class ScatterNd(Operator):
    """Zeros of a shape, with updates added at the points [..., k] that ``indices`` names."""

    kinds = COMPLEX
    name = "SCATTER_ND"
    plain_types = CODES
    options = "ScatterNdOptions"
    inputs = "indices updates shape"

    def infer(self, indices: Operand, updates: Operand, shape: Operand) -> Sequence[TensorType]:
        target = constant_ints(shape)
        if target is None:
            return [TensorType(updates.dtype, unknown(length(shape)))]
        extents = sized(target)
        if indices.shape is not None and updates.shape is not None:
            _check_updates(indices.shape, updates.shape, extents, updates.name)
        return [TensorType(updates.dtype, extents)]

    def reference(self, indices: Array, updates: Array, shape: Array) -> Array:
        extents = sized(integers(shape))
        _check_updates(indices.shape, updates.shape, extents, "updates")
        depth = indices.shape[-1]
        rows, flat = _rows(self.name, indices, extents[:depth])
        width = math.prod(extents[depth:])
        out = np.zeros((flat, width), updates.dtype)
        np.add.at(out, rows, updates.reshape(rows.size, width))
        return out.reshape(extents)

    cases = (
        case(const([[4], [3], [1]]), f32(3), const([8])),
        case(const([[0], [0]]), f32(2, 3), const([2, 3])),
        case(const([[0, 1], [1, 2], [0, 1]]), f32(3, 2), const([2, 3, 2])),
        case(ints(3, 1, high=4), ints(3), const([4])),
        case(const([[1]]), ints(1, 2, dtype=INT64), const([2, 2])),
        case(const([[1]]), f32(1, 2), given([2, 2])),
    )


def _check_updates(indices: Shape, updates: Shape, shape: tuple[int, ...], name: str) -> None:
    if not indices:
        raise ShapeError("SCATTER_ND: the indices are a scalar, expected points")
    depth = indices[-1]
    if depth is None:
        return
    wanted = (*indices[:-1], *shape[depth:])
    fits = len(wanted) == len(updates) and all(
        a is None or b is None or a == b for a, b in zip(wanted, updates, strict=True)
    )
    if depth > len(shape) or not fits:
        raise ShapeError(
            f"{name!r} {updates} should be {wanted}, for points {indices} in the shape {shape}"
        )


class EmbeddingLookup(Operator):
    """Rows of a table: ``value[lookup]``; codes come out as float32, or as the codes they are."""

    kinds = ANYTHING
    name = "EMBEDDING_LOOKUP"
    inputs = "lookup value"
    quant = QuantRule(weights={"value": 0}, hybrid=True, narrow="whole bytes")

    def infer(self, lookup: Operand, value: Operand) -> Sequence[TensorType]:
        rank_of(lookup, "lookup", 1)
        dtype = value.dtype if value.quant is None else FLOAT32
        if value.shape is None:
            return [TensorType(dtype, None)]
        if not value.shape:
            raise ShapeError(f"EMBEDDING_LOOKUP in {value.name!r}, which is a scalar")
        return [TensorType(dtype, (length(lookup), *value.shape[1:]))]

    def is_hybrid(self, inputs: Sequence[Operand | None]) -> bool:
        value = inputs[1]
        return value is not None and value.quant is not None

    def reference(self, lookup: Array, value: Array) -> Array:
        check_indices(self.name, lookup, len(value))
        return value[lookup]

    def _run(
        self,
        arrays: Sequence[Array | None],
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
    ) -> tuple[Array, ...]:
        if outputs[0].quant is not None:
            lookup, value = (a for a in arrays if a is not None)
            return (self.reference(lookup, value),)
        return super()._run(arrays, inputs, outputs)

    def hybrid(self, inputs: Sequence[Operand | None], lookup: Array, value: Array) -> Array:
        quant = weight_quant(inputs, 1)
        rows = self.reference(lookup, value)
        if quant.per_channel and quant.axis == 0:
            check_indices(self.name, lookup, quant.scale.size)
            quant = Quant(quant.scale[lookup], quant.zero_point[lookup])
        return numerics.dequantize(rows, quant)

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.Lookup | None:
        lookup, value = inputs[0], inputs[1]
        if lookup is None or value is None or value.dtype.kind in "so":
            return None
        size, index = value.dtype.numpy.itemsize, lookup.dtype.numpy.itemsize
        if value.quant is None:
            return spec.Lookup(size, index) if size in spec.COPIED else None
        return spec.Lookup(size, index, scaled=True) if is_symmetric(value, 0) else None

    def geometry(self, inputs: Sequence[Operand | None]) -> dict[str, Any] | None:
        lookup, table = (None if v is None else known(v.shape) for v in inputs)
        value = inputs[1]
        if lookup is None or table is None or value is None:
            return None
        given: dict[str, Any] = {"input_shape": lookup, "table": table}
        return given if value.quant is None else {**given, "scale": value.quant.scale}

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        value = inputs[1]
        if value is None:
            return 1
        per_row = value.quant is not None and value.quant.per_channel
        return 4 if value.dtype is INT4 or per_row else 1

    cases = (
        case(const([2, 0, 2]), weights(5, 4)),
        case(ints(3, high=5), weights(5, 2, 3)),
        case(ints(7, high=50), int8_weights(50, 16, axis=None)),
        case(ints(7, high=50), int8_weights(50, 16)),
        case(ints(7, high=50), int8_weights(50, 16, dtype=INT4)),
        case(
            ints(7, high=9),
            codes(9, 4, quant=Quant.of(0.5, 3)),
            results=[(INT8, Quant.of(0.5, 3))],
        ),
    )


class OneHot(Operator):
    """``on`` where the new axis has the position that the index names, ``off`` elsewhere."""

    kinds = ANYTHING
    name = "ONE_HOT"
    plain_types = CODES
    options = "OneHotOptions"
    inputs = "indices depth on_value off_value"
    axis: int = attr(-1)

    def infer(
        self, indices: Operand, depth: Operand, on: Operand, off: Operand
    ) -> Sequence[TensorType]:
        dtype = same_dtype(on, off)
        for value in (on, off):
            if length(value) not in (None, 1):
                raise ShapeError(f"ONE_HOT with {value.name!r} {value.shape}, expected a scalar")
        if indices.shape is None:
            return [TensorType(dtype, None)]
        axis = axis_of(self.axis, len(indices.shape) + 1)
        extent = constant_int(depth)
        if extent is not None and extent < 0:
            raise ShapeError(f"ONE_HOT with the depth {extent}")
        return [TensorType(dtype, (*indices.shape[:axis], extent, *indices.shape[axis:]))]

    def reference(self, indices: Array, depth: Array, on: Array, off: Array) -> Array:
        axis = axis_of(self.axis, indices.ndim + 1)
        extent = integer(depth)
        sized([*indices.shape, extent])
        positions = np.arange(extent).reshape(-1, *(1,) * (indices.ndim - axis))
        return np.where(np.expand_dims(indices, axis) == positions, on.reshape(()), off.reshape(()))

    cases = (
        case(const([0, 2, 1]), const(3), const(1.0), const(0.0)),
        case(ints(2, 3, low=-1, high=5), const(4), const(5.0), const(-1.0), axis=0),
        case(ints(2, 3, high=4), const(4), const(1), const(0), axis=1),
        case(ints(3, high=4, dtype=INT64), const(4), const(True), const(False)),
        case(ints(), const(4), const(1.0), const(0.0)),
        case(const([0, 2, 1]), given(3), const(1.0), const(0.0)),
    )


class TopK(Operator):
    """The ``k`` largest along the last axis in falling order, and where; of equals the first."""

    name = "TOPK_V2"
    options = "TopKV2Options"
    inputs = "input k"
    outputs = "values indices"
    quant = QuantRule(same_scale=True)

    def infer(self, x: Operand, k: Operand) -> Sequence[TensorType]:
        count = constant_int(k)
        if x.shape is None:
            return [TensorType(x.dtype, None), TensorType(INT32, None)]
        if not x.shape or (count is not None and not 0 <= count <= (x.shape[-1] or count)):
            raise ShapeError(f"TOPK_V2 of {count} elements of {x.name!r} {x.shape}")
        shape = (*x.shape[:-1], count)
        return [TensorType(x.dtype, shape), TensorType(INT32, shape)]

    def reference(self, x: Array, k: Array) -> tuple[Array, Array]:
        count = integer(k)
        if not 0 <= count <= x.shape[-1]:
            raise ShapeError(f"TOPK_V2 of {count} elements of {x.shape[-1]}")
        # A stable sort of the elements in opposite order, read backwards, has ties in order.
        order = np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1][..., :count]
        indices = x.shape[-1] - 1 - order
        return np.take_along_axis(x, indices, -1), indices.astype(np.int32)

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        dtypes = [v.dtype for v in (*inputs, outputs[1]) if v is not None]
        if INT16 in dtypes:
            return 3
        return 2 if dtypes[0] is INT8 else 1

    cases = (
        case(f32(2, 7), const(3)),
        case(given([[3, 5, 5, 1], [2, 2, 2, 9]]), const(4)),
        case(ints(9, dtype=INT64), const(2)),
        case(f32(5), const(1)),
        case(f32(2, 5), given(2)),
    )
