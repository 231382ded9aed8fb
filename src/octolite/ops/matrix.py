"""Diagonals of matrices, and dense tensors of sparse ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from octolite.errors import RuntimeModelError, ShapeError
from octolite.ir.types import (
    BOOL,
    INT8,
    INT32,
    INT64,
    UINT8,
    Array,
    Operand,
    Shape,
    TensorType,
)
from octolite.ops.base import ANYTHING, CODES, COMPLEX, Operator, QuantRule, attr
from octolite.ops.case import case, const, f32, flags, given, ints
from octolite.ops.shapes import (
    constant_ints,
    integers,
    length,
    like,
    rank_of,
    same_dtype,
    sized,
    unknown,
)


class MatrixDiag(Operator):
    """Matrices [..., n, n] with the rows of ``diagonal`` [..., n] on their diagonals, else 0."""

    kinds = COMPLEX
    name = "MATRIX_DIAG"
    plain_types = CODES
    options = "MatrixDiagOptions"
    inputs = "diagonal"

    def infer(self, x: Operand) -> Sequence[TensorType]:
        if x.shape is None:
            return [TensorType(x.dtype, None)]
        if not x.shape:
            raise ShapeError(f"{self.name} of {x.name!r}, which is a scalar")
        return [TensorType(x.dtype, (*x.shape, x.shape[-1]))]

    def reference(self, x: Array) -> Array:
        out = np.zeros(sized((*x.shape, x.shape[-1])), x.dtype)
        np.einsum("...ii->...i", out)[...] = x
        return out

    cases = (case(f32(4)), case(f32(2, 3)), case(ints(2, 2, 3)), case(ints(3, dtype=INT64)))


class MatrixSetDiag(Operator):
    """``input`` [..., m, n] with ``diagonal`` [..., min(m, n)] on the diagonals."""

    kinds = COMPLEX
    name = "MATRIX_SET_DIAG"
    plain_types = CODES
    options = "MatrixSetDiagOptions"
    inputs = "input diagonal"

    def infer(self, x: Operand, diagonal: Operand) -> Sequence[TensorType]:
        same_dtype(x, diagonal)
        if x.shape is not None and diagonal.shape is not None:
            self._check(x.shape, diagonal.shape)
        return like(x)

    def _check(self, matrix: Shape, diagonal: Shape) -> None:
        expected = (*matrix[:-2], None)
        if len(matrix) >= 2:
            m, n = matrix[-2:]
            expected = (*matrix[:-2], None if m is None or n is None else min(m, n))
        if (
            len(matrix) < 2
            or len(diagonal) != len(expected)
            or any(None not in (a, b) and a != b for a, b in zip(diagonal, expected, strict=True))
        ):
            raise ShapeError(f"{self.name}: a diagonal {diagonal} for matrices {matrix}")

    def reference(self, x: Array, diagonal: Array) -> Array:
        self._check(x.shape, diagonal.shape)
        out, size = x.copy(), diagonal.shape[-1]
        np.einsum("...ii->...i", out[..., :size, :size])[...] = diagonal
        return out

    cases = (
        case(f32(3, 3), f32(3)),
        case(f32(2, 3, 4), f32(2, 3)),
        case(ints(2, 4, 2), ints(2, 2, low=20, high=30)),
    )


class Densify(Operator):
    """The dense tensor of a constant that the file holds as a sparse one.

    Reading a file makes all of its constants dense: nothing is left to do.
    """

    kinds = ANYTHING
    name = "DENSIFY"
    options = "DensifyOptions"
    inputs = "input"
    quant = QuantRule(same_scale=True)

    def infer(self, x: Operand) -> Sequence[TensorType]:
        return like(x)

    def reference(self, x: Array) -> Array:
        return x

    # LiteRT takes sparse constants only, which are not written.
    cases = (case(f32(2, 3), litert=False), case(const([[0, 1], [2, 0]]), litert=False))


class SparseToDense(Operator):
    """A tensor of ``output_shape`` with ``values`` at ``indices``, and ``default`` elsewhere.

    ``indices`` is [n, rank], or [n] or a scalar for a vector; ``values`` is [n], or a scalar that
    goes everywhere.
    """

    kinds = COMPLEX
    name = "SPARSE_TO_DENSE"
    plain_types = CODES
    options = "SparseToDenseOptions"
    inputs = "indices output_shape values default"
    validate_indices: bool = attr(False)

    def infer(
        self, indices: Operand, output_shape: Operand, values: Operand, default: Operand
    ) -> Sequence[TensorType]:
        rank_of(indices, "indices", 0, 1, 2)
        rank_of(output_shape, "output shape", 1)
        rank_of(values, "values", 0, 1)
        if length(default) not in (None, 1):
            raise ShapeError(f"{self.name}: the default {default.name!r} is {default.shape}")
        dtype = same_dtype(values, default)
        known = constant_ints(output_shape)
        return [TensorType(dtype, unknown(length(output_shape)) if known is None else sized(known))]

    def reference(self, indices: Array, shape: Array, values: Array, default: Array) -> Array:
        extents = sized(integers(shape))
        places = indices if indices.ndim == 2 else indices.reshape(-1, 1)
        if default.size != 1 or places.shape[1] != len(extents):
            raise ShapeError(
                f"{self.name}: indices {indices.shape} and a default {default.shape} for a tensor "
                f"of rank {len(extents)}"
            )
        if np.any(places < 0) or np.any(places >= np.array(extents, np.int64)):
            raise RuntimeModelError(f"{self.name}: an index is not within the shape {extents}")
        if values.ndim and len(values) != len(places):
            raise ShapeError(f"{self.name}: {len(values)} values for {len(places)} indices")
        out = np.full(extents, default.reshape(()), values.dtype)
        out[tuple(places.T)] = values
        return out

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        dtype = outputs[0].dtype
        return 3 if dtype in (INT8, UINT8) else 2 if dtype is INT64 else 1

    cases = (
        case(const([[0, 1], [2, 0]]), const([3, 2]), f32(2), const(0.5)),
        case(const([1, 3]), const([5]), ints(2), const(-1)),
        case(const(2), given([4]), f32(), const(0.0)),
        case(given([[0, 1, 1], [1, 0, 0]], INT64), const([2, 2, 2], INT64), f32(), const(1.0)),
        case(ints(2, 1, high=1), const([2]), ints(2, dtype=UINT8), const(7, UINT8)),
        case(ints(1, high=2), const([3]), ints(1, dtype=INT8), const(7, INT8)),
        case(const([0, 2]), const([3]), ints(2, dtype=INT64), const(7, INT64)),
        case(const([0, 2]), const([3], INT32), flags(2), const(False, BOOL), litert=False),
    )
