"""Scales, shifts, padding and views around convolutions and matrix products."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from octolite.ir import Graph, Padding, Value
from octolite.ir.types import Activation
from octolite.passes import affine
from octolite.passes.engine import Explanation, Rewriter, Rule
from tests.passes.building import Builder, attempt, gaussian, operators, reasons

Build = Callable[[Builder], Value]


def conv(b: Builder, x: Value, bias: bool = True, **attributes: object) -> Value:
    channels = (x.shape or ())[3]
    assert channels is not None
    return b.op(
        "CONV_2D", x, gaussian(6, 3, 3, channels), gaussian(6) if bias else None, **attributes
    )


def depthwise(b: Builder, x: Value, multiplier: int = 1) -> Value:
    weights = gaussian(1, 3, 3, 4 * multiplier)
    return b.op("DEPTHWISE_CONV_2D", x, weights, None, depth_multiplier=multiplier)


def dense(b: Builder, x: Value, **attributes: object) -> Value:
    return b.op("FULLY_CONNECTED", x, gaussian(6, (x.shape or ())[-1] or 0), None, **attributes)


def upconv(b: Builder, x: Value) -> Value:
    attributes = {"stride_h": 2, "stride_w": 2}
    return b.op("TRANSPOSE_CONV", [2, 16, 16, 6], gaussian(6, 3, 3, 4), x, None, **attributes)


def image(b: Builder) -> Value:
    return b.input(2, 8, 8, 4)


def padded(b: Builder, rows: tuple[int, int], columns: tuple[int, int]) -> Value:
    return b.op("PAD", image(b), [(0, 0), rows, columns, (0, 0)])


FIRES: dict[str, tuple[Rule, Build, str]] = {
    "scale of conv": (
        affine.ScaleIntoWeights(),
        lambda b: b.op("MUL", conv(b, image(b)), gaussian(6)),
        "CONV_2D",
    ),
    "scale of conv without bias": (
        affine.ScaleIntoWeights(),
        lambda b: b.op("MUL", gaussian(1, 1, 1, 6), conv(b, image(b), bias=False)),
        "CONV_2D",
    ),
    "one scale": (
        affine.ScaleIntoWeights(),
        lambda b: b.op("MUL", conv(b, image(b)), 0.5, activation=Activation.RELU),
        "CONV_2D",
    ),
    "scale of depthwise": (
        affine.ScaleIntoWeights(),
        lambda b: b.op("MUL", depthwise(b, image(b), 2), gaussian(8)),
        "DEPTHWISE_CONV_2D",
    ),
    "scale of dense": (
        affine.ScaleIntoWeights(),
        lambda b: b.op("MUL", dense(b, b.input(None, 5)), gaussian(6)),
        "FULLY_CONNECTED",
    ),
    "scale of transposed conv": (
        affine.ScaleIntoWeights(),
        lambda b: b.op("MUL", upconv(b, image(b)), gaussian(6)),
        "TRANSPOSE_CONV",
    ),
    "shift of conv": (
        affine.ShiftIntoBias(),
        lambda b: b.op("ADD", conv(b, image(b)), gaussian(6), activation=Activation.RELU6),
        "CONV_2D",
    ),
    "shift of conv without bias": (
        affine.ShiftIntoBias(),
        lambda b: b.op("ADD", conv(b, image(b), bias=False), gaussian(6)),
        "CONV_2D",
    ),
    "shift of transposed conv": (
        affine.ShiftIntoBias(),
        lambda b: b.op("ADD", upconv(b, image(b)), gaussian(6)),
        "TRANSPOSE_CONV",
    ),
    "scale before conv": (
        affine.ScaleBeforeProduct(),
        lambda b: conv(b, b.op("MUL", image(b), gaussian(4))),
        "CONV_2D",
    ),
    "scale before depthwise": (
        affine.ScaleBeforeProduct(),
        lambda b: depthwise(b, b.op("MUL", image(b), gaussian(4))),
        "DEPTHWISE_CONV_2D",
    ),
    "scale before dense": (
        affine.ScaleBeforeProduct(),
        lambda b: dense(b, b.op("MUL", b.input(None, 5), gaussian(5))),
        "FULLY_CONNECTED",
    ),
    "shift before valid conv": (
        affine.ShiftBeforeProduct(),
        lambda b: conv(b, b.op("ADD", image(b), gaussian(4)), padding=Padding.VALID),
        "CONV_2D",
    ),
    "shift before dense": (
        affine.ShiftBeforeProduct(),
        lambda b: dense(b, b.op("ADD", b.input(None, 5), gaussian(5))),
        "FULLY_CONNECTED",
    ),
    "pad of stride 1": (
        affine.PadIntoWindows(),
        lambda b: conv(b, padded(b, (1, 1), (1, 1)), padding=Padding.VALID),
        "CONV_2D",
    ),
    "pad of stride 2, even image": (
        affine.PadIntoWindows(),
        lambda b: conv(b, padded(b, (0, 1), (0, 1)), padding=Padding.VALID, stride_h=2, stride_w=2),
        "CONV_2D",
    ),
    "pad of dilated": (
        affine.PadIntoWindows(),
        lambda b: conv(
            b,
            padded(b, (2, 2), (3, 3)),
            padding=Padding.VALID,
            dilation_h_factor=2,
            dilation_w_factor=3,
        ),
        "CONV_2D",
    ),
    "bias behind a view": (
        affine.PastView(),
        lambda b: b.op(
            "ADD",
            b.op("RESHAPE", conv(b, image(b)), [-1, 64, 6], new_shape=(-1, 64, 6)),
            gaussian(6),
        ),
        "CONV_2D ADD RESHAPE",
    ),
    "bias of split channels behind a view": (
        affine.PastView(),
        lambda b: b.op(
            "ADD",
            b.op("RESHAPE", dense(b, b.input(None, 5)), [-1, 2, 3], new_shape=(-1, 2, 3)),
            gaussian(2, 3),
        ),
        "FULLY_CONNECTED ADD RESHAPE",
    ),
    "activation behind a view": (
        affine.PastView(),
        lambda b: b.op("RELU", b.op("RESHAPE", dense(b, b.input(None, 5)), [-1, 2, 3])),
        "FULLY_CONNECTED RELU RESHAPE",
    ),
    "product of rows": (
        affine.ProductOfRows(),
        lambda b: b.op(
            "RESHAPE", dense(b, b.op("RESHAPE", b.input(None, 7, 5), [-1, 5])), [-1, 7, 6]
        ),
        "FULLY_CONNECTED",
    ),
    "matrix product by a constant": (
        affine.MatMulByConstant(),
        lambda b: b.op("BATCH_MATMUL", b.input(2, 3, 5), gaussian(5, 6)),
        "FULLY_CONNECTED",
    ),
    "transposed matrix product by a constant": (
        affine.MatMulByConstant(),
        lambda b: b.op("BATCH_MATMUL", b.input(2, 5, 3), gaussian(6, 5), adj_x=True, adj_y=True),
        "TRANSPOSE FULLY_CONNECTED",
    ),
    "matrix product of a transposed matrix": (
        affine.TransposeIntoMatMul("x"),
        lambda b: b.op(
            "BATCH_MATMUL",
            b.op("TRANSPOSE", b.input(2, 5, 3), [0, 2, 1]),
            b.input(2, 5, 4, name="y"),
        ),
        "BATCH_MATMUL",
    ),
    "matrix product by a transposed matrix": (
        affine.TransposeIntoMatMul("y"),
        lambda b: b.op(
            "BATCH_MATMUL",
            b.input(2, 3, 5),
            b.op("TRANSPOSE", b.input(2, 5, 4, name="y"), [0, 2, 1]),
            adj_y=True,
        ),
        "BATCH_MATMUL",
    ),
    "flattened channels-first": (
        affine.FlattenedTranspose(),
        lambda b: dense(
            b, b.op("RESHAPE", b.op("TRANSPOSE", b.input(None, 2, 3, 4), [0, 3, 1, 2]), [-1, 24])
        ),
        "RESHAPE FULLY_CONNECTED",
    ),
    "zeros for a bias": (
        affine.ZeroBias(),
        lambda b: conv(b, image(b), bias=False),
        "CONV_2D",
    ),
}

DECLINES: dict[str, tuple[Rule, Build, str]] = {
    "activation in between": (
        affine.ScaleIntoWeights(),
        lambda b: b.op("MUL", conv(b, image(b), activation=Activation.RELU), gaussian(6)),
        "has an activation before it",
    ),
    "a number for each pixel": (
        affine.ShiftIntoBias(),
        lambda b: b.op("ADD", conv(b, image(b)), gaussian(8, 1)),
        "not one number for each of 6 channels",
    ),
    "more axes": (
        affine.ShiftIntoBias(),
        lambda b: b.op("ADD", dense(b, b.input(2, 5)), gaussian(1, 1, 6)),
        "more axes",
    ),
    "weights that are computed": (
        affine.ScaleIntoWeights(),
        lambda b: b.op(
            "MUL",
            b.op("FULLY_CONNECTED", b.input(2, 5), b.input(6, 5, name="w"), None),
            gaussian(6),
        ),
        "'w' of FULLY_CONNECTED .* is not constant",
    ),
    "shift before a padded border": (
        affine.ShiftBeforeProduct(),
        lambda b: conv(b, b.op("ADD", image(b), gaussian(4))),
        "border is padded with zeros",
    ),
    "scale that has an activation before": (
        affine.ScaleBeforeProduct(),
        lambda b: conv(b, b.op("MUL", image(b), gaussian(4), activation=Activation.RELU)),
        "has an activation",
    ),
    "scale before a product, for each pixel": (
        affine.ScaleBeforeProduct(),
        lambda b: conv(b, b.op("MUL", image(b), gaussian(8, 1))),
        "not one number for each of 4 channels",
    ),
    "pad of stride 2 as PyTorch has it": (
        affine.PadIntoWindows(),
        lambda b: conv(b, padded(b, (1, 1), (1, 1)), padding=Padding.VALID, stride_h=2, stride_w=2),
        r"it pads rows by \(1, 1\), SAME by \(0, 1\)",
    ),
    "pad of channels": (
        affine.PadIntoWindows(),
        lambda b: b.op(
            "CONV_2D",
            b.op("PAD", image(b), [(0, 0), (1, 1), (1, 1), (0, 1)]),
            gaussian(6, 3, 3, 5),
            None,
            padding=Padding.VALID,
        ),
        "pads batch or channels",
    ),
    "pad before SAME": (
        affine.PadIntoWindows(),
        lambda b: conv(b, padded(b, (1, 1), (1, 1))),
        "pads by itself",
    ),
    "view that moves channels": (
        affine.PastView(),
        lambda b: b.op("ADD", b.op("RESHAPE", conv(b, image(b)), [2, 6, 64]), gaussian(6, 1)),
        "moves the channels",
    ),
    "batched matrix product": (
        affine.MatMulByConstant(),
        lambda b: b.op("BATCH_MATMUL", b.input(2, 3, 5), gaussian(2, 5, 6)),
        "is not one matrix",
    ),
    "matrices in another order": (
        affine.TransposeIntoMatMul("y"),
        lambda b: b.op(
            "BATCH_MATMUL",
            b.input(2, 3, 5),
            b.op("TRANSPOSE", b.input(5, 2, 4, name="y"), [1, 0, 2]),
        ),
        "not the last two alone",
    ),
    "flattened, batch moved": (
        affine.FlattenedTranspose(),
        lambda b: dense(
            b, b.op("RESHAPE", b.op("TRANSPOSE", b.input(2, 3, 4), [1, 0, 2]), [-1, 8])
        ),
        "batch moves",
    ),
}


def build(expression: Build) -> Graph:
    b = Builder()
    return b.returns(expression(b))


@pytest.mark.parametrize("name", FIRES)
def test_fires(name: str) -> None:
    rule, expression, expected = FIRES[name]
    graph = build(expression)
    events = attempt(graph, rule)
    assert any(e.fired for e in events)
    assert operators(graph) == expected


@pytest.mark.parametrize("name", DECLINES)
def test_declines_with_a_reason(name: str) -> None:
    rule, expression, reason = DECLINES[name]
    graph = build(expression)
    before = operators(graph)
    assert re.search(reason, reasons(attempt(graph, rule)))
    assert operators(graph) == before


def test_stride_2_of_unknown_size_is_left_alone() -> None:
    b = Builder()
    padded = b.op("PAD", b.input(None, None, None, 4), [(0, 0), (0, 1), (0, 1), (0, 0)])
    y = conv(b, padded, padding=Padding.VALID, stride_h=2, stride_w=2)
    explanation = Explanation()
    Rewriter(b.returns(y), [affine.PadIntoWindows()], explanation).run()
    assert "with stride 2, SAME depends on the rows" in reasons(explanation.events)


def test_shared_weights_are_copied_not_changed() -> None:
    b = Builder()
    x, weights = b.input(2, 5), b.constant(gaussian(6, 5))
    plain = b.op("FULLY_CONNECTED", x, weights, None, name="plain")
    scaled = b.op("MUL", b.op("FULLY_CONNECTED", x, weights, None), gaussian(6), name="scaled")
    graph = b.returns(plain, scaled)
    attempt(graph, affine.ScaleIntoWeights())
    assert operators(graph) == "FULLY_CONNECTED FULLY_CONNECTED"
    np.testing.assert_array_equal(plain.producer.inputs[1].data, gaussian(6, 5))  # type: ignore[union-attr]


def test_a_result_that_others_read_is_left_alone() -> None:
    b = Builder()
    y = conv(b, image(b))
    graph = b.returns(b.op("MUL", y, gaussian(6)), b.op("RELU", y))
    assert "is also read by RELU" in reasons(attempt(graph, affine.ScaleIntoWeights()))
    b = Builder()
    y = conv(b, image(b))
    graph = b.returns(b.op("MUL", y, gaussian(6)), y)
    assert "is a result of the graph" in reasons(attempt(graph, affine.ScaleIntoWeights()))


def test_ranges_survive() -> None:
    b = Builder()
    y = b.op("ADD", conv(b, image(b)), gaussian(6))
    y.range = (-1.0, 1.0)
    graph = b.returns(b.op("TANH", y))
    attempt(graph, affine.ShiftIntoBias())
    assert graph.nodes[0].output.range == (-1.0, 1.0)
