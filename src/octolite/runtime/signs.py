"""What operators tell of the numbers that a tensor will hold."""

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


def rectified_values(graph: Graph) -> frozenset[int]:
    """Of :func:`nonnegative_values`, those that come from sums of many products.

    Such numbers lie like one side of a bell: most blocks of them have a range of their own that
    is well below that of the whole tensor. Of what nothing is known, say the graph's inputs, of
    what a sigmoid leaves, and of what is added to rectified numbers, that cannot be said.
    """
    nonnegative = nonnegative_values(graph)
    spread: set[int] = set()
    for node in graph.nodes:
        assert isinstance(node.op, Operator)
        inputs = {id(v) for v in node.inputs}
        match node.op.spread:
            case "sums":
                holds = True
            case "kept":
                holds = bool(inputs & spread)
            case "added":
                holds = bool(inputs & spread) and not inputs & nonnegative
            case "other":
                holds = False
        if holds:
            spread.update(map(id, node.outputs))
    return nonnegative & spread
