"""Products of 7-bit codes that are >= 0, in blocks with factors.

Without an instruction for int8 dot products, exact 8-bit codes are multiplied as int16. Codes of
7 bits without a sign allow twice as many products at a time: ``pmaddubsw`` multiplies 32 bytes,
two such results are added as int16, and one ``pmaddwd`` takes them on to int32, multiplied by the
factor that the block of the row has (:func:`octolite.ir.numerics.microscale_rows`).

Every int16 holds four products, between ``-127 · N`` and ``127 · P``, where ``N`` and ``P`` are
the sums of its negative and positive weights. That is no wider than int16, but may lie beside it:
then a shift is added which packing has chosen. The shifts of a block add up to zero for each
channel. Where they cannot, because nearly all of its weights are large and of one sign, what is
too much is subtracted behind. The sums are exact for any weights.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import numpy as np

from octolite.ir.numerics import MICRO_BLOCK, MICRO_TINY_RANGE, micro_blocks
from octolite.ir.types import Array
from octolite.kernels import jit, pack
from octolite.kernels.isa import Isa, Tile
from octolite.kernels.maths import ROUNDER, ROUNDER_BITS, nearest
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I8, I16, I32, I64, PTR, Builder, Value, vec

# Codes of a step, and steps of a block.
STEP = 8
STEPS = MICRO_BLOCK // STEP


# Weights -----------------------------------------------------------------------------------


def panels(
    tile: Tile, isa: Isa, weights: Array, bias: Array | None, scale: Array | None
) -> pack.Panels:
    """Weights [channels, 1, depth] with their shifts; ``data``: int8 [panel, bytes].

    A panel has, for each step, two quads for each channel and two int16 for each. Behind them
    follow the number of blocks whose shifts do not add up to zero, and for each of these its index
    (both int64) and the sum of its shifts for each channel (int32).
    """
    packed = pack.panels(tile, weights, 1, bias, scale)
    count, steps, blocks = packed.count, packed.data.shape[2], micro_blocks(weights.shape[2])
    size = steps * _step_bytes(tile)
    excess: Array = np.zeros((count, blocks, tile.lanes), np.int32)
    shifted = np.empty((count, size), np.int8)
    balance = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(
        jit.load(balance_unit(tile), isa)["balance"]
    )
    arrays = {"weights": packed.data, "out": shifted, "excess": excess}
    places = {name: array.ctypes.data for name, array in arrays.items()}
    record = BALANCE.pack(**places, steps=steps, blocks=blocks)
    for index in range(count):
        balance(ctypes.addressof(record), index)
    left: Array = np.asarray(excess.any(axis=2))
    most = int(left.sum(axis=1).max(initial=0))
    panel_bytes = pack.round_up(size + 8 + most * _excess_bytes(tile), 64)
    data = pack.aligned((count, panel_bytes), shifted.dtype)
    data[:, :size] = shifted
    for panel in np.flatnonzero(left.any(axis=1)):
        entry = np.dtype([("block", "<i8"), ("sums", "<i4", tile.lanes)])
        entries = np.empty(left[panel].sum(), entry)
        entries["block"] = np.flatnonzero(left[panel])
        entries["sums"] = excess[panel, left[panel]]
        behind = len(entries).to_bytes(8, "little") + entries.tobytes()
        data[panel, size : size + len(behind)] = np.frombuffer(behind, np.int8)
    return replace(packed, data=data)


def _step_bytes(tile: Tile) -> int:
    """Bytes of a step: weights and shifts."""
    return (STEP + 4) * tile.lanes


def _excess_bytes(tile: Tile) -> int:
    """Bytes for a block whose shifts do not add up to zero."""
    return 8 + 4 * tile.lanes


BALANCE = Record(
    weights=PTR,  # int8 [panel, step, quad, channel, 4]
    out=PTR,  # the same with shifts int16 [channel, half] behind each step
    excess=PTR,  # int32 [panel, block, channel]: what the shifts add to a block
    steps=I64,
    blocks=I64,
)


def balance_unit(tile: Tile) -> jit.Unit:
    """``balance(args, panel)``: choose what to add to each int16 sum of four products.

    The least that makes it fit, and then as much of the opposite on the other sums of the same
    block and channel as brings the whole to zero, if there is room for it.
    """

    def emit(module: Any, isa: Isa) -> None:
        k = Builder(module, "balance", (PTR, I64))
        args = BALANCE.load(k, k.args[0])
        whole = vec(I32, tile.lanes)
        inward, outward = STEP * tile.lanes, _step_bytes(tile)
        start = args.weights + k.args[1] * args.steps * inward
        place = args.out + k.args[1] * args.steps * outward

        def halves(x: Value) -> list[Value]:
            pairs = x.bits(whole)
            return [(pairs << 16) >> 16, pairs >> 16]

        with k.loop(0, args.blocks) as blocks:
            first, last = _span(k, blocks.index, args.blocks, args.steps)
            with k.loop(first, last, carry=[k.const(whole, 0)]) as loop:
                at, out = start + loop.index * inward, place + loop.index * outward
                low, high = _limits(k, tile, at)
                least = k.smin(k.smax(k.const(low.type, 0), low), high)
                k.store(k.load(vec(I8, inward), at), out)
                k.store(least, out + inward)
                one, other = halves(least)
                loop.carry = [loop.carry[0] + one + other]
            with k.loop(first, last, carry=loop.carry) as loop:
                at, out = start + loop.index * inward, place + loop.index * outward + inward
                (excess,) = loop.carry
                found = []
                rooms = (halves(x) for x in _limits(k, tile, at))
                chosen = halves(k.load(vec(I16, 2 * tile.lanes), out))
                for x, low, high in zip(chosen, *rooms, strict=True):
                    change = k.smin(k.smax(k.const(whole, 0) - excess, low - x), high - x)
                    found.append(x + change)
                    excess = excess + change
                merged = (found[0] & 0xFFFF) | (found[1] << 16)
                k.store(merged, out)
                loop.carry = [excess]
            index = k.args[1] * args.blocks + blocks.index
            k.store(loop.carry[0], args.excess + index * (4 * tile.lanes))
        k.ret()

    return jit.Unit(f"microscaled weights {tile.name}", ("balance",), emit)


def _limits(k: Builder, tile: Tile, at: Value) -> tuple[Value, Value]:
    """Between what the shift of each sum of a step lies, int16."""
    pairs, kind = tile.pairs, vec(I8, 4 * tile.lanes)
    assert pairs is not None
    ones = k.const(kind, 1)
    quads = [tile.load_b(k, at + 4 * tile.lanes * n) for n in range(2)]
    total, size = (
        x + y
        for x, y in (
            [pairs(k, ones, q) for q in quads],
            [pairs(k, k.smax(q, k.const(kind, 0) - q), ones) for q in quads],
        )
    )
    negative, positive = (size - total) >> 1, (size + total) >> 1
    return negative * 127 - 2**15, k.const(size.type, 2**15 - 1) - positive * 127


def _span(k: Builder, block: Value, blocks: Value, steps: Value) -> tuple[Value, Value]:
    """The first step of a block and that behind its last; see ``numerics.micro_blocks``."""
    first = block * STEPS
    return first, k.select((block + 1).equals(blocks), steps, first + STEPS)


# Products ----------------------------------------------------------------------------------


def step(
    k: Builder,
    tile: Tile,
    acc: Value,
    codes: list[Value],
    quads: list[Value],
    shift: Value,
    factor: Value,
) -> Value:
    """``acc`` and ``factor`` times the products of two quads of codes and weights."""
    pairs = tile.pairs
    assert pairs is not None
    one, other = (pairs(k, a, b) for a, b in zip(codes, quads, strict=True))
    return tile.emit(k, acc, factor, one + other + shift)


def run(
    k: Builder, tile: Tile, rows: list[Value], weights: Value, sums: list[Value], steps: Value
) -> list[Value]:
    """The sums over all blocks; the factors lie behind the codes of each row."""
    behind = (steps + (STEPS - 1)) // STEPS * MICRO_BLOCK
    blocks = k.smax(steps // STEPS, 1)
    with k.loop(0, blocks, carry=[weights, *sums]) as outer:
        index = outer.index
        first, last = _span(k, index, blocks, steps)
        factors = [tile.load_a(k, [row], behind + index * 4) for row in rows]
        with k.loop(first, last, carry=outer.carry) as inner:
            here, *found = inner.carry
            quads = [tile.load_b(k, here + n * 4 * tile.lanes) for n in range(2)]
            shift = k.load(vec(I16, 2 * tile.lanes), here + STEP * tile.lanes)
            for r, row in enumerate(rows):
                codes = [tile.load_a(k, [row], inner.index * STEP + 4 * n) for n in range(2)]
                found[r] = step(k, tile, found[r], codes, quads, shift, factors[r])
            inner.carry = [here + _step_bytes(tile), *found]
        outer.carry = inner.carry
    here, *sums = outer.carry
    with k.loop(0, k.load(I64, here), carry=[here + 8, *sums]) as loop:
        place, *found = loop.carry
        excess = k.load(vec(I32, tile.lanes), place + 8)
        index = behind + k.load(I64, place) * 4
        for r, row in enumerate(rows):
            factor = k.load(I16, row + index).sext(I32).splat(tile.lanes)
            found[r] = found[r] - excess * factor
        loop.carry = [place + _excess_bytes(tile), *found]
    return loop.carry[1:]


# Codes -------------------------------------------------------------------------------------


def row_bytes(depth: int) -> int:
    """Bytes of a row: its codes, then its factors, each twice as int16."""
    return pack.round_up(pack.round_up(depth, MICRO_BLOCK) + 4 * micro_blocks(depth), 64)


def emit_rows(module: Any, isa: Isa, record: Record) -> None:
    """``quantize_rows(args, tile)``: a chunk of rows, as many together as a vector has lanes, so
    that what is computed for each row or block is computed for all of them at once."""
    k = Builder(module, "quantize_rows", (PTR, I64))
    args = record.load(k, k.args[0])
    lanes, vector = isa.lanes, vec(F32, isa.lanes)
    first = k.args[1] * args.chunk
    last = k.smin(first + args.chunk, args.rows)
    blocks = k.smax((args.depth + (STEP - 1)) // MICRO_BLOCK, 1)
    behind = (args.depth + (MICRO_BLOCK - 1)) // MICRO_BLOCK * MICRO_BLOCK
    line = 4 * lanes
    bad = k.stack(k.const(I64, lanes * line))
    peaks = k.stack(blocks * (lanes * line))  # [block, row], a vector for each
    found = k.stack(blocks * (2 * line))  # [block]: steps of the rows, their factors
    for size, place in ((k.const(I64, lanes * line), bad), (blocks * (lanes * line), peaks)):
        with k.loop(0, size, line) as lines:
            k.store(k.const(vector, 0.0), place + lines.index)

    with k.loop(first, last, lanes) as groups:
        start = groups.index
        count = k.smin(last - start, lanes)
        with k.loop(0, count) as rows:
            source = args.source + k.load(I64, args.source_at + (start + rows.index) * 8)
            own = rows.index * line
            k.store(_peaks(k, isa, source, args.depth, blocks, peaks + own), bad + own)
        _parameters(k, isa, args, bad, peaks, found, blocks, start, count)
        with k.loop(0, count) as rows:
            row = start + rows.index
            source = args.source + k.load(I64, args.source_at + row * 8)
            out = args.codes + row * args.code_bytes
            _codes(k, isa, source, args.depth, blocks, found + rows.index * 4, out)
            with k.loop(0, blocks) as each:
                at = found + (each.index * (2 * line) + rows.index * 4 + line)
                k.store(k.load(I32, at), out + (behind + each.index * 4))
    k.ret()


def _peaks(k: Builder, isa: Isa, source: Value, depth: Value, blocks: Value, peaks: Value) -> Value:
    """Store what is greatest in each lane of each block, a vector every ``lanes`` vectors. Gives
    a sum that is NaN where any number is not finite."""
    lanes, vector = isa.lanes, vec(F32, isa.lanes)
    apart = lanes * 4 * lanes
    parts = MICRO_BLOCK // lanes
    whole = depth // MICRO_BLOCK
    none = k.const(vector, 0.0)
    with k.loop(0, whole, carry=[none] * parts) as loop:
        at = source + loop.index * (4 * MICRO_BLOCK)
        x = [k.load(vector, at + 4 * lanes * n) for n in range(parts)]
        # 0 · x is 0 or, for NaN and the infinities, NaN.
        loop.carry = [k.fma(v, 0.0, bad) for v, bad in zip(x, loop.carry, strict=True)]
        while len(x) > 1:
            x = [k.select(a > b, a, b) for a, b in zip(x[::2], x[1::2], strict=True)]
        k.store(k.smax(x[0], 0.0), peaks + loop.index * apart)
    bad = loop.carry
    while len(bad) > 1:
        bad = [a + b for a, b in zip(bad[::2], bad[1::2], strict=True)]
    rest = peaks + (blocks - 1) * apart  # perhaps that of a whole block
    known = k.select(whole < blocks, none, k.load(vector, rest))
    with k.loop(whole * MICRO_BLOCK, depth, lanes, carry=[known, bad[0]]) as tail:
        mask = k.first(depth - tail.index, lanes)
        v = k.load_first(vector, source + tail.index * 4, mask)
        top, worst = tail.carry
        tail.carry = [k.select(v > top, v, top), k.fma(v, 0.0, worst)]
    k.store(tail.carry[0], rest)
    return tail.carry[1]


def _parameters(
    k: Builder,
    isa: Isa,
    args: Any,
    bad: Value,
    peaks: Value,
    found: Value,
    blocks: Value,
    start: Value,
    count: Value,
) -> None:
    """Scales of the rows, and what each block's numbers are multiplied by to become codes, and
    its factor, as ``numerics.microscale_rows`` has them."""
    lanes, vector = isa.lanes, vec(F32, isa.lanes)
    line = 4 * lanes
    room = k.const(I64, (2**31 - 1) // (127 * 128))
    most = k.smin(room // args.depth, 255).trunc(I32).splat(lanes)

    def across(place: Value, join: Any) -> Value:
        return k.fold_each([k.load(vector, place + line * n) for n in range(lanes)], join)

    with k.loop(0, blocks, carry=[k.const(vector, 0.0)]) as loop:
        top = across(peaks + loop.index * (lanes * line), k.smax)
        k.store(top, found + loop.index * (2 * line))
        loop.carry = [k.smax(loop.carry[0], top)]
    peak = loop.carry[0]
    finite = across(bad, lambda a, b: a + b).equals(0.0)
    live = finite & (peak >= float(MICRO_TINY_RANGE))
    safe = k.select(live, peak, 1.0)
    unit = k.select(live, most.to_float() / safe, 0.0)
    inverse = k.select(live, (most * 127).to_float() / safe, 0.0)
    scale = k.select(live, safe / (most * 127).to_float(), 1.0)
    mask = k.first(count, lanes)
    k.store_first(k.select(finite, scale, np.nan), args.scale + start * 4, mask)
    with k.loop(0, blocks) as loop:
        at = found + loop.index * (2 * line)
        # Of rows that are not finite, anything: their scale is NaN.
        factor = nearest(k, k.load(vector, at) * unit + 0.5)
        factor = k.smin(k.smax(factor, 1), most)
        k.store(inverse / factor.to_float(), at)
        k.store(factor | (factor << 16), at + line)


def _codes(
    k: Builder, isa: Isa, source: Value, depth: Value, blocks: Value, steps: Value, out: Value
) -> None:
    """The codes of one row, up to a vector more. ``steps``: of its first block."""
    lanes, apart = isa.lanes, 8 * isa.lanes

    def code(x: Value, step: Value) -> Value:
        width = x.type.count
        rounded = k.fma(x, step.splat(width), ROUNDER).bits(vec(I32, width)) - ROUNDER_BITS
        return k.smin(k.smax(rounded, 0), 127).trunc(I8)

    whole = depth // MICRO_BLOCK
    with k.loop(0, whole) as loop:
        x = k.load(vec(F32, MICRO_BLOCK), source + loop.index * (4 * MICRO_BLOCK))
        k.store(code(x, k.load(F32, steps + loop.index * apart)), out + loop.index * MICRO_BLOCK)
    with k.loop(whole * MICRO_BLOCK, depth, lanes) as tail:
        mask = k.first(depth - tail.index, lanes)
        x = k.load_first(vec(F32, lanes), source + tail.index * 4, mask)
        k.store(code(x, k.load(F32, steps + (blocks - 1) * apart)), out + tail.index)
