"""Layers that only move elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from octolite.errors import InvalidGraphError, UnsupportedError
from octolite.frontends.keras.engine import Call, layer
from octolite.frontends.keras.images import Images, is_channels_first, rank_of
from octolite.ir.graph import Value
from octolite.ops.shapes import product


@layer("Reshape", masks="dropped")
def reshape(n: Call, x: Value) -> Value:
    """One extent may be -1."""
    target = n.ints("target_shape")
    if target.count(-1) > 1 or any(d < -1 for d in target):
        raise InvalidGraphError(f"{n.layer!r}: target_shape is {target}")
    inner = n.shape(x)[1:]
    if -1 in target and None not in inner:
        rest = int(np.prod([d for d in target if d != -1], dtype=object))
        size = product(inner) or 0
        if rest and size % rest == 0:
            target = [size // rest if d == -1 else d for d in target]
    return n.reshaped(x, [(x, 0) if -1 in target else -1, *target])


@layer("Flatten")
def flatten(n: Call, x: Value) -> Value:
    """RESHAPE; channels that come first are put last."""
    rank = n.rank(x)
    if rank == 1:
        return n.expand(x, 1)
    if is_channels_first(n) and rank > 2:
        x = n.transpose(x, (0, *range(2, rank), 1))
    inner = n.shape(x)[1:]
    if None in inner:
        return n.reshaped(x, [(x, 0), -1])
    return n.reshape(x, (-1, product(inner) or 0))


@layer("Permute")
def permute(n: Call, x: Value) -> Value:
    """TRANSPOSE."""
    dims = n.ints("dims")
    if sorted(dims) != list(range(1, n.rank(x))):
        raise InvalidGraphError(f"{n.layer!r}: {dims} is no order of the axes of {x!r}")
    return n.transpose(x, (0, *dims))


@layer("RepeatVector")
def repeat_vector(n: Call, x: Value) -> Value:
    """TILE."""
    wide = n.expand(x, 1)
    return n.op("TILE", wide, [1, n.count("n"), 1])


def _pairs(n: Call, key: str, rank: int) -> list[tuple[int, int]]:
    """What is added or cut before and after each axis."""
    given: Any = n.get(key, 1)
    items = [given] * rank if isinstance(given, int) else given
    if rank == 1 and isinstance(items, list) and len(items) == 2:
        items = [items]
    if not isinstance(items, list) or len(items) != rank:
        raise InvalidGraphError(f"{n.layer!r}: {key} is {given!r}, expected {rank} pairs")
    pairs = [(i, i) if isinstance(i, int) else i for i in items]
    for pair in pairs:
        if len(pair) != 2 or not all(type(i) is int and 0 <= i < 2**31 for i in pair):
            raise InvalidGraphError(f"{n.layer!r}: {key} is {given!r}, expected {rank} pairs")
    return [(a, b) for a, b in pairs]


def _first_axis(n: Call) -> int:
    return 2 if is_channels_first(n) else 1


@layer("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")
def zero_padding(n: Call, x: Value) -> Value:
    """PAD."""
    pairs, first = _pairs(n, "padding", rank_of(n)), _first_axis(n)
    borders = [(0, 0)] * n.rank(x)
    borders[first : first + len(pairs)] = pairs
    return n.op("PAD", x, np.asarray(borders, np.int32))


@layer("Cropping1D", "Cropping2D", "Cropping3D")
def cropping(n: Call, x: Value) -> Value:
    """STRIDED_SLICE."""
    pairs, first = _pairs(n, "cropping", rank_of(n)), _first_axis(n)
    begin, end = [0] * n.rank(x), [0] * n.rank(x)
    open_end = (1 << n.rank(x)) - 1
    for axis, (before, after) in enumerate(pairs, first):
        begin[axis] = before
        if after:
            end[axis], open_end = -after, open_end & ~(1 << axis)
    return n.op("STRIDED_SLICE", x, begin, end, [1] * n.rank(x), end_mask=open_end)


@layer("UpSampling1D")
def up_sampling_1d(n: Call, x: Value) -> Value:
    """Each step several times."""
    return repeated(n, x, 1, n.count("size", 2))


@layer("UpSampling2D")
def up_sampling_2d(n: Call, x: Value) -> Value:
    """By the nearest element or between neighbours."""
    images = Images(n, n.real(x), 2)
    sizes = n.sizes("size", 2, 2)
    kind = n.text("interpolation", "nearest")
    if kind not in ("nearest", "bilinear"):
        raise UnsupportedError(f"{n.op_type} with interpolation {kind!r}")
    known = [n.shape(images.x)[i] for i in (1, 2)]
    size: Any = [(d or 0) * s for d, s in zip(known, sizes, strict=True)]
    if None in known:
        size = n.extents([n.op("MUL", n.scalar(images.x, i + 1), sizes[i]) for i in (0, 1)])
    operator = {"nearest": "RESIZE_NEAREST_NEIGHBOR", "bilinear": "RESIZE_BILINEAR"}[kind]
    return images.result(n.op(operator, images.x, size, half_pixel_centers=True))


@layer("UpSampling3D")
def up_sampling_3d(n: Call, x: Value) -> Value:
    """Each element several times."""
    for axis, size in enumerate(n.sizes("size", 3, 2), _first_axis(n)):
        x = repeated(n, x, axis, size)
    return x


def repeated(n: Call, x: Value, axis: int, times: int) -> Value:
    """Each element along an axis, so many times in a row."""
    if times == 1:
        return x
    rank = n.rank(x)
    inner: Sequence[Any] = [(x, i) if n.shape(x)[i] is None else n.shape(x)[i] for i in range(rank)]
    known = n.shape(x)[axis]
    # […, extent, rest] → [-1, 1, rest] repeated along the middle → […, extent · times, rest]
    behind = [n.extent(x, i) for i in range(axis + 1, rank)]
    rest = int(np.prod(behind, dtype=object)) if behind else 1
    columns = n.reshape(x, (-1, 1, rest))
    wide = n.op("TILE", columns, [1, times, 1])
    whole = known * times if known is not None else -1
    return n.reshaped(wide, [*inner[:axis], whole, *behind])
