"""Models that Keras saved, of every layer: converted in float, they give what Keras gave."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

import octolite
from octolite import ir, tflite
from octolite.frontends import keras
from tests.frontends.keras.recorded import ALL, Recording
from tests.recorded import relative_error, sqnr

TOLERANCE = 1e-5
every_file = pytest.mark.parametrize("recording", ALL, ids=str)
every_model = pytest.mark.parametrize("recording", [r for r in ALL if r.kind == "keras"], ids=str)
NETWORKS = [r for r in ALL if r.name in ("network", "recurrent", "attention") and r.kind == "keras"]


def run(make: Any, content: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Results in the order of the file; an input of another name is the only one."""
    interpreter = make(model_content=content)
    inputs = {d["index"]: feeds.get(d["name"], next(iter(feeds.values())))
              for d in interpreter.get_input_details()}  # fmt: skip
    for index, array in inputs.items():
        interpreter.resize_tensor_input(index, array.shape)
    interpreter.allocate_tensors()
    for index, array in inputs.items():
        interpreter.set_tensor(index, array)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def shapes(recording: Recording) -> dict[str, tuple[int, ...]]:
    """Shapes of all that is fed, by the names of the input layers."""
    names = [v.name for v in keras.load(recording.content).main.inputs]
    feeds = recording.feeds
    return {n: feeds.get(n, next(iter(feeds.values()))).shape for n in names}


def check(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for number, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert a.shape == b.shape, number
        assert relative_error(a, b) <= TOLERANCE, number


@every_file
def test_open_batch_in_octolite(recording: Recording) -> None:
    model = keras.load(recording.content)
    for graph in model.graphs:
        ir.verify(graph)
    content = octolite.convert(recording.content, quantize="none")
    check(run(octolite.Interpreter, content, recording.feeds), recording.expected)


@every_model
def test_declared_batch_in_litert(recording: Recording) -> None:
    """LiteRT keeps the states of recurrent operators in the shapes that the file declares."""
    given = shapes(recording)
    content = octolite.convert(recording.content, quantize="none", input_shapes=given)
    check(run(LiteRT, content, recording.feeds), recording.expected)


@every_model
def test_both_formats_hold_the_same(recording: Recording) -> None:
    other = Recording(recording.name, recording.version, "h5")
    a, b = (octolite.convert(r.content, quantize="none") for r in (recording, other))
    assert a == b


@pytest.mark.parametrize("recording", NETWORKS, ids=str)
def test_weights_in_8_bits(recording: Recording) -> None:
    content = octolite.convert(recording.content, min_elements=8)
    for a, b in zip(run(octolite.Interpreter, content, recording.feeds), recording.expected,
                    strict=True):  # fmt: skip
        assert sqnr(a, b) > 15


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        (  # one that reads backward finds one that reads forward
            "recurrent",
            {
                "UNIDIRECTIONAL_SEQUENCE_LSTM": 2,
                "BIDIRECTIONAL_SEQUENCE_LSTM": 1,
                "UNIDIRECTIONAL_SEQUENCE_RNN": 3,
            },
        ),
        ("bidirectional", {"BIDIRECTIONAL_SEQUENCE_LSTM": 4, "BIDIRECTIONAL_SEQUENCE_RNN": 1}),
    ],
)
def test_recurrent_layers_become_operators(name: str, operators: dict[str, int]) -> None:
    content = octolite.convert(Recording(name, 3, "keras").content)
    found = tflite.read(content).main.operators()
    assert {k: found[k] for k in operators} == operators
