"""Einsum of one or two operands, as transpositions around one matrix product."""

from __future__ import annotations

import math
from collections.abc import Mapping

from octolite.errors import InvalidGraphError, UnsupportedError
from octolite.frontends.builder import Builder
from octolite.frontends.compose import product
from octolite.ir.graph import Value
from octolite.ir.types import Dim


def einsum(n: Builder, equation: str, *operands: Value) -> Value:
    """What ``equation`` says. Raises :class:`UnsupportedError` for what is no matrix product."""
    equation = equation.replace(" ", "")
    left, arrow, out = equation.partition("->")
    labels = left.split(",")
    if not arrow or not equation.replace(",", "").replace("->", "").isalpha():
        raise UnsupportedError(f"Einsum {equation!r}: only letters, commas and -> are supported")
    if len(labels) != len(operands) or any(len(set(text)) != len(text) for text in (*labels, out)):
        raise UnsupportedError(f"Einsum {equation!r} of {len(operands)} operands")
    if len(operands) == 1:
        return _one(n, operands[0], labels[0], out)
    if len(operands) > 2:
        raise UnsupportedError(f"Einsum {equation!r} of more than two operands")
    return _two(n, operands, labels, out)


def _one(n: Builder, x: Value, labels: str, out: str) -> Value:
    summed = [i for i, c in enumerate(labels) if c not in out]
    if summed:
        x = n.op("SUM", x, summed, keep_dims=False)
    kept = [c for c in labels if c in out]
    return n.transpose(x, [kept.index(c) for c in out])


def _two(n: Builder, operands: tuple[Value, ...], labels: list[str], out: str) -> Value:
    """Batch labels are in all three; others of the result are free; the rest are summed over."""
    extents = _extents(n, operands, labels)
    a, b = operands
    left, right = labels
    batch = [c for c in out if c in left and c in right]
    depth = [c for c in left if c in right and c not in out]
    rows = [c for c in left if c in out and c not in right]
    columns = [c for c in right if c in out and c not in left]
    if len(batch) + len(rows) + len(columns) != len(out) or set(left + right) - set(out) != set(
        depth
    ):
        raise UnsupportedError(f"Einsum {','.join(labels)}->{out}: a label is in one operand only")
    a = n.transpose(a, [left.index(c) for c in (*batch, *rows, *depth)])
    b = n.transpose(b, [right.index(c) for c in (*batch, *depth, *columns)])
    a = _merge(n, a, extents, [*map(list, batch), rows, depth])
    b = _merge(n, b, extents, [*map(list, batch), depth, columns])
    y = _merge(n, product(n, a, b), extents, [[c] for c in (*batch, *rows, *columns)])
    order = [*batch, *rows, *columns]
    return n.transpose(y, [order.index(c) for c in out])


def _extents(n: Builder, operands: tuple[Value, ...], labels: list[str]) -> Mapping[str, Dim]:
    extents: dict[str, Dim] = {}
    for x, text in zip(operands, labels, strict=True):
        if n.rank(x) != len(text):
            raise InvalidGraphError(f"{x!r} has not the {len(text)} axes {text!r}")
        for label, extent in zip(text, x.shape or (), strict=True):
            extents[label] = extents.get(label) if extent is None else extent
    return extents


def _merge(n: Builder, x: Value, extents: Mapping[str, Dim], groups: list[list[str]]) -> Value:
    """Reshape to one axis for each group of labels; one of them may be of unknown extent."""
    shape = []
    for group in groups:
        sizes = [extents[c] for c in group]
        known = [s for s in sizes if s is not None]
        shape.append(math.prod(known) if len(known) == len(sizes) else -1)
    if len(shape) == n.rank(x) and all(len(g) == 1 for g in groups):
        return x
    if shape.count(-1) > 1:
        raise UnsupportedError(f"Einsum of {x!r}: more than one extent is unknown")
    return n.reshape(x, shape)
