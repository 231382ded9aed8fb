"""Transpositions meet and cancel: those to channels-first sink, those to channels-last rise.

A network in NCHW arrives with a TRANSPOSE on either side of every operator that TFLite knows
in NHWC alone. Whatever lies between two such operators can work on either order of axes, once
its own axes are renamed; :func:`permuted` says how.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from octolite.ir.graph import Node, Op, Value
from octolite.ir.types import Array
from octolite.passes.engine import Match, Rule, operator
from octolite.passes.folding import reshape
from octolite.passes.identities import moves_only_units
from octolite.passes.patterns import const, op
from octolite.passes.shapes import at_most_one_unknown

Perm = tuple[int, ...]

TO_CHANNELS_FIRST: Perm = (0, 3, 1, 2)
TO_CHANNELS_LAST: Perm = (0, 2, 3, 1)


def inverse(perm: Perm) -> Perm:
    return tuple(int(i) for i in np.argsort(perm))


@dataclass(frozen=True, slots=True)
class Moved:
    """A node whose data inputs have not been transposed yet.

    It runs ``op`` on them and on ``parameters`` (index → constant); its results transposed by
    ``perm`` are those of the original node.
    """

    op: Op
    perm: Perm
    parameters: dict[int, Array]


Move = Callable[[Node, Perm], Moved | str]
"""How a node works before the transposition of its inputs by a ``Perm``, or why it cannot."""


def _elementwise(node: Node, perm: Perm) -> Moved | str:
    constants = _constants(node)
    if any(data.ndim > len(perm) for data in constants.values()):
        return "a constant adds axes"
    return Moved(node.op, perm, {i: _aligned(data, perm) for i, data in constants.items()})


def _constants(node: Node) -> dict[int, Array]:
    known = ((i, v.data) for i, v in enumerate(node.inputs) if v is not None)
    return {i: data for i, data in known if data is not None}


def _aligned(data: Array, perm: Perm) -> Array:
    """A constant that broadcasts over the transposed tensor, for the tensor before that."""
    if data.size == 1:
        return data
    full = data.reshape((1,) * (len(perm) - data.ndim) + data.shape).transpose(inverse(perm))
    leading = next(i for i, d in enumerate(full.shape) if d != 1)
    return np.ascontiguousarray(full.reshape(full.shape[leading:]))


def _constant(node: Node, index: int) -> Array | None:
    value = node.inputs[index]
    return None if value is None else value.data


def _pad(node: Node, perm: Perm) -> Moved | str:
    paddings = _constant(node, 1)
    if paddings is None:
        return "its paddings are not constant"
    return Moved(node.op, perm, {1: np.ascontiguousarray(paddings[list(inverse(perm))])})


def _slice(node: Node, perm: Perm) -> Moved | str:
    begin, size = _constant(node, 1), _constant(node, 2)
    if begin is None or size is None:
        return "its begin and size are not constant"
    back = list(inverse(perm))
    return Moved(node.op, perm, {1: begin[back], 2: size[back]})


def _strided_slice(node: Node, perm: Perm) -> Moved | str:
    o, parts = operator(node), [_constant(node, i) for i in (1, 2, 3)]
    if o.ellipsis_mask or o.new_axis_mask or o.shrink_axis_mask:
        return "it adds or drops axes"
    known = {i: p for i, p in enumerate(parts, 1) if p is not None and len(p) == len(perm)}
    if len(known) < 3:
        return "its extents are not constant for all axes"
    masks = {
        name: sum((getattr(o, name) >> i & 1) << axis for i, axis in enumerate(perm))
        for name in ("begin_mask", "end_mask")
    }
    back = list(inverse(perm))
    return Moved(o.replace(**masks), perm, {i: p[back] for i, p in known.items()})


def _reduce(node: Node, perm: Perm) -> Moved | str:
    given = _constant(node, 1)
    if given is None:
        return "its axes are not constant"
    rank = len(perm)
    axes = {int(a) % rank for a in given.reshape(-1)}
    renamed = np.array(sorted(perm[a] for a in axes), given.dtype)
    if given.ndim == 0:
        renamed = renamed.reshape(())
    kept = [perm[i] for i in range(rank) if i not in axes]
    if node.op.attributes().get("keep_dims"):
        return Moved(node.op, perm, {1: renamed})
    return Moved(node.op, tuple(sorted(kept).index(i) for i in kept), {1: renamed})


def _concatenate(node: Node, perm: Perm) -> Moved | str:
    o = operator(node)
    back = inverse(perm)
    constants = {i: np.ascontiguousarray(d.transpose(back)) for i, d in _constants(node).items()}
    return Moved(o.replace(axis=perm[o.axis % len(perm)]), perm, constants)


def _split(node: Node, perm: Perm) -> Moved | str:
    axis = _constant(node, 0)
    if axis is None:
        return "its axis is not constant"
    return Moved(node.op, perm, {0: np.asarray(perm[int(axis.reshape(())) % len(perm)], np.int32)})


def _last_axis(node: Node, perm: Perm) -> Moved | str:
    if perm[-1] != len(perm) - 1:
        return "it works along the last axis"
    return Moved(node.op, perm, {})


@dataclass(frozen=True, slots=True)
class Way:
    """A way to move: which inputs hold data (``None``: all that are not constant), and how."""

    move: Move
    data: tuple[int, ...] | None = (0,)


def _ways() -> dict[str, Way]:
    table: dict[str, tuple[Way, str]] = {
        "elementwise": (
            Way(_elementwise, None),
            "ABS NEG EXP LOG SQRT RSQRT SQUARE SIN COS CEIL FLOOR ROUND SIGN CAST LOGICAL_NOT "
            "RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 LOGISTIC TANH ELU LEAKY_RELU HARD_SWISH GELU "
            "PRELU ADD SUB MUL DIV MAXIMUM MINIMUM POW FLOOR_DIV FLOOR_MOD SQUARED_DIFFERENCE "
            "EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER GREATER_EQUAL LOGICAL_AND LOGICAL_OR "
            "SELECT_V2 ADD_N",
        ),
        "padding": (Way(_pad), "PAD PADV2 MIRROR_PAD"),
        "slice": (Way(_slice), "SLICE"),
        "strided": (Way(_strided_slice), "STRIDED_SLICE"),
        "reduction": (
            Way(_reduce),
            "MEAN SUM REDUCE_MAX REDUCE_MIN REDUCE_PROD REDUCE_ANY REDUCE_ALL ARG_MAX ARG_MIN",
        ),
        "concatenation": (Way(_concatenate, None), "CONCATENATION"),
        "split": (Way(_split, (1,)), "SPLIT"),
        "last axis": (Way(_last_axis), "SOFTMAX LOG_SOFTMAX"),
    }
    return {name: way for way, names in table.values() for name in names.split()}


WAYS = _ways()
"""Operator → how it moves past a transposition."""


def data_inputs(node: Node) -> list[int]:
    """The inputs of ``node`` whose axes are those that move."""
    chosen = WAYS[node.op.name].data
    return [
        i
        for i, v in enumerate(node.inputs)
        if v is not None and (i in chosen if chosen is not None else v.data is None)
    ]


def transposition(value: Value | None) -> tuple[Value, Perm] | None:
    """What ``value`` is a TRANSPOSE of, and how, if it is one."""
    node = value.producer if value is not None else None
    if node is None or node.op.name != "TRANSPOSE":
        return None
    source, perm = node.inputs[0], node.inputs[1]
    if source is None or perm is None or perm.data is None:
        return None
    return source, tuple(int(i) for i in perm.data)


class Sink(Rule):
    """What reads transposed tensors reads them as they were; its result is transposed instead."""

    pattern = op(" ".join(WAYS))

    def check(self, match: Match) -> str | None:
        node = match.root
        perm = self._perm(node)
        if perm is None:
            return ""
        if perm == TO_CHANNELS_LAST:
            return "a transposition to channels-last rises instead"
        for i in data_inputs(node):
            reason = self._why_not(node, node.inputs[i], perm)
            if reason is not None:
                return reason
        moved = WAYS[node.op.name].move(node, perm)
        return moved if isinstance(moved, str) else None

    @staticmethod
    def _perm(node: Node) -> Perm | None:
        found = (transposition(node.inputs[i]) for i in data_inputs(node))
        return next((t[1] for t in found if t is not None), None)

    @staticmethod
    def _why_not(node: Node, value: Value | None, perm: Perm) -> str | None:
        assert value is not None
        found = transposition(value)
        if found is None:
            if _is_view(value, inverse(perm)):
                return None
            return f"{value!r} is not transposed"
        if found[1] != perm:
            return f"{value.name!r} is transposed by {found[1]}, another operand by {perm}"
        others = [reader for reader in value.uses if reader is not node]
        if perm != TO_CHANNELS_FIRST and others:
            return f"{value.name!r} is also read by {others[0]}"
        return None

    def rewrite(self, match: Match) -> list[Value]:
        node, perm = match.root, self._perm(match.root)
        assert perm is not None
        sources = {i: self._source(match, node.inputs[i], perm) for i in data_inputs(node)}
        return move(match, node, perm, sources)

    @staticmethod
    def _source(match: Match, value: Value | None, perm: Perm) -> Value:
        assert value is not None
        found = transposition(value)
        if found is not None:
            return found[0]
        assert value.shape is not None
        target = [value.shape[i] for i in inverse(perm)]
        return reshape(match, value, at_most_one_unknown(tuple(target)) or [])


def _is_view(value: Value, perm: Perm) -> bool:
    """Whether ``value`` transposed by ``perm`` is only a RESHAPE of it."""
    return (
        value.shape is not None
        and len(value.shape) == len(perm)
        and moves_only_units(value, list(perm))
        and at_most_one_unknown(value.shape) is not None
    )


def move(match: Match, node: Node, perm: Perm, sources: dict[int, Value]) -> list[Value]:
    """``node`` on the ``sources`` of its data inputs, and its results transposed."""
    moved = WAYS[node.op.name].move(node, perm)
    assert isinstance(moved, Moved)
    inputs: list[Value | None] = list(node.inputs)
    for i, source in sources.items():
        inputs[i] = source
    for i, data in moved.parameters.items():
        inputs[i] = match.constant(data, like=node.inputs[i])
    match.add(moved.op, *inputs)
    match.added[-1].name = node.name  # so that it can be asked about
    results = match.added[-1].outputs
    for new, old in zip(results, node.outputs, strict=True):
        new.range = old.range
    if moved.perm == tuple(range(len(moved.perm))):
        return list(results)
    order = match.constant(np.array(moved.perm, np.int32))
    return [match.add("TRANSPOSE", result, order) for result in results]


class Rise(Rule):
    """What is transposed to channels-last after an operator is transposed before it."""

    pattern = op("TRANSPOSE", op(" ".join(WAYS), name="y"), const("perm"))

    def check(self, match: Match) -> str | None:
        node, perm = match.node("y"), _perm_of(match)
        if perm != TO_CHANNELS_LAST:
            return ""
        data = data_inputs(node)
        if len(data) != 1 or len(node.outputs) != 1:
            return f"{node} has more than one operand or result"
        shape = node.inputs[data[0]].shape  # type: ignore[union-attr]
        if shape is None or len(shape) != len(perm):
            return f"{node.inputs[data[0]]!r} has not {len(perm)} axes"
        moved = WAYS[node.op.name].move(node, inverse(perm))
        if isinstance(moved, str):
            return moved
        return None if moved.perm == inverse(perm) else f"{node} drops axes"

    def rewrite(self, match: Match) -> Value:
        node, perm = match.node("y"), _perm_of(match)
        (index,) = data_inputs(node)
        before = match.add(
            "TRANSPOSE", node.inputs[index], match.constant(np.array(perm, np.int32))
        )
        (result,) = move(match, node, inverse(perm), {index: before})
        source = result.producer
        assert source is not None
        assert source.inputs[0] is not None
        return source.inputs[0]


def _perm_of(match: Match) -> Perm:
    return tuple(int(i) for i in match.data("perm"))


RULES: tuple[Rule, ...] = (Sink(), Rise())
