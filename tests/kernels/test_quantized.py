"""Compiled layers of int8 codes: every bit is the reference's, on every instruction set."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from octolite.ir.types import INT8, INT16, INT32, UINT8, DType, Padding, Quant
from octolite.kernels import spec
from octolite.kernels.isa import Isa
from octolite.kernels.select import build
from octolite.ops import operator_class
from octolite.ops.case import Case, Tensor, case, codes
from octolite.runtime.executor import Executor
from tests.kernels.guarded import Guarded
from tests.ops.litert import ours
from tests.ops.quantized import STRATEGIES
from tests.ops.test_integer import litert


def check(name: str, example: Case, row: Isa, executor: Executor) -> None:
    model, feeds = example.build(operator_class(name))
    node = model.main.nodes[0]
    request = node.op.integer_kernel(node.inputs, node.outputs)
    assert request is not None
    constants = {
        key: spec.Constant(v.data, None if v.quant is None else v.quant.scale)
        for key, v in zip(("weights", "bias"), node.inputs[1:], strict=False)
    }
    x = np.ascontiguousarray(feeds["in0"])
    expected = ours(model, feeds)[0]
    np.testing.assert_array_equal(expected, litert(model, feeds)[0])
    geometry = {"input_shape": x.shape} | node.op.geometry(node.inputs)
    launch = build(request, constants, row).launch(**geometry)
    buffers = [
        Guarded(x.shape, x.dtype),
        Guarded(expected.shape, expected.dtype),
        Guarded((launch.scratch_bytes,), np.uint8),
    ]
    buffers[0].array[...] = x
    executor.run(launch.steps(*(buffer.address for buffer in buffers)))
    for buffer in buffers:
        buffer.check()
    np.testing.assert_array_equal(buffers[1].array, expected)


@pytest.mark.parametrize("dtype", [INT8, UINT8, INT16], ids=str)
@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_bits_are_the_references(
    name: str, dtype: DType, row: Isa, alone: Executor, data: st.DataObject
) -> None:
    check(name, data.draw(STRATEGIES[name](dtype)), row, alone)


def dense(peak: int, depth: int) -> Case:
    """A fully connected layer whose weights are all ``peak``."""
    x = codes(3, depth, quant=Quant.of(0.02, -128))
    w = Tensor((5, depth), INT8, lambda rng, s: np.full(s, peak), True, quant=Quant.of(0.01))
    return case(x, w, results=[(INT8, Quant.of(float(depth) / 20, -128))])


@pytest.mark.parametrize("depth", [513, 4099, 65_000])
def test_long_sums(depth: int, row: Isa, alone: Executor) -> None:
    check("FULLY_CONNECTED", dense(-128, depth), row, alone)


def test_sums_that_int32_may_not_hold_are_left_to_the_reference() -> None:
    node = dense(-128, 66_000).build(operator_class("FULLY_CONNECTED"))[0].main.nodes[0]
    assert node.op.integer_kernel(node.inputs, node.outputs) is None


DEAD = np.array([0.004, 4e-9, 1e-10, 6e-11, 1.5e-11, 3e-13], np.float32)
"""Scales of weights, of which all but the first belong to channels that training left at 0."""


@pytest.mark.parametrize(("name", "axis"), [("CONV_2D", 0), ("DEPTHWISE_CONV_2D", 3)])
def test_channels_that_are_always_zero(name: str, axis: int, row: Isa, alone: Executor) -> None:
    """TensorFlow gives them a bias near 2³⁰, which their scale brings back to nothing."""
    channels = len(DEAD)
    x = codes(1, 4, 4, channels, quant=Quant.of(0.0235, -128))
    shape = (channels, 1, 1, channels) if axis == 0 else (1, 3, 3, channels)
    scales = Quant.of(DEAD, 0, axis)
    w = Tensor(shape, INT8, lambda rng, s: rng.integers(-127, 128, s), True, quant=scales)
    bias = np.array([500, *[2**30 + 128] * (channels - 1)], np.int32)
    b = Tensor((channels,), INT32, lambda rng, s: bias, True, quant=Quant.of(DEAD * 0.0235, 0, 0))
    check(name, case(x, w, b, results=[(INT8, Quant.of(0.0235, -128))]), row, alone)


@pytest.mark.parametrize("channels", [17, 64, 131])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"),
    [
        ((3, 3), 1, 1),
        ((3, 3), 2, 1),
        ((5, 2), 1, 1),
        ((1, 4), 3, 1),
        ((3, 3), 1, 2),
        ((7, 7), 1, 1),
    ],
)
@pytest.mark.parametrize("padding", Padding)
def test_depthwise_windows(
    channels: int,
    kernel: tuple[int, int],
    stride: int,
    dilation: int,
    padding: Padding,
    row: Isa,
    alone: Executor,
) -> None:
    """Many channels, of extreme codes: rows of the image may be interleaved."""
    x = Tensor((2, 15, 16, channels), INT8, _extremes, quant=Quant.of(0.02, 5))
    w = Tensor((1, *kernel, channels), INT8, _extremes, True, quant=Quant.of(0.01, 0))
    bias = Tensor((channels,), INT32, lambda rng, s: rng.integers(-9999, 9999, s), True)
    bias = dataclasses.replace(bias, quant=Quant.of(0.0002))
    example = case(
        x,
        w,
        bias,
        results=[(INT8, Quant.of(0.2, -7))],
        padding=padding,
        stride_h=stride,
        stride_w=stride,
        dilation_h_factor=dilation,
        dilation_w_factor=dilation,
    )
    check("DEPTHWISE_CONV_2D", example, row, alone)


def _extremes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.choice(np.array([-128, -127, -1, 0, 1, 127]), shape)
