"""Slices of a tensor that indices name, read or changed: StableHLO's gather and scatter.

Source: the StableHLO specification, openxla.org/stablehlo/spec.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from octolite.errors import ShapeError
from octolite.ir.graph import Graph
from octolite.ir.types import FLOAT32, INT32, INT64, STRING, Array, Dim, Operand, TensorType
from octolite.ops.base import CODES, COMPLEX, Operator, attr
from octolite.ops.case import case, f32, given, ints
from octolite.ops.shapes import same_dtype, sized
from octolite.ops.stablehlo import function_of, region

Axes = Sequence[int]


def check_axes(what: str, axes: Axes, rank: int) -> None:
    """Raise :class:`ShapeError` unless ``axes`` are different ones of ``rank``."""
    if len(set(axes)) < len(axes) or any(not 0 <= a < rank for a in axes):
        raise ShapeError(f"{what} {tuple(axes)} should be different axes out of {rank}")


def others(axes: Axes, rank: int) -> list[int]:
    """The axes of ``rank`` that are not among ``axes``."""
    return [a for a in range(rank) if a not in axes]


def _vectors(indices: Array, axis: int) -> Array:
    """The index vectors along a last axis; where ``axis`` is the rank, each is one number."""
    return indices[..., None] if axis == indices.ndim else np.moveaxis(indices, axis, -1)


class Sliced(Operator, abstract=True):
    """An operator whose indices are vectors along ``index_vector_dim``."""

    kinds = COMPLEX
    index_vector_dim: int

    def batch_of(self, indices: Operand, count: int) -> list[Dim] | None:
        """The extents of ``indices`` without those of the vectors, which have ``count`` numbers."""
        if indices.dtype not in (INT32, INT64):
            raise ShapeError(
                f"{self.name}: {indices.name!r} is {indices.dtype}, not int32 or int64"
            )
        if indices.shape is None:
            return None
        axis, rank = self.index_vector_dim, len(indices.shape)
        if not 0 <= axis <= rank:
            raise ShapeError(f"{self.name}: index_vector_dim {axis} for {indices.name!r} of {rank}")
        found = 1 if axis == rank else indices.shape[axis]
        if found not in (None, count):
            raise ShapeError(
                f"{self.name}: {indices.name!r} holds vectors of {found} numbers for {count} axes"
            )
        return [d for a, d in enumerate(indices.shape) if a != axis]


class StablehloGather(Sliced):
    """Slices of ``slice_sizes``, one for each vector of indices, which begin there.

    A vector's numbers are for the axes ``start_index_map``; slices that would reach beyond the
    operand are moved into it. ``collapsed_slice_dims``, of extent 1, are left out; the others
    become the axes ``offset_dims`` of the result.
    """

    name = "STABLEHLO_GATHER"
    plain_types = CODES
    options = "StablehloGatherOptions"
    inputs = "operand start_indices"
    offset_dims: tuple[int, ...] = attr(())
    collapsed_slice_dims: tuple[int, ...] = attr(())
    start_index_map: tuple[int, ...] = attr(())
    index_vector_dim: int = attr(0)
    slice_sizes: tuple[int, ...] = attr(())
    indices_are_sorted: bool = attr(False)

    def infer(self, x: Operand, indices: Operand) -> Sequence[TensorType]:
        if x.dtype is STRING:
            raise ShapeError(f"{self.name} takes numbers, and {x.name!r} is {x.dtype}")
        self._check_sizes(x.shape)
        batch = self.batch_of(indices, len(self.start_index_map))
        if batch is None:
            return [TensorType(x.dtype, None)]
        rank = len(batch) + len(self.offset_dims)
        check_axes(f"{self.name}: offset_dims", self.offset_dims, rank)
        kept = iter(self._kept_sizes())
        rest = iter(batch)
        shape = [next(kept if a in self.offset_dims else rest) for a in range(rank)]
        sized([d for d in shape if d is not None])
        return [TensorType(x.dtype, tuple(shape))]

    def _kept_sizes(self) -> list[int]:
        sizes = self.slice_sizes
        return [sizes[a] for a in others(self.collapsed_slice_dims, len(sizes))]

    def _check_sizes(self, shape: Sequence[Dim] | None) -> None:
        """Raise :class:`ShapeError` where slices do not fit the operand or the attributes."""
        rank = len(self.slice_sizes)
        check_axes(f"{self.name}: start_index_map", self.start_index_map, rank)
        check_axes(f"{self.name}: collapsed_slice_dims", self.collapsed_slice_dims, rank)
        given_ = (1,) * rank if shape is None else shape
        if len(given_) != rank or rank != len(self.offset_dims) + len(self.collapsed_slice_dims):
            raise ShapeError(
                f"{self.name}: slices of {self.slice_sizes}, {self.collapsed_slice_dims} of them "
                f"left out and {self.offset_dims} kept, of a tensor of shape {shape}"
            )
        large = shape is not None and any(
            d is not None and s > d for s, d in zip(self.slice_sizes, shape, strict=True)
        )
        flat = [self.slice_sizes[a] for a in self.collapsed_slice_dims]
        if large or any(s < 0 for s in self.slice_sizes) or any(s != 1 for s in flat):
            raise ShapeError(
                f"{self.name}: slices of {self.slice_sizes}, {self.collapsed_slice_dims} of them "
                f"left out, do not fit a tensor of shape {shape}"
            )

    def reference(self, x: Array, indices: Array) -> Array:
        self._check_sizes(x.shape)
        vectors = _vectors(indices, self.index_vector_dim)
        rank = vectors.ndim - 1 + len(self.offset_dims)
        kept = others(self.collapsed_slice_dims, x.ndim)
        places = []
        for axis, (extent, size) in enumerate(zip(x.shape, self.slice_sizes, strict=True)):
            place = np.zeros((1,) * rank, np.int64)
            if axis in self.start_index_map:
                starts = vectors[..., self.start_index_map.index(axis)].astype(np.int64)
                starts = np.clip(starts, 0, extent - size)
                place = np.expand_dims(starts, tuple(sorted(self.offset_dims)))
            if axis in kept:
                at = sorted(self.offset_dims)[kept.index(axis)]
                place = place + np.arange(size).reshape(_line(size, at, rank))
            places.append(place)
        shape = np.broadcast_shapes(*(p.shape for p in places), self._lines(vectors, rank))
        return np.asarray(np.broadcast_to(x[tuple(places)], shape))

    def _lines(self, vectors: Array, rank: int) -> tuple[int, ...]:
        """The batch's extents in their places, 1 elsewhere."""
        rest = iter(vectors.shape[:-1])
        return tuple(1 if a in self.offset_dims else next(rest) for a in range(rank))

    cases = (
        case(
            f32(3, 4, 2),
            given([[[0, 0], [1, 0], [2, 1]], [[0, 1], [1, 1], [0, 2]]]),
            offset_dims=(2, 3),
            collapsed_slice_dims=(0,),
            start_index_map=(1, 0),
            index_vector_dim=2,
            slice_sizes=(1, 2, 2),
        ),
        case(
            f32(4, 5),
            given([[1, 3, -2], [9, 0, 4]], INT64),
            offset_dims=(0, 2),
            collapsed_slice_dims=(),
            start_index_map=(0, 1),
            index_vector_dim=0,
            slice_sizes=(2, 3),
        ),
        case(
            ints(6, 2),
            given([[4], [0], [5]]),
            offset_dims=(1,),
            collapsed_slice_dims=(0,),
            start_index_map=(0,),
            index_vector_dim=1,
            slice_sizes=(1, 2),
            indices_are_sorted=True,
        ),
        case(
            f32(5),
            given([2, 4]),
            collapsed_slice_dims=(0,),
            start_index_map=(0,),
            index_vector_dim=1,
            slice_sizes=(1,),
            litert=False,
        ),
    )


def _line(size: int, axis: int, rank: int) -> list[int]:
    return [size if a == axis else 1 for a in range(rank)]


def _second() -> Graph:
    """A graph that gives the second of its inputs."""
    graph = Graph("second")
    graph.outputs = [graph.add_input(f"second_{side}", FLOAT32, ()) for side in "ab"][1:]
    return graph


class StablehloScatter(Sliced):
    """The operand with slices of it changed by ``updates``, as graph ``update_computation`` says:
    a graph without operators sets them, one of one operator computes.

    Of ``updates``, the axes ``update_window_dims`` run through a slice, the others through the
    vectors of ``scatter_indices``, whose numbers are for ``scatter_dims_to_operand_dims``. What
    would lie outside the operand is left out.
    """

    name = "STABLEHLO_SCATTER"
    plain_types = CODES
    options = "StablehloScatterOptions"
    inputs = "operand scatter_indices updates"
    indices_are_sorted: bool = attr(False)
    update_window_dims: tuple[int, ...] = attr(())
    inserted_window_dims: tuple[int, ...] = attr(())
    scatter_dims_to_operand_dims: tuple[int, ...] = attr(())
    index_vector_dim: int = attr(0)
    unique_indices: bool = attr(False)
    update_computation: Graph = attr(None, "UpdateComputationSubgraphIndex")

    def infer(self, x: Operand, indices: Operand, updates: Operand) -> Sequence[TensorType]:
        dtype = same_dtype(x, updates)
        if dtype is STRING:
            raise ShapeError(f"{self.name} takes numbers, and {x.name!r} is {dtype}")
        self._function()
        batch = self.batch_of(indices, len(self.scatter_dims_to_operand_dims))
        if x.shape is not None and updates.shape is not None and batch is not None:
            self._check(len(x.shape), updates.shape, batch)
        return [TensorType(dtype, x.shape)]

    def _function(self) -> np.ufunc | None:
        """What is done to an element and its update; ``None``: the update takes its place."""
        body = self.update_computation
        return function_of(self.name, body) if body is not None and body.nodes else None

    def _check(self, rank: int, updates: Sequence[Dim], batch: Sequence[Dim]) -> None:
        """Raise :class:`ShapeError` where the updates do not fit operand and indices."""
        window, inserted = self.update_window_dims, self.inserted_window_dims
        check_axes(f"{self.name}: update_window_dims", window, len(updates))
        check_axes(f"{self.name}: inserted_window_dims", inserted, rank)
        check_axes(f"{self.name}: scatter_dims", self.scatter_dims_to_operand_dims, rank)
        found = [updates[a] for a in others(window, len(updates))]
        fits = len(found) == len(batch) and all(
            a is None or b is None or a == b for a, b in zip(found, batch, strict=True)
        )
        if not fits or len(window) + len(inserted) != rank:
            raise ShapeError(
                f"{self.name}: updates of shape {tuple(updates)}, whose axes {window} are slices, "
                f"for indices of {tuple(batch)} and a tensor of rank {rank}"
            )

    def reference(self, x: Array, indices: Array, updates: Array) -> Array:
        vectors = _vectors(indices, self.index_vector_dim)
        self._check(x.ndim, updates.shape, vectors.shape[:-1])
        window, kept = sorted(self.update_window_dims), others(self.inserted_window_dims, x.ndim)
        flat = np.zeros((1,) * updates.ndim, np.int64)
        inside = np.ones((1,) * updates.ndim, np.bool_)
        for axis, extent in enumerate(x.shape):
            place = np.zeros((1,) * updates.ndim, np.int64)
            if axis in self.scatter_dims_to_operand_dims:
                number = self.scatter_dims_to_operand_dims.index(axis)
                place = np.expand_dims(vectors[..., number].astype(np.int64), tuple(window))
            if axis in kept:
                at = window[kept.index(axis)]
                size = updates.shape[at]
                place = place + np.arange(size).reshape(_line(size, at, updates.ndim))
            inside = inside & (place >= 0) & (place < extent)
            flat = flat * extent + np.where(inside, place, 0)
        inside = np.broadcast_to(inside, updates.shape)
        places = np.broadcast_to(flat, updates.shape)[inside]
        out = x.copy().reshape(-1)
        function = self._function()
        if function is None:
            out[places] = updates[inside]
        else:
            function.at(out, places, updates[inside])
        return out.reshape(x.shape)

    cases = (
        case(
            f32(3, 4, 2),
            given([[[0, 2], [1, 0], [2, 1]], [[0, 1], [1, 0], [0, 9]]], INT64),
            f32(2, 3, 2, 2),
            update_window_dims=(2, 3),
            inserted_window_dims=(0,),
            scatter_dims_to_operand_dims=(1, 0),
            index_vector_dim=2,
            update_computation=region("sum", "STABLEHLO_ADD"),
        ),
        case(
            ints(6, low=-9),
            given([[4], [0], [4], [6]]),
            ints(4),
            inserted_window_dims=(0,),
            scatter_dims_to_operand_dims=(0,),
            index_vector_dim=1,
            update_computation=region("largest", "STABLEHLO_MAXIMUM", INT32),
        ),
        case(
            f32(4, 3),
            given([[3, 1]]),
            f32(3, 2),
            update_window_dims=(0,),
            inserted_window_dims=(0,),
            scatter_dims_to_operand_dims=(0,),
            index_vector_dim=0,
            unique_indices=True,
            update_computation=region("product", "STABLEHLO_MULTIPLY"),
        ),
        case(
            f32(4, 3),
            given([[2], [2], [0]]),
            f32(3, 3),
            update_window_dims=(1,),
            inserted_window_dims=(0,),
            scatter_dims_to_operand_dims=(0,),
            index_vector_dim=1,
            update_computation=_second(),
        ),
    )
