"""Quantized models in LiteRT: every way in which a constant is read loads, runs and agrees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from octolite import tflite
from octolite.ir import Graph, Model, Signature, Value, verify
from octolite.ir.types import FLOAT32, INT32, Array
from octolite.ops import operator_class
from octolite.quantize import RECIPES, quantize

ai_edge_litert = pytest.importorskip("ai_edge_litert.interpreter")


def gaussian(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def add(graph: Graph, operator: str, *inputs: Any, **attributes: Any) -> Value:
    values = [
        v if v is None or isinstance(v, Value) else Value.constant(f"{operator}/{i}", np.asarray(v))
        for i, v in enumerate(inputs)
    ]
    op = operator_class(operator)(**attributes)
    return graph.add(op, values, f"{operator}{len(graph.nodes)}").output


def image(graph: Graph, channels: int) -> Value:
    return graph.add_input("x", FLOAT32, (2, 9, 9, channels))


def gather(graph: Graph) -> Value:
    ids = graph.add_input("x", INT32, (2, 5))
    return add(graph, "GATHER", gaussian(300, 20), ids)


def tied(graph: Graph) -> Value:
    """One table for the embedding and for the product that reads it as weights."""
    ids = graph.add_input("x", INT32, (7,))
    table = Value.constant("table", gaussian(300, 20))
    return add(graph, "FULLY_CONNECTED", add(graph, "GATHER", table, ids), table, None)


CASES: dict[str, Callable[[Graph], Value]] = {
    "FULLY_CONNECTED": lambda g: add(
        g, "FULLY_CONNECTED", g.add_input("x", FLOAT32, (3, 96)), gaussian(16, 96), gaussian(16)
    ),
    "CONV_2D": lambda g: add(g, "CONV_2D", image(g, 16), gaussian(8, 3, 3, 16), gaussian(8)),
    "CONV_2D in groups": lambda g: add(
        g, "CONV_2D", image(g, 32), gaussian(16, 3, 3, 16), gaussian(16)
    ),
    "DEPTHWISE_CONV_2D": lambda g: add(
        g, "DEPTHWISE_CONV_2D", image(g, 128), gaussian(1, 3, 3, 128), gaussian(128)
    ),
    "TRANSPOSE_CONV": lambda g: add(
        g,
        "TRANSPOSE_CONV",
        np.array([2, 18, 18, 8], np.int32),
        gaussian(8, 3, 3, 16),
        image(g, 16),
        None,
        stride_h=2,
        stride_w=2,
    ),
    "BATCH_MATMUL": lambda g: add(
        g, "BATCH_MATMUL", g.add_input("x", FLOAT32, (2, 5, 40)), gaussian(2, 40, 32)
    ),
    "GATHER": gather,
    "GATHER and FULLY_CONNECTED": tied,
    "ADD": lambda g: add(g, "ADD", g.add_input("x", FLOAT32, (3, 40, 50)), gaussian(40, 50)),
    "CONCATENATION": lambda g: add(
        g, "CONCATENATION", g.add_input("x", FLOAT32, (3, 50)), gaussian(40, 50), axis=0
    ),
    "SLICE": lambda g: add(
        g,
        "SLICE",
        gaussian(40, 50),
        g.add_input("x", INT32, (2,)),
        np.array([5, 7], np.int32),
    ),
}


def build(name: str) -> Model:
    graph = Graph("main")
    graph.outputs = [CASES[name](graph)]
    inputs = {v.name: v for v in graph.inputs}
    signature = Signature("serving_default", inputs, {"y": graph.outputs[0]}, graph)
    return Model([graph], [signature])


def feed(value: Value) -> Array:
    shape = tuple(d or 1 for d in value.shape or ())
    if value.dtype is INT32:
        return np.random.default_rng(1).integers(0, 20, shape).astype(np.int32)
    return gaussian(*shape, seed=1)


def run_litert(content: bytes, x: Array) -> Array:
    interpreter = ai_edge_litert.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def decibels(exact: Array, found: Array) -> float:
    noise = np.sum((exact.astype(np.float64) - found) ** 2)
    return float(10 * np.log10(np.sum(exact.astype(np.float64) ** 2) / max(noise, 1e-30)))


@pytest.mark.parametrize("recipe", [r for r in RECIPES if r != "none"])
@pytest.mark.parametrize("name", CASES)
def test_litert_runs_what_is_quantized(name: str, recipe: str) -> None:
    model = build(name)
    x = feed(model.main.inputs[0])
    exact = run_litert(tflite.write(model), x)
    ledger = quantize(model, recipe)
    verify(model.main)
    assert ledger.after < 0.6 * ledger.before
    found = run_litert(tflite.write(model), x)
    assert found.shape == exact.shape
    assert decibels(exact, found) > 33


def test_a_tied_table_is_stored_once() -> None:
    model = build("GATHER and FULLY_CONNECTED")
    ledger = quantize(model)
    assert [n.op.name for n in model.main.nodes] == ["DEQUANTIZE", "GATHER", "FULLY_CONNECTED"]
    assert len(ledger.entries) == 1
    assert ledger.entries[0].reason == "by FULLY_CONNECTED, through DEQUANTIZE by GATHER"
