"""TensorFlow operators that nobody here knows, kept as custom operators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octolite
from octolite.errors import UnsupportedError
from octolite.ir.graph import Node
from octolite.ir.types import FLOAT32, INT32, STRING
from octolite.ops.custom import CustomOperator, user_operators
from octolite.tflite import read
from tests.frontends.build import Type, graph, node, placeholder, set_attribute

PATCHES = (
    b"T\0ksizes\0\x04\x01\x03\x03\x01padding\0\x05VALID\0rates\0\x04\x01\x01\x01\x01strides\0\x04"
    b"\x01\x02\x02\x01\x0565*\x1c\x12\x05\x01\x05\x005)\x1d\x11\x04,\x14,,\n$\x01"
)
NGRAMS = (
    b"Tsplits\0left_pad\0\0\0ngram_widths\0\x02\x01\x02pad_width\0preserve_short_sequences\0"
    b"right_pad\0\0\0separator\0\x01 \0\x07`YO@7\x1f\x14\x07\x01\x07\x02YK\0\0\x1e\x13\x04\x14,"
    b"\x04h\x14\x14\x0e$\x01"
)
"""Options as TensorFlow 2.21's converter writes them."""


def listed(message: Any, **attributes: Any) -> Any:
    """A node with attributes that are lists: of integers, or of types."""
    for name, values in attributes.items():
        message.attr[name].list.SetInParent()
        for value in values:
            scratch = type(message)().attr["scratch"]
            set_attribute(scratch, value)
            kind = scratch.WhichOneof("value")
            items = getattr(message.attr[name].list, kind)
            items.append(getattr(scratch, kind))
    return message


def kept(content: bytes, name: str) -> Node:
    """The node of custom operator ``name`` in a file."""
    model = read(content, custom=user_operators({name: CustomOperator(lambda options, *x: x)}))
    return next(n for n in model.main.nodes if n.op.name == name)


def patches() -> bytes:
    made = node("patches", "ExtractImagePatches", "x", T=Type("DT_FLOAT"), padding="VALID")
    listed(made, ksizes=[1, 3, 3, 1], rates=[1] * 4, strides=[1, 2, 2, 1])
    return graph(placeholder("x", 1, 8, 8, 2), made, node("y", "Relu", "patches"))


def test_what_is_not_known_is_refused_unless_it_may_be_custom() -> None:
    with pytest.raises(UnsupportedError, match="ExtractImagePatches is not supported"):
        octolite.convert(patches())


def test_options_are_those_of_tensorflows_converter() -> None:
    found = kept(octolite.convert(patches(), allow_custom_ops=True), "ExtractImagePatches")
    assert found.op.raw == PATCHES
    assert found.output.dtype is FLOAT32
    made = node(
        "grams", "StringNGrams", "x", "splits", Tsplits=Type("DT_INT32"), left_pad="",
        right_pad="", separator=" ", pad_width=0, preserve_short_sequences=False,
    )  # fmt: skip
    listed(made, ngram_widths=[1, 2], _output_types=[Type("DT_STRING"), Type("DT_INT32")])
    content = graph(
        placeholder("x", 4, dtype="DT_STRING"), placeholder("splits", 3, dtype="DT_INT32"), made
    )
    arrays = ["grams", "grams:1"]
    content = octolite.convert(content, output_arrays=arrays, allow_custom_ops=True)
    found = kept(content, "StringNGrams")
    assert found.op.raw == NGRAMS
    assert [v.dtype for v in found.outputs] == [STRING, INT32]


def test_the_interpreter_runs_it_with_what_the_user_says() -> None:
    content = octolite.convert(patches(), allow_custom_ops=True)
    with pytest.raises(UnsupportedError, match="ExtractImagePatches"):
        octolite.Interpreter(model_content=content)

    def compute(options: dict[str, Any], x: Any) -> Any:
        size, step = options["ksizes"][1], options["strides"][1]
        view = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))
        found = view[:, ::step, ::step].transpose(0, 1, 2, 4, 5, 3)
        return found.reshape(*found.shape[:3], -1)

    given = {"ExtractImagePatches": CustomOperator(compute)}
    interpreter = octolite.Interpreter(model_content=content, custom_operators=given)
    x = np.arange(128, dtype=np.float32).reshape(1, 8, 8, 2) - 64
    (found,) = interpreter.get_signature_runner()(x=x).values()
    assert found.shape == (1, 3, 3, 18)
    np.testing.assert_array_equal(found[0, 1, 2, :6], np.maximum(x[0, 2, 4:7].reshape(-1), 0))


def test_everything_else_that_cannot_be_converted_is_still_named() -> None:
    content = graph(
        placeholder("x", 2, 3),
        node("mine", "Mine", "x", T=Type("DT_FLOAT")),
        node("inverse", "MatrixInverse", "mine", T=Type("DT_FLOAT")),
        node("lost", "TensorArrayReadV3", "inverse", "x", "x", dtype=Type("DT_FLOAT")),
    )
    with pytest.raises(UnsupportedError, match=r"Mine.*\n.*MatrixInverse"):
        octolite.convert(content, output_arrays=["inverse"])
    both = octolite.convert(content, output_arrays=["inverse"], allow_custom_ops=True)
    known = {name: CustomOperator(lambda options, x: x) for name in ("Mine", "MatrixInverse")}
    model = read(both, custom=user_operators(known))
    assert [n.op.name for n in model.main.nodes] == ["Mine", "MatrixInverse"]
