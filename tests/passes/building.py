"""Small graphs, written as one writes an expression, and rules tried on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from octolite.ir import Graph, Value, verify
from octolite.ir.types import FLOAT32, Array, DType
from octolite.ops import operator_class
from octolite.passes.engine import Event, Explanation, Rewriter, Rule
from tests.passes.interpret import run

BATCH = 2


def gaussian(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


class Builder:
    """A graph under construction; arrays and numbers among operands become constants."""

    def __init__(self) -> None:
        self.graph = Graph()
        self._count = 0

    def input(self, *shape: int | None, name: str = "x", dtype: DType = FLOAT32) -> Value:
        return self.graph.add_input(name, dtype, shape)

    def op(self, operator: str, *inputs: Any, name: str = "", **attributes: Any) -> Value:
        return self.ops(operator, *inputs, name=name, **attributes)[0]

    def ops(
        self, operator: str, *inputs: Any, name: str = "", **attributes: Any
    ) -> tuple[Value, ...]:
        values = [self._value(v) for v in inputs]
        self._count += 1
        node = self.graph.add(
            operator_class(operator)(**attributes), values, name or f"{operator}{self._count}"
        )
        return node.outputs

    def _value(self, operand: Any) -> Value | None:
        return operand if operand is None or isinstance(operand, Value) else self.constant(operand)

    def constant(self, data: Any) -> Value:
        array = np.asarray(data)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        if array.dtype == np.int64:
            array = array.astype(np.int32)
        self._count += 1
        return Value.constant(f"c{self._count}", array)

    def returns(self, *outputs: Value) -> Graph:
        self.graph.outputs = list(outputs)
        return self.graph


def feeds(graph: Graph) -> dict[str, Array]:
    """Gaussian arrays for the inputs; an unknown extent becomes :data:`BATCH`."""
    result = {}
    for seed, value in enumerate(graph.inputs, 1):
        shape = [BATCH if d is None else d for d in value.shape or ()]
        result[value.name] = (3 * gaussian(*shape, seed=seed)).astype(value.dtype.numpy)
    return result


def attempt(graph: Graph, *rules: Rule) -> list[Event]:
    """Run ``rules``; the graph must stay valid, keep its results' names and what they hold."""
    arrays = feeds(graph)
    names = [v.name for v in graph.outputs]
    before = _results(graph, arrays)
    explanation = Explanation()
    Rewriter(graph, rules, explanation).run()
    verify(graph)
    assert [v.name for v in graph.outputs] == names
    for expected, found in zip(before, _results(graph, arrays), strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5 * np.abs(expected).max())
    return explanation.events


def _results(graph: Graph, arrays: dict[str, Array]) -> list[Array]:
    computed = run(graph, arrays)
    return [computed[id(v)] for v in graph.outputs]


def operators(graph: Graph) -> str:
    """The operators in order, blanks between them."""
    return " ".join(n.op.name for n in graph.nodes)


def reasons(events: list[Event]) -> str:
    """Why rules declined, a line each."""
    return "\n".join(e.reason for e in events if e.reason)
