"""What is known never to be negative, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import octolite
from octolite.ir import numerics
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import Activation, Array
from octolite.kernels import x86
from octolite.ops.case import Case
from octolite.runtime.signs import finer_values, nonnegative_values, rectified_values
from octolite.tflite import write
from tests.ops.litert import arrays_of
from tests.passes.building import Builder, gaussian
from tests.runtime.test_operators import CASES


@pytest.mark.parametrize(("cls", "case"), CASES)
def test_no_operator_claims_too_much(cls: type[Any], case: Case) -> None:
    model, feeds = case.build(cls)
    node = model.main.nodes[0]
    if any(v is not None and v.quant is not None for v in (*node.inputs, *node.outputs)):
        return  # codes of such a tensor say nothing of its sign
    for inputs_are in (True, False):
        if not node.op.gives_nonnegative([inputs_are] * len(node.inputs)):
            continue
        arrays = [
            np.abs(a) if inputs_are and a is not None and a.dtype.kind == "f" else a
            for a in arrays_of(node, feeds)
        ]
        for result in node.op.run(arrays, node.inputs, node.outputs):
            if result.dtype.kind == "f":
                assert not (result < 0).any()


def names(b: Builder, values: Callable[[Graph], frozenset[int]]) -> set[str]:
    """The results of the graph's nodes that are among ``values``."""
    found = values(b.graph)
    return {v.name for node in b.graph.nodes for v in node.outputs if id(v) in found}


def test_signs_follow_the_graph() -> None:
    b = Builder()
    x = b.input(1, 8, 8, 4)
    relu = b.op("RELU", x, name="relu")
    sigmoid = b.op("LOGISTIC", x, name="sigmoid")
    both = b.op("ADD", relu, sigmoid, name="both")
    b.op("ADD", both, x, name="with input")
    b.op("ADD", x, x, name="then relu", activation=Activation.RELU6)
    b.op("ADD", relu, np.full(4, 0.5, np.float32), name="with constant")
    b.op("ADD", relu, np.full(4, -0.5, np.float32), name="with negative constant")
    b.op("SUB", relu, sigmoid, name="difference")
    pool = b.op(
        "MAX_POOL_2D", relu, name="pool", filter_width=2, filter_height=2, stride_w=2, stride_h=2
    )
    b.op("RESHAPE", pool, np.array([-1, 4], np.int32), name="flat")
    b.op("MEAN", pool, np.array([1, 2], np.int32), name="mean")
    b.op("CONCATENATION", relu, sigmoid, name="side by side", axis=3)
    b.op("CONCATENATION", relu, x, name="beside the input", axis=3)
    b.op("NEG", relu, name="negated")
    assert names(b, nonnegative_values) == {
        "relu", "sigmoid", "both", "then relu", "with constant", "pool", "flat", "mean",
        "side by side",
    }  # fmt: skip


def test_only_what_comes_from_sums_is_rectified() -> None:
    b = Builder()
    x = b.input(1, 8, 8, 4)
    b.op("RELU", x, name="relu of the input")
    hidden = b.op("CONV_2D", x, gaussian(4, 1, 1, 4), np.zeros(4, np.float32), name="linear")
    relu = b.op("RELU6", hidden, name="relu")
    gate = b.op("LOGISTIC", hidden, name="gate")
    b.op("RESHAPE", gate, np.array([-1, 4], np.int32), name="flat gate")
    b.op("MUL", relu, gate, name="gated")
    b.op("CONV_2D", gate, gaussian(4, 1, 1, 4), None, name="fused", activation=Activation.RELU)
    b.op("ADD", relu, relu, name="piled up")
    b.op("ADD", relu, x, name="with input")
    b.op("ADD", relu, hidden, name="residual", activation=Activation.RELU)
    b.op("ADD", hidden, hidden, name="sum of sums", activation=Activation.RELU)
    b.op("MEAN", relu, np.array([1, 2], np.int32), name="mean")
    assert names(b, rectified_values) == {"relu", "gated", "fused", "sum of sums"}


def test_blocks_are_finer_in_large_images_without_an_upper_bound() -> None:
    b = Builder()
    for size in (13, 14):
        x = b.input(1, size, size, 4, name=f"input of {size}")
        for activation in (Activation.RELU, Activation.RELU6):
            name = f"{activation.name} of {size}"
            weights = gaussian(4, 1, 1, 4)
            hidden = b.op("CONV_2D", x, weights, None, name=name, activation=activation)
            b.op("PAD", hidden, np.zeros((4, 2), np.int32), name=f"padded {name}")
            b.op("CONV_2D", hidden, weights, None, name=f"then {name}", activation=Activation.RELU)
    b.input(None, None, None, 4, name="any")
    b.op("CONV_2D", b.graph.inputs[-1], weights, None, activation=Activation.RELU, name="unknown")
    assert names(b, lambda graph: finer_values(graph, rectified_values(graph))) == {
        "RELU of 14", "padded RELU of 14", "then RELU of 14", "then RELU6 of 14",
    }  # fmt: skip


def two_layers(activation: Activation) -> bytes:
    """Two 1×1 convolutions, the second with int8 weights."""
    b = Builder()
    x = b.input(1, 14, 14, 64)
    weights = gaussian(64, 1, 1, 64) / 8
    hidden = b.op("CONV_2D", x, weights, np.zeros(64, np.float32), activation=activation)
    codes, quant = numerics.quantize_weights(gaussian(96, 1, 1, 64, seed=1), 0)
    quantized = Value.constant("codes", codes, quant=quant)
    last = b.op("CONV_2D", hidden, quantized, np.zeros(96, np.float32))
    return write(Model([b.returns(last)]))


def run(model: bytes, x: Array) -> tuple[Array, str]:
    """The result, and what the last kernel is called."""
    interpreter = octolite.Interpreter(model_content=model, num_threads=1, hybrid="always")
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    kernel = interpreter.profile(1)[-1].unit.kernel
    assert kernel is not None
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), kernel.label


@pytest.mark.skipif(not x86.AVX2.runs_here, reason="needs AVX2")
def test_layers_behind_a_relu_take_seven_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTOLITE_ISA", "avx2")
    x = gaussian(1, 14, 14, 64)
    for activation in (Activation.NONE, Activation.RELU, Activation.RELU6):
        model = two_layers(activation)
        monkeypatch.setenv("OCTOLITE_ACTIVATIONS", "auto")
        out, label = run(model, x)
        monkeypatch.setenv("OCTOLITE_ACTIVATIONS", "8bit")
        exact, exact_label = run(model, x)
        assert ("7bit" in label) == (activation is Activation.RELU)
        assert "7bit" not in exact_label
        assert np.abs(out - exact).max() < 0.02 * np.abs(exact).max()
