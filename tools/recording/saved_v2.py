"""Small models as TensorFlow 2 and Keras save them."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from .saving import saved_model, spec


def weights(*shape: int, seed: int = 0, scale: float = 0.3) -> tf.Tensor:
    rng = np.random.default_rng(seed + sum(shape))
    return tf.constant(rng.normal(0, scale, shape), tf.float32)


class Dense(tf.Module):
    """One layer whose function is called from several others."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.kernel = tf.Variable(weights(rows, columns), name="kernel")
        self.bias = tf.Variable(weights(columns), name="bias")

    @tf.function
    def __call__(self, x):
        return x @ self.kernel + self.bias


@saved_model
def nested_functions(path: Path) -> None:
    """Functions within functions, two signatures on the same variables, a captured constant."""

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Dense(16, 64), Dense(64, 16)
            self.shift = weights(16, seed=3)

        @tf.function
        def hidden(self, x):
            return tf.nn.relu(self.first(x))

        @tf.function(input_signature=[spec(None, 16, name="x")])
        def scores(self, x):
            return {"scores": self.second(self.hidden(x)) + self.shift}

        @tf.function(input_signature=[spec(None, 16, name="image")])
        def features(self, image):
            hidden = self.hidden(image)
            return {"features": hidden, "mean": tf.reduce_mean(hidden, axis=1)}

    model = Model()
    tf.saved_model.save(model, path, {"serving_default": model.scores, "embed": model.features})


@saved_model
def control_flow(path: Path) -> None:
    """Conditionals and loops whose functions read variables of the model."""

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = tf.Variable(weights(8, 8), name="matrix")
            self.dense = Dense(8, 8)

        @tf.function(input_signature=[spec(4, 8, name="x"), spec(name="steps", dtype=tf.int32)])
        def __call__(self, x, steps):
            if tf.reduce_sum(x) > 0:
                x = self.dense(x)
            else:
                x = x - self.matrix[0]
            for _ in tf.range(steps):
                x = tf.tanh(x @ self.matrix)
            return {"y": x}

    _save(Model(), path)


def _save(model: tf.Module, path: Path) -> None:
    tf.saved_model.save(model, path, {"serving_default": model.__call__})


@saved_model
def dtypes(path: Path) -> None:
    """Variables of many types; a scalar; one without elements."""

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            kinds = (
                tf.float64,
                tf.float16,
                tf.bfloat16,
                tf.int8,
                tf.uint8,
                tf.int16,
                tf.int32,
                tf.int64,
            )
            self.held = [tf.Variable(tf.cast([[1, 2, 3]], kind), name=kind.name) for kind in kinds]
            self.truth = tf.Variable([True, False, True])
            self.scalar = tf.Variable(2.5)
            self.nothing = tf.Variable(tf.zeros((0, 3)))

        @tf.function(input_signature=[spec(None, 3, name="x")])
        def __call__(self, x):
            total = tf.where(self.truth, x, -x) * self.scalar
            for variable in self.held:
                total += tf.cast(variable, tf.float32)
            return {"y": tf.concat([total, self.nothing], 0)}

    _save(Model(), path)


@saved_model
def counter(path: Path) -> None:
    """A variable that each call changes, and one that keeps a moving average."""

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = tf.Variable(3, dtype=tf.int32)
            self.average = tf.Variable(weights(4))
            self.scale = tf.Variable(weights(4, seed=7))

        @tf.function
        def note(self, x):
            self.average.assign(0.75 * self.average + 0.25 * tf.reduce_mean(x, 0))

        @tf.function(input_signature=[spec(None, 4, name="x")])
        def __call__(self, x):
            before = self.average + 0.0
            self.note(x)
            calls = self.calls.assign_add(2)
            return {"y": x * self.scale - self.average, "before": before, "calls": calls}

        @tf.function(input_signature=[])
        def state(self):
            return {"average": self.average.read_value()}

    model = Model()
    tf.saved_model.save(model, path, {"serving_default": model.__call__, "state": model.state})


@saved_model
def vocabulary(path: Path) -> None:
    """Words to numbers and back: a table from a file, one from constants."""
    words = Path("words.txt")
    words.write_text("the\ncat\nsat\non\nmat\n")

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
            self.numbers = tf.lookup.StaticHashTable(
                tf.lookup.TextFileInitializer(str(words), tf.string, whole, tf.int64, number), -1
            )
            self.names = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.constant([0, 1, 2], tf.int64), tf.constant(["zero", "one", "two"])
                ),
                "many",
            )
            self.table = tf.Variable(weights(6, 3))

        @tf.function(input_signature=[spec(None, name="words", dtype=tf.string)])
        def __call__(self, words):
            found = self.numbers.lookup(words)
            rows = tf.gather(self.table, tf.where(found < 0, tf.constant(5, tf.int64), found))
            return {"found": found, "rows": rows, "names": self.names.lookup(found)}

    _save(Model(), path)


@saved_model
def keras2_classifier(path: Path) -> None:
    """Batch normalization and dropout, saved by Keras 2 with what it needs for training."""
    tf_keras.utils.set_random_seed(1)
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.Conv2D(8, 3, padding="same", use_bias=False, input_shape=(8, 8, 3)),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, strides=2),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model(np.random.default_rng(0).normal(0.3, 2, (64, 8, 8, 3)).astype(np.float32), training=True)
    model.save(path, save_format="tf", include_optimizer=False)


@saved_model
def keras3_classifier(path: Path) -> None:
    """Exported by Keras 3, which gives it two signatures that compute the same."""
    keras.utils.set_random_seed(2)
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(12, 3, padding="same", activation="relu")(image)
    x = layers.add([x, layers.SeparableConv2D(12, 3, padding="same")(x)])
    x = layers.Dropout(0.3)(layers.BatchNormalization()(x))
    x = layers.Dense(128, activation="relu")(layers.GlobalAveragePooling2D()(x))
    keras.Model(image, layers.Dense(10)(x)).export(path, verbose=False)


@saved_model
def keras3_recurrent(path: Path) -> None:
    """An embedding, a bidirectional LSTM and a GRU: loops that call functions."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    ids = keras.Input((7,), dtype="int32", name="ids")
    x = layers.Embedding(20, 12)(ids)
    x = layers.Bidirectional(layers.LSTM(8, return_sequences=True))(x)
    keras.Model(ids, layers.Dense(3)(layers.GRU(6)(x))).export(path, verbose=False)
