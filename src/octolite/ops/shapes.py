"""Small engines for shape rules; extents may be unknown (``None``) in all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from octolite.errors import ShapeError
from octolite.ir.types import Array, Dim, DType, Operand, Padding, Shape, TensorType

MOST_ELEMENTS = 2**29
"""Elements that one tensor may have when a shape comes from data: 2 GiB of float32."""


def like(x: Operand) -> list[TensorType]:
    """The result has the type of ``x``."""
    return [TensorType(x.dtype, x.shape)]


def product(dims: Sequence[Dim]) -> Dim:
    """The product of extents, unknown if any is (unless one is 0)."""
    if any(d == 0 for d in dims):
        return 0
    total = 1
    for d in dims:
        if d is None:
            return None
        total *= d
    return total


def broadcast(*shapes: Shape | None) -> Shape | None:
    """NumPy's broadcast. Raises :class:`ShapeError`."""
    known = [s for s in shapes if s is not None]
    if len(known) < len(shapes):
        return None
    rank = max(map(len, known), default=0)
    padded = [(1,) * (rank - len(s)) + tuple(s) for s in known]
    return tuple(_broadcast_dim(dims, known) for dims in zip(*padded, strict=True))


def broadcast_operands(*operands: Operand) -> Shape | None:
    """The shape to which all operands broadcast. Raises :class:`ShapeError` naming them."""
    try:
        return broadcast(*(v.shape for v in operands))
    except ShapeError as error:
        raise ShapeError(f"{', '.join(repr(v.name) for v in operands)}: {error}") from None


def _broadcast_dim(dims: Sequence[Dim], shapes: Sequence[Shape]) -> Dim:
    wide = {d for d in dims if d is not None and d != 1}
    if len(wide) > 1:
        raise ShapeError(f"shapes {' and '.join(map(str, shapes))} do not broadcast together")
    if wide:
        return wide.pop()
    return None if None in dims else 1


def window(size: Dim, kernel: int, stride: int, dilation: int, padding: Padding) -> Dim:
    """How many windows fit along one axis. Raises :class:`ShapeError` for stride < 1."""
    if stride < 1 or dilation < 1:
        raise ShapeError(f"stride {stride} and dilation {dilation} must be at least 1")
    if size is None:
        return None
    extent = (kernel - 1) * dilation + 1
    if padding is Padding.SAME:
        return -(-size // stride)
    return max(0, -(-(size - extent + 1) // stride))


def window_padding(
    size: int, kernel: int, stride: int, dilation: int, padding: Padding
) -> tuple[int, int]:
    """Padding before and after along one axis; an odd one goes behind, as TensorFlow has it."""
    if padding is Padding.VALID:
        return 0, 0
    extent = (kernel - 1) * dilation + 1
    total = max(0, (-(-size // stride) - 1) * stride + extent - size)
    return total // 2, total - total // 2


def axis_of(axis: int, rank: int) -> int:
    """``axis`` counted from the front. Raises :class:`ShapeError` when out of range."""
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} is out of range for rank {rank}")
    return axis + rank if axis < 0 else axis


def same_dtype(*operands: Operand) -> DType:
    """The dtype that all operands have. Raises :class:`ShapeError`."""
    first = operands[0]
    for other in operands[1:]:
        if other.dtype is not first.dtype:
            raise ShapeError(
                f"{first.name!r} is {first.dtype} and {other.name!r} is {other.dtype}; "
                "they should have one type"
            )
    return first.dtype


def same_shape(*operands: Operand, but: int | None = None) -> Shape | None:
    """What is known of the shape that all operands have, along every axis but one.

    The extent along that one axis (counted from the front) is the first operand's. Raises
    :class:`ShapeError`.
    """
    known = [v for v in operands if v.shape is not None]
    if not known:
        return None
    first = known[0]
    merged: list[Dim] = list(first.shape or ())
    for other in known[1:]:
        shape = other.shape or ()
        if len(shape) != len(merged):
            raise ShapeError(
                f"{first.name!r} {first.shape} and {other.name!r} {shape} differ in rank"
            )
        for axis, (a, b) in enumerate(zip(merged, shape, strict=True)):
            if axis == but:
                continue
            if a is not None and b is not None and a != b:
                raise ShapeError(
                    f"{first.name!r} {first.shape} and {other.name!r} {shape} differ along "
                    f"axis {axis}"
                )
            merged[axis] = b if a is None else a
    return tuple(merged)


def constant_ints(x: Operand | None) -> list[int] | None:
    """The integers of a constant operand, flat; ``None`` when it is not known yet."""
    if x is None or x.data is None:
        return None
    return list(integers(np.asarray(x.data)))


def constant_int(x: Operand | None) -> int | None:
    """The integer of a constant operand of one element; ``None`` when it is not known yet."""
    values = constant_ints(x)
    if values is not None and len(values) != 1:
        assert x is not None
        raise ShapeError(f"{x.name!r} should hold one integer and has shape {x.shape}")
    return None if values is None else values[0]


def integer(x: Array) -> int:
    """The integer in an array of one element. Raises :class:`ShapeError`."""
    if x.size != 1:
        raise ShapeError(f"expected one integer, found an array of shape {x.shape}")
    return integers(x)[0]


def integers(x: Array) -> tuple[int, ...]:
    """The integers in an array, flat. Raises :class:`ShapeError` for complex numbers."""
    if x.dtype.kind == "c":
        raise ShapeError(f"expected integers, found {x.dtype}")
    return tuple(int(v) for v in x.reshape(-1))


def length(x: Operand) -> Dim:
    """How many elements a vector has (a scalar counts as one), where that is known."""
    return None if x.shape is None else product(x.shape)


def unknown(rank: Dim) -> Shape | None:
    """A shape of ``rank`` unknown extents; of unknown rank if that is ``None``."""
    return None if rank is None else (None,) * rank


def axes_of(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """``axes`` counted from the front, each once, in order; none for a scalar."""
    return tuple(sorted({axis_of(a, rank) for a in axes})) if rank else ()


def sized(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape that data asks for, checked before anything is allocated.

    Raises :class:`ShapeError` for a negative extent or more than :data:`MOST_ELEMENTS`.
    """
    if any(d < 0 for d in shape):
        raise ShapeError(f"shape {list(shape)} has a negative extent")
    if math.prod(shape) > MOST_ELEMENTS:
        raise ShapeError(f"shape {list(shape)} asks for more than {MOST_ELEMENTS:,} elements")
    return tuple(shape)


def rank_of(x: Operand, name: str, *ranks: int) -> Shape | None:
    """The shape of ``x``, checked to have one of ``ranks`` when known. Raises ShapeError."""
    if x.shape is not None and len(x.shape) not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise ShapeError(f"{name} {x.name!r} has shape {x.shape}, expected rank {wanted}")
    return x.shape
