"""Depthwise convolution: every channel by its own window, no sums across channels.

Channels lie side by side in memory, so a vector holds as many channels; the window's taps are
the only sum. Neighbouring output pixels away from the border are computed together and share the
loads of weights and of overlapping columns; at the border, windows are cut to the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from octolite.ir.types import Array, DType
from octolite.kernels import jit, pack, prepare, requantize
from octolite.kernels.dot import activate, rescale
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, Launch, Operand, Place
from octolite.kernels.layer import COPY_TILE, Layer
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I8, I16, I32, I64, PTR, Builder, Value, vec
from octolite.kernels.spec import DepthwiseConv2D, Quantized
from octolite.kernels.window import Image, Pair, Window, window_of

ARGS = Record(
    a=PTR,  # image: float32, codes, or codes with their padding [batch, height, width, channels]
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
    out=PTR,  # float32 or codes [batch, rows, columns, channels]
    channels=I64,
    channel_chunk=I64,  # channels of a row that are gone through before the next ones
    rows=I64,
    columns=I64,
    low=F32,
    high=F32,
    zero=I64,  # of the image's codes  (codes only)
    **requantize.FIELDS,  # where results are codes; the tables are [padded channels]
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


@dataclass(frozen=True)
class Codes:
    """What the code for layers of codes depends on: their type, and how sums become such."""

    dtype: DType
    ending: requantize.Ending


def unit(
    hybrid: bool, curved: bool, width: int, stride: int, dilation: int, codes: Codes | None = None
) -> Unit:
    """The kernel for windows of ``width`` columns, with their stride and dilation along a row.
    ``codes``: for layers of codes throughout."""
    block = (width, stride, dilation) if max(width, stride) <= WIDEST else None

    def make(module: Any, isa: Isa, name: str) -> _Block:
        if codes is not None:
            return _CodesBlock(module, isa, name, codes)
        return (_HybridBlock if hybrid else _Block)(module, isa, name, curved)

    def emit(module: Any, isa: Isa) -> None:
        if block is not None:
            _emit_inner(make(module, isa, "inner"), *block)
        _emit_edge(make(module, isa, "edge"))
        _emit_row(module, block is not None, 4 if codes is None else codes.ending.item)

    key = f"depthwise hybrid={hybrid} tanh={curved} {block} {codes}"
    return Unit(key, ("depthwise",), emit)


def _taps(
    k: Builder, start: Value, size: Value, kernel: Value, dilation: Value
) -> tuple[Value, Value]:
    """The taps of a window that starts at ``start`` which are within 0…size."""

    def first_at(distance: Value) -> Value:
        return (k.smax(distance, 0) + dilation - 1) // dilation

    first = first_at(k.const(I64, 0) - start)
    return first, k.smin(first_at(size - start), kernel)


def _emit_row(module: Any, blocks: bool, item: int) -> None:
    """``depthwise(args, tile)``: one row of output pixels, results of ``item`` bytes."""
    k = Builder(module, "depthwise", (PTR, I64))
    address, row = k.args
    args = ARGS.load(k, address)
    image = row // args.rows
    y = row % args.rows * args.stride_h - args.top
    first, last = _taps(k, y, args.height, args.kernel_h, args.dilation_h)
    top = (y + first * args.dilation_h) * args.row_bytes
    line = args.a + image * args.image_bytes + top
    weights = args.weights + first * args.kernel_w * args.weight_bytes
    out = args.out + row * args.columns * args.channels * item

    def call(name: str, column: Value, channels: tuple[Value, Value]) -> None:
        x = column * args.stride_w - args.left
        at, to = line + x * args.pixel_bytes, out + column * args.channels * item
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


def _emit_inner(block: _Block, width: int, stride: int, dilation: int) -> None:
    """``inner``: ``PIXELS`` output pixels, all taps of each row of the window."""

    def add_row(at: Value, w_at: Value, sums: list[Value]) -> list[Value]:
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

    block.emit(PIXELS, add_row)


def _emit_edge(block: _Block) -> None:
    """``edge``: one output pixel, the taps that it is told. One vector would wait for its sum."""

    def add_row(at: Value, w_at: Value, sums: list[Value]) -> list[Value]:
        step = block.args.pixel_bytes * block.args.dilation_w
        with block.k.loop(block.first_tap, block.last_tap, carry=sums) as loop:
            x_at, tap = at + loop.index * step, w_at + loop.index * block.args.weight_bytes
            for v, acc in enumerate(loop.carry):
                x = block.load_a(x_at + block.a_item * block.isa.lanes * v)
                w = block.load_w(tap + block.w_item * block.isa.lanes * v)
                loop.carry[v] = block.add(acc, x, w)
        return loop.carry

    block.emit(1, add_row, VECTORS)


AddRow = Callable[[Value, Value, list[Value]], list[Value]]


class _Block:
    """A block under construction, of floats: how it loads, sums and finishes."""

    a_item = w_item = out_item = 4
    element = F32

    def __init__(self, module: Any, isa: Isa, name: str, curved: bool = False) -> None:
        self.k = k = Builder(module, name, _BLOCK, local=True)
        address, self.image, self.a, self.w, self.out, self.tap_rows, *ranges = k.args
        self.first_tap, self.last_tap, self.first_channel, self.last_channel = ranges
        self.args: SimpleNamespace = ARGS.load(k, address)
        self.isa, self.curved = isa, curved
        self.kind = vec(self.element, isa.lanes)
        self.mask: Value | None = None

    def load_a(self, at: Value) -> Value:
        if self.mask is None:  # the image may end with its last pixel
            return self.k.load(self.kind, at)
        return self.k.load_first(self.kind, at, self.mask)

    def load_w(self, at: Value) -> Value:
        return self.k.load(self.kind, at)

    def add(self, acc: Value, x: Value, w: Value) -> Value:
        return self.k.fma(x, w, acc)

    def begin(self, c: Value) -> Value:
        """What sums of the channels from ``c`` on begin with."""
        return self.k.const(self.kind, 0)

    def finish(self, acc: Value, c: Value) -> Value:
        result = acc + self.k.load(self.kind, self.args.bias + c * 4)
        return activate(self.k, self.args, result, self.curved)

    def emit(self, pixels: int, add_row: AddRow, together: int = 1) -> None:
        """All channels, by so many vectors together, single vectors, and then what is left."""
        k, lanes = self.k, self.isa.lanes
        done, last = self.first_channel, self.last_channel
        for vectors in sorted({together, 1}, reverse=True):
            step = lanes * vectors
            stop = done + (last - done) // step * step
            with k.loop(done, stop, step) as loop:
                self.emit_vectors(pixels, vectors, add_row, loop.index)
            done = stop
        with k.when(done < last):
            self.emit_rest(pixels, add_row, done, last)
        k.ret()

    def emit_rest(self, pixels: int, add_row: AddRow, done: Value, last: Value) -> None:
        """The channels behind the last whole vector."""
        self.mask = self.k.first(last - done, self.isa.lanes)
        self.emit_vectors(pixels, 1, add_row, done)

    def emit_vectors(self, pixels: int, vectors: int, add_row: AddRow, c: Value) -> None:
        """The sums [pixel, vector], flat, from channel ``c`` on."""
        k, args, lanes = self.k, self.args, self.isa.lanes
        start = [self.begin(c + v * lanes) for v in range(vectors)] * pixels
        with k.loop(0, self.tap_rows, carry=start) as rows:
            row = rows.index * args.dilation_h * args.row_bytes
            taps = rows.index * args.kernel_w * args.weight_bytes
            at = self.a + row + c * self.a_item
            w_at = self.w + taps + c * self.w_item
            rows.carry = add_row(at, w_at, list(rows.carry))
        for slot, acc in enumerate(rows.carry):
            channel = c + slot % vectors * lanes
            at = self.out + (args.channels * (slot // vectors) + channel) * self.out_item
            self.store(self.finish(acc, channel), at)

    def store(self, x: Value, at: Value) -> None:
        if self.mask is None:
            self.k.store(x, at)
        else:
            self.k.store_first(x, at, self.mask)


class _HybridBlock(_Block):
    """Codes, which have slack behind the last, become floats."""

    w_item = 2
    element = I32

    def __init__(self, module: Any, isa: Isa, name: str, curved: bool) -> None:
        super().__init__(module, isa, name, curved)
        self.a_item = isa.dot.code.itemsize
        self.scale = self.k.load(F32, self.args.row_scale + self.image * 4)
        self.zero = self.k.load(I32, self.args.row_zero + self.image * 4)

    def load_a(self, at: Value) -> Value:
        tile = self.isa.dot
        element = I8 if tile.code.itemsize == 1 else I16
        codes = self.k.load(vec(element, self.isa.lanes), at)
        return codes.zext(I32) if tile.offset else codes.sext(I32)

    def load_w(self, at: Value) -> Value:
        return self.k.load(vec(I16, self.isa.lanes), at).sext(I32)

    def add(self, acc: Value, x: Value, w: Value) -> Value:
        return acc + x * w

    def finish(self, acc: Value, c: Value) -> Value:
        result = rescale(self.k, self.args, c * 4, acc, self.scale, self.zero)
        return activate(self.k, self.args, result, self.curved)


class _CodesBlock(_HybridBlock):
    """Codes become codes. The image is read as it is: a window that reaches over a border sees
    nothing there, as if it saw the zero point."""

    def __init__(self, module: Any, isa: Isa, name: str, codes: Codes) -> None:
        _Block.__init__(self, module, isa, name)
        self.unsigned, self.ending = codes.dtype.kind == "u", codes.ending
        self.a_item, self.out_item = codes.dtype.numpy.itemsize, codes.ending.item
        self.zero = self.args.zero.trunc(I32).splat(isa.lanes)

    def load_a(self, at: Value) -> Value:
        k, kind = self.k, vec(I8 if self.a_item == 1 else I16, self.isa.lanes)
        codes = k.load(kind, at) if self.mask is None else k.load_first(kind, at, self.mask)
        return (codes.zext(I32) if self.unsigned else codes.sext(I32)) - self.zero

    def begin(self, c: Value) -> Value:
        return self.k.load(self.kind, self.args.start + c * 4)

    def finish(self, acc: Value, c: Value) -> Value:
        return requantize.codes(self.k, self.isa, self.ending, self.args, c, [acc])

    def emit_rest(self, pixels: int, add_row: AddRow, done: Value, last: Value) -> None:
        """The last whole vector once more, if there are as many channels."""
        lanes = self.isa.lanes
        with self.k.either(last >= lanes) as (many, few):
            with many:
                self.emit_vectors(pixels, 1, add_row, last - lanes)
            with few:
                self.mask = self.k.first(last - done, lanes)
                self.emit_vectors(pixels, 1, add_row, done)


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
        codes: Codes | None = None,
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
        windows = request.kernel[1], request.stride[1], request.dilation[1]
        self._fn = jit.load(unit(request.hybrid, self.curved, *windows, codes), isa)["depthwise"]

    def launch(
        self,
        input_shape: tuple[int, ...],
        padding: Pair = (0, 0),
        output_hw: Pair | None = None,
        threads: int = 1,
    ) -> Launch:
        """Lay the convolution out; see :meth:`octolite.kernels.layers.ConvLayer.launch`."""
        given = window_of(self.request, input_shape, padding, output_hw)
        launch = Launch((*given.shape[:1], *given.output, self.channels), 0)
        if 0 in launch.output_shape:
            return launch
        launch.macs = math.prod(launch.output_shape[:3]) * self.weights.size
        source = self._repeated(launch, math.prod(given.shape))
        window = replace(given, shape=(*given.shape[:3], self.channels))
        image, window = self._image(launch, source, window, threads)
        self._add(launch, image, window)
        return launch

    @property
    def _item(self) -> int:
        """Bytes of what the input holds."""
        return 4

    def _image(
        self, launch: Launch, source: Place, window: Window, threads: int
    ) -> tuple[Image, Window]:
        """What is read, and the windows over it."""
        if self.request.hybrid:
            (height, width), shape = window.padded, window.shape
            image = self._code_image(launch, source, window, threads)
            padded = (shape[0], height, width, shape[3])
            return image, replace(window, shape=padded, padding=(0, 0))
        return self._as_it_is(source, window), window

    def _as_it_is(self, source: Place, window: Window) -> Image:
        _, height, width, channels = window.shape
        row_bytes = width * channels * self._item
        return Image(source, height * row_bytes, row_bytes)

    def _add(self, launch: Launch, image: Image, window: Window, **codes: Operand) -> None:
        """The step that computes. ``codes``: operands for layers of codes."""
        batch, height, width, _ = window.shape
        (rows, columns), (top, left) = window.output, window.padding
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
            pixel_bytes=self._pixel_bytes,
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
            **{"zero": 0, **requantize.NONE, **codes},
        )

    @property
    def _pixel_bytes(self) -> int:
        return self.channels * self.tile.code.itemsize

    def _channel_chunk(self) -> int:
        """Channels whose weights stay in the first cache, and the pixels around with them."""
        chunks = -(-self.channels * math.prod(self.request.kernel) // _KEPT)
        return pack.round_up(-(-self.channels // chunks), VECTORS * self.isa.lanes)

    def _repeated(self, launch: Launch, size: int) -> Place:
        """The input with each channel ``multiplier`` times."""
        times, item = self.request.multiplier, self._item
        if times == 1:
            return INPUT
        out = launch.reserve(size * times * item)
        launch.add(
            "repeat channels",
            jit.load(prepare.repeat_unit(item), self.isa)["repeat"],
            prepare.REPEAT,
            -(-size // COPY_TILE),
            source=INPUT,
            out=out,
            size=size,
            times=times,
            chunk=COPY_TILE,
        )
        return out


class QuantizedDepthwiseLayer(DepthwiseLayer):
    """A depthwise convolution of codes. ``weights``: codes [1, kh, kw, channels · multiplier]."""

    def __init__(self, request: Quantized, isa: Isa, weights: Array, bias: Array | None) -> None:
        layer = request.layer
        assert isinstance(layer, DepthwiseConv2D)
        self.codes = request
        filters = weights.astype(np.int16) - np.int16(request.weight_zero)
        ending = requantize.Ending.of(request.result)
        super().__init__(layer, isa, filters, None, None, Codes(request.dtype, ending))
        self.label = self.label.replace("hybrid", "integer", 1)
        start = np.zeros(self.channels, np.int64) if bias is None else bias.astype(np.int64)
        self._operands = requantize.operands(
            request.result,
            start,
            lambda values, dtype: pack.channel_lines(values, isa.lanes, dtype),
        )

    @property
    def _item(self) -> int:
        return self.codes.dtype.numpy.itemsize

    @property
    def _pixel_bytes(self) -> int:
        return self.channels * self._item

    def _image(
        self, launch: Launch, source: Place, window: Window, threads: int
    ) -> tuple[Image, Window]:
        return self._as_it_is(source, window), window

    def _add(self, launch: Launch, image: Image, window: Window, **codes: Operand) -> None:
        super()._add(launch, image, window, zero=self.codes.zero, **self._operands)
