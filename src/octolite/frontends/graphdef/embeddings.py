"""Embeddings: tables in shards, and rows that are looked up and added up (sparse lookups).

TensorFlow writes ``tf.nn.embedding_lookup`` of several shards and the lookups with sparse ids as
a dozen nodes or more, many of which TFLite does not have. Rules find what they compute as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from octolite.errors import UnsupportedError
from octolite.frontends.graphdef.engine import Site, tf
from octolite.frontends.graphdef.nodes import Ref, TfNode
from octolite.frontends.graphdef.source import Source, see_through
from octolite.ir.graph import Value
from octolite.ir.types import FLOAT32, INT32, INT64, Array
from octolite.ops.embedding import Combiner

# -- shards ----------------------------------------------------------------------------------------

_STEPS = 64
"""Nodes looked at to find the shard and the row of an id."""

_SAMPLES = 1000
"""Ids on either side of the table's that must not have a row."""

_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": np.add, "AddV2": np.add, "Cast": np.asarray, "FloorDiv": np.floor_divide,
    "FloorMod": np.mod, "Less": np.less, "Maximum": np.maximum, "Minimum": np.minimum,
    "Mul": np.multiply, "Select": np.where, "SelectV2": np.where, "Sub": np.subtract,
}  # fmt: skip
"""What TensorFlow finds the shard and the row of an id with."""


def _consecutive(sizes: Sequence[int]) -> tuple[Array, Array]:
    shards = np.repeat(np.arange(len(sizes)), sizes)
    return shards, np.concatenate([np.arange(size) for size in sizes])


def _in_turn(sizes: Sequence[int]) -> tuple[Array, Array]:
    return np.arange(sum(sizes)) % len(sizes), np.arange(sum(sizes)) // len(sizes)


_STRATEGIES = {"LookupInConsecutiveShards": _consecutive, "LookupInTurningShards": _in_turn}
"""Operator names that TensorFlow does not have → from the shards' sizes, shard and row of each id.

They are the partition strategies ``div`` and ``mod``.
"""


@see_through("DynamicStitch", "ParallelDynamicStitch")
def lookup_in_shards(source: Source, node: TfNode) -> None:
    """Turn ``node`` into one lookup, when it puts together what was gathered from shards.

    ``stitch(partition(range, shard), [gather(table_k, partition(row, shard)_k) for each k])``,
    where ``shard`` and ``row`` are functions of the ids: one of :data:`_STRATEGIES`, which is found
    by trying the ids. An id beyond the last must have no row in any shard.
    """
    half = len(node.inputs) // 2
    found = _partition(source, node.inputs[:half], half)
    gathers = [_gathered(source, ref) for ref in node.inputs[half:]]
    if found is None or None in gathers:
        return
    places, by = found
    tables, parts = zip(*(g for g in gathers if g is not None), strict=True)
    rows, also_by = _partition(source, parts, half) or (None, None)
    sizes = [_row_count(source, table) for table in tables]
    if rows is None or by != also_by or None in sizes or not _counts_up(source, places):
        return
    known = [size or 0 for size in sizes]
    ids, inside = _trial(sum(known))
    trial = _Trial(source, ids)
    shard, row = trial.evaluate(by), trial.evaluate(rows)
    if shard is None or row is None or len(trial.leaves) != 1:
        return
    if any(a.shape != ids.shape or a.dtype.kind != "i" for a in (shard, row)):
        return
    exists = (shard >= 0) & (shard < half) & (row >= 0)
    exists &= row < np.asarray(known)[np.where(exists, shard, 0)]
    if not np.array_equal(exists, inside):
        return
    for op_type, strategy in _STRATEGIES.items():
        wanted = strategy(known)
        if all(np.array_equal(a[inside], b) for a, b in zip((shard, row), wanted, strict=True)):
            node.op_type, node.inputs = op_type, [*trial.leaves, *tables]
            return


def _partition(source: Source, refs: Sequence[Ref], count: int) -> tuple[Ref, Ref] | None:
    """What is partitioned and by what, when ``refs`` are all parts of one DynamicPartition."""
    refs = [source.behind(ref) for ref in refs]
    if not refs or refs != [Ref(refs[0].name, k) for k in range(count)]:
        return None
    node = source.origin(refs[0])
    if node is None or node.op_type != "DynamicPartition" or len(node.inputs) != 2:
        return None
    return source.behind(node.inputs[0]), source.behind(node.inputs[1])


def _gathered(source: Source, ref: Ref) -> tuple[Ref, Ref] | None:
    """The table and the indices, when ``ref`` is rows of a table."""
    node = source.origin(ref)
    if node is None or len(node.inputs) != {"Gather": 2, "GatherV2": 3}.get(node.op_type):
        return None
    axis = [source.scalar(ref) for ref in node.inputs[2:]]
    if axis not in ([], [0]) or node.integer("batch_dims", 0):
        return None
    return node.inputs[0], node.inputs[1]


def _row_count(source: Source, table: Ref) -> int | None:
    """How many rows a constant has."""
    node = source.origin(table)
    shape = None if node is None else source.extents(node)
    return shape[0] if shape else None


def _counts_up(source: Source, ref: Ref) -> bool:
    """Whether it is 0, 1, 2 … (partitioning asks for the right length)."""
    node = source.origin(ref)
    if node is None or node.op_type != "Range" or len(node.inputs) != 3:
        return False
    return source.scalar(node.inputs[0]) == 0 and source.scalar(node.inputs[2]) == 1


def _trial(count: int) -> tuple[Array, Array]:
    """Ids to try, and which of them are among the table's ``count``."""
    step = max(1, count // _SAMPLES)
    beyond = np.arange(0, max(count, 2), step)
    ids = np.concatenate([np.arange(count), -1 - beyond, count + beyond])
    return ids, (ids >= 0) & (ids < count)


class _Trial:
    """Evaluates what follows from ids element by element; ``leaves`` are the ids' sources."""

    def __init__(self, source: Source, ids: Array) -> None:
        self.source = source
        self.ids = ids
        self.leaves: dict[Ref, None] = {}
        self.steps = 0

    def evaluate(self, ref: Ref) -> Array | None:
        """The values of ``ref``; ``None`` where it is no function of that kind."""
        self.steps += 1
        number = self.source.scalar(ref)
        if number is not None:
            whole = number.is_integer() and abs(number) < 2**31
            return np.asarray(int(number)) if whole else None
        node = self.source.origin(ref)
        if node is None or node.op_type not in _ELEMENTWISE:
            self.leaves[self.source.behind(ref)] = None
            return self.ids
        if self.steps > _STEPS or not self._is_whole(node):
            return None
        inputs = [self.evaluate(i) for i in node.inputs]
        function = _ELEMENTWISE[node.op_type]
        takes = {np.asarray: 1, np.where: 3}.get(function, 2)
        if len(inputs) != takes or any(i is None for i in inputs):
            return None
        with np.errstate(all="ignore"):
            return np.asarray(function(*inputs))

    @staticmethod
    def _is_whole(node: TfNode) -> bool:
        return node.op_type != "Cast" or node.dtype("DstT") in (INT32, INT64)


@tf(*_STRATEGIES)
def sharded_lookup(n: Site, ids: Value, *shards: Value) -> Value:
    """The shards are joined in the order of the ids: one table for all."""
    arrays = [n.array(shard, "its shards") for shard in shards]
    if ids.dtype not in (INT32, INT64):
        raise UnsupportedError(f"a lookup in shards with ids of {ids.dtype}")

    def joined(_: Array) -> Array:
        n.spend(sum(a.nbytes for a in arrays))
        of, row = _STRATEGIES[n.op_type]([len(a) for a in arrays])
        table = np.empty((len(of), *arrays[0].shape[1:]), arrays[0].dtype)
        for shard, array in enumerate(arrays):
            table[of == shard] = array[row[of == shard]]
        return table

    table = n.view(shards[0], (n.op_type, *map(id, shards)), joined)
    if ids.dtype is INT32 and ids.shape is not None and len(ids.shape) == 1 and n.rank(table) > 1:
        return n.op("EMBEDDING_LOOKUP", ids, table)
    return n.op("GATHER", table, ids, axis=0)


# -- sparse ids ------------------------------------------------------------------------------------

_COMBINERS = {
    "SparseSegmentSum": Combiner.SUM,
    "SparseSegmentMean": Combiner.MEAN,
    "SparseSegmentSqrtN": Combiner.SQRTN,
}
"""TensorFlow's sums of rows of a table."""


@see_through("Gather", "GatherV2")
def distinct_rows(source: Source, node: TfNode) -> None:
    """Rows that are first looked up once for each distinct id are those of the ids themselves."""
    outer = _gathered(source, Ref(node.name))
    found = None if outer is None else _not_only_distinct(source, *outer)
    if found is not None:
        node.inputs[:2] = found


def _not_only_distinct(source: Source, rows: Ref, which: Ref) -> list[Ref] | None:
    """Table and ids, for ``rows = gather(table, distinct); distinct, which = unique(ids)``."""
    inner, which = _gathered(source, rows), source.behind(which)
    unique = source.origin(which)
    if inner is None or unique is None or unique.op_type != "Unique" or len(unique.inputs) != 1:
        return None
    if (source.behind(inner[1]), which) != (Ref(unique.name), Ref(unique.name, 1)):
        return None
    return [inner[0], unique.inputs[0]]


@see_through("SparseReshape")
def flat_already(source: Source, node: TfNode) -> Sequence[Ref] | None:
    """A matrix whose leading axes are joined stays as it is: ``[prod(shape[:1]), shape[1]]``."""
    if len(node.inputs) != 3:
        return None
    indices, shape, wanted = node.inputs
    pack = source.origin(wanted)
    if pack is None or pack.op_type != "Pack" or len(pack.inputs) != 2:
        return None
    rows, columns = pack.inputs
    product, one = source.origin(rows), _gathered(source, columns)
    if one is None or product is None or product.op_type != "Prod" or len(product.inputs) != 2:
        return None
    first = source.origin(product.inputs[0])
    if first is None or first.op_type != "Slice" or len(first.inputs) != 3:
        return None
    origins = {source.behind(ref) for ref in (shape, one[0], first.inputs[0])}
    numbers = [source.scalar(ref) for ref in (one[1], *first.inputs[1:], product.inputs[1])]
    return [indices, shape] if len(origins) == 1 and numbers == [1, 0, 1, 0] else None


@see_through("Select", "SelectV2")
def safe_lookup(source: Source, node: TfNode) -> None:
    """Rows of sums without those that SparseFillEmptyRows has made up: zeros in their place.

    ``select(tile(empty), zeros_like(sums), sums)``, the sums being those of the filled rows.
    """
    if len(node.inputs) != 3:
        return
    mask, zeros, result = (source.origin(ref) for ref in node.inputs)
    if zeros is None or zeros.op_type != "ZerosLike" or result is None or mask is None:
        return
    if result.op_type not in _COMBINERS or len(result.inputs) != 3:
        return
    if [source.behind(r) for r in zeros.inputs] != [source.behind(node.inputs[2])]:
        return
    *lookup, rows = result.inputs
    table, ids = _not_only_distinct(source, *lookup) or lookup
    filled = source.behind(ids)
    fill, empty = source.origin(filled), _tiled(source, mask)
    if fill is None or fill.op_type != "SparseFillEmptyRows" or len(fill.inputs) != 4:
        return
    parts = (filled, _first_column(source, rows), empty)
    if parts == (Ref(fill.name, 1), Ref(fill.name, 0), Ref(fill.name, 2)):
        indices, values, shape, _ = fill.inputs
        node.op_type, node.inputs = f"{result.op_type}Safe", [table, values, indices, shape]


def _tiled(source: Source, tile: TfNode) -> Ref | None:
    """The vector whose elements fill the rows that ``tile`` makes."""
    if tile.op_type != "Tile" or len(tile.inputs) != 2:
        return None
    reshape = source.origin(tile.inputs[0])
    if reshape is None or reshape.op_type not in ("Reshape", "ExpandDims") or not reshape.inputs:
        return None
    return source.behind(reshape.inputs[0])


def _first_column(source: Source, ref: Ref) -> Ref | None:
    """The matrix whose first column ``ref`` is."""
    node = source.origin(ref)
    if node is not None and node.op_type == "Cast" and node.inputs:
        node = source.origin(node.inputs[0])
    if node is None or node.op_type != "StridedSlice" or len(node.inputs) != 4:
        return None
    masks = [
        node.integer(f"{name}_mask", 0)
        for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    ]
    bounds = [_ints(source, ref) for ref in node.inputs[1:]]
    first = masks == [1, 1, 0, 0, 2] and bounds == [[0, 0], [0, 1], [1, 1]]
    return source.behind(node.inputs[0]) if first else None


def _ints(source: Source, ref: Ref) -> list[int] | None:
    """The integers of a constant pair."""
    node = source.origin(ref)
    if node is None or node.op_type != "Const" or node.element_count("value") != 2:
        return None
    return [int(i) for i in node.array_attribute("value").reshape(-1)]


@see_through(*_COMBINERS)
def combined_rows(source: Source, node: TfNode) -> None:
    """The same for rows that are added up, as TensorFlow 1 writes it."""
    if len(node.inputs) == 3:
        node.inputs[:2] = _not_only_distinct(source, *node.inputs[:2]) or node.inputs[:2]


@tf(*(f"{name}Safe" for name in _COMBINERS))
def sparse_lookup(n: Site, table: Value, ids: Value, indices: Value, shape: Value) -> Value:
    """Sums of the rows that sparse ids name, for each row of the sparse tensor."""
    combiner = _COMBINERS[n.op_type.removesuffix("Safe")]
    places = (_narrow(n, indices), _narrow(n, shape))
    return _combine(n, table, ids, None, places, combiner)


@tf(*_COMBINERS)
def sparse_segment(n: Site, x: Value, ids: Value, segments: Value) -> Value:
    """Sums of the rows of ``x`` that ``ids`` name, for each segment up to the last."""
    return _combine(n, x, ids, None, _places(n, segments), _COMBINERS[n.op_type])


@tf("SegmentSum")
def segment_sum(n: Site, x: Value, segments: Value) -> Value:
    """Of the weighted rows of a table it is a sparse lookup."""
    if x.dtype not in (FLOAT32, INT32):
        raise UnsupportedError(f"SegmentSum of {x.dtype}, which TFLite does not add up")
    found = _weighted_rows(x) if x.dtype is FLOAT32 else None
    if found is not None:
        table, ids, weights = found
        return _combine(n, table, ids, weights, _places(n, segments), Combiner.SUM)
    return n.op("SEGMENT_SUM", x, _narrow(n, segments))


def _weighted_rows(x: Value) -> tuple[Value, Value, Value] | None:
    """Table, ids and weights, when ``x`` is rows of a table, each times its weight."""
    product = x.producer
    if product is None or product.op.name != "MUL":
        return None
    for rows, factors in (product.inputs, product.inputs[::-1]):
        assert rows is not None
        assert factors is not None
        gather = rows.producer
        if gather is None or gather.op.attributes() != {"axis": 0, "batch_dims": 0}:
            continue
        table, ids = gather.inputs
        assert table is not None
        assert ids is not None
        if table.shape is None or ids.shape is None or len(ids.shape) != 1:
            continue
        weights = _before_axes(factors, len(table.shape) - 1)
        if weights is not None:
            return table, ids, weights
    return None


def _before_axes(x: Value, count: int) -> Value | None:
    """The vector from which ``x`` was made by adding ``count`` axes of extent 1."""
    node = x.producer
    if node is None or node.op.name != "RESHAPE" or not count:
        return None
    vector, shape = node.inputs
    assert vector is not None
    if vector.shape is None or len(vector.shape) != 1:
        return None
    if x.shape is not None and x.shape[1:] == (1,) * count:
        return vector
    joined = None if shape is None else shape.producer
    if joined is None or joined.op.name != "CONCATENATION" or len(joined.inputs) != 2:
        return None
    extents, ones = joined.inputs
    assert extents is not None
    assert ones is not None
    asked = extents.producer
    if asked is None or asked.op.name != "SHAPE" or asked.inputs[0] is not vector:
        return None
    return vector if ones.data is not None and ones.data.tolist() == [1] * count else None


def _places(n: Site, segments: Value) -> tuple[Value, Value]:
    """Indices and shape of a sparse matrix with one element in each of the rows ``segments``.

    It has as many rows as the last segment asks for. Where in its row an element is does not
    matter.
    """
    rows = _narrow(n, segments)
    some = n.op("CONCATENATION", n.known([-1]), rows, axis=0)  # there may be no segments
    count = n.op("ADD", n.op("REDUCE_MAX", some, [0], keep_dims=True), 1)
    shape = n.op("CONCATENATION", count, n.known([1]), axis=0)
    return n.op("PACK", rows, rows, values_count=2, axis=1), shape


def _combine(
    n: Site, table: Value, ids: Value, weights: Value | None, places: tuple[Value, Value],
    combiner: Combiner,
) -> Value:  # fmt: skip
    if table.dtype is not FLOAT32 or n.rank(table) < 2:
        raise UnsupportedError(f"{n.op_type} of anything but rows of floats")
    ids = _narrow(n, ids)
    if weights is None:
        weights = n.op("FILL", n.op("SHAPE", ids, out_type=INT32), np.ones((), np.float32))
    return n.op("EMBEDDING_LOOKUP_SPARSE", ids, *places, weights, table, combiner=combiner)


def _narrow(n: Site, x: Value) -> Value:
    """``x`` as int32; what has no place there stays out of any table's range."""
    if x.dtype is INT64 and x.data is None:
        x = n.op("MINIMUM", n.op("MAXIMUM", x, -1), 2**31 - 1)
    return n.int32(x)
