"""Weights and layers as TensorFlow 1 programs wrote them, with seeds."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

tf1 = tf.compat.v1


def array(*shape: int, seed: int = 0, scale: float | None = None) -> np.ndarray:
    """Normal float32 numbers, by default scaled to keep a layer's variance (He et al. 2015)."""
    if scale is None:
        scale = float(np.sqrt(2 / max(1, int(np.prod(shape[:-1])))))
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * scale).astype(np.float32)


def variable(name: str, value: np.ndarray) -> tf.Tensor:
    """A reference variable, which freezes to a constant behind an Identity called NAME/read."""
    return tf1.get_variable(name, initializer=value, use_resource=False)


def conv(
    x: tf.Tensor,
    filters: int,
    size: int = 3,
    stride: int = 1,
    *,
    name: str,
    padding: str = "SAME",
    bias: bool = True,
    data_format: str = "NHWC",
    dilation: int = 1,
) -> tf.Tensor:
    channels = x.shape[1 if data_format == "NCHW" else 3]
    with tf1.variable_scope(name):
        weights = variable("weights", array(size, size, channels, filters, seed=len(name)))
        y = tf1.nn.conv2d(
            x,
            weights,
            strides=_four(stride, data_format),
            padding=padding,
            data_format=data_format,
            dilations=_four(dilation, data_format),
            name="Conv2D",
        )
        if bias:
            biases = variable("biases", array(filters, seed=1, scale=0.1))
            y = tf1.nn.bias_add(y, biases, data_format=data_format)
    return y


def depthwise(
    x: tf.Tensor,
    size: int = 3,
    stride: int = 1,
    *,
    name: str,
    multiplier: int = 1,
    padding: str = "SAME",
) -> tf.Tensor:
    with tf1.variable_scope(name):
        shape = (size, size, x.shape[3], multiplier)
        scale = float(np.sqrt(2 / size**2))
        weights = variable("depthwise_weights", array(*shape, seed=len(name), scale=scale))
        return tf.raw_ops.DepthwiseConv2dNative(
            input=x,
            filter=weights,
            strides=[1, stride, stride, 1],
            padding=padding,
            name="depthwise",
        )


def batch_norm(
    x: tf.Tensor, *, name: str, data_format: str = "NHWC", version: int = 3
) -> tf.Tensor:
    """FusedBatchNorm (V1, V2, V3) in inference, with statistics that are not trivial."""
    channels = x.shape[1 if data_format == "NCHW" else 3]
    op = getattr(tf.raw_ops, "FusedBatchNorm" + {1: "", 2: "V2", 3: "V3"}[version])
    with tf1.variable_scope(name):
        gamma, beta, mean, var = batch_norm_parameters(channels)
        return op(
            x=x,
            scale=gamma,
            offset=beta,
            mean=mean,
            variance=var,
            epsilon=1e-3,
            data_format=data_format,
            is_training=False,
            name="FusedBatchNorm",
        ).y


def batch_norm_parameters(channels: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    rng = np.random.default_rng(channels)
    draw = [
        ("gamma", rng.uniform(0.7, 1.3, channels)),
        ("beta", rng.normal(0, 0.2, channels)),
        ("moving_mean", rng.normal(0, 0.2, channels)),
        ("moving_variance", rng.uniform(0.5, 1.5, channels)),
    ]
    return tuple(variable(name, value.astype(np.float32)) for name, value in draw)


def dense(x: tf.Tensor, units: int, *, name: str) -> tf.Tensor:
    with tf1.variable_scope(name):
        weights = variable("weights", array(x.shape[-1], units, seed=len(name)))
        biases = variable("biases", array(units, seed=1, scale=0.1))
        return tf.nn.bias_add(tf.matmul(x, weights), biases)


def flatten(x: tf.Tensor, *, name: str = "flatten") -> tf.Tensor:
    """What tf.layers.flatten leaves: Shape, StridedSlice, Pack, Reshape."""
    with tf1.name_scope(name):
        batch = tf.shape(x)[0]
        return tf.reshape(x, tf.stack([batch, int(np.prod(x.shape[1:]))]))


def _four(value: int, data_format: str) -> list[int]:
    return [1, 1, value, value] if data_format == "NCHW" else [1, value, value, 1]
