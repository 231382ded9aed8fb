"""Operators that take parts of a tensor, put parts into one, or turn it around."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from octolite.errors import RuntimeModelError, ShapeError
from octolite.ir.types import (
    BFLOAT16,
    BOOL,
    FLOAT16,
    INT4,
    INT8,
    INT16,
    INT64,
    STRING,
    UINT8,
    UINT32,
    Array,
    Dim,
    Operand,
    Shape,
    TensorType,
)
from octolite.kernels.views import Move, View
from octolite.ops.base import ANYTHING, Operator, QuantRule, attr
from octolite.ops.case import case, const, f32, flags, given, ints
from octolite.ops.movement import Extents, Movement, view_of
from octolite.ops.shapes import (
    axes_of,
    axis_of,
    constant_ints,
    integers,
    length,
    like,
    same_dtype,
)


class Slice(Movement):
    """``size`` elements from ``begin`` on, along every axis; -1: all that follow."""

    name = "SLICE"
    options = "SliceOptions"
    inputs = "input begin size"
    quant = QuantRule(same_scale=True)
    dtype_versions = {INT4: 7, UINT32: 6, INT16: 4, STRING: 3, INT8: 2}

    def infer(self, x: Operand, begin: Operand, size: Operand) -> Sequence[TensorType]:
        begins, sizes = constant_ints(begin), constant_ints(size)
        lengths = [length(begin), length(size)]
        if x.shape is not None:
            lengths.append(len(x.shape))
        ranks = {n for n in lengths if n is not None}
        if len(ranks) > 1:
            raise ShapeError(
                f"begin {begin.name!r} and size {size.name!r} should have one element for each "
                f"axis of {x.name!r} {x.shape}"
            )
        if not ranks:
            return [TensorType(x.dtype, None)]
        rank = ranks.pop()
        nothing: tuple[Dim, ...] = (None,) * rank
        shape = nothing if x.shape is None else x.shape
        try:
            extents = [
                _slice_extent(*known)
                for known in zip(shape, begins or nothing, sizes or nothing, strict=True)
            ]
        except ShapeError as error:
            raise ShapeError(f"{x.name!r} {x.shape}: {error}") from None
        return [TensorType(x.dtype, tuple(extents))]

    def reference(self, x: Array, begin: Array, size: Array) -> Array:
        begins, sizes = integers(begin), integers(size)
        if not len(begins) == len(sizes) == x.ndim:
            raise ShapeError(f"begin {begins} and size {sizes} do not fit the shape {x.shape}")
        extents = [_slice_extent(*e) or 0 for e in zip(x.shape, begins, sizes, strict=True)]
        return x[tuple(slice(b, b + n) for b, n in zip(begins, extents, strict=True))]

    def moves(
        self, inputs: Sequence[Operand | None], results: Sequence[Extents]
    ) -> list[Move] | None:
        begins = constant_ints(inputs[1])
        if begins is None:
            return None
        source = view_of(inputs[0])
        for axis, (start, extent) in enumerate(zip(begins, results[0], strict=True)):
            source = source.part(axis, start, extent)
        return [Move(source, View.of(results[0]))]

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        return max(super().version(inputs, outputs), 5 if _rank(inputs[0]) > 4 else 1)

    cases = (
        case(f32(3, 4, 5), const([1, 0, 2]), const([2, -1, 3])),
        case(f32(3, 4), const([0, 4]), const([3, 0])),
        case(f32(2, 2, 3, 2, 2), const([0, 1, 0, 0, 0], INT64), const([2, 1, 2, -1, 2], INT64)),
        case(ints(6, dtype=INT64), const([2]), const([3])),
        case(flags(3, 3), const([1, 1]), const([-1, -1])),
        case(f32(3, 4), given([1, 1]), given([2, -1])),
    )


def _slice_extent(dim: Dim, begin: Dim, size: Dim) -> Dim:
    """How much SLICE takes along one axis, as far as what is known tells."""
    if (begin is not None and begin < 0) or (size is not None and size < -1):
        raise ShapeError(f"a slice cannot begin at {begin} and have the size {size}")
    if dim is not None and begin is not None and begin + max(size or 0, 0) > dim:
        raise ShapeError(f"a slice of {size} from {begin} on does not fit an extent of {dim}")
    if size == -1:
        return None if dim is None or begin is None else dim - begin
    return size


@dataclass(frozen=True, slots=True)
class Entry:
    """One axis of what STRIDED_SLICE yields.

    ``axis`` is the input's (``None``: a new one), ``index`` the place in begin, end and strides
    (``None``: the whole axis), ``shrink``: a single element, the axis goes.
    """

    axis: int | None
    index: int | None = None
    shrink: bool = False


class StridedSlice(Movement):
    """Python's ``x[begin:end:stride, …]``.

    Bit i of a mask concerns entry i: ``begin_mask`` and ``end_mask`` leave that bound open,
    ``ellipsis_mask`` is ``...``, ``new_axis_mask`` is ``newaxis``, ``shrink_axis_mask`` is an
    index. ``offset``: ``end`` is counted from ``begin``.
    """

    name = "STRIDED_SLICE"
    options = "StridedSliceOptions"
    inputs = "input begin end strides"
    begin_mask: int = attr(0)
    end_mask: int = attr(0)
    ellipsis_mask: int = attr(0)
    new_axis_mask: int = attr(0)
    shrink_axis_mask: int = attr(0)
    offset: bool = attr(False)
    quant = QuantRule(same_scale=True)
    dtype_versions = {UINT32: 7, STRING: 5, BOOL: 3, INT8: 2}

    def infer(
        self, x: Operand, begin: Operand, end: Operand, strides: Operand
    ) -> Sequence[TensorType]:
        counts = {n for n in map(length, (begin, end, strides)) if n is not None}
        if len(counts) > 1:
            raise ShapeError(
                f"{begin.name!r}, {end.name!r} and {strides.name!r} should have equally many "
                f"elements"
            )
        if x.shape is None or not counts:
            return [TensorType(x.dtype, None)]
        bounds = [constant_ints(v) for v in (begin, end, strides)]
        try:
            dims = [
                dim
                for entry in self._entries(counts.pop(), len(x.shape))
                for dim in self._extents(entry, x.shape, bounds)
            ]
        except ShapeError as error:
            raise ShapeError(f"{x.name!r} {x.shape}: {error}") from None
        return [TensorType(x.dtype, tuple(dims))]

    def reference(self, x: Array, begin: Array, end: Array, strides: Array) -> Array:
        bounds = [integers(v) for v in (begin, end, strides)]
        if len({len(b) for b in bounds}) > 1:
            raise ShapeError(f"begin, end and strides {bounds} should have equally many elements")
        index: list[int | slice | None] = []
        for entry in self._entries(len(bounds[0]), x.ndim):
            if entry.axis is None:
                index.append(None)
            elif entry.index is None:
                index.append(slice(None))
            else:
                first, last, stride = (b[entry.index] for b in bounds)
                dim = x.shape[entry.axis]
                if entry.shrink:
                    index.append(self._position(entry.index, dim, first, stride))
                else:
                    index.append(self._slice(entry.index, dim, first, last, stride))
        return np.asarray(x[tuple(index)])

    def moves(
        self, inputs: Sequence[Operand | None], results: Sequence[Extents]
    ) -> list[Move] | None:
        bounds = [constant_ints(v) for v in inputs[1:]]
        if None in bounds:
            return None
        begin, end, strides = (b or [] for b in bounds)
        source = view_of(inputs[0])
        for entry in reversed(list(self._entries(len(begin), len(source.shape)))):
            if entry.axis is None or entry.index is None:
                continue
            dim, first, stride = source.shape[entry.axis], begin[entry.index], strides[entry.index]
            if entry.shrink:
                position = self._position(entry.index, dim, first, stride)
                source = source.at(entry.axis, position % dim)
            else:
                taken = self._slice(entry.index, dim, first, end[entry.index], stride)
                chosen = range(*taken.indices(dim))
                source = source.part(entry.axis, chosen.start, len(chosen), chosen.step)
        return [Move(source, View.of(source.shape))]

    def _entries(self, count: int, rank: int) -> Iterator[Entry]:
        """What each axis of the result is, and each axis that goes."""
        ellipses = [i for i in range(count) if self.ellipsis_mask >> i & 1]
        new = {i for i in range(count) if self.new_axis_mask >> i & 1 and i not in ellipses}
        free = rank - (count - len(ellipses) - len(new))
        if len(ellipses) > 1 or free < 0:
            raise ShapeError(f"{count} slices, {len(ellipses)} ellipses for rank {rank}")
        axis = 0
        for i in range(count + 1):
            if i in ellipses or (i == count and not ellipses):
                yield from (Entry(axis + j) for j in range(free))
                axis += free
            elif i in new:
                yield Entry(None)
            elif i < count:
                yield Entry(axis, i, bool(self.shrink_axis_mask >> i & 1))
                axis += 1

    def _extents(
        self, entry: Entry, shape: Shape, bounds: Sequence[Sequence[int] | None]
    ) -> Iterator[Dim]:
        """The extent that ``entry`` gives the result, if it gives one."""
        if entry.axis is None:
            yield 1
            return
        dim = shape[entry.axis]
        if entry.index is None:
            yield dim
            return
        first, last, stride = (None if b is None else b[entry.index] for b in bounds)
        if entry.shrink:
            if first is not None and dim is not None:
                self._position(entry.index, dim, first, 1 if stride is None else stride)
            return
        if self.begin_mask >> entry.index & 1 and not self.offset:
            first = 0
        if self.end_mask >> entry.index & 1:
            last = 0
        if dim is None or first is None or last is None or stride is None:
            yield None
        else:
            yield len(range(*self._slice(entry.index, dim, first, last, stride).indices(dim)))

    def _position(self, index: int, dim: int, first: int, stride: int) -> int:
        """The element that entry ``index`` takes of an axis of extent ``dim``."""
        position = 0 if self.begin_mask >> index & 1 else first
        if not -dim <= position < dim or stride < 1:
            raise ShapeError(
                f"index {position} with stride {stride} does not fit an extent of {dim}"
            )
        return position

    def _slice(self, index: int, dim: int, first: int, last: int, stride: int) -> slice:
        """The slice that entry ``index`` takes of an axis of extent ``dim``."""
        if stride == 0:
            raise ShapeError("a slice has stride 0")
        start = None if self.begin_mask >> index & 1 else first
        if self.end_mask >> index & 1:
            return slice(start, None, stride)
        if not self.offset:
            return slice(start, last, stride)
        stop = slice(start, None, stride).indices(dim)[0] + last
        # A negative bound would count from the end; here it is one before the first element.
        return slice(start, None if stop < 0 and stride < 0 else max(stop, 0), stride)

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        if self.offset:
            return 8
        masked = 6 if self.ellipsis_mask or self.new_axis_mask else 1
        wide = 4 if _rank(inputs[0]) > 4 else 1
        return max(super().version(inputs, outputs), masked, wide)

    cases = (
        case(f32(5), const([1]), const([4]), const([2])),
        case(f32(5), const([-1]), const([-6]), const([-1])),
        case(f32(5), const([0]), const([0]), const([-2]), begin_mask=1, end_mask=1),
        case(f32(5), const([-9]), const([9]), const([1])),
        case(f32(5), const([3]), const([2]), const([1])),
        case(f32(3, 4), const([1, 0]), const([2, 0]), const([1, 1]), end_mask=2),
        case(f32(3, 4), const([1]), const([2]), const([1]), shrink_axis_mask=1),
        case(
            f32(3, 4),
            const([0, -1]),
            const([0, 0]),
            const([1, 1]),
            begin_mask=1,
            end_mask=1,
            shrink_axis_mask=2,
        ),
        case(f32(3), const([2]), const([3]), const([1]), begin_mask=1, shrink_axis_mask=1),
        case(f32(3, 4), const([-1, 2]), const([0, 0]), const([1, 1]), shrink_axis_mask=3),
        case(f32(2, 3, 4), const([0, 1]), const([0, 3]), const([1, 1]), ellipsis_mask=1),
        case(
            f32(2, 3, 4),
            const([1, 0, 0, 2]),
            const([2, 0, 0, 3]),
            const([1, 1, 1, 1]),
            ellipsis_mask=2,
            new_axis_mask=4,
            shrink_axis_mask=1,
        ),
        case(f32(3, 4), const([0, 0]), const([0, 0]), const([1, 1]), new_axis_mask=2, end_mask=1),
        case(f32(7), const([2]), const([3]), const([1]), offset=True),
        case(f32(7), const([-3]), const([2]), const([1]), offset=True),
        case(
            f32(1, 2, 3, 2, 2),
            const([0, 0, 2, 0, 0]),
            const([1, 2, 0, 2, 1]),
            const([1, 1, -1, 1, 1]),
        ),
        case(const([4, 8, 8, 3]), const([1]), const([2]), const([1]), shrink_axis_mask=1),
        case(ints(4, 3, dtype=UINT8), const([1, 1]), const([3, 3]), const([1, 1])),
        case(ints(4, 3, dtype=INT64), const([1, 1]), const([3, 3]), const([1, 1])),
        case(flags(6), const([1]), const([6]), const([2])),
        case(f32(6), given([1]), given([6]), given([2])),
    )


def _rank(x: Operand | None) -> int:
    return 0 if x is None or x.shape is None else len(x.shape)


class DynamicUpdateSlice(Operator):
    """``operand`` with ``update`` written over it from ``start_indices`` on.

    Indices that would lead outside are moved until the update fits.
    """

    kinds = ANYTHING
    name = "DYNAMIC_UPDATE_SLICE"
    options = "DynamicUpdateSliceOptions"
    inputs = "operand update start_indices"
    quant = QuantRule(same_scale=True)
    dtype_versions = {BFLOAT16: 6, INT4: 5, INT16: 4, FLOAT16: 3}

    def infer(self, x: Operand, update: Operand, start: Operand) -> Sequence[TensorType]:
        same_dtype(x, update)
        if x.shape is not None:
            if update.shape is not None and (
                len(update.shape) != len(x.shape)
                or any(
                    u is not None and d is not None and u > d
                    for u, d in zip(update.shape, x.shape, strict=True)
                )
            ):
                raise ShapeError(
                    f"update {update.name!r} {update.shape} does not fit into {x.name!r} {x.shape}"
                )
            if length(start) not in (None, len(x.shape)):
                raise ShapeError(
                    f"{start.name!r} {start.shape} should have an index for each axis of "
                    f"{x.name!r} {x.shape}"
                )
        return like(x)

    def reference(self, x: Array, update: Array, start: Array) -> Array:
        index = tuple(
            slice(first, first + u)
            for first, u in (
                (min(max(s, 0), d - u), u)
                for s, d, u in zip(integers(start), x.shape, update.shape, strict=True)
            )
        )
        out = x.copy()
        out[index] = update
        return out

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        start = inputs[2]
        by_index = 2 if start is not None and start.dtype is INT64 else 1
        return max(super().version(inputs, outputs), by_index)

    cases = (
        case(f32(4, 5), f32(2, 2), const([1, 2])),
        case(f32(4, 5), f32(2, 2), given([3, -7])),
        case(ints(6), ints(2), const([4], INT64)),
        case(f32(2, 3), f32(2, 3), const([1, 1])),
    )


class ReverseV2(Movement):
    """The elements in opposite order along the listed axes."""

    name = "REVERSE_V2"
    options = "ReverseV2Options"
    inputs = "input axis"
    quant = QuantRule(same_scale=True)
    dtype_versions = {INT8: 3, BOOL: 2}

    def infer(self, x: Operand, axis: Operand) -> Sequence[TensorType]:
        listed = constant_ints(axis)
        if x.shape is not None and listed is not None:
            axes_of(listed, len(x.shape))
        return like(x)

    def reference(self, x: Array, axis: Array) -> Array:
        return np.flip(x, axes_of(integers(axis), x.ndim))

    def moves(
        self, inputs: Sequence[Operand | None], results: Sequence[Extents]
    ) -> list[Move] | None:
        listed = constant_ints(inputs[1])
        if listed is None:
            return None
        source = view_of(inputs[0])
        for axis in axes_of(listed, len(source.shape)):
            extent = source.shape[axis]
            source = source.part(axis, extent - 1, extent, -1)
        return [Move(source, View.of(results[0]))]

    cases = (
        case(f32(2, 3, 4), const([1])),
        case(f32(2, 3, 4), const([-1])),
        case(f32(2, 3, 4), const([1, 2])),
        case(ints(5, dtype=INT64), const([0])),
        case(flags(2, 3), const([0])),
    )


class ReverseSequence(Operator):
    """The first ``seq_lengths[b]`` elements of each batch item in opposite order."""

    kinds = ANYTHING
    name = "REVERSE_SEQUENCE"
    options = "ReverseSequenceOptions"
    inputs = "input seq_lengths"
    seq_dim: int = attr(0)
    batch_dim: int = attr(0)
    quant = QuantRule(same_scale=True)

    def infer(self, x: Operand, lengths: Operand) -> Sequence[TensorType]:
        if x.shape is not None:
            seq, batch = (axis_of(a, len(x.shape)) for a in (self.seq_dim, self.batch_dim))
            if seq == batch:
                raise ShapeError(f"sequences and batch are both axis {seq} of {x.name!r}")
            items = length(lengths)
            if items is not None and x.shape[batch] not in (None, items):
                raise ShapeError(
                    f"{lengths.name!r} has {items} lengths for the {x.shape[batch]} items of "
                    f"{x.name!r} {x.shape}"
                )
        return like(x)

    def reference(self, x: Array, lengths: Array) -> Array:
        seq, batch = axis_of(self.seq_dim, x.ndim), axis_of(self.batch_dim, x.ndim)
        steps = x.shape[seq]
        if np.any(lengths < 0) or np.any(lengths > steps):
            raise RuntimeModelError(f"REVERSE_SEQUENCE of {lengths.max()} of {steps} steps")
        step = np.arange(steps)
        source = np.where(step < lengths[:, None], lengths[:, None] - 1 - step, step)
        if batch > seq:
            source = source.T
        others = [i for i in range(x.ndim) if i not in (seq, batch)]
        return np.take_along_axis(x, np.expand_dims(source, others), seq)

    cases = (
        case(f32(3, 5), const([0, 2, 5]), seq_dim=1, batch_dim=0),
        case(f32(5, 3, 2), const([1, 2, 5], INT64), seq_dim=0, batch_dim=1),
        case(f32(2, 3, 4), const([2, 4]), seq_dim=2, batch_dim=0),
        case(ints(3, 4), given([4, 3, 1]), seq_dim=1, batch_dim=0),
    )
