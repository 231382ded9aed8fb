"""Windows that slide over height and width of NHWC tensors: convolutions and pooling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from octolite.ir.types import Array, Dim, Padding, Shape
from octolite.ops.shapes import window, window_padding

ROW, COLUMN = 1, 2
"""The axes of an NHWC tensor that windows slide along."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Size and movement of a window; every pair is (height, width)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: Padding

    def extents(self, shape: Shape) -> tuple[Dim, Dim]:
        """How many windows an image of ``shape`` [n, h, w, c] has. Raises ShapeError."""
        rows, columns = (
            window(size, *self._axis(axis), self.padding)
            for axis, size in ((ROW, shape[ROW]), (COLUMN, shape[COLUMN]))
        )
        return rows, columns

    def _axis(self, axis: int) -> tuple[int, int, int]:
        i = axis - ROW
        return self.kernel[i], self.stride[i], self.dilation[i]

    def before(self, shape: Shape) -> tuple[int, int]:
        """Rows above and columns left of an image of ``shape`` that the first windows reach."""
        rows, columns = (
            window_padding(shape[axis] or 0, *self._axis(axis), self.padding)[0]
            for axis in (ROW, COLUMN)
        )
        return rows, columns

    def padded(self, x: Array, fill: Array | float = 0) -> Array:
        """``x`` [n, h, w, c] with its border: ``fill`` is a number, or one for each image."""
        before_after = [
            window_padding(x.shape[axis], *self._axis(axis), self.padding) for axis in (ROW, COLUMN)
        ]
        if not any(map(any, before_after)):
            return x
        (top, bottom), (left, right) = before_after
        n, h, w, c = x.shape
        out = np.empty((n, h + top + bottom, w + left + right, c), x.dtype)
        out[...] = np.reshape(fill, (-1, 1, 1, 1))
        out[:, top : top + h, left : left + w] = x
        return out

    def along(self, x: Array, axis: int) -> Array:
        """A view of padded ``x`` whose new last axis runs through each window along ``axis``."""
        kernel, stride, dilation = self._axis(axis)
        extent = (kernel - 1) * dilation + 1
        if x.shape[axis] < extent:
            return np.empty((*x.shape[:axis], 0, *x.shape[axis + 1 :], kernel), x.dtype)
        view = np.lib.stride_tricks.sliding_window_view(x, extent, axis)
        steps = (slice(None),) * axis
        return view[(*steps, slice(None, None, stride))][..., ::dilation]

    def patches(self, x: Array, fill: Array | float = 0) -> Array:
        """A view [n, out_h, out_w, kernel_h, kernel_w, c] of what each window sees of ``x``."""
        rows = self.along(self.padded(x, fill), ROW)
        return np.moveaxis(self.along(rows, COLUMN), 3, 5)
