"""What happens to activations before the products: padding, ranges, quantization.

The codes, scales and zero points are those of :func:`octolite.ir.numerics.quantize_rows`, bit for
bit. Padded images hold the zero point (or 0.0) around the pixels, so that the kernels which read
windows know nothing of borders. A row of a scratch image ends in slack of at least one vector, so
that writing needs no tails.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import numpy as np

from octolite.ir.numerics import TINY_RANGE
from octolite.kernels import microscaled
from octolite.kernels.isa import Isa, Tile
from octolite.kernels.jit import Unit
from octolite.kernels.maths import nearest
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I8, I16, I32, I64, PTR, Builder, Value, lanes_of, like, vec

ROWS = Record(
    source=PTR,  # float32
    source_at=PTR,  # int64 [rows]: where each row starts in source, in bytes
    depth=I64,
    codes=PTR,
    code_bytes=I64,  # from row to row of codes; a multiple of a vector
    scale=PTR,  # float32 [rows]
    zero=PTR,  # int32 [rows], of the stored code  (not where codes are centred)
    cross=PTR,  # int32 [rows]: cross_sum of each  (crossed tiles only)
    rows=I64,
    chunk=I64,  # rows of a tile
)

RANGE = Record(
    source=PTR,  # float32 [batch, size]
    size=I64,
    partial=PTR,  # float32 [batch, parts, 3]: least, greatest, NaN if any is
    parts=I64,
    part=I64,  # elements of a part
)

IMAGE = Record(
    source=PTR,  # float32 [batch, height, width, channels]
    image_bytes=I64,  # of the source, from image to image
    row_bytes=I64,  # of the source, from row to row
    copy_rows=I64,  # rows and elements of a row that are kept
    copy_row=I64,
    top=I64,  # rows above, elements before
    left=I64,
    padded_rows=I64,  # rows and elements of a row of the result
    padded_row=I64,
    out=PTR,
    out_image_bytes=I64,
    out_row_bytes=I64,
    partial=PTR,  # as RANGE leaves it; quantization only, as are the next three
    parts=I64,
    scale=PTR,  # float32 [batch]
    zero=PTR,  # int32 [batch], of the stored code
    chunk=I64,  # rows of a tile
    chunks=I64,
)

REPEAT = Record(source=PTR, out=PTR, size=I64, times=I64, chunk=I64)


def unit(tile: Tile, asymmetric: bool) -> Unit:
    """Quantization into the codes that ``tile`` reads."""

    if tile.pairs is not None:
        emit_rows = functools.partial(microscaled.emit_rows, record=ROWS)
        return Unit("quantize microscaled", ("quantize_rows",), emit_rows)

    def emit(module: Any, isa: Isa) -> None:
        _emit_rows(module, isa, tile, asymmetric)
        _emit_range(module, isa)
        _emit_image(module, isa, tile, asymmetric)

    exports = ("quantize_rows", "image_range", "quantize_image")
    code = f"{tile.code}+{tile.offset} crossed={tile.crossed}"
    return Unit(f"quantize {code} asymmetric={asymmetric}", exports, emit)


def float_unit() -> Unit:
    """Padding in float."""
    return Unit("pad", ("pad_image",), lambda module, isa: _emit_image(module, isa, None, False))


def repeat_unit(item: int) -> Unit:
    """Repeating elements of ``item`` bytes."""
    return Unit(f"repeat {item}", ("repeat",), lambda module, isa: _emit_repeat(module, item))


# Ranges ------------------------------------------------------------------------------------


def row_range(k: Builder, isa: Isa, source: Value, size: Value) -> tuple[Value, Value, Value]:
    """Least and greatest of ``size`` floats and 0, and a sum that is NaN where any of them is."""
    found = lane_ranges(k, isa, source, size)
    low, high, bad = (k.fold(x, join) for x, join in zip(found, _joins(k), strict=True))
    return low, high, bad


def _joins(k: Builder) -> tuple[Any, Any, Any]:
    """How two ranges become one: least, greatest, NaN if any is."""
    return k.smin, k.smax, lambda a, b: a + b


def lane_ranges(k: Builder, isa: Isa, source: Value, size: Value) -> list[Value]:
    """:func:`row_range` of what falls into each lane of a vector."""
    kind = vec(F32, isa.lanes)
    unroll = 4
    zeros = [k.const(kind, 0.0)] * (3 * unroll)
    block = unroll * isa.lanes

    def take(state: list[Value], slot: int, x: Value) -> None:
        state[slot] = k.select(x < state[slot], x, state[slot])
        state[unroll + slot] = k.select(x > state[unroll + slot], x, state[unroll + slot])
        # 0 · x is 0 or, for NaN and the infinities, NaN.
        state[2 * unroll + slot] = k.fma(x, 0.0, state[2 * unroll + slot])

    whole = size // block * block
    with k.loop(0, whole, block, carry=zeros) as loop:
        for slot in range(unroll):
            take(loop.carry, slot, k.load(kind, source + (loop.index + slot * isa.lanes) * 4))
    with k.loop(whole, size, isa.lanes, carry=loop.carry) as tail:
        mask = k.first(size - tail.index, isa.lanes)
        take(tail.carry, 0, k.load_first(kind, source + tail.index * 4, mask))
    state = tail.carry

    def reduce(values: list[Value], combine: Any) -> Value:
        while len(values) > 1:
            values = [combine(a, b) for a, b in zip(values[::2], values[1::2], strict=True)]
        return values[0]

    kinds = (state[i * unroll : (i + 1) * unroll] for i in range(3))
    return [reduce(values, join) for values, join in zip(kinds, _joins(k), strict=True)]


def parameters(
    k: Builder, tile: Tile, asymmetric: bool, low: Value, high: Value, bad: Value
) -> SimpleNamespace:
    """Scale, its inverse and the zero point from a range, as ``numerics.quantize_rows`` has it.

    Of one range, or of a vector of them. ``mask``: all ones where the row is finite; 0 turns its
    codes into 0.
    """
    real, whole = low.type, like(low.type, I32)
    steps = k.const(real, 255.0 if asymmetric else 127.0)
    span = high - low if asymmetric else k.smax(high, k.const(real, 0.0) - low)
    finite = bad.equals(0.0) & (span < np.inf)
    live = finite & (span >= float(TINY_RANGE))
    safe = k.select(live, span, 1.0)
    inverse = k.select(live, steps / safe, 0.0)
    scale = k.select(live, safe / steps, 1.0)
    zero = k.const(whole, 0)
    if asymmetric:
        zero = nearest(k, k.const(real, -128.0) - k.select(finite, low, 0.0) * inverse)
    return SimpleNamespace(
        inverse=inverse,
        scale=k.select(finite, scale, np.nan),
        zero=zero,
        stored_zero=zero + tile.offset,
        mask=finite.sext(I32),
    )


def quantizer(
    k: Builder,
    tile: Tile,
    asymmetric: bool,
    p: SimpleNamespace,
    lanes: int,
    centred: bool = False,
) -> Any:
    """A function from ``lanes`` floats, or some times as many, to as many stored codes, less their
    zero point where ``centred``."""
    constants = [v.splat(lanes) for v in (p.inverse, p.zero, p.mask)]
    lowest = -128 if asymmetric else -127
    element = I8 if tile.code.itemsize == 1 else I16

    def quantize(x: Value) -> Value:
        order = list(range(lanes)) * (lanes_of(x.type) // lanes)
        inverse, zero, mask = (v.pick(order) for v in constants)
        code = nearest(k, x * inverse)
        if centred:
            least, most = k.const(zero.type, lowest) - zero, k.const(zero.type, 127) - zero
            return k.smin(k.smax(code & mask, least), most).trunc(element)
        code = k.smin(k.smax((code + zero) & mask, lowest), 127)
        return (code + tile.offset).trunc(element)

    return quantize


# Rows --------------------------------------------------------------------------------------


def _emit_rows(module: Any, isa: Isa, tile: Tile, asymmetric: bool) -> None:
    """``quantize_rows(args, tile)``: a chunk of rows, each by its own range."""
    k = Builder(module, "quantize_rows", (PTR, I64))
    args = ROWS.load(k, k.args[0])
    first = k.args[1] * args.chunk
    last = k.smin(first + args.chunk, args.rows)
    group = RowGroup(k, isa, tile, asymmetric, args)
    with k.loop(first, last, isa.lanes) as groups:
        start = groups.index
        count = k.smin(last - start, isa.lanes)
        group.measure(start, count)
        with k.loop(0, count) as rows:
            row = start + rows.index
            out = args.codes + row * args.code_bytes
            group.encode(start, rows.index, out)
            if tile.crossed:
                k.store(cross_sum(k, tile, out, args.depth), args.cross + row * 4)
    k.ret()


class RowGroup:
    """As many rows as a vector has lanes: their ranges first, then the parameters of all at once,
    then their codes. One row alone would wait for its divisions.

    ``args``: ``source``, ``source_at``, ``depth``, ``scale`` and ``zero`` of ``ROWS``.
    """

    def __init__(
        self, k: Builder, isa: Isa, tile: Tile, asymmetric: bool, args: SimpleNamespace
    ) -> None:
        self.k, self.isa, self.tile, self.args = k, isa, tile, args
        self.asymmetric = asymmetric
        self._line = 4 * isa.lanes
        self._kept = isa.lanes * self._line
        self._ranges = k.stack(k.const(I64, 3 * self._kept))
        self._found = k.stack(k.const(I64, 3 * self._line))
        with k.loop(0, 3 * self._kept, self._line) as lines:
            k.store(k.const(vec(F32, isa.lanes), 0.0), self._ranges + lines.index)

    def _source(self, row: Value) -> Value:
        at: Value = self.args.source + self.k.load(I64, self.args.source_at + row * 8)
        return at

    def measure(self, start: Value, count: Value) -> None:
        """Find and store the parameters of ``count`` rows from ``start`` on."""
        k, isa, args, line, kept = self.k, self.isa, self.args, self._line, self._kept
        with k.loop(0, count) as rows:
            source = self._source(start + rows.index)
            for slot, value in enumerate(lane_ranges(k, isa, source, args.depth)):
                k.store(value, self._ranges + (rows.index * line + slot * kept))
        low, high, bad = (
            k.fold_each(
                [
                    k.load(vec(F32, isa.lanes), self._ranges + (slot * kept + i * line))
                    for i in range(isa.lanes)
                ],
                join,
            )
            for slot, join in enumerate(_joins(k))
        )
        p = parameters(k, self.tile, self.asymmetric, low, high, bad)
        mask = k.first(count, isa.lanes)
        k.store_first(p.scale, args.scale + start * 4, mask)
        if not self.tile.centred:
            k.store_first(p.stored_zero, args.zero + start * 4, mask)
        for slot, value in enumerate((p.inverse, p.zero, p.mask)):
            k.store(value, self._found + slot * line)

    def encode(self, start: Value, index: Value, out: Value) -> None:
        """The codes of row ``start + index``, up to a vector more than ``depth``."""
        k, isa, line = self.k, self.isa, self._line
        at = self._found + index * 4
        one = SimpleNamespace(
            inverse=k.load(F32, at),
            zero=k.load(I32, at + line),
            mask=k.load(I32, at + 2 * line),
        )
        quantize = quantizer(k, self.tile, self.asymmetric, one, isa.lanes, self.tile.centred)
        source = self._source(start + index)
        transform(k, isa, source, self.args.depth, out, self.tile, quantize)


def cross_sum(k: Builder, tile: Tile, codes: Value, depth: Value) -> Value:
    """Products of each step's codes with those of the next, summed over pairs of steps: what
    :func:`octolite.kernels.dot.run_crossed` takes for known."""
    whole, pair = vec(I32, tile.lanes), 2 * tile.depth * tile.code.itemsize
    nothing = k.const(whole, 0)
    step = 4 * tile.lanes
    size = (depth + (tile.depth - 1)) // (2 * tile.depth) * pair
    shifted = [lane + 1 if lane % 2 == 0 else tile.lanes for lane in range(tile.lanes)]

    def add(total: Value, a: Value) -> Value:
        words = vec(I16, 2 * tile.lanes)
        return tile.emit(k, total, a.bits(words), a.pick(shifted, nothing).bits(words))

    with k.loop(0, size // step * step, step, carry=[nothing]) as loop:
        loop.carry = [add(loop.carry[0], k.load(whole, codes + loop.index))]
    with k.loop(size // step * step, size, step, carry=loop.carry) as tail:
        mask = k.first((size - tail.index) // 4, tile.lanes)
        a = k.select(mask, k.load(whole, codes + tail.index), nothing)
        tail.carry = [add(tail.carry[0], a)]
    return k.fold(tail.carry[0], lambda x, y: x + y)


def transform(
    k: Builder, isa: Isa, source: Value, size: Value, out: Value, tile: Tile | None, change: Any
) -> None:
    """``out[i] = change(source[i])`` by vectors, writing up to a vector more than ``size``."""
    item = tile.code.itemsize if tile else 4
    start = k.const(I64, 0)
    # Codes are narrower than floats, and packing vectors two by two takes fewer shuffles than
    # narrowing each; AVX-512 narrows in one instruction.
    together = isa.lanes * 4 // item if isa.lanes < 16 else isa.lanes
    for lanes in sorted({isa.lanes, together}, reverse=True):
        stop = size // lanes * lanes
        with k.loop(start, stop, lanes) as loop:
            x = k.load(vec(F32, lanes), source + loop.index * 4)
            k.store(change(x), out + loop.index * item)
        start = stop
    with k.loop(start, size, isa.lanes) as tail:
        mask = k.first(size - tail.index, isa.lanes)
        x = k.load_first(vec(F32, isa.lanes), source + tail.index * 4, mask)
        k.store(change(x), out + tail.index * item)


# Images ------------------------------------------------------------------------------------


def _emit_range(module: Any, isa: Isa) -> None:
    """``image_range(args, tile)``: the range of one part of one image."""
    k = Builder(module, "image_range", (PTR, I64))
    args = RANGE.load(k, k.args[0])
    image, part = k.args[1] // args.parts, k.args[1] % args.parts
    start = part * args.part
    size = k.smin(args.size - start, args.part)
    source = args.source + (image * args.size + start) * 4
    for slot, value in enumerate(row_range(k, isa, source, size)):
        k.store(value, args.partial + k.args[1] * 12 + 4 * slot)
    k.ret()


def _emit_image(module: Any, isa: Isa, tile: Tile | None, asymmetric: bool) -> None:
    """``quantize_image(args, tile)`` (``pad_image`` without ``tile``): rows of a padded image."""
    k = Builder(module, "quantize_image" if tile else "pad_image", (PTR, I64))
    args = IMAGE.load(k, k.args[0])
    image, chunk = k.args[1] // args.chunks, k.args[1] % args.chunks
    first = chunk * args.chunk
    fill: Value
    if tile is None:
        item, fill, change = 4, k.const(vec(F32, isa.lanes), 0.0), lambda x: x
    else:
        item = tile.code.itemsize
        p = parameters(k, tile, asymmetric, *_join_parts(k, args, image))
        with k.when(chunk.equals(0)):
            k.store(p.scale, args.scale + image * 4)
            k.store(p.stored_zero, args.zero + image * 4)
        change = quantizer(k, tile, asymmetric, p, isa.lanes)
        fill = p.stored_zero.trunc(I8 if item == 1 else I16).splat(isa.lanes)

    source = args.source + (image * args.image_bytes)
    with k.loop(first, k.smin(first + args.chunk, args.padded_rows)) as rows:
        out = args.out + (image * args.out_image_bytes + rows.index * args.out_row_bytes)
        y = rows.index - args.top
        inside = (y >= 0) & (y < args.copy_rows)
        size = k.select(inside, args.copy_row, k.const(I64, 0))
        before = k.select(inside, args.left, args.padded_row)
        _fill(k, isa, out, k.const(I64, 0), before, item, fill)
        transform(k, isa, source + y * args.row_bytes, size, out + before * item, tile, change)
        _fill(k, isa, out, before + size, args.padded_row, item, fill)
    k.ret()


def _fill(
    k: Builder, isa: Isa, out: Value, start: Value, stop: Value, item: int, fill: Value
) -> None:
    with k.loop(start, stop, isa.lanes) as loop:
        k.store(fill, out + loop.index * item)


def _join_parts(k: Builder, args: SimpleNamespace, image: Value) -> tuple[Value, Value, Value]:
    zero = k.const(F32, 0.0)
    start = args.partial + image * args.parts * 12
    with k.loop(0, args.parts, carry=[zero, zero, zero]) as loop:
        low, high, bad = (k.load(F32, start + loop.index * 12 + 4 * slot) for slot in range(3))
        lowest, highest, worst = loop.carry
        loop.carry = [k.smin(lowest, low), k.smax(highest, high), worst + bad]
    return tuple(loop.carry)  # type: ignore[return-value]


def _emit_repeat(module: Any, item: int) -> None:
    """``repeat(args, tile)``: each of a chunk of elements ``times`` times in a row."""
    k = Builder(module, "repeat", (PTR, I64))
    args = REPEAT.load(k, k.args[0])
    element = {1: I8, 2: I16, 4: I32}[item]
    first = k.args[1] * args.chunk
    with k.loop(first, k.smin(first + args.chunk, args.size)) as outer:
        x = k.load(element, args.source + outer.index * item)
        with k.loop(0, args.times) as inner:
            k.store(x, args.out + (outer.index * args.times + inner.index) * item)
    k.ret()
