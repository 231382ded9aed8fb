"""A fully quantized LSTM stepping through a sequence, exact to the bit.

As in :mod:`octolite.kernels.cell`, a panel has the weights of a few units, all their gates side by
side, so that these units' gates end in registers. What is multiplied are int16 codes less their
zero points. Sums of gates have 16 bits, for which sigmoid and hyperbolic tangent are tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from llvmlite import ir

from octolite.kernels import dot, maths
from octolite.kernels.cell import all_blocks
from octolite.kernels.isa import Isa, Tile
from octolite.kernels.jit import Unit
from octolite.kernels.record import Record
from octolite.kernels.simd import I8, I16, I32, I64, PTR, Builder, Type, Value, lanes_of, vec

PRODUCT: dict[str, Type] = {
    "panels": PTR,
    "panel_bytes": I64,
    "count": I64,  # of panels
    "steps": I64,  # of the tile in a row
    "rows": PTR,  # int16 [rows], codes less their zero point
    "row_bytes": I64,
}
"""The fields of a product of rows with panels."""

FACTOR = 16
"""Bytes of a factor: int32 mantissa, shift to the left, to the right, nothing."""

ARGS = Record(
    rows=I64,  # sequences
    chunk=I64,  # sequences of a tile
    time=I64,
    products=PTR,  # int16: what the inputs contribute, in the order of the panels
    products_time=I64,  # bytes from step to step,
    products_row=I64,  # and from sequence to sequence
    out=PTR,  # int8
    out_time=I64,
    out_row=I64,
    hidden=PTR,  # int8 [rows, outputs], a variable
    cell=PTR,  # int16 [rows, units], a variable
    units=I64,
    outputs=I64,
    cells=PTR,  # int32 [rows], their cell state
    cells_bytes=I64,
    inner=PTR,  # int16 [rows], what the units give, less a zero point
    inner_bytes=I64,
    outer=PTR,  # int16 [rows]: outputs, likewise; ``inner`` itself unless they are projected
    outer_bytes=I64,
    peephole=PTR,  # int32 [panel, input?, forget, output]
    bias=PTR,  # int32 [panels, width] of the projection
    factors=PTR,  # of the state, by gate; of the peepholes, by gate; emitted; projected
    sigmoid=PTR,  # int16 [2¹⁶]: of -2¹⁵ … 2¹⁵ - 1
    tanh=PTR,
    cell_tanh=PTR,
    cell_shift=I64,
    cell_low=I64,
    cell_high=I64,
    emitted_zero=I64,  # added to what is emitted before it is cut off,
    emitted_back=I64,  # and after that
    state_zero=I64,
    output_low=I64,
    output_high=I64,
    **{f"state_{name}": kind for name, kind in PRODUCT.items()},
    **{f"projection_{name}": kind for name, kind in PRODUCT.items()},
)

Lines = list[list[Value]]
"""A vector for each [row][vector of the panel]."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What is compiled for. ``gates``: 4, or 3 without an input gate."""

    gates: int
    peephole: bool
    projected: bool

    @property
    def holes(self) -> int:
        """Gates that see the cell state: all but the cell's own."""
        return self.gates - 1 if self.peephole else 0


def unit(tile: Tile, gates: Tile, variant: Variant) -> Unit:
    """``step_through(args, tile)``: all steps of a chunk of sequences. ``gates``: the tile of the
    states' products, ``tile``: that of the projection's."""

    def emit(module: Any, isa: Isa) -> None:
        for height in gates.heights:
            _emit_block(module, isa, "gates", gates, height, "state_", _finish_gates, variant)
        for height in tile.heights if variant.projected else ():
            _emit_block(
                module, isa, "project", tile, height, "projection_", _finish_projection, variant
            )
        _emit_walk(module, tile, gates, variant)

    name = f"integer cell {tile.name} {gates.heights}x{gates.width} {tile.width} {variant}"
    return Unit(name, ("step_through",), emit)


# The steps ---------------------------------------------------------------------------------


def _emit_walk(module: Any, tile: Tile, gates: Tile, variant: Variant) -> None:
    k = Builder(module, "step_through", (PTR, I64))
    address, index = k.args
    args = ARGS.load(k, address)
    first = index * args.chunk
    last = k.smin(first + args.chunk, args.rows)
    zero = args.state_zero.trunc(I32)

    with k.loop(first, last) as rows:
        row = rows.index
        hidden, state = args.hidden + row * args.outputs, _row(args, "state_rows", row)
        _each(k, args.outputs, (hidden, I8), (state, I16), lambda x: x - zero)
        cell = args.cell + row * args.units * 2
        _each(k, args.units, (cell, I16), (_row(args, "cells", row), I32), lambda x: x)

    with k.loop(0, args.time) as steps:
        given = (address, first, last, steps.index)
        all_blocks(k, "gates", gates, args.state_count, *given)
        if variant.projected:
            all_blocks(k, "project", tile, args.projection_count, *given)
        with k.loop(first, last) as rows:
            row = rows.index
            outer, out = _row(args, "outer", row), args.out + row * args.out_row
            out = out + steps.index * args.out_time
            state = _row(args, "state_rows", row)
            _each(k, args.outputs, (outer, I16), (state, I16), lambda x: x)
            _each(k, args.outputs, (outer, I16), (out, I8), lambda x: x + zero)

    with k.loop(first, last) as rows:
        row = rows.index
        hidden, outer = args.hidden + row * args.outputs, _row(args, "outer", row)
        _each(k, args.outputs, (outer, I16), (hidden, I8), lambda x: x + zero)
        cell = args.cell + row * args.units * 2
        _each(k, args.units, (_row(args, "cells", row), I32), (cell, I16), lambda x: x)
    k.ret()


def _row(args: SimpleNamespace, name: str, row: Value) -> Value:
    """Where a row of working memory starts."""
    stride = "state_row_bytes" if name == "state_rows" else f"{name}_bytes"
    result: Value = getattr(args, name) + row * getattr(args, stride)
    return result


_LANES = 16


def _each(
    k: Builder,
    size: Value,
    source: tuple[Value, Type],
    target: tuple[Value, Type],
    function: Callable[[Value], Value],
) -> None:
    """``target[i] = function(source[i])`` in int32, and nothing beyond."""
    (x, of), (out, to) = source, target

    def one(at: Value, lanes: int) -> None:
        kinds = (vec(of, lanes), vec(to, lanes)) if lanes > 1 else (of, to)
        value = k.load(kinds[0], x + at * (of.width // 8))
        value = function(value if of == I32 else value.sext(I32))
        k.store(value if to == I32 else value.trunc(to), out + at * (to.width // 8))

    whole = size // _LANES * _LANES
    with k.loop(0, whole, _LANES) as loop:
        one(loop.index, _LANES)
    with k.loop(whole, size) as loop:
        one(loop.index, 1)


# The blocks --------------------------------------------------------------------------------


def _emit_block(
    module: Any,
    isa: Isa,
    name: str,
    tile: Tile,
    height: int,
    prefix: str,
    finish: Callable[..., None],
    variant: Variant,
) -> None:
    """``nameH(args, row, panel, time)``: ``height`` rows from ``row`` times one panel, and what
    ``finish`` makes of it."""
    k = Builder(module, f"{name}{height}", (PTR, I64, I64, I64), local=True)
    address, row, panel, time = k.args
    args = ARGS.load(k, address)
    product = SimpleNamespace(**{n: getattr(args, f"{prefix}{n}") for n in PRODUCT})
    rows = [product.rows + (row + r) * product.row_bytes for r in range(height)]
    # A row alone waits for its sums unless there are enough of them.
    chains = max(1, 8 // tile.vectors) if height == 1 else 1
    chains = 1 << (chains.bit_length() - 1)
    weights = product.panels + panel * product.panel_bytes
    begin = dot.no_sums(k, tile, height, chains)
    _, *sums = dot.run_segment(k, tile, rows, weights, begin, product.steps, chains)
    place = SimpleNamespace(row=row, panel=panel, time=time, lanes=tile.lanes, width=tile.width)
    finish(k, isa, args, place, variant, dot.join_chains(tile, height, sums))
    k.ret()


def _finish_gates(
    k: Builder,
    isa: Isa,
    args: SimpleNamespace,
    place: SimpleNamespace,
    variant: Variant,
    lines: Lines,
) -> None:
    """The next cell state, and what the units give."""
    lanes, count = place.lanes, variant.gates
    kind = vec(I32, lanes)
    at = place.panel * (lanes * count)
    holes = args.peephole + place.panel * (lanes * variant.holes * 4)

    def seen(z: Value, which: int, c: Value) -> Value:
        """The sums of a gate with those of its peephole; ``which``: of the peepholes."""
        if not variant.peephole:
            return z
        weights = k.load(kind, holes + 4 * lanes * which)
        return _short(k, z + _scaled(k, isa, args, count + which, weights * c))

    for r, line in enumerate(lines):
        row = place.row + r
        inputs = args.products + place.time * args.products_time + row * args.products_row + at * 2
        z = []
        for which, sums in enumerate(line):
            now = k.load(vec(I16, lanes), inputs + 2 * lanes * which).sext(I32)
            z.append(_short(k, now + _scaled(k, isa, args, which, sums)))
        where = place.panel * lanes
        cells = _row(args, "cells", row) + where * 4
        c = k.load(kind, cells)
        forget = _look_up(k, args.sigmoid, seen(z[-3], count - 3, c))
        keep = _look_up(k, args.sigmoid, seen(z[0], 0, c)) if count == 4 else forget * -1 + 32767
        fresh = keep * _look_up(k, args.tanh, z[-2])
        c = maths.rounding_shift(k, forget * c, k.const(kind, 15)) + maths.rounding_shift(
            k, fresh, args.cell_shift.trunc(I32).splat(lanes)
        )
        c = _within(k, c, args.cell_low, args.cell_high)
        k.store(c, cells)
        gate = _look_up(k, args.sigmoid, seen(z[-1], count - 2, c))
        emitted = gate * _look_up(k, args.cell_tanh, c)
        factor = count + variant.holes
        h = _scaled(k, isa, args, factor, emitted) + args.emitted_zero.trunc(I32).splat(lanes)
        h = k.smin(k.smax(h, -128), 127) + args.emitted_back.trunc(I32).splat(lanes)
        k.store(h.trunc(I16), _row(args, "inner", row) + where * 2)


def _finish_projection(
    k: Builder,
    isa: Isa,
    args: SimpleNamespace,
    place: SimpleNamespace,
    variant: Variant,
    lines: Lines,
) -> None:
    lanes, factor = place.lanes, variant.gates + variant.holes + 1
    zero = args.state_zero.trunc(I32).splat(lanes)
    for r, line in enumerate(lines):
        for v, sums in enumerate(line):
            at = place.panel * place.width + v * lanes
            sums = sums + k.load(sums.type, args.bias + at * 4)
            x = _scaled(k, isa, args, factor, sums) + zero
            x = _within(k, x, args.output_low, args.output_high) - zero
            k.store(x.trunc(I16), _row(args, "outer", place.row + r) + at * 2)


def _scaled(k: Builder, isa: Isa, args: SimpleNamespace, factor: int, x: Value) -> Value:
    """``x`` times one of the factors, as :class:`~octolite.ir.fixed_point.Multiplier` has it."""
    lanes = lanes_of(x.type)
    mantissa, left, right = (
        k.load(I32, args.factors + (FACTOR * factor + 4 * i)).splat(lanes) for i in range(3)
    )
    high_product = isa.high_product or maths.high_product
    return maths.rounding_shift(k, high_product(k, x << left, mantissa), right)


def _short(k: Builder, x: Value) -> Value:
    """Saturated to 16 bits."""
    return k.smin(k.smax(x, -(2**15)), 2**15 - 1)


def _within(k: Builder, x: Value, low: Value, high: Value) -> Value:
    lanes = lanes_of(x.type)
    return k.smin(k.smax(x, low.trunc(I32).splat(lanes)), high.trunc(I32).splat(lanes))


def _look_up(k: Builder, table: Value, x: Value) -> Value:
    """The int16 entries of a table for int32 ``x`` of 16 bits."""
    lanes = lanes_of(x.type)
    found = ir.Constant(vec(I16, lanes), ir.Undefined)
    for lane in range(lanes):
        entry = k.load(I16, table + (x.lane(lane).sext(I64) * 2 + 2**16))
        found = k.ir.insert_element(found, entry.raw, ir.Constant(I32, lane))
    return Value(k, found).sext(I32)
