"""The commands, as people type them: exit codes, texts, and files that are whole or absent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

import octolite
from octolite.cli.main import main as octolite_command
from octolite.cli.operators import document
from octolite.cli.tflite_convert import main as tflite_convert
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import FLOAT32
from octolite.ops import operator_class
from octolite.tflite import write
from tests.frontends.build import Type, graph, node, placeholder
from tests.recorded import GRAPHS, Recording

LENET = Recording("lenet")
ROOT = Path(__file__).parents[2]


def call(command: click.Command, *arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def quantized(tmp_path: Path) -> Path:
    path = tmp_path / "lenet.tflite"
    path.write_bytes(octolite.convert(LENET.path))
    return path


# -- converting ------------------------------------------------------------------------------------


def test_the_line_of_2018_works_as_written(tmp_path: Path) -> None:
    """In a process of its own, as from a shell."""
    output = tmp_path / "foo.tflite"
    line = [
        "tflite_convert",
        f"--output_file={output}",
        f"--graph_def_file={LENET.path}",
        "--post_training_quantize",
    ]
    code = "import sys; from octolite.cli.tflite_convert import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, *line[1:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "int8 per channel" in done.stdout
    assert output.read_bytes() == octolite.convert(LENET.path)


def test_without_the_flag_the_file_is_float(tmp_path: Path) -> None:
    output = tmp_path / "foo.tflite"
    result = call(
        tflite_convert, "--output_file", output, "--graph_def_file", LENET.path, "--quiet"
    )
    assert (result.exit_code, result.output) == (0, "")
    assert output.read_bytes() == octolite.convert(LENET.path, quantize="none")


@pytest.mark.parametrize("recipe", ["dynamic", "weights", "float16", "none"])
def test_octolite_convert(tmp_path: Path, recipe: str) -> None:
    output = tmp_path / "m.tflite"
    result = call(
        octolite_command, "convert", LENET.path, "-o", output, "--quantize", recipe, "--json"
    )
    facts = json.loads(result.output)
    assert facts["bytes"] == output.stat().st_size
    assert facts["ledger"]["recipe"] == recipe
    assert output.read_bytes() == octolite.convert(LENET.path, quantize=recipe)


def test_text_graphs_give_the_same_file() -> None:
    text, binary = GRAPHS / "conv2d_same.pbtxt", GRAPHS / "conv2d_same.pb"
    assert octolite.convert(text) == octolite.convert(binary)


def test_arrays_and_shapes_can_be_named(tmp_path: Path) -> None:
    (name,) = LENET.arrays("in")
    shape = [3, *LENET.arrays("in")[name].shape[1:]]
    output = tmp_path / "m.tflite"
    result = call(
        tflite_convert,
        f"--output_file={output}",
        f"--graph_def_file={LENET.path}",
        f"--input_arrays={name}",
        f"--output_arrays={next(iter(LENET.arrays('out')))}",
        f"--input_shapes={','.join(map(str, shape))}",
    )
    assert result.exit_code == 0, result.output
    interpreter = octolite.Interpreter(output)
    assert interpreter.get_input_details()[0]["shape_signature"].tolist() == shape


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--output_arrays=sofmax"], 2, ["sofmax", "Did you mean"]),
        (["--input_arrays=nothing_like_it"], 2, ["nothing_like_it"]),
        (["--input_shapes=1,2"], 2, ["--input_arrays"]),
        (["--input_arrays=a,b", "--input_shapes=1,2"], 2, ["1 shapes", "2 names"]),
        (["--input_arrays=a", "--input_shapes=1,x"], 2, ["1,224,224,3"]),
        (["--post_trainig_quantize"], 2, ["--post_training_quantize"]),
        (["--graph_def_file=/nonexistent.pb"], 2, ["/nonexistent.pb"]),
        (["--output_file=/nonexistent/foo.tflite"], 2, ["no directory /nonexistent"]),
    ],
)
def test_mistakes_are_explained_and_write_nothing(
    tmp_path: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    output = tmp_path / "foo.tflite"
    base = [f"--output_file={output}", f"--graph_def_file={LENET.path}"]
    result = call(tflite_convert, *base, *arguments)
    assert result.exit_code == code, result.output
    for word in words:
        assert word in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "model.pb"
    wrong.write_bytes(octolite.convert(LENET.path))
    output = tmp_path / "out.tflite"
    result = call(tflite_convert, f"--output_file={output}", f"--graph_def_file={wrong}")
    assert result.exit_code == 1
    assert "TFLite" in result.output or ".tflite" in result.output
    assert not output.exists()


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    model = tmp_path / "model.pb"
    model.write_bytes(LENET.path.read_bytes())
    result = call(tflite_convert, f"--output_file={model}", f"--graph_def_file={model}")
    assert result.exit_code == 2
    assert model.read_bytes() == LENET.path.read_bytes()


def test_an_old_output_survives_a_failure(tmp_path: Path) -> None:
    output = tmp_path / "foo.tflite"
    output.write_bytes(b"precious")
    result = call(
        tflite_convert,
        f"--output_file={output}",
        f"--graph_def_file={LENET.path}",
        "--output_arrays=x",
    )
    assert result.exit_code == 2
    assert output.read_bytes() == b"precious"


def test_verbose_says_why(tmp_path: Path) -> None:
    result = call(octolite_command, "convert", LENET.path, "-o", tmp_path / "m.tflite", "-v")
    assert result.exit_code == 0
    assert ": applied" in result.output
    assert "left alone: " in result.output


def test_converting_loads_no_compiler() -> None:
    code = (
        f"import sys, octolite; octolite.convert({str(LENET.path)!r}); "
        "assert 'llvmlite' not in sys.modules and 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- running ---------------------------------------------------------------------------------------


def test_run_writes_the_outputs(tmp_path: Path, quantized: Path) -> None:
    (name, array), *_ = LENET.arrays("in").items()
    np.save(tmp_path / "x.npy", array)
    out = tmp_path / "out.npz"
    result = call(
        octolite_command, "run", quantized, "--input", f"{name}={tmp_path / 'x.npy'}", "-o", out
    )
    assert result.exit_code == 0, result.output
    with np.load(out) as outputs:
        for name, reference in LENET.arrays("out").items():
            np.testing.assert_allclose(outputs[name], reference, atol=0.05)


def test_custom_operators_are_kept_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pb, model, out = (tmp_path / name for name in ("m.pb", "m.tflite", "out.npz"))
    mine = node("y", "Mine", "x", T=Type("DT_FLOAT"), times=3)
    pb.write_bytes(graph(placeholder("x", 2), mine))
    asked = ["--output_file", model, "--graph_def_file", pb]
    assert "Mine is not supported" in call(tflite_convert, *asked).output
    assert not model.exists()
    assert call(tflite_convert, *asked, "--allow_custom_ops").exit_code == 0
    again = tmp_path / "again.tflite"
    call(octolite_command, "convert", pb, "-o", again, "--quantize=none", "--allow-custom-ops")
    assert again.read_bytes() == model.read_bytes()
    np.save(tmp_path / "x.npy", np.array([1, -2], np.float32))
    (tmp_path / "operators_of_mine.py").write_text(
        "import numpy as np\ndef times(options, x): return x * np.float32(options['times'])\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    run = ["run", model, "--input", tmp_path / "x.npy", "-o", out]
    for given, word in [
        ([], "'Mine'"),
        (["--custom", "Mine"], "should be [NAME=]MODULE:OBJECT"),
        (["--custom", "Mine=operators_of_mine:absent"], "cannot be imported"),
        (["--custom", "Mine=operators_of_mine:np"], "expected a function"),
    ]:
        result = call(octolite_command, *run, *given)
        assert result.exit_code > 0
        assert word in result.output
    result = call(octolite_command, *run, "--custom", "Mine=operators_of_mine:times")
    assert result.exit_code == 0, result.output
    with np.load(out) as outputs:
        np.testing.assert_array_equal(outputs["y"], [3, -6])


def test_run_says_which_inputs_it_wants(tmp_path: Path, quantized: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3, np.float32))
    (name,) = LENET.arrays("in")
    out = tmp_path / "out.npz"
    for arguments, word in [
        ([], f"--input {name}=FILE.npy"),
        (["--input", f"wrong={tmp_path / 'x.npy'}"], "no input 'wrong'"),
        (["--input", f"{name}={tmp_path / 'absent.npy'}"], "absent.npy"),
        (["--input", f"{tmp_path / 'x.npy'}"], "asked for (3,)"),
    ]:
        result = call(octolite_command, "run", quantized, *arguments, "-o", out)
        assert result.exit_code == 2
        assert word in result.output
    assert not out.exists()


def test_inspect(quantized: Path) -> None:
    text = call(octolite_command, "inspect", quantized, "--tensors").output
    assert "hybrid int8" in text
    assert "recipe dynamic" in text
    report = json.loads(call(octolite_command, "inspect", quantized, "--json").output)
    assert report["converted_by"]["recipe"]["name"] == "dynamic"
    assert "CONV_2D" in call(octolite_command, "inspect", LENET.path, "--text").output


def test_inspect_counts_operators_that_give_nothing(tmp_path: Path) -> None:
    """ASSIGN_VARIABLE stores, CALL_ONCE initialises: neither has an output."""
    graph, once = Graph("main"), Graph("init")
    held = operator_class("VAR_HANDLE")(shared_name="v")
    for g, value in ((once, Value.constant("zero", np.zeros(3, np.float32))), (graph, None)):
        source = value or g.add_input("x", FLOAT32, (3,))
        handle = g.add(held, [], "handle").output
        g.add(operator_class("ASSIGN_VARIABLE")(), [handle, source], "assign")
    graph.add(operator_class("CALL_ONCE")(init=once), [], "once")
    graph.outputs = [graph.inputs[0]]
    path = tmp_path / "stateful.tflite"
    path.write_bytes(write(Model([graph, once], [])))
    report = json.loads(call(octolite_command, "inspect", path, "--json").output)
    shown = {o["operator"]: o["arithmetic"] for o in report["graphs"][0]["operators"]}
    assert shown == {"VAR_HANDLE": "resource", "ASSIGN_VARIABLE": "float32", "CALL_ONCE": "–"}


def test_inspect_explains_a_node() -> None:
    output = next(iter(LENET.arrays("out")))
    result = call(octolite_command, "inspect", LENET.path, "--explain", "no_such_node")
    assert result.exit_code == 2
    assert "no_such_node" in result.output
    assert output


def test_damaged_models_are_refused(tmp_path: Path, quantized: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(quantized.read_bytes()[:5000])
    result = call(octolite_command, "bench", broken)
    assert result.exit_code == 1
    assert "error:" in result.output


# -- documentation ---------------------------------------------------------------------------------


def test_the_support_table_is_current() -> None:
    """`octolite operators --markdown` printed it."""
    text = (ROOT / "docs" / "operators.md").read_text()
    assert text.split("\n\n", 2)[2].rstrip("\n") == "\n".join(document())


@pytest.mark.parametrize("command", ["convert", "inspect", "run", "bench", "operators", "layers"])
def test_every_command_has_help(command: str) -> None:
    result = call(octolite_command, command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output
