"""Activation functions by name, and the layers that are one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from octolite.errors import UnsupportedError
from octolite.frontends import compose
from octolite.frontends.keras.engine import Call, layer
from octolite.ir.graph import Value

Activation = Callable[..., Value]

ACTIVATIONS: dict[str, Activation] = {}
"""Name of an activation function → what becomes of it."""


def activation(*names: str) -> Callable[[Activation], Activation]:
    """Register ``(call, x, **arguments) -> value`` for an activation function."""

    def register(function: Activation) -> Activation:
        ACTIVATIONS.update(dict.fromkeys(names, function))
        return function

    return register


def activate(n: Call, x: Value, what: Any) -> Value:
    """``x`` through an activation as a configuration has it: a name, a function or a layer.

    Raises :class:`UnsupportedError` for an unknown one.
    """
    arguments: Mapping[str, Any] = {}
    if isinstance(what, Mapping):
        config = what.get("config")
        if what.get("class_name") == "function":
            what = config
        elif isinstance(config, Mapping):
            return _by_layer(n, x, what, config)
    if what is None:
        return x
    if not isinstance(what, str) or what.rpartition(">")[2] not in ACTIVATIONS:
        raise UnsupportedError(
            f"activation {what!r}, which is unknown; octolite.keras.activation says what it is"
        )
    return ACTIVATIONS[what.rpartition(">")[2]](n, n.real(x), **arguments)


def _by_layer(n: Call, x: Value, spec: Mapping[str, Any], config: Mapping[str, Any]) -> Value:
    """An activation that is given as a layer of its own."""
    from octolite.frontends.keras.network import read

    inner = read({**spec, "config": {"name": "activation", **config}}, n.keras, n.layer.path, 1)
    result = n.call(inner, x)
    assert isinstance(result, Value)
    return result


# -- what TFLite has an operator for ----------------------------------------------------------

SAME = {
    "relu6": "RELU6", "tanh": "TANH", "sigmoid": "LOGISTIC", "exponential": "EXP",
}  # fmt: skip
"""Functions that take and give the same as an operator."""


def _same(operator: str) -> Activation:
    return lambda n, x: n.op(operator, x)


ACTIVATIONS.update({name: _same(operator) for name, operator in SAME.items()})


@activation("linear")
def linear(n: Call, x: Value) -> Value:
    return x


@activation("relu")
def relu(
    n: Call, x: Value, negative_slope: float = 0.0, max_value: float | None = None,
    threshold: float = 0.0,
) -> Value:  # fmt: skip
    """As it is from the threshold to ``max_value``; ``slope · (x - threshold)`` below."""
    if threshold == 0 and max_value is None:
        return n.op("LEAKY_RELU", x, alpha=negative_slope) if negative_slope else n.op("RELU", x)
    if threshold == 0 and max_value == 6 and not negative_slope:
        return n.op("RELU6", x)
    y = x if max_value is None else n.op("MINIMUM", x, float(max_value))
    if threshold == 0 and not negative_slope:
        return n.op("MAXIMUM", y, 0.0)
    above = n.op("GREATER" if not negative_slope else "GREATER_EQUAL", x, threshold)
    below = n.op("MUL", n.op("SUB", x, threshold), negative_slope)
    return n.op("SELECT_V2", above, y, below)


@activation("leaky_relu")
def leaky_relu(n: Call, x: Value, negative_slope: float = 0.2) -> Value:
    return n.op("LEAKY_RELU", x, alpha=negative_slope)


@activation("elu")
def elu(n: Call, x: Value, alpha: float = 1.0) -> Value:
    if alpha == 1:
        return n.op("ELU", x)
    negative = n.op("MUL", n.op("ELU", n.op("MINIMUM", x, 0.0)), alpha)
    return n.op("ADD", n.op("RELU", x), negative)


@activation("softmax")
def softmax(n: Call, x: Value, axis: int = -1) -> Value:
    at, rank = n.axis(x, axis), n.rank(x)
    if at == rank - 1:
        return n.op("SOFTMAX", x, beta=1.0)
    order = [*range(at), rank - 1, *range(at + 1, rank - 1), at]
    return n.transpose(n.op("SOFTMAX", n.transpose(x, order), beta=1.0), order)


@activation("log_softmax")
def log_softmax(n: Call, x: Value, axis: int = -1) -> Value:
    at, rank = n.axis(x, axis), n.rank(x)
    order = [*range(at), rank - 1, *range(at + 1, rank - 1), at]
    return n.transpose(n.op("LOG_SOFTMAX", n.transpose(x, order)), order)


@activation("gelu")
def gelu(n: Call, x: Value, approximate: bool = False) -> Value:
    return n.op("GELU", x, approximate=approximate)


# -- compositions -----------------------------------------------------------------------------

activation("selu")(compose.selu)
activation("softplus")(compose.softplus)
activation("softsign")(compose.softsign)


@activation("silu", "swish")
def silu(n: Call, x: Value) -> Value:
    return n.op("MUL", x, n.op("LOGISTIC", x))


@activation("hard_sigmoid")
def hard_sigmoid(n: Call, x: Value) -> Value:
    """``relu6(x + 3) / 6``; in Keras 2 ``0.2 x + 0.5`` between 0 and 1."""
    if n.keras >= 3:
        return n.op("MUL", n.op("RELU6", n.op("ADD", x, 3.0)), 1 / 6)
    y = n.op("ADD", n.op("MUL", x, 0.2), 0.5)
    return n.op("MINIMUM", n.op("MAXIMUM", y, 0.0), 1.0)


@activation("hard_silu", "hard_swish")
def hard_silu(n: Call, x: Value) -> Value:
    return n.op("HARD_SWISH", x)


@activation("mish")
def mish(n: Call, x: Value) -> Value:
    return n.op("MUL", x, n.op("TANH", compose.softplus(n, x)))


@activation("log_sigmoid")
def log_sigmoid(n: Call, x: Value) -> Value:
    return n.op("NEG", compose.softplus(n, n.op("NEG", x)))


@activation("celu")
def celu(n: Call, x: Value, alpha: float = 1.0) -> Value:
    below = n.op("ELU", n.op("MUL", n.op("MINIMUM", x, 0.0), 1 / alpha))
    return n.op("ADD", n.op("RELU", x), n.op("MUL", below, alpha))


@activation("glu")
def glu(n: Call, x: Value, axis: int = -1) -> Value:
    at = n.constant(_scalar(n.axis(x, axis)))
    first, second = n.ops("SPLIT", at, x, num_splits=2)
    return n.op("MUL", first, n.op("LOGISTIC", second))


@activation("tanh_shrink")
def tanh_shrink(n: Call, x: Value) -> Value:
    return n.op("SUB", x, n.op("TANH", x))


@activation("hard_tanh")
def hard_tanh(n: Call, x: Value) -> Value:
    return n.op("RELU_N1_TO_1", x)


@activation("soft_shrink")
def soft_shrink(n: Call, x: Value, threshold: float = 0.5) -> Value:
    above = n.op("RELU", n.op("SUB", x, threshold))
    return n.op("ADD", above, n.op("MINIMUM", n.op("ADD", x, threshold), 0.0))


@activation("hard_shrink")
def hard_shrink(n: Call, x: Value, threshold: float = 0.5) -> Value:
    return n.op("SELECT_V2", n.op("GREATER", n.op("ABS", x), threshold), x, n.like(x, 0.0))


@activation("threshold")
def threshold(n: Call, x: Value, threshold: float = 0.0, default_value: float = 0.0) -> Value:
    return n.op("SELECT_V2", n.op("GREATER", x, threshold), x, n.like(x, default_value))


@activation("squareplus")
def squareplus(n: Call, x: Value, b: float = 4) -> Value:
    root = n.op("SQRT", n.op("ADD", n.op("SQUARE", x), b))
    return n.op("MUL", n.op("ADD", x, root), 0.5)


@activation("sparse_plus")
def sparse_plus(n: Call, x: Value) -> Value:
    """0 to -1, ``(x + 1)² / 4`` to 1, ``x`` from there."""
    middle = n.op("MUL", n.op("SQUARE", n.op("MAXIMUM", n.op("ADD", x, 1.0), 0.0)), 0.25)
    return n.op("SELECT_V2", n.op("LESS", x, 1.0), middle, x)


@activation("sparse_sigmoid")
def sparse_sigmoid(n: Call, x: Value) -> Value:
    y = n.op("MUL", n.op("ADD", x, 1.0), 0.5)
    return n.op("MINIMUM", n.op("MAXIMUM", y, 0.0), 1.0)


@activation("sparsemax")
def sparsemax(n: Call, x: Value, axis: int = -1) -> Value:
    """Above a threshold that follows from the sums of the largest numbers, as Keras has it."""
    import numpy as np

    at, rank = n.axis(x, axis), n.rank(x)
    order = [*range(at), rank - 1, *range(at + 1, rank - 1), at]
    z = n.transpose(x, order)
    count = n.extent(z, -1)
    ranked, _ = n.ops("TOPK_V2", z, n.constant(_scalar(count)))
    sums = n.op("CUMSUM", ranked, n.constant(_scalar(rank - 1)))
    numbers = n.constant(np.arange(1, count + 1, dtype=np.float32))
    limit = n.op("DIV", n.op("SUB", sums, 1.0), numbers)
    support = n.op("CAST", n.op("GREATER", ranked, limit), **_to_float(n))
    size = n.op("SUM", support, [rank - 1], keep_dims=True)
    total = n.op("SUM", n.op("MUL", sums, support), [rank - 1], keep_dims=True)
    tau = n.op("DIV", n.op("SUB", total, 1.0), size)
    return n.transpose(n.op("RELU", n.op("SUB", z, tau)), order)


def _to_float(n: Call) -> dict[str, Any]:
    from octolite.ir.types import BOOL, FLOAT32

    return {"in_data_type": BOOL, "out_data_type": FLOAT32}


def _scalar(number: int) -> Any:
    import numpy as np

    return np.asarray(number, np.int32)


# -- layers -----------------------------------------------------------------------------------


@layer("Activation", masks="kept")
def activation_layer(n: Call, x: Value) -> Value:
    """Any function of the list below."""
    return n.activate(x)


@layer("ReLU", masks="kept")
def relu_layer(n: Call, x: Value) -> Value:
    """With a limit, a slope and a threshold."""
    limit = n.get("max_value")
    return relu(
        n, n.real(x), n.number("negative_slope", 0.0),
        None if limit is None else n.number("max_value"), n.number("threshold", 0.0),
    )  # fmt: skip


@layer("LeakyReLU", masks="kept")
def leaky_relu_layer(n: Call, x: Value) -> Value:
    """LEAKY_RELU."""
    slope = n.number("negative_slope") if n.has("negative_slope") else n.number("alpha", 0.3)
    return leaky_relu(n, n.real(x), slope)


@layer("ELU", masks="kept")
def elu_layer(n: Call, x: Value) -> Value:
    """ELU, scaled below 0 for another alpha than 1."""
    return elu(n, n.real(x), n.number("alpha", 1.0))


@layer("ThresholdedReLU", masks="kept")
def thresholded_relu(n: Call, x: Value) -> Value:
    """What is above theta."""
    return threshold(n, n.real(x), n.number("theta", 1.0))


@layer("PReLU", weights="alpha", masks="kept")
def prelu(n: Call, x: Value) -> Value:
    """PRELU; axes may share."""
    return n.op("PRELU", n.real(x), n.weight("alpha"))


@layer("Softmax", masks="kept")
def softmax_layer(n: Call, x: Value) -> Value:
    """Over one axis or several; masked positions get 0."""
    mask, axis = n.mask(x), n.get("axis", -1)
    axes = [n.axis(x, a) for a in (axis if isinstance(axis, list) else [axis])]
    x = n.real(x)
    if mask is not None:
        x = n.op("SELECT_V2", mask, x, n.like(x, -3e38 if n.keras >= 3 else -1e9))
    y = softmax(n, x, axes[0]) if len(axes) == 1 else _joint_softmax(n, x, axes)
    return n.op("SELECT_V2", mask, y, n.like(y, 0.0)) if mask is not None and n.keras >= 3 else y


def _joint_softmax(n: Call, x: Value, axes: list[int]) -> Value:
    top = n.op("REDUCE_MAX", x, axes, keep_dims=True)
    powers = n.op("EXP", n.op("SUB", x, top))
    return n.op("DIV", powers, n.op("SUM", powers, axes, keep_dims=True))
