"""A recurrent cell stepping through a sequence: the code of the sequential part.

What the inputs contribute to every step is there when it starts (one product for all steps). A
step multiplies the outputs of the step before by all gates' weights, panel by panel: a panel has
the weights of a few units, all their gates side by side, so that the gates of these units end in
registers, and so does what becomes of them. Gates that are normalized need the sums of all units
first; then they are stored, and become a state and an output row by row. In the hybrid form every
row of outputs is quantized by its own range before it is multiplied.

The outputs and the cell state of the rows live in working memory that is padded to whole panels;
the variables are read before the first step and written after the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from octolite.kernels import dot, maths, prepare
from octolite.kernels.isa import Isa, Tile
from octolite.kernels.jit import Unit
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I32, I64, PTR, Builder, Type, Value, vec

PRODUCT: dict[str, Type] = {
    "panels": PTR,
    "panel_bytes": I64,
    "count": I64,  # of panels
    "steps": I64,  # of the tile in a row
    "scale": PTR,  # float32 [panels, width]: weight scales      (hybrid only)
    "total": PTR,  # int32 [panels, width]: sums of weight codes (hybrid only)
    "bias": PTR,  # float32 [panels, width]
    "depth": I64,
    "rows": PTR,  # [rows] what is multiplied: codes, or floats
    "row_bytes": I64,
    "row_scale": PTR,  # float32 [rows]                          (hybrid only)
    "row_zero": PTR,  # int32 [rows], of the stored code         (hybrid only)
}
"""The fields of a product of rows with panels."""


def _fields(prefix: str) -> dict[str, Type]:
    """Those fields, by names that start with ``prefix``."""
    return {f"{prefix}{name}": kind for name, kind in PRODUCT.items()}


ARGS = Record(
    rows=I64,  # sequences
    chunk=I64,  # sequences of a tile
    chunks=I64,  # tiles of a cell; those of the next cell have the next record
    time=I64,
    products=PTR,  # float32: what the inputs contribute, in the order of the panels
    products_time=I64,  # bytes from step to step,
    products_row=I64,  # and from sequence to sequence
    out=PTR,  # float32
    out_time=I64,
    out_row=I64,
    hidden=PTR,  # float32 [rows, outputs], a variable
    cell=PTR,  # float32 [rows, units], a variable            (with gates only)
    units=I64,
    outputs=I64,
    inner=PTR,  # float32 [rows], what the units give
    cells=PTR,  # float32 [rows], their cell state            (with gates only)
    inner_bytes=I64,  # from row to row of both
    outer=PTR,  # float32 [rows]: outputs; ``inner`` itself unless they are projected
    outer_bytes=I64,
    peephole=PTR,  # float32 [panel, input?, forget, output]
    norm=PTR,  # float32 [panel, gate]: coefficients     (normalized only)
    guard=F32,  # what is added to a variance            (normalized only)
    low=F32,  # the activation clamps to these
    high=F32,
    cell_clip=F32,
    output_clip=F32,
    **_fields("state_"),
    **_fields("projection_"),
)


@dataclass(frozen=True, slots=True)
class Variant:
    """What is compiled for. ``gates``: 1 (none but the cell itself), 4, or 3 without an input
    gate; ``curved``: the activation is tanh, not a clamp; ``normalized``: the gates are."""

    gates: int
    asymmetric: bool
    curved: bool
    peephole: bool
    projected: bool
    normalized: bool

    @property
    def across(self) -> int:
        """Vectors of units in a panel."""
        return 2 if self.gates == 1 else 1


def gate_tile(tile: Tile, gates: int, across: int) -> Tile:
    """``tile`` as wide as a panel of all gates, and no higher than the registers bear."""
    vectors = gates * across
    room = tile.heights[-1] * tile.vectors
    heights = tuple(h for h in tile.heights if h * vectors <= room)
    return replace(tile, vectors=vectors, heights=heights)


def unit(tile: Tile, variant: Variant) -> Unit:
    """``step_through(args, tile)``: all steps of a chunk of sequences."""
    gates = gate_tile(tile, variant.gates, variant.across)

    def emit(module: Any, isa: Isa) -> None:
        finish = _finish_plain if variant.gates == 1 else _finish_gates
        if variant.normalized:
            finish = _finish_sums
            _emit_normalize(module, gates, variant)
        for height in gates.heights:
            _emit_block(module, "gates", gates, height, "state_", finish, variant)
        if variant.projected:
            for height in tile.heights:
                _emit_block(
                    module, "project", tile, height, "projection_", _finish_projection, variant
                )
        _emit_walk(module, isa, tile, gates, variant)

    return Unit(f"cell {tile.name} {tile.heights}x{tile.width} {variant}", ("step_through",), emit)


# The steps ---------------------------------------------------------------------------------


def _emit_walk(module: Any, isa: Isa, tile: Tile, gates: Tile, variant: Variant) -> None:
    k = Builder(module, "step_through", (PTR, I64))
    address, index = k.args
    chunks = k.load(I64, address + ARGS.offset("chunks"))
    address = address + index // chunks * ARGS.size
    args = ARGS.load(k, address)
    first = index % chunks * args.chunk
    last = k.smin(first + args.chunk, args.rows)
    state, projection = _part(args, "state_"), _part(args, "projection_")

    with k.loop(first, last) as rows:
        row = rows.index
        outer = args.outer + row * args.outer_bytes
        copy_floats(k, isa, args.hidden + row * args.outputs * 4, outer, args.outputs)
        if variant.gates > 1:  # with zeros behind it, which stay zeros
            cell, cells = args.cell + row * args.units * 4, args.cells + row * args.inner_bytes
            prepare.transform(k, isa, cell, args.units, cells, None, lambda x: x)
        _encode(k, isa, tile, variant, state, row, outer)

    with k.loop(0, args.time) as steps:
        all_blocks(k, "gates", gates, state.count, address, first, last, steps.index)
        if variant.normalized:
            with k.loop(first, last) as rows:
                given = (address, rows.index, steps.index)
                k.ir.call(k.module.globals["normalize"], [value.raw for value in given])
        if variant.projected:
            with k.loop(first, last) as rows:
                inner = args.inner + rows.index * args.inner_bytes
                _encode(k, isa, tile, variant, projection, rows.index, inner)
            all_blocks(k, "project", tile, projection.count, address, first, last, steps.index)
        with k.loop(first, last) as rows:
            row = rows.index
            outer = args.outer + row * args.outer_bytes
            out = args.out + (steps.index * args.out_time + row * args.out_row)
            copy_floats(k, isa, outer, out, args.outputs)
            _encode(k, isa, tile, variant, state, row, outer)

    with k.loop(first, last) as rows:
        row = rows.index
        outer = args.outer + row * args.outer_bytes
        copy_floats(k, isa, outer, args.hidden + row * args.outputs * 4, args.outputs)
        if variant.gates > 1:
            cells = args.cells + row * args.inner_bytes
            copy_floats(k, isa, cells, args.cell + row * args.units * 4, args.units)
    k.ret()


def _part(args: SimpleNamespace, prefix: str) -> SimpleNamespace:
    """The fields whose names start with ``prefix``, without it."""
    found = {n: v for n, v in vars(args).items() if n.startswith(prefix)}
    return SimpleNamespace(**{n.removeprefix(prefix): v for n, v in found.items()})


def copy_floats(k: Builder, isa: Isa, source: Value, out: Value, size: Value) -> None:
    """``size`` floats, and not one more."""
    kind = vec(F32, isa.lanes)
    whole = size // isa.lanes * isa.lanes
    with k.loop(0, whole, isa.lanes) as loop:
        k.store(k.load(kind, source + loop.index * 4), out + loop.index * 4)
    with k.when(whole < size):
        mask = k.first(size - whole, isa.lanes)
        k.store_first(k.load_first(kind, source + whole * 4, mask), out + whole * 4, mask)


def _encode(
    k: Builder,
    isa: Isa,
    tile: Tile,
    variant: Variant,
    product: SimpleNamespace,
    row: Value,
    source: Value,
) -> None:
    """Make floats at ``source`` a row that the product reads."""
    out = product.rows + row * product.row_bytes
    if tile.sum != I32:
        copy_floats(k, isa, source, out, product.depth)
        return
    found = prepare.row_range(k, isa, source, product.depth)
    p = prepare.parameters(k, tile, variant.asymmetric, *found)
    k.store(p.scale, product.row_scale + row * 4)
    k.store(p.stored_zero, product.row_zero + row * 4)
    quantize = prepare.quantizer(k, tile, variant.asymmetric, p, isa.lanes)
    prepare.transform(k, isa, source, product.depth, out, tile, quantize)


def all_blocks(
    k: Builder,
    name: str,
    tile: Tile,
    panels: Value,
    address: Value,
    first: Value,
    last: Value,
    time: Value,
) -> None:
    """Call the blocks of every panel for the rows ``first`` to ``last``, the highest first."""
    with k.loop(0, panels) as loop:
        start = first
        for height in reversed(tile.heights):
            stop = start + (last - start) // height * height
            block = k.module.globals[f"{name}{height}"]
            with k.loop(start, stop, height) as rows:
                given = (address, rows.index, loop.index, time)
                k.ir.call(block, [value.raw for value in given])
            start = stop


# The blocks --------------------------------------------------------------------------------

Lines = list[list[Value]]
"""A vector for each [row][vector of the panel]."""


def _emit_block(
    module: Any,
    name: str,
    tile: Tile,
    height: int,
    prefix: str,
    finish: Callable[[Builder, SimpleNamespace, SimpleNamespace, Variant, Lines], None],
    variant: Variant,
) -> None:
    """``nameH(args, row, panel, time)``: ``height`` rows from ``row`` times one panel, and what
    ``finish`` makes of it."""
    k = Builder(module, f"{name}{height}", (PTR, I64, I64, I64), local=True)
    address, row, panel, time = k.args
    args = ARGS.load(k, address)
    product = _part(args, prefix)
    rows = [product.rows + (row + r) * product.row_bytes for r in range(height)]
    # A row alone waits for its sums unless there are enough of them.
    chains = max(1, 8 // tile.vectors) if height == 1 else 1
    chains = 1 << (chains.bit_length() - 1)
    _, *sums = dot.run_segment(
        k,
        tile,
        rows,
        product.panels + panel * product.panel_bytes,
        dot.no_sums(k, tile, height, chains),
        product.steps,
        chains,
    )
    lines = dot.join_chains(tile, height, sums)
    line = panel * (4 * tile.width)
    if tile.sum == I32:
        lines = [_rescale(k, tile, product, row + r, line, lines[r]) for r in range(height)]
    place = SimpleNamespace(
        row=row, panel=panel, time=time, lanes=tile.lanes, line=line, bias=product.bias
    )
    finish(k, args, place, variant, lines)
    k.ret()


def _rescale(
    k: Builder, tile: Tile, product: SimpleNamespace, row: Value, line: Value, sums: list[Value]
) -> list[Value]:
    """Exact sums as real numbers."""
    scale = k.load(F32, product.row_scale + row * 4)
    zero = k.load(I32, product.row_zero + row * 4)
    return [
        dot.scaled(k, product, line + 4 * tile.lanes * v, acc, scale, zero)
        for v, acc in enumerate(sums)
    ]


def _vectors(k: Builder, address: Value, lanes: int, count: int) -> list[Value]:
    return [k.load(vec(F32, lanes), address + 4 * lanes * v) for v in range(count)]


def _inputs(k: Builder, args: SimpleNamespace, place: SimpleNamespace, r: int) -> Value:
    """Where the inputs' share of the sums lies."""
    start = place.time * args.products_time + (place.row + r) * args.products_row
    result: Value = args.products + start + place.line
    return result


def _finish_plain(
    k: Builder, args: SimpleNamespace, place: SimpleNamespace, variant: Variant, lines: Lines
) -> None:
    """``h = act(inputs + state + bias)``."""
    lanes, count = place.lanes, variant.across
    bias = _vectors(k, place.bias + place.line, lanes, count)
    for r, line in enumerate(lines):
        inputs = _vectors(k, _inputs(k, args, place, r), lanes, count)
        out = args.inner + (place.row + r) * args.inner_bytes + place.line
        for v, x in enumerate(line):
            h = _activate(k, args, variant, inputs[v] + x + bias[v])
            k.store(h, out + 4 * lanes * v)


def _finish_gates(
    k: Builder, args: SimpleNamespace, place: SimpleNamespace, variant: Variant, lines: Lines
) -> None:
    """The next cell state and ``h = σ(o) act(c)``."""
    lanes, gates = place.lanes, variant.gates
    bias = _vectors(k, place.bias + place.line, lanes, gates)
    holes = _peepholes(k, args, variant, lanes, place.panel)
    for r, line in enumerate(lines):
        inputs = _vectors(k, _inputs(k, args, place, r), lanes, gates)
        *inner, last = [x + y for x, y in zip(inputs, line, strict=True)]
        at = (place.row + r) * args.inner_bytes + place.panel * (4 * lanes)
        old = k.load(vec(F32, lanes), args.cells + at)
        z = [_seen(x, p, old) + b for x, p, b in zip(inner, holes, bias, strict=False)]
        c = _next_state(k, args, variant, z, old)
        k.store(c, args.cells + at)
        z_out = _seen(last, holes[-1], c) + bias[-1]
        k.store(_emitted(k, args, variant, z_out, c), args.inner + at)


def _peepholes(
    k: Builder, args: SimpleNamespace, variant: Variant, lanes: int, panel: Value
) -> list[Value | None]:
    """What each gate of a panel multiplies the cell state by; that of the cell itself never."""
    if not variant.peephole:
        return [None] * variant.gates
    count = variant.gates - 1
    *inner, last = _vectors(k, args.peephole + panel * (4 * lanes * count), lanes, count)
    return [*inner, None, last]


def _seen(x: Value, hole: Value | None, c: Value) -> Value:
    return x if hole is None else x + hole * c


def _next_state(
    k: Builder, args: SimpleNamespace, variant: Variant, z: list[Value], old: Value
) -> Value:
    """``c = σ(f) c + σ(i) act(g)`` of the gates ``z``, clipped; without an input gate σ(i) is
    1 - σ(f)."""
    forget = maths.fast_logistic(k, z[-2])
    keep = maths.fast_logistic(k, z[0]) if len(z) == 3 else k.const(forget.type, 1.0) - forget
    new = _activate(k, args, variant, z[-1])
    return maths.clamp(k, forget * old + keep * new, args.cell_clip * -1.0, args.cell_clip)


def _emitted(k: Builder, args: SimpleNamespace, variant: Variant, z: Value, c: Value) -> Value:
    """``h = σ(o) act(c)``."""
    return maths.fast_logistic(k, z) * _activate(k, args, variant, c)


def _finish_projection(
    k: Builder, args: SimpleNamespace, place: SimpleNamespace, variant: Variant, lines: Lines
) -> None:
    """``h = clip(product + bias)``."""
    lanes, clip = place.lanes, args.output_clip
    bias = _vectors(k, place.bias + place.line, lanes, len(lines[0]))
    for r, line in enumerate(lines):
        out = args.outer + (place.row + r) * args.outer_bytes + place.line
        for v, x in enumerate(line):
            k.store(maths.clamp(k, x + bias[v], clip * -1.0, clip), out + 4 * lanes * v)


def _activate(k: Builder, args: SimpleNamespace, variant: Variant, x: Value) -> Value:
    if variant.curved:
        return maths.fast_tanh(k, x)
    return maths.clamp(k, x, args.low, args.high)


# Layer normalization -----------------------------------------------------------------------


def _finish_sums(
    k: Builder, args: SimpleNamespace, place: SimpleNamespace, variant: Variant, lines: Lines
) -> None:
    """The gates as they are before normalization, in place of what the inputs contribute."""
    lanes, gates = place.lanes, variant.gates
    holes = _peepholes(k, args, variant, lanes, place.panel)
    holes[-1] = None  # the output gate sees the next cell state
    for r, line in enumerate(lines):
        at = _inputs(k, args, place, r)
        row = (place.row + r) * args.inner_bytes + place.panel * (4 * lanes)
        old = k.load(vec(F32, lanes), args.cells + row)
        sums = zip(_vectors(k, at, lanes, gates), line, holes, strict=True)
        for v, (x, y, hole) in enumerate(sums):
            k.store(_seen(x + y, hole, old), at + 4 * lanes * v)


def _emit_normalize(module: Any, tile: Tile, variant: Variant) -> None:
    """``normalize(args, row, time)``: what ``_finish_gates`` does, once the gates of all units of
    a row are there to be normalized."""
    k = Builder(module, "normalize", (PTR, I64, I64), local=True)
    address, row, time = k.args
    args = ARGS.load(k, address)
    lanes, last = tile.lanes, variant.gates - 1
    sums = args.products + time * args.products_time + row * args.products_row
    cells, inner = (at + row * args.inner_bytes for at in (args.cells, args.inner))
    kind = vec(F32, lanes)

    def normal(line: Value, gate: int, mean: Value, inverse: Value) -> Value:
        at = line + 4 * lanes * gate
        coefficient, bias = (k.load(kind, v + at) for v in (args.norm, args.state_bias))
        return (k.load(kind, sums + at) - mean) * inverse * coefficient + bias

    moments = _moments(k, args, tile, sums, range(last))
    with k.loop(0, args.state_count) as panels:
        line, unit_at = panels.index * (4 * tile.width), panels.index * (4 * lanes)
        z = [normal(line, gate, *found) for gate, found in enumerate(moments)]
        c = _next_state(k, args, variant, z, k.load(kind, cells + unit_at))
        k.store(c, cells + unit_at)
        *_, hole = _peepholes(k, args, variant, lanes, panels.index)
        at = sums + (line + 4 * lanes * last)
        k.store(_seen(k.load(kind, at), hole, c), at)
    (found,) = _moments(k, args, tile, sums, range(last, last + 1))
    with k.loop(0, args.state_count) as panels:
        line, unit_at = panels.index * (4 * tile.width), panels.index * (4 * lanes)
        c = k.load(kind, cells + unit_at)
        k.store(_emitted(k, args, variant, normal(line, last, *found), c), inner + unit_at)
    k.ret()


def _moments(
    k: Builder, args: SimpleNamespace, tile: Tile, sums: Value, gates: Sequence[int]
) -> list[tuple[Value, Value]]:
    """Mean and inverse deviation of ``gates`` over all units, in every lane.

    What pads the last panel is 0 and does not change a sum, but it is not at the mean.
    """
    lanes = tile.lanes
    kind = vec(F32, lanes)
    count = args.units.to_float()

    def average(totals: list[Value]) -> list[Value]:
        return [(k.fold(t, lambda a, b: a + b) / count).splat(lanes) for t in totals]

    def each(change: Callable[[Value, Value, Value], Value], means: list[Value]) -> list[Value]:
        with k.loop(0, args.state_count, carry=[k.const(kind, 0.0)] * len(gates)) as panels:
            line = sums + panels.index * (4 * tile.width)
            mask = k.first(args.units - panels.index * lanes, lanes)
            panels.carry = [
                change(total, k.load(kind, line + 4 * lanes * gate) - mean, mask)
                for total, gate, mean in zip(panels.carry, gates, means, strict=True)
            ]
        return average(panels.carry)

    def square(total: Value, x: Value, mask: Value) -> Value:
        centred = k.select(mask, x, 0.0)
        return k.fma(centred, centred, total)

    means = each(lambda total, x, _: total + x, [k.const(kind, 0.0)] * len(gates))
    variances = each(square, means)
    one = k.const(kind, 1.0)
    deviations = [maths.sqrt(k, v + args.guard) for v in variances]
    return [(mean, one / deviation) for mean, deviation in zip(means, deviations, strict=True)]
