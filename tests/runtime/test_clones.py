"""One native call for each run, and several threads that run one model at the same time."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import tracemalloc
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import octolite
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import FLOAT32, INT32, Array
from octolite.ops.base import operator_class
from octolite.ops.control import While
from octolite.runtime import executor
from octolite.tflite import write

RNG = np.random.default_rng(11)
DIGITS = Path(__file__).parents[2] / "examples" / "digits"


@pytest.fixture(scope="module")
def digits() -> bytes:
    """A convolutional network with int8 weights."""
    return octolite.convert(DIGITS / "digits.pb")


@pytest.fixture(scope="module")
def images() -> Array:
    with np.load(DIGITS / "holdout.npz") as data:
        return np.asarray(data["images"][:64], np.float32)


def ready(content: bytes, shape: tuple[int, ...], **options: Any) -> octolite.Interpreter:
    interpreter = octolite.Interpreter(model_content=content, **options)
    index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(index, shape)
    interpreter.allocate_tensors()
    return interpreter


def run(interpreter: octolite.Interpreter, x: Array) -> Array:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def dense_chain(count: int, units: int) -> bytes:
    graph = Graph("main")
    value = graph.add_input("x", FLOAT32, (1, units))
    for i in range(count):
        weights = Value.constant(f"w{i}", RNG.normal(0, 0.1, (units, units)).astype(np.float32))
        op = operator_class("FULLY_CONNECTED")()
        value = graph.add(op, [value, weights, None], f"dense{i}").output
    graph.outputs = [value]
    return write(Model([graph]))


# One native call ---------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_a_compiled_model_runs_in_one_native_call(
    digits: bytes, images: Array, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    class Counted(executor._Crew):
        def __init__(self, workers: int) -> None:
            super().__init__(workers)
            native = self.run

            def counted(program: int) -> int:
                calls.append(program)
                return native(program)

            self.run = counted

    monkeypatch.setattr(executor, "_Crew", Counted)
    interpreter = ready(digits, images.shape, num_threads=threads)
    run(interpreter, images)
    calls.clear()
    for _ in range(3):
        interpreter.invoke()
    assert len(calls) == 3
    assert len(set(calls)) == 1


def test_invoke_runs_no_python_for_an_operator(digits: bytes, images: Array) -> None:
    interpreter = ready(digits, images.shape)
    run(interpreter, images)
    entered: list[str] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            entered.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        interpreter.invoke()
    finally:
        sys.setprofile(None)
    assert entered == ["invoke"]


@pytest.mark.parametrize(("count", "units"), [(1, 8), (50, 8), (3, 512)])
def test_invoke_allocates_nothing(count: int, units: int) -> None:
    interpreter = ready(dense_chain(count, units), (1, units))
    interpreter.invoke()
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(5):
            interpreter.invoke()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1024


# Several threads ---------------------------------------------------------------------------


def in_threads(work: list[Any]) -> None:
    """Call all of ``work`` at once; raises what any of them raises."""
    failed: list[BaseException] = []
    start = threading.Barrier(len(work))

    def guarded(function: Any) -> None:
        try:
            start.wait(60)
            function()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(function,)) for function in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


@pytest.mark.parametrize("threads", [1, 2])
def test_clones_run_side_by_side(digits: bytes, images: Array, threads: int) -> None:
    first = ready(digits, images.shape, num_threads=threads)
    feeds = [images, images[::-1].copy(), images * 0.5, images + 1]
    expected = [run(first, x) for x in feeds]
    assert not np.array_equal(expected[0], expected[2])
    clones = [first, *(first.clone() for _ in feeds[1:])]

    def work(which: int) -> None:
        for _ in range(40):
            np.testing.assert_array_equal(run(clones[which], feeds[which]), expected[which])

    in_threads([lambda which=i: work(which) for i in range(len(feeds))])


def test_the_number_of_threads_changes_no_bit_of_a_network(digits: bytes, images: Array) -> None:
    alone = run(ready(digits, images.shape, num_threads=1), images)
    for threads in (2, 3, 5):
        np.testing.assert_array_equal(
            run(ready(digits, images.shape, num_threads=threads), images), alone
        )


def test_clones_share_the_plan_and_the_weights(digits: bytes, images: Array) -> None:
    first = ready(digits, images.shape)
    assert first._context is not None
    gc.collect()
    tracemalloc.start()
    try:
        clone = first.clone()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert clone._context is not None
    assert clone._context.plan is first._context.plan
    assert clone._context.arena is not first._context.arena
    assert held - first._context.plan.arena_bytes < 64 * 1024


def test_a_clone_goes_its_own_way(digits: bytes, images: Array) -> None:
    first = ready(digits, images.shape)
    expected = run(first, images)
    clone = first.clone()
    index = clone.get_input_details()[0]["index"]
    clone.resize_tensor_input(index, (1, *images.shape[1:]))
    clone.allocate_tensors()
    assert run(clone, images[:1]).shape == (1, 10)
    first.invoke()
    np.testing.assert_array_equal(
        first.get_tensor(first.get_output_details()[0]["index"]), expected
    )
    del first
    gc.collect()
    assert run(clone, images[:1]).shape == (1, 10)


def test_a_clone_of_what_has_no_memory_has_none(digits: bytes) -> None:
    clone = octolite.Interpreter(model_content=digits).clone()
    with pytest.raises(octolite.UsageError, match="allocate_tensors"):
        clone.invoke()


def test_clones_have_states_of_their_own() -> None:
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (1, 2, 3))
    state = Value("h", FLOAT32, (1, 4), is_variable=True)
    constants = [
        Value.constant("w", RNG.normal(size=(4, 3)).astype(np.float32)),
        Value.constant("r", RNG.normal(size=(4, 4)).astype(np.float32)),
        Value.constant("b", np.zeros(4, np.float32)),
    ]
    op = operator_class("UNIDIRECTIONAL_SEQUENCE_RNN")()
    graph.outputs = [graph.add(op, [x, *constants, state], "rnn").output]
    first = ready(write(Model([graph])), (1, 2, 3))
    feed = RNG.normal(size=(1, 2, 3)).astype(np.float32)
    begun, later = run(first, feed), run(first, feed)
    assert not np.array_equal(begun, later)
    clone = first.clone()
    np.testing.assert_array_equal(run(clone, feed), begun)
    np.testing.assert_array_equal(run(clone, feed), later)


def test_clones_of_a_loop_run_side_by_side() -> None:
    cond, body, main = Graph("cond"), Graph("body"), Graph("main")
    for g in (cond, body, main):
        g.add_input(f"{g.name}_n", INT32, ())
        g.add_input(f"{g.name}_x", FLOAT32, (2, 300))
    limit = Value.constant("limit", np.int32(5))
    cond.outputs = [cond.add(operator_class("LESS")(), [cond.inputs[0], limit], "less").output]
    one, half = Value.constant("one", np.int32(1)), Value.constant("half", np.float32(0.5))
    count = body.add(operator_class("ADD")(), [body.inputs[0], one], "count").output
    body.outputs = [count, body.add(operator_class("MUL")(), [body.inputs[1], half], "mul").output]
    main.outputs = list(main.add(While(cond=cond, body=body), main.inputs, "loop").outputs)
    first = octolite.Interpreter(model_content=write(Model([main, cond, body])), num_threads=1)
    first.allocate_tensors()
    clones = [first, first.clone(), first.clone()]

    def work(interpreter: octolite.Interpreter, x: Array) -> None:
        for _ in range(20):
            interpreter.set_tensor(0, np.int32(0))
            interpreter.set_tensor(1, x)
            interpreter.invoke()
            out = interpreter.get_tensor(interpreter.get_output_details()[1]["index"])
            np.testing.assert_array_equal(out, x / 32)

    feeds = [RNG.normal(size=(2, 300)).astype(np.float32) for _ in clones]
    in_threads([lambda c=c, x=x: work(c, x) for c, x in zip(clones, feeds, strict=True)])


def test_an_error_in_one_clone_is_none_in_another() -> None:
    graph = Graph("main")
    ids = graph.add_input("ids", INT32, (3,))
    table = Value.constant("table", RNG.normal(size=(5, 4)).astype(np.float32))
    op = operator_class("GATHER")()
    graph.outputs = [graph.add(op, [table, ids], "rows").output]
    first = octolite.Interpreter(model_content=write(Model([graph])))
    first.allocate_tensors()
    clone = first.clone()
    good, bad = np.array([0, 4, 2], np.int32), np.array([0, 5, 2], np.int32)

    def fail() -> None:
        first.set_tensor(0, bad)
        for _ in range(50):
            with pytest.raises(octolite.RuntimeModelError, match="index 5"):
                first.invoke()

    def succeed() -> None:
        clone.set_tensor(0, good)
        for _ in range(50):
            clone.invoke()

    in_threads([fail, succeed])


@pytest.mark.parametrize("compiled", [True, False])
def test_one_interpreter_refuses_a_second_thread(
    compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first thread is held inside a step, in compiled code or in a reference."""
    inside, go_on = threading.Event(), threading.Event()

    def wait(*arguments: object) -> None:
        inside.set()
        assert go_on.wait(60)

    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (1, 4))
    name = "ABS"
    if not compiled:
        monkeypatch.setattr(operator_class(name), "kernel", lambda self, inputs: None)
    graph.outputs = [graph.add(operator_class(name)(), [x], "one").output]
    interpreter = octolite.Interpreter(model_content=write(Model([graph])), num_threads=1)
    interpreter.allocate_tensors()
    feed = np.full((1, 4), -0.5, np.float32)
    expected = run(interpreter, feed)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(wait)
    assert interpreter._context is not None
    if compiled:
        (native,) = interpreter._context.schedule
        step = native.program.steps[0]  # type: ignore[union-attr]
        held = executor.Step(
            ctypes.cast(function, ctypes.c_void_p).value or 0, step.args, 1, "wait", function
        )
        program = interpreter._executor.prepare([held, step])
        interpreter._context.call = program.call
    else:
        original = operator_class(name).reference

        def slow(self: Any, *arrays: Array) -> Any:
            wait()
            return original(self, *arrays)

        monkeypatch.setattr(operator_class(name), "reference", slow)
    first = threading.Thread(target=interpreter.invoke)
    first.start()
    assert inside.wait(60)
    with pytest.raises(octolite.UsageError, match="clone"):
        interpreter.invoke()
    with pytest.raises(octolite.UsageError, match="clone"):
        interpreter.profile(1)
    go_on.set()
    first.join()
    output = interpreter.get_output_details()[0]["index"]
    np.testing.assert_array_equal(interpreter.get_tensor(output), expected)
