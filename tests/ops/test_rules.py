"""What operators refuse, what they do with nothing, and the versions they ask for."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from octolite.errors import OctoliteError, ShapeError
from octolite.ir.graph import Value
from octolite.ir.types import FLOAT32, INT8, INT16, Activation, DType, Quant
from octolite.kernels import spec
from octolite.ops import REGISTRY, Operator
from octolite.ops.case import Case, Tensor, case, f32, int8_weights, ints, weights
from tests.ops.litert import compatible, ours


def value(name: str, *shape: int | None, dtype: DType = FLOAT32) -> Value:
    return Value(name, dtype, shape)


def constant(name: str, data: Any) -> Value:
    return Value.constant(name, np.asarray(data, np.int32))


X = value("x", 1, 8, 8, 6)
BAD: list[tuple[str, dict[str, Any], list[Value], list[str]]] = [
    # operator, attributes, inputs, what the message must name
    ("CONV_2D", {}, [value("x", 8, 8), value("w", 4, 3, 3, 6)], ["'x'", "rank 4"]),
    ("CONV_2D", {}, [X, value("w", 4, 3, 3, 4)], ["'x'", "'w'", "6 channels"]),
    ("CONV_2D", {}, [X, value("w", 4, 3, 3, 2)], ["'x'", "'w'", "3 groups"]),
    ("CONV_2D", {}, [X, value("w", 4, 3, 3, 0)], ["'w'"]),
    ("CONV_2D", {}, [X, value("w", 4, 3, 3, 6), value("b", 5)], ["'b'", "(4,)"]),
    ("CONV_2D", {"stride_h": 0}, [X, value("w", 4, 3, 3, 6)], ["stride 0"]),
    ("CONV_2D", {"dilation_w_factor": 0}, [X, value("w", 4, 3, 3, 6)], ["dilation 0"]),
    ("DEPTHWISE_CONV_2D", {}, [X, value("w", 2, 3, 3, 6)], ["'w'"]),
    ("DEPTHWISE_CONV_2D", {}, [X, value("w", 1, 3, 3, 8)], ["'x'", "'w'", "multiple"]),
    ("DEPTHWISE_CONV_2D", {}, [X, value("w", 1, 3, 3, 6), value("b", 1, 6)], ["'b'"]),
    (
        "TRANSPOSE_CONV",
        {},
        [constant("size", [1, 9, 9, 3]), value("w", 4, 3, 3, 6), X],
        ["'size'", "4 channels"],
    ),
    (
        "TRANSPOSE_CONV",
        {},
        [constant("size", [1, 9, 9, 4]), value("w", 4, 3, 3, 5), X],
        ["'w'", "'x'"],
    ),
    ("TRANSPOSE_CONV", {"stride_w": 0}, [constant("size", [1]), value("w"), X], ["strides"]),
    ("MAX_POOL_2D", {}, [value("x", 3)], ["'x'", "rank 4"]),
    ("AVERAGE_POOL_2D", {"filter_width": 0}, [X], ["'x'", "empty"]),
    ("L2_POOL_2D", {"stride_w": -1}, [X], ["stride -1"]),
    ("PRELU", {}, [X, value("alpha", 5)], ["broadcast"]),
    ("PRELU", {}, [value("x", 6), value("alpha", 2, 6)], ["'alpha'", "'x'"]),
    ("SOFTMAX", {}, [value("x")], ["'x'", "scalar"]),
    ("L2_NORMALIZATION", {}, [value("x")], ["'x'", "scalar"]),
    ("LOCAL_RESPONSE_NORMALIZATION", {"radius": -1}, [X], ["'x'", "radius -1"]),
    ("BATCH_MATMUL", {}, [value("x", 3), value("y", 3, 4)], ["'x'", "rank 2"]),
    ("BATCH_MATMUL", {}, [value("x", 2, 3), value("y", 4, 5)], ["'x'", "'y'"]),
    ("BATCH_MATMUL", {"adj_y": True}, [value("x", 2, 3), value("y", 3, 5)], ["'x'", "'y'"]),
    ("RESIZE_BILINEAR", {}, [X, constant("size", [3])], ["'size'"]),
    ("RESIZE_NEAREST_NEIGHBOR", {}, [X, constant("size", [0, 3])], ["'size'"]),
    (
        "SPACE_TO_BATCH_ND",
        {},
        [X, constant("b", [3, 2]), constant("p", [[0, 0], [0, 0]])],
        ["'x'", "blocks"],
    ),
    ("SPACE_TO_BATCH_ND", {}, [X, constant("b", [2, 2]), constant("p", [[0, 0]])], ["'b'", "'p'"]),
    (
        "SPACE_TO_BATCH_ND",
        {},
        [X, constant("b", [0, 2]), constant("p", [[0, 0], [0, 0]])],
        ["'b'", "positive"],
    ),
    (
        "BATCH_TO_SPACE_ND",
        {},
        [X, constant("b", [2, 2]), constant("c", [[0, 0], [0, 0]])],
        ["'x'", "batch of 1"],
    ),
    (
        "BATCH_TO_SPACE_ND",
        {},
        [value("x", 4, 1, 1, 1), constant("b", [2, 2]), constant("c", [[2, 1], [0, 0]])],
        ["'x'", "crops"],
    ),
    ("SPACE_TO_DEPTH", {"block_size": 3}, [X], ["'x'", "multiple"]),
    ("SPACE_TO_DEPTH", {"block_size": 0}, [X], ["'x'", "block size 0"]),
    ("DEPTH_TO_SPACE", {"block_size": 2}, [X], ["'x'", "multiple"]),
    ("FAKE_QUANT", {"min": 1.0, "max": 2.0}, [X], ["'x'", "range"]),
    ("FAKE_QUANT", {"min": -1.0, "max": 2.0, "num_bits": 1}, [X], ["'x'", "1 bits"]),
    ("FULLY_CONNECTED", {}, [value("x", 3, 7), value("w", 4, 5)], ["'x'"]),
]


@pytest.mark.parametrize(("name", "attributes", "inputs", "says"), BAD)
def test_misfits_are_refused(
    name: str, attributes: dict[str, Any], inputs: list[Value], says: list[str]
) -> None:
    with pytest.raises(ShapeError) as error:
        REGISTRY[name](**attributes).infer(*inputs)
    for part in says:
        assert part in str(error.value)


def emptied(example: Case) -> Case | None:
    """The case with a batch of 0, where the batch is the first extent of all that is fed."""
    fed = [t for t in example.tensors if t is not None and not t.constant]
    if not fed or any(not t.shape for t in fed):
        return None

    def empty(t: Tensor | None) -> Tensor | None:
        if t is None or t.constant:
            return t
        return dataclasses.replace(
            t, shape=(0, *t.shape[1:]), draw=lambda rng, shape: np.zeros(shape)
        )

    return dataclasses.replace(example, tensors=[empty(t) for t in example.tensors])


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_nothing_in_gives_nothing_or_an_error_of_ours(name: str) -> None:
    for example in filter(None, map(emptied, REGISTRY[name].cases)):
        try:
            model, feeds = example.build(REGISTRY[name])
            results = ours(model, feeds)
        except OctoliteError:
            continue
        for result, out in zip(results, model.main.outputs, strict=True):
            assert compatible(out.shape, result.shape)


FC, CONV, DEPTHWISE = "FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"
FILTER = int8_weights(4, 3, 3, 2)
VERSIONS = [
    # as TensorFlow's own version rules have them
    (FC, case(f32(2, 8), weights(4, 8), weights(4)), 1),
    (FC, case(f32(2, 8), weights(4, 8), weights(4), keep_num_dims=True), 5),
    (FC, case(f32(2, 8), weights(4, 8)), 6),
    (FC, case(f32(2, 8), int8_weights(4, 8, axis=None), weights(4)), 3),
    (
        FC,
        case(
            f32(2, 8),
            int8_weights(4, 8, axis=None),
            weights(4),
            asymmetric_quantize_inputs=True,
        ),
        9,
    ),
    (FC, case(f32(2, 8), int8_weights(4, 8), weights(4)), 12),
    (CONV, case(f32(1, 8, 8, 2), weights(4, 3, 3, 2), weights(4)), 1),
    (CONV, case(f32(1, 8, 8, 2), int8_weights(4, 3, 3, 2, axis=None), weights(4)), 2),
    (CONV, case(f32(1, 8, 8, 2), FILTER, weights(4)), 5),
    (CONV, case(f32(1, 8, 8, 4), FILTER, weights(4)), 6),
    (CONV, case(f32(1, 8, 8, 4), weights(4, 3, 3, 2), weights(4)), 6),
    (DEPTHWISE, case(f32(1, 8, 8, 4), weights(1, 3, 3, 4)), 1),
    (DEPTHWISE, case(f32(1, 8, 8, 4), weights(1, 3, 3, 4), dilation_h_factor=2), 2),
    (DEPTHWISE, case(f32(1, 8, 8, 4), int8_weights(1, 3, 3, 4, axis=None)), 4),
    (DEPTHWISE, case(f32(1, 8, 8, 4), int8_weights(1, 3, 3, 4, axis=3)), 6),
    ("BATCH_MATMUL", case(f32(2, 8), int8_weights(8, 4, axis=None)), 1),
    (
        "BATCH_MATMUL",
        case(f32(2, 8), int8_weights(8, 4, axis=None), asymmetric_quantize_inputs=True),
        4,
    ),
    ("LOGISTIC", case(ints(3, dtype=INT16)), 3),
    ("SPACE_TO_DEPTH", case(ints(1, 2, 2, 1, dtype=INT8)), 2),
]


@pytest.mark.parametrize(("name", "example", "version"), VERSIONS)
def test_versions(name: str, example: Case, version: int) -> None:
    model, _ = example.build(REGISTRY[name])
    node = model.main.nodes[0]
    assert isinstance(node.op, Operator)
    assert node.op.version(node.inputs, node.outputs) == version


def built(name: str, example: Case) -> tuple[Operator, tuple[Value | None, ...]]:
    model, _ = example.build(REGISTRY[name])
    node = model.main.nodes[0]
    assert isinstance(node.op, Operator)
    return node.op, node.inputs


def test_kernel_requests_hold_what_is_fixed() -> None:
    op, inputs = built(
        CONV,
        case(
            f32(1, 8, 8, 4),
            int8_weights(6, 3, 2, 2),
            weights(6),
            stride_w=2,
            dilation_h_factor=3,
            activation=Activation.RELU,
        ),
    )
    assert op.kernel(inputs) == spec.Conv2D(
        (3, 2), 4, 6, (1, 2), (3, 1), 2, Activation.RELU, hybrid=True
    )
    op, inputs = built(DEPTHWISE, case(f32(1, 8, 8, 2), weights(1, 5, 5, 6), depth_multiplier=3))
    assert op.kernel(inputs) == spec.DepthwiseConv2D((5, 5), 2, 3)


@pytest.mark.parametrize(
    ("name", "filters", "axis"), [(CONV, (4, 3, 3, 2), 3), (DEPTHWISE, (1, 3, 3, 2), 1)]
)
def test_weights_quantized_along_another_axis_are_dequantized(
    name: str, filters: tuple[int, ...], axis: int
) -> None:
    x = f32(1, 8, 8, 2)
    op, inputs = built(name, case(x, int8_weights(*filters, axis=axis)))
    w = inputs[1]
    assert w is not None
    assert w.data is not None
    assert w.quant is not None
    assert not op.is_hybrid(inputs)
    assert op.kernel(inputs) is None
    array = x.array(np.random.default_rng(0))
    real = w.data * np.moveaxis(w.quant.scale.reshape(-1, 1, 1, 1), 0, axis)
    (found,) = op.run([array, w.data], inputs, [value("out")])
    np.testing.assert_array_equal(found, op.reference(array, real.astype(np.float32)))


def test_weights_with_a_zero_point_are_dequantized() -> None:
    w = Value.constant("w", np.ones((4, 8), np.int8), quant=Quant.of(0.5, 3))
    op, x = REGISTRY[FC](), value("x", 2, 8)
    assert not op.is_hybrid([x, w])
    (found,) = op.run([np.ones((2, 8), np.float32), w.data], [x, w], [value("out")])
    np.testing.assert_array_equal(found, np.full((2, 4), -8, np.float32))
