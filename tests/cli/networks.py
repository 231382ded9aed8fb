"""The models of the documentation of 2018 under the names that it gives them, but small."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.frontends.build import Type, const, graph, node, placeholder

FLOAT = Type("DT_FLOAT")


def gaussian(*shape: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(2018).standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))


def windows(name: str, op: str, *inputs: str, size: int = 0, stride: int = 1) -> Any:
    made = node(name, op, *inputs, T=FLOAT, padding="SAME", strides=[1, stride, stride, 1])
    if size:
        made.attr["ksize"].list.i.extend([1, size, size, 1])
    return made


def fake_quant(name: str, x: str, low: float, high: float) -> Any:
    return node(name, "FakeQuantWithMinMaxArgs", x, min=float(low), max=float(high), num_bits=8)


def mobilenet(trained_in_codes: bool = False, between: bool = False) -> bytes:
    """From ``input`` to ``MobilenetV1/Predictions/Reshape_1``.

    ``trained_in_codes``: with FakeQuant where training puts them. ``between``: with one between
    the convolution and its bias, in place of the one behind the activation.
    """
    quantized = trained_in_codes or between
    weights, hidden = ("w/quant", "relu/quant") if quantized else ("w", "relu")
    nodes = [
        placeholder("input", -1, 128, 128, 3),
        const("w", gaussian(3, 3, 3, 8)),
        windows("conv", "Conv2D", "input", weights, stride=16),
        const("b", gaussian(8)),
        node("bias", "BiasAdd", "conv/quant" if between else "conv", "b", T=FLOAT),
        node("relu", "Relu6", "bias", T=FLOAT),
        const("axes", [1, 2], "int32"),
        node("mean", "Mean", "relu" if between else hidden, "axes", T=FLOAT),
        const("dense", gaussian(8, 5)),
        node("logits", "MatMul", "mean", "dense", T=FLOAT),
    ]
    last = "logits"
    if quantized:
        nodes += [fake_quant("w/quant", "w", -0.7, 0.7), fake_quant("out/quant", "logits", -8, 8)]
        last = "out/quant"
    if trained_in_codes:
        nodes.append(fake_quant("relu/quant", "relu", 0, 6))
    if between:
        nodes.append(fake_quant("conv/quant", "conv", -5, 5))
    return graph(
        *nodes,
        node("softmax", "Softmax", last, T=FLOAT),
        const("shape", [-1, 5], "int32"),
        node("MobilenetV1/Predictions/Reshape_1", "Reshape", "softmax", "shape", T=FLOAT),
    )


MIXED = "InceptionV1/InceptionV1/Mixed_3b"
BRANCHES = {
    f"{MIXED}/Branch_1/Conv2d_0a_1x1/Relu": 96,
    f"{MIXED}/Branch_2/Conv2d_0a_1x1/Relu": 16,
    f"{MIXED}/Branch_3/MaxPool_0a_3x3/MaxPool": 192,
    f"{MIXED}/Branch_0/Conv2d_0a_1x1/Relu": 64,
}
"""What the documentation cuts a graph at → its channels."""


def inception() -> bytes:
    """A block of four branches behind a convolution of 192 channels."""
    nodes = [
        placeholder("input", -1, 28, 28, 3),
        const("w", gaussian(1, 1, 3, 192)),
        windows("stem", "Conv2D", "input", "w"),
    ]
    for name, channels in BRANCHES.items():
        if name.endswith("MaxPool"):
            nodes.append(windows(name, "MaxPool", "stem", size=3))
            continue
        scope = name.removesuffix("/Relu")
        nodes += [
            const(f"{scope}/weights", gaussian(1, 1, 192, channels)),
            windows(f"{scope}/Conv2D", "Conv2D", "stem", f"{scope}/weights"),
            node(name, "Relu", f"{scope}/Conv2D", T=FLOAT),
        ]
    return graph(
        *nodes,
        const("axis", 3, "int32"),
        node(f"{MIXED}/concat", "ConcatV2", *BRANCHES, "axis", T=FLOAT, N=len(BRANCHES)),
        const("axes", [1, 2], "int32"),
        node("InceptionV1/Logits/Mean", "Mean", f"{MIXED}/concat", "axes", T=FLOAT),
        const("shape", [-1, sum(BRANCHES.values())], "int32"),
        node(
            "InceptionV1/Logits/Predictions/Reshape_1", "Reshape", "InceptionV1/Logits/Mean",
            "shape", T=FLOAT,
        ),
    )  # fmt: skip
