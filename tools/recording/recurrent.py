"""tf.nn.dynamic_rnn, static_rnn and their bidirectional forms, in every way they were called."""

import numpy as np
import tensorflow as tf

from .case import integers, loop, normal
from .recurrent_cells import LSTM, RNN, cells
from .weights import array, dense, tf1

BOTH_RNN, BOTH_LSTM = "BIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_LSTM"
ONE_RNN, ONE_LSTM = "RNN", "LSTM"  # a single step

SEQUENCE = normal(None, 7, 32)
SMALL = normal(None, 7, 12)
OPEN = normal(None, None, 12)  # time unknown too
LENGTHS = integers(0, 6, None)
SIZES = ((1, 5), (4, 11))


def dynamic(cell, x, **options):
    options.setdefault("dtype", tf.float32)
    return tf1.nn.dynamic_rnn(cell, x, **options)


def both_ways(forward, backward, x, **options):
    """Outputs of the two directions, concatenated, and their final states."""
    options.setdefault("dtype", tf.float32)
    outputs, states = tf1.nn.bidirectional_dynamic_rnn(forward, backward, x, **options)
    return tf.concat(outputs, 2), states


# dynamic_rnn


@loop("dynamic_rnn of BasicRNNCell", [RNN], flows=(1,), x=SEQUENCE)
def rnn_dynamic(x):
    return {"out": dynamic(cells.BasicRNNCell(32), x)[0]}


@loop("dynamic_rnn of BasicRNNCell", [RNN], also=SIZES, x=OPEN)
def rnn_dynamic_unknown_time(x):
    """Batch and time are unknown."""
    return {"out": dynamic(cells.BasicRNNCell(8), x)[0]}


@loop("dynamic_rnn of BasicRNNCell", [RNN], flows=(1,), x=normal(3, 6, 12))
def rnn_dynamic_static_batch(x):
    return {"out": dynamic(cells.BasicRNNCell(8), x)[0]}


@loop("dynamic_rnn of BasicRNNCell", [RNN], also=((5, 3),), x=normal(None, None, 12))
def rnn_dynamic_time_major(x):
    """No transposition around the loop; the first dimension is time."""
    return {"out": dynamic(cells.BasicRNNCell(8), x, time_major=True)[0]}


@loop("dynamic_rnn of BasicRNNCell", [RNN], flows=(1,), also=SIZES, x=OPEN)
def rnn_final_state(x):
    """Only the final state is used; freezing drops the array of outputs from the loop."""
    return {"state": dynamic(cells.BasicRNNCell(8), x)[1]}


@loop("dynamic_rnn of BasicRNNCell", [RNN], flows=(1,), x=SMALL)
def rnn_used_often(x):
    """Outputs used three times, and the final state."""
    outputs, state = dynamic(cells.BasicRNNCell(8), x)
    return {
        "out": outputs,
        "last": dense(outputs[:, -1], 5, name="last_fc"),
        "mean": tf.reduce_mean(outputs, 1),
        "state": tf.nn.relu(state),
    }


@loop("dynamic_rnn of BasicRNNCell, reversed", [RNN], flows=(1,), x=SMALL)
def rnn_reversed(x):
    """tf.reverse before and behind the loop, as a backward layer is written by hand."""
    outputs, _ = dynamic(cells.BasicRNNCell(8), tf.reverse(x, [1]))
    return {"out": tf.reverse(outputs, [1])}


@loop("dynamic_rnn of LSTMCell", [LSTM], flows=(1,), x=SEQUENCE)
def lstm_dynamic(x):
    return {"out": dynamic(cells.LSTMCell(32), x)[0]}


@loop("dynamic_rnn of LSTMCell", [LSTM], also=SIZES, x=OPEN)
def lstm_dynamic_unknown_time(x):
    return {"out": dynamic(cells.LSTMCell(8), x)[0]}


@loop("dynamic_rnn of BasicLSTMCell", [LSTM], flows=(1,), also=((5, 3),), x=normal(None, None, 12))
def lstm_dynamic_time_major(x):
    return {"out": dynamic(cells.BasicLSTMCell(8), x, time_major=True)[0]}


@loop("dynamic_rnn of BasicLSTMCell", [LSTM], flows=(1,), x=normal(1, 12, 8))
def lstm_dynamic_static_batch(x):
    """Everything is known, batch is one."""
    return {"out": dynamic(cells.BasicLSTMCell(10), x)[0]}


@loop("dynamic_rnn of BasicLSTMCell", [LSTM], flows=(1,), x=normal(None, 8, 16))
def lstm_classifier(x):
    """The usual text-book network: last output, dense layer, softmax."""
    outputs, _ = dynamic(cells.BasicLSTMCell(16), x)
    return {"probabilities": tf.nn.softmax(dense(outputs[:, -1], 10, name="logits"))}


@loop("dynamic_rnn of BasicLSTMCell", [LSTM], also=SIZES, x=OPEN)
def lstm_final_hidden(x):
    """The final state's h feeds the dense layer."""
    _, state = dynamic(cells.BasicLSTMCell(8), x)
    return {"logits": dense(state.h, 10, name="logits_fc")}


@loop("dynamic_rnn of BasicLSTMCell, cell state as output", "loop", x=SMALL)
def lstm_final_cell(x):
    """The final c too is an output, which the fused operators do not give."""
    outputs, state = dynamic(cells.BasicLSTMCell(8), x)
    return {"out": outputs, "c": state.c, "h": state.h}


@loop("dynamic_rnn of BasicLSTMCell", [LSTM], flows=(1,), resource=True, also=SIZES, x=OPEN)
def lstm_resource_variables(x):
    """Resource variables, read outside the loop or inside."""
    return {"out": dynamic(cells.BasicLSTMCell(8), x)[0]}


@loop("dynamic_rnn of BasicLSTMCell, Add", [LSTM], flows=(1,), old_add=True, x=SMALL)
def lstm_before_1_15(x):
    """Graphs from before TensorFlow 1.15 have Add in place of AddV2."""
    return {"out": dynamic(cells.BasicLSTMCell(8), x)[0]}


# Initial states


@loop("dynamic_rnn, initial state of zeros", [RNN], flows=(1,), also=SIZES, x=OPEN)
def rnn_initial_zeros(x):
    cell = cells.BasicRNNCell(8)
    zeros = cell.zero_state(tf.shape(x)[0], tf.float32)
    return {"out": dynamic(cell, x, initial_state=zeros)[0]}


@loop("dynamic_rnn, initial state of zeros", [LSTM], flows=(1,), x=normal(3, 6, 12))
def lstm_initial_zeros(x):
    """Batch is known; the zeros are plain constants."""
    cell = cells.BasicLSTMCell(8)
    zeros = tf.constant(0.0, shape=(3, 8))
    state = cells.LSTMStateTuple(zeros, zeros)
    return {"out": dynamic(cell, x, initial_state=state)[0]}


@loop("dynamic_rnn, constant initial state", "loop", flows=(1,), x=normal(2, 6, 12))
def rnn_initial_constant(x):
    state = tf.constant(array(2, 8, scale=0.5))
    return {"out": dynamic(cells.BasicRNNCell(8), x, initial_state=state)[0]}


@loop("dynamic_rnn, constant initial state", "loop", flows=(1,), also=SIZES, x=OPEN)
def lstm_initial_learned(x):
    """One learned row for h and c each, tiled to the batch."""
    rows = [
        tf.tile(tf1.get_variable(name, initializer=array(1, 8, scale=0.5)), [tf.shape(x)[0], 1])
        for name in ("c0", "h0")
    ]
    state = cells.LSTMStateTuple(*rows)
    return {"out": dynamic(cells.BasicLSTMCell(8), x, initial_state=state)[0]}


@loop("dynamic_rnn, initial state as input", "loop", flows=(1,), x=SMALL, state=normal(None, 8))
def rnn_initial_input(x, state):
    outputs, final = dynamic(cells.BasicRNNCell(8), x, initial_state=state)
    return {"out": outputs, "final": final}


@loop(
    "dynamic_rnn, initial state as input",
    "loop",
    also=SIZES,
    flows=(1,),
    x=OPEN,
    c=normal(None, 8),
    h=normal(None, 8),
)
def lstm_initial_input(x, c, h):
    """A streaming network: states go in and come out."""
    state = cells.LSTMStateTuple(c, h)
    outputs, final = dynamic(cells.BasicLSTMCell(8), x, initial_state=state)
    return {"out": outputs, "final_c": final.c, "final_h": final.h}


@loop("encoder and decoder", "loop", flows=(1,), x=SMALL, y=normal(None, 5, 12))
def lstm_encoder_decoder(x, y):
    """The decoder starts from the encoder's final state."""
    _, state = dynamic(cells.BasicLSTMCell(8), x, scope="encoder")
    decoder = cells.BasicLSTMCell(8)
    return {"out": dynamic(decoder, y, initial_state=state, dtype=None, scope="decoder")[0]}


# sequence_length


@loop("dynamic_rnn with sequence_length", [RNN], batch=5, also=((3, 9),), x=OPEN, lengths=LENGTHS)
def rnn_lengths(x, lengths):
    outputs, state = dynamic(cells.BasicRNNCell(8), x, sequence_length=lengths)
    return {"out": outputs, "state": state}


@loop("dynamic_rnn with sequence_length", [RNN], flows=(1,), x=normal(4, 7, 12))
def rnn_lengths_constant(x):
    lengths = np.array([7, 3, 0, 1], np.int32)
    outputs, state = dynamic(cells.BasicRNNCell(8), x, sequence_length=lengths)
    return {"out": outputs, "state": state}


@loop("dynamic_rnn with sequence_length", [LSTM], batch=5, x=SMALL, lengths=LENGTHS)
def lstm_lengths(x, lengths):
    """Outputs and the final h."""
    outputs, state = dynamic(cells.BasicLSTMCell(8), x, sequence_length=lengths)
    return {"out": outputs, "state": state.h}


@loop(
    "dynamic_rnn with sequence_length, cell state",
    "loop",
    also=((3, 9),),
    flows=(1,),
    batch=5,
    x=OPEN,
    lengths=LENGTHS,
)
def lstm_lengths_cell(x, lengths):
    """The final c from each row's last step."""
    return {"c": dynamic(cells.LSTMCell(8), x, sequence_length=lengths)[1].c}


@loop(
    "dynamic_rnn with sequence_length of int64",
    [LSTM, LSTM],
    flows=(1,),
    batch=4,
    x=SMALL,
    lengths=integers(0, 6, None, dtype="int64"),
)
def lstm_lengths_stack(x, lengths):
    stack = cells.MultiRNNCell([cells.LSTMCell(8), cells.LSTMCell(10)])
    outputs, state = dynamic(stack, x, sequence_length=lengths)
    return {"out": outputs, "state": state[1].h}


@loop(
    "bidirectional_dynamic_rnn with sequence_length",
    [RNN, RNN],
    batch=5,
    also=((3, 9),),
    x=OPEN,
    lengths=LENGTHS,
)
def bidirectional_rnn_lengths(x, lengths):
    """ReverseSequence before and behind the backward loop."""
    cell = cells.BasicRNNCell
    out, (forward, backward) = both_ways(cell(8), cell(8), x, sequence_length=lengths)
    return {"out": out, "forward": forward, "backward": backward}


@loop(
    "bidirectional_dynamic_rnn with sequence_length",
    [LSTM, LSTM],
    flows=(1,),
    batch=5,
    x=SMALL,
    lengths=LENGTHS,
)
def bidirectional_lstm_lengths(x, lengths):
    cell = cells.BasicLSTMCell
    return {"out": both_ways(cell(8), cell(8), x, sequence_length=lengths)[0]}


# Both directions


@loop("bidirectional_dynamic_rnn of BasicRNNCell", [BOTH_RNN], flows=(1,), x=SEQUENCE)
def bidirectional_rnn(x):
    return {"out": both_ways(cells.BasicRNNCell(32), cells.BasicRNNCell(32), x)[0]}


@loop("bidirectional_dynamic_rnn of BasicRNNCell", [BOTH_RNN], also=SIZES, x=OPEN)
def bidirectional_rnn_unknown_time(x):
    """Two outputs, not concatenated; sizes differ; final states come out."""
    outputs, states = tf1.nn.bidirectional_dynamic_rnn(
        cells.BasicRNNCell(8), cells.BasicRNNCell(6), x, dtype=tf.float32
    )
    return {
        "forward": outputs[0],
        "backward": outputs[1],
        "forward_state": states[0],
        "backward_state": states[1],
    }


@loop(
    "bidirectional_dynamic_rnn of BasicRNNCell",
    [BOTH_RNN],
    also=((5, 3),),
    flows=(1,),
    x=normal(None, None, 12),
)
def bidirectional_rnn_time_major(x):
    cell = cells.BasicRNNCell
    return {"out": both_ways(cell(8), cell(8), x, time_major=True)[0]}


@loop("bidirectional_dynamic_rnn of LSTMCell", [BOTH_LSTM], flows=(1,), x=SMALL)
def bidirectional_lstm(x):
    return {"out": both_ways(cells.LSTMCell(8), cells.LSTMCell(8), x)[0]}


@loop("bidirectional_dynamic_rnn of BasicLSTMCell", [BOTH_LSTM], flows=(1,), also=SIZES, x=OPEN)
def bidirectional_lstm_states(x):
    """The final hidden states of both directions, concatenated; outputs are unused."""
    _, states = both_ways(cells.BasicLSTMCell(8), cells.BasicLSTMCell(8), x)
    return {"hidden": tf.concat([state.h for state in states], 1)}


# Stacks


@loop("MultiRNNCell of BasicRNNCell", [RNN, RNN], flows=(1,), also=SIZES, x=OPEN)
def rnn_stack(x):
    """Two cells in one loop; all states come out."""
    stack = cells.MultiRNNCell([cells.BasicRNNCell(10), cells.BasicRNNCell(8)])
    outputs, states = dynamic(stack, x)
    return {"out": outputs, "state0": states[0], "state1": states[1]}


@loop("MultiRNNCell of LSTMCell", [LSTM, LSTM, LSTM], flows=(1,), x=normal(None, 6, 8))
def lstm_stack(x):
    return {"out": dynamic(cells.MultiRNNCell([cells.LSTMCell(8) for _ in range(3)]), x)[0]}


@loop("bidirectional_dynamic_rnn in layers", [BOTH_RNN, BOTH_RNN], flows=(1,), x=SMALL)
def bidirectional_rnn_layers(x):
    """stack_bidirectional_dynamic_rnn: each layer reads both directions of the one below."""
    for layer in range(2):
        forward, backward = cells.BasicRNNCell(8), cells.BasicRNNCell(8)
        x, _ = both_ways(forward, backward, x, scope=f"layer{layer}")
    return {"out": x}


# static_rnn


def steps_of(x):
    return tf.unstack(x, axis=1)


@loop("static_rnn of BasicRNNCell", [RNN], flows=(1,), x=normal(None, 5, 32))
def rnn_static(x):
    """Steps by tf.unstack, outputs by tf.stack."""
    outputs, _ = tf1.nn.static_rnn(cells.BasicRNNCell(32), steps_of(x), dtype=tf.float32)
    return {"out": tf.stack(outputs, axis=1)}


@loop("static_rnn of BasicRNNCell", [RNN], flows=(1,), x=normal(None, 5, 12))
def rnn_static_split(x):
    """Steps by Transpose, Reshape and Split, as text books had it; the last output is used."""
    rows = tf.reshape(tf.transpose(x, [1, 0, 2]), [-1, 12])
    outputs, _ = tf1.nn.static_rnn(cells.BasicRNNCell(8), tf.split(rows, 5, 0), dtype=tf.float32)
    return {"logits": dense(outputs[-1], 6, name="fc")}


@loop("static_rnn of BasicLSTMCell", [LSTM], flows=(1,), x=normal(None, 5, 16))
def lstm_static(x):
    outputs, state = tf1.nn.static_rnn(cells.BasicLSTMCell(8), steps_of(x), dtype=tf.float32)
    return {"out": tf.stack(outputs, axis=1), "state": state.h}


@loop("static_rnn of BasicLSTMCell", [LSTM], flows=(1,), x=normal(None, 5, 16))
def lstm_static_last(x):
    outputs, _ = tf1.nn.static_rnn(cells.BasicLSTMCell(8), steps_of(x), dtype=tf.float32)
    return {"logits": dense(outputs[-1], 6, name="fc")}


@loop("static_bidirectional_rnn of BasicRNNCell", [BOTH_RNN], flows=(1,), x=normal(None, 5, 12))
def bidirectional_rnn_static(x):
    outputs, forward, backward = tf1.nn.static_bidirectional_rnn(
        cells.BasicRNNCell(8), cells.BasicRNNCell(8), steps_of(x), dtype=tf.float32
    )
    return {"out": tf.stack(outputs, axis=1), "forward": forward, "backward": backward}


@loop("static_bidirectional_rnn of LSTMCell", [BOTH_LSTM], flows=(1,), x=normal(None, 5, 12))
def bidirectional_lstm_static(x):
    outputs, _, _ = tf1.nn.static_bidirectional_rnn(
        cells.LSTMCell(8), cells.LSTMCell(8), steps_of(x), dtype=tf.float32
    )
    return {"out": tf.stack(outputs, axis=1)}


@loop("static_rnn with sequence_length", [RNN], batch=4, x=normal(None, 5, 12), lengths=LENGTHS)
def rnn_static_lengths(x, lengths):
    """A conditional around each step past the shortest sequence."""
    outputs, state = tf1.nn.static_rnn(
        cells.BasicRNNCell(8), steps_of(x), dtype=tf.float32, sequence_length=lengths
    )
    return {"out": tf.stack(outputs, axis=1), "state": state}


@loop("static_rnn of one step", [ONE_RNN], flows=(1,), x=normal(None, 32))
def rnn_static_one_step(x):
    outputs, _ = tf1.nn.static_rnn(cells.BasicRNNCell(32), [x], dtype=tf.float32)
    return {"out": outputs[0]}


@loop("static_rnn of one step", [ONE_LSTM], flows=(1,), x=normal(None, 32))
def lstm_static_one_step(x):
    outputs, _ = tf1.nn.static_rnn(cells.LSTMCell(32), [x], dtype=tf.float32)
    return {"out": outputs[0]}


@loop(
    "one step of a cell", [], flows=(1,), x=normal(None, 16), c=normal(None, 8), h=normal(None, 8)
)
def lstm_step(x, c, h):
    """States go in and come out: plain operators."""
    out, state = cells.BasicLSTMCell(8)(x, cells.LSTMStateTuple(c, h))
    return {"out": out, "final_c": state.c}


# raw_rnn


@loop("raw_rnn of LSTMCell", [LSTM], flows=(1,), x=normal(None, 7, 12))
def lstm_raw(x):
    """The loop function reads the next step of a TensorArray, as dynamic_rnn does."""
    cell, batch = cells.LSTMCell(8), tf.shape(x)[0]
    steps = tf.TensorArray(tf.float32, 7).unstack(tf.transpose(x, [1, 0, 2]))

    def loop_fn(time, output, state, _):
        state = cell.zero_state(batch, tf.float32) if output is None else state
        done = time >= tf.fill([batch], 7)
        following = tf.cond(
            tf.reduce_all(done), lambda: tf.zeros([batch, 12]), lambda: steps.read(time)
        )
        following.set_shape([None, 12])
        return done, following, state, output, None

    outputs, _, _ = tf1.nn.raw_rnn(cell, loop_fn)
    return {"out": outputs.stack()}
