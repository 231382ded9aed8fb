"""Weights in the order in which kernels read them. Done once, when a model is loaded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from octolite.ir.types import Array
from octolite.kernels.isa import Tile


def aligned(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
    """Zeros that start on a cache line."""
    size = int(np.prod(shape)) * dtype.itemsize
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
) -> Panels:
    """Pack ``weights`` [channels, taps, depth]; channels are split evenly over ``groups``.

    ``totals``: the sums of codes, where they are not those of ``weights``.
    """
    channels, taps, depth = weights.shape
    each = channels // groups
    per_group = -(-each // tile.width)
    steps = -(-depth // tile.depth)

    def spread(values: Array, dtype: np.dtype[np.generic]) -> Array:
        """[channels, …] to [panel, width, …], zeros where a panel is not full."""
        rest = values.shape[1:]
        out = aligned((groups, per_group * tile.width, *rest), dtype)
        out[:, :each] = values.reshape(groups, each, *rest)
        return out.reshape(groups * per_group, tile.width, *rest)

    lined = spread(weights, tile.weight)
    full = aligned((len(lined), tile.width, taps, steps * tile.depth), tile.weight)
    full[..., :depth] = lined
    data = _in_order(tile, full)

    index = np.arange(groups * per_group)
    group, within = index // per_group, index % per_group * tile.width
    at = np.stack([group * depth, group * each + within, np.minimum(each - within, tile.width)], 1)
    f32, i32 = np.dtype(np.float32), np.dtype(np.int32)
    if totals is None:
        whole = np.issubdtype(weights.dtype, np.integer)
        totals = weights.sum(axis=(1, 2), dtype=np.int32) if whole else np.zeros(channels, i32)
    return Panels(
        data,
        at.astype(np.int64),
        spread(channel_vector(scale, channels, 1.0), f32),
        spread(totals, i32),
        spread(channel_vector(bias, channels, 0.0), f32),
    )


def _in_order(tile: Tile, full: Array) -> Array:
    """[panel, width, tap, depth], whole steps, as the tile reads it."""
    (panels, _, taps, depth), (grains, lanes, grain) = full.shape, tile.order
    steps = depth // tile.depth
    split = full.reshape(panels, tile.vectors, lanes, taps, steps, grains, grain)
    order = (0, 3, 4, 1, 5, 2, 6)
    data = aligned(tuple(split.shape[axis] for axis in order), tile.weight)
    data[...] = split.transpose(order)
    return data


def again(data: Array, tile: Tile, other: Tile) -> Array:
    """What :func:`panels` packed for ``tile``, packed for ``other``, which is as wide."""
    panels, taps, steps = data.shape[:3]
    depth = steps * tile.depth
    lined = data.transpose(0, 3, 5, 1, 2, 4, 6).reshape(panels, tile.width, taps, depth)
    full = aligned((panels, tile.width, taps, round_up(depth, other.depth)), other.weight)
    full[..., :depth] = lined
    return _in_order(other, full)


def cross_sums(data: Array) -> Array:
    """Products of each step's weights with those of the next, summed over pairs of steps, for
    ``data`` as :class:`Panels` has it, of a tile whose grain is its depth: int32 [panel, vector,
    lane]."""
    steps = data.shape[2] // 2 * 2
    sums = np.einsum(
        "ptsvgld,ptsvgld->pvl", data[:, :, 0:steps:2], data[:, :, 1:steps:2], dtype=np.int32
    )
    return np.ascontiguousarray(sums)


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
