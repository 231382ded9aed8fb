"""Operators at work on tensors of all shapes, drawn by hypothesis; and operands half known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from octolite.ir.types import FLOAT32, Array, DType, Quant, Shape, dtype_from_numpy
from octolite.ops import Operator, operator_class


@dataclass
class Partly:
    """An operand of which only some is known."""

    name: str
    dtype: DType
    shape: Shape | None
    data: Array | None = None
    quant: Quant | None = None


def known(name: str, array: Any) -> Partly:
    """An operand of which everything is known."""
    data = np.asarray(array)
    if data.dtype in (np.int64, np.float64) and not isinstance(array, np.ndarray):
        data = data.astype(np.int32 if data.dtype == np.int64 else np.float32)
    return Partly(name, dtype_from_numpy(data.dtype), data.shape, data)


def of(name: str, *shape: int | None, dtype: DType = FLOAT32) -> Partly:
    """An operand that is known by its shape alone."""
    return Partly(name, dtype, shape)


def op(name: str, **attributes: Any) -> Operator:
    return operator_class(name)(**attributes)


Example = tuple[Operator, list[Array]]
EXTENTS = st.integers(0, 4)


def reals(*shape: int) -> Array:
    """Distinct numbers of one sign: their sums do not cancel."""
    return np.linspace(0.5, 2, int(np.prod(shape)), dtype=np.float32).reshape(shape)


@st.composite
def arrays(draw: st.DrawFn, least: int = 0, most: int = 5) -> Array:
    return reals(*draw(st.lists(EXTENTS, min_size=least, max_size=most)))


def axes(rank: int) -> st.SearchStrategy[int]:
    return st.integers(-rank, rank - 1)


@st.composite
def broadcasts(draw: st.DrawFn) -> Example:
    full = draw(st.lists(EXTENTS, max_size=5))
    operands = [
        reals(*(draw(st.sampled_from([1, d])) for d in full[draw(st.integers(0, len(full))) :]))
        for _ in range(2)
    ]
    name = draw(st.sampled_from(["ADD", "DIV", "MAXIMUM", "SQUARED_DIFFERENCE", "LESS", "EQUAL"]))
    return op(name), operands


@st.composite
def reductions(draw: st.DrawFn) -> Example:
    x = draw(arrays(least=1))
    listed = draw(st.lists(axes(x.ndim), max_size=3))
    name = draw(st.sampled_from(["SUM", "MEAN", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"]))
    return op(name, keep_dims=draw(st.booleans())), [x, np.array(listed, np.int32)]


@st.composite
def reshapes(draw: st.DrawFn) -> Example:
    x = draw(arrays(most=4).filter(lambda a: a.size > 0))
    target = draw(st.permutations(x.shape))
    if target and draw(st.booleans()):
        target[draw(st.integers(0, len(target) - 1))] = -1
    return op("RESHAPE"), [x, np.array(target, np.int32)]


@st.composite
def orders(draw: st.DrawFn) -> Example:
    x = draw(arrays(least=1))
    match draw(st.sampled_from(["TRANSPOSE", "EXPAND_DIMS", "SQUEEZE", "REVERSE_V2", "CUMSUM"])):
        case "TRANSPOSE":
            perm = draw(st.permutations(range(x.ndim)))
            return op("TRANSPOSE"), [x, np.array(perm, np.int32)]
        case "EXPAND_DIMS":
            return op("EXPAND_DIMS"), [x, np.array(draw(axes(x.ndim + 1)), np.int32)]
        case "SQUEEZE":
            ones = [i for i, d in enumerate(x.shape) if d == 1]
            listed = draw(st.lists(st.sampled_from(ones), unique=True)) if ones else []
            return op("SQUEEZE", squeeze_dims=tuple(listed)), [x]
        case name:
            assert name in ("REVERSE_V2", "CUMSUM")
            axis = draw(axes(x.ndim))
            return op(name), [x, np.array([axis] if name == "REVERSE_V2" else axis, np.int32)]


@st.composite
def slices(draw: st.DrawFn) -> Example:
    x = draw(arrays())
    begins = [draw(st.integers(0, d)) for d in x.shape]
    sizes = [draw(st.integers(-1, d - b)) for d, b in zip(x.shape, begins, strict=True)]
    return op("SLICE"), [x, np.array(begins, np.int32), np.array(sizes, np.int32)]


@st.composite
def strided_slices(draw: st.DrawFn) -> Example:
    x = draw(arrays(least=1, most=4))
    count = draw(st.integers(1, x.ndim))
    begin, end = (draw(st.lists(st.integers(-6, 6), min_size=count, max_size=count)) for _ in "be")
    stride = st.sampled_from([-2, -1, 1, 2, 3])
    strides = draw(st.lists(stride, min_size=count, max_size=count))
    masks = {
        f"{name}_mask": draw(st.integers(0, 2**count - 1))
        for name in ("begin", "end", "new_axis", "shrink_axis")
    }
    ellipsis = draw(st.sampled_from([0, *(1 << i for i in range(count))]))
    operator = op("STRIDED_SLICE", **masks, ellipsis_mask=ellipsis, offset=draw(st.booleans()))
    return operator, [x, *(np.array(v, np.int32) for v in (begin, end, strides))]


@st.composite
def joints(draw: st.DrawFn) -> Example:
    x = draw(arrays(least=1, most=4))
    axis = draw(axes(x.ndim))
    count = draw(st.integers(1, 3))
    match draw(st.sampled_from(["CONCATENATION", "PACK", "SPLIT", "SPLIT_V", "UNPACK"])):
        case "CONCATENATION":
            return op("CONCATENATION", axis=axis), [x] * count
        case "PACK":
            at = draw(axes(x.ndim + 1))
            return op("PACK", axis=at, values_count=count), [x] * count
        case "SPLIT":
            whole = np.concatenate([x] * count, axis)
            return op("SPLIT", num_splits=count), [np.array(axis, np.int32), whole]
        case "SPLIT_V":
            first = draw(st.integers(0, x.shape[axis]))
            sizes = np.array([first, draw(st.sampled_from([-1, x.shape[axis] - first]))])
            return op("SPLIT_V", num_splits=2), [x, sizes, np.array(axis, np.int32)]
        case _:
            return op("UNPACK", axis=axis, num=x.shape[axis]), [x]


@st.composite
def borders(draw: st.DrawFn) -> Example:
    x = draw(arrays(least=1, most=4))
    if draw(st.booleans()):
        multiples = [draw(st.integers(0, 3)) for _ in x.shape]
        return op("TILE"), [x, np.array(multiples, np.int64)]
    paddings = [[draw(st.integers(0, 3)), draw(st.integers(0, 3))] for _ in x.shape]
    return op("PAD"), [x, np.array(paddings, np.int32)]


@st.composite
def lookups(draw: st.DrawFn) -> Example:
    x = reals(*draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    axis = draw(axes(x.ndim))
    batch = draw(st.integers(0, axis % x.ndim))
    rest = draw(st.lists(EXTENTS, max_size=2))
    index = st.integers(0, x.shape[axis] - 1)
    shape = (*x.shape[:batch], *rest)
    ids = np.array([draw(index) for _ in range(int(np.prod(shape)))], np.int32).reshape(shape)
    return op("GATHER", axis=axis, batch_dims=batch), [x, ids]


@st.composite
def made(draw: st.DrawFn) -> Example:
    extents = draw(st.lists(EXTENTS, max_size=4))
    match draw(st.sampled_from(["FILL", "BROADCAST_TO", "SHAPE", "RANK", "ONE_HOT", "RANGE"])):
        case "FILL":
            return op("FILL"), [np.array(extents, np.int32), reals(1).reshape(())]
        case "BROADCAST_TO":
            x = reals(*(draw(st.sampled_from([1, d])) for d in extents))
            return op("BROADCAST_TO"), [x, np.array(extents, np.int64)]
        case "ONE_HOT":
            on, off = np.float32(1).reshape(()), np.float32(0).reshape(())
            depth = np.array(draw(EXTENTS), np.int32)
            axis = draw(st.integers(-1, len(extents)))
            return op("ONE_HOT", axis=axis), [np.zeros(extents, np.int32), depth, on, off]
        case "RANGE":
            first, count, step = (draw(st.integers(1, 9)) for _ in range(3))
            bounds = (first, first + count, step)
            return op("RANGE"), [np.array(b, np.int64) for b in bounds]
        case name:
            return op(name), [reals(*extents)]


EXAMPLES = st.one_of(
    broadcasts(), reductions(), reshapes(), orders(), slices(), strided_slices(), joints(),
    borders(), lookups(), made(),
)  # fmt: skip
