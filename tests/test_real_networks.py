"""Networks that were really trained, and the digits of the demo."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

import octolite
from octolite.tflite import read
from tests.recorded import relative_error, run, sqnr

ROOT = Path(__file__).parents[1]
REAL = Path(__file__).parent / "data" / "real"
BASIC_PITCH = REAL / "basic_pitch.pb"
PITCH_FACTS = json.loads((REAL / "index.json").read_text())["basic_pitch"]
DIGITS = ROOT / "examples" / "digits"

TENSORFLOWS_OWN_ERROR = PITCH_FACTS["tensorflow"]["float_relative_error"]
"""What TensorFlow's own converted file differs by from TensorFlow: 1.35e-5, through a logarithm of
near zeros. Ours may be as far off."""


def pitch_arrays(kind: str) -> dict[str, np.ndarray]:
    with np.load(REAL / "basic_pitch.npz") as data:
        return {k.split("/", 1)[1]: data[k] for k in data.files if k.startswith(f"{kind}/")}


@pytest.mark.parametrize("make", [LiteRT, octolite.Interpreter])
def test_basic_pitch_in_float(make) -> None:
    content = octolite.convert(BASIC_PITCH, "none", output_arrays=PITCH_FACTS["outputs"])
    results = run(make, content, pitch_arrays("in"))
    for got, expected in zip(results, pitch_arrays("out").values(), strict=True):
        assert relative_error(got, expected) <= 1.1 * TENSORFLOWS_OWN_ERROR


@pytest.mark.parametrize("make", [LiteRT, octolite.Interpreter])
def test_basic_pitch_in_8_bits(make) -> None:
    content = octolite.convert(BASIC_PITCH, output_arrays=PITCH_FACTS["outputs"])
    results = run(make, content, pitch_arrays("in"))
    theirs = PITCH_FACTS["tensorflow"]["sqnr"]
    for got, (name, expected) in zip(results, pitch_arrays("out").items(), strict=True):
        assert sqnr(got, expected) >= theirs[name] - 0.5


def test_basic_pitch_hears_the_notes_it_was_given() -> None:
    """The recorded input is a chord of C4, E4 and G4; row 0 of the note output is MIDI 21."""
    content = octolite.convert(BASIC_PITCH, output_arrays=PITCH_FACTS["outputs"])
    notes = run(octolite.Interpreter, content, pitch_arrays("in"))[1]
    loudest = np.sort(np.argsort(notes.max(axis=(0, 1)))[-3:] + 21)
    assert loudest.tolist() == [60, 64, 67]


def digits() -> tuple[np.ndarray, np.ndarray]:
    with np.load(DIGITS / "holdout.npz") as data:
        return data["images"].astype(np.float32), data["labels"]


def accuracy(content: bytes, hybrid: str = "auto") -> float:
    images, labels = digits()
    interpreter = octolite.Interpreter(model_content=content, hybrid=hybrid)  # type: ignore[arg-type]
    scores = interpreter.get_signature_runner()(input=images)["probabilities"]
    return float((scores.argmax(axis=1) == labels).mean())


def test_digits_lose_no_accuracy() -> None:
    source = DIGITS / "digits.pb"
    large, small = octolite.convert(source, "none"), octolite.convert(source)
    assert len(small) <= 0.27 * len(large)
    assert accuracy(large) >= 0.99
    for mode in ("auto", "always", "never"):
        assert accuracy(small, mode) >= accuracy(large) - 0.005


def test_digits_keep_an_open_batch_and_run_hybrid() -> None:
    graph = read(octolite.convert(DIGITS / "digits.pb")).main
    assert graph.inputs[0].shape == (None, 8, 8, 1)
    assert graph.outputs[0].shape == (None, 10)
    products = [n for n in graph.nodes if n.op.name in ("CONV_2D", "FULLY_CONNECTED")]
    assert sum(n.op.is_hybrid(n.inputs) for n in products) >= 4
    assert "BATCH_TO_SPACE_ND" not in graph.operators()


@pytest.mark.parametrize("name", ["lstm", "bidirectional_rnn"])
def test_digits_row_by_row_lose_no_accuracy(name: str) -> None:
    """Recurrent networks with TensorFlow's loops in them, fused, in float and in 8 bits."""
    images, labels = digits()
    source = ROOT / "examples" / "digit_rows" / f"{name}.pb"
    right = {}
    for recipe in ("none", "dynamic"):
        content = octolite.convert(source, recipe)
        runner = octolite.Interpreter(model_content=content).get_signature_runner()
        scores = runner(rows=images[..., 0])["probabilities"]
        right[recipe] = float((scores.argmax(axis=1) == labels).mean())
        operators = read(content).main.operators()
        assert sum(n for name, n in operators.items() if "_SEQUENCE_" in name) == 2
        assert "WHILE" not in operators
    assert right["none"] >= 0.985
    assert right["dynamic"] >= right["none"] - 0.005
