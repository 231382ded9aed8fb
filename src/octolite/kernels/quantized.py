"""Convolutions and fully connected layers of codes throughout, exact to the bit.

The sums are those of the hybrid kernels, where all codes of a tensor have one zero point: what it
adds to a sum is known for each channel, and what a sum begins with. A last step makes codes of
them (:mod:`octolite.kernels.requantize`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from octolite.ir.types import INT8, UINT8, Array, DType
from octolite.kernels import jit, pack, requantize
from octolite.kernels.isa import GENERIC, Isa, Tile
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, Launch, Operand
from octolite.kernels.layer import copy_chunk
from octolite.kernels.layers import DotLayer
from octolite.kernels.record import Record
from octolite.kernels.simd import I8, I16, I64, PTR, Builder, Type, Value, lanes_of, vec
from octolite.kernels.spec import Conv2D, Quantized
from octolite.kernels.window import Image, Pair, Window, pixel_starts, tap_starts, window_of

IMAGE = Record(
    source=PTR,  # codes [batch, height, width, channels]
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


def image_unit(source: DType, item: int) -> Unit:
    """``codes_image(args, tile)``: rows of a padded image, codes of ``item`` bytes of such of
    ``source``."""
    element = I8 if item == 1 else I16

    def emit(module: Any, isa: Isa) -> None:
        k = Builder(module, "codes_image", (PTR, I64))
        args = IMAGE.load(k, k.args[0])
        image, first = k.args[1] // args.chunks, k.args[1] % args.chunks * args.chunk
        start = args.source + image * args.image_bytes

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
            line = start + y * args.row_bytes
            _shifted(k, isa, source, line, size, out + before * item, args.shift, element)
            filled(out, before + size, args.padded_row)
        k.ret()

    return Unit(f"codes image {source} {item}", ("codes_image",), emit)


def _shifted(
    k: Builder,
    isa: Isa,
    kind: DType,
    source: Value,
    size: Value,
    out: Value,
    shift: Value,
    element: Type,
) -> None:
    """``out[i] = source[i] + shift``, writing up to a vector more than ``size``."""
    size_in, size_out = kind.numpy.itemsize, element.width // 8
    read = I8 if size_in == 1 else I16
    start = k.const(I64, 0)

    def put(x: Value, at: Value) -> None:
        if size_in < size_out:
            x = x.zext(element) if kind is UINT8 else x.sext(element)
        moved = x + shift.trunc(element).splat(lanes_of(x.type))
        k.store(moved, out + at * size_out)

    for lanes in (4 * isa.lanes, isa.lanes):
        stop = size // lanes * lanes
        with k.loop(start, stop, lanes) as loop:
            put(k.load(vec(read, lanes), source + loop.index * size_in), loop.index)
        start = stop
    with k.loop(start, size) as tail:
        x = k.load(read, source + tail.index * size_in)
        put(x, tail.index)


def tile_for(dtype: DType, isa: Isa) -> Tile | None:
    """``None``: the tiles for bytes do. Weights with a zero point, and activations of 16 bits, have
    outgrown them."""
    if dtype is INT8:
        return None
    return isa.words or GENERIC.words


class QuantizedLayer(DotLayer):
    """A convolution or fully connected layer of codes.

    ``weights``: codes [channels, taps, depth]; ``bias``: integers [channels].
    """

    request: Conv2D

    def __init__(self, request: Quantized, isa: Isa, weights: Array, bias: Array | None) -> None:
        conv = request.layer
        assert isinstance(conv, Conv2D)
        if request.weight_zero:
            weights = weights.astype(np.int16) - np.int16(request.weight_zero)
        super().__init__(conv, isa, weights, None, None, tile_for(request.dtype, isa))
        self.label = self.label.replace("hybrid", "integer", 1)
        self.codes = request
        self.ending = requantize.Ending.of(request.result)
        self._bias = np.zeros(self.channels, np.int64) if bias is None else bias.astype(np.int64)
        self._totals = weights.sum(axis=(1, 2), dtype=np.int64)

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
        if self.codes.flat:
            shape, output_hw = (1, 1, *input_shape), (1, input_shape[0])
        window = window_of(self.request, shape, padding, output_hw)
        pixels = shape[0] * math.prod(window.output)
        out_shape = (shape[0], *window.output, self.channels)
        launch = Launch(out_shape[2:] if self.codes.flat else out_shape, pixels * self.work)
        if 0 in out_shape:
            return launch
        data, tile = self._products(pixels)
        image = self._image(launch, tile, window, threads)
        item = tile.code.itemsize
        self._dot(
            launch,
            image,
            pixel_starts(window, image, item),
            np.zeros(pixels, np.int64),
            tap_starts(self.request, image.row_bytes, item),
            threads,
            (data, tile),
            ending=self.ending,
            codes=self._operands(tile),
        )
        return launch

    def _shift(self, tile: Tile) -> int:
        """What is added to a code where ``tile`` reads it."""
        return -self.codes.zero if tile.centred else tile.offset

    def _operands(self, tile: Tile) -> dict[str, Operand]:
        """Sums begin with the bias, less what the zero point of the codes as they are read adds."""
        start = self._bias - (self.codes.zero + self._shift(tile)) * self._totals

        def spread(values: Array, dtype: np.dtype[Any]) -> Array:
            return pack.spread(tile, values, self.request.groups, dtype)

        return requantize.operands(self.codes.result, start, spread)

    def _image(self, launch: Launch, tile: Tile, window: Window, threads: int) -> Image:
        """The image as it is, where the tile can read it; or a copy in codes of the tile, the zero
        point around it."""
        _, height, width, channels = window.shape
        given, item, shift = self.codes.dtype.numpy.itemsize, tile.code.itemsize, self._shift(tile)
        whole = self.depth % tile.depth == 0  # or steps would read beyond the last pixel
        if window.inside and whole and given == item and shift == 0:
            return Image(INPUT, height * width * channels * item, width * channels * item)
        return copied(launch, self.isa, self.codes, window, item, shift, threads)


def copied(
    launch: Launch,
    isa: Isa,
    request: Quantized,
    window: Window,
    item: int,
    shift: int,
    threads: int,
) -> Image:
    """A copy of the image in codes of ``item`` bytes, ``shift`` added, the zero point around it."""
    batch, height, width, channels = window.shape
    (rows, columns), (top, left) = window.padded, window.padding
    given = request.dtype.numpy.itemsize
    row_bytes = pack.round_up((columns * channels + 4 * isa.lanes) * item, 64)
    out = launch.reserve(batch * rows * row_bytes + 64)
    chunk = copy_chunk(rows, columns * channels, threads)
    chunks = -(-rows // chunk)
    launch.add(
        "codes",
        jit.load(image_unit(request.dtype, item), isa)["codes_image"],
        IMAGE,
        batch * chunks,
        source=INPUT,
        image_bytes=height * width * channels * given,
        row_bytes=width * channels * given,
        copy_rows=max(0, min(height, rows - top)),
        copy_row=max(0, min(width, columns - left)) * channels,
        top=top,
        left=min(left, columns) * channels,
        padded_rows=rows,
        padded_row=columns * channels,
        out=out,
        out_image_bytes=rows * row_bytes,
        out_row_bytes=row_bytes,
        shift=shift,
        fill=request.zero + shift,
        chunk=chunk,
        chunks=chunks,
    )
    return Image(out, rows * row_bytes, row_bytes)
