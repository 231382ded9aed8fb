"""The benchmarks' models: made without TensorFlow, and the same in ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import octolite
from benchmarks import measure, networks, startup
from benchmarks.coded import in_codes
from benchmarks.contenders import ALL, CODED, Contender, Files, TfLite
from benchmarks.models import AnyRow, Cells, Coded, Embedding, Network, Row
from octolite.ir import numerics
from octolite.ir.graph import Graph, Model
from octolite.ir.types import FLOAT32, INT8, INT16, UINT8, Activation, DType, Padding
from octolite.ops.activations import Relu
from octolite.ops.arithmetic import Mul
from octolite.ops.conv import Conv2D
from octolite.ops.fully_connected import FullyConnected
from octolite.ops.pooling import AveragePool2D
from octolite.tflite import read, write

CELLS = [f"{w}DIRECTIONAL_SEQUENCE_{kind}" for w in ("UNI", "BI") for kind in ("LSTM", "RNN")]


def strided() -> Conv2D:
    return Conv2D(stride_w=2, stride_h=1, dilation_h_factor=2, activation=Activation.RELU)


SMALL: tuple[AnyRow, ...] = (
    Row("fc", "", FullyConnected, (3, 40), (30, 40)),
    Row("conv", "", Conv2D, (1, 7, 6, 4), (8, 3, 3, 4)),
    Row("strided", "", strided, (2, 9, 6, 4), (8, 3, 2, 4)),
    Row("valid", "", lambda: Conv2D(padding=Padding.VALID), (1, 5, 5, 2), (8, 3, 3, 2)),
    *(Cells(name, "", name, steps=4, units=40) for name in CELLS),
    Embedding("embedding", "", 5, (50, 30)),
)
IMAGES = (1, 32, 32, 3)


def run(content: bytes, sample: np.ndarray) -> np.ndarray:
    runner = TfLite(octolite.Interpreter(model_content=content, num_threads=1))
    runner.feed(sample)
    runner.invoke()
    return runner.result()


def run_onnx(files: Files, sample: np.ndarray) -> np.ndarray:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from benchmarks.contenders import OnnxRuntime

    runner = OnnxRuntime(files.onnx.SerializeToString(), 1, np.zeros_like(sample))
    runner.feed(sample)
    runner.invoke()
    return runner.result()


@pytest.mark.parametrize("row", SMALL, ids=lambda row: row.name)
def test_rows_are_the_same_in_onnx(row: AnyRow) -> None:
    files, sample = row.files(), row.sample(3)
    found = run_onnx(files, sample)
    np.testing.assert_allclose(found, run(files.plain, sample), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", [networks.mobilenet_v2, networks.resnet50])
def test_networks_are_the_same_in_onnx_and_keep_their_range(build: Any) -> None:
    content = write(build(IMAGES[1]))
    sample = networks.image(IMAGES, 1)
    scores = run(content, sample)
    assert scores.shape == (1, networks.CLASSES)
    # Neither one class for everything, nor all classes alike.
    assert 2 / networks.CLASSES < scores.max() < 0.5
    np.testing.assert_allclose(run_onnx(Files(content, b""), sample), scores, rtol=1e-3, atol=1e-6)


def test_average_pooling_and_activations_are_the_same_in_onnx() -> None:
    graph = Graph()
    x = graph.add_input("x", FLOAT32, (1, 5, 6, 3))
    pool = AveragePool2D(filter_height=3, filter_width=3, activation=Activation.RELU6)
    graph.outputs = [graph.add(Relu(), [graph.add(pool, [x]).output]).output]
    files = Files(write(Model([graph])), b"")
    sample = np.random.default_rng(1).normal(1, 9, (1, 5, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(run_onnx(files, sample), run(files.plain, sample), atol=1e-6)


def test_what_is_not_exported_is_named() -> None:
    pytest.importorskip("onnx")
    from benchmarks.onnx_export import export

    graph = Graph()
    x = graph.add_input("x", FLOAT32, (2,))
    graph.outputs = [graph.add(Mul(), [x, x], "product").output]
    with pytest.raises(NotImplementedError, match="MUL"):
        export(graph)


def test_images_have_the_spectrum_of_photographs() -> None:
    sample = networks.image((1, 64, 64, 3), 1)
    assert np.abs(sample).max() == pytest.approx(1)
    power = np.mean(np.abs(np.fft.fft2(sample[0], axes=(0, 1))) ** 2, axis=-1)
    low, high = power[0, 2:5].mean(), power[0, 20:32].mean()
    assert low > 20 * high
    assert not np.array_equal(sample, networks.image((1, 64, 64, 3), 2))


def test_quantized_weights_are_in_the_other_file() -> None:
    files = SMALL[0].files()
    assert {str(v.dtype) for v in read(files.quantized).main.constants()} >= {"int8"}
    assert {str(v.dtype) for v in read(files.plain).main.constants()} == {"float32"}


# -- measuring -------------------------------------------------------------------------------------


def test_a_row_has_times_and_quality() -> None:
    row = SMALL[0]
    here = [c for c in ALL if c.name.startswith(("LiteRT", "Octolite"))]
    found = measure.measure(row, row.files(), here, 1, 2).plain()
    assert found["timings"].keys() == {c.name for c in here}
    assert found["speedup"]["LiteRT float"] == 1
    assert found["errors"]["Octolite float"] < 1e-5
    assert found["sqnr"]["Octolite hybrid"] > 30
    assert found["kernels"]["hybrid"]


def test_a_contender_that_computes_something_else_is_found_out() -> None:
    row = SMALL[0]
    files = row.files()

    def wrong(_: Files, threads: int, sample: np.ndarray) -> TfLite:
        graph = read(files.plain).main
        weights = graph.nodes[0].inputs[1]
        assert weights is not None
        weights.data = weights.data * np.float32(1.01)
        content = write(Model([graph]))
        return TfLite(octolite.Interpreter(model_content=content, num_threads=threads))

    honest = [c for c in ALL if c.name == "LiteRT float"]
    with pytest.raises(RuntimeError, match="Wrong float computes"):
        measure.measure(row, files, [*honest, Contender("Wrong float", False, (), wrong)], 1, 1)


def test_a_contender_that_lacks_an_operator_is_left_out() -> None:
    def lacking(files: Files, threads: int, sample: np.ndarray) -> TfLite:
        raise NotImplementedError("no FC here")

    here = [c for c in ALL if c.name.startswith(("LiteRT", "Octolite"))]
    row = SMALL[0]
    result = measure.measure(
        row, row.files(), [*here, Contender("Lacking float", False, (), lacking)], 1, 1
    )
    assert result.absent == {"Lacking float": "no FC here"}


def test_the_turns_that_were_disturbed_least_count() -> None:
    quiet = [measure.Turn(0.001 * n, 0) for n in (1, 2, 3, 4, 5)]
    found = measure.summary([*quiet, *[measure.Turn(9.0, 3)] * 6])
    assert (found.median, found.low, found.high, found.least) == (3.0, 2.0, 4.0, 1.0)
    assert (found.quiet, found.taken, found.turns) == (5, 5, 11)
    # A quiet machine: all of them.
    assert measure.summary(quiet * 4).taken == 20
    # Too few quiet ones: the next best, with all that are as good.
    found = measure.summary([*quiet[:2], *[measure.Turn(0.007, 1)] * 4, measure.Turn(9.0, 2)])
    assert (found.median, found.quiet, found.taken) == (7.0, 2, 6)


def test_turns_alternate_and_are_taken_again_when_disturbed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[str] = []
    turns = iter([measure.Turn(1.0, 0)] * 2 + [measure.Turn(1.0, 2)] * 4)

    def turn(call: Any, repeats: int) -> measure.Turn:
        call()
        return next(turns, measure.Turn(1.0, 0))

    monkeypatch.setattr(measure, "_turn", turn)
    calls = {"a": lambda: called.append("a"), "b": lambda: called.append("b")}
    taken = measure.take_turns(calls, 2)
    # Three tries of a and two of b in the first round, one of each in the second.
    assert {name: len(of) for name, of in taken.items()} == {"a": 4, "b": 3}
    assert "".join(called) == "aabb" + "aa" * 3 + "bb" * 2 + "aabb"


def test_quality_is_the_mean_over_inputs_in_decibels() -> None:
    exact = [np.ones(4), np.ones(4)]
    noisy = [np.ones(4) + 0.1, np.ones(4) + 0.01]
    assert measure.sqnr(noisy, exact) == pytest.approx(30.0)
    assert measure.sqnr(exact, exact) > 200


def test_networks_take_images() -> None:
    row = Network("tiny", "", lambda: networks.mobilenet_v2(32))
    (source,) = read(row.files().plain).main.inputs
    assert source.shape == IMAGES
    assert row.sample(1).shape == (1, 224, 224, 3)


@pytest.mark.parametrize("who", startup.IMPORTS)
def test_starting_is_measured_in_a_process_of_its_own(tmp_path: Path, who: str) -> None:
    model, cache = tmp_path / "model.tflite", tmp_path / "cache"
    model.write_bytes(SMALL[0].files().quantized)
    seconds, megabytes = startup.start(who, model, 1, cache)
    assert seconds > 0
    assert megabytes > 0
    assert cache.exists() == (who == "Octolite")


@pytest.mark.parametrize("dtype", [INT8, UINT8, INT16], ids=str)
def test_codes_throughout_have_the_bits_of_the_reference_kernels(dtype: DType) -> None:
    """Of a small MobileNetV2, before and behind the softmax, which leaves 1000 classes little."""
    model = networks.mobilenet_v2(32)
    model.main.outputs = [*model.main.nodes[-1].inputs, *model.main.outputs]
    in_codes(model, networks.image(IMAGES, 0), dtype)
    quant = model.main.inputs[0].quant
    assert quant is not None
    files, seen = Files(write(model), b""), []
    for contender in CODED[1:]:
        runner = contender.start(files, 1, np.zeros(1))
        assert isinstance(runner, TfLite)
        runner.feed(numerics.quantize(networks.image(IMAGES, 1), quant, dtype.numpy))
        runner.invoke()
        details = runner.interpreter.get_output_details()
        seen.append([np.array(runner.interpreter.get_tensor(d["index"])) for d in details])
    for mine, theirs in zip(*seen, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert len(np.unique(seen[0][0])) > 20


def test_a_coded_row_is_measured() -> None:
    row = Coded(Row("fc", "", FullyConnected, (3, 40), (30, 40)), INT8)
    result = measure.measure(row, row.files(), CODED, 1, 2)
    assert result.base == "LiteRT"
    assert result.errors == {"LiteRT reference": 0, "Octolite": 0}
    assert any("integer dot" in label for label in result.kernels["codes"])
