"""The three layers on top of the kernels: how each shape becomes steps.

``DotLayer`` is fully connected layers and convolutions, ``DepthwiseLayer`` the rest. Both read
their activations from a float buffer, or from codes that an earlier step left in scratch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from octolite.errors import KernelError
from octolite.ir.types import Array
from octolite.kernels import depthwise, dot, jit, pack, prepare
from octolite.kernels.clamp import bounds
from octolite.kernels.isa import Isa, Tile
from octolite.kernels.launch import INPUT, NOWHERE, OUTPUT, Launch, Operand, Place
from octolite.kernels.pack import round_up
from octolite.kernels.spec import Conv2D, DepthwiseConv2D, FullyConnected, Request, per_pixel

Pair = tuple[int, int]

# Products of a row that make a crossed tile worth the sums that each row then needs.
MIN_CROSSED = 32 * 1024
# Bytes of activations that a tile of products may go over again and again.
_CACHED = 128 * 1024
# Elements that make a tile of a copying step worth its dispatch.
_COPY_TILE = 16384


@dataclass(frozen=True)
class Image:
    """Where windows are read: a float buffer or codes, with rows of ``row_bytes``."""

    place: Place
    image_bytes: int
    row_bytes: int
    scale: Operand = NOWHERE
    zero: Operand = NOWHERE
    cross: Operand = NOWHERE


@dataclass(frozen=True)
class Window:
    """A convolution over one shape: [batch, height, width, channels] and what it becomes."""

    shape: tuple[int, int, int, int]
    kernel: Pair
    stride: Pair
    dilation: Pair
    padding: Pair
    output: Pair

    @property
    def padded(self) -> Pair:
        """Rows and columns that the windows touch."""
        return tuple(  # type: ignore[return-value]
            (o - 1) * s + (k - 1) * d + 1
            for o, s, k, d in zip(self.output, self.stride, self.kernel, self.dilation, strict=True)
        )

    @property
    def inside(self) -> bool:
        """Whether no window reaches over the border."""
        return self.padding == (0, 0) and all(
            p <= size for p, size in zip(self.padded, self.shape[1:3], strict=True)
        )

    @property
    def empty(self) -> bool:
        return 0 in (*self.shape, *self.output)


class Layer:
    """What all kernels share: the request, the clamp, and the compiled helpers."""

    def __init__(self, request: Request, isa: Isa, tile: Tile, variant: str) -> None:
        self.low, self.high, self.curved = bounds(request.activation)
        self.request = request
        self.isa = isa
        self.tile = tile
        self.label = f"{'hybrid' if request.hybrid else 'float'} {variant} {isa.name}"

    # Steps that come before the products -------------------------------------------------

    def _quantize_rows(
        self,
        launch: Launch,
        tile: Tile,
        source: Place,
        source_at: Array,
        depth: int,
        threads: int,
    ) -> Image:
        """Codes for ``tile`` of rows that start at ``source_at`` (bytes), each by its own range."""
        rows = len(source_at)
        row_bytes = round_up(depth * tile.code.itemsize, 64)
        codes = launch.reserve(rows * row_bytes + 64)
        scale, zero = launch.reserve(rows * 4), launch.reserve(rows * 4)
        cross = launch.reserve(rows * 4) if tile.crossed else NOWHERE
        chunk = _chunk(rows, depth, threads)
        library = jit.load(prepare.unit(tile, self.request.asymmetric), self.isa)
        launch.add(
            "quantize rows",
            library["quantize_rows"],
            prepare.ROWS,
            -(-rows // chunk),
            source=source,
            source_at=source_at,
            depth=depth,
            codes=codes,
            code_bytes=row_bytes,
            scale=scale,
            zero=zero,
            cross=cross,
            rows=rows,
            chunk=chunk,
        )
        return Image(codes, rows * row_bytes, row_bytes, scale, zero, cross)

    def _float_image(self, launch: Launch, source: Place, window: Window, threads: int) -> Image:
        """The image as it is, or a copy with zeros around it where windows leave it."""
        _, height, width, channels = window.shape
        if window.inside:
            row_bytes = width * channels * 4
            return Image(source, height * row_bytes, row_bytes)
        fn = jit.load(prepare.float_unit(), self.isa)["pad_image"]
        return self._copy_image(launch, "pad", fn, source, window, threads, 4)

    def _code_image(self, launch: Launch, source: Place, window: Window, threads: int) -> Image:
        """Codes of each image by its own range, the zero point around them."""
        batch, height, width, channels = window.shape
        size = height * width * channels
        parts = max(1, min(size // _COPY_TILE, 32))
        part = round_up(-(-size // parts), 64)
        parts = -(-size // part)
        partial = launch.reserve(batch * parts * 12)
        library = jit.load(prepare.unit(self.tile, self.request.asymmetric), self.isa)
        launch.add(
            "range",
            library["image_range"],
            prepare.RANGE,
            batch * parts,
            source=source,
            size=size,
            partial=partial,
            parts=parts,
            part=part,
        )
        scale, zero = launch.reserve(batch * 4), launch.reserve(batch * 4)
        return self._copy_image(
            launch,
            "quantize image",
            library["quantize_image"],
            source,
            window,
            threads,
            self.tile.code.itemsize,
            partial=partial,
            parts=parts,
            scale=scale,
            zero=zero,
        )

    def _copy_image(
        self,
        launch: Launch,
        label: str,
        fn: int,
        source: Place,
        window: Window,
        threads: int,
        item: int,
        partial: Operand = NOWHERE,
        parts: int = 0,
        scale: Operand = NOWHERE,
        zero: Operand = NOWHERE,
    ) -> Image:
        batch, height, width, channels = window.shape
        (rows, columns), (top, left) = window.padded, window.padding
        row_bytes = round_up((columns * channels + self.isa.lanes) * item, 64)
        out = launch.reserve(batch * rows * row_bytes + 64)
        chunk = _chunk(rows, columns * channels, threads)
        chunks = -(-rows // chunk)
        launch.add(
            label,
            fn,
            prepare.IMAGE,
            batch * chunks,
            source=source,
            image_bytes=height * width * channels * 4,
            row_bytes=width * channels * 4,
            copy_rows=max(0, min(height, rows - top)),
            copy_row=max(0, min(width, columns - left)) * channels,
            top=top,
            left=min(left, columns) * channels,
            padded_rows=rows,
            padded_row=columns * channels,
            out=out,
            out_image_bytes=rows * row_bytes,
            out_row_bytes=row_bytes,
            partial=partial,
            parts=parts,
            scale=scale,
            zero=zero,
            chunk=chunk,
            chunks=chunks,
        )
        return Image(out, rows * row_bytes, row_bytes, scale, zero)


class DotLayer(Layer):
    """A fully connected layer or a convolution.

    ``weights``: [channels, taps, depth], where a tap is a run of activations that lie side by
    side in memory.
    """

    def __init__(
        self,
        request: FullyConnected | Conv2D,
        isa: Isa,
        weights: Array,
        bias: Array | None,
        weight_scale: Array | None,
    ) -> None:
        tile = isa.dot if request.hybrid else isa.real
        if request.hybrid and isinstance(request, Conv2D) and isa.dense is not None:
            tile = isa.dense
        super().__init__(request, isa, tile, f"dot {tile.name} {tile.heights[-1]}x{tile.width}")
        groups = request.groups if isinstance(request, Conv2D) else 1
        self.depth = weights.shape[2]
        self.channels = weights.shape[0]
        self.work = weights.size
        self.panels = pack.panels(self.tile, weights, groups, bias, weight_scale)
        self._panel_at = self.panels.at * np.array([self.tile.code.itemsize, 1, 1])
        self._cross: Array | None = None

    def _products(self, rows: int) -> tuple[Array, Tile]:
        """The packed weights, and the tile that takes them, for so many rows."""
        return self.panels.data, self.tile

    def _by_row(self, rows: int) -> tuple[Array, Tile]:
        """The same where each row has codes of its own, not shared with its neighbours."""
        data, tile = self._products(rows)
        crossed = self.isa.crossed
        few = rows < 2 * tile.heights[-1] or self.work < MIN_CROSSED
        if crossed is None or tile is not self.isa.dense or few:
            return data, tile
        if self._cross is None:
            self._cross = pack.cross_sums(data)
        return data, crossed

    def _dot(
        self,
        launch: Launch,
        image: Image,
        row_at: Array,
        row_of: Array,
        tap_at: Array,
        threads: int,
        products: tuple[Array, Tile],
    ) -> None:
        rows, (panels, tile) = len(row_at), products
        slack = tile.heights[-1]
        steps = -(-self.depth // tile.depth)
        row_chunk, panel_chunk = self._tiling(rows, tile, threads)
        row_chunks = -(-rows // row_chunk)
        launch.add(
            self.label,
            jit.load(dot.unit(tile, self.curved), self.isa)["dot"],
            dot.ARGS,
            row_chunks * -(-self.panels.count // panel_chunk),
            a=image.place,
            row_at=np.pad(row_at.astype(np.int64), (0, slack), mode="edge"),
            tap_at=tap_at.astype(np.int64),
            taps=len(tap_at),
            steps=steps,
            panels=panels,
            panel_bytes=panels.nbytes // self.panels.count,
            panel_at=self._panel_at,
            scale=self.panels.scale,
            total=self.panels.total,
            bias=self.panels.bias,
            cross=self._cross if tile.crossed and self._cross is not None else NOWHERE,
            row_of=np.pad(row_of.astype(np.int32), (0, slack), mode="edge"),
            row_scale=image.scale,
            row_zero=image.zero,
            row_cross=image.cross,
            out=OUTPUT,
            out_bytes=self.channels * 4,
            low=self.low,
            high=self.high,
            rows=rows,
            row_chunk=row_chunk,
            row_chunks=row_chunks,
            panel_count=self.panels.count,
            panel_chunk=panel_chunk,
        )

    def _tiling(self, rows: int, tile: Tile, threads: int) -> Pair:
        """Rows and panels of a tile: activations of a tile stay in the second cache, and every
        thread finds several tiles unless the whole is small."""
        top, count = tile.heights[-1], self.panels.count
        bytes_ = rows * (self.work // self.channels) * tile.code.itemsize
        row_chunk = round_up(-(-rows // max(1, round(bytes_ / _CACHED))), top)
        panel_chunk = count
        # Some 100 000 products take a few microseconds: no smaller tiles than that.
        wanted = 1 if threads == 1 else min(4 * threads, 1 + rows * self.work // 100_000)
        while -(-rows // row_chunk) * -(-count // panel_chunk) < wanted:
            if row_chunk >= 8 * top:
                row_chunk = round_up(-(-row_chunk // 2), top)
            elif panel_chunk > 1:
                panel_chunk = -(-panel_chunk // 2)
            elif row_chunk > top:
                row_chunk = round_up(-(-row_chunk // 2), top)
            else:
                break
        return row_chunk, panel_chunk


class FullyConnectedLayer(DotLayer):
    """``weights``: [channels, 1, depth]."""

    request: FullyConnected
    _dense: Array | None = None

    def _products(self, rows: int) -> tuple[Array, Tile]:
        """Few rows wait for the weights, so they are read as bytes; for many, they are widened
        once where that is faster."""
        tile = self.isa.dense
        if tile is None or not self.request.hybrid or rows < 2 * tile.heights[-1]:
            return super()._products(rows)
        if self._dense is None:
            self._dense = pack.aligned(self.panels.data.shape, tile.weight)
            self._dense[...] = self.panels.data
        return self._dense, tile

    def launch(
        self,
        input_shape: tuple[int, ...],
        padding: Pair = (0, 0),
        output_hw: Pair | None = None,
        threads: int = 1,
        row_at: Array | None = None,
    ) -> Launch:
        """Lay the layer out for ``input_shape`` [rows, depth].

        ``row_at``: int64 [rows], where each row starts in the input, in bytes, if they do not lie
        side by side.
        """
        rows, depth = input_shape
        _expect("input depth", self.request.depth, depth)
        launch = Launch((rows, self.channels), rows * self.work)
        if 0 in launch.output_shape:
            return launch
        index = np.arange(rows, dtype=np.int64)
        image, products = Image(INPUT, rows * depth * 4, depth * 4), self._by_row(rows)
        starts = index * (depth * 4) if row_at is None else row_at
        if self.request.hybrid:
            image = self._quantize_rows(launch, products[1], INPUT, starts, depth, threads)
            starts = index * image.row_bytes
        self._dot(launch, image, starts, index, np.zeros(1), threads, products)
        return launch


class ConvLayer(DotLayer):
    request: Conv2D

    def launch(
        self,
        input_shape: tuple[int, ...],
        padding: Pair = (0, 0),
        output_hw: Pair | None = None,
        threads: int = 1,
    ) -> Launch:
        """Lay the convolution out for ``input_shape`` [batch, height, width, channels].

        ``padding``: rows above and columns left of the image; ``output_hw``: rows and columns of
        the result (what the windows touch beyond the image reads as zero).
        """
        window = window_of(self.request, input_shape, padding, output_hw)
        out_shape = (input_shape[0], *window.output, self.channels)
        pixels = input_shape[0] * math.prod(window.output)
        launch = Launch(out_shape, pixels * self.work)
        if 0 in out_shape:
            return launch
        if not self.request.hybrid:
            image = self._float_image(launch, INPUT, window, threads)
        elif per_pixel(self.request):
            source = self._float_image(launch, INPUT, window, threads)
            depth = self.request.in_channels
            source_at = _pixels(window, source, 4)
            index, products = np.arange(pixels, dtype=np.int64), self._by_row(pixels)
            image = self._quantize_rows(
                launch, products[1], source.place, source_at, depth, threads
            )
            self._dot(launch, image, index * image.row_bytes, index, np.zeros(1), threads, products)
            return launch
        else:
            image = self._code_image(launch, INPUT, window, threads)
        item = self.tile.code.itemsize
        taps = _taps(self.request, image.row_bytes, item)
        row_of = np.repeat(np.arange(input_shape[0]), math.prod(window.output))
        self._dot(
            launch,
            image,
            _pixels(window, image, item),
            row_of,
            taps,
            threads,
            self._products(pixels),
        )
        return launch


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
            depthwise.unit(
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
        """Lay the convolution out; the arguments are those of :meth:`ConvLayer.launch`."""
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
            depthwise.ARGS,
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
            rows=rows,
            columns=columns,
            low=self.low,
            high=self.high,
        )
        return launch

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
            -(-size // _COPY_TILE),
            source=INPUT,
            out=out,
            size=size,
            times=times,
            chunk=_COPY_TILE,
        )
        return out


# Geometry ----------------------------------------------------------------------------------


def _expect(what: str, expected: int, found: int) -> None:
    if expected != found:
        raise KernelError(f"{what}: the kernel was built for {expected}, the launch has {found}")


def window_of(
    request: Conv2D | DepthwiseConv2D,
    shape: tuple[int, ...],
    padding: Pair,
    output: Pair | None,
) -> Window:
    if len(shape) != 4 or output is None:
        raise KernelError(
            f"a convolution is launched with [batch, height, width, channels] and output_hw, "
            f"not with {list(shape)} and {output}"
        )
    _expect("input channels", request.in_channels, shape[3])
    batch, height, width, channels = shape
    return Window(
        (batch, height, width, channels),
        request.kernel,
        request.stride,
        request.dilation,
        padding,
        output,
    )


def segments(request: Conv2D) -> Pair:
    """Taps of a convolution and activations of each: a row of the kernel lies in one piece
    unless it is dilated or sees a part of the channels only."""
    rows, columns = request.kernel
    each = request.in_channels // request.groups
    if request.groups == 1 and (request.dilation[1] == 1 or columns == 1):
        return rows, columns * each
    return rows * columns, each


def _taps(request: Conv2D, row_bytes: int, item: int) -> Array:
    """Where the segments start, in bytes from the first pixel of the window."""
    taps, _ = segments(request)
    columns = taps // request.kernel[0]
    kernel = (request.kernel[0], columns)
    return _tap_grid(kernel, request.dilation, row_bytes, request.in_channels * item)


def _tap_grid(kernel: Pair, dilation: Pair, row_bytes: int, pixel_bytes: int) -> Array:
    y = np.arange(kernel[0], dtype=np.int64) * (dilation[0] * row_bytes)
    x = np.arange(kernel[1], dtype=np.int64) * (dilation[1] * pixel_bytes)
    return (y[:, None] + x[None, :]).reshape(-1)


def _pixels(window: Window, image: Image, item: int) -> Array:
    """Where the window of each output pixel starts, in bytes."""
    batch, _, _, channels = window.shape
    b = np.arange(batch, dtype=np.int64) * image.image_bytes
    y = np.arange(window.output[0], dtype=np.int64) * (window.stride[0] * image.row_bytes)
    x = np.arange(window.output[1], dtype=np.int64) * (window.stride[1] * channels * item)
    return (b[:, None, None] + y[None, :, None] + x[None, None, :]).reshape(-1)


def _chunk(rows: int, row: int, threads: int) -> int:
    """Rows of a tile of a copying step."""
    least = max(1, _COPY_TILE // max(row, 1))
    return max(1, min(rows, max(least, -(-rows // (4 * threads)))))
