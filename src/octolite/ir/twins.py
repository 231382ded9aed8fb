"""Graphs that compute the same in the same way."""

from __future__ import annotations

from typing import Any

import numpy as np

from octolite.ir.graph import Graph, Node, Value


def twin_values(a: Graph, b: Graph) -> dict[int, Value] | None:
    """For each value of ``a``, by its ``id``, the one of ``b`` in its place.

    ``None`` unless both graphs have the same operators in the same order, on equal constants. Names
    do not matter.
    """
    if len(a.nodes) != len(b.nodes) or len(a.inputs) != len(b.inputs):
        return None
    ours, theirs = list(a.values()), list(b.values())
    if len(ours) != len(theirs) or not all(map(_alike, ours, theirs)):
        return None
    twins = {id(x): y for x, y in zip(ours, theirs, strict=True)}
    alike = (
        _lists_match(a.inputs, b.inputs, twins)
        and _lists_match(a.outputs, b.outputs, twins)
        and all(_nodes_match(x, y, twins) for x, y in zip(a.nodes, b.nodes, strict=True))
    )
    return twins if alike else None


def _alike(a: Value, b: Value) -> bool:
    same_type = (a.dtype, a.shape, a.is_variable, a.range) == (
        b.dtype,
        b.shape,
        b.is_variable,
        b.range,
    )
    if not same_type or a.quant is not b.quant or (a.data is None) != (b.data is None):
        return False
    return a.data is b.data or np.array_equal(a.data, b.data)  # type: ignore[arg-type]


def _lists_match(a: Any, b: Any, twins: dict[int, Value]) -> bool:
    return len(a) == len(b) and all(
        x is y if x is None else twins[id(x)] is y for x, y in zip(a, b, strict=True)
    )


def _nodes_match(a: Node, b: Node, twins: dict[int, Value]) -> bool:
    return (
        a.op.name == b.op.name
        and _attributes_match(a.op.attributes(), b.op.attributes())
        and _lists_match(a.inputs, b.inputs, twins)
        and _lists_match(a.outputs, b.outputs, twins)
    )


def _attributes_match(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(
        twin_values(x, b[name]) is not None
        if isinstance(x, Graph) and isinstance(b[name], Graph)
        else bool(x == b[name])
        for name, x in a.items()
    )
