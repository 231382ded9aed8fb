"""Recurrent layers: one product for the inputs of all steps, then cells that step through them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from octolite.errors import KernelError
from octolite.ir.types import FLOAT32, Activation, Array
from octolite.kernels import cell, jit, pack
from octolite.kernels.clamp import bounds
from octolite.kernels.expression import Expression
from octolite.kernels.isa import Isa, Tile
from octolite.kernels.launch import NOWHERE, Launch, Operand, Place
from octolite.kernels.layers import FullyConnectedLayer
from octolite.kernels.maps import MapLayer
from octolite.kernels.pack import Panels, round_up
from octolite.kernels.spec import Cell, Constants, FullyConnected, Recurrent

# Bytes of what the inputs contribute that are computed at a time.
_STRETCH = 1 << 20


@dataclass(frozen=True, slots=True)
class _Matrix:
    """The weights of several gates for one source, in the order of a cell's panels."""

    weights: Array  # [channels, depth]
    scale: Array | None  # float32 [channels]


def interleave(parts: Sequence[Array], width: int) -> Array:
    """``parts`` [units, …], one a gate, to [panel, gate, unit of the panel, …], flat in front.

    Zeros fill the last panel.
    """
    units, *rest = parts[0].shape
    count = -(-units // width)
    out = np.zeros((count, len(parts), width, *rest), parts[0].dtype)
    for index, part in enumerate(parts):
        whole, left = divmod(units, width)
        out[:whole, index] = part[: whole * width].reshape(whole, width, *rest)
        if left:
            out[whole, index, :left] = part[whole * width :]
    return out.reshape(count * len(parts) * width, *rest)


def _matrix(constants: Constants, names: Sequence[str], width: int) -> _Matrix:
    given = [constants[name] for name in names]
    weights = interleave([c.data for c in given], width)
    if given[0].scale is None:
        return _Matrix(weights, None)
    units = len(given[0].data)
    scales = [np.full(units, np.float32(np.asarray(c.scale).item())) for c in given]
    return _Matrix(weights, interleave(scales, width))


def _tile(request: Recurrent, isa: Isa, constants: Constants) -> Tile:
    """The tile of the states' products."""
    if not request.hybrid:
        return isa.real
    matrices = {n for c in request.cells for n in (*(g.recurrent for g in c.gates), c.projection)}
    least = min(int(constants[n].data.min(initial=0)) for n in matrices if n is not None)
    return isa.lean if isa.lean is not None and least > -128 else isa.dot


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of sequences: where the first is, and the bytes from step to step and from one
    sequence to the next."""

    place: Place
    step: int
    sequence: int

    @classmethod
    def of(cls, place: Place, row: int, extents: tuple[int, int], time_major: bool) -> Rows:
        """Rows of ``row`` bytes for ``extents`` (time, batch)."""
        time, batch = extents
        return cls(place, batch * row, row) if time_major else cls(place, row, time * row)

    def from_step(self, step: int) -> Rows:
        """Without the steps before."""
        return replace(self, place=Place(self.place.base, self.place.offset + step * self.step))

    def backward(self, time: int) -> Rows:
        """The last of ``time`` steps first."""
        return replace(self.from_step(time - 1), step=-self.step)

    def at(self, extents: tuple[int, int]) -> Array:
        """Where each row starts, in bytes from the first: int64 [time · batch]."""
        steps, sequences = (np.arange(n, dtype=np.int64) for n in extents)
        return (steps[:, None] * self.step + sequences * self.sequence).reshape(-1)


class CellLayer:
    """One cell: its constants packed, its code compiled."""

    def __init__(
        self, request: Recurrent, spec: Cell, constants: Constants, isa: Isa, tile: Tile
    ) -> None:
        low, high, curved = bounds(spec.activation)
        peepholes = [g.peephole for g in spec.gates if g.peephole is not None]
        norms = [g.norm for g in spec.gates if g.norm is not None]
        self.request = request
        self.spec = spec
        self.isa = isa
        self.tile = tile
        self.variant = cell.Variant(
            len(spec.gates),
            request.asymmetric,
            curved,
            bool(peepholes),
            bool(spec.projection),
            bool(norms),
        )
        self.gates = cell.gate_tile(tile, len(spec.gates), self.variant.across)
        self.width = tile.lanes * self.variant.across
        self.fn = jit.load(cell.unit(tile, self.variant), isa)["step_through"]
        self._limits = {
            "low": low,
            "high": high,
            "cell_clip": spec.cell_clip or math.inf,
            "output_clip": spec.output_clip or math.inf,
            "guard": spec.guard,
        }
        recurrent = _matrix(constants, [g.recurrent for g in spec.gates], self.width)
        bias = interleave([constants[g.bias].real for g in spec.gates], self.width)
        self.state = _panels(self.gates, recurrent, bias)
        self.projection: Panels | None = None
        if spec.projection is not None:
            given = constants[spec.projection_bias].real if spec.projection_bias else None
            self.projection = _panels(tile, _matrix(constants, [spec.projection], 1), given)
        self.peephole, self.norm = (
            interleave([constants[n].real for n in names], self.width) if names else NOWHERE
            for names in (peepholes, norms)
        )
        self.inputs = {spec.source: self._input([g.weights for g in spec.gates], constants)}
        if spec.aux is not None:
            self.inputs[spec.aux] = self._input([g.aux or "" for g in spec.gates], constants)
        self.add = MapLayer(Expression((FLOAT32, FLOAT32), (("add", (0, 1)),)), isa)

    def _input(self, names: Sequence[str], constants: Constants) -> FullyConnectedLayer:
        """The product of an input with all gates, its results in the order of the panels."""
        matrix = _matrix(constants, names, self.width)
        channels, depth = matrix.weights.shape
        request = FullyConnected(
            depth, channels, Activation.NONE, self.request.hybrid, self.request.asymmetric
        )
        lined = matrix.weights[:, None, :]
        return FullyConnectedLayer(request, self.isa, lined, None, matrix.scale)

    def chunk(self, batch: int, threads: int) -> int:
        """Sequences of a tile: whole blocks, so that any number of threads gives the same bits."""
        return round_up(-(-batch // threads), self.gates.heights[-1])

    @property
    def products(self) -> int:
        """Multiplications of a step by the state."""
        projected = self.spec.outputs * self.spec.units if self.projection is not None else 0
        return self.spec.outputs * len(self.spec.gates) * self.spec.units + projected

    @property
    def channels(self) -> int:
        """Results of the inputs' products, padding included."""
        return self.state.count * self.gates.width

    def place(
        self,
        launch: Launch,
        inputs: Mapping[str, Rows],
        out: Rows,
        states: Sequence[Place],
        extents: tuple[int, int],
    ) -> Placed:
        """Reserve working memory for stretches of ``extents`` (time, batch)."""
        steps, batch = extents
        sums = [launch.reserve(steps * batch * self.channels * 4) for _ in self.inputs]
        return Placed(self, inputs, out, sums, self._fields(launch, batch, states))

    def _fields(self, launch: Launch, batch: int, states: Sequence[Place]) -> dict[str, Operand]:
        """What the steps are told of the cell and of its working memory."""
        spec, gated = self.spec, len(self.spec.gates) > 1
        inner_bytes = round_up(spec.units, self.width) * 4
        inner = launch.reserve(batch * inner_bytes)
        outer, outer_bytes = inner, inner_bytes
        if self.projection is not None:
            outer_bytes = self.projection.count * self.tile.width * 4
            outer = launch.reserve(batch * outer_bytes)
        return {
            "hidden": states[0],
            "cell": states[1] if gated else NOWHERE,
            "units": spec.units,
            "outputs": spec.outputs,
            "inner": inner,
            "cells": launch.reserve(batch * inner_bytes) if gated else NOWHERE,
            "inner_bytes": inner_bytes,
            "outer": outer,
            "outer_bytes": outer_bytes,
            "peephole": self.peephole,
            "norm": self.norm,
            **self._limits,
            **self._product(launch, "state_", self.state, self.gates, spec.outputs, batch),
            **self._product(launch, "projection_", self.projection, self.tile, spec.units, batch),
        }

    @staticmethod
    def _product(
        launch: Launch, prefix: str, panels: Panels | None, tile: Tile, depth: int, batch: int
    ) -> dict[str, Operand]:
        """The fields of a product of rows of ``depth``; nothing where there are no ``panels``."""
        fields: dict[str, Operand]
        if panels is None:
            fields = dict.fromkeys(cell.PRODUCT, NOWHERE)
        else:
            row_bytes = round_up(depth * tile.code.itemsize + 64, 64)
            fields = {
                "panels": panels.data,
                "panel_bytes": panels.data.nbytes // panels.count,
                "count": panels.count,
                "steps": -(-depth // tile.depth),
                "scale": panels.scale,
                "total": panels.total,
                "bias": panels.bias,
                "depth": depth,
                "rows": launch.reserve(batch * row_bytes),
                "row_bytes": row_bytes,
                "row_scale": launch.reserve(batch * 4),
                "row_zero": launch.reserve(batch * 4),
            }
        return {f"{prefix}{name}": value for name, value in fields.items()}


def _panels(tile: Tile, matrix: _Matrix, bias: Array | None) -> Panels:
    lined = matrix.weights[:, None, :]
    return pack.panels(tile, lined, 1, bias, matrix.scale)


@dataclass(frozen=True, slots=True)
class Placed:
    """A cell in a launch: where it reads and writes, its working memory, and in ``fields`` what its
    steps are told of these. ``sums``: for what each input contributes."""

    layer: CellLayer
    inputs: Mapping[str, Rows]
    out: Rows
    sums: Sequence[Place]
    fields: dict[str, Operand]

    def stretch(
        self, launch: Launch, first: int, extents: tuple[int, int], threads: int
    ) -> dict[str, Operand]:
        """Compute what the inputs contribute to ``extents`` (time, batch) from step ``first`` on;
        gives the record of the steps."""
        time, batch = extents
        row, rows = self.layer.channels * 4, time * batch
        for (name, layer), place in zip(self.layer.inputs.items(), self.sums, strict=True):
            source = self.inputs[name].from_step(first)
            part = layer.launch((rows, layer.depth), threads=threads, row_at=source.at(extents))
            launch.include(part, input0=source.place, output0=place)
        if len(self.sums) > 1:
            flat = (rows * self.layer.channels,)
            added = self.layer.add.launch(flat, [flat], threads)
            launch.include(added, input0=self.sums[0], input1=self.sums[1], output0=self.sums[0])
        out = self.out.from_step(first)
        chunk = self.layer.chunk(batch, threads)
        return self.fields | {
            "rows": batch,
            "chunk": chunk,
            "chunks": -(-batch // chunk),
            "time": time,
            "products": self.sums[0],
            "products_time": batch * row,
            "products_row": row,
            "out": out.place,
            "out_time": out.step,
            "out_row": out.sequence,
        }


class RecurrentLayer:
    """A :class:`~octolite.kernels.spec.Recurrent` ready to be launched.

    The steps read the inputs that ``request.reads`` names, in its order, and leave the states
    among them as the last step did.
    """

    def __init__(self, request: Recurrent, isa: Isa, constants: Constants) -> None:
        tile = _tile(request, isa, constants)
        self.request = request
        self.cells = [CellLayer(request, c, constants, isa, tile) for c in request.cells]
        kind = f"{'hybrid' if request.hybrid else 'float'} recurrent {tile.name}"
        self.label = f"{kind} {self.cells[0].gates.heights[-1]}x{self.cells[0].gates.width}"

    def launch(self, input_shape: tuple[int, ...], threads: int = 1) -> Launch:
        """Lay the layer out for ``input_shape``: [time, batch, depth] or [batch, time, depth],
        as the request has it, or [batch, depth] for one step.

        The layer goes a stretch of steps at a time, so that what the inputs contribute takes
        little memory and stays in a cache.
        """
        time, batch = extents_of(input_shape, self.cells[0].spec.depth, self.request.time_major)
        launch = Launch((*input_shape[:-1], self._widths[0]), 0)
        if 0 in (time, batch):
            return launch
        row = sum(c.channels * len(c.inputs) for c in self.cells) * 4
        stretch = min(time, max(1, _STRETCH // (batch * row)))
        cells = [self._place(launch, i, (time, batch), stretch) for i in range(len(self.cells))]
        spare = most = launch.scratch_bytes
        for first in range(0, time, stretch):
            launch.scratch_bytes = spare  # every stretch works in the same memory
            now = min(stretch, time - first), batch
            records = [c.stretch(launch, first, now, threads) for c in cells]
            self._step(launch, cells, records, batch, threads)
            most = max(most, launch.scratch_bytes)
        launch.scratch_bytes = most
        launch.macs += time * batch * sum(c.products for c in self.cells)
        return launch

    @property
    def _widths(self) -> list[int]:
        """Of the results."""
        widths = [c.spec.outputs for c in self.cells]
        return [sum(widths)] if self.request.merged else widths

    def _place(self, launch: Launch, index: int, extents: tuple[int, int], stretch: int) -> Placed:
        """One cell, the second one reading and writing backward."""
        layer, request = self.cells[index], self.request
        bases = {name: Place(f"input{i}") for i, name in enumerate(request.reads)}
        inputs = {
            name: Rows.of(bases[name], part.depth * 4, extents, request.time_major)
            for name, part in layer.inputs.items()
        }
        start = Place(f"output{index}")
        if request.merged:
            start = Place("output0", index * self.cells[0].spec.outputs * 4)
        width = self._widths[0 if request.merged else index]
        out = Rows.of(start, width * 4, extents, request.time_major)
        if index == 1:
            inputs = {name: rows.backward(extents[0]) for name, rows in inputs.items()}
            out = out.backward(extents[0])
        states = [bases[name] for name in layer.spec.states]
        return layer.place(launch, inputs, out, states, (stretch, extents[1]))

    def _step(
        self,
        launch: Launch,
        cells: Sequence[Placed],
        records: Sequence[dict[str, Operand]],
        batch: int,
        threads: int,
    ) -> None:
        """Cells that share their code in one stage, so that two threads take one each."""
        groups: dict[int, list[int]] = {}
        for index, placed in enumerate(cells):
            groups.setdefault(placed.layer.fn, []).append(index)
        for fn, members in groups.items():
            first, *more = (records[index] for index in members)
            chunks = -(-batch // cells[members[0]].layer.chunk(batch, threads))
            launch.add(self.label, fn, cell.ARGS, len(members) * chunks, *more, **first)


def extents_of(shape: tuple[int, ...], depth: int, time_major: bool) -> tuple[int, int]:
    """Time and batch. Raises :class:`KernelError` for a shape that does not fit."""
    if len(shape) not in (2, 3) or shape[-1] != depth:
        raise KernelError(f"sequences of rows of {depth} expected, not {list(shape)}")
    if len(shape) == 2:
        return 1, shape[0]
    return (shape[0], shape[1]) if time_major else (shape[1], shape[0])
