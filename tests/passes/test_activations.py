"""Activations recognised and fused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest

from octolite.ir import Value
from octolite.ir.types import Activation
from octolite.passes import activations, identities
from tests.passes.building import Builder, attempt, gaussian, operators, reasons

Build = Callable[[Builder, Value], Value]


def mul(b: Builder, *factors: object) -> Value:
    first, *rest = factors
    for other in rest:
        first = b.op("MUL", first, other)
    assert isinstance(first, Value)
    return first


def relu6_of_x_plus_3(b: Builder, x: Value) -> Value:
    return b.op("RELU6", b.op("ADD", x, 3.0))


def tanh_term(b: Builder, x: Value) -> Value:
    inside = b.op("ADD", x, b.op("MUL", 0.044715, b.op("POW", x, 3.0)))
    return b.op("ADD", 1.0, b.op("TANH", b.op("MUL", math.sqrt(2 / math.pi), inside)))


def unit(b: Builder, x: Value, axis: int = -1, floor: float = 1e-12) -> Value:
    squares = b.op("SUM", b.op("SQUARE", x), [axis], keep_dims=True)
    return b.op("MUL", x, b.op("RSQRT", b.op("MAXIMUM", squares, floor)))


def softmax(b: Builder, x: Value, axis: int = -1) -> Value:
    e = b.op("EXP", b.op("SUB", x, b.op("REDUCE_MAX", x, [axis], keep_dims=True)))
    return b.op("DIV", e, b.op("SUM", e, [axis], keep_dims=True))


COMPOSED: dict[str, tuple[Build, str]] = {
    "relu": (lambda b, x: b.op("MAXIMUM", 0.0, x), "RELU"),
    "relu6": (lambda b, x: b.op("MINIMUM", b.op("MAXIMUM", x, 0.0), 6.0), "RELU6"),
    "relu6, other order": (lambda b, x: b.op("MAXIMUM", b.op("MINIMUM", x, 6.0), 0.0), "RELU6"),
    "relu n1": (lambda b, x: b.op("MINIMUM", b.op("MAXIMUM", x, -1.0), 1.0), "RELU_N1_TO_1"),
    "hard swish": (lambda b, x: b.op("DIV", mul(b, x, relu6_of_x_plus_3(b, x)), 6.0), "HARD_SWISH"),
    "hard swish by a gate": (
        lambda b, x: mul(b, x, b.op("MUL", relu6_of_x_plus_3(b, x), 1 / 6)),
        "HARD_SWISH",
    ),
    "hard swish, scaled first": (
        lambda b, x: mul(b, b.op("MUL", x, 1 / 6), relu6_of_x_plus_3(b, x)),
        "HARD_SWISH",
    ),
    "gelu": (lambda b, x: mul(b, 0.5, x, tanh_term(b, x)), "GELU"),
    "gelu, other brackets": (lambda b, x: mul(b, 0.5, mul(b, x, tanh_term(b, x))), "GELU"),
    "leaky relu": (lambda b, x: b.op("MAXIMUM", b.op("MUL", x, 0.2), x), "LEAKY_RELU"),
    "prelu": (
        lambda b, x: b.op(
            "ADD", b.op("RELU", x), b.op("MUL", gaussian(5), b.op("RELU", b.op("NEG", x)))
        ),
        "PRELU",
    ),
    "prelu by absolute values": (
        lambda b, x: b.op(
            "ADD", b.op("RELU", x), mul(b, b.op("SUB", x, b.op("ABS", x)), gaussian(5))
        ),
        "PRELU",
    ),
    "prelu of one slope": (
        lambda b, x: b.op("ADD", b.op("RELU", x), mul(b, b.op("RELU", b.op("NEG", x)), -0.3)),
        "LEAKY_RELU",
    ),
    "l2 normalization": (unit, "L2_NORMALIZATION"),
    "softmax": (softmax, "SOFTMAX"),
    "softmax without maximum": (
        lambda b, x: b.op("DIV", b.op("EXP", x), b.op("SUM", b.op("EXP", x), [1], keep_dims=True)),
        "EXP EXP SUM DIV",
    ),
}

DECLINES: dict[str, tuple[Build, str]] = {
    "a slope over 1": (lambda b, x: b.op("MAXIMUM", mul(b, x, 1.5), x), "slope between 0 and 1"),
    "l2 along another axis": (lambda b, x: unit(b, x, 0), "works along axes"),
    "softmax along another axis": (lambda b, x: softmax(b, x, 0), "works along axes"),
    "a constant that adds an axis": (
        lambda b, x: b.op("MAXIMUM", x, [[[0.0]]]),
        "not as many axes",
    ),
    "an activation inside": (
        lambda b, x: mul(
            b, x, b.op("MUL", b.op("RELU6", b.op("ADD", x, 3.0, activation=Activation.RELU)), 1 / 6)
        ),
        "has an activation of its own",
    ),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_composed_activations_are_recognised(name: str) -> None:
    expression, expected = COMPOSED[name]
    b = Builder()
    graph = b.returns(expression(b, b.input(4, 5)))
    attempt(graph, *identities.ARITHMETIC, *activations.COMPOSED)
    assert operators(graph) == expected


@pytest.mark.parametrize("name", DECLINES)
def test_what_only_looks_like_one_is_left_alone(name: str) -> None:
    expression, reason = DECLINES[name]
    b = Builder()
    graph = b.returns(expression(b, b.input(4, 5)))
    before = operators(graph)
    assert re.search(reason, reasons(attempt(graph, *activations.COMPOSED)))
    assert operators(graph) == before


def test_other_constants_are_another_function() -> None:
    b = Builder()
    x = b.input(4, 5)
    graph = b.returns(
        b.op("MINIMUM", b.op("MAXIMUM", x, 0.0), 5.9), mul(b, 0.4, x, tanh_term(b, x))
    )
    attempt(graph, *activations.COMPOSED)
    assert "RELU6" not in operators(graph)
    assert "GELU" not in operators(graph)


def test_parts_that_others_read_stay_for_them() -> None:
    b = Builder()
    x = b.input(4, 5)
    gate = relu6_of_x_plus_3(b, x)
    graph = b.returns(b.op("MUL", mul(b, x, gate), 1 / 6), b.op("MUL", gate, 1 / 6))
    attempt(graph, *activations.COMPOSED)
    assert operators(graph).split().count("HARD_SWISH") == 1


@pytest.mark.parametrize("name", ["RELU", "RELU6", "RELU_N1_TO_1"])
def test_activations_are_fused(name: str) -> None:
    b = Builder()
    graph = b.returns(b.op(name, b.op("ADD", b.input(4, 5), gaussian(5)), name="result"))
    attempt(graph, *activations.FUSED)
    (node,) = graph.nodes
    assert node.op.attributes()["activation"] is Activation[name]
    assert node.output.name == "result"


def test_fusion_declines_with_a_reason() -> None:
    b = Builder()
    x = b.input(4, 5)
    y = b.op("ADD", x, 1.0, activation=Activation.RELU6)
    graph = b.returns(b.op("RELU", y))
    assert "has the activation RELU6 already" in reasons(attempt(graph, *activations.FUSED))
    b = Builder()
    y = b.op("ADD", b.input(4, 5), 1.0)
    graph = b.returns(b.op("RELU", y), b.op("TANH", y))
    assert "is also read by TANH" in reasons(attempt(graph, *activations.FUSED))
