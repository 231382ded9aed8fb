"""Shapes of inputs: what a model says, and what the caller says of it."""

from __future__ import annotations

from collections.abc import Sequence

from octolite.errors import UsageError
from octolite.ir.types import Shape


def refined(name: str, known: Shape | None, given: Sequence[int | None]) -> Shape:
    """What is known of a shape, made more precise by what the caller says.

    Raises :class:`UsageError` where the two contradict each other.
    """
    shape = tuple(None if d is None or d == -1 else int(d) for d in given)
    if any(d is not None and d < 0 for d in shape):
        raise UsageError(f"the shape {list(given)} of {name!r} has a negative extent")
    if known is None:
        return shape
    fits = len(known) == len(shape) and all(
        k is None or s is None or k == s for k, s in zip(known, shape, strict=True)
    )
    if not fits:
        raise UsageError(f"input {name!r} has shape {known}, which {shape} contradicts")
    return tuple(k if s is None else s for k, s in zip(known, shape, strict=True))
