"""Generators: functions of elements, reductions, and what rearranges elements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from octolite.ir.types import (
    BOOL,
    COMPLEX64,
    COMPLEX128,
    FLOAT32,
    FLOAT64,
    INT8,
    INT32,
    INT64,
    UINT8,
    UINT32,
)  # fmt: skip
from octolite.ops import Operator
from octolite.ops.activations import Clamp
from octolite.ops.arithmetic import Binary
from octolite.ops.bits import Bitwise
from octolite.ops.case import Case, case, const, given
from octolite.ops.comparison import Comparison, Logical
from octolite.ops.elementwise import Elementwise
from octolite.ops.reduction import ArgExtremum, Reduction
from octolite.ops.space import BlockMove, DepthMove
from octolite.ops.spectral import PartOfComplex
from tests.conformance.drawing import ACTIVATIONS, Drawer
from tests.conformance.registry import draws

ROOTS = {"SQRT", "RSQRT", "LOG", "POW"}
DIVISIONS = {"DIV", "FLOOR_DIV", "FLOOR_MOD", "POW"}


@draws(Elementwise, Clamp, "ZEROS_LIKE", "RANK", "FAKE_QUANT", "LOGICAL_NOT", "SHAPE")
def function(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape()
    x = d.positive(*shape) if operator.name in ROOTS else d.numbers(*shape)
    chosen = {
        "LEAKY_RELU": {"alpha": d.pick([0.1, 0.5, 0.0, 2.0])},
        "FAKE_QUANT": {"min": d.pick([-1.0, -2.5, 0.0]), "max": d.pick([1.0, 0.3, 6.0]),
                       "num_bits": d.pick([8, 8, 4, 16])},
        "SHAPE": {"out_type": d.pick([INT32, INT64])},
    }  # fmt: skip
    return case(x, **d.attributes(operator, **chosen.get(operator.name, {})))


@draws("SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION")
def over_last_axis(d: Drawer, operator: type[Operator]) -> Case:
    chosen = {"beta": d.pick([1.0, 0.5, 2.0])} if operator.name == "SOFTMAX" else {"activation": 0}
    attributes = {} if operator.name == "LOG_SOFTMAX" else chosen
    return case(d.numbers(*d.shape(1)), **attributes)


@draws("CAST")
def cast(d: Drawer, operator: type[Operator]) -> Case:
    kinds = [FLOAT32, FLOAT64, INT8, INT32, INT64, UINT8, UINT32, BOOL, COMPLEX64]
    return case(d.numbers(*d.shape()), in_data_type=d.dtype, out_data_type=d.pick(kinds))


@draws(PartOfComplex)
def part(d: Drawer, operator: type[Operator]) -> Case:
    return case(d.numbers(*d.shape(), dtype=d.pick([COMPLEX64, COMPLEX64, COMPLEX128])))


@draws(Binary, Comparison, Logical, Bitwise)
def pair(d: Drawer, operator: type[Operator]) -> Case:
    full = d.shape()
    a, b = (full if alike(d, operator) else d.broadcasting(full) for _ in "ab")
    first = d.positive(*a) if operator.name in ROOTS else d.numbers(*a)
    shifts = operator.name in DIVISIONS or "SHIFT" in operator.name
    second = d.positive(*b) if shifts else d.numbers(*b)
    if d.rarely():
        second = const(second.array(np.random.default_rng(0)), d.dtype)
    return case(first, second, **d.attributes(operator))


def alike(d: Drawer, operator: type[Operator]) -> bool:
    """Whether operands have one shape: of ATAN2's, LiteRT takes the first one's for the result."""
    return operator.name.startswith(("ATAN2", "STABLEHLO")) or not d.integer(0, 3)


@draws("ADD_N")
def terms(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape()
    return case(*(d.numbers(*shape) for _ in range(d.integer(2, 4))))


@draws("PRELU")
def prelu(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(1)
    return case(d.numbers(*shape), d.numbers(*d.broadcasting(shape)))


@draws("SELECT")
def select(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape()
    condition = d.pick([shape, shape, shape[:1], ()])
    return case(d.numbers(*condition, dtype=BOOL), d.numbers(*shape), d.numbers(*shape))


@draws("SELECT_V2")
def select_v2(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape()
    parts = [d.broadcasting(shape) for _ in range(3)]
    return case(d.numbers(*parts[0], dtype=BOOL), *(d.numbers(*p) for p in parts[1:]))


@draws("BROADCAST_TO")
def broadcast_to(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape()
    return case(d.numbers(*d.broadcasting(shape)), d.vector(shape))


@draws("BROADCAST_ARGS")
def broadcast_args(d: Drawer, operator: type[Operator]) -> Case:
    shape, kind = d.shape(), d.pick([np.int32, np.int64])
    return case(*(given(np.array(d.broadcasting(shape), kind)) for _ in range(2)))


@draws(Reduction)
def reduction(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape()
    axes = [d.axis(len(shape)) for _ in range(d.integer(0, 3) if shape else 0)]
    listed = const(axes[0]) if len(axes) == 1 and d.flag() else const(np.array(axes, np.int32))
    return case(d.numbers(*shape), listed, keep_dims=d.flag())


@draws(ArgExtremum)
def arg_extremum(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(1)
    kinds = [INT32, INT64]
    return case(d.numbers(*shape), const(d.axis(len(shape))), output_type=d.pick(kinds))


@draws("CUMSUM")
def cumsum(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(1)
    return case(d.numbers(*shape), const(d.axis(len(shape))), **d.attributes(operator))


# -- shapes ---------------------------------------------------------------------------------------


@draws("RESHAPE")
def reshape(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape()
    target = list(d.draw(_permutations(shape)))
    if len(target) > 1 and d.flag():
        target[:2] = [target[0] * target[1]]
    elif d.flag():
        target.insert(d.integer(0, len(target)), 1)
    if target and math.prod(target) and d.flag():
        target[d.integer(0, len(target) - 1)] = -1
    if d.flag():
        return case(d.numbers(*shape), const(np.array(target, np.int32)))
    return case(d.numbers(*shape), None, new_shape=tuple(target))


def _permutations(items: Sequence[int]) -> st.SearchStrategy[list[int]]:
    return st.permutations(items)


@draws("TRANSPOSE")
def transpose(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape()
    perm = d.draw(_permutations(range(len(shape))))
    perm = [p - len(shape) if d.rarely() else p for p in perm]
    return case(d.numbers(*shape), d.vector(perm, [np.int32]))


@draws("EXPAND_DIMS")
def expand_dims(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(0, 5)
    return case(d.numbers(*shape), d.vector([d.axis(len(shape) + 1)]))


@draws("SQUEEZE")
def squeeze(d: Drawer, operator: type[Operator]) -> Case:
    shape = [d.pick([1, e]) for e in d.shape()]
    ones = [i for i, e in enumerate(shape) if e == 1]
    listed = [i - len(shape) if d.flag() else i for i in ones if d.flag()]
    return case(d.numbers(*shape), squeeze_dims=tuple(listed))


@draws("BITCAST")
def bitcast(d: Drawer, operator: type[Operator]) -> Case:
    other = d.pick([FLOAT32, INT32, UINT8, INT64, FLOAT64, UINT32, INT8])
    shape, bits = d.shape(0, 5), max(d.dtype.bits, 8)
    if bits < other.bits:
        shape = (*shape, other.bits // bits)
    return case(d.numbers(*shape), dtype=other)


@draws("SLICE")
def slice_(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape()
    begin = [d.integer(0, e) for e in shape]
    size = [d.integer(-1, e - b) for e, b in zip(shape, begin, strict=True)]
    kind = d.pick([np.int32, np.int64])
    return case(d.numbers(*shape), const(np.array(begin, kind)), const(np.array(size, kind)))


@draws("STRIDED_SLICE")
def strided_slice(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(1, 5)
    count = d.integer(1, len(shape))
    begin, end, step = [], [], []
    free = list(range(count))
    masks = dict.fromkeys(["ellipsis_mask", "new_axis_mask", "shrink_axis_mask"], 0)
    for name in masks:
        if free and d.rarely():
            masks[name] = 1 << free.pop(d.integer(0, len(free) - 1))
    for i in range(count):
        extent = shape[i]
        if masks["shrink_axis_mask"] >> i & 1:
            first = d.integer(-extent, extent - 1) if extent else 0
            begin, end, step = [*begin, first], [*end, first + 1], [*step, 1]
        else:
            begin.append(d.integer(-extent - 1, extent + 1))
            end.append(d.integer(-extent - 1, extent + 1))
            step.append(d.pick([1, 2, -1, 3, -2]))
    ends = {name: d.integer(0, 2**count - 1) for name in ("begin_mask", "end_mask")}
    bounds = (const(np.array(v, np.int32)) for v in (begin, end, step))
    return case(d.numbers(*shape), *bounds, **masks, **ends)


@draws("REVERSE_V2")
def reverse(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(1)
    count = d.pick([1, 1, d.integer(0, len(shape))])
    axes = list(d.draw(_permutations(range(len(shape)))))[:count]
    return case(d.numbers(*shape), const(np.array(axes, np.int32)))


@draws("REVERSE_SEQUENCE")
def reverse_sequence(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(2, 5)
    seq, batch = list(d.draw(_permutations(range(len(shape)))))[:2]
    kind = d.pick([np.int32, np.int64])
    steps = [d.integer(0, shape[seq]) for _ in range(shape[batch])]
    return case(d.numbers(*shape), const(np.array(steps, kind)), seq_dim=seq, batch_dim=batch)


@draws("DYNAMIC_UPDATE_SLICE")
def update_slice(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(1, 5)
    update = [d.integer(0, e) for e in shape]
    start = [d.integer(-1, e + 1) for e in shape]
    return case(d.numbers(*shape), d.numbers(*update), d.vector(start))


@draws("CONCATENATION")
def concatenation(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(1)
    axis = d.axis(len(shape))
    place = axis % len(shape)
    parts = [
        d.numbers(*shape[:place], d.integer(0, 5), *shape[place + 1 :])
        for _ in range(d.integer(1, 4))
    ]
    return case(*parts, axis=axis, activation=d.pick([ACTIVATIONS[0]] * 3 + ACTIVATIONS))


@draws("PACK")
def pack(d: Drawer, operator: type[Operator]) -> Case:
    shape, count = d.shape(0, 5), d.integer(1, 4)
    parts = [d.numbers(*shape) for _ in range(count)]
    return case(*parts, axis=d.axis(len(shape) + 1), values_count=count)


@draws("UNPACK")
def unpack(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(1, smallest=1)
    axis = d.axis(len(shape))
    return case(d.numbers(*shape), axis=axis, num=shape[axis])


@draws("SPLIT")
def split(d: Drawer, operator: type[Operator]) -> Case:
    shape = list(d.shape(1))
    axis, count = d.axis(len(shape)), d.integer(1, 4)
    shape[axis] = count * d.integer(0, 3)
    return case(const(axis), d.numbers(*shape), num_splits=count)


@draws("SPLIT_V")
def split_v(d: Drawer, operator: type[Operator]) -> Case:
    shape = list(d.shape(1))
    axis = d.axis(len(shape))
    sizes = [d.integer(0, 4) for _ in range(d.integer(1, 4))]
    shape[axis] = sum(sizes)
    if d.flag():
        sizes[d.integer(0, len(sizes) - 1)] = -1
    return case(d.numbers(*shape), d.vector(sizes), const(axis), num_splits=len(sizes))


@draws("TILE")
def tile(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(0, 5)
    return case(d.numbers(*shape), d.vector([d.integer(0, 3) for _ in shape]))


@draws("PAD", "PADV2", "MIRROR_PAD")
def pad(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(1, 5)
    mirror = operator.name == "MIRROR_PAD"
    attributes = d.attributes(operator)
    room = [max(e - (1 - int(attributes["mode"])), 0) if mirror else 3 for e in shape]
    borders = [[d.integer(0, min(r, 3)), d.integer(0, min(r, 3))] for r in room]
    kind = np.int64 if d.rarely() else np.int32
    tensors = [d.numbers(*shape), const(np.array(borders, kind).reshape(-1, 2))]
    if operator.name == "PADV2":
        tensors.append(d.numbers())
    return case(*tensors, **attributes)


@draws(BlockMove)
def blocks(d: Drawer, operator: type[Operator]) -> Case:
    spatial = d.integer(1, 2)
    sizes = [d.integer(1, 3) for _ in range(spatial)]
    border = [[d.integer(0, 2), d.integer(0, 2)] for _ in sizes]
    inner = [d.integer(1, 4) for _ in sizes]
    batch, depth = d.pick([1, 2, 0]), d.pick([1, 3, 8])
    if operator.name == "SPACE_TO_BATCH_ND":
        image = [max(b * n - sum(p), 0) for b, n, p in zip(sizes, inner, border, strict=True)]
        border = [[p[0], b * n - p[0] - e] if b * n >= p[0] + e else [0, b * n - e]
                  for b, n, p, e in zip(sizes, inner, border, image, strict=True)]  # fmt: skip
    else:
        image, batch = inner, batch * math.prod(sizes)
        border = [[0, 0] if sum(p) > b * n else p
                  for b, n, p in zip(sizes, inner, border, strict=True)]  # fmt: skip
    return case(d.numbers(batch, *image, depth), const(sizes), const(border))


@draws(DepthMove)
def depth(d: Drawer, operator: type[Operator]) -> Case:
    block, batch, channels = d.integer(1, 3), d.pick([1, 2, 0]), d.integer(1, 5)
    rows, columns = d.integer(1, 4), d.integer(1, 4)
    if operator.name == "SPACE_TO_DEPTH":
        rows, columns = rows * block, columns * block
    else:
        channels *= block * block
    return case(d.numbers(batch, rows, columns, channels), block_size=block)
