"""Shapes while a graph is rewritten: what operators say of them now, and small questions."""

from __future__ import annotations

from collections.abc import Sequence

from octolite.errors import ConversionError, OctoliteError
from octolite.ir.graph import Graph
from octolite.ir.types import Shape
from octolite.passes.engine import merge_shapes


def refine(graph: Graph) -> int:
    """Ask every operator again for the shapes of its results; returns how many became clearer.

    Raises :class:`ConversionError` where an operator contradicts the shape that a value has.
    """
    changed = 0
    for node in graph.nodes:
        try:
            types = node.op.infer(*node.inputs)
        except OctoliteError as error:
            raise ConversionError(f"{node}: {error}") from error
        for value, found in zip(node.outputs, types, strict=True):
            if found.shape is None or found.shape == value.shape:
                continue
            merged = merge_shapes(value.shape, found.shape)
            if merged is None:
                raise ConversionError(
                    f"{node} gives {value.name!r} the shape {found.shape}, and the graph says "
                    f"{value.shape}"
                )
            changed += merged != value.shape
            value.shape = merged
    return changed


def at_most_one_unknown(shape: Shape | None) -> list[int] | None:
    """The extents with -1 for the one that is unknown, or ``None`` if there are more."""
    if shape is None or sum(d is None for d in shape) > 1:
        return None
    return [-1 if d is None else d for d in shape]


def same_extents(a: Shape | None, b: Shape | None) -> bool:
    """Whether tensors of as many elements must have one shape: one extent unknown at most."""
    return a is not None and a == b and sum(d is None for d in a) <= 1


def broadcasts_into(small: Sequence[int], shape: Shape | None) -> bool:
    """Whether a constant of shape ``small`` broadcasts over ``shape`` without enlarging it."""
    if shape is None:
        return len(small) == 0
    if len(small) > len(shape):
        return False
    ends = shape[len(shape) - len(small) :]
    return all(s in (1, d) for s, d in zip(small, ends, strict=True))
