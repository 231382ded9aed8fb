"""Sources, shapes, slices and layouts."""

from __future__ import annotations

import numpy as np

from octolite.errors import InvalidGraphError, UnsupportedError
from octolite.frontends.graphdef.engine import Site, tf
from octolite.ir.graph import Value
from octolite.ir.types import INT32
from octolite.ops.padding import MirrorMode

# -- sources and what passes through -------------------------------------------------------------


@tf("Const")
def const(n: Site) -> Value:
    n.spend(n.unwritten_bytes("value"))
    array, dtype = n.array_attribute("value"), n.dtype("dtype")
    if array.dtype != dtype.numpy:
        raise InvalidGraphError(f"{n!r} is declared as {dtype} and holds {array.dtype}")
    return n.constant(array, dtype)


@tf("Placeholder")
def placeholder(n: Site) -> Value:
    raise UnsupportedError("a Placeholder that is no input array")


@tf("Identity", "StopGradient", "PreventGradient", "CheckNumerics", "Snapshot",
    "EnsureShape", "PlaceholderWithDefault")  # fmt: skip
def identity(n: Site, x: Value) -> Value:
    return x


@tf("IdentityN")
def identity_n(n: Site, *inputs: Value) -> tuple[Value, ...]:
    return inputs


@tf("Cast")
def cast(n: Site, x: Value) -> Value:
    return n.cast(x, n.dtype("DstT"))


@tf("Bitcast")
def bitcast(n: Site, x: Value) -> Value:
    return n.op("BITCAST", x, out_type=n.dtype("type"))


# -- extents -------------------------------------------------------------------------------------


@tf("Shape")
def shape(n: Site, x: Value) -> Value:
    return n.op("SHAPE", x, out_type=n.dtype("out_type", 3))


@tf("ShapeN")
def shape_n(n: Site, *inputs: Value) -> list[Value]:
    return [n.op("SHAPE", x, out_type=n.dtype("out_type", 3)) for x in inputs]


@tf("Size")
def size(n: Site, x: Value) -> Value:
    extents = n.op("SHAPE", x, out_type=n.dtype("out_type", 3))
    return n.op("REDUCE_PROD", extents, [0], keep_dims=False)


@tf("Rank")
def rank(n: Site, x: Value) -> Value:
    return n.constant(np.asarray(n.rank(x), np.int32))


# -- the same elements in another arrangement ----------------------------------------------------


@tf("Reshape")
def reshape(n: Site, x: Value, shape: Value) -> Value:
    if shape.data is not None:
        return n.reshape(x, n.int_list(shape, "its shape"))
    return n.op("RESHAPE", x, n.int32(shape))


@tf("Squeeze")
def squeeze(n: Site, x: Value) -> Value:
    return n.op("SQUEEZE", x, squeeze_dims=tuple(n.ints("squeeze_dims", ())))


@tf("ExpandDims")
def expand_dims(n: Site, x: Value, axis: Value) -> Value:
    return n.op("EXPAND_DIMS", x, n.int32(axis))


@tf("Transpose")
def transpose(n: Site, x: Value, perm: Value) -> Value:
    return n.op("TRANSPOSE", x, n.int32(perm))


@tf("ReverseV2")
def reverse(n: Site, x: Value, axes: Value) -> Value:
    return n.op("REVERSE_V2", x, n.int32(axes))


@tf("ReverseSequence")
def reverse_sequence(n: Site, x: Value, lengths: Value) -> Value:
    axes = {"seq_dim": n.integer("seq_dim"), "batch_dim": n.integer("batch_dim", 0)}
    return n.op("REVERSE_SEQUENCE", x, lengths, **axes)


@tf("SpaceToBatchND")
def space_to_batch(n: Site, x: Value, block: Value, pads: Value) -> Value:
    return n.op("SPACE_TO_BATCH_ND", x, n.int32(block), n.int32(pads))


@tf("BatchToSpaceND")
def batch_to_space(n: Site, x: Value, block: Value, crops: Value) -> Value:
    return n.op("BATCH_TO_SPACE_ND", x, n.int32(block), n.int32(crops))


# -- parts and wholes ----------------------------------------------------------------------------


@tf("Slice")
def slice_(n: Site, x: Value, begin: Value, size: Value) -> Value:
    return n.op("SLICE", x, n.int32(begin), n.int32(size))


@tf("StridedSlice")
def strided_slice(n: Site, x: Value, begin: Value, end: Value, strides: Value) -> Value:
    masks = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    bounds = (n.int32(begin), n.int32(end), n.int32(strides))
    return n.op("STRIDED_SLICE", x, *bounds, **{m: n.integer(m, 0) for m in masks})


@tf("Split")
def split(n: Site, axis: Value, x: Value) -> tuple[Value, ...]:
    return n.ops("SPLIT", n.int32(axis), x, num_splits=n.integer("num_split"))


@tf("SplitV")
def split_v(n: Site, x: Value, sizes: Value, axis: Value) -> tuple[Value, ...]:
    count = n.integer("num_split")
    return n.ops("SPLIT_V", x, n.int32(sizes), n.int32(axis), num_splits=count)


@tf("Unpack")
def unpack(n: Site, x: Value) -> tuple[Value, ...]:
    return n.ops("UNPACK", x, num=n.integer("num"), axis=n.integer("axis", 0))


@tf("Pack")
def pack(n: Site, *parts: Value) -> Value:
    return n.op("PACK", *parts, values_count=len(parts), axis=n.integer("axis", 0))


@tf("ConcatV2")
def concat_v2(n: Site, *inputs: Value) -> Value:
    *parts, axis = inputs
    return parts[0] if len(parts) == 1 else n.op("CONCATENATION", *parts, axis=n.axis(axis))


@tf("Concat")
def concat(n: Site, *inputs: Value) -> Value:
    axis, *parts = inputs
    result: Value = concat_v2(n, *parts, axis)
    return result


@tf("Gather")
def gather(n: Site, x: Value, indices: Value) -> Value:
    return n.op("GATHER", x, indices, axis=0)


@tf("GatherV2")
def gather_v2(n: Site, x: Value, indices: Value, axis: Value) -> Value:
    return n.op("GATHER", x, indices, axis=n.axis(axis), batch_dims=n.integer("batch_dims", 0))


@tf("TopKV2")
def top_k(n: Site, x: Value, k: Value) -> tuple[Value, ...]:
    return n.ops("TOPK_V2", x, n.int32(k))


@tf("Unique")
def unique(n: Site, x: Value) -> tuple[Value, ...]:
    return n.ops("UNIQUE", x, idx_out_type=n.dtype("out_idx", 3))


# -- borders and repetition ----------------------------------------------------------------------


@tf("Pad")
def pad(n: Site, x: Value, amounts: Value) -> Value:
    return n.op("PAD", x, n.int32(amounts))


@tf("PadV2")
def pad_v2(n: Site, x: Value, amounts: Value, border: Value) -> Value:
    return n.op("PADV2", x, n.int32(amounts), border)


@tf("MirrorPad")
def mirror_pad(n: Site, x: Value, amounts: Value) -> Value:
    mode = n.choice("mode", {m.name: m for m in MirrorMode})
    return n.op("MIRROR_PAD", x, n.int32(amounts), mode=mode)


@tf("Tile")
def tile(n: Site, x: Value, multiples: Value) -> Value:
    return n.op("TILE", x, n.int32(multiples))


@tf("BroadcastTo")
def broadcast_to(n: Site, x: Value, shape: Value) -> Value:
    return n.op("BROADCAST_TO", x, n.int32(shape))


# -- made from nothing ---------------------------------------------------------------------------


@tf("Fill")
def fill(n: Site, dims: Value, value: Value) -> Value:
    return n.op("FILL", n.int32(dims), value)


@tf("OnesLike")
def ones_like(n: Site, x: Value) -> Value:
    return n.op("FILL", n.op("SHAPE", x, out_type=INT32), np.ones((), x.dtype.numpy))


@tf("Range")
def range_(n: Site, start: Value, limit: Value, delta: Value) -> Value:
    return n.op("RANGE", start, limit, delta)


@tf("OneHot")
def one_hot(n: Site, indices: Value, depth: Value, on: Value, off: Value) -> Value:
    return n.op("ONE_HOT", indices, n.int32(depth), on, off, axis=n.integer("axis", -1))


@tf("ScatterNd")
def scatter_nd(n: Site, indices: Value, updates: Value, shape: Value) -> Value:
    return n.op("SCATTER_ND", n.int32(indices), updates, n.int32(shape))
