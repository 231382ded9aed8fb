"""The TensorFlow graph: which nodes a result needs, once what is no computation is seen through."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from octolite.errors import InvalidGraphError, OctoliteError, UnsupportedError
from octolite.frontends.graphdef.nodes import Ref, Region, TfNode
from octolite.frontends.graphdef.tensors import shape_of
from octolite.ir.types import Array, Shape

LEFTOVERS = {
    "NoOp", "Assert", "Const", "Placeholder", "PlaceholderWithDefault", "Print", "PrintV2",
    "SaveV2", "RestoreV2", "MergeSummary", "ScalarSummary", "HistogramSummary", "ImageSummary",
}  # fmt: skip
"""Operators that are no result of a model although nothing consumes them."""

VARIABLES = ("VarHandleOp", "Variable", "VariableV2")
"""Operators whose result is a variable, or leads to it."""

FROZEN = {
    "ReadVariableOp": "Identity", "ResourceGather": "Gather", "ResourceGatherNd": "GatherNd",
    "VariableShape": "Shape",
}  # fmt: skip
"""What operators on variables are once a variable is its value."""

Rule = Callable[["Source", TfNode], Sequence[Ref] | None]
"""Where a node's results really come from, or ``None`` when the node computes them itself."""

RULES: dict[str, list[Rule]] = {}


def see_through(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for TensorFlow's operators of these names."""

    def register(rule: Rule) -> Rule:
        for name in names:
            RULES.setdefault(name, []).append(rule)
        return rule

    return register


Content = Callable[[], Array]
"""Reads what a variable holds, when that is asked for."""


@dataclass
class State:
    """What variables hold before the model runs, and tables: their keys and values. By name."""

    variables: dict[str, Content] = field(default_factory=dict)
    tables: dict[str, tuple[Content, Content]] = field(default_factory=dict)


def resource_name(node: TfNode) -> str:
    """What a variable or table is called, by all nodes that mean the same."""
    return node.text("shared_name", "") or node.name


class Source:
    """The nodes of a ``GraphDef`` by name, seen through by :data:`RULES` as they are met.

    Attributes:
        feeds: results that the caller will give; nothing behind them is looked at.
        bound: results that a loop or a conditional gives to its regions, likewise.
        functions: the function library, by name.
        added: how many nodes inlining has added.
        bodies: the nodes that each inlined call has added, by the call's name.
        state: what the graph's variables and tables hold, when that is known.
        live: the variables that change, and are read when the model runs. Any other is the value
            that it holds; where all are, ``live`` is given as ``None``.
        waits: nodes that a node comes after, although it does not read them.
    """

    def __init__(
        self, graph: Any, state: State | None = None, live: Container[str] | None = None
    ) -> None:
        self.producer = int(graph.versions.producer)
        self.functions = {f.signature.name: f for f in graph.library.function}
        self.feeds: set[Ref] = set()
        self.bound: set[Ref] = set()
        self.nodes: dict[str, TfNode] = {}
        self.added = 0
        self.bodies: dict[str, list[str]] = {}
        self.state = state or State()
        self.live: Container[str] = () if live is None else live
        self._is_frozen = live is None
        self.waits: dict[str, list[str]] = {}
        self._forward: dict[Ref, Ref] = {}
        self._settled: set[str] = set()
        for node in graph.node:
            inputs = [Ref.parse(i) for i in node.input if not i.startswith("^")]
            controls = [i[1:] for i in node.input if i.startswith("^")]
            self.add(TfNode(node.name, node.op, node.attr, inputs, controls))

    def add(self, node: TfNode) -> None:
        if node.name in self.nodes:
            raise InvalidGraphError(f"two nodes are called {node.name!r}")
        if self._is_frozen:
            node.op_type = FROZEN.get(node.op_type, node.op_type)
        self.nodes[node.name] = node

    def forward(self, ref: Ref, target: Ref) -> None:
        """From now on ``ref`` is ``target``."""
        self._forward[ref] = target

    # -- walking ------------------------------------------------------------------------------

    def resolve(self, ref: Ref, reader: TfNode | None = None) -> Ref:
        """Where ``ref`` really comes from. Raises :class:`InvalidGraphError` for a missing node."""
        seen = set()
        while ref not in self.feeds and ref not in self.bound:
            if ref in seen:
                raise InvalidGraphError(f"the result {str(ref)!r} is defined by itself")
            seen.add(ref)
            if ref not in self._forward:
                self._settle(self._node(ref, reader))
            if ref not in self._forward:
                break
            ref = self._forward[ref]
        return ref

    def _settle(self, node: TfNode) -> None:
        """Apply the node's rule, once."""
        if node.name in self._settled:
            return
        self._settled.add(node.name)
        called = node.op_type in self.functions  # a function may be called by its own name
        for rule in RULES.get("PartitionedCall" if called else node.op_type, ()):
            found = rule(self, node)
            if found is not None:
                for index, target in enumerate(found):
                    self.forward(Ref(node.name, index), target)
                return

    def settle(self, node: TfNode, targets: Sequence[Ref]) -> None:
        """From now on the results of ``node`` are ``targets``, whatever its rules would say."""
        self._settled.add(node.name)
        for index, target in enumerate(targets):
            self.forward(Ref(node.name, index), target)

    def is_settled(self, node: TfNode) -> bool:
        return node.name in self._settled

    def forwarded(self, ref: Ref) -> Ref:
        """Where ``ref`` comes from, as far as rules have said so far."""
        for _ in range(1000):
            if ref in self.feeds or ref in self.bound or ref not in self._forward:
                break
            ref = self._forward[ref]
        return ref

    def _node(self, ref: Ref, reader: TfNode | None = None) -> TfNode:
        try:
            return self.nodes[ref.name]
        except KeyError:
            by = f", which {reader!r} reads" if reader else ""
            raise InvalidGraphError(f"there is no node {ref.name!r}{by}") from None

    def order(self, wanted: Iterable[Ref]) -> list[TfNode]:
        """The nodes that ``wanted`` needs, each after its inputs.

        Raises :class:`InvalidGraphError` for a cycle or a missing node.
        """
        order: list[TfNode] = []
        done: dict[str, bool] = {}  # False while the node's inputs are being visited
        stack = [r.name for r in map(self.resolve, wanted) if not self._is_given(r)]
        stack.reverse()
        while stack:
            node = self.nodes[stack[-1]]
            if node.name in done:
                stack.pop()
                if not done[node.name]:
                    done[node.name] = True
                    order.append(node)
                continue
            done[node.name] = False
            node.inputs = [self.resolve(r, node) for r in node.inputs]
            before = [self.resolve(Ref(name)) for name in self.waits.get(node.name, ())]
            for ref in reversed([*before, *node.inputs]):
                if self._is_given(ref) or done.get(ref.name):
                    continue
                if ref.name not in done:
                    stack.append(ref.name)
                elif not {node.op_type, self.nodes[ref.name].op_type} & {"NextIteration", "Merge"}:
                    raise self._cycle(node, ref, [n for n, left in done.items() if not left])
        return order

    def _cycle(self, node: TfNode, ref: Ref, open_: Sequence[str]) -> OctoliteError:
        """What to say when ``node`` needs ``ref``, which is being visited like all of ``open_``."""
        if any(self.nodes[name].op_type == "NextIteration" for name in open_):
            return UnsupportedError(
                f"{node!r} lies inside a loop, and its result is read outside; read what comes out "
                "of the loop (Exit)"
            )
        return InvalidGraphError(f"{node!r} depends on itself, through {ref.name!r}")

    def _is_given(self, ref: Ref) -> bool:
        return ref in self.feeds or ref in self.bound

    def region(self, parameters: Sequence[Ref], results: Iterable[Ref]) -> Region:
        """What lies between ``parameters`` and ``results``, and what it reads from outside."""
        given = set(parameters)
        self.bound |= given
        ends = tuple(map(self.resolve, results))
        order: list[TfNode] = []
        inside: set[str] = set()
        for node in self.order(ends):
            if any(r in given or r.name in inside for r in node.inputs):
                inside.add(node.name)
                order.append(node)
        reads = dict.fromkeys((*(r for n in order for r in n.inputs), *ends))
        captures = tuple(r for r in reads if r not in given and r.name not in inside)
        return Region(tuple(parameters), ends, tuple(order), captures)

    # -- asking -------------------------------------------------------------------------------

    def placeholders(self) -> list[Ref]:
        return [Ref(n.name) for n in self.nodes.values() if n.op_type == "Placeholder"]

    def sinks(self) -> list[Ref]:
        """The results that nothing consumes and that depend on a feed.

        Ends that something waits for (by a control edge) are checks and the like: they count
        only when there is no other. Without any feed in reach, all ends are results.
        """
        users: dict[str, list[str]] = {}
        waited_for = set()
        for node in self.nodes.values():
            waited_for.update(node.controls)
            for ref in node.inputs:
                users.setdefault(ref.name, []).append(node.name)
        ends = [n for n in self.nodes.values() if n.name not in users]
        ends = [n for n in ends if n.op_type not in LEFTOVERS]
        ends = [n for n in ends if n.name not in waited_for] or ends
        reached: set[str] = set()
        stack = [f.name for f in self.feeds]
        while stack:
            name = stack.pop()
            if name not in reached:
                reached.add(name)
                stack += users.get(name, ())
        ends = [n for n in ends if n.name in reached] or ends
        return [Ref(n.name, i) for n in ends for i in range(min(n.result_count(), 1000))]

    def behind(self, ref: Ref) -> Ref:
        """The same result without Identity nodes in front. Applies no rule, so rules may ask."""
        for _ in range(100):
            if ref in self.feeds:
                break
            if ref in self._forward:
                ref = self._forward[ref]
                continue
            node = self.nodes.get(ref.name)
            if node is None or node.op_type != "Identity" or not node.inputs:
                break
            ref = node.inputs[0]
        return ref

    def origin(self, ref: Ref) -> TfNode | None:
        """The node behind ``ref`` and Identity nodes; ``None`` when it is fed or missing."""
        ref = self.behind(ref)
        return None if ref in self.feeds else self.nodes.get(ref.name)

    def scalar(self, ref: Ref) -> float | None:
        """The number of a constant of one element, also of a default that nobody overrides."""
        node = self.origin(ref)
        if node is not None and node.op_type == "PlaceholderWithDefault" and node.inputs:
            node = self.origin(node.inputs[0])
        array = None if node is None else self._small(node)
        if array is None or array.size != 1 or array.dtype.kind not in "fiub":
            return None
        return float(array.reshape(()))

    def extents(self, node: TfNode) -> Shape | None:
        """The shape of a constant, or of a variable that never changes."""
        if node.op_type == "Const" and node.has("value"):
            return shape_of(node.attr["value"].tensor.tensor_shape)
        content = self._content(node)
        return None if content is None else content().shape

    def _content(self, node: TfNode) -> Content | None:
        """What a variable holds that never changes."""
        if node.op_type not in VARIABLES or resource_name(node) in self.live:
            return None
        return self.state.variables.get(resource_name(node))

    def _small(self, node: TfNode) -> Array | None:
        """The data of a constant of one element, or of a variable that never changes."""
        if node.op_type == "Const" and node.element_count("value") == 1:
            return node.array_attribute("value")
        content = self._content(node)
        return content() if content is not None and node.shape("shape") in ((), (1,)) else None
