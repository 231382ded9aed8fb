"""What is known before the model runs: constants, and shapes that are known in part."""

from __future__ import annotations

import math

import numpy as np

from octolite.errors import OctoliteError
from octolite.ir.graph import Node, Value
from octolite.ir.types import Array
from octolite.ops.base import Operator
from octolite.passes.engine import Match, Rule
from octolite.passes.extents import constants, extents
from octolite.passes.patterns import Pattern, op, some
from octolite.passes.shapes import at_most_one_unknown

SMALL_BYTES = 4096
"""Results up to this size are folded whatever their inputs took."""


class FoldConstants(Rule):
    """Compute what depends on constants alone, or on shapes that are known.

    Results that take much more room than what they are computed from stay computed, and so do
    quantized weights that are dequantized.
    """

    pattern = Pattern()
    takes_codes = True

    def check(self, match: Match) -> str | None:
        node = match.root
        foldable = node.op.shape_only or all(v is None or v.is_constant for v in node.inputs)  # type: ignore[attr-defined]
        if not node.inputs or not foldable:
            return ""
        if node.op.name == "DEQUANTIZE":
            return "quantized weights stay small in the file"
        before = sum(v.nbytes for v in node.inputs if v is not None)
        after = sum(map(_size, node.outputs))
        if after > max(SMALL_BYTES, before):
            return f"the result takes {after:,.0f} bytes, its inputs {before:,}"
        return None if self._results(node) is not None else "the result is not known"

    def rewrite(self, match: Match) -> list[Value]:
        results = self._results(match.root)
        assert results is not None
        return [
            Value.constant(v.name, a, v.dtype, v.quant)
            for v, a in zip(match.root.outputs, results, strict=True)
        ]

    @staticmethod
    def _results(node: Node) -> tuple[Array, ...] | None:
        assert isinstance(node.op, Operator)
        try:
            return node.op.fold(node.inputs, node.outputs)
        except (OctoliteError, ArithmeticError, LookupError, TypeError, ValueError):
            return None  # a defect of the model: it is the run time's to report


def _size(value: Value) -> float:
    """Bytes of a result, as far as its shape is known."""
    if value.shape is None or None in value.shape:
        return float("inf")
    return math.prod(d or 0 for d in value.shape) * value.dtype.numpy.itemsize


# -- shapes that are known in part --------------------------------------------------------------


class FoldShapeArithmetic(Rule):
    """Integers computed from the known extents of a shape of which others are unknown."""

    pattern = Pattern()

    def check(self, match: Match) -> str | None:
        if len(match.root.outputs) != 1 or not match.root.output.dtype.is_integer:
            return ""
        if all(v is None or v.is_constant for v in match.root.inputs):
            return ""
        return "" if constants(match.root.output) is None else None

    def rewrite(self, match: Match) -> Value:
        found = constants(match.root.output)
        assert found is not None
        return match.constant(found, like=match.root.output)


class ReshapeToKnownShape(Rule):
    """RESHAPE to a shape that is computed, of which all extents but one are known, the other -1."""

    pattern = op("RESHAPE", some("x"), some("shape"))

    def check(self, match: Match) -> str | None:
        shape = match["shape"]
        if shape.is_constant:
            return ""
        target = self._target(match)
        if target is None:
            return f"the length of {shape.name!r} is not known"
        if sum(d == -1 for d in target) > 1:
            return f"more than one extent of {match.root.output.name!r} is known only at run time"
        return None

    @staticmethod
    def _target(match: Match) -> list[int] | None:
        """The extents that the shape operand and the shape of the result tell, -1 for unknown."""
        found, told = extents(match["shape"]), match.root.output.shape
        if found is None:
            found = None if told is None else list(told)
        elif told is not None and len(told) == len(found):
            found = [t if f is None else f for f, t in zip(found, told, strict=True)]
        return None if found is None else [-1 if d is None else d for d in found]

    def rewrite(self, match: Match) -> Value:
        target = self._target(match)
        assert target is not None
        return reshape(match, match["x"], target)


def reshape(match: Match, x: Value, target: list[int]) -> Value:
    """A new RESHAPE of ``x`` to constant extents, at most one of them -1."""
    shape = match.constant(np.array(target, np.int32))
    return match.add("RESHAPE", x, shape, new_shape=tuple(target))


class ViewAsReshape(Rule):
    """EXPAND_DIMS and SQUEEZE are RESHAPE, where the result has one unknown extent at most."""

    pattern = op("EXPAND_DIMS SQUEEZE", some("x"))

    def check(self, match: Match) -> str | None:
        if at_most_one_unknown(match.root.output.shape) is None:
            return f"{match.root.output!r} has more than one unknown extent"
        return None

    def rewrite(self, match: Match) -> Value:
        target = at_most_one_unknown(match.root.output.shape)
        assert target is not None
        return reshape(match, match["x"], target)


RULES: tuple[Rule, ...] = (
    FoldConstants(),
    FoldShapeArithmetic(),
    ReshapeToKnownShape(),
    ViewAsReshape(),
)
