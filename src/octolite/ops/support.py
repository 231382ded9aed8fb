"""Which operator takes numbers of which type: found out by trying its own cases in that type."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import cast

import numpy as np

from octolite.errors import OctoliteError
from octolite.ir.graph import Node, Value
from octolite.ir.types import (
    BFLOAT16,
    BOOL,
    COMPLEX64,
    COMPLEX128,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    STRING,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    Array,
    DType,
    Quant,
)  # fmt: skip
from octolite.ops.base import Operator
from octolite.ops.case import Case, Draw, Tensor, node_under_test
from octolite.ops.control import evaluate

TYPES = (
    FLOAT32, FLOAT16, BFLOAT16, FLOAT64, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64,
    BOOL, STRING, COMPLEX64, COMPLEX128,
)  # fmt: skip
"""Types that numbers may have without scales. Strings and truth values count as numbers here."""


@dataclass(frozen=True)
class Turned:
    """Draws what ``source`` does, as numbers of ``dtype`` large enough to differ as integers."""

    source: Draw
    dtype: DType

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        array = np.clip(np.nan_to_num(np.asarray(self.source(rng, shape))), -100, 100)
        if self.dtype is STRING:
            words = np.empty(array.size, object)
            words[:] = [str(int(v * 10)).encode() for v in array.reshape(-1)]
            return np.asarray(words.reshape(array.shape))
        if self.dtype is BOOL:
            return np.asarray(array > 0)
        if self.dtype.is_integer:
            array = np.round(np.clip(array * 5, -100 if self.dtype.kind == "i" else 0, 100))
        return np.asarray(array)


def turned(tensor: Tensor | None, dtype: DType) -> Tensor | None:
    """A tensor of real numbers as one of ``dtype``; any other as it is."""
    if tensor is None or tensor.dtype is not FLOAT32 or tensor.hybrid or tensor.made is not None:
        return tensor
    return replace(tensor, dtype=dtype, draw=Turned(tensor.draw, dtype))


def in_type(operator: type[Operator], dtype: DType) -> list[Case]:
    """The operator's cases with numbers of ``dtype``: its own, then its float cases turned."""
    own, floats = [], []
    for case in operator.cases:
        tensors = [t for t in case.tensors if t is not None]
        if case.results or any(t.quant or t.hybrid or t.made for t in tensors):
            continue
        if len(tensors) > operator.data_input and tensors[operator.data_input].dtype is dtype:
            own.append(case)
        elif any(t.dtype is FLOAT32 for t in tensors):
            floats.append(replace(case, tensors=[turned(t, dtype) for t in case.tensors]))
    return [*own[:3], *floats[:3]]


@cache
def nodes_in_type(operator: type[Operator], dtype: DType) -> Sequence[Node]:
    """Nodes of the operator that take numbers of ``dtype`` and compute something from them."""
    found = (_tried(operator, case) for case in in_type(operator, dtype))
    return tuple(node for node in found if node is not None)


def _tried(operator: type[Operator], case: Case) -> Node | None:
    try:
        model, feeds = case.build(operator)
        node = node_under_test(model, operator.name)
        results: Sequence[Array]
        if any(v is not None and v.is_variable for v in node.inputs):
            arrays = [None if v is None else _array(v, feeds) for v in node.inputs]
            results = operator.run(cast(Operator, node.op), arrays, node.inputs, node.outputs)
        else:
            results = evaluate(model.main, [feeds[v.name] for v in model.main.inputs])
    except OctoliteError:
        return None
    declared = [v.dtype.numpy for v in model.main.outputs]
    return node if [r.dtype for r in results] == declared else None


def _array(value: Value, feeds: Mapping[str, Array]) -> Array:
    """What is fed, a constant, or the zeros of a variable."""
    if value.is_variable:
        return np.zeros([d or 0 for d in value.shape or ()], value.dtype.numpy)
    return feeds[value.name] if value.data is None else value.data


def types_taken(operator: type[Operator]) -> tuple[DType, ...]:
    """The types of :data:`TYPES` that the operator takes without scales."""
    return tuple(dtype for dtype in TYPES if nodes_in_type(operator, dtype))


# -- codes ----------------------------------------------------------------------------------------


ZEROS = {INT8: 3, UINT8: 131, INT16: 0}


def _codes(operator: type[Operator], case: Case, dtype: DType) -> Case | None:
    """A case of codes, or a float one with codes in the place of its numbers."""
    if any(t and t.quant and t.dtype is dtype and not t.constant for t in case.tensors):
        return case
    tensors = [_coded(operator, i, t, dtype) for i, t in enumerate(case.tensors)]
    if tensors == list(case.tensors) or any(t and t.hybrid for t in tensors):
        return None
    turned = replace(case, tensors=tensors)
    if case.results:
        return turned
    try:
        outputs = node_under_test(turned.build(operator)[0], operator.name).outputs
    except OctoliteError:
        return None
    coded = itertools.takewhile(lambda v: v.dtype in ZEROS, outputs)
    results = [(v.dtype, _result_quant(operator, v.dtype)) for v in coded]
    return replace(turned, results=results)


def _coded(
    operator: type[Operator], index: int, tensor: Tensor | None, dtype: DType
) -> Tensor | None:
    """Input ``index``: activations as codes, weights of 8 bits, or a bias of 32."""
    if tensor is None or tensor.dtype is not FLOAT32 or tensor.variable:
        return tensor
    parameters = operator.input_parameters()
    name = parameters[min(index, len(parameters) - 1)].name
    stored, quant = dtype, Quant.of(0.05, ZEROS[dtype])
    if name == "bias":
        stored, quant = INT32, Quant.of(0.05 * 0.01)
    elif name in operator.quant.weights and tensor.constant:
        stored = UINT8 if dtype is UINT8 else INT8
        quant = Quant.of(0.01, 128 if dtype is UINT8 else 0)
    return replace(tensor, dtype=stored, quant=quant, draw=Turned(tensor.draw, stored))


def _result_quant(operator: type[Operator], dtype: DType) -> Quant:
    """The scale that results always have, or that of the inputs."""
    if operator.quant.fixed_output is None:
        return Quant.of(0.05, ZEROS[dtype])
    scale, zero = operator.quant.fixed_output
    if dtype is INT16:
        return Quant.of(scale / (128 if zero == -128 else 256))
    return Quant.of(scale, zero + (128 if dtype is UINT8 else 0))


@cache
def nodes_in_codes(operator: type[Operator], dtype: DType) -> Sequence[Node]:
    """Nodes of the operator that take codes of ``dtype``, with scales, and compute something."""
    examples = (_codes(operator, case, dtype) for case in operator.cases)
    found = (_tried(operator, case) for case in examples if case is not None)
    return tuple(itertools.islice((n for n in found if n is not None), 4))


@cache
def nodes_with_weights(operator: type[Operator], dtype: DType) -> Sequence[Node]:
    """Nodes of the operator that take weights stored as ``dtype`` beside float activations."""
    nodes = []
    for case in operator.cases:
        tensors = [replace(t, stored=dtype) if t and t.hybrid else t for t in case.tensors]
        if any(t and t.hybrid for t in tensors):
            nodes.append(_tried(operator, replace(case, tensors=tensors)))
    return tuple(n for n in nodes if n is not None)
