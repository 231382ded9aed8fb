"""Have TensorFlow's converter make one network in float and in int8: ``python tools/compared.py``.

Written to ``tests/data/compared/``: ``float.tflite``; ``int8.tflite``, int8 throughout; and
``int8_inside.tflite``, whose inputs and outputs are float. Seeded weights, calibrated on noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

HERE = Path(__file__).resolve().parents[1] / "tests" / "data" / "compared"
layers = tf.keras.layers


def network() -> tf.keras.Model:
    """Convolutions with folded normalization, a sum, a join, two outputs."""
    tf.keras.utils.set_random_seed(3)
    image = layers.Input((16, 16, 3), name="image")
    y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(image))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(layers.ReLU(6.0)(y))
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    y = layers.Add()([layers.Conv2D(8, 1)(y), layers.Conv2D(8, 1)(image)])
    y = layers.Concatenate()([y, layers.AveragePooling2D(3, 1, "same")(y)])
    y = layers.GlobalAveragePooling2D()(y)
    classes = layers.Dense(10, activation="softmax", name="classes")(y)
    model = tf.keras.Model(image, [classes, layers.Dense(2, activation="tanh", name="place")(y)])
    for weight in model.weights:
        if "var" in weight.name:
            weight.assign(tf.random.uniform(weight.shape, 0.5, 1.5))
        elif "mean" in weight.name or "beta" in weight.name:
            weight.assign(tf.random.normal(weight.shape) * 0.1)
    return model


def noise() -> Iterator[list[np.ndarray]]:
    rng = np.random.default_rng(0)
    for _ in range(20):
        yield [rng.uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)]


def main() -> None:
    HERE.mkdir(exist_ok=True)
    converter = tf.lite.TFLiteConverter.from_keras_model(network())
    (HERE / "float.tflite").write_bytes(converter.convert())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = noise
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    (HERE / "int8_inside.tflite").write_bytes(converter.convert())
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (HERE / "int8.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main()
