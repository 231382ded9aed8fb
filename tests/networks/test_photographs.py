"""A network that was trained on ImageNet sees the same in 8 bits as in float.

Three packages are fetched for it (40 MB), so that only ``make networks`` does it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import octolite
from benchmarks import photographs
from benchmarks.contenders import TfLite

TOOL = Path(__file__).parents[2] / "tools" / "efficientnet_lite0.py"
CROPS = 8

pytestmark = pytest.mark.skipif(
    os.environ.get("OCTOLITE_NETWORKS") != "all", reason="40 MB are fetched: make networks"
)


def test_photographs_are_recognized_in_float_and_in_8_bits(tmp_path: Path) -> None:
    frozen = tmp_path / "efficientnet_lite0.pb"
    subprocess.run([sys.executable, TOOL, "-o", frozen], check=True)
    plain, small = (octolite.convert(frozen, form) for form in ("none", "dynamic"))
    assert len(small) < 0.27 * len(plain)
    images = list(photographs.images())
    central = np.stack([photographs.crop(image) for image in images])
    crops = np.concatenate([photographs.drawn(image, CROPS) for image in images])
    runners = [TfLite(octolite.Interpreter(model_content=content)) for content in (plain, small)]
    for runner in runners:
        for photograph, row in zip(
            photographs.PHOTOGRAPHS, photographs.probabilities(runner, central), strict=True
        ):
            if photograph.classes:
                assert row.argmax() in photograph.classes, photograph.file
    first, five = photographs.agreement(
        *(photographs.probabilities(runner, crops) for runner in runners)
    )
    assert first >= 0.9
    assert five == 1
