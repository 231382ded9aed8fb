"""Constants that a file holds without most of their zeros, made dense.

A sparse tensor is a tree. A level of it stands for an axis, in the order of ``traversal_order``:
first those of the tensor (of its blocks, where it is cut into blocks), then those within a block.
A dense level has every coordinate; a compressed one lists, for each node above, a segment of
coordinates. The leaves are the stored values. Source: TensorFlow's ``schema.fbs``, and Chou et
al., "Format abstraction for sparse tensor algebra compilers" (2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from octolite.errors import FormatError
from octolite.ir.types import Array, DType
from octolite.tflite import schema
from octolite.tflite.tables import INT8, INT32, UINT8, Table

_INDEX_TYPES = {1: np.int32, 2: np.uint16, 3: np.uint8}
"""Type of a vector of indices (``SparseIndexVector``) → its elements."""


def densify(table: Table, raw: Array, dtype: DType, shape: Sequence[int], name: str) -> Array:
    """The dense array of the values in ``raw``, laid out as ``table`` says.

    Raises :class:`FormatError` where the two and ``shape`` do not fit together. The caller has
    made sure that there is memory for ``shape``.
    """
    return _Sparse(table, tuple(shape), name).fill(raw, dtype)


class _Sparse:
    def __init__(self, table: Table, shape: tuple[int, ...], name: str) -> None:
        fields = schema.Sparsity
        self.name, self.shape = name, shape
        self.order = self._integers(table, fields.ORDER)
        self.blocks = self._integers(table, fields.BLOCKS)
        self.levels = table.tables(fields.LEVELS)
        rank, depth = len(shape), len(shape) + len(self.blocks)
        if sorted(self.order) != list(range(depth)) or len(self.levels) != depth:
            self._fail(f"the order {self.order} of {len(self.levels)} levels")
        if sorted(self.order[:rank]) != list(range(rank)):
            self._fail(f"the order {self.order} has a block's axis among the first {rank}")
        if len(set(self.blocks)) < len(self.blocks) or any(not 0 <= b < rank for b in self.blocks):
            self._fail(f"blocks along the axes {self.blocks}")

    def fill(self, raw: Array, dtype: DType) -> Array:
        extents = self._extents()
        coordinates: list[Array] = [np.zeros(0, np.int64)] * len(extents)
        count = 1
        placed: list[int] = []
        for axis, level in zip(self.order, self.levels, strict=True):
            parents, found = self._level(level, count, extents[axis])
            for other in placed:
                coordinates[other] = coordinates[other][parents]
            coordinates[axis] = found
            placed.append(axis)
            count = len(parents)
        if raw.size * 8 != count * dtype.bits or dtype.bits % 8:
            self._fail(f"{raw.size:,} bytes for {count:,} values of {dtype}")
        out = np.zeros(self.shape, dtype.numpy)
        values = np.frombuffer(raw.tobytes(), dtype.numpy)
        out[tuple(self._positions(coordinates, extents))] = values if self.shape else values[0]
        return out

    def _extents(self) -> list[int]:
        """How many coordinates each axis has: the tensor's, in blocks, then those of a block."""
        rank, extents = len(self.shape), list(self.shape)
        inner = []
        for number, axis in enumerate(self.blocks):
            level = self.levels[self.order.index(rank + number)]
            size = level.number(schema.SparseLevel.DENSE_SIZE, INT32)
            if size < 1 or extents[axis] % size:
                self._fail(f"blocks of {size} along axis {axis}")
            extents[axis] //= size
            inner.append(size)
        return [*extents, *inner]

    def _level(self, level: Table, count: int, extent: int) -> tuple[Array, Array]:
        """The node above, and the coordinate, of each node of a level under ``count`` nodes."""
        fields = schema.SparseLevel
        if level.number(fields.FORMAT, INT8) == 0:
            size = level.number(fields.DENSE_SIZE, INT32)
            if size != extent:
                self._fail(f"a dense level of {size} where the axis has {extent}")
            if count * size > math.prod(self.shape):
                self._fail("its levels hold more than the tensor")
            return np.repeat(np.arange(count), size), np.tile(np.arange(size), count)
        segments = self._indices(level, fields.SEGMENTS_TYPE)
        found = self._indices(level, fields.INDICES_TYPE)
        lengths = np.diff(segments)
        if (
            len(segments) != count + 1
            or segments[0] != 0
            or np.any(lengths < 0)
            or segments[-1] != len(found)
        ):
            self._fail(f"{len(segments)} ends of segments for {len(found)} coordinates")
        if found.size and (found.min() < 0 or found.max() >= extent):
            self._fail(f"a coordinate is not in [0, {extent})")
        return np.repeat(np.arange(count), lengths), found

    def _positions(self, coordinates: Sequence[Array], extents: Sequence[int]) -> list[Array]:
        """The index along each axis of the tensor, of each stored value."""
        rank = len(self.shape)
        positions = list(coordinates[:rank])
        for number, axis in enumerate(self.blocks):
            inner = rank + number
            positions[axis] = positions[axis] * extents[inner] + coordinates[inner]
        return positions

    @staticmethod
    def _integers(table: Table, field: int) -> list[int]:
        vector = table.vector(field, np.int32)
        return [] if vector is None else [int(v) for v in vector]

    def _indices(self, level: Table, kind: int) -> Array:
        """A vector of indices, whose type stands in field ``kind``, in front of it."""
        dtype = _INDEX_TYPES.get(level.number(kind, UINT8))
        holder = level.table(kind + 1)
        vector = None if dtype is None or holder is None else holder.vector(0, dtype)
        return np.zeros(0, np.int64) if vector is None else vector.astype(np.int64)

    def _fail(self, problem: str) -> NoReturn:
        raise FormatError(f"sparse tensor {self.name!r} {list(self.shape)}: {problem} do not fit")
