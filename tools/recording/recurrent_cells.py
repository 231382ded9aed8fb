"""Every cell that TensorFlow 1 and its contrib had, each in a dynamic_rnn."""

from types import SimpleNamespace

import numpy as np
import tensorflow as tf
from tf_keras.src.layers.rnn import legacy_cell_wrappers, legacy_cells

from .case import loop, normal
from .weights import tf1

tf1.logging.set_verbosity(tf1.logging.ERROR)  # they all are deprecated

RNN, LSTM = "UNIDIRECTIONAL_SEQUENCE_RNN", "UNIDIRECTIONAL_SEQUENCE_LSTM"

# tf.compat.v1.nn.rnn_cell gives the same classes, but only where tf.keras is tf_keras.
cells = SimpleNamespace(
    BasicRNNCell=legacy_cells.BasicRNNCell,
    BasicLSTMCell=legacy_cells.BasicLSTMCell,
    LSTMCell=legacy_cells.LSTMCell,
    GRUCell=legacy_cells.GRUCell,
    LSTMStateTuple=legacy_cells.LSTMStateTuple,
    MultiRNNCell=legacy_cells.MultiRNNCell,
    DropoutWrapper=legacy_cell_wrappers.DropoutWrapper,
    ResidualWrapper=legacy_cell_wrappers.ResidualWrapper,
)

X = normal(None, 6, 12)
OPEN = normal(None, None, 12)
SIZES = ((1, 5), (4, 9))


def dynamic(cell, x, **options):
    return tf1.nn.dynamic_rnn(cell, x, dtype=tf.float32, **options)


def outputs_of(cell, x):
    return {"out": dynamic(cell, x)[0]}


# BasicRNNCell


@loop("BasicRNNCell, relu", [RNN], flows=(1,), x=X)
def cell_rnn_relu(x):
    return outputs_of(cells.BasicRNNCell(8, tf.nn.relu), x)


@loop("BasicRNNCell, relu6", [RNN], flows=(1,), x=X)
def cell_rnn_relu6(x):
    return outputs_of(cells.BasicRNNCell(8, tf.nn.relu6), x)


@loop("BasicRNNCell, no activation", [RNN], flows=(1,), x=X)
def cell_rnn_linear(x):
    return outputs_of(cells.BasicRNNCell(8, tf.identity), x)


@loop("BasicRNNCell, sigmoid", "loop", flows=(1,), x=X)
def cell_rnn_sigmoid(x):
    """The format's fused activations have no sigmoid."""
    return outputs_of(cells.BasicRNNCell(8, tf.nn.sigmoid), x)


# BasicLSTMCell and LSTMCell


@loop("BasicLSTMCell, forget_bias 0.3", [LSTM], flows=(1,), x=X)
def cell_lstm_forget_bias(x):
    return outputs_of(cells.BasicLSTMCell(8, forget_bias=0.3), x)


@loop("BasicLSTMCell, forget_bias 0", [LSTM], flows=(1,), x=X)
def cell_lstm_no_forget_bias(x):
    """CudnnCompatibleLSTMCell is this; an addition of 0 is frozen."""
    return outputs_of(cells.BasicLSTMCell(8, forget_bias=0.0), x)


@loop("BasicLSTMCell, relu", [LSTM], flows=(1,), x=X)
def cell_lstm_relu(x):
    return outputs_of(cells.BasicLSTMCell(8, activation=tf.nn.relu), x)


@loop("BasicLSTMCell, softsign", "loop", flows=(1,), x=X)
def cell_lstm_softsign(x):
    return outputs_of(cells.BasicLSTMCell(8, activation=tf.nn.softsign), x)


@loop("BasicLSTMCell, state in one tensor", [LSTM], flows=(1,), also=SIZES, x=OPEN)
def cell_lstm_joint_state(x):
    """state_is_tuple=False: c and h are concatenated, and split in the loop."""
    return outputs_of(cells.BasicLSTMCell(8, state_is_tuple=False), x)


@loop("LSTMCell, peepholes", [LSTM], also=SIZES, x=OPEN)
def cell_lstm_peephole(x):
    return outputs_of(cells.LSTMCell(8, use_peepholes=True), x)


@loop("LSTMCell, cell_clip", [LSTM], flows=(1,), x=X)
def cell_lstm_clip(x):
    return outputs_of(cells.LSTMCell(8, cell_clip=0.25), x)


@loop("LSTMCell, projection", [LSTM], also=SIZES, x=OPEN)
def cell_lstm_projection(x):
    return outputs_of(cells.LSTMCell(12, num_proj=6), x)


@loop("LSTMCell, projection and clip", [LSTM], flows=(1,), x=X)
def cell_lstm_projection_clip(x):
    return outputs_of(cells.LSTMCell(12, num_proj=6, proj_clip=0.1), x)


@loop("LSTMCell, everything", [LSTM], flows=(1,), x=normal(None, 6, 32))
def cell_lstm_everything(x):
    """Peepholes, cell clip, projection, its clip, and forget_bias 0.7; weights worth quantizing."""
    cell = cells.LSTMCell(
        40, use_peepholes=True, cell_clip=0.4, num_proj=32, proj_clip=0.2, forget_bias=0.7
    )
    return outputs_of(cell, x)


@loop("LSTMCell, partitioned", [LSTM], flows=(1,), x=X)
def cell_lstm_partitioned(x):
    """The kernel is stored in two shards, which a ConcatV2 joins."""
    with tf1.variable_scope("parts", partitioner=tf1.fixed_size_partitioner(2)):
        return outputs_of(cells.LSTMCell(8), x)


# Wrappers


@loop("DropoutWrapper, keep_prob 1", [LSTM], flows=(1,), x=X)
def cell_dropout_none(x):
    """Constants of 1 leave no nodes."""
    cell = cells.DropoutWrapper(cells.BasicLSTMCell(8), 1.0, 1.0, 1.0)
    return outputs_of(cell, x)


@loop("DropoutWrapper, keep_prob from a placeholder", [LSTM], flows=(1,), x=X)
def cell_dropout_placeholder(x):
    """keep_prob defaults to 1: the arithmetic of dropout stays in the loop."""
    keep = tf1.placeholder_with_default(np.float32(1), [], name="keep_prob")
    cell = cells.DropoutWrapper(
        cells.BasicLSTMCell(8), input_keep_prob=keep, output_keep_prob=keep, seed=1
    )
    return outputs_of(cell, x)


@loop("ResidualWrapper", [LSTM], also=SIZES, x=OPEN)
def cell_residual(x):
    return outputs_of(cells.ResidualWrapper(cells.BasicLSTMCell(12)), x)


@loop("MultiRNNCell with ResidualWrapper and DropoutWrapper", [RNN, RNN], flows=(1,), x=X)
def cell_residual_stack(x):
    layers = [
        cells.ResidualWrapper(cells.DropoutWrapper(cells.BasicRNNCell(12), output_keep_prob=1.0))
        for _ in range(2)
    ]
    return outputs_of(cells.MultiRNNCell(layers), x)


# GRU


@loop("GRUCell", "loop", also=SIZES, x=OPEN)
def cell_gru(x):
    outputs, state = dynamic(cells.GRUCell(8), x)
    return {"out": outputs, "state": state}


class Written:
    """A cell made of a function from (x, state) to (output, state), called by dynamic_rnn."""

    def __init__(self, step, state_size, output_size):
        self.step, self.state_size, self.output_size = step, state_size, output_size

    def zero_state(self, batch, dtype):
        return tf.nest.map_structure(lambda size: tf.zeros([batch, size], dtype), self.state_size)

    def __call__(self, x, state, scope=None):
        with tf1.variable_scope(scope or "cell"):
            return self.step(x, state)


def weight(name, *shape):
    return tf1.get_variable(name, shape, tf.float32, tf1.glorot_uniform_initializer())


def bias(name, size, value=0.0):
    return tf1.get_variable(name, [size], tf.float32, tf1.constant_initializer(value))


def linear(x, units, name):
    """A product with a weight and a bias of its own."""
    with tf1.variable_scope(name):
        product = tf.matmul(x, weight("kernel", x.shape[-1], units))
        return tf.nn.bias_add(product, bias("bias", units))


@loop("CudnnCompatibleGRUCell", "loop", flows=(1,), x=X)
def cell_gru_cudnn(x):
    """The reset gate acts behind the recurrent product, which has its own bias."""
    units = 8

    def step(x, h):
        gates = tf.sigmoid(linear(tf.concat([x, h], 1), 2 * units, "gates"))
        reset, update = tf.split(gates, 2, 1)
        candidate = linear(x, units, "input_projection")
        candidate += reset * linear(h, units, "hidden_projection")
        h = (1 - update) * tf.tanh(candidate) + update * h
        return h, h

    return outputs_of(Written(step, units, units), x)


@loop("GRUBlockCell", "loop", flows=(1,), x=X)
def cell_gru_block(x):
    """One fused node per step."""
    units = 8

    def step(x, h):
        inner = 12 + units
        *_, h = tf.raw_ops.GRUBlockCell(
            x=x,
            h_prev=h,
            w_ru=weight("w_ru", inner, 2 * units),
            w_c=weight("w_c", inner, units),
            b_ru=bias("bias_ru", 2 * units, 1.0),
            b_c=bias("bias_c", units),
        )
        return h, h

    return outputs_of(Written(step, units, units), x)


# The block nodes of contrib


def block_weights(inputs, units):
    """Kernel, bias and the three peepholes, by the names that the nodes' inputs have."""
    return {
        "w": weight("kernel", inputs + units, 4 * units),
        "b": bias("bias", 4 * units),
        **{name: weight(name, units, 1)[:, 0] for name in ("wci", "wcf", "wco")},
    }


def block_cell(units, **attributes):
    def step(x, state):
        c, h = state
        node = tf.raw_ops.LSTMBlockCell(
            x=x, cs_prev=c, h_prev=h, **block_weights(12, units), **attributes
        )
        return node.h, cells.LSTMStateTuple(node.cs, node.h)

    return Written(step, cells.LSTMStateTuple(units, units), units)


@loop("LSTMBlockCell", [LSTM], also=SIZES, x=OPEN)
def cell_block(x):
    """One fused node per step; gates are in the order i, c, f, o."""
    return outputs_of(block_cell(8, forget_bias=1.0, cell_clip=-1.0), x)


@loop("LSTMBlockCell, peepholes and clip", [LSTM], flows=(1,), x=X)
def cell_block_peephole(x):
    return outputs_of(block_cell(8, forget_bias=0.5, cell_clip=0.3, use_peephole=True), x)


def block_lstm(x, units, op=tf.raw_ops.BlockLSTM, **attributes):
    """What LSTMBlockFusedCell does with a time-major sequence; h of every step, and c."""
    zeros = tf.zeros([tf.shape(x)[1], units])
    node = op(
        seq_len_max=tf.cast(tf.shape(x)[0], tf.int64),
        x=x,
        cs_prev=zeros,
        h_prev=zeros,
        **block_weights(x.shape[2], units),
        **attributes,
    )
    return node.h, node.cs


@loop("LSTMBlockFusedCell (BlockLSTM)", [LSTM], flows=(1,), also=SIZES, x=OPEN)
def block_fused(x):
    """No loop at all: one node for the whole time-major sequence."""
    return {"out": block_lstm(x, 8, forget_bias=1.0, cell_clip=-1.0)[0]}


@loop("LSTMBlockFusedCell (BlockLSTM)", [LSTM], flows=(1,), x=X)
def block_fused_batch_major(x):
    """Transpositions around it, peepholes, a clip."""
    h, _ = block_lstm(
        tf.transpose(x, [1, 0, 2]), 8, use_peephole=True, cell_clip=0.3, forget_bias=0.5
    )
    return {"out": tf.transpose(h, [1, 0, 2]), "last": h[-1]}


@loop("BlockLSTMV2", [LSTM], also=SIZES, flows=(1,), x=OPEN)
def block_fused_second(x):
    """Gates are in the order i, f, c, o; no forget_bias."""
    return {"out": block_lstm(x, 8, tf.raw_ops.BlockLSTMV2, cell_clip=0.0)[0]}


# Cells that the fused operators can or cannot express


@loop("CoupledInputForgetGateLSTMCell", [LSTM], flows=(1,), x=X)
def cell_lstm_coupled(x):
    """The input gate is one minus the forget gate (CIFG)."""
    units = 8

    def step(x, state):
        c, h = state
        j, f, o = tf.split(linear(tf.concat([x, h], 1), 3 * units, "gates"), 3, 1)
        forget = tf.sigmoid(f + 1.0)
        c = forget * c + (1 - forget) * tf.tanh(j)
        h = tf.tanh(c) * tf.sigmoid(o)
        return h, cells.LSTMStateTuple(c, h)

    return outputs_of(Written(step, cells.LSTMStateTuple(units, units), units), x)


def layer_norm(x, name):
    with tf1.variable_scope(name):
        mean, variance = tf.nn.moments(x, [1], keepdims=True)
        beta, gamma = bias("bias", x.shape[1]), bias("gamma_bias", x.shape[1], 1.0)
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-8)


def layer_norm_cell(units):
    def step(x, state):
        c, h = state
        inputs = tf.concat([x, h], 1)
        gates = tf.split(tf.matmul(inputs, weight("kernel", inputs.shape[1], 4 * units)), 4, 1)
        i, j, f, o = (layer_norm(gate, name) for gate, name in zip(gates, "ijfo", strict=True))
        c = c * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
        h = tf.tanh(c) * tf.sigmoid(o)
        return h, cells.LSTMStateTuple(c, h)

    return Written(step, cells.LSTMStateTuple(units, units), units)


@loop("layer norm of the gates", [LSTM], flows=(1,), x=X)
def cell_lstm_layer_norm(x):
    """What the LSTM operator's layer norm expresses: gates only, before forget_bias."""
    return outputs_of(layer_norm_cell(8), x)


@loop("RNN cell of two products", [RNN], also=SIZES, x=OPEN)
def cell_rnn_two_products(x):
    """Written by hand: x and h have weights of their own, as in Keras and in the operator."""
    units = 8

    def step(x, h):
        product = tf.matmul(x, weight("w", 12, units)) + tf.matmul(h, weight("u", units, units))
        h = tf.tanh(product + bias("bias", units))
        return h, h

    return outputs_of(Written(step, units, units), x)


@loop("RNN cell with output layer", [RNN], flows=(1,), x=X)
def cell_rnn_output_layer(x):
    """OutputProjectionWrapper: a dense layer behind each step, inside the loop."""
    units = 8

    def step(x, h):
        h = tf.tanh(linear(tf.concat([x, h], 1), units, "rnn"))
        return linear(h, 5, "output"), h

    return outputs_of(Written(step, units, 5), x)


@loop("minimal gated unit", "loop", also=SIZES, x=OPEN)
def cell_custom(x):
    """A cell that no operator has."""
    units = 8

    def step(x, h):
        forget = tf.sigmoid(linear(tf.concat([x, h], 1), units, "forget"))
        candidate = tf.tanh(linear(tf.concat([x, forget * h], 1), units, "candidate"))
        h = h + forget * (candidate - h)
        return h, h

    return outputs_of(Written(step, units, units), x)


@loop("convolutional RNN cell", "loop", flows=(1,), x=normal(None, 4, 6, 6, 3))
def cell_convolution(x):
    """A state of rank 4 and a convolution in the loop."""
    shape = tf.TensorShape([6, 6, 4])

    def step(x, h):
        inputs = tf.concat([x, h], 3)
        h = tf.tanh(tf.nn.conv2d(inputs, weight("kernel", 3, 3, 7, 4), 1, "SAME"))
        return h, h

    cell = Written(step, shape, shape)
    state = tf.zeros([tf.shape(x)[0], 6, 6, 4])
    return {"out": tf1.nn.dynamic_rnn(cell, x, initial_state=state)[0]}
