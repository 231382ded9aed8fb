"""``octolite evaluate`` as people type it: real digits, real images, real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import octolite
from octolite.cli.evaluate import pace
from octolite.cli.main import main
from octolite.evaluation.engine import Progress
from octolite.evaluation.tasks import TASKS

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
COMMAND = [sys.executable, "-m", "octolite.cli.main", "evaluate"]


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["evaluate", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The demo's network: float, and with weights of 8 bits."""
    folder = tmp_path_factory.mktemp("models")
    paths = folder / "float.tflite", folder / "int8.tflite"
    for path, quantize in zip(paths, ("none", "dynamic"), strict=True):
        path.write_bytes(octolite.convert(DIGITS / "digits.pb", quantize))
    return paths


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's images that training never saw: uint8 [597, 8, 8], and what they show."""
    with np.load(DIGITS / "holdout.npz") as data:
        return data["images"][:, :, :, 0], data["labels"]


@pytest.fixture(scope="module")
def flat(digits: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ILSVRC has it: images in one folder, labels and names of outputs in files."""
    folder = tmp_path_factory.mktemp("flat")
    (folder / "images").mkdir()
    for number, image in enumerate(digits[0]):
        Image.fromarray(image).save(folder / "images" / f"val_{number:08}.png")
    (folder / "truth.txt").write_text("".join(f"{NAMES[label]}\n" for label in digits[1]))
    (folder / "names.txt").write_text("\n".join(NAMES) + "\n")
    return folder


def ilsvrc(flat: Path, model: Path, output: Path) -> list[str]:
    """The flags of TensorFlow Lite's tool; and what to do to images, which it never asked."""
    return [
        "classification", "--model_file", str(model),
        "--ground_truth_images_path", str(flat / "images"),
        "--ground_truth_labels", str(flat / "truth.txt"),
        "--model_output_labels", str(flat / "names.txt"),
        "--output_file_path", str(output), "--preprocess", "none",
    ]  # fmt: skip


def test_digits_float_against_hybrid(
    models: tuple[Path, Path], digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """Folders for classes, two models in one pass, in a process of its own; one image is broken."""
    images, labels = digits
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / "digits" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:04}.png")
    (tmp_path / "digits" / "3" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    arguments = ["--data", str(tmp_path / "digits"), "--preprocess", "none", "--json"]
    done = subprocess.run(
        [*COMMAND, "classification", "--models", *map(str, models), *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["samples"] == 597
    assert [s["name"] for s in report["skipped"]] == ["3/broken.png"]
    assert "598/598" in done.stderr
    assert "1 skipped" in done.stderr
    for name, model, judged in zip(("float", "int8"), models, report["models"], strict=True):
        interpreter = octolite.Interpreter(str(model))
        interpreter.resize_tensor_input(0, (597, 8, 8, 1))
        interpreter.allocate_tensors()
        interpreter.set_tensor(
            interpreter.get_input_details()[0]["index"], images[..., None].astype(np.float32)
        )
        interpreter.invoke()
        told = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).argmax(1)
        assert judged["name"] == name
        assert judged["top"][0]["successes"] == (told == labels).sum() >= 590
    (compared,) = report["comparisons"]
    assert compared["agreement"]["successes"] >= 595
    assert compared["mcnemar_p"] > 0.05


def test_the_ilsvrc_tools_command_line(
    models: tuple[Path, Path], flat: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"
    arguments = ilsvrc(flat, models[0], output)
    (tmp_path / "deny.txt").write_text("1\n2\n")
    more = ["--blacklist_file_path", tmp_path / "deny.txt", "--num_images", 50]
    result = call(*arguments, *more, "--num_threads", 2, "--num_ranks", 5)
    assert result.exit_code == 0, result.output
    header, first, *rest = output.read_text().splitlines()
    assert header.startswith("Top 1, Top 2, Top 3, Top 4, Top 5, ")
    assert "val_00000002.png" in first
    assert len(rest) == 49
    assert "preprocessing: gray, (x − 0) / 1, as float32" in result.stdout
    assert "top-1 accuracy" in result.stdout
    assert "truth (rows), told (columns)" in result.stdout


def test_what_to_do_to_images_is_asked_for(
    models: tuple[Path, Path], flat: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"
    result = call(*ilsvrc(flat, models[0], output)[:-2])
    assert result.exit_code == 2
    assert "--preprocess with mean=… and std=…" in result.stderr
    assert not output.exists()


def test_killed_and_called_again_nothing_is_lost(
    models: tuple[Path, Path], digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """The process is killed three times on its way; the table is what it would have been."""
    times = 12
    np.savez(
        tmp_path / "data.npz",
        images=np.tile(digits[0][..., None].astype(np.float32), (times, 1, 1, 1)),
        labels=np.tile(digits[1], times),
    )
    total = times * len(digits[1])

    def command(output: Path) -> list[str]:
        arguments = ["--data", str(tmp_path / "data.npz"), "--output_file_path", str(output)]
        return [*COMMAND, "classification", "--models", *map(str, models), *arguments, "--json"]

    output = tmp_path / "killed.csv"
    kept = 0
    for share in (0.02, 0.2, 0.4):
        process = subprocess.Popen(
            command(output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while not output.exists() or output.read_bytes().count(b"\n") < share * total:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -9
        lines = output.read_bytes().count(b"\n")
        assert kept < lines <= total
        kept = lines
    resumed = subprocess.run(command(output), capture_output=True, text=True, check=True)
    whole = tmp_path / "whole.csv"
    straight = subprocess.run(command(whole), capture_output=True, text=True, check=True)
    assert output.read_bytes() == whole.read_bytes()
    assert json.loads(resumed.stdout) == json.loads(straight.stdout)
    assert json.loads(resumed.stdout)["samples"] == total


def test_a_model_is_needed(flat: Path) -> None:
    result = call("classification", "--data", flat / "images")
    assert result.exit_code == 2
    assert "give a model: --model_file" in result.stderr


def test_a_file_that_is_no_model(flat: Path, tmp_path: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(b"nothing")
    result = call(*ilsvrc(flat, tmp_path / "x.tflite", tmp_path / "out.csv"))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")


def test_every_task_is_a_command_with_its_options() -> None:
    for name, task in TASKS.items():
        text = call(name, "--help").stdout
        assert task.summary in " ".join(text.split())
        for option in fields(task):  # type: ignore[arg-type]
            assert f"--{option.name} " in text


def test_pace() -> None:
    assert pace(Progress(10, 100, 0, 0.5)) == "0.5/s, 0:03:00 left"
    assert pace(Progress(1, 7201, 2, 1.0)) == "1.0/s, 2:00:00 left, 2 skipped"
    assert pace(Progress(0, 9, 0, 0.0)) == "0.0/s, ? left"


def test_the_command_is_listed() -> None:
    context = click.Context(main)
    assert "evaluate" in main.list_commands(context)
