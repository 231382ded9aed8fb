"""Where an extent of a result comes from: the value and axis that it is equal to."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from octolite.ir.graph import Graph, Node, Value


class Extent(NamedTuple):
    """The extent of ``value`` along ``axis``."""

    value: Value
    axis: int


Rule = Callable[[Node, int], list[Extent]]
"""The extents that an extent of a node's result is equal to."""

_STEPS = 1_000


def origin(value: Value, axis: int) -> int | Extent | None:
    """Along which axis of a graph's input ``value`` gets its extent, or the extent, if known.

    Follows what computes ``value`` upward. ``None``: it cannot be told.
    """
    return _follow(value, axis, False)


def earliest(value: Value, axis: int) -> int | Extent:
    """The same, or where following ends."""
    found = _follow(value, axis, True)
    return Extent(value, axis) if found is None else found


def _follow(value: Value, axis: int, anywhere: bool) -> int | Extent | None:
    seen: set[tuple[int, int]] = set()
    stack = [Extent(value, axis)]
    while stack and len(seen) < _STEPS:
        value, axis = stack.pop()
        if (id(value), axis) in seen or value.shape is None or axis >= len(value.shape):
            continue
        seen.add((id(value), axis))
        known = value.shape[axis]
        if known is not None:
            return known
        if value.producer is None:
            return Extent(value, axis)
        more: list[Extent] = []
        if value.producer.op.name in ("WHILE", "IF"):
            more = _called(value, axis)
        elif value.producer.op.name in RULES:
            more = RULES[value.producer.op.name](value.producer, axis)
        if anywhere and not more:
            return Extent(value, axis)
        stack += reversed(more)
    return None


def _broadcast(node: Node, axis: int) -> list[Extent]:
    """Operands are aligned at their last axes, and extents of 1 stretched."""
    rank = len(node.output.shape or ())
    found = []
    for operand in node.inputs:
        if operand is None or operand.shape is None:
            continue
        own = axis - rank + len(operand.shape)
        if own >= 0 and operand.shape[own] != 1:
            found.append(Extent(operand, own))
    return found


def _rows(node: Node, axis: int) -> list[Extent]:
    """All axes but the last are those of the first input."""
    first = node.inputs[0]
    if first is None or first.shape is None or node.output.shape is None:
        return []
    same = len(first.shape) == len(node.output.shape) and axis < len(first.shape) - 1
    return [Extent(first, axis)] if same else []


def _batch(node: Node, axis: int) -> list[Extent]:
    first = node.inputs[0]
    return [Extent(first, 0)] if first is not None and axis == 0 else []


def _same(node: Node, axis: int) -> list[Extent]:
    first = node.inputs[0]
    return [] if first is None else [Extent(first, axis)]


def _joined(node: Node, axis: int) -> list[Extent]:
    rank = len(node.output.shape or ())
    if node.op.attributes()["axis"] % rank == axis:
        return []
    return [Extent(v, axis) for v in node.inputs if v is not None]


def _split(node: Node, axis: int) -> list[Extent]:
    data, where = (0, 2) if node.op.name == "SPLIT_V" else (1, 0)
    x, along = node.inputs[data], node.inputs[where]
    if x is None or x.shape is None or along is None or along.data is None:
        return []
    return [] if int(along.data.reshape(())) % len(x.shape) == axis else [Extent(x, axis)]


def _gathered(node: Node, axis: int) -> list[Extent]:
    x, indices = node.inputs[:2]
    if x is None or x.shape is None or indices is None or indices.shape is None:
        return []
    first, batch = node.op.attributes()["axis"] % len(x.shape), node.op.attributes()["batch_dims"]
    if axis < first:
        return [Extent(x, axis)]
    width = len(indices.shape) - batch
    if axis < first + width:
        return [Extent(indices, axis - first + batch)]
    return [Extent(x, axis - width + 1)]


def _reduced(node: Node, axis: int) -> list[Extent]:
    """Reductions and ARG_MAX, along the axes that the second input lists."""
    x, axes = node.inputs[:2]
    if x is None or x.shape is None or axes is None or axes.data is None:
        return []
    gone = {int(a) % len(x.shape) for a in axes.data.reshape(-1)}
    if node.op.attributes().get("keep_dims"):
        return [] if axis in gone else [Extent(x, axis)]
    kept = [i for i in range(len(x.shape)) if i not in gone]
    return [Extent(x, kept[axis])]


def _transposed(node: Node, axis: int) -> list[Extent]:
    x, perm = node.inputs[:2]
    if x is None or perm is None or perm.data is None:
        return []
    return [Extent(x, int(perm.data[axis]))]


def _sliced(node: Node, axis: int) -> list[Extent]:
    """STRIDED_SLICE takes whole axes where both masks say so, and all that are not listed."""
    x, begin, _, strides = node.inputs[:4]
    if x is None or x.shape is None or begin is None or not begin.shape or begin.shape[0] is None:
        return []
    marks, listed = node.op.attributes(), begin.shape[0]
    consumed = sum(not marks["new_axis_mask"] >> i & 1 for i in range(listed))
    source = out = 0
    for i in range(listed):
        if marks["ellipsis_mask"] >> i & 1:
            width = len(x.shape) - consumed + 1
            if out <= axis < out + width:
                return [Extent(x, source + axis - out)]
            source, out = source + width, out + width
        elif marks["new_axis_mask"] >> i & 1:
            if out == axis:
                return []
            out += 1
        else:
            shrinks = marks["shrink_axis_mask"] >> i & 1
            if out == axis and not shrinks:
                whole = marks["begin_mask"] >> i & marks["end_mask"] >> i & 1
                step = 0 if strides is None or strides.data is None else strides.data[i]
                return [Extent(x, source)] if whole and abs(step) == 1 else []
            source, out = source + 1, out + (not shrinks)
    place = source + axis - out
    return [Extent(x, place)] if place < len(x.shape) else []


def _updated(node: Node, axis: int) -> list[Extent]:
    """What is written has the extent of what it is written into, but along the first axis."""
    operand, update = node.inputs[:2]
    pair = (operand,) if axis == 0 else (update, operand)
    return [Extent(v, axis) for v in pair if v is not None]


def _sequence(node: Node, axis: int) -> list[Extent]:
    """Recurrent operators keep time and batch."""
    first = node.inputs[0]
    return [Extent(first, axis)] if first is not None and axis < 2 else []


def _expanded(node: Node, axis: int) -> list[Extent]:
    x, where = node.inputs[:2]
    if x is None or node.output.shape is None or where is None or where.data is None:
        return []
    at = int(where.data.reshape(())) % len(node.output.shape)
    return [] if axis == at else [Extent(x, axis - (axis > at))]


def _filled(node: Node, axis: int) -> list[Extent]:
    """A shape that is another value's, or that is put together from scalars."""
    dims = node.inputs[0]
    producer = dims.producer if dims is not None else None
    if producer is None or producer.inputs[0] is None:
        return []
    if producer.op.name == "SHAPE":
        return [Extent(producer.inputs[0], axis)]
    if producer.op.name == "PACK" and axis < len(producer.inputs):
        return _told(producer.inputs[axis])
    return []


def _told(scalar: Value | None) -> list[Extent]:
    """The extent that is one element of a SHAPE."""
    node = None if scalar is None else scalar.producer
    if scalar is None or node is None or node.op.name != "STRIDED_SLICE" or scalar.shape != ():
        return []
    vector, begin = node.inputs[:2]
    shape = None if vector is None else vector.producer
    if shape is None or shape.op.name != "SHAPE" or shape.inputs[0] is None:
        return []
    if begin is None or begin.data is None or begin.data.size != 1:
        return []
    index = int(begin.data.reshape(()))
    return [Extent(shape.inputs[0], index)] if index >= 0 else []


def _called(value: Value, axis: int) -> list[Extent]:
    """A loop's or conditional's result, as what its graph makes of the operands."""
    node = value.producer
    assert node is not None
    position = next(i for i, v in enumerate(node.outputs) if v is value)
    marks = node.op.attributes()
    graphs = [marks["body"]] if node.op.name == "WHILE" else [marks["then"], marks["other"]]
    operands = node.inputs[len(node.inputs) - len(graphs[0].inputs) :]
    found = []
    for graph in graphs:
        inner = origin(graph.outputs[position], axis)
        if isinstance(inner, Extent):
            found += _operand(graph, inner, operands)
    return found


def _operand(graph: Graph, inner: Extent, operands: tuple[Value | None, ...]) -> list[Extent]:
    pairs = zip(graph.inputs, operands, strict=True)
    return [
        Extent(operand, inner.axis)
        for value, operand in pairs
        if value is inner.value and operand is not None
    ]


_ELEMENTWISE = """
    ADD SUB MUL DIV MAXIMUM MINIMUM POW SQUARED_DIFFERENCE FLOOR_DIV FLOOR_MOD SELECT
    SELECT_V2 LESS LESS_EQUAL GREATER GREATER_EQUAL EQUAL NOT_EQUAL LOGICAL_AND
    LOGICAL_OR LOGICAL_NOT TANH LOGISTIC RELU RELU6 RELU_N1_TO_1 ELU EXP LOG SQRT RSQRT
    NEG ABS SIN COS FLOOR CEIL ROUND SIGN SQUARE CAST SOFTMAX LOG_SOFTMAX ZEROS_LIKE
    GELU HARD_SWISH LEAKY_RELU CUMSUM ADD_N
"""
_REDUCTIONS = """
    MEAN SUM REDUCE_PROD REDUCE_MAX REDUCE_MIN REDUCE_ANY REDUCE_ALL ARG_MAX ARG_MIN
"""

RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _broadcast),
    "FULLY_CONNECTED": _rows,
    "BATCH_MATMUL": _rows,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _sequence,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _sequence,
    "CONV_2D": _batch,
    "DEPTHWISE_CONV_2D": _batch,
    **dict.fromkeys(_REDUCTIONS.split(), _reduced),
    "REVERSE_V2": _same,
    "REVERSE_SEQUENCE": _same,
    "CONCATENATION": _joined,
    "SPLIT": _split,
    "SPLIT_V": _split,
    "GATHER": _gathered,
    "TRANSPOSE": _transposed,
    "STRIDED_SLICE": _sliced,
    "DYNAMIC_UPDATE_SLICE": _updated,
    "EXPAND_DIMS": _expanded,
    "FILL": _filled,
}
"""How each operator hands extents on."""
