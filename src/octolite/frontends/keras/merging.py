"""Layers that make one value of several."""

from __future__ import annotations

from collections.abc import Sequence

from octolite.errors import InvalidGraphError, UnsupportedError
from octolite.frontends.keras.engine import Call, layer
from octolite.ir.graph import Value
from octolite.ir.types import BOOL


def _aligned(n: Call, xs: Sequence[Value]) -> list[Value]:
    """Values of one rank: axes of extent 1 come behind the batch where some are missing."""
    rank = max(map(n.rank, xs))
    found = []
    for x in map(n.real, xs) if any(x.dtype.is_float for x in xs) else xs:
        missing = rank - n.rank(x)
        if missing:
            x = n.reshaped(x, [(x, 0), *[1] * missing, *((x, i) for i in range(1, n.rank(x)))])
        found.append(x)
    return found


def _joined(n: Call, operator: str, xs: Sequence[Value], masks: Sequence[Value] = ()) -> Value:
    given = list(masks or xs)
    first, *others = _aligned(n, xs)
    for other in others:
        first = n.op(operator, first, other)
    return n.masked(first, _common_mask(n, given))


def _common_mask(n: Call, xs: Sequence[Value]) -> Value | None:
    mask = None
    for x in xs:
        mask = n.both(mask, n.mask(x))
    return mask


@layer("Add", masks="own")
def add(n: Call, xs: Sequence[Value]) -> Value:
    """ADD, with axes of extent 1 where ranks differ; masks are joined."""
    return _joined(n, "ADD", xs)


@layer("Multiply", masks="own")
def multiply(n: Call, xs: Sequence[Value]) -> Value:
    return _joined(n, "MUL", xs)


@layer("Maximum", masks="own")
def maximum(n: Call, xs: Sequence[Value]) -> Value:
    return _joined(n, "MAXIMUM", xs)


@layer("Minimum", masks="own")
def minimum(n: Call, xs: Sequence[Value]) -> Value:
    return _joined(n, "MINIMUM", xs)


@layer("Subtract", masks="own")
def subtract(n: Call, xs: Sequence[Value]) -> Value:
    if len(xs) != 2:
        raise InvalidGraphError(f"{n.layer!r} subtracts {len(xs)} values, expected 2")
    return _joined(n, "SUB", xs)


@layer("Average", masks="own")
def average(n: Call, xs: Sequence[Value]) -> Value:
    """The sum, times 1 / their number."""
    total = _joined(n, "ADD", xs)
    return n.masked(n.op("MUL", total, 1 / len(xs)), n.mask(total))


@layer("Concatenate", masks="own")
def concatenate(n: Call, xs: Sequence[Value]) -> Value:
    """Along any axis; masks are joined along that of time."""
    axis = n.axis(xs[0], n.integer("axis", -1))
    y = n.op("CONCATENATION", *xs, axis=axis) if len(xs) > 1 else xs[0]
    masks = [n.mask(x) for x in xs]
    if all(m is None for m in masks):
        return n.masked(y, None)
    if axis != 1 or n.rank(y) < 3:
        return n.masked(y, _common_mask(n, xs))
    whole = [_all_true(n, x) if m is None else m for x, m in zip(xs, masks, strict=True)]
    return n.masked(y, n.op("CONCATENATION", *whole, axis=1))


def _all_true(n: Call, x: Value) -> Value:
    ones = n.op("EQUAL", n.zeros([(x, 0), (x, 1)]), 0.0)
    assert ones.dtype is BOOL
    return ones


@layer("Dot")
def dot(n: Call, xs: Sequence[Value]) -> Value:
    """Over one axis of each, normalized if asked for."""
    axes = n.get("axes")
    a, b = (n.real(x) for x in xs)
    pair = [axes, axes] if isinstance(axes, int) else axes
    if not isinstance(pair, list) or len(pair) != 2:
        raise InvalidGraphError(f"{n.layer!r}: axes is {axes!r}, expected one or two integers")
    p, q = n.axis(a, pair[0]), n.axis(b, pair[1])
    if n.flag("normalize", False):
        a, b = (_unit(n, x, axis) for x, axis in ((a, p), (b, q)))
    ranks = n.rank(a), n.rank(b)
    if ranks == (2, 2):
        return n.op("SUM", n.op("MUL", a, b), [1], keep_dims=True)
    if max(ranks) > 3 or 0 in (p, q):
        raise UnsupportedError(f"Dot of values of ranks {ranks} over axes {pair}")
    if ranks[0] == 2:
        a = n.expand(a, 1)
        p += 1
    if ranks[1] == 2:
        b = n.expand(b, 2)
    y = n.op("BATCH_MATMUL", a, b, adj_x=p == 1, adj_y=q == 2)
    if ranks[0] == 2:
        return n.op("SQUEEZE", y, squeeze_dims=(1,))
    return n.op("SQUEEZE", y, squeeze_dims=(2,)) if ranks[1] == 2 else y


def _unit(n: Call, x: Value, axis: int) -> Value:
    total = n.op("SUM", n.op("SQUARE", x), [axis], keep_dims=True)
    return n.op("MUL", x, n.op("RSQRT", n.op("MAXIMUM", total, 1e-12)))
