"""3×3 convolutions with fewer products, by Winograd's F(m×m, 3×3).

``m × m`` output pixels come of a patch ``d`` of ``n × n`` pixels, ``n = m + 2``:
``Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A``, so that n² products do the work of 9 m²: 2.25 times fewer for
F(2×2), 4 times fewer for F(4×4).

Both are exact in integers. ``G``, multiplied by ``scale`` (and its last row divided by ``last``,
which ``A`` makes good), is an integer; transformed weights and codes fit int16:

======  =======  =============  ================  ===================
form    points   weights up to  codes up to       result, times too large
======  =======  =============  ================  ===================
INT2    0 ±1     9 · 127        4 · 128           4
INT4    0 ±1 ±2  144 · 127      100 · 128         576
======  =======  =============  ================  ===================

Sums are kept modulo 2³², and so is what follows. What is odd in the factor (9 of 576) is undone by
its inverse modulo 2³², which leaves a power of 2: the result is exact as long as the sum that the
convolution asks for has as many bits fewer than an int32 (``holds``).

It pays where products of bytes take as many instructions as those of int16 pairs do; F(4×4) also
where they take half as many.

In float, REAL4 with the points ±3/4 and ±3/2 loses a third of what the usual ±1 and ±2 lose;
docs/numerics.md has figures.

Sources: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"; Barabasz et al.,
"Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np

from octolite.ir.types import Array
from octolite.kernels import jit, pack
from octolite.kernels.dot import activate, fetch_part, part_of, rescale, run_steps, zero_sum
from octolite.kernels.isa import Isa, Tile
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, Launch
from octolite.kernels.layer import Layer
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I16, I32, I64, PTR, Builder, Value, vec
from octolite.kernels.spec import Conv2D
from octolite.kernels.window import Pair, Window, window_of

ARGS = Record(
    a=PTR,  # int16 codes, or floats, of the padded images
    image_bytes=I64,
    row_bytes=I64,
    pixel_bytes=I64,
    depth=I64,
    panels=PTR,  # [panel, place, step, …]
    panel_bytes=I64,
    panel_at=PTR,  # int64 [panel, 3]: unused, first channel, channels
    panel_count=I64,
    panel_chunk=I64,  # panels of a tile
    steps=I64,  # steps of the tile in the depth
    scale=PTR,  # (hybrid only, as are the next and row_scale, row_zero)
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
    chunks=I64,  # such tiles of an image
    batch=I64,
    low=F32,
    high=F32,
)

# Transformed weights that are made at a time.
_TRANSFORMED = 1 << 17
MAX_DEPTH = 1024
MIN_CHANNELS = 16


@dataclass(frozen=True, eq=False)
class Form:
    """F(size×size, 3×3), made of the finite points 0, p, -p, q, -q, …; infinity is the last.

    ``scale``: what ``G`` is multiplied by; results are as many times too large, twice. ``last``:
    what its last row is divided by, and the last column of ``Aᵀ`` multiplied.
    """

    points: tuple[float, ...]
    scale: int = 1
    last: int = 1

    @property
    def size(self) -> int:
        return len(self.points) - 1

    @property
    def extent(self) -> int:
        """Pixels along the side of a patch."""
        return self.size + 2

    @property
    def places(self) -> int:
        return self.extent**2

    @property
    def gain(self) -> float:
        """Products of a convolution over products here."""
        return 9 * self.size**2 / self.places

    @property
    def name(self) -> str:
        return f"{self.size}x{self.size}"

    @property
    def shift(self) -> int:
        """How often 2 divides what results are multiplied by."""
        return ((self.scale**2) & -(self.scale**2)).bit_length() - 1

    @property
    def inverse(self) -> int:
        """What undoes the rest of it, modulo 2³²."""
        return pow(self.scale**2 >> self.shift, -1, 1 << 32)

    def holds(self, weights: Array) -> bool:
        """Whether results of int8 ``weights`` [channels, …] fit what is left of int32."""
        sums = np.abs(weights.astype(np.int32)).reshape(len(weights), -1).sum(axis=1)
        return 128 * int(sums.max(initial=0)) < 1 << (31 - self.shift)

    @cached_property
    def g(self) -> Array:
        """``scale · G`` [extent, 3]: the kernel at each point, over what ``Bᵀ`` has too much."""
        rows = [
            [p**0 / self._rest(p), p / self._rest(p), p**2 / self._rest(p)] for p in self.points
        ]
        return np.array([*rows, [0, 0, 1 / self.last]]) * self.scale

    def _rest(self, point: float) -> float:
        return float(np.prod([point - other for other in self.points if other != point]))

    @cached_property
    def b(self) -> Array:
        """``Bᵀ`` [extent, extent] before :func:`_mirror`."""
        rows = [np.poly([q for q in self.points if q != p])[::-1] for p in self.points]
        whole = np.zeros((self.extent, self.extent))
        whole[:-1, :-1] = rows
        whole[-1] = np.poly(self.points)[::-1]
        return self._halves(whole)

    @cached_property
    def a(self) -> Array:
        """``Aᵀ`` [size, extent] behind :func:`_mirror`."""
        whole = np.zeros((self.extent, self.size))
        whole[:-1] = np.vander(self.points, self.size, increasing=True)
        whole[-1, -1] = self.last
        return self._halves(whole).T

    def _halves(self, lines: Array) -> Array:
        """The even and the odd half of each pair of lines that belongs to points p and -p."""
        halves = lines.copy()
        for i in range(1, self.size, 2):
            halves[i] = (lines[i] + lines[i + 1]) / 2
            halves[i + 1] = (lines[i] - lines[i + 1]) / 2
        return halves

    def weights(self, weights: Array, dtype: np.dtype[np.generic]) -> Array:
        """``scale² · G g Gᵀ`` of [channels, 3, 3, depth]: [channels, places, depth]."""
        # Integers are well below 2²⁴, so that float32 has them all.
        exact = np.float32 if np.issubdtype(weights.dtype, np.integer) else np.float64
        both = np.kron(self.g, self.g).astype(exact)
        given = weights.reshape(len(weights), 9, -1)
        out = np.empty((len(given), self.places, given.shape[2]), dtype)
        few = max(1, _TRANSFORMED // max(1, self.places * given.shape[2]))
        for first in range(0, len(out), few):
            part = slice(first, first + few)
            out[part] = both @ given[part].astype(exact)
        return out


INT2 = Form((0, 1, -1), scale=2)
INT4 = Form((0, 1, -1, 2, -2), scale=24, last=2)
REAL2 = Form((0, 1, -1))
REAL4 = Form((0, 0.75, -0.75, 1.5, -1.5))


def _mirror(values: Sequence[Value]) -> list[Value]:
    """Sums and differences of the pairs between the first value and the last."""
    first, *inner, last = values
    pairs = zip(inner[::2], inner[1::2], strict=True)
    return [first, *(x for even, odd in pairs for x in (even + odd, even - odd)), last]


def _combine(k: Builder, row: Array, values: Sequence[Value]) -> Value:
    """``row · values``."""
    terms = [(float(c), v) for c, v in zip(row, values, strict=True) if c]
    terms.sort(key=lambda term: term[0] != 1)
    first, x = terms[0]
    total = x if first == 1 else x * first
    for c, v in terms[1:]:
        if c in (1, -1):
            total = total + v if c == 1 else total - v
        else:
            total = k.fma(v, c, total) if v.is_float else total + v * c
    return total


def _apply_b(k: Builder, form: Form, d: Sequence[Value]) -> list[Value]:
    return _mirror([_combine(k, row, d) for row in form.b])


def _apply_a(k: Builder, form: Form, m: Sequence[Value]) -> list[Value]:
    mirrored = _mirror(m)
    return [_combine(k, row, mirrored) for row in form.a]


def _both(apply: Any, k: Builder, form: Form, d: list[list[Value]]) -> list[list[Value]]:
    """``apply`` to the columns of a square, then to its rows."""
    columns = [apply(k, form, column) for column in zip(*d, strict=True)]
    return [apply(k, form, row) for row in zip(*columns, strict=True)]


# Code --------------------------------------------------------------------------------------


def unit(tile: Tile, form: Form, curved: bool) -> Unit:
    """``winograd(args, tile)``: a chunk of patches, a chunk of panels."""

    def emit(module: Any, isa: Isa) -> None:
        for height in tile.heights:
            _emit_block(module, tile, height)
        _emit_gather(module, tile, form)
        _emit_scatter(module, tile, form, curved)
        _emit_tile(module, tile, form)

    return Unit(
        f"winograd {form.name} {tile.name} {tile.heights}x{tile.width} tanh={curved}",
        ("winograd",),
        emit,
    )


def _code_lanes(tile: Tile) -> int:
    return 4 * tile.lanes // tile.code.itemsize


def _odd_lines(size: Value) -> Value:
    return ((size + 63) & -64) | 64


def _layout(args: SimpleNamespace, tile: Tile) -> SimpleNamespace:
    """Bytes from patch to patch and from place to place, of transformed patches and of sums.

    Places are an odd number of cache lines apart: a patch is written and read at all of them, and
    powers of two would have them share a few sets of the cache.
    """
    lanes = _code_lanes(tile)
    row = (args.depth + (lanes - 1)) // lanes * (4 * tile.lanes)
    sum_ = 4 * tile.width
    return SimpleNamespace(
        row=row,
        place=_odd_lines(args.chunk * row),
        sum=sum_,
        sum_place=_odd_lines(args.chunk * sum_),
    )


def _emit_tile(module: Any, tile: Tile, form: Form) -> None:
    k = Builder(module, "winograd", (PTR, I64))
    address, index = k.args
    args = ARGS.load(k, address)
    first_panel = index // (args.batch * args.chunks) * args.panel_chunk
    last_panel = k.smin(first_panel + args.panel_chunk, args.panel_count)
    image = index // args.chunks % args.batch
    first = index % args.chunks * args.chunk
    count = k.smin(args.chunk, args.patches - first)
    layout = _layout(args, tile)
    codes = k.stack(layout.place * form.places)
    sums = k.stack(layout.sum_place * form.places)

    with k.loop(0, count) as patches:
        patch = first + patches.index
        y, x = patch // args.patches_x * form.size, patch % args.patches_x * form.size
        source = args.a + (image * args.image_bytes + y * args.row_bytes + x * args.pixel_bytes)
        _invoke(k, "gather", address, source, codes + patches.index * layout.row)
    size = args.panel_bytes // form.places
    with k.loop(first_panel, last_panel) as panels:
        weights = args.panels + panels.index * args.panel_bytes
        with k.loop(0, form.places) as places:
            line, out = codes + places.index * layout.place, sums + places.index * layout.sum_place
            b = weights + places.index * size
            _blocks(k, tile, count, line, layout.row, b, size, args.steps, out)
        with k.loop(0, count) as patches:
            at = sums + patches.index * layout.sum
            _invoke(k, "scatter", address, at, image, first + patches.index, panels.index)
    k.ret()


def _blocks(
    k: Builder,
    tile: Tile,
    count: Value,
    line: Value,
    row_bytes: Value,
    weights: Value,
    size: Value,
    steps: Value,
    out: Value,
) -> None:
    """All patches at one of the places; the last block takes the lowest height that holds
    the rest (what lies behind it in the buffers is computed and not used)."""
    top = tile.heights[-1]
    whole = count // top * top

    def call(height: int, row: Value) -> None:
        at = out + row * (4 * tile.width)
        _invoke(k, f"block{height}", line + row * row_bytes, row_bytes, weights, steps, at)

    part = part_of(k, size, count // top)
    with k.loop(0, whole, top, carry=[k.const(I64, 0)]) as rows:
        rows.carry = [fetch_part(k, weights + size, size, rows.carry[0], part)]
        call(top, rows.index)
    least = 0
    for height in tile.heights:
        with k.when((count - whole > least) & (count - whole <= height)):
            call(height, whole)
        least = height


def _invoke(k: Builder, name: str, *args: Value) -> None:
    k.ir.call(k.module.globals[name], [a.raw for a in args])


def _emit_block(module: Any, tile: Tile, height: int) -> None:
    """``blockH(codes, row_bytes, weights, steps, out)``: sums of products [H, width]."""
    k = Builder(module, f"block{height}", (PTR, I64, PTR, I64, PTR), local=True)
    codes, row_bytes, weights, steps, out = k.args
    rows = [codes + row_bytes * r for r in range(height)]
    zeros = [zero_sum(k, tile)] * (height * tile.vectors)
    _, *sums = run_steps(k, tile, rows, weights, zeros, k.const(I64, 0), steps)
    for slot, acc in enumerate(sums):
        k.store(acc, out + slot * 4 * tile.lanes)
    k.ret()


def _emit_gather(module: Any, tile: Tile, form: Form) -> None:
    """``gather(args, source, out)``: ``Bᵀ d B`` of the patch at ``source``, [place, chunk, depth].

    An image of codes has slack behind it; a float image may end with its last pixel.
    """
    k = Builder(module, "gather", (PTR, PTR, PTR), local=True)
    address, source, out = k.args
    args = ARGS.load(k, address)
    place_bytes = _layout(args, tile).place
    lanes, item = _code_lanes(tile), tile.code.itemsize
    kind = vec(I16 if tile.sum == I32 else F32, lanes)
    across = range(form.extent)

    def vectors(c: Value, load: Any) -> None:
        at = source + c * item
        d = [[load(at + args.row_bytes * i + args.pixel_bytes * j) for j in across] for i in across]
        for i, row in enumerate(_both(_apply_b, k, form, d)):
            for j, value in enumerate(row):
                k.store(value, out + place_bytes * (form.extent * i + j) + c * item)

    full = args.depth if tile.sum == I32 else args.depth // lanes * lanes
    with k.loop(0, full, lanes) as loop:
        vectors(loop.index, lambda at: k.load(kind, at))
    if tile.sum == F32:
        with k.when(full < args.depth):
            mask = k.first(args.depth - full, lanes)
            vectors(full, lambda at: k.load_first(kind, at, mask))
    k.ret()


def _emit_scatter(module: Any, tile: Tile, form: Form, curved: bool) -> None:
    """``scatter(args, sums, image, patch, panel)``: the output pixels of a patch, of one panel."""
    k = Builder(module, "scatter", (PTR, PTR, I64, I64, I64), local=True)
    address, sums, image, patch, panel = k.args
    args = ARGS.load(k, address)
    hybrid = tile.sum == I32
    if hybrid:
        scale = k.load(F32, args.row_scale + image * 4)
        zero = k.load(I32, args.row_zero + image * 4)
    place_bytes = _layout(args, tile).sum_place
    channel = k.load(I64, args.panel_at + panel * 24 + 8)
    count = k.load(I64, args.panel_at + panel * 24 + 16)
    y, x = patch // args.patches_x * form.size, patch % args.patches_x * form.size
    corner = (image * args.rows + y) * args.columns + x
    nowhere = k.stack(k.const(I64, 4 * tile.lanes))
    kind = vec(tile.sum, tile.lanes)
    across, outputs = range(form.extent), range(form.size)

    def finish(acc: Value, at: Value) -> Value:
        if hybrid:
            exact = acc * form.inverse >> form.shift
            return activate(k, args, rescale(k, args, at, exact, scale, zero), curved)
        return activate(k, args, acc + k.load(kind, args.bias + at), curved)

    for v in range(tile.vectors):
        line = sums + 4 * tile.lanes * v
        m = [
            [k.load(kind, line + place_bytes * (form.extent * i + j)) for j in across]
            for i in across
        ]
        at = panel * (4 * tile.width) + 4 * tile.lanes * v
        results = [[finish(acc, at) for acc in row] for row in _both(_apply_a, k, form, m)]
        rest = count - tile.lanes * v
        placed = []
        for i in outputs:
            for j in outputs:
                pixel = args.out + ((corner + args.columns * i + j) * args.channels + channel) * 4
                inside = (y + i < args.rows) & (x + j < args.columns) & (rest > 0)
                to = k.select(inside, pixel + 4 * tile.lanes * v, nowhere)
                placed.append((results[i][j], to))
        mask = k.first(rest, tile.lanes)
        with k.either(rest >= tile.lanes) as (whole, partial):
            with whole:
                for value, to in placed:
                    k.store(value, to)
            with partial:
                for value, to in placed:
                    k.store_first(value, to, mask)
    k.ret()


# Layer -------------------------------------------------------------------------------------


def tile_for(request: Conv2D, isa: Isa) -> Tile | None:
    return isa.words if request.hybrid else isa.real


def form_for(request: Conv2D, isa: Isa, weights: Array) -> Form | None:
    """The form that computes a convolution faster than the tile for plain products does, if any.

    Four times as many weights take longer to read than products to make where they are many, as
    images then are small.
    """
    tile = tile_for(request, isa)
    depth, channels = request.in_channels, request.out_channels
    plain = request.kernel == (3, 3) and request.stride == request.dilation == (1, 1)
    if tile is None or not plain or request.groups > 1:
        return None
    if not MIN_CHANNELS <= depth <= MAX_DEPTH or channels < MIN_CHANNELS:
        return None
    few = depth * channels * tile.rate <= _READ
    if not request.hybrid:
        return REAL4 if few else REAL2
    form = INT4 if few and INT4.holds(weights) else INT2
    direct = isa.dense or isa.dot
    return form if form.gain * tile.rate > _WORTH * direct.rate else None


# How many times fewer cycles of products make up for the transformations.
_WORTH = 1.5
# Weights of which so many are read while a core multiplies a product a cycle.
_READ = 1 << 20
# Bytes of transformed patches that a tile keeps on its stack.
_KEPT = 192 * 1024


class WinogradLayer(Layer):
    """A convolution by the ``form`` of :func:`form_for`. ``weights``: [channels, 3, 3, depth]."""

    request: Conv2D

    def __init__(
        self,
        request: Conv2D,
        isa: Isa,
        form: Form,
        weights: Array,
        bias: Array | None,
        weight_scale: Array | None,
    ) -> None:
        tile = tile_for(request, isa)
        assert tile is not None
        super().__init__(request, isa, tile, f"winograd {form.name} {tile.name}")
        totals = weights.sum(axis=(1, 2, 3), dtype=np.int32) if request.hybrid else None
        transformed = form.weights(weights, tile.weight)
        self.form = form
        self.panels = pack.panels(tile, transformed, 1, bias, weight_scale, totals)
        self._fn = jit.load(unit(tile, form, self.curved), isa)["winograd"]

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
        size = self.form.size
        patches_y, patches_x = -(-rows // size), -(-columns // size)
        whole = (size * patches_y, size * patches_x)  # what lies beyond the result is padding
        window = Window(given.shape, (3, 3), (1, 1), (1, 1), padding, whole)
        prepared = self._code_image if self.request.hybrid else self._float_image
        image = prepared(launch, INPUT, window, threads)
        patches = patches_y * patches_x
        panels = self.panels
        chunk, panel_chunk = self._tiling(patches, depth, batch, threads)
        chunks = -(-patches // chunk)
        launch.add(
            self.label,
            self._fn,
            ARGS,
            batch * chunks * -(-panels.count // panel_chunk),
            a=image.place,
            image_bytes=image.image_bytes,
            row_bytes=image.row_bytes,
            pixel_bytes=depth * self.tile.code.itemsize,
            depth=depth,
            panels=panels.data,
            panel_bytes=panels.data.nbytes // panels.count,
            panel_at=panels.at,
            panel_count=panels.count,
            panel_chunk=panel_chunk,
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
            batch=batch,
            low=self.low,
            high=self.high,
        )
        return launch

    def _tiling(self, patches: int, depth: int, batch: int, threads: int) -> Pair:
        """Patches and panels of a tile: as many patches as the cache keeps, so that weights are
        read seldom, and yet some tiles for every thread."""
        top, count = self.tile.heights[-1], self.panels.count
        each = self.form.places * depth * self.tile.code.itemsize
        chunks = -(-patches * each // _KEPT)
        chunk = pack.round_up(-(-patches // chunks), top)
        panel_chunk = count
        wanted = 1 if threads == 1 else 4 * threads
        while batch * -(-patches // chunk) * -(-count // panel_chunk) < wanted:
            of_weights = panel_chunk * self.panels.data.nbytes // count
            if panel_chunk > 1 and (chunk <= top or of_weights > chunk * each):
                panel_chunk = -(-panel_chunk // 2)
            elif chunk > top:
                chunk = pack.round_up(-(-chunk // 2), top)
            else:
                break
        return chunk, panel_chunk
