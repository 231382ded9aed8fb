"""FULLY_CONNECTED: a matrix product with weights stored row by output channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from octolite.errors import ShapeError
from octolite.ir import numerics
from octolite.ir.fixed_point import Codes, OutputStage
from octolite.ir.types import (
    FLOAT32,
    INT2,
    INT4,
    INT8,
    INT16,
    UINT8,
    Activation,
    Array,
    Operand,
    TensorType,
)
from octolite.kernels import spec
from octolite.ops.base import Operator, QuantRule, attr, weight_quant
from octolite.ops.case import case, f32, int8_weights, weights
from octolite.ops.shapes import product, rank_of
from octolite.ops.sums import codes_of_sums, quantized_layer, takes_weights


class FullyConnected(Operator):
    """``out = act(x · weightsᵀ + bias)``; x [..., k] or flattened to [m, k], weights [n, k]."""

    name = "FULLY_CONNECTED"
    spread = "sums"
    options = "FullyConnectedOptions"
    inputs = "input weights bias?"
    activation: Activation = attr(Activation.NONE, "FusedActivationFunction")
    weights_format: int = attr(0)
    keep_num_dims: bool = attr(False)
    asymmetric_quantize_inputs: bool = attr(False)
    quantized_bias_type: int = attr(0)
    quant = QuantRule(weights={"weights": 0}, hybrid=True, narrow="any")
    dtype_versions = {INT8: 4, INT16: 7}
    integer_types = (INT8, UINT8, INT16)

    def infer(self, x: Operand, w: Operand, bias: Operand | None = None) -> Sequence[TensorType]:
        shape = rank_of(w, "weights", 2)
        channels, depth = shape if shape is not None else (None, None)
        if x.shape is None:
            return [TensorType(x.dtype, None)]
        if self.keep_num_dims:
            if x.shape[-1] is not None and depth is not None and x.shape[-1] != depth:
                raise ShapeError(f"input {x.name!r} {x.shape} does not end in the depth {depth}")
            return [TensorType(x.dtype, (*x.shape[:-1], channels))]
        size = product(x.shape)
        if size is None or not depth:
            rows = x.shape[0] if len(x.shape) == 2 else None
        elif size % depth:
            raise ShapeError(f"input {x.name!r} {x.shape} is not made of rows of {depth}")
        else:
            rows = size // depth
        return [TensorType(x.dtype, (rows, channels))]

    def _shaped(self, x: Array, w: Array, out: Array) -> Array:
        return out.reshape(*x.shape[:-1], len(w)) if self.keep_num_dims else out

    def reference(self, x: Array, w: Array, bias: Array | None = None) -> Array:
        out = x.reshape(-1, w.shape[1]) @ w.T
        if bias is not None:
            out = out + bias
        return self._shaped(x, w, numerics.activate(out, self.activation))

    def is_integer(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> bool:
        return super().is_integer(inputs, outputs) and takes_weights(inputs[0], inputs[1], 0)

    def integer(
        self,
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
        x: Array,
        w: Array,
        bias: Array | None = None,
    ) -> Array:
        rows = Codes.of(inputs[0]).centred(x.reshape(-1, w.shape[1])).astype(np.float64)
        sums = rows @ Codes.of(inputs[1]).centred(w).T.astype(np.float64)
        sums = sums.astype(np.int64)
        stage = OutputStage.REAL
        out = codes_of_sums(sums, bias, inputs[0], inputs[1], outputs[0], self.activation, stage)
        return self._shaped(x, w, out)

    def hybrid(
        self, inputs: Sequence[Operand | None], x: Array, w: Array, bias: Array | None = None
    ) -> Array:
        rows = numerics.quantize_rows(x.reshape(-1, w.shape[1]), self.asymmetric_quantize_inputs)
        acc = numerics.exact_product(rows.q, w.T)
        sums = w.sum(axis=1, dtype=np.int32)
        scale = weight_quant(inputs, 1).scale
        out = numerics.hybrid_output(acc, rows, scale, sums, bias, self.activation)
        return self._shaped(x, w, out)

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.Request | None:
        x, w = inputs[0], inputs[1]
        if x is None or w is None or x.dtype is not FLOAT32 or w.shape is None or w.data is None:
            return None
        hybrid = self.is_hybrid(inputs)
        if self.weights_format != 0 or not (hybrid or w.dtype is FLOAT32):
            return None
        channels, depth = w.data.shape
        return spec.FullyConnected(
            depth, channels, self.activation, hybrid, self.asymmetric_quantize_inputs
        )

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> spec.Quantized | None:
        w = inputs[1]
        if w is None or w.data is None:
            return None
        conv = spec.Conv2D((1, 1), w.data.shape[1], w.data.shape[0], hybrid=True)
        stage = OutputStage.REAL
        return quantized_layer(inputs, outputs[0], conv, self.activation, stage, flat=True)

    def geometry(self, inputs: Sequence[Operand | None]) -> dict[str, Any]:
        x, w = inputs[0], inputs[1]
        assert x is not None
        assert x.shape is not None
        assert w is not None
        assert w.data is not None
        return {"input_shape": ((product(x.shape) or 0) // w.data.shape[1], w.data.shape[1])}

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        x, w, bias = (*inputs, None)[:3]
        needed = [self.dtype_versions.get(x.dtype, 1) if x is not None else 1]
        if self.is_hybrid(inputs):
            per_channel = w is not None and w.quant is not None and w.quant.per_channel
            needed.append(12 if per_channel else 9 if self.asymmetric_quantize_inputs else 3)
        needed.append(6 if bias is None else 5 if self.keep_num_dims else 1)
        return max(needed)

    cases = (
        case(f32(3, 8), weights(5, 8), weights(5)),
        case(f32(3, 8), weights(5, 8), None),
        case(f32(1, 2, 2, 4), weights(7, 8), weights(7), activation=Activation.RELU),
        case(f32(2, 3, 8), weights(4, 8), weights(4), keep_num_dims=True),
        case(f32(2, 8), weights(4, 8), weights(4), activation=Activation.RELU6),
        case(f32(4, 64), int8_weights(9, 64), weights(9), asymmetric_quantize_inputs=True),
        case(f32(4, 64), int8_weights(9, 64, axis=None), weights(9)),
        case(f32(4, 64), int8_weights(9, 64, dtype=INT4), weights(9)),
        case(f32(4, 63), int8_weights(9, 63, dtype=INT2), weights(9)),
    )


__all__: list[Any] = ["FullyConnected"]
