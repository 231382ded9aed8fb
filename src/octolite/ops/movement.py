"""What the operators share that move elements and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from octolite.ir.types import Operand
from octolite.kernels import spec
from octolite.kernels.views import Move, View
from octolite.ops.base import ANYTHING, Operator

Extents = Sequence[int]


class Movement(Operator, abstract=True):
    """An operator whose results consist of elements of its inputs, whatever their type."""

    kinds = ANYTHING
    moved: ClassVar[int] = 0
    """An input whose elements are moved."""

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.Copy | None:
        x = inputs[self.moved]
        if x is None or x.dtype.kind in "so" or x.dtype.numpy.itemsize not in spec.COPIED:
            return None
        return spec.Copy(x.dtype.numpy.itemsize)

    def geometry(self, inputs: Sequence[Operand | None]) -> dict[str, Any] | None:
        shapes = [known(t.shape) for t in self.infer(*inputs)]
        moves = None
        if None not in shapes:
            moves = self.moves(inputs, [shape or () for shape in shapes])
        return None if moves is None else {"output_shape": shapes[0], "moves": moves}

    def moves(
        self, inputs: Sequence[Operand | None], results: Sequence[Extents]
    ) -> list[Move] | None:
        """What goes where, for results of these shapes; ``None`` where the inputs do not tell yet.

        Unless an operator says more, the elements keep their order.
        """
        line = View.of((math.prod(results[0]),))
        return [Move(line, line)]


def known(shape: Sequence[int | None] | None) -> tuple[int, ...] | None:
    """A shape of which nothing is unknown, or ``None``."""
    if shape is None or None in shape:
        return None
    return tuple(d for d in shape if d is not None)


def view_of(x: Operand | None) -> View:
    """All of an operand whose shape is known."""
    shape = None if x is None else known(x.shape)
    assert shape is not None
    return View.of(shape)
