"""Operators that do nothing, do what the one before undid, or could be one with it."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from octolite.ir.graph import Value
from octolite.ir.types import FLOAT32, Activation, Array
from octolite.passes.engine import Match, Rule, can_stand_in, operator
from octolite.passes.folding import reshape
from octolite.passes.patterns import const, op, some
from octolite.passes.shapes import at_most_one_unknown, broadcasts_into, same_extents


class Identity(Rule):
    """Base: the result is ``x``, where ``changes`` has nothing to say against it."""

    takes_codes = True

    @abstractmethod
    def changes(self, match: Match) -> str | None:
        """What the node does to ``x``, or ``None`` when that is nothing."""

    def check(self, match: Match) -> str | None:
        x, y = match["x"], match.root.output
        reason = self.changes(match)
        if reason is None and x.quant != y.quant:
            reason = f"{x.name!r} and {y.name!r} have different scales"
        return can_stand_in(match.graph, y, x) if reason is None else reason

    def rewrite(self, match: Match) -> Value:
        return match["x"]


class SameShape(Identity):
    """A RESHAPE, BROADCAST_TO, SLICE or the like to the shape that the tensor has."""

    pattern = op("RESHAPE SQUEEZE EXPAND_DIMS BROADCAST_TO SLICE TILE", some("x"))

    def changes(self, match: Match) -> str | None:
        x, y = match["x"], match.root.output
        if same_extents(x.shape, y.shape) and (None not in (x.shape or ()) or self._views(match)):
            return None
        return f"{x!r} becomes {y!r}"

    @staticmethod
    def _views(match: Match) -> bool:
        """With an unknown extent, only an equal number of elements makes shapes equal."""
        return bool(operator(match.root).view)


class NoPadding(Identity):
    """PAD by nothing."""

    pattern = op("PAD PADV2 MIRROR_PAD", some("x"), const("paddings"))

    def changes(self, match: Match) -> str | None:
        return (
            f"pads by {match.data('paddings').tolist()}" if match.data("paddings").any() else None
        )


class WholeSlice(Identity):
    """STRIDED_SLICE of everything."""

    pattern = op("STRIDED_SLICE", some("x"), const("begin"), const("end"), const("strides"))

    def changes(self, match: Match) -> str | None:
        o, x = operator(match.root), match["x"]
        if o.ellipsis_mask or o.new_axis_mask or o.shrink_axis_mask or x.shape is None:
            return "it adds or drops axes"
        bounds = ("begin", "end", "strides")
        begin, end, strides = (match.data(n).reshape(-1).tolist() for n in bounds)
        for i, (b, e, s) in enumerate(zip(begin, end, strides, strict=True)):
            extent = x.shape[i]
            starts = bool(o.begin_mask >> i & 1) or b == 0
            ends = bool(o.end_mask >> i & 1) or (extent is not None and e >= extent)
            if s != 1 or not starts or not ends:
                return f"it takes a part of axis {i}"
        return None


class OneOperand(Identity):
    """CONCATENATION of one tensor, ADD_N of one."""

    pattern = op("CONCATENATION ADD_N", some("x"))

    def changes(self, match: Match) -> str | None:
        count = len(match.root.inputs)
        return f"it has {count} operands" if count > 1 else None


class SameType(Identity):
    """CAST to the type that the tensor has."""

    pattern = op("CAST", some("x"))

    def changes(self, match: Match) -> str | None:
        x, y = match["x"], match.root.output
        return None if x.dtype is y.dtype else f"from {x.dtype} to {y.dtype}"


class Neutral(Identity):
    """``x + 0``, ``x - 0``, ``x · 1``, ``x / 1``, ``x ^ 1``."""

    pattern = op("ADD SUB MUL DIV POW", some("x"), const("c"))

    def changes(self, match: Match) -> str | None:
        name, c = match.root.op.name, match["c"]
        neutral = 0 if name in ("ADD", "SUB") else 1
        data = match.data("c")
        if c.quant is not None or not bool(np.all(data == neutral)):
            return ""
        if not broadcasts_into(data.shape, match["x"].shape):
            return f"{c!r} may enlarge {match['x']!r}"
        if match.root.op.attributes().get("activation"):
            return "it has an activation"
        return None


class IdleTranspose(Identity):
    """TRANSPOSE that leaves every axis in its place."""

    pattern = op("TRANSPOSE", some("x"), const("perm"))

    def changes(self, match: Match) -> str | None:
        perm = match.data("perm").reshape(-1).tolist()
        return None if perm == sorted(perm) else f"it moves axes {perm}"


class TransposeTwice(Rule):
    """Two TRANSPOSE are one, or none."""

    pattern = op("TRANSPOSE", op("TRANSPOSE", some("x"), const("p"), shared=True), const("q"))

    def check(self, match: Match) -> str | None:
        perm = match.data("p")[match.data("q")]
        if perm.tolist() != sorted(perm.tolist()):
            return None
        return can_stand_in(match.graph, match.root.output, match["x"])

    def rewrite(self, match: Match) -> Value:
        perm = match.data("p")[match.data("q")].astype(np.int32)
        if perm.tolist() == sorted(perm.tolist()):
            return match["x"]
        return match.add("TRANSPOSE", match["x"], match.constant(perm))


class TransposeAsReshape(Rule):
    """TRANSPOSE that moves only axes of extent 1 is a RESHAPE, which costs nothing."""

    pattern = op("TRANSPOSE", some("x"), const("perm"))

    def check(self, match: Match) -> str | None:
        x, perm = match["x"], match.data("perm").tolist()
        if not moves_only_units(x, perm):
            return f"it moves more than axes of extent 1: {perm} of {x!r}"
        if at_most_one_unknown(match.root.output.shape) is None:
            return f"{match.root.output!r} has more than one unknown extent"
        return None

    def rewrite(self, match: Match) -> Value:
        target = at_most_one_unknown(match.root.output.shape)
        assert target is not None
        return reshape(match, match["x"], target)


def moves_only_units(x: Value, perm: list[int]) -> bool:
    """Whether the axes of ``x`` that hold more than one element keep their order."""
    if x.shape is None:
        return False
    kept = [axis for axis in perm if x.shape[axis] != 1]
    return kept == sorted(kept)


class ReshapeTwice(Rule):
    """A RESHAPE of a view is a RESHAPE of what it views."""

    pattern = op(
        "RESHAPE", op("RESHAPE SQUEEZE EXPAND_DIMS", some("x"), shared=True), some("shape")
    )

    def rewrite(self, match: Match) -> Value:
        return match.add(match.root.op, match["x"], match["shape"])


# -- arithmetic with constants ------------------------------------------------------------------


class DivideAsMultiply(Rule):
    """``x / c`` is ``x · (1/c)``, and ``x - c`` is ``x + (-c)``: then fewer rules do."""

    pattern = op("DIV SUB", some("x"), const("c"))

    def check(self, match: Match) -> str | None:
        if match["x"].dtype is not FLOAT32:
            return f"{match['x'].name!r} is {match['x'].dtype}, not float32"
        if match.root.op.name == "DIV" and not np.all(np.isfinite(self._constant(match))):
            return f"{match['c'].name!r} has no finite reciprocal"
        return None

    @staticmethod
    def _constant(match: Match) -> Array:
        c = match.data("c")
        if match.root.op.name == "SUB":
            return -c
        with np.errstate(divide="ignore", over="ignore"):
            return np.reciprocal(c)

    def rewrite(self, match: Match) -> Value:
        c = match.constant(self._constant(match), like=match["c"])
        activation = match.root.op.attributes()["activation"]
        name = "ADD" if match.root.op.name == "SUB" else "MUL"
        return match.add(name, match["x"], c, activation=activation)


class MergeConstants(Rule):
    """``(x + a) + b`` is ``x + (a + b)``, and so with products."""

    pattern = op("ADD MUL", op("ADD MUL", some("x"), const("a"), name="y"), const("b"))

    def check(self, match: Match) -> str | None:
        outer, inner = match.root.op, match.node("y").op
        a, b = match.data("a"), match.data("b")
        if outer.name != inner.name:
            return ""
        if inner.attributes()["activation"] is not Activation.NONE:
            return "there is an activation in between"
        if match["x"].dtype is not FLOAT32:
            return f"{match['x'].name!r} is {match['x'].dtype}, not float32"
        if np.broadcast(a, b).size > max(a.size, b.size):
            return f"{match['a'].name!r} and {match['b'].name!r} would grow"
        return None

    def rewrite(self, match: Match) -> Value:
        a, b = match.data("a"), match.data("b")
        merged = a + b if match.root.op.name == "ADD" else a * b
        return match.add(match.root.op, match["x"], match.constant(merged, like=match["b"]))


CANCEL: tuple[Rule, ...] = (
    SameShape(),
    NoPadding(),
    WholeSlice(),
    OneOperand(),
    SameType(),
    Neutral(),
    IdleTranspose(),
    TransposeTwice(),
    ReshapeTwice(),
)

ARITHMETIC: tuple[Rule, ...] = (DivideAsMultiply(), MergeConstants())

VIEWS: tuple[Rule, ...] = (TransposeAsReshape(), ReshapeTwice(), SameShape())
