"""Recurrent operators: hybrid with codes for all weights, or real with all of them real."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octolite
from octolite.ir.graph import Graph, Model, Node, Value
from octolite.ir.types import FLOAT32, INT8, Array
from octolite.ops.base import operator_class
from octolite.ops.case import Case
from octolite.ops.lstm import _example as example
from octolite.quantize import Ledger, quantize
from octolite.tflite import write
from tests.ops.litert import arrays_of, assert_hybrid, interpreter_of

PEEPHOLES = ("cell_to_input_weights", "cell_to_forget_weights", "cell_to_output_weights")


def lstm(case: Case | None = None) -> tuple[Model, dict[str, Array], Node]:
    """A sequence of 3×5×40 through 24 units projected to 16, its weights real."""
    case = case or example((3, 5, 40), 24, 16, peephole=True, bias=True)
    model, feeds = case.build(operator_class("UNIDIRECTIONAL_SEQUENCE_LSTM"))
    return model, feeds, model.main.nodes[0]


def named(node: Node) -> dict[str, Value | None]:
    found: dict[str, Value | None] = node.op.named(node.inputs)  # type: ignore[attr-defined]
    return found


def weights_of(node: Node) -> dict[str, Value]:
    return {n: v for n, v in named(node).items() if v is not None and n.endswith("_weights")}


def run(interpreter: Any, feeds: dict[str, Array]) -> Array:
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], feeds[detail["name"]])
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


@pytest.mark.parametrize("min_elements", [1, 500, 960])
def test_small_weights_go_with_the_large_ones(min_elements: int) -> None:
    model, feeds, node = lstm()
    (exact,) = node.op.run(arrays_of(node, feeds), node.inputs, node.outputs)
    quantize(model, min_elements=min_elements)
    assert all(v.dtype is INT8 and not v.quant.per_channel for v in weights_of(node).values())
    assert all(v.dtype is FLOAT32 for n, v in named(node).items() if v and n.endswith("_bias"))
    assert node.op.attributes()["asymmetric_quantize_inputs"]
    assert model.main.operators() == {node.op.name: 1}
    content = write(model)
    mine = run(octolite.Interpreter(model_content=content, hybrid="always"), feeds)
    theirs = run(interpreter_of(content, node.op.name), feeds)
    assert_hybrid(exact, mine, theirs)


def kept(ledger: Ledger) -> set[str]:
    return {e.name for e in ledger.entries} - {e.name for e in ledger.quantized}


def test_all_weights_stay_real_where_none_is_large() -> None:
    model, _, node = lstm()
    ledger = quantize(model, min_elements=961)
    assert all(v.dtype is FLOAT32 for v in weights_of(node).values())
    assert not ledger.quantized


def test_one_weight_that_must_stay_real_keeps_the_operator_real() -> None:
    """A weight that is a result too stays real; the large others are read through DEQUANTIZE."""
    model, feeds, node = lstm()
    (exact,) = node.op.run(arrays_of(node, feeds), node.inputs, node.outputs)
    weight = named(node)["input_to_cell_weights"]
    assert weight is not None
    model.main.outputs.append(weight)
    ledger = quantize(model, min_elements=500)
    assert not node.op.is_hybrid(node.inputs)  # type: ignore[attr-defined]
    assert all(v.dtype is FLOAT32 for v in weights_of(node).values())
    assert model.main.operators()["DEQUANTIZE"] == 3
    assert {named(node)[n].name for n in PEEPHOLES} <= kept(ledger)  # type: ignore[union-attr]
    model.main.outputs.pop()
    content = write(model)
    mine = run(octolite.Interpreter(model_content=content), feeds)
    theirs = run(interpreter_of(content, node.op.name), feeds)
    np.testing.assert_allclose(mine, theirs, atol=1e-5)
    np.testing.assert_allclose(mine, exact, atol=0.02)


def test_weights_shared_with_another_operator_have_one_scale() -> None:
    """FULLY_CONNECTED comes first and would take a scale for each row; one will do, too."""
    case = example((3, 5, 40), 24)
    model, feeds, node = lstm(case)
    shared = named(node)["input_to_forget_weights"]
    graph: Graph = model.main
    dense = operator_class("FULLY_CONNECTED")(keep_num_dims=True)
    product = graph.add(dense, [graph.inputs[0], shared, None], "product", before=node)
    graph.outputs.append(product.output)
    quantize(model, min_elements=1)
    assert shared is not None
    assert shared.quant is not None
    assert not shared.quant.per_channel
    assert node.op.is_hybrid(node.inputs)  # type: ignore[attr-defined]
    assert dense.is_hybrid(graph.nodes[0].inputs)
    assert "DEQUANTIZE" not in graph.operators()
    content = write(model)
    mine = run(octolite.Interpreter(model_content=content, hybrid="always"), feeds)
    assert_hybrid(mine, mine, run(interpreter_of(content, node.op.name), feeds))


@pytest.mark.parametrize("recipe", ["weights", "float16"])
def test_other_recipes_read_weights_through_dequantize(recipe: str) -> None:
    model, feeds, node = lstm()
    (exact,) = node.op.run(arrays_of(node, feeds), node.inputs, node.outputs)
    quantize(model, recipe, min_elements=500)
    content = write(model)
    mine = run(octolite.Interpreter(model_content=content), feeds)
    np.testing.assert_allclose(mine, exact, atol=0.02)
    np.testing.assert_allclose(mine, run(interpreter_of(content, node.op.name), feeds), atol=1e-5)
