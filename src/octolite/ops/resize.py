"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR: images of another height and width."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np

from octolite.errors import ShapeError
from octolite.ir import numerics
from octolite.ir.types import FLOAT32, INT8, INT16, UINT8, Array, DType, Operand, Quant, TensorType
from octolite.kernels import spec
from octolite.ops.base import Operator, QuantRule, attr
from octolite.ops.case import Case, case, codes, const, f32
from octolite.ops.shapes import constant_ints, rank_of


class Resize(Operator, abstract=True):
    """x [n, h, w, c] to the int32 ``size`` (height, width).

    ``align_corners``: the outermost pixels keep their places. ``half_pixel_centers``: a pixel's
    place is its centre rather than its corner.
    """

    inputs = "input size"
    align_corners: bool = attr(False)
    half_pixel_centers: bool = attr(False)
    compiled: ClassVar[str]
    compiled_codes: ClassVar[Collection[DType]]
    quant = QuantRule(same_scale=True)
    integer_types = (INT8, UINT8, INT16)

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], *arrays: Array
    ) -> Array:
        """Of codes as they are, whatever their scales."""
        return np.asarray(self.reference(*arrays))

    def infer(self, x: Operand, size: Operand) -> Sequence[TensorType]:
        shape = rank_of(x, "input", 4) or (None,) * 4
        target = constant_ints(size)
        if target is None:
            return [TensorType(x.dtype, (shape[0], None, None, shape[3]))]
        if len(target) != 2 or min(target) < 1:
            raise ShapeError(f"size {size.name!r} is {target}, expected a height and a width")
        if 0 in shape[1:3]:
            raise ShapeError(f"input {x.name!r} has shape {x.shape}, an image without pixels")
        return [TensorType(x.dtype, (shape[0], *target, shape[3]))]

    def _scale(self, old: int, new: int) -> np.float32:
        """How many old pixels a new one stands for."""
        if self.align_corners and new > 1:
            return np.float32(old - 1) / np.float32(new - 1)
        return np.float32(old) / np.float32(new)

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        return max(super().version(inputs, outputs), 3 if self._is_recent() else 1)

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.Resize | None:
        x = inputs[0]
        return spec.Resize(self.compiled) if x is not None and x.dtype is FLOAT32 else None

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> spec.Resize | None:
        x = inputs[0]
        if x is None or x.dtype not in self.compiled_codes:
            return None
        return spec.Resize(self.compiled, x.dtype)

    def geometry(self, inputs: Sequence[Operand | None]) -> dict[str, Any] | None:
        x, target = inputs[0], constant_ints(inputs[1])
        if x is None or x.shape is None or None in x.shape or target is None:
            return None
        height, width = x.shape[1] or 0, x.shape[2] or 0
        places = self._places(x)
        return {"rows": places(height, target[0]), "columns": places(width, target[1])}

    def _places(self, x: Operand) -> Places:
        """What tells the kernel for ``x`` where old pixels lie."""
        return self._real_places

    @abstractmethod
    def _real_places(self, old: int, new: int) -> tuple[Array, Array, Array]:
        """For each new pixel the old ones below and above, and the weight of the latter."""

    def _is_recent(self) -> bool:
        """Whether the attributes came with version 3."""
        return self.half_pixel_centers


def resize_cases() -> tuple[Case, ...]:
    """Larger, smaller and both, with each attribute; and codes."""
    grow, shrink, mixed = const([7, 11]), const([3, 2]), const([9, 3])
    scaled = codes(1, 5, 6, 2, quant=Quant.of(0.5, 3))
    return (
        *(
            case(x, size, align_corners=corners, half_pixel_centers=centers, results=results)
            for x, results in ((f32(2, 5, 6, 3), ()), (scaled, [(INT8, Quant.of(0.5, 3))]))
            for size in (grow, shrink, mixed)
            for corners, centers in ((False, False), (True, False), (False, True))
        ),
        case(f32(1, 4, 4, 2), const([1, 1]), align_corners=True),
    )


FIXED_ONE = 1024
"""1 in the fixed point in which TFLite interpolates codes."""

Places: TypeAlias = Callable[[int, int], tuple[Array, Array, Array]]


class ResizeBilinear(Resize):
    """Between the four nearest pixels, by distance."""

    name = "RESIZE_BILINEAR"
    compiled = "bilinear"
    compiled_codes = (INT8, UINT8)
    options = "ResizeBilinearOptions"
    dtype_versions = {INT8: 2, INT16: 4}
    cases = resize_cases()

    def reference(self, x: Array, size: Array) -> Array:
        if x.dtype.kind == "f":
            return self._interpolate(x, size, self._real_places, 1)
        if x.dtype == np.uint8:
            return self._in_float(x, size)
        total = self._interpolate(x.astype(np.int64), size, self._fixed_places, FIXED_ONE)
        return numerics.round_half_away(total / FIXED_ONE**2).astype(x.dtype)

    def _in_float(self, x: Array, size: Array) -> Array:
        """uint8 alone of all codes is interpolated in float32, a corner after the other."""
        real = x.astype(np.float32)
        rows, columns = (self._real_places(x.shape[axis], int(size[axis - 1])) for axis in (1, 2))
        one = np.float32(1)
        total = np.zeros((), np.float32)
        for column, row in itertools.product((0, 1), (0, 1)):
            weights = [
                (part if far else one - part).reshape(shape)
                for far, part, shape in (
                    (row, rows[2], (-1, 1, 1)),
                    (column, columns[2], (-1, 1)),
                )
            ]
            corner = np.take(np.take(real, rows[row], 1), columns[column], 2)
            total = total + corner * weights[0] * weights[1]
        return numerics.round_half_away(total).astype(x.dtype)

    def _interpolate(self, x: Array, size: Array, places: Places, one: int) -> Array:
        """Along rows, then along columns; weights add up to ``one`` each time."""
        for axis, new in ((1, int(size[0])), (2, int(size[1]))):
            below, above, weight = places(x.shape[axis], new)
            shape = [1] * x.ndim
            shape[axis] = new
            weight = weight.reshape(shape)
            x = np.take(x, below, axis) * (one - weight) + np.take(x, above, axis) * weight
        return x

    def _places(self, x: Operand) -> Places:
        return self._fixed_places if x.dtype is INT8 and x.quant is not None else self._real_places

    def _real_places(self, old: int, new: int) -> tuple[Array, Array, Array]:
        """For each new pixel the old ones below and above, and the weight of the latter."""
        place = np.arange(new, dtype=np.float32)
        scale = self._scale(old, new)
        if self.half_pixel_centers:
            place = (place + np.float32(0.5)) * scale - np.float32(0.5)
        else:
            place = place * scale
        below = np.clip(np.floor(place).astype(np.int64), 0, old - 1)
        above = np.minimum(np.ceil(place).astype(np.int64), old - 1)
        return below, above, place - below.astype(np.float32)

    def _fixed_places(self, old: int, new: int) -> tuple[Array, Array, Array]:
        """The same in fixed point, as TFLite's integer kernels count."""
        corners = self.align_corners and new > 1
        steps, span = (new - 1, old - 1) if corners else (new, old)
        scale = (FIXED_ONE * span + steps // 2) // steps
        place = np.arange(new, dtype=np.int64) * scale
        if self.half_pixel_centers:
            place += scale // 2 - FIXED_ONE // 2
        below = np.clip(place // FIXED_ONE, 0, old - 1)
        above = np.minimum(-(-place // FIXED_ONE), old - 1)
        return below, above, place - below * FIXED_ONE


class ResizeNearestNeighbor(Resize):
    """The nearest pixel."""

    name = "RESIZE_NEAREST_NEIGHBOR"
    compiled = "nearest"
    compiled_codes = (INT8, UINT8, INT16)
    options = "ResizeNearestNeighborOptions"
    dtype_versions = {INT8: 2, INT16: 4}
    cases = resize_cases()

    def reference(self, x: Array, size: Array) -> Array:
        rows = self._nearest(x.shape[1], int(size[0]))
        columns = self._nearest(x.shape[2], int(size[1]))
        return x[:, rows[:, None], columns]

    def _real_places(self, old: int, new: int) -> tuple[Array, Array, Array]:
        nearest = self._nearest(old, new)
        return nearest, nearest, np.zeros(new, np.float32)

    def _nearest(self, old: int, new: int) -> Array:
        place = np.arange(new, dtype=np.float32)
        if self.half_pixel_centers:
            place = place + np.float32(0.5)
        place = place * self._scale(old, new)
        place = numerics.round_half_away(place) if self.align_corners else np.floor(place)
        return np.clip(place.astype(np.int64), 0, old - 1)

    def _is_recent(self) -> bool:
        return self.half_pixel_centers or self.align_corners
