"""An interpreter in wrong hands: each misuse ends in an OctoliteError that says what was wrong."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import numpy as np
import pytest

import octolite
from octolite import CustomOperator, Interpreter
from octolite.errors import OctoliteError, UsageError
from octolite.ir.graph import Graph, Model, Signature, Value
from octolite.ir.types import FLOAT32, STRING
from octolite.ops import operator_class
from octolite.tflite import write
from tests.runtime.test_calls import loop
from tests.runtime.test_state import totals


@cache
def content() -> bytes:
    """relu(x · wᵀ), x [2, 3]."""
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (2, 3))
    weights = Value.constant("w", np.ones((4, 3), np.float32))
    rows = graph.add(operator_class("FULLY_CONNECTED")(), [x, weights, None], "rows").output
    graph.outputs = [graph.add(operator_class("RELU")(), [rows], "y").output]
    signature = Signature("s", {"x": x}, {"y": graph.outputs[0]}, graph)
    return write(Model([graph], [signature]))


@cache
def text() -> bytes:
    graph = Graph("main")
    x = graph.add_input("x", STRING, (1,))
    graph.outputs = [graph.add(operator_class("SKIP_GRAM")(ngram_size=1), [x], "y").output]
    return write(Model([graph]))


def ready(source: bytes | None = None, **options: Any) -> Interpreter:
    interpreter = Interpreter(model_content=source or content(), **options)
    interpreter.allocate_tensors()
    return interpreter


def ends(interpreter: Interpreter) -> tuple[int, int]:
    """The indices of input and output."""
    details = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    return details[0]["index"], details[1]["index"]


X, Y = ends(Interpreter(model_content=content()))
ONES = np.ones((2, 3), np.float32)


class Treacherous:
    def __array__(self, *arguments: Any, **options: Any) -> Any:
        raise RuntimeError("not with me")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "either"),
        ({"model_path": "a", "model_content": b"b"}, "either"),
        ({"model_path": "/nowhere/x.tflite"}, "cannot read"),
        ({"model_path": "/"}, "cannot read"),
        ({"model_path": "a\0b"}, "null"),
        ({"model_path": 5}, "a path"),
        ({"model_content": 7}, "bytes"),
        ({"model_content": "text"}, "bytes"),
        *(({"num_threads": n}, "num_threads") for n in (0, -1, "4", 1.5, [1])),
        *(({"memory_limit": n}, "memory_limit") for n in (-1, "1", None, 1e9)),
        *(({"call_limit": n}, "call_limit") for n in (-1, "1", None)),
        ({"hybrid": ["auto"]}, "hybrid"),
        ({"custom_operators": ["Floor"]}, "a dict"),
        ({"custom_operators": {3: CustomOperator(abs)}}, "a name"),
        ({"custom_operators": {"Floor": CustomOperator(3)}}, "functions"),  # type: ignore[arg-type]
        ({"custom_operators": {"Floor": CustomOperator(abs, shapes=3)}}, "functions"),  # type: ignore[arg-type]
    ],
)
def test_making_one(options: dict[str, Any], says: str) -> None:
    if not {"model_path", "model_content"} & options.keys() and options:
        options = {"model_content": content(), **options}
    with pytest.raises(OctoliteError, match=says):
        Interpreter(**options)


def test_bytes_of_any_kind_are_a_model() -> None:
    for source in (bytearray(content()), memoryview(content())):
        ready(source).invoke()  # type: ignore[arg-type]


INDICES = (-1, 99, 10**30, "x", None, 0.5, [0], (0,), object())


@pytest.mark.parametrize(
    "use",
    [
        *(lambda i, n=n: i.set_tensor(n, ONES) for n in INDICES),
        *(lambda i, n=n: i.get_tensor(n) for n in INDICES),
        *(lambda i, n=n: i.tensor(n) for n in INDICES),
        *(lambda i, n=n: i.resize_tensor_input(n, [2, 3]) for n in INDICES),
        *(
            lambda i, a=a: i.set_tensor(X, a)
            for a in (
                np.ones((2, 3)), np.ones((3, 2), np.float32), np.float32(1), ONES.astype(">f4"),
                ONES[None], ONES[:, :2], None, object(), Treacherous(), [[1, 2], [3]], "text",
            )
        ),
        *(
            lambda i, s=s: i.resize_tensor_input(X, s)
            for s in (
                [-1, 3], [2.5, 3], [float("nan"), 3], [float("inf"), 3], [None, 3], "abc", None, 3,
                np.array([[4, 3]]), object(),
            )
        ),
        *(
            lambda i, s=s: (i.resize_tensor_input(X, s), i.allocate_tensors())
            for s in ([2**40, 3], [2**62, 2**62], [10**30, 3], [1] * 40, [2, 5], [])
        ),
        lambda i: i.resize_tensor_input(Y, [1, 2]),
        lambda i: i.resize_tensor_input(X, [4, 3], strict=True),
        lambda i: (i.resize_tensor_input(X, [4, 3]), i.invoke()),
        lambda i: (i.resize_tensor_input(X, [4, 3]), i.get_tensor(Y)),
        lambda i: (i.resize_tensor_input(X, [4, 3]), i.set_tensor(X, np.ones((4, 3), np.float32))),
        lambda i: i.profile(-1),
        lambda i: i.profile("x"),
        *(lambda i, k=k: i.get_signature_runner(k) for k in ("none", 5, [5], b"s")),
        *(
            lambda i, a=a: i.get_signature_runner()(**a)
            for a in (
                {}, {"z": ONES}, {"x": None}, {"x": "abc"}, {"x": [[1], [2, 3]]},
                {"x": Treacherous()}, {"x": np.ones((2, 3))},
                {"x": np.broadcast_to(np.float32(1), (2**40, 3))},
            )
        ),
    ],
)  # fmt: skip
def test_wrong_arguments(use: Callable[[Interpreter], object]) -> None:
    interpreter = ready()
    with pytest.raises(OctoliteError):
        use(interpreter)
    # It is as good as before.
    interpreter.resize_tensor_input(X, [2, 3])
    interpreter.allocate_tensors()
    interpreter.set_tensor(X, ONES)
    interpreter.invoke()
    np.testing.assert_array_equal(interpreter.get_tensor(Y), np.full((2, 4), 3))


@pytest.mark.parametrize(
    "use",
    [
        lambda i: i.invoke(),
        lambda i: i.get_tensor(Y),
        lambda i: i.set_tensor(X, ONES),
        lambda i: i.tensor(Y)(),
        lambda i: i.profile(),
        lambda i: i.reset_all_variables(),
    ],
)
def test_before_allocation(use: Callable[[Interpreter], object]) -> None:
    with pytest.raises(UsageError, match="call allocate_tensors"):
        use(Interpreter(model_content=content()))


@pytest.mark.parametrize(
    "given", [np.ones(1), np.array(["a", "b"]), np.array([3], object), np.array([[b"a"]]), None]
)
def test_strings_are_strings(given: Any) -> None:
    interpreter = ready(text())
    with pytest.raises(UsageError):
        interpreter.set_tensor(ends(interpreter)[0], given)


@pytest.mark.parametrize("given", [np.array(["a b"]), np.array([b"a b"], object), ["a b"]])
def test_strings_come_back_as_bytes(given: Any) -> None:
    interpreter = ready(text())
    x, y = ends(interpreter)
    interpreter.set_tensor(x, given)
    interpreter.invoke()
    assert interpreter.get_tensor(y).tolist() == [b"a", b"b"]


def test_arrays_of_any_layout_are_copied() -> None:
    interpreter = ready()
    numbers = np.arange(24, dtype=np.float32)
    for array in (
        numbers.reshape(6, 4)[::-3, 1:],
        np.asfortranarray(numbers[:6].reshape(2, 3)),
        np.broadcast_to(np.float32(2), (2, 3)),
        np.frombuffer(b"\0" + numbers[:6].tobytes(), np.float32, 6, 1).reshape(2, 3),
    ):
        interpreter.set_tensor(X, array)
        interpreter.invoke()
        np.testing.assert_array_equal(
            interpreter.get_tensor(Y), np.repeat(array.sum(1, keepdims=True), 4, axis=1)
        )


def test_constants_stay_as_they_are() -> None:
    interpreter = ready()
    (index,) = (d["index"] for d in interpreter.get_tensor_details() if d["name"] == "w")
    with pytest.raises(UsageError, match="constant"):
        interpreter.set_tensor(index, np.zeros((4, 3), np.float32))
    view = interpreter.tensor(index)()
    with pytest.raises(ValueError, match="read-only"):
        view[...] = 0


def test_views_outlive_what_they_were_of() -> None:
    interpreter = ready()
    get = interpreter.tensor(X)
    old = get()
    interpreter.resize_tensor_input(X, [5, 3])
    with pytest.raises(UsageError, match="allocate_tensors"):
        get()
    interpreter.allocate_tensors()
    old[...] = 7  # nobody's memory but its own
    assert get().shape == (5, 3)
    assert not get().any()
    del interpreter, get
    gc.collect()
    old[...] = 8
    assert old.sum() == 48


@pytest.mark.parametrize("source", ["plain", "loop", "state"])
def test_threads_in_one_interpreter(source: str) -> None:
    """All at once in one interpreter: results, or errors of ours; and it works afterwards."""
    made = {
        "plain": content,
        "loop": lambda: write(loop(30, (2, 3), "TANH")),
        "state": totals,
    }
    interpreter = ready(made[source](), num_threads=2)
    x, y = ends(interpreter)
    shape = tuple(interpreter.get_input_details()[0]["shape"].tolist())
    dtype = interpreter.get_input_details()[0]["dtype"]
    wrong: list[BaseException] = []
    until = time.monotonic() + 1.0

    def play(seed: int) -> None:
        rng = Random(seed)
        uses: list[Callable[[], object]] = [
            interpreter.invoke,
            interpreter.invoke,
            interpreter.allocate_tensors,
            lambda: interpreter.set_tensor(x, np.zeros(shape, dtype)),
            lambda: interpreter.resize_tensor_input(x, rng.choice((shape, (3, *shape[1:])))),
            lambda: interpreter.get_tensor(y),
            interpreter.reset_all_variables,
            lambda: interpreter.profile(1),
            interpreter.get_tensor_details,
        ]
        while time.monotonic() < until:
            try:
                rng.choice(uses)()
            except OctoliteError:
                pass
            except BaseException as error:
                wrong.append(error)

    threads = [threading.Thread(target=play, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:3]
    interpreter.resize_tensor_input(x, shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(x, np.zeros(shape, dtype))
    interpreter.invoke()
    assert np.isfinite(interpreter.get_tensor(y)).all()


def test_a_clone_is_misused_like_its_origin() -> None:
    clone = Interpreter(model_content=content()).clone()
    with pytest.raises(octolite.UsageError, match="allocate_tensors"):
        clone.invoke()
