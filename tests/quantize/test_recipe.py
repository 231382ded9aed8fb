"""Recipes: what rules change for which weights, and the files that people write them in."""

from __future__ import annotations

import json
from pathlib import Path

import ai_edge_litert.interpreter as litert
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import octolite
from octolite import tflite
from octolite.errors import UsageError
from octolite.ir import Graph, Model, Signature, Value, numerics, verify
from octolite.ir.types import FLOAT16, FLOAT32, INT4, INT8, INT32, Array
from octolite.ops import operator_class
from octolite.quantize import (
    RECIPES,
    Action,
    Activations,
    Clipping,
    Compute,
    Granularity,
    Recipe,
    Rule,
    Treatment,
    quantize,
    recipe_file,
)

RULES = """\
name = "mixed"
base = "weights"
min_elements = 10

[[rule]]
operators = ["FULLY_CONNECTED", "CONV_2D"]
weights = "int4"
clipping = "mse"
compute = "hybrid"

[[rule]]
name = "^logits/"   # keeps its last layer
skip = true

[[rule]]
signature = "encode"
granularity = "tensor"
activations = "symmetric"
"""


def gaussian(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def network() -> Model:
    """A convolution, a depthwise one and two FULLY_CONNECTED, ``logits`` the last."""
    graph = Graph()
    x = graph.add_input("x", FLOAT32, (1, 8, 8, 16))
    names = ("conv", "depthwise", "dense", "logits")
    weights = {
        "conv": gaussian(32, 3, 3, 16),
        "depthwise": gaussian(1, 3, 3, 32, seed=1),
        "dense": gaussian(24, 2048, seed=2),
        "logits": gaussian(12, 24, seed=3),
    }
    here = x
    for name, operator in zip(
        names, ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "FULLY_CONNECTED"), strict=True
    ):
        if name == "dense":
            shape = Value.constant("shape", np.array([1, 2048], np.int32))
            here = graph.add(operator_class("RESHAPE")(), [here, shape], "flat").output
        w = weights[name]
        channels = w.shape[3] if name == "depthwise" else w.shape[0]
        inputs = [here, Value.constant(f"{name}/kernel", w)]
        inputs.append(Value.constant(f"{name}/bias", np.zeros(channels, np.float32)))
        here = graph.add(operator_class(operator)(), inputs, f"{name}/y").output
    graph.outputs = [here]
    return Model([graph], [Signature("serve", {"x": x}, {"y": here}, graph)])


def stored(model: Model) -> dict[str, tuple[str, int]]:
    """Weight → its format and how many scales it has."""
    return {
        v.name.removesuffix("/kernel"): (v.dtype.name, 0 if v.quant is None else v.quant.scale.size)
        for v in model.main.constants()
        if v.name.endswith("/kernel")
    }


def run(content: bytes, x: Array, kind: str = "litert") -> Array:
    make = litert.Interpreter if kind == "litert" else octolite.Interpreter
    interpreter = make(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def decibels(exact: Array, found: Array) -> float:
    return float(10 * np.log10(np.sum(exact**2) / np.sum((exact - found) ** 2)))


# -- what rules change --------------------------------------------------------------------------


def test_later_rules_refine_earlier_ones() -> None:
    recipe = Recipe(
        "mine",
        Treatment(min_elements=1),
        (
            Rule.of(["FULLY_CONNECTED", "CONV_2D"], weights="int4"),
            Rule.of(name="^logits/", weights="float32"),
            Rule.of("CONV_2D", granularity="tensor"),
        ),
    )
    model = network()
    ledger = quantize(model, recipe)
    assert stored(model) == {
        "conv": ("int4", 1),
        "depthwise": ("int8", 32),
        "dense": ("int4", 24),
        "logits": ("float32", 0),
    }
    assert ledger.unused == []
    by_name = {e.name: e for e in ledger.entries}
    assert by_name["dense/kernel"].action is Action.INT4_PER_CHANNEL
    assert by_name["dense/kernel"].after == 24 * 2048 // 2 + 24 * 4
    assert by_name["logits/kernel"].reason == "recipe 'mine'"


def test_int4_in_litert_and_here() -> None:
    exact = run(tflite.write(network()), gaussian(1, 8, 8, 16, seed=9))
    found = {}
    for clipping in Clipping:
        model = network()
        quantize(model, Recipe("int4", Treatment(weights=INT4, clipping=clipping)))
        verify(model.main)
        content = tflite.write(model)
        theirs = run(content, gaussian(1, 8, 8, 16, seed=9))
        ours = run(content, gaussian(1, 8, 8, 16, seed=9), "octolite")
        found[clipping] = decibels(exact, theirs), decibels(exact, ours)
    assert min(found[Clipping.MAX]) > 14
    # What is clipped makes the steps finer for all the others.
    assert min(found[Clipping.MSE]) > min(found[Clipping.MAX]) + 0.5


def test_operators_without_a_form_for_4_bits_get_8_and_the_ledger_says_so() -> None:
    model = network()
    ledger = quantize(model, Recipe("int4", Treatment(weights=INT4, min_elements=1)))
    assert stored(model)["depthwise"] == ("int8", 32)
    entry = next(e for e in ledger.entries if e.name == "depthwise/kernel")
    assert entry.reason == "by DEPTHWISE_CONV_2D; DEPTHWISE_CONV_2D runs no int4"
    # In float, anything reads them.
    model = network()
    quantize(model, Recipe("int4", Treatment(INT4, compute=Compute.FLOAT, min_elements=1)))
    assert {kind for kind, _ in stored(model).values()} == {"int4"}
    assert model.main.operators()["DEQUANTIZE"] == 4
    x = gaussian(1, 8, 8, 16, seed=9)
    content = tflite.write(model)
    np.testing.assert_allclose(run(content, x, "octolite"), run(content, x), rtol=1e-4, atol=1e-4)


def test_one_scale_does_not_reach_a_hybrid_depthwise_convolution() -> None:
    """LiteRT's hybrid form reads a scale for each channel, whether they are there or not."""
    model = network()
    quantize(model, Recipe("tensor", Treatment(granularity=Granularity.TENSOR, min_elements=1)))
    assert {count for _, count in stored(model).values()} == {1}
    dequantized = [n for n in model.main.nodes if n.op.name == "DEQUANTIZE"]
    assert [n.inputs[0].name for n in dequantized if n.inputs[0]] == ["depthwise/kernel"]
    exact, x = run(tflite.write(network()), gaussian(1, 8, 8, 16)), gaussian(1, 8, 8, 16)
    assert decibels(exact, run(tflite.write(model), x)) > 25


def test_activations_are_asked_for_node_by_node() -> None:
    recipe = Recipe("mine", rules=(Rule.of("CONV_2D", activations="symmetric"),))
    model = network()
    quantize(model, recipe)
    asked = {
        n.name: n.op.attributes()["asymmetric_quantize_inputs"]
        for n in model.main.nodes
        if "asymmetric_quantize_inputs" in n.op.attributes()
    }
    assert asked["dense/y"] is True
    assert not asked.get("conv/y", False)


def test_a_rule_for_one_signature() -> None:
    """Two graphs read one array: as it is in one, as codes in the other."""
    weights = gaussian(32, 64)
    graphs, signatures = [], []
    for key in ("encode", "decode"):
        graph = Graph(key)
        x = graph.add_input("x", FLOAT32, (2, 64))
        node = graph.add(
            operator_class("FULLY_CONNECTED")(), [x, Value.constant("w", weights), None], "y"
        )
        graph.outputs = [node.output]
        graphs.append(graph)
        signatures.append(Signature(key, {"x": x}, {"y": node.output}, graph))
    model = Model(graphs, signatures)
    recipe = Recipe("r", rules=(Rule.of(signature="decode", weights="float32"),))
    quantize(model, recipe)
    assert [next(iter(g.constants())).dtype for g in graphs] == [INT8, FLOAT32]


def test_weights_that_several_graphs_read_are_stored_once() -> None:
    weights, graphs = gaussian(32, 64), []
    for key in ("a", "b"):
        graph = Graph(key)
        x = graph.add_input("x", FLOAT32, (2, 64))
        node = graph.add(
            operator_class("FULLY_CONNECTED")(), [x, Value.constant("w", weights), None], "y"
        )
        graph.outputs = [node.output]
        graphs.append(graph)
    quantize(Model(graphs))
    first, second = (next(iter(g.constants())) for g in graphs)
    assert first.data is second.data


def test_a_rule_that_fits_nothing_is_told_of() -> None:
    recipe = Recipe("mine", rules=(Rule.of(name="^logit_s/", weights="float32"),))
    assert quantize(network(), recipe).unused == [{"name": "^logit_s/", "weights": "float32"}]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"operators": "CONV2D"}, "Did you mean 'CONV_2D'"),
        ({"operators": 5}, "operators should be names"),
        ({"name": "("}, r"name should be a regular expression, and '\(' is not"),
        ({"weights": "int2"}, "weights should be one of int8, int4, float16, float32"),
        ({"clip": "mse"}, "has no 'clip'. Did you mean 'clipping'"),
        ({"min_elements": -1}, "min_elements should be a whole number"),
        ({"min_elements": True}, "min_elements should be a whole number"),
    ],
)
def test_rules_that_cannot_be_meant(arguments: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        Rule.of(**arguments)  # type: ignore[arg-type]


# -- halves -------------------------------------------------------------------------------------


def test_halves_are_quantized_and_small_ones_stay_halves() -> None:
    model = network()
    quantize(model, Recipe("halves", Treatment(weights=FLOAT16, min_elements=1)))
    x = gaussian(1, 8, 8, 16)
    exact = run(tflite.write(network()), x)
    again = tflite.read(tflite.write(model))
    ledger = quantize(again, "dynamic")
    verify(again.main)
    assert {e.before for e in ledger.entries if e.name == "dense/kernel"} == {2 * 24 * 2048}
    assert stored(again)["conv"] == ("int8", 32)
    assert stored(again)["logits"] == ("float16", 0)  # 288 elements
    assert stored(again)["depthwise"] == ("float16", 0)
    # Small weights and their biases; operators with codes have float32 biases.
    assert again.main.operators()["DEQUANTIZE"] == 4
    (bias,) = (e for e in ledger.entries if e.name == "logits/bias")
    assert (bias.before, bias.after) == (24, 24)
    (bias,) = (e for e in ledger.entries if e.name == "dense/bias")
    assert (bias.before, bias.after) == (48, 96)
    assert decibels(exact, run(tflite.write(again), x)) > 30


# -- clipping -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_the_reach_with_least_error_is_found(axis: int | None, bits: int) -> None:
    """Against trying every reach on the whole array at once."""
    w = np.random.default_rng(3).standard_t(3, (5, 7, 300)).astype(np.float32)
    reach = numerics.least_error_peak(w, axis, bits)
    qmax = 2 ** (bits - 1) - 1
    others = tuple(a for a in range(3) if a != axis) if axis is not None else None
    peak = np.abs(w).max(axis=others, keepdims=True)
    errors = []
    for part in numerics.REACHES.astype(np.float64):
        scale = peak * part / qmax
        q = np.clip(np.round(w / scale), -qmax, qmax)
        errors.append(((q * scale - w) ** 2).sum(axis=others, keepdims=True))
    best = np.min(errors, axis=0).reshape(-1)
    q, quant = numerics.quantize_weights(w, axis, bits, reach)
    found = ((numerics.dequantize(q, quant) - w) ** 2).sum(axis=others, keepdims=True).reshape(-1)
    np.testing.assert_allclose(found, best, rtol=1e-3)


# -- files --------------------------------------------------------------------------------------


def test_a_file_says_all_that_objects_can() -> None:
    recipe = recipe_file.parse(RULES)
    assert recipe.name == "mixed"
    assert recipe.treatment == Treatment(compute=Compute.FLOAT, min_elements=10)
    first, second, third = recipe.rules
    assert first.operators == ("FULLY_CONNECTED", "CONV_2D")
    assert first.changes == {"weights": INT4, "clipping": Clipping.MSE, "compute": Compute.HYBRID}
    assert (second.name, second.changes) == ("^logits/", {"weights": FLOAT32})
    assert third.signature == "encode"
    assert third.changes["activations"] is Activations.SYMMETRIC


def test_what_is_written_is_read_back() -> None:
    for recipe in (*RECIPES.values(), recipe_file.parse(RULES)):
        again = recipe_file.parse(recipe_file.write(recipe))
        assert again == recipe


@given(st.text(), st.text())
def test_any_name_survives_the_file(name: str, signature: str) -> None:
    recipe = Recipe(name or "r", rules=(Rule(signature=signature, changes={"weights": INT4}),))
    assert recipe_file.parse(recipe_file.write(recipe)) == recipe


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("weights = int4", r"mine.toml: .*line 1, column 11"),
        ('name = "a"\n\n  wieghts = "int4"', "line 3, column 3: wieghts: a recipe has no such key"),
        ('base = "dynamc"', "line 1, column 1: base: there is no recipe 'dynamc'. Did you mean"),
        ("min_elements = -3", "line 1, column 1: min_elements: should be a whole number"),
        ("name = 5", "line 1, column 1: name: should be a string, and is 5"),
        ("rule = 3", "line 1, column 1: rule: rules are tables"),
        ('[[rule]]\nweights = "int8"\n[[rule]]\n weights = "int9"', "line 4, column 2: weights"),
        ('[[rule]]\noperators = ["CONV"]', "line 2, column 1: operators: .*Did you mean"),
        ('[[rule]]\nname = "("', "line 2, column 1: name: should be a regular expression"),
        ("[[rule]]\nskip = 1", "line 2, column 1: skip: should be true or false"),
        ('[[rule]]\nskip = true\nweights = "int8"', "line 2, column 1: skip: leaves weights"),
        ('rule = [{ name = "x", weight = 1 }]', "line 1, column 23: weight: a rule has no such"),
    ],
)
def test_mistakes_are_found_to_the_column(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        recipe_file.parse(text, "mine.toml")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the recipe .*none.toml: No such file"):
        Recipe.of(str(tmp_path / "none.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_bytes(b'name = "\xff"')
    with pytest.raises(UsageError, match="no UTF-8 text"):
        Recipe.of(broken)
    broken.write_bytes(b"#" * (2 << 20))
    with pytest.raises(UsageError, match="larger than"):
        Recipe.of(broken)


def test_a_recipe_goes_to_json_and_its_file_gives_it_a_name(tmp_path: Path) -> None:
    path = tmp_path / "speech.toml"
    path.write_text('[[rule]]\nname = "x"\nweights = "int4"\n')
    recipe = Recipe.of(path)
    assert recipe.name == "speech"
    assert json.loads(json.dumps(recipe.as_dict()))["rule"] == [{"name": "x", "weights": "int4"}]


def test_the_recipe_in_the_documentation() -> None:
    text = Path("docs/recipes.md").read_text()
    found = recipe_file.parse(text.split("```toml")[1].split("```")[0])
    assert found == Recipe(
        "mixed",
        Treatment(min_elements=512),
        (
            Rule.of("FULLY_CONNECTED", weights="int4", clipping="mse"),
            Rule.of(name="^logits/", weights="float32"),
        ),
    )


@pytest.mark.parametrize(("width", "kind"), [(34, "int4"), (33, "int8")])
def test_rows_of_tables_begin_with_a_byte(width: int, kind: str) -> None:
    """LiteRT looks for them there."""
    graph = Graph()
    ids = graph.add_input("ids", INT32, (3,))
    table = Value.constant("table", gaussian(50, width))
    node = graph.add(operator_class("EMBEDDING_LOOKUP")(), [ids, table], "y")
    graph.outputs = [node.output]
    quantize(Model([graph]), Recipe("int4", Treatment(weights=INT4)))
    assert table.dtype.name == kind
    found = run(tflite.write(Model([graph])), np.array([0, 1, 49], np.int32))
    assert decibels(gaussian(50, width)[[0, 1, 49]], found) > 15
