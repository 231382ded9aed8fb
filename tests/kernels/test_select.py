"""What ``build`` and ``launch`` refuse, and that loading the requests compiles nothing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from octolite.errors import KernelError
from octolite.ir.types import Activation
from octolite.kernels import isa, spec
from octolite.kernels.select import build, hybrid_pays
from tests.kernels.conftest import constants

FC = spec.FullyConnected(8, 4, hybrid=True)
CODES = np.ones((4, 8), np.int8)
SCALE = np.ones(4, np.float32)


def test_requests_need_no_compiler() -> None:
    code = "import sys, octolite.kernels.spec; sys.exit('llvmlite' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("request_", "weights", "bias", "scale", "message"),
    [
        (FC, CODES.T, None, SCALE, r"weights has shape \[8, 4\], .* takes \[4, 8\]"),
        (FC, CODES.astype(np.float32), None, SCALE, "weights is float32 .* takes int8 codes"),
        (FC, CODES, None, None, "with 0 scales, FullyConnected takes int8 codes with a scale or 4"),
        (FC, CODES, np.ones(3, np.float32), SCALE, r"bias has shape \[3\], .* takes \[4\]"),
        (
            FC,
            CODES,
            None,
            SCALE[:2],
            "with 2 scales, FullyConnected takes int8 codes with a scale or 4",
        ),
        (
            spec.Conv2D((1, 1), 6, 4, groups=4),
            np.ones((4, 1, 1, 1), np.float32),
            None,
            None,
            "do not divide into 4 groups",
        ),
        (
            spec.FullyConnected(8, 4, Activation.SIGN_BIT, hybrid=True),
            CODES,
            None,
            SCALE,
            "no kernel applies SIGN_BIT",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    request_: spec.Request,
    weights: np.ndarray,
    bias: np.ndarray | None,
    scale: np.ndarray | None,
    message: str,
) -> None:
    with pytest.raises(KernelError, match=message):
        build(request_, constants(weights, bias, scale))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(KernelError, match="built for 8, the launch has 9"):
        build(FC, constants(CODES, None, SCALE)).launch((2, 9))
    conv = spec.Conv2D((1, 1), 3, 2)
    kernel = build(conv, constants(np.ones(conv.weight_shape, np.float32)))
    with pytest.raises(KernelError, match="built for 3, the launch has 4"):
        kernel.launch((1, 2, 2, 4), output_hw=(2, 2))
    with pytest.raises(KernelError, match="output_hw"):
        kernel.launch((1, 2, 2, 3))


def test_constants_are_copied() -> None:
    weights, bias = CODES.copy(), np.ones(4, np.float32)
    kernel = build(FC, constants(weights, bias, SCALE))
    packed, kept = kernel.panels.data.copy(), kernel.panels.bias.copy()
    weights[...], bias[...] = 0, 0
    np.testing.assert_array_equal(kernel.panels.data, packed)
    np.testing.assert_array_equal(kernel.panels.bias, kept)


def test_int8_is_taken_where_it_pays(row: isa.Isa) -> None:
    dense = spec.FullyConnected(1024, 1024, hybrid=True)
    square = spec.Conv2D((3, 3), 64, 64, hybrid=True)
    pointwise = spec.Conv2D((1, 1), 256, 256, hybrid=True)
    thin = spec.Conv2D((1, 1), 4, 8, hybrid=True)
    depthwise = spec.DepthwiseConv2D((3, 3), 64, hybrid=True)
    assert [hybrid_pays(r, row)[0] for r in (dense, square, pointwise)] == [True] * 3
    assert [hybrid_pays(r, row)[0] for r in (thin, depthwise)] == [False] * 2
    assert "cycles a row in int8" in hybrid_pays(thin, row)[1]


def test_a_launch_says_what_it_is(row: isa.Isa) -> None:
    kernel = build(FC, constants(CODES, None, SCALE), row)
    launch = kernel.launch((3, 8))
    assert launch.output_shape == (3, 4)
    assert launch.macs == 3 * 4 * 8
    assert kernel.label.startswith("hybrid dot")
    assert kernel.label.endswith(row.name)
    assert [step.label for step in launch.steps(0, 0, 0)] == ["quantize rows", kernel.label]
