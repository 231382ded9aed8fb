"""Fully quantized LSTMs laid out: one product for the inputs of all steps, then the steps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from octolite.ir import gates as gate_functions
from octolite.ir.fixed_point import Multiplier, OutputStage
from octolite.ir.types import INT8, INT16, Array
from octolite.kernels import integer_cell, jit, pack
from octolite.kernels.cell import gate_tile
from octolite.kernels.isa import GENERIC, Isa, Tile
from octolite.kernels.launch import NOWHERE, Launch, Operand, Place
from octolite.kernels.pack import Panels, round_up
from octolite.kernels.quantized import QuantizedLayer
from octolite.kernels.recurrent import Rows, extents_of, interleave
from octolite.kernels.spec import Constants, Conv2D, IntegerRecurrent, Quantized, Requantize

_ITEM = 2
"""Bytes of a code less its zero point."""


@cache
def _table(integer_bits: int | None) -> Array:
    """tanh of all int16 of so many integer bits, or else the sigmoid of three."""
    codes = np.arange(-(2**15), 2**15)
    if integer_bits is None:
        values = gate_functions.sigmoid(codes)
    else:
        values = gate_functions.tanh(codes, integer_bits)
    return values.astype(np.int16)


class IntegerRecurrentLayer:
    """An :class:`~octolite.kernels.spec.IntegerRecurrent` ready to be launched.

    The steps read the inputs that ``request.reads`` names, in its order, and leave the states
    among them as the last step did.
    """

    def __init__(self, request: IntegerRecurrent, isa: Isa, constants: Constants) -> None:
        cell = request.cell
        holes = [g.peephole for g in cell.gates if g.peephole is not None]
        self.request = request
        tile = isa.words or GENERIC.words
        assert tile is not None
        self.tile = tile
        self.variant = integer_cell.Variant(len(cell.gates), bool(holes), bool(cell.projection))
        self.gates = gate_tile(self.tile, len(cell.gates), 1)
        unit = integer_cell.unit(self.tile, self.gates, self.variant)
        self.fn = jit.load(unit, isa)["step_through"]
        self.label = f"integer recurrent {tile.name} {self.gates.heights[-1]}x{self.gates.width}"
        self.state = self._panels(constants, [g.recurrent for g in cell.gates], self.gates)
        self.projection: Panels | None = None
        self.bias: Operand = NOWHERE
        if cell.projection is not None:
            self.projection = self._panels(constants, [cell.projection], self.tile)
            bias = np.zeros(cell.outputs, np.int32)
            if cell.projection_bias is not None:
                bias = constants[cell.projection_bias].data
            self.bias = pack.spread(self.tile, bias, 1, np.dtype(np.int32))
        self.peephole: Operand = NOWHERE
        if holes:
            found = [constants[name].data.astype(np.int32) for name in holes]
            self.peephole = interleave(found, self.tile.lanes)
        self.input = self._input(isa, constants)
        self.fields = self._numbers()

    def _panels(self, constants: Constants, names: Sequence[str], tile: Tile) -> Panels:
        width = self.tile.lanes if tile is self.gates else 1
        weights = interleave([constants[name].data for name in names], width)
        return pack.panels(tile, weights.astype(np.int16)[:, None, :], 1, None, None)

    def _input(self, isa: Isa, constants: Constants) -> QuantizedLayer:
        """The product of the input with all gates, int16 in the order of the panels."""
        request, cell, lanes = self.request, self.request.cell, self.tile.lanes
        weights = interleave([constants[g.weights].data for g in cell.gates], lanes)
        bias = interleave([constants[g.bias].data for g in cell.gates], lanes)
        of_units = [np.full(cell.units, factor) for factor in request.input_factors]
        factors = tuple(interleave(of_units, lanes).tolist())
        layer = Conv2D((1, 1), cell.depth, len(weights), hybrid=True)
        result = Requantize(OutputStage.FIXED, factors, INT16, 0, -(2**15), 2**15 - 1)
        product = Quantized(layer, INT8, request.zero, 0, result, flat=True)
        return QuantizedLayer(product, isa, weights[:, None, :], bias)

    def _numbers(self) -> dict[str, Operand]:
        """What the steps are told that no shape changes."""
        request, projected = self.request, self.variant.projected
        factors = (*request.state_factors, *request.peephole_factors, request.emitted)
        multiplier = Multiplier.of(np.array((*factors, request.projected)))
        shifts = np.maximum(multiplier.shift, 0), np.maximum(-multiplier.shift, 0)
        columns = (multiplier.mantissa, *shifts, np.zeros_like(multiplier.shift))
        # A projection reads what is emitted less a zero point that TFLite adds before it saturates.
        zero = request.emitted_zero
        limit, most = request.cell_limit or 2**15, request.output_limit or 2**7
        return {
            "units": request.cell.units,
            "outputs": request.cell.outputs,
            "peephole": self.peephole,
            "bias": self.bias,
            "factors": np.stack(columns, axis=1).astype(np.int32),
            "sigmoid": _table(None),
            "tanh": _table(3),
            "cell_tanh": _table(15 + request.cell_exponent),
            "cell_shift": 30 + request.cell_exponent,
            "cell_low": -limit,
            "cell_high": min(limit, 2**15 - 1),
            "emitted_zero": -zero if projected else zero,
            "emitted_back": zero if projected else -request.state_zero,
            "state_zero": request.state_zero,
            "output_low": -most,
            "output_high": min(most, 2**7 - 1),
        }

    def launch(self, input_shape: tuple[int, ...], threads: int = 1) -> Launch:
        """Lay the layer out for ``input_shape``: [time, batch, depth] or [batch, time, depth],
        as the request has it, or [batch, depth] for one step."""
        cell, major = self.request.cell, self.request.time_major
        time, batch = extents_of(input_shape, cell.depth, major)
        launch = Launch((*input_shape[:-1], cell.outputs), 0)
        if 0 in (time, batch):
            return launch
        channels = self.state.count * self.gates.width
        sums = launch.reserve(time * batch * channels * _ITEM)
        part = self.input.launch((time * batch, cell.depth), threads=threads)
        launch.include(part, input0=Place("input0"), output0=sums)
        rows = Rows.of(sums, channels * _ITEM, (time, batch), major)
        out = Rows.of(Place("output0"), cell.outputs, (time, batch), major)
        chunk = round_up(-(-batch // threads), self.gates.heights[-1])
        launch.add(
            self.label,
            self.fn,
            integer_cell.ARGS,
            -(-batch // chunk),
            rows=batch,
            chunk=chunk,
            time=time,
            products=rows.place,
            products_time=rows.step,
            products_row=rows.sequence,
            out=out.place,
            out_time=out.step,
            out_row=out.sequence,
            hidden=Place("input1"),
            cell=Place("input2"),
            **self.fields,
            **self._memory(launch, batch),
        )
        launch.macs += time * batch * self._products
        return launch

    @property
    def _products(self) -> int:
        """Multiplications of a step by the state."""
        cell = self.request.cell
        projected = cell.outputs * cell.units if self.projection is not None else 0
        return cell.outputs * len(cell.gates) * cell.units + projected

    def _memory(self, launch: Launch, batch: int) -> dict[str, Operand]:
        """Working memory: rows of whole panels, which a step of a tile may read to its end."""
        cell, lanes = self.request.cell, self.tile.lanes

        def rows(count: int, item: int) -> tuple[Place, int]:
            row_bytes = round_up(count * item + 64, 64)
            return launch.reserve(batch * row_bytes), row_bytes

        units = round_up(cell.units, lanes)
        cells, inner = rows(units, 4), rows(units, _ITEM)
        outer = inner
        if self.projection is not None:
            outer = rows(self.projection.count * self.tile.width, _ITEM)
        fields: dict[str, Operand] = {}
        for name, place in (("cells", cells), ("inner", inner), ("outer", outer)):
            fields |= {name: place[0], f"{name}_bytes": place[1]}
        fields |= self._product("state_", self.state, cell.outputs, rows(cell.outputs, _ITEM))
        return fields | self._product("projection_", self.projection, cell.units, inner)

    def _product(
        self, prefix: str, panels: Panels | None, depth: int, rows: tuple[Place, int]
    ) -> dict[str, Operand]:
        fields: dict[str, Operand] = dict.fromkeys(integer_cell.PRODUCT, NOWHERE)
        if panels is not None:
            fields |= {
                "panels": panels.data,
                "panel_bytes": panels.data.nbytes // panels.count,
                "count": panels.count,
                "steps": -(-depth // self.tile.depth),
                "rows": rows[0],
                "row_bytes": rows[1],
            }
        return {f"{prefix}{name}": value for name, value in fields.items()}
