"""Layers scored alone and left out: against models that are really made that way."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import octolite
from octolite import Recipe, Rule
from octolite.cli.main import main
from octolite.evaluation.memory import Memory
from octolite.evaluation.task_metric import task_metric
from octolite.ir.graph import Value
from octolite.ir.types import FLOAT32, INT32
from tests.evaluation.networks import BROKEN, Network, classifier, images

DATA = Path(__file__).parent.parent / "data"

PER_TENSOR = Recipe("broken", rules=(Rule.of("DEPTHWISE_CONV_2D", granularity="tensor"),))


def outputs(content: bytes, x: np.ndarray) -> np.ndarray:
    run = octolite.Interpreter(model_content=content).get_signature_runner()
    return np.concatenate([run(image=one[None])["scores"] for one in x])


def test_the_broken_layer_costs_most() -> None:
    found = octolite.sensitivity(classifier(300.0), PER_TENSOR, images(6))
    worst, second = found.ranked[:2]
    assert worst.name == BROKEN
    assert worst.only is not None
    assert second.only is not None
    assert worst.without is not None
    assert worst.only < second.only - 10
    assert worst.without > found.after + 10
    assert found.before == math.inf


def test_scores_are_those_of_models_made_that_way() -> None:
    content, x = classifier(40.0), images(5)
    found = octolite.sensitivity(content, PER_TENSOR, x)
    reference = outputs(content, x)

    def sqnr(recipe: Recipe) -> float:
        error = outputs(octolite.convert(content, recipe), x) - reference
        return float(10 * np.log10((reference**2).sum() / (error**2).sum()))

    keep = Rule.of(weights="float32")
    for row in found.layers:
        one = Rule.of(name=f"^{row.name}$", weights="int8")
        other = Rule.of(name=f"^{row.name}$", weights="float32")
        only = Recipe("only", rules=(*PER_TENSOR.rules, keep, one))
        without = Recipe("without", rules=(*PER_TENSOR.rules, other))
        assert row.only == pytest.approx(sqnr(only), abs=0.01)
        assert row.without == pytest.approx(sqnr(without), abs=0.01)
    assert found.after == pytest.approx(sqnr(PER_TENSOR), abs=0.01)


def test_a_metric_of_ones_own() -> None:
    x = images(4)
    content = classifier(300.0)
    reference = outputs(content, x)

    def closeness(interpreter: octolite.Interpreter) -> float:
        run = interpreter.get_signature_runner()
        found = np.concatenate([run(image=one[None])["scores"] for one in x])
        return -float(np.abs(found - reference).max())

    found = octolite.sensitivity(content, PER_TENSOR, x, metric=closeness)
    assert (found.metric, found.unit, found.before) == ("closeness", "", 0.0)
    assert found.ranked[0].name == BROKEN
    with pytest.raises(octolite.UsageError, match="expected a number"):
        octolite.sensitivity(content, metric=lambda _: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(octolite.UsageError, match="NaN"):
        octolite.sensitivity(content, metric=lambda _: math.nan)


def test_labels_and_agreement() -> None:
    x, content = images(30), classifier()
    labels = outputs(content, x).argmax(1)
    by_label = octolite.sensitivity(content, PER_TENSOR, x, metric="accuracy", labels=labels)
    agreeing = octolite.sensitivity(content, PER_TENSOR, x, metric="agreement")
    assert by_label.before == agreeing.before == 100
    assert [r.only for r in by_label.layers] == [r.only for r in agreeing.layers]
    with pytest.raises(octolite.UsageError, match="needs labels"):
        octolite.sensitivity(content, metric="accuracy")
    with pytest.raises(octolite.UsageError, match="30 samples"):
        octolite.sensitivity(content, data=x, metric="accuracy", labels=labels[:3])
    with pytest.raises(octolite.UsageError, match="'agreement'"):
        octolite.sensitivity(content, metric="agreements")


def test_the_figure_of_a_task(tmp_path: Path) -> None:
    """The accuracy on a file of samples with labels is that of the arrays themselves."""
    x, content = images(30), classifier()
    labels = np.where(np.arange(30) % 4, outputs(content, x).argmax(1), 0)
    (tmp_path / "float.tflite").write_bytes(content)
    np.savez(tmp_path / "data.npz", images=x, labels=labels)
    metric = task_metric("classification", tmp_path / "float.tflite", tmp_path / "data.npz")
    found = octolite.sensitivity(content, PER_TENSOR, x, metric=metric)
    plain = octolite.sensitivity(content, PER_TENSOR, x, metric="accuracy", labels=labels)
    assert found.before == pytest.approx(plain.before)
    assert found.before < 100
    assert found.metric == f"classification on {tmp_path / 'data.npz'}"
    assert [r.only for r in found.layers] == pytest.approx([r.only for r in plain.layers])
    best = octolite.tune(content, x, max_drop=0, metric=metric).best
    assert best is not None
    assert best.score >= found.before
    with pytest.raises(octolite.UsageError, match="which figure"):
        task_metric("regression", tmp_path / "float.tflite", tmp_path / "data.npz")


def test_the_same_twice() -> None:
    content = classifier(20.0)
    runs = [octolite.sensitivity(content, PER_TENSOR).as_dict() for _ in range(2)]
    assert runs[0] == runs[1]
    assert json.dumps(runs[0], allow_nan=False)


def test_killed_and_resumed(tmp_path: Path) -> None:
    content, x = classifier(20.0), images(3)
    state = tmp_path / "state.json"
    calls = 0

    def metric(interpreter: octolite.Interpreter) -> float:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return float(len(outputs_of(interpreter, x)))

    def outputs_of(interpreter: octolite.Interpreter, x: np.ndarray) -> np.ndarray:
        return np.concatenate([interpreter.get_signature_runner()(image=x[:1])["scores"]])

    with pytest.raises(KeyboardInterrupt):
        octolite.sensitivity(content, data=x, metric=metric, state=state)
    found = octolite.sensitivity(content, data=x, metric=metric, state=state)
    assert calls == 2 + 2 * len(found.layers) + 1  # one was interrupted
    again = octolite.sensitivity(content, data=x, metric=metric, state=state)
    assert again == found
    assert calls == 2 + 2 * len(found.layers) + 1
    with pytest.raises(octolite.UsageError, match="data differ"):
        octolite.sensitivity(content, data=images(4), metric=metric, state=state)
    octolite.sensitivity(content, data=images(4), metric=metric, state=state, restart=True)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"settings": {}}', b'{"settings":{},"numbers":{"a":[]}}']
)
def test_a_state_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.json").write_bytes(content)
    with pytest.raises(octolite.UsageError, match="not what a search wrote"):
        Memory(tmp_path / "state.json", {})


def test_layers_that_share_weights_are_one() -> None:
    net = Network(4)
    x = net.graph.add_input("x", FLOAT32, (1, 40))
    shared = net.weight("shared", 40, 40, spread=0.2)
    y = net.add("FULLY_CONNECTED", [x, shared, None], "once")
    y = net.add("FULLY_CONNECTED", [y, shared, None], "twice")
    found = octolite.sensitivity(net.content(net.dense(y, 40, 30, "last")))
    assert [row.name for row in found.layers] == ["once", "last"]


def test_tables_are_layers() -> None:
    net = Network(4)
    x = net.graph.add_input("ids", INT32, (1, 6))
    table = net.weight("table", 500, 16)
    y = net.add("GATHER", [table, x], "embedded")
    shape = Value.constant("shape", np.array([1, 96], np.int32))
    y = net.dense(net.add("RESHAPE", [y, shape], "flat"), 96, 20, "last")
    found = octolite.sensitivity(net.content(y))
    assert [row.name for row in found.layers] == ["embedded", "last"]
    assert found.source == ("ids: drawn from 0 to 499, the rows that it looks up",)
    assert all(row.only is not None and 25 < row.only < 60 for row in found.layers)


@pytest.mark.parametrize(
    "name", ["lstm_stack", "bidirectional_lstm", "loop_decoder_v2", "lstm_lengths_v2"]
)
def test_recurrent_networks(name: str) -> None:
    recipe = Recipe("small", octolite.Treatment(min_elements=32))
    found = octolite.sensitivity(DATA / "recurrent" / f"{name}.pb", recipe, samples=2)
    assert found.layers
    assert found.before == math.inf
    assert all(row.only is not None and row.only > 10 for row in found.layers)


def test_command(tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(classifier(300.0))
    (tmp_path / "recipe.toml").write_text(
        '[[rule]]\noperators = ["DEPTHWISE_CONV_2D"]\ngranularity = "tensor"\n'
    )
    np.save(tmp_path / "labels.npy", np.arange(4))
    np.save(tmp_path / "x.npy", images(4))
    runner = CliRunner()
    given = [
        "sensitivity",
        str(tmp_path / "float.tflite"),
        "--recipe",
        str(tmp_path / "recipe.toml"),
    ]
    given += ["--data", str(tmp_path / "x.npy")]
    shown = runner.invoke(main, given)
    assert shown.exit_code == 0, shown.output
    first = next(line for line in shown.output.splitlines() if line.lstrip().startswith("1 "))
    assert "DEPTHWISE_CONV_2D" in first
    labelled = [*given, "--labels", str(tmp_path / "labels.npy"), "--json"]
    facts = json.loads(runner.invoke(main, labelled).output)
    assert (facts["metric"], facts["unit"], facts["samples"]) == ("accuracy", "%", 4)
    np.savez(tmp_path / "judged.npz", images=images(8), labels=np.arange(8))
    judged = [*given, "--images", str(tmp_path / "judged.npz")]
    facts = json.loads(runner.invoke(main, [*judged, "--json"]).output)
    assert facts["metric"] == f"classification on {tmp_path / 'judged.npz'}"
    assert all(row["only"] % 12.5 == 0 for row in facts["layers"])
    assert runner.invoke(main, [*judged, "--metric", "sqnr"]).exit_code == 2
    wrong = runner.invoke(main, [*given, "--metric", "nowhere:function"])
    assert wrong.exit_code == 2
    assert "cannot be imported" in wrong.output
