"""Custom operators that users define, and what becomes of those that nobody does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octolite
from octolite import CustomOperator
from octolite.errors import (
    FormatError,
    OctoliteError,
    RuntimeModelError,
    ShapeError,
    UnsupportedError,
    UsageError,
)
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import FLOAT32, INT32, DType
from octolite.ops import operator_class
from octolite.ops.custom import user_operator
from octolite.tflite import flexbuffer, read, write


def model(
    options: bytes = b"",
    result: DType = FLOAT32,
    behind: bool = True,
) -> bytes:
    """x → "Floor" → ABS."""
    cls = user_operator("Floor", CustomOperator(lambda options, x: x))
    main = Graph("main")
    x = main.add_input("x", FLOAT32, (2, None))
    made = Value("floored", result, (2, None))
    main.add(cls(raw=options), [x], outputs=[made])
    main.outputs = [main.add(operator_class("ABS")(), [made], "y").output if behind else made]
    return write(Model([main]))


def run(content: bytes, x: Any, **definition: Any) -> Any:
    given = {"Floor": CustomOperator(**definition)}
    interpreter = octolite.Interpreter(model_content=content, custom_operators=given)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


X = np.array([[-3, 1, 2], [0, -1, 5]], np.float32)


@pytest.mark.parametrize("shapes", [None, lambda options, shape: [shape]])
def test_a_function_and_a_shape_rule_are_an_operator(shapes: Any) -> None:
    content = model(flexbuffer.encode({"floor": -2.0}))
    found = run(
        content, X, compute=lambda o, x: np.maximum(x, np.float32(o["floor"])), shapes=shapes
    )
    np.testing.assert_array_equal(found, [[2, 1, 2], [0, 1, 5]])


def test_options_are_decoded_as_the_user_says() -> None:
    def compute(options: Any, x: Any) -> Any:
        return x * np.float32(options)

    found = run(model(b"\x03"), X, compute=compute, decode=lambda raw: raw[0])
    np.testing.assert_array_equal(found, np.abs(X) * 3)
    assert run(model(), X, compute=lambda options, x: x + len(options)).shape == X.shape


def test_clones_run_custom_operators() -> None:
    given = {"Floor": CustomOperator(lambda options, x: x + 1, lambda options, x: [x])}
    interpreter = octolite.Interpreter(model_content=model(), custom_operators=given)
    interpreter.allocate_tensors()
    clone = interpreter.clone()
    clone.set_tensor(0, np.ones((2, 1), np.float32))
    clone.invoke()
    assert clone.get_tensor(clone.get_output_details()[0]["index"]).tolist() == [[2], [2]]


@pytest.mark.parametrize(
    ("definition", "error", "says"),
    [
        ({"compute": lambda o, x: 1 / 0}, RuntimeModelError, "ZeroDivisionError"),
        ({"compute": lambda o, x: x.astype(np.int32)}, RuntimeModelError, "declares float32"),
        ({"compute": lambda o, x: (x, x)}, RuntimeModelError, "2 results, expected 1"),
        (
            {"compute": lambda o, x: x[:, :1], "shapes": lambda o, s: [s]},
            RuntimeModelError,
            "planned as",
        ),
        ({"compute": lambda o, x: x, "shapes": lambda o, s: s}, ShapeError, "shape rule"),
        ({"compute": lambda o, x: x, "shapes": lambda o, s: [(-1, 2)]}, ShapeError, "shape rule"),
        ({"compute": lambda o, x: x, "shapes": lambda o, s: s["a"]}, ShapeError, "TypeError"),
        (
            {"compute": lambda o, x: x, "decode": lambda raw: raw[5]},
            FormatError,
            "IndexError",
        ),
    ],
)
def test_what_users_get_wrong_is_named(definition: Any, error: type, says: str) -> None:
    with pytest.raises(error, match=says) as found:
        run(model(), X, **definition)
    assert "Floor" in str(found.value)


def test_operators_that_nobody_defines_are_refused_with_a_hint() -> None:
    with pytest.raises(UnsupportedError, match=r"'Floor'.*node 0") as error:
        octolite.Interpreter(model_content=model())
    assert "custom_operators" in str(error.value)
    with pytest.raises(UsageError, match="CustomOperator"):
        octolite.Interpreter(model_content=model(), custom_operators={"Floor": print})  # type: ignore[dict-item]


def test_a_custom_code_is_never_a_builtin_operator() -> None:
    main = Graph("main")
    x = main.add_input("x", FLOAT32, (2,))
    cls = user_operator("RELU", CustomOperator(lambda options, x: x))
    made = Value("y", FLOAT32, (2,))
    main.add(cls(), [x], outputs=[made])
    main.outputs = [made]
    with pytest.raises(UnsupportedError, match="custom operator 'RELU'"):
        read(write(Model([main])))


def test_files_with_custom_operators_read_back_to_the_same_bytes() -> None:
    content = model(flexbuffer.encode({"floor": 1.5}), INT32, behind=False)
    classes = {"Floor": user_operator("Floor", CustomOperator(lambda options, x: x))}
    again = read(content, custom=classes)
    assert again.main.nodes[0].op.attributes()["options_given"] == {"floor": 1.5}
    assert write(again) == content


NESTED = {"a": 1, "b": [1, 2.5, "x", None], "c": {"d": True, "e": "f"}, "g": [1, 2, 3], "h": -7}


def test_flexbuffers_hold_what_was_put_in() -> None:
    assert flexbuffer.decode(flexbuffer.encode(NESTED)) == NESTED


def test_damaged_flexbuffers_are_refused_or_read() -> None:
    content = flexbuffer.encode(NESTED)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(3000):
        damaged = bytearray(
            content[: rng.integers(0, len(content)) if rng.random() < 0.2 else None]
        )
        for _ in range(rng.integers(1, 4)):
            if damaged:
                damaged[rng.integers(0, len(damaged))] = rng.integers(0, 256)
        try:
            flexbuffer.decode(bytes(damaged))
        except OctoliteError:
            refused += 1
    assert refused > 500
