"""Fused activations: all but the hyperbolic tangent are a clamp whose bounds are arguments."""

from __future__ import annotations

import math

from octolite.errors import KernelError
from octolite.ir.types import Activation

_BOUNDS = {
    Activation.NONE: (-math.inf, math.inf),
    Activation.RELU: (0.0, math.inf),
    Activation.RELU_N1_TO_1: (-1.0, 1.0),
    Activation.RELU6: (0.0, 6.0),
    Activation.TANH: (-math.inf, math.inf),
}


def bounds(activation: Activation) -> tuple[float, float, bool]:
    """What results are clamped to, and whether they go through tanh instead.

    Raises :class:`KernelError` for an activation that no kernel applies.
    """
    if activation not in _BOUNDS:
        known = ", ".join(a.name for a in _BOUNDS)
        raise KernelError(f"no kernel applies {activation.name}; there is {known}")
    return *_BOUNDS[activation], activation is Activation.TANH
