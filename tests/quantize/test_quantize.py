"""The quantizer: what it stores in which format, what readers see, and the ledger."""

from __future__ import annotations

import json

import numpy as np
import pytest

from octolite.errors import ConversionError, UsageError
from octolite.ir import Graph, Model, Quant, Value, verify
from octolite.ir.types import FLOAT16, FLOAT32, INT8, INT32, Array
from octolite.ops import operator_class
from octolite.quantize import RECIPES, Action, Compute, Recipe, Treatment, quantize


def gaussian(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def dense(weights: Array, bias: Array | None = None) -> Model:
    """``weights`` [n, k] in a FULLY_CONNECTED, with ``bias``."""
    graph = Graph()
    x = graph.add_input("x", FLOAT32, (None, weights.shape[1]))
    inputs = [x, Value.constant("w", weights)]
    inputs.append(Value.constant("b", bias if bias is not None else np.zeros(len(weights), "f4")))
    graph.outputs = [graph.add(operator_class("FULLY_CONNECTED")(), inputs, "y").output]
    return Model([graph])


def run(graph: Graph, *feeds: Array) -> list[Array]:
    arrays = {id(v): a for v, a in zip(graph.inputs, feeds, strict=True)}
    arrays |= {id(v): v.data for v in graph.constants()}
    for node in graph.nodes:
        given = [None if v is None else arrays[id(v)] for v in node.inputs]
        results = node.op.run(given, node.inputs, node.outputs)
        arrays |= {id(v): r for v, r in zip(node.outputs, results, strict=True)}
    return [arrays[id(v)] for v in graph.outputs]


def signal_to_noise(exact: Array, found: Array) -> float:
    """In dB."""
    return float(10 * np.log10(np.sum(exact**2) / np.sum((exact - found) ** 2)))


def test_dynamic_keeps_int8_weights_in_a_hybrid_operator() -> None:
    w = gaussian(16, 96)
    model = dense(w, gaussian(16))
    x = gaussian(5, 96, seed=1)
    (exact,) = run(model.main, x)
    ledger = quantize(model, "dynamic")
    verify(model.main)

    (node,) = model.main.nodes
    weights, bias = node.inputs[1], node.inputs[2]
    assert weights.dtype is INT8
    assert weights.quant.scale.shape == (16,)
    assert weights.quant.axis == 0
    assert bias.dtype is FLOAT32
    assert node.op.asymmetric_quantize_inputs
    assert signal_to_noise(exact, run(model.main, x)[0]) > 35

    by_name = {e.name: e for e in ledger.entries}
    assert by_name["w"].action is Action.PER_CHANNEL
    assert (by_name["w"].before, by_name["w"].after) == (16 * 96 * 4, 16 * 96 + 16 * 4)
    assert by_name["b"].action is Action.KEPT
    assert by_name["b"].reason == "fewer than 1,024 elements"


@pytest.mark.parametrize(("recipe", "dtype"), [("weights", INT8), ("float16", FLOAT16)])
def test_storage_recipes_put_dequantize_before_the_reader(recipe: str, dtype: object) -> None:
    model = dense(gaussian(16, 96))
    x = gaussian(5, 96, seed=1)
    (exact,) = run(model.main, x)
    ledger = quantize(model, recipe)
    verify(model.main)
    before, node = model.main.nodes
    assert before.op.name == "DEQUANTIZE"
    assert before.inputs[0].dtype is dtype
    assert node.inputs[1] is before.output
    assert not node.op.asymmetric_quantize_inputs
    assert signal_to_noise(exact, run(model.main, x)[0]) > 40
    assert "through DEQUANTIZE" in ledger.quantized[0].reason


def test_none_changes_nothing_and_says_so() -> None:
    model = dense(gaussian(16, 96))
    ledger = quantize(model, "none")
    assert ledger.before == ledger.after
    assert [r.label for r in ledger.summary()] == ["kept: recipe 'none'"]
    assert model.main.nodes[0].inputs[1].dtype is FLOAT32


def test_min_elements_decides_what_is_small() -> None:
    model = dense(gaussian(4, 8))
    assert not quantize(model, "dynamic").quantized
    assert [e.name for e in quantize(model, "dynamic", min_elements=32).quantized] == ["w"]


def test_a_long_bias_stays_float_beside_its_weights() -> None:
    model = dense(gaussian(2048, 4), gaussian(2048))
    ledger = quantize(model)
    kept = {e.name: e.reason for e in ledger.entries if e.action is Action.KEPT}
    assert kept == {"b": "bias of FULLY_CONNECTED"}


def test_a_shared_weight_is_stored_once() -> None:
    model = dense(gaussian(96, 96))
    graph = model.main
    first = graph.nodes[0]
    again = graph.add(operator_class("FULLY_CONNECTED")(), [first.output, *first.inputs[1:]], "z")
    graph.outputs = [again.output]
    ledger = quantize(model)
    verify(graph)
    assert again.inputs[1] is first.inputs[1]
    assert again.inputs[1].dtype is INT8
    assert len(ledger.quantized) == 1


def test_readers_without_hybrid_form_share_one_dequantize() -> None:
    model = dense(gaussian(96, 96))
    graph = model.main
    w = graph.nodes[0].inputs[1]
    x = graph.nodes[0].output
    for name in ("s", "t"):
        x = graph.add(operator_class("ADD")(), [x, w], name).output
    graph.outputs = [x]
    quantize(model)
    verify(graph)
    assert [n.op.name for n in graph.nodes] == ["FULLY_CONNECTED", "DEQUANTIZE", "ADD", "ADD"]
    fc, real, s, t = graph.nodes
    assert fc.inputs[1] is w
    assert s.inputs[1] is real.output
    assert t.inputs[1] is real.output


def test_a_table_that_is_gathered_stays_in_codes_until_behind_the_gather() -> None:
    graph = Graph()
    ids = graph.add_input("ids", INT32, (None,))
    table = Value.constant("table", gaussian(200, 12))
    graph.outputs = [graph.add(operator_class("GATHER")(), [table, ids], "rows").output]
    found = np.array([3, 7, 199], np.int32)
    (exact,) = run(graph, found)
    quantize(Model([graph]))
    verify(graph)
    assert [n.op.name for n in graph.nodes] == ["GATHER", "DEQUANTIZE"]
    assert graph.nodes[0].output.dtype is INT8
    assert graph.outputs[0].name == "rows"
    assert not graph.outputs[0].quant
    assert signal_to_noise(exact, run(graph, found)[0]) > 35


def test_a_vector_that_is_no_weight_stays_float() -> None:
    graph = Graph()
    x = graph.add_input("x", FLOAT32, (None, 2000))
    factor = Value.constant("factor", gaussian(1, 2000))
    graph.outputs = [graph.add(operator_class("ADD")(), [x, factor], "y").output]
    assert quantize(Model([graph])).entries[0].reason == "a vector, no matrix"


def test_a_constant_that_is_a_result_stays_float() -> None:
    graph = Graph()
    table = Value.constant("table", gaussian(64, 64))
    graph.outputs = [table]
    assert quantize(Model([graph])).entries[0].reason == "result of the graph"
    assert table.dtype is FLOAT32


@pytest.mark.parametrize("recipe", ["dynamic", "weights", "float16"])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_are_refused_by_name(recipe: str, poison: float) -> None:
    w = gaussian(16, 96)
    w[3, 5] = poison
    with pytest.raises(ConversionError, match=r"'w'.*FULLY_CONNECTED 'y'.* 1 NaN or Inf"):
        quantize(dense(w), recipe)


def test_float16_leaves_what_it_cannot_hold() -> None:
    w = gaussian(16, 96)
    w[0, 0] = 1e5
    ledger = quantize(dense(w), "float16")
    assert ledger.entries[0].reason == "beyond the range of float16"


def test_what_is_quantized_already_is_left_alone() -> None:
    model = dense(gaussian(16, 96))
    quantize(model)
    codes = model.main.nodes[0].inputs[1].data
    ledger = quantize(model, "weights")
    assert model.main.nodes[0].inputs[1].data is codes
    assert ledger.entries[0].reason == "quantized already"


def test_ledger_adds_up_and_is_plain_json() -> None:
    model = dense(gaussian(64, 96), gaussian(64))
    seen: list[tuple[int, int]] = []
    ledger = quantize(model, on_progress=lambda done, total: seen.append((done, total)))
    total = 64 * 96 * 4 + 64 * 4
    assert seen == [(64 * 96 * 4, total), (total, total)]
    assert ledger.before == total
    assert sum(r.before for r in ledger.summary()) == ledger.before
    assert sum(r.after for r in ledger.summary()) == ledger.after
    assert [r.label for r in ledger.summary()] == [
        "int8 per channel", "kept: fewer than 1,024 elements",
    ]  # fmt: skip
    plain = json.loads(json.dumps(ledger.as_dict()))
    assert plain["bytes_after"] == ledger.after
    assert plain["constants"][0]["consumers"] == ["FULLY_CONNECTED"]


def test_recipes_by_name_and_as_objects() -> None:
    assert list(RECIPES) == ["dynamic", "weights", "float16", "none"]
    seven = Treatment(compute=Compute.FLOAT, min_elements=7)
    assert Recipe.of("weights", 7) == Recipe("weights", seven)
    mine = Recipe("mine", Treatment(min_elements=1))
    assert Recipe.of(mine) is mine
    with pytest.raises(UsageError, match="Did you mean 'dynamic'"):
        Recipe.of("dynamc")
    with pytest.raises(
        UsageError, match="min_elements should be a whole number of 0 or more, and is -1"
    ):
        Recipe.of("dynamic", -1)


def test_the_same_model_gives_the_same_codes() -> None:
    first, second = dense(gaussian(16, 96)), dense(gaussian(16, 96))
    assert quantize(first).as_dict() == quantize(second).as_dict()
    a, b = (m.main.nodes[0].inputs[1] for m in (first, second))
    assert a.data.tobytes() == b.data.tobytes()
    assert isinstance(a.quant, Quant)
    assert a.quant == b.quant
