"""Activations: recognised where they are written out, and fused into what computes their input."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from octolite.ir.graph import Value
from octolite.ir.types import FLOAT32, Activation
from octolite.passes.engine import Match, Rule, operator
from octolite.passes.patterns import Pattern, const, number, op, some

Build = Callable[[Match], Value]
Check = Callable[[Match], str | None]


def _no_objection(match: Match) -> str | None:
    return None


class Composed(Rule):
    """An operator that is written out in smaller ones, and computed from ``x`` alone."""

    keeps_inner = True

    def __init__(
        self, name: str, pattern: Pattern, build: Build, check: Check = _no_objection
    ) -> None:
        self.pattern = pattern
        self._name, self._build, self._check = name, build, check

    @property
    def name(self) -> str:
        return f"Composed {self._name}"

    def check(self, match: Match) -> str | None:
        if match["x"].dtype is not FLOAT32:
            return f"{match['x'].name!r} is {match['x'].dtype}, not float32"
        x, y = match["x"].shape, match.root.output.shape
        if x is None or y is None or len(x) != len(y):
            return f"{match.root.output!r} has not as many axes as {match['x']!r}"
        for node in match.nodes:
            if node.op.attributes().get("activation"):
                return f"{node} has an activation of its own"
        return self._check(match)

    def rewrite(self, match: Match) -> Value:
        return self._build(match)


X = some("x")


def of_x(operator_name: str, **attributes: float | bool) -> Build:
    """Build the operator of that name on ``x``."""
    return lambda match: match.add(operator_name, match["x"], **attributes)


def clamps(operator_name: str, low: float, high: float) -> list[Rule]:
    """MINIMUM and MAXIMUM in either order."""
    name = operator_name
    return [
        Composed(name, op("MINIMUM", op("MAXIMUM", X, number(low)), number(high)), of_x(name)),
        Composed(name, op("MAXIMUM", op("MINIMUM", X, number(high)), number(low)), of_x(name)),
    ]


def product_of_three(x: Pattern, factor: float, y: Pattern) -> list[Pattern]:
    """``x · factor · y`` however it is bracketed."""
    c = number(factor)
    return [
        op("MUL", op("MUL", x, c), y),
        op("MUL", x, op("MUL", y, c)),
        op("MUL", op("MUL", x, y), c),
    ]


# -- HARD_SWISH and GELU ------------------------------------------------------------------------

RELU6_OF_X_PLUS_3 = op("RELU6", op("ADD", X, number(3)))

CUBES = [op("POW", X, number(3)), op("MUL", op("MUL", X, X), X), op("MUL", op("SQUARE", X), X)]


def tanh_term(cube: Pattern) -> Pattern:
    """``1 + tanh(√(2/π) · (x + 0.044715 · x³))``."""
    inside = op("ADD", X, op("MUL", cube, number(0.044715)))
    return op("ADD", op("TANH", op("MUL", inside, number(math.sqrt(2 / math.pi)))), number(1))


def erf(u: Pattern) -> Pattern:
    """erf as importers write it out: ``sign(u) · (1 - tail)``, Abramowitz and Stegun 7.1.26."""
    size = op("ABS", u)
    t = op("DIV", number(1), op("ADD", op("MUL", size, number(0.3275911)), number(1)))
    total = op("MUL", t, number(1.061405429))
    for term in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        total = op("MUL", op("ADD", total, number(term)), t)
    tail = op("MUL", total, op("EXP", op("NEG", op("SQUARE", size))))
    return op("MUL", op("SIGN", u), op("SUB", number(1), tail))


SCALED = op("MUL", X, number(math.sqrt(0.5)), name="u")
NEGATED = op("MUL", X, number(-math.sqrt(0.5)), name="u")
NEGATED_FIRST = op("MUL", op("NEG", X), number(math.sqrt(0.5)), name="u")

GELU = [op("ADD", erf(SCALED), number(1))] + [
    op("SUB", number(1), erf(u)) for u in (NEGATED, NEGATED_FIRST)
]

# -- LEAKY_RELU, PRELU ----------------------------------------------------------------------------


def _check_slope(match: Match) -> str | None:
    slope = match.data("a")
    if slope.size != 1 or not 0 < float(slope.reshape(())) < 1:
        return f"{match['a'].name!r} is not one slope between 0 and 1"
    return None


def _leaky(match: Match) -> Value:
    return match.add("LEAKY_RELU", match["x"], alpha=float(match.data("a").reshape(())))


def _check_alpha(match: Match) -> str | None:
    shape = match["x"].shape
    if shape is None or match.data("a").ndim > len(shape):
        return f"{match['a']!r} does not broadcast over {match['x']!r}"
    return None


def _prelu(match: Match, factor: float) -> Value:
    """The slope below 0 is ``factor · a``."""
    slope = match.data("a") * np.float32(factor)
    if slope.size == 1:
        return match.add("LEAKY_RELU", match["x"], alpha=float(slope.reshape(())))
    return match.add("PRELU", match["x"], match.constant(slope, like=match["a"]))


# -- along the last axis ------------------------------------------------------------------------

# Any number may be taken off before; whoever writes softmax out takes the maximum.
MAXIMUM = op("REDUCE_MAX", X, const("max axis"), name="max")
LESS_MAXIMUM = op("EXP", op("SUB", X, MAXIMUM), name="e")
SQUARES = op("SUM", op("SQUARE", X), const("axis"), name="sum")
PRODUCTS = op("SUM", op("MUL", X, X), const("axis"), name="sum")


def _check_last_axis(match: Match) -> str | None:
    shape, axes = match["x"].shape, match.data("axis").reshape(-1).tolist()
    if "max" in match and match.data("max axis").reshape(-1).tolist() != axes:
        return f"{match.node('max')} works along another axis than {match.node('sum')}"
    if shape is None or len(axes) != 1 or axes[0] % max(len(shape), 1) != len(shape) - 1:
        return f"it works along axes {axes} of {match['x']!r}, not the last"
    for name in ("sum", "max"):
        if name in match and not operator(match.node(name)).keep_dims:
            return f"{match.node(name)} drops the axis"
    return None


def softmax(e: Pattern) -> Pattern:
    """``e / Σ e``."""
    return op("DIV", e, op("SUM", e, const("axis"), name="sum"))


def l2(squares: Pattern) -> Pattern:
    """``x / √max(Σx², ε)``; the operator's own ε is 1e-12."""
    return op("MUL", X, op("RSQRT", op("MAXIMUM", squares, number(1e-12))))


COMPOSED: tuple[Rule, ...] = (
    *clamps("RELU6", 0, 6),
    *clamps("RELU_N1_TO_1", -1, 1),
    Composed("RELU6", op("MINIMUM", op("RELU", X), number(6)), of_x("RELU6")),
    Composed("RELU6", op("RELU", op("MINIMUM", X, number(6))), of_x("RELU6")),
    Composed("RELU", op("MAXIMUM", X, number(0)), of_x("RELU")),
    *(
        Composed("HARD_SWISH", p, of_x("HARD_SWISH"))
        for p in product_of_three(X, 1 / 6, RELU6_OF_X_PLUS_3)
    ),
    *(
        Composed("GELU", p, of_x("GELU", approximate=True))
        for cube in CUBES
        for p in product_of_three(X, 0.5, tanh_term(cube))
    ),
    *(Composed("GELU", p, of_x("GELU")) for term in GELU for p in product_of_three(X, 0.5, term)),
    Composed("LEAKY_RELU", op("MAXIMUM", X, op("MUL", X, const("a"))), _leaky, _check_slope),
    Composed(
        "PRELU",
        op("ADD", op("RELU", X), op("MUL", op("RELU", op("NEG", X)), const("a"))),
        lambda match: _prelu(match, -1),
        _check_alpha,
    ),
    Composed(
        "PRELU",
        op("ADD", op("RELU", X), op("MUL", op("SUB", X, op("ABS", X)), const("a"))),
        lambda match: _prelu(match, 2),
        _check_alpha,
    ),
    *(
        Composed("SOFTMAX", softmax(e), of_x("SOFTMAX"), _check_last_axis)
        for e in (LESS_MAXIMUM, op("EXP", X, name="e"))
    ),
    *(
        Composed("L2_NORMALIZATION", l2(s), of_x("L2_NORMALIZATION"), _check_last_axis)
        for s in (SQUARES, PRODUCTS)
    ),
)

# -- fusion -------------------------------------------------------------------------------------

ACTIVATIONS = {
    "RELU": Activation.RELU,
    "RELU6": Activation.RELU6,
    "RELU_N1_TO_1": Activation.RELU_N1_TO_1,
}

# CONCATENATION and L2_NORMALIZATION have the attribute too, but run times take no other than NONE.
APPLY_ACTIVATION = (
    "CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV FULLY_CONNECTED ADD SUB MUL DIV "
    "AVERAGE_POOL_2D MAX_POOL_2D L2_POOL_2D"
)


class FuseActivation(Rule):
    """An activation becomes an attribute of the operator that computes its input."""

    pattern = op(" ".join(ACTIVATIONS), op(APPLY_ACTIVATION, name="y"))

    def check(self, match: Match) -> str | None:
        node, y = match.node("y"), match["y"]
        present = node.op.attributes()["activation"]
        if present is not Activation.NONE:
            return f"{node} has the activation {present.name} already"
        if y.dtype is not FLOAT32:
            return f"{y.name!r} is {y.dtype}, not float32"
        return None

    def rewrite(self, match: Match) -> Value:
        node = match.node("y")
        activation = ACTIVATIONS[match.root.op.name]
        return match.add(operator(node).replace(activation=activation), *node.inputs)


FUSED: tuple[Rule, ...] = (FuseActivation(),)
