"""BATCH_MATMUL: products of stacks of matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from octolite.errors import ShapeError
from octolite.ir import numerics
from octolite.ir.fixed_point import Codes, Multiplier, wrap
from octolite.ir.numerics import QuantizedRows
from octolite.ir.types import FLOAT32, INT8, INT16, Array, Operand, Shape, TensorType
from octolite.kernels import spec
from octolite.ops.base import Operator, QuantRule, attr, weight_quant
from octolite.ops.case import case, f32, int8_weights
from octolite.ops.shapes import broadcast


class BatchMatMul(Operator):
    """``x · y`` of [..., m, k] and [..., k, n]; leading axes broadcast.

    ``adj_x`` and ``adj_y`` say that the last two axes are stored the other way round.
    """

    name = "BATCH_MATMUL"
    spread = "sums"
    options = "BatchMatMulOptions"
    inputs = "x y"
    adj_x: bool = attr(False)
    adj_y: bool = attr(False)
    asymmetric_quantize_inputs: bool = attr(False)
    quant = QuantRule(weights={"y": None}, hybrid=True)
    dtype_versions = {INT8: 2, INT16: 3}
    integer_types = (INT8, INT16)

    def infer(self, x: Operand, y: Operand) -> Sequence[TensorType]:
        left, right = _matrices(x, self.adj_x), _matrices(y, self.adj_y)
        if left is None or right is None:
            return [TensorType(x.dtype, None)]
        depth = {d for d in (left[-1], right[-2]) if d is not None}
        if len(depth) > 1:
            raise ShapeError(
                f"{x.name!r} {x.shape} and {y.name!r} {y.shape} cannot be multiplied: rows of "
                f"{left[-1]} meet columns of {right[-2]}"
            )
        batch = broadcast(left[:-2], right[:-2])
        assert batch is not None
        return [TensorType(x.dtype, (*batch, left[-2], right[-1]))]

    def _upright(self, x: Array, y: Array) -> tuple[Array, Array]:
        return (
            np.swapaxes(x, -1, -2) if self.adj_x else x,
            np.swapaxes(y, -1, -2) if self.adj_y else y,
        )

    def reference(self, x: Array, y: Array) -> Array:
        x, y = self._upright(x, y)
        return np.asarray(np.matmul(x, y))

    def is_integer(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> bool:
        y = inputs[1]
        single = y is not None and y.quant is not None and not y.quant.per_channel
        return super().is_integer(inputs, outputs) and single

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], *arrays: Array
    ) -> Array:
        left, right, out = Codes.of(inputs[0]), Codes.of(inputs[1]), Codes.of(outputs[0])
        x, y = self._upright(*(c.centred(q) for c, q in zip((left, right), arrays, strict=True)))
        sums = np.matmul(x.astype(np.float64), y.astype(np.float64)).astype(np.int64)
        factor = Multiplier.of(float(left.scale * right.scale) / out.real_scale)
        return out.store(factor.wide(sums) if out.dtype == np.int16 else factor(wrap(sums)))

    def hybrid(self, inputs: Sequence[Operand | None], x: Array, y: Array) -> Array:
        x, y = self._upright(x, y)
        flat = x.reshape(int(np.prod(x.shape[:-1])), x.shape[-1])
        rows = numerics.quantize_rows(flat, self.asymmetric_quantize_inputs)
        stacked = QuantizedRows(
            rows.q.reshape(x.shape),
            rows.scale.reshape(x.shape[:-1]),
            rows.zero_point.reshape(x.shape[:-1]),
        )
        acc = numerics.exact_product(stacked.q, y)
        sums = y.sum(axis=-2, dtype=np.int32)
        return numerics.hybrid_output(acc, stacked, weight_quant(inputs, 1).scale, sums, None)

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.AnyRequest | None:
        x, y = inputs
        if x is None or y is None or x.dtype is not FLOAT32:
            return None
        hybrid = self.is_hybrid(inputs)
        if not (y.data is not None if hybrid else y.dtype is FLOAT32):  # codes are packed at load
            return None
        constant = None if y.data is None else y.data.shape
        if constant is not None and math.prod(constant[:-2]) > spec.MOST_MATRICES:
            return None
        asymmetric = self.asymmetric_quantize_inputs
        return spec.BatchMatMul(self.adj_x, self.adj_y, constant, hybrid, asymmetric)

    def geometry(self, inputs: Sequence[Operand | None]) -> dict[str, Any]:
        y = inputs[1]
        assert y is not None
        return {"y_shape": y.shape}

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        if self.is_hybrid(inputs):
            return 4 if self.asymmetric_quantize_inputs else 1
        return super().version(inputs, outputs)

    cases = (
        case(f32(3, 8), f32(8, 5)),
        case(f32(2, 3, 8), f32(2, 8, 5)),
        case(f32(2, 1, 3, 8), f32(4, 8, 5)),
        case(f32(2, 8, 3), f32(2, 8, 5), adj_x=True),
        case(f32(2, 3, 8), f32(5, 8), adj_y=True),
        case(f32(3, 64), int8_weights(64, 9, axis=None)),
        case(f32(2, 3, 64), int8_weights(2, 9, 64, axis=None), adj_y=True),
        case(
            f32(2, 3, 64),
            int8_weights(2, 64, 9, axis=None),
            asymmetric_quantize_inputs=True,
        ),
    )


def _matrices(x: Operand, transposed: bool) -> Shape | None:
    """The shape of ``x`` with its matrices upright. Raises :class:`ShapeError` under rank 2."""
    if x.shape is None:
        return None
    if len(x.shape) < 2:
        raise ShapeError(f"{x.name!r} has shape {x.shape}, expected matrices: at least rank 2")
    return (*x.shape[:-2], x.shape[-1], x.shape[-2]) if transposed else x.shape
