"""Layers that have no steps: each case calls many of one family on its input."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Given, Keras, integers, model, normal

FUNCTIONS = """relu elu selu softplus softsign tanh sigmoid hard_sigmoid exponential linear softmax
gelu swish mish"""
NEW_FUNCTIONS = """relu6 leaky_relu celu squareplus soft_shrink sparse_plus silu glu tanh_shrink
hard_silu hard_tanh hard_shrink log_sigmoid sparse_sigmoid log_softmax sparsemax hard_swish"""


@model(x=normal(8))
def activation_functions(k: Keras, x: Any) -> Any:
    names = FUNCTIONS.split() + (NEW_FUNCTIONS.split() if k.version == 3 else [])
    return [k.layers.Activation(name)(x) for name in names]


@model(x=normal(5, 4))
def activation_layers(k: Keras, x: Any) -> Any:
    L = k.layers  # noqa: N806
    slope = "negative_slope" if k.version == 3 else "alpha"
    found = [
        L.ReLU()(x),
        L.ReLU(max_value=1.5)(x),
        L.ReLU(max_value=6.0)(x),
        L.ReLU(negative_slope=0.1, threshold=0.5, max_value=1.0)(x),
        L.LeakyReLU(**{slope: 0.25})(x),
        L.ELU(alpha=0.7)(x),
        L.PReLU()(x),
        L.PReLU(shared_axes=[1])(x),
        L.Softmax()(x),
        L.Softmax(axis=1)(x),
        L.Softmax(axis=[1, 2])(x),
        L.Dense(3, activation=L.LeakyReLU(**{slope: 0.3}) if k.version == 3 else "tanh")(x),
    ]
    return found if k.version == 3 else [*found, L.ThresholdedReLU(0.5)(x)]


@model(x=normal(6), s=normal(3, 6))
def core(k: Keras, x: Any, s: Any) -> Any:
    L = k.layers  # noqa: N806
    return [
        L.Dense(4)(x),
        L.Dense(4, activation="relu", use_bias=False)(s),
        L.EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d")(s),
        L.EinsumDense("abc,bcd->abd", output_shape=(3, 2), bias_axes="bd")(s),
        L.EinsumDense("...x,xy->...y", output_shape=4, bias_axes="y", activation="tanh")(s),
        L.Dropout(0.5)(L.Dense(3)(x)),
        L.SpatialDropout1D(0.5)(L.Dense(3)(s)),
        L.GaussianNoise(0.5)(L.Dense(3)(x)),
        L.GaussianDropout(0.5)(L.Dense(3)(x)),
        L.AlphaDropout(0.5)(L.Dense(3)(x)),
        L.ActivityRegularization(0.5)(L.Dense(3)(x)),
        (L.Identity() if k.version == 3 else L.Activation("linear"))(L.Dense(3)(x)),
    ]


@model(ids=integers(0, 7, 5), one=integers(0, 7))
def embeddings(k: Keras, ids: Any, one: Any) -> Any:
    L = k.layers  # noqa: N806
    masked = L.Embedding(7, 4, mask_zero=True)(ids)
    found = [
        L.Embedding(7, 3)(ids),
        L.Embedding(7, 3)(one),
        L.GlobalAveragePooling1D()(masked),
        L.GlobalAveragePooling1D()(L.Dense(3)(L.Dropout(0.1)(masked))),
        L.LSTM(3)(masked),
        L.GRU(3, return_sequences=True)(masked),
    ]
    if k.version == 3:
        table = L.ReversibleEmbedding(7, 3)
        found.append(table(L.Dense(3)(table(ids)), reverse=True))
    return found


@model(x=normal(8, 6), y=normal(8, 6))
def merging(k: Keras, x: Any, y: Any) -> Any:
    L = k.layers  # noqa: N806
    a, b = L.Flatten()(x), L.Flatten()(y)
    return [
        L.Add()([x, y, x]),
        L.Subtract()([x, y]),
        L.Multiply()([x, y]),
        L.Average()([x, y, y]),
        L.Maximum()([x, y]),
        L.Minimum()([x, y]),
        L.Concatenate()([x, y]),
        L.Concatenate(axis=1)([x, y, x]),
        L.Dot(axes=1)([a, b]),
        L.Dot(axes=1, normalize=True)([a, b]),
        L.Dot(axes=(2, 2))([x, y]),
        L.Dot(axes=(1, 1))([x, y]),
        L.Dot(axes=(2, 1))([x, L.Dense(6)(L.Flatten()(y))]),
    ]


@model(x=normal(9, 4))
def convolution_1d(k: Keras, x: Any) -> Any:
    L = k.layers  # noqa: N806
    return [
        L.Conv1D(5, 3)(x),
        L.Conv1D(5, 3, strides=2, padding="same", activation="relu")(x),
        L.Conv1D(5, 3, dilation_rate=2, padding="causal")(x),
        L.Conv1D(6, 2, groups=2)(x),
        L.SeparableConv1D(5, 3, depth_multiplier=2)(x),
        L.DepthwiseConv1D(3, padding="same", depth_multiplier=2)(x),
        L.Conv1DTranspose(3, 4, strides=2)(x),
        L.Conv1DTranspose(3, 3, strides=2, padding="same")(x),
    ]


@model(x=normal(10, 9, 4))
def convolution_2d(k: Keras, x: Any) -> Any:
    L = k.layers  # noqa: N806
    return [
        L.Conv2D(5, 3)(x),
        L.Conv2D(5, (3, 2), strides=2, padding="same", activation="relu", use_bias=False)(x),
        L.Conv2D(5, 3, dilation_rate=2)(x),
        L.Conv2D(6, 2, groups=2)(x),
        L.Conv2D(8, 3, groups=4, padding="same")(x),
        L.SeparableConv2D(5, 3, strides=2, padding="same")(x),
        L.DepthwiseConv2D(3, depth_multiplier=2)(x),
        L.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)(x),
        L.DepthwiseConv2D(3, dilation_rate=2)(x),
    ]


@model(x=normal(5, 4, 3))
def convolution_transposed(k: Keras, x: Any) -> Any:
    L = k.layers  # noqa: N806
    found = [
        L.Conv2DTranspose(4, 3)(x),
        L.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu")(x),
        L.Conv2DTranspose(4, (2, 3), strides=(2, 3), use_bias=False)(x),
        L.Conv2DTranspose(4, 3, strides=2, padding="same", output_padding=1)(x),
        L.Conv2DTranspose(4, 3, strides=2, padding="valid", output_padding=1)(x),
        L.Conv2DTranspose(4, 2, strides=1, padding="same")(x),
    ]
    if k.version == 3:
        found.append(L.Conv2DTranspose(4, 3, dilation_rate=2)(x))
    return found


@model(x=normal(None, None, 3))
def convolution_open(k: Keras, x: Any) -> Any:
    """Images of unknown size."""
    L = k.layers  # noqa: N806
    y = L.Conv2D(4, 3, strides=2, padding="same")(x)
    y = L.BatchNormalization()(y)
    y = L.ReLU()(y)
    return [
        L.GlobalAveragePooling2D()(y),
        L.Conv2DTranspose(2, 3, strides=2, padding="same")(y),
        L.UpSampling2D(2)(L.MaxPooling2D(2)(y)),
    ]


@model(x=normal(5, 6, 4, 2))
def volumes(k: Keras, x: Any) -> Any:
    L = k.layers  # noqa: N806
    found = [
        L.Conv3D(3, 2)(x),
        L.Conv3D(4, 3, strides=2, padding="same", activation="relu")(x),
        L.Conv3D(4, 2, groups=2)(x),
        L.Conv3DTranspose(2, 2, strides=2)(x),
        L.MaxPooling3D(2)(x),
        L.MaxPooling3D(2, strides=1, padding="same")(x),
        L.AveragePooling3D((2, 3, 2), padding="same")(x),
        L.GlobalAveragePooling3D()(x),
        L.GlobalMaxPooling3D()(x),
        L.ZeroPadding3D(((1, 0), (0, 2), (1, 1)))(x),
        L.Cropping3D(((1, 0), (0, 2), (1, 1)))(x),
        L.UpSampling3D((1, 2, 3))(x),
        L.SpatialDropout3D(0.5)(L.ZeroPadding3D(1)(x)),
    ]
    if k.version == 3:
        found += [L.AdaptiveMaxPooling3D(2)(x), L.AdaptiveAveragePooling3D((2, 3, 1))(x)]
    return found


@model(x=normal(7, 8, 4), s=normal(7, 4))
def pooling(k: Keras, x: Any, s: Any) -> Any:
    L = k.layers  # noqa: N806
    found = [
        L.MaxPooling2D()(x),
        L.MaxPooling2D((3, 2), strides=1, padding="same")(x),
        L.AveragePooling2D(2)(x),
        L.AveragePooling2D(3, strides=2, padding="same")(x),
        L.MaxPooling1D(3)(s),
        L.AveragePooling1D(3, strides=2, padding="same")(s),
        L.GlobalAveragePooling2D()(x),
        L.GlobalMaxPooling2D(keepdims=True)(x),
        L.GlobalAveragePooling1D()(s),
        L.GlobalMaxPooling1D()(s),
        L.SpatialDropout2D(0.5)(L.MaxPooling2D()(x)),
        L.GlobalAveragePooling1D(data_format="channels_first")(s),
    ]
    if k.version == 3:
        found += [
            L.AdaptiveAveragePooling2D((3, 5))(x),
            L.AdaptiveMaxPooling2D(2)(x),
            L.AdaptiveAveragePooling1D(3)(s),
            L.AdaptiveMaxPooling1D(3)(s),
        ]
    return found


@model(versions=(3,), x=normal(3, 8, 7))
def channels_first(k: Keras, x: Any) -> Any:
    L, first = k.layers, {"data_format": "channels_first"}  # noqa: N806
    y = L.Conv2D(4, 3, **first)(x)
    y = L.BatchNormalization(axis=1)(y)
    return [
        L.MaxPooling2D(2, **first)(L.ReLU()(y)),
        L.SeparableConv2D(4, 3, padding="same", **first)(x),
        L.Conv2DTranspose(4, 3, strides=2, **first)(x),
        L.GlobalMaxPooling2D(**first)(y),
        L.Flatten(**first)(y),
        L.ZeroPadding2D(1, **first)(x),
        L.Cropping2D(1, **first)(x),
        L.UpSampling2D(2, **first)(x),
        L.Conv1D(4, 3, **first)(L.Reshape((3, 56))(x)),
    ]


@model(x=normal(4, 5, 8))
def normalizations(k: Keras, x: Any) -> Any:
    L = k.layers  # noqa: N806
    found = [
        L.BatchNormalization()(x),
        L.BatchNormalization(scale=False, epsilon=0.01)(x),
        L.BatchNormalization(center=False, axis=1)(x),
        L.LayerNormalization()(x),
        L.LayerNormalization(axis=(2, 3), center=False)(x),
        L.LayerNormalization(scale=False, epsilon=0.1)(x),
        L.GroupNormalization(4)(x),
        L.GroupNormalization(-1, scale=False)(x),
        L.GroupNormalization(2, axis=1)(x),
        L.UnitNormalization()(x),
        L.UnitNormalization(axis=(1, 2))(x),
    ]
    if k.version == 3:
        found += [
            L.RMSNormalization()(x),
            L.SpectralNormalization(L.Conv2D(3, 2))(x),
            L.SpectralNormalization(L.Dense(3))(x),
        ]
    return found


@model(x=normal(6, 7, 3), s=normal(6, 4), v=normal(5))
def reshaping(k: Keras, x: Any, s: Any, v: Any) -> Any:
    L = k.layers  # noqa: N806
    return [
        L.Reshape((7, -1))(x),
        L.Reshape((3, 42))(x),
        L.Flatten()(x),
        L.Permute((3, 1, 2))(x),
        L.RepeatVector(3)(v),
        L.ZeroPadding1D((1, 2))(s),
        L.ZeroPadding2D(((1, 2), (0, 3)))(x),
        L.Cropping1D((1, 2))(s),
        L.Cropping2D(((1, 0), (2, 1)))(x),
        L.UpSampling1D(3)(s),
        L.UpSampling2D((2, 3))(x),
        L.UpSampling2D(2, interpolation="bilinear")(x),
    ]


def _pixels(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, 256, shape)


@model(x=Given((8, 10, 3), "float32", _pixels), f=normal(4), c=integers(0, 5, 3))
def preprocessing(k: Keras, x: Any, f: Any, c: Any) -> Any:
    L = k.layers  # noqa: N806
    found = [
        L.Rescaling(1 / 127.5, offset=-1)(x),
        L.Resizing(6, 5)(x),
        L.Resizing(12, 15, interpolation="nearest")(x),
        L.Resizing(6, 5, crop_to_aspect_ratio=True)(x),
        L.CenterCrop(5, 6)(x),
        L.CenterCrop(12, 6)(x),
        L.Normalization(mean=2.0, variance=4.0)(f),
        L.Normalization(mean=[1.0, 2, 3, 4], variance=[4.0, 1, 2, 3])(f),
        L.Normalization()(f),
        L.CategoryEncoding(5, output_mode="multi_hot")(c),
        L.CategoryEncoding(5, output_mode="count")(c),
        L.Discretization(bin_boundaries=[-1.0, 0.0, 0.5])(f),
        L.IntegerLookup(vocabulary=[3, 1, 4])(c),
        L.RandomFlip()(L.Rescaling(0.5)(x)),
        L.RandomRotation(0.2)(L.Rescaling(0.5)(x)),
    ]
    if k.version == 3:
        found += [L.Resizing(6, 10, pad_to_aspect_ratio=True)(x), L.Normalization(invert=True)(f)]
    return found
