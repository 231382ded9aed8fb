"""Recurrent layers: operators where there is one that does it, otherwise a loop over the cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from octolite.errors import InvalidGraphError, UnsupportedError
from octolite.frontends.keras.cells import (
    Cell,
    ConvCell,
    GRUCell,
    LSTMCell,
    SimpleCell,
    StackedCells,
    cell_of,
)
from octolite.frontends.keras.engine import Call, Layer, Nest, layer
from octolite.frontends.keras.loop import Result, unroll
from octolite.ir.graph import Value
from octolite.ir.types import FLOAT32, Activation
from octolite.ops import REGISTRY

FUSED = {
    "tanh": Activation.TANH, "relu": Activation.RELU, "relu6": Activation.RELU6,
    "linear": Activation.NONE, None: Activation.NONE,
}  # fmt: skip
"""Activations that the recurrent operators have."""

GATES = ("input", "forget", "cell", "output")


@dataclass(frozen=True)
class Reading:
    """How a layer reads sequences: its cell, and what it gives."""

    layer: Layer
    cell: Cell
    every: bool
    with_state: bool
    backwards: bool
    stateful: bool
    zeros: bool

    @classmethod
    def of(cls, layer: Layer, cell: Cell) -> Reading:
        if layer.flag("time_major", False):
            raise UnsupportedError(f"{layer.class_name} with time_major")
        return cls(
            layer, cell, layer.flag("return_sequences", False), layer.flag("return_state", False),
            layer.flag("go_backwards", False), layer.flag("stateful", False),
            layer.flag("zero_output_for_mask", False),
        )  # fmt: skip


CellOf = Callable[[Layer], Cell]


def _of_rnn(layer: Layer) -> Cell:
    inside = layer.parts
    return StackedCells(layer) if "cells" in inside else cell_of(layer.part("cell"))


CELLS: Mapping[str, CellOf] = {
    "SimpleRNN": lambda its: SimpleCell(its, "cell/"),
    "LSTM": lambda its: LSTMCell(its, "cell/"),
    "GRU": lambda its: GRUCell(its, "cell/"),
    "ConvLSTM1D": lambda its: ConvCell(its, "cell/", 1),
    "ConvLSTM2D": lambda its: ConvCell(its, "cell/", 2),
    "ConvLSTM3D": lambda its: ConvCell(its, "cell/", 3),
    "RNN": _of_rnn,
}
"""Recurrent layer → its cell."""

_WEIGHTS = "cell/kernel cell/recurrent_kernel cell/bias?use_bias"


@layer(
    "SimpleRNN", "LSTM", "GRU", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", masks="own",
    weights=_WEIGHTS,
)  # fmt: skip
def recurrent(n: Call, x: Nest, initial_state: Nest = None) -> Nest:
    """SimpleRNN and LSTM become one operator, whose state lasts from run to run; with a mask, an
    initial or a final cell state, or other gates, and for all others, a loop."""
    return _recurrent(n, x, initial_state)


@layer("RNN", masks="own")
def rnn(n: Call, x: Nest, initial_state: Nest = None) -> Nest:
    """Of any cell below, of several, or of one that a program registers."""
    return _recurrent(n, x, initial_state)


def _recurrent(n: Call, x: Nest, initial_state: Nest) -> Nest:
    x, initial = _arguments(x, initial_state)
    its = Reading.of(n.layer, CELLS[n.op_type](n.layer))
    mask = n.mask(x)
    result = run(n, its, x, initial, mask)
    found = _chosen(n, its, result)
    n.masked(found, mask if its.every else None)
    return [found, *result.states] if its.with_state else found


def _arguments(x: Nest, initial: Nest) -> tuple[Value, list[Value]]:
    """The sequence and its initial states, which may come in one list."""
    if isinstance(x, list | tuple):
        x, *rest = x
        initial = initial if initial is not None else rest
    given = [] if initial is None else initial
    return x, list(given) if isinstance(given, list | tuple) else [given]


def _chosen(n: Call, its: Reading, result: Result) -> Value:
    if not its.every:
        return result.last
    assert result.steps is not None
    return result.steps


def run(n: Call, its: Reading, x: Value, initial: Sequence[Value], mask: Value | None) -> Result:
    """What a recurrent layer gives for ``x`` [batch, time, …]."""
    if n.rank(x) < 3:
        raise InvalidGraphError(f"{its.layer!r} reads {x!r}, which is no sequence")
    if its.backwards:
        x = reverse(n, n.real(x))
        mask = None if mask is None else reverse(n, mask)
    if not initial and mask is None and _is_fused(its):
        return _operator(n, its, n.real(x))
    sizes = its.cell.sizes(n.on(its.cell.layer), x)
    if initial and len(initial) != len(sizes):
        raise InvalidGraphError(f"{its.layer!r} is given {len(initial)} states, not {len(sizes)}")
    memory = None
    states = list(initial)
    if its.stateful and not states:
        memory = Memory(n, x, sizes)
        states = memory.read()
    if not states:
        states = [n.zeros([(x, 0), *size]) for size in sizes]
    result = unroll(n, its.cell, x, states, mask, its.every, its.zeros)
    if memory is not None:
        memory.write(result.states)
    return result


def reverse(n: Call, x: Value) -> Value:
    """``x`` [batch, time, …] from the last step to the first."""
    return n.op("REVERSE_V2", x, [1])


# -- as one operator --------------------------------------------------------------------------


def _name(found: Any) -> Any:
    """The name of an activation, as any version writes it."""
    if isinstance(found, Mapping) and found.get("class_name") == "function":
        return found.get("config")
    return found


def _is_fused(its: Reading) -> bool:
    layer, cell = its.cell.layer, its.cell
    activation = _name(layer.get("activation", "tanh"))
    if not isinstance(activation, str | None) or activation not in FUSED:
        return False
    if type(cell) is LSTMCell:
        gate = _name(layer.get("recurrent_activation", "sigmoid"))
        return gate == "sigmoid" and not its.with_state
    return type(cell) is SimpleCell


def _operator(n: Call, its: Reading, x: Value) -> Result:
    cell, batch = its.cell, n.shape(x)[0]
    inner = n.on(cell.layer)
    units, depth = cell.units, n.extent(x, -1)
    kernel = inner.weight(f"{cell.prefix}kernel", depth, units * cell.gates)
    recurrent = inner.weight(f"{cell.prefix}recurrent_kernel", units, units * cell.gates)
    bias = inner.optional(f"{cell.prefix}bias", units * cell.gates)
    if bias is None:
        bias = inner.constant(np.zeros(units * cell.gates, np.float32))

    def part(w: Value, gate: int) -> Value:
        columns = slice(gate * units, (gate + 1) * units)
        return inner.view(w, ("R", gate), lambda a: np.ascontiguousarray(a[..., columns].T))

    def state(what: str) -> Value:
        return Value(f"{n.name}/{what}", FLOAT32, (batch, units), is_variable=True)

    activation = FUSED[_name(cell.layer.get("activation", "tanh"))]
    if isinstance(cell, SimpleCell):
        weights = (part(w, 0) for w in (kernel, recurrent, bias))
        steps = n.op("UNIDIRECTIONAL_SEQUENCE_RNN", x, *weights, state("h"), activation=activation)
    else:
        given: dict[str, Value] = {"input": x}
        for number, gate in enumerate(GATES):
            given[f"input_to_{gate}_weights"] = part(kernel, number)
            given[f"recurrent_to_{gate}_weights"] = part(recurrent, number)
            given[f"{gate}_gate_bias"] = part(bias, number)
        given["output_state"], given["cell_state"] = state("h"), state("c")
        operator = REGISTRY["UNIDIRECTIONAL_SEQUENCE_LSTM"]
        names = [p.name for p in operator.input_parameters()][:20]
        steps = n.op(operator.name, *[given.get(name) for name in names], activation=activation)
    last = n.op("STRIDED_SLICE", steps, [0, -1, 0], [0, 0, 0], [1, 1, 1],
                begin_mask=5, end_mask=7, shrink_axis_mask=2)  # fmt: skip
    return Result(steps, last, [last])


# -- state that lasts -------------------------------------------------------------------------


class Memory:
    """States that a layer keeps from run to run, in variables that begin as zeros."""

    def __init__(self, n: Call, x: Value, sizes: Sequence[Sequence[Any]]) -> None:
        self.n = n
        shapes = [(n.extent(x, 0), *size) for size in sizes]
        if not all(isinstance(d, int) for shape in shapes for d in shape):
            raise UnsupportedError(f"{n.op_type} with state of unknown shape")
        self.names = [f"{n.name}/state{i}" for i in range(len(shapes))]
        self.shapes = shapes
        inner = n.nested("init")
        for name, shape in zip(self.names, shapes, strict=True):
            handle = inner.op("VAR_HANDLE", shared_name=name)
            inner.ops("ASSIGN_VARIABLE", handle, np.zeros(shape, np.float32))
        inner.graph.outputs = []
        n.ops("CALL_ONCE", init=inner.graph)

    def read(self) -> list[Value]:
        n = self.n
        self.handles = [n.op("VAR_HANDLE", shared_name=name) for name in self.names]
        return [
            n.op("READ_VARIABLE", h, dtype=FLOAT32, shape=tuple(shape))
            for h, shape in zip(self.handles, self.shapes, strict=True)
        ]

    def write(self, states: Sequence[Value]) -> None:
        for handle, state in zip(self.handles, states, strict=True):
            self.n.ops("ASSIGN_VARIABLE", handle, state)


# -- both ways --------------------------------------------------------------------------------


def _join(n: Call, mode: str | None, a: Value, b: Value) -> list[Value]:
    if mode is None:
        return [a, b]
    if mode == "concat":
        return [n.op("CONCATENATION", a, b, axis=n.rank(a) - 1)]
    if mode not in ("sum", "ave", "mul"):
        raise UnsupportedError(f"{n.op_type} with merge_mode {mode!r}")
    y = n.op("MUL" if mode == "mul" else "ADD", a, b)
    return [n.op("MUL", y, 0.5) if mode == "ave" else y]


@layer("Bidirectional", masks="own")
def bidirectional(n: Call, x: Nest, initial_state: Nest = None) -> Nest:
    """One layer forward and one backward, joined in any of the ways; a pair of operators becomes
    one for both directions."""
    x, initial = _arguments(x, initial_state)
    mask, half = n.mask(x), len(initial) // 2
    results, sequences = [], []
    for name, states in (("forward_layer", initial[:half]), ("backward_layer", initial[half:])):
        inner = n.on(n.layer.part(name))
        make = CELLS.get(inner.op_type)
        if make is None:
            raise UnsupportedError(f"Bidirectional of {inner.op_type}")
        its = Reading.of(inner.layer, make(inner.layer))
        if its.every:
            its = replace(its, zeros=True)
        results.append(run(inner, its, x, states, mask))
        sequences.append(its)
    forward, backward = (_chosen(n, its, r) for its, r in zip(sequences, results, strict=True))
    every = sequences[0].every
    if every:
        backward = reverse(n, backward)
    found = _join(n, n.get("merge_mode", "concat"), forward, backward)
    for value in found:
        n.masked(value, mask if every else None)
    if sequences[0].with_state:
        return [*found, *results[0].states, *results[1].states]
    return found[0] if len(found) == 1 else found


@layer("TimeDistributed", masks="kept")
def time_distributed(n: Call, x: Value) -> Value:
    """The layer inside, on all steps at once."""
    inner = n.layer.part("layer")
    rest = [n.extent(x, i) for i in range(2, n.rank(x))]
    y = n.call(inner, n.reshape(x, (-1, *rest)))
    if not isinstance(y, Value):
        raise UnsupportedError("TimeDistributed of a layer with several results")
    return n.reshaped(y, [(x, 0), (x, 1), *(n.extent(y, i) for i in range(1, n.rank(y)))])


# -- cells ------------------------------------------------------------------------------------


@layer("SimpleRNNCell", "LSTMCell", "GRUCell", weights="kernel recurrent_kernel bias?use_bias")
def cell(n: Call, x: Value, states: Nest) -> Nest:
    """In RNN, Bidirectional and StackedRNNCells, or called for a single step."""
    its = cell_of(n.layer)
    prepared = its.prepare(n, n.expand(x, 1))
    given = states if isinstance(states, list | tuple) else [states]
    output, new = its.step(n, n.op("SQUEEZE", prepared, squeeze_dims=(1,)), list(given))
    return [output, *new]


@layer("StackedRNNCells")
def stacked_cells(n: Call, x: Value, states: Nest) -> Nest:
    """Several cells, each reading the one before."""
    return cell(n, x, states)
