"""Models in codes throughout: what a converter makes of a float model and a sample.

Scales are those of one run of the float model: enough for timing, and for results that are not all
the same.
"""

from __future__ import annotations

import numpy as np

from octolite.ir import numerics
from octolite.ir.graph import Model, Node, Value
from octolite.ir.types import INT16, INT32, INT64, UINT8, DType, Quant
from octolite.ops.softmax import Softmax


def in_codes(model: Model, sample: np.ndarray, dtype: DType) -> Model:
    """``model``, of one graph with one input, in codes of ``dtype``; changed in place."""
    graph = model.main
    known: dict[Value, np.ndarray] = {graph.inputs[0]: sample}
    for value in graph.constants():
        assert value.data is not None
        known[value] = value.data
    for node in graph.nodes:
        given = [None if v is None else known[v] for v in node.inputs]
        results = node.op.run(given, [None] * len(given), node.outputs)
        known.update(zip(node.outputs, results, strict=True))
    _declare(graph.inputs[0], quant_of(known[graph.inputs[0]], dtype), dtype)
    for node in graph.nodes:
        _constants_in_codes(node, dtype)
        _declare(node.output, _result_quant(node, known[node.output], dtype), dtype)
    return model


def quant_of(real: np.ndarray, dtype: DType) -> Quant:
    """The scale and zero point of all of ``real``; that of 16 bits is 0."""
    info = np.iinfo(dtype.numpy)
    if dtype is INT16:
        return Quant.of(max(float(np.abs(real).max()), 1e-6) / info.max)
    low, high = min(float(real.min()), 0.0), max(float(real.max()), 1e-6)
    scale = (high - low) / 255
    return Quant.of(scale, int(np.clip(round(info.min - low / scale), info.min, info.max)))


def _declare(value: Value, quant: Quant, dtype: DType) -> None:
    value.dtype, value.quant = dtype, quant


def _result_quant(node: Node, real: np.ndarray, dtype: DType) -> Quant:
    source = node.inputs[0]
    assert source is not None
    if node.op.quant.same_scale:
        assert source.quant is not None
        return source.quant
    if isinstance(node.op, Softmax):
        return (
            Quant.of(2.0**-15) if dtype is INT16 else Quant.of(2.0**-8, np.iinfo(dtype.numpy).min)
        )
    return quant_of(real, dtype)


def _constants_in_codes(node: Node, dtype: DType) -> None:
    """Weights in 8 bits; a bias counts in products of their scale and the input's."""
    if not node.op.quant.weights:
        return
    source, weights, bias = node.inputs
    assert source is not None
    assert source.quant is not None
    assert weights is not None
    assert weights.data is not None
    if dtype is UINT8:
        quant = quant_of(weights.data, UINT8)
        codes = numerics.quantize(weights.data, quant, UINT8.numpy)
    else:
        axis = node.op.quant.weights["weights"] if weights.data.ndim == 4 else None
        codes, quant = numerics.quantize_weights(weights.data, axis)
    node.set_input(1, _constant(weights, codes, quant))
    if bias is not None and bias.data is not None:
        scale = source.quant.scale * quant.scale
        kind = INT64 if dtype is INT16 else INT32
        whole = np.rint(bias.data / scale).astype(kind.numpy)
        node.set_input(2, _constant(bias, whole, Quant.of(scale, 0)))


def _constant(like: Value, data: np.ndarray, quant: Quant) -> Value:
    value = Value.constant(like.name, data)
    value.quant = quant
    return value
