"""Which tensors of a graph are never negative, as far as its operators tell."""

from __future__ import annotations

from octolite.ir.graph import Graph, Value
from octolite.ops.base import Operator


def nonnegative_values(graph: Graph) -> frozenset[int]:
    """Ids of the float values that nodes make and that are >= 0 (or NaN), whatever the inputs of
    the graph are."""
    found: set[int] = set()

    def holds(value: Value | None) -> bool:
        if value is None or not value.dtype.is_float:
            return True
        if value.data is not None:
            return not (value.data < 0).any()
        return id(value) in found

    for node in graph.nodes:
        assert isinstance(node.op, Operator)
        if node.op.gives_nonnegative(map(holds, node.inputs)):
            found.update(id(v) for v in node.outputs if v.dtype.is_float)
    return frozenset(found)
