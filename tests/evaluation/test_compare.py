"""Comparing a quantized model with the float one: what is found, matched and ranked."""

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
from octolite.evaluation.litert import compare_with_litert
from octolite.evaluation.tally import Tally
from octolite.ir.graph import Value
from octolite.ir.types import FLOAT32, Activation
from octolite.tflite import read, write
from tests.evaluation.networks import BROKEN, Network, classifier, images

DATA = Path(__file__).parent.parent / "data"

PER_TENSOR = Recipe("broken", rules=(Rule.of("DEPTHWISE_CONV_2D", granularity="tensor"),))


def test_figures_are_those_of_their_formulas() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 50)), rng.normal(size=(4, 50))
    tally = Tally()
    tally.add(a[:1], b[:1])
    tally.add(a[1:], b[1:])
    found = tally.difference()
    assert found is not None
    error = b - a
    assert found.elements == 200
    assert found.sqnr == pytest.approx(10 * np.log10((a**2).sum() / (error**2).sum()))
    assert found.max_error == abs(error).max()
    assert found.mean_error == pytest.approx(error.mean())
    assert found.rms_error == pytest.approx(np.sqrt((error**2).mean()))
    assert found.cosine == pytest.approx((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))
    by_channel = 10 * np.log10((a**2).sum(0) / (error**2).sum(0))
    assert found.channels == pytest.approx(np.sort(by_channel)[24])


@pytest.mark.parametrize(
    ("expected", "found", "sqnr"),
    [
        ([1.0, math.nan, math.inf], [1.0, math.nan, math.inf], math.inf),
        ([1.0, 2.0], [1.0, math.nan], -math.inf),
        ([1.0, 2.0], [1.0, math.inf], -math.inf),
        ([1.0, math.inf], [1.0, 2.0], -math.inf),
        ([0.0, 0.0], [0.0, 0.0], math.inf),
        ([0.0, 0.0], [0.0, 1.0], -math.inf),
    ],
)
def test_what_is_not_finite_is_no_error_only_where_both_have_it(
    expected: list[float], found: list[float], sqnr: float
) -> None:
    tally = Tally()
    tally.add(np.array(expected), np.array(found))
    difference = tally.difference()
    assert difference is not None
    assert difference.sqnr == sqnr


@pytest.mark.parametrize("huge", [100.0, 3000.0])
def test_the_broken_layer_is_the_first_culprit(huge: float) -> None:
    content = classifier(huge)
    found = octolite.compare(content, octolite.convert(content, PER_TENSOR), images())
    worst = found.culprits[0]
    assert worst.name == BROKEN
    assert worst.format == "int8 per tensor"
    assert worst.own_share == pytest.approx(1, abs=0.05)
    # What follows inherits the error, and is not blamed for it.
    after = next(row for row in found.layers if row.name == "features/project")
    assert after.total is not None
    assert after.added is not None
    assert after.total.sqnr < 20 < 35 < after.added.sqnr
    assert after.own_share is not None
    assert after.own_share < 0.05
    healthy = octolite.compare(content, octolite.convert(content), images())
    assert all(row.added is None or row.added.sqnr > 35 for row in healthy.layers)


def test_a_channel_that_hides_the_others_does_not_hide_them_here() -> None:
    net = Network()
    x = net.graph.add_input("x", FLOAT32, (1, 12, 12, 64))
    y = net.conv(x, 64, 1, "first")
    w = net.weight("w", 1, 5, 5, 64)
    assert w.data is not None
    w.data[..., 7] *= 1000
    y = net.add("DEPTHWISE_CONV_2D", [y, w, None], "depthwise")
    content = net.content(net.conv(y, 32, 1, "last"))
    found = octolite.compare(content, octolite.convert(content, PER_TENSOR))
    worst = found.culprits[0]
    assert worst.name == "depthwise"
    assert worst.added is not None
    assert worst.added.channels < 10 < 40 < worst.added.sqnr


def test_the_same_model_twice_has_no_differences() -> None:
    content = classifier()
    found = octolite.compare(content, content, images(3))
    assert not found.culprits
    assert all(row.total and row.total.sqnr == math.inf for row in found.layers)
    (output,) = found.outputs
    assert (output.equal, output.top1, output.top5, output.samples) == (1, 1, 1, 3)


def test_agreement_is_that_of_the_outputs() -> None:
    content = classifier(50.0)
    broken = octolite.convert(content, PER_TENSOR)
    x = images(20)
    (found,) = octolite.compare(content, broken, x).outputs
    scores = []
    for model in (content, broken):
        run = octolite.Interpreter(model_content=model).get_signature_runner()
        scores.append(np.concatenate([run(image=one[None])["scores"] for one in x]))
    best = scores[0].argmax(1)
    assert found.top1 == (scores[1].argmax(1) == best).mean()
    five = np.argsort(-scores[1], axis=1)[:, :5]
    assert found.top5 == (five == best[:, None]).any(1).mean()
    assert found.difference is not None
    assert found.difference.max_error == pytest.approx(np.abs(scores[1] - scores[0]).max())


def renamed(content: bytes, prefix: str) -> bytes:
    model = read(content)
    for i, value in enumerate(model.main.values()):
        value.name = f"{prefix}{i}"
    model.signatures.clear()
    return write(model)


def test_layers_are_found_when_all_names_differ() -> None:
    content = classifier(200.0)
    found = octolite.compare(
        content, renamed(octolite.convert(content, PER_TENSOR), "t"), images(4)
    )
    assert not found.unmatched
    assert not found.missing
    assert {row.matched_by for row in found.layers} == {"structure"}
    assert found.culprits[0].reference == BROKEN


def test_an_activation_that_was_fused_belongs_to_its_layer() -> None:
    net = Network(5)
    x = net.graph.add_input("x", FLOAT32, (1, 6, 6, 8))
    y = net.conv(x, 16, 3, "conv", activation=Activation.NONE)
    y = net.add("RELU", [y], "relu")
    apart = net.content(net.conv(y, 16, 3, "last"))
    net = Network(5)
    x = net.graph.add_input("x", FLOAT32, (1, 6, 6, 8))
    y = net.conv(x, 16, 3, "relu")
    fused = net.content(net.conv(y, 16, 3, "last"))
    for quantized in (octolite.convert(fused), renamed(octolite.convert(fused), "t")):
        found = octolite.compare(apart, quantized)
        assert not found.unmatched
        assert not found.missing
        assert found.layers[0].reference == "relu"
        assert found.layers[0].weights is not None
        assert found.layers[0].added is not None
        assert 35 < found.layers[0].added.sqnr < 70


def test_models_that_have_nothing_to_do_with_each_other_are_told_apart() -> None:
    net = Network(6)
    x = net.graph.add_input("image", FLOAT32, (1, 12, 12, 3))
    other = net.content(net.conv(x, 5, 7, "elsewhere", stride_h=3, stride_w=3))
    found = octolite.compare(classifier(), classifier(seed=1), images(2))
    assert all(row.total and row.total.sqnr < 20 for row in found.layers)
    with pytest.raises(octolite.UsageError, match="shape"):
        octolite.compare(classifier(), other, images(2))
    with pytest.raises(octolite.UsageError, match="different inputs"):
        octolite.compare(classifier(), DATA / "quantized" / "recurrent.int8.tflite")
    net = Network(6)
    x = net.graph.add_input("image", FLOAT32, (1, 12, 12, 3))
    axes = Value.constant("axes", np.array([1, 2, 3], np.int32))
    y = net.dense(net.add("MEAN", [x, axes], "all", keep_dims=True), 1, 10, "odd")
    flat = Value.constant("shape", np.array([1, 10], np.int32))
    found = octolite.compare(classifier(), net.content(net.add("RESHAPE", [y, flat], "flat")))
    assert "RESHAPE 'flat'" in found.unmatched
    assert any("features/first" in name for name in found.missing)
    assert not any(row.total for row in found.layers if row.name == "flat")


def test_several_inputs_and_outputs() -> None:
    net = Network(8)
    a = net.graph.add_input("a", FLOAT32, (1, 64))
    b = net.graph.add_input("b", FLOAT32, (1, 64))
    left, right = net.dense(a, 64, 64, "left"), net.dense(b, 64, 64, "right")
    both = net.add("ADD", [left, right], "both")
    content = net.content(net.dense(both, 64, 32, "one"), net.dense(both, 64, 40, "two"))
    rng = np.random.default_rng(0)
    data = {name: rng.normal(size=(5, 64)).astype(np.float32) for name in "ab"}
    found = octolite.compare(content, octolite.convert(content), data)
    assert [o.name for o in found.outputs] == ["one", "two"]
    assert found.samples == 5
    assert {row.name for row in found.culprits} == {"left", "right", "one", "two"}
    with pytest.raises(octolite.UsageError, match="input 'b'"):
        octolite.compare(content, octolite.convert(content), {"a": data["a"]})
    with pytest.raises(octolite.UsageError, match="different numbers of samples"):
        octolite.compare(content, content, {"a": data["a"], "b": data["b"][:3]})


@pytest.mark.parametrize("name", ["int8", "int8_inside"])
def test_integers_against_floats(name: str) -> None:
    """As TensorFlow's converter makes both: names differ, operators are put in between."""
    folder = DATA / "compared"
    found = octolite.compare(folder / "float.tflite", folder / f"{name}.tflite")
    assert not found.unmatched
    assert not found.missing
    rows = {row.operator: row for row in found.layers}
    assert ("QUANTIZE" in rows) == (name == "int8_inside")
    assert all(row.total and row.added and row.added.sqnr > 20 for row in found.layers)
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "CONCATENATION", "SOFTMAX"} < rows.keys()
    for row in found.layers:
        if "CONV" in row.operator or row.operator == "FULLY_CONNECTED":
            assert row.format == "int8 per channel"
            assert row.weights is not None
            assert 40 < row.weights.sqnr < 60
    # Codes of a RELU6 that reach 2 or so: nothing is beyond them in what they were made for.
    relu = next(row for row in found.layers if row.operator == "DEPTHWISE_CONV_2D")
    assert relu.after is not None
    assert relu.before is not None
    assert relu.after.low == relu.before.low == 0
    assert relu.after.saturated < 0.02
    assert [o.difference is not None for o in found.outputs] == [True, True]
    assert "codes can say" in found.source[0]


def test_results_that_codes_cannot_reach_are_counted() -> None:
    folder = DATA / "compared"
    x = np.random.default_rng(0).uniform(-1, 1, (4, 16, 16, 3)).astype(np.float32)
    inside = octolite.compare(folder / "float.tflite", folder / "int8_inside.tflite", 6 * x)
    first = inside.layers[0]
    assert first.operator == "QUANTIZE"
    assert first.after is not None
    ends = (-0.9959677 - 0.0039216, 1.0038 + 0.0039216)
    beyond = np.mean((6 * x < ends[0]) | (6 * x > ends[1]))
    assert first.after.saturated == pytest.approx(beyond, abs=0.002)
    assert inside.culprits[0].added is not None


@pytest.mark.parametrize("name", ["mobilenet_v3", "segmenter", "recurrent", "attention"])
def test_networks_in_integers(name: str) -> None:
    """Codes throughout: ranges are stated, and compared in real numbers."""
    path = DATA / "quantized" / f"{name}.int8.tflite"
    found = octolite.compare(path, path, samples=2)
    assert all(row.total is None or row.total.sqnr == math.inf for row in found.layers)
    # Put right, codes are what they were.
    assert not found.culprits
    assert all("codes can say" in text or "no range" in text for text in found.source)


@pytest.mark.parametrize(
    "name",
    ["lstm_dynamic", "cell_gru_v2", "bidirectional_lstm", "lstm_encoder_decoder", "text_rnn"],
)
def test_recurrent_networks(name: str) -> None:
    content = octolite.convert(DATA / "recurrent" / f"{name}.pb", "none")
    found = octolite.compare(content, octolite.convert(content, min_elements=64), samples=2)
    assert not found.unmatched
    assert not found.missing


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((3, 5, 5, 3), np.float32), "3×5×5×3"),
        (np.zeros((0, 12, 12, 3), np.float32), "no samples"),
        (np.zeros((2, 12, 12, 3), np.complex64), "holds float32"),
        ("nowhere.npy", "cannot read nowhere.npy"),
    ],
)
def test_data_that_does_not_fit(data: object, message: str) -> None:
    content = classifier()
    with pytest.raises(octolite.UsageError, match=message):
        octolite.compare(content, content, data)  # type: ignore[arg-type]


def test_litert_agrees() -> None:
    pytest.importorskip("ai_edge_litert")
    found = compare_with_litert(classifier(), images(3), runs=2, num_threads=1)
    (output,) = found.outputs
    assert output.sqnr > 100
    assert output.average <= output.greatest < 1e-4
    assert found.octolite.least <= found.octolite.median


def test_litert_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(octolite.UsageError, match="pip install ai-edge-litert"):
        compare_with_litert(classifier(), images(1))


def test_command(tmp_path: Path) -> None:
    content = classifier(100.0)
    (tmp_path / "float.tflite").write_bytes(content)
    (tmp_path / "quant.tflite").write_bytes(octolite.convert(content, PER_TENSOR))
    np.savez(tmp_path / "data.npz", image=images(4))
    runner = CliRunner()
    both = [str(tmp_path / "float.tflite"), str(tmp_path / "quant.tflite")]
    shown = runner.invoke(main, ["compare", *both, "--data", str(tmp_path / "data.npz")])
    assert shown.exit_code == 0, shown.output
    assert f"1. DEPTHWISE_CONV_2D {BROKEN}" in shown.output
    drawn = runner.invoke(main, ["compare", *both, "--range", "0,1", "--samples", "2", "--json"])
    facts = json.loads(drawn.output)
    assert facts["culprits"][0] == BROKEN
    assert facts["inputs"] == ["image: drawn from 0 to 1, as asked for"]
    alone = runner.invoke(main, ["compare", both[0]])
    assert alone.exit_code == 2
    assert "--against litert" in alone.output
    wrong = runner.invoke(main, ["compare", *both, "--range", "imag=0,1"])
    assert wrong.exit_code == 2
    assert "Did you mean 'image'?" in wrong.output
