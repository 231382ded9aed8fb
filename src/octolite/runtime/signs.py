"""What operators tell of the numbers that a tensor will hold."""

from __future__ import annotations

import math

from octolite.ir.graph import Graph, Value
from octolite.ops.base import Operator

FEWEST_PIXELS = 14 * 14
"""Under so many pixels, the range of an image is hardly wider than that of its blocks."""


def nonnegative_values(graph: Graph) -> frozenset[int]:
    """Ids of the float values that nodes make and that are >= 0 (or NaN), whatever the inputs of
    the graph are."""
    found: set[int] = set()

    def holds(value: Value | None) -> bool:
        if value is None or not value.dtype.is_float:
            return True
        if value.data is not None:
            return not (value.data < 0).any()
        return id(value) in found

    for node in graph.nodes:
        assert isinstance(node.op, Operator)
        if node.op.gives_nonnegative(map(holds, node.inputs)):
            found.update(id(v) for v in node.outputs if v.dtype.is_float)
    return frozenset(found)


def rectified_values(graph: Graph) -> frozenset[int]:
    """Of :func:`nonnegative_values`, those that come from sums of many products.

    Such numbers lie like one side of a bell: most blocks of them have a range of their own that
    is well below that of the whole tensor. Of what nothing is known, say the graph's inputs, of
    what a sigmoid leaves, and of what is added to rectified numbers, that cannot be said.
    """
    nonnegative = nonnegative_values(graph)
    spread: set[int] = set()
    for node in graph.nodes:
        assert isinstance(node.op, Operator)
        inputs = {id(v) for v in node.inputs}
        match node.op.spread:
            case "sums":
                holds = True
            case "kept":
                holds = bool(inputs & spread)
            case "added":
                holds = bool(inputs & spread) and not inputs & nonnegative
            case "other":
                holds = False
        if holds:
            spread.update(map(id, node.outputs))
    return nonnegative & spread


def finer_values(graph: Graph, rectified: frozenset[int]) -> frozenset[int]:
    """Of :func:`rectified_values`, the images whose blocks have ranges so much finer than the whole
    that they make up for a bit.

    They do not where numbers crowd at an upper bound, which a few of any block then reach, nor
    in small images. (`docs/numerics.md` has the figures.)
    """
    bounded: set[int] = set()
    for node in graph.nodes:
        op = node.op
        assert isinstance(op, Operator)
        passed = op.spread != "sums" and any(id(v) in bounded for v in node.inputs)
        if op.sets_bound or passed:
            bounded.update(map(id, node.outputs))

    def is_large(value: Value) -> bool:
        pixels = value.shape[1:-1] if value.shape else ()
        return None not in pixels and math.prod(d or 0 for d in pixels) >= FEWEST_PIXELS

    found = (v for node in graph.nodes for v in node.outputs)
    return frozenset(
        id(v) for v in found if id(v) in rectified and id(v) not in bounded and is_large(v)
    )
