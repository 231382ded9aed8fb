"""Strassen's products against NumPy, bit for bit, on the instruction sets that have them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from octolite.ir.types import Activation
from octolite.kernels import isa, spec, strassen
from octolite.runtime.executor import Executor
from tests.kernels import oracle
from tests.kernels.conftest import RUNNABLE, Problem, around

DEPTHS = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 130, 1030)


@pytest.fixture(params=[r for r in RUNNABLE if strassen.tile_of(r)], ids=lambda row: row.name)
def row(request: pytest.FixtureRequest) -> isa.Isa:
    return request.param


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken for any size."""
    monkeypatch.setattr(strassen, "pays", lambda *args: True)


def check(problem: Problem, x: np.ndarray, row: isa.Isa, executor: Executor, **at: bool) -> None:
    request = problem.request
    assert isinstance(request, spec.FullyConnected)
    constants = problem.weights, problem.bias, problem.scale
    expected = oracle.fully_connected(request, x, *constants)
    np.testing.assert_array_equal(problem.run(row, x, executor, **at), expected)


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.usefixtures("always")
def test_awkward_sizes(
    row: isa.Isa, asymmetric: bool, alone: Executor, random: np.random.Generator
) -> None:
    tile = strassen.tile_of(row)
    assert tile is not None
    rows = around(*(2 * height for height in tile.heights))
    channels = around(tile.width, 2 * tile.width)
    sizes = itertools.product(rows, channels)
    for (m, n), depth in zip(sizes, itertools.cycle(DEPTHS), strict=False):
        request = spec.FullyConnected(depth, n, hybrid=True, asymmetric=asymmetric)
        x = random.standard_normal((m, depth), np.float32)
        check(Problem.of(request, random), x, row, alone)


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.usefixtures("always")
def test_extreme_codes_are_exact(
    row: isa.Isa, asymmetric: bool, alone: Executor, random: np.random.Generator
) -> None:
    """Signs for which the sums of blocks are as large as they get, on both sides."""
    depth, channels = 1030, 70
    request = spec.FullyConnected(depth, channels, hybrid=True, asymmetric=asymmetric)
    problem = Problem.of(request, random)
    top = np.full((14, depth), 255.0, np.float32)
    for signs in itertools.product((-1, 1), repeat=4):
        blocks = np.array(signs).reshape(2, 2)
        x = top * blocks[np.arange(14) % 2][:, np.arange(depth) // (depth // 2)]
        x[4:8, ::2] = 0
        x[8:, 0] = -x[8:, 0]
        panel = np.arange(channels) // 16 % 2
        by_block = blocks[:, panel][np.arange(depth) // (depth // 2)].T
        problem.weights[...] = np.where(by_block > 0, 127, -128)
        check(problem, x, row, alone)
        check(problem, -x[::-1].copy(), row, alone)


@pytest.mark.usefixtures("always")
def test_poison_stays_in_its_row(
    row: isa.Isa, alone: Executor, random: np.random.Generator
) -> None:
    request = spec.FullyConnected(50, 40, hybrid=True)
    problem = Problem.of(request, random)
    x = random.standard_normal((19, 50), np.float32)
    x[3, 49], x[8, 0], x[12], x[18, 7] = np.nan, np.inf, 0, -np.inf
    check(problem, x, row, alone)
    out = problem.run(row, x, alone)
    poisoned = [3, 8, 18]
    assert np.isnan(out[poisoned]).all()
    assert np.isfinite(np.delete(out, poisoned, axis=0)).all()
    np.testing.assert_array_equal(out[12], problem.bias)


@pytest.mark.usefixtures("always")
def test_nothing_is_read_before_the_buffers(
    row: isa.Isa, alone: Executor, random: np.random.Generator
) -> None:
    for m, k, n in ((1, 1, 1), (3, 17, 5), (9, 66, 70)):
        request = spec.FullyConnected(k, n, hybrid=True)
        x = random.standard_normal((m, k), np.float32)
        check(Problem.of(request, random), x, row, alone, at_end=False)


@pytest.mark.parametrize("activation", [Activation.RELU6, Activation.TANH])
@pytest.mark.usefixtures("always")
def test_convolutions(
    row: isa.Isa, activation: Activation, alone: Executor, random: np.random.Generator
) -> None:
    for stride, size in (((1, 1), (2, 5, 7)), ((2, 2), (1, 9, 8)), ((1, 2), (3, 4, 5))):
        request = spec.Conv2D((1, 1), 37, 50, stride, activation=activation, hybrid=True)
        problem = Problem.of(request, random)
        assert problem.scale is not None
        problem.scale /= 400
        x = random.standard_normal((*size, 37), np.float32)
        padding, output = oracle.valid_geometry(size[1:], (1, 1), stride, (1, 1))
        out = problem.run(row, x, alone, padding=padding, output=output)
        constants = problem.weights, problem.bias, problem.scale
        expected = oracle.convolution(request, x, *constants, padding, output)
        tolerance = 1e-6 if activation is Activation.TANH else 0
        np.testing.assert_allclose(out, expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.usefixtures("always")
def test_threads_change_no_bit(
    row: isa.Isa,
    threads: int,
    alone: Executor,
    random: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor does the way in which rows and panels are cut into tiles."""
    with Executor(threads) as crew:
        for m, k, n in ((9, 33, 40), (301, 64, 100), (64, 130, 257)):
            problem = Problem.of(spec.FullyConnected(k, n, hybrid=True), random)
            x = random.standard_normal((m, k), np.float32)
            expected = problem.run(row, x, alone)
            for pairs, panels in itertools.product((3, 64), (1, 8)):
                monkeypatch.setattr(strassen, "_CACHED", pairs * 100)
                monkeypatch.setattr(strassen, "_LEAST_PAIRS", pairs)
                monkeypatch.setattr(strassen, "_LEAST_PANELS", panels)
                np.testing.assert_array_equal(problem.run(row, x, crew), expected)


def test_chosen_where_products_are_many() -> None:
    """And never where bytes are multiplied at once, or rows and depth are few."""
    avx2, vnni = isa.by_name("avx2"), isa.by_name("avxvnni")
    assert strassen.pays(avx2, 784, 256, 256)
    assert strassen.pays(avx2, 64, 1024, 1024)
    assert not strassen.pays(vnni, 784, 256, 256)
    assert not strassen.pays(avx2, 1, 1024, 1024)
    assert not strassen.pays(avx2, 12544, 16, 96)
    assert not strassen.pays(avx2, 784, 256, 16)
