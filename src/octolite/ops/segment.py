"""Sums over runs of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from octolite.errors import RuntimeModelError, ShapeError
from octolite.ir.types import Array, Operand, TensorType
from octolite.ops.base import Operator
from octolite.ops.case import case, const, f32, given, ints
from octolite.ops.shapes import constant_ints, rank_of, sized


class SegmentSum(Operator):
    """The sums of the rows of ``data`` [n, …] that have one segment id.

    ``segment_ids`` [n] are sorted; the result has a row for each id up to the last, zeros for one
    that does not occur. LiteRT refuses to leave one out.
    """

    name = "SEGMENT_SUM"
    options = "SegmentSumOptions"
    inputs = "data segment_ids"

    def infer(self, data: Operand, segments: Operand) -> Sequence[TensorType]:
        rank_of(segments, "segment ids", 1)
        if data.shape is None:
            return [TensorType(data.dtype, None)]
        if not data.shape:
            raise ShapeError(f"{self.name} of {data.name!r}, which is a scalar")
        count = None if segments.shape is None else segments.shape[0]
        if None not in (count, data.shape[0]) and count != data.shape[0]:
            raise ShapeError(f"{self.name}: {count} segment ids for {data.name!r} {data.shape}")
        known = constant_ints(segments)
        rows = None if known is None else max(known, default=-1) + 1
        return [TensorType(data.dtype, (rows, *data.shape[1:]))]

    def reference(self, data: Array, segments: Array) -> Array:
        if len(segments) != len(data):
            raise ShapeError(f"{self.name}: {len(segments)} segment ids for {len(data)} rows")
        if segments.size and (segments[0] < 0 or (np.diff(segments.astype(np.int64)) < 0).any()):
            raise RuntimeModelError(f"{self.name}: segment ids should be sorted and at least 0")
        rows = int(segments[-1]) + 1 if segments.size else 0
        sums = np.zeros(sized((rows, *data.shape[1:])), data.dtype)
        np.add.at(sums, segments, data)
        return sums

    cases = (
        case(f32(6, 3), const([0, 0, 1, 3, 3, 4]), litert=False),
        case(f32(6, 3), const([0, 0, 1, 2, 2, 3])),
        case(f32(6, 3), given([0, 0, 1, 1, 1, 2])),
        case(f32(4, 2, 3), const([0, 1, 1, 2])),
        case(ints(5), const([0, 1, 1, 1, 2])),
        case(f32(0, 3), ints(0)),
    )
