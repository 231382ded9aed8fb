"""Ranges between a layer and what becomes part of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octolite.ir import Graph, Model, Value
from octolite.ir.types import FLOAT32
from octolite.ops import operator_class
from octolite.passes.ranges import move_past_products

C = np.array([-2.0, 1.0, 0.5], np.float32)


def chain(*operators: str, constant_first: bool = False) -> tuple[Model, list[Value]]:
    """A fully connected layer and what follows it; its results in order."""
    graph = Graph()
    x = graph.add_input("x", FLOAT32, (4, 2))
    weights = Value.constant("w", np.ones((3, 2), np.float32))
    values = [graph.add(operator_class("FULLY_CONNECTED")(), [x, weights, None], "y").output]
    for name in operators:
        operands = [values[-1]]
        if name in ("ADD", "SUB", "MUL", "DIV"):
            operands.append(Value.constant("c", C))
        if constant_first:
            operands.reverse()
        values.append(graph.add(operator_class(name)(), operands, name.lower()).output)
    graph.outputs = [values[-1]]
    return Model([graph]), values


@pytest.mark.parametrize(
    ("operators", "found"),
    [
        (["ADD"], (-6.0, 5.0)),
        (["SUB"], (-5.0, 6.0)),
        (["MUL"], (-8.0, 8.0)),
        (["RELU"], (0.0, 4.0)),
        (["RELU6"], (0.0, 4.0)),
        (["RELU_N1_TO_1"], (-1.0, 1.0)),
        (["ADD", "RELU"], (0.0, 5.0)),
        (["MUL", "ADD", "RELU6"], (0.0, 6.0)),
    ],
)
def test_what_follows(operators: list[str], found: tuple[float, float]) -> None:
    model, values = chain(*operators)
    values[0].range = (-4.0, 4.0)
    assert move_past_products(model) == len(operators)
    assert [v.range for v in values] == [None] * len(operators) + [found]


def test_a_stated_range_stays() -> None:
    model, values = chain("ADD", "RELU")
    values[0].range, values[2].range = (-4.0, 4.0), (0.0, 3.0)
    move_past_products(model)
    assert [v.range for v in values] == [None, None, (0.0, 3.0)]


@pytest.mark.parametrize("operators", [["DIV"], ["TANH"], ["RELU", "ADD"]])
def test_what_is_no_part_of_the_layer_stays(operators: list[str]) -> None:
    """Of the last, the activation ends the layer."""
    model, values = chain(*operators)
    values[-2].range = (-4.0, 4.0)
    assert move_past_products(model) == 0
    assert values[-2].range == (-4.0, 4.0)


def test_other_readers_keep_it() -> None:
    model, values = chain("RELU")
    values[0].range = (-4.0, 4.0)
    model.main.outputs.append(model.main.add(operator_class("TANH")(), [values[0]]).output)
    assert move_past_products(model) == 0


def test_outputs_keep_theirs() -> None:
    model, values = chain("RELU")
    values[0].range = (-4.0, 4.0)
    model.main.outputs.append(values[0])
    assert move_past_products(model) == 0


def test_what_a_constant_loses() -> None:
    model, values = chain("SUB", constant_first=True)
    values[0].range = (-4.0, 4.0)
    assert move_past_products(model) == 0


@given(
    st.sampled_from(["ADD", "SUB", "MUL", "RELU", "RELU6", "RELU_N1_TO_1"]),
    st.tuples(st.floats(-10, 10), st.floats(-10, 10)).map(sorted),
    st.floats(0, 1),
)
def test_results_lie_within(name: str, limits: list[float], where: float) -> None:
    model, values = chain(name)
    low, high = limits
    values[0].range = (low, high)
    move_past_products(model)
    (node,) = (n for n in model.main.nodes if n.op.name == name)
    x = np.full((4, 3), min(low + (high - low) * where, high))
    reference = {"ADD": x + C, "SUB": x - C, "MUL": x * C, "RELU": np.maximum(x, 0)}
    reference |= {"RELU6": np.clip(x, 0, 6), "RELU_N1_TO_1": np.clip(x, -1, 1)}
    assert node.output.range is not None
    bottom, top = node.output.range
    assert bottom - 1e-6 <= reference[name].min()
    assert reference[name].max() <= top + 1e-6
