"""Loops that are no recurrent cell, and conditionals."""

import numpy as np
import tensorflow as tf

from .case import booleans, fixed, integers, loop, normal
from .recurrent_cells import cells
from .weights import array, dense, tf1, variable

VECTOR = normal(None, 8)
SEQUENCE = normal(None, 6, 8)
SCALAR = fixed(np.array(5, np.int32))
SIZES = ((1, 4), (3, 9))
AGAIN = ((1, 1), (2, 1), (3, 1), (4, 1))  # so that every branch is taken


@loop("counting loop", "loop", n=SCALAR)
def loop_count(n):
    """Integers alone: the sum of 0 … n − 1."""
    start = (tf.constant(0), tf.constant(0))
    count, total = tf.while_loop(lambda i, _: i < n, lambda i, s: (i + 1, s + i), start)
    return {"count": count, "total": total}


@loop("loop of a constant number of steps", "loop", x=VECTOR)
def loop_power(x):
    """y ← relu(yW + b), five times: a weight in the body that is worth quantizing."""
    weights, biases = variable("weights", array(32, 32)), variable("biases", array(32, scale=0.1))
    first = dense(x, 32, name="first")
    _, y = tf.while_loop(
        lambda i, _: i < 5,
        lambda i, y: (i + 1, tf.nn.relu(tf.matmul(y, weights) + biases)),
        (tf.constant(0), first),
    )
    return {"out": y}


@loop("loop until a condition on the data", "loop", also=SIZES, x=VECTOR)
def loop_until(x):
    """Halve until the largest magnitude is below 0.1; how often is an output."""
    count, y = tf.while_loop(
        lambda i, y: tf.reduce_max(tf.abs(y)) > 0.1,
        lambda i, y: (i + 1, y * 0.5),
        (tf.constant(0, tf.int64), x),
    )
    return {"count": count, "out": y}


@loop("loop that never runs", "loop", x=VECTOR)
def loop_not_entered(x):
    _, y = tf.while_loop(
        lambda i, _: i < 0, lambda i, y: (i + 1, y * 2.0), (tf.constant(0), tf.nn.relu(x))
    )
    return {"out": y}


@loop("variables that do not change, and swap", "loop", x=VECTOR, y=VECTOR)
def loop_swap(x, y):
    """One variable is passed on as it is, two change places."""
    state = (tf.constant(0), x, y, tf.reduce_sum(x))
    _, a, b, c = tf.while_loop(lambda i, *_: i < 3, lambda i, a, b, c: (i + 1, b, a + c, c), state)
    return {"a": a, "b": b, "c": c}


@loop("cumulative sum with a TensorArray", "loop", also=SIZES, x=normal(None, None, 8))
def loop_cumulative_sum(x):
    """Steps are read from one TensorArray and written to another."""
    steps = tf.shape(x)[1]
    source = tf.TensorArray(tf.float32, steps).unstack(tf.transpose(x, [1, 0, 2]))
    sink = tf.TensorArray(tf.float32, steps)

    def body(i, total, sink):
        total += source.read(i)
        return i + 1, total, sink.write(i, total)

    start = (tf.constant(0), tf.zeros_like(x[:, 0]), sink)
    _, _, sums = tf.while_loop(lambda i, *_: i < steps, body, start)
    return {"out": tf.transpose(sums.stack(), [1, 0, 2])}


@loop("TensorArrays outside loops", "loop", x=SEQUENCE)
def tensor_array_outside(x):
    """Written, read, gathered, scattered and concatenated without any loop."""
    rows = tf.TensorArray(tf.float32, 6, clear_after_read=False).unstack(tf.transpose(x, [1, 0, 2]))
    made = tf.TensorArray(tf.float32, 3).scatter([2, 0, 1], tf.stack([x[:, 0], x[:, 1], x[:, 2]]))
    return {
        "third": rows.read(2),
        "some": rows.gather([4, 0]),
        "made": made.stack(),
        "joined": rows.concat(),
    }


@loop("nested loops", "loop", x=SEQUENCE)
def loop_nested(x):
    """For each step, a Newton iteration for the cube root of 1 + the step's sum of squares."""
    sink = tf.TensorArray(tf.float32, 6)

    def newton(value):
        _, root = tf.while_loop(
            lambda k, _: k < 4,
            lambda k, y: (k + 1, y - (y * y * y - value) / (3.0 * y * y)),
            (tf.constant(0), value),
        )
        return root

    def body(i, sink):
        value = 1.0 + tf.reduce_sum(tf.square(x[:, i]), 1)
        return i + 1, sink.write(i, newton(value))

    _, roots = tf.while_loop(lambda i, _: i < 6, body, (tf.constant(0), sink))
    return {"out": tf.transpose(roots.stack())}


@loop("loop in whose body rows grow", "loop", also=SIZES, x=VECTOR)
def loop_growing(x):
    """Shapes change from step to step: each concatenates a row."""
    start = (tf.constant(0), x[:1])
    _, y = tf.while_loop(
        lambda i, _: i < 4,
        lambda i, y: (i + 1, tf.concat([y, y[-1:] * 0.5 + x[:1]], 0)),
        start,
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, 8])),
    )
    return {"out": y}


@loop("tf.map_fn", "loop", also=SIZES, x=SEQUENCE)
def loop_map(x):
    return {"out": tf.map_fn(lambda row: tf.matmul(row, row, transpose_b=True), x)}


@loop("tf.scan", "loop", x=SEQUENCE)
def loop_scan(x):
    """An exponential average along time."""
    steps = tf.transpose(x, [1, 0, 2])
    return {"out": tf.scan(lambda mean, step: 0.7 * mean + 0.3 * step, steps)}


@loop("tf.foldl", "loop", x=SEQUENCE)
def loop_fold(x):
    return {
        "out": tf.foldl(lambda most, step: tf.maximum(most * 0.9, step), tf.transpose(x, [1, 0, 2]))
    }


@loop("greedy decoder", "loop", x=normal(None, 16))
def loop_decoder(x):
    """Each step embeds the word that the last one found: LSTMCell, dense layer, ArgMax, Gather."""
    cell, table = cells.LSTMCell(16), variable("table", array(40, 16, scale=0.5))
    words = tf.TensorArray(tf.int32, 5)

    def body(i, word, c, h, words):
        out, state = cell(tf.gather(table, word), cells.LSTMStateTuple(c, h))
        with tf1.variable_scope("decoder", reuse=tf1.AUTO_REUSE):
            word = tf.argmax(dense(out, 40, name="fc"), 1, output_type=tf.int32)
        return i + 1, word, state.c, state.h, words.write(i, word)

    start = tf.zeros([tf.shape(x)[0]], tf.int32)
    first = (tf.constant(0), start, tf.zeros_like(x), tf.tanh(x), words)
    *_, h, words = tf.while_loop(lambda i, *_: i < 5, body, first)
    return {"words": tf.transpose(words.stack()), "h": h}


@loop("two loops that have nothing to do with each other", "loop", flows=(1,), x=VECTOR)
def loop_two(x):
    def halve(times):
        return tf.while_loop(
            lambda i, _: i < times, lambda i, y: (i + 1, y * 0.5 + 1.0), (tf.constant(0), x)
        )[1]

    return {"a": halve(2), "b": halve(5)}


@loop("reversed time, written by hand", "loop", x=SEQUENCE)
def loop_backwards(x):
    """The counter runs down, from 5 to 0."""
    source = tf.TensorArray(tf.float32, 6).unstack(tf.transpose(x, [1, 0, 2]))
    sink = tf.TensorArray(tf.float32, 6)

    def body(i, h, sink):
        h = tf.tanh(dense(tf.concat([source.read(i), h], 1), 8, name="cell"))
        return i - 1, h, sink.write(i, h)

    start = (tf.constant(5), tf.zeros_like(x[:, 0]), sink)
    *_, outputs = tf.while_loop(lambda i, *_: i >= 0, body, start)
    return {"out": tf.transpose(outputs.stack(), [1, 0, 2])}


# Conditionals


@loop("tf.cond", ["IF"], also=AGAIN, x=VECTOR, flag=booleans())
def cond_simple(x, flag):
    return {"out": tf.cond(flag, lambda: x * 2.0, lambda: tf.nn.relu(x - 1.0))}


@loop("tf.cond with several results", ["IF"], also=AGAIN, x=VECTOR)
def cond_on_data(x):
    """The condition is computed; weights in one branch, the other passes its input on."""
    weights = variable("weights", array(8, 8))
    low, high = tf.cond(
        tf.reduce_sum(x) > -2.0,
        lambda: (tf.matmul(x, weights), tf.reduce_max(x, 1)),
        lambda: (x, tf.reduce_min(x, 1)),
    )
    return {"low": low, "high": high}


@loop("nested tf.cond", ["IF", "IF"], also=AGAIN, x=VECTOR, k=integers(0, 12))
def cond_nested(x, k):
    def deeper():
        return tf.cond(k > 6, lambda: x + 1.0, lambda: x * 3.0)

    return {"out": tf.cond(k > 3, deeper, lambda: -x)}


@loop("tf.switch_case", ["IF", "IF"], flows=(2,), also=AGAIN, x=VECTOR, k=integers(-1, 4))
def cond_switch_case(x, k):
    """One of three branches by number; the last one for numbers out of range."""
    return {"out": tf.switch_case(k, [lambda: x, lambda: x * 2.0, lambda: tf.tanh(x)])}


@loop("tf.cond in a loop", "loop", x=VECTOR)
def cond_in_loop(x):
    """Collatz for a number, and a branch on it."""

    def body(i, n, y):
        even = tf.equal(n % 2, 0)
        n, y = tf.cond(even, lambda: (n // 2, y * 0.5), lambda: (3 * n + 1, tf.tanh(y) + 1.0))
        return i + 1, n, y

    start = (tf.constant(0), tf.constant(7), x)
    _, n, y = tf.while_loop(lambda i, *_: i < 6, body, start)
    return {"n": n, "out": y}


@loop("loop in a tf.cond", "loop", also=AGAIN, x=VECTOR, flag=booleans())
def loop_in_cond(x, flag):
    def several():
        return tf.while_loop(
            lambda i, _: i < 3, lambda i, y: (i + 1, y * y * 0.5), (tf.constant(0), x)
        )[1]

    return {"out": tf.cond(flag, several, lambda: x)}


# Written in Python, for AutoGraph


@loop("for loop under AutoGraph", "loop", style="v2", also=SIZES, x=normal(None, None, 8))
def autograph_for():
    """for over a dynamic range, break included."""
    weights = tf.Variable(array(8, 8, scale=0.3))

    def call(x):
        h = tf.zeros_like(x[:, 0])
        for i in tf.range(tf.shape(x)[1]):
            h = tf.tanh(x[:, i] + tf.matmul(h, weights))
            if tf.reduce_max(h) > 0.99:
                break
        return {"out": tf.identity(h)}

    return tf.function(call)


@loop("while loop under AutoGraph", "loop", flows=(2,), style="v2", x=VECTOR, limit=integers(2, 6))
def autograph_while():
    def call(x, limit):
        i = 0
        outputs = tf.TensorArray(tf.float32, 0, dynamic_size=True)
        while i < limit:
            x = x * 0.5
            outputs = outputs.write(i, x)
            i += 1
        return {"out": outputs.stack()}

    return tf.function(call)
