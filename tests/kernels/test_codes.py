"""Compiled operators on codes: every bit is the reference's, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from octolite.ir.types import INT8, INT16, UINT8, Array, DType
from octolite.kernels.isa import Isa
from octolite.kernels.select import build
from octolite.ops import operator_class
from octolite.ops.case import Case
from octolite.runtime.executor import Executor
from tests.kernels.guarded import Guarded
from tests.ops.litert import ours
from tests.ops.quantized import STRATEGIES

BYTES = ("ELU", "GELU", "HARD_SWISH", "PRELU", "RELU_0_TO_1", "RELU_N1_TO_1")
SIGNED = ("ABS", "EXP", "LOG", "SQUARED_DIFFERENCE")
EVERY = (
    *("ADD", "AVERAGE_POOL_2D", "LEAKY_RELU", "LOGISTIC", "MAX_POOL_2D", "MEAN", "MUL", "QUANTIZE"),
    *("RELU", "RELU6", "SUB", "SUM", "TANH"),
)
COMPARED = ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL")
KINDS = [
    (name, dtype)
    for names, dtypes in (
        (BYTES, (INT8, UINT8)),
        (SIGNED, (INT8, INT16)),
        (EVERY, (INT8, UINT8, INT16)),
        (COMPARED, (INT8, UINT8)),
    )
    for name in names
    for dtype in dtypes
    if dtype in operator_class(name).integer_types
]


def compiled(example: Case, name: str, row: Isa, executor: Executor) -> tuple[Array, Array]:
    """What the kernel gives between forbidden pages, and what the reference says."""
    model, feeds = example.build(operator_class(name))
    node = model.main.nodes[0]
    assert node.op.is_integer(node.inputs, node.outputs)
    request = node.op.integer_kernel(node.inputs, node.outputs)
    assert request is not None
    expected = ours(model, feeds)[0]
    given = [feeds[v.name] if v.data is None else v.data for v in node.inputs]
    shape = {"input_shape": given[0].shape} | node.op.geometry(node.inputs)
    launch = build(request, isa=row).launch(**shape, threads=executor.num_threads)
    buffers = [Guarded(x.shape, x.dtype) for x in given]
    out = Guarded(launch.output_shape, expected.dtype)
    scratch = Guarded((launch.scratch_bytes,), np.uint8)
    for buffer, x in zip(buffers, given, strict=True):
        buffer.array[...] = x
    executor.run(launch.steps([b.address for b in buffers], out.address, scratch.address))
    for buffer in (*buffers, out, scratch):
        buffer.check()
    return out.array.copy(), expected


@pytest.mark.parametrize(("name", "dtype"), KINDS)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_bits_are_the_references(
    name: str, dtype: DType, row: Isa, alone: Executor, data: st.DataObject
) -> None:
    found, expected = compiled(data.draw(STRATEGIES[name](dtype)), name, row, alone)
    np.testing.assert_array_equal(found, expected)
