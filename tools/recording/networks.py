"""Small whole networks in the manner of TensorFlow 1: variables, scopes, frozen in a session."""

import numpy as np
import tensorflow as tf
import tf_keras

from .case import graph, integers, normal
from .weights import (
    array,
    batch_norm,
    batch_norm_parameters,
    conv,
    dense,
    depthwise,
    flatten,
    tf1,
    variable,
)


@graph(batch=8, input=normal(None, 28, 28, 1))
def lenet(input):  # the usual name of the placeholder
    """Convolutions, max pooling, flatten, dense layers, dropout whose keep_prob defaults to 1."""
    keep_prob = tf1.placeholder_with_default(np.float32(1), [], name="keep_prob")
    y = tf.nn.relu(conv(input, 8, 5, name="conv1", padding="VALID"))
    y = tf.nn.max_pool2d(y, 2, 2, "VALID")
    y = tf.nn.relu(conv(y, 16, 5, name="conv2", padding="VALID"))
    y = flatten(tf.nn.max_pool2d(y, 2, 2, "VALID"))
    y = tf.nn.relu(dense(y, 64, name="fc1"))
    with tf1.name_scope("dropout"):
        y = y / keep_prob * tf.floor(keep_prob + tf.random.uniform(tf.shape(y), seed=1))
    return tf.nn.softmax(dense(y, 10, name="logits"), name="softmax")


@graph(batch=8, input=normal(None, 64))
def mlp(input):
    """Unfused batch norm behind dense layers; class and probability come out."""
    y = input
    for k, units in enumerate((64, 48)):
        y = dense(y, units, name=f"dense{k}")
        with tf1.variable_scope(f"bn{k}"):
            gamma, beta, mean, var = batch_norm_parameters(units)
            y = tf.nn.relu(tf.nn.batch_normalization(y, mean, var, beta, gamma, 1e-3))
    logits = dense(y, 10, name="logits")
    return {
        "probabilities": tf.nn.softmax(logits),
        "class": tf.argmax(logits, 1, output_type=tf.int32),
    }


def _separable(y, filters, stride, name):
    with tf1.variable_scope(name):
        y = tf.nn.relu6(batch_norm(depthwise(y, 3, stride, name="dw"), name="dw_bn"))
        return tf.nn.relu6(batch_norm(conv(y, filters, 1, name="pw", bias=False), name="pw_bn"))


@graph(batch=8, input=normal(None, 32, 32, 3))
def mobilenet_v1_like(input):
    y = tf.nn.relu6(batch_norm(conv(input, 16, 3, 2, name="conv0", bias=False), name="bn0"))
    for k, (filters, stride) in enumerate(((32, 1), (48, 2), (64, 1), (64, 2))):
        y = _separable(y, filters, stride, f"block{k}")
    y = tf.nn.avg_pool2d(y, 4, 1, "VALID")
    y = tf.squeeze(conv(y, 12, 1, name="logits"), [1, 2], name="squeeze")
    return tf.nn.softmax(tf.reshape(y, [-1, 12]), name="predictions")


@graph(batch=8, input=normal(None, 3, 32, 32))
def resnet_nchw(input):
    """Channels first, pads before strided convolutions, projection shortcuts."""
    first = {"data_format": "NCHW"}
    y = tf.pad(input, [[0, 0], [0, 0], [3, 3], [3, 3]])
    y = conv(y, 16, 7, 2, name="conv0", padding="VALID", bias=False, **first)
    y = tf.nn.relu(batch_norm(y, name="bn0", **first))
    y = tf.nn.max_pool2d(y, 3, 2, "SAME", **first)
    for k, (filters, stride) in enumerate(((16, 1), (32, 2))):
        with tf1.variable_scope(f"block{k}"):
            shortcut = y
            if stride > 1:
                shortcut = conv(y, filters, 1, stride, name="project", bias=False, **first)
                shortcut = batch_norm(shortcut, name="project_bn", **first)
            z = conv(y, filters, 3, stride, name="conv1", bias=False, **first)
            z = tf.nn.relu(batch_norm(z, name="bn1", **first))
            z = batch_norm(
                conv(z, filters, 3, name="conv2", bias=False, **first), name="bn2", **first
            )
            y = tf.nn.relu(z + shortcut)
    y = tf.reduce_mean(y, [2, 3], keepdims=True)
    return dense(tf.squeeze(y, [2, 3]), 10, name="logits")


def _inception(y, name):
    with tf1.variable_scope(name):
        one = tf.nn.relu(conv(y, 16, 1, name="one"))
        three = tf.nn.relu(conv(y, 12, 1, name="three_reduce"))
        three = tf.nn.relu(conv(three, 24, 3, name="three"))
        five = tf.nn.relu(conv(y, 8, 1, name="five_reduce"))
        five = tf.nn.relu(conv(five, 12, 5, name="five"))
        pool = tf.nn.relu(conv(tf.nn.max_pool2d(y, 3, 1, "SAME"), 12, 1, name="pool"))
        return tf.concat([one, three, five, pool], 3, name="concat")


@graph(batch=8, input=normal(None, 32, 32, 3))
def inception_like(input):
    """GoogLeNet's modules, with local response normalization and average pooling."""
    y = tf.nn.relu(conv(input, 16, 7, 2, name="conv1"))
    y = tf.nn.local_response_normalization(tf.nn.max_pool2d(y, 3, 2, "SAME"), alpha=1e-4, beta=0.75)
    y = _inception(_inception(y, "mixed1"), "mixed2")
    y = tf.nn.avg_pool2d(y, 8, 1, "VALID")
    return tf.nn.softmax(dense(tf.reshape(y, [-1, 64]), 10, name="logits"))


def _atrous_separable(y, filters, rate, name):
    with tf1.variable_scope(name):
        weights = variable("depthwise_weights", array(3, 3, y.shape[3], 1, scale=0.45))
        y = tf1.nn.depthwise_conv2d(y, weights, [1, 1, 1, 1], "SAME", rate=[rate, rate])
        y = tf.nn.relu(batch_norm(y, name="dw_bn"))
        return tf.nn.relu(batch_norm(conv(y, filters, 1, name="pw", bias=False), name="pw_bn"))


@graph(batch=3, input=normal(None, 33, 33, 3))
def deeplab_like(input):
    """Atrous spatial pyramid: SpaceToBatchND dilation, image pooling, align_corners resizes."""
    y = tf.nn.relu6(batch_norm(conv(input, 16, 3, 2, name="conv0", bias=False), name="bn0"))
    y = low = _separable(y, 24, 1, "block0")
    y = _separable(y, 32, 2, "block1")
    pooled = tf.reduce_mean(y, [1, 2], keepdims=True)
    pooled = tf.nn.relu(batch_norm(conv(pooled, 32, 1, name="image", bias=False), name="image_bn"))
    pooled = tf1.image.resize_bilinear(pooled, [9, 9], align_corners=True)
    one = tf.nn.relu(batch_norm(conv(y, 32, 1, name="aspp0", bias=False), name="aspp0_bn"))
    pyramid = [_atrous_separable(y, 32, rate, f"aspp_rate{rate}") for rate in (2, 4)]
    y = tf.concat([pooled, one, *pyramid], 3)
    y = tf.nn.relu(batch_norm(conv(y, 32, 1, name="merge", bias=False), name="merge_bn"))
    y = tf1.image.resize_bilinear(y, tf.shape(low)[1:3], align_corners=True)
    y = conv(tf.concat([y, low], 3), 5, 1, name="logits")
    y = tf1.image.resize_bilinear(y, tf.shape(input)[1:3], align_corners=True)
    return tf.argmax(y, 3, output_type=tf.int32, name="classes"), y


@graph(batch=8, input=normal(None, 16, 16, 4))
def unet_like(input):
    """Shape-driven transposed convolution, skips by concatenation, nearest upsampling."""
    first = tf.nn.relu(conv(input, 16, name="down1"))
    second = tf.nn.relu(conv(tf.nn.max_pool2d(first, 2, 2, "SAME"), 32, name="down2"))
    y = tf.nn.relu(conv(tf.nn.max_pool2d(second, 2, 2, "SAME"), 48, name="bottom"))
    with tf1.variable_scope("up2"):
        weights = variable("weights", array(2, 2, 32, 48, scale=0.15))
        shape = tf.shape(y)
        size = tf.stack([shape[0], shape[1] * 2, shape[2] * 2, 32])
        y = tf1.nn.conv2d_transpose(y, weights, size, [1, 2, 2, 1], "SAME")
        y = tf.nn.relu(tf.nn.bias_add(y, variable("biases", array(32, scale=0.1))))
    y = tf.nn.relu(conv(tf.concat([second, y], 3), 24, name="up2_conv"))
    y = tf1.image.resize_nearest_neighbor(y, [16, 16])
    y = tf.nn.leaky_relu(conv(tf.concat([first, y], 3), 16, name="up1_conv"), 0.2)
    return tf.sigmoid(conv(y, 1, 1, name="mask"), name="probability")


@graph(batch=8, input=normal(None, 16, 16, 3))
def squeezenet_like(input):
    """Fire modules; the classifier is a convolution under global average pooling."""
    y = tf.nn.relu(conv(input, 16, 3, 2, name="conv1", padding="VALID"))
    for k, squeeze in enumerate((8, 12)):
        with tf1.variable_scope(f"fire{k}"):
            s = tf.nn.relu(conv(y, squeeze, 1, name="squeeze"))
            left = tf.nn.relu(conv(s, 24, 1, name="expand1"))
            y = tf.concat([left, tf.nn.relu(conv(s, 24, 3, name="expand3"))], 3)
    y = tf.nn.relu(conv(y, 10, 1, name="conv10"))
    return tf.nn.softmax(tf.reduce_mean(y, [1, 2]), name="softmax")


@graph(batch=8, input=normal(None, 16, 16, 3))
def densenet_like(input):
    """Pre-activation blocks: batch norm and Relu before each convolution, growing concatenation."""
    y = conv(input, 16, name="conv0", bias=False)
    for k in range(3):
        z = tf.nn.relu(batch_norm(y, name=f"bn{k}"))
        y = tf.concat([y, conv(z, 12, name=f"conv_{k}", bias=False)], 3)
    y = tf.nn.relu(batch_norm(y, name="last_bn"))
    y = tf.nn.avg_pool2d(y, 2, 2, "VALID")
    return dense(tf.reduce_mean(y, [1, 2]), 10, name="logits")


@graph(batch=8, input=normal(None, 3, 16, 16))
def converted_from_channels_first(input):
    """Transpositions around every operator, as converters from channels-first leave them."""

    def last(y):
        return tf.transpose(y, [0, 2, 3, 1])

    def first(y):
        return tf.transpose(y, [0, 3, 1, 2])

    y = tf.nn.relu(first(conv(last(input), 16, name="conv1", bias=False)) + array(1, 16, 1, 1))
    shortcut = y = first(tf.nn.max_pool2d(last(y), 2, 2, "VALID"))
    y = tf.pad(y, [[0, 0], [0, 0], [1, 1], [1, 1]])
    y = tf.nn.relu(first(conv(last(y), 16, name="conv2", padding="VALID")))
    y = tf.concat([y + shortcut, shortcut], 1)
    y = tf.reduce_mean(y, [2, 3], keepdims=True)
    return tf.nn.softmax(dense(tf.reshape(y, [-1, 32]), 10, name="logits"))


def _norm(x, name):
    with tf1.variable_scope(name):
        gamma = variable("gamma", array(x.shape[-1], scale=0.1) + 1)
        beta = variable("beta", array(x.shape[-1], seed=1, scale=0.1))
        mean, var = tf.nn.moments(x, [-1], keepdims=True)
        return tf.nn.batch_normalization(x, mean, var, beta, gamma, 1e-12)


@graph(batch=8, ids=integers(0, 50, None, 9))
def transformer_block(ids):
    """BERT's way: rows flattened to a matrix by Shape, heads split by Reshape and Transpose."""
    length, width, heads = 9, 32, 4
    batch = tf.shape(ids)[0]
    with tf1.variable_scope("embeddings"):
        x = tf.gather(variable("word_embeddings", array(50, width, scale=0.5)), ids)
        x = _norm(x + variable("position", array(1, length, width, scale=0.1)), "LayerNorm")
    rows = tf.reshape(x, [-1, width])

    def split_heads(name):
        projected = dense(rows, width, name=name)
        shape = tf.stack([batch, length, heads, width // heads])
        return tf.transpose(tf.reshape(projected, shape), [0, 2, 1, 3])

    query, key, value = (split_heads(name) for name in ("query", "key", "value"))
    scores = tf.matmul(query, key, transpose_b=True) * (1.0 / np.sqrt(width / heads))
    context = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), [0, 2, 1, 3])
    context = tf.reshape(context, tf.stack([batch * length, width]))
    y = _norm(rows + dense(context, width, name="attention_output"), "attention_norm")
    z = dense(y, 64, name="intermediate")
    z = z * 0.5 * (1.0 + tf.math.erf(z / np.float32(np.sqrt(2))))
    y = _norm(y + dense(z, width, name="output"), "output_norm")
    return {
        "sequence": tf.reshape(y, tf.stack([batch, length, width])),
        "pooled": tf.tanh(dense(tf.reshape(y, [-1, length, width])[:, 0], width, name="pooler")),
    }


@graph(input=normal(None, None, None, 3, unknown=18))
def fully_convolutional(input):
    """Every size unknown but the channels; the score map is upsampled by transposed convolution."""
    y = tf.nn.relu(conv(input, 16, 3, 2, name="conv1"))
    y = tf.nn.relu(conv(tf.nn.max_pool2d(y, 3, 2, "SAME"), 32, name="conv2"))
    y = tf.nn.relu6(batch_norm(depthwise(y, name="dw"), name="bn"))
    y = conv(y, 4, 1, name="score")
    size = tf.concat([tf.shape(input)[:3], [4]], 0)
    weights = variable("upsample", array(8, 8, 4, 4, scale=0.1))
    y = tf1.nn.conv2d_transpose(y, weights, size, [1, 4, 4, 1], "SAME")
    return tf.nn.softmax(y, name="softmax")


@graph(batch=8, x=normal(None, 12, 12, 3))
def keras2_session(x):
    """Keras 2 layers in a session with resource variables; learning phase 0."""
    layers = tf_keras.layers
    y = layers.Conv2D(16, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y, training=False))
    y = layers.SeparableConv2D(24, 3, strides=2, padding="same")(y)
    y = layers.PReLU(shared_axes=[1, 2], alpha_initializer=tf.constant_initializer(0.2))(y)
    y = layers.UpSampling2D(2)(y)
    y = layers.Conv2DTranspose(12, 3, strides=2, padding="same", activation="relu")(y)
    y = layers.Dropout(0.5)(layers.Flatten()(layers.AveragePooling2D(6)(y)), training=False)
    return layers.Dense(10)(y)


@graph(batch=8, x=normal(None, 32))
def keras2_learning_phase(x):
    """The same with the learning phase left to a placeholder: batch norm and dropout branch."""
    layers = tf_keras.layers
    y = layers.BatchNormalization()(layers.Dense(48, activation="relu")(x))
    return layers.Dense(10)(layers.Dropout(0.5)(y))
