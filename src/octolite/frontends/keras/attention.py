"""Attention layers: products of queries and keys, a softmax, and a product with values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from octolite.errors import InvalidGraphError, UnsupportedError
from octolite.frontends.keras.activations import softmax
from octolite.frontends.keras.engine import Call, Nest, layer
from octolite.ir.graph import Value

FAR = -1e9
"""What is added to scores that are to have no weight."""


def causal(n: Call, rows: Value, columns: Value) -> Value:
    """bool [1, rows, columns]: true up to the diagonal, for extents of axis 1."""
    return n.op("GREATER_EQUAL", *_places(n, rows, columns))


def _places(n: Call, rows: Value, columns: Value) -> tuple[Value, Value]:
    """The numbers of rows [1, rows, 1] and of columns [1, 1, columns]."""
    found = []
    for x, shape in ((rows, (1, -1, 1)), (columns, (1, 1, -1))):
        zero, one = (n.constant(np.asarray(i, np.int32)) for i in (0, 1))
        numbers = n.op("RANGE", zero, n.scalar(x, 1), one)
        found.append(n.reshape(numbers, shape))
    return found[0], found[1]


def near(n: Call, rows: Value, columns: Value, width: int) -> Value:
    """bool [1, rows, columns]: true less than ``width`` from the diagonal."""
    gap = n.op("ABS", n.op("SUB", *_places(n, rows, columns)))
    return n.op("LESS", gap, width)


# -- with several heads -----------------------------------------------------------------------


def _heads(n: Call, x: Value, name: str, heads: int, size: int) -> Value:
    """``x`` [batch, time, depth] projected, as [batch, heads, time, size]."""
    depth = n.extent(x, -1)
    kernel = n.weight(f"{name}_dense/kernel", depth, heads, size)
    w = n.view(kernel, ("A",), lambda a: np.ascontiguousarray(a.reshape(depth, -1).T))
    bias = n.optional(f"{name}_dense/bias", heads, size)
    flat = None if bias is None else n.reshape(bias, (-1,))
    y = n.op("FULLY_CONNECTED", n.real(x), w, flat, keep_num_dims=True)
    return n.transpose(n.reshaped(y, [(x, 0), (x, 1), heads, size]), (0, 2, 1, 3))


def _output(n: Call, y: Value, heads: int, size: int) -> Value:
    """``y`` [batch, heads, time, size] joined and projected."""
    joined = n.transpose(y, (0, 2, 1, 3))
    flat = n.reshaped(joined, [(joined, 0), (joined, 1), heads * size])
    kernel = n.weight("output_dense/kernel", heads, size, None)
    w = n.view(kernel, ("A",), lambda a: np.ascontiguousarray(a.reshape(heads * size, -1).T))
    return n.op("FULLY_CONNECTED", flat, w, n.optional("output_dense/bias"), keep_num_dims=True)


def _masked_softmax(n: Call, scores: Value, mask: Value | None, zeros: bool) -> Value:
    """Over the last axis of [batch, heads, rows, columns]; ``mask`` [batch, rows, columns].

    Rows that are masked as a whole are all 0 with ``zeros``, else all alike.
    """
    if mask is None:
        return softmax(n, scores)
    while n.rank(mask) < 4:
        mask = n.expand(mask, 1)
    if n.keras >= 3:
        hidden = n.op("SELECT_V2", mask, scores, n.like(scores, -1e38))
        weights = softmax(n, hidden)
        return n.op("SELECT_V2", mask, weights, n.like(scores, 0.0)) if zeros else weights
    away = n.op("MUL", n.op("SUB", n.like(scores, 1.0), n.real(mask)), FAR)
    return softmax(n, n.op("ADD", scores, away))


def _mask(
    n: Call, query: Value, value: Value, key: Value, given: Sequence[Value | None],
    is_causal: bool,
) -> Value | None:  # fmt: skip
    """All masks together: bool, to broadcast over [batch, rows, columns]."""
    of_query, of_value, of_key, whole = given
    of_query = of_query if of_query is not None else n.mask(query)
    of_value = of_value if of_value is not None else n.mask(value)
    found = None if whole is None else n.truth(whole)
    if of_query is not None:
        found = n.both(found, n.expand(of_query, 2))
    if of_value is not None:
        found = n.both(found, n.expand(of_value, 1))
    of_key = of_key if of_key is not None or key is value else n.mask(key)
    if of_key is not None:
        found = n.both(found, n.expand(of_key, 1))
    if is_causal:
        found = n.both(found, causal(n, query, value))
    width = n.get("sliding_window")
    if width is not None:
        found = n.both(found, near(n, query, value, n.count("sliding_window")))
    return found


_DENSE = " ".join(
    f"{name}_dense/kernel {name}_dense/bias?use_bias"
    for name in ("query", "key", "value", "output")
)


@layer(
    "MultiHeadAttention", "GroupQueryAttention", "GroupedQueryAttention",
    weights=_DENSE, masks="own",
)  # fmt: skip
def multi_head_attention(
    n: Call, query: Value, value: Value, key: Value | None = None,
    query_mask: Value | None = None, value_mask: Value | None = None,
    key_mask: Value | None = None, attention_mask: Value | None = None,
    return_attention_scores: bool = False, use_causal_mask: bool = False,
) -> Nest:  # fmt: skip
    """Over one axis, with all masks, causal ones and windows; queries may share keys in groups."""
    key = value if key is None else key
    if n.get("use_gate"):
        raise UnsupportedError(f"{n.op_type} with a gate")
    if any(n.rank(x) != 3 for x in (query, value, key)) or n.get("attention_axes") not in (
        None, [1], 1,
    ):  # fmt: skip
        raise UnsupportedError(f"{n.op_type} over other axes than that of time")
    heads, shared, size, deep = _extents(n)
    q = _heads(n, query, "query", heads, size)
    k, v = _heads(n, key, "key", shared, size), _heads(n, value, "value", shared, deep)
    if shared != heads:
        k, v = (_shared(n, x, heads // shared) for x in (k, v))
    scores = n.op("BATCH_MATMUL", n.op("MUL", q, 1 / math.sqrt(size)), k, adj_y=True)
    masks = query_mask, value_mask, key_mask, attention_mask
    mask = _mask(n, query, value, key, masks, use_causal_mask)
    zeros = return_attention_scores or n.number("dropout", 0.0) > 0
    weights = _masked_softmax(n, scores, mask, zeros)
    y = _output(n, n.op("BATCH_MATMUL", weights, v), heads, deep)
    n.masked(y, n.mask(query))
    return [y, weights] if return_attention_scores else y


def _extents(n: Call) -> tuple[int, int, int, int]:
    """Heads of queries, heads of keys and values, the size of a key and that of a value."""
    if n.op_type == "MultiHeadAttention":
        heads, size = n.count("num_heads"), n.count("key_dim")
        return heads, heads, size, n.count("value_dim") if n.has("value_dim") else size
    heads, shared = n.count("num_query_heads"), n.count("num_key_value_heads")
    if heads % shared:
        raise InvalidGraphError(f"{n.layer!r}: {heads} query heads share {shared} of keys")
    size = n.count("head_dim")
    return heads, shared, size, size


def _shared(n: Call, x: Value, times: int) -> Value:
    """Each head [batch, heads, time, size] so many times in a row."""
    heads, size = n.extent(x, 1), n.extent(x, 3)
    wide = n.reshaped(x, [(x, 0), heads, 1, (x, 2), size]) if None not in n.shape(x)[2:] else None
    if wide is None:
        wide = n.expand(x, 2)
    repeated = n.op("TILE", wide, [1, 1, times, 1, 1])
    return n.reshaped(repeated, [(x, 0), heads * times, (x, 2), size])


# -- with one ---------------------------------------------------------------------------------


def _attend(
    n: Call, xs: Sequence[Value], scores: Value, return_scores: bool, is_causal: bool
) -> Nest:
    """The values weighed by ``scores`` [batch, rows, columns]."""
    query, value = xs[0], xs[1]
    mask = n.mask(value)
    found = None if mask is None else n.expand(mask, 1)
    if is_causal or n.get("causal"):
        found = n.both(found, causal(n, query, value))
    if found is not None:
        away = n.op("MUL", n.op("SUB", n.like(scores, 1.0), n.real(found)), FAR)
        scores = n.op("ADD", scores, away)
    weights = softmax(n, scores)
    y = n.op("BATCH_MATMUL", weights, n.real(value))
    rows = n.mask(query)
    if rows is not None:
        y = n.op("MUL", y, n.expand(n.real(rows), 2))
    n.masked(y, rows)
    return [y, weights] if return_scores else y


def _between(n: Call, query: Value, key: Value) -> Value:
    """``tanh(query + key)`` [batch, rows, columns, depth]."""
    a, b = n.expand(query, 2), n.expand(key, 1)
    return n.op("ADD", a, b)


@layer("Attention", weights="scale?use_scale concat_score_weight?score_mode=concat", masks="own")
def attention(
    n: Call, xs: Sequence[Value], return_attention_scores: bool = False,
    use_causal_mask: bool = False,
) -> Nest:  # fmt: skip
    """Scores by dot products, or from ``tanh(query + key)``."""
    query, key = n.real(xs[0]), n.real(xs[-1])
    scale = n.optional("scale")
    if n.text("score_mode", "dot") == "dot":
        scores = n.op("BATCH_MATMUL", query, key, adj_y=True)
        scores = scores if scale is None else n.op("MUL", scores, scale)
    else:
        inner = _between(n, query, key)
        inner = inner if scale is None else n.op("MUL", inner, scale)
        total = n.op("SUM", n.op("TANH", inner), [3], keep_dims=False)
        scores = n.op("MUL", total, n.weight("concat_score_weight"))
    return _attend(n, xs, scores, return_attention_scores, use_causal_mask)


@layer("AdditiveAttention", weights="scale?use_scale", masks="own")
def additive_attention(
    n: Call, xs: Sequence[Value], return_attention_scores: bool = False,
    use_causal_mask: bool = False,
) -> Nest:  # fmt: skip
    """Scores from ``tanh(query + key)``."""
    inner = n.op("TANH", _between(n, n.real(xs[0]), n.real(xs[-1])))
    scale = n.optional("scale")
    inner = inner if scale is None else n.op("MUL", inner, scale)
    scores = n.op("SUM", inner, [3], keep_dims=False)
    return _attend(n, xs, scores, return_attention_scores, use_causal_mask)
