"""Small whole networks in tf.keras (Keras 3), frozen as functions in the manner of TensorFlow 2."""

import numpy as np
import tensorflow as tf

from .case import integers, keras_model, normal

layers = tf.keras.layers
SPREAD = tf.keras.initializers.RandomNormal(stddev=0.3, seed=1)  # classes that differ


def settle(model):
    """Make biases, scales, shifts and statistics other than their trivial defaults.

    Kernels grow by half, to about He's variance, so that activations keep theirs.
    """
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "kernel" in weight.name:
            weight.assign(weight * 1.5)
    draw = {
        "bias": lambda shape: rng.normal(0, 0.1, shape),
        "beta": lambda shape: rng.normal(0, 0.2, shape),
        "gamma": lambda shape: rng.uniform(0.7, 1.3, shape),
        "moving_mean": lambda shape: rng.normal(0, 0.2, shape),
        "moving_variance": lambda shape: rng.uniform(0.5, 1.5, shape),
        "alpha": lambda shape: rng.uniform(0.1, 0.4, shape),
    }
    for weight in model.weights:
        if weight.name in draw:
            weight.assign(draw[weight.name](weight.shape).astype(np.float32))
    return model


def _model(image, outputs):
    return settle(tf.keras.Model(image, outputs))


@keras_model(batch=8, x=normal(None, 32, 32, 3))
def mobilenet_v2_like():
    """Inverted residuals: expand, depthwise, project, add."""
    image = y = layers.Input((32, 32, 3))
    y = layers.Conv2D(16, 3, 2, "same", use_bias=False)(y)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    for filters, stride in ((16, 1), (24, 2), (24, 1)):
        z = layers.Conv2D(64, 1, use_bias=False)(y)
        z = layers.ReLU(6.0)(layers.BatchNormalization()(z))
        if stride == 2:
            z = layers.ZeroPadding2D(((0, 1), (0, 1)))(z)
        padding = "valid" if stride == 2 else "same"
        z = layers.DepthwiseConv2D(3, stride, padding, use_bias=False)(z)
        z = layers.ReLU(6.0)(layers.BatchNormalization()(z))
        z = layers.BatchNormalization()(layers.Conv2D(filters, 1, use_bias=False)(z))
        y = layers.Add()([y, z]) if stride == 1 else z
    y = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(y))
    return _model(image, layers.Dense(10, activation="softmax", kernel_initializer=SPREAD)(y))


@keras_model(batch=8, x=normal(None, 32, 32, 3))
def resnet_like():
    """Bottlenecks with projection shortcuts, zero padding and max pooling as in ResNet-50."""
    image = layers.Input((32, 32, 3))
    y = layers.Conv2D(16, 7, 2)(layers.ZeroPadding2D(3)(image))
    y = layers.ReLU()(layers.BatchNormalization(epsilon=1.001e-5)(y))
    y = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(y))
    for filters, stride, project in ((16, 1, True), (16, 1, False), (24, 2, True)):
        shortcut = y
        if project:
            shortcut = layers.BatchNormalization()(layers.Conv2D(2 * filters, 1, stride)(y))
        z = layers.Conv2D(filters, 1, stride)(y)
        z = layers.ReLU()(layers.BatchNormalization()(z))
        z = layers.Conv2D(filters, 3, padding="same")(z)
        z = layers.ReLU()(layers.BatchNormalization()(z))
        z = layers.BatchNormalization()(layers.Conv2D(2 * filters, 1)(z))
        y = layers.ReLU()(layers.Add()([shortcut, z]))
    return _model(
        image,
        layers.Dense(10)(layers.GlobalAveragePooling2D()(y)),
    )


@keras_model(batch=8, x=normal(None, 16, 16, 3))
def unet_keras():
    """Conv2DTranspose, bilinear and nearest upsampling, skip connections."""
    image = layers.Input((16, 16, 3))
    first = layers.Conv2D(12, 3, padding="same", activation="relu")(image)
    second = layers.Conv2D(24, 3, 2, "same", activation="relu")(first)
    y = layers.Conv2D(32, 3, 2, "same", activation="elu")(second)
    y = layers.Conv2DTranspose(24, 3, 2, "same", activation="relu")(y)
    y = layers.Concatenate()([y, second])
    y = layers.UpSampling2D(2, interpolation="bilinear")(layers.Conv2D(12, 1)(y))
    y = layers.Concatenate()([y, layers.UpSampling2D(2)(second), first])
    return _model(image, layers.Conv2D(1, 3, padding="same", activation="sigmoid")(y))


@keras_model(batch=8, x=normal(None, 15, 15, 4))
def dilated_keras():
    """dilation_rate of ordinary, depthwise and separable convolutions; PReLU, LeakyReLU, swish."""
    image = y = layers.Input((15, 15, 4))
    y = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(16, 3, padding="same", dilation_rate=2)(y))
    y = layers.DepthwiseConv2D(3, padding="same", dilation_rate=2, depth_multiplier=2)(y)
    y = layers.LeakyReLU(negative_slope=0.1)(y)
    y = layers.SeparableConv2D(48, 3, dilation_rate=3, padding="same", activation="swish")(y)
    y = layers.Conv2D(16, 3, groups=4, activation="hard_sigmoid")(y)
    return _model(image, layers.GlobalMaxPooling2D()(y))


@keras_model(batch=8, x=normal(None, 48))
def mlp_keras():
    """Batch norm, dropout, and dense layers with many activations."""
    image = y = layers.Input((48,))
    y = layers.BatchNormalization()(layers.Dense(64, activation="relu")(y))
    y = layers.Dropout(0.5)(layers.Dense(64, activation="selu")(y))
    y = layers.Dense(32, activation="gelu")(layers.GaussianNoise(0.1)(y))
    y = layers.LayerNormalization()(layers.Dense(32, activation="softplus")(y))
    y = layers.Dense(32, activation="hard_silu")(y)
    return _model(
        image,
        [layers.Dense(10, activation="softmax", kernel_initializer=SPREAD)(y), layers.Dense(1)(y)],
    )


@keras_model(batch=8, tokens=integers(0, 60, None, 10))
def attention_keras():
    """Embedding, MultiHeadAttention (Einsum), layer norm and gelu."""
    tokens = layers.Input((10,), dtype="int32")
    y = layers.Embedding(60, 32)(tokens)
    y = layers.LayerNormalization()(y + layers.MultiHeadAttention(4, 8)(y, y))
    z = layers.Dense(32)(layers.Dense(64, activation="gelu")(y))
    y = layers.LayerNormalization()(y + z)
    return _model(tokens, layers.Dense(5)(layers.GlobalAveragePooling1D()(y)))


@keras_model(batch=8, x=normal(None, 20, 8))
def temporal_conv_keras():
    """Causal and dilated Conv1D, pooling over time, time-distributed dense."""
    series = y = layers.Input((20, 8))
    y = layers.Conv1D(24, 3, padding="causal", activation="relu")(y)
    y = layers.Conv1D(24, 3, padding="causal", dilation_rate=4, activation="relu")(y)
    y = layers.MaxPooling1D(2)(y)
    y = layers.Dense(16, activation="tanh")(layers.AveragePooling1D(2)(y))
    return _model(series, layers.Dense(4)(layers.Flatten()(y)))


@keras_model(batch=8, x=normal(None, 24, 24, 3))
def efficientnet_like():
    """Squeeze and excitation with swish; rescaling and normalization layers in the model."""
    image = layers.Input((24, 24, 3))
    y = layers.Rescaling(1 / 2.0, offset=0.1)(image)
    y = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 1.1, 0.9])(y)
    y = layers.BatchNormalization()(layers.Conv2D(16, 3, 2, "same", use_bias=False)(y))
    y = layers.Activation("swish")(y)
    z = layers.Activation("swish")(layers.BatchNormalization()(layers.Conv2D(48, 1)(y)))
    z = layers.DepthwiseConv2D(5, 1, "same", use_bias=False)(z)
    z = layers.Activation("swish")(layers.BatchNormalization()(z))
    squeezed = layers.Reshape((1, 1, 48))(layers.GlobalAveragePooling2D()(z))
    squeezed = layers.Conv2D(48, 1, activation="sigmoid")(
        layers.Conv2D(8, 1, activation="swish")(squeezed)
    )
    z = layers.Conv2D(16, 1, use_bias=False)(layers.Multiply()([z, squeezed]))
    y = layers.Add()([layers.BatchNormalization()(z), y])
    return _model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(y)))
