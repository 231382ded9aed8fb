"""``tflite_convert``: each flag, what it does to the file, and what is said where it cannot."""

from __future__ import annotations

import dataclasses
import json
import lzma
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ai_edge_litert.interpreter as litert
import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

import octolite
from octolite.cli.conversion import Job
from octolite.cli.flags import markdown_lines
from octolite.cli.main import main as octolite_command
from octolite.cli.numbers import Numbers
from octolite.cli.tflite_convert import FLAGS, GROUPS, RENAMED, main
from octolite.ir.graph import Model
from octolite.selection import Selection
from octolite.tflite import read
from tests.cli.networks import BRANCHES, MIXED, inception, mobilenet
from tests.frontends.build import Type, const, graph, node, placeholder
from tests.recorded import Recording

DATA = Path(__file__).parents[1] / "data"
PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
FAKE_QUANT = Recording("fake_quant")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the documentation's examples find in /tmp."""
    folder = tmp_path_factory.mktemp("models")
    frozen = folder / "mobilenet_v1_0.50_128" / "frozen_graph.pb"
    frozen.parent.mkdir()
    frozen.write_bytes(mobilenet())
    (folder / "some_quantized_graph.pb").write_bytes(mobilenet(trained_in_codes=True))
    (folder / "between.pb").write_bytes(mobilenet(between=True))
    (folder / "inception_v1_2016_08_28_frozen.pb").write_bytes(inception())
    shutil.copytree(DATA / "saved_models" / "keras2_classifier", folder / "saved_model")
    keras = lzma.decompress((DATA / "keras" / "sequential.2.h5.xz").read_bytes())
    (folder / "keras_model.h5").write_bytes(keras)
    return folder


@pytest.fixture
def place(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The present folder, with nothing in it but the models."""
    for item in models.iterdir():
        (tmp_path / item.name).symlink_to(item)
    monkeypatch.chdir(tmp_path)
    before = {p.name for p in tmp_path.iterdir()}
    yield tmp_path
    left = [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]
    assert left == [], "temporary files are left behind"
    assert before <= {p.name for p in tmp_path.iterdir()}


def call(*arguments: str, command: click.Command = main) -> Result:
    result = CliRunner().invoke(command, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def convert(source: str, *flags: str) -> Model:
    """The model that the command makes of ``source``, which it must."""
    result = call("--output_file=foo.tflite", f"--graph_def_file={source}", "--quiet", *flags)
    assert (result.exit_code, result.output) == (0, ""), result.output
    return read("foo.tflite")


def dtypes(model: Model) -> list[str]:
    """Of what goes in, and of what comes out."""
    return [v.dtype.name for v in (*model.main.inputs, *model.main.outputs)]


def run(make: Any, path: str, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    options = {}
    if make is litert.Interpreter:
        options["experimental_op_resolver_type"] = litert.OpResolverType.BUILTIN_REF
    interpreter = make(path, **options)
    (details,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(details["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(details["index"], x)
    interpreter.invoke()
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


# -- the documentation of 2018 ---------------------------------------------------------------------

NAMES = "--input_arrays=input --output_arrays=MobilenetV1/Predictions/Reshape_1"
FROZEN = "--graph_def_file=/tmp/mobilenet_v1_0.50_128/frozen_graph.pb"
INCEPTION = "--graph_def_file=/tmp/inception_v1_2016_08_28_frozen.pb"
CODES = "--mean_values=128 --std_dev_values=127"

LINES = {
    "saved model": "--output_file=/tmp/foo.tflite --saved_model_dir=/tmp/saved_model",
    "frozen graph": f"--output_file=/tmp/foo.tflite {FROZEN} {NAMES}",
    "keras": "--output_file=/tmp/foo.tflite --keras_model_file=/tmp/keras_model.h5",
    "quantized after training": (
        "--output_file=/tmp/foo.tflite --graph_def_file=/tmp/some_quantized_graph.pb "
        "--post_training_quantize"
    ),
    "trained in codes": (
        "--output_file=/tmp/foo.tflite --graph_def_file=/tmp/some_quantized_graph.pb "
        f"--inference_type=QUANTIZED_UINT8 {NAMES} {CODES}"
    ),
    "dummy quantization": (
        f"--output_file=/tmp/foo.cc {FROZEN} --inference_type=QUANTIZED_UINT8 {NAMES} "
        f"--default_ranges_min=0 --default_ranges_max=6 {CODES}"
    ),
    "several inputs": (
        f"{INCEPTION} --output_file=/tmp/foo.tflite "
        "--input_shapes=1,28,28,96:1,28,28,16:1,28,28,192:1,28,28,64 "
        f"--input_arrays={','.join(BRANCHES)} "
        "--output_arrays=InceptionV1/Logits/Predictions/Reshape_1"
    ),
    "several outputs": (
        f"{INCEPTION} --output_file=/tmp/foo.tflite --input_arrays=input "
        f"--output_arrays={','.join(list(BRANCHES)[:2])}"
    ),
    "part of a graph": (
        f"{INCEPTION} --output_file=/tmp/foo.tflite --input_arrays={','.join(BRANCHES)} "
        "--input_shapes=1,28,28,96:1,28,28,16:1,28,28,192:1,28,28,64 "
        f"--output_arrays={MIXED}/concat"
    ),
    "a drawing": (
        "--output_file=/tmp/foo.dot --output_format=GRAPHVIZ_DOT "
        f"{FROZEN} --input_shape=1,128,128,3 {NAMES}"
    ),
    "drawings under way": (
        f"{FROZEN} --output_file=/tmp/foo.tflite {NAMES} --dump_graphviz_dir=/tmp"
    ),
}
"""What it is about → the line, without the command's name."""


@pytest.mark.parametrize("about", LINES)
def test_the_lines_of_2018_work_as_written(place: Path, about: str) -> None:
    """In a process of their own, as from a shell."""
    arguments = shlex.split(LINES[about].replace("/tmp", str(place)))
    code = "import sys; from octolite.cli.tflite_convert import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    (made,) = place.glob("foo.*")
    assert f"wrote {made}" in done.stdout
    if made.suffix == ".dot":
        assert made.read_text().startswith("digraph")
        assert "CONV_2D" in made.read_text()
    else:
        interpreter = litert.Interpreter(str(made))
        interpreter.allocate_tensors()
        interpreter.invoke()
        octolite.Interpreter(made).allocate_tensors()
    assert ("-as-it-was-read.dot" in "".join(p.name for p in place.iterdir())) == (
        about == "drawings under way"
    )


# -- where the graph begins and ends ---------------------------------------------------------------


def test_shapes_go_with_names(place: Path) -> None:
    shapes = "2,28,28,96:2,28,28,16:2,28,28,192:-1,28,28,64"
    model = convert(
        "inception_v1_2016_08_28_frozen.pb",
        f"--input_arrays={','.join(BRANCHES)}", "--input_shapes", shapes,
    )  # fmt: skip
    assert [v.name for v in model.main.inputs] == list(BRANCHES)
    assert [v.shape for v in model.main.inputs] == [
        (2, 28, 28, 96), (2, 28, 28, 16), (2, 28, 28, 192), (None, 28, 28, 64),
    ]  # fmt: skip


def test_tags_and_signatures_choose_from_a_saved_model(place: Path) -> None:
    source = DATA / "saved_models" / "v1_signatures"
    base = ["--output_file=foo.tflite", f"--saved_model_dir={source}", "--quiet"]
    assert call(*base, "--saved_model_tag_set=serve").exit_code == 0
    assert len(read("foo.tflite").signatures) > 1
    assert call(*base, "--saved_model_signature_key", "classify").exit_code == 0
    assert [s.key for s in read("foo.tflite").signatures] == ["classify"]
    for flag, word in [
        ("tag_set=serve,gpu", "its tag sets are: train; serve"),
        ("signature_key=clasify", "'classify'"),
    ]:
        result = call(*base, f"--saved_model_{flag}")
        assert result.exit_code == 2
        assert word in result.output


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--graph_def_file=keras_model.h5"], "a Keras model"),
        (["--graph_def_file=saved_model/saved_model.pb"], "a SavedModel"),
        (["--keras_model_file=saved_model/saved_model.pb"], "a SavedModel"),
    ],
)
def test_a_model_of_another_kind_is_recognised(
    place: Path, arguments: list[str], word: str
) -> None:
    result = call("--output_file=foo.tflite", *arguments)
    assert result.exit_code == 1
    assert f"Convert it as {word}, " in result.output
    assert not Path("foo.tflite").exists()


# -- types of numbers ------------------------------------------------------------------------------

TRAINED = "some_quantized_graph.pb"
UINT8 = "--inference_type=QUANTIZED_UINT8"
MEANS = ("--mean_values=128", "--std_dev_values=127")


def test_codes_throughout_have_the_stated_ranges(place: Path) -> None:
    model = convert(TRAINED, UINT8, *MEANS)
    assert {v.dtype.name for v in model.main.values()} <= {"uint8", "int32"}
    (x,) = model.main.inputs
    assert x.quant is not None
    assert (x.quant.scale[0], x.quant.zero_point[0]) == (np.float32(1 / 127), 128)
    (conv,) = (n for n in model.main.nodes if n.op.name == "CONV_2D")
    assert conv.output.quant is not None
    assert conv.output.quant.scale[0] == np.float32(6 / 255)
    codes = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3)).astype(np.uint8)
    found = run(octolite.Interpreter, "foo.tflite", codes)
    np.testing.assert_array_equal(found, run(litert.Interpreter, "foo.tflite", codes))
    floats = (codes.astype(np.float32) - 128) / 127
    convert(TRAINED)
    exact = run(octolite.Interpreter, "foo.tflite", floats)
    np.testing.assert_allclose(found / 256, exact, atol=0.02)


def test_codes_are_those_that_tensorflow_writes(place: Path) -> None:
    """Scales and zero points that the converter of TensorFlow 2.21 gives the same graph."""
    recorded = {
        "input": (0.007874015718698502, 128),
        "w/rearranged": (0.0054901959374547005, 128),
        "relu": (0.0235294122248888, 0),
        "logits": (0.062745101749897, 128),
        "MobilenetV1/Predictions/Reshape_1": (0.00390625, 0),
    }
    model = convert(TRAINED, UINT8, *MEANS)
    quants = {v.name: v.quant for v in model.main.values() if v.quant is not None}
    for name, (scale, zero_point) in recorded.items():
        assert quants[name].scale[0] == np.float32(scale)
        assert quants[name].zero_point[0] == zero_point
    bias = quants["b"].scale[0]
    np.testing.assert_array_max_ulp(bias, np.float32(4.3229891161900014e-05), maxulp=1)


@pytest.mark.parametrize("make", [octolite.Interpreter, litert.Interpreter])
def test_codes_stand_for_what_tensorflow_computed(place: Path, make: Any) -> None:
    """A graph that TensorFlow ran, with its simulated quantization; the file has floats at its
    ends."""
    convert(
        str(FAKE_QUANT.path), UINT8, "--inference_input_type=FLOAT", "--inference_output_type=FLOAT"
    )
    (x,), (expected,) = (FAKE_QUANT.arrays(k).values() for k in ("in", "out"))
    found = run(make, "foo.tflite", x)
    step = 6 / 255
    assert np.abs(found - expected).max() <= 2 * step
    assert np.mean(np.abs(found - expected) < 0.51 * step) > 0.97


@pytest.mark.parametrize(
    ("flags", "ends"),
    [
        ([], ["float32", "float32"]),
        (["--inference_type=FLOAT"], ["float32", "float32"]),
        ([UINT8, *MEANS], ["uint8", "uint8"]),
        (["--inference_type=uint8", *MEANS], ["uint8", "uint8"]),
        ([UINT8, *MEANS, "--inference_input_type=FLOAT"], ["float32", "uint8"]),
        ([UINT8, *MEANS, "--inference_output_type=FLOAT"], ["uint8", "float32"]),
        (["--inference_input_type=QUANTIZED_UINT8", *MEANS], ["uint8", "float32"]),
    ],
)
def test_what_goes_in_and_comes_out(place: Path, flags: list[str], ends: list[str]) -> None:
    assert dtypes(convert(TRAINED, *flags)) == ends
    x = np.random.default_rng(1).integers(0, 256, (1, 128, 128, 3)).astype(np.uint8)
    real = ((x.astype(np.float32) - 128) / 127).astype(np.float32)
    given = x if ends[0] == "uint8" else real
    found = run(octolite.Interpreter, "foo.tflite", given)
    reference = run(litert.Interpreter, "foo.tflite", given)
    if ends == ["uint8", "uint8"]:
        np.testing.assert_array_equal(found, reference)
    convert(TRAINED)
    exact = run(octolite.Interpreter, "foo.tflite", real)
    np.testing.assert_allclose(found / (256 if ends[1] == "uint8" else 1), exact, atol=0.02)


def test_bytes_go_into_hybrid_models_too(place: Path) -> None:
    flags = ["--post_training_quantize", "--inference_input_type=QUANTIZED_UINT8", *MEANS]
    model = convert(TRAINED, *flags)
    assert dtypes(model) == ["uint8", "float32"]


def test_codes_go_into_one_signature(place: Path) -> None:
    source = f"--saved_model_dir={DATA / 'saved_models' / 'v1_signatures'}"
    base = ["--output_file=foo.tflite", source, "--inference_input_type=QUANTIZED_UINT8", *MEANS]
    result = call(*base)
    assert result.exit_code == 2
    assert "the model has several: convert one" in result.output
    assert call(*base, "--saved_model_signature_key=classify").exit_code == 0
    assert [v.dtype.name for v in read("foo.tflite").signatures[0].inputs.values()] == ["uint8"]


def test_ranges_that_are_missing_are_listed(place: Path) -> None:
    frozen = "mobilenet_v1_0.50_128/frozen_graph.pb"
    result = call("--output_file=foo.tflite", f"--graph_def_file={frozen}", UINT8)
    assert result.exit_code == 1
    assert result.output.splitlines()[:4] == [
        "error: 3 tensors have no range (min and max), which a fully quantized model needs:",
        "  - 'input', an input",
        "  - 'relu', the result of CONV_2D 'relu'",
        "  - 'logits', the result of FULLY_CONNECTED 'logits'",
    ]
    assert not Path("foo.tflite").exists()


def test_default_ranges_fill_what_is_missing(place: Path) -> None:
    frozen = "mobilenet_v1_0.50_128/frozen_graph.pb"
    model = convert(
        frozen, UINT8, *MEANS, "--default_ranges_min", "-2", "--default_ranges_max", "3"
    )
    by_name = {v.name: v.quant for v in model.main.values() if v.quant is not None}
    assert by_name["input"].scale[0] == np.float32(1 / 127)
    assert by_name["logits"].scale[0] == np.float32(5 / 255)
    assert by_name["relu"].scale[0] == np.float32(5 / 255)
    # Where ranges are stated, they count.
    model = convert(TRAINED, UINT8, "--default_ranges_min=0", "--default_ranges_max=1")
    by_name = {v.name: v.quant for v in model.main.values() if v.quant is not None}
    assert by_name["input"].scale[0] == np.float32(1 / 255)
    assert by_name["logits"].scale[0] == np.float32(16 / 255)


def test_ranges_between_a_layer_and_its_activation(place: Path) -> None:
    base = ["--output_file=foo.tflite", "--graph_def_file=between.pb", UINT8, *MEANS]
    result = call(*base)
    assert result.exit_code == 1
    assert "'relu', the result of CONV_2D 'relu'" in result.output
    model = convert("between.pb", UINT8, *MEANS, "--reorder_across_fake_quant")
    (conv,) = (n for n in model.main.nodes if n.op.name == "CONV_2D")
    assert conv.output.quant is not None
    bias = np.random.default_rng(2018).standard_normal(8) / np.sqrt(1)
    top = np.float32(min(6, 5 + bias.astype(np.float32).max()))
    assert conv.output.quant.scale[0] == pytest.approx(top / 255, rel=1e-6)


@pytest.mark.parametrize("joined", [True, False])
def test_ranges_of_what_is_concatenated(place: Path, joined: bool) -> None:
    float32 = Type("DT_FLOAT")
    parts = [
        node(f"{x}/quant", "FakeQuantWithMinMaxArgs", x, min=-top, max=top, num_bits=8)
        for x, top in (("a", 1.0), ("b", 4.0))
    ]
    Path("both.pb").write_bytes(
        graph(
            placeholder("a", 1, 4), placeholder("b", 1, 4), *parts, const("axis", 1, "int32"),
            node("out", "ConcatV2", "a/quant", "b/quant", "axis", T=float32, N=2),
        )
    )  # fmt: skip
    model = convert("both.pb", UINT8, f"--change_concat_input_ranges={str(joined).lower()}")
    scales = [float(v.quant.scale[0]) for v in (*model.main.inputs, *model.main.outputs) if v.quant]
    expected = [8 / 255] * 3 if joined else [2 / 255, 8 / 255, 8 / 255]
    assert scales == pytest.approx(expected)


# -- weights after training ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "recipe"),
    [
        ([], "none"),
        (["--post_training_quantize"], "dynamic"),
        (["--quantize_weights"], "dynamic"),
        (["--post_training_quantize=true"], "dynamic"),
        (["--post_training_quantize", "False"], "none"),
        (["--post_training_quantize", "--quantize_to_float16"], "float16"),
    ],
)
def test_weights_after_training(place: Path, flags: list[str], recipe: str) -> None:
    source = Recording("lenet").path
    convert(str(source), *flags)
    assert Path("foo.tflite").read_bytes() == octolite.convert(source, quantize=recipe)


# -- operators -------------------------------------------------------------------------------------


def test_operators_that_are_not_known(place: Path) -> None:
    mine = node("y", "Mine", "x", T=Type("DT_FLOAT"))
    Path("m.pb").write_bytes(graph(placeholder("x", 2), mine))
    base = ["--output_file=foo.tflite", "--graph_def_file=m.pb", "--quiet"]
    for flags in ([], ["--allow_custom_ops=false"], ["--target_ops=TFLITE_BUILTINS,SELECT_TF_OPS"]):
        result = call(*base, *flags)
        assert result.exit_code == 1
        assert "Mine is not supported" in result.output
    definition = "name: 'Mine' input_arg { name: 'x' type: DT_FLOAT }"
    for flags in ([], ["--custom_opdefs", definition]):
        assert call(*base, "--allow_custom_ops", *flags).exit_code == 0
        with pytest.raises(octolite.UnsupportedError, match="custom operator 'Mine'"):
            read("foo.tflite")


def test_target_ops(place: Path) -> None:
    base = ["--output_file=foo.tflite", f"--graph_def_file={TRAINED}"]
    assert call(*base, "--target_ops=TFLITE_BUILTINS").exit_code == 0
    without = Path("foo.tflite").read_bytes()
    result = call(*base, "--target_ops=TFLITE_BUILTINS,SELECT_TF_OPS")
    assert result.exit_code == 0
    assert "only TFLite's operators are written" in result.stderr
    assert Path("foo.tflite").read_bytes() == without
    for flags, word in [
        (["--target_ops=SELECT_TF_OPS"], "needs TensorFlow's kernels"),
        (["--experimental_select_user_tf_ops=Mine"], "--allow_custom_ops"),
        (["--target_ops=TFLITE"], "'TFLITE' should be one of TFLITE_BUILTINS"),
    ]:
        result = call(*base, *flags)
        assert result.exit_code == 2
        assert word in result.output


@pytest.mark.parametrize(
    "flag",
    [
        "--drop_control_dependency",
        "--experimental_new_converter",
        "--experimental_new_converter=false",
        "--experimental_new_quantizer=true",
        "--enable_v1_converter",
    ],
)
def test_flags_that_change_nothing(place: Path, flag: str) -> None:
    source = Recording("control_dependencies").path
    convert(str(source), flag)
    assert Path("foo.tflite").read_bytes() == octolite.convert(source, "none")


# -- pictures --------------------------------------------------------------------------------------


def test_each_pass_is_drawn(place: Path) -> None:
    convert(TRAINED, "--dump_graphviz_dir=states")
    names = sorted(p.name for p in Path("states").iterdir())
    assert names[0] == "000-as-it-was-read.dot"
    assert names[-1] == f"{len(names) - 1:03}-as-it-is-written.dot"
    assert any("fuse-activations" in name for name in names)
    texts = [(Path("states") / name).read_text() for name in names]
    assert all(text.startswith("digraph") for text in texts)
    assert "RELU6</b>" in texts[0]
    assert "RELU6</b>" not in texts[-1]
    convert(TRAINED, "--dump_graphviz_dir=film", "--dump_graphviz_video")
    film = {p.name[4:] for p in Path("film").iterdir()}
    assert film > {name[4:] for name in names}
    assert "fuse-activation.dot" in film


def test_a_drawing_is_of_what_would_be_written(place: Path) -> None:
    convert(TRAINED, "--dump_graphviz_dir=states", UINT8, *MEANS)
    written = max(Path("states").iterdir()).read_text()
    result = call(
        "--output_file=foo.dot", f"--graph_def_file={TRAINED}", UINT8, *MEANS,
        "--output_format=graphviz_dot",
    )  # fmt: skip
    assert result.exit_code == 0
    assert Path("foo.dot").read_text() == written
    assert "uint8" in written


def test_a_summary_has_the_ledger_and_two_drawings(place: Path) -> None:
    base = ["--output_file=foo.tflite", f"--graph_def_file={TRAINED}", "--post_training_quantize"]
    printed = json.loads(call(*base, "--json", "--conversion_summary_dir=summary").output)
    assert json.loads(Path("summary/ledger.json").read_text()) == printed
    names = sorted(p.name for p in Path("summary").glob("*.dot"))
    assert names == ["000-as-it-was-read.dot", "001-as-it-is-written.dot"]


def test_a_folder_that_cannot_be_made(place: Path) -> None:
    result = call(
        "--output_file=foo.tflite", f"--graph_def_file={TRAINED}", "--dump_graphviz_dir=no/where"
    )
    assert result.exit_code == 2
    assert "cannot draw into no/where" in result.output
    assert not Path("foo.tflite").exists()


# -- mistakes --------------------------------------------------------------------------------------

GRAPH = f"--graph_def_file={TRAINED}"

MISTAKES = [
    ([], ["--graph_def_file, --saved_model_dir or --keras_model_file; none is given"]),
    ([GRAPH, "--saved_model_dir=."], ["--graph_def_file and --saved_model_dir are given"]),
    ([GRAPH, "--saved_model_tag_set=serve"], ["--saved_model_tag_set needs --saved_model_dir"]),
    ([GRAPH, "--saved_model_signature_key=a"], ["--saved_model_signature_key needs"]),
    ([GRAPH, "--input_shapes=1"], ["--input_shapes needs --input_arrays"]),
    ([GRAPH, "--input_arrays=a,b", "--input_shapes=1,2"], ["1 shapes", "2 names"]),
    ([GRAPH, "--input_arrays=a", "--input_shapes=1,x"], ["'1,x'", "1,224,224,3"]),
    ([GRAPH, "--quantize_to_float16"], ["--quantize_to_float16 needs --post_training_quantize"]),
    ([GRAPH, "--post_training_quantize", UINT8], ["--post_training_quantize", UINT8]),
    ([GRAPH, UINT8, "--mean_values=128"], ["--mean_values needs --std_dev_values"]),
    ([GRAPH, UINT8, "--std_dev_values=127"], ["--std_dev_values needs --mean_values"]),
    ([GRAPH, *MEANS], ["--mean_values needs --inference_type=QUANTIZED_UINT8"]),
    ([GRAPH, UINT8, "--mean_values=1,2", "--std_dev_values=1"], ["2 numbers", "1; each"]),
    (
        [GRAPH, UINT8, "--mean_values=1,2", "--std_dev_values=1,2", "--input_arrays=input"],
        ["--mean_values has 2 numbers and --input_arrays 1 names"],
    ),
    (
        [GRAPH, UINT8, "--mean_values=1,2", "--std_dev_values=1,2"],
        ["2 means and deviations and 1 inputs (input)"],
    ),
    ([GRAPH, UINT8, "--mean_values=a", "--std_dev_values=1"], ["'a' should look like 128,127.5"]),
    ([GRAPH, UINT8, "--mean_values=1", "--std_dev_values=0"], ["with the deviation 0"]),
    ([GRAPH, UINT8, "--default_ranges_min=0"], ["--default_ranges_min needs --default_ranges_max"]),
    ([GRAPH, UINT8, "--default_ranges_max=0"], ["--default_ranges_max needs --default_ranges_min"]),
    (
        [GRAPH, UINT8, "--default_ranges_min=3", "--default_ranges_max=-3"],
        ["the default range goes from 3.0 to -3.0"],
    ),
    (
        [GRAPH, "--default_ranges_min=0", "--default_ranges_max=6"],
        ["--default_ranges_min needs --inference_type=QUANTIZED_UINT8"],
    ),
    ([GRAPH, "--change_concat_input_ranges"], ["--change_concat_input_ranges needs", UINT8]),
    ([GRAPH, "--reorder_across_fake_quant"], ["--reorder_across_fake_quant needs", UINT8]),
    ([GRAPH, "--inference_type=INT8"], ["--inference_type=INT8", "QUANTIZED_UINT8"]),
    ([GRAPH, "--inference_type=INT4"], ["'INT4' should look like FLOAT or QUANTIZED_UINT8"]),
    (
        [GRAPH, "--inference_output_type=QUANTIZED_UINT8"],
        ["--inference_output_type=QUANTIZED_UINT8 needs --inference_type=QUANTIZED_UINT8"],
    ),
    (
        [FROZEN.replace("/tmp/", ""), "--inference_input_type=QUANTIZED_UINT8"],
        ["nothing says what the codes of input 'input' mean", "--mean_values"],
    ),
    ([GRAPH, "--dump_graphviz_video"], ["--dump_graphviz_video needs --dump_graphviz_dir"]),
    ([GRAPH, "--custom_opdefs=x"], ["--custom_opdefs needs --allow_custom_ops"]),
    ([GRAPH, "--output_format=TFLIGHT"], ["'TFLIGHT' should look like TFLITE or GRAPHVIZ_DOT"]),
    ([GRAPH, "--allow_custom_ops=maybe"], ["'maybe' should look like true or false"]),
    ([GRAPH, "--post_trainig_quantize"], ["no flag --post_trainig_quantize. Did you mean"]),
    ([GRAPH, "--post-training-quantize"], ["Did you mean '--post_training_quantize'"]),
    ([GRAPH, "--wholly_unlike_them"], ["no flag --wholly_unlike_them. --help lists them"]),
    ([GRAPH, "--input_file=a.pb"], ["no flag --input_file: it is --graph_def_file now"]),
    (["--graph_def_file=absent.pb"], ["absent.pb"]),
    ([GRAPH, "--output_file="], ["the output '' is a folder; give a file"]),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES)
def test_mistakes_name_the_flags_and_write_nothing(
    place: Path, arguments: list[str], words: list[str]
) -> None:
    before = sorted(p.name for p in place.iterdir())
    result = call("--output_file=foo.tflite", *arguments)
    assert result.exit_code == 2, result.output
    for word in words:
        assert word in result.output
    assert sorted(p.name for p in place.iterdir()) == before


def test_the_output_must_be_named(place: Path) -> None:
    result = call(GRAPH)
    assert result.exit_code == 2
    assert result.output == "error: --output_file is missing: give the file to write\n"


# -- the table -------------------------------------------------------------------------------------

OF_TENSORFLOW = """
    --output_file --graph_def_file --saved_model_dir --keras_model_file --output_format
    --inference_type --inference_input_type --input_arrays --output_arrays --input_shapes
    --saved_model_tag_set --saved_model_signature_key --mean_values --std_dev_values
    --default_ranges_min --default_ranges_max --post_training_quantize --quantize_weights
    --quantize_to_float16 --drop_control_dependency --reorder_across_fake_quant
    --change_concat_input_ranges --allow_custom_ops --target_ops --dump_graphviz_dir
    --dump_graphviz_video --custom_opdefs --experimental_select_user_tf_ops
    --conversion_summary_dir --experimental_new_converter --experimental_new_quantizer
    --enable_v1_converter
"""
"""The flags of ``tflite_convert`` in TensorFlow 1.10 to 1.15 and 2."""


def test_every_flag_of_tensorflow_is_there() -> None:
    known = {name for flag in FLAGS.values() for name in (flag.name, *flag.also)}
    assert set(OF_TENSORFLOW.split()) <= known
    assert set(RENAMED.values()) <= known
    assert not set(RENAMED) & known


def test_flags_set_what_there_is_to_set() -> None:
    records: dict[str, Any] = {"job": Job, "selection": Selection, "numbers": Numbers}
    for flag in FLAGS.values():
        record, _, name = flag.sets.partition(".")
        if record in records:
            assert name in {f.name for f in dataclasses.fields(records[record])}, flag.name
        else:
            assert record in ("", "source"), flag.name


def test_help_explains_every_flag() -> None:
    text = " ".join(call("--help").output.split())
    for group in GROUPS:
        assert f"{group.title}:" in text
        for flag in group.flags:
            assert flag.name in text
            assert flag.help in text


def test_the_page_has_the_table() -> None:
    assert "\n".join(markdown_lines(GROUPS)) in PAGE.read_text()


# -- the same in today's style ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("today", "then"),
    [
        (["--quantize=uint8", "--codes=128,127"], [UINT8, *MEANS]),
        (
            ["--quantize=uint8", "--input-type=float32", "--output-type=float32",
             "--default-range=-6,6"],
            [UINT8, "--inference_input_type=FLOAT", "--inference_output_type=FLOAT",
             "--default_ranges_min=-6", "--default_ranges_max=6"],
        ),
        (
            ["--quantize=uint8", "--codes=128,127", "--join-ranges", "--move-ranges"],
            [UINT8, *MEANS, "--change_concat_input_ranges", "--reorder_across_fake_quant"],
        ),
        (
            ["--quantize=none", "--input-type=uint8", "--codes", "128,127"],
            ["--inference_input_type=QUANTIZED_UINT8", *MEANS],
        ),
    ],
)  # fmt: skip
def test_octolite_convert_does_the_same(place: Path, today: list[str], then: list[str]) -> None:
    convert(TRAINED, *then)
    old = Path("foo.tflite").read_bytes()
    result = call("convert", TRAINED, "-o", "new.tflite", *today, command=octolite_command)
    assert result.exit_code == 0, result.output
    assert Path("new.tflite").read_bytes() == old


def test_octolite_convert_draws(place: Path) -> None:
    base = ["convert", TRAINED, "-o", "new.tflite", "--quiet"]
    assert call(*base, "--draw=states", command=octolite_command).exit_code == 0
    result = call(*base, "--draw=film", "--draw-rules", command=octolite_command)
    assert result.exit_code == 0
    assert len(list(Path("film").iterdir())) > len(list(Path("states").iterdir())) > 3


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--codes=128,127"], "--codes needs --input-type uint8"),
        (["--codes=128"], "'128' should be two numbers, as in 128,127"),
        (["--default-range=0,6"], "--default-range needs --quantize uint8"),
        (["--join-ranges"], "--join-ranges needs --quantize uint8"),
        (["--move-ranges"], "--move-ranges needs --quantize uint8"),
        (["--output-type=uint8"], "--output-type uint8 needs --quantize uint8"),
        (["--draw-rules"], "--draw-rules needs --draw"),
        (["--quantize=uint8", "--min-elements=3", "--codes=1,1"], "min_elements is given"),
    ],
)
def test_octolite_convert_names_mistakes(place: Path, arguments: list[str], word: str) -> None:
    result = call("convert", TRAINED, "-o", "new.tflite", *arguments, command=octolite_command)
    assert result.exit_code == 2
    assert word in result.output
    assert not Path("new.tflite").exists()


@pytest.mark.parametrize("kind", ["saved_model", "keras_model.h5", TRAINED, "checkpoint", "tflite"])
def test_octolite_convert_looks_what_a_model_is(place: Path, kind: str) -> None:
    arguments = [kind]
    if kind == "tflite":
        Path("float.tflite").write_bytes(octolite.convert(TRAINED, "none"))
        arguments = ["float.tflite"]
    elif kind == "checkpoint":
        (meta,) = (DATA / "saved_models").glob("*/*.meta")
        arguments = [str(meta), "--output-array", "probabilities"]
    line = ["convert", *arguments, "-o", "new.tflite", "--quiet"]
    result = call(*line, command=octolite_command)
    assert (result.exit_code, result.output) == (0, "")
    assert len(read("new.tflite").main.nodes) > 0


def test_tflite_files_take_codes_at_their_ends(place: Path) -> None:
    """What the file states of itself is kept; a DEQUANTIZE is added, or everything is codes."""
    Path("float.tflite").write_bytes(octolite.convert(TRAINED, "none"))
    base = ["convert", "float.tflite", "-o", "new.tflite", "--quiet", "--codes=128,127"]
    x = np.random.default_rng(2).integers(0, 256, (1, 128, 128, 3)).astype(np.uint8)
    exact = run(octolite.Interpreter, "float.tflite", ((x.astype(np.float32) - 128) / 127))
    result = call(*base, "--quantize=none", "--input-type=uint8", command=octolite_command)
    assert (result.exit_code, result.output) == (0, "")
    assert dtypes(read("new.tflite")) == ["uint8", "float32"]
    for make in (octolite.Interpreter, litert.Interpreter):
        np.testing.assert_allclose(run(make, "new.tflite", x), exact, atol=1e-6)
    ranges = "--default-range=-6,6"  # FakeQuant's are not in a float file
    result = call(*base, "--quantize=uint8", ranges, command=octolite_command)
    assert (result.exit_code, result.output) == (0, "")
    assert dtypes(read("new.tflite")) == ["uint8", "uint8"]
    found = run(octolite.Interpreter, "new.tflite", x)
    np.testing.assert_array_equal(found, run(litert.Interpreter, "new.tflite", x))
    np.testing.assert_allclose(found / 256, exact, atol=0.05)
