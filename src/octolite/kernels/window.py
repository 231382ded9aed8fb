"""Where a convolution reads: windows over images, and the runs of activations inside them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from octolite.errors import KernelError
from octolite.ir.types import Array
from octolite.kernels.launch import NOWHERE, Operand, Place
from octolite.kernels.pack import charge
from octolite.kernels.spec import Conv2D, DepthwiseConv2D

Pair = tuple[int, int]


@dataclass(frozen=True)
class Image:
    """Where windows are read: a float buffer or codes, with rows of ``row_bytes``.

    ``zero`` is nowhere if codes are kept less their zero point.
    """

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


def expect(what: str, expected: int, found: int) -> None:
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
    expect("input channels", request.in_channels, shape[3])
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


def tap_starts(request: Conv2D, row_bytes: int, item: int) -> Array:
    """Where the segments start, in bytes from the first pixel of the window."""
    taps, _ = segments(request)
    columns = taps // request.kernel[0]
    kernel = (request.kernel[0], columns)
    return _tap_grid(kernel, request.dilation, row_bytes, request.in_channels * item)


def _tap_grid(kernel: Pair, dilation: Pair, row_bytes: int, pixel_bytes: int) -> Array:
    y = np.arange(kernel[0], dtype=np.int64) * (dilation[0] * row_bytes)
    x = np.arange(kernel[1], dtype=np.int64) * (dilation[1] * pixel_bytes)
    return (y[:, None] + x[None, :]).reshape(-1)


def pixel_starts(window: Window, image: Image, item: int) -> Array:
    """Where the window of each output pixel starts, in bytes."""
    batch, _, _, channels = window.shape
    charge(24 * batch * math.prod(window.output))  # these, and what callers make beside them
    b = np.arange(batch, dtype=np.int64) * image.image_bytes
    y = np.arange(window.output[0], dtype=np.int64) * (window.stride[0] * image.row_bytes)
    x = np.arange(window.output[1], dtype=np.int64) * (window.stride[1] * channels * item)
    return (b[:, None, None] + y[None, :, None] + x[None, None, :]).reshape(-1)
