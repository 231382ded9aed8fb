"""The rewriting engine: rules, and what runs them until nothing changes.

A :class:`Rule` names a tree of operators (its pattern), checks what a tree cannot say and gives
a *reason* when it declines, and rewrites the match.

What the engine sees to, so that no rule has to:

* values inside a match have no readers outside it, unless the pattern says ``shared=True``,
* the result keeps its :class:`Value`: name, range, readers, and its place among the graph's
  outputs and in signatures,
* nodes that nothing reads any more are gone before the next rule looks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from octolite.errors import MISFITS, ConversionError, InvalidGraphError, OctoliteError
from octolite.ir.graph import Graph, Node, Op, Value
from octolite.ir.types import Array, Shape
from octolite.ops.base import REGISTRY, operator_class
from octolite.passes.patterns import Bindings, Inner, Pattern, match_node

# -- matches ------------------------------------------------------------------------------------


class Match:
    """One place where a rule's pattern fits, and the means to rewrite it.

    ``match["x"]`` is the value that the pattern calls ``x``.
    """

    def __init__(self, graph: Graph, root: Node, bound: Bindings, nodes: tuple[Node, ...]) -> None:
        self.graph = graph
        self.root = root
        self.nodes = nodes  # the root first
        self.added: list[Node] = []
        self._bound = bound

    def __getitem__(self, name: str) -> Value:
        return self._bound[name]

    def __contains__(self, name: str) -> bool:
        return name in self._bound

    def node(self, name: str) -> Node:
        """The node that computes the value called ``name``."""
        producer = self._bound[name].producer
        assert producer is not None
        return producer

    def data(self, name: str) -> Array:
        """The array of the constant called ``name``."""
        data = self._bound[name].data
        assert data is not None
        return data

    def add(self, operator: Op | str, *inputs: Value | None, **attributes: Any) -> Value:
        """A new node; the engine puts it in its place. Returns its first result."""
        if isinstance(operator, str):
            operator = operator_class(operator)(**attributes)
        node = self.graph.add(operator, inputs, f"{self.root.output.name}/{operator.name.lower()}")
        self.added.append(node)
        return node.output

    def constant(self, data: Any, like: Value | None = None) -> Value:
        """A new constant, named after ``like`` or the root; a shared one is never changed."""
        name = like.name if like is not None else f"{self.root.output.name}/constant"
        return Value.constant(name, np.asarray(data))


class Rule(ABC):
    """Something that may be rewritten. Subclasses give ``pattern`` and ``rewrite``."""

    pattern: Pattern
    takes_codes: ClassVar[bool] = False
    """Whether it may rewrite what computes quantized tensors; otherwise those are left alone."""

    keeps_inner: ClassVar[bool] = False
    """Whether readers outside the match do not matter, because the result needs none of it."""

    @property
    def name(self) -> str:
        return type(self).__name__

    def check(self, match: Match) -> str | None:
        """Why this match is left alone, or ``None`` to go ahead.

        An empty reason is not worth telling: the place was never a candidate.
        """
        return None

    @abstractmethod
    def rewrite(self, match: Match) -> Value | Sequence[Value] | None:
        """Build what replaces the root's results (all of them) and return it.

        Returns ``None`` when the root was changed in place and stays.
        """


# -- what happened, for those who ask -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    """A rule that looked at a place: the nodes there (root first), and why it declined."""

    rule: str
    nodes: tuple[str, ...]
    reason: str | None = None

    @property
    def fired(self) -> bool:
        return self.reason is None


@dataclass
class Explanation:
    """Everything that rules did and declined to do, the last word for each place."""

    _events: dict[tuple[str, tuple[str, ...]], Event] = field(default_factory=dict)

    def record(self, event: Event) -> None:
        self._events.pop((event.rule, event.nodes), None)
        self._events[event.rule, event.nodes] = event

    @property
    def events(self) -> list[Event]:
        return list(self._events.values())

    def about(self, name: str) -> list[Event]:
        """The events at the node called ``name``."""
        return [e for e in self._events.values() if name in e.nodes]


# -- running rules ------------------------------------------------------------------------------

OnRule = Callable[[str], None]
"""Called with a rule's name each time that it has rewritten something, the graph fit to be seen."""

MAX_SWEEPS = 200


class Rewriter:
    """Runs rules over one graph, sweep after sweep, until none of them fires."""

    def __init__(
        self,
        graph: Graph,
        rules: Sequence[Rule],
        explain: Explanation | None = None,
        on_rule: OnRule | None = None,
    ) -> None:
        self.graph = graph
        self.explain = explain
        self.on_rule = on_rule
        self._dead: set[int] = set()
        self._by_root: dict[str, list[Rule]] = {}
        for rule in rules:
            for name in rule.pattern.operators or REGISTRY:
                self._by_root.setdefault(name, []).append(rule)

    def run(self) -> int:
        """Rewrite; returns how often a rule fired.

        Raises :class:`ConversionError` when the rules undo each other's work for ever.
        """
        total = 0
        for _ in range(MAX_SWEEPS):
            fired = sum(self._visit(node) for node in list(self.graph.nodes))
            if not fired:
                return total
            self._tidy()
            total += fired
        rules = sorted({r.name for rules in self._by_root.values() for r in rules})
        raise ConversionError(
            f"rewriting graph {self.graph.name!r} does not settle after {MAX_SWEEPS} sweeps of "
            f"{', '.join(rules)}; this is a defect in Octolite, please report it"
        )

    def _visit(self, node: Node) -> int:
        for rule in self._by_root.get(node.op.name, ()):
            if id(node) in self._dead:
                continue
            try:
                if self._try(rule, node):
                    return 1
            except OctoliteError:
                raise
            except MISFITS as error:
                raise InvalidGraphError(
                    f"{node} has tensors that make no sense for it; {rule.name} cannot go on: "
                    f"{error!r}"
                ) from error
        return 0

    def _try(self, rule: Rule, root: Node) -> bool:
        for bound, inner in match_node(rule.pattern, root, {}):
            match = Match(self.graph, root, bound, (root, *(node for node, _ in inner)))
            reason = self._not_allowed(rule, match, inner)
            reason = rule.check(match) if reason is None else reason
            if self.explain is not None and reason != "":
                self.explain.record(Event(rule.name, tuple(n.name for n in match.nodes), reason))
            if reason is None:
                self._apply(rule, match)
                if self.on_rule is not None:
                    self._show(rule, self.on_rule)
                return True
        return False

    def _not_allowed(self, rule: Rule, match: Match, inner: Inner) -> str | None:
        """Why no rule of this kind may rewrite the match, whatever it would check."""
        if not rule.takes_codes:
            for node in match.nodes:
                if any(v.quant is not None for v in node.outputs):
                    return f"{node} computes quantized codes"
        return None if rule.keeps_inner else self._outside_reader(match, inner)

    def _outside_reader(self, match: Match, inner: Inner) -> str | None:
        for node, pattern in inner:
            if pattern.shared:
                continue
            for value in node.outputs:
                for reader in value.uses:
                    if reader not in match.nodes:
                        return f"{value.name!r} is also read by {reader}"
                if self.graph.is_output(value):
                    return f"{value.name!r} is a result of the graph"
        return None

    def _apply(self, rule: Rule, match: Match) -> None:
        root, read = match.root, match.root.inputs
        results = rule.rewrite(match)
        if results is not None:
            news = [results] if isinstance(results, Value) else list(results)
            olds, root.outputs = root.outputs, ()
            for old, new in zip(olds, news, strict=True):
                self._replace(match, old, new)
        for node in (root, *match.added):
            self._bury(node)
        for value in read:
            if value is not None and value.producer is not None:
                self._bury(value.producer)

    def _replace(self, match: Match, old: Value, new: Value) -> None:
        """Let the readers of ``old`` have what ``new`` is."""
        is_output = self.graph.is_output(old)
        if new.data is not None and (is_output or not new.uses):
            old.producer, old.data = None, new.data
            old.dtype, old.quant, old.shape = new.dtype, new.quant, new.shape
        elif new.producer in match.added:
            take_over(self.graph, old, new)
            assert old.producer is not None
            old.producer.name = match.root.name
        elif is_output:
            take_over(self.graph, old, new)
        else:
            old.producer = None
            self.graph.replace(old, new)
            new.range = new.range or old.range

    def _bury(self, node: Node) -> None:
        """Take ``node`` and what only it needed out of the graph, unless something reads it."""
        stack = [node]
        while stack:
            dead = stack.pop()
            if id(dead) in self._dead or dead.op.stateful:
                continue
            if any(v.uses or self.graph.is_output(v) for v in dead.outputs):
                continue
            self._dead.add(id(dead))
            producers = [v.producer for v in dead.inputs if v is not None]
            dead.inputs = ()
            stack += [p for p in producers if p is not None]

    def _show(self, rule: Rule, on_rule: OnRule) -> None:
        """Let the graph be looked at without what is dead, which the sweep still holds."""
        held = self.graph.nodes
        self.graph.nodes = [n for n in held if id(n) not in self._dead]
        self.graph.sort()
        on_rule(rule.name)
        self.graph.nodes = held

    def _tidy(self) -> None:
        self.graph.nodes = [n for n in self.graph.nodes if id(n) not in self._dead]
        self._dead.clear()
        self.graph.sort()


def take_over(graph: Graph, old: Value, new: Value) -> None:
    """Let the producer of ``new`` compute ``old`` instead: its name, readers and place survive."""
    producer = new.producer
    assert producer is not None
    producer.outputs = tuple(old if v is new else v for v in producer.outputs)
    old.producer, new.producer = producer, None
    graph.replace(new, old)
    old.dtype, old.quant, old.range = new.dtype, new.quant or old.quant, old.range or new.range
    old.shape = merge_shapes(old.shape, new.shape) or old.shape


def can_stand_in(graph: Graph, old: Value, new: Value) -> str | None:
    """Why ``new``, an existing value, cannot replace ``old``, or ``None``.

    A result of the graph needs a producer of its own.
    """
    if not graph.is_output(old):
        return None
    if new.producer is None:
        return f"{old.name!r} is a result of the graph and {new.name!r} is not computed"
    if graph.is_output(new):
        return f"{old.name!r} and {new.name!r} are both results of the graph"
    return None


def merge_shapes(a: Shape | None, b: Shape | None) -> Shape | None:
    """What both shapes say together; ``None`` too when they contradict each other."""
    if a is None or b is None:
        return b if a is None else a
    if len(a) != len(b) or any(None not in (x, y) and x != y for x, y in zip(a, b, strict=True)):
        return None
    return tuple(y if x is None else x for x, y in zip(a, b, strict=True))


def operator(node: Node) -> Any:
    """The operator of ``node``, whose attributes only its class knows."""
    return node.op
