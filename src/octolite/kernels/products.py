"""Rows of activations times panels of weights: how such products become tiles of one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from octolite.ir.types import Array
from octolite.kernels import dot, jit, requantize
from octolite.kernels.isa import Isa
from octolite.kernels.launch import NOWHERE, OUTPUT, Launch, Operand
from octolite.kernels.pack import Panels, charge, round_up
from octolite.kernels.tile import Tile
from octolite.kernels.window import Image

# Bytes that a tile of products may go over again and again.
_CACHED = 128 * 1024


@dataclass(frozen=True)
class Rows:
    """What is multiplied: int64 ``at``, where each row starts in the activations, ``out``, where
    its results start, both in bytes; int32 ``of``, whose scale and zero point it has.

    The last is repeated as often as a block may be longer than what is left of the rows.
    """

    at: Array
    out: Array
    of: Array

    @classmethod
    def of_tile(cls, tile: Tile, at: Array, out: Array, of: Array) -> Rows:
        """From tables without the slack; they may have axes in front, see :meth:`part`."""

        charge(at.size * 20)

        def table(values: Array, dtype: type[np.generic]) -> Array:
            *outer, count = values.shape
            padded = np.empty((*outer, count + tile.heights[-1]), dtype)
            padded[..., :count], padded[..., count:] = values, values[..., -1:]
            return padded

        return cls(table(at, np.int64), table(out, np.int64), table(of, np.int32))

    def part(self, index: int) -> Rows:
        """The rows of one out of several products."""
        return Rows(self.at[index], self.out[index], self.of[index])

    def count(self, tile: Tile) -> int:
        return len(self.at) - tile.heights[-1]


@dataclass(frozen=True)
class Product:
    """``rows`` of ``image`` times ``panels``.

    A row is read in segments of ``depth`` activations, which start ``taps`` bytes behind its own
    start. ``data``: the packed weights, where they are not those of ``panels``; ``cross``: see
    :func:`octolite.kernels.dot.run_crossed`; ``residual``: what is added to the results;
    ``codes``: what makes codes of sums.
    """

    image: Image
    rows: Rows
    taps: Array
    depth: int
    panels: Panels
    data: Operand
    panel_bytes: int
    cross: Operand = NOWHERE
    residual: Operand = NOWHERE
    codes: Mapping[str, Operand] = field(default_factory=lambda: requantize.NONE)

    def macs(self, tile: Tile) -> int:
        """Products of activations and weights."""
        channels = int(self.panels.at[:, 2].sum())
        return self.rows.count(tile) * len(self.taps) * self.depth * channels


def add(
    launch: Launch,
    label: str,
    isa: Isa,
    tile: Tile,
    products: Sequence[Product],
    clamp: tuple[float, float, bool],
    threads: int,
    ending: requantize.Ending | None = None,
) -> None:
    """Have ``products`` computed by one step into the output of ``launch``.

    ``clamp``: as :func:`octolite.kernels.clamp.bounds` gives it; ``ending``: how sums become codes,
    where results are not floats.
    """
    low, high, curved = clamp
    share = -(-4 * threads // max(len(products), 1)) if threads > 1 else 1
    cut = [_tiling(product, tile, share) for product in products]
    tiles = max((rows * panels for (_, rows), (_, panels) in cut), default=0)
    records: list[dict[str, Operand]] = [
        {
            "a": product.image.place,
            "row_at": product.rows.at,
            "tap_at": product.taps,
            "taps": len(product.taps),
            "steps": -(-product.depth // tile.depth),
            "panels": product.data,
            "panel_bytes": product.panel_bytes,
            "panel_at": product.panels.at * np.array([tile.code.itemsize, 1, 1]),
            "scale": product.panels.scale,
            "total": product.panels.total,
            "bias": product.panels.bias,
            "cross": product.cross,
            "row_of": product.rows.of,
            "row_scale": product.image.scale,
            "row_zero": product.image.zero,
            "row_cross": product.image.cross,
            "out": OUTPUT,
            "out_at": product.rows.out,
            "residual": product.residual,
            "low": low,
            "high": high,
            "rows": product.rows.count(tile),
            "row_chunk": row_chunk,
            "row_chunks": row_chunks,
            "panel_count": product.panels.count,
            "panel_chunk": panel_chunk,
            "record_tiles": tiles,
            **product.codes,
        }
        for product, ((row_chunk, row_chunks), (panel_chunk, _)) in zip(products, cut, strict=True)
    ]
    if records:
        centred = tile.centred and all(p.image.zero is NOWHERE for p in products)
        residual = any(p.residual is not NOWHERE for p in products)
        fn = jit.load(dot.unit(tile, curved, centred, residual, ending), isa)["dot"]
        first, *more = records
        launch.add(label, fn, dot.ARGS, tiles * len(records), *more, **first)


def _tiling(product: Product, tile: Tile, share: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and panels of a tile, and how many chunks there are of each: what a tile comes back to
    stays in the second cache, and there are ``share`` tiles unless the whole is small."""
    top, count, rows = tile.heights[-1], product.panels.count, product.rows.count(tile)
    depth = len(product.taps) * product.depth
    channels = int(product.panels.at[:, 2].sum())
    row_bytes = depth * tile.code.itemsize
    if 4 * tile.width < 64:
        row_bytes += 4 * channels  # a line of the cache is filled by the panel and the next one
    row_chunk = round_up(-(-rows // max(1, round(rows * row_bytes / _CACHED))), top)
    panel_chunk = count
    # Some 100 000 products take a few microseconds: no smaller tiles than that.
    wanted = min(share, 1 + rows * depth * channels // 100_000)
    while -(-rows // row_chunk) * -(-count // panel_chunk) < wanted:
        if row_chunk >= 8 * top:
            row_chunk = round_up(-(-row_chunk // 2), top)
        elif panel_chunk > 1:
            panel_chunk = -(-panel_chunk // 2)
        elif row_chunk > top:
            row_chunk = round_up(-(-row_chunk // 2), top)
        else:
            break
    return (row_chunk, -(-rows // row_chunk)), (panel_chunk, -(-count // panel_chunk))
