"""Shapes, indices, reductions, resizing, and what training leaves in a frozen graph."""

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2

from .case import booleans, graph, integers, normal
from .weights import array, dense, flatten, tf1

# ---- reductions ----


@graph(x=normal(None, 4, 5, 6))
def reductions(x):
    return {
        "sum": tf.reduce_sum(x, 1),
        "sum_all": tf.reduce_sum(x),
        "mean": tf.reduce_mean(x, [1, 3]),
        "mean_keep": tf.reduce_mean(x, [-1], keepdims=True),
        "max": tf.reduce_max(x, [-1, -2]),
        "min": tf.reduce_min(x, 2, keepdims=True),
        "prod": tf.reduce_prod(x, -1),
        "std": tf.math.reduce_std(x, -1),
    }


@graph(b=booleans(3, 4, 5), n=integers(-9, 9, 3, 4))
def reductions_types(b, n):
    return {
        "all": tf.reduce_all(b, 1),
        "any": tf.reduce_any(b, [-1], keepdims=True),
        "sum_int": tf.reduce_sum(n, 1),
        "max_int": tf.reduce_max(n, 0),
    }


@graph(x=normal(None, 4, 9))
def arg_max_min(x):
    return {
        "max_int64": tf.argmax(x, 1),
        "max_int32": tf.argmax(x, -1, output_type=tf.int32),
        "min_int32": tf.argmin(x, -1, output_type=tf.int32),
    }


@graph(x=normal(None, 5, 9))
def top_k(x):
    values, indices = tf.math.top_k(x, 3)
    return {"values": values, "indices": indices}


@graph(x=normal(3, 5, 6))
def cumsum(x):
    return {
        "plain": tf.cumsum(x, 1),
        "exclusive": tf.cumsum(x, -1, exclusive=True),
        "reverse": tf.cumsum(x, 0, reverse=True),
    }


# ---- shapes ----


@graph(x=normal(2, 3, 4))
def reshape_static(x):
    return {
        "flat": tf.reshape(x, [-1]),
        "minus_one": tf.reshape(x, [2, -1]),
        "expand": tf.expand_dims(x, 1),
        "expand_last": tf.expand_dims(x, -1),
        "squeeze": tf.squeeze(x[:1, :, :1]),
        "squeeze_dims": tf.squeeze(x[:, :1], [1]),
        "squeeze_negative": tf.squeeze(x[..., :1], [-1]),
    }


@graph(text=True, x=normal(None, 4, 5, 6))
def reshape_flatten(x):
    """Unknown batch: Shape, StridedSlice, Pack, Reshape."""
    return {"flat": flatten(x), "minus_one": tf.reshape(x, [-1, 120])}


@graph(x=normal(None, 4, 6, 8))
def reshape_shape_driven(x):
    """Shapes computed with Shape, arithmetic, ConcatV2, GatherV2, Prod."""
    shape = tf.shape(x)
    batch = shape[0]
    return {
        "merge_rows": tf.reshape(x, tf.stack([batch, shape[1] * shape[2], 8])),
        "merge_batch": tf.reshape(x, tf.stack([batch * 4, 6, 8])),
        "concat": tf.reshape(x, tf.concat([shape[:1], [4, 48]], 0)),
        "prod": tf.reshape(x, tf.stack([batch, tf.reduce_prod(shape[1:])])),
        "heads": tf.transpose(tf.reshape(x, tf.stack([batch, 24, 2, 4])), [0, 2, 1, 3]),
        "like": tf.reshape(tf.reshape(x, [-1, 8]) * 2.0, tf.shape(x)),
    }


@graph(x=normal(None, 4, 6), y=normal(None, 24))
def reshape_channel_shuffle(x, y):
    """ShuffleNet's channel shuffle: Reshape, Transpose, Reshape."""
    z = tf.transpose(tf.reshape(x, [-1, 4, 2, 3]), [0, 1, 3, 2])
    return {"shuffled": tf.reshape(z, [-1, 4, 6]), "split": tf.reshape(y, [-1, 4, 6])}


@graph(x=normal(2, 3, 4, 5))
def transpose(x):
    return {
        "nhwc_to_nchw": tf.transpose(x, [0, 3, 1, 2]),
        "reverse": tf.transpose(x),
        "matrix": tf.linalg.matrix_transpose(x),
        "twice": tf.transpose(tf.nn.relu(tf.transpose(x, [0, 3, 1, 2])), [0, 2, 3, 1]),
    }


@graph(x=normal(4, 6, 8), i=integers(0, 3))
def slicing(x, i):
    return {
        "slice": tf.slice(x, [1, 0, 2], [2, -1, 3]),
        "range": x[1:3, ::2, -5:],
        "reverse": x[:, ::-1, 6:1:-2],
        "ellipsis": x[..., 1],
        "ellipsis_middle": x[1, ..., 2:4],
        "new_axis": x[:, tf.newaxis, 2:, tf.newaxis],
        "shrink": x[-1, 2],
        "at_index": x[i],
    }


@graph(x=normal(None, 6, 8))
def slicing_unknown_batch(x):
    return {
        "first_step": x[:, 0, :],
        "last_channels": x[:, :, -3:],
        "slice": tf.slice(x, [0, 1, 0], [-1, 2, 8]),
        "first": x[0],
    }


@graph(x=normal(None, 4, 6), y=normal(None, 4, 3))
def concat(x, y):
    return {
        "v2": tf.concat([x, y], 2),
        "negative_axis": tf.concat([x, y, x], -1),
        "v1": tf.raw_ops.Concat(concat_dim=1, values=[x, x]),
        "constant": tf.concat([y, np.ones([2, 4, 2], np.float32)], -1),
        "single": tf.concat([x], 1),
    }


@graph(x=normal(None, 4, 6))
def split(x):
    first, second = tf.split(x, 2, axis=2)
    small, rest, tail = tf.split(x, [1, -1, 2], axis=-1)
    return {
        "product": first * second,
        "second": second,
        "small": small,
        "rest": rest + 1.0,
        "tail": tail,
    }


@graph(x=normal(3, 4, 6))
def split_raw(x):
    """Operators with several outputs that are the graph's own outputs."""
    return [*tf.split(x, 3, axis=2, name="split"), *tf.unstack(x, axis=0, name="unstack")]


@graph(x=normal(None, 3, 4), y=normal(None, 3, 4))
def pack_unpack(x, y):
    a, b, c = tf.unstack(x, axis=1)
    return {
        "pack0": tf.stack([x, y]),
        "pack_last": tf.stack([x, y], axis=-1),
        "unpacked": a * b + c,
    }


@graph(x=normal(None, 4, 5, 3))
def padding(x):
    return {
        "pad": tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]]),
        "pad_v2": tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 2]], constant_values=-1.5),
        "reflect": tf.pad(x, [[0, 0], [2, 1], [1, 3], [0, 0]], "REFLECT"),
        "symmetric": tf.pad(x, [[0, 0], [2, 1], [1, 3], [0, 0]], "SYMMETRIC"),
    }


@graph(x=normal(None, 1, 4), n=integers(0, 9, 2, 3))
def tile_fill(x, n):
    batch = tf.shape(x)[0]
    return {
        "tile": tf.tile(x, [1, 3, 2]),
        "broadcast_to": tf.broadcast_to(x, tf.stack([batch, 5, 4])),
        "fill": tf.fill(tf.stack([batch, 3]), 1.5),
        "zeros_like": tf.raw_ops.ZerosLike(x=x),
        "ones_like": tf.raw_ops.OnesLike(x=x) * x,
        "zeros_like_int": tf.raw_ops.ZerosLike(x=n),
        "range": tf.range(0, tf.shape(x)[2], 1),
        "range_const": tf.cast(tf.range(0, 8, 2), tf.float32) + x[0, 0],
        "rank": tf.rank(x) + tf.size(n),
    }


@graph(x=normal(5, 4, 3), i=integers(0, 3, 2, 2), p=integers(0, 3, 6, 2))
def gather(x, i, p):
    return {
        "v2": tf.gather(x, i),
        "axis": tf.gather(x, i, axis=1),
        "axis_negative": tf.gather(x, [2, 0], axis=-1),
        "v1": tf.raw_ops.Gather(params=x, indices=i),
        "nd": tf.gather_nd(x, p),
        "batched": tf.gather(x[:2], i, axis=1, batch_dims=1),
        "scalar": tf.gather(x, 2, axis=0),
    }


@graph(ids=integers(0, 100, None, 7))
def embedding(ids):
    """A lookup table of 6400 weights and a one-hot of its ids."""
    return {
        "rows": tf.gather(array(100, 64, scale=1.0), ids),
        "one_hot": tf.one_hot(ids, 100),
        "one_hot_axis": tf.one_hot(ids, 5, on_value=2.0, off_value=-1.0, axis=1),
    }


@graph(x=normal(2, 3, 5))
def reverse(x):
    return {"last": tf.reverse(x, [2]), "middle": tf.reverse(x, [-2])}


@graph(x=normal(None, 4, 6, 8))
def space_depth(x):
    return {
        "space_to_depth": tf.nn.space_to_depth(x, 2),
        "depth_to_space": tf.nn.depth_to_space(x, 2),
    }


@graph(x=normal(2, 6, 4, 3))
def space_batch(x):
    return {
        "to_batch": tf.space_to_batch(x, [2, 2], [[0, 0], [1, 1]]),
        "round_trip": tf1.batch_to_space_nd(
            tf.space_to_batch(x, [2, 2], [[1, 1], [0, 0]]) * 2.0, [2, 2], [[1, 1], [0, 0]]
        ),
    }


@graph(
    x=normal(3, 4),
    n=integers(-5, 5, 3, 4),
    u=integers(0, 255, 3, 4, dtype="uint8"),
    b=booleans(3, 4),
)
def cast(x, n, u, b):
    return {
        "float_to_int": tf.cast(x * 10.0, tf.int32),
        "int_to_float": tf.cast(n, tf.float32),
        "uint8_to_float": tf.cast(u, tf.float32) / 255.0,
        "bool_to_float": tf.cast(b, tf.float32),
        "int_to_int64": tf.cast(n, tf.int64),
        "int_to_bool": tf.cast(n, tf.bool),
        "float_to_half_and_back": tf.cast(tf.cast(x, tf.float16), tf.float32),
    }


@graph(x=normal(None, 4, 5, 3))
def resize_bilinear(x):
    return _resizes(tf.raw_ops.ResizeBilinear, x)


@graph(x=normal(None, 4, 5, 3))
def resize_nearest(x):
    return _resizes(tf.raw_ops.ResizeNearestNeighbor, x)


def _resizes(op, x):
    return {
        "plain": op(images=x, size=[8, 10]),
        "align_corners": op(images=x, size=[7, 9], align_corners=True),
        "half_pixel": op(images=x, size=[8, 10], half_pixel_centers=True),
        "odd": op(images=x, size=[3, 11], half_pixel_centers=True),
        "down": op(images=x, size=[2, 3]),
    }


@graph(x=normal(None, None, None, 4, unknown=5), y=normal(None, None, None, 4, unknown=9))
def resize_shape_driven(x, y):
    """Size taken from another tensor's Shape, as decoders do; every size unknown."""
    size = tf.shape(y)[1:3]
    return {"sum": tf1.image.resize_bilinear(x, size, align_corners=True) + y}


# ---- constants ----


@graph(x=normal(None, 5, 5, 8))
def half_weights(x):
    """Weights stored as half and cast, as slimmed exports have them."""
    w = tf.cast(tf.constant(array(3, 3, 8, 16).astype(np.float16)), tf.float32)
    return tf.nn.relu(tf.nn.conv2d(x, w, 1, "SAME"))


@graph(text=True, x=normal(None, 8))
def constant_encodings(x):
    """Every way a tensor is written: content, one value for all, values with the last repeated."""
    node = node_def_pb2.NodeDef(name="tail", op="Const")
    node.attr["dtype"].type = 1
    node.attr["value"].tensor.dtype = 1
    node.attr["value"].tensor.float_val.extend([1.0, 2.0, 3.0])
    node.attr["value"].tensor.tensor_shape.dim.add(size=8)
    graph_def = graph_pb2.GraphDef(node=[node])
    (tail,) = tf.import_graph_def(graph_def, return_elements=["tail:0"], name="compressed")
    return {
        "content": x + tf.constant(np.arange(8, dtype=np.float32)),
        "splat": tf.matmul(x, tf.constant(0.25, shape=[8, 4])),
        "tail": x * tail,
        "half": x + tf.cast(tf.constant([0.5] * 8, tf.float16), tf.float32),
        "double": x + tf.cast(tf.constant(np.linspace(0, 1, 8)), tf.float32),
        "int64": x + tf.cast(tf.constant(np.arange(8, dtype=np.int64) - 3), tf.float32),
        "bool": tf.where(tf.constant([True, False] * 4), x, -x),
        "empty": tf.concat([x, tf.zeros([0, 8])], 0),
        "uint8": x + tf.cast(tf.constant([200] * 8, tf.uint8), tf.float32),
    }


# ---- what training and freezing leave ----


@graph(x=normal(None, 16))
def identities(x):
    """Identity, StopGradient, PreventGradient, Snapshot, CheckNumerics and IdentityN."""
    y = tf.stop_gradient(tf.identity(x, name="id"))
    y = tf.raw_ops.PreventGradient(input=dense(y, 8, name="dense"))
    y = tf.raw_ops.Snapshot(input=y)
    first, second = tf.identity_n([y, x])
    checked = tf.debugging.check_numerics(first, "finite")
    return {"y": checked, "x": tf.raw_ops.StopGradient(input=second) * 2.0}


@graph(x=normal(None, 16))
def control_dependencies(x):
    """Assert and NoOp reached by control inputs only."""
    positive = tf1.assert_greater(tf.reduce_max(x), -100.0, name="positive")
    with tf.control_dependencies([positive, tf.no_op(name="nothing")]):
        y = tf.identity(x)
    with tf.control_dependencies([tf.group(y, name="group")]):
        return tf.nn.relu(dense(y, 8, name="dense"), name="out")


@graph(x=normal(None, 16))
def dropout_keep_prob(x):
    """TensorFlow 1 dropout whose keep probability is fed in training and defaults to 1."""
    keep = tf1.placeholder_with_default(np.float32(1), [], name="keep_prob")
    y = tf.nn.relu(dense(x, 8, name="dense"))
    with tf1.name_scope("dropout"):
        noise = tf.random.uniform(tf.shape(y), seed=1)
        y = y / keep * tf.floor(keep + noise)
    return dense(y, 4, name="logits")


@graph(x=normal(None, 16))
def dropout_rate(x):
    """Today's tf.nn.dropout with a rate that defaults to 0."""
    rate = tf1.placeholder_with_default(np.float32(0), [], name="rate")
    y = tf1.nn.dropout(dense(x, 8, name="dense"), rate=rate, seed=1)
    return dense(y, 4, name="logits")


@graph(x=normal(None, 16))
def training_switch(x):
    """Dropout under tf.cond (Switch, Merge) on an is_training that defaults to False."""
    training = tf1.placeholder_with_default(False, [], name="is_training")
    y = dense(x, 8, name="dense")
    y = tf1.cond(training, lambda: tf.nn.dropout(y, 0.5, seed=1), lambda: tf.identity(y))
    return dense(y, 4, name="logits")


@graph(x=normal(None, 16))
def placeholder_with_default(x):
    scale = tf1.placeholder_with_default(np.float32(0.5), [], name="scale")
    return {"out": x * scale}


@graph(x=normal(None, 8, 4))
def stateless_if(x):
    """StatelessIf on a constant condition, branches in the function library."""
    return tf.raw_ops.StatelessIf(
        cond=tf.constant(False),
        input=[x],
        Tout=[tf.float32],
        then_branch=tf.function(lambda t: t * 2.0).get_concrete_function(x),
        else_branch=tf.function(lambda t: t + 1.0).get_concrete_function(x),
        name="if",
    )[0]


@graph(x=normal(None, 16))
def function_library(x):
    """PartitionedCall and StatefulPartitionedCall, one function calling another."""

    @tf.function
    def inner(t):
        return tf.nn.relu(t) + 1.0

    @tf.function
    def outer(t, w):
        return inner(tf.matmul(t, w)), tf.reduce_sum(t, -1)

    activations, total = outer(x, tf.constant(array(16, 8)))
    return {"activations": activations, "total": inner(total)}


@graph(x=normal(None, 16))
def shared_weights(x):
    """One weight of two products, and one behind two Identity nodes."""
    w = tf.constant(array(16, 80), name="w")
    y = tf.matmul(x, tf.identity(w)) + tf.matmul(tf.tanh(x), tf.identity(w))
    return {"out": tf.matmul(y, w, transpose_b=True)}


@graph(x=normal(None, 16))
def constant_subgraph(x):
    """Weights computed in the graph from constants: everything left of MatMul folds."""
    w = tf.constant(array(16, 64)) * tf.constant(0.5)
    w = tf.transpose(tf.reshape(tf.concat([w, -w], 1), [16, 128]))
    w = w / tf.sqrt(tf.reduce_sum(tf.square(w), 1, keepdims=True))
    return {"out": tf.matmul(x, w, transpose_b=True)}
