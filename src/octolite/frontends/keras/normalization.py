"""Normalization layers, as they are at inference."""

from __future__ import annotations

import numpy as np

from octolite.errors import InvalidGraphError
from octolite.frontends import compose
from octolite.frontends.keras.engine import Call, layer
from octolite.ir.graph import Value


def _axes(n: Call, x: Value, default: int = -1) -> list[int]:
    given = n.get("axis", default)
    items = given if isinstance(given, list) else [given]
    return sorted({n.axis(x, a) for a in items})


def _along(n: Call, x: Value, parameter: Value, axes: list[int]) -> Value:
    """A parameter over ``axes`` of ``x``, shaped to broadcast."""
    shape = [n.extent(x, a) if a in axes else 1 for a in range(axes[0], n.rank(x))]
    return n.reshape(parameter, shape)


@layer(
    "BatchNormalization", "SyncBatchNormalization", masks="kept",
    weights="gamma?scale beta?center moving_mean~ moving_variance~",
)  # fmt: skip
def batch_normalization(n: Call, x: Value) -> Value:
    """By the moving mean and variance: a factor and a shift, folded into weights before them."""
    axes, x = _axes(n, x), n.real(x)
    size = n.extent(x, axes[0])
    mean, variance = (n.weight(f"moving_{name}", size) for name in ("mean", "variance"))
    gamma, beta = (n.optional(name, size) for name in ("gamma", "beta"))
    one, zero = n.like(mean, 1.0), n.like(mean, 0.0)
    factor, shift = compose.normalization(
        n, gamma or one, beta or zero, mean, variance, n.number("epsilon", 1e-3)
    )
    scaled = n.op("MUL", x, _along(n, x, factor, axes))
    return n.op("ADD", scaled, _along(n, x, shift, axes))


def _standardize(n: Call, x: Value, axes: list[int], epsilon: float) -> Value:
    """``(x - mean) / √(variance + epsilon)`` over ``axes``."""
    centred = n.op("SUB", x, n.op("MEAN", x, axes, keep_dims=True))
    variance = n.op("MEAN", n.op("SQUARE", centred), axes, keep_dims=True)
    return n.op("MUL", centred, n.op("RSQRT", n.op("ADD", variance, epsilon)))


@layer("LayerNormalization", weights="gamma?scale beta?center", masks="kept")
def layer_normalization(n: Call, x: Value) -> Value:
    """Over any axes; with ``rms_scaling`` by the root of the variance."""
    axes, x = _axes(n, x), n.real(x)
    epsilon = n.number("epsilon", 1e-3)
    if n.get("rms_scaling"):
        gamma = n.optional("gamma")
        y = _root_mean_square(n, x, axes, epsilon, centred=True)
        return y if gamma is None else n.op("MUL", y, _along(n, x, gamma, axes))
    return _affine(n, x, _standardize(n, x, axes, epsilon), axes)


def _affine(n: Call, x: Value, y: Value, axes: list[int]) -> Value:
    gamma, beta = n.optional("gamma"), n.optional("beta")
    y = y if gamma is None else n.op("MUL", y, _along(n, x, gamma, axes))
    return y if beta is None else n.op("ADD", y, _along(n, x, beta, axes))


def _root_mean_square(
    n: Call, x: Value, axes: list[int], epsilon: float, centred: bool = False
) -> Value:
    """``x`` by the root of its mean square, or of its variance."""
    y = n.op("SUB", x, n.op("MEAN", x, axes, keep_dims=True)) if centred else x
    square = n.op("MEAN", n.op("SQUARE", y), axes, keep_dims=True)
    return n.op("MUL", x, n.op("RSQRT", n.op("ADD", square, epsilon)))


@layer("RMSNormalization", weights="scale", masks="kept")
def rms_normalization(n: Call, x: Value) -> Value:
    """By the root of the mean square."""
    axes, x = _axes(n, x), n.real(x)
    y = _root_mean_square(n, x, axes, n.number("epsilon", 1e-6))
    return n.op("MUL", y, _along(n, x, n.weight("scale"), axes))


@layer("GroupNormalization", weights="gamma?scale beta?center", masks="kept")
def group_normalization(n: Call, x: Value) -> Value:
    """All extents but the batch must be known."""
    (axis,), x = _axes(n, x), n.real(x)
    channels, groups = n.extent(x, axis), n.integer("groups", 32)
    groups = channels if groups == -1 else groups
    if groups < 1 or channels % groups:
        raise InvalidGraphError(f"{n.layer!r} puts {channels} channels into {groups} groups")
    spatial = [n.extent(x, i) for i in range(1, n.rank(x)) if i != axis]
    order = [0, *(i for i in range(1, n.rank(x)) if i != axis), axis]
    last = n.transpose(x, order)
    parts = n.reshape(last, [-1, int(np.prod(spatial)), groups, channels // groups])
    y = _standardize(n, parts, [1, 3], n.number("epsilon", 1e-3))
    y = n.reshape(y, [-1, *spatial, channels])
    back = n.transpose(y, [order.index(i) for i in range(n.rank(x))])
    return _affine(n, x, back, [axis])


@layer("UnitNormalization", masks="kept")
def unit_normalization(n: Call, x: Value) -> Value:
    """By the root of the sum of squares."""
    axes, x = _axes(n, x), n.real(x)
    if axes == [n.rank(x) - 1] and n.keras < 3:
        return n.op("L2_NORMALIZATION", x)
    total = n.op("SUM", n.op("SQUARE", x), axes, keep_dims=True)
    return n.op("MUL", x, n.op("RSQRT", n.op("MAXIMUM", total, 1e-12)))


@layer("SpectralNormalization", weights="vector_u~", masks="kept")
def spectral_normalization(n: Call, x: Value) -> Value:
    """The layer inside, whose kernel has been normalized in training."""
    result = n.call(n.layer.part("layer"), x)
    assert isinstance(result, Value)
    return result
