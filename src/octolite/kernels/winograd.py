"""3×3 convolutions with 2.25 times fewer products: Winograd's F(2×2, 3×3), exact in integers.

Four output pixels come of a 4×4 patch ``d``: ``Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A``. With ``2G`` in place
of ``G`` everything is an integer: transformed weights stay under 9 · 127, transformed codes within
4 · 128, both fit int16, and the result is 4 times the sum that the convolution asks for. Sums wrap
at 32 bits without harm as long as that result fits, which ``MAX_DEPTH`` sees to.

It pays where products of int16 pairs are what there is, and is slower than a convolution by dot
products of bytes. Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks".
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from octolite.ir.types import Array
from octolite.kernels import jit, pack
from octolite.kernels.dot import activate, rescale, run_steps, zero_sum
from octolite.kernels.isa import Isa, Tile
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, Launch
from octolite.kernels.layer import Layer
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I16, I32, I64, PTR, Builder, Value, vec
from octolite.kernels.spec import Conv2D
from octolite.kernels.window import Pair, Window, window_of

ARGS = Record(
    a=PTR,  # int16 codes of the padded images
    image_bytes=I64,
    row_bytes=I64,
    pixel_bytes=I64,
    depth=I64,
    panels=PTR,  # [panel, 16, step, …]
    panel_bytes=I64,
    panel_at=PTR,  # int64 [panel, 3]: unused, first channel, channels
    panel_count=I64,
    steps=I64,  # steps of the tile in the depth
    scale=PTR,
    total=PTR,
    bias=PTR,
    row_scale=PTR,  # float32 [batch]
    row_zero=PTR,  # int32 [batch]
    out=PTR,  # float32 [batch, rows, columns, channels]
    channels=I64,
    rows=I64,
    columns=I64,
    patches=I64,  # of an image
    patches_x=I64,  # in a row of patches
    chunk=I64,  # patches of a tile; a multiple of the block's height
    chunks=I64,  # tiles of an image
    low=F32,
    high=F32,
)

MAX_DEPTH = 1024
MIN_CHANNELS = 16

# Bytes of transformed codes that a tile keeps on its stack.
_KEPT = 64 * 1024

_G2 = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]], np.int16)


def pays(request: Conv2D, isa: Isa) -> bool:
    """Whether a convolution is better computed here."""
    return (
        request.hybrid
        and isa.dense is not None
        and request.kernel == (3, 3)
        and request.stride == request.dilation == (1, 1)
        and request.groups == 1
        and MIN_CHANNELS <= request.in_channels <= MAX_DEPTH
        and request.out_channels >= MIN_CHANNELS
    )


def transform_weights(weights: Array) -> Array:
    """``4 · G g Gᵀ`` of int8 [channels, 3, 3, depth]: int16 [channels, 16, depth]."""
    columns = np.einsum("ia,nabc->nibc", _G2, weights.astype(np.int16))
    both = np.einsum("jb,nibc->nijc", _G2, columns)
    return np.asarray(both.reshape(len(weights), 16, -1))


# Code --------------------------------------------------------------------------------------


def unit(tile: Tile, curved: bool) -> Unit:
    """``winograd(args, tile)``: a chunk of patches, all channels."""

    def emit(module: Any, isa: Isa) -> None:
        for height in tile.heights:
            _emit_block(module, tile, height)
        _emit_gather(module, tile)
        _emit_scatter(module, tile, curved)
        _emit_tile(module, tile)

    return Unit(
        f"winograd {tile.name} {tile.heights}x{tile.width} tanh={curved}", ("winograd",), emit
    )


def _row_bytes(args: SimpleNamespace, tile: Tile) -> Value:
    """Of one patch's transformed codes: whole vectors."""
    lanes = 2 * tile.lanes
    result: Value = (args.depth + (lanes - 1)) // lanes * (2 * lanes)
    return result


def _emit_tile(module: Any, tile: Tile) -> None:
    k = Builder(module, "winograd", (PTR, I64))
    address, index = k.args
    args = ARGS.load(k, address)
    image = index // args.chunks
    first = index % args.chunks * args.chunk
    count = k.smin(args.chunk, args.patches - first)
    row_bytes = _row_bytes(args, tile)
    codes = k.stack(args.chunk * row_bytes * 16)
    sums = k.stack(args.chunk * (16 * 4 * tile.width))

    with k.loop(0, count) as patches:
        patch = first + patches.index
        y, x = patch // args.patches_x * 2, patch % args.patches_x * 2
        source = args.a + (image * args.image_bytes + y * args.row_bytes + x * args.pixel_bytes)
        _invoke(k, "gather", address, source, codes + patches.index * row_bytes)
    with k.loop(0, args.panel_count) as panels:
        weights = args.panels + panels.index * args.panel_bytes
        with k.loop(0, 16) as places:
            line = codes + places.index * args.chunk * row_bytes
            out = sums + places.index * args.chunk * (4 * tile.width)
            b = weights + places.index * (args.panel_bytes // 16)
            _blocks(k, tile, count, line, row_bytes, b, args.steps, out)
        with k.loop(0, count) as patches:
            at = sums + patches.index * (4 * tile.width)
            _invoke(k, "scatter", address, at, image, first + patches.index, panels.index)
    k.ret()


def _blocks(
    k: Builder,
    tile: Tile,
    count: Value,
    line: Value,
    row_bytes: Value,
    weights: Value,
    steps: Value,
    out: Value,
) -> None:
    """All patches at one of the 16 places; the last block takes the lowest height that holds
    the rest (what lies behind it in the buffers is computed and not used)."""
    top = tile.heights[-1]
    whole = count // top * top

    def call(height: int, row: Value) -> None:
        at = out + row * (4 * tile.width)
        _invoke(k, f"block{height}", line + row * row_bytes, row_bytes, weights, steps, at)

    with k.loop(0, whole, top) as rows:
        call(top, rows.index)
    least = 0
    for height in tile.heights:
        with k.when((count - whole > least) & (count - whole <= height)):
            call(height, whole)
        least = height


def _invoke(k: Builder, name: str, *args: Value) -> None:
    k.ir.call(k.module.globals[name], [a.raw for a in args])


def _emit_block(module: Any, tile: Tile, height: int) -> None:
    """``blockH(codes, row_bytes, weights, steps, out)``: sums of products, int32 [H, width]."""
    k = Builder(module, f"block{height}", (PTR, I64, PTR, I64, PTR), local=True)
    codes, row_bytes, weights, steps, out = k.args
    rows = [codes + row_bytes * r for r in range(height)]
    zeros = [zero_sum(k, tile)] * (height * tile.vectors)
    _, *sums = run_steps(k, tile, rows, weights, zeros, k.const(I64, 0), steps)
    for slot, acc in enumerate(sums):
        k.store(acc, out + slot * 4 * tile.lanes)
    k.ret()


def _emit_gather(module: Any, tile: Tile) -> None:
    """``gather(args, source, out)``: ``Bᵀ d B`` of the patch at ``source``, [16, chunk, depth]."""
    k = Builder(module, "gather", (PTR, PTR, PTR), local=True)
    address, source, out = k.args
    args = ARGS.load(k, address)
    place_bytes = _row_bytes(args, tile) * args.chunk
    lanes = 2 * tile.lanes
    with k.loop(0, args.depth, lanes) as loop:
        at = source + loop.index * 2
        d = [
            [
                k.load(vec(I16, lanes), at + args.row_bytes * i + args.pixel_bytes * j)
                for j in range(4)
            ]
            for i in range(4)
        ]
        rows = [_apply_b([d[i][j] for i in range(4)]) for j in range(4)]  # [column][place]
        for i in range(4):
            for j, value in enumerate(_apply_b([rows[column][i] for column in range(4)])):
                k.store(value, out + place_bytes * (4 * i + j) + loop.index * 2)
    k.ret()


def _apply_b(d: list[Value]) -> list[Value]:
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _apply_a(m: list[Value]) -> list[Value]:
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _emit_scatter(module: Any, tile: Tile, curved: bool) -> None:
    """``scatter(args, sums, image, patch, panel)``: four output pixels of one panel."""
    k = Builder(module, "scatter", (PTR, PTR, I64, I64, I64), local=True)
    address, sums, image, patch, panel = k.args
    args = ARGS.load(k, address)
    scale = k.load(F32, args.row_scale + image * 4)
    zero = k.load(I32, args.row_zero + image * 4)
    place_bytes = args.chunk * (4 * tile.width)
    channel = k.load(I64, args.panel_at + panel * 24 + 8)
    count = k.load(I64, args.panel_at + panel * 24 + 16)
    y, x = patch // args.patches_x * 2, patch % args.patches_x * 2
    whole = vec(I32, tile.lanes)
    for v in range(tile.vectors):
        m = [
            [k.load(whole, sums + place_bytes * (4 * i + j) + 4 * tile.lanes * v) for j in range(4)]
            for i in range(4)
        ]
        columns = [_apply_a([m[i][j] for i in range(4)]) for j in range(4)]
        rest = count - tile.lanes * v
        full, mask = rest >= tile.lanes, k.first(rest, tile.lanes)
        for i in range(2):
            for j, acc in enumerate(_apply_a([columns[column][i] for column in range(4)])):
                at = panel * (4 * tile.width) + 4 * tile.lanes * v
                result = activate(k, args, rescale(k, args, at, acc >> 2, scale, zero), curved)
                pixel = (image * args.rows + y + i) * args.columns + x + j
                out = args.out + (pixel * args.channels + channel) * 4 + 4 * tile.lanes * v
                with k.when((y + i < args.rows) & (x + j < args.columns)):
                    _store(k, result, out, full, mask)
    k.ret()


def _store(k: Builder, value: Value, address: Value, full: Value, mask: Value) -> None:
    with k.either(full) as (whole, partial):
        with whole:
            k.store(value, address)
        with partial:
            k.store_first(value, address, mask)


# Layer -------------------------------------------------------------------------------------


class WinogradLayer(Layer):
    """A convolution for which :func:`pays` holds. ``weights``: int8 [channels, 3, 3, depth]."""

    request: Conv2D

    def __init__(
        self,
        request: Conv2D,
        isa: Isa,
        weights: Array,
        bias: Array | None,
        weight_scale: Array | None,
    ) -> None:
        tile = isa.dense
        assert tile is not None
        super().__init__(request, isa, tile, f"winograd {tile.name}")
        totals = weights.sum(axis=(1, 2, 3), dtype=np.int32)
        transformed = transform_weights(weights)
        self.panels = pack.panels(tile, transformed, 1, bias, weight_scale, totals)
        self._fn = jit.load(unit(tile, self.curved), isa)["winograd"]

    def launch(
        self,
        input_shape: tuple[int, ...],
        padding: Pair = (0, 0),
        output_hw: Pair | None = None,
        threads: int = 1,
    ) -> Launch:
        """Lay the convolution out; the arguments are those of ``ConvLayer.launch``."""
        given = window_of(self.request, input_shape, padding, output_hw)
        (batch, _, _, depth), (rows, columns) = given.shape, given.output
        channels = self.request.out_channels
        macs = batch * rows * columns * channels * 9 * depth
        launch = Launch((batch, rows, columns, channels), macs)
        if 0 in launch.output_shape:
            return launch
        patches_y, patches_x = -(-rows // 2), -(-columns // 2)
        even = (2 * patches_y, 2 * patches_x)  # what lies beyond the result is padding
        window = Window(given.shape, (3, 3), (1, 1), (1, 1), padding, even)
        image = self._code_image(launch, INPUT, window, threads)
        patches = patches_y * patches_x
        chunk = self._chunk(patches, depth, batch, threads)
        chunks = -(-patches // chunk)
        panels = self.panels
        launch.add(
            self.label,
            self._fn,
            ARGS,
            batch * chunks,
            a=image.place,
            image_bytes=image.image_bytes,
            row_bytes=image.row_bytes,
            pixel_bytes=depth * self.tile.code.itemsize,
            depth=depth,
            panels=panels.data,
            panel_bytes=panels.data.nbytes // panels.count,
            panel_at=panels.at,
            panel_count=panels.count,
            steps=-(-depth // self.tile.depth),
            scale=panels.scale,
            total=panels.total,
            bias=panels.bias,
            row_scale=image.scale,
            row_zero=image.zero,
            out=OUTPUT,
            channels=channels,
            rows=rows,
            columns=columns,
            patches=patches,
            patches_x=patches_x,
            chunk=chunk,
            chunks=chunks,
            low=self.low,
            high=self.high,
        )
        return launch

    def _chunk(self, patches: int, depth: int, batch: int, threads: int) -> int:
        """Patches of a tile: as many as keep their codes in the cache, yet some tiles for every
        thread."""
        top = self.tile.heights[-1]
        most = max(1, _KEPT // (32 * depth * top))
        shared = math.ceil(patches * batch / (top * 4 * threads)) if threads > 1 else most
        return top * max(1, min(most, shared, -(-patches // top)))
