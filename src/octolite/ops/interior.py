"""Borders that may be negative, and gaps between elements: DILATE and StableHLO's pad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from octolite.errors import ShapeError
from octolite.ir.types import INT8, INT64, STRING, Array, Dim, Operand, TensorType
from octolite.ops.base import CODES, COMPLEX, Operator, QuantRule, attr
from octolite.ops.case import Case, Tensor, case, const, f32, given, ints
from octolite.ops.shapes import constant_ints, integers, length, same_dtype, sized, unknown

Extents = Sequence[int]


def spread_extent(size: Dim, low: int, high: int, gap: int) -> Dim:
    """The extent of ``size`` elements with ``gap`` others between any two, and what ``low`` and
    ``high`` add at the ends, or take away."""
    if size is None:
        return None
    return max(0, size + max(size - 1, 0) * gap + low + high)


def spread(x: Array, value: Array, low: Extents, gaps: Extents, extents: Extents) -> Array:
    """``x`` in a tensor of ``extents`` that else holds ``value``: element i of an axis lies at
    ``low + i · (gap + 1)``, where there is such a place."""
    out = np.full(sized(extents), value.reshape(()), x.dtype)
    source, target = [], []
    for size, start, gap, extent in zip(x.shape, low, gaps, extents, strict=True):
        step = gap + 1
        first = max(0, -(start // step))
        last = max(first, min(size, -((start - extent) // step)))
        source.append(slice(first, last))
        at = start + first * step
        end = at + (last - first - 1) * step + 1
        target.append(slice(at, end, step) if last > first else slice(0))
    out[tuple(target)] = x[tuple(source)]
    return out


class Dilate(Operator):
    """Elements ``dilations[i]`` apart along axis i, ``padding_value`` between them."""

    kinds = COMPLEX
    name = "DILATE"
    plain_types = CODES
    options = "DilateOptions"
    inputs = "input dilations padding_value"
    quant = QuantRule(same_scale=True)

    def infer(self, x: Operand, dilations: Operand, value: Operand) -> Sequence[TensorType]:
        dtype = same_dtype(x, value)
        if dtype is STRING:
            raise ShapeError(f"{self.name} takes numbers, and {x.name!r} is {dtype}")
        if length(value) not in (None, 1):
            raise ShapeError(f"{self.name}: {value.name!r} {value.shape} should hold one number")
        steps = constant_ints(dilations)
        if x.shape is None:
            return [TensorType(dtype, None)]
        if length(dilations) not in (None, len(x.shape)):
            raise ShapeError(
                f"{self.name}: {dilations.name!r} {dilations.shape} should have a number for each "
                f"axis of {x.name!r} {x.shape}"
            )
        if steps is None:
            return [TensorType(dtype, unknown(len(x.shape)))]
        self._check(steps)
        shape = [spread_extent(d, 0, 0, s - 1) for d, s in zip(x.shape, steps, strict=True)]
        sized([d for d in shape if d is not None])
        return [TensorType(dtype, tuple(shape))]

    def _check(self, steps: Extents) -> None:
        if any(s < 1 for s in steps):
            raise ShapeError(f"{self.name}: dilations {list(steps)} should be at least 1")

    def reference(self, x: Array, dilations: Array, value: Array) -> Array:
        gaps = [s - 1 for s in integers(dilations)]
        self._check([g + 1 for g in gaps])
        if len(gaps) != x.ndim or value.size != 1:
            raise ShapeError(f"{self.name}: dilations {gaps} for a tensor of shape {x.shape}")
        extents = [spread_extent(d, 0, 0, g) or 0 for d, g in zip(x.shape, gaps, strict=True)]
        return spread(x, value, [0] * x.ndim, gaps, extents)

    cases = (
        case(f32(3, 3), const([2, 3]), const(0.5)),
        case(f32(2, 3, 2), const([1, 2, 1]), const(-1.0)),
        case(f32(2, 2, 3), given([3, 1, 2]), given(7.0)),
        case(ints(2, 3, dtype=INT8), const([1, 4]), const(9, INT8)),
        case(ints(4, dtype=INT64), const([1]), const(0, INT64)),
        case(f32(1, 2, 1, 2, 1, 2), const([2, 2, 2, 2, 2, 2]), const(0.0)),
        case(f32(0, 2), const([2, 2]), const(0.0), litert=False),
    )


class StablehloPad(Operator):
    """``edge_padding_low[i]`` elements before, ``edge_padding_high[i]`` behind (which take away
    where they are negative) and ``interior_padding[i]`` between any two along axis i."""

    kinds = COMPLEX
    name = "STABLEHLO_PAD"
    plain_types = CODES
    options = "StablehloPadOptions"
    inputs = "operand padding_value"
    edge_padding_low: tuple[int, ...] = attr(())
    edge_padding_high: tuple[int, ...] = attr(())
    interior_padding: tuple[int, ...] = attr(())
    quant = QuantRule(same_scale=True)

    def infer(self, x: Operand, value: Operand) -> Sequence[TensorType]:
        dtype = same_dtype(x, value)
        if dtype is STRING:
            raise ShapeError(f"{self.name} takes numbers, and {x.name!r} is {dtype}")
        if length(value) not in (None, 1):
            raise ShapeError(f"{self.name}: {value.name!r} {value.shape} should hold one number")
        return [TensorType(dtype, None if x.shape is None else self._extents(x.shape))]

    def _extents(self, shape: Sequence[Dim]) -> tuple[Dim, ...]:
        rank, attributes = len(shape), self.attributes()
        for name, numbers in attributes.items():
            if len(numbers) != rank:
                raise ShapeError(
                    f"{self.name}: {name} {numbers} should have a number for each axis of a tensor "
                    f"of shape {tuple(shape)}"
                )
        if any(gap < 0 for gap in self.interior_padding):
            raise ShapeError(f"{self.name}: interior_padding {self.interior_padding} is negative")
        extents = tuple(map(spread_extent, shape, *attributes.values()))
        sized([d for d in extents if d is not None])
        return extents

    def reference(self, x: Array, value: Array) -> Array:
        extents = [d or 0 for d in self._extents(x.shape)]
        return spread(x, value, self.edge_padding_low, self.interior_padding, extents)

    @staticmethod
    def _case(x: Tensor, low: Extents, high: Extents, gap: Extents, **more: Any) -> Case:
        borders: dict[str, Any] = {
            "edge_padding_low": low, "edge_padding_high": high, "interior_padding": gap,
        }  # fmt: skip
        return case(x, const(0, x.dtype), **borders, **more)

    cases = (
        _case(f32(2, 3), (1, 0), (0, 2), (0, 0)),
        _case(f32(2, 3), (1, 2), (3, 0), (2, 1)),
        _case(f32(4, 5), (-1, -2), (-1, 1), (0, 0)),
        _case(f32(3, 4), (-1, 2), (1, -3), (2, 1)),
        _case(ints(6, dtype=INT64), (-4,), (-2,), (1,)),
        _case(ints(2, 1, 2, dtype=INT8), (0, 1, 0), (1, 0, 0), (0, 3, 2)),
        _case(f32(3), (-9,), (2,), (0,), litert=False),
        _case(f32(0, 2), (2, 0), (1, 0), (3, 0), litert=False),
    )
