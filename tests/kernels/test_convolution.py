"""CONV_2D and DEPTHWISE_CONV_2D on every instruction set against NumPy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from octolite.ir.types import Activation, Array
from octolite.kernels import isa, spec, winograd
from octolite.runtime.executor import Executor
from tests.kernels import oracle
from tests.kernels.conftest import Problem

Conv, Depthwise = spec.Conv2D, spec.DepthwiseConv2D

# Input shape, request.
CASES = (
    ((1, 7, 9, 5), Conv((3, 3), 5, 7)),
    ((2, 8, 8, 4), Conv((3, 3), 4, 40, stride=(2, 2))),
    ((1, 4, 3, 3), Conv((3, 3), 3, 1)),
    ((2, 9, 10, 6), Conv((3, 2), 6, 4, (1, 2), (2, 2), groups=2)),
    ((1, 9, 9, 3), Conv((3, 3), 3, 8, dilation=(2, 1))),
    ((1, 9, 9, 3), Conv((3, 3), 3, 8, dilation=(1, 3))),
    ((3, 5, 5, 8), Conv((1, 1), 8, 8)),
    ((2, 5, 6, 9), Conv((1, 1), 9, 33, (2, 2))),
    ((1, 6, 6, 8), Conv((1, 1), 8, 8, groups=2)),
    ((1, 30, 31, 3), Conv((7, 7), 3, 16, (2, 2))),
    ((1, 1, 40, 2), Conv((1, 5), 2, 3)),
    ((1, 3, 3, 16), Conv((3, 3), 16, 65, activation=Activation.RELU)),
    ((1, 2, 2, 4), Conv((5, 5), 4, 3)),
    ((2, 7, 5, 16), Conv((3, 3), 16, 17)),
    ((1, 12, 13, 19), Conv((3, 3), 19, 41, activation=Activation.RELU6)),
    ((2, 3, 4, 33), Conv((3, 3), 33, 16)),
    ((1, 40, 17, 16), Conv((3, 3), 16, 32)),
    ((1, 8, 11, 17), Depthwise((3, 3), 17)),
    ((2, 9, 8, 16), Depthwise((3, 3), 16, stride=(2, 2), activation=Activation.RELU6)),
    ((1, 9, 9, 33), Depthwise((2, 3), 33, dilation=(2, 3))),
    ((2, 6, 7, 3), Depthwise((3, 3), 3, multiplier=5)),
    ((1, 5, 5, 1), Depthwise((5, 5), 1, multiplier=8)),
    ((1, 4, 4, 6), Depthwise((1, 1), 6, stride=(3, 2))),
    ((1, 14, 23, 18), Depthwise((3, 3), 18)),
    ((1, 13, 25, 5), Depthwise((5, 5), 5, stride=(1, 2))),
    ((1, 3, 30, 4), Depthwise((2, 11), 4)),
    ((1, 4, 30, 4), Depthwise((3, 4), 4, stride=(1, 3), dilation=(3, 2))),
    ((1, 4, 7, 301), Depthwise((3, 3), 301)),
    ((2, 5, 13, 130), Depthwise((5, 5), 130, stride=(2, 2))),
)
GEOMETRIES = {"same": oracle.same_geometry, "valid": oracle.valid_geometry}
MODES = {"float": (False, True), "symmetric": (True, False), "asymmetric": (True, True)}


def _id(value: object) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return type(value).__name__


def check(
    problem: Problem,
    x: Array,
    row: isa.Isa,
    executor: Executor,
    geometry: str,
    **options: bool,
) -> Array | None:
    request = problem.request
    assert isinstance(request, Conv | Depthwise)
    size = (x.shape[1], x.shape[2])
    padding, output = GEOMETRIES[geometry](size, request.kernel, request.stride, request.dilation)
    if min(output) < 1:
        return None
    out = problem.run(row, x, executor, padding=padding, output=output, **options)
    weights, bias, scale = problem.weights, problem.bias, problem.scale
    expected = oracle.convolution(request, x, weights, bias, scale, padding, output)
    if request.hybrid:
        np.testing.assert_array_equal(out, expected)
    else:
        taps = weights.size // len(bias)
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=2e-6 * taps)
    return out


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("shape", "request_"), CASES, ids=_id)
def test_against_numpy(
    row: isa.Isa,
    shape: tuple[int, ...],
    request_: spec.Conv2D | spec.DepthwiseConv2D,
    mode: str,
    geometry: str,
    alone: Executor,
    random: np.random.Generator,
) -> None:
    hybrid, asymmetric = MODES[mode]
    request = dataclasses.replace(request_, hybrid=hybrid, asymmetric=asymmetric)
    x = random.standard_normal(shape, np.float32)
    x[-1] *= 3  # images of a batch have their own ranges
    check(Problem.of(request, random), x, row, alone, geometry)


@pytest.mark.parametrize(
    "request_",
    [Conv((3, 3), 16, 5), Conv((3, 3), 16, 16), Conv((1, 1), 16, 5), Depthwise((3, 3), 16)],
)
@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
def test_nothing_is_read_before_the_buffers(
    row: isa.Isa,
    request_: spec.Conv2D | spec.DepthwiseConv2D,
    hybrid: bool,
    alone: Executor,
    random: np.random.Generator,
) -> None:
    problem = Problem.of(dataclasses.replace(request_, hybrid=hybrid), random)
    x = random.standard_normal((2, 5, 6, 16), np.float32)
    for geometry in GEOMETRIES:
        check(problem, x, row, alone, geometry, at_end=False)


@pytest.mark.parametrize(
    "request_",
    [Conv((3, 3), 32, 20), Conv((3, 3), winograd.MAX_DEPTH, 16), Depthwise((9, 9), 20)],
)
def test_extreme_codes_are_exact(
    row: isa.Isa,
    request_: spec.Conv2D | spec.DepthwiseConv2D,
    alone: Executor,
    random: np.random.Generator,
) -> None:
    for asymmetric in (False, True):
        request = dataclasses.replace(request_, hybrid=True, asymmetric=asymmetric)
        problem = Problem.of(request, random)
        for weight in (127, -127):
            problem.weights[...] = weight
            x = np.ones((3, 6, 5, request.in_channels), np.float32)
            x[1] = -1
            x[2] = random.choice(np.array([-1, 1], np.float32), x[2].shape)
            check(problem, x, row, alone, "same")


@pytest.mark.parametrize("channels", [16, 64, 256, 512])
def test_float_winograd_errs_as_little_as_the_docs_say(
    row: isa.Isa, channels: int, alone: Executor, random: np.random.Generator
) -> None:
    problem = Problem.of(Conv((3, 3), channels, max(32, channels // 4)), random)
    form = winograd.form_for(problem.request, row, problem.weights)
    assert form is not None
    bound = {winograd.REAL4: 5e-6, winograd.REAL2: 2e-6}[form]
    normal = random.standard_normal((1, 9, 13, channels), np.float32)
    for x in (normal, np.abs(normal)):
        out = problem.run(row, x, alone, padding=(1, 1), output=(9, 13))
        given = (problem.weights, problem.bias, problem.scale, (1, 1), (9, 13))
        exact = oracle.convolution(problem.request, x, *given)
        assert np.abs(out - exact).max() <= bound * np.abs(exact).max()


def _form(request: spec.Conv2D, row: str) -> winograd.Form | None:
    return winograd.form_for(request, isa.by_name(row), np.ones(request.weight_shape, np.int8))


def test_the_form_depends_on_how_many_weights_there_are() -> None:
    few, many = Conv((3, 3), 64, 64), Conv((3, 3), 512, 512)
    small, large = (dataclasses.replace(r, hybrid=True) for r in (few, many))
    for row in isa.ROWS:
        assert _form(few, row.name) is winograd.REAL4
        assert _form(many, row.name) is winograd.REAL2
    assert _form(small, "avx2") is winograd.INT4
    assert _form(large, "avx2") is winograd.INT2
    assert _form(small, "avx512vnni") is winograd.INT4
    assert _form(large, "avx512vnni") is None, "products of bytes are faster"
    assert _form(small, "amx") is None, "products of bytes are much faster"


@pytest.mark.parametrize(("depth", "fits"), [(229, True), (230, False)])
def test_sums_that_may_not_fit_take_the_form_with_room(
    depth: int, fits: bool, alone: Executor, random: np.random.Generator
) -> None:
    """128 · 127 · 9 · depth reaches 2²⁵, what F(4×4) has room for."""
    request = Conv((3, 3), depth, 16, hybrid=True)
    problem = Problem.of(request, random)
    problem.weights[...] = 127
    row = isa.by_name("generic")
    form = winograd.form_for(request, row, problem.weights)
    assert form is (winograd.INT4 if fits else winograd.INT2)
    x = np.full((1, 6, 5, depth), -1, np.float32)
    x[0, 0, 0, 0] = 1e-3
    check(problem, x, row, alone, "same")


@pytest.mark.parametrize("form", [winograd.INT2, winograd.INT4], ids=lambda f: f.name)
def test_integer_forms_fit_int16(form: winograd.Form) -> None:
    for matrix in (form.a, form.b, form.g):
        assert np.array_equal(matrix, np.rint(matrix))
    mirror = np.eye(form.extent)
    for i in range(1, form.size, 2):
        mirror[i : i + 2, i : i + 2] = [[1, 1], [1, -1]]
    assert np.abs(mirror @ form.b).sum(axis=1).max() ** 2 * 128 < 1 << 15
    assert np.abs(form.g).sum(axis=1).max() ** 2 * 127 < 1 << 15


@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
@pytest.mark.parametrize(
    ("shape", "channels"), [((1, 7, 6, 64), 80), ((2, 33, 9, 16), 16), ((1, 3, 3, 256), 300)]
)
def test_threads_do_not_change_a_bit_of_winograd(
    row: isa.Isa,
    shape: tuple[int, ...],
    channels: int,
    hybrid: bool,
    alone: Executor,
    random: np.random.Generator,
) -> None:
    """Tiles of some panels and of some patches."""
    problem = Problem.of(Conv((3, 3), shape[3], channels, hybrid=hybrid), random)
    x = random.standard_normal(shape, np.float32)
    expected = check(problem, x, row, alone, "same")
    assert expected is not None
    for threads in (2, 5):
        with Executor(threads) as together:
            np.testing.assert_array_equal(check(problem, x, row, together, "same"), expected)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("request_", [Conv((3, 3), 6, 5), Depthwise((3, 3), 6)])
def test_poison_stays_in_its_image(
    row: isa.Isa,
    request_: spec.Conv2D | spec.DepthwiseConv2D,
    poison: float,
    alone: Executor,
    random: np.random.Generator,
) -> None:
    problem = Problem.of(dataclasses.replace(request_, hybrid=True), random)
    x = random.standard_normal((3, 5, 5, 6), np.float32)
    x[1, 4, 4, 5] = poison
    out = check(problem, x, row, alone, "same")
    assert out is not None
    assert np.isnan(out[1]).all()
    assert np.isfinite(out[[0, 2]]).all()


def test_poison_stays_in_its_pixel(
    row: isa.Isa, alone: Executor, random: np.random.Generator
) -> None:
    problem = Problem.of(Conv((1, 1), 6, 5, hybrid=True), random)
    x = random.standard_normal((1, 4, 4, 6), np.float32)
    x[0, 2, 1, 3] = np.nan
    out = check(problem, x, row, alone, "same")
    assert out is not None
    np.testing.assert_array_equal(np.isnan(out).any(axis=3), np.isnan(x).any(axis=3))


@pytest.mark.parametrize("mode", MODES)
def test_any_padding(row: isa.Isa, mode: str, alone: Executor, random: np.random.Generator) -> None:
    """More padding than SAME, on every side, and input that no window reaches."""
    hybrid, asymmetric = MODES[mode]
    x = random.standard_normal((2, 6, 5, 16), np.float32)
    for base in (
        Conv((3, 3), 16, 4, (2, 2)),
        Conv((3, 3), 16, 18),
        Conv((1, 1), 16, 4),
        Depthwise((3, 3), 16),
    ):
        request = dataclasses.replace(base, hybrid=hybrid, asymmetric=asymmetric)
        if hybrid and request.kernel == (1, 1):
            continue  # a pixel of padding has no range of its own: see the next test
        problem = Problem.of(request, random)
        for padding, output in (((2, 3), (5, 5)), ((0, 0), (1, 1)), ((9, 9), (2, 2))):
            out = problem.run(row, x, alone, padding=padding, output=output)
            expected = oracle.convolution(
                request, x, problem.weights, problem.bias, problem.scale, padding, output
            )
            tolerance = 0 if hybrid else 1e-4
            np.testing.assert_allclose(out, expected, rtol=0, atol=tolerance)


def test_padding_of_a_pointwise_convolution_gives_the_bias(
    row: isa.Isa, alone: Executor, random: np.random.Generator
) -> None:
    problem = Problem.of(Conv((1, 1), 3, 4, hybrid=True), random)
    x = random.standard_normal((1, 3, 3, 3), np.float32)
    out = problem.run(row, x, alone, padding=(1, 1), output=(5, 5))
    inner = problem.run(row, x, alone, output=(3, 3))
    np.testing.assert_array_equal(out[:, 1:4, 1:4], inner)
    out[:, 1:4, 1:4] = problem.bias
    np.testing.assert_array_equal(out, np.broadcast_to(problem.bias, out.shape))


@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
def test_nothing_to_do(
    row: isa.Isa, hybrid: bool, alone: Executor, random: np.random.Generator
) -> None:
    problem = Problem.of(Conv((3, 3), 2, 3, hybrid=hybrid), random)
    out = problem.run(row, np.zeros((0, 5, 5, 2), np.float32), alone, output=(3, 3))
    assert out.shape == (0, 3, 3, 3)
    rows = Problem.of(spec.FullyConnected(2, 3, hybrid=hybrid), random)
    assert rows.run(row, np.zeros((0, 2), np.float32), alone).shape == (0, 3)
