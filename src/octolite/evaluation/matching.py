"""Which tensor of a quantized graph is which of the float graph that it was made from.

Quantizing renames tensors, fuses activations and puts QUANTIZE and DEQUANTIZE in between. So
results are matched in three ways, the surest first:

1. *name*: both tensors are called the same, apart from what converters append;
2. *structure*: operators of the same type that read tensors which are matched already, and results
   of the graph at the same place;
3. *position*: what is left, by the place in the chain of operators of the same type and shape.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

from octolite.ir.graph import Graph, Node, Value
from octolite.ir.types import Activation

INSERTED = frozenset({"QUANTIZE", "DEQUANTIZE", "FAKE_QUANT"})
"""Operators that change how numbers are written, and nothing else."""

ACTIVATIONS = {
    "RELU": Activation.RELU,
    "RELU6": Activation.RELU6,
    "RELU_N1_TO_1": Activation.RELU_N1_TO_1,
    "TANH": Activation.TANH,
}
"""Operators that another may have fused."""

_SUFFIX = re.compile(r"(/codes|/(de)?quantized|_(u?int\d+|(de)?quantize[d]?)|:0)+$")


@dataclass(frozen=True, slots=True)
class Match:
    """Results of an operator of the quantized graph, and those of the float graph that they are."""

    node: Node
    pairs: tuple[tuple[Value, Value], ...]
    """(float, quantized)"""
    twin: Node | None
    """What computes the (first) result in the float graph; ``None`` for an input's."""
    how: str


@dataclass(slots=True)
class Matching:
    """What was matched, in the order of the quantized graph, and what was not."""

    inputs: list[tuple[Value, Value]] = field(default_factory=list)
    matches: list[Match] = field(default_factory=list)
    only_float: list[Node] = field(default_factory=list)
    only_quantized: list[Node] = field(default_factory=list)


def match(before: Graph, after: Graph) -> Matching:
    """Match the results of ``after``, quantized, with those of ``before``, float."""
    return _Matcher(_Side(before), _Side(after)).run()


class _Side:
    """A graph without what is constant, and without what only changes how numbers are written."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.constant: set[int] = {id(v) for v in graph.constants()}
        self.moving: list[Node] = []
        for node in graph.nodes:
            inputs = [v for v in node.inputs if v is not None]
            if inputs and all(id(v) in self.constant for v in inputs):
                self.constant.update(id(v) for v in node.outputs)
            else:
                self.moving.append(node)
        self.nodes = [n for n in self.moving if n.op.name not in INSERTED]
        self.inserted = [n for n in self.moving if n.op.name in INSERTED]
        self.readers: dict[int, list[Node]] = {}
        for node in self.nodes:
            for value in self.read(node):
                self.readers.setdefault(id(value), []).append(node)

    def read(self, node: Node) -> list[Value]:
        """The tensors that a node reads as they were computed: no constants, no state."""
        return [
            self.origin(v)
            for v in node.inputs
            if v is not None and id(v) not in self.constant and not v.is_variable
        ]

    def origin(self, value: Value) -> Value:
        """Where a number comes from that was written in other ways since."""
        while value.producer is not None and value.producer.op.name in INSERTED:
            source = value.producer.inputs[0]
            if source is None or id(source) in self.constant:
                break
            value = source
        return value

    def weights(self, node: Node) -> tuple[Any, ...]:
        return tuple(v.shape for v in node.inputs if v is not None and id(v) in self.constant)

    def fused(self, node: Node) -> Node | None:
        """The activation that alone reads the result of ``node``, which has none."""
        if _activation(node) is not Activation.NONE or self.graph.is_output(node.output):
            return None
        readers = self.readers.get(id(node.output), [])
        return readers[0] if len(readers) == 1 and readers[0].op.name in ACTIVATIONS else None

    def end(self, node: Node) -> Node:
        """``node``, or the activation behind it, with which other converters make one of it."""
        return self.fused(node) or node


def _activation(node: Node) -> Activation | None:
    found = getattr(node.op, "activation", None)
    return Activation(found) if found is not None else None


def names_of(value: Value) -> set[str]:
    """What a tensor is called, without what converters append; several, if it is of several."""
    parts = [part for part in value.name.split(";") if part]
    return {_SUFFIX.sub("", part) or part for part in (value.name, *parts)}


def _whole_name(value: Value) -> set[str]:
    return {value.name}


class _Matcher:
    def __init__(self, before: _Side, after: _Side) -> None:
        self.before, self.after = before, after
        self.found: dict[int, tuple[Node, Node, str]] = {}
        """By the id of a quantized node: itself, its twin and how it was found."""
        self.taken: set[int] = set()
        self.value_of: dict[int, Value] = {}
        """By the id of a quantized value: the float one."""

    def run(self) -> Matching:
        result = Matching(inputs=self.inputs())
        for names in (_whole_name, names_of):
            self.by_name(self.before.nodes, self.after.nodes, names)
            # The float one may have such operators, too.
            self.by_name(self.before.inserted, self.after.inserted, names)
        self.by_structure()
        self.by_position()
        self.by_structure()
        for node in self.after.moving:
            found = self.found.get(id(node))
            if found is not None:
                pairs = tuple((self.value_of[id(v)], v) for v in node.outputs)
                result.matches.append(Match(node, pairs, found[1], found[2]))
            elif node.op.name in INSERTED:
                origin = self.value_of.get(id(self.after.origin(node.output)))
                if origin is not None:
                    pair = (origin, node.output)
                    result.matches.append(Match(node, (pair,), origin.producer, "structure"))
            elif not self.absorbed(self.after, node):
                result.only_quantized.append(node)
        twins = self.taken
        result.only_float = [
            n for n in self.before.nodes if id(n) not in twins and not self.absorbed(self.before, n)
        ]
        return result

    def absorbed(self, side: _Side, node: Node) -> bool:
        """Whether the other side has ``node`` as one with the activation behind it."""
        behind = side.fused(node)
        ids = self.taken if side is self.before else self.found.keys()
        return behind is not None and id(behind) in ids

    def inputs(self) -> list[tuple[Value, Value]]:
        ours, theirs = self.before.graph.inputs, self.after.graph.inputs
        named = {name: v for v in ours for name in names_of(v)}
        twins = [next((named[n] for n in names_of(v) if n in named), None) for v in theirs]
        if len({id(t) for t in twins}) < len(theirs) or None in twins:
            twins = list(ours) if len(ours) == len(theirs) else []
        pairs = [(a, b) for a, b in zip(twins, theirs, strict=False) if a is not None]
        self.value_of.update((id(b), a) for a, b in pairs)
        return pairs

    def accept(self, twin: Node, node: Node, how: str) -> bool:
        """Match two nodes, unless one is matched already or their results cannot be the same."""
        if id(node) in self.found or id(twin) in self.taken:
            return False
        if len(twin.outputs) != len(node.outputs):
            return False
        pairs = list(zip(twin.outputs, node.outputs, strict=True))
        if not all(may_be_same(a, b) for a, b in pairs):
            return False
        self.found[id(node)] = node, twin, how
        self.taken.add(id(twin))
        self.value_of.update((id(b), a) for a, b in pairs)
        return True

    def by_name(
        self, before: Sequence[Node], after: Sequence[Node], names: Callable[[Value], set[str]]
    ) -> None:
        known = _unique((name, n) for n in before for name in names(n.output))
        ours = _unique((name, n) for n in after for name in names(n.output))
        for node in after:
            for name in sorted(names(node.output), key=lambda name: (-len(name), name)):
                twin = known.get(name) if name in ours else None
                if twin is not None and self.alike(twin, node) and self.accept(twin, node, "name"):
                    break

    def alike(self, twin: Node, node: Node) -> bool:
        """Whether results may be called the same: an operator, or one with an activation fused."""
        if twin.op.name == node.op.name:
            return True
        fused = ACTIVATIONS.get(twin.op.name, ACTIVATIONS.get(node.op.name))
        return fused is not None and fused in (_activation(node), _activation(twin))

    def by_structure(self) -> None:
        for a, b in zip(self.before.graph.outputs, self.after.graph.outputs, strict=False):
            twin, node = self.before.origin(a).producer, self.after.origin(b).producer
            if twin is not None and node is not None and self.alike(twin, node):
                self.accept(twin, node, "structure")
        growing = True
        while growing:
            growing = False
            for node in self.after.nodes:
                if id(node) not in self.found and self.from_inputs(node):
                    growing = True

    def from_inputs(self, node: Node) -> bool:
        """Match a node all of whose inputs are matched, if there is one node that it can be."""
        read = self.after.read(node)
        sources = [self.value_of.get(id(v)) for v in read]
        if not sources or None in sources:
            return False
        wanted = [id(v) for v in sources]
        first = sources[0]
        assert first is not None
        candidates = [
            n
            for n in {id(n): n for n in self.before.readers.get(id(first), [])}.values()
            if n.op.name == node.op.name and [id(v) for v in self.before.read(n)] == wanted
        ]
        ends = [self.partner(c, node) for c in candidates]
        pairs = [
            (a, b)
            for (a, b), c in zip(ends, candidates, strict=True)
            if id(a) not in self.taken and id(b) not in self.found and id(c) not in self.taken
        ]
        if len(pairs) > 1:
            weights = self.after.weights(node)
            pairs = [p for p in pairs if self.before.weights(p[0]) == weights]
        return len(pairs) == 1 and self.accept(*pairs[0], "structure")

    def partner(self, twin: Node, node: Node) -> tuple[Node, Node]:
        """Both, each with the activation behind it where only the other has fused it."""
        if _activation(twin) is _activation(node):
            return twin, node
        return self.before.end(twin), self.after.end(node)

    def by_position(self) -> None:
        """Align both orders of nodes; those that are matched hold the rest in place."""
        ours, theirs = self.before.nodes, self.after.nodes
        numbers = {id(twin): i for i, (_, twin, _) in enumerate(self.found.values())}
        twins = {key: numbers[id(twin)] for key, (_, twin, _) in self.found.items()}
        before = [numbers.get(id(n), _kind(n)) for n in ours]
        after = [twins.get(id(n), _kind(n)) for n in theirs]
        for a, b, size in SequenceMatcher(
            None, before, after, autojunk=False
        ).get_matching_blocks():
            for twin, node in zip(ours[a : a + size], theirs[b : b + size], strict=True):
                self.accept(twin, node, "position")


def _kind(node: Node) -> tuple[str, tuple[Any, ...]]:
    return node.op.name, tuple(v.shape for v in node.outputs)


def may_be_same(a: Value, b: Value) -> bool:
    """Whether two shapes may come out equal when the models run."""
    if a.shape is None or b.shape is None:
        return True
    if len(a.shape) != len(b.shape):
        return False
    return all(None in (m, n) or m == n for m, n in zip(a.shape, b.shape, strict=True))


def _unique(items: Iterable[tuple[str, Node]]) -> dict[str, Node]:
    """What is said of one node only."""
    pairs: Sequence[tuple[str, Node]] = list(items)
    counts = Counter(name for name, _ in pairs)
    return {name: node for name, node in pairs if counts[name] == 1}
