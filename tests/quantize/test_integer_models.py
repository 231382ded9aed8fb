"""Fully quantized models from ranges: what is stated, what follows, what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ai_edge_litert.interpreter as litert
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import octolite
from octolite import tflite
from octolite.errors import ConversionError, UnsupportedError, UsageError
from octolite.ir import Graph, Model, Value, numerics, verify
from octolite.ir.types import FLOAT32, INT32, UINT8, Array
from octolite.ops import operator_class
from octolite.quantize.integer import IntegerRecipe, parameters, quantize_fully

RANGES = {"input": (-1.0, 1.0), "conv": (0.0, 6.0), "dw": (0.0, 6.0), "sum": (-4.0, 9.0)}


def gaussian(*shape: int, seed: int = 0, scale: float = 1.0) -> Array:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def add(graph: Graph, operator: str, name: str, *inputs: Value | Array, **attributes: Any) -> Value:
    values = [
        v if isinstance(v, Value) else Value.constant(f"{name}/{i}", v)
        for i, v in enumerate(inputs)
    ]
    return graph.add(operator_class(operator)(**attributes), values, name).output


def network(ranges: dict[str, tuple[float, float]] = RANGES) -> Model:
    """A small MobileNet with a residual sum, a concatenation, a mean and a softmax."""
    graph = Graph()
    x = graph.add_input("input", FLOAT32, (1, 8, 8, 3))
    conv = add(graph, "CONV_2D", "conv", x, gaussian(8, 3, 3, 3, scale=0.3), gaussian(8, scale=0.1))
    dw = add(
        graph, "DEPTHWISE_CONV_2D", "dw", conv, gaussian(1, 3, 3, 8, scale=0.3), np.zeros(8, "f4")
    )
    total = add(graph, "ADD", "sum", conv, dw)
    pooled = add(graph, "MAX_POOL_2D", "pool", total, filter_width=2, filter_height=2)
    both = add(graph, "CONCATENATION", "both", pooled, pooled, axis=3)
    mean = add(graph, "MEAN", "mean", both, np.array([1, 2], np.int32))
    logits = add(graph, "FULLY_CONNECTED", "logits", mean, gaussian(5, 16), gaussian(5))
    graph.outputs = [add(graph, "SOFTMAX", "probabilities", logits, beta=1.0)]
    for value in graph.values():
        value.range = ranges.get(value.name)
    return Model([graph])


def run(content: bytes, x: Array, kind: str) -> Array:
    if kind == "octolite":
        interpreter: Any = octolite.Interpreter(model_content=content)
    else:
        resolver = litert.OpResolverType.BUILTIN_REF
        interpreter = litert.Interpreter(
            model_content=content, experimental_op_resolver_type=resolver
        )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


FULL = RANGES | {"logits": (-8.0, 8.0)}


def test_a_network_becomes_codes_throughout() -> None:
    model = network(FULL)
    ledger = quantize_fully(model, IntegerRecipe())
    verify(model.main)
    assert {v.dtype for v in model.main.values() if v.dtype is not INT32} == {UINT8}
    assert [str(e.action) for e in ledger.entries] == ["uint8 per tensor", "int32"] * 3
    by_name = {v.name: v for v in model.main.values()}
    scale = {n: float(v.quant.scale[0]) for n, v in by_name.items() if v.quant}
    assert scale["conv"] == pytest.approx(6 / 255)
    assert scale["pool"] == scale["sum"] == scale["mean"]
    assert scale["probabilities"] == 1 / 256
    np.testing.assert_allclose(
        by_name["conv/2"].quant.scale, scale["input"] * scale["conv/1"], rtol=1e-6
    )


@pytest.mark.parametrize("seed", range(4))
def test_litert_and_octolite_agree_to_the_bit(seed: int) -> None:
    model = network(FULL)
    quantize_fully(model, IntegerRecipe())
    content = tflite.write(model)
    x = np.random.default_rng(seed).integers(0, 256, (1, 8, 8, 3)).astype(np.uint8)
    found = run(content, x, "octolite")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, run(content, x, "litert"))


def test_codes_stand_for_what_the_float_model_computes() -> None:
    exact_model, model = network({}), network(FULL)
    quantize_fully(model, IntegerRecipe(float_inputs=True))
    x = np.clip(gaussian(1, 8, 8, 3, scale=0.4), -1, 1)
    exact = run(tflite.write(exact_model), x, "octolite")
    found = run(tflite.write(model), x, "octolite") / 256
    # ReLU6 is what the ranges of the convolutions make of them, which the float model lacks.
    assert model.main.inputs[0].dtype is FLOAT32
    assert np.argmax(exact) == np.argmax(found) or np.abs(exact - found).max() < 0.2


def test_inputs_have_the_mean_and_deviation_that_are_given() -> None:
    model = network({**FULL, "input": (-9.0, 9.0)})
    quantize_fully(model, IntegerRecipe(means={"input": (128.0, 127.0)}))
    quant = model.main.inputs[0].quant
    assert quant.scale[0] == np.float32(1 / 127)
    assert quant.zero_point[0] == 128


def test_what_has_no_range_is_listed() -> None:
    with pytest.raises(ConversionError) as error:
        quantize_fully(network({"conv": (0, 6)}), IntegerRecipe())
    text = str(error.value)
    assert "4 tensors have no range" in text
    for line in ("'input', an input", "'dw', the result of DEPTHWISE", "'sum'", "'logits'"):
        assert line in text
    assert text.count("  - ") == 4  # what follows from those is not listed
    assert "--default_ranges_min" in text


def test_a_default_range_serves_the_others() -> None:
    model = network({"conv": (0, 6)})
    quantize_fully(model, IntegerRecipe(default_range=(-10.0, 10.0)))
    scale = {v.name: float(v.quant.scale[0]) for v in model.main.values() if v.quant}
    assert scale["conv"] == pytest.approx(6 / 255)
    assert scale["input"] == scale["dw"] == scale["logits"] == pytest.approx(20 / 255)


def joined(**ranges: tuple[float, float]) -> Model:
    graph = Graph()
    parts = [graph.add_input(n, FLOAT32, (1, 4)) for n in "ab"]
    graph.outputs = [add(graph, "CONCATENATION", "joined", *parts, axis=1)]
    for value in graph.values():
        value.range = ranges.get(value.name)
    return Model([graph])


def test_a_concatenation_rescales_or_has_one_scale() -> None:
    for join_ranges, count in ((False, 3), (True, 1)):
        model = joined(a=(-1, 1), b=(0, 4))
        quantize_fully(model, IntegerRecipe(join_ranges=join_ranges))
        scales = {float(v.quant.scale[0]) for v in model.main.values() if v.quant}
        assert len(scales) == count
        content = tflite.write(model)
        for resolver in ("octolite", "litert"):
            assert run(content, np.full((1, 4), 200, np.uint8), resolver).shape == (1, 8)


def test_parts_take_the_range_of_what_they_are_joined_to() -> None:
    model = joined(joined=(-2.0, 3.0))
    quantize_fully(model, IntegerRecipe())
    assert {float(v.quant.scale[0]) for v in model.main.values()} == {np.float32(5 / 255)}


def test_operators_without_a_form_are_listed() -> None:
    graph = Graph()
    x = graph.add_input("x", FLOAT32, (1, 4))
    graph.outputs = [add(graph, "SIN", "wave", add(graph, "COS", "other", x))]
    for value in graph.values():
        value.range = (-1.0, 1.0)
    with pytest.raises(UnsupportedError, match=r"COS 'other'\n  - SIN 'wave'"):
        quantize_fully(Model([graph]), IntegerRecipe())


def test_ranges_that_are_none_are_refused() -> None:
    with pytest.raises(ConversionError, match=r"'dw', the result of .* has the range 0.0…inf"):
        quantize_fully(network(FULL | {"dw": (0.0, float("inf"))}), IntegerRecipe())


@pytest.mark.parametrize(
    ("recipe", "problem"),
    [
        (IntegerRecipe(means={"image": (0, 1)}), "given for 'image', and the model's inputs"),
        (IntegerRecipe(means={"input": (0, 0)}), "'input': a mean of 0 with the deviation 0"),
        (IntegerRecipe(default_range=(1.0, -1.0)), "the default range goes from 1.0 to -1.0"),
    ],
)
def test_requests_that_cannot_be_meant(recipe: IntegerRecipe, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        quantize_fully(network(FULL), recipe)


def test_constants_that_are_not_finite_are_refused() -> None:
    model = network(FULL)
    weights = model.main.nodes[0].inputs[1]
    assert weights is not None
    assert weights.data is not None
    weights.data[0, 0, 0, 0] = np.nan
    with pytest.raises(ConversionError, match=r"'conv/1'.* holds NaN or Inf"):
        quantize_fully(model, IntegerRecipe())


@given(st.floats(-1e6, 1e6, width=32), st.floats(-1e6, 1e6, width=32), st.floats(0, 1, width=32))
def test_zero_is_exact_and_the_range_is_reached(a: float, b: float, at: float) -> None:
    low, high = min(a, b), max(a, b)
    quant = parameters((low, high))
    zero = numerics.quantize(np.zeros(1, np.float32), quant, np.dtype(np.uint8))
    assert numerics.dequantize(zero, quant)[0] == 0
    x = np.asarray([low + (high - low) * at], np.float64)
    q = numerics.quantize(x, quant, np.dtype(np.uint8))
    error = abs(float(numerics.dequantize(q, quant)[0]) - float(x[0]))
    assert error <= float(quant.scale[0]) * 1.01 or low == high


X = (2, 5, 5, 8)


def test_a_graph_trained_with_simulated_quantization() -> None:
    """Ranges of activations and of weights, whose least code is left out, come from FakeQuant."""
    content = octolite.convert(
        Path("tests/data/graphs/fake_quant.pb"),
        IntegerRecipe(means={"x": (127.5, 42.5)}),
        input_shapes={"x": X},
    )
    (node,) = tflite.read(content).main.nodes
    x, weights, bias = node.inputs
    assert x is not None
    assert weights is not None
    assert bias is not None
    assert weights.quant.scale[0] == np.float32(1.2 / 254)
    assert weights.data.min() >= 1
    assert node.output.quant.scale[0] == np.float32(6 / 255)
    assert bias.dtype is INT32
    codes = np.random.default_rng(0).integers(0, 256, X).astype(np.uint8)
    ours, theirs = run(content, codes, "octolite"), run(content, codes, "litert")
    np.testing.assert_array_equal(ours, theirs)
