"""Pooling, elementwise functions and softmax on every instruction set against NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from octolite.errors import KernelError
from octolite.ir import numerics
from octolite.ir.types import Activation, Array
from octolite.kernels import isa, maps, spec
from octolite.kernels.launch import Launch
from octolite.kernels.select import build
from octolite.runtime.executor import Executor
from tests.kernels import oracle
from tests.kernels.guarded import Guarded


def run(launch: Launch, inputs: Sequence[Array], executor: Executor) -> Array:
    given = [Guarded(x.shape, np.float32) for x in inputs]
    out = Guarded(launch.output_shape, np.float32)
    for buffer, x in zip(given, inputs, strict=True):
        buffer.array[...] = x
    executor.run(launch.steps([b.address for b in given], out.address, 0))
    for buffer in (*given, out):
        buffer.check()
    return out.array.copy()


EXACT = {
    "abs": np.abs,
    "elu": lambda x: np.where(x < 0, np.expm1(x), x),
    "exp": np.exp,
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "leaky_relu": lambda x: np.where(x < 0, 0.3 * x, x),
    "log": np.log,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "neg": np.negative,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "relu_0_to_1": lambda x: np.clip(x, 0, 1),
    "relu_n1_to_1": lambda x: np.clip(x, -1, 1),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sqrt": np.sqrt,
    "square": np.square,
    "tanh": np.tanh,
}


def test_names_agree() -> None:
    assert set(spec.UNARY) == set(maps.UNARY) == set(EXACT)
    assert set(spec.BINARY) == set(maps.BINARY)


@pytest.mark.parametrize("function", spec.UNARY)
def test_unary(row: isa.Isa, function: str, alone: Executor, random: np.random.Generator) -> None:
    edges = [0, -0.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 88.6, -87, -100, 200, -200, 1, 1e-40]
    kernel = build(spec.Unary(function, alpha=0.3), isa=row)
    assert isinstance(kernel, maps.UnaryLayer)
    for size in (1, row.lanes - 1, row.lanes, row.lanes + 1, 300, 40_000):
        x = (random.standard_normal(size, np.float32) * 4).astype(np.float32)
        x[: len(edges)] = edges[:size]
        out = run(kernel.launch((size,)), [x], alone)
        with np.errstate(all="ignore"):
            expected = EXACT[function](x.astype(np.float64)).astype(np.float32)
        np.testing.assert_allclose(out, expected, rtol=5e-7, atol=1e-37)


@pytest.mark.parametrize("function", spec.BINARY)
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((5,), (5,)),
        ((2, 3, 5, 17), (2, 3, 5, 17)),
        ((2, 3, 5, 17), (17,)),
        ((17,), (2, 3, 5, 17)),
        ((2, 3, 5, 17), ()),
        ((1,), (2, 100)),
        ((2, 3, 5, 17), (2, 1, 1, 17)),
        ((2, 3, 5, 17), (2, 3, 5, 1)),
        ((4, 1, 6), (1, 5, 6)),
        ((4, 1), (1, 33)),
        ((1, 70_001), (1, 70_001)),
        ((3, 0), (3, 1)),
    ],
)
def test_binary(
    row: isa.Isa,
    function: str,
    a: tuple[int, ...],
    b: tuple[int, ...],
    alone: Executor,
    random: np.random.Generator,
) -> None:
    x, y = (random.standard_normal(shape).astype(np.float32) for shape in (a, b))
    kernel = build(spec.Binary(function), isa=row)
    assert isinstance(kernel, maps.BinaryLayer)
    out = run(kernel.launch(a, b), [x, y], alone)
    names = {"sub": "subtract", "mul": "multiply", "div": "divide"}
    if function == "squared_difference":
        expected = (x - y) * (x - y)
    elif function == "prelu":
        expected = np.where(x >= 0, x, x * y)
    else:
        expected = getattr(np, names.get(function, function))(x, y)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("activation", [a for a in Activation if a is not Activation.SIGN_BIT])
def test_binary_activations(row: isa.Isa, activation: Activation, alone: Executor) -> None:
    x = np.array([-9, -0.5, 0.25, 3, 7, np.nan], np.float32)
    kernel = build(spec.Binary("add", activation), isa=row)
    assert isinstance(kernel, maps.BinaryLayer)
    out = run(kernel.launch(x.shape, x.shape), [x, x], alone)
    np.testing.assert_allclose(out, numerics.activate(x + x, activation), rtol=5e-7)


@pytest.mark.parametrize("function", ["maximum", "minimum"])
def test_nan_wins(row: isa.Isa, function: str, alone: Executor) -> None:
    x, y = np.array([np.nan, 1, np.nan], np.float32), np.array([1, np.nan, np.nan], np.float32)
    kernel = build(spec.Binary(function), isa=row)
    assert isinstance(kernel, maps.BinaryLayer)
    assert np.isnan(run(kernel.launch((3,), (3,)), [x, y], alone)).all()


@pytest.mark.parametrize("geometry", ["same", "valid"])
@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize(
    ("shape", "kernel", "stride"),
    [
        ((2, 7, 6, 3), (2, 3), (1, 1)),
        ((1, 8, 9, 16), (3, 3), (2, 2)),
        ((2, 5, 5, 33), (5, 5), (1, 1)),
        ((1, 4, 4, 9), (1, 1), (3, 2)),
    ],
)
def test_pooling(
    row: isa.Isa,
    shape: tuple[int, int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    kind: str,
    geometry: str,
    alone: Executor,
    random: np.random.Generator,
) -> None:
    place = oracle.same_geometry if geometry == "same" else oracle.valid_geometry
    padding, output = place(shape[1:3], kernel, stride, (1, 1))
    x = random.standard_normal(shape, np.float32)
    x[0, 1, 1, 0] = np.nan
    reduce = np.max if kind == "max" else np.mean
    expected = np.empty((shape[0], *output, shape[3]), np.float32)
    for i, j in np.ndindex(*output):
        y, z = i * stride[0] - padding[0], j * stride[1] - padding[1]
        seen = x[:, max(y, 0) : y + kernel[0], max(z, 0) : z + kernel[1]].astype(np.float64)
        expected[:, i, j] = reduce(seen, axis=(1, 2))
    expected = numerics.activate(expected, Activation.RELU6)
    layer = build(spec.Pool2D(kind, kernel, stride, Activation.RELU6), isa=row)
    out = run(layer.launch(shape, padding, output), [x], alone)
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 16, 17, 33, 1001])
def test_softmax(row: isa.Isa, size: int, alone: Executor, random: np.random.Generator) -> None:
    x = random.standard_normal((5, size), np.float32) * 10
    x[0] = 1e30
    x[1, 0] = np.nan
    layer = build(spec.Softmax(0.5), isa=row)
    out = run(layer.launch(x.shape), [x], alone)
    powers = np.exp((x - x.max(axis=1, keepdims=True)).astype(np.float64) * 0.5)
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(out, expected, rtol=2e-6, atol=1e-37)
    assert np.isnan(out[1]).all()


@pytest.mark.parametrize("size", [1, 2, 7, 8, 16, 17, 33, 1001])
def test_log_softmax(row: isa.Isa, size: int, alone: Executor, random: np.random.Generator) -> None:
    x = random.standard_normal((5, size), np.float32) * 10
    x[0] = 1e30
    x[1, 0] = np.nan
    layer = build(spec.Softmax(log=True), isa=row)
    out = run(layer.launch(x.shape), [x], alone)
    below = (x - x.max(axis=1, keepdims=True)).astype(np.float64)
    expected = below - np.log(np.exp(below).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)
    assert np.isnan(out[1]).all()


@pytest.mark.parametrize("activation", [Activation.NONE, Activation.RELU, Activation.TANH])
@pytest.mark.parametrize("size", [1, 2, 7, 8, 16, 17, 33, 1001])
def test_normalization(
    row: isa.Isa,
    size: int,
    activation: Activation,
    alone: Executor,
    random: np.random.Generator,
) -> None:
    x = random.standard_normal((5, size), np.float32)
    x[0] = 0
    x[1] = 1e-9
    x[2, 0] = np.nan
    layer = build(spec.L2Normalization(activation), isa=row)
    out = run(layer.launch(x.shape), [x], alone)
    real = x.astype(np.float64)
    norm = np.sqrt((real * real).sum(axis=1, keepdims=True))
    expected = numerics.activate((real / np.maximum(norm, 1e-6)).astype(np.float32), activation)
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_change_nothing(threads: int, alone: Executor, random: np.random.Generator) -> None:
    x = random.standard_normal((64, 2000), np.float32)
    for request in (spec.Unary("tanh"), spec.Softmax()):
        layer = build(request)
        expected = run(layer.launch(x.shape), [x], alone)
        with Executor(threads) as executor:
            out = run(layer.launch(x.shape, threads=threads), [x], executor)
        np.testing.assert_array_equal(out, expected)


def test_what_there_is_not_is_refused() -> None:
    with pytest.raises(KernelError, match=r"no kernel computes 'tan'.*'tanh'"):
        build(spec.Unary("tan"))
    with pytest.raises(KernelError, match="no kernel computes 'plus'"):
        build(spec.Binary("plus"))
    with pytest.raises(KernelError, match="no pooling 'maximum'"):
        build(spec.Pool2D("maximum", (1, 1)))
    with pytest.raises(KernelError, match="SIGN_BIT"):
        build(spec.Binary("add", Activation.SIGN_BIT))
    with pytest.raises(KernelError, match=r"\[2, 3\] and \[4\] do not broadcast"):
        build(spec.Binary("add")).launch((2, 3), (4,))
