"""Weights in the order in which kernels read them. Done once, when a model is loaded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from octolite.ir.types import Array
from octolite.kernels.isa import Tile

# Weights that are brought into order at a time.
_STRETCH = 1 << 18


_charge: ContextVar[Callable[[int], None] | None] = ContextVar("charge", default=None)


@contextmanager
def charging(take: Callable[[int], None]) -> Iterator[None]:
    """While this lasts, ``take`` is told the bytes of packed constants, and of tables of where rows
    lie, before they are allocated; it may raise."""
    token = _charge.set(take)
    try:
        yield
    finally:
        _charge.reset(token)


def charge(size: int) -> None:
    """Tell whoever counts that ``size`` bytes are about to be allocated."""
    take = _charge.get()
    if take is not None:
        take(size)


def aligned(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
    """Zeros that start on a cache line."""
    size = math.prod(shape) * dtype.itemsize
    charge(size)
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


@dataclass(frozen=True)
class Panels:
    """Weights of a dot kernel.

    ``data``: [panel, tap, step, vector, …], each step in the tile's order. ``scale``, ``total``
    (sums of codes), ``bias``: [panel, width]. ``at``: int64 [panel, 3], where the panel's group
    starts in a row of activations (in elements), its first channel, its count of channels. Padding
    is zero.
    """

    data: Array
    at: Array
    scale: Array
    total: Array
    bias: Array

    @property
    def count(self) -> int:
        return len(self.at)


def panels(
    tile: Tile,
    weights: Array,
    groups: int,
    bias: Array | None,
    scale: Array | None,
    totals: Array | None = None,
    multiple: int = 1,
) -> Panels:
    """Pack ``weights`` [channels, taps, depth]; channels are split evenly over ``groups``.

    ``totals``: the sums of codes, where they are not those of ``weights``. ``multiple``: of this
    many steps, zeros behind the last that is needed.
    """
    channels, taps, depth = weights.shape
    each = channels // groups
    per_group = -(-each // tile.width)

    index = np.arange(groups * per_group)
    group, within = index // per_group, index % per_group * tile.width
    at = np.stack([group * depth, group * each + within, np.minimum(each - within, tile.width)], 1)
    f32, i32 = np.dtype(np.float32), np.dtype(np.int32)
    if totals is None:
        whole = np.issubdtype(weights.dtype, np.integer)
        totals = weights.sum(axis=(1, 2), dtype=np.int32) if whole else np.zeros(channels, i32)
    return Panels(
        _packed(tile, weights.reshape(groups, each, taps, depth), multiple),
        at.astype(np.int64),
        spread(tile, channel_vector(scale, channels, 1.0), groups, f32),
        spread(tile, totals, groups, i32),
        spread(tile, channel_vector(bias, channels, 0.0), groups, f32),
    )


def spread(tile: Tile, values: Array, groups: int, dtype: np.dtype[Any]) -> Array:
    """One number a channel as [panel, width], zeros where a panel is not full."""
    each = len(values) // groups
    count = -(-each // tile.width)
    out = aligned((groups, count * tile.width), dtype)
    out[:, :each] = values.reshape(groups, each)
    return out.reshape(groups * count, tile.width)


def _packed(tile: Tile, weights: Array, multiple: int) -> Array:
    """[group, channel, tap, depth] as the tile reads it, each group in panels of its own.

    A stretch of panels at a time, that nothing as large as the weights is needed beside the result.
    """
    groups, each, taps, depth = weights.shape
    count = -(-each // tile.width)
    steps = round_up(-(-depth // tile.depth), multiple)
    data = _room(tile, groups * count, taps, steps)
    stretch = max(1, _STRETCH // max(1, tile.width * taps * depth))
    for group, first in itertools.product(range(groups), range(0, count, stretch)):
        last = min(first + stretch, count)
        part = weights[group, first * tile.width : last * tile.width]
        shape = ((last - first) * tile.width, taps, steps * tile.depth)
        if part.shape == shape:
            full = np.ascontiguousarray(part, tile.weight)
        else:
            full = np.zeros(shape, tile.weight)
            full[: len(part), :, :depth] = part
        _put_in_order(tile, full, data[group * count + first : group * count + last])
    return data


def _room(tile: Tile, panels: int, taps: int, steps: int) -> Array:
    return aligned((panels, taps, steps, tile.vectors, *tile.order), tile.weight)


def _put_in_order(tile: Tile, full: Array, out: Array) -> None:
    """``full``: [panel · width, tap, depth], all panels and steps whole, contiguous."""
    panels, taps, steps = out.shape[:3]
    grains, lanes, grain = tile.order
    size = grain * full.itemsize
    if grain > 1 and size in (2, 4, 8):  # a grain moves as one number
        number = np.dtype(f"u{size}")
        full, out, grain = full.view(number), out.view(number), 1
    split = full.reshape(panels, tile.vectors, lanes, taps, steps, grains, grain)
    out[...] = split.transpose(0, 3, 4, 1, 5, 2, 6)


def again(data: Array, tile: Tile, other: Tile) -> Array:
    """What :func:`panels` packed for ``tile``, packed for ``other``, which is as wide."""
    panels, taps, steps = data.shape[:3]
    if (tile.vectors, *tile.order) == (other.vectors, *other.order):
        out = _room(other, panels, taps, steps)
        out[...] = data
        return out
    depth = steps * tile.depth
    lined = data.transpose(0, 3, 5, 1, 2, 4, 6).reshape(panels, tile.width, taps, depth)
    full = np.zeros((panels, tile.width, taps, round_up(depth, other.depth)), other.weight)
    full[..., :depth] = lined
    out = _room(other, panels, taps, full.shape[-1] // other.depth)
    _put_in_order(other, full, out)
    return out


def cross_sums(data: Array) -> Array:
    """Products of each step's weights with those of the next, summed over pairs of steps, for
    ``data`` as :class:`Panels` has it, of a tile whose grain is its depth: int32 [panel, vector,
    lane]."""
    steps = data.shape[2] // 2 * 2
    sums = np.empty((len(data), data.shape[3], data.shape[5]), np.int32)
    few = max(1, _STRETCH // max(1, data.size // max(1, len(data))))
    for first in range(0, len(data), few):
        part = data[first : first + few]
        both = np.multiply(part[:, :, 0:steps:2], part[:, :, 1:steps:2], dtype=np.int32)
        lanes = both.sum(axis=(1, 2), dtype=np.int32).sum(axis=(2, 4), dtype=np.int32)
        sums[first : first + few] = lanes
    return sums


def channel_vector(values: Array | None, channels: int, default: float) -> Array:
    """One float32 a channel, from one a channel, one for all, or none."""
    given = np.float32(default) if values is None else np.asarray(values, np.float32).reshape(-1)
    return np.broadcast_to(given, (channels,)).copy()


def channel_lines(values: Array, lanes: int, dtype: np.dtype[np.generic]) -> Array:
    """[…, channels] with the channels padded by zeros to whole vectors."""
    *outer, channels = values.shape
    out = aligned((*outer, round_up(channels, lanes)), dtype)
    out[..., :channels] = values
    return out
