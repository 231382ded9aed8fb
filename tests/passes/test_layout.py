"""Transpositions sink, rise and cancel."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from octolite.ir import Graph, Value
from octolite.ir.types import INT32
from octolite.passes import identities, layout
from tests.passes.building import Builder, attempt, gaussian, operators, reasons

Build = Callable[[Builder, Value], Value]

FIRST, LAST = [0, 3, 1, 2], [0, 2, 3, 1]

BETWEEN: dict[str, Build] = {
    "activation": lambda b, x: b.op("RELU6", x),
    "bias": lambda b, x: b.op("ADD", x, gaussian(4, 1, 1)),
    "bias with a batch axis": lambda b, x: b.op("MUL", gaussian(1, 4, 1, 1), x),
    "number": lambda b, x: b.op("MAXIMUM", x, 0.5),
    "image of constants": lambda b, x: b.op("SUB", x, gaussian(5, 6)),
    "prelu": lambda b, x: b.op("PRELU", x, gaussian(4, 1, 1)),
    "padding": lambda b, x: b.op("PAD", x, [(0, 0), (1, 2), (0, 3), (4, 0)]),
    "padding with a value": lambda b, x: b.op("PADV2", x, [(0, 0), (1, 2), (0, 3), (4, 0)], -1.0),
    "mirror": lambda b, x: b.op("MIRROR_PAD", x, [(0, 0), (1, 2), (0, 3), (4, 0)]),
    "mean, kept": lambda b, x: b.op("MEAN", x, [2, 3], keep_dims=True),
    "maximum of channels, kept": lambda b, x: b.op("REDUCE_MAX", x, [-3], keep_dims=True),
    "slice": lambda b, x: b.op("SLICE", x, [0, 1, 2, 3], [-1, 2, -1, 2]),
    "strided slice": lambda b, x: b.op(
        "STRIDED_SLICE", x, [0, 1, 0, 3], [2, 4, 9, 0], [1, 2, 1, -1], end_mask=8, begin_mask=4
    ),
    "itself": lambda b, x: b.op("MUL", x, b.op("LOGISTIC", x)),
    "channels put together": lambda b, x: b.op("CONCATENATION", x, b.op("RELU", x), axis=1),
    "constant channels added": lambda b, x: b.op("CONCATENATION", gaussian(2, 3, 5, 6), x, axis=1),
    "channels split": lambda b, x: b.op("ADD", *b.ops("SPLIT", 1, x, num_splits=2)),
    "gate from a view": lambda b, x: b.op(
        "MUL", x, b.op("RESHAPE", b.input(2, 4, name="gate"), [2, 4, 1, 1])
    ),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_between_two_transpositions_everything_is_channels_last(name: str) -> None:
    b = Builder()
    first = b.op("TRANSPOSE", b.op("NEG", b.input(2, 5, 6, 4)), FIRST)
    graph = b.returns(b.op("NEG", b.op("TRANSPOSE", BETWEEN[name](b, first), LAST)))
    attempt(graph, *layout.RULES, *identities.CANCEL)
    assert "TRANSPOSE" not in operators(graph)


DROPPING: dict[str, Build] = {
    "mean": lambda b, x: b.op("MEAN", x, [2, 3]),
    "sum of channels": lambda b, x: b.op("SUM", x, 1),
    "where the largest channel is": lambda b, x: b.op("ARG_MAX", x, 1, output_type=INT32),
}


@pytest.mark.parametrize("name", DROPPING)
def test_reductions_drop_what_was_transposed(name: str) -> None:
    b = Builder()
    first = b.op("TRANSPOSE", b.input(2, 5, 6, 4), FIRST)
    graph = b.returns(DROPPING[name](b, first))
    attempt(graph, *layout.RULES, *identities.CANCEL)
    assert "TRANSPOSE" not in operators(graph)


DECLINES: dict[str, tuple[Build, str]] = {
    "another operand": (
        lambda b, x: b.op("ADD", x, b.input(2, 4, 5, 6, name="y")),
        "'?y: .*is not transposed",
    ),
    "another order": (
        lambda b, x: b.op("ADD", x, b.op("TRANSPOSE", b.input(2, 4, 6, 5, name="y"), [0, 1, 3, 2])),
        "another operand by",
    ),
    "a constant of more axes": (
        lambda b, x: b.op("ADD", x, gaussian(1, 1, 1, 1, 1)),
        "adds axes",
    ),
    "softmax of the last axis": (
        lambda b, x: b.op("SOFTMAX", x),
        "works along the last axis",
    ),
    "axes dropped by a slice": (
        lambda b, x: b.op(
            "STRIDED_SLICE", x, [0, 0, 0, 0], [2, 1, 5, 6], [1, 1, 1, 1], shrink_axis_mask=2
        ),
        "adds or drops axes",
    ),
    "paddings that are computed": (
        lambda b, x: b.op("PAD", x, b.op("MUL", b.input(4, 2, name="p", dtype=INT32), 0)),
        "paddings are not constant",
    ),
}


@pytest.mark.parametrize("name", DECLINES)
def test_declines_with_a_reason(name: str) -> None:
    expression, reason = DECLINES[name]
    b = Builder()
    first = b.op("TRANSPOSE", b.input(2, 5, 6, 4), FIRST)
    graph = b.returns(expression(b, first))
    before = operators(graph)
    assert re.search(reason, reasons(attempt(graph, *layout.RULES)))
    assert operators(graph) == before


def test_what_stands_before_the_first_transposition_moves_behind_it() -> None:
    b = Builder()
    x = b.op(
        "PAD", b.op("MUL", b.input(2, 3, 5, 6), gaussian(3, 1, 1)), [(0, 0), (0, 0), (1, 1), (1, 1)]
    )
    graph = b.returns(b.op("NEG", b.op("TRANSPOSE", x, LAST)))
    attempt(graph, *layout.RULES, *identities.CANCEL)
    assert operators(graph) == "TRANSPOSE MUL PAD NEG"


def test_other_orders_that_many_read_stay() -> None:
    b = Builder()
    x = b.op("TRANSPOSE", b.input(2, 5, 6), [0, 2, 1])
    graph: Graph = b.returns(b.op("RELU", x), b.op("TANH", x))
    assert "is also read by" in reasons(attempt(graph, *layout.RULES))
    assert operators(graph) == "TRANSPOSE RELU TANH"
