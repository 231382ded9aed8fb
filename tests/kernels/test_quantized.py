"""Compiled layers of int8 codes: every bit is the reference's, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from octolite.ir.types import INT8, Quant
from octolite.kernels import spec
from octolite.kernels.isa import Isa
from octolite.kernels.select import build
from octolite.ops import operator_class
from octolite.ops.case import Case, Tensor, case, codes
from octolite.runtime.executor import Executor
from tests.ops.litert import ours
from tests.ops.quantized import STRATEGIES


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
    geometry = {"input_shape": x.shape} | node.op.geometry(node.inputs)
    launch = build(request, constants, row).launch(**geometry)
    found = np.empty(expected.shape, np.int8)
    scratch = np.empty(launch.scratch_bytes + 64, np.uint8)
    place = scratch.ctypes.data + -scratch.ctypes.data % 64
    executor.run(executor.prepare(launch.steps(x.ctypes.data, found.ctypes.data, place)))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["CONV_2D", "FULLY_CONNECTED"])
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_bits_are_the_references(
    name: str, native: Isa, alone: Executor, data: st.DataObject
) -> None:
    check(name, data.draw(STRATEGIES[name](INT8)), native, alone)


def dense(peak: int, depth: int) -> Case:
    """A fully connected layer whose weights are all ``peak``."""
    x = codes(3, depth, quant=Quant.of(0.02, -128))
    w = Tensor((5, depth), INT8, lambda rng, s: np.full(s, peak), True, quant=Quant.of(0.01))
    return case(x, w, results=[(INT8, Quant.of(float(depth) / 20, -128))])


def test_sums_that_float32_holds(native: Isa, alone: Executor) -> None:
    check("FULLY_CONNECTED", dense(-128, 513), native, alone)


def test_larger_sums_are_left_to_the_reference() -> None:
    node = dense(-128, 515).build(operator_class("FULLY_CONNECTED"))[0].main.nodes[0]
    assert node.op.integer_kernel(node.inputs, node.outputs) is None
