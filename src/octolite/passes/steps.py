"""All steps of a loop at once: what a round computes, for a whole sequence with time first.

What does not depend on the round before can be computed for all rounds together: a read of step t
is the sequence itself, an elementwise operator works on [time, batch, …] as on [batch, …].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from octolite.errors import OctoliteError
from octolite.ir.graph import Graph, Node, Value
from octolite.ir.types import DType
from octolite.ops.base import operator_class
from octolite.passes import counts
from octolite.passes.engine import operator
from octolite.passes.loops import Loop, constant, sources

Mask = tuple[int, ...]
"""Names a condition that, once true for a row, stays so: the steps past the end of a sequence."""


class DeclinedError(Exception):
    """Why a loop stays a loop."""


class Builder:
    """Adds nodes in front of another, and takes them back if need be."""

    def __init__(self, graph: Graph, before: Node) -> None:
        self.graph = graph
        self.before = before
        self.added: list[Node] = []

    def add(self, name: str, *inputs: Value | None, **attributes: Any) -> Value:
        op = operator_class(name)(**attributes)
        base = f"{self.before.name}/{name.lower()}"
        try:
            node = self.graph.add(op, inputs, base, before=self.before)
        except OctoliteError as error:
            raise DeclinedError(f"{name} cannot be built: {error}") from error
        self.added.append(node)
        return node.output

    def constant(self, data: Any, dtype: DType | None = None) -> Value:
        return Value.constant(f"{self.before.name}/constant", np.asarray(data), dtype)

    def integers(self, *numbers: int) -> Value:
        return self.constant(np.array(numbers, np.int32))

    def undo(self) -> None:
        for node in reversed(self.added):
            self.graph.remove(node)
        self.added.clear()


@dataclass
class Steps:
    """The steps of ``loop``, in the outer graph.

    Attributes:
        length: how many there are, a scalar.
        known: what has been found, by the id of the body's value.
        dirty: for results that are wrong where a mask is true, that mask.
    """

    loop: Loop
    build: Builder
    length: Value
    known: dict[int, Value] = field(default_factory=dict)
    dirty: dict[int, Mask | None] = field(default_factory=dict)
    copies: dict[int, Value] = field(default_factory=dict)

    # -- asking -----------------------------------------------------------------------------

    def varies(self, value: Value) -> bool:
        """Whether ``value`` may differ from round to round."""
        if id(value) in self.known:
            return True
        unchanged = {id(self.loop.body.inputs[i]) for i in self.loop.unchanged}
        return any(v.data is None and id(v) not in unchanged for v in sources(value))

    def fixed(self, value: Value) -> Value:
        """The outer graph's value for one that does not vary."""
        if value.data is not None:
            return Value.constant(value.name, value.data, value.dtype, value.quant)
        outer = self.loop.outer(value)
        if outer is not None:
            return outer
        if value.producer is None:
            raise DeclinedError(f"{value.name!r} is not known before the loop")
        if id(value) not in self.copies:
            self.copies[id(value)] = self._copied(value.producer)
        return self.copies[id(value)]

    def _copied(self, node: Node) -> Value:
        if len(node.outputs) != 1 or node.op.stateful:
            raise DeclinedError(f"{node} is computed anew in each step")
        inputs = [None if v is None else self.fixed(v) for v in node.inputs]
        return self.build.add(node.op.name, *inputs, **node.op.attributes())

    def mask_of(self, value: Value) -> Mask | None:
        """The mask that ``value`` is: ``t >= length`` of each row."""
        node = value.producer
        if node is None or node.op.name not in ("GREATER_EQUAL", "LESS_EQUAL"):
            return None
        pair = node.inputs if node.op.name == "GREATER_EQUAL" else node.inputs[::-1]
        clock, lengths = pair
        if clock is None or lengths is None or not self.is_clock(clock) or self.varies(lengths):
            return None
        outer = self.fixed(lengths)
        return (id(outer),) if outer.data is None else (0, *outer.data.reshape(-1).tolist())

    def is_clock(self, value: Value) -> bool:
        body = self.loop.body.inputs
        return any(value is body[i] and start == 0 for i, start in self.loop.counters.items())

    # -- all steps ----------------------------------------------------------------------------

    def all(self, value: Value) -> Value:
        """``value`` in all steps: [time, …]. Raises :class:`DeclinedError`."""
        if id(value) not in self.known:
            if value.producer is None:
                self.known[id(value)] = self._counter(value)
                self.dirty[id(value)] = None
            else:
                rule = RULES.get(value.producer.op.name)
                if rule is None:
                    raise DeclinedError(
                        f"{value.producer} depends on the step before, in a way that no cell has"
                    )
                self.dirty[id(value)] = self._stain(value.producer)
                results = rule(self, value.producer)
                pairs = zip(value.producer.outputs, results, strict=True)
                for inner, outer in pairs:
                    self.known[id(inner)] = outer
                    self.dirty[id(inner)] = self.dirty[id(value)]
        return self.known[id(value)]

    def _counter(self, value: Value) -> Value:
        for i, start in self.loop.counters.items():
            if value is self.loop.body.inputs[i]:
                zero = self.build.constant(np.asarray(start, value.dtype.numpy))
                one = self.build.constant(np.asarray(1, value.dtype.numpy))
                if value.dtype is not self.length.dtype:
                    raise DeclinedError(f"{value.name!r} counts in a format of its own")
                end = self.length if start == 0 else self.build.add("ADD", self.length, zero)
                return self.build.add("RANGE", zero, end, one)
        raise DeclinedError(f"{value.name!r} is a state that no known cell has")

    def _stain(self, node: Node) -> Mask | None:
        """The mask under which the results of ``node`` are wrong."""
        found: set[Mask] = set()
        values = list(node.inputs)
        if node.op.name in ("SELECT", "SELECT_V2") and values[0] is not None:
            mask = self.mask_of(values[0])
            if mask is not None and values[2] is not None and self.varies(values[2]):
                self.all(values[2])
                if self.dirty.get(id(values[2])) == mask:
                    values = values[:2]
        for value in values:
            if value is not None and self.varies(value):
                self.all(value)
                mask = self.dirty.get(id(value))
                if mask is not None:
                    found.add(mask)
        if len(found) > 1:
            raise DeclinedError(f"{node} mixes sequences of different lengths")
        return found.pop() if found else None

    def operand(self, value: Value | None, rank: int) -> Value | None:
        """An operand of an elementwise operator with results of ``rank`` in one step."""
        if value is None or not self.varies(value):
            return None if value is None else self.fixed(value)
        steps = self.all(value)
        own = None if value.shape is None else len(value.shape)
        if own == rank:
            return steps
        if own == 0:
            ones = [1] * rank
            return self.build.add("RESHAPE", steps, self.build.integers(-1, *ones),
                                  new_shape=(-1, *ones))  # fmt: skip
        raise DeclinedError(f"{value.name!r} is stretched to the shape of a step's results")


Rule = Callable[[Steps, Node], list[Value]]


def _rank(node: Node) -> int:
    if node.output.shape is None:
        raise DeclinedError(f"the rank of {node.output.name!r} is not known")
    return len(node.output.shape)


def _elementwise(steps: Steps, node: Node) -> list[Value]:
    inputs = [steps.operand(v, _rank(node)) for v in node.inputs]
    return [steps.build.add(node.op.name, *inputs, **node.op.attributes())]


def _select(steps: Steps, node: Node) -> list[Value]:
    """SELECT takes a condition for each row, SELECT_V2 one that is stretched like all operands."""
    condition, *others = node.inputs
    rank = _rank(node)
    assert condition is not None
    by_row = node.op.name == "SELECT" and len(condition.shape or ()) == 1 < rank
    if by_row and steps.varies(condition):
        rows = steps.all(condition)
        for axis in range(2, 1 + rank):
            rows = steps.build.add("EXPAND_DIMS", rows, steps.build.constant(np.int32(axis)))
    elif by_row:
        rows = steps.fixed(condition)
        for axis in range(1, rank):
            rows = steps.build.add("EXPAND_DIMS", rows, steps.build.constant(np.int32(axis)))
    else:
        found = steps.operand(condition, rank)
        assert found is not None
        rows = found
    return [steps.build.add("SELECT_V2", rows, *[steps.operand(v, rank) for v in others])]


def _gather(steps: Steps, node: Node) -> list[Value]:
    x, index = node.inputs
    assert x is not None
    assert index is not None
    op = operator(node)
    if steps.varies(x) or op.batch_dims or op.axis not in (0, -len(x.shape or ())):
        raise DeclinedError(f"{node} reads from what is written in the loop")
    outer = steps.fixed(x)
    if not steps.is_clock(index):
        return [steps.build.add("GATHER", outer, steps.all(index), axis=0)]
    if outer.shape is not None and _same_length(outer, steps.length):
        return [outer]
    return [steps.build.add("GATHER", outer, steps.all(index), axis=0)]


def _same_length(value: Value, length: Value) -> bool:
    return counts.extent(value, 0) == counts.number(length)


def _product(steps: Steps, node: Node) -> list[Value]:
    x, w, b = (*node.inputs, None)[:3]
    if x is None or w is None or steps.varies(w) or (b is not None and steps.varies(b)):
        raise DeclinedError(f"{node} has weights that change")
    if len(x.shape or ()) != 2:
        raise DeclinedError(f"{node} multiplies something else than rows")
    fixed = [steps.fixed(w), None if b is None else steps.fixed(b)]
    attributes = {**node.op.attributes(), "keep_num_dims": True}
    return [steps.build.add("FULLY_CONNECTED", steps.all(x), *fixed, **attributes)]


def _joined(steps: Steps, node: Node) -> list[Value]:
    rank = _rank(node)
    if not all(v is not None and steps.varies(v) for v in node.inputs):
        raise DeclinedError(f"{node} joins what changes and what does not")
    attributes = {**node.op.attributes(), "axis": operator(node).axis % rank + 1}
    parts = [steps.all(v) for v in node.inputs if v is not None]
    return [steps.build.add("CONCATENATION", *parts, **attributes)]


def _split(steps: Steps, node: Node) -> list[Value]:
    axis, x = node.inputs
    number = constant(axis)
    if number is None or x is None or x.shape is None:
        raise DeclinedError(f"{node} splits along an axis that is not known")
    moved = steps.build.constant(np.int32(number % len(x.shape) + 1))
    first = steps.build.add("SPLIT", moved, steps.all(x), **node.op.attributes())
    assert first.producer is not None
    return list(first.producer.outputs)


def _reshaped(steps: Steps, node: Node) -> list[Value]:
    """Axes of extent 1 are taken away and put in; no other change can be told from [time, …]."""
    x = node.inputs[0]
    before, after = None if x is None else x.shape, node.output.shape
    if x is None or before is None or after is None:
        raise DeclinedError(f"the ranks of {node} are not known")
    if [d for d in before if d != 1] != [d for d in after if d != 1] or before.count(None) > 1:
        raise DeclinedError(f"{node} arranges the rows of a step anew")
    value = steps.all(x)
    gone = tuple(i + 1 for i, d in enumerate(before) if d == 1)
    if gone:
        value = steps.build.add("SQUEEZE", value, squeeze_dims=gone)
    for i, d in enumerate(after):
        if d == 1:
            value = steps.build.add("EXPAND_DIMS", value, steps.build.constant(np.int32(i + 1)))
    return [value]


_ELEMENTWISE = """
    ADD SUB MUL DIV MAXIMUM MINIMUM POW SQUARED_DIFFERENCE LESS LESS_EQUAL GREATER GREATER_EQUAL
    EQUAL NOT_EQUAL LOGICAL_AND LOGICAL_OR LOGICAL_NOT TANH LOGISTIC RELU RELU6 RELU_N1_TO_1 ELU
    EXP LOG SQRT RSQRT NEG ABS SIN COS FLOOR CEIL ROUND SIGN SQUARE CAST SOFTMAX LOG_SOFTMAX GELU
    HARD_SWISH LEAKY_RELU
"""

RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _elementwise),
    "SELECT": _select,
    "SELECT_V2": _select,
    "GATHER": _gather,
    "FULLY_CONNECTED": _product,
    "CONCATENATION": _joined,
    "SPLIT": _split,
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _reshaped),
}
"""How each operator works on all steps."""
