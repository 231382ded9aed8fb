"""What does nothing, undoes something, or is there twice."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from octolite.ir import Graph, Quant, Value
from octolite.ir.types import FLOAT32, INT8, INT32, Activation
from octolite.passes import folding, identities, sharing
from octolite.passes.engine import Rule
from tests.passes.building import Builder, attempt, gaussian, operators, reasons

Build = Callable[[Builder], Value]


def tail(b: Builder, x: Value) -> Value:
    """Something behind, so that the result of the graph is not what is removed."""
    return b.op("NEG", x)


def whole_slice(b: Builder, end: list[int], **attributes: int) -> Value:
    return b.op("STRIDED_SLICE", b.input(2, 5), [0, 0], end, [1, 1], **attributes)


FIRES: dict[str, tuple[Rule, Build, str]] = {
    "reshape to the same": (
        identities.SameShape(),
        lambda b: tail(b, b.op("RESHAPE", b.input(2, 5), [2, 5])),
        "NEG",
    ),
    "reshape to the same, batch unknown": (
        identities.SameShape(),
        lambda b: tail(b, b.op("RESHAPE", b.input(None, 5), [-1, 5])),
        "NEG",
    ),
    "slice of everything": (
        identities.SameShape(),
        lambda b: tail(b, b.op("SLICE", b.input(2, 5), [0, 0], [2, -1])),
        "NEG",
    ),
    "tile once": (
        identities.SameShape(),
        lambda b: tail(b, b.op("TILE", b.input(2, 5), [1, 1])),
        "NEG",
    ),
    "pad by nothing": (
        identities.NoPadding(),
        lambda b: tail(b, b.op("PAD", b.input(None, 5), [(0, 0), (0, 0)])),
        "NEG",
    ),
    "strided slice of everything": (
        identities.WholeSlice(),
        lambda b: tail(b, whole_slice(b, [0, 5], end_mask=1)),
        "NEG",
    ),
    "concatenation of one": (
        identities.OneOperand(),
        lambda b: tail(b, b.op("CONCATENATION", b.input(2, 5), axis=1)),
        "NEG",
    ),
    "cast to the same": (
        identities.SameType(),
        lambda b: tail(b, b.op("CAST", b.input(2, 5), in_data_type=FLOAT32, out_data_type=FLOAT32)),
        "NEG",
    ),
    "plus zero": (
        identities.Neutral(),
        lambda b: tail(b, b.op("ADD", np.zeros(5), b.input(None, 5))),
        "NEG",
    ),
    "times one": (
        identities.Neutral(),
        lambda b: tail(b, b.op("MUL", b.input(None, 5), 1.0)),
        "NEG",
    ),
    "to the power of one": (
        identities.Neutral(),
        lambda b: tail(b, b.op("POW", b.input(None, 5), 1.0)),
        "NEG",
    ),
    "idle transposition": (
        identities.IdleTranspose(),
        lambda b: tail(b, b.op("TRANSPOSE", b.input(2, 3, 4), [0, 1, 2])),
        "NEG",
    ),
    "transposition undone": (
        identities.TransposeTwice(),
        lambda b: tail(
            b, b.op("TRANSPOSE", b.op("TRANSPOSE", b.input(2, 3, 4), [1, 2, 0]), [2, 0, 1])
        ),
        "NEG",
    ),
    "two transpositions": (
        identities.TransposeTwice(),
        lambda b: b.op("TRANSPOSE", b.op("TRANSPOSE", b.input(2, 3, 4), [1, 2, 0]), [0, 2, 1]),
        "TRANSPOSE",
    ),
    "transposition of extents of 1": (
        identities.TransposeAsReshape(),
        lambda b: b.op("TRANSPOSE", b.input(None, 1, 1, 4), [0, 3, 1, 2]),
        "RESHAPE",
    ),
    "reshape of a view": (
        identities.ReshapeTwice(),
        lambda b: b.op("RESHAPE", b.op("SQUEEZE", b.input(2, 1, 6)), [4, 3]),
        "RESHAPE",
    ),
    "division": (
        identities.DivideAsMultiply(),
        lambda b: b.op("DIV", b.input(2, 5), gaussian(5), activation=Activation.RELU),
        "MUL",
    ),
    "subtraction": (
        identities.DivideAsMultiply(),
        lambda b: b.op("SUB", b.input(2, 5), gaussian(5)),
        "ADD",
    ),
    "two sums": (
        identities.MergeConstants(),
        lambda b: b.op("ADD", b.op("ADD", b.input(2, 5), gaussian(5)), 0.5),
        "ADD",
    ),
    "two products": (
        identities.MergeConstants(),
        lambda b: b.op("MUL", gaussian(5), b.op("MUL", gaussian(5, seed=1), b.input(2, 5))),
        "MUL",
    ),
    "constants": (
        folding.FoldConstants(),
        lambda b: b.op("ADD", b.input(2, 5), b.op("MUL", gaussian(5), 2.0)),
        "ADD",
    ),
    "shape that is known": (
        folding.FoldConstants(),
        lambda b: b.op("RESHAPE", b.input(6, name="y"), b.op("SHAPE", b.input(2, 3))),
        "RESHAPE",
    ),
    "extents of a shape of unknown batch": (
        folding.FoldShapeArithmetic(),
        lambda b: b.op("STRIDED_SLICE", b.op("SHAPE", b.input(None, 5, 7)), [1], [3], [1]),
        "",
    ),
    "flatten by the shape": (
        folding.ReshapeToKnownShape(),
        lambda b: flatten_by_shape(b, b.input(None, 5, 7)),
        "RESHAPE",
    ),
    "expanded": (
        folding.ViewAsReshape(),
        lambda b: b.op("EXPAND_DIMS", b.input(None, 5), 1),
        "RESHAPE",
    ),
}


def flatten_by_shape(b: Builder, x: Value) -> Value:
    shape = b.op("SHAPE", x)
    batch = b.op("STRIDED_SLICE", shape, [0], [1], [1], shrink_axis_mask=1)
    rows = b.op("STRIDED_SLICE", shape, [1], [2], [1], shrink_axis_mask=1)
    size = b.op("MUL", rows, 7)
    return b.op("RESHAPE", x, b.op("PACK", batch, size, values_count=2))


DECLINES: dict[str, tuple[Rule, Build, str]] = {
    "another shape": (
        identities.SameShape(),
        lambda b: tail(b, b.op("RESHAPE", b.input(2, 6), [3, 4])),
        "becomes",
    ),
    "slice of an unknown extent": (
        identities.SameShape(),
        lambda b: tail(b, b.op("SLICE", b.input(None, 5), [1, 0], [-1, 5])),
        "becomes",
    ),
    "padding": (
        identities.NoPadding(),
        lambda b: b.op("PAD", b.input(2, 5), [(0, 0), (0, 1)]),
        r"pads by \[\[0, 0\], \[0, 1\]\]",
    ),
    "a part": (
        identities.WholeSlice(),
        lambda b: whole_slice(b, [2, 4]),
        "takes a part of axis 1",
    ),
    "an axis dropped": (
        identities.WholeSlice(),
        lambda b: whole_slice(b, [1, 5], shrink_axis_mask=1),
        "adds or drops axes",
    ),
    "a cast": (
        identities.SameType(),
        lambda b: b.op("CAST", b.input(2, 5), in_data_type=FLOAT32, out_data_type=INT32),
        "from float32 to int32",
    ),
    "zeros that enlarge": (
        identities.Neutral(),
        lambda b: tail(b, b.op("ADD", b.input(1, 5), np.zeros((3, 1)))),
        "may enlarge",
    ),
    "an activation": (
        identities.Neutral(),
        lambda b: tail(b, b.op("MUL", b.input(2, 5), 1.0, activation=Activation.RELU)),
        "has an activation",
    ),
    "a transposition": (
        identities.IdleTranspose(),
        lambda b: b.op("TRANSPOSE", b.input(2, 3), [1, 0]),
        "moves axes",
    ),
    "a transposition that moves elements": (
        identities.TransposeAsReshape(),
        lambda b: b.op("TRANSPOSE", b.input(2, 3, 1), [1, 0, 2]),
        "moves more than axes of extent 1",
    ),
    "division by zero": (
        identities.DivideAsMultiply(),
        lambda b: b.op("DIV", b.op("MUL", b.input(2, 5), 1e-38), np.full(5, 1e-39, "f4")),
        "no finite reciprocal",
    ),
    "integers": (
        identities.DivideAsMultiply(),
        lambda b: b.op("SUB", b.input(2, 5, dtype=INT32), 3),
        "is int32, not float32",
    ),
    "an activation between": (
        identities.MergeConstants(),
        lambda b: b.op("ADD", b.op("ADD", b.input(2, 5), 1.0, activation=Activation.RELU), 2.0),
        "activation in between",
    ),
    "constants that grow": (
        identities.MergeConstants(),
        lambda b: b.op("ADD", b.op("ADD", b.input(3, 5), gaussian(5)), gaussian(3, 1)),
        "would grow",
    ),
    "a result that blows up": (
        folding.FoldConstants(),
        lambda b: b.op("ADD", b.input(5000), b.op("FILL", [5000], 0.5)),
        "takes 20,000 bytes",
    ),
    "two unknown extents": (
        folding.ReshapeToKnownShape(),
        lambda b: flatten_by_shape(b, b.input(None, None, 7)),
        "more than one extent",
    ),
    "expanded, two unknown extents": (
        folding.ViewAsReshape(),
        lambda b: b.op("EXPAND_DIMS", b.input(None, None), 1),
        "more than one unknown extent",
    ),
}


def build(expression: Build) -> Graph:
    b = Builder()
    return b.returns(expression(b))


@pytest.mark.parametrize("name", FIRES)
def test_fires(name: str) -> None:
    rule, expression, expected = FIRES[name]
    graph = build(expression)
    events = attempt(graph, rule)
    assert any(e.fired for e in events)
    graph.prune()
    assert operators(graph) == expected


@pytest.mark.parametrize("name", DECLINES)
def test_declines_with_a_reason(name: str) -> None:
    rule, expression, reason = DECLINES[name]
    graph = build(expression)
    before = operators(graph)
    assert re.search(reason, reasons(attempt(graph, rule)))
    assert operators(graph) == before


def test_a_result_keeps_its_name_when_what_computed_it_goes() -> None:
    b = Builder()
    graph = b.returns(b.op("MUL", b.op("NEG", b.input(2, 5)), 1.0, name="result"))
    attempt(graph, identities.Neutral())
    assert operators(graph) == "NEG"
    assert graph.nodes[0].output is graph.outputs[0]
    assert graph.outputs[0].name == "result"


def test_two_results_or_an_input_cannot_be_one() -> None:
    b = Builder()
    y = b.op("NEG", b.input(2, 5), name="y")
    graph = b.returns(y, b.op("MUL", y, 1.0, name="z"))
    assert "both results of the graph" in reasons(attempt(graph, identities.Neutral()))
    b = Builder()
    graph = b.returns(b.op("MUL", b.input(2, 5), 1.0))
    assert "is not computed" in reasons(attempt(graph, identities.Neutral()))


def test_a_result_may_become_a_constant() -> None:
    b = Builder()
    b.input(2)
    graph = b.returns(b.op("NEG", gaussian(3), name="result"))
    attempt(graph, folding.FoldConstants())
    assert not graph.nodes
    assert graph.outputs[0].is_constant


def test_quantized_weights_are_not_expanded() -> None:
    b = Builder()
    codes = b.constant(np.ones((4, 5), np.int8))
    codes.quant = Quant.of(0.5)
    assert codes.dtype is INT8
    graph = b.returns(b.op("ADD", b.input(4, 5), b.op("DEQUANTIZE", codes)))
    assert "stay small" in reasons(attempt(graph, folding.FoldConstants()))


def test_what_is_computed_twice_is_computed_once() -> None:
    b = Builder()
    x = b.input(2, 5)
    first = b.op("ADD", b.op("RELU", x), gaussian(5))
    second = b.op("ADD", b.op("RELU", x), gaussian(5))
    third = b.op("ADD", b.op("RELU", x), gaussian(5, seed=1))
    graph = b.returns(b.op("ADD_N", first, second, third))
    assert sharing.merge_duplicates(graph) == 4
    assert operators(graph) == "RELU ADD ADD ADD_N"


def test_constants_that_differ_in_sign_of_zero_stay_apart() -> None:
    b = Builder()
    x = b.input(2)
    graph = b.returns(b.op("ADD", b.op("ADD", x, np.zeros(2)), b.op("ADD", x, np.zeros(2) * -1.0)))
    assert sharing.merge_duplicates(graph) == 0
