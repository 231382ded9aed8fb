"""FULLY_CONNECTED on every instruction set against NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from octolite.ir.types import Activation, Array
from octolite.kernels import isa, layers, spec
from octolite.runtime.executor import Executor
from tests.kernels import oracle
from tests.kernels.conftest import Problem, around


def check(problem: Problem, x: Array, row: isa.Isa, executor: Executor, **options: bool) -> None:
    assert isinstance(problem.request, spec.FullyConnected)
    out = problem.run(row, x, executor, **options)
    expected = oracle.fully_connected(
        problem.request, x, problem.weights, problem.bias, problem.scale
    )
    if problem.request.hybrid and problem.request.activation is not Activation.TANH:
        np.testing.assert_array_equal(out, expected)
    else:
        size = np.nanmax(np.abs(x), initial=1) * max(problem.request.depth, 1)
        np.testing.assert_allclose(out, expected, rtol=2e-6, atol=1e-6 * size)


@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
def test_awkward_sizes(
    row: isa.Isa, hybrid: bool, alone: Executor, random: np.random.Generator
) -> None:
    tile = row.dot if hybrid else row.real
    rows = around(*tile.heights[1:])
    channels = around(tile.width)
    depths = (1, 2, 3, 4, 5, 7, 8, 9, 31, 33, 64, 65)
    sizes = itertools.product(rows, channels)
    for (m, n), k in zip(sizes, itertools.cycle(depths), strict=False):
        request = spec.FullyConnected(k, n, hybrid=hybrid, asymmetric=bool((m + n) % 2))
        x = random.standard_normal((m, k), np.float32)
        check(Problem.of(request, random), x, row, alone)


@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
def test_nothing_is_read_before_the_buffers(
    row: isa.Isa, hybrid: bool, alone: Executor, random: np.random.Generator
) -> None:
    for m, k, n in ((1, 1, 1), (3, 17, 5), (9, 66, 70)):
        request = spec.FullyConnected(k, n, hybrid=hybrid)
        x = random.standard_normal((m, k), np.float32)
        check(Problem.of(request, random), x, row, alone, at_end=False)


@pytest.mark.parametrize("asymmetric", [False, True])
def test_extreme_codes_are_exact(
    row: isa.Isa, asymmetric: bool, alone: Executor, random: np.random.Generator
) -> None:
    """The largest products of one sign in a row: nothing may saturate on the way."""
    depth, channels = 1030, row.dot.width + 3
    request = spec.FullyConnected(depth, channels, hybrid=True, asymmetric=asymmetric)
    problem = Problem.of(request, random)
    x = np.ones((7, depth), np.float32)
    x[1] = -1
    x[2, ::2] = -1
    x[3, 1::2] = -1
    x[4] = np.where(np.arange(depth) % 4 < 2, 1, -1)
    x[5, 0] = -255  # the others get codes next to the top
    x[6, 0] = 300
    for weight in (127, -127, -128):
        problem.weights[...] = weight
        check(problem, x, row, alone)
        check(problem, np.tile(x, (5, 1)), row, alone)  # enough for a dense tile
    problem.weights[...] = np.where(np.arange(depth) % 2, 127, -127)
    check(problem, x, row, alone)


@pytest.mark.parametrize("asymmetric", [False, True])
def test_crossed_steps_are_exact(
    row: isa.Isa,
    asymmetric: bool,
    alone: Executor,
    random: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With odd counts of steps, ends of blocks, the largest codes and a row of NaN."""
    monkeypatch.setattr(layers, "MIN_CROSSED", 0)
    for (m, n), k in zip(
        itertools.product((12, 13, 14, 15, 25), around(row.dot.width)),
        itertools.cycle((1, 2, 3, 4, 5, 7, 8, 15, 17, 63, 1030)),
        strict=False,
    ):
        request = spec.FullyConnected(k, n, hybrid=True, asymmetric=asymmetric)
        problem = Problem.of(request, random)
        x = random.standard_normal((m, k), np.float32)
        check(problem, x, row, alone)
        problem.weights[...] = np.where(np.arange(k) % 4 < 2, -128, 127)
        x[0], x[1], x[2, 0] = 1, -1, np.nan
        check(problem, x, row, alone)


@pytest.mark.parametrize("activation", [a for a in Activation if a is not Activation.SIGN_BIT])
@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
def test_activations(
    row: isa.Isa, activation: Activation, hybrid: bool, alone: Executor, random: np.random.Generator
) -> None:
    request = spec.FullyConnected(40, 37, activation, hybrid)
    problem = Problem.of(request, random)
    if problem.scale is not None:
        problem.scale /= 400
    x = random.standard_normal((5, 40), np.float32)
    x[3, 7] = np.nan
    check(problem, x, row, alone)
    assert np.isnan(problem.run(row, x, alone)[3]).all()


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_poison_stays_in_its_row(
    row: isa.Isa, asymmetric: bool, poison: float, alone: Executor, random: np.random.Generator
) -> None:
    request = spec.FullyConnected(50, 20, hybrid=True, asymmetric=asymmetric)
    problem = Problem.of(request, random)
    for column in (0, 31, 49):
        x = random.standard_normal((9, 50), np.float32)
        x[4, column] = poison
        out = problem.run(row, x, alone)
        assert np.isnan(out[4]).all()
        assert np.isfinite(np.delete(out, 4, axis=0)).all()
        check(problem, x, row, alone)


@pytest.mark.parametrize("asymmetric", [False, True])
def test_rows_at_the_edge_of_the_format(
    row: isa.Isa, asymmetric: bool, alone: Executor, random: np.random.Generator
) -> None:
    """Zeros, denormals, the greatest floats, one sign only, and halves between codes."""
    request = spec.FullyConnected(36, 11, hybrid=True, asymmetric=asymmetric)
    problem = Problem.of(request, random)
    top = np.finfo(np.float32).max
    base = random.standard_normal((9, 36), np.float32)
    x = base.copy()
    x[0] = 0
    x[1] *= 1e-40
    x[2] *= top / 8
    x[3] = np.abs(x[3])
    x[4] = -np.abs(x[4])
    x[5] = np.arange(36) - 17.5
    x[6] = -0.0
    x[7] = 2.0**-118 * np.arange(36)
    x[8, :2] = (top, -top)  # a range beyond float32
    check(problem, x, row, alone)
    out = problem.run(row, x, alone)
    np.testing.assert_array_equal(out[0], problem.bias)


def test_tanh_is_accurate(row: isa.Isa, alone: Executor) -> None:
    points = np.concatenate(
        [np.linspace(-12, 12, 4001), np.geomspace(1e-30, 1, 500), [0.0, np.inf, -np.inf, np.nan]]
    ).astype(np.float32)
    request = spec.FullyConnected(1, 1, Activation.TANH)
    one, zero = np.ones((1, 1), np.float32), np.zeros(1, np.float32)
    problem = Problem(request, one, zero, None)
    out = problem.run(row, points[:, None], alone)[:, 0]
    expected = np.tanh(points.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(out, expected, rtol=4e-7, atol=0)


def test_one_scale_for_all_channels(
    row: isa.Isa, alone: Executor, random: np.random.Generator
) -> None:
    problem = Problem.of(spec.FullyConnected(12, 19, hybrid=True), random)
    problem.scale = np.array([0.25], np.float32)
    check(problem, random.standard_normal((3, 12), np.float32), row, alone)
