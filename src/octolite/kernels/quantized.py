"""Convolutions and fully connected layers of int8 codes throughout, exact to the bit.

The sums are those of the hybrid kernels, with one scale of 1 for everything: integers under 2²⁴,
which float32 holds (the request vouches for that). A last step adds the bias and makes codes of
them as ``ir.fixed_point`` says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from octolite.ir.fixed_point import Multiplier
from octolite.ir.types import Array
from octolite.kernels import jit
from octolite.kernels.isa import Isa, Tile
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, NOWHERE, OUTPUT, Launch
from octolite.kernels.layer import copy_chunk
from octolite.kernels.layers import ConvLayer
from octolite.kernels.pack import channel_lines, round_up
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, F64, I8, I16, I32, I64, PTR, Builder, Value, vec
from octolite.kernels.spec import Conv2D, QuantizedConv2D
from octolite.kernels.window import Image, Pair, Window, pixel_starts, tap_starts, window_of

IMAGE = Record(
    source=PTR,  # int8 [batch, height, width, channels]
    image_bytes=I64,
    row_bytes=I64,
    copy_rows=I64,  # rows and elements of a row that are kept
    copy_row=I64,
    top=I64,  # rows above, elements before
    left=I64,
    padded_rows=I64,  # rows and elements of a row of the result
    padded_row=I64,
    out=PTR,
    out_image_bytes=I64,
    out_row_bytes=I64,
    shift=I64,  # added to each code
    fill=I64,  # what is around the image
    chunk=I64,  # rows of a tile
    chunks=I64,
)

RESULTS = Record(
    sums=PTR,  # float32 [rows, channels]: whole numbers
    out=PTR,  # int8 [rows, channels]
    bias=PTR,  # int32 [channels], as are the next three int64, padded to whole vectors
    mantissa=PTR,
    left=PTR,
    right=PTR,
    factor=PTR,  # float64 [channels]  (in place of the last three, where it is real)
    zero=I64,
    low=I64,
    high=I64,
    channels=I64,
    rows=I64,
    chunk=I64,  # rows of a tile
)


def image_unit(tile: Tile) -> Unit:
    """``codes_image(args, tile)``: rows of a padded image, as ``tile`` reads codes."""
    item = tile.code.itemsize
    element = I8 if item == 1 else I16

    def emit(module: Any, isa: Isa) -> None:
        k = Builder(module, "codes_image", (PTR, I64))
        args = IMAGE.load(k, k.args[0])
        image, first = k.args[1] // args.chunks, k.args[1] % args.chunks * args.chunk
        source = args.source + image * args.image_bytes

        def filled(out: Value, start: Value, stop: Value) -> None:
            fill = args.fill.trunc(element).splat(isa.lanes)
            with k.loop(start, stop, isa.lanes) as loop:
                k.store(fill, out + loop.index * item)

        with k.loop(first, k.smin(first + args.chunk, args.padded_rows)) as rows:
            out = args.out + (image * args.out_image_bytes + rows.index * args.out_row_bytes)
            y = rows.index - args.top
            inside = (y >= 0) & (y < args.copy_rows)
            size = k.select(inside, args.copy_row, k.const(I64, 0))
            before = k.select(inside, args.left, args.padded_row)
            filled(out, k.const(I64, 0), before)
            _shifted(k, isa, source + y * args.row_bytes, size, out + before * item, args, tile)
            filled(out, before + size, args.padded_row)
        k.ret()

    return Unit(f"codes image {tile.code}", ("codes_image",), emit)


def _shifted(
    k: Builder, isa: Isa, source: Value, size: Value, out: Value, args: Any, tile: Tile
) -> None:
    """``out[i] = source[i] + shift``, writing up to a vector more than ``size``."""
    item = tile.code.itemsize
    element = I8 if item == 1 else I16
    start = k.const(I64, 0)

    def put(x: Value, at: Value, lanes: int) -> None:
        wide = x if item == 1 else x.sext(element)
        k.store(wide + args.shift.trunc(element).splat(lanes), out + at * item)

    for lanes in (4 * isa.lanes, isa.lanes):
        stop = size // lanes * lanes
        with k.loop(start, stop, lanes) as loop:
            put(k.load(vec(I8, lanes), source + loop.index), loop.index, lanes)
        start = stop
    with k.loop(start, size, isa.lanes) as tail:
        mask = k.first(size - tail.index, isa.lanes)
        put(k.load_first(vec(I8, isa.lanes), source + tail.index, mask), tail.index, isa.lanes)


def results_unit(real: bool) -> Unit:
    """``results(args, tile)``: codes of a chunk of rows of sums. ``real``: by a float64 factor,
    otherwise in fixed point."""

    def emit(module: Any, isa: Isa) -> None:
        k = Builder(module, "results", (PTR, I64))
        args = RESULTS.load(k, k.args[0])
        lanes = isa.lanes
        first = k.args[1] * args.chunk
        scaled = _real if real else _fixed

        def codes(sums: Value, at: Value) -> Value:
            whole = sums.to_int(I32) + k.load(vec(I32, lanes), args.bias + at * 4)
            moved = scaled(k, args, whole, at, lanes) + args.zero.splat(lanes)
            within = k.smin(k.smax(moved, args.low.splat(lanes)), args.high.splat(lanes))
            return within.trunc(I8)

        with k.loop(first, k.smin(first + args.chunk, args.rows)) as rows:
            start = rows.index * args.channels
            sums, out = args.sums + start * 4, args.out + start
            whole = args.channels // lanes * lanes
            with k.loop(0, whole, lanes) as loop:
                x = k.load(vec(F32, lanes), sums + loop.index * 4)
                k.store(codes(x, loop.index), out + loop.index)
            with k.when(whole < args.channels):
                mask = k.first(args.channels - whole, lanes)
                x = k.load_first(vec(F32, lanes), sums + whole * 4, mask)
                k.store_first(codes(x, whole), out + whole, mask)
        k.ret()

    return Unit(f"codes of sums real={real}", ("results",), emit)


def _fixed(k: Builder, args: Any, x: Value, at: Value, lanes: int) -> Value:
    """:class:`~octolite.ir.fixed_point.Multiplier` of int32, as int64."""
    wide = vec(I64, lanes)
    mantissa, left, right = (
        k.load(wide, table + at * 8) for table in (args.mantissa, args.left, args.right)
    )
    moved = (x.sext(I64) << left).trunc(I32).sext(I64)
    product = (moved * mantissa + (1 << 30)) >> 31
    mask = (k.const(wide, 1) << right) - 1
    threshold = (mask >> 1) + (product < 0).zext(I64)
    return (product >> right) + ((product & mask) > threshold).zext(I64)


def _real(k: Builder, args: Any, x: Value, at: Value, lanes: int) -> Value:
    """The product in float64, halves away from zero, as int64."""
    value = x.to_float(F64) * k.load(vec(F64, lanes), args.factor + at * 8)
    negative = value < 0.0
    size = k.smin(k.select(negative, k.const(value.type, 0.0) - value, value), 2.0**31)
    whole = size.to_int(I64)
    nearest = whole + ((size - whole.to_float(F64)) >= 0.5).zext(I64)
    return k.select(negative, k.const(nearest.type, 0) - nearest, nearest)


class SumsLayer(ConvLayer):
    """Exact sums, in float32, of codes of one zero point: the inside of a quantized layer."""

    def __init__(self, request: Conv2D, isa: Isa, weights: Array, zero: int) -> None:
        super().__init__(request, isa, weights, None, None)
        self.zero = zero

    def launch(
        self,
        input_shape: tuple[int, ...],
        padding: Pair = (0, 0),
        output_hw: Pair | None = None,
        threads: int = 1,
    ) -> Launch:
        window = window_of(self.request, input_shape, padding, output_hw)
        pixels = input_shape[0] * int(np.prod(window.output))
        out_shape = (input_shape[0], *window.output, self.channels)
        launch = Launch(out_shape, pixels * self.work)
        if 0 in out_shape:
            return launch
        products = self._products(pixels)
        tile = products[1]
        image = self._codes(launch, tile, window, threads)
        item = tile.code.itemsize
        starts = pixel_starts(window, image, item)
        row_of = np.repeat(np.arange(input_shape[0]), pixels // input_shape[0])
        taps = tap_starts(self.request, image.row_bytes, item)
        self._dot(launch, image, starts, row_of, taps, threads, products)
        return launch

    def _codes(self, launch: Launch, tile: Tile, window: Window, threads: int) -> Image:
        """A copy of the image in the codes of ``tile``, the zero point around it."""
        batch, height, width, channels = window.shape
        (rows, columns), (top, left) = window.padded, window.padding
        item = tile.code.itemsize
        row_bytes = round_up((columns * channels + self.isa.lanes) * item, 64)
        out = launch.reserve(batch * rows * row_bytes + 64)
        chunk = copy_chunk(rows, columns * channels, threads)
        chunks = -(-rows // chunk)
        launch.add(
            "codes",
            jit.load(image_unit(tile), self.isa)["codes_image"],
            IMAGE,
            batch * chunks,
            source=INPUT,
            image_bytes=height * width * channels,
            row_bytes=width * channels,
            copy_rows=max(0, min(height, rows - top)),
            copy_row=max(0, min(width, columns - left)) * channels,
            top=top,
            left=min(left, columns) * channels,
            padded_rows=rows,
            padded_row=columns * channels,
            out=out,
            out_image_bytes=rows * row_bytes,
            out_row_bytes=row_bytes,
            shift=-self.zero if tile.centred else tile.offset,
            fill=0 if tile.centred else self.zero + tile.offset,
            chunk=chunk,
            chunks=chunks,
        )
        scale = np.ones(batch, np.float32)
        stored = np.full(batch, self.zero + tile.offset, np.int32)
        zero = NOWHERE if tile.centred else stored
        return Image(out, rows * row_bytes, row_bytes, scale, zero)


class QuantizedLayer:
    """Sums of int8 codes, made codes again."""

    def __init__(
        self,
        request: QuantizedConv2D,
        isa: Isa,
        weights: Array,
        bias: Array | None,
        scale: Array,
    ) -> None:
        self.request, self.isa = request, isa
        self.inner = SumsLayer(request.conv, isa, weights, request.zero)
        self.label = self.inner.label.replace("hybrid", "integer", 1)
        channels = request.conv.out_channels
        each = np.broadcast_to(np.asarray(scale, np.float64), (channels,))
        factor = request.scale * each / request.result_scale
        multiplier = Multiplier.of(factor)

        def line(values: Array, dtype: type[np.generic]) -> Array:
            return channel_lines(values, isa.lanes, np.dtype(dtype))

        self.tables = {
            "bias": line(np.zeros(channels) if bias is None else bias, np.int32),
            "mantissa": line(multiplier.mantissa, np.int64),
            "left": line(np.maximum(multiplier.shift, 0), np.int64),
            "right": line(np.maximum(-multiplier.shift, 0), np.int64),
            "factor": line(factor, np.float64),
        }

    def launch(
        self,
        input_shape: tuple[int, ...],
        padding: Pair = (0, 0),
        output_hw: Pair | None = None,
        threads: int = 1,
    ) -> Launch:
        """Lay the layer out for ``input_shape`` [batch, height, width, channels], or [rows, depth]
        where the request is ``flat``."""
        shape = input_shape
        if self.request.flat:
            shape, output_hw = (1, 1, *input_shape), (1, input_shape[0])
        inner = self.inner.launch(shape, padding, output_hw, threads)
        out_shape = inner.output_shape
        launch = Launch(out_shape[2:] if self.request.flat else out_shape, 0)
        if 0 in out_shape:
            return launch
        channels = out_shape[3]
        rows = int(np.prod(out_shape[:3]))
        sums = launch.reserve(rows * channels * 4)
        launch.include(inner, input0=INPUT, output0=sums)
        chunk = copy_chunk(rows, channels, threads)
        launch.add(
            "codes of sums",
            jit.load(results_unit(self.request.real), self.isa)["results"],
            RESULTS,
            -(-rows // chunk),
            sums=sums,
            out=OUTPUT,
            zero=self.request.result_zero,
            low=self.request.low,
            high=self.request.high,
            channels=channels,
            rows=rows,
            chunk=chunk,
            **self.tables,
        )
        return launch
