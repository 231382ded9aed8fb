"""Windows that slide along every axis of a tensor, each reduced to one element."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np

from octolite.errors import ShapeError, UnsupportedError
from octolite.ir.graph import Graph
from octolite.ir.types import BOOL, INT32, INT64, Array, Dim, Operand, Padding, TensorType
from octolite.ops.base import CODES, Operator, attr
from octolite.ops.case import Case, Tensor, case, const, f32, flags, ints
from octolite.ops.interior import Extents, spread, spread_extent
from octolite.ops.shapes import constant_ints, integers, length, same_dtype, sized, unknown, window
from octolite.ops.stablehlo import function_of, region


class ReduceFunction(IntEnum):
    """What two elements become (``ReduceWindowFunction``)."""

    UNSUPPORTED = 0
    ADD = 1
    MUL = 2
    MINIMUM = 3
    MAXIMUM = 4
    ALL = 5
    ANY = 6


FUNCTIONS: dict[ReduceFunction, np.ufunc] = {
    ReduceFunction.ADD: np.add,
    ReduceFunction.MUL: np.multiply,
    ReduceFunction.MINIMUM: np.minimum,
    ReduceFunction.MAXIMUM: np.maximum,
    ReduceFunction.ALL: np.logical_and,
    ReduceFunction.ANY: np.logical_or,
}


def window_extents(
    shape: Sequence[Dim], sizes: Extents, strides: Extents, dilations: Extents
) -> tuple[Dim, ...]:
    """How many windows there are along each axis. Raises :class:`ShapeError`."""
    if not len(shape) == len(sizes) == len(strides) == len(dilations):
        raise ShapeError(
            f"a window of {list(sizes)} with strides {list(strides)} and dilations "
            f"{list(dilations)} for a tensor of shape {tuple(shape)}"
        )
    if any(size < 1 for size in sizes):
        raise ShapeError(f"a window of {list(sizes)} has no elements")
    return tuple(
        window(d, size, stride, dilation, Padding.VALID)
        for d, size, stride, dilation in zip(shape, sizes, strides, dilations, strict=True)
    )


def reduce_windows(
    function: np.ufunc, x: Array, init: Array, sizes: Extents, strides: Extents, dilations: Extents
) -> Array:
    """``function`` of ``init`` and all elements of each window: one axis after the other."""
    extents = window_extents(x.shape, sizes, strides, dilations)
    result = x
    for axis, (size, stride, dilation) in enumerate(zip(sizes, strides, dilations, strict=True)):
        reach = (size - 1) * dilation + 1
        if not extents[axis]:
            return np.empty([d or 0 for d in extents], x.dtype)
        view = np.lib.stride_tricks.sliding_window_view(result, reach, axis)
        view = np.moveaxis(np.moveaxis(view, axis, 0)[::stride], 0, axis)[..., ::dilation]
        result = function.reduce(view, -1).astype(x.dtype)
    return np.asarray(function(init.reshape(()).astype(x.dtype), result)).astype(x.dtype)


class ReduceWindow(Operator):
    """``reduce_function`` of ``init`` and each window of ``window_shape``; there is none that
    reaches beyond the tensor."""

    name = "REDUCE_WINDOW"
    plain_types = CODES
    options = "ReduceWindowOptions"
    inputs = "input init window_shape window_strides window_dilations"
    reduce_function: ReduceFunction = attr(ReduceFunction.ADD)

    def infer(self, x: Operand, init: Operand, *window: Operand) -> Sequence[TensorType]:
        dtype = same_dtype(x, init)
        if self.reduce_function not in FUNCTIONS:
            raise UnsupportedError(f"{self.name} names no function")
        if length(init) not in (None, 1):
            raise ShapeError(f"{self.name}: {init.name!r} {init.shape} should hold one number")
        numbers = [constant_ints(v) for v in window]
        if x.shape is None or None in numbers:
            return [TensorType(dtype, unknown(None if x.shape is None else len(x.shape)))]
        return [TensorType(dtype, window_extents(x.shape, *(n or [] for n in numbers)))]

    def reference(self, x: Array, init: Array, *window: Array) -> Array:
        function = FUNCTIONS[self.reduce_function]
        return reduce_windows(function, x, init, *map(integers, window))

    @staticmethod
    def _case(x: Tensor, init: Any, *window: Extents, function: ReduceFunction) -> Case:
        fixed = (const(list(numbers), INT64) for numbers in window)
        return case(x, const(init, x.dtype), *fixed, reduce_function=function)

    cases = (
        _case(f32(6, 5), 0.5, (2, 3), (1, 1), (1, 1), function=ReduceFunction.ADD),
        _case(f32(7, 5), 1.0, (2, 1), (1, 2), (2, 1), function=ReduceFunction.MUL),
        _case(ints(4, 2, low=-9), -3, (2, 2), (2, 1), (1, 1), function=ReduceFunction.MAXIMUM),
        _case(ints(9, low=-9, dtype=INT64), 5, (3,), (2,), (2,), function=ReduceFunction.MINIMUM),
        _case(ints(4, 4, high=2), 1, (2, 2), (2, 2), (1, 1), function=ReduceFunction.ALL),
        _case(ints(4, 4, high=2), 0, (2, 2), (2, 2), (1, 1), function=ReduceFunction.ANY),
    )


class StablehloReduceWindow(Operator):
    """The function that graph ``body`` is (one operator) of ``init`` and each window of the
    operand, which is spread by ``base_dilations`` and gets a border of ``padding`` before.

    ``padding`` [2 · rank] holds elements before and behind for each axis; negative ones take away.
    """

    name = "STABLEHLO_REDUCE_WINDOW"
    plain_types = CODES
    options = "StablehloReduceWindowOptions"
    inputs = "operand init"
    window_dimensions: tuple[int, ...] = attr(())
    window_strides: tuple[int, ...] = attr(())
    base_dilations: tuple[int, ...] = attr(())
    window_dilations: tuple[int, ...] = attr(())
    padding: tuple[int, ...] = attr(())
    body: Graph = attr(None, "BodySubgraphIndex")

    def infer(self, x: Operand, init: Operand) -> Sequence[TensorType]:
        dtype = same_dtype(x, init)
        function_of(self.name, self.body)
        if length(init) not in (None, 1):
            raise ShapeError(f"{self.name}: {init.name!r} {init.shape} should hold one number")
        if x.shape is None:
            return [TensorType(dtype, None)]
        spread_to = self._spread(x.shape)
        return [TensorType(dtype, window_extents(spread_to, *self._window(len(x.shape))))]

    def _window(self, rank: int) -> tuple[Extents, Extents, Extents]:
        """Sizes, strides and dilations; what is left out is 1 everywhere."""
        ones = (1,) * rank
        return self.window_dimensions, self.window_strides or ones, self.window_dilations or ones

    def _spread(self, shape: Sequence[Dim]) -> tuple[Dim, ...]:
        """The shape of the operand with its border."""
        low, high, gaps = self._borders(len(shape))
        extents = tuple(map(spread_extent, shape, low, high, gaps))
        sized([d for d in extents if d is not None])
        return extents

    def _borders(self, rank: int) -> tuple[Extents, Extents, Extents]:
        padding = self.padding or (0,) * 2 * rank
        gaps = [d - 1 for d in self.base_dilations or (1,) * rank]
        if len(padding) != 2 * rank or len(gaps) != rank or min(gaps, default=0) < 0:
            raise ShapeError(
                f"{self.name}: padding {padding} and base_dilations {self.base_dilations} for a "
                f"tensor of rank {rank}"
            )
        return padding[::2], padding[1::2], gaps

    def reference(self, x: Array, init: Array) -> Array:
        low, _, gaps = self._borders(x.ndim)
        bordered = spread(x, init, low, gaps, [d or 0 for d in self._spread(x.shape)])
        function = function_of(self.name, self.body)
        return reduce_windows(function, bordered, init, *self._window(x.ndim))

    cases = (
        case(
            f32(5, 6),
            const(0.0),
            window_dimensions=(2, 3),
            window_strides=(2, 1),
            base_dilations=(1, 1),
            window_dilations=(1, 2),
            padding=(1, 0, 0, 1),
            body=region("sum", "ADD"),
        ),
        case(
            f32(3, 2),
            const(-9.0),
            window_dimensions=(2, 2),
            window_strides=(1, 1),
            base_dilations=(2, 3),
            window_dilations=(1, 1),
            padding=(0, 1, -1, 2),
            body=region("largest", "MAXIMUM"),
        ),
        case(
            ints(8, low=-9),
            const(4),
            window_dimensions=(3,),
            window_strides=(3,),
            base_dilations=(1,),
            window_dilations=(1,),
            padding=(0, 1),
            body=region("least", "MINIMUM", INT32),
        ),
        case(
            flags(4, 3),
            const(True),
            window_dimensions=(2, 1),
            window_strides=(1, 1),
            base_dilations=(1, 1),
            window_dilations=(2, 1),
            padding=(0, 0, 0, 0),
            body=region("all", "LOGICAL_AND", BOOL),
        ),
    )
