"""The AMX row on machines that lack AMX, which emulators do not have either.

Its machine code runs as it is, but for the tile instructions: each raises a signal, whose handler
executes it (``amx_trap.c``).
"""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from octolite.kernels import isa, spec
from octolite.runtime.executor import Executor
from tests.kernels import test_convolution, test_fully_connected
from tests.kernels.conftest import Problem

AVX512, AMX = isa.by_name("avx512vnni"), isa.by_name("amx")
pytestmark = pytest.mark.skipif(not AVX512.runs_here, reason="the row needs AVX-512 besides AMX")


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """What executes tile instructions."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("the handler of tile instructions takes Linux and a C compiler")
    library = tmp_path_factory.mktemp("trap") / "amx_trap.so"
    source = Path(__file__).with_name("amx_trap.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    found = ctypes.CDLL(str(library))
    found.count.restype = ctypes.c_long
    return found


@pytest.fixture
def row(trap: ctypes.CDLL) -> Iterator[isa.Isa]:
    if AMX.runs_here:
        pytest.skip("AMX runs here, as one of the rows that all kernels are tested on")
    count = trap.count()
    assert trap.install() == 0
    yield AMX
    assert trap.uninstall() == 0
    assert trap.count() > count, "no tile instruction was executed"


def test_rows_that_are_evenly_apart(
    row: isa.Isa, alone: Executor, random: np.random.Generator
) -> None:
    """And the last ones, which are repeated to fill a block."""
    depths = itertools.cycle((1, 4, 31, 63, 64, 65, 129))
    sizes = itertools.product((64, 65, 79, 80, 81, 96, 129), (1, 15, 16, 31, 32, 33, 65))
    for (m, n), depth in zip(sizes, depths, strict=False):
        request = spec.FullyConnected(depth, n, hybrid=True, asymmetric=bool((m + n) % 2))
        x = random.standard_normal((m, depth), np.float32)
        problem = Problem.of(request, random)
        test_fully_connected.check(problem, x, row, alone, at_end=bool(m % 2))


@pytest.mark.parametrize("asymmetric", [False, True])
def test_extreme_codes_are_exact(
    row: isa.Isa, asymmetric: bool, alone: Executor, random: np.random.Generator
) -> None:
    request = spec.FullyConnected(1030, 35, hybrid=True, asymmetric=asymmetric)
    problem = Problem.of(request, random)
    x = np.ones((70, 1030), np.float32)
    x[1::3] = -1
    x[2::3, ::2] = -1
    x[69, 0] = -255
    for weight in (127, -127):
        problem.weights[...] = weight
        test_fully_connected.check(problem, x, row, alone)


@pytest.mark.parametrize("stride", [(1, 1), (2, 1)])
@pytest.mark.parametrize("channels", [3, 16, 70])
def test_windows_of_images(
    row: isa.Isa,
    channels: int,
    stride: tuple[int, int],
    alone: Executor,
    random: np.random.Generator,
) -> None:
    """Whose rows are as far apart as pixels until the image row ends."""
    for kernel, groups in (((1, 1), 1), ((3, 3), 1), ((5, 2), 1), ((3, 3), 2)):
        inside = channels * groups
        request = spec.Conv2D(kernel, inside, 34, stride, (1, 1), groups, hybrid=True)
        problem = Problem.of(request, random)
        x = random.standard_normal((2, 7, 9, inside), np.float32)
        for geometry in ("same", "valid"):
            test_convolution.check(problem, x, row, alone, geometry)


def test_threads_have_registers_of_their_own(row: isa.Isa, random: np.random.Generator) -> None:
    problem = Problem.of(spec.FullyConnected(130, 200, hybrid=True), random)
    x = random.standard_normal((400, 130), np.float32)
    with Executor(3) as several:
        test_fully_connected.check(problem, x, row, several)
