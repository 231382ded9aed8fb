"""Networks put together at random: all passes together change nothing but the operators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from octolite import passes
from octolite.ir import Model, Padding, Value, verify
from octolite.ir.types import Activation
from tests.passes.building import Builder, feeds, gaussian
from tests.passes.interpret import run

Step = Callable[[Builder, Value, int], Value]
"""Given the builder, an image [2, 4, h, w] or [2, h, w, 4], and the axis of its channels."""

FIRST, LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def per_channel(axis: int, seed: int = 0) -> np.ndarray:
    return gaussian(4, seed=seed).reshape((4, 1, 1) if axis == 1 else (4,))


def channels_last(b: Builder, x: Value, axis: int, step: Callable[[Value], Value]) -> Value:
    if axis == 3:
        return step(x)
    return b.op("TRANSPOSE", step(b.op("TRANSPOSE", x, LAST)), FIRST)


def conv(padding: Padding, stride: int, operator: str = "CONV_2D") -> Step:
    shape = (4, 3, 3, 4) if operator == "CONV_2D" else (1, 3, 3, 4)
    attributes = {"padding": padding, "stride_h": stride, "stride_w": stride}

    def step(b: Builder, x: Value, axis: int) -> Value:
        weights = gaussian(*shape, seed=len(b.graph.nodes)) / 3
        return channels_last(b, x, axis, lambda v: b.op(operator, v, weights, None, **attributes))

    return step


def pad(b: Builder, x: Value, axis: int) -> Value:
    pairs = [(0, 0), (1, 1), (1, 1), (0, 0)]
    return b.op("PAD", x, pairs if axis == 3 else [pairs[i] for i in FIRST])


def blocks(b: Builder, x: Value, axis: int) -> Value:
    def dilated(v: Value) -> Value:
        _, h, w, _ = (d or 0 for d in v.shape or ())
        extra = [(0, h % 2), (0, w % 2)]
        pads = [(2, 2 + e) for _, e in extra]
        y = b.op("SPACE_TO_BATCH_ND", v, [2, 2], pads)
        y = b.op("CONV_2D", y, gaussian(4, 3, 3, 4) / 3, None, padding=Padding.VALID)
        return b.op("BATCH_TO_SPACE_ND", y, [2, 2], extra)

    return channels_last(b, x, axis, dilated)


def pool(b: Builder, x: Value, axis: int) -> Value:
    window = {"filter_height": 2, "filter_width": 2, "stride_h": 1, "stride_w": 1}
    return channels_last(b, x, axis, lambda v: b.op("MAX_POOL_2D", v, **window))


def split_and_join(b: Builder, x: Value, axis: int) -> Value:
    low, high = b.ops("SPLIT", axis, x, num_splits=2)
    return b.op("CONCATENATION", high, b.op("RELU", low), axis=axis)


def gate(b: Builder, x: Value, axis: int) -> Value:
    spatial = [1, 2] if axis == 3 else [2, 3]
    mean = b.op("MEAN", x, spatial, keep_dims=True)
    return b.op("MUL", x, b.op("LOGISTIC", mean))


STEPS: dict[str, Step] = {
    "conv": conv(Padding.SAME, 1),
    "conv without padding": conv(Padding.VALID, 1),
    "strided conv": conv(Padding.SAME, 2),
    "depthwise": conv(Padding.SAME, 1, "DEPTHWISE_CONV_2D"),
    "padded conv": lambda b, x, axis: conv(Padding.VALID, 1)(b, pad(b, x, axis), axis),
    "padded strided conv": lambda b, x, axis: conv(Padding.VALID, 2)(b, pad(b, x, axis), axis),
    "dilated": blocks,
    "pool": pool,
    "scale": lambda b, x, axis: b.op("MUL", x, per_channel(axis)),
    "shift": lambda b, x, axis: b.op("ADD", per_channel(axis, 1), x),
    "number off": lambda b, x, axis: b.op("SUB", x, 0.25),
    "halved": lambda b, x, axis: b.op("DIV", x, 2.0, activation=Activation.RELU6),
    "relu": lambda b, x, axis: b.op("RELU", x),
    "relu6": lambda b, x, axis: b.op("MINIMUM", b.op("MAXIMUM", x, 0.0), 6.0),
    "leaky": lambda b, x, axis: b.op("MAXIMUM", x, b.op("MUL", x, 0.1)),
    "hard swish": lambda b, x, axis: b.op(
        "MUL", x, b.op("MUL", b.op("RELU6", b.op("ADD", x, 3.0)), 1 / 6)
    ),
    "neutral": lambda b, x, axis: b.op("MUL", b.op("ADD", x, 0.0), 1.0),
    "itself added": lambda b, x, axis: b.op("ADD", x, b.op("TANH", x)),
    "split": split_and_join,
    "gate": gate,
}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=9),
    st.sampled_from([1, 3]),
    st.booleans(),
    st.sets(st.integers(0, 8), max_size=2),
)
def test_results_stay(names: list[str], axis: int, open_batch: bool, results: set[int]) -> None:
    b = Builder()
    shape = (10, 9, 4) if axis == 3 else (4, 10, 9)
    x = b.input(None if open_batch else 2, *shape)
    outputs = []
    for i, name in enumerate(names):
        x = STEPS[name](b, x, axis)
        if i in results and x.producer is not None:
            outputs.append(x)
    graph = b.returns(*dict.fromkeys([*outputs, x]))
    arrays = feeds(graph)
    before = run(graph, arrays)
    expected = {v.name: before[id(v)] for v in graph.outputs}

    passes.optimize(Model([graph]), on_pass=lambda *_: verify(graph))
    after = run(graph, arrays)
    assert [v.name for v in graph.outputs] == list(expected)
    for value in graph.outputs:
        want, found = expected[value.name], after[id(value)]
        assert found.shape == want.shape
        largest = np.abs(want).max(initial=1e-3)
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4 * largest)
    if axis == 1 and not outputs:
        # Two at most are left: where the image comes in, and where it goes out.
        assert graph.operators()["TRANSPOSE"] <= 2


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=9))
def test_both_layouts_come_down_to_the_same_operators(names: list[str]) -> None:
    counts = []
    for axis in (1, 3):
        b = Builder()
        x = b.input(2, *((10, 9, 4) if axis == 3 else (4, 10, 9)))
        for name in ["conv", *names, "conv"]:
            x = STEPS[name](b, x, axis)
        graph = b.returns(x)
        passes.optimize(Model([graph]))
        # A transposition at the end is a RESHAPE where the image has shrunk to one pixel.
        moves = ("TRANSPOSE", "RESHAPE")
        counts.append({k: n for k, n in graph.operators().items() if k not in moves})
    assert counts[0] == counts[1]
