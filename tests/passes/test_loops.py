"""What loops carry, and what is known of numbers that are not known."""

from __future__ import annotations

import numpy as np
import pytest

from octolite.ir import Graph, Model, Value, verify
from octolite.ir.types import FLOAT32, INT32, Shape
from octolite.ops.arithmetic import Add
from octolite.ops.comparison import Less
from octolite.ops.control import While, evaluate
from octolite.passes import counts, loops
from octolite.passes.loops import is_zero
from tests.passes.building import Builder


def _loop(limit: int = 3, used: bool = False) -> Model:
    """Counts to ``limit`` and adds 1 to x each round; the limit and a weight are carried."""
    shapes: list[tuple[object, Shape]] = [
        (INT32, ()), (INT32, ()), (FLOAT32, (None, 2)), (FLOAT32, (2,)), (FLOAT32, (2,)),
    ]  # fmt: skip
    cond, body = Graph("cond"), Graph("body")
    for graph in (cond, body):
        for i, (dtype, shape) in enumerate(shapes):
            graph.add_input(f"{graph.name}{i}", dtype, shape)  # type: ignore[arg-type]
    count, bound, x, weight, unused = body.inputs
    cond.outputs = [cond.add(Less(), cond.inputs[:2], "less").output]
    one = Value.constant("one", np.array(1, np.int32))
    counted = body.add(Add(), [count, one], "counted").output
    added = body.add(Add(), [x, weight], "added").output
    other = body.add(Add(), [unused, weight], "other").output
    body.outputs = [counted, bound, added, weight, other]
    main = Graph()
    x = main.add_input("x", FLOAT32, (4, 2))
    operands = [
        Value.constant("zero", np.array(0, np.int32)),
        Value.constant("limit", np.array(limit, np.int32)),
        x,
        Value.constant("weight", np.array([1, 2], np.float32)),
        Value.constant("start", np.array([1, 2], np.float32)),
    ]
    node = main.add(While(cond=cond, body=body), operands, "loop")
    main.outputs = [node.outputs[2], *([node.outputs[4]] if used else [])]
    return Model([main, cond, body])


@pytest.mark.parametrize(("used", "left"), [(False, 2), (True, 3)])
def test_what_is_not_read_is_not_carried(used: bool, left: int) -> None:
    model = _loop(used=used)
    x = np.ones((4, 2), np.float32)
    before = evaluate(model.main, [x])
    while loops.simplify(model):
        for graph in model.graphs:
            verify(graph)
    node = model.main.nodes[0]
    assert len(node.inputs) == len(node.outputs) == left
    for expected, found in zip(before, evaluate(model.main, [x]), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_extents_that_no_round_changes_are_known_inside() -> None:
    model = _loop()
    model.graphs[2].nodes[1].output.shape = (4, 2)  # as inferred once the input's is known
    while loops.simplify(model):
        pass
    assert model.graphs[2].inputs[1].shape == (4, 2)


def test_a_graph_that_two_loops_run_stays_as_it_is() -> None:
    model = _loop()
    node = model.main.nodes[0]
    again = model.main.add(node.op, node.inputs, "again")
    model.main.outputs.append(again.outputs[2])
    assert loops.simplify(model) == 0


def test_a_loop_that_nothing_reads_goes() -> None:
    model = _loop()
    before = loops.callers_of(model)
    model.main.outputs = [model.main.inputs[0]]
    assert loops.simplify(model) == 1
    loops.drop_graphs(model, before)
    assert model.main.nodes == []
    assert model.graphs == [model.main]


def test_what_a_loop_does() -> None:
    model = _loop(5)
    found = loops.read(model.main.nodes[0])
    assert isinstance(found, loops.Loop)
    assert found.counters == {0: 0}
    assert sorted(found.unchanged) == [1, 3]
    assert [(start, int(bound.data)) for start, bound in found.bounds] == [(0, 5)]


# -- numbers -------------------------------------------------------------------------------------


def _length(b: Builder, x: Value, axis: int) -> Value:
    shape = b.op("SHAPE", x, out_type=INT32)
    return b.op("STRIDED_SLICE", shape, [axis], [axis + 1], [1], shrink_axis_mask=1)


def test_lengths_of_one_sequence_are_the_same() -> None:
    b = Builder()
    x = b.input(None, None, 3)
    turned = b.op("TRANSPOSE", b.op("TANH", x), [1, 0, 2])
    steps = _length(b, turned, 0)
    assert counts.number(steps) == counts.number(_length(b, x, 1)) == counts.extent(turned, 0)
    assert counts.number(steps) != counts.number(_length(b, x, 0))
    never_less = b.op("MINIMUM", steps, b.op("MAXIMUM", np.int32(1), steps))
    assert counts.number(never_less) == counts.number(steps)
    perhaps_less = b.op("MINIMUM", steps, b.op("MAXIMUM", np.int32(2), steps))
    assert counts.number(perhaps_less) != counts.number(steps)


def test_an_array_is_as_long_as_it_was_made() -> None:
    b = Builder()
    steps = _length(b, b.input(None, None, 3), 1)
    made = b.op("FILL", b.op("PACK", steps, np.int32(7), values_count=2), np.float32(0))
    assert counts.extent(made, 0) == counts.number(steps)
    assert counts.extent(made, 1) == ("number", 7)
    assert counts.extent(b.constant(np.zeros((4, 2))), 0) == ("number", 4)


@pytest.mark.parametrize(("number", "expected"), [(0.0, True), (0.5, False)])
def test_zeros_however_they_are_made(number: float, expected: bool) -> None:
    b = Builder()
    x = b.input(None, 3)
    shape = b.op("SHAPE", x, out_type=INT32)
    filled = b.op("FILL", shape, np.float32(number))
    assert is_zero(filled) is expected
    assert is_zero(b.op("CONCATENATION", filled, filled, axis=1)) is expected
    assert is_zero(b.op("TILE", filled, [2, 1])) is expected
    assert is_zero(b.op("ZEROS_LIKE", x))
    assert not is_zero(x)
    assert not is_zero(b.op("ADD", filled, x))
