"""Embeddings: tables looked up whole, in shards, sparsely, and in front of recurrent networks."""

import numpy as np
import tensorflow as tf

from .case import fixed, integers, loop
from .recurrent import both_ways, dynamic
from .recurrent_cells import LSTM, RNN, cells
from .weights import array, dense, tf1, variable

LOOKUP = "EMBEDDING_LOOKUP"
ONCE = (1,)  # no control flow, so that both versions are the same
WORDS = integers(0, 100, None, 7)


def table(rows=100, size=16, name="table", seed=0):
    return variable(name, array(rows, size, seed=seed, scale=0.5))


def shards(count, rows=34, size=16):
    return [table(rows, size, f"table/part_{k}", seed=k) for k in range(count)]


@loop("embedding_lookup", [LOOKUP], flows=ONCE, ids=integers(0, 100, None))
def embedding_flat(ids):
    """A vector of ids."""
    return {"out": tf1.nn.embedding_lookup(table(), ids)}


@loop("embedding_lookup", [LOOKUP], flows=ONCE, ids=WORDS)
def embedding_sequences(ids):
    return {"out": tf1.nn.embedding_lookup(table(), ids)}


@loop(
    "embedding_lookup",
    [LOOKUP],
    flows=ONCE,
    resource=True,
    ids=integers(0, 100, None, 7, dtype="int64"),
)
def embedding_resource(ids):
    """A resource variable (ResourceGather, frozen to GatherV2), ids of int64."""
    made = tf1.get_variable("table", initializer=array(100, 16, scale=0.5))
    return {"out": tf1.nn.embedding_lookup(made, ids)}


@loop("embedding_lookup, Gather", [LOOKUP], flows=ONCE, ids=WORDS)
def embedding_gather_old(ids):
    """The node that TensorFlow wrote before 1.5."""
    return {"out": tf.raw_ops.Gather(params=table(), indices=ids, validate_indices=True)}


@loop(
    "embedding_lookup, one row, rank 3 table", ["GATHER"], flows=ONCE, ids=integers(0, 20, None, 3)
)
def embedding_matrices(ids):
    """A table of matrices."""
    made = variable("table", array(20, 8, 8, scale=0.5))
    return {"out": tf1.nn.embedding_lookup(made, ids)}


@loop("embedding_lookup of three shards, mod", [LOOKUP], flows=ONCE, ids=integers(0, 102, None))
def embedding_shards_mod(ids):
    """DynamicPartition, one Gather per shard, DynamicStitch: the shards joined are one table."""
    return {"out": tf1.nn.embedding_lookup(shards(3), ids, partition_strategy="mod")}


@loop("embedding_lookup of three shards, div", [LOOKUP], flows=ONCE, ids=integers(0, 100, None, 7))
def embedding_shards_div(ids):
    """Shards of 34, 33 and 33 rows, ids of rank 2."""
    parts = [table(34, 16, "p0"), table(33, 16, "p1", 1), table(33, 16, "p2", 2)]
    return {"out": tf1.nn.embedding_lookup(parts, ids, partition_strategy="div")}


@loop("embedding_lookup of a partitioned variable", [LOOKUP], flows=ONCE, ids=integers(0, 99, None))
def embedding_partitioned(ids):
    made = tf1.get_variable(
        "table",
        (99, 16),
        initializer=tf1.random_normal_initializer(stddev=0.5, seed=0),
        partitioner=tf1.fixed_size_partitioner(3),
    )
    return {"out": tf1.nn.embedding_lookup(made, ids, partition_strategy="div")}


@loop("embedding_lookup with max_norm", [LOOKUP], flows=ONCE, ids=WORDS)
def embedding_max_norm(ids):
    """Rows are clipped to a norm behind the lookup."""
    return {"out": tf1.nn.embedding_lookup(table(), ids, max_norm=1.5)}


@loop("one-hot product", [], flows=ONCE, ids=integers(0, 100, None))
def embedding_one_hot(ids):
    return {"out": tf.matmul(tf.one_hot(ids, 100), table())}


# Sparse: rows 0 and 2 have two ids each, row 3 one; safe_… also has an empty row and an id of −1

INDICES = np.array([[0, 0], [0, 1], [1, 0], [2, 0], [2, 2], [3, 1]], np.int64)
IDS = np.array([3, 90, 17, 17, 41, 0], np.int64)
WEIGHTS = np.array([0.5, 1.0, 2.0, 1.5, 0.25, 1.0], np.float32)
SPARSE = {"indices": fixed(INDICES, None, 2), "ids": fixed(IDS, None)}
WITH_HOLES = SPARSE | {
    "ids": fixed(np.array([3, -1, 17, 17, 41, -1], np.int64), None),
    "shape": fixed(np.array([5, 3], np.int64), 2),
}


def sparse(lookup, indices, ids, combiner, weights=None, shape=(4, 3)):
    sparse_ids = tf.SparseTensor(indices, ids, shape)
    sparse_weights = None if weights is None else tf.SparseTensor(indices, weights, shape)
    return {"out": lookup(table(), sparse_ids, sparse_weights, combiner=combiner)}


SPARSE_LOOKUP = ["EMBEDDING_LOOKUP_SPARSE"]
plain, safe = tf1.nn.embedding_lookup_sparse, tf1.nn.safe_embedding_lookup_sparse


@loop("embedding_lookup_sparse, sum", SPARSE_LOOKUP, flows=ONCE, **SPARSE)
def embedding_sparse_sum(indices, ids):
    return sparse(plain, indices, ids, "sum")


@loop("embedding_lookup_sparse, mean", SPARSE_LOOKUP, flows=ONCE, **SPARSE)
def embedding_sparse_mean(indices, ids):
    return sparse(plain, indices, ids, "mean")


@loop("embedding_lookup_sparse, sqrtn", SPARSE_LOOKUP, flows=ONCE, **SPARSE)
def embedding_sparse_sqrtn(indices, ids):
    return sparse(plain, indices, ids, "sqrtn")


WEIGHTED = SPARSE | {"weights": fixed(WEIGHTS, None)}


@loop("embedding_lookup_sparse, weighted sum", SPARSE_LOOKUP, flows=ONCE, **WEIGHTED)
def embedding_sparse_weighted_sum(indices, ids, weights):
    return sparse(plain, indices, ids, "sum", weights)


@loop("embedding_lookup_sparse, weighted mean", SPARSE_LOOKUP, flows=ONCE, **WEIGHTED)
def embedding_sparse_weighted_mean(indices, ids, weights):
    return sparse(plain, indices, ids, "mean", weights)


@loop("embedding_lookup_sparse, weighted sqrtn", SPARSE_LOOKUP, flows=ONCE, **WEIGHTED)
def embedding_sparse_weighted_sqrtn(indices, ids, weights):
    return sparse(plain, indices, ids, "sqrtn", weights)


@loop("safe_embedding_lookup_sparse", SPARSE_LOOKUP, flows=ONCE, **WITH_HOLES)
def embedding_sparse_safe(indices, ids, shape):
    """Ids below 0 are dropped; rows without ids give zeros."""
    return sparse(safe, indices, ids, "mean", shape=shape)


# In front of recurrent networks


@loop(
    "embedding, dynamic_rnn of BasicRNNCell",
    [LOOKUP, RNN],
    flows=(1,),
    also=((1, 4), (4, 9)),
    ids=integers(0, 100, None, None),
)
def text_rnn(ids):
    words = tf1.nn.embedding_lookup(table(100, 32), ids)
    outputs, state = dynamic(cells.BasicRNNCell(32), words)
    return {"out": outputs, "logits": dense(state, 5, name="logits_fc")}


@loop(
    "embedding, dynamic_rnn of BasicLSTMCell",
    [LOOKUP, LSTM],
    flows=(1,),
    ids=integers(0, 100, None, 10),
)
def text_lstm(ids):
    """A sentiment classifier as tutorials had it."""
    words = tf1.nn.embedding_lookup(table(100, 16), ids)
    outputs, _ = dynamic(cells.BasicLSTMCell(8), words)
    return {"probabilities": tf.nn.softmax(dense(outputs[:, -1], 3, name="logits"))}


@loop(
    "embedding, bidirectional_dynamic_rnn of LSTMCell with sequence_length",
    [LOOKUP, LSTM, LSTM],
    also=((3, 9),),
    flows=(1,),
    batch=4,
    ids=integers(0, 100, None, None),
    lengths=integers(1, 7, None),
)
def text_tagger(ids, lengths):
    """A tagger: a class for each word."""
    words = tf1.nn.embedding_lookup(table(100, 12), ids)
    cell = cells.LSTMCell
    outputs, _ = both_ways(cell(8), cell(8), words, sequence_length=lengths)
    tags = dense(tf.reshape(outputs, [-1, 16]), 6, name="tags_fc")
    return {"tags": tf.reshape(tags, [-1, tf.shape(ids)[1], 6])}


@loop("embedding inside the loop", [LOOKUP, RNN], flows=(1,), ids=WORDS)
def text_embedding_cell(ids):
    """EmbeddingWrapper: the lookup is part of the cell."""
    made, cell = table(100, 16), cells.BasicRNNCell(8)

    class EmbeddingCell:
        state_size = output_size = 8

        def zero_state(self, batch, dtype):
            return cell.zero_state(batch, dtype)

        def __call__(self, word, state, scope=None):
            return cell(tf.gather(made, tf.squeeze(word, [1])), state)

    return {"out": dynamic(EmbeddingCell(), ids[:, :, tf.newaxis])[0]}
