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
