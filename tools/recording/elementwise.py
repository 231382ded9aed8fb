"""Activations and elementwise operators; each output of a graph is one operator."""

import numpy as np
import tensorflow as tf

from .case import booleans, graph, integers, normal, uniform
from .weights import array, tf1


@graph(x=uniform(-8, 8, None, 5, 6))
def activations(x):
    return {
        "relu": tf.nn.relu(x),
        "relu6": tf.nn.relu6(x),
        "leaky_relu": tf.nn.leaky_relu(x, 0.1),
        "elu": tf.nn.elu(x),
        "sigmoid": tf.sigmoid(x),
        "tanh": tf.tanh(x),
        "hard_swish": x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0),
        "hard_sigmoid": tf.nn.relu6(x + 3.0) / 6.0,
        "relu_n1_to_1": tf.minimum(tf.maximum(x, -1.0), 1.0),
        "relu_0_to_1": tf.clip_by_value(x, 0.0, 1.0),
    }


@graph(x=uniform(-8, 8, None, 5, 6))
def activations_composed(x):
    """Activations without a TFLite operator of their own."""
    return {
        "selu": tf.nn.selu(x),
        "softplus": tf.nn.softplus(x),
        "softsign": tf.nn.softsign(x),
        "silu": tf.nn.silu(x),
        "swish_written_out": x * tf.sigmoid(x),
        "mish": x * tf.tanh(tf.nn.softplus(x)),
        "hard_sigmoid_keras2": tf.clip_by_value(0.2 * x + 0.5, 0.0, 1.0),
        "clip_5": tf.clip_by_value(x, -5.0, 5.0),
    }


@graph(x=uniform(-4, 4, None, 5, 6))
def gelu_erf(x):
    """The exact form as TensorFlow up to 2.20 and BERT's exports write it."""
    return 0.5 * x * (1.0 + tf.math.erf(x / np.float32(np.sqrt(2))))


@graph(x=uniform(-4, 4, None, 5, 6))
def gelu_erfc(x):
    """The exact form as TensorFlow 2.21 expands it, with Erfc."""
    return tf.nn.gelu(x, approximate=False)


@graph(x=uniform(-4, 4, None, 5, 6))
def gelu_tanh(x):
    """The approximation as TensorFlow expands it, and as BERT writes it."""
    cdf = 0.5 * (1.0 + tf.tanh(0.7978845608 * (x + 0.044715 * tf.pow(x, 3.0))))
    return {"tanh": tf.nn.gelu(x, approximate=True), "bert": x * cdf}


@graph(x=normal(None, 5, 5, 8))
def prelu(x):
    """Keras' form, relu(x) - alpha * relu(-x), and the (x - |x|) / 2 form."""
    alpha = array(1, 1, 8, scale=0.3)
    return {
        "keras": tf.nn.relu(x) + (-alpha) * tf.nn.relu(-x),
        "abs": tf.nn.relu(x) + alpha * (x - tf.abs(x)) * 0.5,
        "leaky_maximum": tf.maximum(x, 0.2 * x),
    }


@graph(x=normal(None, 6, 6, 4))
def conv_activations(x):
    """Every fusable and unfusable activation behind a convolution with bias."""
    y = tf.nn.bias_add(tf.nn.conv2d(x, array(3, 3, 4, 32), 1, "SAME"), array(32, scale=0.1))
    return {
        "relu": tf.nn.relu(y),
        "shared": y + 1.0,
        "relu6": tf.nn.relu6(tf.nn.conv2d(x, array(1, 1, 4, 8), 1, "VALID")),
        "n1_to_1": tf.maximum(tf.minimum(tf.nn.conv2d(x, array(1, 1, 4, 6), 2, "SAME"), 1.0), -1.0),
        "tanh": tf.tanh(tf.nn.conv2d(x, array(1, 1, 4, 5), 1, "SAME")),
    }


@graph(x=uniform(-3, 3, None, 4, 5))
def unary(x):
    ops = {
        "abs": tf.abs,
        "neg": tf.negative,
        "exp": tf.exp,
        "sin": tf.sin,
        "cos": tf.cos,
        "floor": tf.floor,
        "ceil": tf.math.ceil,
        "round": tf.round,
        "sign": tf.sign,
        "square": tf.square,
    }
    return {name: op(x) for name, op in ops.items()}


@graph(x=uniform(0.1, 9, None, 4, 5))
def unary_positive(x):
    ops = {
        "log": tf.math.log,
        "sqrt": tf.sqrt,
        "rsqrt": tf.math.rsqrt,
        "reciprocal": tf.math.reciprocal,
        "inv": lambda t: tf.raw_ops.Inv(x=t),
    }
    return {name: op(x) for name, op in ops.items()}


@graph(x=uniform(0.1, 0.9, None, 4, 5))
def unary_composed(x):
    """Functions for which TFLite has no operator; some can be written with others."""
    ops = {
        "log1p": tf.math.log1p,
        "expm1": tf.math.expm1,
        "tan": tf.tan,
        "softplus": tf.nn.softplus,
    }
    return {name: op(x) for name, op in ops.items()}


@graph(x=uniform(-3, 3, 4, 5), n=integers(-9, 9, 4, 5), b=booleans(4, 5))
def unary_types(x, n, b):
    return {
        "abs_int": tf.abs(n),
        "neg_int": tf.negative(n),
        "square_int": tf.square(n),
        "not": tf.logical_not(b),
        "is_nan": tf.math.is_nan(x),
        "is_finite": tf.math.is_finite(x),
    }


@graph(x=uniform(0.2, 4, 3, 4, 5), y=uniform(0.2, 4, 3, 4, 5))
def binary(x, y):
    ops = {
        "add": tf.raw_ops.Add,
        "add_v2": tf.raw_ops.AddV2,
        "sub": tf.raw_ops.Sub,
        "mul": tf.raw_ops.Mul,
        "real_div": tf.raw_ops.RealDiv,
        "div": tf.raw_ops.Div,
        "maximum": tf.raw_ops.Maximum,
        "minimum": tf.raw_ops.Minimum,
        "squared_difference": tf.raw_ops.SquaredDifference,
        "pow": tf.raw_ops.Pow,
        "floor_div": tf.raw_ops.FloorDiv,
        "floor_mod": tf.raw_ops.FloorMod,
        "atan2": tf.raw_ops.Atan2,
    }
    results = {name: op(x=x, y=y) for name, op in ops.items()}
    return results | {"add_n": tf.add_n([x, y, x])}


@graph(x=normal(None, 4, 1, 3), y=normal(5, 3), s=normal())
def binary_broadcast(x, y, s):
    """Broadcasting between activations, scalars and constants on either side."""
    return {
        "add": x + y,
        "sub_const_left": 1.0 - x,
        "div_const_left": 2.0 / (tf.abs(x) + 1.0),
        "mul_scalar": x * s,
        "maximum": tf.maximum(x, y),
        "add_const_channel": x + array(3, scale=1.0),
        "mul_const_map": x * array(1, 4, 1, 1, scale=1.0),
    }


@graph(x=integers(-20, 20, 4, 5), y=integers(1, 7, 4, 5))
def binary_int32(x, y):
    return {
        "add": x + y,
        "sub": x - y,
        "mul": x * y,
        "floor_div": x // y,
        "floor_mod": tf.math.floormod(x, y),
        "maximum": tf.maximum(x, y),
        "minimum": tf.minimum(x, y),
        "less": x < y,
    }


@graph(x=integers(-2, 3, 4, 5, dtype="float32"), y=integers(-2, 3, 4, 5, dtype="float32"))
def comparison(x, y):
    return {
        "equal": tf.equal(x, y),
        "not_equal": tf.not_equal(x, y),
        "less": tf.less(x, y),
        "less_equal": tf.less_equal(x, y),
        "greater": tf.greater(x, y),
        "greater_equal": tf.greater_equal(x, 0.5),
    }


@graph(a=booleans(4, 5), b=booleans(5))
def logical(a, b):
    return {
        "and": tf.logical_and(a, b),
        "or": tf.logical_or(a, b),
        "xor": tf.math.logical_xor(a, b),
        "not": tf.logical_not(a),
    }


@graph(c=booleans(4, 5), v=booleans(4), x=normal(4, 5), y=normal(4, 5))
def select(c, v, x, y):
    return {
        "select": tf.raw_ops.Select(condition=c, x=x, y=y),
        "select_vector": tf.raw_ops.Select(condition=v, x=x, y=y),
        "select_v2": tf.raw_ops.SelectV2(condition=c, t=x, e=0.0),
        "where_greater": tf.where(x > y, x, y),
    }


@graph(x=normal(None, 3, 6), m=normal(None, 10))
def softmax(x, m):
    return {
        "matrix": tf.nn.softmax(m),
        "rank3": tf.nn.softmax(x),
        "log": tf.nn.log_softmax(m),
        "log_rank3": tf.nn.log_softmax(x),
        "axis1": tf.nn.softmax(x, axis=1),
        "written_out": tf.exp(m) / tf.reduce_sum(tf.exp(m), -1, keepdims=True),
        "scaled": tf.nn.softmax(m * 0.5),
    }


@graph(x=uniform(-4, 4, None, 5, 5, 8))
def fake_quant(x):
    """Ranges left by training with simulated quantization."""
    y = tf.quantization.fake_quant_with_min_max_args(x, -3.0, 3.0, num_bits=8, name="args")
    with tf1.name_scope("weights_quant"):
        w = tf.quantization.fake_quant_with_min_max_vars(
            array(3, 3, 8, 16), tf.constant(-0.6), tf.constant(0.6), narrow_range=True
        )
    z = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(y, w, 1, "SAME"), array(16, scale=0.1)))
    z = tf.quantization.fake_quant_with_min_max_vars(z, tf.constant(0.0), tf.constant(6.0))
    return {"out": z}


@graph(x=normal(None, 5, 5, 8))
def fake_quant_per_channel(x):
    w = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        array(3, 3, 8, 16), tf.fill([16], -0.5), tf.fill([16], 0.5), narrow_range=True
    )
    return {"out": tf.nn.conv2d(x, w, 1, "SAME")}
