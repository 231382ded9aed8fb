"""Products of many rows with an eighth fewer multiplications: Strassen's algorithm, exact on codes.

Rows, depth and channels are cut in two, and seven products of sums and differences of blocks give
what eight products of blocks would. What costs float results digits is exact here: codes have 8
bits and lie in words of 16, so that every such factor fits, and whatever follows the
multiplication wraps at 32 bits without harm, as the result fits.

Neighbouring rows belong to different blocks, and so do neighbouring panels: a pair of rows times a
pair of panels is complete in itself, and nothing but results leaves the registers and the stack.
The left factors are computed for all panels of a tile (``factors``), the right ones from bytes
whenever a panel is taken up (``widen``): kept in memory they would be 3.5 times as large, which
costs more than it saves as soon as they are not in the cache any more. Source: the form with 15
additions in Knuth, "The Art of Computer Programming", volume 2, section 4.6.4, due to Winograd.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from octolite.ir.types import Array
from octolite.kernels import jit
from octolite.kernels.dot import activate, rescale_centred, run_crossed, run_steps, zero_sum
from octolite.kernels.jit import Unit
from octolite.kernels.launch import NOWHERE, OUTPUT, Launch, Place
from octolite.kernels.pack import Panels, round_up
from octolite.kernels.prepare import RowGroup
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I8, I16, I32, I64, PTR, Builder, Value, vec
from octolite.kernels.tile import Isa, Tile

ARGS = Record(
    source=PTR,  # float32
    source_at=PTR,  # int64 [rows]: where each row starts, in bytes
    depth=I64,
    rows=I64,
    pairs=I64,  # of rows
    place_bytes=I64,  # of a left factor
    a=PTR,  # int16 [pairs, place, depth of a block]: left factors, set by the tile
    cross=PTR,  # int32 [place, pairs]: see dot.run_crossed, set by the tile
    scale_of=PTR,  # float32 [rows]: scales of the codes, set by the tile
    panels=PTR,  # int8 [panel, step, vector, …]
    panel_bytes=I64,
    panel_at=PTR,  # int64 [panel, 3]: unused, first channel, channels
    panel_count=I64,
    steps=I64,  # steps of the tile in a block of depth; even
    scale=PTR,  # float32 [panel, width]
    bias=PTR,
    out=PTR,  # float32
    out_at=PTR,  # int64 [rows]: where the results of each row start, in bytes
    low=F32,
    high=F32,
    chunk=I64,  # pairs of rows of a tile
    chunks=I64,
    panel_chunk=I64,  # pairs of panels of a tile
)

# Products, and the factors on either side.
PLACES = 7
# Steps of a panel come in whole multiples of this: two blocks of an even number of steps.
STEPS = 4
# Bytes of left factors that a tile goes over again and again, unless these are too few rows.
_CACHED = 512 * 1024
_LEAST_PAIRS = 64
# Pairs of panels that are worth quantizing rows for.
_LEAST_PANELS = 8
# Blocks of less are over before they have begun; more would need too much of a thread's stack.
MIN_DEPTH, MAX_DEPTH = 32, 4096


def left(a11: Any, a12: Any, a21: Any, a22: Any) -> list[Any]:
    """The left factors, from the blocks of codes."""
    s1 = a21 + a22
    s2 = s1 - a11
    return [s1, a11, a12, s2, a12 - s2, a11 - a21, a22]


def right(b11: Any, b12: Any, b21: Any, b22: Any) -> list[Any]:
    """The right factors, from the blocks of weights."""
    t1 = b12 - b11
    t2 = b22 - t1
    return [t1, b11, b21, t2, b22, b22 - b12, b21 - t2]


# Code --------------------------------------------------------------------------------------


def unit(tile: Tile, curved: bool, asymmetric: bool) -> Unit:
    """``strassen(args, tile)``."""

    def emit(module: Any, isa: Isa) -> None:
        _emit_factors(module, isa, tile, asymmetric)
        _emit_widen(module, tile)
        for height in tile.heights:
            _emit_block(module, tile, height, curved)
        _emit_tile(module, tile)

    key = f"strassen {tile.name} {tile.heights}x{tile.width} tanh={curved} asymmetric={asymmetric}"
    return Unit(key, ("strassen",), emit)


def _emit_factors(module: Any, isa: Isa, tile: Tile, asymmetric: bool) -> None:
    """``factors(args)``: the left factors of all rows, each quantized by its own range."""
    k = Builder(module, "factors", (PTR,), local=True)
    args = ARGS.load(k, k.args[0])
    code_bytes = (args.depth + 2 * isa.lanes) * 2
    codes = k.stack(code_bytes * isa.lanes)
    rows_of = SimpleNamespace(
        source=args.source, source_at=args.source_at, depth=args.depth, scale=args.scale_of
    )
    group = RowGroup(k, isa, tile, asymmetric, rows_of)
    with k.loop(0, args.rows, isa.lanes) as groups:
        start = groups.index
        count = k.smin(args.rows - start, isa.lanes)
        group.measure(start, count)
        with k.loop(0, count) as rows:
            group.encode(start, rows.index, codes + rows.index * code_bytes)
        with k.loop(0, count, 2) as pairs:
            two = [k.smin(pairs.index + i, count - 1) * code_bytes for i in range(2)]
            _combine(k, tile, args, [codes + at for at in two], (start + pairs.index) >> 1)
    k.ret()


def _combine(k: Builder, tile: Tile, args: SimpleNamespace, rows: list[Value], pair: Value) -> None:
    """The left factors of a pair of rows of codes."""
    lanes = 2 * tile.lanes
    words, codes = vec(I32, tile.lanes), vec(I16, lanes)
    block = args.steps * tile.depth
    whole = k.smax(args.depth - block, 0) // lanes * lanes
    swap = [lane ^ 1 for lane in range(tile.lanes)]
    out = args.a + pair * (args.place_bytes * PLACES)

    def load(i: int, j: int, at: Value, masked: bool) -> Value:
        """Codes of a block; zeros behind its end."""
        address = rows[i] + (at + block * j) * 2
        if not masked:
            return k.load(words, address).bits(codes)
        end = k.smin(args.depth - block * j, block)
        mask = k.first((end - at + 1) >> 1, tile.lanes)
        return k.load_first(words, address, mask).bits(codes)

    sums = [zero_sum(k, tile)] * PLACES
    for start, stop, masked in ((k.const(I64, 0), whole, False), (whole, block, True)):
        with k.loop(start, stop, lanes, carry=sums) as loop:
            at = loop.index
            a = [load(i, j, at, masked) for i in range(2) for j in range(2)]
            for place, value in enumerate(left(*a)):
                k.store(value, out + args.place_bytes * place + at * 2)
                if tile.crossed:
                    other = value.bits(words).pick(swap).bits(codes)
                    loop.carry[place] = tile.emit(k, loop.carry[place], value, other)
        sums = loop.carry
    if tile.crossed:
        for place, total in enumerate(sums):
            half = k.fold(total, lambda x, y: x + y) >> 1
            k.store(half, args.cross + (args.pairs * place + pair) * 4)


def _emit_widen(module: Any, tile: Tile) -> None:
    """``widen(args, pair, out)``: the right factors of a pair of panels.

    [place, step, vector, …] in words, and behind each place the sums that crossed tiles ask for.
    A panel past the last repeats it.
    """
    k = Builder(module, "widen", (PTR, I64, PTR), local=True)
    address, pair, out = k.args
    args = ARGS.load(k, address)
    steps, lanes = args.steps, tile.lanes * tile.depth
    step_bytes = tile.vectors * lanes
    panels = [
        args.panels + k.smin(pair * 2 + j, args.panel_count - 1) * args.panel_bytes
        for j in range(2)
    ]
    place_bytes = _right_bytes(tile, steps)
    for v in range(tile.vectors):
        with k.loop(0, steps, 2, carry=[zero_sum(k, tile)] * PLACES) as loop:
            two = []
            for n in range(2):
                at = loop.index + n
                blocks = [
                    k.load(vec(I8, lanes), panel + (steps * i + at) * step_bytes + v * lanes)
                    for i in range(2)
                    for panel in panels
                ]
                two.append(right(*(block.sext(I16) for block in blocks)))
                for place, value in enumerate(two[n]):
                    k.store(value, out + place_bytes * place + (at * step_bytes + v * lanes) * 2)
            if tile.crossed:
                pairs = zip(loop.carry, *two, strict=True)
                loop.carry = [tile.emit(k, acc, x, y) for acc, x, y in pairs]
        for place, total in enumerate(loop.carry):
            sums = out + (place_bytes * (place + 1) - 4 * tile.width)
            k.store(total, sums + 4 * tile.lanes * v)
    k.ret()


def _right_bytes(tile: Tile, steps: Any) -> Any:
    """Of one right factor of a pair of panels: its words, and a sum for each channel."""
    return steps * (2 * tile.width * tile.depth) + 4 * tile.width


def _emit_tile(module: Any, tile: Tile) -> None:
    """``strassen(args, tile)``: a chunk of pairs of rows by a chunk of pairs of panels."""
    k = Builder(module, "strassen", (PTR, I64))
    given, index = k.args
    args = ARGS.load(k, given)
    first = index % args.chunks * args.chunk
    count = k.smin(args.pairs - first, args.chunk)
    address = _for_tile(k, args, given, first, count)
    first_panel = index // args.chunks * args.panel_chunk
    last_panel = k.smin(first_panel + args.panel_chunk, (args.panel_count + 1) // 2)
    factors = k.stack(_right_bytes(tile, args.steps) * PLACES)
    top = tile.heights[-1]
    whole = count // top * top

    _call(k, "factors", address)
    with k.loop(first_panel, last_panel) as panels:
        _call(k, "widen", address, panels.index, factors)

        def call(height: int, pair: Value) -> None:
            _call(k, f"block{height}", address, pair, panels.index, factors)

        with k.loop(0, whole, top) as rows:
            call(top, rows.index)
        rest = count - whole
        least = 0
        for height in tile.heights:  # what is left takes the lowest block that holds it
            with k.when((rest > least) & (rest <= height)):
                call(height, whole)
            least = height
    k.ret()


def _for_tile(k: Builder, args: SimpleNamespace, given: Value, first: Value, count: Value) -> Value:
    """A record for the pairs of a tile alone, with room for what is made of their rows."""
    record = k.stack(k.const(I64, ARGS.size))
    with k.loop(0, ARGS.size, 8) as fields:
        k.store(k.load(I64, given + fields.index), record + fields.index)
    row = first * 2
    changed = {
        "source_at": args.source_at + row * 8,
        "out_at": args.out_at + row * 8,
        "rows": k.smin(args.rows - row, count * 2),
        "pairs": count,
        "a": k.stack(count * (args.place_bytes * PLACES)),
        "cross": k.stack(count * (4 * PLACES)),
        "scale_of": k.stack(count * 8),
    }
    for name, value in changed.items():
        k.store(value, record + ARGS.offset(name))
    return record


def _call(k: Builder, name: str, *args: Value) -> None:
    k.ir.call(k.module.globals[name], [a.raw for a in args])


def _emit_block(module: Any, tile: Tile, height: int, curved: bool) -> None:
    """``blockH(args, pair, panel, factors)``: so many pairs of rows times a pair of panels.

    Pairs past the last repeat it, as does a row that the last pair lacks.
    """
    k = Builder(module, f"block{height}", (PTR, I64, I64, PTR), local=True)
    address, first, panel, factors = k.args
    args = ARGS.load(k, address)
    pairs = [k.smin(first + r, args.pairs - 1) for r in range(height)]
    starts = [args.a + pair * (args.place_bytes * PLACES) for pair in pairs]
    zeros = [zero_sum(k, tile)] * (height * tile.vectors)

    def product(place: int, sums: list[Value]) -> list[Value]:
        """``sums`` and the product of the factors at ``place``."""
        place_bytes = _right_bytes(tile, args.steps)
        b = factors + place_bytes * place
        rows = [start + args.place_bytes * place for start in starts]
        if not tile.crossed:
            return run_steps(k, tile, rows, b, sums, k.const(I64, 0), args.steps)[1:]
        cross = [
            k.load(vec(I32, tile.lanes), b + place_bytes + (4 * tile.lanes * v - 4 * tile.width))
            for v in range(tile.vectors)
        ]
        begin = []
        for r, pair in enumerate(pairs):
            of_row = k.load(I32, args.cross + (args.pairs * place + pair) * 4).splat(tile.lanes)
            line = sums[r * tile.vectors : (r + 1) * tile.vectors]
            begin += [x - (of_row + y) for x, y in zip(line, cross, strict=True)]
        return run_crossed(k, tile, rows, b, begin, args.steps)[1:]

    def finish(i: int, j: int, sums: list[Value]) -> None:
        rows = [k.smin(pair * 2 + i, args.rows - 1) for pair in pairs]
        _finish(k, tile, args, rows, panel * 2 + j, sums, curved)

    def plus(x: list[Value], y: list[Value]) -> list[Value]:
        return [p + q for p, q in zip(x, y, strict=True)]

    v = product(0, zeros)
    u = product(1, zeros)
    finish(0, 0, product(2, u))
    u = product(3, u)
    finish(0, 1, product(4, plus(u, v)))
    u = product(5, u)
    finish(1, 1, plus(u, v))
    finish(1, 0, product(6, u))
    k.ret()


def _finish(
    k: Builder,
    tile: Tile,
    args: SimpleNamespace,
    rows: list[Value],
    panel: Value,
    sums: list[Value],
    curved: bool,
) -> None:
    """The results of ``rows`` in a panel, from exact sums; none past the last panel."""
    inside = k.smin(panel, args.panel_count - 1)
    place, line = args.panel_at + inside * 24, inside * (4 * tile.width)
    count = k.select(panel < args.panel_count, k.load(I64, place + 16), k.const(I64, 0))
    base = args.out + k.load(I64, place + 8) * 4
    results = []
    for r, row in enumerate(rows):
        factor = k.load(F32, args.scale_of + row * 4)
        out = base + k.load(I64, args.out_at + row * 8)
        for v in range(tile.vectors):
            acc = sums[r * tile.vectors + v]
            x = rescale_centred(k, args, line + 4 * tile.lanes * v, acc, factor)
            results.append((activate(k, args, x, curved), out + 4 * tile.lanes * v, v))
    with k.either(count >= tile.width) as (full, partial):
        with full:
            for x, out, _ in results:
                k.store(x, out)
        with partial:
            for x, out, v in results:
                k.store_first(x, out, k.first(count - tile.lanes * v, tile.lanes))


# Steps -------------------------------------------------------------------------------------


def tile_of(isa: Isa) -> Tile | None:
    """The tile that multiplies factors, where codes are words and weights are packed likewise."""
    tile = isa.crossed or isa.dense
    return tile if tile is not None and tile.code == isa.dot.code == np.int16 else None


def pays(isa: Isa, rows: int, depth: int, channels: int) -> bool:
    """Whether the products saved are worth the additions, in cycles."""
    tile = tile_of(isa)
    if tile is None or rows < 4 * tile.heights[-1] or not MIN_DEPTH <= depth <= MAX_DEPTH:
        return False
    plain = rows * depth * round_up(channels, tile.width) / tile.rate
    saved = round_up(rows, 2) * round_up(depth, STEPS * tile.depth)
    products = saved * round_up(channels, 2 * tile.width) / tile.rate * 7 / 8
    left_factors = rows * depth * 2 / tile.lanes
    right_factors = depth * channels * 2 / tile.lanes
    return products + left_factors + right_factors < plain


@dataclass(frozen=True)
class Rows:
    """What is multiplied: rows of ``depth`` floats of ``source``, which are quantized first.

    ``at``: int64, where each row starts there, ``out``: where its results start, both in bytes.
    """

    source: Place
    at: Array
    out: Array
    depth: int
    asymmetric: bool

    @property
    def count(self) -> int:
        return len(self.at)


def add(
    launch: Launch,
    isa: Isa,
    rows: Rows,
    panels: Panels,
    clamp: tuple[float, float, bool],
    threads: int,
) -> None:
    """Have ``rows`` quantized and multiplied by ``panels``: bytes, one tap, a multiple of ``STEPS``
    steps."""
    tile = tile_of(isa)
    assert tile is not None
    low, high, curved = clamp
    steps, panel_pairs = panels.data.shape[2] // 2, -(-panels.count // 2)
    pairs, place_bytes = -(-rows.count // 2), _place_bytes(tile, steps)
    chunk, panel_chunk = _tiling(pairs, PLACES * place_bytes, panel_pairs, threads)
    chunks = -(-pairs // chunk)
    launch.add(
        f"hybrid strassen {tile.name} {isa.name}",
        jit.load(unit(tile, curved, rows.asymmetric), isa)["strassen"],
        ARGS,
        chunks * -(-panel_pairs // panel_chunk),
        source=rows.source,
        source_at=rows.at,
        depth=rows.depth,
        rows=rows.count,
        pairs=pairs,
        place_bytes=place_bytes,
        a=NOWHERE,
        cross=NOWHERE,
        scale_of=NOWHERE,
        panels=panels.data,
        panel_bytes=panels.data.nbytes // panels.count,
        panel_at=panels.at,
        panel_count=panels.count,
        steps=steps,
        scale=panels.scale,
        bias=panels.bias,
        out=OUTPUT,
        out_at=rows.out,
        low=low,
        high=high,
        chunk=chunk,
        chunks=chunks,
        panel_chunk=panel_chunk,
    )


def _tiling(pairs: int, row_bytes: int, panels: int, threads: int) -> tuple[int, int]:
    """Pairs of rows and of panels of a tile. Every piece of rows widens its panels anew, and every
    piece of panels quantizes its rows anew, so that neither is cut into small pieces."""
    most = max(_LEAST_PAIRS, _CACHED // row_bytes)
    chunk, panel_chunk = -(-pairs // -(-pairs // most)), panels
    wanted = 4 * threads if threads > 1 else 1
    while (tiles := -(-pairs // chunk) * -(-panels // panel_chunk)) < wanted:
        if chunk >= 2 * _LEAST_PAIRS:
            chunk = -(-chunk // 2)
        elif panel_chunk >= 2 * _LEAST_PANELS or (tiles < threads and panel_chunk > 1):
            panel_chunk = -(-panel_chunk // 2)
        else:
            break
    return chunk, panel_chunk


def _place_bytes(tile: Tile, steps: int) -> int:
    """Of a left factor of one pair of rows: whole vectors, and an odd number of cache lines, so
    that those of several rows fall into different sets of the cache."""
    return (-(-round_up(steps * tile.depth, 2 * tile.lanes) * 2 // 64) | 1) * 64
