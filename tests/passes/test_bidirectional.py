"""Reversed sequences and single steps of sequences, rule by rule; pairs of directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from octolite.ir import Graph, Value, verify
from octolite.ir.types import FLOAT32, Activation
from octolite.passes import bidirectional
from octolite.passes.engine import Explanation
from tests.passes.building import Builder, attempt, gaussian, operators
from tests.passes.interpret import run

RULES = bidirectional.RULES


def test_a_transposed_sequence_is_reversed_before() -> None:
    b = Builder()
    turned = b.op("TRANSPOSE", b.input(None, 5, 3), [1, 0, 2])
    graph = b.returns(b.op("REVERSE_V2", turned, [0]))
    attempt(graph, *RULES)
    assert operators(graph) == "REVERSE_V2 TRANSPOSE"
    axes = graph.nodes[0].inputs[1]
    assert axes is not None
    assert axes.data is not None
    assert axes.data.tolist() == [1]


@pytest.mark.parametrize(("second", "left"), [(1, "NEG"), (0, "REVERSE_V2 REVERSE_V2 NEG")])
def test_what_is_reversed_twice_is_as_it_was(second: int, left: str) -> None:
    b = Builder()
    once = b.op("REVERSE_V2", b.input(2, 5, 3), [1])
    graph = b.returns(b.op("NEG", b.op("REVERSE_V2", once, [second])))
    attempt(graph, *RULES)
    assert operators(graph) == left


@pytest.mark.parametrize(("step", "end", "mask"), [(-1, 0, 1), (0, 1, 0), (2, 3, 0)])
def test_a_step_of_a_transposed_sequence(step: int, end: int, mask: int) -> None:
    b = Builder()
    turned = b.op("TRANSPOSE", b.input(None, 5, 3), [1, 0, 2])
    masks = {"shrink_axis_mask": 1, "end_mask": mask}
    graph = b.returns(b.op("STRIDED_SLICE", turned, [step], [end], [1], **masks))
    attempt(graph, *RULES)
    assert operators(graph) == "STRIDED_SLICE"


def test_the_only_step_of_the_last_step() -> None:
    b = Builder()
    last = b.op("STRIDED_SLICE", b.input(5, None, 3), [-1], [0], [1], end_mask=1)
    graph = b.returns(b.op("STRIDED_SLICE", last, [-1], [0], [1], shrink_axis_mask=1, end_mask=1))
    attempt(graph, *RULES)
    assert operators(graph) == "STRIDED_SLICE"


@pytest.mark.parametrize(("step", "end", "mask"), [(-1, 0, 2), (0, 1, 0)])
def test_the_last_step_of_what_is_reversed_is_the_first(step: int, end: int, mask: int) -> None:
    b = Builder()
    turned = b.op("REVERSE_V2", b.input(None, 5, 3), [1])
    bounds = ([0, step], [0, end], [1, 1])
    masks = {"shrink_axis_mask": 2, "begin_mask": 1, "end_mask": 1 | mask}
    graph = b.returns(b.op("STRIDED_SLICE", turned, *bounds, **masks))
    attempt(graph, *RULES)
    assert operators(graph) == "STRIDED_SLICE"


def test_another_step_of_what_is_reversed_stays() -> None:
    b = Builder()
    turned = b.op("REVERSE_V2", b.input(None, 5, 3), [1])
    bounds = ([0, 1], [0, 2], [1, 1])
    masks = {"shrink_axis_mask": 2, "begin_mask": 1, "end_mask": 1}
    graph = b.returns(b.op("STRIDED_SLICE", turned, *bounds, **masks))
    attempt(graph, *RULES)
    assert operators(graph) == "REVERSE_V2 STRIDED_SLICE"


# -- pairs ---------------------------------------------------------------------------------------


def _cell(b: Builder, x: Value, units: int, seed: int, **attributes: Any) -> Value:
    state = Value(f"state{seed}", FLOAT32, (2, units), is_variable=True)
    weights = gaussian(units, 3, seed=seed), gaussian(units, units, seed=seed + 1)
    bias = gaussian(units, seed=seed + 2)
    given = {"activation": Activation.TANH, **attributes}
    return b.op("UNIDIRECTIONAL_SEQUENCE_RNN", x, *weights, bias, state, **given)


def _two_ways(time: bool, both: bool = True, **second: Any) -> Graph:
    """A cell and one over the reversed sequence, ``both``: whose output is reversed again."""
    b = Builder()
    x, axis = b.input(*((5, 2, 3) if time else (2, 5, 3))), [0 if time else 1]
    forward = _cell(b, x, 4, 10, time_major=time)
    attributes = {"time_major": time, **second}
    backward = _cell(b, b.op("REVERSE_V2", x, axis), 6, 20, **attributes)
    back = b.op("REVERSE_V2", backward, axis)
    return b.returns(b.op("NEG", forward), b.op("NEG", back if both else backward))


def _outputs(graph: Graph, x: np.ndarray) -> list[np.ndarray]:
    for value in graph.values():
        if value.is_variable:
            value.data = np.zeros([d or 0 for d in value.shape or ()], np.float32)
    found = run(graph, {"x": x})
    for value in graph.values():
        if value.is_variable:
            value.data = None
    return [found[id(v)] for v in graph.outputs]


@pytest.mark.parametrize("time", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_two_directions_become_one_operator(time: bool, both: bool) -> None:
    graph = _two_ways(time, both)
    x = gaussian(*(graph.inputs[0].shape or ()))  # type: ignore[arg-type]
    before = _outputs(graph, x)
    assert bidirectional.pair(graph) == 1
    verify(graph)
    names = operators(graph).split()
    assert names.count("BIDIRECTIONAL_SEQUENCE_RNN") == 1
    assert "UNIDIRECTIONAL_SEQUENCE_RNN" not in names
    for expected, found in zip(before, _outputs(graph, x), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_directions_that_differ_stay_two() -> None:
    graph, explain = _two_ways(False, activation=Activation.RELU), Explanation()
    assert bidirectional.pair(graph, explain) == 0
    assert "different activations" in (explain.events[0].reason or "")
