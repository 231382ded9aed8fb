"""Depthwise convolution: every channel by its own window, no sums across channels.

Channels lie side by side in memory, so a vector holds as many channels; the window's taps are
the only sum. Neighbouring output pixels away from the border are computed together and share the
loads of weights and of overlapping columns; at the border, windows are cut to the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from octolite.ir.types import Array
from octolite.kernels import jit, pack, prepare
from octolite.kernels.dot import activate, rescale
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, Launch, Place
from octolite.kernels.layer import COPY_TILE, Layer
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I8, I16, I32, I64, PTR, Builder, Value, vec
from octolite.kernels.spec import DepthwiseConv2D
from octolite.kernels.window import Image, Pair, Window, window_of

ARGS = Record(
    a=PTR,  # image: float32, or codes with their padding [batch, height, width, channels]
    image_bytes=I64,
    row_bytes=I64,
    pixel_bytes=I64,
    height=I64,
    width=I64,
    top=I64,  # rows above and columns left of the image
    left=I64,
    kernel_h=I64,
    kernel_w=I64,
    stride_h=I64,
    stride_w=I64,
    dilation_h=I64,
    dilation_w=I64,
    inner_first=I64,  # output columns whose windows do not reach over a border
    inner_last=I64,
    weights=PTR,  # [kernel_h, kernel_w, padded channels]: float32, or int16 codes
    weight_bytes=I64,  # from tap to tap
    scale=PTR,  # float32 [padded channels]        (hybrid only, as are the next three)
    total=PTR,  # int32 [padded channels]
    row_scale=PTR,  # float32 [batch]
    row_zero=PTR,  # int32 [batch], of the stored code
    bias=PTR,  # float32 [padded channels]
    out=PTR,  # float32 [batch, rows, columns, channels]
    channels=I64,
    channel_chunk=I64,  # channels of a row that are gone through before the next ones
    rows=I64,
    columns=I64,
    low=F32,
    high=F32,
)

# Output pixels that are computed together, and the widest window (and stride) for which they are;
# vectors of channels that are, where a pixel is computed alone.
PIXELS = 4
WIDEST = 8
VECTORS = 4
# Blocks between what is computed and what is fetched for later.
AHEAD = 2
# Weights that pixels of a row share before the next are read.
_KEPT = 2304


def unit(hybrid: bool, curved: bool, width: int, stride: int, dilation: int) -> Unit:
    """The kernel for windows of ``width`` columns, with their stride and dilation along a row."""
    block = (width, stride, dilation) if max(width, stride) <= WIDEST else None

    def emit(module: Any, isa: Isa) -> None:
        if block is not None:
            _emit_inner(module, isa, hybrid, curved, *block)
        _emit_edge(module, isa, hybrid, curved)
        _emit_row(module, block is not None)

    return Unit(f"depthwise hybrid={hybrid} tanh={curved} {block}", ("depthwise",), emit)


def _taps(
    k: Builder, start: Value, size: Value, kernel: Value, dilation: Value
) -> tuple[Value, Value]:
    """The taps of a window that starts at ``start`` which are within 0…size."""

    def first_at(distance: Value) -> Value:
        return (k.smax(distance, 0) + dilation - 1) // dilation

    first = first_at(k.const(I64, 0) - start)
    return first, k.smin(first_at(size - start), kernel)


def _emit_row(module: Any, blocks: bool) -> None:
    """``depthwise(args, tile)``: one row of output pixels."""
    k = Builder(module, "depthwise", (PTR, I64))
    address, row = k.args
    args = ARGS.load(k, address)
    image = row // args.rows
    y = row % args.rows * args.stride_h - args.top
    first, last = _taps(k, y, args.height, args.kernel_h, args.dilation_h)
    top = (y + first * args.dilation_h) * args.row_bytes
    line = args.a + image * args.image_bytes + top
    weights = args.weights + first * args.kernel_w * args.weight_bytes
    out = args.out + row * args.columns * args.channels * 4

    def call(name: str, column: Value, channels: tuple[Value, Value]) -> None:
        x = column * args.stride_w - args.left
        at, to = line + x * args.pixel_bytes, out + column * args.channels * 4
        taps = _taps(k, x, args.width, args.kernel_w, args.dilation_w)
        values = [address, image, at, weights, to, last - first, *taps, *channels]
        k.ir.call(k.module.globals[name], [v.raw for v in values])

    left, right = args.inner_first, args.inner_last
    whole = (right - left) // PIXELS * PIXELS if blocks else k.const(I64, 0)
    with k.loop(0, args.channels, args.channel_chunk) as loop:
        channels = loop.index, k.smin(loop.index + args.channel_chunk, args.channels)
        with k.loop(0, left) as columns:
            call("edge", columns.index, channels)
        if blocks:
            with k.loop(left, left + whole, PIXELS) as columns:
                call("inner", columns.index, channels)
        with k.loop(left + whole, args.columns) as columns:
            call("edge", columns.index, channels)
    k.ret()


# The blocks take: args, image, where the first tap row of the window starts, the weights of that
# tap row, where to put the result, tap rows, the first and last tap of a row, and channels from
# where to where.
_BLOCK = (PTR, I64, PTR, PTR, PTR, I64, I64, I64, I64, I64)


def _emit_inner(
    module: Any, isa: Isa, hybrid: bool, curved: bool, width: int, stride: int, dilation: int
) -> None:
    """``inner``: ``PIXELS`` output pixels, all taps of each row of the window."""

    def add_row(block: _Block, at: Value, w_at: Value, sums: list[Value]) -> list[Value]:
        weights = [block.load_w(w_at + block.args.weight_bytes * tap) for tap in range(width)]
        columns: dict[int, Value] = {}
        for tap in range(width):
            for p in range(PIXELS):
                column = p * stride + tap * dilation
                if column not in columns:
                    columns[column] = block.load_a(at + block.args.pixel_bytes * column)
                sums[p] = block.add(sums[p], columns[column], weights[tap])
        if stride > 1:  # few rows are read again, so most come from far
            for column in range(PIXELS * stride * AHEAD, PIXELS * stride * (AHEAD + 1)):
                block.k.prefetch(at + block.args.pixel_bytes * column)
        return sums

    _Block(module, isa, "inner", hybrid, curved).emit(PIXELS, add_row)


def _emit_edge(module: Any, isa: Isa, hybrid: bool, curved: bool) -> None:
    """``edge``: one output pixel, the taps that it is told. One vector would wait for its sum."""

    def add_row(block: _Block, at: Value, w_at: Value, sums: list[Value]) -> list[Value]:
        step = block.args.pixel_bytes * block.args.dilation_w
        with block.k.loop(block.first_tap, block.last_tap, carry=sums) as loop:
            x_at, tap = at + loop.index * step, w_at + loop.index * block.args.weight_bytes
            for v, acc in enumerate(loop.carry):
                x = block.load_a(x_at + block.a_bytes * v)
                loop.carry[v] = block.add(acc, x, block.load_w(tap + block.w_bytes * v))
        return loop.carry

    _Block(module, isa, "edge", hybrid, curved).emit(1, add_row, VECTORS)


class _Block:
    """A block under construction: how it loads, sums and finishes."""

    def __init__(self, module: Any, isa: Isa, name: str, hybrid: bool, curved: bool) -> None:
        self.k = k = Builder(module, name, _BLOCK, local=True)
        address, self.image, self.a, self.w, self.out, self.tap_rows, *ranges = k.args
        self.first_tap, self.last_tap, self.first_channel, self.last_channel = ranges
        self.args: SimpleNamespace = ARGS.load(k, address)
        self.isa, self.hybrid, self.curved = isa, hybrid, curved
        self.real, self.whole = vec(F32, isa.lanes), vec(I32, isa.lanes)
        self.a_bytes = isa.lanes * (isa.dot.code.itemsize if hybrid else 4)  # of a vector
        self.w_bytes = isa.lanes * (2 if hybrid else 4)
        self.mask: Value | None = None
        if hybrid:
            self.scale = k.load(F32, self.args.row_scale + self.image * 4)
            self.zero = k.load(I32, self.args.row_zero + self.image * 4)

    def load_a(self, at: Value) -> Value:
        if not self.hybrid:  # a float image may end with its last pixel; codes have slack
            if self.mask is None:
                return self.k.load(self.real, at)
            return self.k.load_first(self.real, at, self.mask)
        tile = self.isa.dot
        element = I8 if tile.code.itemsize == 1 else I16
        codes = self.k.load(vec(element, self.isa.lanes), at)
        return codes.zext(I32) if tile.offset else codes.sext(I32)

    def load_w(self, at: Value) -> Value:
        if not self.hybrid:
            return self.k.load(self.real, at)
        return self.k.load(vec(I16, self.isa.lanes), at).sext(I32)

    def add(self, acc: Value, x: Value, w: Value) -> Value:
        return acc + x * w if self.hybrid else self.k.fma(x, w, acc)

    def emit(
        self,
        pixels: int,
        add_row: Callable[[_Block, Value, Value, list[Value]], list[Value]],
        together: int = 1,
    ) -> None:
        """All channels, by so many vectors together, single vectors, and then what is left."""
        k, lanes = self.k, self.isa.lanes
        done, last = self.first_channel, self.last_channel
        for vectors in sorted({together, 1}, reverse=True):
            step = lanes * vectors
            stop = done + (last - done) // step * step
            with k.loop(done, stop, step) as loop:
                self._vectors(pixels, vectors, add_row, loop.index)
            done = stop
        with k.when(done < last):
            self.mask = k.first(last - done, lanes)
            self._vectors(pixels, 1, add_row, done)
        k.ret()

    def _vectors(
        self, pixels: int, vectors: int, add_row: Callable[..., list[Value]], c: Value
    ) -> None:
        """The sums [pixel, vector], flat, from channel ``c`` on."""
        k, args, lanes = self.k, self.args, self.isa.lanes
        start = [k.const(self.whole if self.hybrid else self.real, 0)] * (pixels * vectors)
        with k.loop(0, self.tap_rows, carry=start) as rows:
            row = rows.index * args.dilation_h * args.row_bytes
            taps = rows.index * args.kernel_w * args.weight_bytes
            at = self.a + row + c // lanes * self.a_bytes
            w_at = self.w + taps + c // lanes * self.w_bytes
            rows.carry = add_row(self, at, w_at, list(rows.carry))
        for slot, acc in enumerate(rows.carry):
            channel = c + slot % vectors * lanes
            at = self.out + (args.channels * (slot // vectors) + channel) * 4
            result = self._finish(acc, channel)
            if self.mask is None:
                k.store(result, at)
            else:
                k.store_first(result, at, self.mask)

    def _finish(self, acc: Value, c: Value) -> Value:
        k, args = self.k, self.args
        if self.hybrid:
            result = rescale(k, args, c * 4, acc, self.scale, self.zero)
        else:
            result = acc + k.load(self.real, args.bias + c * 4)
        return activate(k, args, result, self.curved)


# Layer -----------------------------------------------------------------------------------


class DepthwiseLayer(Layer):
    """A depthwise convolution. ``weights``: [kh, kw, channels · multiplier]."""

    request: DepthwiseConv2D

    def __init__(
        self,
        request: DepthwiseConv2D,
        isa: Isa,
        weights: Array,
        bias: Array | None,
        weight_scale: Array | None,
    ) -> None:
        tile = isa.dot if request.hybrid else isa.real
        super().__init__(request, isa, tile, "depthwise")
        channels = request.in_channels * request.multiplier
        lanes = isa.lanes
        self.channels = channels
        flat = weights.reshape(-1, channels)
        f32, i32, i16 = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.int16)
        self.weights = pack.channel_lines(flat, lanes, i16 if request.hybrid else f32)
        self.scale = pack.channel_lines(pack.channel_vector(weight_scale, channels, 1), lanes, f32)
        self.bias = pack.channel_lines(pack.channel_vector(bias, channels, 0), lanes, f32)
        total = flat.sum(axis=0, dtype=np.int32) if request.hybrid else np.zeros(channels, i32)
        self.total = pack.channel_lines(total, lanes, i32)
        self._fn = jit.load(
            unit(
                request.hybrid,
                self.curved,
                request.kernel[1],
                request.stride[1],
                request.dilation[1],
            ),
            isa,
        )["depthwise"]

    def launch(
        self,
        input_shape: tuple[int, ...],
        padding: Pair = (0, 0),
        output_hw: Pair | None = None,
        threads: int = 1,
    ) -> Launch:
        """Lay the convolution out; see :meth:`octolite.kernels.layers.ConvLayer.launch`."""
        given = window_of(self.request, input_shape, padding, output_hw)
        batch, height, width, _ = given.shape
        rows, columns = given.output
        pixels = batch * rows * columns
        launch = Launch((batch, rows, columns, self.channels), pixels * self.weights.size)
        if 0 in launch.output_shape:
            return launch
        source = self._repeated(launch, math.prod(given.shape))
        shape = (batch, height, width, self.channels)
        window = Window(
            shape, given.kernel, given.stride, given.dilation, given.padding, given.output
        )
        pixel = self.channels * self.tile.code.itemsize
        image = Image(source, height * width * pixel, width * pixel)
        if self.request.hybrid:
            image = self._code_image(launch, source, window, threads)
            (height, width), window = window.padded, replace(window, padding=(0, 0))
        top, left = window.padding
        reach, stride = (window.kernel[1] - 1) * window.dilation[1] + 1, window.stride[1]
        inner_first = min(columns, -(-left // stride))
        inner_last = min(columns, max(inner_first, (width - reach + left) // stride + 1))
        launch.add(
            self.label,
            self._fn,
            ARGS,
            batch * rows,
            a=image.place,
            image_bytes=image.image_bytes,
            row_bytes=image.row_bytes,
            pixel_bytes=pixel,
            height=height,
            width=width,
            top=top,
            left=left,
            kernel_h=window.kernel[0],
            kernel_w=window.kernel[1],
            stride_h=window.stride[0],
            stride_w=stride,
            dilation_h=window.dilation[0],
            dilation_w=window.dilation[1],
            inner_first=inner_first,
            inner_last=inner_last,
            weights=self.weights,
            weight_bytes=self.weights.nbytes // len(self.weights),
            scale=self.scale,
            total=self.total,
            row_scale=image.scale,
            row_zero=image.zero,
            bias=self.bias,
            out=OUTPUT,
            channels=self.channels,
            channel_chunk=self._channel_chunk(),
            rows=rows,
            columns=columns,
            low=self.low,
            high=self.high,
        )
        return launch

    def _channel_chunk(self) -> int:
        """Channels whose weights stay in the first cache, and the pixels around with them."""
        chunks = -(-self.channels * math.prod(self.request.kernel) // _KEPT)
        return pack.round_up(-(-self.channels // chunks), VECTORS * self.isa.lanes)

    def _repeated(self, launch: Launch, size: int) -> Place:
        """The input with each channel ``multiplier`` times."""
        times = self.request.multiplier
        if times == 1:
            return INPUT
        out = launch.reserve(size * times * 4)
        launch.add(
            "repeat channels",
            jit.load(prepare.float_unit(), self.isa)["repeat"],
            prepare.REPEAT,
            -(-size // COPY_TILE),
            source=INPUT,
            out=out,
            size=size,
            times=times,
            chunk=COPY_TILE,
        )
        return out
