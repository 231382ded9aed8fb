"""1×1 convolutions of rectified sums, by microscaled codes."""

from __future__ import annotations

import os

import numpy as np

from octolite.errors import KernelError, did_you_mean
from octolite.ir.types import Array
from octolite.kernels import microscaled
from octolite.kernels.isa import Isa, Tile
from octolite.kernels.launch import Launch, Place
from octolite.kernels.layer import Layer
from octolite.kernels.layers import ConvLayer
from octolite.kernels.spec import Conv2D, per_pixel

# Ranges of all blocks of a few rows are kept on the stack.
MAX_DEPTH = 16384

CODES = ("auto", "8bit", "7bit")


class PointwiseLayer(ConvLayer):
    """``weights``: [channels, 1, depth]."""

    def __init__(
        self,
        request: Conv2D,
        isa: Isa,
        tile: Tile,
        weights: Array,
        bias: Array | None,
        weight_scale: Array | None,
    ) -> None:
        Layer.__init__(self, request, isa, tile, f"dot {tile.name} {tile.heights[-1]}x{tile.width}")
        self.depth, self.channels = request.in_channels, request.out_channels
        self.work = weights.size
        self.panels = microscaled.panels(tile, isa, weights, bias, weight_scale)

    def _hybrid_rows(
        self,
        launch: Launch,
        source: Place,
        source_at: Array,
        threads: int,
        out_at: Array | None = None,
    ) -> None:
        index = np.arange(len(source_at), dtype=np.int64)
        image = self._quantize_rows(launch, self.tile, source, source_at, self.depth, threads)
        products = self.panels.data, self.tile
        starts = index * image.row_bytes
        self._dot(launch, image, starts, index, np.zeros(1), threads, products, out_at)


def tile_for(request: Conv2D, isa: Isa) -> Tile | None:
    """The tile that takes the convolution, if this is one for microscaled codes.

    ``OCTOLITE_ACTIVATIONS`` is ``8bit``, which forbids them, ``7bit``, which takes them wherever
    they are possible, or ``auto``: where they lose nothing to speak of. Raises
    :class:`KernelError` when it is anything else.
    """
    chosen = os.environ.get("OCTOLITE_ACTIVATIONS") or "auto"
    if chosen not in CODES:
        raise KernelError(
            f"OCTOLITE_ACTIVATIONS cannot be {chosen!r}. {did_you_mean(chosen, CODES)}"
        )
    wanted = {"8bit": False, "7bit": request.rectified, "auto": request.finer_blocks}[chosen]
    fits = wanted and request.hybrid and per_pixel(request)
    if not fits or not 0 < request.in_channels <= MAX_DEPTH:
        return None
    return isa.microscaled
