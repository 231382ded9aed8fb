"""The engine itself: matching, replacing, explaining, settling."""

from __future__ import annotations

from itertools import pairwise

import pytest

from octolite import ir, passes
from octolite.errors import ConversionError
from octolite.ir import Model, Quant, Signature, Value
from octolite.ir.types import FLOAT32, INT8
from octolite.passes.engine import Explanation, Match, Rewriter, Rule
from octolite.passes.patterns import ANY, Pattern, const, number, op, some
from tests.passes.building import Builder, attempt, gaussian, operators


class Matches(Rule):
    """Declines every match, remembering it."""

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self.found: list[Match] = []

    def check(self, match: Match) -> str | None:
        self.found.append(match)
        return "only looking"

    def rewrite(self, match: Match) -> None:
        pytest.fail("a rule that declined was applied")


def matches(graph: ir.Graph, pattern: Pattern) -> list[Match]:
    rule = Matches(pattern)
    Rewriter(graph, [rule]).run()
    return rule.found


def test_operands_of_commutative_operators_match_in_either_order() -> None:
    b = Builder()
    x = b.input(2, 3)
    graph = b.returns(b.op("ADD", 2.0, b.op("RELU", x)))
    (match,) = matches(graph, op("ADD", op("RELU", some("x"), name="r"), number(2)))
    assert match["x"] is x
    assert match.node("r").op.name == "RELU"
    assert not matches(graph, op("ADD", op("RELU", ANY), number(3)))
    graph = b.returns(b.op("SUB", 2.0, x))
    assert not matches(graph, op("SUB", ANY, const()))


def test_a_name_bound_twice_is_one_value() -> None:
    b = Builder()
    x = b.input(2, 3)
    pattern = op("MUL", some("x"), op("LOGISTIC", some("x")))
    assert matches(b.returns(b.op("MUL", b.op("LOGISTIC", x), x)), pattern)
    b = Builder()
    x, y = b.input(2, 3), b.input(2, 3, name="y")
    assert not matches(b.returns(b.op("MUL", b.op("LOGISTIC", y), x)), pattern)


class Twice(Rule):
    """NEG becomes two more NEG: never settles."""

    pattern = op("NEG", some("x"))

    def rewrite(self, match: Match) -> Value:
        return match.add("NEG", match.add("NEG", match.add("NEG", match["x"])))


def test_rules_that_never_settle_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes.engine, "MAX_SWEEPS", 3)
    b = Builder()
    rewriter = Rewriter(b.returns(b.op("NEG", b.input(1))), [Twice()])
    with pytest.raises(ConversionError, match="does not settle after 3 sweeps of Twice"):
        rewriter.run()


class NegOfSplit(Rule):
    """Both halves of a SPLIT, each other's places taken."""

    pattern = op("SPLIT", const("axis"), op("NEG", some("x")))

    def rewrite(self, match: Match) -> list[Value]:
        match.add(match.root.op, match["axis"], match["x"])
        return [match.add("NEG", half) for half in match.added[0].outputs]


def test_all_results_of_a_node_are_replaced() -> None:
    b = Builder()
    halves = b.ops("SPLIT", 1, b.op("NEG", b.input(2, 6)), num_splits=2)
    graph = b.returns(*halves)
    attempt(graph, NegOfSplit())
    assert operators(graph) == "SPLIT NEG NEG"


def test_signatures_see_the_same_values_afterwards() -> None:
    b = Builder()
    x = b.input(2, 3)
    y = b.op("RELU", b.op("MUL", b.op("ADD", x, 1.0), 1.0), name="y")
    graph = b.returns(y)
    model = Model([graph], [Signature("serving_default", {"x": x}, {"y": y}, graph)])
    passes.optimize(model)
    assert model.signatures[0].outputs["y"] is graph.outputs[0]
    assert graph.outputs[0].producer is graph.nodes[-1]


def test_explanations_tell_what_happened_at_a_node() -> None:
    b = Builder()
    y = b.op("FULLY_CONNECTED", b.input(2, 5), gaussian(3, 5), None, name="dense")
    graph = b.returns(b.op("RELU", y, name="relu"), b.op("TANH", y, name="tanh"))
    explanation = Explanation()
    passes.optimize(Model([graph]), explain=explanation)
    (event,) = [e for e in explanation.about("relu") if e.rule == "FuseActivation"]
    assert event.nodes == ("relu", "dense")
    assert event.reason == "'dense' is also read by TANH 'tanh'"
    assert not event.fired


def test_passes_are_reported_and_every_graph_is_optimised() -> None:
    seen = []
    graphs = []
    for _ in range(2):
        b = Builder()
        graphs.append(b.returns(b.op("RELU", b.op("ADD", b.input(2, 3), 1.0))))
    passes.optimize(Model(graphs), on_pass=lambda *progress: seen.append(progress))
    assert [operators(g) for g in graphs] == ["ADD", "ADD"]
    names = [p.name for p in passes.PIPELINE]
    assert [name for name, _, _ in seen[: len(names)]] == names
    assert all(count == len(names) and 1 <= n <= count for _, n, count in seen)


def test_a_shape_that_contradicts_its_operator_is_an_error() -> None:
    b = Builder()
    y = b.op("RELU", b.input(2, 3))
    y.shape = (2, 4)
    with pytest.raises(ConversionError, match=r"RELU 'RELU1' gives 'RELU1' the shape \(2, 3\)"):
        passes.optimize(Model([b.returns(y)]))


def test_shapes_become_known_again() -> None:
    b = Builder()
    y = b.op("RELU", b.input(2, 3))
    y.shape = None
    graph = b.returns(b.op("NEG", y))
    passes.optimize(Model([graph]))
    assert y.shape == (2, 3)
    assert y.dtype is FLOAT32


def test_a_long_chain_is_fused_throughout() -> None:
    b = Builder()
    x = b.input(4)
    for _ in range(1500):
        x = b.op("RELU", b.op("ADD", x, 1.0))
    graph = b.returns(x)
    passes.optimize(Model([graph]))
    assert graph.operators() == {"ADD": 1500}


def test_quantized_tensors_are_left_alone() -> None:
    b = Builder()
    x = b.input(2, 3, dtype=INT8)
    across = b.op("TRANSPOSE", x, [1, 0])
    back = b.op("TRANSPOSE", across, [1, 0])
    total = b.op("ADD", back, back)
    same = b.op("RESHAPE", total, [2, 3])
    for value, scale in ((x, 0.5), (across, 0.5), (back, 0.5), (total, 1.0), (same, 1.0)):
        value.quant = Quant.of(scale)
    graph = b.returns(b.op("DEQUANTIZE", same))
    explanation = Explanation()
    passes.optimize(Model([graph]), explain=explanation)
    ir.verify(graph)
    assert operators(graph) == "TRANSPOSE TRANSPOSE ADD DEQUANTIZE"
    assert any("computes quantized codes" in (e.reason or "") for e in explanation.events)


def test_a_change_of_scale_is_no_identity() -> None:
    b = Builder()
    x = b.input(2, 3, dtype=INT8)
    x.quant = Quant.of(0.5)
    y = b.op("RESHAPE", x, [2, 3])
    y.quant = Quant.of(0.25)
    graph = b.returns(b.op("DEQUANTIZE", y))
    passes.optimize(Model([graph]))
    assert operators(graph) == "RESHAPE DEQUANTIZE"


def test_changes_are_told_pass_by_pass_and_rule_by_rule() -> None:
    """Whoever looks sees a graph without nodes that are on their way out, and harms nothing."""
    seen: list[tuple[str, tuple[str, ...]]] = []

    def look(what: str, model: Model) -> None:
        ir.verify(model.main)
        seen.append((what, tuple(node.op.name for node in model.main.nodes)))

    def network() -> ir.Graph:
        b = Builder()
        x = b.op("FULLY_CONNECTED", b.input(2, 8), gaussian(4, 8), None)
        x = b.op("RELU", b.op("ADD", x, gaussian(4)))
        return b.returns(b.op("NEG", b.op("NEG", x)))

    watched, alone = network(), network()
    passes.optimize(Model([watched]), on_change=look)
    passes.optimize(Model([alone]))
    assert ir.dump(watched) == ir.dump(alone)
    names = [name for name, _ in seen]
    assert "fuse into products" in names
    assert "fuse activations" in names
    assert seen[-1][1] == tuple(node.op.name for node in alone.nodes)

    seen.clear()
    ruled = network()
    passes.optimize(Model([ruled]), on_rule=look)
    assert ir.dump(ruled) == ir.dump(alone)
    assert {"ShiftIntoBias", "FuseActivation"} <= {name for name, _ in seen}
    assert all(a != b for a, b in pairwise(nodes for _, nodes in seen))
