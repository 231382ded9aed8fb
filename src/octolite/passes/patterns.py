"""Patterns: trees of operators, and how they are found in a graph.

Patterns look upward from a root node: ``op("RELU", op("CONV_2D", ANY, const("w")))`` is a RELU of
a CONV_2D of constant weights. A name that is bound twice must be the same value both times;
operands of commutative operators match in either order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from octolite.ir.graph import Node, Value

COMMUTATIVE = frozenset({"ADD", "MUL", "MAXIMUM", "MINIMUM", "LOGICAL_AND", "LOGICAL_OR"})


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a value must be.

    Attributes:
        operators: names of the operators that may compute it; empty: anything may.
        inputs: patterns of the operator's first inputs, ``None`` when they do not matter.
        name: what the match calls it, or empty.
        constant: it must be a constant.
        number: it must be a constant of one element with (nearly) this value.
        shared: it may have readers outside the match.
    """

    operators: tuple[str, ...] = ()
    inputs: tuple[Pattern, ...] | None = None
    name: str = ""
    constant: bool = False
    number: float | None = None
    shared: bool = False

    def fits(self, value: Value) -> bool:
        """Whether ``value`` is what this says of the value itself."""
        if self.operators:
            return value.producer is not None and value.producer.op.name in self.operators
        if self.number is not None:
            data = value.data
            return (
                data is not None
                and data.size == 1
                and value.quant is None
                and bool(abs(float(data.reshape(())) - self.number) <= 1e-6 * abs(self.number))
            )
        return value.data is not None or not self.constant


def op(names: str, *inputs: Pattern, name: str = "", shared: bool = False) -> Pattern:
    """The result of one of the operators in ``names`` (separated by blanks)."""
    return Pattern(tuple(names.split()), inputs or None, name, shared=shared)


def const(name: str = "") -> Pattern:
    """A constant."""
    return Pattern(name=name, constant=True)


def number(value: float) -> Pattern:
    """A constant of one element that is ``value``, up to float32's rounding."""
    return Pattern(number=value)


def some(name: str = "") -> Pattern:
    """Any value at all."""
    return Pattern(name=name)


ANY = some()

Bindings: TypeAlias = dict[str, Value]


Inner = tuple[tuple[Node, Pattern], ...]
Found: TypeAlias = Iterator[tuple[Bindings, Inner]]
"""Ways in which a pattern fits: what is bound, and the inner nodes with their patterns."""


def match_node(p: Pattern, node: Node, bound: Bindings, inner: Inner = ()) -> Found:
    """All ways in which the inputs of ``node`` are those of ``p``."""
    if p.inputs is None:
        yield bound, inner
    elif len(node.inputs) >= len(p.inputs):
        yield from _match_inputs(p.inputs, node.inputs, bound, inner)
        if node.op.name in COMMUTATIVE and len(p.inputs) == 2:
            yield from _match_inputs(p.inputs, node.inputs[::-1], bound, inner)


def _match_inputs(
    patterns: Sequence[Pattern], values: Sequence[Value | None], bound: Bindings, inner: Inner
) -> Found:
    if not patterns:
        yield bound, inner
        return
    for found, nodes in _match_value(patterns[0], values[0], bound, inner):
        yield from _match_inputs(patterns[1:], values[1:], found, nodes)


def _match_value(p: Pattern, value: Value | None, bound: Bindings, inner: Inner) -> Found:
    if value is None or not p.fits(value):
        return
    if p.name:
        if bound.get(p.name, value) is not value:
            return
        bound = {**bound, p.name: value}
    if p.operators and value.producer is not None:
        yield from match_node(p, value.producer, bound, (*inner, (value.producer, p)))
    else:
        yield bound, inner
