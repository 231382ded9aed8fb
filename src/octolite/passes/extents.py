"""Integers that a graph computes from shapes, followed as far as they can be known.

Each element is a *form*: a constant plus multiples of unknowns, such as the batch. Arrays of
integers become arrays of the numbers of their forms, which operators that only move elements
(STRIDED_SLICE, PACK …) move as they would the integers. So ``[n, 49, 2·h - 2·h + 3]`` is seen to
hold 49 and 3, although ``n`` and ``h`` are unknown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from octolite.errors import OctoliteError
from octolite.ir.graph import Node, Value
from octolite.ir.types import Array
from octolite.ops.base import Operator

MOST_EXTENTS = 64
"""Larger tensors are no shapes, and are not looked at."""

MOST_STEPS = 200
"""How many operators are followed upward before giving up."""


@dataclass(frozen=True, slots=True)
class Form:
    """``constant + Σ factor · unknown``; the terms are in a fixed order and have no factor 0."""

    constant: int
    terms: tuple[tuple[Hashable, int], ...] = ()

    def plus(self, other: Form, factor: int = 1) -> Form:
        terms = dict(self.terms)
        for unknown, times in other.terms:
            terms[unknown] = terms.get(unknown, 0) + factor * times
        kept = sorted(((u, t) for u, t in terms.items() if t), key=repr)
        return Form(self.constant + factor * other.constant, tuple(kept))

    def times(self, factor: int) -> Form:
        return Form(0).plus(self, factor)


class Follower:
    """Forms by number, and what is known of the values that were asked for."""

    def __init__(self) -> None:
        self.forms: list[Form] = []
        self._numbers: dict[Form, int] = {}
        self._known: dict[int, Array | None] = {}

    def number(self, form: Form) -> int:
        if form not in self._numbers:
            self._numbers[form] = len(self.forms)
            self.forms.append(form)
        return self._numbers[form]

    def follow(self, value: Value) -> Array | None:
        """The numbers of the forms of ``value``, in its shape; ``None``: nothing can be said."""
        if id(value) not in self._known:
            self._known[id(value)] = None  # until it is known; a model may be cyclic
            self._known[id(value)] = self._follow(value) if _is_small(value) else None
        return self._known[id(value)]

    def _follow(self, value: Value) -> Array | None:
        if value.data is not None:
            return self._constants(value.data)
        node = value.producer
        if node is None or len(self._known) > MOST_STEPS:
            return self._unknowns(value)
        rule = _RULES.get(node.op.name, Follower._evaluated)
        try:
            found = rule(self, node)
        except (OctoliteError, ArithmeticError, LookupError, TypeError, ValueError):
            found = None  # a defect of the model: it is the run time's to report
        return self._unknowns(value) if found is None else found

    def _constants(self, data: Array) -> Array:
        numbers = [self.number(Form(int(v))) for v in data.reshape(-1)]
        return np.array(numbers, np.int64).reshape(data.shape)

    def _unknowns(self, value: Value) -> Array | None:
        if value.shape is None or None in value.shape:
            return None
        shape = [d or 0 for d in value.shape]
        unknowns = [Form(0, (((id(value), i), 1),)) for i in range(math.prod(shape))]
        return np.array([self.number(f) for f in unknowns], np.int64).reshape(shape)

    def form(self, number: Any) -> Form:
        return self.forms[int(number)]

    # -- what operators make of forms -----------------------------------------------------------

    def _shape(self, node: Node) -> Array | None:
        source = node.inputs[0]
        if source is None or source.shape is None:
            return None
        forms = [
            Form(0, ((("extent", id(source), axis), 1),)) if d is None else Form(d)
            for axis, d in enumerate(source.shape)
        ]
        return np.array([self.number(f) for f in forms], np.int64)

    def _moved(self, node: Node) -> Array | None:
        everything = node.op.name in ("PACK", "CONCATENATION")
        arrays: list[Array | None] = []
        for i, value in enumerate(node.inputs):
            if value is not None and (everything or i == 0):
                numbers = self.follow(value)
                if numbers is None:
                    return None
                arrays.append(numbers.astype(value.dtype.numpy))
            elif value is not None and value.data is None:
                return None
            else:
                arrays.append(None if value is None else value.data)
        return _run(node, arrays).astype(np.int64)

    def _linear(self, node: Node) -> Array | None:
        """ADD, SUB, NEG, CAST."""
        numbers = [self.follow(v) for v in node.inputs if v is not None]
        if any(n is None for n in numbers) or node.op.attributes().get("activation"):
            return None
        first, *rest = np.broadcast_arrays(*[n for n in numbers if n is not None])
        sign = -1 if node.op.name in ("SUB", "NEG") else 1
        result = np.empty(first.shape, np.int64)
        for at in np.ndindex(*first.shape):
            form = self.form(first[at])
            if node.op.name == "NEG":
                form = form.times(-1)
            for other in rest:
                form = form.plus(self.form(other[at]), sign)
            result[at] = self.number(form)
        return result

    def _product(self, node: Node) -> Array | None:
        """MUL, where one of the factors is known."""
        numbers = [self.follow(v) for v in node.inputs if v is not None]
        if any(n is None for n in numbers) or node.op.attributes().get("activation"):
            return None
        a, b = np.broadcast_arrays(*[n for n in numbers if n is not None])
        result = np.empty(a.shape, np.int64)
        for i, at in enumerate(np.ndindex(*a.shape)):
            x, y = self.form(a[at]), self.form(b[at])
            if not x.terms:
                form = y.times(x.constant)
            elif not y.terms:
                form = x.times(y.constant)
            else:
                form = Form(0, (((id(node), i), 1),))
            result[at] = self.number(form)
        return result

    def _evaluated(self, node: Node) -> Array | None:
        """Any other operator, where all its operands are known."""
        arrays: list[Array | None] = []
        for value in node.inputs:
            found = None if value is None else self.constants(value)
            if value is not None and found is None:
                return None
            arrays.append(found)
        if not arrays or node.op.stateful or len(node.outputs) != 1:
            return None
        return self._constants(_run(node, arrays))

    def constants(self, value: Value) -> Array | None:
        """The integers of ``value``, when all are known."""
        if value.data is not None:
            return value.data
        numbers = self.follow(value)
        if numbers is None or any(self.form(n).terms for n in numbers.reshape(-1)):
            return None
        flat = [self.form(n).constant for n in numbers.reshape(-1)]
        return np.array(flat, value.dtype.numpy).reshape(numbers.shape)


MOVES = (
    "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "STRIDED_SLICE", "GATHER", "PACK",
    "CONCATENATION", "TRANSPOSE",
)  # fmt: skip

_RULES: dict[str, Callable[[Follower, Node], Array | None]] = {
    "SHAPE": Follower._shape,
    **dict.fromkeys(
        [
            "RESHAPE",
            "SQUEEZE",
            "EXPAND_DIMS",
            "SLICE",
            "STRIDED_SLICE",
            "GATHER",
            "PACK",
            "CONCATENATION",
            "TRANSPOSE",
        ],
        Follower._moved,
    ),
    **dict.fromkeys(("ADD", "SUB", "NEG", "CAST"), Follower._linear),
    "MUL": Follower._product,
}


def _is_small(value: Value) -> bool:
    if not value.dtype.is_integer or value.quant is not None or value.shape is None:
        return False
    size = 1
    for extent in value.shape:
        size *= MOST_EXTENTS + 1 if extent is None else extent
    return size <= MOST_EXTENTS


def _run(node: Node, arrays: list[Array | None]) -> Array:
    assert isinstance(node.op, Operator)
    return node.op.run(arrays, node.inputs, node.outputs)[0]


# -- what rules ask -----------------------------------------------------------------------------


def constants(value: Value) -> Array | None:
    """The integers that ``value`` will hold, when all of them are known."""
    return Follower().constants(value) if _is_small(value) else None


def extents(value: Value) -> list[int | None] | None:
    """The integers of a vector, ``None`` for each that is not known."""
    follower = Follower()
    numbers = follower.follow(value)
    if numbers is None:
        return None
    forms = [follower.form(n) for n in numbers.reshape(-1)]
    return [None if f.terms else f.constant for f in forms]


def difference(a: Value, b: Value) -> Array | None:
    """``a - b``, when it is the same whatever is unknown."""
    follower = Follower()
    x, y = follower.follow(a), follower.follow(b)
    if x is None or y is None or x.shape != y.shape:
        return None
    result = np.zeros(x.shape, np.int64)
    for at in np.ndindex(*x.shape):
        form = follower.form(x[at]).plus(follower.form(y[at]), -1)
        if form.terms:
            return None
        result[at] = form.constant
    return result
