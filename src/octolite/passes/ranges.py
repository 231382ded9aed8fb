"""Stated ranges in the middle of what becomes one operator."""

from __future__ import annotations

from collections.abc import Callable

from octolite.ir.graph import Graph, Model, Node, Value
from octolite.passes.affine import PRODUCTS

Range = tuple[float, float]


def _sum(x: Range, c: Range) -> Range:
    return x[0] + c[0], x[1] + c[1]


def _difference(x: Range, c: Range) -> Range:
    return x[0] - c[1], x[1] - c[0]


def _product(x: Range, c: Range) -> Range:
    ends = [a * b for a in x for b in c]
    return min(ends), max(ends)


def _clipped(low: float, high: float) -> Callable[[Range], Range]:
    def rule(x: Range) -> Range:
        return min(max(x[0], low), high), min(max(x[1], low), high)

    return rule


WITH_CONSTANT: dict[str, Callable[[Range, Range], Range]] = {
    "ADD": _sum,
    "SUB": _difference,
    "MUL": _product,
}
ACTIVATIONS: dict[str, Callable[[Range], Range]] = {
    "RELU": _clipped(0.0, float("inf")),
    "RELU6": _clipped(0.0, 6.0),
    "RELU_0_TO_1": _clipped(0.0, 1.0),
    "RELU_N1_TO_1": _clipped(-1.0, 1.0),
}
"""What of a range remains behind an operator that becomes part of the layer in front of it."""


def move_past_products(model: Model) -> int:
    """Where a range is stated between a layer and its bias, factor or activation, let what comes
    out behind those have the range that follows; returns how many ranges were moved.

    Rewriting makes one operator of all of them, and the tensor whose range was stated is gone.
    A result that states a range of its own keeps it.
    """
    moved = 0
    for graph in model.graphs:
        graph.sort()
        moved += sum(_moved(graph, node) for node in graph.nodes)
    return moved


def _moved(graph: Graph, node: Node) -> int:
    constant = next((v for v in node.inputs if v is not None and v.data is not None), None)
    x = node.inputs[0] if node.inputs[:1] != (constant,) else node.inputs[-1]
    if x is None or x.range is None or len(x.uses) > 1 or graph.is_output(x):
        return 0
    if not _is_of_layer(x):
        return 0
    if node.op.name in ACTIVATIONS:
        found = ACTIVATIONS[node.op.name](x.range)
    elif node.op.name in WITH_CONSTANT and constant is not None and _right_way(node, constant):
        found = WITH_CONSTANT[node.op.name](x.range, _extremes(constant))
    else:
        return 0
    node.output.range, x.range = node.output.range or found, None
    return 1


def _is_of_layer(value: Value | None) -> bool:
    """Whether a layer computes ``value``, or what takes part in one: a bias, a factor."""
    for _ in range(8):
        producer = None if value is None else value.producer
        if producer is None:
            return False
        if producer.op.name in PRODUCTS.split():
            return True
        if producer.op.name not in WITH_CONSTANT:
            return False
        value = next((v for v in producer.inputs if v is not None and v.data is None), None)
    return False


def _right_way(node: Node, constant: Value) -> bool:
    """Whether there is something in ``constant``, and it is not what another is taken from."""
    assert constant.data is not None
    return constant.data.size > 0 and not (node.op.name == "SUB" and node.inputs[0] is constant)


def _extremes(constant: Value) -> Range:
    assert constant.data is not None
    return float(constant.data.min()), float(constant.data.max())
