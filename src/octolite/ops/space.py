"""Operators that move pixels between height and width, the batch, and the channels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from octolite.errors import ShapeError
from octolite.ir.fixed_point import Codes
from octolite.ir.types import INT8, INT16, UINT8, Array, Dim, Operand, Quant, Shape, TensorType
from octolite.kernels.views import Move, View
from octolite.ops.base import QuantRule, attr
from octolite.ops.case import case, codes, const, f32, ints
from octolite.ops.movement import Extents, Movement, view_of
from octolite.ops.shapes import constant_ints, product, rank_of


class BlockMove(Movement, abstract=True):
    """x [n, spatial axes, channels] with an int32 block extent for each spatial axis.

    The third input has two numbers, before and after, for each spatial axis.
    """

    quant = QuantRule(same_scale=True)

    def infer(self, x: Operand, block: Operand, margins: Operand) -> Sequence[TensorType]:
        sizes, pairs = constant_ints(block), constant_ints(margins)
        if x.shape is None:
            return [TensorType(x.dtype, None)]
        if sizes is None or pairs is None:
            return [TensorType(x.dtype, self._unknown(x.shape, block))]
        if len(pairs) != 2 * len(sizes) or len(x.shape) <= len(sizes):
            raise ShapeError(
                f"input {x.name!r} {x.shape}, block {block.name!r} {sizes} and {margins.name!r} "
                f"{pairs} do not agree on the number of spatial axes"
            )
        if min(sizes, default=1) < 1 or min(pairs, default=0) < 0:
            raise ShapeError(
                f"block {block.name!r} {sizes} must be positive, {margins.name!r} {pairs} not "
                "negative"
            )
        return [TensorType(x.dtype, self._moved(x, sizes, pairs))]

    @staticmethod
    def _unknown(shape: Shape, block: Operand) -> Shape:
        spatial = block.shape[0] if block.shape else None
        kept = () if spatial is None else shape[1 + spatial :]
        return (None,) * (len(shape) - len(kept)) + kept

    @abstractmethod
    def _moved(self, x: Operand, sizes: list[int], pairs: list[int]) -> Shape:
        """Extents after the move, from those before it and what is cut or added."""

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        x = inputs[0]
        if x is not None and x.dtype is INT16:
            return 4
        if x is not None and x.shape is not None and len(x.shape) != 4:
            return 3
        return 2 if x is not None and x.dtype is INT8 else 1


def _depth_views(wide: View, deep: View, block: int) -> tuple[View, View]:
    """Both sides of a :class:`DepthMove` as [n, h, w, rows of a block, its columns, channels]."""
    _, height, width, _ = deep.shape
    split = wide.split(2, width, block).split(1, height, block)
    return split.transposed((0, 1, 3, 2, 4, 5)), deep.split(3, block, block, wide.shape[3])


def _block_views(
    images: View, whole: View, sizes: Sequence[int], before: Sequence[int]
) -> Iterator[tuple[View, View]]:
    """For each place within blocks of ``sizes``: the image made of it, and what of ``whole`` it is.

    ``before``: how far the blocks start outside of ``whole``. What lies outside is left out.
    """
    stacked = images.split(0, *sizes, whole.shape[0])
    for place in np.ndindex(*sizes):
        image, seen = stacked, whole
        for index in place:
            image = image.at(0, index)
        for axis, (size, index, start) in enumerate(zip(sizes, place, before, strict=True), 1):
            first = max(0, -(-(start - index) // size))
            end = -(-(start - index + whole.shape[axis]) // size)
            extent = max(0, min(end, image.shape[axis]) - first)
            image = image.part(axis, first, extent)
            seen = seen.part(axis, first * size + index - start, extent, size)
        yield image, seen


class SpaceToBatchND(BlockMove):
    """Pads the spatial axes, then makes an image of each place within the blocks."""

    name = "SPACE_TO_BATCH_ND"
    options = "SpaceToBatchNDOptions"
    inputs = "input block_shape paddings"
    integer_types = (INT8, UINT8, INT16)

    def _moved(self, x: Operand, sizes: list[int], pairs: list[int]) -> Shape:
        assert x.shape is not None
        spatial: list[Dim] = []
        for i, size in enumerate(sizes):
            extent = x.shape[1 + i]
            if extent is None:
                spatial.append(None)
                continue
            extent += pairs[2 * i] + pairs[2 * i + 1]
            if extent % size:
                raise ShapeError(
                    f"input {x.name!r} {x.shape} padded by {pairs} is not made of blocks {sizes}"
                )
            spatial.append(extent // size)
        return (product((x.shape[0], *sizes)), *spatial, *x.shape[1 + len(sizes) :])

    def integer(
        self,
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
        x: Array,
        block: Array,
        paddings: Array,
    ) -> Array:
        return self._blocks(x, block, paddings, Codes.of(outputs[0]).zero)

    def reference(self, x: Array, block: Array, paddings: Array) -> Array:
        return self._blocks(x, block, paddings, 0)

    def _blocks(self, x: Array, block: Array, paddings: Array, border: int) -> Array:
        sizes = [int(b) for b in block]
        m = len(sizes)
        margins = [(0, 0), *(tuple(p) for p in paddings.tolist()), *[(0, 0)] * (x.ndim - 1 - m)]
        padded = np.pad(x, margins, constant_values=border) if border else np.pad(x, margins)
        n, spatial, rest = padded.shape[0], padded.shape[1 : 1 + m], padded.shape[1 + m :]
        counts = [extent // size for extent, size in zip(spatial, sizes, strict=True)]
        split = [e for pair in zip(counts, sizes, strict=True) for e in pair]
        blocks = padded.reshape(n, *split, *rest)
        order = (*range(2, 2 * m + 1, 2), 0, *range(1, 2 * m, 2), *range(2 * m + 1, blocks.ndim))
        return blocks.transpose(order).reshape(n * int(np.prod(sizes)), *counts, *rest)

    def moves(
        self, inputs: Sequence[Operand | None], results: Sequence[Extents]
    ) -> list[Move] | None:
        sizes, pairs = constant_ints(inputs[1]), constant_ints(inputs[2])
        if sizes is None or pairs is None:
            return None
        x, images = inputs[0], View.of(results[0])
        assert x is not None
        zero = 0 if x.quant is None else x.quant.zero_point[0]
        border = np.asarray(zero, x.dtype.numpy)
        moves = [Move(View.same(results[0]), images, read=border)] if any(pairs) else []
        views = _block_views(images, view_of(x), sizes, pairs[::2])
        return [*moves, *(Move(seen, image) for image, seen in views)]

    cases = (
        case(f32(2, 4, 6, 3), const([2, 3]), const([[0, 0], [0, 0]])),
        case(f32(1, 3, 4, 2), const([2, 2]), const([[1, 0], [2, 2]])),
        case(f32(2, 5, 3), const([3]), const([[0, 1]])),
    )


class BatchToSpaceND(BlockMove):
    """Puts the images of a batch back into the blocks that they came from, then crops."""

    name = "BATCH_TO_SPACE_ND"
    options = "BatchToSpaceNDOptions"
    inputs = "input block_shape crops"

    def _moved(self, x: Operand, sizes: list[int], pairs: list[int]) -> Shape:
        assert x.shape is not None
        area, batch = int(np.prod(sizes)), x.shape[0]
        if batch is not None and batch % area:
            raise ShapeError(
                f"input {x.name!r} {x.shape} has a batch of {batch}, not a multiple of the block "
                f"{sizes}"
            )
        spatial: list[Dim] = []
        for i, size in enumerate(sizes):
            extent = x.shape[1 + i]
            left = None if extent is None else extent * size - pairs[2 * i] - pairs[2 * i + 1]
            if left is not None and left < 0:
                raise ShapeError(f"crops {pairs} leave nothing of input {x.name!r} {x.shape}")
            spatial.append(left)
        return (None if batch is None else batch // area, *spatial, *x.shape[1 + len(sizes) :])

    def reference(self, x: Array, block: Array, crops: Array) -> Array:
        sizes = [int(b) for b in block]
        m = len(sizes)
        spatial, rest = x.shape[1 : 1 + m], x.shape[1 + m :]
        n = x.shape[0] // int(np.prod(sizes))
        blocks = x.reshape(*sizes, n, *spatial, *rest)
        order = (m, *(a for i in range(m) for a in (m + 1 + i, i)), *range(2 * m + 1, blocks.ndim))
        extents = [e * s for e, s in zip(spatial, sizes, strict=True)]
        whole = blocks.transpose(order).reshape(n, *extents, *rest)
        kept = [
            slice(before, extent - after)
            for (before, after), extent in zip(crops.tolist(), extents, strict=True)
        ]
        return whole[(slice(None), *kept)]

    def moves(
        self, inputs: Sequence[Operand | None], results: Sequence[Extents]
    ) -> list[Move] | None:
        sizes, pairs = constant_ints(inputs[1]), constant_ints(inputs[2])
        if sizes is None or pairs is None:
            return None
        views = _block_views(view_of(inputs[0]), View.of(results[0]), sizes, pairs[::2])
        return [Move(image, seen) for image, seen in views]

    cases = (
        case(f32(6, 2, 3, 2), const([2, 3]), const([[0, 0], [0, 0]])),
        case(f32(4, 3, 4, 2), const([2, 2]), const([[1, 0], [2, 1]])),
        case(f32(6, 2, 3), const([3]), const([[0, 1]])),
    )


class DepthMove(Movement, abstract=True):
    """Blocks of ``block_size`` × ``block_size`` pixels against channels; x is [n, h, w, c]."""

    inputs = "input"
    block_size: int = attr(2)
    quant = QuantRule(same_scale=True)
    dtype_versions = {INT8: 2}

    def _shape(self, x: Operand) -> Shape:
        if self.block_size < 1:
            raise ShapeError(
                f"{self.name} of {x.name!r}: block size {self.block_size} is not positive"
            )
        return rank_of(x, "input", 4) or (None,) * 4

    def _divided(self, x: Operand, extent: Dim, by: int) -> Dim:
        if extent is not None and extent % by:
            raise ShapeError(
                f"{self.name} of {x.name!r} {x.shape}: {extent} is not a multiple of {by}"
            )
        return None if extent is None else extent // by


class SpaceToDepth(DepthMove):
    """Each block of pixels becomes one pixel with as many times the channels."""

    name = "SPACE_TO_DEPTH"
    options = "SpaceToDepthOptions"

    def infer(self, x: Operand) -> Sequence[TensorType]:
        (n, h, w, c), b = self._shape(x), self.block_size
        depth = product((c, b, b))
        return [TensorType(x.dtype, (n, self._divided(x, h, b), self._divided(x, w, b), depth))]

    def reference(self, x: Array) -> Array:
        (n, h, w, c), b = x.shape, self.block_size
        blocks = x.reshape(n, h // b, b, w // b, b, c).transpose(0, 1, 3, 2, 4, 5)
        return blocks.reshape(n, h // b, w // b, b * b * c)

    def moves(
        self, inputs: Sequence[Operand | None], results: Sequence[Extents]
    ) -> list[Move] | None:
        wide, deep = _depth_views(view_of(inputs[0]), View.of(results[0]), self.block_size)
        return [Move(wide, deep)]

    cases = (
        case(f32(2, 4, 6, 3), block_size=2),
        case(ints(1, 3, 6, 2), block_size=3),
        case(codes(1, 4, 4, 2, quant=Quant.of(0.5, 3)), results=[(INT8, Quant.of(0.5, 3))]),
    )


class DepthToSpace(DepthMove):
    """Each pixel becomes a block of pixels with as many times fewer channels."""

    name = "DEPTH_TO_SPACE"
    options = "DepthToSpaceOptions"

    def infer(self, x: Operand) -> Sequence[TensorType]:
        (n, h, w, c), b = self._shape(x), self.block_size
        depth = self._divided(x, c, b * b)
        return [TensorType(x.dtype, (n, product((h, b)), product((w, b)), depth))]

    def reference(self, x: Array) -> Array:
        (n, h, w, c), b = x.shape, self.block_size
        blocks = x.reshape(n, h, w, b, b, c // (b * b)).transpose(0, 1, 3, 2, 4, 5)
        return blocks.reshape(n, h * b, w * b, c // (b * b))

    def moves(
        self, inputs: Sequence[Operand | None], results: Sequence[Extents]
    ) -> list[Move] | None:
        wide, deep = _depth_views(View.of(results[0]), view_of(inputs[0]), self.block_size)
        return [Move(deep, wide)]

    cases = (
        case(f32(2, 2, 3, 12), block_size=2),
        case(ints(1, 2, 2, 18), block_size=3),
        case(codes(1, 4, 4, 8, quant=Quant.of(0.5, 3)), results=[(INT8, Quant.of(0.5, 3))]),
    )
