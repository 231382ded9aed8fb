"""Memory and work that a model may ask for: added up before they are taken."""

from __future__ import annotations

from collections.abc import Sequence

from octolite.errors import RuntimeModelError, ShapeError
from octolite.ir.graph import Node
from octolite.ir.types import TensorType

MEMORY_LIMIT = 2 * 2**30
"""Bytes that tensors may take when nothing else is said."""

CALL_LIMIT = 1_000_000
"""How often an operator of the main graph may have graphs run when nothing else is said."""

MOST_NESTED = 50
"""How deep calls of graphs may be nested."""


class Budget:
    """Bytes that a model's constants may take beside the file's own: evaluated, or packed."""

    def __init__(self, limit: int = MEMORY_LIMIT) -> None:
        self.limit = limit
        self.taken = 0

    def take(self, what: object, size: int) -> None:
        """Count ``size`` bytes that stay. Raises :class:`RuntimeModelError`."""
        check_memory(what, self.taken + size, self.limit)
        self.taken += size


def size_of(types: Sequence[TensorType]) -> int:
    """Bytes of tensors of these types; those of unknown size, or of strings, count nothing."""
    total = 0
    for found in types:
        if found.shape is None or None in found.shape or found.dtype.kind in "so":
            continue
        count = found.dtype.numpy.itemsize
        for extent in found.shape:
            count *= extent or 0
        total += count
    return total


def check_results(node: Node, types: Sequence[TensorType], compiled: bool = False) -> None:
    """Raise :class:`ShapeError` when a node has not as many results as its operator gives.

    What is ``compiled`` writes results of the operator's types, so that the model must declare
    the same; the reference's are looked at when they are there. Numbers are never strings.
    """
    if len(types) != len(node.outputs):
        raise ShapeError(f"{node} has {len(types)} results and the model names {len(node.outputs)}")
    for value, found in zip(node.outputs, types, strict=True):
        numbers, declared = (t.kind not in "so" for t in (found.dtype, value.dtype))
        if numbers != declared or (compiled and value.dtype is not found.dtype):
            raise ShapeError(
                f"{node} gives {found.dtype} and the model declares {value.name!r} as {value.dtype}"
            )


def check_memory(what: object, needed: int, limit: int) -> None:
    """Raise :class:`RuntimeModelError` when ``needed`` bytes are more than ``limit``."""
    if needed > limit:
        raise RuntimeModelError(
            f"{what} would need {needed:,} bytes for its tensors, over the limit of {limit:,}; "
            "use smaller inputs, or give the Interpreter a larger memory_limit"
        )
