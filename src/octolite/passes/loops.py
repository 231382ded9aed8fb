"""What a WHILE carries: less of it, in clearer shapes, and what is known of each variable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from octolite.ir.graph import Graph, Model, Node, Value
from octolite.ops.joining import Concatenation, Split
from octolite.passes.engine import merge_shapes, operator

# -- cleaning ------------------------------------------------------------------------------------


def simplify(model: Model) -> int:
    """Clean what loops and conditionals carry, in all graphs; returns how much was changed."""
    return sum(_simplify(graph, callers_of(model)) for graph in model.graphs)


def drop_graphs(model: Model, before: Counter[int]) -> None:
    """Remove graphs that nodes ran ``before``, and none runs now."""
    now = callers_of(model)
    kept = {id(model.main)} | {id(s.graph) for s in model.signatures}
    model.graphs[:] = [
        g for g in model.graphs if id(g) in kept or id(g) in now or id(g) not in before
    ]


def callers_of(model: Model) -> Counter[int]:
    """How many nodes run each graph, and signatures."""
    nodes = (node for graph in model.graphs for node in graph.nodes)
    counts = Counter(id(g) for node in nodes for g in called(node))
    counts.update(id(s.graph) for s in model.signatures if s.graph is not model.main)
    return counts


def called(node: Node) -> list[Graph]:
    """The graphs that ``node`` runs."""
    return [v for v in node.op.attributes().values() if isinstance(v, Graph)]


def _simplify(graph: Graph, callers: Counter[int]) -> int:
    changed = 0
    for node in reversed(list(graph.nodes)):
        graphs = called(node)
        if not graphs or any(callers[id(g)] > 1 for g in graphs):
            continue
        if not (graph.leaves_traces(node) or any(_is_read(graph, v) for v in node.outputs)):
            remove(graph, node)
            changed += 1
        elif node.op.name == "WHILE":
            changed += _bypass(graph, node) + _insert_constants(node, graphs)
            changed += _split_joined(graph, node)
            changed += _drop_unread(graph, node)
            changed += _refine(node)
        elif node.op.name == "IF":
            changed += _insert_constants(node, graphs)
            changed += _drop_operands(node, graphs)
    return changed


def _is_read(graph: Graph, value: Value) -> bool:
    return bool(value.uses) or graph.is_output(value)


def remove(graph: Graph, node: Node) -> None:
    """Take out a node that nothing reads, and what only it needed."""
    for value in node.outputs:
        value.producer = None
    node.inputs = ()
    graph.nodes = [n for n in graph.nodes if n is not node]
    graph.prune()


def _bypass(graph: Graph, node: Node) -> int:
    """Results that are what the operand was are read from there."""
    body = operator(node).body
    changed = 0
    for operand, given, out, result in zip(
        node.inputs, body.inputs, body.outputs, node.outputs, strict=True
    ):
        if out is given and result.uses and operand is not None and not graph.is_output(result):
            graph.replace(result, operand)
            changed += 1
    return changed


def _insert_constants(node: Node, graphs: Sequence[Graph]) -> int:
    """Constant operands that do not change become constants of the graphs that read them."""
    offset = len(node.inputs) - len(graphs[0].inputs)
    changed = 0
    for i, operand in enumerate(node.inputs[offset:]):
        if operand is None or operand.data is None:
            continue
        if node.op.name == "WHILE" and graphs[1].outputs[i] is not graphs[1].inputs[i]:
            continue
        for graph in graphs:
            value = graph.inputs[i]
            if not value.uses:
                continue
            copy = Value.constant(operand.name, operand.data, operand.dtype, operand.quant)
            for user in dict.fromkeys(value.uses):
                user.replace_input(value, copy)
            changed += 1
    return changed


def _split_joined(graph: Graph, node: Node) -> int:
    """A variable that joins several, which the body splits and joins again, becomes several."""
    loop = operator(node)
    for i, (given, out) in enumerate(zip(loop.body.inputs, loop.body.outputs, strict=True)):
        parts = _joined(given, out)
        if parts and not _is_read(loop.cond, loop.cond.inputs[i]) and node.inputs[i] is not None:
            _split(graph, node, i, parts)
            return 1
    return 0


def _joined(given: Value, out: Value) -> list[Value]:
    """The values joined in ``out`` as ``given`` is split, if it is read in no other way."""
    split = given.uses[0] if len(given.uses) == 1 else None
    join = out.producer
    if split is None or split.op.name != "SPLIT" or constant(split.inputs[0]) not in (1, -1):
        return []
    if join is None or join.op.name != "CONCATENATION" or operator(join).axis not in (1, -1):
        return []
    parts = [v for v in join.inputs if v is not None]
    shapes = [v.shape for v in (*split.outputs, *parts)]
    widths = {s[-1] if s is not None and len(s) == 2 else None for s in shapes}
    same = len(parts) == len(split.outputs) and len(widths) == 1 and None not in widths
    return parts if same else []


def _split(graph: Graph, node: Node, place: int, parts: Sequence[Value]) -> None:
    """Let variable number ``place`` be as many as there are ``parts``."""
    loop = operator(node)
    given, tested = loop.body.inputs[place], loop.cond.inputs[place]
    (inner,) = given.uses
    base, axis = node.outputs[place].name, Value.constant("axis", np.array(1, np.int32))
    first = graph.add(
        Split(num_splits=len(parts)), [axis, node.inputs[place]],
        f"{base}/initial", before=node,
    )  # fmt: skip
    olds, inner.outputs, inner.inputs = inner.outputs, (), ()
    loop.body.nodes = [n for n in loop.body.nodes if n is not inner]
    for old in olds:
        old.producer = None
    tests = [Value(f"{tested.name}/{k}", v.dtype, v.shape) for k, v in enumerate(olds)]
    results = [Value(f"{base}/{k}", v.dtype, v.shape) for k, v in enumerate(olds)]
    loop.body.inputs[place : place + 1] = olds
    loop.cond.inputs[place : place + 1] = tests
    loop.body.outputs[place : place + 1] = parts
    loop.body.prune()
    old = node.outputs[place]
    node.outputs = (*node.outputs[:place], *results, *node.outputs[place + 1 :])
    for value in results:
        value.producer = node
    node.inputs = (*node.inputs[:place], *first.outputs, *node.inputs[place + 1 :])
    old.producer = None
    if _is_read(graph, old):
        graph.add(Concatenation(axis=1), results, base, outputs=[old])
        graph.sort()


def _drop_unread(graph: Graph, node: Node) -> int:
    """Variables that neither the condition nor any result that is read depends on."""
    loop = operator(node)
    cond, body = loop.cond, loop.body
    places = {id(v): i for i, v in enumerate(body.inputs)}
    needed = [i for i, v in enumerate(cond.inputs) if v.uses or cond.is_output(v)]
    needed += [i for i, v in enumerate(node.outputs) if _is_read(graph, v)]
    kept: set[int] = set()
    while needed:
        i = needed.pop()
        if i not in kept:
            kept.add(i)
            needed += [places[id(v)] for v in sources(body.outputs[i]) if id(v) in places]
    if len(kept) == len(node.inputs):
        return 0
    keep = sorted(kept)
    gone = [v for i, v in enumerate(node.outputs) if i not in kept]
    for value in gone:
        value.producer = None
    node.inputs = [node.inputs[i] for i in keep]
    node.outputs = tuple(node.outputs[i] for i in keep)
    body.outputs = [body.outputs[i] for i in keep]
    body.prune()
    for inner in (cond, body):
        inner.inputs = [inner.inputs[i] for i in keep]
    graph.prune()
    return len(gone)


def _drop_operands(node: Node, graphs: Sequence[Graph]) -> int:
    """Operands of a conditional that neither branch reads."""
    condition, *operands = node.inputs
    keep = [i for i in range(len(operands)) if any(_is_read(g, g.inputs[i]) for g in graphs)]
    if len(keep) == len(operands):
        return 0
    node.inputs = [condition, *(operands[i] for i in keep)]
    for graph in graphs:
        graph.inputs = [graph.inputs[i] for i in keep]
    return len(operands) - len(keep)


def _refine(node: Node) -> int:
    """Give the graphs' inputs the extents that operands and the body's results agree on."""
    loop = operator(node)
    changed = 0
    for operand, given, tested, out, result in zip(
        node.inputs, loop.body.inputs, loop.cond.inputs, loop.body.outputs, node.outputs,
        strict=True,
    ):  # fmt: skip
        if operand is None or operand.shape is None or out.shape is None:
            continue
        if len(operand.shape) != len(out.shape):
            continue
        pairs = zip(operand.shape, out.shape, strict=True)
        agreed = tuple(a if a == b else None for a, b in pairs)
        shape = merge_shapes(given.shape, agreed)
        if shape is None or shape == given.shape == tested.shape == result.shape:
            continue
        given.shape = tested.shape = shape
        result.shape = merge_shapes(result.shape, shape) or result.shape
        changed += 1
    return changed


def sources(value: Value) -> Iterator[Value]:
    """The values without producer that ``value`` depends on, itself perhaps."""
    seen: set[int] = set()
    stack: list[Value | None] = [value]
    while stack:
        value_ = stack.pop()
        if value_ is None or id(value_) in seen:
            continue
        seen.add(id(value_))
        if value_.producer is None:
            yield value_
        else:
            stack += value_.producer.inputs


# -- what a loop does ----------------------------------------------------------------------------


@dataclass
class Loop:
    """A WHILE that counts, and its variables by what becomes of them in a round.

    Attributes:
        counters: those to which 1 is added, with what they begin with.
        unchanged: those that stay as they are, with the operand that they are.
        states: all others, TensorArrays among them.
        bounds: what each tested counter stays below.
    """

    node: Node
    cond: Graph
    body: Graph
    counters: dict[int, int] = field(default_factory=dict)
    unchanged: dict[int, Value] = field(default_factory=dict)
    states: dict[int, int] = field(default_factory=dict)
    bounds: list[tuple[int, Value]] = field(default_factory=list)

    @property
    def clock(self) -> int | None:
        """The variable that numbers the rounds from 0."""
        return next((i for i, start in self.counters.items() if start == 0), None)

    def outer(self, value: Value) -> Value | None:
        """The outer graph's value for one of a graph's inputs that does not change."""
        for i, operand in self.unchanged.items():
            if value in (self.body.inputs[i], self.cond.inputs[i]):
                return operand
        return None


def read(node: Node) -> Loop | str:
    """What the loop does, or why that is not known."""
    op: Any = node.op
    loop = Loop(node, op.cond, op.body)
    triples = zip(node.inputs, loop.body.inputs, loop.body.outputs, strict=True)
    for i, (operand, given, out) in enumerate(triples):
        assert operand is not None
        if out is given:
            loop.unchanged[i] = operand
        elif (start := _start(operand, given, out)) is not None:
            loop.counters[i] = start
        else:
            loop.states[id(given)] = i
    reason = _read_bounds(loop)
    return loop if reason is None else reason


def _start(operand: Value, given: Value, out: Value) -> int | None:
    """Where a variable starts that counts by 1."""
    node = out.producer
    if operand.data is None or operand.data.size != 1 or not operand.dtype.is_integer:
        return None
    if node is None or node.op.name != "ADD" or given not in node.inputs:
        return None
    one = node.inputs[1] if node.inputs[0] is given else node.inputs[0]
    if one is None or one.data is None or one.data.size != 1 or int(one.data.reshape(())) != 1:
        return None
    return int(operand.data.reshape(()))


def _read_bounds(loop: Loop) -> str | None:
    """The counters that the condition tests; a reason where it tests something else."""
    inputs = {id(v): i for i, v in enumerate(loop.cond.inputs)}
    stack = [loop.cond.outputs[0]]
    while stack:
        node = stack.pop().producer
        if node is not None and node.op.name == "LOGICAL_AND":
            stack += [v for v in node.inputs if v is not None]
            continue
        if node is None or node.op.name not in ("LESS", "GREATER"):
            return "its condition is no comparison of counters"
        pair = node.inputs if node.op.name == "LESS" else node.inputs[::-1]
        counter, limit = pair
        assert counter is not None
        assert limit is not None
        place = inputs.get(id(counter), -1)
        bound = limit if limit.data is not None else loop.outer(limit)
        if place not in loop.counters or bound is None or bound.shape not in ((), (1,)):
            return "its condition is no comparison of counters"
        loop.bounds.append((loop.counters[place], bound))
    return None


# -- numbers that are the same -------------------------------------------------------------------


def constant(value: Value | None) -> int | None:
    """The integer that a scalar is known to be."""
    if value is None or value.data is None or value.data.size != 1:
        return None
    return int(value.data.reshape(()))


def is_zero(value: Value | None) -> bool:
    """Whether all elements are known to be 0."""
    for _ in range(100):
        if value is None:
            return False
        if value.data is not None:
            return value.data.size > 0 and not np.any(value.data)
        node = value.producer
        if node is None:
            return False
        if node.op.name == "ZEROS_LIKE":
            return True
        if node.op.name == "CONCATENATION":
            return all(map(is_zero, node.inputs))
        if node.op.name not in _ARRANGE:
            return False
        value = node.inputs[_ARRANGE[node.op.name]]
    return False


_ARRANGE = {
    "FILL": 1, "RESHAPE": 0, "EXPAND_DIMS": 0, "SQUEEZE": 0, "TILE": 0, "BROADCAST_TO": 0,
    "SPLIT": 1, "SPLIT_V": 0, "STRIDED_SLICE": 0, "SLICE": 0, "TRANSPOSE": 0, "GATHER": 0,
    "UNPACK": 0,
}  # fmt: skip
"""Operators that arrange elements, and which input has these."""
