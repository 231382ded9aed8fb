"""Recipes within a budget: met by the files that are written, repaired layers, resumed searches."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import octolite
from octolite import Recipe, Rule
from octolite.cli.main import main
from octolite.ir.types import FLOAT32
from octolite.quantize import recipe_file
from tests.evaluation.networks import BROKEN, Network, classifier, images

DATA = Path(__file__).parent.parent / "data"

PER_TENSOR = Recipe("broken", rules=(Rule.of("DEPTHWISE_CONV_2D", granularity="tensor"),))


def fidelity(content: bytes, model: bytes, x: np.ndarray) -> float:
    """In percent, of the outputs."""
    both = []
    for m in (content, model):
        run = octolite.Interpreter(model_content=m).get_signature_runner()
        both.append(np.concatenate([run(image=one[None])["scores"] for one in x]))
    error = both[1] - both[0]
    return float(100 * (1 - np.sqrt((error**2).sum() / (both[0] ** 2).sum())))


def test_the_broken_layer_is_repaired() -> None:
    content, x = classifier(300.0), images(6)
    broken = octolite.convert(content, PER_TENSOR)
    before = fidelity(content, broken, x)
    found = octolite.tune(content, x, max_drop=3, metric="fidelity", recipe=PER_TENSOR)
    assert found.best is not None
    assert found.best.verified
    repaired = fidelity(content, found.content, x)
    assert before < 80
    assert repaired >= 97
    assert repaired == pytest.approx(found.best.score, abs=1e-6)
    layer = next(row for row in found.layers if row.name == BROKEN)
    assert layer.format != "int8 per tensor"
    # Small all the same: not by leaving things in float.
    assert len(found.content) < 0.55 * len(content)


def test_the_result_is_an_ordinary_recipe_and_file(tmp_path: Path) -> None:
    content, x = classifier(30.0), images(4)
    (tmp_path / "float.tflite").write_bytes(content)
    place = tmp_path / "small.tflite"
    found = octolite.tune(tmp_path / "float.tflite", x, max_drop=4, metric="fidelity", output=place)
    assert place.read_bytes() == found.content
    recipe = recipe_file.read(place.with_suffix(".toml"))
    assert recipe == found.recipe
    again = octolite.convert_model(tmp_path / "float.tflite", recipe)
    assert again.content == found.content
    assert not again.ledger.unused
    assert found.best is not None
    assert found.best.size == len(found.content)


@pytest.mark.parametrize("drop", [0.5, 2.0, 8.0, 60.0])
def test_a_larger_drop_makes_smaller_models(drop: float) -> None:
    content, x = classifier(), images(4)
    found = octolite.tune(content, x, max_drop=drop, metric="fidelity")
    assert found.best is not None
    assert found.before - found.best.score <= drop
    assert fidelity(content, found.content, x) >= 100 - drop - 1e-6
    if drop == 60:
        assert {row.format for row in found.layers} <= {"int4 per channel", "int8 per channel"}


def test_a_size_that_must_not_be_exceeded() -> None:
    content, x = classifier(), images(4)
    whole = len(octolite.convert(content))
    limits = [int(len(content) * 0.9), int(len(content) * 0.6), whole + 200, whole - 2000]
    scores = []
    for limit in limits:
        found = octolite.tune(content, x, max_size=limit)
        assert found.best is not None
        assert len(found.content) <= limit
        scores.append(found.best.score)
    assert scores == sorted(scores, reverse=True)


def test_a_budget_that_cannot_be_met(tmp_path: Path) -> None:
    place = tmp_path / "small.tflite"
    found = octolite.tune(classifier(), images(3), max_size=100, trials=4, output=place)
    assert found.best is None
    assert found.recipe is None
    assert not place.exists()
    assert found.pareto
    assert not any(trial.met for trial in found.trials)


def test_latency() -> None:
    """That a limit holds cannot be told without a clock; that it is looked at can."""
    content, x = classifier(), images(2)
    found = octolite.tune(content, x, max_latency=1e6, trials=5)
    assert found.best is not None
    assert found.best.latency is not None
    assert 0 < found.best.latency < 1e6
    none = octolite.tune(content, x, max_latency=0.0, trials=5)
    assert none.best is None
    fast = octolite.tune(content, x, max_drop=5, metric="fidelity", minimize="latency", trials=9)
    assert fast.best is not None
    assert fast.before - fast.best.score <= 5


def test_the_same_twice() -> None:
    content, x = classifier(20.0), images(3)
    found = [octolite.tune(content, x, max_drop=2, metric="fidelity") for _ in range(2)]
    assert found[0].as_dict() == found[1].as_dict()
    assert found[0].content == found[1].content
    assert json.dumps(found[0].as_dict(), allow_nan=False)


KILLED = """
import os, signal, sys
import numpy as np, octolite
from pathlib import Path
folder, at = Path(sys.argv[1]), int(sys.argv[2])
calls = 0

def tell(what, done, total):
    global calls
    calls += 1
    if calls == at:
        os.kill(os.getpid(), signal.SIGKILL)

octolite.tune(folder / "float.tflite", folder / "x.npy", max_drop=2, metric="fidelity",
              state=folder / "state.json", output=folder / "small.tflite", on_progress=tell)
"""


@pytest.mark.parametrize("part", [0.1, 0.6, 0.9])
def test_killed_and_resumed(tmp_path: Path, part: float) -> None:
    content, x = classifier(20.0), images(3)
    (tmp_path / "float.tflite").write_bytes(content)
    np.save(tmp_path / "x.npy", x)
    calls = []
    whole = octolite.tune(
        content,
        x,
        max_drop=2,
        metric="fidelity",
        state=tmp_path / "whole.json",
        on_progress=lambda *_: calls.append(1),
    )
    at = str(int(len(calls) * part))
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), at], check=False)
    assert killed.returncode == -signal.SIGKILL
    state, place = tmp_path / "state.json", tmp_path / "small.tflite"
    kept = json.loads(state.read_text())["numbers"]
    known = json.loads((tmp_path / "whole.json").read_text())["numbers"]
    assert kept.items() < known.items()
    assert place.exists() or part < 0.8
    if place.exists():  # the best so far is a whole model, with its recipe
        recipe = recipe_file.read(place.with_suffix(".toml"))
        assert octolite.convert(content, recipe) == place.read_bytes()
    resumed = octolite.tune(content, x, max_drop=2, metric="fidelity", state=state, output=place)
    assert resumed.as_dict() == whole.as_dict()
    assert resumed.content == whole.content == place.read_bytes()
    assert json.loads(state.read_text())["numbers"] == known


def test_what_cannot_be_meant() -> None:
    content = classifier()
    with pytest.raises(octolite.UsageError, match="give a budget"):
        octolite.tune(content)
    with pytest.raises(octolite.UsageError, match="0 or more"):
        octolite.tune(content, max_drop=-1)
    with pytest.raises(octolite.UsageError, match="no option 'int7'"):
        octolite.tune(content, max_drop=1, options=["int7"])
    with pytest.raises(octolite.UsageError, match="one of size"):
        octolite.tune(content, max_drop=1, minimize="bytes")
    with pytest.raises(octolite.UsageError, match="finite"):
        octolite.tune(content, max_drop=1, metric="sqnr")


def test_several_inputs_and_outputs() -> None:
    net = Network(8)
    a = net.graph.add_input("a", FLOAT32, (1, 64))
    b = net.graph.add_input("b", FLOAT32, (1, 64))
    left, right = net.dense(a, 64, 64, "left"), net.dense(b, 64, 64, "right")
    both = net.add("ADD", [left, right], "both")
    content = net.content(net.dense(both, 64, 32, "one"), net.dense(both, 64, 40, "two"))
    found = octolite.tune(content, max_drop=1)
    assert found.best is not None
    assert found.metric == "fidelity"
    assert {row.name for row in found.layers} == {"left", "right", "one", "two"}


@pytest.mark.parametrize("name", ["lstm_stack", "loop_decoder_v2", "bidirectional_lstm"])
def test_recurrent_networks(name: str) -> None:
    recipe = Recipe("small", octolite.Treatment(min_elements=32))
    source = DATA / "recurrent" / f"{name}.pb"
    found = octolite.tune(source, max_drop=2, recipe=recipe, samples=2, trials=20)
    assert found.best is not None
    assert found.best.size < found.size_before
    # What was found for the file holds for what it was made from.
    assert found.recipe is not None
    again = octolite.convert_model(source, found.recipe)
    assert not again.ledger.unused


def test_command(tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(classifier(300.0))
    np.save(tmp_path / "x.npy", images(4))
    runner = CliRunner()
    given = ["tune", str(tmp_path / "float.tflite"), "--data", str(tmp_path / "x.npy")]
    given += ["--metric", "fidelity", "-o", str(tmp_path / "small.tflite")]
    shown = runner.invoke(main, [*given, "--max-drop", "3"])
    assert shown.exit_code == 0, shown.output
    assert "Size against score" in shown.output
    assert "best" in shown.output
    assert (tmp_path / "small.tflite").stat().st_size < (tmp_path / "float.tflite").stat().st_size
    assert (tmp_path / "small.tune.json").exists()
    as_json = runner.invoke(main, [*given, "--max-drop", "3", "--json"])
    facts = json.loads(as_json.output)
    assert facts["best"]["verified"]
    none = runner.invoke(main, [*given, "--max-size", "1kB", "--trials", "3"])
    assert none.exit_code == 1
    assert "nothing was written" in none.output
    wrong = runner.invoke(main, [*given, "--max-size", "small"])
    assert wrong.exit_code == 2
    assert "such as 3.5MB" in wrong.output
