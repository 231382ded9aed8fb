"""Small models as TensorFlow 1 programs save them: a session, collections, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tf_keras.src.layers.rnn import legacy_cells as cells

from .saving import saved_model

tf1 = tf.compat.v1
SERVE, TRAIN = tf1.saved_model.tag_constants.SERVING, tf1.saved_model.tag_constants.TRAINING


def variable(name: str, *shape: int, **options: Any) -> tf.Tensor:
    rng = np.random.default_rng(sum(shape) + len(name))
    # Not a stored constant, which would be a second copy of the weights.
    start = tf1.random_normal_initializer(0, 0.3, seed=int(rng.integers(1000)))
    return tf1.get_variable(name, shape, initializer=start, **options)


def session_model(build: Callable[[], None]) -> tf1.Session:
    """A session whose graph ``build`` has made, with its variables initialised."""
    graph = tf.Graph()
    with graph.as_default():
        tf1.set_random_seed(4)
        build()
        session = tf1.Session(graph=graph)
        session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
    return session


def signature(session: tf1.Session, inputs: list[str], outputs: list[str]) -> Any:
    info = tf1.saved_model.utils.build_tensor_info
    tensor = session.graph.get_tensor_by_name
    with session.graph.as_default():
        return tf1.saved_model.signature_def_utils.build_signature_def(
            {n: info(tensor(f"{n}:0")) for n in inputs},
            {n: info(tensor(f"{n}:0")) for n in outputs},
            tf1.saved_model.signature_constants.PREDICT_METHOD_NAME,
        )


def save(
    session: tf1.Session, path: Path, signatures: dict[str, Any], saver: Any = None, **options: Any
) -> None:
    with session.graph.as_default(), session:
        builder = tf1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session, [SERVE], signatures, saver=saver, clear_devices=True, **options
        )
        builder.save()


@saved_model
def v1_signatures(path: Path) -> None:
    """Variables of the first kind, three signatures, one of which begins inside the graph; a
    second MetaGraph for training."""

    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 12], name="x")
        rate = tf1.placeholder_with_default(0.0, [], name="rate")
        hidden = tf.nn.relu(x @ variable("w1", 12, 32) + variable("b1", 32), name="hidden")
        dropped = tf1.nn.dropout(hidden, rate=rate)
        logits = tf.identity(dropped @ variable("w2", 32, 5), name="logits")
        tf.nn.softmax(logits, name="probabilities")

    session = session_model(build)
    signatures = {
        "serving_default": signature(session, ["x"], ["probabilities"]),
        "both": signature(session, ["x"], ["hidden", "logits"]),
        "classify": signature(session, ["hidden"], ["logits"]),
    }
    with session.graph.as_default(), session:
        builder = tf1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, [TRAIN], {})
        builder.add_meta_graph([SERVE], signatures)
        builder.save()


@saved_model
def v1_partitioned(path: Path) -> None:
    """Variables in slices, of which the checkpoint has the whole, in two data files."""

    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 10], name="x")
        ids = tf1.placeholder(tf.int32, [None], name="ids")
        split = tf1.fixed_size_partitioner
        with tf.device("/job:localhost/replica:0/task:0/device:CPU:0"):
            wide = tf.convert_to_tensor(variable("wide", 10, 9, partitioner=split(3, axis=1)))
        tall = variable("tall", 11, 10, partitioner=split(2))
        found = tf1.nn.embedding_lookup(tall, ids, partition_strategy="div")
        tf.matmul(x + found, wide, name="y")

    session = session_model(build)
    with session.graph.as_default():
        saver = tf1.train.Saver(sharded=True)
    save(session, path, {"serving_default": signature(session, ["x", "ids"], ["y"])}, saver)


@saved_model
def v1_resources(path: Path) -> None:
    """Resource variables, one not saved but initialised when the model is loaded; tables from a
    file and from constants."""
    words = Path("words.tsv")
    words.write_text("10\tten\n20\ttwenty\n30\tthirty\n")

    def build() -> None:
        asset = tf.constant(str(words))
        tf1.add_to_collection(tf1.GraphKeys.ASSET_FILEPATHS, asset)
        names = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(asset, tf.int64, 0, tf.string, 1), "?"
        )
        numbers = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(["a", "b"], np.array([10, 30])), 0
        )
        keys = tf1.placeholder(tf.string, [None], name="terms")
        x = tf1.placeholder(tf.float32, [None, 6], name="x")
        scale = tf1.get_variable(
            "scale", initializer=lambda: tf.range(6.0) / 4, use_resource=True, trainable=False,
            collections=[tf1.GraphKeys.LOCAL_VARIABLES],
        )  # fmt: skip
        kernel = variable("kernel", 6, 4, use_resource=True)
        tf.matmul(x * scale, kernel, name="y")
        found = tf.identity(numbers.lookup(keys), name="found")
        tf.identity(names.lookup(found), name="named")

    session = session_model(build)
    session.run(session.graph.get_operation_by_name("scale/Assign"))
    with session.graph.as_default():
        main = tf.group(tf1.tables_initializer(), tf1.local_variables_initializer())
        signatures = {
            "serving_default": signature(session, ["x"], ["y"]),
            "lookup": signature(session, ["terms"], ["found", "named"]),
        }
        assets = tf1.get_collection(tf1.GraphKeys.ASSET_FILEPATHS)
    save(session, path, signatures, main_op=main, assets_collection=assets)


@saved_model
def v1_recurrent(path: Path) -> None:
    """dynamic_rnn: a loop in the manner of TensorFlow 1."""

    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 5, 6], name="x")
        outputs, _ = tf1.nn.dynamic_rnn(cells.BasicLSTMCell(8), x, dtype=tf.float32)
        tf.identity(outputs[:, -1] @ variable("w", 8, 3), name="y")

    v2 = tf1.control_flow_v2_enabled()
    tf1.disable_control_flow_v2()
    session = session_model(build)
    save(session, path, {"serving_default": signature(session, ["x"], ["y"])})
    if v2:
        tf1.enable_control_flow_v2()


@saved_model
def v1_checkpoint(path: Path) -> None:
    """No SavedModel: a MetaGraph of training beside its checkpoint."""

    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 6, 6, 2], name="x")
        labels = tf1.placeholder(tf.int32, [None], name="labels")
        y = tf.nn.conv2d(x, variable("conv", 3, 3, 2, 16), 2, "SAME")
        y = tf.nn.relu(y + variable("shift", 16))
        logits = tf.identity(tf.reduce_mean(y, [1, 2]) @ variable("w", 16, 4), name="logits")
        tf.nn.softmax(logits, name="probabilities")
        loss = tf1.losses.sparse_softmax_cross_entropy(labels, logits)
        tf1.train.MomentumOptimizer(0.01, 0.9).minimize(loss)

    session = session_model(build)
    with session.graph.as_default():
        path.mkdir()
        tf1.train.Saver().save(session, str(path / "model.ckpt"), global_step=3)
    (path / "checkpoint").unlink()
