"""Recurrent cells: what they compute ahead for all steps, and what in each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from octolite.errors import InvalidGraphError, UnsupportedError
from octolite.frontends.keras.convolution import PADDINGS, window
from octolite.frontends.keras.core import int32
from octolite.frontends.keras.engine import Call, Extent, Layer
from octolite.ir.graph import Value
from octolite.ir.types import Padding


class Cell(ABC):
    """One cell of a layer. ``prefix`` stands in front of its weights' names there.

    The methods get a place to build in, which is another graph for ``step`` than for ``prepare``.
    """

    gates = 1

    def __init__(self, layer: Layer, prefix: str = "") -> None:
        self.layer, self.prefix = layer, prefix

    @property
    def units(self) -> int:
        return self.layer.count("units")

    def sizes(self, n: Call, x: Value) -> list[list[Extent]]:
        """The shape of each state but for the batch; ``x`` [batch, time, …]."""
        return [[self.units]]

    def output_at(self, n: Call, x: Value) -> int:
        """Which state has the shape of the output."""
        return 0

    def prepare(self, n: Call, x: Value) -> Value:
        """What ``x`` contributes to all steps, [batch, time, …]."""
        shape = n.extent(x, -1), self.units * self.gates
        w = n.transpose(n.weight(f"{self.prefix}kernel", *shape), (1, 0))
        return n.op("FULLY_CONNECTED", n.real(x), w, self.input_bias(n), keep_num_dims=True)

    def input_bias(self, n: Call) -> Value | None:
        return n.optional(f"{self.prefix}bias", self.units * self.gates)

    def recurrent(self, n: Call, h: Value, first: int, last: int, bias: Value | None) -> Value:
        """``h`` by the recurrent kernel of the gates from ``first`` to before ``last``."""
        units = self.units
        w = n.weight(f"{self.prefix}recurrent_kernel", units, units * self.gates)
        part = n.view(w, ("G", first, last), lambda a: np.ascontiguousarray(
            a[:, first * units : last * units].T))  # fmt: skip
        return n.op("FULLY_CONNECTED", h, part, bias)

    @abstractmethod
    def step(self, n: Call, p: Value, states: Sequence[Value]) -> tuple[Value, list[Value]]:
        """The output and the states after a step; ``p`` [batch, …] is prepared."""


class SimpleCell(Cell):
    """``h = act(W x + b + R h)``."""

    def step(self, n: Call, p: Value, states: Sequence[Value]) -> tuple[Value, list[Value]]:
        total = n.op("ADD", p, self.recurrent(n, states[0], 0, 1, None))
        h = n.activate(total, default="tanh")
        return h, [h]


class LSTMCell(Cell):
    """Gates in the order input, forget, cell, output."""

    gates = 4

    def sizes(self, n: Call, x: Value) -> list[list[Extent]]:
        return [[self.units], [self.units]]

    def step(self, n: Call, p: Value, states: Sequence[Value]) -> tuple[Value, list[Value]]:
        h, c = states
        total = n.op("ADD", p, self.recurrent(n, h, 0, 4, None))
        return gated(n, n.ops("SPLIT", int32(1), total, num_splits=4), c)


def gated(n: Call, gates: Sequence[Value], c: Value) -> tuple[Value, list[Value]]:
    """The step of an LSTM from its four gates before their activations."""
    i, f, o = (n.activate(gates[k], "recurrent_activation", "sigmoid") for k in (0, 1, 3))
    new = n.activate(gates[2], default="tanh")
    c = n.op("ADD", n.op("MUL", f, c), n.op("MUL", i, new))
    h = n.op("MUL", o, n.activate(c, default="tanh"))
    return h, [h, c]


class GRUCell(Cell):
    """Gates in the order update, reset, new; the reset before or after the product."""

    gates = 3

    @property
    def after(self) -> bool:
        return self.layer.flag("reset_after", False)

    def input_bias(self, n: Call) -> Value | None:
        return self._bias(n, 0)

    def _bias(self, n: Call, row: int) -> Value | None:
        wide = 3 * self.units
        if not self.after:
            return n.optional(f"{self.prefix}bias", wide) if row == 0 else None
        both = n.optional(f"{self.prefix}bias", 2, wide)
        return None if both is None else n.view(both, ("B", row), lambda a: a[row].copy())

    def step(self, n: Call, p: Value, states: Sequence[Value]) -> tuple[Value, list[Value]]:
        h = states[0]
        z, r, new = n.ops("SPLIT", int32(1), p, num_splits=3)
        if self.after:
            inner = self.recurrent(n, h, 0, 3, self._bias(n, 1))
            parts = n.ops("SPLIT", int32(1), inner, num_splits=3)
        else:
            parts = n.ops("SPLIT", int32(1), self.recurrent(n, h, 0, 2, None), num_splits=2)
        z, r = (
            n.activate(n.op("ADD", a, b), "recurrent_activation", "sigmoid")
            for a, b in ((z, parts[0]), (r, parts[1]))
        )
        if self.after:
            inner = n.op("MUL", r, parts[2])
        else:
            inner = self.recurrent(n, n.op("MUL", r, h), 2, 3, None)
        new = n.activate(n.op("ADD", new, inner), default="tanh")
        # z h + (1 - z) new
        h = n.op("ADD", new, n.op("MUL", z, n.op("SUB", h, new)))
        return h, [h]


class ConvCell(Cell):
    """An LSTM whose products are convolutions, over images of ``rank`` dimensions."""

    gates = 4

    def __init__(self, layer: Layer, prefix: str, rank: int) -> None:
        super().__init__(layer, prefix)
        self.rank = rank
        self.filters = layer.count("filters")
        self.size = layer.sizes("kernel_size", rank)
        if layer.text("data_format", "channels_last") != "channels_last":
            raise UnsupportedError(f"{layer.class_name} with channels first")

    def sizes(self, n: Call, x: Value) -> list[list[Extent]]:
        p = self.prepare(n, x)
        size: list[Extent] = [n.extent(p, i) for i in range(2, self.rank + 2)]
        return [[*size, self.filters]] * 2

    def prepare(self, n: Call, x: Value) -> Value:
        inner = [n.extent(x, i) for i in range(2, self.rank + 3)]
        flat = n.reshape(x, (-1, *inner))
        strides, dilations = (
            self.layer.sizes(k, self.rank, 1) for k in ("strides", "dilation_rate")
        )
        padding = self.layer.choice("padding", PADDINGS, "valid")
        y = self._convolve(
            n, flat, "kernel", n.optional(f"{self.prefix}bias", 4 * self.filters),
            window(strides, dilations, padding),
        )  # fmt: skip
        return n.reshaped(y, [(x, 0), (x, 1), *(n.extent(y, i) for i in range(1, self.rank + 2))])

    def _convolve(
        self, n: Call, x: Value, name: str, bias: Value | None, moves: dict[str, Any]
    ) -> Value:
        wide = 4 * self.filters
        kernel = n.weight(f"{self.prefix}{name}", *self.size, n.extent(x, -1), wide)
        if self.rank == 3:
            return n.op("CONV_3D", x, kernel, bias, **moves)
        if self.rank == 1:
            kernel = n.reshape(kernel, (1, *[d or 0 for d in n.shape(kernel)]))
            x = n.expand(x, 1)
        y = n.op("CONV_2D", x, n.transpose(kernel, (3, 0, 1, 2)), bias, **moves)
        return n.op("SQUEEZE", y, squeeze_dims=(1,)) if self.rank == 1 else y

    def step(self, n: Call, p: Value, states: Sequence[Value]) -> tuple[Value, list[Value]]:
        h, c = states
        moves = window([1] * self.rank, [1] * self.rank, Padding.SAME)
        total = n.op("ADD", p, self._convolve(n, h, "recurrent_kernel", None, moves))
        return gated(n, n.ops("SPLIT", int32(self.rank + 1), total, num_splits=4), c)


class StackedCells(Cell):
    """Cells one on top of the other: the first prepares, the others step by step."""

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        inner = layer.parts.get("cells")
        if not isinstance(inner, list) or not inner:
            raise InvalidGraphError(f"{layer!r} holds no cells")
        self.cells = [cell_of(part) for part in inner]

    def sizes(self, n: Call, x: Value) -> list[list[Extent]]:
        return [size for cell in self.cells for size in cell.sizes(n.on(cell.layer), x)]

    def output_at(self, n: Call, x: Value) -> int:
        last = self.cells[-1]
        return len(self.sizes(n, x)) - len(last.sizes(n.on(last.layer), x))

    def prepare(self, n: Call, x: Value) -> Value:
        return self.cells[0].prepare(n.on(self.cells[0].layer), x)

    def step(self, n: Call, p: Value, states: Sequence[Value]) -> tuple[Value, list[Value]]:
        found: list[Value] = []
        x = p
        for number, cell in enumerate(self.cells):
            inner = n.on(cell.layer)
            if number:
                x = _squeezed(inner, cell.prepare(inner, inner.expand(x, 1)))
            count = len(cell.sizes(inner, x))
            its, states = states[:count], states[count:]
            x, new = cell.step(inner, x, its)
            found += new
        return x, found


def _squeezed(n: Call, x: Value) -> Value:
    return n.op("SQUEEZE", x, squeeze_dims=(1,))


class CustomCell(Cell):
    """A cell whose lowering a program has registered: ``(call, x, states) -> output, states``."""

    def sizes(self, n: Call, x: Value) -> list[list[Extent]]:
        given = self.layer.get("state_size", self.layer.get("units"))
        items = given if isinstance(given, list) else [given]
        if not items or not all(type(i) is int and i > 0 for i in items):
            raise UnsupportedError(
                f"cell {self.layer.class_name}, whose configuration has neither state_size nor "
                "units"
            )
        return [[i] for i in items]

    def prepare(self, n: Call, x: Value) -> Value:
        return x

    def step(self, n: Call, p: Value, states: Sequence[Value]) -> tuple[Value, list[Value]]:
        entry = self.layer.entry
        assert entry is not None
        output, new = entry.lowering(n, p, list(states))
        return output, list(new) if isinstance(new, list | tuple) else [new]


CELLS: dict[str, type[Cell]] = {
    "SimpleRNNCell": SimpleCell, "LSTMCell": LSTMCell, "GRUCell": GRUCell,
    "StackedRNNCells": StackedCells,
}  # fmt: skip


def cell_of(layer: Layer) -> Cell:
    """The cell that a layer is. Raises :class:`UnsupportedError` for an unknown one."""
    kind = CELLS.get(layer.names[-1])
    if kind is not None:
        return kind(layer)
    if layer.entry is None:
        raise UnsupportedError(f"cell {layer.class_name} is unknown")
    return CustomCell(layer)
