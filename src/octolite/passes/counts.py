"""Which numbers are the same although no one knows them: lengths of sequences, above all.

A number's *form* compares equal to that of another only if both are the same number whenever the
model runs.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeAlias

from octolite.ir.graph import Value
from octolite.ir.origin import earliest
from octolite.passes.loops import constant

Form: TypeAlias = tuple[Hashable, ...]

_STEPS = 200


def extent(value: Value, axis: int, steps: int = _STEPS) -> Form:
    """The form of the extent of ``value`` along ``axis``."""
    found = earliest(value, axis)
    if isinstance(found, int):
        return ("number", found)
    producer = found.value.producer
    if producer is not None and producer.op.name == "FILL" and steps and producer.inputs[0]:
        told = _element(producer.inputs[0], found.axis, steps - 1)
        if told is not None:
            return told
    return ("extent", id(found.value), found.axis)


def number(value: Value, steps: int = _STEPS) -> Form:
    """The form of a scalar."""
    known = constant(value)
    if known is not None:
        return ("number", known)
    node = value.producer
    if node is None or not steps:
        return ("value", id(value))
    first = node.inputs[0] if node.inputs else None
    match node.op.name:
        case "RESHAPE" | "SQUEEZE" | "EXPAND_DIMS" | "CAST" if first is not None:
            if first.shape is not None and all(d == 1 for d in first.shape):
                return number(first, steps - 1)
        case "STRIDED_SLICE" if first is not None:
            begin = constant(node.inputs[1])
            one = value.shape in ((), (1,)) and first.shape is not None and len(first.shape) == 1
            if begin is not None and one:
                return _element(first, begin, steps - 1) or ("value", id(value))
        case "GATHER" if first is not None:
            index = constant(node.inputs[1])
            if index is not None and first.shape is not None and len(first.shape) == 1:
                return _element(first, index, steps - 1) or ("value", id(value))
        case "MINIMUM" | "MAXIMUM":
            return _bounded(node.op.name, [number(v, steps - 1) for v in node.inputs if v])
    return ("value", id(value))


def _bounded(name: str, forms: list[Form]) -> Form:
    """``min(n, max(1, n))`` is n for all that an extent can be."""
    a, b = forms
    if a == b:
        return a
    for x, y in ((a, b), (b, a)):
        if name == "MINIMUM" and y == ("MAXIMUM", frozenset({("number", 1), x})):
            return x
        if name == "MAXIMUM" and x[0] == y[0] == "number":
            return max(x, y)
        if name == "MINIMUM" and x[0] == y[0] == "number":
            return min(x, y)
    return (name, frozenset({a, b}))


def _element(vector: Value, index: int, steps: int) -> Form | None:
    """The form of one element of a vector."""
    length = vector.shape[0] if vector.shape else None
    if index < 0:
        if length is None:
            return None
        index += length
    if vector.data is not None:
        flat = vector.data.reshape(-1)
        return ("number", int(flat[index])) if index < flat.size else None
    node = vector.producer
    if node is None or not steps or not node.inputs or node.inputs[0] is None:
        return None
    match node.op.name:
        case "SHAPE":
            return extent(node.inputs[0], index, steps - 1)
        case "PACK":
            item = node.inputs[index] if index < len(node.inputs) else None
            return None if item is None else number(item, steps - 1)
        case "CAST":
            return _element(node.inputs[0], index, steps - 1)
        case "CONCATENATION":
            for part in node.inputs:
                size = part.shape[0] if part is not None and part.shape else None
                if part is None or size is None:
                    return None
                if index < size:
                    return _part(part, index, steps - 1)
                index -= size
        case "RESHAPE" | "EXPAND_DIMS" if length == 1:
            return number(node.inputs[0], steps - 1)
    return None


def _part(part: Value, index: int, steps: int) -> Form | None:
    found = _element(part, index, steps)
    return number(part, steps) if found is None and part.shape == (1,) else found
