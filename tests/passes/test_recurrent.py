"""Loops over known cells become recurrent operators, and compute what TensorFlow computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import octolite
from octolite import ir, passes, tflite
from octolite.ir import Model
from octolite.ops.control import If, evaluate
from octolite.passes.engine import Explanation
from tests.recorded import relative_error
from tests.recorded import run as run_file
from tests.recurrent import ALL, FUSED, Recording, run

NOT_FUSED = {
    "lstm_raw": "raw_rnn counts in its condition what has finished",
    "rnn_static_lengths_v1": "each step is a conditional",
    "rnn_static_lengths_v2": "each step is a conditional",
}
"""What one would want to be a recurrent operator, and is not."""


def recurrent_operators(model: Model) -> list[str]:
    return sorted(n.op.name for g in model.graphs for n in g.nodes if n.op.name in FUSED)


@pytest.fixture(scope="module")
def optimized() -> Callable[[Recording], Model]:
    """Recordings as optimized, with no shapes declared; each is made once."""
    made: dict[str, Model] = {}

    def make(recording: Recording) -> Model:
        if recording.name not in made:
            made[recording.name] = recording.optimized()
        return made[recording.name]

    return make


def check(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, array in expected.items():
        assert found[name].shape == array.shape
        assert relative_error(found[name], array) < 1e-5


@pytest.mark.parametrize("recording", ALL, ids=lambda r: r.name)
def test_operators_are_those_that_are_wanted(
    recording: Recording, optimized: Callable[[Recording], Model]
) -> None:
    model = optimized(recording)
    for graph in model.graphs:
        ir.verify(graph)
    wanted = [] if recording.name in NOT_FUSED else recording.expected_operators
    assert recurrent_operators(model) == wanted
    if wanted:
        assert "WHILE" not in model.main.operators()
        assert len(model.graphs) == 1


@pytest.mark.parametrize("recording", ALL, ids=lambda r: r.name)
def test_octolite_gives_what_tensorflow_gave(
    recording: Recording, optimized: Callable[[Recording], Model]
) -> None:
    """For each recorded set of shapes, from one file in which they are open."""
    for feeds, expected in recording.runs():
        check(run(octolite.Interpreter, optimized(recording), feeds), expected)


@pytest.mark.parametrize("recording", ALL, ids=lambda r: r.name)
def test_litert_gives_what_tensorflow_gave(recording: Recording) -> None:
    """For shapes that are declared: LiteRT gives states the shape that the file has."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    feeds, expected = recording.runs()[0]
    model = recording.optimized(feeds)
    check(run(litert.Interpreter, model, feeds), expected)
    wanted = [] if recording.name in NOT_FUSED else recording.expected_operators
    assert recurrent_operators(model) == wanted


def sqnr(found: np.ndarray, expected: np.ndarray) -> float:
    noise = np.square(np.float64(found) - expected).sum()
    return float(10 * np.log10(np.square(np.float64(expected)).sum() / max(noise, 1e-30)))


HYBRID = [
    "bidirectional_rnn", "bidirectional_rnn_time_major", "cell_lstm_everything", "keras3_lstm_last",
    "loop_power_v2", "lstm_dynamic", "rnn_dynamic", "rnn_static", "rnn_lengths_v1",
]  # fmt: skip


@pytest.mark.parametrize("name", HYBRID)
def test_hybrid_files_are_as_exact_as_in_litert(name: str) -> None:
    """On sequences in a batch of 24; the recorded ones are too few to tell half a decibel."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    recording = Recording(name)
    rng = np.random.default_rng(7)
    first = recording.runs()[0][0]
    feeds = {}
    for key, array in first.items():
        axis = 1 if "time_major" in name and array.ndim == 3 else 0
        rows = np.concatenate([array] * (24 // array.shape[axis] + 1), axis)
        rows = rows.take(range(24), axis)
        noise = rng.normal(size=rows.shape).astype(np.float32)
        feeds[key] = noise if array.dtype == np.float32 else rows
    shapes = {key: array.shape for key, array in feeds.items()}
    outputs, size = recording.facts["outputs"], {"min_elements": 64}

    def made(kind: str) -> bytes:
        return octolite.convert(
            recording.path, kind, output_arrays=outputs, input_shapes=shapes, **size
        )

    def results(make: Any, content: bytes) -> list[np.ndarray]:
        return run_file(make, content, feeds)

    reference = results(octolite.Interpreter, made("none"))
    content = made("dynamic")
    ours, theirs = (results(m, content) for m in (octolite.Interpreter, litert.Interpreter))
    for a, b, expected in zip(ours, theirs, reference, strict=True):
        assert sqnr(b, expected) > 20
        assert sqnr(a, expected) > sqnr(b, expected) - 0.5


# -- reasons --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lstm_initial_input", "initial state 'c' is not zero"),
        ("rnn_initial_constant", "is not zero"),
        ("lstm_final_cell_v1", "is not the output of a cell"),
        ("lstm_lengths_cell", "is not the output of a cell"),
        ("cell_rnn_sigmoid", "no known cell"),
        ("cell_gru_v1", "no known cell"),
        ("loop_until_v1", "no comparison of counters"),
        ("loop_backwards_v2", "no comparison of counters"),
    ],
)
def test_a_loop_that_stays_tells_why(name: str, reason: str) -> None:
    model, explain = Recording(name).load(), Explanation()
    passes.optimize(model, explain=explain)
    told = [e.reason for e in explain.events if e.rule == "FuseRecurrentCells"]
    assert any(text is not None and reason in text for text in told), told


def _unmasked(kept: str) -> Model:
    """A network with sequence_length of which one of the choices in the loop always changes."""
    model = Recording("rnn_lengths_v1").load()
    body = next(g for g in model.graphs if g.name.endswith("body"))
    select = next(n for n in body.nodes if n.name == kept)
    assert select.inputs[2] is not None
    body.replace(select.output, select.inputs[2])
    body.prune()
    return model


@pytest.mark.parametrize("kept", ["rnn/while/Select", "rnn/while/Select_1"])
def test_what_is_wrong_past_the_end_of_a_sequence_comes_out_nowhere(kept: str) -> None:
    """Outputs without zeros past the end, and a state that goes on: neither is what one expects."""
    feeds = Recording("rnn_lengths_v1").runs()[0][0]
    model = _unmasked(kept)
    expected = evaluate(model.main, [feeds[v.name] for v in model.main.inputs])
    passes.optimize(model)
    assert recurrent_operators(model) == []
    found = evaluate(model.main, [feeds[v.name] for v in model.main.inputs])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_states_go_on_until_they_are_reset() -> None:
    """As in LiteRT: a second run begins where the first has ended."""
    recording = Recording("rnn_dynamic")
    feeds, expected = recording.runs()[0]
    interpreter = octolite.Interpreter(model_content=tflite.write(recording.optimized(feeds)))
    interpreter.allocate_tensors()
    index = interpreter.get_input_details()[0]["index"]

    def invoke() -> np.ndarray:
        interpreter.set_tensor(index, feeds["x"])
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    first, second = invoke(), invoke()
    assert relative_error(first, expected["out"]) < 1e-5
    assert relative_error(second, expected["out"]) > 1e-3
    interpreter.reset_all_variables()
    assert relative_error(invoke(), expected["out"]) < 1e-5


def test_a_loop_in_a_loop_keeps_no_state() -> None:
    """An operator with state in a body would begin where the round before has ended."""
    model = Recording("rnn_dynamic").load()
    outer = ir.Graph("outer")
    outer.inputs = [ir.Value(v.name, v.dtype, v.shape) for v in model.main.inputs]
    flag = outer.add_input("flag", ir.types.BOOL, ())
    call = outer.add(If(then=model.main, other=model.main), [flag, *outer.inputs[:-1]], "call")
    outer.outputs = list(call.outputs)
    nested = Model([outer, *model.graphs])
    passes.optimize(nested)
    assert recurrent_operators(nested) == []
