"""Graphs that other graphs call, and memory that is used again: what a run may rely on."""

from __future__ import annotations

import numpy as np
import pytest

import octolite
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import FLOAT32, INT32, Array, Shape
from octolite.ops.base import Operator, operator_class
from octolite.ops.control import While
from octolite.runtime import calls
from octolite.tflite import write


def put(graph: Graph, operator: str, *inputs: Value | Array, **attributes: object) -> Value:
    values = [v if isinstance(v, Value) else Value.constant("k", np.asarray(v)) for v in inputs]
    name = f"{graph.name}_{len(graph.nodes)}"
    return graph.add(operator_class(operator)(**attributes), values, name).output


def loop(limit: int, shape: Shape, operator: str, *operands: Array, **attributes: object) -> Model:
    """A model that applies ``operator`` to a tensor of ``shape`` ``limit`` times."""
    cond, body, main = Graph("cond"), Graph("body"), Graph("main")
    inputs = {
        g.name: (g.add_input(f"{g.name}_n", INT32, ()), g.add_input(f"{g.name}_x", FLOAT32, shape))
        for g in (cond, body, main)
    }
    count, value = inputs["body"]
    cond.outputs = [put(cond, "LESS", inputs["cond"][0], np.int32(limit))]
    result = put(body, operator, value, *operands, **attributes)
    body.outputs = [put(body, "ADD", count, np.int32(1)), result]
    main.outputs = list(main.add(While(cond=cond, body=body), inputs["main"], "loop").outputs)
    return Model([main, cond, body])


def run(interpreter: octolite.Interpreter, *arrays: Array) -> list[Array]:
    for index, array in enumerate(arrays):
        interpreter.resize_tensor_input(index, np.shape(array))
    interpreter.allocate_tensors()
    for index, array in enumerate(arrays):
        interpreter.set_tensor(index, array)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def test_plans_of_shapes_seen_long_ago_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop over ever new shapes keeps a few plans, not all."""
    made: list[calls.Callees] = []

    class Watched(calls.Callees):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            made.append(self)

    monkeypatch.setattr("octolite.runtime.interpreter.Callees", Watched)
    row = np.ones((1, 2), np.float32)
    model = loop(40, (None, 2), "PAD", np.array([[0, 1], [0, 0]], np.int32))
    interpreter = octolite.Interpreter(model_content=write(model))
    _, out = run(interpreter, np.int32(0), row)
    assert out.shape == (41, 2)
    assert out.sum() == 2
    assert {len(kept) for kept in made[0]._contexts.values()} == {calls.MOST_PLANS}


def test_layers_in_a_loop_run_compiled_once_planned() -> None:
    weights = np.random.default_rng(0).normal(0, 0.1, (32, 32)).astype(np.float32)
    model = loop(5, (2, 32), "FULLY_CONNECTED", weights)
    x = np.random.default_rng(1).normal(0, 1, (2, 32)).astype(np.float32)
    expected = x
    for _ in range(5):
        expected = expected @ weights.T
    interpreter = octolite.Interpreter(model_content=write(model))
    _, out = run(interpreter, np.int32(0), x)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-6)
    assert [t.unit.op.name for t in interpreter.profile(2)] == ["WHILE"]


def test_views_of_unknown_shape_outlive_what_they_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reference gives may lie in its operand's memory, which is used again."""
    monkeypatch.setattr(operator_class("RESHAPE"), "kernel", Operator.kernel)
    main = Graph("main")
    x, shape = main.add_input("x", FLOAT32, (64,)), main.add_input("shape", INT32, (2,))
    square = put(main, "RESHAPE", put(main, "NEG", x), shape)
    later = x
    for _ in range(4):
        later = put(main, "ABS", put(main, "NEG", later))
    main.outputs = [put(main, "NEG", square), later]
    data = np.linspace(-3, 3, 64, dtype=np.float32)
    interpreter = octolite.Interpreter(model_content=write(Model([main])))
    out, last = run(interpreter, data, np.array([8, 8], np.int32))
    np.testing.assert_array_equal(out, data.reshape(8, 8))
    np.testing.assert_array_equal(last, np.abs(data))


def test_state_in_a_body_whose_shapes_change_lasts_while_it_can() -> None:
    """Rows come and go from round to round; the state, which has its own shape, stays."""
    cond, body, main = Graph("cond"), Graph("body"), Graph("main")
    rows: Shape = (None, 3)
    state = Value("state", FLOAT32, (1, 3), is_variable=True)
    inputs = {
        g.name: [
            g.add_input(f"{g.name}_{i}", t, s)
            for i, (t, s) in enumerate([(INT32, ()), (FLOAT32, rows), (FLOAT32, (1, 3))])
        ]
        for g in (cond, body, main)
    }
    cond.outputs = [put(cond, "LESS", inputs["cond"][0], np.int32(4))]
    count, grown, _ = inputs["body"]
    eye, ones = np.eye(3, dtype=np.float32), np.ones((1, 3), np.float32)
    step = put(body, "RNN", ones, eye, eye, np.zeros(3, np.float32), state)
    longer = put(body, "CONCATENATION", grown, ones, axis=0)
    body.outputs = [put(body, "ADD", count, np.int32(1)), longer, step]
    main.outputs = list(main.add(While(cond=cond, body=body), inputs["main"], "loop").outputs)
    interpreter = octolite.Interpreter(model_content=write(Model([main, cond, body])))
    for _ in range(2):
        _, out, last = run(interpreter, np.int32(0), ones, np.zeros((1, 3), np.float32))
        assert out.shape == (5, 3)
        np.testing.assert_array_equal(last, 4 * ones)
