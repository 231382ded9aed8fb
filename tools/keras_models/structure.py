"""How layers are put together: nested and shared models, several inputs and outputs, operations."""

from __future__ import annotations

from typing import Any

from .case import Keras, integers, model, normal


@model(x=normal(8))
def sequential(k: Keras, x: Any) -> Any:
    L = k.layers  # noqa: N806
    return k.module.Sequential(
        [L.Input((8,), name="x"), L.Dense(6, activation="relu"), L.BatchNormalization(),
         L.Dropout(0.2), L.Dense(3, activation="softmax")]
    )  # fmt: skip


@model(x=normal(8))
def sequential_without_input(k: Keras, x: Any) -> Any:
    found = k.module.Sequential([k.layers.Dense(6, activation="relu"), k.layers.Dense(3)])
    found.build((None, 8))
    return found


@model(x=normal(6, 4), y=normal(6, 4))
def nested(k: Keras, x: Any, y: Any) -> Any:
    """A model in a model in a model, called twice, partly frozen."""
    L, M = k.layers, k.module  # noqa: N806
    inner = M.Sequential(
        [L.Input((6, 4)), L.Conv1D(3, 2), L.BatchNormalization(), L.Dense(3)], name="inner"
    )
    inner.layers[0].trainable = False
    given = L.Input((6, 4))
    middle = M.Model(given, [inner(given), L.Flatten()(given)], name="middle")
    a, b = middle(x), middle(y)
    shared = L.Dense(2, name="shared")
    return [
        L.Add()([a[0], b[0]]),
        shared(a[1]),
        shared(b[1]),
        L.TimeDistributed(M.Sequential([L.Input((4,)), L.Dense(2)]))(x),
    ]


@model(x=normal(6), y=normal(6))
def named_outputs(k: Keras, x: Any, y: Any) -> Any:
    L = k.layers  # noqa: N806
    return {"first": L.Dense(2)(x), "second": L.Dense(3)(L.Add()([x, y]))}


@model(x=normal(4, 6), y=normal(4, 6))
def operations(k: Keras, x: Any, y: Any) -> Any:
    found = [x + y, x - 1.0, 1.0 - x, x * 2.0, x / (x * x + 1.0), -x, x[:, 0], x[:, 1:3, ::2], x**2]
    if k.version == 3:
        o = k.module.ops
        found += [
            o.mean(x, axis=1, keepdims=True), o.sum(x, axis=(1, 2)), o.max(x, axis=-1), o.abs(x),
            o.exp(x), o.reshape(x, (-1, 24)), o.transpose(x, (0, 2, 1)), o.expand_dims(x, 1),
            o.concatenate([x, y], axis=1), o.stack([x, y], axis=1), o.var(x, axis=1),
            o.matmul(x, o.transpose(y, (0, 2, 1))), o.relu(x), o.softmax(x), o.square(x),
            o.clip(x, 0, 1), o.where(x > 0, x, y), o.einsum("abc,adc->abd", x, y),
            o.split(x, 2, axis=1)[0], o.argmax(x, -1), o.tile(x, (1, 2, 1)), o.swapaxes(x, 1, 2),
            o.gelu(x, approximate=True), o.pad(x, ((0, 0), (1, 1), (0, 0))), o.take(x, [0, 2], 1),
            o.minimum(x, 0.5), o.cast(x, "int32"), o.squeeze(o.mean(x, 1, keepdims=True), 1),
        ]  # fmt: skip
    else:
        import tensorflow as tf

        found += [
            tf.reduce_mean(x, axis=1, keepdims=True), tf.reduce_sum(x, axis=[1, 2]), tf.abs(x),
            tf.exp(x), tf.reshape(x, (-1, 24)), tf.transpose(x, (0, 2, 1)), tf.expand_dims(x, 1),
            tf.concat([x, y], axis=1), tf.stack([x, y], axis=1), tf.matmul(x, y, transpose_b=True),
            tf.nn.relu(x), tf.nn.softmax(x), tf.square(x), tf.clip_by_value(x, 0.0, 1.0),
            tf.where(x > 0, x, y), tf.math.argmax(x, -1), tf.tile(x, (1, 2, 1)), tf.sigmoid(x),
            tf.minimum(x, 0.5), tf.cast(x, "int32"), tf.split(x, 2, axis=1)[0],
            tf.squeeze(tf.reduce_mean(x, 1, keepdims=True), 1), tf.nn.relu6(x), tf.maximum(x, y),
        ]  # fmt: skip
    return found


UNARY = "floor ceil round sign sin cos log sqrt rsqrt reciprocal tanh sigmoid"
BINARY = "maximum minimum less less_equal greater_equal equal not_equal floordiv squared_difference"
NEW = """floor ceil round sign sin cos log sqrt rsqrt reciprocal tanh sigmoid relu6 elu selu silu
leaky_relu softplus softsign hard_sigmoid hard_silu log_sigmoid celu glu hard_tanh tanh_shrink
soft_shrink hard_shrink squareplus sparse_plus sparsemax log_softmax zeros_like ones_like"""
NEW_BINARY = "maximum less less_equal greater_equal equal not_equal floor_divide mod divide"


@model(x=normal(4, 6), y=normal(4, 6))
def more_operations(k: Keras, x: Any, y: Any) -> Any:
    """Operations of one value and of two, on numbers from 0.5."""
    import tensorflow as tf

    o = k.module.ops if k.version == 3 else tf.math
    x, y = o.abs(x) + 0.5, o.abs(y) + 0.5
    if k.version == 3:
        found = [getattr(o, name)(x) for name in NEW.split()]
        found += [o.cast(getattr(o, name)(x, y), "float32") for name in NEW_BINARY.split()]
        both = o.logical_and(x > 1, o.logical_or(y > 1, o.logical_not(x > 2)))
        return [
            *found, o.cast(both, "int32"), o.min(x, axis=1), o.prod(x, axis=-1, keepdims=True),
            o.cast(o.any(x > 1, axis=1), "int32"), o.cast(o.all(x > 1, axis=1), "int32"),
            o.argmin(x, 1), o.threshold(x, 1.0, 0.25),
        ]  # fmt: skip
    found = [getattr(o, name)(x) for name in UNARY.split()]
    found += [tf.cast(getattr(o, name)(x, y), "float32") for name in BINARY.split()]
    names = "elu selu silu gelu softplus softsign leaky_relu log_softmax"
    found += [getattr(tf.nn, name)(x) for name in names.split()]
    both = tf.logical_and(x > 1, tf.logical_or(y > 1, tf.logical_not(x > 2)))
    return [
        *found, tf.cast(both, "int32"), tf.reduce_min(x, 1), tf.reduce_prod(x, -1, keepdims=True),
        tf.reduce_max(x, [1, 2]), tf.argmin(x, 1), tf.math.log_sigmoid(x), tf.math.mod(x, y),
        tf.cast(tf.reduce_any(x > 1, 1), "int32"), tf.cast(tf.reduce_all(x > 1, 1), "int32"),
        tf.math.reduce_variance(x, 1), tf.math.divide(x, y), tf.math.add(x, y),
        tf.pad(x, [[0, 0], [1, 2], [0, 0]]), tf.gather(x, [0, 2], axis=1), tf.zeros_like(x),
        tf.ones_like(x),
    ]  # fmt: skip


@model(ids=integers(0, 20, 6), x=normal(8, 8, 3))
def network(k: Keras, ids: Any, x: Any) -> Any:
    """A small network of text and images."""
    L = k.layers  # noqa: N806
    text = L.Embedding(20, 8, mask_zero=True)(ids)
    text = L.Bidirectional(L.LSTM(4))(text)
    image = x
    for filters in (4, 6):
        shortcut = L.Conv2D(filters, 1, strides=2)(image)
        image = L.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(image)
        image = L.ReLU(6.0)(L.BatchNormalization()(image))
        image = L.Add()([image, shortcut])
    both = L.Concatenate()([text, L.GlobalAveragePooling2D()(image)])
    return L.Dense(5, activation="softmax")(L.Dropout(0.3)(both))
