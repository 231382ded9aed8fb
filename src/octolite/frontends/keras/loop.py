"""A cell over all steps of a sequence, as a WHILE: for what no recurrent operator does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octolite.frontends.keras.cells import Cell
from octolite.frontends.keras.engine import Call
from octolite.ir.graph import Graph, Value
from octolite.ir.types import INT32, TensorType


@dataclass(frozen=True)
class Result:
    """What a sequence gives: the output of every step [batch, time, …] if asked for, that of the
    last, and the states behind it."""

    steps: Value | None
    last: Value
    states: list[Value]


def unroll(
    n: Call, cell: Cell, x: Value, states: Sequence[Value], mask: Value | None, every: bool,
    zeros: bool,
) -> Result:  # fmt: skip
    """Run ``cell`` over ``x`` [batch, time, …].

    Args:
        states: before the first step.
        mask: bool [batch, time]; where it is false, states stay, and the output is that of the
            step before, or zero with ``zeros``.
        every: whether outputs of all steps are wanted.
    """
    return _Loop(n, cell, x, states, mask, every, zeros).run()


class _Loop:
    def __init__(
        self, n: Call, cell: Cell, x: Value, states: Sequence[Value], mask: Value | None,
        every: bool, zeros: bool,
    ) -> None:  # fmt: skip
        self.n, self.cell, self.every, self.zeros = n, cell, every, zeros
        self.count = n.scalar(x, 1)
        self.x = _time_first(n, cell.prepare(n.on(cell.layer), x))
        self.mask = None if mask is None else _time_first(n, mask)
        self.states = list(states)
        like = self.states[cell.output_at(n, x)]
        self.output = n.zeros([(like, axis) for axis in range(n.rank(like))])

    def run(self) -> Result:
        n = self.n
        operands = [n.constant(np.zeros((), np.int32)), self.output, *self.states]
        if self.every:
            shape = [(self.x, 0), *((self.output, i) for i in range(n.rank(self.output)))]
            operands.append(n.zeros(shape))
        carried = len(operands)
        operands += [self.count, self.x] + ([] if self.mask is None else [self.mask])
        types = [TensorType(v.dtype, v.shape) for v in operands]
        graphs = {"cond": self._condition(types), "body": self._body(types)}
        results = n.ops("WHILE", *operands, **graphs)
        for value, operand in zip(results[:carried], operands, strict=False):
            value.shape = operand.shape
        steps = _time_first(n, results[carried - 1]) if self.every else None
        states = list(results[2 : 2 + len(self.states)])
        return Result(steps, results[1], states)

    def _condition(self, types: Sequence[TensorType]) -> Graph:
        inner = self.n.nested("cond")
        given = inner.parameters(types)
        number = 2 + len(self.states) + self.every
        inner.graph.outputs = [inner.op("LESS", given[0], given[number])]
        return inner.graph

    def _body(self, types: Sequence[TensorType]) -> Graph:
        inner = self.n.nested("body")
        given = inner.parameters(types)
        time, last, *rest = given
        states, rest = rest[: len(self.states)], rest[len(self.states) :]
        array, rest = (rest[0], rest[1:]) if self.every else (None, rest)
        x = inner.op("GATHER", rest[1], time, axis=0)
        output, new = self.cell.step(inner.on(self.cell.layer), x, states)
        if self.mask is not None:
            keep = inner.op("GATHER", rest[2], time, axis=0)
            new = [_choose(inner, keep, a, b) for a, b in zip(new, states, strict=True)]
            empty = inner.like(output, 0.0) if self.zeros else last
            output = _choose(inner, keep, output, empty)
        results = [inner.op("ADD", time, 1), output, *new]
        if array is not None:
            start = inner.op(
                "PACK", time, *[_zero(inner)] * inner.rank(output), axis=0,
                values_count=inner.rank(output) + 1,
            )  # fmt: skip
            step = inner.expand(output, 0)
            results.append(inner.op("DYNAMIC_UPDATE_SLICE", array, step, start))
        inner.graph.outputs = results + list(rest)
        for value, type_ in zip(inner.graph.outputs, types, strict=True):
            if value.producer is not None:
                value.shape = type_.shape
        inner.graph.prune()
        return inner.graph


def _zero(n: Call) -> Value:
    return n.constant(np.zeros((), INT32.numpy))


def _choose(n: Call, keep: Value, a: Value, b: Value) -> Value:
    """``a`` where ``keep`` [batch] is true, else ``b``."""
    while n.rank(keep) < n.rank(a):
        keep = n.expand(keep, n.rank(keep))
    return n.op("SELECT_V2", keep, a, b)


def _time_first(n: Call, x: Value) -> Value:
    return n.transpose(x, (1, 0, *range(2, n.rank(x))))
