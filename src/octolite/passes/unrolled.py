"""Cells written out step by step, as ``static_rnn`` does, become an operator over the sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from octolite.ir.graph import Graph, Node, Value
from octolite.passes.cells import (
    ACTIVATIONS,
    Affine,
    Cell,
    activated,
    inputs_of,
    is_whole,
    lstm,
    matrix_of,
)
from octolite.passes.engine import Event, Explanation, Match, Rule, operator, take_over
from octolite.passes.loops import is_zero
from octolite.passes.patterns import op
from octolite.passes.recurrent import sequence
from octolite.passes.steps import Builder, DeclinedError

NAME = "FuseUnrolledCells"


def fuse(graph: Graph, explain: Explanation | None = None) -> int:
    """Replace chains of equal cells of ``graph``; returns how many."""
    fused = 0
    for chain in list(_chains(graph)):
        build = Builder(graph, _producer(chain[0].new))
        try:
            _replace(graph, chain, build)
            reason = None
        except DeclinedError as declined:
            build.undo()
            reason = str(declined)
        fused += reason is None
        if explain is not None:
            names = tuple(_producer(cell.new).name for cell in reversed(chain))
            explain.record(Event(NAME, names, reason))
    return fused


def _producer(value: Value) -> Node:
    assert value.producer is not None
    return value.producer


# -- finding them --------------------------------------------------------------------------------


def _chains(graph: Graph) -> Iterator[list[Cell]]:
    """Cells of which each has the output of the one before as its state; two at least."""
    cells = {id(c.new): c for c in _cells(graph)}
    following: dict[int, Cell] = {}
    for cell in cells.values():
        before = _before(cell, cells)
        if before is not None:
            following.setdefault(id(before.new), replace(cell, old=before.new))
    seconds = {id(c.new) for c in following.values()}
    for first in cells.values():
        if id(first.new) in seconds or id(first.new) not in following:
            continue
        chain = [first]
        while id(chain[-1].new) in following:
            cell = following[id(chain[-1].new)]
            if len(chain) > 1 and not _same(chain[-1], cell):
                break
            chain.append(cell)
        if is_whole(chain[1]) and _begins(first, chain[1]):
            yield chain


def _cells(graph: Graph) -> Iterator[Cell]:
    """Everything that is one step of a known cell, whatever its states are."""
    for node in graph.nodes:
        if len(node.outputs) != 1 or len(node.output.shape or ()) != 2:
            continue
        new = node.output
        if node.op.name in ("MUL", "FULLY_CONNECTED", "MAXIMUM", "MINIMUM"):
            cell = lstm(new, new, None)
            if cell is not None:
                yield cell
                continue
        if node.op.name in ACTIVATIONS or node.op.attributes().get("activation"):
            activation, inner = activated(new)
            if activation and inner.terms and not inner.scales:
                yield Cell(activation, {"cell": inner}, new, new)


def _before(cell: Cell, cells: dict[int, Cell]) -> Cell | None:
    """The step that gives the states of ``cell``."""
    for key in cell.gates["cell"].terms:
        found = cells.get(key)
        if found is None or found.is_lstm != cell.is_lstm:
            continue
        if cell.memory is None or (found.memory and found.memory[1] is cell.memory[0]):
            return found
    return None


def _same(a: Cell, b: Cell, from_zeros: bool = False) -> bool:
    """Whether two steps have the same weights; ``from_zeros``: but those for the state of ``a``."""
    settings = [(c.activation, c.cell_clip, c.proj_clip, list(c.gates)) for c in (a, b)]
    if settings[0] != settings[1] or not _equal_projections(a, b):
        return False
    first, second = inputs_of(a), inputs_of(b)
    if len(first) != len(second):
        return False
    pairs = list(zip(first, second, strict=True))
    pairs += [] if from_zeros else [(a.old, b.old)]
    return all(
        _equal(matrix_of(a, gate, [x]), matrix_of(b, gate, [y]))
        for gate in a.gates
        for x, y in pairs
    ) and all(_equal_rest(a.gates[gate], b.gates[gate]) for gate in a.gates)


def _equal(a: object, b: object) -> bool:
    return np.array_equal(np.asarray(a), np.asarray(b))


def _equal_projections(a: Cell, b: Cell) -> bool:
    if a.projection is None or b.projection is None:
        return a.projection is b.projection
    return all(map(_equal, a.projection, b.projection))


def _equal_rest(a: Affine, b: Affine) -> bool:
    """Whether biases, peepholes and normalizations are the same."""
    scales = [[vector for _, vector in g.scales.values()] for g in (a, b)]
    if (a.norm is None) != (b.norm is None) or not _equal(a.norm, b.norm):
        return False
    return _equal(a.bias + np.zeros(1), b.bias + np.zeros(1)) and (
        len(scales[0]) == len(scales[1]) and all(map(_equal, *scales))
    )


def _begins(first: Cell, second: Cell) -> bool:
    """Whether ``first`` is the same step as ``second``, from states of zeros."""
    if first.memory is not None and not is_zero(first.memory[0]):
        return False
    states = _zeros(first)
    if not states:
        return _same(first, second, from_zeros=True)
    return len(states) == 1 and _same(replace(first, old=states[0]), second)


def _zeros(cell: Cell) -> list[Value]:
    """What ``cell`` reads that is known to be zero."""
    terms = {k: v for gate in cell.gates.values() for k, (v, _) in gate.terms.items()}
    return [v for v in terms.values() if is_zero(v)]


# -- replacing them ------------------------------------------------------------------------------


def _replace(graph: Graph, chain: list[Cell], build: Builder) -> None:
    """Let one operator compute what the cells of ``chain`` do. Raises :class:`DeclinedError`."""
    first = chain[0]
    chain = [replace(first, old=next(iter(_zeros(first)), first.old)), *chain[1:]]
    columns = list(zip(*map(inputs_of, chain), strict=True))
    inside = _inside(chain, [v for column in columns for v in column])
    for cell in chain:
        if cell.memory is not None and any(id(n) not in inside for n in cell.memory[1].uses):
            raise DeclinedError(f"its cell state {cell.memory[1].name!r} is read elsewhere")
        if cell.memory is not None and graph.is_output(cell.memory[1]):
            raise DeclinedError(f"its cell state {cell.memory[1].name!r} is a result of the graph")
    if any(_needs(v, inside) for column in columns for v in column):
        raise DeclinedError("its input is computed from its output of the step before")
    parts = [_stacked(build, column) for column in columns]
    x = parts[0] if len(parts) == 1 else build.add("CONCATENATION", *parts, axis=2)
    out = sequence(build, chain[1], inputs_of(chain[1]), x)
    olds = [cell.new for cell in chain]
    news = _steps(build, out, [_is_read(graph, v, inside) for v in olds])
    for old, new in zip(olds, news, strict=True):
        if graph.is_output(old):
            _producer(old).outputs = ()
            take_over(graph, old, new)
        else:
            graph.replace(old, new)
    graph.sort()
    graph.prune()


def _inside(chain: Sequence[Cell], inputs: Sequence[Value]) -> set[int]:
    """The nodes between the inputs and the outputs of the cells."""
    stop = {id(v) for v in inputs}
    inside: set[int] = set()
    stack: list[Value | None] = [cell.new for cell in chain]
    while stack:
        value = stack.pop()
        if value is None or id(value) in stop or value.producer is None or is_zero(value):
            continue
        if id(value.producer) not in inside:
            inside.add(id(value.producer))
            stack += value.producer.inputs
    return inside


def _needs(value: Value, inside: set[int]) -> bool:
    """Whether ``value`` depends on what the cells compute."""
    seen: set[int] = set()
    stack: list[Value | None] = [value]
    while stack:
        found = stack.pop()
        if found is None or found.producer is None or id(found.producer) in seen:
            continue
        if id(found.producer) in inside:
            return True
        seen.add(id(found.producer))
        stack += found.producer.inputs
    return False


def _is_read(graph: Graph, value: Value, inside: set[int]) -> bool:
    return graph.is_output(value) or any(id(n) not in inside for n in value.uses)


def _stacked(build: Builder, values: Sequence[Value]) -> Value:
    """The values as a sequence with time first."""
    order = unpacked(values)
    if order is None:
        return build.add("PACK", *values, values_count=len(values), axis=0)
    x, axis, backward = order
    if axis == 1:
        x = build.add("TRANSPOSE", x, build.integers(1, 0, 2))
    return build.add("REVERSE_V2", x, build.integers(0)) if backward else x


def unpacked(values: Sequence[Value]) -> tuple[Value, int, bool] | None:
    """The tensor of which ``values`` are all slices along an axis, and if from behind."""
    node = values[0].producer
    if node is None or node.op.name != "UNPACK" or node.inputs[0] is None:
        return None
    if node.inputs[0].shape is None or len(node.inputs[0].shape) != 3:
        return None
    slices, axis = list(map(id, node.outputs)), operator(node).axis % 3
    found = list(map(id, values))
    if axis > 1 or found not in (slices, slices[::-1]):
        return None
    return node.inputs[0], axis, found != slices


def _steps(build: Builder, out: Value, read: Sequence[bool]) -> list[Value]:
    """Each step of ``out``; those that are not read may be anything."""
    if not any(read[:-1]):
        bounds = build.integers(-1), build.integers(0), build.integers(1)
        last = build.add("STRIDED_SLICE", out, *bounds, shrink_axis_mask=1, end_mask=1)
        return [last] * len(read)
    first = build.add("UNPACK", out, num=len(read), axis=0)
    return list(_producer(first).outputs)


# -- arrangements in between ---------------------------------------------------------------------


class PackOfUnpack(Rule):
    """Slices that are put together again, forward or backward, along the same axis or another."""

    pattern = op("PACK")

    def check(self, match: Match) -> str | None:
        values = [v for v in match.root.inputs if v is not None]
        found = unpacked(values)
        if found is None or operator(match.root).axis % 3 > 1:
            return ""
        if match.graph.is_output(match.root.output) and found[0].producer is None:
            return f"{match.root.output.name!r} is a result of the graph"
        return None

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
        return list(_producer(first).outputs)[::-1]


RULES: tuple[Rule, ...] = (PackOfUnpack(), PackOfConcatenations(), UnpackOfReverse())
