"""Compiled operators on codes: every bit is the reference's, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from octolite.ir.types import INT8, INT16, UINT8, Activation, Array, DType, Padding, Quant
from octolite.kernels.isa import Isa
from octolite.kernels.select import build
from octolite.ops import operator_class
from octolite.ops.case import Case, Tensor, case, const
from octolite.runtime.executor import Executor
from tests.kernels.conftest import around
from tests.kernels.guarded import Guarded
from tests.ops.litert import ours
from tests.ops.quantized import STRATEGIES

BYTES = ("ELU", "GELU", "HARD_SWISH", "PRELU", "RELU_0_TO_1", "RELU_N1_TO_1")
SIGNED = ("ABS", "EXP", "LOG", "SQUARED_DIFFERENCE")
EVERY = (
    *("ADD", "AVERAGE_POOL_2D", "LEAKY_RELU", "LOGISTIC", "MAX_POOL_2D", "MEAN", "MUL", "PAD"),
    *("QUANTIZE", "RELU", "RELU6", "SUB", "SUM", "TANH"),
)
COMPARED = ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL")
KINDS = [
    (name, dtype)
    for names, dtypes in (
        (BYTES, (INT8, UINT8)),
        (SIGNED, (INT8, INT16)),
        (EVERY, (INT8, UINT8, INT16)),
        (("CONCATENATION",), (UINT8,)),
        (("SOFTMAX",), (INT8, UINT8)),
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
    example = data.draw(STRATEGIES[name](dtype))
    if name == "PAD":  # its kernel does not know the result's zero point
        (node,) = example.build(operator_class(name))[0].main.nodes
        assume(node.inputs[0].quant == node.outputs[0].quant)
    found, expected = compiled(example, name, row, alone)
    np.testing.assert_array_equal(found, expected)


def extremes(dtype: DType, *shape: int, scale: float, zero: int) -> Tensor:
    """Codes of which half are the least or the greatest."""
    limits = np.iinfo(dtype.numpy)

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        wide = rng.integers(limits.min, limits.max, shape, endpoint=True)
        return np.where(rng.random(shape) < 0.5, wide, rng.choice([limits.min, limits.max], shape))

    return Tensor(shape, dtype, draw, quant=Quant.of(scale, 0 if dtype is INT16 else zero))


@pytest.mark.parametrize("dtype", [INT8, UINT8, INT16], ids=str)
def test_awkward_sizes_and_extremes(dtype: DType, row: Isa, alone: Executor) -> None:
    low = int(np.iinfo(dtype.numpy).min)
    out = Quant.of(0.07, 0 if dtype is INT16 else low + 200)
    window = {"filter_height": 3, "filter_width": 2, "stride_h": 2, "padding": Padding.SAME}
    for size in around(row.lanes, 4 * row.lanes, 16 * row.lanes):
        line = extremes(dtype, 3, size, scale=0.05, zero=low + 3)
        other = extremes(dtype, size, scale=0.01, zero=low + 250)
        image = extremes(dtype, 1, 5, 3, size, scale=0.05, zero=low + 9)
        relu = {"activation": Activation.RELU6, "results": [(dtype, out)]}
        wide = {"pot_scale_int16": False}
        examples = {
            "ADD": case(line, other, **relu, **wide),
            "SUB": case(other, line, **relu, **wide),
            "MUL": case(line, other, **relu),
            "QUANTIZE": case(line, results=[(dtype, out)]),
            "LEAKY_RELU": case(line, results=[(dtype, out)], alpha=0.3),
            "MEAN": case(image, const([1, 2]), results=[(dtype, out)]),
            "SUM": case(line, const([1]), results=[(dtype, out)]),
            "MAX_POOL_2D": case(image, results=[(dtype, image.quant)], **window),
            "AVERAGE_POOL_2D": case(image, results=[(dtype, image.quant)], **window),
        }
        if dtype is not INT16:
            unit = [(dtype, Quant.of(1 / 256, low))]
            examples["SOFTMAX"] = case(line, results=unit)
        for name, example in examples.items():
            found, expected = compiled(example, name, row, alone)
            np.testing.assert_array_equal(found, expected, f"{name} of {size}")


@pytest.mark.parametrize("name", ["REDUCE_MAX", "REDUCE_MIN"])
@pytest.mark.parametrize("dtype", [INT8, UINT8, INT16], ids=str)
def test_extrema_of_codes(name: str, dtype: DType, row: Isa, alone: Executor) -> None:
    for shape, axes in (
        ((3, 150), [1]),
        ((3, 37, 150), [0]),
        ((9, 5), [1]),
        ((2, 3, 4, 5), [1, 3]),
    ):
        x = extremes(dtype, *shape, scale=0.05, zero=5)
        model, feeds = case(x, const(axes), results=[(dtype, x.quant)]).build(operator_class(name))
        node = model.main.nodes[0]
        layer = build(node.op.kernel(node.inputs), isa=row)
        launch = layer.launch(shape, **node.op.geometry(node.inputs))
        expected = ours(model, feeds)[0]
        given, out = Guarded(shape, dtype.numpy), Guarded(expected.shape, dtype.numpy)
        scratch = Guarded((launch.scratch_bytes,), np.uint8)
        given.array[...] = feeds["in0"]
        executor_steps = launch.steps(given.address, out.address, scratch.address)
        alone.run(executor_steps)
        for buffer in (given, out, scratch):
            buffer.check()
        np.testing.assert_array_equal(out.array, expected)


def test_roots_of_negative_codes_have_no_table() -> None:
    """RSQRT refuses codes that stand for numbers under 0, as the reference does."""
    x = extremes(INT8, 4, scale=0.05, zero=-100)
    node = case(x, results=[(INT8, Quant.of(0.1))]).build(operator_class("RSQRT"))[0].main.nodes[0]
    assert node.op.integer_kernel(node.inputs, node.outputs) is None
