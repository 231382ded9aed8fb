"""BATCH_MATMUL on every instruction set against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from octolite.errors import KernelError
from octolite.ir import numerics
from octolite.ir.types import Array
from octolite.kernels import isa
from octolite.kernels.select import build
from octolite.kernels.spec import BatchMatMul, Constant
from octolite.runtime.executor import Executor
from tests.kernels.conftest import around
from tests.kernels.guarded import Guarded

Shape = tuple[int, ...]

# [..., m, k] and [..., k, n]; leading axes broadcast.
CASES = (
    ((3, 5), (5, 7)),
    ((1, 1), (1, 1)),
    ((2, 3, 9), (2, 9, 33)),
    ((4, 1, 17), (4, 17, 16)),
    ((2, 3, 8), (8, 5)),
    ((3, 8), (4, 8, 5)),
    ((2, 1, 3, 8), (4, 8, 5)),
    ((2, 1, 13, 8), (1, 3, 8, 35)),
    ((2, 3, 4, 5), (2, 1, 5, 6)),
    ((2, 1, 2, 1, 2, 3), (1, 3, 1, 2, 3, 9)),
    ((1, 4, 40, 24), (1, 4, 24, 40)),
    ((2, 5, 0), (2, 0, 3)),
    ((0, 5, 4), (4, 3)),
    ((2, 0, 4), (4, 3)),
    ((2, 3, 4), (2, 4, 0)),
)
STORED = [(False, False), (True, False), (False, True), (True, True)]


def stored(x: Array, turned: bool) -> Array:
    return np.ascontiguousarray(np.swapaxes(x, -1, -2)) if turned else x


def run(
    row: isa.Isa,
    request: BatchMatMul,
    x: Array,
    y: Array,
    executor: Executor,
    scale: Array | None = None,
    at_end: bool = True,
) -> Array:
    """Build, launch and run between forbidden pages."""
    constant = request.constant is not None
    kernel = build(request, {"y": Constant(y, scale)} if constant else None, row)
    launch = kernel.launch(x.shape, y_shape=y.shape, threads=executor.num_threads)
    given = [x] if constant else [x, y]
    inputs = [Guarded(a.shape, np.float32, at_end) for a in given]
    out = Guarded(launch.output_shape, np.float32, at_end)
    scratch = Guarded((launch.scratch_bytes,), np.uint8, at_end)
    for buffer, array in zip(inputs, given, strict=True):
        buffer.array[...] = array
    executor.run(launch.steps([b.address for b in inputs], out.address, scratch.address))
    for buffer in (*inputs, out, scratch):
        buffer.check()
    return out.array.copy()


def check(
    row: isa.Isa, x: Array, y: Array, executor: Executor, turned: tuple[bool, bool], constant: bool
) -> None:
    given, other = stored(x, turned[0]), stored(y, turned[1])
    request = BatchMatMul(*turned, constant=other.shape if constant else None)
    exact = np.matmul(x.astype(np.float64), y)
    for at_end in (True, False):
        out = run(row, request, given, other, executor, at_end=at_end)
        assert out.shape == exact.shape
        np.testing.assert_allclose(out, exact, rtol=1e-5, atol=2e-6 * max(x.shape[-1], 1))


@pytest.mark.parametrize("constant", [False, True], ids=["both", "constant"])
@pytest.mark.parametrize("turned", STORED, ids=str)
@pytest.mark.parametrize(("a", "b"), CASES, ids=str)
def test_against_numpy(
    row: isa.Isa,
    a: Shape,
    b: Shape,
    turned: tuple[bool, bool],
    constant: bool,
    alone: Executor,
    random: np.random.Generator,
) -> None:
    x, y = (random.standard_normal(shape, np.float32) for shape in (a, b))
    check(row, x, y, alone, turned, constant)


def test_sizes_around_a_tile(row: isa.Isa, alone: Executor, random: np.random.Generator) -> None:
    tile = row.real
    sizes = [(m, 5, 3) for m in around(tile.heights[-1])]
    sizes += [(3, k, 5) for k in around(8)]
    sizes += [(3, 5, n) for n in around(tile.width)]
    for m, k, n in sizes:
        x = random.standard_normal((2, m, k), np.float32)
        y = random.standard_normal((2, k, n), np.float32)
        for turned in STORED:
            check(row, x, y, alone, turned, constant=False)


@pytest.mark.parametrize("asymmetric", [False, True], ids=["symmetric", "asymmetric"])
@pytest.mark.parametrize("turned", STORED, ids=str)
@pytest.mark.parametrize(("a", "b"), CASES, ids=str)
def test_hybrid_equals_the_formula(
    row: isa.Isa,
    a: Shape,
    b: Shape,
    turned: tuple[bool, bool],
    asymmetric: bool,
    alone: Executor,
    random: np.random.Generator,
) -> None:
    x = random.standard_normal(a, np.float32)
    y = random.integers(-127, 128, b).astype(np.int8)
    scale = np.array([0.7], np.float32)
    other = stored(y, turned[1])
    request = BatchMatMul(*turned, other.shape, hybrid=True, asymmetric=asymmetric)
    rows = numerics.quantize_rows(x.reshape(int(np.prod(a[:-1])), a[-1]), asymmetric)
    parts = (rows.q.reshape(a), rows.scale.reshape(a[:-1]), rows.zero_point.reshape(a[:-1]))
    acc = np.matmul(parts[0].astype(np.int64), y).astype(np.int32)
    sums = y.sum(axis=-2, dtype=np.int32)
    expected = numerics.hybrid_output(acc, numerics.QuantizedRows(*parts), scale, sums, None)
    for at_end in (True, False):
        out = run(row, request, stored(x, turned[0]), other, alone, scale, at_end)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("constant", [False, True], ids=["both", "constant"])
def test_threads_do_not_change_a_bit(
    row: isa.Isa, constant: bool, alone: Executor, random: np.random.Generator
) -> None:
    for turned in STORED:
        x, y = (
            stored(random.standard_normal(shape, np.float32), turn)
            for shape, turn in zip(((3, 70, 64), (3, 64, 90)), turned, strict=True)
        )
        request = BatchMatMul(*turned, constant=y.shape if constant else None)
        one = run(row, request, x, y, alone)
        for threads in (2, 3):
            with Executor(threads) as several:
                np.testing.assert_array_equal(run(row, request, x, y, several), one)


def test_depths_that_differ_are_refused(row: isa.Isa) -> None:
    with pytest.raises(KernelError, match="depth of the right side"):
        build(BatchMatMul(), isa=row).launch((2, 3), y_shape=(4, 5))
