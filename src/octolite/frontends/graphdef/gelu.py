"""GELU, which TensorFlow 1 and 2 write as a product of other functions (Hendrycks, Gimpel 2016)."""

from __future__ import annotations

import math

from octolite.frontends.graphdef.nodes import Ref, TfNode
from octolite.frontends.graphdef.source import Source, see_through

EXACT, APPROXIMATE = "Gelu", "GeluTanh"
"""Operator names that TensorFlow does not have: nodes get them here."""

_TERMS = 6


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
    node = source.origin(curve)
    if node is None:
        return None
    if node.op_type == "Erfc":
        return EXACT if _is_multiple(source, node.inputs[0], x, -math.sqrt(0.5)) else None
    one, terms = _sum(source, curve)
    node = source.origin(terms[0]) if len(terms) == 1 else None
    if node is None or not _near(one, 1.0):
        return None
    if node.op_type == "Erf":
        return EXACT if _is_multiple(source, node.inputs[0], x, math.sqrt(0.5)) else None
    if node.op_type != "Tanh":
        return None
    factor, inner = _product(source, node.inputs[0])
    if not _near(factor, math.sqrt(2 / math.pi)) or len(inner) != 1:
        return None
    zero, terms = _sum(source, inner[0])
    cubes = [t for t in terms if t != x]
    is_cube = len(cubes) == 1 and _product(source, cubes[0]) == (_Near(0.044715), [x, x, x])
    return APPROXIMATE if zero == 0 and len(terms) == 2 and is_cube else None


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
    while stack and len(stack) + len(parts) <= _TERMS:
        ref = stack.pop()
        number = source.scalar(ref)
        node = source.origin(ref)
        if number is not None:
            factor *= number
            continue
        inputs = node.inputs if node is not None else []
        numbers = [source.scalar(i) for i in inputs]
        match node.op_type if node is not None else "", numbers:
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
    node = source.origin(ref)
    if node is None or node.op_type not in ("Add", "AddV2"):
        return 0.0, [source.behind(ref)]
    numbers = [source.scalar(i) for i in node.inputs]
    total = sum(v for v in numbers if v is not None)
    pairs = zip(node.inputs, numbers, strict=True)
    return total, [source.behind(i) for i, v in pairs if v is None]
