"""Rows of a table: looked up by keys, or added up by the rows of a sparse tensor of ids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np

from octolite.errors import ShapeError
from octolite.ir.types import FLOAT32, INT32, STRING, UINT8, Array, Operand, TensorType
from octolite.kernels import spec
from octolite.ops.base import ANYTHING, CODES, Operator, QuantRule, attr
from octolite.ops.case import case, const, f32, given, ints, weights
from octolite.ops.cells import expect, extent
from octolite.ops.indexing import check_indices
from octolite.ops.shapes import constant_ints, integers, rank_of, sized


class Combiner(IntEnum):
    """What a sum of weighted rows is divided by (``CombinerType``)."""

    SUM = 0
    MEAN = 1
    SQRTN = 2


class EmbeddingLookupSparse(Operator):
    """For each row of a sparse tensor, the weighted rows of a table that its ids name, combined.

    ``ids`` [n] and ``weights`` [n] lie at ``indices`` [n, k] of a tensor of ``dense_shape`` [k],
    sorted; its last axis is the one that is added up. MEAN divides by the sum of the weights,
    SQRTN by the root of the sum of their squares. A row without ids gives zeros.
    """

    name = "EMBEDDING_LOOKUP_SPARSE"
    options = "EmbeddingLookupSparseOptions"
    inputs = "ids indices dense_shape weights value"
    combiner: Combiner = attr(Combiner.SUM)
    quant = QuantRule(weights={"value": None})

    def infer(
        self, ids: Operand, indices: Operand, shape: Operand, weights: Operand, value: Operand
    ) -> Sequence[TensorType]:
        count = extent(ids, 0)
        expect(ids, "ids", count)
        expect(indices, "indices", count, None)
        expect(weights, "weights", count)
        expect(shape, "dense shape", extent(indices, 1))
        if value.shape is None or len(value.shape) < 2:
            rank_of(value, "table", 2, 3, 4)
            return [TensorType(FLOAT32, None)]
        extents = constant_ints(shape)
        if extents is not None:
            return [TensorType(FLOAT32, (*sized(extents[:-1]), *value.shape[1:]))]
        rank = extent(shape, 0)
        outer = None if rank is None else (None,) * max(rank - 1, 0)
        return [TensorType(FLOAT32, None if outer is None else (*outer, *value.shape[1:]))]

    def reference(
        self, ids: Array, indices: Array, shape: Array, weights: Array, value: Array
    ) -> Array:
        outer = sized(integers(shape)[:-1])
        if shape.size == 0 or indices.shape != (ids.size, shape.size):
            raise ShapeError(
                f"{self.name}: {ids.size} ids at indices of shape {indices.shape} in a tensor of "
                f"rank {shape.size}"
            )
        check_indices(self.name, ids, len(value))
        for axis, limit in enumerate(outer):
            check_indices(self.name, indices[:, axis], limit)
        places = np.zeros(ids.size, np.int64)
        for axis, limit in enumerate(outer):
            places = places * limit + indices[:, axis]
        tail, rows = value.shape[1:], math.prod(outer)
        sums = np.zeros(sized((rows, *tail)), np.float32)
        np.add.at(sums, places, value[ids] * weights.reshape(-1, *(1 for _ in tail)))
        if self.combiner is not Combiner.SUM:
            mean = self.combiner is Combiner.MEAN
            divisor, found = np.zeros(rows, np.float32), np.zeros(rows, np.bool_)
            np.add.at(divisor, places, weights if mean else np.square(weights))
            found[places] = True
            divisor = np.where(found, divisor if mean else np.sqrt(divisor), np.float32(1))
            sums /= divisor.reshape(-1, *(1 for _ in tail))
        return sums.reshape(*outer, *tail)

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.SparseLookup | None:
        dtypes = [None if v is None else v.dtype for v in inputs]
        if dtypes != [INT32, INT32, INT32, FLOAT32, FLOAT32]:
            return None
        return spec.SparseLookup(self.combiner.name.lower())

    def geometry(self, inputs: Sequence[Operand | None]) -> dict[str, Any] | None:
        indices, shape, table = inputs[1], inputs[2], inputs[4]
        assert indices is not None
        assert shape is not None
        assert table is not None
        extents = constant_ints(shape)
        if not extents or indices.shape is None or indices.shape[1] != len(extents):
            return None
        return {"rows": sized(extents[:-1]), "table": table.shape}

    cases = (
        *(
            case(
                ints(4, high=9),
                const([[0, 0], [0, 1], [1, 0], [3, 3]]),
                const([4, 5]),
                f32(4, low=0.5, high=2.0),
                weights(9, 6),
                combiner=combiner,
            )
            for combiner in Combiner
        ),
        case(
            ints(5, high=4),
            const([[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 2, 0], [1, 2, 5]]),
            given([2, 3, 6]),
            f32(5, low=0.5, high=2.0),
            weights(4, 2, 3),
            combiner=Combiner.MEAN,
        ),
    )


class HashtableLookup(Operator):
    """The row of ``value`` [n, …] for each of ``lookup`` [k], found in the sorted ``key`` [n].

    A key that is not there gives zeros (empty strings). ``hits`` [k] says which are there.
    """

    kinds = ANYTHING
    name = "HASHTABLE_LOOKUP"
    plain_types = CODES
    inputs = "lookup key value"
    outputs = "output hits"
    quant = QuantRule(same_scale=True)

    def infer(self, lookup: Operand, key: Operand, value: Operand) -> Sequence[TensorType]:
        expect(lookup, "lookup", None)
        expect(key, "key", extent(value, 0))
        for operand in (lookup, key):
            if operand.dtype is not INT32:
                raise ShapeError(f"{self.name}: {operand.name!r} is {operand.dtype}, not int32")
        if value.shape == () or (value.dtype is STRING and len(value.shape or (0,)) != 1):
            raise ShapeError(f"{self.name} of a table {value.name!r} of shape {value.shape}")
        count = extent(lookup, 0)
        shape = None if value.shape is None else (count, *value.shape[1:])
        return [TensorType(value.dtype, shape), TensorType(UINT8, (count,))]

    def reference(self, lookup: Array, key: Array, value: Array) -> tuple[Array, Array]:
        if key.shape != value.shape[:1] or lookup.ndim != 1:
            raise ShapeError(f"{self.name}: {key.shape} keys for a table of shape {value.shape}")
        nothing = np.full(1, b"", object) if value.dtype == object else np.zeros(1, value.dtype)
        found = np.empty(sized((lookup.size, *value.shape[1:])), value.dtype)
        places = np.searchsorted(key, lookup)
        hits = places < key.size
        hits[hits] = key[places[hits]] == lookup[hits]
        found[...] = nothing[0]
        found[hits] = value[places[hits]]
        return found, hits.astype(np.uint8)

    cases = (
        case(given([1, -9, 7, 8]), const([-9, 1, 4, 7]), weights(4, 3)),
        case(ints(5, high=6), const([0, 2, 3]), ints(3, 2, 2)),
        case(given([4, 5]), const([4, 9]), const(np.array([b"four", b"nine"], object))),
        case(given([4, 5]), given([4, 9]), f32(2)),
    )
