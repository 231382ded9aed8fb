"""TRANSPOSE_CONV on every instruction set against NumPy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from octolite.errors import KernelError
from octolite.ir import numerics
from octolite.ir.types import Activation, Array
from octolite.kernels import isa
from octolite.kernels.select import build
from octolite.kernels.spec import TransposeConv2D
from octolite.runtime.executor import Executor
from tests.kernels.conftest import Problem, around, constants

Pair = tuple[int, int]

# Input shape, request.
CASES = (
    ((1, 4, 5, 3), TransposeConv2D((3, 3), 3, 7)),
    ((2, 3, 4, 5), TransposeConv2D((4, 4), 5, 9, (2, 2))),
    ((1, 5, 3, 8), TransposeConv2D((3, 3), 8, 33, (2, 2), Activation.RELU)),
    ((2, 3, 3, 6), TransposeConv2D((3, 2), 6, 16, (1, 2), Activation.RELU6)),
    ((1, 3, 2, 4), TransposeConv2D((2, 2), 4, 5, (2, 2), Activation.TANH)),
    ((1, 2, 3, 4), TransposeConv2D((2, 1), 4, 17, (3, 4))),  # holes that only the bias fills
    ((1, 4, 4, 2), TransposeConv2D((5, 7), 2, 3, (3, 2))),
    ((3, 1, 1, 9), TransposeConv2D((5, 5), 9, 65, (2, 2))),
    ((1, 1, 1, 1), TransposeConv2D((1, 1), 1, 1)),
    ((2, 6, 7, 17), TransposeConv2D((3, 3), 17, 19)),
    ((1, 5, 4, 6), TransposeConv2D((2, 4), 6, 9, activation=Activation.RELU)),
    ((1, 7, 9, 17), TransposeConv2D((1, 1), 17, 4, (2, 1))),
    ((1, 2, 2, 3), TransposeConv2D((16, 16), 3, 2, (8, 8))),
)
MODES = {"float": (False, True), "symmetric": (True, False), "asymmetric": (True, True)}


def same(size: Pair, kernel: Pair, stride: Pair) -> tuple[Pair, Pair]:
    """What a SAME convolution of this stride turns into the input: its border, its extents."""
    border = [max(0, k - s) // 2 for k, s in zip(kernel, stride, strict=True)]
    output = [n * s for n, s in zip(size, stride, strict=True)]
    return (border[0], border[1]), (output[0], output[1])


def valid(size: Pair, kernel: Pair, stride: Pair) -> tuple[Pair, Pair]:
    axes = zip(size, kernel, stride, strict=True)
    output = [(n - 1) * s + max(k, s) for n, k, s in axes]
    return (0, 0), (output[0], output[1])


GEOMETRIES = {"same": same, "valid": valid}


def spread(x: Array, w: Array, stride: Pair, cut: Pair, output: Pair) -> Array:
    """Every input pixel added to the result by itself; in the type of ``x``."""
    batch, height, width, _ = x.shape
    channels, kernel_h, kernel_w, _ = w.shape
    canvas = np.zeros(
        (
            batch,
            max(height * stride[0] + kernel_h, cut[0] + output[0]),
            max(width * stride[1] + kernel_w, cut[1] + output[1]),
            channels,
        ),
        x.dtype,
    )
    for i, j in np.ndindex(height, width):
        y, left = i * stride[0], j * stride[1]
        sent = np.einsum("bc,nyxc->byxn", x[:, i, j], w.astype(x.dtype))
        canvas[:, y : y + kernel_h, left : left + kernel_w] += sent
    return canvas[:, cut[0] : cut[0] + output[0], cut[1] : cut[1] + output[1]]


def expected(problem: Problem, x: Array, cut: Pair, output: Pair) -> Array:
    request = problem.request
    assert isinstance(request, TransposeConv2D)
    geometry = (request.stride, cut, output)
    if not request.hybrid:
        exact = spread(x.astype(np.float64), problem.weights, *geometry) + problem.bias
        return numerics.activate(exact.astype(np.float32), request.activation)
    images = numerics.quantize_rows(x.reshape(len(x), -1), request.asymmetric)
    codes = images.q.astype(np.int64) - images.zero_point[:, None]
    acc = spread(codes.reshape(x.shape), problem.weights, *geometry)
    assert np.abs(acc).max(initial=0) < 2**31
    rows = numerics.QuantizedRows(
        images.q,
        np.repeat(images.scale, acc[0, ..., 0].size),
        np.zeros(acc[..., 0].size, np.int32),
    )
    assert problem.scale is not None
    flat = acc.reshape(-1, acc.shape[3]).astype(np.int32)
    none = np.zeros(acc.shape[3], np.int32)
    out = numerics.hybrid_output(flat, rows, problem.scale, none, problem.bias, request.activation)
    return out.reshape(acc.shape)


def check(
    problem: Problem,
    x: Array,
    row: isa.Isa,
    executor: Executor,
    cut: Pair,
    output: Pair,
    at_end: bool = True,
) -> Array:
    out = problem.run(row, x, executor, padding=cut, output=output, at_end=at_end)
    right = expected(problem, x, cut, output)
    request = problem.request
    if request.hybrid and request.activation is not Activation.TANH:
        np.testing.assert_array_equal(out, right)
    else:
        np.testing.assert_allclose(out, right, rtol=1e-5, atol=2e-6 * problem.weights[0].size)
    return out


def geometry(problem: Problem, x: Array, name: str) -> tuple[Pair, Pair]:
    request = problem.request
    assert isinstance(request, TransposeConv2D)
    return GEOMETRIES[name]((x.shape[1], x.shape[2]), request.kernel, request.stride)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("shape", "request_"), CASES, ids=str)
def test_against_numpy(
    row: isa.Isa,
    shape: tuple[int, ...],
    request_: TransposeConv2D,
    mode: str,
    name: str,
    alone: Executor,
    random: np.random.Generator,
) -> None:
    hybrid, asymmetric = MODES[mode]
    request = dataclasses.replace(request_, hybrid=hybrid, asymmetric=asymmetric)
    problem = Problem.of(request, random)
    x = random.standard_normal(shape, np.float32)
    x[-1] *= 3  # images of a batch have their own ranges
    for at_end in (True, False):
        check(problem, x, row, alone, *geometry(problem, x, name), at_end=at_end)


@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
def test_widths_and_depths_around_a_tile(
    row: isa.Isa, hybrid: bool, alone: Executor, random: np.random.Generator
) -> None:
    tile = (row.dense or row.dot) if hybrid else row.real
    sizes = [(n, 5) for n in around(tile.width)] + [(5, n) for n in around(tile.depth, tile.lanes)]
    for channels, depth in sizes:
        request = TransposeConv2D((3, 3), depth, channels, (2, 2), hybrid=hybrid)
        problem = Problem.of(request, random)
        x = random.standard_normal((1, 3, 2, depth), np.float32)
        check(problem, x, row, alone, *geometry(problem, x, "same"))


@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
def test_numbers_of_pixels_around_a_tile(
    row: isa.Isa, hybrid: bool, alone: Executor, random: np.random.Generator
) -> None:
    tile = (row.dense or row.dot) if hybrid else row.real
    problem = Problem.of(TransposeConv2D((2, 3), 6, 5, (1, 2), hybrid=hybrid), random)
    for columns in around(tile.heights[-1]):
        x = random.standard_normal((1, 2, columns, 6), np.float32)
        check(problem, x, row, alone, *geometry(problem, x, "same"))


@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
def test_any_cut(row: isa.Isa, hybrid: bool, alone: Executor, random: np.random.Generator) -> None:
    """Results that begin beyond the first input pixels, end before the last, or go on after."""
    problem = Problem.of(TransposeConv2D((4, 3), 6, 5, (2, 2), hybrid=hybrid), random)
    x = random.standard_normal((2, 4, 5, 6), np.float32)
    for cut in ((0, 0), (1, 2), (5, 4)):
        for output in ((1, 1), (3, 2), (20, 17)):
            check(problem, x, row, alone, cut, output)


def test_extreme_codes_are_exact(
    row: isa.Isa, alone: Executor, random: np.random.Generator
) -> None:
    for asymmetric in (False, True):
        request = TransposeConv2D((4, 4), 40, 17, (2, 2), hybrid=True, asymmetric=asymmetric)
        problem = Problem.of(request, random)
        for weight in (127, -127):
            problem.weights[...] = weight
            x = np.ones((3, 4, 5, 40), np.float32)
            x[1] = -1
            x[2] = random.choice(np.array([-1, 1], np.float32), x[2].shape)
            check(problem, x, row, alone, *geometry(problem, x, "same"))


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_poison_stays_in_its_image(
    row: isa.Isa, poison: float, alone: Executor, random: np.random.Generator
) -> None:
    problem = Problem.of(TransposeConv2D((3, 3), 6, 5, (2, 2), hybrid=True), random)
    x = random.standard_normal((3, 3, 3, 6), np.float32)
    clean = check(problem, x, row, alone, *geometry(problem, x, "same"))
    x[1, 1, 2, 3] = poison
    cut, output = geometry(problem, x, "same")
    out = problem.run(row, x, alone, padding=cut, output=output)
    assert np.isnan(out[1]).all()
    np.testing.assert_array_equal(out[::2], clean[::2])


@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
def test_threads_do_not_change_a_bit(
    row: isa.Isa, hybrid: bool, alone: Executor, random: np.random.Generator
) -> None:
    problem = Problem.of(TransposeConv2D((4, 4), 32, 40, (2, 2), hybrid=hybrid), random)
    x = random.standard_normal((2, 9, 11, 32), np.float32)
    cut, output = geometry(problem, x, "same")
    one = problem.run(row, x, alone, padding=cut, output=output)
    for threads in (2, 3):
        with Executor(threads) as several:
            out = problem.run(row, x, several, padding=cut, output=output)
        np.testing.assert_array_equal(out, one)


@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
def test_nothing_to_do(
    row: isa.Isa, hybrid: bool, alone: Executor, random: np.random.Generator
) -> None:
    problem = Problem.of(TransposeConv2D((3, 3), 2, 3, hybrid=hybrid), random)
    out = problem.run(row, np.zeros((0, 5, 5, 2), np.float32), alone, output=(3, 3))
    assert out.shape == (0, 3, 3, 3)


def test_a_result_of_stride_1_begins_within_the_kernel(row: isa.Isa) -> None:
    problem = Problem.of(TransposeConv2D((3, 2), 2, 3), np.random.default_rng(0))
    kernel = build(problem.request, constants(problem.weights), row)
    with pytest.raises(KernelError, match="cannot begin"):
        kernel.launch((1, 4, 4, 2), (1, 2), (4, 4))
