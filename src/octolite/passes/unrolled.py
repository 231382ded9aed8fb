"""Cells written out step by step, as ``static_rnn`` does, become an operator over the sequence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from octolite.ir.graph import Graph, Node, Value
from octolite.ir.types import Array
from octolite.passes.cells import (
    ACTIVATIONS,
    Affine,
    Cell,
    activated,
    inputs_of,
    is_whole,
    lstm,
    pieces,
    width_of,
)
from octolite.passes.engine import Event, Explanation, take_over
from octolite.passes.loops import is_zero
from octolite.passes.recurrent import sequence
from octolite.passes.slices import unpacked
from octolite.passes.steps import Builder, DeclinedError

NAME = "FuseUnrolledCells"


def fuse(graph: Graph, explain: Explanation | None = None) -> int:
    """Replace chains of equal cells of ``graph``; returns how many."""
    fused = 0
    if not _may_have_cells(graph):
        return 0
    while _fuse_one(graph, explain):
        fused += 1
    return fused


def _may_have_cells(graph: Graph) -> bool:
    """Whether weights are read more than once, or a state of zeros is: rarely so elsewhere."""
    products = [n for n in graph.nodes if n.op.name == "FULLY_CONNECTED"]
    if len({id(n.inputs[1]) for n in products}) < len(products):
        return True
    return any(is_zero(v) for n in products if n.inputs[0] for v in pieces(n.inputs[0]))


def _fuse_one(graph: Graph, explain: Explanation | None) -> bool:
    """Replace one chain, if any can be; what reads it has to be looked at anew."""
    cells = {id(c.new): c for c in _cells(graph)}
    for chain in sorted(_chains(cells), key=len, reverse=True):
        reason = _begin(chain, cells) or _try(graph, chain)
        if explain is not None and reason != NO_CHAIN:
            names = tuple(_producer(cell.new).name for cell in reversed(chain))
            explain.record(Event(NAME, names, reason))
        if reason is None:
            return True
    return False


def _try(graph: Graph, chain: list[Cell]) -> str | None:
    """Why the chain stays, or ``None`` when it is gone."""
    build = Builder(graph, _producer(chain[0].new))
    try:
        _replace(graph, chain, build)
    except DeclinedError as declined:
        build.undo()
        return str(declined)
    return None


def _producer(value: Value) -> Node:
    assert value.producer is not None
    return value.producer


# -- finding them --------------------------------------------------------------------------------


def _cells(graph: Graph) -> Iterator[Cell]:
    """Everything that is one step of a known cell, whatever its states are.

    ``old`` is ``new`` until it is known.
    """
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


def _chains(cells: Mapping[int, Cell]) -> list[list[Cell]]:
    """The cells in chains: each has the output of the one before as its state."""
    chains: dict[int, list[Cell]] = {}  # by the last output
    for cell in cells.values():
        chain = [cell]
        for key in cell.gates["cell"].terms:
            found = chains.get(key)
            following = None if found is None else _following(found, cell)
            if following is not None:
                chain = following
                del chains[key]
                break
        chains[id(cell.new)] = chain
    return list(chains.values())


def _following(chain: list[Cell], cell: Cell) -> list[Cell] | None:
    """``chain`` with ``cell`` behind it, if that is its next step."""
    before = chain[-1]
    if cell.is_lstm != before.is_lstm:
        return None
    if cell.memory and before.memory and cell.memory[0] is not before.memory[1]:
        return None
    cell = replace(cell, old=before.new)
    state = _state(before, cell)
    if state is None or (len(chain) > 1 and state is not before.old):
        return None
    return [*chain[:-1], replace(before, old=state), cell]


def _state(cell: Cell, model: Cell) -> Value | None:
    """What ``cell`` reads in place of the state of ``model``; its own output if nothing.

    ``None``: the two have different weights.
    """
    settings = [(c.activation, c.cell_clip, c.proj_clip, list(c.gates)) for c in (cell, model)]
    if settings[0] != settings[1] or not _equal_projections(cell, model):
        return None
    states = []
    for name, gate in model.gates.items():
        recurrent, *others = _matrices(gate, model.old)
        mine = cell.gates[name].terms.values()
        state = next((v for v, m in mine if recurrent is not None and _equal(m, recurrent)), None)
        if recurrent is None or not _all_equal(_matrices(cell.gates[name], state)[1:], others):
            return None
        # What is multiplied with a state of zeros may have been left out.
        zeros = cell.memory is not None and is_zero(cell.memory[0])
        if not _equal_rest(cell.gates[name], gate, zeros and name != "output"):
            return None
        states.append(cell.new if state is None else state)
    same = all(s is states[0] for s in states)
    return states[0] if same and _wiring(cell, states[0]) == _wiring(model, model.old) else None


def _wiring(cell: Cell, state: Value) -> list[list[int]]:
    """Which of the inputs each gate reads, by numbers in the order in which they come up."""
    numbers: dict[int, int] = {}
    return [
        [numbers.setdefault(key, len(numbers)) for key in gate.terms if key != id(state)]
        for gate in cell.gates.values()
    ]


def _matrices(gate: Affine, state: Value | None) -> list[Array | None]:
    """The matrix of ``state``, then all others."""
    found = gate.terms.get(id(state))
    others = [m for v, m in gate.terms.values() if v is not state]
    return [None if found is None else found[1], *others]


def _all_equal(a: Sequence[Array | None], b: Sequence[Array | None]) -> bool:
    return len(a) == len(b) and all(map(_equal, a, b))


def _equal(a: Array | None, b: Array | None) -> bool:
    if a is None or b is None:
        return a is b
    # Steps read one constant: where it is cut alike, there is nothing to compare.
    where = [(m.__array_interface__["data"], m.shape, m.strides, m.dtype) for m in (a, b)]
    return where[0] == where[1] or np.array_equal(a, b)


def _equal_projections(a: Cell, b: Cell) -> bool:
    if a.projection is None or b.projection is None:
        return a.projection is b.projection
    return _all_equal(a.projection, b.projection)


def _equal_rest(a: Affine, b: Affine, bare: bool) -> bool:
    """Whether biases, norms and peepholes are the same; ``bare``: ``a`` may have no peepholes."""
    scales = [[vector for _, vector in g.scales.values()] for g in (a, b)]
    same = _equal(a.norm, b.norm) and (_all_equal(*scales) or (bare and not scales[0]))
    return same and np.array_equal(a.bias + np.zeros(1), b.bias + np.zeros(1))


# -- where they begin ----------------------------------------------------------------------------

NO_CHAIN = "it is no chain"


def _begin(chain: list[Cell], cells: Mapping[int, Cell]) -> str | None:
    """Why the chain does not begin with states of zeros, or ``None``."""
    if len(chain) == 1:
        chain[0] = _alone(chain[0])
    elif not _only_peepholes(chain[0]) or not all(map(is_whole, chain[1:])):
        return NO_CHAIN
    first = chain[0]
    if len(chain) == 1 and first.old is not first.new:
        return NO_CHAIN if _is_inner(first) else _goes_on(first, cells)
    if first.memory is not None and not is_zero(first.memory[0]):
        return NO_CHAIN if len(chain) == 1 else f"its cell state {_told(first.memory[0])}"
    if len(chain) > 1 and (first.old is first.new or is_zero(first.old)):
        return None
    before = next((cells[k] for k in first.gates["cell"].terms if k in cells), None)
    if before is not None and _may_follow(first, before):
        return f"{first.new.name!r} has other weights than {before.new.name!r}, which it follows"
    return NO_CHAIN if len(chain) == 1 else f"its state {_told(first.old)}"


def _only_peepholes(cell: Cell) -> bool:
    """Whether the gates multiply nothing but the cell states by vectors."""
    return all(
        set(gate.scales) <= {id(cell.memory[name == "output"])} if cell.memory else not gate.scales
        for name, gate in cell.gates.items()
    )


def _told(state: Value) -> str:
    return f"begins with {state.name!r}, which is not zero"


def _goes_on(cell: Cell, cells: Mapping[int, Cell]) -> str | None:
    """Why a single step is not all: others, with other weights, go on from it."""
    for other in cells.values():
        reads = id(cell.new) in other.gates["cell"].terms
        if reads and _may_follow(other, cell) and _alone(other) is other:
            return f"{other.new.name!r}, which follows it, has other weights"
    return None


def _may_follow(cell: Cell, before: Cell) -> bool:
    """Whether only weights keep ``cell`` from being the step after ``before``."""
    return len(cell.gates["cell"].terms) > 1 and _form(cell) == _form(before)


def _form(cell: Cell) -> object:
    """What two cells have in common that differ in their weights alone."""
    shapes = {
        name: [None if m is None else m.shape for _, m in gate.terms.values()]
        for name, gate in cell.gates.items()
    }
    return cell.activation, cell.is_lstm, shapes


def _alone(cell: Cell) -> Cell:
    """``cell`` with its state, if it is a single step from states of zeros."""
    terms = {k: v for gate in cell.gates.values() for k, (v, _) in gate.terms.items()}
    zeros = [v for v in terms.values() if is_zero(v)]
    if len(zeros) != 1:
        return cell
    found = replace(cell, old=zeros[0])
    if cell.memory is not None:
        if not is_zero(cell.memory[0]):
            return cell
        found = _apart(found, cell.memory[0])
    outputs = cell.units if cell.projection is None else len(cell.projection[0])
    return found if is_whole(found) and width_of(found, found.old) == outputs else cell


def _apart(cell: Cell, zeros: Value) -> Cell:
    """``cell`` with a cell state that is no other value: both states may be the same zeros."""
    assert cell.memory is not None
    own = Value(f"{zeros.name}/cell", zeros.dtype, zeros.shape)
    gates = {
        name: replace(
            gate,
            scales={
                (id(own) if k == id(zeros) else k): (own if v is zeros else v, s)
                for k, (v, s) in gate.scales.items()
            },
        )
        for name, gate in cell.gates.items()
    }
    return replace(cell, gates=gates, memory=(own, cell.memory[1]))


def _is_inner(cell: Cell) -> bool:
    """Whether this is but a part of a larger cell, an LSTM or GRU whose gates multiply it, or
    tells nothing but its shape.
    """
    readers = {n.op.name for n in cell.new.uses}
    shape = bool(readers) and readers <= {"SHAPE", "ZEROS_LIKE"}
    return shape or (not cell.is_lstm and "MUL" in readers)


# -- replacing them ------------------------------------------------------------------------------


def _replace(graph: Graph, chain: list[Cell], build: Builder) -> None:
    """Let one operator compute what the cells of ``chain`` do. Raises :class:`DeclinedError`."""
    rows = [inputs_of(cell) for cell in chain]
    if len({len(row) for row in rows}) > 1:
        raise DeclinedError("its first step reads one tensor both as an input and as a state")
    columns = list(zip(*rows, strict=True))
    inside = _inside(chain, [v for column in columns for v in column])
    for cell in chain:
        if cell.memory is not None and any(id(n) not in inside for n in cell.memory[1].uses):
            raise DeclinedError(f"its cell state {cell.memory[1].name!r} is read elsewhere")
        if cell.memory is not None and graph.is_output(cell.memory[1]):
            raise DeclinedError(f"its cell state {cell.memory[1].name!r} is a result of the graph")
    if any(_needs(v, inside) for column in columns for v in column):
        raise DeclinedError("its input is computed from the output of the step before")
    if any(len(v.shape or ()) != 2 for column in columns for v in column):
        raise DeclinedError("its input is not a row for each sequence of a batch")
    single = len(chain) == 1
    parts = [column[0] if single else _stacked(build, column) for column in columns]
    axis = 1 if single else 2
    x = parts[0] if len(parts) == 1 else build.add("CONCATENATION", *parts, axis=axis)
    out = sequence(build, chain[-1], inputs_of(chain[-1]), x)
    olds = [cell.new for cell in chain]
    news = [out] if single else _steps(build, out, [_is_read(graph, v, inside) for v in olds])
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
    inside = {id(_producer(cell.new)) for cell in chain}
    stack: list[Value | None] = [v for cell in chain for v in _producer(cell.new).inputs]
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


def _steps(build: Builder, out: Value, read: Sequence[bool]) -> list[Value]:
    """Each step of ``out``; those that are not read may be anything."""
    if not any(read[:-1]):
        bounds = build.integers(-1), build.integers(0), build.integers(1)
        last = build.add("STRIDED_SLICE", out, *bounds, shrink_axis_mask=1, end_mask=1)
        return [last] * len(read)
    first = build.add("UNPACK", out, num=len(read), axis=0)
    return list(_producer(first).outputs)
