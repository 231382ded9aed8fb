"""Convolutions, matrix products, normalisation and pooling, one construct per graph."""

import tensorflow as tf

from .case import graph, normal
from .weights import (
    array,
    batch_norm,
    batch_norm_parameters,
    conv,
    dense,
    depthwise,
    tf1,
    variable,
)


@graph(text=True, x=normal(None, 9, 9, 8))
def conv2d_same(x):
    """3x3, stride 1, SAME, weights from variables."""
    return conv(x, 16, name="conv")


@graph(x=normal(None, 10, 11, 8))
def conv2d_valid_stride(x):
    """Rectangular window and stride."""
    return tf1.nn.conv2d(x, array(3, 5, 8, 16), strides=[1, 2, 3, 1], padding="VALID", name="conv")


@graph(x=normal(None, 10, 10, 3))
def conv2d_same_stride_even(x):
    """SAME with stride 2 on an even size pads at the end only."""
    return conv(x, 12, 3, 2, name="conv")


@graph(x=normal(None, 8, 8, 6))
def conv2d_explicit(x):
    return tf.nn.conv2d(x, array(3, 3, 6, 20), 2, [[0, 0], [1, 2], [0, 1], [0, 0]], name="conv")


@graph(x=normal(2, 13, 13, 8))
def conv2d_dilations(x):
    """Dilation as an attribute."""
    return {
        "same": tf.nn.conv2d(x, array(3, 3, 8, 16), 1, "SAME", dilations=2),
        "valid": tf.nn.conv2d(x, array(3, 3, 8, 16, seed=1), 1, "VALID", dilations=[2, 3]),
    }


def _atrous(x, filters, rate, padding, name):
    with tf1.name_scope(name):
        return tf1.nn.with_space_to_batch(
            x,
            [rate, rate],
            padding,
            lambda y, spatial, pad: tf.nn.conv2d(y, filters, 1, pad, name="Conv2D"),
            filter_shape=filters.shape[:2],
        )


@graph(x=normal(None, 12, 12, 8))
def conv2d_space_to_batch(x):
    """Dilation as SpaceToBatchND, VALID convolution, BatchToSpaceND; even size."""
    return _atrous(x, array(3, 3, 8, 16), 2, "SAME", "atrous")


@graph(x=normal(None, 13, 11, 8))
def conv2d_space_to_batch_odd(x):
    """The same where the size is no multiple of the rate, so that padding and crops differ."""
    return {
        "same": _atrous(x, array(3, 3, 8, 16), 2, "SAME", "rate2"),
        "same3": _atrous(x, array(3, 3, 8, 16, seed=1), 3, "SAME", "rate3"),
        "valid": _atrous(x, array(3, 3, 8, 16, seed=2), 2, "VALID", "valid"),
    }


@graph(x=normal(None, None, None, 8, unknown=10))
def conv2d_space_to_batch_unknown_size(x):
    """Unknown image size: padding and crops are computed in the graph from Shape."""
    return _atrous(x, array(3, 3, 8, 16), 2, "SAME", "atrous")


@graph(x=normal(None, 13, 13, 8))
def conv2d_space_to_batch_bias(x):
    """BiasAdd and Relu behind BatchToSpaceND, as slim writes an atrous layer."""
    y = _atrous(x, array(3, 3, 8, 16), 4, "SAME", "atrous")
    return tf.nn.relu(tf.nn.bias_add(y, array(16, scale=0.1)))


@graph(x=normal(None, 8, 9, 9))
def conv2d_nchw(x):
    y = conv(x, 16, 3, 2, name="conv1", data_format="NCHW")
    y = tf.nn.relu(batch_norm(y, name="bn", data_format="NCHW"))
    return conv(y, 12, 1, name="conv2", data_format="NCHW", padding="VALID")


@graph(x=normal(None, 8, 10, 10))
def conv2d_nchw_explicit(x):
    pads = [[0, 0], [0, 0], [1, 1], [2, 0]]
    y = tf.nn.conv2d(x, array(3, 3, 8, 16), 2, pads, data_format="NCHW", name="conv")
    return tf.nn.bias_add(y, array(16, scale=0.1), data_format="NCHW", name="bias")


@graph(x=normal(None, 7, 7, 16))
def conv2d_grouped(x):
    """Four groups: the filter's input channels are a quarter of the image's."""
    y = tf.nn.conv2d(x, array(3, 3, 4, 32), 1, "SAME", name="conv")
    return tf.nn.relu(tf.nn.bias_add(y, array(32, scale=0.1)))


@graph(x=normal(None, 7, 7, 16))
def conv2d_grouped_split(x):
    """Groups as AlexNet writes them: Split, a convolution each, Concat."""
    parts = [
        tf.nn.conv2d(part, array(3, 3, 8, 16, seed=k), 1, "SAME")
        for k, part in enumerate(tf.split(x, 2, axis=3))
    ]
    return tf.nn.relu(tf.nn.bias_add(tf.concat(parts, 3), array(32, scale=0.1)))


@graph(x=normal(None, 8, 8, 4))
def conv2d_pad_before(x):
    """Explicit Pad, then a VALID convolution, as ResNet and Keras' ZeroPadding2D write it."""
    y = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return conv(y, 32, 3, 2, name="conv", padding="VALID")


@graph(x=normal(None, 20, 8))
def conv1d(x):
    """ExpandDims, Conv2D, Squeeze."""
    return tf.nn.conv1d(x, array(5, 8, 32), 2, "SAME", name="conv1d")


@graph(x=normal(None, 10, 10, 16))
def depthwise_conv2d(x):
    return {
        "stride1": tf.nn.bias_add(depthwise(x, name="dw1"), array(16, scale=0.1)),
        "stride2": tf.nn.relu6(depthwise(x, 3, 2, name="dw2")),
        "valid5": depthwise(x, 5, name="dw3", padding="VALID"),
    }


@graph(x=normal(None, 9, 9, 16))
def depthwise_conv2d_multiplier(x):
    """Multipliers 2 and, from a single channel, 8."""
    return {
        "multiplier2": depthwise(x, 5, name="dw", multiplier=2),
        "one_channel": depthwise(x[..., :1], 3, name="dw_one", multiplier=8),
    }


@graph(x=normal(None, 11, 11, 64))
def depthwise_conv2d_large(x):
    """1600 and 1152 weights."""
    return {
        "five": depthwise(x, 5, name="dw5"),
        "multiplied": depthwise(x, 3, 2, name="dw_multiplied", multiplier=2),
    }


@graph(x=normal(None, 11, 11, 16))
def depthwise_conv2d_dilations(x):
    """Dilation as an attribute and through SpaceToBatchND."""
    filters = array(3, 3, 16, 1, scale=0.4)
    return {
        "attribute": tf.raw_ops.DepthwiseConv2dNative(
            input=x, filter=filters, strides=[1, 1, 1, 1], padding="SAME", dilations=[1, 2, 2, 1]
        ),
        "space_to_batch": tf1.nn.depthwise_conv2d(x, filters, [1, 1, 1, 1], "SAME", rate=[2, 2]),
    }


@graph(x=normal(2, 5, 6, 8))
def conv2d_transpose_static(x):
    filters = array(3, 3, 16, 8, scale=0.1)
    return {
        "same": tf.nn.conv2d_transpose(x, filters, [2, 10, 12, 16], 2, "SAME"),
        "valid": tf.nn.conv2d_transpose(x, filters, [2, 11, 13, 16], 2, "VALID"),
        "stride1": tf.nn.conv2d_transpose(x, filters, [2, 5, 6, 16], 1, "SAME"),
    }


@graph(x=normal(None, 5, 6, 8))
def conv2d_transpose_shape_driven(x):
    """The output shape is packed from Shape, with unknown batch; bias and Relu behind."""
    shape = tf.shape(x)
    size = tf.stack([shape[0], shape[1] * 2, shape[2] * 2, 16])
    y = tf.nn.conv2d_transpose(x, array(4, 4, 16, 8, scale=0.1), size, 2, "SAME")
    return tf.nn.relu(tf.nn.bias_add(y, array(16, scale=0.1)))


@graph(text=True, x=normal(None, 64))
def matmul(x):
    return tf.nn.relu(dense(x, 32, name="dense"))


@graph(batch=8, x=normal(None, 192))
def matmul_large(x):
    """49,152 weights and 16,384."""
    return dense(tf.nn.relu(dense(x, 256, name="one")), 64, name="two")


@graph(x=normal(None, 9, 9, 48))
def conv2d_large(x):
    """27,648 weights."""
    return tf.nn.relu(conv(x, 64, name="conv"))


@graph(x=normal(None, 16, 16, 4, unranked=True))
def unranked_placeholder(x):
    """A placeholder of unknown rank, as old exports have: the caller must give its shape."""
    y = tf.nn.conv2d(x, array(3, 3, 4, 32), 1, "SAME", name="conv")
    return tf.nn.relu(tf.nn.bias_add(y, array(32, scale=0.1)))


@graph(x=normal(4, 48), t=normal(48, 4))
def matmul_transposed(x, t):
    """Every transposition, of a constant and of an activation."""
    w = array(48, 32)
    return {
        "plain": tf.matmul(x, w),
        "transpose_b": tf.matmul(x, w.T.copy(), transpose_b=True),
        "transpose_a": tf.matmul(t, w, transpose_a=True),
        "both": tf.matmul(t, w.T.copy(), transpose_a=True, transpose_b=True),
        "constant_left": tf.matmul(w.T.copy(), t),
        "constant_left_transposed": tf.matmul(w, t, transpose_a=True),
    }


@graph(x=normal(5, 12), y=normal(12, 7), z=normal(7, 12))
def matmul_activations(x, y, z):
    return {"xy": tf.matmul(x, y), "xzt": tf.matmul(x, z, transpose_b=True)}


@graph(x=normal(3, 2, 5, 8), y=normal(3, 2, 8, 6), z=normal(3, 2, 6, 8))
def batch_matmul(x, y, z):
    """BatchMatMul, V2 and V3 between activations."""
    return {
        "v1": tf.raw_ops.BatchMatMul(x=x, y=y),
        "v1_adj_y": tf.raw_ops.BatchMatMul(x=x, y=z, adj_y=True),
        "v2": tf.raw_ops.BatchMatMulV2(x=x, y=y),
        "v2_adj_x": tf.raw_ops.BatchMatMulV2(x=y, y=z, adj_x=True, adj_y=True),
        "v2_broadcast": tf.raw_ops.BatchMatMulV2(x=x, y=y[:1, :1]),
        "v3": tf.raw_ops.BatchMatMulV3(x=x, y=y, Tout=tf.float32),
    }


@graph(x=normal(None, 6, 40))
def batch_matmul_constant(x):
    """A constant right side of rank 2 and of rank 3."""
    return {
        "shared": tf.raw_ops.BatchMatMulV2(x=x, y=array(40, 32)),
        "rank3": tf.raw_ops.BatchMatMulV2(x=x, y=array(1, 40, 32, scale=0.2)),
    }


@graph(x=normal(None, 6, 40))
def dense_on_sequence(x):
    """tf.tensordot on rank 3 with unknown batch: a Shape-driven chain around one MatMul."""
    return tf.nn.bias_add(tf.tensordot(x, array(40, 32), [[2], [0]]), array(32, scale=0.1))


@graph(x=normal(2, 6, 40), h=normal(2, 4, 5, 8), k=normal(2, 4, 5, 8))
def einsum(x, h, k):
    return {
        "dense": tf.einsum("bsi,io->bso", x, array(40, 32)),
        "scores": tf.einsum("bhqd,bhkd->bhqk", h, k),
        "heads": tf.einsum("bsi,ihd->bshd", x, array(40, 4, 8, scale=0.2)),
    }


@graph(x=normal(None, 6, 5, 8), c=normal(None, 8, 6, 5), m=normal(None, 8))
def bias_add(x, c, m):
    b = array(8, scale=1.0)
    return {
        "nhwc": tf.nn.bias_add(x, b),
        "nchw": tf.nn.bias_add(c, b, data_format="NCHW"),
        "matrix": tf.nn.bias_add(m, b),
        "v1": tf.raw_ops.BiasAddV1(value=x, bias=b),
    }


@graph(x=normal(None, 7, 7, 8))
def fused_batch_norm_versions(x):
    """V1, V2 and V3 without a convolution before them."""
    return {f"v{k}": batch_norm(x, name=f"bn{k}", version=k) for k in (1, 2, 3)}


@graph(x=normal(None, 7, 7, 8))
def conv_fused_batch_norm(x):
    """Convolution, FusedBatchNormV3, Relu6 and depthwise, FusedBatchNorm."""
    y = tf.nn.relu6(batch_norm(conv(x, 16, name="conv", bias=False), name="bn1"))
    return batch_norm(depthwise(y, name="dw"), name="bn2", version=1)


@graph(x=normal(None, 7, 7, 8))
def conv_unfused_batch_norm(x):
    """tf.nn.batch_normalization: Rsqrt, Mul, Mul, Sub, AddV2 on variables."""
    y = conv(x, 16, name="conv")
    with tf1.variable_scope("bn"):
        gamma, beta, mean, var = batch_norm_parameters(16)
        return tf.nn.relu(tf.nn.batch_normalization(y, mean, var, beta, gamma, 1e-3))


@graph(x=normal(None, 64))
def dense_unfused_batch_norm(x):
    y = dense(x, 32, name="dense")
    with tf1.variable_scope("bn"):
        gamma, beta, mean, var = batch_norm_parameters(32)
        return tf.nn.relu(tf.nn.batch_normalization(y, mean, var, beta, gamma, 1e-3))


@graph(x=normal(None, 7, 7, 8))
def batch_norm_before_conv(x):
    """Pre-activation order: the norm has no convolution to fold into; scale and shift remain."""
    return conv(tf.nn.relu(batch_norm(x, name="bn")), 16, name="conv", padding="VALID")


@graph(x=normal(None, 7, 7, 8))
def conv_scale_shift(x):
    """Per-channel Mul and Add constants behind a convolution, from Mul, Sub and RealDiv."""
    y = tf.nn.conv2d(x, array(3, 3, 8, 16), 1, "SAME")
    y = y * (array(16, scale=0.2, seed=2) + 1) + array(16, seed=3, scale=0.1)
    return (y - array(16, seed=4, scale=0.1)) / tf.constant(1.5)


@graph(x=normal(None, 6, 6, 8), m=normal(None, 48))
def bias_variants(x, m):
    """Biases that are not BiasAdd: Add and AddV2 on either side, Sub, ranks 1 and 4; none."""
    w, v, b = array(3, 3, 8, 16), array(48, 32), array(32, scale=0.1)
    return {
        "add_v2": tf.nn.relu(tf.nn.conv2d(x, w, 1, "SAME") + b[:16]),
        "add_left": tf.raw_ops.Add(x=b[:16], y=tf.nn.conv2d(x, w, 1, "VALID")),
        "sub": tf.nn.conv2d(x, w, 2, "SAME") - b[None, None, None, 16:],
        "none": tf.nn.relu(tf.nn.conv2d(x, w, 2, "VALID")),
        "dense_add": tf.nn.relu6(tf.matmul(m, v) + b),
        "dense_add_left": b[None, :] + tf.matmul(m, v),
        "dense_scalar": tf.matmul(m, v) + 0.5,
        "dense_none": tf.tanh(tf.matmul(m, v)),
    }


@graph(x=normal(None, 11, 11, 8))
def pooling(x):
    pool = {"max": tf.nn.max_pool2d, "avg": tf.nn.avg_pool2d}
    return {
        f"{kind}_{padding.lower()}_{size}_{stride}": pool[kind](x, size, stride, padding)
        for kind in pool
        for padding in ("SAME", "VALID")
        for size, stride in ((2, 2), (3, 2), (3, 1))
    }


@graph(x=normal(None, 8, 11, 11))
def pooling_nchw(x):
    return {
        "max": tf.nn.max_pool2d(x, 3, 2, "SAME", data_format="NCHW"),
        "avg": tf.nn.avg_pool2d(x, 2, 2, "VALID", data_format="NCHW"),
        "mean": tf.reduce_mean(x, [2, 3]),
    }


@graph(x=normal(None, 6, 5, 8))
def global_pooling(x):
    return {
        "mean": tf.reduce_mean(x, [1, 2]),
        "mean_keep": tf.reduce_mean(x, [1, 2], keepdims=True),
        "max": tf.reduce_max(x, [1, 2]),
        "avg_pool": tf.squeeze(tf.nn.avg_pool2d(x, [6, 5], 1, "VALID"), [1, 2]),
    }


@graph(x=normal(None, 5, 5, 12))
def local_response_normalization(x):
    return tf.nn.local_response_normalization(
        x, depth_radius=2, bias=1.5, alpha=0.3, beta=0.75, name="lrn"
    )


@graph(x=normal(None, 5, 12))
def l2_normalize(x):
    return {
        "last": tf.nn.l2_normalize(x, -1),
        "middle": tf.nn.l2_normalize(x, 1, epsilon=1e-6),
    }


@graph(x=normal(None, 6, 32))
def layer_norm(x):
    """Mean, SquaredDifference, Rsqrt, as tf.nn.moments and batch_normalization write it."""
    gamma = variable("gamma", array(32, scale=0.1) + 1)
    beta = variable("beta", array(32, seed=1, scale=0.1))
    mean, var = tf.nn.moments(x, [-1], keepdims=True)
    return tf.nn.batch_normalization(x, mean, var, beta, gamma, 1e-6)
