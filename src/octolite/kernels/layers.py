"""Fully connected layers and convolutions on top of the dot products: shapes become steps."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from octolite.ir.types import Array
from octolite.kernels import pack, requantize, strassen
from octolite.kernels.isa import Isa, Tile
from octolite.kernels.launch import INPUT, NOWHERE, SECOND, Launch, Operand, Place
from octolite.kernels.layer import Layer
from octolite.kernels.products import Product, Rows, add
from octolite.kernels.spec import Conv2D, FullyConnected, per_pixel
from octolite.kernels.window import Image, Pair, expect, pixel_starts, tap_starts, window_of

# Products of a row that make a crossed tile worth the sums that each row then needs.
MIN_CROSSED = 32 * 1024


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
        given: Tile | None = None,
    ) -> None:
        """``given``: the tile, if it is not to be chosen here."""
        tile = isa.dot if request.hybrid else isa.real
        by_row = isinstance(request, FullyConnected) or per_pixel(request)
        fewer = request.hybrid and by_row and strassen.tile_of(isa) is not None
        if request.hybrid and isinstance(request, Conv2D) and isa.dense is not None and not fewer:
            tile = isa.dense
        groups = request.groups if isinstance(request, Conv2D) else 1
        if isinstance(request, Conv2D) and not request.hybrid:
            tile = tile.fitting(request.out_channels // groups)
        tile = given or tile
        super().__init__(request, isa, tile, f"dot {tile.name} {tile.heights[-1]}x{tile.width}")
        self.depth = weights.shape[2]
        self.channels = weights.shape[0]
        self.work = weights.size
        steps = strassen.STEPS if fewer else 1
        self.panels = pack.panels(tile, weights, groups, bias, weight_scale, multiple=steps)
        self._dense: Array | None = None
        self._cross: Array | None = None

    @property
    def _residual(self) -> bool:
        return isinstance(self.request, Conv2D) and self.request.residual

    def _products(self, rows: int) -> tuple[Array, Tile]:
        """The packed weights, and the tile that takes them, for so many rows. Few rows wait for
        the weights, so they are read as bytes; for many, they are packed again where that is
        faster."""
        dense = self.isa.dense
        if self.tile is not self.isa.dot or dense is None or rows < 2 * dense.heights[-1]:
            return self.panels.data, self.tile
        if self._dense is None:
            self._dense = pack.again(self.panels.data, self.tile, dense)
        return self._dense, dense

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

    def _hybrid_rows(
        self,
        launch: Launch,
        source: Place,
        source_at: Array,
        threads: int,
        out_at: Array | None = None,
    ) -> None:
        """Quantize rows, each by its own range, and have them multiplied."""
        rows = len(source_at)
        pack.charge(16 * rows)
        index = np.arange(rows, dtype=np.int64)
        if not self._residual and strassen.pays(self.isa, rows, self.depth, self.channels):
            out = index * (self.channels * 4) if out_at is None else out_at
            given = strassen.Rows(source, source_at, out, self.depth, self.request.asymmetric)
            clamp = self.low, self.high, self.curved
            strassen.add(launch, self.isa, given, self.panels, clamp, threads)
            return
        products = self._by_row(rows)
        image = self._quantize_rows(launch, products[1], source, source_at, self.depth, threads)
        starts = index * image.row_bytes
        self._dot(launch, image, starts, index, np.zeros(1), threads, products, out_at)

    def _dot(
        self,
        launch: Launch,
        image: Image,
        row_at: Array,
        row_of: Array,
        tap_at: Array,
        threads: int,
        products: tuple[Array, Tile],
        out_at: Array | None = None,
        ending: requantize.Ending | None = None,
        codes: Mapping[str, Operand] = requantize.NONE,
    ) -> None:
        """Have the products computed. ``out_at``: where the results of each row start, in bytes,
        if they do not lie side by side; ``ending``, ``codes``: see :mod:`products`."""
        data, tile = products
        if out_at is None:
            item = 4 if ending is None else ending.item
            out_at = np.arange(len(row_at), dtype=np.int64) * (self.channels * item)
        product = Product(
            image,
            Rows.of_tile(tile, row_at, out_at, row_of),
            tap_at.astype(np.int64),
            self.depth,
            self.panels,
            data,
            data.nbytes // self.panels.count,
            self._cross if tile.crossed and self._cross is not None else NOWHERE,
            SECOND if self._residual else NOWHERE,
            codes,
        )
        clamp = self.low, self.high, self.curved
        add(launch, self.label, self.isa, tile, [product], clamp, threads, ending)


class FullyConnectedLayer(DotLayer):
    """``weights``: [channels, 1, depth]."""

    request: FullyConnected

    def launch(
        self,
        input_shape: tuple[int, ...],
        padding: Pair = (0, 0),
        output_hw: Pair | None = None,
        threads: int = 1,
        row_at: Array | None = None,
        out_at: Array | None = None,
    ) -> Launch:
        """Lay the layer out for ``input_shape`` [rows, depth].

        ``row_at``: int64 [rows], where each row starts in the input, in bytes, if they do not lie
        side by side; ``out_at``: the same of the results.
        """
        rows, depth = input_shape
        expect("input depth", self.request.depth, depth)
        launch = Launch((rows, self.channels), rows * self.work)
        if 0 in launch.output_shape:
            return launch
        index = np.arange(rows, dtype=np.int64)
        starts = index * (depth * 4) if row_at is None else row_at
        if self.request.hybrid:
            self._hybrid_rows(launch, INPUT, starts, threads, out_at)
            return launch
        image, products = Image(INPUT, rows * depth * 4, depth * 4), self._products(rows)
        self._dot(launch, image, starts, index, np.zeros(1), threads, products, out_at)
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
            self._hybrid_rows(launch, source.place, pixel_starts(window, source, 4), threads)
            return launch
        else:
            image = self._code_image(launch, INPUT, window, threads)
        item = self.tile.code.itemsize
        taps = tap_starts(self.request, image.row_bytes, item)
        row_of = np.repeat(np.arange(input_shape[0]), math.prod(window.output))
        self._dot(
            launch,
            image,
            pixel_starts(window, image, item),
            row_of,
            taps,
            threads,
            self._products(pixels),
        )
        return launch
