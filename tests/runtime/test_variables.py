"""Named variables of one type for good: memory that compiled code reads and writes."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import octolite
from octolite.errors import RuntimeModelError, ShapeError, UsageError
from octolite.ir.graph import Graph, Model, Signature, Value
from octolite.ir.types import BOOL, FLOAT32, INT32, RESOURCE
from octolite.ops import operator_class
from octolite.ops.control import If
from octolite.tflite import write
from tests.ops.litert import interpreter_of

SHAPE = (2, 3)
NAMES = ("first", "second")


def put(graph: Graph, name: str, *inputs: Value | None, **attributes: Any) -> Any:
    node = graph.add(operator_class(name)(**attributes), inputs)
    return node.outputs[0] if node.outputs else None


def constant(array: Any) -> Value:
    return Value.constant("c", np.asarray(array))


def handle(graph: Graph, name: str) -> Value:
    found: Value = put(graph, "VAR_HANDLE", shared_name=name)
    return found


def read(graph: Graph, name: str, shape: tuple[int, ...] = SHAPE) -> Value:
    found: Value = put(graph, "READ_VARIABLE", handle(graph, name), dtype=FLOAT32, shape=shape)
    return found


def assign(graph: Graph, name: str, value: Value) -> None:
    put(graph, "ASSIGN_VARIABLE", handle(graph, name), value)


def initialised(shape: tuple[int, ...] = SHAPE) -> Graph:
    graph = Graph("init")
    for i, name in enumerate(NAMES):
        assign(graph, name, constant(np.full(shape, 10.0 * i + 1, np.float32)))
    return graph


def beginning() -> tuple[Graph, Graph, Value]:
    """A graph that has its variables initialised, that graph, and its input."""
    main, init = Graph("main"), initialised()
    x = main.add_input("x", FLOAT32, SHAPE)
    put(main, "CALL_ONCE", init=init)
    return main, init, x


def sums() -> bytes:
    """y: the sum of all x so far."""
    main, init, x = beginning()
    total = put(main, "ADD", read(main, "first"), x)
    assign(main, "first", total)
    main.outputs = [put(main, "MUL", total, constant(np.float32(2)))]
    return write(Model([main, init]))


def ready(content: bytes, **options: Any) -> octolite.Interpreter:
    interpreter = octolite.Interpreter(model_content=content, num_threads=1, **options)
    interpreter.allocate_tensors()
    return interpreter


def run(interpreter: Any, *inputs: Any) -> list[Any]:
    for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def filled(value: float) -> Any:
    return np.full(SHAPE, value, np.float32)


def entered(interpreter: octolite.Interpreter) -> list[str]:
    """The Python functions that a run enters."""
    names: list[str] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            names.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        interpreter.invoke()
    finally:
        sys.setprofile(None)
    return names


def test_a_stream_is_one_native_call_once_it_has_begun() -> None:
    interpreter = ready(sums())
    assert run(interpreter, filled(1))[0].tolist() == filled(4).tolist()
    for _ in range(2):
        assert entered(interpreter) == ["invoke"]
    assert run(interpreter, filled(1))[0].tolist() == filled(10).tolist()
    interpreter.reset_all_variables()
    assert len(entered(interpreter)) > 1
    assert entered(interpreter) == ["invoke"]
    clone = interpreter.clone()
    assert run(clone, filled(0))[0].tolist() == filled(2).tolist()
    assert run(interpreter, filled(0))[0].tolist() == filled(6).tolist()


def test_a_profile_of_the_first_run_has_what_is_done_once() -> None:
    interpreter = ready(sums())
    told = {t.unit.op.name: len(t.nanoseconds) for t in interpreter.profile(3)}
    assert told["CALL_ONCE"] == 1
    assert told["ASSIGN_VARIABLE"] == 3


# Programs of reading, assigning and computing, in any order; numbers choose among what is there.
STEP = st.one_of(
    st.tuples(st.just("read"), st.sampled_from(NAMES)),
    st.tuples(st.just("assign"), st.sampled_from(NAMES), st.integers(0, 99)),
    st.tuples(st.sampled_from(["NEG", "RESHAPE", "PAD", "ADD"]), st.integers(0, 99)),
)


def program(steps: list[Any], kept: list[int]) -> bytes:
    main, init, x = beginning()
    found = [x]
    for kind, *choices in steps:
        value = found[choices[-1] % len(found)] if kind != "read" else x
        if kind == "read":
            found.append(read(main, choices[0]))
        elif kind == "assign":
            assign(main, choices[0], value)
        elif kind == "RESHAPE":
            flat = put(main, kind, value, constant(np.int32([6])))
            found.append(put(main, kind, flat, constant(np.int32(SHAPE))))
        elif kind == "PAD":
            wide = put(main, kind, value, constant(np.int32([[1, 0], [0, 0]])))
            begin, size = constant(np.int32([1, 0])), constant(np.int32(SHAPE))
            found.append(put(main, "SLICE", wide, begin, size))
        elif kind == "ADD":
            found.append(put(main, kind, value, found[-1]))
        else:
            found.append(put(main, kind, value))
    made = found[1:] or [put(main, "NEG", x)]
    main.outputs = list({id(v): v for v in (made[i % len(made)] for i in kept)}.values())
    return write(Model([main, init]))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(STEP, min_size=1, max_size=14), st.lists(st.integers(0, 99), min_size=1, max_size=3)
)
def test_whatever_the_order_it_is_as_in_litert(steps: list[Any], kept: list[int]) -> None:
    content = program(steps, kept)
    mine, theirs = ready(content), interpreter_of(content, "ADD")
    apart = ready(content, preserve_all_tensors=True)
    theirs.allocate_tensors()
    for turn in range(3):
        x = np.arange(6, dtype=np.float32).reshape(SHAPE) + turn
        for a, b, c in zip(run(mine, x), run(theirs, x), run(apart, x), strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(c, b)


def test_what_was_read_stays_when_its_variable_is_assigned() -> None:
    """Read, and seen in another shape, before it is assigned; used after."""
    content = program(
        [("read", "first"), ("RESHAPE", 1), ("assign", "first", 0), ("NEG", 2), ("read", "first")],
        [2, 3],
    )
    interpreter = ready(content)
    old, new = run(interpreter, filled(7))
    assert (old == -1).all()
    assert (new == 7).all()


def test_initialising_that_follows_an_assignment_keeps_its_place() -> None:
    main, init = Graph("main"), initialised()
    x = main.add_input("x", FLOAT32, SHAPE)
    assign(main, "first", x)
    before = read(main, "first")
    put(main, "CALL_ONCE", init=init)
    main.outputs = [put(main, "NEG", before), read(main, "first")]
    content = write(Model([main, init]))
    mine, theirs = ready(content), interpreter_of(content, "ADD")
    theirs.allocate_tensors()
    for turn in range(2):
        for a, b in zip(run(mine, filled(turn)), run(theirs, filled(turn)), strict=True):
            np.testing.assert_array_equal(a, b)


def test_variables_count_as_memory() -> None:
    content = sums()
    with pytest.raises(RuntimeModelError, match="memory_limit"):
        ready(content, memory_limit=100)


def test_a_value_of_another_shape_than_the_file_declares_is_refused() -> None:
    """By the file it has the variable's; by the operator that makes it, it has not."""
    main, init, x = beginning()
    longer = put(main, "CONCATENATION", x, x, axis=0)
    longer.shape = SHAPE
    assign(main, "first", longer)
    main.outputs = [put(main, "NEG", read(main, "first"))]
    with pytest.raises(ShapeError, match=r"ASSIGN_VARIABLE.*\(4, 3\).*'first'"):
        ready(write(Model([main, init])))


def test_a_value_whose_shape_shows_when_it_runs_must_have_the_variables() -> None:
    main, init, x = beginning()
    shape = main.add_input("shape", INT32, (2,))
    turned = put(main, "RESHAPE", x, shape)
    turned.shape = SHAPE
    assign(main, "first", turned)
    main.outputs = [put(main, "NEG", read(main, "first"))]
    interpreter = ready(write(Model([main, init])))
    assert (run(interpreter, filled(2), np.int32(SHAPE))[0] == -2).all()
    with pytest.raises(ShapeError, match=r"ASSIGN_VARIABLE.*\(3, 2\)"):
        run(interpreter, filled(2), np.int32([3, 2]))


def test_variables_of_branches_and_of_handles_handed_on_are_as_they_were() -> None:
    main, init, x = beginning()
    flag = main.add_input("flag", BOOL, ())
    then, other = Graph("then"), Graph("other")
    for graph, factor in ((then, 2), (other, 3)):
        given = graph.add_input("given", FLOAT32, SHAPE)
        held = put(graph, "ADD", read(graph, "first"), given)
        assign(graph, "first", put(graph, "MUL", held, constant(np.float32(factor))))
        graph.outputs = [held]
    (seen,) = main.add(If(then=then, other=other), [flag, x], "if").outputs
    main.outputs = [seen, put(main, "NEG", read(main, "first"))]
    content = write(Model([main, init, then, other]))
    mine, theirs = ready(content), interpreter_of(content, "ADD")
    theirs.allocate_tensors()
    for turn in range(4):
        feeds = filled(turn), np.bool_(turn % 2)
        for a, b in zip(run(mine, *feeds), run(theirs, *feeds), strict=True):
            np.testing.assert_array_equal(a, b)


def two_signatures() -> bytes:
    """One lets a variable hold its input, the other gives the negative."""
    graphs, signatures = [], []
    for key in ("hold", "tell"):
        graph = Graph(key)
        x = graph.add_input(f"{key}_x", FLOAT32, SHAPE)
        if key == "hold":
            assign(graph, "first", x)
        else:
            init = initialised()
            put(graph, "CALL_ONCE", init=init)
        held = read(graph, "first")
        graph.outputs = [put(graph, "SUB", x, held)]
        graphs.append(graph)
        signatures.append(Signature(key, {"x": x}, {"y": graph.outputs[0]}, graph))
    return write(Model([*graphs, init], signatures))


def test_graphs_share_memory_until_a_variable_gets_another_shape() -> None:
    interpreter = ready(two_signatures())
    tell = interpreter.get_signature_runner("tell")
    assert (tell(x=filled(0))["y"] == -1).all()
    run(interpreter, filled(5))
    assert (tell(x=filled(0))["y"] == -5).all()
    hold = interpreter.get_signature_runner("hold")
    assert (hold(x=np.zeros((4, 5), np.float32))["y"] == 0).all()
    with pytest.raises(ShapeError, match="SUB"):
        tell(x=filled(0))
    assert (hold(x=filled(3))["y"] == 0).all()
    assert (tell(x=filled(0))["y"] == -3).all()


def test_another_graph_of_resized_inputs_makes_memory_be_set_aside_anew() -> None:
    interpreter = ready(two_signatures())
    run(interpreter, filled(5))
    interpreter.get_signature_runner("tell")(x=np.zeros((1, 3), np.float32))
    for doing in (interpreter.invoke, interpreter.profile, interpreter.clone().invoke):
        with pytest.raises(UsageError, match="allocate_tensors"):
            doing()
    interpreter.allocate_tensors()
    assert (run(interpreter, filled(5))[0] == 0).all()
    assert (interpreter.get_signature_runner("tell")(x=filled(0))["y"] == -5).all()


def test_a_handle_from_elsewhere_may_mean_any_variable() -> None:
    main, init, x = beginning()
    where = main.add_input("where", RESOURCE, (1,))
    assign(main, "first", x)
    put(main, "ASSIGN_VARIABLE", where, put(main, "NEG", x))
    main.outputs = [put(main, "NEG", read(main, "first"))]
    interpreter = ready(write(Model([main, init])))
    found = [run(interpreter, filled(2), np.int32([number]))[0][0, 0] for number in (0, 1)]
    assert sorted(found) == [-2, 2]
