"""Reductions on every instruction set against NumPy."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from octolite.errors import KernelError
from octolite.ir.types import Array
from octolite.kernels import isa, reduce, spec
from octolite.kernels.launch import Launch
from octolite.kernels.select import build
from octolite.runtime.executor import Executor
from tests.kernels.guarded import Guarded

EXACT = {"max": np.max, "mean": np.mean, "min": np.min, "prod": np.prod, "sum": np.sum}


def run(launch: Launch, x: Array, executor: Executor) -> Array:
    given, out = Guarded(x.shape, np.float32), Guarded(launch.output_shape, np.float32)
    scratch = Guarded((launch.scratch_bytes,), np.uint8)
    given.array[...] = x
    executor.run(launch.steps(given.address, out.address, scratch.address))
    for buffer in (given, out, scratch):
        buffer.check()
    return out.array.copy()


def layer(kind: str, keep_dims: bool = False, row: isa.Isa | None = None) -> reduce.ReduceLayer:
    built = build(spec.Reduce(kind, keep_dims), isa=row)
    assert isinstance(built, reduce.ReduceLayer)
    return built


def check(row: isa.Isa, kind: str, x: Array, axes: tuple[int, ...], alone: Executor) -> None:
    for keep_dims in (False, True):
        out = run(layer(kind, keep_dims, row).launch(x.shape, axes), x, alone)
        expected = EXACT[kind](x.astype(np.float64), axis=axes, keepdims=keep_dims)
        assert out.shape == expected.shape
        top = np.max(np.abs(expected), initial=0.0)
        # A product rounds as often as it has factors, in whatever order they come.
        rtol = max(2e-6, 2e-7 * np.sqrt(x.size)) if kind == "prod" else 2e-6
        np.testing.assert_allclose(out, expected, rtol=rtol, atol=1e-6 * top)


def test_kinds_are_those_of_the_request() -> None:
    assert set(EXACT) == set(reduce.KINDS)


@pytest.mark.parametrize("kind", sorted(reduce.KINDS))
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((1, 7, 7, 1280), (1, 2)),
        ((2, 4, 4, 64), (1, 2)),
        ((3, 5, 3, 17), (1, 2)),
        ((2, 300, 5), (1,)),
        ((50, 1), (1,)),
        ((1, 1), (0, 1)),
        ((40_000,), (0,)),
        ((3, 1001), (1,)),
        ((7, 9), (0,)),
        ((1, 30_000), (0,)),
        ((9,), ()),
        ((), ()),
    ],
)
def test_groups_of_axes(
    row: isa.Isa,
    kind: str,
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    alone: Executor,
    random: np.random.Generator,
) -> None:
    x = random.uniform(0.99, 1.01, shape) if kind == "prod" else random.uniform(-1, 2, shape)
    check(row, kind, x.astype(np.float32), axes, alone)


@pytest.mark.parametrize("kind", ["sum", "max"])
def test_short_rows(row: isa.Isa, kind: str, alone: Executor, random: np.random.Generator) -> None:
    for count in (1, 2, 3, reduce.SHORT, reduce.SHORT + 1, row.lanes, row.lanes + 1, 65, 127):
        for rows in (1, row.lanes - 1, row.lanes, 2 * row.lanes + 1, 5000):
            x = random.uniform(-1, 2, (rows, count)).astype(np.float32)
            check(row, kind, x, (1,), alone)


@pytest.mark.parametrize("axes", [c for n in range(5) for c in combinations(range(4), n)])
def test_any_axes(
    row: isa.Isa, axes: tuple[int, ...], alone: Executor, random: np.random.Generator
) -> None:
    for shape in ((2, 3, 4, 5), (3, 1, 6, 2), (1, 1, 1, 1)):
        x = random.uniform(-1, 2, shape).astype(np.float32)
        check(row, "mean", x, axes, alone)


def test_nothing_to_reduce(row: isa.Isa, alone: Executor) -> None:
    x = np.zeros((3, 0, 2), np.float32)
    for kind, value in (("sum", 0), ("max", -np.inf), ("min", np.inf), ("mean", np.nan)):
        out = run(layer(kind, row=row).launch(x.shape, (1,)), x, alone)
        np.testing.assert_array_equal(out, np.full((3, 2), value, np.float32))
    assert run(layer("sum", row=row).launch(x.shape, (0,)), x, alone).shape == (0, 2)


def test_nan_wins(row: isa.Isa, alone: Executor) -> None:
    for shape, axes in (((3, 40), (1,)), ((40, 3), (0,)), ((40, 3), (1,))):
        x = np.zeros(shape, np.float32)
        x[2, 2] = np.nan
        for kind in ("max", "min", "sum", "mean"):
            out = run(layer(kind, row=row).launch(shape, axes), x, alone)
            assert np.isnan(out[2])
            assert np.isnan(out).sum() == 1


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_change_nothing(threads: int, alone: Executor, random: np.random.Generator) -> None:
    for shape, axes in (((8, 20, 20, 100), (1, 2)), ((50_000, 3), (1,)), ((300, 700), (1,))):
        x = random.standard_normal(shape, np.float32)
        expected = run(layer("sum").launch(shape, axes), x, alone)
        with Executor(threads) as executor:
            out = run(layer("sum").launch(shape, axes, threads), x, executor)
        np.testing.assert_array_equal(out, expected)


def test_what_there_is_not_is_refused() -> None:
    with pytest.raises(KernelError, match=r"no reduction 'average'"):
        build(spec.Reduce("average"))
