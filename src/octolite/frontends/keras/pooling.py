"""Pooling, over windows, over everything, or into a given number of parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from octolite.errors import UnsupportedError
from octolite.frontends.keras.engine import Call, layer
from octolite.frontends.keras.images import Images, rank_of
from octolite.ir.graph import Value
from octolite.ir.types import Padding

PADDINGS = {"same": Padding.SAME, "valid": Padding.VALID}
WINDOWS = {"Max": "MAX_POOL_2D", "Average": "AVERAGE_POOL_2D"}
WHOLE = {"Max": "REDUCE_MAX", "Average": "MEAN"}


def _kind(n: Call, table: dict[str, str]) -> str:
    return table["Max" if "Max" in n.op_type else "Average"]


@layer(*(f"{kind}Pooling{rank}D" for kind in WINDOWS for rank in (1, 2, 3)))
def pooling(n: Call, x: Value) -> Value:
    """In three dimensions two operators: over height and width, then over depth."""
    rank = rank_of(n)
    images = Images(n, n.real(x), rank)
    size = n.sizes("pool_size", rank, 2)
    strides = n.sizes("strides", rank) if n.has("strides") else size
    padding = n.choice("padding", PADDINGS, "valid")
    operator = _kind(n, WINDOWS)

    def pool(y: Value, size: Sequence[int], strides: Sequence[int]) -> Value:
        return n.op(
            operator, y, padding=padding, filter_height=size[0], filter_width=size[1],
            stride_h=strides[0], stride_w=strides[1],
        )  # fmt: skip

    if rank == 1:
        return images.result(pool(images.x, [1, *size], [1, *strides]))
    if rank == 2:
        return images.result(pool(images.x, size, strides))
    return images.result(_pool_volume(n, images.x, pool, size, strides))


def _pool_volume(
    n: Call, x: Value, pool: Callable[..., Value], size: Sequence[int], strides: Sequence[int]
) -> Value:
    depth, channels = n.extent(x, 1), n.extent(x, 4)
    planes = n.reshape(x, [-1, n.extent(x, 2), n.extent(x, 3), channels])
    y = pool(planes, size[1:], strides[1:])
    height, width = n.extent(y, 1), n.extent(y, 2)
    columns = n.reshape(y, [-1, depth, height * width, channels])
    z = pool(columns, [size[0], 1], [strides[0], 1])
    return n.reshaped(z, [(x, 0), n.extent(z, 1), height, width, channels])


@layer(*(f"Global{kind}Pooling{rank}D" for kind in WHOLE for rank in (1, 2, 3)))
def global_pooling(n: Call, x: Value) -> Value:
    """The average of a masked sequence is that of the steps that count."""
    rank = rank_of(n)
    first = n.text("data_format", "channels_last") == "channels_first"
    axes = [i + (2 if first else 1) for i in range(rank)]
    keep = n.flag("keepdims", False)
    mask = n.mask(x)
    x = n.real(x)
    if mask is not None and n.op_type == "GlobalAveragePooling1D":
        weight = n.expand(n.real(mask), 1 if first else 2)
        total = n.op("SUM", n.op("MUL", x, weight), axes, keep_dims=keep)
        return n.op("DIV", total, n.op("SUM", weight, axes, keep_dims=keep))
    return n.op(_kind(n, WHOLE), x, axes, keep_dims=keep)


@layer(*(f"Adaptive{kind}Pooling{rank}D" for kind in WHOLE for rank in (1, 2, 3)))
def adaptive_pooling(n: Call, x: Value) -> Value:
    """Each part of each axis is reduced in its turn."""
    rank = rank_of(n)
    first = n.text("data_format", "channels_last") == "channels_first"
    x = n.real(x)
    for number, count in enumerate(n.sizes("output_size", rank)):
        axis = number + (2 if first else 1)
        extent = n.extent(x, axis)
        if count > 4096:
            raise UnsupportedError(f"{n.op_type} into {count} parts")
        parts = [
            _part(n, x, axis, i * extent // count, -(-(i + 1) * extent // count))
            for i in range(count)
        ]
        x = n.op("CONCATENATION", *parts, axis=axis) if count > 1 else parts[0]
    return x


def _part(n: Call, x: Value, axis: int, begin: int, end: int) -> Value:
    begins: list[Any] = [0] * n.rank(x)
    sizes: list[Any] = [-1] * n.rank(x)
    begins[axis], sizes[axis] = begin, end - begin
    part = n.op("SLICE", x, begins, sizes)
    return n.op(_kind(n, WHOLE), part, [axis], keep_dims=True)
