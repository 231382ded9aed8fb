"""Model files as memory maps: what is packed leaves memory, and comes back when it is read."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

import octolite
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.mapped import release
from octolite.ir.numerics import quantize_weights
from octolite.ir.types import FLOAT32, INT8, Array
from octolite.ops.base import operator_class
from octolite.tflite import read, write

SMAPS = Path("/proc/self/smaps")


def resident(path: Path) -> int:
    """KiB of a mapped file that are in this process's memory."""
    lines = SMAPS.read_text().splitlines()
    starts = [i for i, line in enumerate(lines) if line.endswith(str(path))]
    sizes = [next(x for x in lines[i:] if x.startswith("Rss:")) for i in starts]
    return sum(int(line.split()[1]) for line in sizes)


@pytest.fixture
def weights() -> Array:
    return np.random.default_rng(0).normal(size=(2048, 1024)).astype(np.float32)


@pytest.fixture(params=["float", "hybrid", "widened"])
def model(request: pytest.FixtureRequest, weights: Array, tmp_path: Path) -> tuple[Path, str]:
    """A file with 8 MB of floats or 2 MB of codes, and how it is to run."""
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (1, 1024))
    constant = Value.constant("w", weights)
    if request.param != "float":
        codes, quant = quantize_weights(weights, 0)
        constant = Value.constant("w", codes, INT8, quant)
    op = operator_class("FULLY_CONNECTED")()
    graph.outputs = [graph.add(op, [x, constant, None], "dense").output]
    path = tmp_path / "model.tflite"
    path.write_bytes(write(Model([graph])))
    return path, "never" if request.param == "widened" else "always"


@pytest.mark.skipif(not SMAPS.exists(), reason="needs Linux")
def test_packed_weights_leave_memory(model: tuple[Path, str]) -> None:
    path, hybrid = model
    interpreter = octolite.Interpreter(str(path), hybrid=hybrid)  # type: ignore[arg-type]
    assert resident(path) < 300
    interpreter.allocate_tensors()
    interpreter.invoke()
    assert resident(path) < 300
    index = next(d["index"] for d in interpreter.get_tensor_details() if d["name"] == "w")
    stored = next(v.data for v in read(path).main.constants() if v.name == "w")
    np.testing.assert_array_equal(interpreter.get_tensor(index), stored)


def test_results_are_those_of_the_bytes(model: tuple[Path, str]) -> None:
    path, hybrid = model
    x = np.random.default_rng(1).normal(size=(1, 1024)).astype(np.float32)
    results = []
    for source in ({"model_path": path}, {"model_content": path.read_bytes()}):
        interpreter = octolite.Interpreter(**source, hybrid=hybrid)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    np.testing.assert_array_equal(*results)


def test_arrays_that_are_not_mapped_stay(weights: Array) -> None:
    kept = weights.copy()
    release(weights[3:].T)
    release(np.frombuffer(kept.tobytes(), np.float32))
    np.testing.assert_array_equal(weights, kept)


def test_a_file_replaced_by_rename_stays_readable(model: tuple[Path, str]) -> None:
    path, _ = model
    constant = next(v for v in read(path).main.constants() if v.name == "w")
    assert constant.data is not None
    before = constant.data.copy()
    beside = path.with_suffix(".new")
    beside.write_bytes(bytes(path.stat().st_size))
    beside.replace(path)
    release(constant.data)
    np.testing.assert_array_equal(constant.data, before)


def test_what_cannot_be_mapped_is_read(model: tuple[Path, str], tmp_path: Path) -> None:
    path, _ = model
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()))
    writer.start()
    assert [v.name for v in read(pipe).main.inputs] == ["x"]
    writer.join()


def test_empty_and_missing_files_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.tflite"
    empty.touch()
    with pytest.raises(octolite.FormatError, match="not a TFLite model"):
        read(empty)
    with pytest.raises(octolite.FormatError, match="cannot read"):
        read(tmp_path / "missing.tflite")
