"""Running a graph by the NumPy references of its operators."""

from __future__ import annotations

from octolite.ir import Graph, Value
from octolite.ir.types import Array


def run(graph: Graph, feeds: dict[str, Array]) -> dict[int, Array]:
    """Every value's array by ``id(value)``; ``feeds`` has the graph's inputs by name."""
    arrays: dict[int, Array] = {id(v): feeds[v.name] for v in graph.inputs}
    arrays |= {id(v): v.data for v in graph.constants() if v.data is not None}
    for node in graph.nodes:
        given = [None if v is None else arrays[id(v)] for v in node.inputs]
        results = node.op.run(given, node.inputs, node.outputs)
        for value, result in zip(node.outputs, results, strict=True):
            assert fits(value, result), f"{node}: {value!r} came out {result.dtype} {result.shape}"
            arrays[id(value)] = result
    return arrays


def fits(value: Value, array: Array) -> bool:
    """Whether ``array`` has the dtype and the known extents of ``value``."""
    if array.dtype != value.dtype.numpy:
        return False
    if value.shape is None:
        return True
    return len(array.shape) == len(value.shape) and all(
        known in (None, found) for found, known in zip(array.shape, value.shape, strict=True)
    )
