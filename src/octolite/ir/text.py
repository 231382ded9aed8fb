"""A graph as text: one line for each node, for people and for the tests' messages."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Any

from octolite.ir.graph import Graph, Value


def dump(graph: Graph) -> str:
    """The graph as text, e.g. ``conv: float32[?×8×8×4] = CONV_2D(x, w, b) stride_h=2``."""
    return "\n".join(_lines(graph))


def _lines(graph: Graph) -> Iterator[str]:
    yield f"graph {graph.name}({', '.join(map(repr, graph.inputs))})"
    for value in graph.constants():
        yield f"  {value!r} = constant{f' {value.quant}' if value.quant else ''}"
    for node in graph.nodes:
        results = ", ".join(map(repr, node.outputs))
        arguments = ", ".join(_argument(v) for v in node.inputs)
        attributes = "".join(f" {k}={_attribute(v)}" for k, v in node.op.attributes().items())
        yield f"  {results} = {node.op.name}({arguments}){attributes}"
    yield f"  return {', '.join(v.name for v in graph.outputs)}"


def _argument(value: Value | None) -> str:
    return "none" if value is None else value.name


def _attribute(value: Any) -> str:
    return value.name if isinstance(value, IntEnum | Graph) else str(value)
