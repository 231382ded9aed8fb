"""Large published networks, made by TensorFlow: ``make test-tf``."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

import octolite
from benchmarks.conversion import convert
from tests.recorded import relative_error, run, sqnr

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tf

FREEZE = Path(__file__).parents[1] / "tools" / "freeze.py"


@dataclass(frozen=True)
class Frozen:
    """A frozen network, what TensorFlow computes from one input, and its own quantized file."""

    path: Path

    def arrays(self, kind: str) -> dict[str, np.ndarray]:
        with np.load(self.path.with_suffix(".npz")) as data:
            return {k.split("/", 1)[1]: data[k] for k in data.files if k.startswith(f"{kind}/")}

    @property
    def facts(self) -> dict:
        index = json.loads((self.path.parent / "index.json").read_text())
        return index[self.path.stem]


@pytest.fixture(scope="module", params=["mobilenet_v2", "resnet50"])
def frozen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    path = tmp_path_factory.mktemp("models") / f"{request.param}.pb"
    subprocess.run([sys.executable, FREEZE, request.param, "-o", path], check=True)
    return Frozen(path)


def test_float_file_agrees(frozen: Frozen) -> None:
    """As well as TensorFlow's own file does, which is 1.2e-5 off for MobileNetV2."""
    content = octolite.convert(frozen.path, "none")
    (expected,) = frozen.arrays("out").values()
    bound = max(1e-5, 1.25 * frozen.facts["tensorflow"]["float_relative_error"])
    for make in (LiteRT, octolite.Interpreter):
        (got,) = run(make, content, frozen.arrays("in"))
        assert relative_error(got, expected) <= bound


def test_hybrid_file_is_small_and_as_good_as_tensorflows(frozen: Frozen) -> None:
    large, small = octolite.convert(frozen.path, "none"), octolite.convert(frozen.path)
    assert len(small) <= 0.27 * len(large)
    (expected,) = frozen.arrays("out").values()
    (theirs,) = frozen.facts["tensorflow"]["sqnr"].values()
    (got,) = run(LiteRT, small, frozen.arrays("in"))
    assert sqnr(got, expected) >= theirs - 0.5


def test_memory_stays_low(frozen: Frozen, tmp_path: Path) -> None:
    size = frozen.path.stat().st_size / 1e6
    for flags in ((), ("--post_training_quantize",)):
        _, megabytes = convert(frozen.path, tmp_path / "out.tflite", *flags)
        assert megabytes < 4 * size + 150
