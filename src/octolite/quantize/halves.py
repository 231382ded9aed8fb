"""Halves that a file stores and a DEQUANTIZE widens, seen as the float32 constants they stand for.

So a model that was stored in float16 can be quantized like any other. What then stays as it is
gets its halves back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from octolite.ir.graph import Graph, Model, Node, Value
from octolite.ir.types import FLOAT16, FLOAT32, Array
from octolite.ops.base import Operator


@dataclass(frozen=True, slots=True)
class Widened:
    """A DEQUANTIZE of halves, and the constant that stands in its place."""

    graph: Graph
    node: Node
    stand_in: Value

    @property
    def halves(self) -> Value:
        """What the file stores."""
        value = self.node.inputs[0]
        assert value is not None
        return value


def widen(model: Model) -> list[Widened]:
    """Let what reads widened halves read float32 constants; each DEQUANTIZE stays in its place."""
    arrays: dict[int, Array] = {}
    return [
        _stand_in(graph, node, arrays)
        for graph in model.graphs
        for node in graph.nodes
        if node.op.name == "DEQUANTIZE" and _is_halves(node.inputs[0]) and node.output.uses
    ]


def _is_halves(value: Value | None) -> bool:
    return value is not None and value.is_constant and value.dtype is FLOAT16


def _stand_in(graph: Graph, node: Node, arrays: dict[int, Array]) -> Widened:
    halves = node.inputs[0]
    assert halves is not None
    assert halves.data is not None
    if id(halves.data) not in arrays:
        arrays[id(halves.data)] = halves.data.astype(np.float32)
    real = Value.constant(halves.name, arrays[id(halves.data)])
    graph.replace(node.output, real)
    return Widened(graph, node, real)


def narrow(widened: list[Widened]) -> list[Value]:
    """Give halves back to those who still read float32 stand-ins; returns these stand-ins.

    An operator with codes keeps its float32 bias: LiteRT's delegate runs no hybrid operator whose
    bias is computed.
    """
    given_back = []
    for item in widened:
        if item.stand_in.dtype is FLOAT32 and not any(map(_has_codes, item.stand_in.uses)):
            item.graph.replace(item.stand_in, item.node.output)
            given_back.append(item.stand_in)
        else:
            item.graph.remove(item.node)
    return given_back


def _has_codes(node: Node) -> bool:
    assert isinstance(node.op, Operator)
    return node.op.is_hybrid(node.inputs)
