"""Transposed convolutions as ordinary ones: one for each phase of the stride.

Result row ``y`` gets what input row ``i`` sends through tap ``k = y + top - i · stride``. All rows
with the same ``(y + top) mod stride``, a phase, have the same taps, one out of ``stride``; as
``i`` falls by 1 from tap to tap, the reversed taps are a convolution of stride 1. Columns alike.
Nothing is added twice and nothing is multiplied by the zeros between pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from octolite.errors import KernelError
from octolite.ir.types import Array
from octolite.kernels import pack, products
from octolite.kernels.isa import Isa
from octolite.kernels.launch import INPUT, Launch
from octolite.kernels.layer import Layer
from octolite.kernels.pack import Panels
from octolite.kernels.products import Product, Rows
from octolite.kernels.spec import TransposeConv2D
from octolite.kernels.window import Image, Pair, Window, expect

if TYPE_CHECKING:
    from octolite.kernels.select import Kernel


@dataclass(frozen=True)
class Phase:
    """The taps of a phase: how many there are each way, and their weights, packed."""

    kernel: Pair
    panels: Panels


@dataclass(frozen=True)
class Frame:
    """What each phase finds: the result's extents, how far it is cut off above and on the left,
    and where input pixel 0 lies in the padded image."""

    batch: int
    output: Pair
    cut: Pair
    origin: Pair

    def sees(self, phase: Pair, stride: Pair) -> bool:
        """Whether any pixel of the result belongs to a phase."""
        axes = zip(phase, self.cut, stride, self.output, strict=True)
        return all((p - cut) % step < extent for p, cut, step, extent in axes)


class TransposeConvLayer(Layer):
    """``weights``: [channels, kernel_h, kernel_w, depth]."""

    request: TransposeConv2D

    def __init__(
        self,
        request: TransposeConv2D,
        isa: Isa,
        weights: Array,
        bias: Array | None,
        weight_scale: Array | None,
    ) -> None:
        tile = (isa.dense or isa.dot) if request.hybrid else isa.real
        variant = f"transposed dot {tile.name} {tile.heights[-1]}x{tile.width}"
        super().__init__(request, isa, tile, variant)
        self._phases: dict[Pair, Phase] = {}
        for y, x in np.ndindex(*request.stride):
            taps = weights[:, y :: request.stride[0], x :: request.stride[1]][:, ::-1, ::-1]
            channels, rows, columns, depth = taps.shape
            lined = taps.reshape(channels, rows, columns * depth)
            panels = pack.panels(tile, lined, 1, bias, weight_scale)
            self._phases[y, x] = Phase((rows, columns), panels)

    def launch(
        self,
        input_shape: tuple[int, ...],
        padding: Pair = (0, 0),
        output_hw: Pair = (0, 0),
        threads: int = 1,
    ) -> Launch:
        """Lay the layer out for ``input_shape`` [batch, height, width, channels].

        ``padding``: rows above and columns left of ``output_hw``, the result, that are cut off.
        """
        batch, height, width, depth = input_shape
        expect("input channels", self.request.in_channels, depth)
        launch = Launch((batch, *output_hw, self.request.out_channels), 0)
        if 0 in launch.output_shape:
            return launch
        stride = self.request.stride
        cuts = zip(self.request.kernel, stride, padding, output_hw, strict=True)
        (taps_y, top, count_y), (taps_x, left, count_x) = (_reach(*axis) for axis in cuts)
        window = Window(
            (batch, height, width, depth),
            (taps_y, taps_x),
            (1, 1),
            (1, 1),
            (top, left),
            (count_y, count_x),
        )
        prepare = self._code_image if self.request.hybrid else self._float_image
        image = prepare(launch, INPUT, window, threads)
        frame = Frame(batch, output_hw, padding, window.padding)
        found = [self._product(at, image, frame) for at in self._phases if frame.sees(at, stride)]
        launch.macs = sum(p.macs(self.tile) for p in found)
        clamp = self.low, self.high, self.curved
        products.add(launch, self.label, self.isa, self.tile, found, clamp, threads)
        return launch

    def _product(self, at: Pair, image: Image, frame: Frame) -> Product:
        """The pixels of the phase ``at`` times its taps."""
        phase, item = self._phases[at], self.tile.code.itemsize
        depth, channels = self.request.in_channels, self.request.out_channels
        axes = zip(
            at,
            self.request.stride,
            frame.cut,
            frame.output,
            phase.kernel,
            frame.origin,
            strict=True,
        )
        (y, top), (x, left) = (_pixels(*axis) for axis in axes)
        b = np.arange(frame.batch)[:, None, None]
        starts = b * image.image_bytes + top[:, None] * image.row_bytes + left * (depth * item)
        pixels = (b * frame.output[0] + y[:, None]) * frame.output[1] + x
        out = pixels * (channels * 4)
        rows = Rows.of_tile(
            self.tile, starts.ravel(), out.ravel(), np.broadcast_to(b, out.shape).ravel()
        )
        taps = np.arange(phase.kernel[0], dtype=np.int64) * image.row_bytes
        data = phase.panels.data
        return Product(
            image,
            rows,
            taps,
            phase.kernel[1] * depth,
            phase.panels,
            data,
            data.nbytes // phase.panels.count,
        )


class ReversedConvLayer:
    """A transposed convolution of stride 1, computed by ``layer``, a convolution."""

    def __init__(self, request: TransposeConv2D, layer: Kernel) -> None:
        self.request = request
        self.layer = layer
        self.label = layer.label

    def launch(
        self,
        input_shape: tuple[int, ...],
        padding: Pair = (0, 0),
        output_hw: Pair = (0, 0),
        threads: int = 1,
    ) -> Launch | None:
        """As :meth:`TransposeConvLayer.launch`; no more than what a kernel adds is cut off."""
        before = [k - 1 - cut for k, cut in zip(self.request.kernel, padding, strict=True)]
        if min(before) < 0:
            raise KernelError(
                f"a result cannot begin {padding} pixels behind the first that a kernel of "
                f"{self.request.kernel} gives"
            )
        return self.layer.launch(input_shape, (before[0], before[1]), output_hw, threads)


def _reach(kernel: int, stride: int, cut: int, extent: int) -> tuple[int, int, int]:
    """Along one axis: the most taps that a phase has, how far a window of so many reaches out
    before the first input pixel, and how many windows there are."""
    taps = -(-kernel // stride)
    first, last = cut // stride, (cut + extent - 1) // stride
    before = max(0, taps - 1 - first)
    return taps, before, before + last + 2 - taps


def _pixels(
    phase: int, stride: int, cut: int, extent: int, taps: int, before: int
) -> tuple[Array, Array]:
    """Along one axis: the result's pixels of a phase, and where the window of each starts in the
    padded image. The first of the reversed taps belongs to the pixel that is furthest back."""
    pixels = np.arange((phase - cut) % stride, extent, stride, dtype=np.int64)
    return pixels, (pixels + cut) // stride + before - (taps - 1)
