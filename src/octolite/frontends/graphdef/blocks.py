"""Recurrent cells that TensorFlow has as one node, written out; whole sequences become loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from octolite.errors import UnsupportedError
from octolite.frontends.graphdef.engine import Site, tf
from octolite.frontends.graphdef.lists import element, position
from octolite.frontends.graphdef.loops import extent_of, make
from octolite.ir.graph import Value
from octolite.ir.origin import Extent
from octolite.ir.types import TensorType
from octolite.ops.control import While


def _product(n: Site, parts: Sequence[Value], w: Value, b: Value) -> Value:
    """``[parts] · w + b`` for rows [batch, depth]."""
    joined = n.op("CONCATENATION", *parts, axis=1)
    return n.op("FULLY_CONNECTED", joined, n.transpose(w, [1, 0]), b)


# -- LSTM ----------------------------------------------------------------------------------------


def _lstm(
    n: Site, x: Value, c: Value, h: Value, w: Value, peepholes: Mapping[str, Value], b: Value,
    order: str, forget_bias: float, clip: float,
) -> tuple[Value, ...]:  # fmt: skip
    """One step; ``order`` names the gates (i, f, o, and c, the new values) as they lie in ``w``.

    Returns i, the cell state, f, o, the new values, tanh of the cell state, and h.
    """
    parts = n.ops("SPLIT", [1], _product(n, (x, h), w, b), num_splits=4)
    gate = dict(zip(order, parts, strict=True))
    if forget_bias:
        gate["f"] = n.op("ADD", gate["f"], forget_bias)

    def opened(name: str, state: Value) -> Value:
        z = gate[name]
        if name in peepholes:
            z = n.op("ADD", z, n.op("MUL", state, peepholes[name]))
        return n.op("LOGISTIC", z)

    i, f, new = opened("i", c), opened("f", c), n.op("TANH", gate["c"])
    c = n.op("ADD", n.op("MUL", new, i), n.op("MUL", c, f))
    if clip > 0:
        c = n.op("MAXIMUM", n.op("MINIMUM", c, clip), -clip)
    o, curved = opened("o", c), n.op("TANH", c)
    return i, c, f, o, new, curved, n.op("MUL", o, curved)


@tf("LSTMBlockCell")
def lstm_block_cell(
    n: Site, x: Value, c: Value, h: Value, w: Value, wci: Value, wcf: Value, wco: Value, b: Value
) -> tuple[Value, ...]:
    bias, clip = n.number("forget_bias", 1.0), n.number("cell_clip", 3.0)
    return _lstm(n, x, c, h, w, _peepholes(n, wci, wcf, wco), b, "icfo", bias, clip)


def _peepholes(n: Site, wci: Value, wcf: Value, wco: Value) -> dict[str, Value]:
    return {"i": wci, "f": wcf, "o": wco} if n.flag("use_peephole", False) else {}


@tf("BlockLSTM", "BlockLSTMV2")
def block_lstm(
    n: Site, steps: Value, x: Value, c: Value, h: Value, w: Value, wci: Value, wcf: Value,
    wco: Value, b: Value,
) -> tuple[Value, ...]:  # fmt: skip
    """A loop over x [time, batch, depth] that writes all that a step computes."""
    if any(v.data is None for v in (w, wci, wcf, wco, b)) or w.shape is None or w.shape[1] is None:
        raise UnsupportedError(f"{n.op_type} with weights that are no constants")
    second = n.op_type == "BlockLSTMV2"
    bias = 0.0 if second else n.number("forget_bias", 1.0)
    clip = n.number("cell_clip", 0.0 if second else 3.0)
    units = w.shape[1] // 4
    arrays = [_array(n, x, units) for _ in range(7)]
    zero = n.constant(np.zeros((), np.int32))
    operands = [zero, n.int32(steps), x, c, h, *arrays]
    rows = None if x.shape is None else x.shape[1]
    types = [TensorType(v.dtype, v.shape) for v in operands]
    types[3] = types[4] = TensorType(x.dtype, (rows, units))

    body = n.nested("body")
    t, limit, all_, old_c, old_h, *written = body.parameters(types)
    found = _lstm(
        body, body.op("GATHER", all_, t, axis=0), old_c, old_h, body.copy(w),
        {k: body.copy(v) for k, v in _peepholes(n, wci, wcf, wco).items()}, body.copy(b),
        "ifco" if second else "icfo", bias, clip,
    )  # fmt: skip
    at = position(body, t, 2)
    pairs = zip(written, found, strict=True)
    lists = [body.op("DYNAMIC_UPDATE_SLICE", a, element(body, v), at) for a, v in pairs]
    body.results([body.op("ADD", t, 1), limit, all_, found[1], found[6], *lists])

    cond = n.nested("cond")
    given = cond.parameters(types)
    cond.results([cond.op("LESS", given[0], given[1])])

    results = [n.value(t) for t in types]
    n.computed(While(cond=cond.graph, body=body.graph), operands, results)
    return tuple(results[5:])


def _array(n: Site, x: Value, units: int) -> Value:
    """Zeros [time, batch, units], for x [time, batch, depth]."""
    extents = [extent_of(n, Extent(x, axis)) for axis in (0, 1)]
    shape = (None, None) if x.shape is None else x.shape[:2]
    array = n.value(TensorType(x.dtype, (*shape, units)))
    make(n, array, [*extents, units])
    return array


# -- GRU -----------------------------------------------------------------------------------------


@tf("GRUBlockCell")
def gru_block_cell(
    n: Site, x: Value, h: Value, w_ru: Value, w_c: Value, b_ru: Value, b_c: Value
) -> tuple[Value, ...]:
    """``h' = u ⊙ h + (1 - u) ⊙ tanh(w_c · [x, r ⊙ h] + b_c)``; returns r, u, the new values, h'."""
    gates = n.op("LOGISTIC", _product(n, (x, h), w_ru, b_ru))
    r, u = n.ops("SPLIT", [1], gates, num_splits=2)
    new = n.op("TANH", _product(n, (x, n.op("MUL", h, r)), w_c, b_c))
    rest = n.op("SUB", n.like(u, 1), u)
    return r, u, new, n.op("ADD", n.op("MUL", rest, new), n.op("MUL", u, h))
