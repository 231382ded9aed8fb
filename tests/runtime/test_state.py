"""State that outlives runs: variables and tables with names, streams of random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octolite
from octolite.errors import RuntimeModelError
from octolite.ir.graph import Graph, Model, Signature, Value
from octolite.ir.types import FLOAT32, RESOURCE
from octolite.ops import operator_class
from octolite.ops.case import Case, const, f32
from octolite.tflite import write
from tests.ops.litert import interpreter_of


def put(graph: Graph, name: str, *inputs: Value, **attributes: Any) -> Value | None:
    node = graph.add(operator_class(name)(**attributes), inputs)
    return node.outputs[0] if node.outputs else None


def constant(array: Any) -> Value:
    return Value.constant("c", np.asarray(array, np.float32))


def handle(graph: Graph) -> Value:
    found = put(graph, "VAR_HANDLE", shared_name="total")
    assert found is not None
    return found


def totals() -> bytes:
    """A model that adds its input to a variable, which a graph of its own has set to 10."""
    init = Graph("init")
    put(init, "ASSIGN_VARIABLE", handle(init), constant([10.0, 10.0]))
    main = Graph("main")
    x = main.add_input("x", FLOAT32, (2,))
    put(main, "CALL_ONCE", init=init)
    total = handle(main)
    before = put(main, "READ_VARIABLE", total, dtype=FLOAT32, shape=(2,))
    assert before is not None
    after = put(main, "ADD", before, x)
    assert after is not None
    put(main, "ASSIGN_VARIABLE", total, after)
    again = put(main, "READ_VARIABLE", total, dtype=FLOAT32, shape=(2,))
    assert again is not None
    result = put(main, "MUL", again, constant(2.0))
    assert result is not None
    main.outputs = [before, result]
    signature = Signature("serving_default", {"x": x}, {"before": before, "y": result}, main)
    return write(Model([main, init], [signature]))


def run(interpreter: Any, *inputs: Any) -> list[Any]:
    for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def test_variables_are_initialised_once_and_go_on_as_in_litert() -> None:
    content = totals()
    mine, theirs = octolite.Interpreter(model_content=content), interpreter_of(content, "ADD")
    mine.allocate_tensors()
    theirs.allocate_tensors()
    for step in range(4):
        x = np.float32([1, step])
        for a, b in zip(run(mine, x), run(theirs, x), strict=True):
            np.testing.assert_array_equal(a, b)
    assert run(mine, np.float32([0, 0]))[0].tolist() == [14, 16]


def test_clones_have_state_of_their_own_and_reset_starts_anew() -> None:
    first = octolite.Interpreter(model_content=totals())
    first.allocate_tensors()
    run(first, np.float32([1, 1]))
    second = first.clone()
    assert run(second, np.float32([5, 5]))[0].tolist() == [10, 10]
    assert run(first, np.float32([0, 0]))[0].tolist() == [11, 11]
    first.reset_all_variables()
    assert run(first, np.float32([0, 0]))[0].tolist() == [10, 10]
    assert run(second, np.float32([0, 0]))[0].tolist() == [15, 15]


def test_resizing_keeps_named_variables() -> None:
    interpreter = octolite.Interpreter(model_content=totals())
    interpreter.allocate_tensors()
    run(interpreter, np.float32([1, 1]))
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], (1,))
    interpreter.allocate_tensors()
    assert run(interpreter, np.float32([1]))[0].tolist() == [11, 11]


def test_passes_keep_what_initialises_and_assigns() -> None:
    from octolite import passes
    from octolite.tflite import read

    model = read(totals())
    passes.optimize(model)
    counted = model.main.operators()
    assert counted["CALL_ONCE"] == 1
    assert counted["ASSIGN_VARIABLE"] == 1
    interpreter = octolite.Interpreter(model_content=write(model))
    interpreter.allocate_tensors()
    run(interpreter, np.float32([1, 1]))
    assert run(interpreter, np.float32([1, 1]))[1].tolist() == [24, 24]


def reading(shape: tuple[int, ...]) -> bytes:
    main = Graph("main")
    where = main.add_input("handle", RESOURCE, (1,))
    total = handle(main)
    put(main, "ASSIGN_VARIABLE", total, constant([1.0]))
    one = put(main, "READ_VARIABLE", where, dtype=FLOAT32, shape=shape)
    assert one is not None
    main.outputs = [one]
    return write(Model([main]))


@pytest.mark.parametrize(
    ("number", "shape", "says"),
    [(7, (1,), "none of the model's 1"), (-1, (1,), "none of the model's")],
)
def test_handles_of_nothing_are_refused(number: int, shape: tuple[int, ...], says: str) -> None:
    interpreter = octolite.Interpreter(model_content=reading(shape))
    interpreter.allocate_tensors()
    with pytest.raises(RuntimeModelError, match=says) as error:
        run(interpreter, np.array([number], np.int32))
    assert "READ_VARIABLE" in str(error.value)


def test_a_handle_from_elsewhere_tells_no_shape() -> None:
    interpreter = octolite.Interpreter(model_content=reading((3,)))
    interpreter.allocate_tensors()
    (found,) = run(interpreter, np.array([0], np.int32))
    np.testing.assert_array_equal(found, [1.0])


def assigned_as(value: tuple[int, ...], declared: tuple[int, ...]) -> bytes:
    """x → the variable → what is read of it → + 1."""
    main = Graph("main")
    x = main.add_input("x", FLOAT32, value)
    put(main, "ASSIGN_VARIABLE", handle(main), x)
    held = put(main, "READ_VARIABLE", handle(main), dtype=FLOAT32, shape=declared)
    assert held is not None
    total = put(main, "ADD", held, constant(np.float32(1)))
    assert total is not None
    main.outputs = [total]
    return write(Model([main]))


@pytest.mark.parametrize("declared", [(2, 3), (1,), (3, 2), (2**20, 2**10)])
def test_a_variable_is_read_as_it_was_assigned(declared: tuple[int, ...]) -> None:
    """Whatever shape a file declares for what is read."""
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    content = assigned_as((2, 3), declared)
    interpreter = octolite.Interpreter(model_content=content, memory_limit=1 << 20)
    interpreter.allocate_tensors()
    (found,) = run(interpreter, x)
    np.testing.assert_array_equal(found, x + 1)


def test_a_variable_is_read_as_it_was_assigned_after_resizing() -> None:
    interpreter = octolite.Interpreter(model_content=assigned_as((2, 3), (2, 3)))
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], [4])
    interpreter.allocate_tensors()
    (found,) = run(interpreter, np.ones(4, np.float32))
    np.testing.assert_array_equal(found, [2, 2, 2, 2])


def test_reading_what_nobody_assigned_is_an_error() -> None:
    main = Graph("main")
    one = put(main, "READ_VARIABLE", handle(main), dtype=FLOAT32, shape=(1,))
    assert one is not None
    main.outputs = [one]
    interpreter = octolite.Interpreter(model_content=write(Model([main])))
    interpreter.allocate_tensors()
    with pytest.raises(RuntimeModelError, match="before anything"):
        interpreter.invoke()


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("RANDOM_UNIFORM", Case([const([3, 3])], {"seed": 5, "seed2": 6})),
        ("RANDOM_STANDARD_NORMAL", Case([const([7])], {"seed": 5})),
        ("MULTINOMIAL", Case([f32(2, 6), const(5)], {"seed2": 9})),
    ],
)
def test_random_numbers_go_on_as_in_litert(name: str, case: Case) -> None:
    model, feeds = case.build(operator_class(name))
    content = write(model)
    mine, theirs = octolite.Interpreter(model_content=content), interpreter_of(content, name)
    mine.allocate_tensors()
    theirs.allocate_tensors()
    runs = []
    for _ in range(3):
        runs.append(run(mine, *feeds.values())[0])
        np.testing.assert_allclose(runs[-1], run(theirs, *feeds.values())[0], rtol=1e-5, atol=1e-6)
    assert not np.array_equal(runs[0], runs[1])
    mine.reset_all_variables()
    np.testing.assert_array_equal(run(mine, *feeds.values())[0], runs[0])


def test_without_a_seed_numbers_differ_and_are_spread_as_they_should() -> None:
    def drawn(name: str) -> Any:
        model, _ = Case([const([200, 200])]).build(operator_class(name))
        interpreter = octolite.Interpreter(model_content=write(model))
        interpreter.allocate_tensors()
        return run(interpreter)[0]

    even, other, bell = (drawn(f"RANDOM_{n}") for n in ("UNIFORM", "UNIFORM", "STANDARD_NORMAL"))
    assert not np.array_equal(even, other)
    assert abs(even.mean() - 0.5) < 0.02
    assert 0 <= even.min() < 0.001 < 0.999 < even.max() < 1
    assert abs(bell.mean()) < 0.04
    assert abs(bell.std() - 1) < 0.04


def test_an_empty_tensor_of_endless_extents_is_refused() -> None:
    main = Graph("main")
    x = main.add_input("x", FLOAT32, (0, 2**31 - 1, 2**31 - 1, 9))
    main.outputs = [x]
    put(main, "ASSIGN_VARIABLE", handle(main), x)
    interpreter = octolite.Interpreter(model_content=write(Model([main])))
    with pytest.raises(RuntimeModelError, match="memory_limit"):
        interpreter.allocate_tensors()


def two_signatures() -> bytes:
    """One signature sets a variable, the other adds what it holds."""
    start, add = Graph("start"), Graph("add")
    first, x = start.add_input("first", FLOAT32, (2,)), add.add_input("x", FLOAT32, (2,))
    put(start, "ASSIGN_VARIABLE", handle(start), first)
    told = put(start, "NEG", first)
    total = put(add, "READ_VARIABLE", handle(add), dtype=FLOAT32, shape=(2,))
    assert told is not None
    assert total is not None
    y = put(add, "ADD", total, x)
    assert y is not None
    start.outputs, add.outputs = [told], [y]
    signatures = [
        Signature("start", {"first": first}, {"told": told}, start),
        Signature("add", {"x": x}, {"y": y}, add),
    ]
    return write(Model([start, add], signatures))


def test_signatures_enter_their_own_graphs_and_share_the_state() -> None:
    content = two_signatures()
    for interpreter in (
        octolite.Interpreter(model_content=content),
        interpreter_of(content, "ADD"),
    ):
        start, add = (interpreter.get_signature_runner(key) for key in ("start", "add"))
        told = start(first=np.array([1, 2], np.float32))["told"]
        np.testing.assert_array_equal(told, [-1, -2])
        for _ in range(2):
            np.testing.assert_array_equal(add(x=np.array([5, 5], np.float32))["y"], [6, 7])
    mine = octolite.Interpreter(model_content=content)
    mine.get_signature_runner("start")(first=np.array([3, 3], np.float32))
    with pytest.raises(RuntimeModelError, match="before anything"):
        mine.clone().get_signature_runner("add")(x=np.zeros(2, np.float32))
    assert mine.get_signature_runner("add").get_input_details()["x"]["name"] == "x"
