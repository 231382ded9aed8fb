"""Have TensorFlow's converter make fully quantized files: ``python tools/quantized.py``.

Small networks in Keras with seeded weights, calibrated on random data. Written to
``tests/data/quantized/``: ``NAME.int8.tflite`` (int8 throughout) and ``NAME.int16.tflite``
(int16 activations, int8 weights).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

HERE = Path(__file__).resolve().parents[1] / "tests" / "data" / "quantized"
layers = keras.layers


def convolution(x, filters, kernel=1, stride=1, activation=None):
    x = layers.Conv2D(filters, kernel, stride, "same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return activation(x) if activation else x


def bottleneck(x, filters, stride, activation, gate=False):
    """An inverted residual of MobileNet; ``gate``: with squeeze and excitation."""
    y = convolution(x, 4 * x.shape[-1], activation=activation)
    y = layers.DepthwiseConv2D(3, stride, "same", use_bias=False)(y)
    y = activation(layers.BatchNormalization()(y))
    if gate:
        scale = layers.GlobalAveragePooling2D(keepdims=True)(y)
        scale = layers.Conv2D(8, 1, activation="relu")(scale)
        y = y * layers.Conv2D(y.shape[-1], 1, activation="sigmoid")(scale)
    y = convolution(y, filters)
    return x + y if stride == 1 and x.shape[-1] == filters else y


def hard_swish(x):
    return x * layers.ReLU(6.0)(x + 3.0) * (1 / 6)


def mobilenet_v2() -> keras.Model:
    image = keras.Input((32, 32, 3), 1)
    relu6 = layers.ReLU(6.0)
    x = convolution(image, 16, 3, 2, relu6)
    for filters, stride in ((16, 1), (24, 2), (24, 1), (32, 2), (32, 1)):
        x = bottleneck(x, filters, stride, relu6)
    x = layers.GlobalAveragePooling2D()(convolution(x, 64, activation=relu6))
    x = layers.Dense(10)(x)
    return keras.Model(image, [x, layers.Softmax()(x * 20.0)])


def mobilenet_v3() -> keras.Model:
    image = keras.Input((32, 32, 3), 1)
    x = convolution(image, 16, 3, 2, hard_swish)
    for filters, stride in ((16, 1), (24, 2), (24, 1)):
        x = bottleneck(x, filters, stride, hard_swish, gate=True)
    x = layers.Flatten()(layers.AveragePooling2D(4)(x))
    return keras.Model(image, layers.Dense(10)(x))


def segmenter() -> keras.Model:
    """An encoder and a decoder that join again at each size."""
    image = keras.Input((24, 24, 3), 1)
    a = layers.Conv2D(12, 3, padding="same", activation="relu")(image)
    b = layers.Conv2D(16, 3, padding="same", activation=tf.nn.leaky_relu)(layers.MaxPooling2D(2)(a))
    c = layers.Conv2D(24, 3, padding="same", dilation_rate=2)(layers.MaxPooling2D(2)(b))
    c = layers.PReLU(shared_axes=[1, 2])(c)
    up = layers.Conv2DTranspose(16, 2, 2, activation="relu")(c)
    up = layers.Concatenate()([up, b])
    up = layers.UpSampling2D(2, interpolation="bilinear")(up)
    up = layers.Concatenate()([layers.ZeroPadding2D(1)(up)[:, 1:-1, 1:-1], a])
    out = layers.Conv2D(4, 1, activation="tanh")(up)
    return keras.Model(image, [out, tf.reduce_max(out, axis=-1)])


def attention() -> keras.Model:
    """One block of attention and a gated layer over a sequence."""
    words = keras.Input((12, 16), 1)
    q, k, v = (layers.Dense(16)(words) for _ in range(3))
    weights = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) * 0.25)
    x = words + tf.matmul(weights, v)
    x = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    y = layers.Dense(32, activation="sigmoid")(x) * layers.Dense(32)(x)
    y = tf.nn.l2_normalize(layers.Dense(16)(y), axis=-1)
    return keras.Model(words, tf.minimum(y, 0.5) + tf.maximum(x, -0.5))


def recurrent() -> keras.Model:
    """Two LSTM layers over a sequence, and a classifier."""
    words = keras.Input((12, 16), 1)
    x = layers.LSTM(24, return_sequences=True)(words)
    x = layers.LSTM(16)(x)
    return keras.Model(words, layers.Softmax()(layers.Dense(10)(x) * 4.0))


NETWORKS: dict[Callable[[], keras.Model], tuple[str, ...]] = {
    mobilenet_v2: ("int8", "int16"),
    mobilenet_v3: ("int8",),  # HARD_SWISH knows no int16: it would run in float
    segmenter: ("int8", "int16"),
    attention: ("int8", "int16"),
    recurrent: ("int8",),  # cells know no int16
}
KINDS = {
    "int8": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8],
    "int16": [
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        tf.lite.OpsSet.TFLITE_BUILTINS,
    ],
}


def converted(model: keras.Model, kind: str) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = KINDS[kind]
    converter.inference_input_type = converter.inference_output_type = getattr(tf, kind)

    def calibration() -> Iterator[list[np.ndarray]]:
        rng = np.random.default_rng(7)
        for _ in range(24):
            yield [rng.normal(0, 1, model.inputs[0].shape).astype(np.float32)]

    converter.representative_dataset = calibration
    return converter.convert()


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for network, kinds in NETWORKS.items():
        for kind in kinds:
            keras.utils.set_random_seed(3)
            path = HERE / f"{network.__name__}.{kind}.tflite"
            content = converted(network(), kind)
            path.write_bytes(content)
            print(f"{path.name}: {len(content)} bytes")


if __name__ == "__main__":
    main()
