"""What is there twice: equal constants, and nodes that compute the same."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from octolite.ir.graph import Graph, Node, Value
from octolite.ops.base import Operator

SAMPLES = 16


def merge_duplicates(graph: Graph) -> int:
    """Let equal constants be one, then nodes of one operator on the same inputs."""
    return _merge_constants(graph) + _merge_nodes(graph)


def _merge_constants(graph: Graph) -> int:
    """A few elements tell most constants apart; the rest are compared in full."""
    groups: dict[Hashable, list[Value]] = {}
    merged = 0
    for value in list(graph.constants()):
        same = groups.setdefault(_sample(value), [])
        first = next((v for v in same if _equal(v, value)), None)
        if first is None:
            same.append(value)
        elif not graph.is_output(value):
            graph.replace(value, first)
            merged += 1
    return merged


def _sample(value: Value) -> Hashable:
    data = value.data
    assert data is not None
    if data.dtype == object:
        return id(value)
    some = data.reshape(-1)[:: max(1, data.size // SAMPLES)]
    return value.dtype.name, data.shape, value.range, some.tobytes()


def _equal(a: Value, b: Value) -> bool:
    assert a.data is not None
    assert b.data is not None
    # Bytes, for NaN is no reason to keep two copies, and 0 and -0 are not the same.
    return a.quant == b.quant and (
        a.data is b.data or np.array_equal(_bytes(a.data), _bytes(b.data))
    )


def _bytes(
    data: np.ndarray[tuple[int, ...], np.dtype[np.generic]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    return np.ascontiguousarray(data).reshape(-1).view(np.uint8)


def _merge_nodes(graph: Graph) -> int:
    seen: dict[Hashable, Node] = {}
    dead: set[int] = set()
    for node in graph.nodes:
        assert isinstance(node.op, Operator)
        if node.op.stateful or any(v is not None and v.is_variable for v in node.inputs):
            continue  # it may give something else each time
        first = seen.setdefault((node.op, *map(id, node.inputs)), node)
        if first is node or any(graph.is_output(v) for v in node.outputs):
            continue
        pairs = list(zip(first.outputs, node.outputs, strict=True))
        if any(a.range != b.range or a.quant != b.quant for a, b in pairs):
            continue
        for other, mine in pairs:
            graph.replace(mine, other)
        node.inputs = ()
        dead.add(id(node))
    graph.nodes = [n for n in graph.nodes if id(n) not in dead]
    return len(dead)
