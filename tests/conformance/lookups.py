"""Generators: indices, lookups, segments, and tensors made from little."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from octolite.ir.graph import Graph, Node, Value
from octolite.ir.types import BOOL, FLOAT32, INT2, INT4, INT8, INT32, INT64, Array, Quant
from octolite.ops import Operator, operator_class
from octolite.ops.case import Case, Tensor, case, const, given, int8_weights
from octolite.ops.segment import UnsortedSegment
from tests.conformance.drawing import Drawer, numbers
from tests.conformance.registry import draws


def indices(d: Drawer, shape: tuple[int, ...], limit: int, low: int = 0) -> Array:
    kind = d.pick([np.int32, np.int32, np.int64])
    seed = d.integer(0, 99)
    high = max(limit, low + 1)
    return np.random.default_rng(seed).integers(low, high, shape).astype(kind)


def in_real_numbers(graph: Graph, node: Node) -> list[Value]:
    """Codes of 4 bits, which LiteRT hands out packed, dequantized."""
    return [graph.add(operator_class("DEQUANTIZE")(), node.outputs, "real").output]


@draws("GATHER")
def gather(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(1, 5)
    axis = d.integer(0, len(shape) - 1)
    batch = d.pick([0, 0, d.integer(0, axis)])
    rest = d.shape(0, 2)
    ids = indices(d, (*shape[:batch], *(rest if shape[axis] else (0, *rest))), shape[axis])
    negative = d.rarely()
    if d.rarely() and len(shape) > 1 and not axis:
        # LiteRT finds rows of 4-bit codes where they begin with a byte.
        quant, whole = Quant.of(0.1), (*shape[:-1], 2 * shape[-1])
        table = replace(numbers(INT4, *whole, low=-0.7, high=0.7), constant=True, quant=quant)
        return case(table, given(ids), results=[(INT4, quant)], seen=in_real_numbers)
    return case(d.numbers(*shape), given(ids), axis=axis - len(shape) * negative, batch_dims=batch)


@draws("GATHER_ND")
def gather_nd(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(1, 5, smallest=1)
    depth, outer = d.integer(0 if d.rarely() else 1, len(shape)), d.shape(0, 3)
    ids = [indices(d, outer, e).astype(np.int32) for e in shape[:depth]]
    stacked = np.stack(ids, -1) if ids else np.zeros((*outer, 0), np.int32)
    return case(d.numbers(*shape), given(stacked))


@draws("SCATTER_ND")
def scatter_nd(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(1, 5, smallest=1)
    depth, outer = d.integer(1, len(shape)), d.shape(0, 2)
    stacked = np.stack([indices(d, outer, e).astype(np.int32) for e in shape[:depth]], -1)
    return case(given(stacked), d.numbers(*outer, *shape[depth:]), d.vector(shape, [np.int32]))


@draws("EMBEDDING_LOOKUP")
def embedding(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(2, 4, smallest=1)
    ids = indices(d, (d.integer(0, 6),), shape[0]).astype(np.int32)
    if len(shape) == 2 and d.rarely():
        dtype, axis = d.pick([INT8, INT4, INT2]), d.pick([0, None])
        return case(given(ids), int8_weights(shape[0], 2 * shape[1], axis=axis, dtype=dtype))
    return case(given(ids), d.numbers(*shape))


@draws("ONE_HOT")
def one_hot(d: Drawer, operator: type[Operator]) -> Case:
    shape, depth = d.shape(0, 4), d.integer(0, 6)
    ids = indices(d, shape, depth + 1, low=-1)
    return case(given(ids), const(depth), d.numbers(), d.numbers(), axis=d.integer(-1, len(shape)))


@draws("TOPK_V2")
def top_k(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(1, smallest=1)
    k = const(np.array(d.integer(0, shape[-1]), np.int16 if d.rarely() else np.int32))
    return case(d.numbers(*shape), k)


@draws("WHERE")
def where(d: Drawer, operator: type[Operator]) -> Case:
    return case(d.numbers(*d.shape(), dtype=BOOL if d.flag() else d.dtype))


@draws("UNIQUE")
def unique(d: Drawer, operator: type[Operator]) -> Case:
    return case(d.numbers(*d.shape(1, 1)), idx_out_type=d.pick([INT32, INT64]))


@draws("SEGMENT_SUM")
def segment_sum(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(1, 4)
    steps = [d.integer(0, 1) for _ in range(shape[0])]
    ids = np.cumsum([0, *steps])[:-1] if shape[0] else np.zeros(0)
    return case(d.numbers(*shape), const(ids.astype(np.int32)))


@draws(UnsortedSegment)
def unsorted(d: Drawer, operator: type[Operator]) -> Case:
    shape, count = d.shape(1, 4), d.integer(1, 5)
    ids = indices(d, shape[: d.integer(1, len(shape))], count, low=-1).astype(np.int32)
    return case(d.numbers(*shape), given(ids), const(count))


@draws("SPARSE_TO_DENSE")
def sparse_to_dense(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(1, 4, smallest=1)
    count = d.integer(0, min(5, math.prod(shape)))
    order = np.random.default_rng(d.integer(0, 99)).permutation(math.prod(shape))
    flat = np.sort(order[:count])
    places = np.stack(np.unravel_index(flat, shape), -1).astype(np.int32).reshape(count, len(shape))
    if len(shape) == 1 and d.flag():
        places = places.reshape(-1)
    values = d.numbers() if d.rarely() else d.numbers(count)
    return case(given(places), const(np.array(shape, np.int32)), values, d.numbers())


@draws("MATRIX_DIAG")
def diagonal(d: Drawer, operator: type[Operator]) -> Case:
    return case(d.numbers(*d.shape(1, 4)))


@draws("MATRIX_SET_DIAG")
def set_diagonal(d: Drawer, operator: type[Operator]) -> Case:
    shape = d.shape(2, 4)
    return case(d.numbers(*shape), d.numbers(*shape[:-2], min(shape[-2:])))


@draws("BUCKETIZE")
def bucketize(d: Drawer, operator: type[Operator]) -> Case:
    bounds = sorted(d.pick([-1.5, -0.5, 0.0, 0.25, 1.0, 7.0]) for _ in range(d.integer(0, 4)))
    return case(d.numbers(*d.shape()), boundaries=tuple(bounds))


@draws("RANGE")
def range_(d: Drawer, operator: type[Operator]) -> Case:
    start, step = d.integer(-9, 9), d.pick([1, 2, 3, -1, -2])
    limit = start + step * d.integer(0, 9) + d.integer(0, abs(step) - 1) * (1 if step > 0 else -1)
    kind = d.dtype.numpy if d.dtype.is_integer or d.dtype.is_float else np.float32
    sign = 0 if np.dtype(kind).kind == "u" else 1
    ends = (start, limit, step) if sign else (3, 3 + abs(limit - start), abs(step))
    return case(*(const(np.array(v, kind)) for v in ends))


@draws("FILL")
def fill(d: Drawer, operator: type[Operator]) -> Case:
    return case(d.vector(d.shape()), d.numbers())


@draws("EMBEDDING_LOOKUP_SPARSE")
def embedding_sparse(d: Drawer, operator: type[Operator]) -> Case:
    rows, width, count = d.integer(1, 9), d.integer(1, 33), d.integer(1, 7)
    extents = [d.integer(1, 4) for _ in range(d.integer(2, 3))]
    rng = np.random.default_rng(d.integer(0, 99))
    flat = np.sort(rng.integers(0, math.prod(extents), count))
    places = np.stack(np.unravel_index(flat, extents), -1).astype(np.int32)
    ids = given(rng.integers(0, rows, count).astype(np.int32))
    weights = d.numbers(count, dtype=FLOAT32, low=0.5, high=2)
    table = d.numbers(rows, width, dtype=FLOAT32)
    shape = const(np.array(extents, np.int32))
    return case(ids, const(places), shape, weights, table, **d.attributes(operator))


@draws("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5")
def suppression(d: Drawer, operator: type[Operator]) -> Case:
    count = d.integer(1, 40)
    limits: list[Tensor] = [const(d.integer(0, count)), const(d.pick([0.1, 0.5, 0.9]))]
    limits.append(const(d.pick([-1.0, 0.2, 0.6])))
    if operator.name.endswith("V5"):
        limits.append(const(d.pick([0.0, 0.0, 0.5])))
    boxes = Tensor((count, 4), FLOAT32, _boxes)
    return case(boxes, d.numbers(count, dtype=FLOAT32, low=0, high=1), *limits)


def _boxes(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    corner = rng.uniform(0, 1, (shape[0], 2))
    return np.concatenate([corner, corner + rng.uniform(0.1, 0.6, corner.shape)], 1)
