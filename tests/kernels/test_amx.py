"""The AMX row with its tile registers in memory: everything but the registers themselves.

Few machines have AMX, and emulators do not. Here each operation on a register works on a kilobyte
of memory, so that packing, rows near and far, blocks, remainders and epilogues can be tested; what
the compiler makes of the real ones is tested in ``test_isa.py``.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from octolite.kernels import amx, isa, spec
from octolite.kernels.simd import I8, I32, Builder, Value, vec
from octolite.runtime.executor import Executor
from tests.kernels import test_convolution, test_fully_connected
from tests.kernels.conftest import Problem

AVX512, AMX = isa.by_name("avx512vnni"), isa.by_name("amx")
pytestmark = pytest.mark.skipif(not AVX512.runs_here, reason="the row needs AVX-512 besides AMX")

BYTES, SUMS = vec(I8, 64), vec(I32, 16)


class InMemory(amx.Registers):
    """A register is an address."""

    def zero(self, k: Builder) -> Value:
        room = k.local(amx.SIZE)
        for row in range(amx.ROWS):
            k.store(k.const(SUMS, 0), room + 64 * row)
        return room

    def load(self, k: Builder, address: Value, step: Value) -> Value:
        room = k.local(amx.SIZE)
        with k.loop(0, amx.ROWS) as rows:
            k.store(k.load(BYTES, address + rows.index * step), room + rows.index * 64)
        return room

    def store(self, k: Builder, register: Value, address: Value) -> None:
        with k.loop(0, amx.ROWS) as rows:
            k.store(k.load(BYTES, register + rows.index * 64), address + rows.index * 64)

    def multiply(self, k: Builder, acc: Value, a: Value, b: Value) -> Value:
        with k.loop(0, amx.ROWS) as rows:
            at = acc + rows.index * 64
            with k.loop(0, 16, carry=[k.load(SUMS, at)]) as quads:
                left = k.load(vec(I8, 4), a + rows.index * 64 + quads.index * 4).sext(I32)
                right = k.load(BYTES, b + quads.index * 64).sext(I32)
                product = left.pick([0, 1, 2, 3] * 16) * right
                for i in range(4):
                    quads.carry = [quads.carry[0] + product.pick(range(i, 64, 4))]
            k.store(quads.carry[0], at)
        return acc


@pytest.fixture
def row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> isa.Isa:
    monkeypatch.setenv("OCTOLITE_CACHE", str(tmp_path))  # which does not know this file's source
    dense = dataclasses.replace(amx.amx_tile((16, 32), 2, InMemory()), name="tdpbssd in memory")
    return dataclasses.replace(AVX512, name="amx in memory", dense=dense)


def test_the_row_differs_from_amx_in_its_registers_alone(row: isa.Isa) -> None:
    assert row.dense is not None
    assert AMX.dense is not None
    for field in ("lanes", "depth", "code", "offset", "weight", "heights", "vectors", "grain"):
        assert getattr(row.dense, field) == getattr(AMX.dense, field)
    for field in ("dot", "real", "lanes", "lean", "crossed", "words"):
        assert getattr(row, field) == getattr(AMX, field)


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
