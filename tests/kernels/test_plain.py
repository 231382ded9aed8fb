"""Pooling, softmax and normalization on every instruction set against NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from octolite.errors import KernelError
from octolite.ir import numerics
from octolite.ir.types import Activation, Array
from octolite.kernels import isa, spec
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
    layer = build(spec.Softmax())
    expected = run(layer.launch(x.shape), [x], alone)
    with Executor(threads) as executor:
        out = run(layer.launch(x.shape, threads=threads), [x], executor)
    np.testing.assert_array_equal(out, expected)


def test_what_there_is_not_is_refused() -> None:
    with pytest.raises(KernelError, match="no pooling 'maximum'"):
        build(spec.Pool2D("maximum", (1, 1)))
