"""Rows that are combined by the segment they belong to."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from octolite.errors import RuntimeModelError, ShapeError
from octolite.ir.types import Array, Operand, Shape, TensorType
from octolite.ops.base import COMPLEX, Operator
from octolite.ops.case import case, const, f32, given, ints
from octolite.ops.indexing import check_indices
from octolite.ops.shapes import constant_int, constant_ints, integer, length, rank_of, sized


class SegmentSum(Operator):
    """The sums of the rows of ``data`` [n, …] that have one segment id.

    ``segment_ids`` [n] are sorted; the result has a row for each id up to the last, zeros for one
    that does not occur. LiteRT refuses to leave one out.
    """

    kinds = COMPLEX
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


class UnsortedSegment(Operator, abstract=True):
    """``combine`` over the slices of ``data`` that have one segment id, in any order.

    ``segment_ids`` has the first extents of ``data``; the result has ``num_segments`` slices, of
    ``neutral`` numbers where no id leads. A negative id leads nowhere.
    """

    inputs = "data segment_ids num_segments"
    combine: ClassVar[np.ufunc]

    @abstractmethod
    def neutral(self, dtype: np.dtype[Any]) -> Any:
        """What a segment without slices holds."""

    def infer(self, data: Operand, segments: Operand, count: Operand) -> Sequence[TensorType]:
        if length(count) not in (None, 1):
            raise ShapeError(f"{self.name}: {count.name!r} should hold one number")
        rows = constant_int(count)
        if rows is not None:
            sized([rows])
        if data.shape is None or segments.shape is None:
            return [TensorType(data.dtype, None)]
        self._check(data.shape, segments.shape)
        return [TensorType(data.dtype, (rows, *data.shape[len(segments.shape) :]))]

    def _check(self, data: Shape, segments: Shape) -> None:
        front = data[: len(segments)]
        if len(front) < len(segments) or any(
            None not in (a, b) and a != b for a, b in zip(front, segments, strict=True)
        ):
            raise ShapeError(f"{self.name}: segment ids {segments} for data of shape {data}")

    def reference(self, data: Array, segments: Array, count: Array) -> Array:
        self._check(data.shape, segments.shape)
        rows, tail = integer(count), data.shape[segments.ndim :]
        out = np.full(sized((rows, *tail)), self.neutral(data.dtype), data.dtype)
        ids = segments.reshape(-1)
        kept = ids >= 0
        check_indices(self.name, ids[kept], rows)
        self.combine.at(out, ids[kept], data.reshape(len(ids), *tail)[kept])
        return out

    cases = (
        case(f32(6, 3), const([2, 0, 1, 2, 0, 4]), const(5)),
        case(f32(6), given([2, 0, -1, 2, 0, 1]), given(4)),
        case(f32(3, 2, 4), const([[0, 1], [1, 0], [3, 3]]), const(4)),
        case(ints(5, 2, low=1), const([1, 1, 0, 2, 1]), const(3)),
        case(f32(0, 3), ints(0), const(2), litert=False),
    )


class UnsortedSegmentSum(UnsortedSegment):
    name = "UNSORTED_SEGMENT_SUM"
    options = "UnsortedSegmentSumOptions"
    combine = np.add

    def neutral(self, dtype: np.dtype[Any]) -> Any:
        return 0


class UnsortedSegmentProd(UnsortedSegment):
    name = "UNSORTED_SEGMENT_PROD"
    options = "UnsortedSegmentProdOptions"
    combine = np.multiply

    def neutral(self, dtype: np.dtype[Any]) -> Any:
        return 1


class UnsortedSegmentMax(UnsortedSegment):
    name = "UNSORTED_SEGMENT_MAX"
    options = "UnsortedSegmentMaxOptions"
    combine = np.maximum

    def neutral(self, dtype: np.dtype[Any]) -> Any:
        return np.finfo(dtype).min if dtype.kind == "f" else np.iinfo(dtype).min


class UnsortedSegmentMin(UnsortedSegment):
    name = "UNSORTED_SEGMENT_MIN"
    options = "UnsortedSegmentMinOptions"
    combine = np.minimum

    def neutral(self, dtype: np.dtype[Any]) -> Any:
        return np.finfo(dtype).max if dtype.kind == "f" else np.iinfo(dtype).max
