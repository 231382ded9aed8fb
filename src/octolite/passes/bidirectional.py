"""Two cells over one sequence, one of them reversed, become an operator that reads both ways."""

from __future__ import annotations

import numpy as np

from octolite.ir.graph import Graph, Node, Value
from octolite.ops.base import Operator, operator_class
from octolite.passes.engine import Event, Explanation, Match, Rule, operator, take_over
from octolite.passes.patterns import Pattern, const, op, some

NAME = "PairDirections"

BOTH = {
    "UNIDIRECTIONAL_SEQUENCE_RNN": "BIDIRECTIONAL_SEQUENCE_RNN",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "BIDIRECTIONAL_SEQUENCE_LSTM",
}


# -- pairs ---------------------------------------------------------------------------------------


def pair(graph: Graph, explain: Explanation | None = None) -> int:
    """Join pairs of operators of ``graph``; returns how many."""
    joined = 0
    for node in list(graph.nodes):
        forward = _forward(graph, node) if node.op.name in BOTH else None
        if forward is None:
            continue
        if node.op.name == "UNIDIRECTIONAL_SEQUENCE_RNN" and forward.op == node.op:
            _first_batch(graph, forward, node)
        reason = _differs(forward, node)
        if explain is not None:
            explain.record(Event(NAME, (node.name, forward.name), reason))
        if reason is None:
            _join(graph, forward, node)
            joined += 1
    return joined


def _forward(graph: Graph, node: Node) -> Node | None:
    """The operator that reads as it is what ``node`` reads reversed."""
    source = _reversed(node.inputs[0], _time(node))
    if source is None:
        return None
    readers = [n for n in dict.fromkeys(source.uses) if n.op.name == node.op.name]
    return next((n for n in readers if n.inputs[0] is source and n in graph.nodes), None)


def _time(node: Node) -> int:
    return 0 if operator(node).time_major else 1


def _reversed(value: Value | None, axis: int) -> Value | None:
    """What is reversed along ``axis`` to give ``value``."""
    node = None if value is None else value.producer
    if node is None or node.op.name != "REVERSE_V2" or node.inputs[1] is None:
        return None
    axes = node.inputs[1].data
    return node.inputs[0] if axes is not None and axes.reshape(-1).tolist() == [axis] else None


def _differs(forward: Node, backward: Node) -> str | None:
    if forward.op != backward.op:
        return "the two directions have different activations or clips"
    if len(forward.inputs) > 20 or len(backward.inputs) > 20:
        return "an operator for both directions has no layer normalization"
    return None


def _first_batch(graph: Graph, forward: Node, backward: Node) -> None:
    """Let both read [batch, time, depth]: LiteRT's hybrid form goes wrong on other sequences."""
    source = forward.inputs[0]
    if not operator(forward).time_major or source is None:
        return
    turned = _turned(graph, source, f"{source.name}/batch_first", forward)
    axes = Value.constant(f"{backward.name}/axis", np.array([1], np.int32))
    back = graph.add(
        operator_class("REVERSE_V2")(), [turned, axes], f"{backward.name}/reversed", before=forward
    ).output
    for node, x in ((forward, turned), (backward, back)):
        assert isinstance(node.op, Operator)
        node.op = node.op.replace(time_major=False)
        node.set_input(0, x)
        old = node.output
        shape = None if old.shape is None else (old.shape[1], old.shape[0], old.shape[2])
        new = Value(f"{old.name}/batch_first", old.dtype, shape)
        node.outputs, new.producer = (new,), node
        order = Value.constant(f"{old.name}/order", np.array([1, 0, 2], np.int32))
        graph.add(operator_class("TRANSPOSE")(), [new, order], old.name, outputs=[old])
        reversed_ = [r for r in dict.fromkeys(old.uses) if _reversed(r.output, 0) is old]
        if node is backward:
            for reader in reversed_:
                _reverse_first(graph, reader, new)
    graph.sort()
    graph.prune()


def _turned(graph: Graph, value: Value, name: str, before: Node) -> Value:
    order = Value.constant(f"{name}/order", np.array([1, 0, 2], np.int32))
    return graph.add(operator_class("TRANSPOSE")(), [value, order], name, before=before).output


def _reverse_first(graph: Graph, reader: Node, new: Value) -> None:
    """Let ``reader``, which reverses what is transposed, be the transposition of the reversed."""
    axes = Value.constant(f"{new.name}/axis", np.array([1], np.int32))
    turned = graph.add(operator_class("REVERSE_V2")(), [new, axes], f"{new.name}/in_order").output
    order = Value.constant(f"{new.name}/order", np.array([1, 0, 2], np.int32))
    reader.op, reader.inputs = operator_class("TRANSPOSE")(), (turned, order)


def _join(graph: Graph, forward: Node, backward: Node) -> None:
    cls = operator_class(BOTH[forward.op.name])
    taken = cls().attributes()
    given = {k: v for k, v in forward.op.attributes().items() if k in taken}
    named: dict[str, Value | None] = {"input": forward.inputs[0]}
    for prefix, node in (("fw", forward), ("bw", backward)):
        named |= {f"{prefix}_{k}": v for k, v in _named(node).items() if k != "input"}
    fw, bw = forward.output, backward.output
    back = Value(f"{bw.name}/in_order", bw.dtype, bw.shape)
    first = next(n for n in graph.nodes if n in (forward, backward))
    inputs = [named.get(p.name) for p in cls.input_parameters()]
    forward.outputs = backward.outputs = ()
    bw.producer = None
    graph.add(cls(**given), inputs, f"{forward.name}/both", before=first, outputs=[fw, back])
    for node in (forward, backward):
        node.inputs = ()
    graph.nodes = [n for n in graph.nodes if n not in (forward, backward)]
    _reorder(graph, bw, back, 0 if given["time_major"] else 1)
    graph.prune()
    graph.sort()


def _named(node: Node) -> dict[str, Value | None]:
    assert isinstance(node.op, Operator)
    names = [p.name for p in node.op.input_parameters()]
    return dict(zip(names, node.inputs, strict=False))


def _reorder(graph: Graph, old: Value, back: Value, axis: int) -> None:
    """Let readers of the reversed ``old`` read ``back``, which is in the order of the input."""
    for reader in dict.fromkeys(old.uses):
        if _reversed(reader.output, axis) is not old:
            continue
        if graph.is_output(reader.output):
            continue
        graph.replace(reader.output, back)
        graph.remove(reader)
    if old.uses or graph.is_output(old):
        axes = Value.constant(f"{old.name}/axis", np.array([axis], np.int32))
        node = graph.add(operator_class("REVERSE_V2")(), [back, axes], f"{old.name}/reversed")
        take_over(graph, old, node.output)


# -- arrangements in between ---------------------------------------------------------------------


class ReverseBeforeTranspose(Rule):
    """A transposed sequence is reversed before it is transposed."""

    pattern = op(
        "REVERSE_V2", op("TRANSPOSE", some("x"), const("perm"), shared=True), const("axes")
    )

    def rewrite(self, match: Match) -> Value:
        perm = match.data("perm").reshape(-1)
        axes = perm[match.data("axes").reshape(-1)].astype(np.int32)
        turned = match.add("REVERSE_V2", match["x"], match.constant(axes))
        return match.add("TRANSPOSE", turned, match.constant(perm))


class ReverseTwice(Rule):
    """What is reversed twice along the same axes is as it was."""

    pattern = op("REVERSE_V2", op("REVERSE_V2", some("x"), const("a"), shared=True), const("b"))

    def check(self, match: Match) -> str | None:
        if match.graph.is_output(match.root.output):
            return f"{match.root.output.name!r} is a result of the graph"
        same = sorted(match.data("a").reshape(-1)) == sorted(match.data("b").reshape(-1))
        return None if same else "it is reversed along different axes"

    def rewrite(self, match: Match) -> Value:
        return match["x"]


def _step(inner: Pattern) -> Pattern:
    return op("STRIDED_SLICE", inner, const("begin"), const("end"), const("strides"))


def _is_step(match: Match) -> bool:
    """Whether the root takes one element along the first axis, and that axis away."""
    node = operator(match.root)
    others = node.begin_mask, node.ellipsis_mask, node.new_axis_mask
    single = match.data("begin").size == 1 and node.shrink_axis_mask == 1
    return bool(single and not any(others) and match.data("strides").reshape(-1)[0] == 1)


class StepOfTranspose(Rule):
    """One step of a sequence that is transposed is taken of the sequence as it was."""

    pattern = _step(op("TRANSPOSE", some("x"), const("perm"), shared=True))

    def check(self, match: Match) -> str | None:
        perm = match.data("perm").reshape(-1).tolist()
        return None if _is_step(match) and perm[:2] == [1, 0] and perm[2:] == sorted(perm[2:]) \
            else ""  # fmt: skip

    def rewrite(self, match: Match) -> Value:
        first = int(match.data("begin").reshape(-1)[0])
        bounds = ([0, first], [0, first + 1], [1, 1])
        begin, end, strides = (match.constant(np.array(b, np.int32)) for b in bounds)
        masks = {"begin_mask": 1, "end_mask": 1 | (2 if first == -1 else 0)}
        return match.add("STRIDED_SLICE", match["x"], begin, end, strides,
                         shrink_axis_mask=2, **masks)  # fmt: skip


class StepOfStep(Rule):
    """The only step of the last step kept as a sequence."""

    pattern = _step(
        op("STRIDED_SLICE", some("x"), const("first"), const("e"), const("s"), name="inner")
    )

    def check(self, match: Match) -> str | None:
        inner = operator(match.node("inner"))
        kept = not inner.shrink_axis_mask and inner.end_mask == 1 and not inner.begin_mask
        last = match.data("first").reshape(-1).tolist() == [-1]
        only = match.data("begin").reshape(-1).tolist() in ([-1], [0])
        return None if kept and last and only and _is_step(match) else ""

    def rewrite(self, match: Match) -> Value:
        bounds = (match.constant(np.array([b], np.int32)) for b in (-1, 0, 1))
        return match.add("STRIDED_SLICE", match["x"], *bounds, shrink_axis_mask=1, end_mask=1)


class StepOfReverse(Rule):
    """The last step of a reversed sequence is the first of the sequence."""

    pattern = op(
        "STRIDED_SLICE",
        op("REVERSE_V2", some("x"), const("axes"), shared=True),
        const("begin"), const("end"), const("strides"),
    )  # fmt: skip

    def check(self, match: Match) -> str | None:
        axis, node = match.data("axes").reshape(-1).tolist(), operator(match.root)
        begin = match.data("begin").reshape(-1).tolist()
        masks = node.ellipsis_mask or node.new_axis_mask
        one = len(axis) == 1 and len(begin) == axis[0] + 1 and not masks
        single = node.shrink_axis_mask == 1 << axis[0] and begin[-1] in (0, -1)
        rest = (1 << axis[0]) - 1
        whole = node.begin_mask == rest and node.end_mask & rest == rest
        return None if one and single and whole else ""

    def rewrite(self, match: Match) -> Value:
        begin = match.data("begin").reshape(-1).astype(np.int32)
        wanted = -1 - int(begin[-1])
        node, place = operator(match.root), begin.size - 1
        bounds = np.zeros_like(begin), np.zeros_like(begin)
        bounds[0][-1], bounds[1][-1] = wanted, wanted + 1
        rest = (1 << place) - 1
        return match.add(
            "STRIDED_SLICE", match["x"], *map(match.constant, bounds), match["strides"],
            begin_mask=rest, end_mask=rest | ((1 << place) if wanted == -1 else 0),
            shrink_axis_mask=node.shrink_axis_mask,
        )  # fmt: skip


RULES: tuple[Rule, ...] = (
    ReverseBeforeTranspose(),
    ReverseTwice(),
    StepOfTranspose(),
    StepOfStep(),
    StepOfReverse(),
)
