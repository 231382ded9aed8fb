"""Dilated convolutions, spelled SPACE_TO_BATCH_ND, convolution, BATCH_TO_SPACE_ND.

Every ``d``-th pixel of an image becomes an image of its own, a plain VALID convolution runs over
each, and the pixels are put back. That is a convolution with dilation ``d`` over the image
padded by what was padded before, less what is cropped behind.
"""

from __future__ import annotations

import numpy as np

from octolite.ir.graph import Node, Value
from octolite.ir.types import Array, Padding
from octolite.passes.affine import WINDOWS, why_not_same
from octolite.passes.engine import Match, Rule, operator
from octolite.passes.extents import difference
from octolite.passes.patterns import const, op, some

BLOCKS = op("SPACE_TO_BATCH_ND", some("x"), const("block"), some("pads"), shared=True)


class Dilation(Rule):
    """Along rows and columns."""

    pattern = op(
        "BATCH_TO_SPACE_ND",
        op(WINDOWS, BLOCKS, name="conv"),
        const("again"),
        some("crops"),
    )

    def check(self, match: Match) -> str | None:
        node, block = match.node("conv"), match.data("block").tolist()
        o = operator(node)
        if block != match.data("again").tolist() or len(block) != self.rank:
            return f"blocks of {block} are put back as {match.data('again').tolist()}"
        if o.padding is not Padding.VALID or (o.stride_h, o.stride_w) != (1, 1):
            return f"{node} is strided, or pads every image of a block"
        if (o.dilation_h_factor, o.dilation_w_factor) != (1, 1):
            return f"{node} is dilated already"
        border = difference(match["pads"], match["crops"])
        if border is None:
            return "how much is padded, less what is cropped, is known only at run time"
        if border.min() < 0:
            return f"more is cropped than padded: {border.tolist()}"
        return None

    rank = 2

    def rewrite(self, match: Match) -> Value:
        return self.dilated(match, match["x"], match.data("block"), self.border(match))

    @staticmethod
    def border(match: Match) -> Array:
        """Rows or columns that are padded, before and after, for each spatial axis."""
        border = difference(match["pads"], match["crops"])
        assert border is not None
        return border

    @staticmethod
    def dilated(match: Match, x: Value, block: Array, border: Array) -> Value:
        """The dilated convolution of ``x``, padded by ``border`` [2, 2]."""
        node = match.node("conv")
        o = operator(node).replace(dilation_h_factor=int(block[0]), dilation_w_factor=int(block[1]))
        rows, columns = (tuple(int(p) for p in pair) for pair in border)
        if border.any():
            if why_not_same(node, x, (rows, columns), block.tolist()) is None:
                o = o.replace(padding=Padding.SAME)
            else:
                pads = np.array([(0, 0), rows, columns, (0, 0)], np.int32)
                x = match.add("PAD", x, match.constant(pads))
        return match.add(o, x, *node.inputs[1:])


class DilationAlongOneAxis(Dilation):
    """Along one axis of a sequence, which a convolution of images sees as images of one row."""

    pattern = op(
        "BATCH_TO_SPACE_ND",
        op("RESHAPE SQUEEZE", op(WINDOWS, op("RESHAPE EXPAND_DIMS", BLOCKS), name="conv")),
        const("again"),
        some("crops"),
    )
    rank = 1

    def check(self, match: Match) -> str | None:
        if len(match["x"].shape or ()) != 3 or len(match.root.output.shape or ()) != 3:
            return f"{match['x']!r} is no sequence"
        if self._axis(match.node("conv")) is None:
            return f"{match.node('conv')} has more than one row"
        return super().check(match)

    @staticmethod
    def _axis(node: Node) -> int | None:
        """Which of the spatial axes of the convolution has one row, and stays so."""
        image, weights, result = node.inputs[0], node.inputs[1], node.output
        for axis in (1, 2):
            shapes = [v.shape for v in (image, weights, result) if v is not None]
            if all(s is not None and s[axis] == 1 for s in shapes):
                return axis
        return None

    def rewrite(self, match: Match) -> Value:
        axis = self._axis(match.node("conv"))
        assert axis is not None
        block, border = np.ones(2, np.int32), np.zeros((2, 2), np.int32)
        block[2 - axis] = match.data("block")[0]
        border[2 - axis] = self.border(match)[0]
        where = match.constant(np.array(axis, np.int32))
        image = match.add("EXPAND_DIMS", match["x"], where)
        return match.add("SQUEEZE", self.dilated(match, image, block, border), squeeze_dims=(axis,))


RULES: tuple[Rule, ...] = (Dilation(), DilationAlongOneAxis())
