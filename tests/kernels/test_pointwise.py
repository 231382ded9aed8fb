"""1×1 convolutions of numbers that are never negative, by codes of 7 bits, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from octolite.errors import KernelError
from octolite.ir import numerics
from octolite.ir.types import Activation, Array
from octolite.kernels import dot, isa, jit, microscaled, spec
from octolite.kernels.select import build, hybrid_pays
from octolite.runtime.executor import Executor
from tests.kernels.assembly import count, hot_loop, spilled
from tests.kernels.conftest import Problem, around, constants

ROWS = [row for row in isa.ROWS if row.microscaled is not None]
RUNNABLE = [row for row in ROWS if row.runs_here]


@pytest.fixture(params=RUNNABLE, ids=lambda row: row.name)
def row(request: pytest.FixtureRequest) -> isa.Isa:
    """Each instruction set that runs here and has such a tile."""
    return request.param


def pointwise(depth: int, channels: int, **more: object) -> spec.Conv2D:
    known = {"hybrid": True, "rectified": True, "finer_blocks": True} | more
    return spec.Conv2D((1, 1), depth, channels, **known)  # type: ignore[arg-type]


def nonnegative(random: np.random.Generator, *shape: int) -> Array:
    """What a ReLU leaves, channels of different sizes."""
    x = random.standard_normal(shape, np.float32) * random.exponential(1, shape[-1])
    return np.maximum(x, 0).astype(np.float32)


def expected(problem: Problem, x: Array, stride: tuple[int, int] = (1, 1)) -> Array:
    """By the formulas of ``ir.numerics``, with sums in int64."""
    seen = x[:, :: stride[0], :: stride[1]]
    rows = numerics.microscale_rows(seen.reshape(-1, x.shape[3]))
    w = problem.weights.reshape(len(problem.weights), -1)
    acc = rows.q.astype(np.int64) @ w.T.astype(np.int64)
    assert np.abs(acc).max(initial=0) < 2**31
    sums = w.sum(axis=1, dtype=np.int32)
    assert problem.scale is not None
    with np.errstate(over="ignore", invalid="ignore"):
        out = numerics.hybrid_output(
            acc.astype(np.int32),
            rows,
            problem.scale,
            sums,
            problem.bias,
            problem.request.activation,
        )
    return out.reshape(*seen.shape[:3], -1)


def check(
    problem: Problem, x: Array, row: isa.Isa, executor: Executor, at_end: bool = True
) -> Array:
    assert isinstance(problem.request, spec.Conv2D)
    stride = problem.request.stride
    output = (-(-x.shape[1] // stride[0]), -(-x.shape[2] // stride[1]))
    out = problem.run(row, x, executor, output=output, at_end=at_end)
    np.testing.assert_array_equal(out, expected(problem, x, stride))
    return out


@pytest.mark.parametrize("depth", [*around(8, 32), 39, 40, 56, 57, 63, 64, 100, 144, 200])
def test_any_depth(row: isa.Isa, depth: int, alone: Executor, random: np.random.Generator) -> None:
    for pixels, channels in ((7, 9), (13, 24)):
        problem = Problem.of(pointwise(depth, channels, activation=Activation.RELU6), random)
        check(problem, nonnegative(random, 1, 1, pixels, depth), row, alone)


@pytest.mark.parametrize("pixels", around(1, 6, 8))
def test_any_rows_and_channels(
    row: isa.Isa, pixels: int, alone: Executor, random: np.random.Generator
) -> None:
    for channels in around(8):
        problem = Problem.of(pointwise(70, channels), random)
        for at_end in (True, False):
            check(problem, nonnegative(random, 1, 1, pixels, 70), row, alone, at_end)


def test_strides_and_batches(row: isa.Isa, alone: Executor, random: np.random.Generator) -> None:
    problem = Problem.of(pointwise(48, 16, stride=(2, 3)), random)
    check(problem, nonnegative(random, 3, 5, 7, 48), row, alone)


@pytest.mark.parametrize("depth", [8, 24, 32, 63, 256, 4096])
def test_extreme_weights_and_codes_are_exact(
    row: isa.Isa, depth: int, alone: Executor, random: np.random.Generator
) -> None:
    """Each channel of weights meets the numbers for which its sums are largest and least."""
    signs = random.choice([-1, 1], (12, depth))
    for extreme in (127, -127, -128):
        weights = np.full((12, depth), extreme)
        weights[:4] = np.where(signs[:4] > 0, 127, -127)
        weights[4:6] = random.choice([-128, -1, 0, 1, 127], (2, depth))
        weights[6, ::3] = 0
        problem = Problem.of(pointwise(depth, 12), random)
        problem.weights[...] = weights.reshape(12, 1, 1, depth)
        x = np.concatenate([weights > 0, weights < 0, np.ones((2, depth))]).astype(np.float32)
        check(problem, x[None, None] * np.float32(3.7), row, alone)


def test_wild_weights_among_tame_ones_are_exact(
    row: isa.Isa, alone: Executor, random: np.random.Generator
) -> None:
    """Only some blocks of some panels have sums that no shift can move into int16."""
    problem = Problem.of(pointwise(160, 40), random)
    problem.weights[...] = random.integers(-30, 31, problem.weights.shape)
    problem.weights[3, ..., 32:64] = 127
    problem.weights[3, ..., 96:] = -127
    problem.weights[30, ..., :32] = 126
    check(problem, nonnegative(random, 1, 3, 7, 160), row, alone)


def test_shifts_move_every_sum_into_int16(row: isa.Isa, random: np.random.Generator) -> None:
    tile = row.microscaled
    assert tile is not None
    weights = random.integers(-127, 128, (40, 1, 200)).astype(np.int8)
    weights[5, :, 40:90] = 127
    packed = microscaled.panels(tile, row, weights, None, np.ones(40, np.float32))
    steps, size = 25, 25 * 96
    lined = packed.data[:, :size].reshape(5, steps, 96)
    quads = lined[..., :64].reshape(5, steps, 2, 8, 2, 2).astype(int)
    shifts = np.ascontiguousarray(lined[..., 64:]).view(np.int16).reshape(5, steps, 8, 2)
    high = 127 * np.maximum(quads, 0).sum(axis=(2, 5)) + shifts
    low = 127 * np.minimum(quads, 0).sum(axis=(2, 5)) + shifts
    assert high.max() < 2**15
    assert low.min() >= -(2**15)
    sums = np.add.reduceat(shifts.sum(axis=3, dtype=int), np.arange(0, 24, 4), axis=1)
    told = np.zeros_like(sums)
    entry = np.dtype([("block", np.int64), ("sums", np.int32, 8)])
    for panel in range(5):
        behind = packed.data[panel, size:].tobytes()
        entries = np.frombuffer(behind, entry, int.from_bytes(behind[:8], "little"), offset=8)
        told[panel, entries["block"]] = entries["sums"]
    np.testing.assert_array_equal(sums, told)
    assert np.argwhere(told.any(axis=(1, 2))).tolist() == [[0]]
    assert shifts.any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("poison", [np.nan, -np.nan, np.inf, -np.inf])
def test_poison_stays_in_its_pixel(
    row: isa.Isa, poison: float, alone: Executor, random: np.random.Generator
) -> None:
    for depth, place in ((40, 3), (40, 39), (64, 63), (5, 4)):
        problem = Problem.of(pointwise(depth, 5), random)
        x = nonnegative(random, 1, 4, 4, depth)
        x[0, 2, 1, place] = poison
        out = check(problem, x, row, alone)
        np.testing.assert_array_equal(np.isnan(out).any(axis=3), ~np.isfinite(x).all(axis=3))


def test_what_is_negative_all_the_same_counts_as_zero(
    row: isa.Isa, alone: Executor, random: np.random.Generator
) -> None:
    problem = Problem.of(pointwise(45, 9), random)
    x = random.standard_normal((1, 3, 5, 45), np.float32)
    x[0, 0] = -1e38
    x[0, 1, 0] = -0.0
    out = check(problem, x, row, alone)
    np.testing.assert_array_equal(out, problem.run(row, np.maximum(x, 0), alone, output=(3, 5)))


def test_tiny_and_empty_rows_give_the_bias(
    row: isa.Isa, alone: Executor, random: np.random.Generator
) -> None:
    problem = Problem.of(pointwise(33, 9), random)
    x = np.zeros((1, 1, 3, 33), np.float32)
    x[0, 0, 1] = 1e-38
    x[0, 0, 2, 32] = 3e38
    out = check(problem, x, row, alone)
    np.testing.assert_array_equal(out[0, 0, :2], np.stack([problem.bias] * 2))


def test_threads_change_nothing(row: isa.Isa, alone: Executor, random: np.random.Generator) -> None:
    problem = Problem.of(pointwise(96, 72), random)
    x = nonnegative(random, 1, 40, 40, 96)
    with Executor(3) as several:
        np.testing.assert_array_equal(
            check(problem, x, row, alone), check(problem, x, row, several)
        )


def test_they_can_be_forbidden_or_asked_for(
    row: isa.Isa, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Problem.of(pointwise(96, 64), random)
    coarse = pointwise(96, 64, finer_blocks=False)
    given = constants(problem.weights, problem.bias, problem.scale)
    assert "7bit" in build(problem.request, given, row).label
    assert "7bit" not in build(coarse, given, row).label
    monkeypatch.setenv("OCTOLITE_ACTIVATIONS", "7bit")
    assert "7bit" in build(coarse, given, row).label
    monkeypatch.setenv("OCTOLITE_ACTIVATIONS", "8bit")
    assert "7bit" not in build(problem.request, given, row).label
    monkeypatch.setenv("OCTOLITE_ACTIVATIONS", "8bits")
    with pytest.raises(KernelError, match=r"'8bits'.*'8bit'"):
        hybrid_pays(problem.request, row)


@pytest.mark.parametrize("row_", ROWS, ids=lambda row: row.name)
def test_sums_stay_in_registers(row_: isa.Isa) -> None:
    tile = row_.microscaled
    assert tile is not None
    text = jit.assembly(dot.unit(tile, False, True), row_, "x86_64-unknown-linux-gnu")
    height = tile.heights[-1]
    loop = hot_loop(text, f"block{height}", "vpmaddubsw")
    assert count(loop, "vpmaddubsw") == 2 * height
    assert count(loop, "vpmaddwd") == height
    # There is a register too few for the last factor, which is read where it is used.
    assert len(spilled(loop)) <= 1
    assert not [line for line in loop if line.endswith("(%rsp)")]
    assert all("ymm" in line for line in loop if "vpmadd" in line)
