"""SavedModels and checkpoints recorded from TensorFlow: every signature, converted and run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT
from click.testing import CliRunner
from google.protobuf import text_format

import octolite
from octolite.cli.main import main as octolite_main
from octolite.cli.tflite_convert import main as tflite_convert
from octolite.frontends.savedmodel import proto
from octolite.tflite import read
from tests.recorded import relative_error

FOLDER = Path(__file__).parents[1] / "data" / "saved_models"
NAMES = sorted(p.stem for p in FOLDER.glob("*.npz"))

Calls = dict[str, list[dict[str, dict[str, np.ndarray]]]]
"""Signature → its calls, one after the other → ``in`` and ``out`` → array by name."""


def path_of(name: str) -> Path:
    """What to convert: a SavedModel's folder, or the MetaGraph of a checkpoint."""
    return next((FOLDER / name).glob("*.meta"), FOLDER / name)


def recorded(name: str) -> Calls:
    calls: Calls = {}
    with np.load(FOLDER / f"{name}.npz") as data:
        for path in data.files:
            key, number, kind, argument = path.split("/")
            its = calls.setdefault(key, [])
            while len(its) <= int(number):
                its.append({"in": {}, "out": {}})
            array = data[path]
            its[int(number)][kind][argument] = (
                array.astype(object) if array.dtype.kind == "S" else array
            )
    return calls


def compare(got: np.ndarray, expected: np.ndarray, what: str, tolerance: float = 2e-5) -> None:
    assert got.shape == expected.shape, what
    if expected.dtype == object:
        assert got.tolist() == expected.tolist(), what
    elif expected.dtype.kind == "f":
        assert relative_error(got, expected) <= tolerance, what
    else:
        np.testing.assert_array_equal(got, expected, what)


FIXED = {"keras3_recurrent", "v1_recurrent"}
"""Recurrent models: their state lasts, and LiteRT takes the batch of the file alone."""

OUTPUTS = {"v1_checkpoint": ["probabilities"]}
"""What a graph that also trains gives, which it does not say itself."""


def convert(name: str, recipe: str = "none", **options: Any) -> bytes:
    return octolite.convert(path_of(name), recipe, output_arrays=OUTPUTS.get(name), **options)


@pytest.mark.parametrize("make", [octolite.Interpreter, LiteRT])
@pytest.mark.parametrize("name", NAMES)
def test_each_signature_gives_what_tensorflow_gave(name: str, make: Any) -> None:
    calls, shapes = recorded(name), None
    if name in FIXED and make is LiteRT:
        calls = {key: its[:1] for key, its in calls.items()}
        shapes = {n: a.shape for its in calls.values() for n, a in its[0]["in"].items()}
    content = convert(name, input_shapes=shapes)
    interpreter = make(model_content=content)
    assert set(interpreter.get_signature_list()) == set(calls)
    for key, its in calls.items():
        if name in FIXED:  # a recurrent layer goes on from where it was
            interpreter = make(model_content=content)
        runner = interpreter.get_signature_runner(key)
        for call in its:
            results = runner(**call["in"])
            assert set(results) == set(call["out"])
            for output, expected in call["out"].items():
                compare(results[output], expected, f"{key}: {output}")


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"counter", "vocabulary", "dtypes"}))
def test_weights_in_8_bits_stay_close(name: str) -> None:
    content = convert(name, "dynamic", min_elements=1)
    for key, its in recorded(name).items():
        interpreter = octolite.Interpreter(model_content=content)
        results = interpreter.get_signature_runner(key)(**its[0]["in"])
        for output, expected in its[0]["out"].items():
            if expected.dtype == np.float32:
                assert relative_error(results[output], expected) <= 0.06, f"{key}: {output}"


# -- signatures, tags, arrays ----------------------------------------------------------------------


def test_signatures_share_their_weights() -> None:
    both = convert("nested_functions")
    one = convert("nested_functions", signature="serving_default")
    buffers = [v.data for g in read(both).graphs for v in g.constants() if v.data.size >= 1024]
    assert len(buffers) >= 3  # the first layer's kernel is in both graphs
    assert len(both) < len(one) + 2500


def test_signatures_that_compute_the_same_share_a_graph() -> None:
    model = read(convert("keras3_classifier"))
    assert [s.key for s in model.signatures] == ["serving_default", "serve"]
    assert len(model.graphs) == 1
    assert model.signatures[0].graph is model.signatures[1].graph


def test_one_signature_is_chosen() -> None:
    model = read(convert("v1_signatures", signature="classify"))
    assert [s.key for s in model.signatures] == ["classify"]
    assert list(model.signatures[0].inputs) == ["hidden"]
    assert model.main.inputs[0].shape == (None, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"signature": "clasify"}, "no signature 'clasify'. Did you mean 'classify'"),
        ({"tags": ["gpu", "serve"]}, "no MetaGraph with the tags gpu,serve; .* are: train; serve"),
        ({"tags": "serve"}, "a list of names, not the text 'serve'"),
        ({"input_shapes": {"y": [1, 12]}}, "a shape is given for 'y', which is no input"),
        ({"input_shapes": {"x": [1, 13]}}, "which .* contradicts"),
        ({"output_arrays": ["logit"]}, "no node 'logit' to be an output array. Did you mean"),
        ({"tags": ["train"]}, None),
    ],
)
def test_what_is_chosen_and_not_there(options: dict[str, Any], message: str | None) -> None:
    if message is None:  # a MetaGraph without signatures: what nothing consumes is the result
        model = read(octolite.convert(path_of("v1_signatures"), **options))
        assert list(model.signatures[0].outputs) == ["probabilities"]
        return
    with pytest.raises(octolite.UsageError, match=message):
        octolite.convert(path_of("v1_signatures"), **options)


def test_arrays_name_a_part_of_a_signature() -> None:
    name = "v1_signatures"
    content = octolite.convert(
        path_of(name), "none", ["hidden"], ["logits"], {"hidden": [2, -1]}, signature="both"
    )
    (signature,) = read(content).signatures
    assert (list(signature.inputs), list(signature.outputs)) == (["hidden"], ["logits"])
    assert signature.inputs["hidden"].shape == (2, 32)


def test_shapes_are_given_by_argument() -> None:
    content = convert("nested_functions", input_shapes={"x": [5, 16]})
    by_key = {s.key: s for s in read(content).signatures}
    assert by_key["serving_default"].inputs["x"].shape == (5, 16)
    assert by_key["embed"].inputs["image"].shape == (None, 16)


def test_a_frozen_graph_has_no_signature_to_choose() -> None:
    graph = FOLDER.parent / "graphs" / "mlp.pb"
    with pytest.raises(octolite.UsageError, match="a frozen GraphDef has no signature or tags"):
        octolite.convert(graph, signature="serving_default", tags=["serve"])


def test_a_graph_that_trains_must_be_told_its_outputs() -> None:
    with pytest.raises(octolite.UsageError, match=r"holds what trains it.*name them"):
        octolite.convert(path_of("v1_checkpoint"))


def test_the_text_form_is_the_same_model(tmp_path: Path) -> None:
    folder = tmp_path / "text"
    shutil.copytree(FOLDER / "nested_functions", folder)
    binary = folder / "saved_model.pb"
    message = proto.SavedModel.FromString(binary.read_bytes())
    (folder / "saved_model.pbtxt").write_text(text_format.MessageToString(message))
    binary.unlink()
    assert octolite.convert(folder) == convert("nested_functions", "dynamic")
    assert octolite.convert(folder / "saved_model.pbtxt") == octolite.convert(folder)


# -- the commands ----------------------------------------------------------------------------------


def test_tflite_convert_takes_a_saved_model(tmp_path: Path) -> None:
    output = tmp_path / "out.tflite"
    arguments = [
        f"--saved_model_dir={path_of('v1_signatures')}", "--saved_model_tag_set=serve",
        "--saved_model_signature_key", "classify", f"--output_file={output}", "--quiet",
    ]  # fmt: skip
    done = CliRunner().invoke(tflite_convert, arguments)
    assert (done.exit_code, done.output) == (0, "")
    assert [s.key for s in read(output.read_bytes()).signatures] == ["classify"]


@pytest.mark.parametrize("sources", [(), ("--graph_def_file", "--saved_model_dir")])
def test_tflite_convert_takes_one_model(sources: tuple[str, ...], tmp_path: Path) -> None:
    graph = str(FOLDER.parent / "graphs" / "mlp.pb")
    paths = {"--graph_def_file": graph, "--saved_model_dir": str(path_of("dtypes"))}
    given = [part for flag in sources for part in (flag, paths[flag])]
    done = CliRunner().invoke(tflite_convert, [*given, f"--output_file={tmp_path / 'x'}"])
    assert done.exit_code == 2
    assert "give one model: --graph_def_file, --saved_model_dir" in done.output


@pytest.mark.parametrize("name", ["keras2_classifier", "v1_checkpoint"])
def test_octolite_convert_finds_the_kind_by_looking(name: str, tmp_path: Path) -> None:
    output = tmp_path / "out.tflite"
    arrays = [f"--output-array={n}" for n in OUTPUTS.get(name, ())]
    arguments = ["convert", str(path_of(name)), "-o", str(output), "--quiet", *arrays]
    done = CliRunner().invoke(octolite_main, arguments)
    assert (done.exit_code, done.output) == (0, "")
    assert output.read_bytes() == convert(name, "dynamic")
