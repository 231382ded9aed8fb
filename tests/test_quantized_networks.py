"""Whole networks of codes: every bit of their results is that of LiteRT's reference kernels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT
from ai_edge_litert.interpreter import OpResolverType

import octolite
from octolite.ir.graph import Graph, Model, Signature, Value
from octolite.ir.types import INT32, UINT8, Activation, Padding, Quant
from octolite.ops import operator_class
from octolite.tflite import read, write

FILES = sorted((Path(__file__).parent / "data" / "quantized").glob("*.tflite"))


def results(make: Callable[..., Any], content: bytes, **options: Any) -> list[np.ndarray]:
    """The outputs for three random inputs, one behind the other."""
    rng = np.random.default_rng(5)
    interpreter = make(model_content=content, **options)
    interpreter.allocate_tensors()
    found = []
    for _ in range(3):
        for detail in interpreter.get_input_details():
            limits = np.iinfo(detail["dtype"])
            codes = rng.integers(limits.min, limits.max + 1, detail["shape"])
            interpreter.set_tensor(detail["index"], codes.astype(detail["dtype"]))
        interpreter.invoke()
        details = interpreter.get_output_details()
        found += [np.array(interpreter.get_tensor(d["index"])) for d in details]
    return found


def assert_same_bits(content: bytes) -> None:
    expected = results(LiteRT, content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    assert len(np.unique(np.concatenate([e.ravel() for e in expected]))) >= 8
    for mine, theirs in zip(results(octolite.Interpreter, content), expected, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("path", FILES, ids=[p.name for p in FILES])
def test_networks_of_tensorflows_converter(path: Path) -> None:
    assert_same_bits(path.read_bytes())


def test_the_networks_are_there() -> None:
    kinds = {p.suffixes[0] for p in FILES}
    assert kinds == {".int8", ".int16"}
    operators = {n.op.name for p in FILES for n in read(p.read_bytes()).main.nodes}
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "HARD_SWISH", "BATCH_MATMUL", "PRELU"} <= operators
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in operators


class Asymmetric:
    """A network in uint8, with zero points everywhere, as training left them in 2018."""

    def __init__(self) -> None:
        self.graph = Graph("main")
        self.rng = np.random.default_rng(11)

    def quant(self, scale: float) -> Quant:
        return Quant.of(scale * self.rng.uniform(0.7, 1.4), int(self.rng.integers(90, 166)))

    def source(self, *shape: int) -> Value:
        value = self.graph.add_input("image", UINT8, shape)
        value.quant = Quant.of(1 / 128, 128)
        return value

    def __call__(self, name: str, *inputs: Value, scale: float | None = None, **kw: Any) -> Value:
        node = self.graph.add(
            operator_class(name)(**kw), list(inputs), f"{name}{len(self.graph.nodes)}"
        )
        out = node.output
        out.dtype, out.quant = UINT8, inputs[0].quant if scale is None else self.quant(scale)
        return out

    def layer(self, name: str, x: Value, scale: float, *shape: int, **kw: Any) -> Value:
        weights, rng = self.quant(0.003), self.rng
        w = Value.constant(
            f"w{len(self.graph.nodes)}", rng.integers(0, 256, shape).astype(np.uint8)
        )
        w.quant = weights
        assert x.quant is not None
        channels = shape[3] if name == "DEPTHWISE_CONV_2D" else shape[0]
        b = Value.constant(
            f"b{len(self.graph.nodes)}",
            rng.integers(-2000, 2000, channels).astype(np.int32),
            INT32,
            Quant.of(x.quant.scale * weights.scale),
        )
        return self(name, x, w, b, scale=scale, **kw)

    def model(self, out: Value) -> bytes:
        self.graph.outputs = [out]
        signature = Signature(
            "serving_default", {"image": self.graph.inputs[0]}, {"out": out}, self.graph
        )
        return write(Model([self.graph], [signature]))


def test_a_network_in_uint8() -> None:
    n = Asymmetric()
    relu6 = {"activation": Activation.RELU6}
    x = n.layer(
        "CONV_2D", n.source(1, 24, 24, 3), 0.04, 16, 3, 3, 3, stride_h=2, stride_w=2, **relu6
    )
    y = n.layer("DEPTHWISE_CONV_2D", x, 0.04, 1, 3, 3, 16, **relu6)
    y = n.layer("CONV_2D", y, 0.05, 16, 1, 1, 16)
    x = n("ADD", x, y, scale=0.06)
    parts = [
        n.layer("CONV_2D", x, 0.06, 8, 1, 1, 16, activation=Activation.RELU),
        n.layer("CONV_2D", x, 0.09, 12, 3, 3, 16, dilation_h_factor=2, dilation_w_factor=2),
        n("MAX_POOL_2D", x, filter_height=3, filter_width=3),
    ]
    x = n("CONCATENATION", *parts, scale=0.08, axis=3)
    x = n("MUL", x, n("LOGISTIC", x), scale=0.05)
    gate = n.graph.nodes[-2].output
    gate.quant = Quant.of(1 / 256, 0)
    x = n(
        "AVERAGE_POOL_2D",
        x,
        filter_height=5,
        filter_width=5,
        stride_h=4,
        stride_w=4,
        padding=Padding.VALID,
    )
    x = n.layer("FULLY_CONNECTED", x, 0.02, 40, 36 * 4)
    x = n("SOFTMAX", x, scale=1.0)
    x.quant = Quant.of(1 / 256, 0)
    assert_same_bits(n.model(x))
