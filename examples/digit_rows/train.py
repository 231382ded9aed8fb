"""Train the recurrent digits networks again: `python examples/digit_rows/train.py`.

Writes lstm.pb and bidirectional_rnn.pb (frozen graphs) beside itself and prints their accuracy on
the images of examples/digits/holdout.npz, which the training never sees. Needs TensorFlow 2.21,
tf_keras and scikit-learn; using the files needs none of them.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # tf.nn.rnn_cell is there only with tf_keras

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from scipy.ndimage import affine_transform
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

tf1 = tf.compat.v1
FOLDER = Path(__file__).resolve().parent
HOLDOUT = FOLDER.parent / "digits" / "holdout.npz"
EPOCHS, BATCH, KEEP_PROB = 120, 48, 0.7
Weights = dict[str, np.ndarray]  # by variable name


def main() -> None:
    tf1.disable_v2_behavior()  # control flow and variables as TensorFlow 1 wrote them
    tf1.logging.set_verbosity(tf1.logging.ERROR)
    images, labels = training_images()
    for name, network in (("lstm", lstm), ("bidirectional_rnn", bidirectional_rnn)):
        weights = train(network, images, labels)
        graph_def = freeze(network, weights)
        (FOLDER / f"{name}.pb").write_bytes(graph_def.SerializeToString(deterministic=True))
        with np.load(HOLDOUT) as holdout:
            found = classify(graph_def, holdout["images"][..., 0])
            right = int(np.sum(found == holdout["labels"]))
        print(f"{name}: {right} of {len(found)} held-out images right, {right / len(found):.2%}")


def training_images() -> tuple[np.ndarray, np.ndarray]:
    """[1200, 8, 8] in 0…16 and labels: what is not in holdout.npz, by the split of that example."""
    images, labels = load_digits(return_X_y=True)
    with np.load(HOLDOUT) as holdout:
        kept, _, labels, _ = train_test_split(
            images, labels, test_size=len(holdout["labels"]), stratify=labels, random_state=0
        )
    return kept.reshape(-1, 8, 8).astype(np.float32), labels


def lstm(rows: tf.Tensor, keep_prob: float) -> tf.Tensor:
    """Two LSTM layers in one loop; the last row's output is classified. [n, 8, 8] to [n, 10]."""
    layers = [tf1.nn.rnn_cell.BasicLSTMCell(units) for units in (128, 96)]
    if keep_prob < 1:
        layers = [
            tf1.nn.rnn_cell.DropoutWrapper(cell, output_keep_prob=keep_prob) for cell in layers
        ]
    stack = tf1.nn.rnn_cell.MultiRNNCell(layers)
    outputs, _ = tf1.nn.dynamic_rnn(stack, rows / 16.0, dtype=tf.float32)
    return classifier(outputs[:, -1])


def bidirectional_rnn(rows: tf.Tensor, keep_prob: float) -> tf.Tensor:
    """Two layers of BasicRNN, each in both directions; their mean over the rows is classified."""
    y = rows / 16.0
    for layer in ("layer1", "layer2"):
        forward, backward = (tf1.nn.rnn_cell.BasicRNNCell(96) for _ in range(2))
        outputs, _ = tf1.nn.bidirectional_dynamic_rnn(
            forward, backward, y, dtype=tf.float32, scope=layer
        )
        y = tf.concat(outputs, 2)
        y = tf.nn.dropout(y, rate=1 - keep_prob) if keep_prob < 1 else y
    return classifier(tf.reduce_mean(y, 1))


def classifier(features: tf.Tensor) -> tf.Tensor:
    weights = tf1.get_variable("classifier/weights", (features.shape[1], 10))
    biases = tf1.get_variable("classifier/biases", (10,), initializer=tf1.zeros_initializer())
    return tf.nn.bias_add(tf.matmul(features, weights), biases, name="logits")


Network = Callable[[tf.Tensor, float], tf.Tensor]


def train(network: Network, images: np.ndarray, labels: np.ndarray) -> Weights:
    """Adam at a falling learning rate, dropout, clipped gradients, distorted images."""
    with tf.Graph().as_default() as graph, tf1.Session(graph=graph) as session:
        tf1.set_random_seed(1)
        rows = tf1.placeholder(tf.float32, (None, 8, 8))
        label = tf1.placeholder(tf.int64, (None,))
        rate = tf1.placeholder(tf.float32, ())
        logits = network(rows, KEEP_PROB)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=logits)
        )
        variables = tf1.trainable_variables()
        gradients, _ = tf.clip_by_global_norm(tf.gradients(loss, variables), 1.0)
        step = tf1.train.AdamOptimizer(rate).apply_gradients(zip(gradients, variables, strict=True))
        session.run(tf1.global_variables_initializer())
        rng = np.random.default_rng(0)
        for epoch in range(EPOCHS):
            falling = 3e-3 * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
            for chosen in batches(rng, len(labels)):
                feed = {rows: distort(rng, images[chosen]), label: labels[chosen], rate: falling}
                session.run(step, feed)
        return {variable.op.name: session.run(variable) for variable in variables}


def batches(rng: np.random.Generator, count: int) -> Iterator[np.ndarray]:
    order = rng.permutation(count)
    yield from (order[start : start + BATCH] for start in range(0, count, BATCH))


def distort(rng: np.random.Generator, images: np.ndarray) -> np.ndarray:
    """Turned, zoomed, slanted and shifted a little about the centre."""
    made = np.empty_like(images)
    for k, image in enumerate(images):
        matrix = np.eye(2) + rng.normal(0, 0.08, (2, 2))
        shift = rng.uniform(-0.7, 0.7, 2) + 3.5 - matrix @ (3.5, 3.5)
        made[k] = affine_transform(image, matrix, shift, order=1)
    return made


def freeze(network: Network, weights: Weights) -> tf1.GraphDef:
    """The trained network for inference: Placeholder `rows` to `probabilities`."""
    with tf.Graph().as_default() as graph, tf1.Session(graph=graph) as session:
        rows = tf1.placeholder(tf.float32, (None, 8, 8), name="rows")
        tf.nn.softmax(network(rows, 1.0), name="probabilities")
        for variable in tf1.trainable_variables():
            variable.load(weights[variable.op.name], session)
        return tf1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), ["probabilities"]
        )


def classify(graph_def: tf1.GraphDef, images: np.ndarray) -> np.ndarray:
    with tf.Graph().as_default() as graph, tf1.Session(graph=graph) as session:
        tf.import_graph_def(graph_def, name="")
        return session.run("probabilities:0", {"rows:0": images.astype(np.float32)}).argmax(1)


if __name__ == "__main__":
    main()
