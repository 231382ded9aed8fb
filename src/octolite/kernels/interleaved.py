"""Depthwise convolution of int8 codes where a machine adds up products of neighbours.

The taps of a column of the window are brought side by side: as many rows of the image as a step of
the tile is deep are interleaved, channel by channel, and one step multiplies them by as many
weights. Windows of neighbouring output pixels share columns. A copy of the image has the zero
point around it, so that every window is whole; what is left over of a row, and of the channels, is
computed together with what is before it, once more.

Rows are interleaved within 128 bits, where that is cheap. A vector of sums then holds every
``depth``-th group of 4 channels, which the tables follow and the codes are put right from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from octolite.ir.types import INT8, Array
from octolite.kernels import jit, pack, requantize
from octolite.kernels.isa import Isa, Tile
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, Launch
from octolite.kernels.quantized import copied
from octolite.kernels.record import Record
from octolite.kernels.simd import I8, I16, I32, I64, PTR, Builder, Value, lanes_of, vec
from octolite.kernels.spec import DepthwiseConv2D, Quantized
from octolite.kernels.window import Image, Pair, window_of

ARGS = Record(
    a=PTR,  # codes [batch, height, width, channels], every window inside
    image_bytes=I64,
    row_bytes=I64,
    tap_bytes=I64,  # from one row of taps to the next
    stride_h=I64,
    weights=PTR,  # [blocks of channels, groups of tap rows, columns], as Step has them
    block_bytes=I64,
    out=PTR,  # codes [batch, rows, columns, channels]
    channels=I64,
    blocks=I64,
    rows=I64,
    columns=I64,
    **requantize.FIELDS,  # the tables are [blocks of channels, channels of a block]
)

# Columns of a window, and from one window to the next, up to which the code is laid out for them.
WIDEST = 8


@dataclass(frozen=True)
class Step:
    """How a tile is used: so many ``rows`` side by side, in ``vectors`` of sums."""

    tile: Tile

    @property
    def rows(self) -> int:
        return self.tile.depth

    vectors = rows

    @property
    def channels(self) -> int:
        """Of a block."""
        return self.tile.lanes * self.vectors

    @property
    def pixels(self) -> int:
        """Whose sums find a register each, where there are 16 or 32."""
        return 2 if self.tile.lanes == 8 and self.rows == 4 else 4

    def order(self) -> Array:
        """The channel of each sum, as they lie in the vectors."""
        parts = self.channels // (4 * self.rows)  # of 128 bits
        order = np.arange(self.channels).reshape(parts, self.vectors, 4)
        return order.transpose(1, 0, 2).reshape(-1)


def step_for(isa: Isa) -> Step | None:
    """What products of bytes, or else of int16 pairs, are there."""
    tile = isa.dot if isa.dot.depth == 4 else isa.words
    return None if tile is None else Step(tile)


@dataclass(frozen=True)
class Form:
    """What the code depends on: extents of the window, and pixels that are computed together."""

    kernel: Pair
    stride: int
    dilation: int
    pixels: int

    @property
    def columns(self) -> int:
        """That the windows of these pixels see."""
        return (self.pixels - 1) * self.stride + (self.kernel[1] - 1) * self.dilation + 1


def unit(step: Step, form: Form, ending: requantize.Ending) -> Unit:
    """``interleaved(args, tile)``: one row of output pixels."""

    def emit(module: Any, isa: Isa) -> None:
        k = Builder(module, "interleaved", (PTR, I64))
        args = ARGS.load(k, k.args[0])
        image, y = k.args[1] // args.rows, k.args[1] % args.rows
        line = args.a + image * args.image_bytes + y * args.stride_h * args.row_bytes
        out = args.out + k.args[1] * args.columns * args.channels
        with k.loop(0, args.blocks) as blocks:
            c = k.smin(blocks.index * step.channels, args.channels - step.channels)
            weights = args.weights + blocks.index * args.block_bytes
            with k.loop(0, args.columns, form.pixels) as columns:
                x = k.smin(columns.index, args.columns - form.pixels)
                at = line + x * form.stride * args.channels + c
                table = blocks.index * step.channels
                sums = _sums(k, step, form, args, at, weights, table)
                for p, line_sums in enumerate(sums):
                    codes = requantize.codes(k, isa, ending, args, table, line_sums)
                    k.store(_in_order(step, codes), out + (x + p) * args.channels + c)
        k.ret()

    return Unit(f"interleaved {step.tile.name} {form} {ending}", ("interleaved",), emit)


def _sums(
    k: Builder, step: Step, form: Form, args: Any, at: Value, weights: Value, table: Value
) -> list[list[Value]]:
    """The sums [pixel][vector] of a block of channels, the first window's first tap ``at``."""
    tile, lanes = step.tile, step.tile.lanes
    start = [
        k.load(vec(I32, lanes), args.start + (table + v * lanes) * 4) for v in range(step.vectors)
    ]
    sums = [list(start) for _ in range(form.pixels)]
    height, width = form.kernel
    size = 4 * lanes  # bytes of a vector of weights
    for first in range(0, height, step.rows):
        rows = [at + args.tap_bytes * r for r in range(first, min(first + step.rows, height))]
        group = weights + first // step.rows * width * step.vectors * size
        for column in range(form.columns):
            uses = [
                (p, tap)
                for p in range(form.pixels)
                for tap in range(width)
                if p * form.stride + tap * form.dilation == column
            ]
            if not uses:
                continue
            a = _interleaved(k, step, [row + args.channels * column for row in rows])
            for p, tap in uses:
                for v in range(step.vectors):
                    b = tile.load_b(k, group + (tap * step.vectors + v) * size)
                    sums[p][v] = tile.emit(k, sums[p][v], a[v], b)
    return sums


def _interleaved(k: Builder, step: Step, rows: list[Value]) -> list[Value]:
    """Codes of a pixel of each row, side by side; rows that are missing are zeros."""
    codes = [k.load(vec(I8, step.channels), row) for row in rows]
    if step.rows == 2:
        codes = [x.sext(I16) for x in codes]
    codes += [k.const(codes[0].type, 0)] * (step.rows - len(codes))
    if step.rows == 2:
        return _zipped(*codes)
    first, second = _zipped(codes[0], codes[1]), _zipped(codes[2], codes[3])
    words = vec(I16, step.channels // 2)
    pairs = zip(first, second, strict=True)
    return [z for a, b in pairs for z in _zipped(a.bits(words), b.bits(words))]


def _zipped(a: Value, b: Value) -> list[Value]:
    """Elements of both by turns: of the lower and of the upper half of each 128 bits."""
    lanes = lanes_of(a.type)
    part = 128 // a.type.element.width
    return [
        a.pick(
            [
                side + start + i
                for start in range(half, lanes, part)
                for i in range(part // 2)
                for side in (0, lanes)
            ],
            b,
        )
        for half in (0, part // 2)
    ]


def _in_order(step: Step, codes: Value) -> Value:
    """Codes of vectors one behind the other, 4 channels moving as one."""
    groups = step.channels // 4
    parts = groups // step.vectors
    order = [v * parts + j for j in range(parts) for v in range(step.vectors)]
    return codes.bits(vec(I32, groups)).pick(order).bits(codes.type)


# Layer -------------------------------------------------------------------------------------


def suits(request: Quantized, isa: Isa) -> bool:
    """Whether a layer is one of int8 codes, with enough channels and windows that are not wide."""
    layer, step = request.layer, step_for(isa)
    return (
        isinstance(layer, DepthwiseConv2D)
        and step is not None
        and (request.dtype, request.result.dtype) == (INT8, INT8)
        and layer.multiplier == 1
        and layer.in_channels >= step.channels
        and max(*layer.kernel, layer.stride[1]) <= WIDEST
    )


class InterleavedLayer:
    """A depthwise convolution of int8 codes. ``weights``: codes [1, kh, kw, channels]."""

    def __init__(self, request: Quantized, isa: Isa, weights: Array, bias: Array | None) -> None:
        layer, step = request.layer, step_for(isa)
        assert isinstance(layer, DepthwiseConv2D)
        assert step is not None
        self.request, self.layer, self.isa, self.step = request, layer, isa, step
        self.label = f"integer depthwise {step.tile.name} {isa.name}"
        self.channels = channels = layer.in_channels
        self.shift = step.tile.offset
        blocks = -(-channels // step.channels)
        first = np.minimum(np.arange(blocks) * step.channels, channels - step.channels)
        index = first[:, None] + step.order()
        self.weights = self._packed(weights[0], index)
        start = -(request.zero + self.shift) * weights.sum(axis=(0, 1, 2), dtype=np.int64)
        if bias is not None:
            start = start + bias.astype(np.int64)

        def spread(values: Array, dtype: np.dtype[Any]) -> Array:
            out = pack.aligned(index.shape, dtype)
            out[...] = values[index]
            return out

        self.operands = requantize.operands(request.result, start, spread)
        self.ending = requantize.Ending.of(request.result)

    def _packed(self, weights: Array, index: Array) -> Array:
        """[blocks, groups of rows, columns, vectors, lanes, rows]."""
        rows, lanes, vectors = self.step.rows, self.step.tile.lanes, self.step.vectors
        height, width, channels = weights.shape
        full = np.zeros((pack.round_up(height, rows), width, channels), self.step.tile.weight)
        full[:height] = weights
        taken = full.reshape(-1, rows, width, channels)[..., index]
        ordered = taken.reshape(-1, rows, width, len(index), vectors, lanes)
        shape = (len(index), len(full) // rows, width, vectors, lanes, rows)
        out = pack.aligned(shape, self.step.tile.weight)
        out[...] = ordered.transpose(3, 0, 2, 4, 5, 1)
        return out

    def launch(
        self,
        input_shape: tuple[int, ...],
        padding: Pair = (0, 0),
        output_hw: Pair | None = None,
        threads: int = 1,
    ) -> Launch:
        """Lay the convolution out; see :meth:`octolite.kernels.layers.ConvLayer.launch`."""
        window = window_of(self.layer, input_shape, padding, output_hw)
        batch, height, width, channels = window.shape
        rows, columns = window.output
        launch = Launch((batch, rows, columns, channels), 0)
        if 0 in launch.output_shape:
            return launch
        launch.macs = math.prod(launch.output_shape) * math.prod(window.kernel)
        image = Image(INPUT, height * width * channels, width * channels)
        if self.shift or not window.inside:
            image = copied(launch, self.isa, self.request, window, 1, self.shift, threads)
        pixels = self.step.pixels if columns >= self.step.pixels else 1
        form = Form(window.kernel, window.stride[1], window.dilation[1], pixels)
        launch.add(
            self.label,
            jit.load(unit(self.step, form, self.ending), self.isa)["interleaved"],
            ARGS,
            batch * rows,
            a=image.place,
            image_bytes=image.image_bytes,
            row_bytes=image.row_bytes,
            tap_bytes=image.row_bytes * window.dilation[0],
            stride_h=window.stride[0],
            weights=self.weights,
            block_bytes=self.weights.nbytes // len(self.weights),
            out=OUTPUT,
            channels=channels,
            blocks=len(self.weights),
            rows=rows,
            columns=columns,
            **self.operands,
        )
        return launch
