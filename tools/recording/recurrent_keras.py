"""Recurrent layers of Keras 3 and of tf_keras, whose loops come out of backend.rnn.

Frozen functions keep While (NAME), or have it lowered to Enter, Switch and the like around
TensorList nodes (NAME_lowered), which is the default of TensorFlow's freezing.
"""

import numpy as np
import tensorflow as tf
import tf_keras

from .case import integers, loop, normal
from .recurrent import BOTH_LSTM, BOTH_RNN
from .recurrent_cells import LSTM, RNN

keras3, keras2 = tf.keras, tf_keras
X = normal(None, 6, 12)
OPEN = normal(None, None, 12)
SIZES = ((1, 5), (4, 9))
ONLY_WHILE = (2,)


def model(keras, layer, *shape, state_sizes=()):
    """A network of one layer, whose biases are not 0 or 1; with inputs for its initial state."""
    keras.utils.set_random_seed(1)
    x = keras.Input(shape)
    states = [keras.Input((size,)) for size in state_sizes]
    y = layer(x, initial_state=states) if states else layer(x)
    return vary_biases(keras.Model([x, *states] if states else x, y))


def vary_biases(network):
    rng = np.random.default_rng(0)
    for weight in network.weights:
        if "bias" in weight.name:
            weight.assign_add(rng.normal(0, 0.1, weight.shape).astype(np.float32))
    return network


def function(network, *names):
    """What is traced: the outputs get names, in the given order."""

    def call(x, *more):
        results = tf.nest.flatten(network([x, *more] if more else x, training=False))
        return {name: tf.identity(y) for name, y in zip(names, results, strict=True)}

    return tf.function(call)


def keras_loop(construct, expect, *, flows=ONLY_WHILE, **options):
    return loop(construct, expect, style="v2", flows=flows, **options)


# SimpleRNN


@keras_loop("SimpleRNN (Keras 3)", [RNN], also=SIZES, x=OPEN)
def keras3_simple_rnn():
    return function(model(keras3, keras3.layers.SimpleRNN(8, return_sequences=True), None, 12), "y")


@keras_loop("SimpleRNN (tf_keras)", [RNN], flows=(1, 2), also=SIZES, x=OPEN)
def keras2_simple_rnn():
    return function(model(keras2, keras2.layers.SimpleRNN(8, return_sequences=True), None, 12), "y")


@keras_loop("SimpleRNN, relu, no bias, last output", [RNN], x=X)
def keras2_simple_rnn_relu():
    layer = keras2.layers.SimpleRNN(8, activation="relu", use_bias=False)
    return function(model(keras2, layer, 6, 12), "y")


@keras_loop("SimpleRNN, go_backwards", [RNN], x=X)
def keras2_simple_rnn_backwards():
    layer = keras2.layers.SimpleRNN(8, go_backwards=True, return_sequences=True, return_state=True)
    return function(model(keras2, layer, 6, 12), "y", "state")


@keras_loop("SimpleRNN, unrolled", [RNN], x=X)
def keras2_simple_rnn_unrolled():
    layer = keras2.layers.SimpleRNN(8, unroll=True, return_sequences=True)
    return function(model(keras2, layer, 6, 12), "y")


@keras_loop("SimpleRNN, initial state as input", "loop", x=X, state=normal(None, 8))
def keras2_simple_rnn_state():
    layer = keras2.layers.SimpleRNN(8, return_sequences=True, return_state=True)
    return function(model(keras2, layer, 6, 12, state_sizes=(8,)), "y", "final")


# LSTM


@keras_loop("LSTM (Keras 3)", [LSTM], also=SIZES, x=OPEN)
def keras3_lstm():
    return function(model(keras3, keras3.layers.LSTM(8, return_sequences=True), None, 12), "y")


@keras_loop("LSTM (Keras 3), last output", [LSTM], x=normal(None, 8, 32))
def keras3_lstm_last():
    return function(model(keras3, keras3.layers.LSTM(32), 8, 32), "y")


@keras_loop("LSTM (tf_keras)", [LSTM], flows=(1, 2), also=SIZES, x=OPEN)
def keras2_lstm():
    """The loop is in a function of its own (standard_lstm), called by PartitionedCall."""
    return function(model(keras2, keras2.layers.LSTM(8, return_sequences=True), None, 12), "y")


@keras_loop("LSTM (tf_keras), last output", [LSTM], x=X)
def keras2_lstm_last():
    return function(model(keras2, keras2.layers.LSTM(8), 6, 12), "y")


@keras_loop("LSTM, hidden state returned", [LSTM], x=X)
def keras2_lstm_hidden():
    network = model(keras2, keras2.layers.LSTM(8, return_sequences=True, return_state=True), 6, 12)

    def call(x):
        y, h, _ = network(x, training=False)
        return {"y": tf.identity(y), "h": tf.identity(h)}

    return tf.function(call)


@keras_loop("LSTM, both states returned", "loop", x=X)
def keras2_lstm_states():
    layer = keras2.layers.LSTM(8, return_sequences=True, return_state=True)
    return function(model(keras2, layer, 6, 12), "y", "h", "c")


@keras_loop("LSTM, no unit_forget_bias, go_backwards", [LSTM], x=X)
def keras2_lstm_backwards():
    layer = keras2.layers.LSTM(8, unit_forget_bias=False, go_backwards=True)
    return function(model(keras2, layer, 6, 12), "y")


@keras_loop("LSTM, hard_sigmoid", "loop", x=X)
def keras2_lstm_hard_sigmoid():
    """Keras 1's default; gates of the operator are sigmoids."""
    layer = keras2.layers.LSTM(8, recurrent_activation="hard_sigmoid")
    return function(model(keras2, layer, 6, 12), "y")


@keras_loop("LSTM, implementation 1", [LSTM], x=X)
def keras2_lstm_cell_split():
    """RNN(LSTMCell): kernel and bias are split into gates inside the loop, eight products."""
    cell = keras2.layers.LSTMCell(8, implementation=1)
    return function(model(keras2, keras2.layers.RNN(cell, return_sequences=True), 6, 12), "y")


@keras_loop("LSTM, implementation 2", [LSTM], x=X)
def keras2_lstm_cell():
    layer = keras2.layers.RNN(keras2.layers.LSTMCell(8), return_sequences=True)
    return function(model(keras2, layer, 6, 12), "y")


@keras_loop("LSTM, time_major", [LSTM], also=((4, 3),), x=OPEN)
def keras2_lstm_time_major():
    layer = keras2.layers.LSTM(8, return_sequences=True, time_major=True)
    return function(model(keras2, layer, None, 12), "y")


@keras_loop("LSTM, unrolled", [LSTM], x=normal(None, 5, 12))
def keras3_lstm_unrolled():
    layer = keras3.layers.LSTM(8, return_sequences=True, unroll=True)
    return function(model(keras3, layer, 5, 12), "y")


@keras_loop("LSTM, initial state as input", "loop", x=X, h=normal(None, 8), c=normal(None, 8))
def keras2_lstm_initial_state():
    layer = keras2.layers.LSTM(8, return_sequences=True)
    return function(model(keras2, layer, 6, 12, state_sizes=(8, 8)), "y")


@keras_loop("LSTM, stacked", [LSTM, LSTM], x=X)
def keras3_lstm_stack():
    keras3.utils.set_random_seed(1)
    x = keras3.Input((6, 12))
    y = keras3.layers.LSTM(10, return_sequences=True)(x)
    y = keras3.layers.LSTM(8)(y)
    y = keras3.layers.Dense(5, activation="softmax")(y)
    return function(vary_biases(keras3.Model(x, y)), "y")


@keras_loop("StackedRNNCells", [LSTM, LSTM], x=X)
def keras2_lstm_stacked_cells():
    """Two cells in one loop."""
    layer = keras2.layers.RNN([keras2.layers.LSTMCell(8) for _ in range(2)], return_sequences=True)
    return function(model(keras2, layer, 6, 12), "y")


# GRU


@keras_loop("GRU, reset_after (Keras 3)", "loop", flows=(2,), also=SIZES, x=OPEN)
def keras3_gru():
    return function(model(keras3, keras3.layers.GRU(8, return_sequences=True), None, 12), "y")


@keras_loop("GRU, reset_after (tf_keras)", "loop", also=SIZES, x=OPEN)
def keras2_gru():
    return function(model(keras2, keras2.layers.GRU(8, return_sequences=True), None, 12), "y")


@keras_loop("GRU, reset before", "loop", x=X)
def keras3_gru_reset_before():
    layer = keras3.layers.GRU(8, reset_after=False, return_sequences=True, return_state=True)
    return function(model(keras3, layer, 6, 12), "y", "state")


# Bidirectional


@keras_loop("Bidirectional LSTM", [BOTH_LSTM], also=SIZES, x=OPEN)
def keras3_bidirectional_lstm():
    layer = keras3.layers.Bidirectional(keras3.layers.LSTM(8, return_sequences=True))
    return function(model(keras3, layer, None, 12), "y")


@keras_loop("Bidirectional LSTM, last outputs", [BOTH_LSTM], x=X)
def keras2_bidirectional_lstm_last():
    """The last output of the backward layer is that of step 0."""
    layer = keras2.layers.Bidirectional(keras2.layers.LSTM(8))
    return function(model(keras2, layer, 6, 12), "y")


@keras_loop("Bidirectional SimpleRNN, summed", [BOTH_RNN], x=X)
def keras2_bidirectional_rnn_sum():
    cell = keras2.layers.SimpleRNN(8, return_sequences=True)
    return function(model(keras2, keras2.layers.Bidirectional(cell, "sum"), 6, 12), "y")


# Masks: text of different lengths, padded with 0


def text_model(keras, layer):
    keras.utils.set_random_seed(1)
    x = keras.Input((None,), dtype="int32")
    y = layer(keras.layers.Embedding(60, 12, mask_zero=True)(x))
    return function(vary_biases(keras.Model(x, keras.layers.Dense(5)(y))), "y")


def padded(*shape):
    """Words 1 to 59; each row ends in zeros, one row has none."""

    def draw(rng, size):
        words = rng.integers(1, 60, size)
        lengths = rng.permutation([size[1], *rng.integers(1, size[1], size[0] - 1)])
        return words * (np.arange(size[1]) < lengths[:, None])

    spec = integers(1, 60, *shape)
    return type(spec)(spec.shape, spec.dtype, draw)


TEXT = {"batch": 4, "also": ((2, 5),), "x": padded(None, None)}


@keras_loop("Embedding with mask_zero, LSTM (tf_keras)", "loop", **TEXT)
def keras2_masked_lstm():
    """State is kept and output repeated where the mask is false."""
    return text_model(keras2, keras2.layers.LSTM(8))


@keras_loop("Embedding with mask_zero, LSTM (Keras 3)", "loop", **TEXT)
def keras3_masked_lstm():
    return text_model(keras3, keras3.layers.LSTM(8, return_sequences=True))


# tf_keras in a session, as Keras models were frozen under TensorFlow 1


def session_layer(layer, x):
    keras2.utils.set_random_seed(1)
    return {"y": layer(x)}


@loop("LSTM in a session", [LSTM], flows=(1,), resource=True, also=SIZES, x=OPEN)
def keras2_session_lstm(x):
    layer = keras2.layers.RNN(keras2.layers.LSTMCell(8), return_sequences=True)
    return session_layer(layer, x)


@loop("LSTM in a session, implementation 1", [LSTM], resource=True, flows=(1,), x=X)
def keras2_session_lstm_split(x):
    cell = keras2.layers.LSTMCell(8, implementation=1)
    return session_layer(keras2.layers.RNN(cell, return_sequences=True), x)


@loop("SimpleRNN in a session", [RNN], flows=(1,), resource=True, x=X)
def keras2_session_simple_rnn(x):
    return session_layer(keras2.layers.SimpleRNN(8, return_sequences=True), x)


@loop("GRU in a session", "loop", resource=True, flows=(1,), x=X)
def keras2_session_gru(x):
    layer = keras2.layers.RNN(keras2.layers.GRUCell(8, reset_after=False), return_sequences=True)
    return session_layer(layer, x)


@loop("Bidirectional LSTM in a session", [BOTH_LSTM], resource=True, flows=(1,), x=X)
def keras2_session_bidirectional(x):
    cell = keras2.layers.RNN(keras2.layers.LSTMCell(8), return_sequences=True)
    return session_layer(keras2.layers.Bidirectional(cell), x)


@loop("masked SimpleRNN in a session", "loop", resource=True, flows=(1,), **TEXT)
def keras2_session_masked(x):
    table = keras2.layers.Embedding(60, 12, mask_zero=True)
    keras2.utils.set_random_seed(1)
    return {"y": keras2.layers.SimpleRNN(8, return_sequences=True)(table(x))}
