"""What TFLite has no operator for, or several: built alike by every frontend."""

from __future__ import annotations

from octolite.frontends.builder import Builder
from octolite.ir.graph import Value
from octolite.ir.types import FLOAT32


def product(n: Builder, a: Value, b: Value, flip_a: bool = False, flip_b: bool = False) -> Value:
    """``a · b`` over the last two axes, either flipped first; constant weights make it a layer."""
    if b.is_constant and b.shape is not None and len(b.shape) == 2 and b.dtype is FLOAT32:
        if flip_a:
            rank = n.rank(a)
            a = n.transpose(a, (*range(rank - 2), rank - 1, rank - 2))
        weights = b if flip_b else n.transpose(b, (1, 0))
        deep = a.shape is None or len(a.shape) > 2
        return n.op("FULLY_CONNECTED", a, weights, None, keep_num_dims=deep)
    return n.op("BATCH_MATMUL", a, b, adj_x=flip_a, adj_y=flip_b)


def normalization(
    n: Builder, scale: Value, offset: Value, mean: Value, variance: Value, epsilon: float
) -> tuple[Value, Value]:
    """``scale · (x - mean) / √(variance + epsilon) + offset`` as one factor and one shift."""
    factor = n.op("MUL", scale, n.op("RSQRT", n.op("ADD", variance, epsilon)))
    return factor, n.op("SUB", offset, n.op("MUL", mean, factor))


def selu(n: Builder, x: Value) -> Value:
    # λ·relu(x) + λα·elu(min(x, 0)), with the constants of Klambauer et al., 2017
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    negative = n.op("ELU", n.op("MINIMUM", x, 0.0))
    return n.op("ADD", n.op("MUL", n.op("RELU", x), scale), n.op("MUL", negative, scale * alpha))


def softplus(n: Builder, x: Value) -> Value:
    # max(x, 0) + log(1 + exp(-|x|)) cannot overflow
    tail = n.op("LOG", n.op("ADD", n.op("EXP", n.op("NEG", n.op("ABS", x))), 1.0))
    return n.op("ADD", n.op("RELU", x), tail)


def softsign(n: Builder, x: Value) -> Value:
    return n.op("DIV", x, n.op("ADD", n.op("ABS", x), 1.0))
