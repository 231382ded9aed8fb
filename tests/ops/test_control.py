"""Graphs that run graphs: loops, branches and branches in loops, as LiteRT runs them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

import octolite
from octolite import passes
from octolite.errors import InvalidGraphError, OctoliteError, RuntimeModelError, ShapeError
from octolite.ir.graph import Graph, Model, Node, Value, callees_first
from octolite.ir.text import dump
from octolite.ir.types import BOOL, FLOAT32, INT32, Array, DType, Shape
from octolite.ops.base import operator_class
from octolite.ops.control import If, While
from octolite.quantize import quantize
from octolite.tflite import read, write

SCALAR: tuple[DType, Shape] = (INT32, ())


def new(name: str, *inputs: tuple[DType, Shape | None]) -> tuple[Graph, list[Value]]:
    """An empty graph and its inputs."""
    graph = Graph(name)
    return graph, [graph.add_input(f"{name}_in{i}", t, s) for i, (t, s) in enumerate(inputs)]


def put(graph: Graph, operator: str, *inputs: Value | Array, **attributes: object) -> Value:
    """A new node of ``graph``; arrays become constants. Returns its first result."""
    values = [v if isinstance(v, Value) else Value.constant("k", np.asarray(v)) for v in inputs]
    name = f"{graph.name}_{len(graph.nodes)}"
    return graph.add(operator_class(operator)(**attributes), values, name).output


def below(limit: int, *carried: tuple[DType, Shape | None]) -> Graph:
    """The condition ``counter < limit``."""
    graph, (count, *_) = new("below", SCALAR, *carried)
    graph.outputs = [put(graph, "LESS", count, np.int32(limit))]
    return graph


def model_of(main: Graph, *others: Graph) -> Model:
    """A model of ``main`` and all that it calls."""
    return Model([main, *(g for g in callees_first([main]) if g is not main), *others])


def loop(cond: Graph, body: Graph, *inputs: tuple[DType, Shape | None]) -> Model:
    """A model that gives what a WHILE gives."""
    main, values = new("main", *inputs)
    main.outputs = list(main.add(While(cond=cond, body=body), values, "loop").outputs)
    return model_of(main)


def run(interpreter: LiteRT | octolite.Interpreter, arrays: Sequence[Array]) -> list[Array]:
    for detail, array in zip(interpreter.get_input_details(), arrays, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def both(model: Model, *arrays: Array) -> list[Array]:
    """What the model gives, in Octolite as in LiteRT, each run twice."""
    content = write(model)
    results = []
    for interpreter in (LiteRT(model_content=content), octolite.Interpreter(model_content=content)):
        for detail, array in zip(interpreter.get_input_details(), arrays, strict=True):
            interpreter.resize_tensor_input(detail["index"], array.shape)
        interpreter.allocate_tensors()
        first, second = run(interpreter, arrays), run(interpreter, arrays)
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)
        results.append(second)
    for theirs, mine in zip(*results, strict=True):
        assert np.shape(mine) == np.shape(theirs)
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    return results[1]


def x(*shape: int, seed: int = 3) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def growing(shape: Shape) -> Graph:
    """A body that counts and puts a row of ones under what it carries."""
    graph, (count, rows) = new("grow", SCALAR, (FLOAT32, shape))
    ones = np.ones((1, 3), np.float32)
    graph.outputs = [
        put(graph, "ADD", count, np.int32(1)),
        put(graph, "CONCATENATION", rows, ones, axis=0),
    ]
    return graph


@pytest.mark.parametrize("limit", [0, 1, 7])
def test_counting_loop(limit: int) -> None:
    body, (count, value) = new("body", SCALAR, (FLOAT32, (2, 3)))
    body.outputs = [put(body, "ADD", count, np.int32(1)), put(body, "MUL", value, np.float32(0.5))]
    model = loop(below(limit, (FLOAT32, (2, 3))), body, SCALAR, (FLOAT32, (2, 3)))
    count_out, out = both(model, np.int32(0), x(2, 3))
    assert count_out == limit
    np.testing.assert_array_equal(out, x(2, 3) * np.float32(0.5**limit))


def test_loop_that_carries_a_growing_tensor() -> None:
    rows = (FLOAT32, (None, 3))
    model = loop(below(12, rows), growing((None, 3)), SCALAR, rows)
    _, out = both(model, np.int32(0), x(2, 3))
    assert out.shape == (14, 3)
    np.testing.assert_array_equal(out[:2], x(2, 3))


def test_what_follows_a_growing_loop_runs_on_what_it_gave() -> None:
    rows = (FLOAT32, (None, 3))
    model = loop(below(5, rows), growing((None, 3)), SCALAR, rows)
    main, weights = model.main, x(4, 3, seed=5)
    main.outputs = [put(main, "FULLY_CONNECTED", main.outputs[1], weights, keep_num_dims=True)]
    (out,) = both(model, np.int32(0), x(1, 3))
    assert out.shape == (6, 4)


def branching(name: str, threshold: float, then: Graph, other: Graph) -> Graph:
    """Runs ``then`` on the sum of its input under ``threshold``, else ``other``."""
    graph, (value,) = new(name, (FLOAT32, (2, 3)))
    total = put(graph, "SUM", value, np.array([0, 1], np.int32))
    flag = put(graph, "LESS", total, np.float32(threshold))
    graph.outputs = [graph.add(If(then=then, other=other), [flag, value], f"{name}_if").output]
    return graph


def adding(amount: float) -> Graph:
    graph, (value,) = new(f"adding{amount:g}", (FLOAT32, (2, 3)))
    graph.outputs = [put(graph, "ADD", value, np.float32(amount))]
    return graph


@pytest.mark.parametrize("shift", [-9.0, 0.5, 9.0])
def test_nested_if(shift: float) -> None:
    inner = branching("inner", 0.0, adding(1), adding(2))
    both(model_of(branching("main", 30.0, inner, adding(3))), x(2, 3) + np.float32(shift))


def test_branches_in_a_loop() -> None:
    """Each round halves or shifts, as the sum of what it got last says."""
    choice = branching("choice", 3.0, adding(1), adding(-4))
    body, (count, value) = new("body", SCALAR, (FLOAT32, (2, 3)))
    total = put(body, "SUM", value, np.array([0, 1], np.int32))
    flag = put(body, "LESS", total, np.float32(3))
    chosen = body.add(If(then=adding(1), other=choice), [flag, value], "chosen").output
    body.outputs = [put(body, "ADD", count, np.int32(1)), put(body, "MUL", chosen, np.float32(0.9))]
    model = loop(below(9, (FLOAT32, (2, 3))), body, SCALAR, (FLOAT32, (2, 3)))
    both(model, np.int32(0), x(2, 3))


def test_one_graph_called_twice_keeps_both_results() -> None:
    main, (a, b, flag) = new("main", *[(FLOAT32, (None, 3))] * 2, (BOOL, ()))
    shared, (value,) = new("shared", (FLOAT32, (None, 3)))
    shared.outputs = [put(shared, "ADD", value, np.float32(1))]
    other, (value,) = new("other", (FLOAT32, (None, 3)))
    other.outputs = [put(other, "NEG", value)]
    results = [main.add(If(then=shared, other=other), [flag, v], "if").output for v in (a, b)]
    main.outputs = [put(main, "SUB", *results)]
    (out,) = both(model_of(main), x(2, 3), x(2, 3, seed=4), np.bool_(True))
    np.testing.assert_allclose(out, x(2, 3) - x(2, 3, seed=4), atol=1e-6)


def test_loop_that_swaps_what_it_passes_through() -> None:
    pair = [(FLOAT32, (2,))] * 2
    body, (count, a, b) = new("body", SCALAR, *pair)
    body.outputs = [put(body, "ADD", count, np.int32(1)), b, a]
    content = write(loop(below(3, *pair), body, SCALAR, *pair))
    interpreter = octolite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    _, first, second = run(interpreter, [np.int32(0), x(2), x(2, seed=4)])
    np.testing.assert_array_equal(first, x(2, seed=4))
    np.testing.assert_array_equal(second, x(2))


def test_loop_in_a_model_that_is_resized() -> None:
    """The graphs say 2×3 throughout; the run time goes by what it is given."""
    body, (count, value) = new("body", SCALAR, (FLOAT32, (2, 3)))
    body.outputs = [put(body, "ADD", count, np.int32(1)), put(body, "ADD", value, value)]
    model = loop(below(3, (FLOAT32, (2, 3))), body, SCALAR, (FLOAT32, (2, 3)))
    _, out = both(model, np.int32(0), x(5, 3))
    np.testing.assert_array_equal(out, 8 * x(5, 3))


def summing(graph: Graph, value: Value) -> Value:
    """An RNN step that adds ``value`` to a state of 2×3 and gives the sum."""
    state = Value("state", FLOAT32, (2, 3), is_variable=True)
    eye, bias = np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
    return put(graph, "RNN", value, eye, eye, bias, state)


def state_in_a_loop() -> Model:
    """The sum of three rounds is kept in a variable of the loop's body."""
    carried = [(FLOAT32, (2, 3))] * 2
    body, (count, value, _) = new("body", SCALAR, *carried)
    counted, same = put(body, "ADD", count, np.int32(1)), put(body, "MUL", value, np.float32(1))
    body.outputs = [counted, same, summing(body, value)]
    return loop(below(3, *carried), body, SCALAR, *carried)


def test_state_in_a_loop_starts_anew_with_it() -> None:
    ones, zeros = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)
    _, _, last = both(state_in_a_loop(), np.int32(0), ones, zeros)
    np.testing.assert_array_equal(last, 3 * ones)


def test_state_in_a_branch_starts_anew_with_it() -> None:
    then, (value,) = new("then", (FLOAT32, (2, 3)))
    then.outputs = [summing(then, value)]
    main, (flag, value) = new("main", (BOOL, ()), (FLOAT32, (2, 3)))
    node = main.add(If(then=then, other=adding(1)), [flag, value], "if")
    main.outputs = list(node.outputs)
    (out,) = both(model_of(main), np.bool_(True), x(2, 3))
    np.testing.assert_array_equal(out, x(2, 3))


# -- what is refused ----------------------------------------------------------------------------


def test_a_graph_that_calls_itself_is_refused() -> None:
    graph, (count,) = new("again", SCALAR)
    graph.outputs = [put(graph, "ADD", count, np.int32(1))]
    main, (flag, count) = new("main", (BOOL, ()), SCALAR)
    main.outputs = [main.add(If(then=graph, other=graph), [flag, count], "if").output]
    content = write(Model([main, graph]))
    read(content)
    inner = If(then=main, other=graph)
    constant = Value.constant("yes", np.array(True))
    node = Node(inner, [constant, graph.inputs[0]], [Value("r", INT32, ())])
    graph.nodes.append(node)
    graph.outputs = [node.output]
    with pytest.raises(InvalidGraphError, match="calls itself"):
        read(write(Model([main, graph])))


def test_branches_that_share_graphs_many_levels_deep_load_at_once() -> None:
    """Twice as many ways at each level; the graphs are only so many."""
    graph = adding(1)
    for level in range(40):
        outer, (value,) = new(f"level{level}", (FLOAT32, (2, 3)))
        flag = Value.constant("flag", np.array(True))
        node = outer.add(If(then=graph, other=graph), [flag, value], f"if{level}")
        outer.outputs = [node.output]
        graph = outer
    interpreter = octolite.Interpreter(model_content=write(model_of(graph)))
    interpreter.allocate_tensors()
    (out,) = run(interpreter, [x(2, 3)])
    np.testing.assert_array_equal(out, x(2, 3) + 1)


BOUND = below(3)


@pytest.mark.parametrize(
    ("operator", "inputs", "says"),
    [
        (While(cond=BOUND, body=adding(1)), [SCALAR], "'adding1'"),
        (While(cond=adding(1), body=adding(1)), [(FLOAT32, (2, 3))], "boolean"),
        (While(cond=BOUND, body=BOUND), [SCALAR], "result 0"),
        (While(cond=BOUND, body=BOUND), [SCALAR, SCALAR], "takes 1 inputs, on 2"),
        (While(), [SCALAR], "does not say"),
        (If(then=BOUND, other=BOUND), [SCALAR, SCALAR], "expected a boolean"),
        (If(then=BOUND, other=adding(1)), [(BOOL, ()), SCALAR], "float32"),
    ],
)
def test_graphs_that_do_not_fit_are_refused(
    operator: If | While, inputs: list[tuple[DType, Shape]], says: str
) -> None:
    values = [Value(f"v{i}", t, s) for i, (t, s) in enumerate(inputs)]
    with pytest.raises(ShapeError) as error:
        operator.infer(*values)
    assert says in str(error.value)


def test_condition_that_is_no_single_boolean_is_an_error_of_the_run() -> None:
    rows = (FLOAT32, (None,))
    cond, (value,) = new("cond", rows)
    cond.outputs = [put(cond, "LESS", value, np.float32(0))]
    body, (value,) = new("body", rows)
    body.outputs = [put(body, "ADD", value, np.float32(1))]
    interpreter = octolite.Interpreter(model_content=write(loop(cond, body, rows)))
    interpreter.resize_tensor_input(0, (3,))
    interpreter.allocate_tensors()
    with pytest.raises(RuntimeModelError, match="condition of WHILE"):
        run(interpreter, [np.zeros(3, np.float32)])


def test_errors_in_a_called_graph_name_the_way_there() -> None:
    body, (count, value) = new("body", SCALAR, (FLOAT32, (2, 3)))
    found = put(body, "GATHER", value, count)
    body.outputs = [put(body, "ADD", count, np.int32(1)), put(body, "ADD", value, found)]
    model = loop(below(9, (FLOAT32, (2, 3))), body, SCALAR, (FLOAT32, (2, 3)))
    interpreter = octolite.Interpreter(model_content=write(model))
    interpreter.allocate_tensors()
    with pytest.raises(OctoliteError, match=r"WHILE.*GATHER"):
        run(interpreter, [np.int32(0), x(2, 3)])


# -- rewriting ----------------------------------------------------------------------------------


def test_passes_and_quantizer_keep_loops() -> None:
    """A layer in a loop, its weights quantized there; a branch that nothing needs goes."""
    body, (count, value) = new("body", SCALAR, (FLOAT32, (2, 64)))
    weights = x(64, 64) / 8
    product = put(body, "MUL", put(body, "FULLY_CONNECTED", value, weights), np.float32(0.5))
    body.outputs = [put(body, "ADD", count, np.int32(1)), put(body, "TANH", product)]
    model = loop(below(4, (FLOAT32, (2, 64))), body, SCALAR, (FLOAT32, (2, 64)))
    idle = put(model.main, "LESS", model.main.inputs[0], np.int32(9))
    branch = If(then=(one := adding(1)), other=(two := adding(2)))
    model.main.add(branch, [idle, Value.constant("c", x(2, 3))], "unneeded")
    model.graphs += [one, two]
    before = both(model, np.int32(0), x(2, 64))
    names = [[v.name for v in g.inputs] for g in model.graphs]
    passes.optimize(model)
    assert [n.op.name for n in model.main.nodes] == ["WHILE"]
    assert names == [[v.name for v in g.inputs] for g in model.graphs]
    for a, b in zip(before, both(model, np.int32(0), x(2, 64)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    quantize(model)
    assert body.operators()["FULLY_CONNECTED"] == 1
    assert any(v.quant is not None for v in body.constants())
    _, out = both_hybrid(model, np.int32(0), x(2, 64))
    assert np.abs(out - before[1]).max() < 0.02


def both_hybrid(model: Model, *arrays: Array) -> list[Array]:
    interpreter = octolite.Interpreter(model_content=write(model), hybrid="always")
    interpreter.allocate_tensors()
    return run(interpreter, arrays)


def test_files_read_back_to_the_same_bytes() -> None:
    model = state_in_a_loop()
    content = write(model)
    again = read(content)
    assert write(again) == content
    assert [dump(g) for g in again.graphs] == [dump(g) for g in read(write(again)).graphs]
