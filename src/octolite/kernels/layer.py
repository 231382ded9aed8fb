"""What layers with weights share: the steps that prepare their activations.

Every layer reads a float buffer, or codes that an earlier step left in scratch.
"""

from __future__ import annotations

from octolite.ir.types import Array
from octolite.kernels import jit, microscaled, prepare
from octolite.kernels.clamp import bounds
from octolite.kernels.isa import Isa, Tile
from octolite.kernels.launch import NOWHERE, Launch, Operand, Place
from octolite.kernels.pack import round_up
from octolite.kernels.spec import Request
from octolite.kernels.window import Image, Window

# Elements that make a tile of a copying step worth its dispatch.
COPY_TILE = 16384


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
        if tile.pairs is not None:
            row_bytes = microscaled.row_bytes(depth)
        codes = launch.reserve(rows * row_bytes + 64)
        scale = launch.reserve(rows * 4)
        zero = NOWHERE if tile.centred else launch.reserve(rows * 4)
        cross = launch.reserve(rows * 4) if tile.crossed else NOWHERE
        chunk = copy_chunk(rows, depth, threads)
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
        parts = max(1, min(size // COPY_TILE, 32))
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
        chunk = copy_chunk(rows, columns * channels, threads)
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


def copy_chunk(rows: int, row: int, threads: int) -> int:
    """Rows of a tile of a copying step."""
    least = max(1, COPY_TILE // max(row, 1))
    return max(1, min(rows, max(least, -(-rows // (4 * threads)))))
