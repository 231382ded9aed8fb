"""Shapes while a graph is rewritten: what operators say of them now, and small questions."""

from __future__ import annotations

from collections.abc import Sequence

from octolite.errors import ConversionError, OctoliteError
from octolite.ir.graph import Graph, Node
from octolite.ir.types import Shape
from octolite.passes.engine import merge_shapes
from octolite.passes.extents import extents

SHAPE_OPERANDS = {"RESHAPE": 1, "BROADCAST_TO": 1, "FILL": 0, "TRANSPOSE_CONV": 0}
"""Operators with an operand that is the shape of their result, and which it is."""


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
            shape = found.shape if found.shape is None else _told_by_operand(node, found.shape)
            merged = merge_shapes(value.shape, shape)
            if merged is None and shape is not None:
                raise ConversionError(
                    f"{node} gives {value.name!r} the shape {shape}, and the graph says "
                    f"{value.shape}"
                )
            changed += merged != value.shape
            value.shape = merged
    return changed


def _told_by_operand(node: Node, shape: Shape) -> Shape:
    """``shape`` with the extents that are known of the operand that gives it."""
    index = SHAPE_OPERANDS.get(node.op.name)
    operand = node.inputs[index] if index is not None and index < len(node.inputs) else None
    if operand is None or operand.is_constant or None not in shape:
        return shape
    told = extents(operand)
    if told is None or len(told) != len(shape):
        return shape
    known = [
        t if d is None and t is not None and t >= 0 else d for d, t in zip(shape, told, strict=True)
    ]
    return tuple(known)


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
