"""Small networks with something to find in them."""

from __future__ import annotations

from typing import Any

import numpy as np

from octolite.ir.graph import Graph, Model, Signature, Value
from octolite.ir.types import FLOAT32, Activation, Array, Padding
from octolite.ops import operator_class
from octolite.tflite import write

BROKEN = "features/depthwise"
"""The layer that one scale for all of its channels spoils."""


class Network:
    """Builds a graph, with weights drawn from one generator."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = Graph("main")

    def weight(self, name: str, *shape: int, spread: float = 0.3) -> Value:
        return Value.constant(name, self.rng.normal(0, spread, shape).astype(np.float32))

    def add(self, operator: str, inputs: list[Value | None], name: str, **attributes: Any) -> Value:
        return self.graph.add(operator_class(operator)(**attributes), inputs, name).output

    def conv(self, x: Value, channels: int, size: int, name: str, **attributes: Any) -> Value:
        assert x.shape is not None
        depth = x.shape[-1] or 1
        bias = Value.constant(f"{name}/bias", self.rng.normal(0, 0.1, channels).astype(np.float32))
        w = self.weight(f"{name}/w", channels, size, size, depth, spread=1 / (size * depth**0.5))
        given = {"padding": Padding.SAME, "activation": Activation.RELU} | attributes
        return self.add("CONV_2D", [x, w, bias], name, **given)

    def dense(self, x: Value, depth: int, units: int, name: str, **attributes: Any) -> Value:
        bias = Value.constant(f"{name}/bias", self.rng.normal(0, 0.1, units).astype(np.float32))
        w = self.weight(f"{name}/w", units, depth, spread=depth**-0.5)
        return self.add("FULLY_CONNECTED", [x, w, bias], name, **attributes)

    def content(self, *outputs: Value) -> bytes:
        self.graph.outputs = list(outputs)
        inputs = {v.name: v for v in self.graph.inputs}
        signature = Signature("serving_default", inputs, {v.name: v for v in outputs}, self.graph)
        return write(Model([self.graph], [signature]))


def classifier(huge: float = 1.0, seed: int = 0) -> bytes:
    """Convolutions, a depthwise one and a dense layer, in float; 10 classes.

    ``huge``: how many times as great one channel's depthwise weights are as all others. What it
    is multiplied by is as much smaller, as it is where a batch normalization was folded.
    """
    net = Network(seed)
    x = net.graph.add_input("image", FLOAT32, (1, 12, 12, 3))
    y = net.conv(x, 32, 3, "features/first")
    first = net.graph.nodes[-1]
    for index in (1, 2):
        value = first.inputs[index]
        assert value is not None
        assert value.data is not None
        value.data[5] /= huge
    w = net.weight(f"{BROKEN}/w", 1, 6, 6, 32, spread=0.2)
    assert w.data is not None
    w.data[..., 5] *= huge
    bias = Value.constant(f"{BROKEN}/bias", np.zeros(32, np.float32))
    y = net.add(
        "DEPTHWISE_CONV_2D", [y, w, bias], BROKEN, padding=Padding.SAME, activation=Activation.RELU
    )
    y = net.conv(y, 48, 1, "features/project")
    y = net.conv(y, 48, 3, "features/second", stride_h=2, stride_w=2)
    axes = Value.constant("axes", np.array([1, 2], np.int32))
    y = net.add("MEAN", [y, axes], "pool")
    y = net.dense(y, 48, 64, "hidden", activation=Activation.RELU)
    return net.content(net.dense(y, 64, 10, "scores"))


def images(count: int = 12, seed: int = 3) -> Array:
    return np.random.default_rng(seed).normal(0, 1, (count, 12, 12, 3)).astype(np.float32)
