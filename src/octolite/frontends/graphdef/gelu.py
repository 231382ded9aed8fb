"""GELU, which TensorFlow 1 and 2 write as a product of other functions (Hendrycks, Gimpel 2016)."""

from __future__ import annotations

import math

from octolite.frontends.graphdef.nodes import Ref, TfNode
from octolite.frontends.graphdef.source import Source, see_through

EXACT, APPROXIMATE = "Gelu", "GeluTanh"
"""Operator names that TensorFlow does not have: nodes get them here."""

_STEPS = 12


@see_through("Mul")
def gelu(source: Source, node: TfNode) -> None:
    """Turn ``node`` into one Gelu, when it is the last step of such a product.

    Exact: ``x/2 · (1 + erf(x/√2))``, or ``x/2 · erfc(-x/√2)``. Approximate:
    ``x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))``.
    """
    factor, parts = _product(source, Ref(node.name), top=True)
    if not _near(factor, 0.5) or len(parts) != 2:
        return
    for x, curve in (parts, parts[::-1]):
        kind = _curve(source, curve, x)
        if kind is not None:
            node.op_type, node.inputs = kind, [x]
            return


def _curve(source: Source, curve: Ref, x: Ref) -> str | None:
    """Which GELU ``curve`` belongs to, as a function of ``x``."""
    match _step(source, curve):
        case "Erfc", [u] if _is_multiple(source, u, x, -math.sqrt(0.5)):
            return EXACT
    one, terms = _sum(source, curve)
    if len(terms) != 1 or not _near(one, 1.0):
        return None
    match _step(source, terms[0]):
        case "Erf", [u] if _is_multiple(source, u, x, math.sqrt(0.5)):
            return EXACT
        case "Tanh", [u] if _is_cubic(source, u, x):
            return APPROXIMATE
    return None


def _is_cubic(source: Source, ref: Ref, x: Ref) -> bool:
    """Whether it is ``√(2/π) · (x + 0.044715 x³)``."""
    factor, inner = _product(source, ref)
    if not _near(factor, math.sqrt(2 / math.pi)) or len(inner) != 1:
        return False
    zero, terms = _sum(source, inner[0])
    cubes = [t for t in terms if t != x]
    if zero or len(terms) != 2 or len(cubes) != 1:
        return False
    return _product(source, cubes[0]) == (_Near(0.044715), [x, x, x])


def _step(source: Source, ref: Ref) -> tuple[str, list[Ref]]:
    node = source.origin(ref)
    return ("", []) if node is None else (node.op_type, node.inputs)


def _is_multiple(source: Source, ref: Ref, x: Ref, by: float) -> bool:
    return _product(source, ref) == (_Near(by), [x])


class _Near(float):
    """Equal to what single precision or a few printed digits make of it."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and math.isclose(self, other, rel_tol=1e-4)

    __hash__ = float.__hash__


def _near(a: float, b: float) -> bool:
    return _Near(a) == b


def _product(source: Source, ref: Ref, top: bool = False) -> tuple[float, list[Ref]]:
    """``ref`` as a number times other results; products without a number stay whole."""
    factor = 1.0
    parts: list[Ref] = []
    stack = [ref]
    for _ in range(_STEPS):
        if not stack:
            break
        ref = stack.pop()
        number = source.scalar(ref)
        if number is not None:
            factor *= number
            continue
        op_type, inputs = _step(source, ref)
        match op_type, [source.scalar(i) for i in inputs]:
            case "Neg", [_]:
                factor = -factor
                stack.append(inputs[0])
            case "RealDiv", [_, float(by)] if by:
                factor /= by
                stack.append(inputs[0])
            case "Pow", [None, float(3)]:
                parts += [source.behind(inputs[0])] * 3
            case "Mul", [a, b] if top or a is not None or b is not None:
                stack += inputs
            case _:
                parts.append(source.behind(ref))
        top = False
    return factor, parts + stack


def _sum(source: Source, ref: Ref) -> tuple[float, list[Ref]]:
    """``ref`` as a number plus other results."""
    op_type, inputs = _step(source, ref)
    if op_type not in ("Add", "AddV2"):
        return 0.0, [source.behind(ref)]
    numbers = [source.scalar(i) for i in inputs]
    total = sum(v for v in numbers if v is not None)
    pairs = zip(inputs, numbers, strict=True)
    return total, [source.behind(i) for i, v in pairs if v is None]
