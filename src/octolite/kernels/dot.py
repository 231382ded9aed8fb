"""Dot products in register blocks: what fully connected layers and convolutions share.

The left side is a list of places in memory (a row of a matrix, or the window of an output pixel),
read in ``taps`` segments of contiguous activations; the right side are packed panels of weights.
A block of ``height`` rows by one panel stays in registers over the whole depth. An output row is
``channels`` wide; an epilogue turns sums into float results.

A convolution needs no copy of its windows: all rows of a block read the same tap at the same
distance from their first pixel.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from octolite.kernels import microscaled, requantize
from octolite.kernels.isa import Isa, Tile
from octolite.kernels.jit import Unit
from octolite.kernels.maths import clamp, tanh
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I32, I64, PTR, Builder, Type, Value, like, vec

ARGS = Record(
    a=PTR,  # activations
    row_at=PTR,  # int64 [rows + slack]: where each row starts in a, in bytes
    tap_at=PTR,  # int64 [taps]: where each segment starts, from there
    taps=I64,
    steps=I64,  # steps of the tile in a segment
    panels=PTR,  # packed weights
    panel_bytes=I64,
    panel_at=PTR,  # int64 [panel, 3]: start in a row of a (groups), first channel, channels
    scale=PTR,  # float32 [panels, width]: weight scales      (hybrid only)
    total=PTR,  # int32 [panels, width]: sums of weight codes (hybrid only)
    bias=PTR,  # float32 [panels, width]
    cross=PTR,  # int32 [panels, width]: of weights (crossed tiles only, see run_crossed)
    row_of=PTR,  # int32 [rows + slack]: which scale and zero point  (hybrid only)
    row_scale=PTR,  # float32                                        (hybrid only)
    row_zero=PTR,  # int32, of the stored code                       (hybrid only)
    row_cross=PTR,  # int32: of activations  (crossed tiles only)
    out=PTR,  # float32, or codes
    out_at=PTR,  # int64 [rows + slack]: where the results of each row start in out, in bytes
    residual=PTR,  # float32, laid out as out: what is added before the activation (if asked for)
    low=F32,  # the activation clamps to these
    high=F32,
    rows=I64,
    row_chunk=I64,  # rows of a tile
    row_chunks=I64,
    panel_count=I64,
    panel_chunk=I64,  # panels of a tile
    record_tiles=I64,  # tiles of a record
    **requantize.FIELDS,  # where results are codes; the tables are [panels, width]
)


# The most bytes of weights that are fetched ahead.
_FETCHED = 20 * 1024


def unit(
    tile: Tile,
    curved: bool,
    centred: bool = False,
    residual: bool = False,
    ending: requantize.Ending | None = None,
) -> Unit:
    """The dot kernel of ``tile``. ``curved`` ends in tanh instead of a clamp; ``centred`` codes
    are kept less their zero point; ``residual`` adds what is at hand in the shape of the
    results. ``ending``: how sums become codes instead of floats."""
    if tile.sum != I32:
        finish = _real_epilogue
    else:
        finish = _centred_epilogue if centred else _hybrid_epilogue

    def emit(module: Any, isa: Isa) -> None:
        for height in tile.heights:
            if ending is not None:
                _emit_codes(module, isa, tile, height, ending)
            else:
                _emit_block(module, tile, height, finish, curved, residual)
        _emit_walk(module, tile)

    shape = f"{tile.name} {tile.heights}x{tile.width}"
    key = f"dot {shape} tanh={curved} centred={centred} residual={residual} codes={ending}"
    return Unit(key, ("dot",), emit)


def _emit_walk(module: Any, tile: Tile) -> None:
    """``dot(args, tile)``: the blocks of one chunk of rows × one chunk of panels.

    Several records may follow each other; each has as many tiles as the first, empty ones too.
    """
    k = Builder(module, "dot", (PTR, I64))
    first, index = k.args
    tiles = ARGS.load(k, first).record_tiles
    address, index = first + index // tiles * ARGS.size, index % tiles
    args = ARGS.load(k, address)
    first_row = index % args.row_chunks * args.row_chunk
    last_row = k.smin(first_row + args.row_chunk, args.rows)
    first_panel = index // args.row_chunks * args.panel_chunk
    last_panel = k.smin(first_panel + args.panel_chunk, args.panel_count)
    top = tile.heights[-1]

    blocks = (last_row - first_row) // top
    part = part_of(k, args.panel_bytes, blocks)
    with k.loop(first_panel, last_panel) as panels:
        whole = blocks * top
        following = args.panels + (panels.index + 1) * args.panel_bytes
        with k.loop(first_row, first_row + whole, top, carry=[k.const(I64, 0)]) as rows:
            rows.carry = [fetch_part(k, following, args.panel_bytes, rows.carry[0], part)]
            _call_block(k, top, address, rows.index, panels.index)
        rest = last_row - first_row - whole
        least = 0
        for height in tile.heights:  # what is left takes the lowest block that holds it
            with k.when((rest > least) & (rest <= height)):
                _call_block(k, height, address, first_row + whole, panels.index)
            least = height
    k.ret()


def part_of(k: Builder, size: Value, parts: Value) -> Value:
    """Bytes that each of ``parts`` blocks has fetched of ``size`` bytes of weights that come next.

    One block alone has nothing to do meanwhile, and more weights would drive out activations.
    """
    return k.select((parts > 1) & (size <= _FETCHED), (size // k.smax(parts, 1) + 63) & -64, 0)


def fetch_part(k: Builder, start: Value, size: Value, done: Value, part: Value) -> Value:
    """Have the next ``part`` bytes of weights fetched, of which ``done`` are. Gives how many now
    are."""
    stop = k.smin(done + part, size)
    with k.loop(done, stop, 64) as lines:
        k.prefetch(start + lines.index, level=2)
    return stop


def _call_block(k: Builder, height: int, address: Value, row: Value, panel: Value) -> None:
    k.ir.call(k.module.globals[f"block{height}"], [address.raw, row.raw, panel.raw])


def _emit_block(
    module: Any, tile: Tile, height: int, finish: Any, curved: bool, residual: bool
) -> None:
    """``blockH(args, row, panel)``: ``height`` rows from ``row`` times one panel, stored.

    Rows past the last repeat it: the tables are padded so, and the results are the same.
    """
    k, block = _block_of(module, tile, height)
    args, row, panel = block.args, block.row, block.panel
    chains = _chains(tile, height)
    begin = no_sums(k, tile, height, chains)
    if tile.crossed:
        begin = _cross_terms(k, tile, args, row, panel, height)
    sums = _accumulate(k, tile, args, block.starts, block.weights, begin, chains)

    outs = [k.load(I64, args.out_at + (row + r) * 8) + block.first * 4 for r in range(height)]
    count = block.count
    results = finish(k, tile, args, row, panel, sums)

    def end(x: Value, at: Value, mask: Value | None) -> None:
        """A vector of sums becomes a vector of results, ``at`` bytes into them."""
        if residual:
            x = x + load_some(k, x.type, args.residual + at, mask)
        store_some(k, activate(k, args, x, curved), args.out + at, mask)

    with k.either(count >= tile.width) as (full, partial):
        with full:
            for at, line in zip(outs, results, strict=True):
                for v, x in enumerate(line):
                    end(x, at + 4 * tile.lanes * v, None)
        with partial:
            for v in range(tile.vectors):
                mask = k.first(count - tile.lanes * v, tile.lanes)
                for at, line in zip(outs, results, strict=True):
                    end(line[v], at + 4 * tile.lanes * v, mask)
    k.ret()


def _block_of(module: Any, tile: Tile, height: int) -> tuple[Builder, SimpleNamespace]:
    """A block under construction: its arguments, where its rows start, its weights, its ``first``
    channel and the ``count`` of its channels."""
    k = Builder(module, f"block{height}", (PTR, I64, I64), local=True)
    address, row, panel = k.args
    args = ARGS.load(k, address)
    place = args.panel_at + panel * 24
    base = args.a + k.load(I64, place)
    block = SimpleNamespace(args=args, row=row, panel=panel)
    block.starts = [base + k.load(I64, args.row_at + (row + r) * 8) for r in range(height)]
    block.weights = args.panels + panel * args.panel_bytes
    block.first, block.count = k.load(I64, place + 8), k.load(I64, place + 16)
    return k, block


def _chains(tile: Tile, height: int) -> int:
    """How many sums of each result run side by side."""
    return 4 if height == 1 and not tile.crossed and tile.pairs is None else 1


def _emit_codes(module: Any, isa: Isa, tile: Tile, height: int, ending: requantize.Ending) -> None:
    """:func:`_emit_block` where sums, which begin with the bias and all that zero points add,
    become codes."""
    k, block = _block_of(module, tile, height)
    args, lane = block.args, block.panel * tile.width
    kind = vec(I32, tile.lanes)
    starts = [k.load(kind, args.start + (lane + v * tile.lanes) * 4) for v in range(tile.vectors)]
    chains = _chains(tile, height)
    begin = no_sums(k, tile, height, chains)
    if tile.zero is None:
        begin[: height * tile.vectors] = starts * height
    sums = _accumulate(k, tile, args, block.starts, block.weights, begin, chains)
    if tile.zero is not None:
        sums = [[x + y for x, y in zip(line, starts, strict=True)] for line in sums]

    results = [requantize.codes(k, isa, ending, args, lane, line) for line in sums]
    outs = [
        args.out + k.load(I64, args.out_at + (block.row + r) * 8) + block.first * ending.item
        for r in range(height)
    ]
    with k.either(block.count >= tile.width) as (full, partial):
        with full:
            for at, codes in zip(outs, results, strict=True):
                requantize.store(k, isa, codes, at)
        with partial:
            for at, codes in zip(outs, results, strict=True):
                requantize.store(k, isa, codes, at, block.count)
    k.ret()


def load_some(k: Builder, kind: Type, address: Value, mask: Value | None) -> Value:
    """A vector, or the lanes of it that are in ``mask``."""
    return k.load(kind, address) if mask is None else k.load_first(kind, address, mask)


def store_some(k: Builder, x: Value, address: Value, mask: Value | None) -> None:
    """Store a vector, or the lanes of it that are in ``mask``."""
    if mask is None:
        k.store(x, address)
    else:
        k.store_first(x, address, mask)


def _accumulate(
    k: Builder,
    tile: Tile,
    args: SimpleNamespace,
    starts: list[Value],
    weights: Value,
    sums: list[Value],
    chains: int,
) -> list[list[Value]]:
    """The sums [row][vector] over all taps. One row alone runs several chains side by side,
    as it waits for weights and not for the multiplier."""
    if tile.pairs is not None:
        return join_chains(
            tile, len(starts), microscaled.run(k, tile, starts, weights, sums, args.steps)
        )
    with k.loop(0, args.taps, carry=[weights, *sums]) as taps:
        shift = k.load(I64, args.tap_at + taps.index * 8)
        rows = [start + shift for start in starts]
        b_at, *sums = taps.carry
        taps.carry = run_segment(k, tile, rows, b_at, sums, args.steps, chains)
    return join_chains(tile, len(starts), taps.carry[1:])


def _cross_terms(
    k: Builder, tile: Tile, args: SimpleNamespace, row: Value, panel: Value, height: int
) -> list[Value]:
    """What sums begin with, so that what :func:`run_crossed` adds too much is gone."""
    kind = vec(I32, tile.lanes)
    line = args.cross + panel * (4 * tile.width)
    of_weights = [k.load(kind, line + 4 * tile.lanes * v) for v in range(tile.vectors)]
    sums = []
    for r in range(height):
        which = k.load(I32, args.row_of + (row + r) * 4).sext(I64) * 4
        of_row = k.load(I32, args.row_cross + which).splat(tile.lanes)
        sums += [k.const(kind, 0) - (of_row + term) for term in of_weights]
    return sums


def no_sums(k: Builder, tile: Tile, height: int, chains: int = 1) -> list[Value]:
    """Accumulators [chain, group of rows, vector], flat, to begin with."""
    count = height // tile.rows * tile.vectors * chains
    return [zero_sum(k, tile) for _ in range(count)]


def join_chains(tile: Tile, height: int, sums: list[Value]) -> list[list[Value]]:
    """The sums [row][vector] of an even number of chains, or of one."""
    vectors = tile.vectors
    while len(sums) > height // tile.rows * vectors:
        half = len(sums) // 2
        sums = [x + y for x, y in zip(sums[:half], sums[half:], strict=True)]
    groups = [sums[start : start + vectors] for start in range(0, len(sums), vectors)]
    return [list(row) for group in groups for row in zip(*map(tile.split, group), strict=True)]


def run_segment(
    k: Builder,
    tile: Tile,
    rows: list[Value],
    weights: Value,
    sums: list[Value],
    steps: Value,
    chains: int,
) -> list[Value]:
    """All steps of a segment, in so many chains. Gives the address behind the weights, and the
    sums."""
    start = k.const(I64, 0)
    if chains > 1:
        whole = steps // chains * chains
        weights, *sums = run_steps(k, tile, rows, weights, sums, start, whole, chains)
        start = whole
    if tile.crossed:
        start = steps // 2 * 2
        weights, *sums = run_crossed(k, tile, rows, weights, sums, start)
    return run_steps(k, tile, rows, weights, sums, start, steps)


def zero_sum(k: Builder, tile: Tile) -> Value:
    """An accumulator of nothing."""
    return tile.zero(k) if tile.zero else k.const(vec(tile.sum, tile.lanes), 0)


def run_steps(
    k: Builder,
    tile: Tile,
    rows: list[Value],
    weights: Value,
    sums: list[Value],
    start: Value,
    stop: Value,
    chains: int = 1,
) -> list[Value]:
    """The innermost loop: steps of the tile along ``rows``, ``chains`` at a turn.

    ``sums``: [chain, group of rows, vector], flat. Gives the address behind the weights, and the
    sums.
    """
    vectors = tile.vectors
    groups = [rows[start : start + tile.rows] for start in range(0, len(rows), tile.rows)]
    a_bytes = tile.depth * tile.code.itemsize
    b_bytes = tile.lanes * tile.depth * tile.weight.itemsize
    with k.loop(start, stop, chains, carry=[weights, *sums]) as steps:
        here, *inner = steps.carry
        for chain in range(chains):
            b_at = here + chain * vectors * b_bytes
            b = [tile.load_b(k, b_at + v * b_bytes) for v in range(vectors)]
            for g, group in enumerate(groups):
                a = tile.load_a(k, group, steps.index * a_bytes + chain * a_bytes)
                for v in range(vectors):
                    slot = (chain * len(groups) + g) * vectors + v
                    inner[slot] = tile.emit(k, inner[slot], a, b[v])
        steps.carry = [here + chains * vectors * b_bytes, *inner]
    return steps.carry


def run_crossed(
    k: Builder, tile: Tile, rows: list[Value], weights: Value, sums: list[Value], steps: Value
) -> list[Value]:
    """As :func:`run_steps`, for an even number of steps of int16 pairs, with half the products.

    With the activations ``a, a'`` and the weights ``b, b'`` of two steps,
    ``(a + b') · (a' + b) = a·b + a'·b' + a·a' + b·b'``. What is too much depends on the row alone
    (``a·a'``) and on the channel alone (``b·b'``). Sums of codes fit int16, and everything else
    wraps without harm. Additions have more ports than multiplications. Source: Winograd, "A New
    Algorithm for Inner Product".
    """
    vectors = tile.vectors
    a_bytes = tile.depth * tile.code.itemsize
    b_bytes = tile.lanes * tile.depth * tile.weight.itemsize
    with k.loop(0, steps, 2, carry=[weights, *sums]) as loop:
        here, *inner = loop.carry
        b = [tile.load_b(k, here + n * b_bytes) for n in range(2 * vectors)]
        first, second = b[:vectors], b[vectors:]
        for r, row in enumerate(rows):
            at = loop.index * a_bytes
            one, other = (tile.load_a(k, [row], at + n * a_bytes).bits(b[0].type) for n in range(2))
            for v in range(vectors):
                x, y = one + second[v], other + first[v]
                inner[r * vectors + v] = tile.emit(k, inner[r * vectors + v], x, y)
        loop.carry = [here + 2 * vectors * b_bytes, *inner]
    return loop.carry


def _hybrid_epilogue(
    k: Builder,
    tile: Tile,
    args: SimpleNamespace,
    row: Value,
    panel: Value,
    sums: list[list[Value]],
) -> list[list[Value]]:
    line = panel * (4 * tile.width)
    results: list[list[Value]] = []
    for r, sums_r in enumerate(sums):
        which = k.load(I32, args.row_of + (row + r) * 4).sext(I64) * 4
        scale = k.load(F32, args.row_scale + which)
        zero = k.load(I32, args.row_zero + which)
        results.append([])
        for v, acc in enumerate(sums_r):
            at = line + 4 * tile.lanes * v
            results[r].append(rescale(k, args, at, acc, scale, zero))
    return results


def _centred_epilogue(
    k: Builder,
    tile: Tile,
    args: SimpleNamespace,
    row: Value,
    panel: Value,
    sums: list[list[Value]],
) -> list[list[Value]]:
    rows = [k.load(I32, args.row_of + (row + r) * 4).sext(I64) for r in range(len(sums))]
    scales = [k.load(F32, args.row_scale + which * 4) for which in rows]
    places = [panel * (4 * tile.width) + 4 * tile.lanes * v for v in range(tile.vectors)]
    return [
        [rescale_centred(k, args, at, acc, scale) for at, acc in zip(places, line, strict=True)]
        for scale, line in zip(scales, sums, strict=True)
    ]


def rescale(
    k: Builder, args: SimpleNamespace, at: Value, acc: Value, scale: Value, zero: Value
) -> Value:
    """``scale_a · scale_w · (acc - zero · Σw) + bias`` for the channels ``at`` bytes into the
    tables, rounded where the formula's owner, :func:`octolite.ir.numerics.hybrid_output`,
    rounds."""
    return scaled(k, args, at, acc, scale, zero) + k.load(like(acc.type, F32), args.bias + at)


def scaled(
    k: Builder, args: SimpleNamespace, at: Value, acc: Value, scale: Value, zero: Value
) -> Value:
    """:func:`rescale` without the bias."""
    return _times_scales(k, args, at, acc - k.load(acc.type, args.total + at) * zero, scale)


def rescale_centred(
    k: Builder, args: SimpleNamespace, at: Value, acc: Value, scale: Value
) -> Value:
    """:func:`rescale` for sums of codes less their zero point."""
    bias = k.load(like(acc.type, F32), args.bias + at)
    return _times_scales(k, args, at, acc, scale) + bias


def _times_scales(
    k: Builder, args: SimpleNamespace, at: Value, exact: Value, scale: Value
) -> Value:
    factor = k.load(like(exact.type, F32), args.scale + at) * scale
    return exact.to_float() * factor


def _real_epilogue(
    k: Builder,
    tile: Tile,
    args: SimpleNamespace,
    row: Value,
    panel: Value,
    sums: list[list[Value]],
) -> list[list[Value]]:
    line = args.bias + panel * (4 * tile.width)
    kind = vec(F32, tile.lanes)
    bias = [k.load(kind, line + 4 * tile.lanes * v) for v in range(tile.vectors)]
    return [[x + y for x, y in zip(sums_r, bias, strict=True)] for sums_r in sums]


def activate(k: Builder, args: SimpleNamespace, x: Value, curved: bool) -> Value:
    """NaN passes through either way."""
    if curved:
        return tanh(k, x)
    return clamp(k, x, args.low, args.high)
