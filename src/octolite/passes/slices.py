"""Slices of a tensor along an axis: steps of a sequence, taken apart and put together again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from octolite.ir.graph import Node, Value
from octolite.passes.engine import Match, Rule, can_stand_in, operator
from octolite.passes.patterns import ANY, const, op, some


def unpacked(values: Sequence[Value]) -> tuple[Value, int, bool] | None:
    """The tensor of which ``values`` are all slices along an axis, and if from behind."""
    places = [_place(v) for v in values]
    first = places[0]
    if first is None or first[0].shape is None or len(first[0].shape) != 3:
        return None
    x, axis, _ = first
    order = [p[2] for p in places if p is not None and p[0] is x and p[1] == axis]
    forward = list(range(len(values)))
    if axis > 1 or x.shape is None or x.shape[axis] != len(values):
        return None
    return (x, axis, order != forward) if order in (forward, forward[::-1]) else None


def _place(value: Value) -> tuple[Value, int, int] | None:
    """The tensor that ``value`` is a slice of, along which axis and where."""
    node = value.producer
    x = None if node is None or not node.inputs else node.inputs[0]
    if node is None or x is None or x.shape is None:
        return None
    if node.op.name == "UNPACK":
        at = next(i for i, v in enumerate(node.outputs) if v is value)
        return x, operator(node).axis % len(x.shape), at
    if node.op.name == "STRIDED_SLICE":
        return _slice(node, x, len(x.shape))
    if node.op.name in ("RESHAPE", "SQUEEZE"):
        return _part(x, value)
    return None


def _slice(node: Node, x: Value, rank: int) -> tuple[Value, int, int] | None:
    """One element along one axis, which is taken away, and all along the others."""
    marks, begin, strides = operator(node), node.inputs[1], node.inputs[3]
    if begin is None or begin.data is None or strides is None or strides.data is None:
        return None
    axis = marks.shrink_axis_mask.bit_length() - 1
    others = [i for i in range(begin.data.size) if i != axis]
    whole = all(marks.begin_mask >> i & marks.end_mask >> i & 1 for i in others)
    plain = not marks.ellipsis_mask and not marks.new_axis_mask and np.all(strides.data == 1)
    if marks.shrink_axis_mask != 1 << max(axis, 0) or not whole or not plain or axis >= rank:
        return None
    at, extent = int(begin.data.reshape(-1)[axis]), (x.shape or ())[axis]
    if at < 0 and extent is None:
        return None
    return x, axis, at + (extent or 0) if at < 0 else at


def _part(part: Value, value: Value) -> tuple[Value, int, int] | None:
    """A part of extent 1 that a SPLIT gives, without that axis."""
    node, shape = part.producer, part.shape
    if node is None or node.op.name != "SPLIT" or shape is None or value.shape is None:
        return None
    where, x = node.inputs
    if where is None or where.data is None or x is None:
        return None
    axis = int(where.data.reshape(())) % len(shape)
    rest = (*shape[:axis], *shape[axis + 1 :])
    if shape[axis] != 1 or rest != value.shape or rest.count(None) > 1:
        return None
    return x, axis, next(i for i, v in enumerate(node.outputs) if v is part)


# -- rules ---------------------------------------------------------------------


def _siblings(value: Value) -> list[Value]:
    """All results of the node that gives ``value``."""
    assert value.producer is not None
    return list(value.producer.outputs)


class PackOfUnpack(Rule):
    """Slices that are put together again, forward or backward, along the same axis or another."""

    pattern = op("PACK")

    def check(self, match: Match) -> str | None:
        values = [v for v in match.root.inputs if v is not None]
        found = unpacked(values)
        if found is None or operator(match.root).axis % 3 > 1:
            return ""
        x, axis, backward = found
        whole = axis == operator(match.root).axis % 3 and not backward
        return can_stand_in(match.graph, match.root.output, x) if whole else None

    def rewrite(self, match: Match) -> Value:
        found = unpacked([v for v in match.root.inputs if v is not None])
        assert found is not None
        x, axis, backward = found
        if backward:
            x = match.add("REVERSE_V2", x, match.constant(np.array([axis], np.int32)))
        if operator(match.root).axis % 3 != axis:
            x = match.add("TRANSPOSE", x, match.constant(np.array([1, 0, 2], np.int32)))
        return x


class PackOfConcatenations(Rule):
    """Slices of several tensors, joined slice by slice: the tensors are joined instead."""

    pattern = op("PACK")

    def check(self, match: Match) -> str | None:
        columns = self._columns(match)
        if columns is None or any(unpacked(c) is None for c in columns):
            return ""
        return None

    @staticmethod
    def _columns(match: Match) -> list[tuple[Value, ...]] | None:
        rows = []
        for value in match.root.inputs:
            node = None if value is None else value.producer
            if node is None or node.op.name != "CONCATENATION" or len(node.output.shape or ()) != 2:
                return None
            if operator(node).axis not in (1, -1) or operator(node).activation:
                return None
            rows.append([v for v in node.inputs if v is not None])
        if len({len(row) for row in rows}) != 1:
            return None
        return list(zip(*rows, strict=True))

    def rewrite(self, match: Match) -> Value:
        columns = self._columns(match)
        assert columns is not None
        attributes = match.root.op.attributes()
        parts = [match.add("PACK", *column, **attributes) for column in columns]
        return match.add("CONCATENATION", *parts, axis=2)


class UnpackOfReverse(Rule):
    """Slices of what is reversed are those of the tensor, from behind."""

    pattern = op("UNPACK", op("REVERSE_V2"))

    def check(self, match: Match) -> str | None:
        return None if self._source(match) is not None else ""

    @staticmethod
    def _source(match: Match) -> Value | None:
        turned = match.root.inputs[0]
        node = None if turned is None else turned.producer
        if node is None or node.inputs[1] is None or node.inputs[1].data is None:
            return None
        rank = len(node.output.shape or (0,))
        same = node.inputs[1].data.reshape(-1).tolist() == [operator(match.root).axis % rank]
        return node.inputs[0] if same else None

    def rewrite(self, match: Match) -> list[Value]:
        first = match.add("UNPACK", self._source(match), **match.root.op.attributes())
        return _siblings(first)[::-1]


class SplitOfRows(Rule):
    """Steps whose rows were put below each other to be split are slices of the sequence."""

    pattern = op("SPLIT", const("axis"), op("RESHAPE", some("x"), ANY, shared=True))

    def check(self, match: Match) -> str | None:
        x, rows = match["x"].shape, match.root.output.shape
        steps = len(match.root.outputs)
        if match.data("axis").reshape(-1).tolist() != [0] or rows is None or len(rows) != 2:
            return ""
        same = x is not None and len(x) == 3 and x[0] == steps and x[2] == rows[1] is not None
        return None if same and steps > 1 else ""

    def rewrite(self, match: Match) -> list[Value]:
        steps = match.add("UNPACK", match["x"], num=len(match.root.outputs), axis=0)
        return _siblings(steps)


class OnlySlice(Rule):
    """The only slice that is read of all that UNPACK gives."""

    pattern = op("UNPACK", some("x"))

    def check(self, match: Match) -> str | None:
        values = match.root.outputs
        read = [v for v in values if v.uses or match.graph.is_output(v)]
        return None if len(values) > 1 and len(read) == 1 and match["x"].shape else ""

    def rewrite(self, match: Match) -> list[Value]:
        axis = operator(match.root).axis % len(match["x"].shape or ())
        return [self._slice(match, axis, at) for at in range(len(match.root.outputs))]

    @staticmethod
    def _slice(match: Match, axis: int, at: int) -> Value:
        last = at == len(match.root.outputs) - 1
        first, rest = -1 if last else at, (1 << axis) - 1
        bounds = np.zeros((3, axis + 1), np.int32)
        bounds[:, axis] = first, first + 1, 0
        bounds[2] = 1
        return match.add(
            "STRIDED_SLICE", match["x"], *map(match.constant, bounds), begin_mask=rest,
            end_mask=rest | last << axis, shrink_axis_mask=1 << axis,
        )  # fmt: skip


class UnpackOfTranspose(Rule):
    """Slices of what is transposed are those of the tensor along the axis where they were."""

    pattern = op("UNPACK", op("TRANSPOSE", some("x"), const("perm"), shared=True))

    def check(self, match: Match) -> str | None:
        perm = match.data("perm").reshape(-1).tolist()
        del perm[operator(match.root).axis % len(perm)]
        return None if perm == sorted(perm) else ""

    def rewrite(self, match: Match) -> list[Value]:
        perm = match.data("perm").reshape(-1)
        axis = int(perm[operator(match.root).axis % len(perm)])
        first = match.add("UNPACK", match["x"], num=len(match.root.outputs), axis=axis)
        return _siblings(first)


RULES: tuple[Rule, ...] = (
    PackOfUnpack(),
    PackOfConcatenations(),
    UnpackOfReverse(),
    UnpackOfTranspose(),
    SplitOfRows(),
    OnlySlice(),
)
