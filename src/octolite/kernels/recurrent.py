"""Recurrent layers: one product for the inputs of all steps, then cells that step through them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octolite.errors import KernelError
from octolite.ir.types import Activation, Array
from octolite.kernels import cell, jit, pack
from octolite.kernels.clamp import bounds
from octolite.kernels.isa import Isa, Tile
from octolite.kernels.launch import NOWHERE, Launch, Operand, Place
from octolite.kernels.layers import FullyConnectedLayer
from octolite.kernels.maps import BinaryLayer
from octolite.kernels.pack import Panels, round_up
from octolite.kernels.spec import Binary, Cell, FullyConnected, Recurrent


@dataclass(frozen=True, slots=True)
class Constant:
    """Real numbers, or int8 codes with their one scale."""

    data: Array
    scale: Array | None = None

    @property
    def real(self) -> Array:
        if self.scale is None:
            return np.asarray(self.data, np.float32)
        return np.multiply(self.data, self.scale, dtype=np.float32)


Constants = Mapping[str, Constant]


@dataclass(frozen=True, slots=True)
class _Matrix:
    """The weights of several gates for one source, in the order of a cell's panels."""

    weights: Array  # [channels, depth]
    scale: Array | None  # float32 [channels]


def _interleave(parts: Sequence[Array], width: int) -> Array:
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
    weights = _interleave([c.data for c in given], width)
    if given[0].scale is None:
        return _Matrix(weights, None)
    units = len(given[0].data)
    scales = [np.full(units, np.float32(np.asarray(c.scale).item())) for c in given]
    return _Matrix(weights, _interleave(scales, width))


def _tile(request: Recurrent, isa: Isa, constants: Constants) -> Tile:
    """The tile of the states' products."""
    if not request.hybrid:
        return isa.real
    matrices = {n for c in request.cells for n in (*(g.recurrent for g in c.gates), c.projection)}
    least = min(int(constants[n].data.min(initial=0)) for n in matrices if n is not None)
    return isa.lean if isa.lean is not None and least > -128 else isa.dot


class CellLayer:
    """One cell: its constants packed, its code compiled."""

    def __init__(
        self, request: Recurrent, spec: Cell, constants: Constants, isa: Isa, tile: Tile
    ) -> None:
        low, high, curved = bounds(spec.activation)
        peepholes = [g.peephole for g in spec.gates if g.peephole is not None]
        self.spec = spec
        self.tile = tile
        self.variant = cell.Variant(
            len(spec.gates), request.asymmetric, curved, bool(peepholes), bool(spec.projection)
        )
        self.gates = cell.gate_tile(tile, len(spec.gates), self.variant.across)
        self.width = tile.lanes * self.variant.across
        self._fn = jit.load(cell.unit(tile, self.variant), isa)["step_through"]
        self.limits = {
            "low": low,
            "high": high,
            "cell_clip": spec.cell_clip or math.inf,
            "output_clip": spec.output_clip or math.inf,
        }
        recurrent = _matrix(constants, [g.recurrent for g in spec.gates], self.width)
        bias = _interleave([constants[g.bias].real for g in spec.gates], self.width)
        self.state = _panels(self.gates, recurrent, bias)
        self.projection: Panels | None = None
        if spec.projection is not None:
            given = constants[spec.projection_bias].real if spec.projection_bias else None
            self.projection = _panels(tile, _matrix(constants, [spec.projection], 1), given)
        lined = [constants[name].real for name in peepholes]
        self.peephole = _interleave(lined, self.width) if lined else np.zeros(1, np.float32)

    @property
    def channels(self) -> int:
        """Results of the input's product, padding included."""
        return self.state.count * self.gates.width

    def place(
        self,
        launch: Launch,
        label: str,
        products: Place,
        products_bytes: tuple[int, int],
        out: Place,
        out_bytes: tuple[int, int],
        states: Sequence[Place],
        extents: tuple[int, int],
        threads: int,
    ) -> None:
        """Have the cell step through ``extents`` (time, batch).

        ``products_bytes``, ``out_bytes``: from step to step and from sequence to sequence.
        """
        time, batch = extents
        spec, top = self.spec, self.gates.heights[-1]
        # Whole blocks, so that any number of threads gives the same bits.
        chunk = round_up(-(-batch // threads), top)
        inner_bytes = round_up(spec.units, self.width) * 4
        inner = launch.reserve(batch * inner_bytes)
        outer, outer_bytes = inner, inner_bytes
        if self.projection is not None:
            outer_bytes = self.projection.count * self.tile.width * 4
            outer = launch.reserve(batch * outer_bytes)
        gated = len(spec.gates) > 1
        launch.add(
            label,
            self._fn,
            cell.ARGS,
            -(-batch // chunk) if time else 0,
            rows=batch,
            chunk=chunk,
            time=time,
            products=products,
            products_time=products_bytes[0],
            products_row=products_bytes[1],
            out=out,
            out_time=out_bytes[0],
            out_row=out_bytes[1],
            hidden=states[0],
            cell=states[1] if gated else NOWHERE,
            units=spec.units,
            outputs=spec.outputs,
            inner=inner,
            cells=launch.reserve(batch * inner_bytes) if gated else NOWHERE,
            inner_bytes=inner_bytes,
            outer=outer,
            outer_bytes=outer_bytes,
            peephole=self.peephole,
            **self.limits,
            **self._product(launch, "state_", self.state, self.gates, spec.outputs, batch),
            **self._product(launch, "projection_", self.projection, self.tile, spec.units, batch),
        )
        weights = spec.outputs * len(spec.gates) * spec.units
        if self.projection is not None:
            weights += spec.outputs * spec.units
        launch.macs += time * batch * weights

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
    if bias is not None:
        bias = np.pad(bias, (0, len(lined) - len(bias)))
    return pack.panels(tile, lined, 1, bias, matrix.scale)


class RecurrentLayer:
    """A :class:`~octolite.kernels.spec.Recurrent` ready to be launched.

    The steps read the inputs that ``request.reads`` names, in its order, and leave the states
    among them as the last step did.
    """

    def __init__(self, request: Recurrent, isa: Isa, constants: Constants) -> None:
        tile = _tile(request, isa, constants)
        self.request = request
        self.isa = isa
        self.cells = [CellLayer(request, c, constants, isa, tile) for c in request.cells]
        kind = f"{'hybrid' if request.hybrid else 'float'} recurrent {tile.name}"
        self.label = f"{kind} {self.cells[0].gates.heights[-1]}x{self.cells[0].gates.width}"
        # Cells that read one sequence share its product.
        self._groups: dict[str, list[CellLayer]] = {}
        for layer in self.cells:
            self._groups.setdefault(layer.spec.source, []).append(layer)
        self._inputs: dict[str, list[tuple[str, FullyConnectedLayer]]] = {}
        for source, group in self._groups.items():
            self._inputs[source] = self._input_layers(source, group, constants)
        self._add = BinaryLayer(Binary("add"), isa)

    def _input_layers(
        self, source: str, group: list[CellLayer], constants: Constants
    ) -> list[tuple[str, FullyConnectedLayer]]:
        """The products of the inputs of a group, to be added up: sequence and layer of each."""
        spec = group[0].spec
        made = [
            (
                source,
                self._dense([[g.weights for g in c.spec.gates] for c in group], constants, group),
            )
        ]
        if spec.aux is not None:
            crossing = [[g.aux or "" for g in c.spec.gates] for c in group]
            made.append((spec.aux, self._dense(crossing, constants, group)))
        return made

    def _dense(
        self, names: list[list[str]], constants: Constants, group: list[CellLayer]
    ) -> FullyConnectedLayer:
        parts = [_matrix(constants, n, c.width) for n, c in zip(names, group, strict=True)]
        weights = np.concatenate([p.weights for p in parts])
        scales = [p.scale for p in parts if p.scale is not None]
        channels, depth = weights.shape
        request = FullyConnected(
            depth, channels, Activation.NONE, self.request.hybrid, self.request.asymmetric
        )
        scale = np.concatenate(scales) if scales else None
        return FullyConnectedLayer(request, self.isa, weights[:, None, :], None, scale)

    def launch(self, input_shape: tuple[int, ...], threads: int = 1) -> Launch:
        """Lay the layer out for ``input_shape``: [time, batch, depth] or [batch, time, depth],
        as the request has it, or [batch, depth] for one step."""
        time, batch = self._extents(input_shape)
        widths = [c.spec.outputs for c in self.cells]
        width = sum(widths) if self.request.merged else widths[0]
        launch = Launch((*input_shape[:-1], width), 0)
        if batch == 0 or time == 0:
            return launch
        reads = self.request.reads
        bases = {name: Place(f"input{index}") for index, name in enumerate(reads)}
        products = self._products(launch, bases, time * batch, threads)
        outs = [Place("output0"), Place("output1")]
        if self.request.merged:
            outs[1] = Place("output0", widths[0] * 4)
        for index, layer in enumerate(self.cells):
            source, row_bytes = products[id(layer)]
            out_row = (width if self.request.merged else widths[index]) * 4
            read, written = (self._strides(b, time, batch) for b in (row_bytes, out_row))
            out = outs[index]
            if index == 1:  # the last step first
                source = Place(source.base, source.offset + (time - 1) * read[0])
                out = Place(out.base, out.offset + (time - 1) * written[0])
                read, written = (-read[0], read[1]), (-written[0], written[1])
            states = [bases[name] for name in layer.spec.states]
            layer.place(
                launch, self.label, source, read, out, written, states, (time, batch), threads
            )
        return launch

    def _extents(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Time and batch. Raises :class:`KernelError` for a shape that does not fit."""
        depth = self.cells[0].spec.depth
        if len(shape) not in (2, 3) or shape[-1] != depth:
            raise KernelError(f"sequences of rows of {depth} expected, not {list(shape)}")
        if len(shape) == 2:
            return 1, shape[0]
        return (shape[0], shape[1]) if self.request.time_major else (shape[1], shape[0])

    def _strides(self, row: int, time: int, batch: int) -> tuple[int, int]:
        """Bytes from step to step and from sequence to sequence, for rows of ``row`` bytes."""
        return (batch * row, row) if self.request.time_major else (row, time * row)

    def _products(
        self, launch: Launch, bases: dict[str, Place], rows: int, threads: int
    ) -> dict[int, tuple[Place, int]]:
        """What the inputs contribute: for each cell where it starts, and the bytes of a row."""
        found = {}
        for source, group in self._groups.items():
            channels = sum(c.channels for c in group)
            sums: list[Place] = []
            for name, layer in self._inputs[source]:
                part = layer.launch((rows, layer.depth), threads=threads)
                sums.append(launch.reserve(rows * channels * 4))
                launch.include(part, input0=bases[name], output0=sums[-1])
            if len(sums) > 1:
                flat = (rows * channels,)
                added = self._add.launch(flat, flat, threads)
                launch.include(added, input0=sums[0], input1=sums[1], output0=sums[0])
            at = sums[0]
            for member in group:
                found[id(member)] = at, channels * 4
                at = Place(at.base, at.offset + member.channels * 4)
        return found
