"""Train the digits network again: `python examples/digits/train.py`.

Writes digits.pb (a frozen graph) and holdout.npz (images the training never saw) beside itself.
Needs TensorFlow 2.21, tf_keras and scikit-learn; using the files needs neither.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

tf1 = tf.compat.v1
layers = tf_keras.layers
FOLDER = Path(__file__).resolve().parent
EPOCHS, BATCH, HELD_OUT = 60, 64, 597  # a third of the 1797 images is held out


def main() -> None:
    tf_keras.utils.set_random_seed(2)
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).astype(np.uint8)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=HELD_OUT, stratify=labels, random_state=0
    )
    model = train(train_images, train_labels)
    graph_def = freeze(model)
    accuracy = np.mean(classify(graph_def, test_images) == test_labels)
    print(f"held-out accuracy {accuracy:.2%} of {HELD_OUT} images")
    (FOLDER / "digits.pb").write_bytes(graph_def.SerializeToString(deterministic=True))
    np.savez_compressed(
        FOLDER / "holdout.npz", images=test_images, labels=test_labels.astype(np.uint8)
    )


def enlarge(images: tf.Tensor) -> tf.Tensor:
    """[n, 8, 8, 1] in 0…16 to [n, 32, 32, 1] in 0…1; part of the frozen graph."""
    return tf.image.resize(images / 16.0, (32, 32), method="bilinear")


def network() -> tf_keras.Model:
    """Four 3×3 convolutions with batch norm, 33 million multiplications per image."""
    image = y = tf_keras.Input((32, 32, 1))
    for filters, pool in ((32, False), (64, True), (64, True), (128, True)):
        y = layers.Conv2D(filters, 3, padding="same", use_bias=False)(y)
        y = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(y))
        if pool:
            y = layers.MaxPooling2D(2)(y)
    y = layers.GlobalAveragePooling2D()(y)
    y = layers.Dense(128, activation="relu")(y)
    y = layers.Dropout(0.4)(y)
    return tf_keras.Model(image, layers.Dense(10, activation="softmax")(y))


def train(images: np.ndarray, labels: np.ndarray) -> tf_keras.Model:
    """Fit on images that are turned, shifted and zoomed a little, at a falling learning rate."""
    distort = tf_keras.Sequential(
        [
            layers.RandomRotation(0.03, fill_mode="constant"),
            layers.RandomTranslation(0.08, 0.08, fill_mode="constant"),
            layers.RandomZoom(0.1, fill_mode="constant"),
        ]
    )
    enlarged = enlarge(tf.constant(images, tf.float32))
    data = tf.data.Dataset.from_tensor_slices((enlarged, labels)).shuffle(len(labels), seed=1)
    data = data.batch(BATCH, drop_remainder=True).map(lambda x, y: (distort(x, training=True), y))
    model = network()
    steps = EPOCHS * (len(labels) // BATCH)
    rate = tf_keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(tf_keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(data, epochs=EPOCHS, verbose=2)
    return model


def freeze(model: tf_keras.Model) -> tf1.GraphDef:
    """The trained network for inference, in a session: Placeholder `input` to `probabilities`."""
    weights = model.get_weights()
    with tf.Graph().as_default() as graph, tf1.Session(graph=graph) as session:
        images = tf1.placeholder(tf.float32, (None, 8, 8, 1), name="input")
        copy = network()
        probabilities = copy(enlarge(images), training=False)
        tf.identity(probabilities, name="probabilities")
        session.run([to.assign(value) for to, value in zip(copy.weights, weights, strict=True)])
        return tf1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), ["probabilities"]
        )


def classify(graph_def: tf1.GraphDef, images: np.ndarray) -> np.ndarray:
    with tf.Graph().as_default() as graph, tf1.Session(graph=graph) as session:
        tf.import_graph_def(graph_def, name="")
        feed = {"input:0": images.astype(np.float32)}
        return session.run("probabilities:0", feed).argmax(1)


if __name__ == "__main__":
    main()
