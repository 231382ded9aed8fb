"""Operators that make a tensor larger: a border around it, or copies of it side by side."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from octolite.errors import ShapeError
from octolite.ir.fixed_point import Codes
from octolite.ir.types import (
    BOOL,
    INT8,
    INT16,
    INT64,
    STRING,
    UINT8,
    Array,
    Operand,
    Quant,
    TensorType,
)
from octolite.kernels import spec
from octolite.kernels.views import Move, View
from octolite.ops.base import Operator, QuantRule, attr
from octolite.ops.case import case, codes, const, f32, flags, given, ints
from octolite.ops.movement import Extents, Movement, view_of
from octolite.ops.shapes import constant_ints, integers, length, rank_of, same_dtype, sized, unknown


class MirrorMode(IntEnum):
    """What a mirrored border shows first: the second element, or the first again."""

    REFLECT = 0
    SYMMETRIC = 1


class Bordered(Movement, abstract=True):
    """``paddings[i]`` elements before and after along axis i; paddings [rank, 2]."""

    quant = QuantRule(same_scale=True)
    dtype_versions = {BOOL: 5, INT16: 3, INT8: 2}

    def infer(self, x: Operand, paddings: Operand, *rest: Operand) -> Sequence[TensorType]:
        borders = constant_ints(paddings)
        pairs = rank_of(paddings, "paddings", 2)
        if x.shape is None:
            return [TensorType(x.dtype, unknown(None if pairs is None else pairs[0]))]
        shape = x.shape
        if pairs is not None and (pairs[0] not in (None, len(shape)) or pairs[1] not in (None, 2)):
            raise ShapeError(
                f"{paddings.name!r} {pairs} should be [{len(shape)}, 2] for {x.name!r} {shape}"
            )
        if borders is None:
            return [TensorType(x.dtype, unknown(len(shape)))]
        if any(b < 0 for b in borders):
            raise ShapeError(f"{paddings.name!r} has a negative border for {x.name!r}: {borders}")
        return [
            TensorType(
                x.dtype,
                tuple(
                    None if d is None else d + borders[2 * i] + borders[2 * i + 1]
                    for i, d in enumerate(shape)
                ),
            )
        ]

    def moves(
        self, inputs: Sequence[Operand | None], results: Sequence[Extents]
    ) -> list[Move] | None:
        borders = constant_ints(inputs[1])
        if borders is None:
            return None
        before = borders[::2]
        source, inside = view_of(inputs[0]), View.of(results[0])
        for axis, (start, extent) in enumerate(zip(before, source.shape, strict=True)):
            inside = inside.part(axis, start, extent)
        moves = [Move(source, inside)]
        # Along axis i, of what is inside along earlier axes and whole along later ones.
        for axis in reversed(range(len(before))):
            room = View.of(results[0])
            for i in range(axis):
                room = room.part(i, before[i], source.shape[i])
            moves += self.border(inputs, room, axis, before[axis], source.shape[axis])
        return moves

    @abstractmethod
    def border(
        self,
        inputs: Sequence[Operand | None],
        room: View,
        axis: int,
        start: int,
        extent: int,
    ) -> list[Move]:
        """How ``room``, filled from ``start`` to ``start + extent`` along an axis, is completed."""

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        x = inputs[0]
        wide = x is not None and x.shape is not None and len(x.shape) > 4
        return max(super().version(inputs, outputs), 4 if wide else 1)


def _fill(room: View, axis: int, start: int, extent: int, value: str | Array) -> list[Move]:
    """One value before and after."""
    whole = room.shape[axis]
    sides = (
        room.part(axis, 0, start),
        room.part(axis, start + extent, whole - start - extent),
    )
    return [Move(View.same(side.shape), side, read=value) for side in sides]


def _borders(x: Array, paddings: Array) -> Array:
    """The paddings as an int array [rank, 2]."""
    if paddings.shape != (x.ndim, 2) or np.any(paddings < 0):
        raise ShapeError(f"paddings {paddings.tolist()} do not fit a tensor of shape {x.shape}")
    borders = paddings.astype(np.int64)
    sized([d + int(b[0]) + int(b[1]) for d, b in zip(x.shape, borders, strict=True)])
    return borders


class Pad(Bordered):
    """A border of zeros."""

    name = "PAD"
    options = "PadOptions"
    inputs = "input paddings"
    integer_types = (INT8, UINT8, INT16)

    def integer(
        self,
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
        x: Array,
        paddings: Array,
    ) -> Array:
        borders = _borders(x, paddings)
        zero = Codes.of(outputs[0]).zero
        return np.pad(x, borders, constant_values=zero) if x.ndim else x

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> spec.AnyRequest | None:
        x = inputs[0]
        # The border has the zero point of the result, and the kernel knows that of the input.
        return self.kernel(inputs) if x is not None and x.quant == outputs[0].quant else None

    def passes_codes(self) -> bool:
        return False  # zero is the code zero_point

    def reference(self, x: Array, paddings: Array) -> Array:
        borders = _borders(x, paddings)
        return np.pad(x, borders) if x.ndim else x

    def border(
        self,
        inputs: Sequence[Operand | None],
        room: View,
        axis: int,
        start: int,
        extent: int,
    ) -> list[Move]:
        x = inputs[0]
        assert x is not None
        zero = 0 if x.quant is None else int(x.quant.zero_point[0])
        return _fill(room, axis, start, extent, np.asarray(zero, x.dtype.numpy))

    cases = (
        case(f32(2, 3), const([[1, 2], [0, 1]])),
        case(f32(1, 4, 4, 2), const([[0, 0], [1, 1], [2, 0], [0, 0]])),
        case(f32(1, 2, 1, 2, 2), const([[0, 0], [1, 1], [2, 0], [0, 0], [0, 1]])),
        case(f32(2, 3), const([[1, 0], [0, 1]], INT64)),
        case(ints(3), const([[2, 1]])),
        case(ints(3, dtype=INT64), const([[2, 1]])),
        case(f32(2, 3), given([[1, 2], [0, 1]])),
        case(
            codes(2, 3, quant=Quant.of(0.5, 3)),
            const([[1, 0], [1, 1]]),
            results=[(INT8, Quant.of(0.5, 3))],
        ),
    )


class PadV2(Bordered):
    """A border of a given value."""

    name = "PADV2"
    options = "PadV2Options"
    inputs = "input paddings constant_values"

    def infer(self, x: Operand, paddings: Operand, *rest: Operand) -> Sequence[TensorType]:
        same_dtype(x, *rest)
        return super().infer(x, paddings)

    def reference(self, x: Array, paddings: Array, value: Array) -> Array:
        if value.size != 1:
            raise ShapeError(f"PADV2 takes one value for the border, and was given {value.shape}")
        borders = _borders(x, paddings)
        return np.pad(x, borders, constant_values=value.reshape(())) if x.ndim else x

    def border(
        self,
        inputs: Sequence[Operand | None],
        room: View,
        axis: int,
        start: int,
        extent: int,
    ) -> list[Move]:
        return _fill(room, axis, start, extent, "input2")

    cases = (
        case(f32(2, 3), const([[1, 2], [0, 1]]), const(-2.5)),
        case(f32(2, 3), const([[1, 2], [0, 1]]), const([7.0])),
        case(ints(3), const([[2, 1]]), const(-4)),
        case(f32(2), const([[1, 1]]), const(float("-inf"))),
        case(f32(2, 3), given([[1, 2], [0, 1]]), given(0.5)),
    )


class MirrorPad(Bordered):
    """A border that mirrors the inside."""

    name = "MIRROR_PAD"
    options = "MirrorPadOptions"
    inputs = "input paddings"
    mode: MirrorMode = attr(MirrorMode.REFLECT)
    dtype_versions = {INT16: 3, INT8: 2}

    def reference(self, x: Array, paddings: Array) -> Array:
        borders = _borders(x, paddings)
        for dim, border in zip(x.shape, borders, strict=True):
            most = dim - 1 if self.mode is MirrorMode.REFLECT else dim
            if border.max() > max(most, 0):
                raise ShapeError(f"an extent of {dim} cannot be mirrored by {border.tolist()}")
        if x.ndim == 0:
            return x
        if self.mode is MirrorMode.REFLECT:
            return np.pad(x, borders, mode="reflect")
        return np.pad(x, borders, mode="symmetric")

    def border(
        self,
        inputs: Sequence[Operand | None],
        room: View,
        axis: int,
        start: int,
        extent: int,
    ) -> list[Move]:
        end, skip = start + extent, 1 if self.mode is MirrorMode.REFLECT else 0
        after = room.shape[axis] - end
        if max(start, after) > extent - skip:
            raise ShapeError(f"an extent of {extent} cannot be mirrored by [{start}, {after}]")
        sides = (
            (room.part(axis, start + skip + start - 1, start, -1), room.part(axis, 0, start)),
            (room.part(axis, end - 1 - skip, after, -1), room.part(axis, end, after)),
        )
        return [Move(source, target, read="output0") for source, target in sides]

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        return Operator.version(self, inputs, outputs)

    cases = (
        case(f32(3, 4), const([[1, 2], [0, 3]])),
        case(f32(3, 4), const([[3, 1], [4, 0]]), mode=MirrorMode.SYMMETRIC),
        case(f32(1, 3, 3, 2), const([[0, 0], [1, 1], [2, 2], [0, 0]], INT64)),
        case(ints(4), const([[2, 1]])),
    )


class Tile(Movement):
    """``multiples[i]`` copies side by side along axis i."""

    name = "TILE"
    options = "TileOptions"
    inputs = "input multiples"
    quant = QuantRule(same_scale=True)
    dtype_versions = {INT8: 3, STRING: 2}

    def infer(self, x: Operand, multiples: Operand) -> Sequence[TensorType]:
        counts = constant_ints(multiples)
        if x.shape is None:
            return [TensorType(x.dtype, unknown(length(multiples)))]
        if length(multiples) not in (None, len(x.shape)):
            raise ShapeError(
                f"{multiples.name!r} {multiples.shape} should have an element for each axis of "
                f"{x.name!r} {x.shape}"
            )
        if counts is None:
            return [TensorType(x.dtype, unknown(len(x.shape)))]
        if any(c < 0 for c in counts):
            raise ShapeError(f"{x.name!r} cannot be repeated {counts} times")
        shape = (
            0 if c == 0 else None if d is None else d * c
            for d, c in zip(x.shape, counts, strict=True)
        )
        return [TensorType(x.dtype, tuple(shape))]

    def reference(self, x: Array, multiples: Array) -> Array:
        counts = integers(multiples)
        if len(counts) != x.ndim or any(c < 0 for c in counts):
            raise ShapeError(f"multiples {counts} do not fit a tensor of shape {x.shape}")
        sized([d * c for d, c in zip(x.shape, counts, strict=True)])
        return np.tile(x, counts)

    def moves(
        self, inputs: Sequence[Operand | None], results: Sequence[Extents]
    ) -> list[Move] | None:
        source, target = view_of(inputs[0]), View.of(results[0])
        for axis in reversed(range(len(source.shape))):
            extent = source.shape[axis]
            copies = results[0][axis] // extent if extent else 0
            target = target.split(axis, copies, extent)
            source = source.repeated(axis, copies)
        return [Move(source, target)]

    cases = (
        case(f32(2, 3), const([2, 1])),
        case(f32(2, 1, 3), const([1, 3, 2], INT64)),
        case(ints(3), const([2])),
        case(flags(2, 2), const([1, 2])),
        case(f32(2, 3), const([0, 1])),
        case(f32(2, 3), given([1, 2])),
        case(ints(2, dtype=UINT8), const([2])),
    )
