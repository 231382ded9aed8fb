"""Which operator takes numbers of which type: found out by trying its own cases in that type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from octolite.errors import OctoliteError
from octolite.ir.graph import Node
from octolite.ir.types import (
    ALL_DTYPES,
    BOOL,
    FLOAT32,
    INT4,
    RESOURCE,
    STRING,
    VARIANT,
    Array,
    DType,
)
from octolite.ops.base import Operator
from octolite.ops.case import Case, Draw, Tensor, node_under_test
from octolite.ops.control import evaluate

TYPES = tuple(d for d in ALL_DTYPES if d not in (INT4, RESOURCE, VARIANT))
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
    """The operator's cases with numbers of ``dtype``: its own, or else its float cases turned."""
    own, floats = [], []
    for case in operator.cases:
        tensors = [t for t in case.tensors if t is not None]
        if case.results or any(t.quant or t.hybrid or t.made for t in tensors):
            continue
        if len(tensors) > operator.data_input and tensors[operator.data_input].dtype is dtype:
            own.append(case)
        elif any(t.dtype is FLOAT32 for t in tensors):
            floats.append(replace(case, tensors=[turned(t, dtype) for t in case.tensors]))
    return own or floats


@cache
def nodes_in_type(operator: type[Operator], dtype: DType) -> Sequence[Node]:
    """Nodes of the operator that take numbers of ``dtype`` and compute something from them."""
    found = (_tried(operator, case) for case in in_type(operator, dtype)[:4])
    return tuple(node for node in found if node is not None)


def _tried(operator: type[Operator], case: Case) -> Node | None:
    try:
        model, feeds = case.build(operator)
        node = node_under_test(model, operator.name)
        results = evaluate(model.main, [feeds[v.name] for v in model.main.inputs])
    except OctoliteError:
        return None
    declared = [v.dtype.numpy for v in model.main.outputs]
    return node if [r.dtype for r in results] == declared else None


def types_taken(operator: type[Operator]) -> tuple[DType, ...]:
    """The types of :data:`TYPES` that the operator takes without scales."""
    return tuple(dtype for dtype in TYPES if nodes_in_type(operator, dtype))
