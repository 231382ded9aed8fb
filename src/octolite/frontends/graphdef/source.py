"""The TensorFlow side: named nodes with data inputs, typed attributes and inlined functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from octolite.errors import InvalidGraphError, UnsupportedError
from octolite.frontends.graphdef.tensors import TfType, array_of, shape_of, tf_type
from octolite.ir.types import Array, DType, Shape

T = TypeVar("T")

CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
LEFTOVERS = {
    "NoOp", "Assert", "Const", "Placeholder", "PlaceholderWithDefault", "Print", "PrintV2",
    "SaveV2", "RestoreV2", "MergeSummary", "ScalarSummary", "HistogramSummary", "ImageSummary",
}  # fmt: skip
"""Operators that are no result of a model although nothing consumes them."""

EXPANDED = 200_000
"""Nodes that inlining functions may add."""

OUTPUTS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"),
        ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2"),
    ),
    "TopKV2": ("values", "indices"),
    "Unique": ("y", "idx"),
    "Switch": ("output_false", "output_true"),
    "Merge": ("output", "value_index"),
    "MaxPoolWithArgmax": ("output", "argmax"),
    "NonMaxSuppressionV4": ("selected_indices", "valid_outputs"),
    "NonMaxSuppressionV5": ("selected_indices", "selected_scores", "valid_outputs"),
}
"""Names of the results of operators with several, as function bodies refer to them."""


class Ref(NamedTuple):
    """Result number ``output`` of the node called ``name``."""

    name: str
    output: int = 0

    @classmethod
    def parse(cls, text: str) -> Ref:
        """From ``node`` or ``node:1``."""
        name, colon, index = text.rpartition(":")
        if colon and index.isdecimal() and len(index) < 7:
            return cls(name, int(index))
        return cls(text)

    def __str__(self) -> str:
        return f"{self.name}:{self.output}" if self.output else self.name


class Attributes:
    """A node's attributes by type. What is missing without a default, or of another type than
    asked for, raises :class:`InvalidGraphError`."""

    def __init__(self, name: str, op_type: str, attr: Any, scope: Any = None) -> None:
        self.name = name
        self.op_type = op_type
        self.attr = attr
        self.scope = scope  # the attributes of the call whose function body holds the node

    def __repr__(self) -> str:
        return f"node {self.name!r} ({self.op_type})"

    def _get(self, name: str, kind: str, default: Any) -> Any:
        found = self.attr.get(name)
        if found is not None and found.WhichOneof("value") == "placeholder":
            stand_in, scope = found.placeholder, self.scope
            found = scope[stand_in] if scope is not None and stand_in in scope else None
        if found is None:
            if default is None:
                raise InvalidGraphError(f"{self!r} has no attribute {name!r}")
            return default
        if found.WhichOneof("value") != kind:
            holds = found.WhichOneof("value") or "nothing"
            raise InvalidGraphError(f"{self!r}: attribute {name!r} holds {holds}, expected {kind}")
        return getattr(found, kind)

    def has(self, name: str) -> bool:
        return name in self.attr

    def integer(self, name: str, default: int | None = None) -> int:
        return int(self._get(name, "i", default))

    def number(self, name: str, default: float | None = None) -> float:
        return float(self._get(name, "f", default))

    def flag(self, name: str, default: bool | None = None) -> bool:
        return bool(self._get(name, "b", default))

    def text(self, name: str, default: str | None = None) -> str:
        found = self._get(name, "s", default)
        return found if isinstance(found, str) else found.decode(errors="replace")

    def choice(self, name: str, choices: Mapping[str, T], default: str | None = None) -> T:
        """What ``choices`` has for the attribute's text."""
        text = self.text(name, default)
        if text not in choices:
            known = ", ".join(choices)
            raise UnsupportedError(f"{self!r}: {name} is {text!r}, supported: {known}")
        return choices[text]

    def ints(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        found = self._get(name, "list", default)
        return [int(i) for i in (found.i if hasattr(found, "i") else found)]

    def tf_type(self, name: str, default: int | None = None) -> TfType:
        try:
            return tf_type(self._get(name, "type", default))
        except UnsupportedError as error:
            raise UnsupportedError(f"{self!r}: {error}") from None

    def dtype(self, name: str, default: int | None = None) -> DType:
        return self.tf_type(name, default).dtype

    def shape(self, name: str) -> Shape | None:
        """The shape, or ``None`` when the attribute is missing or its rank is unknown."""
        return shape_of(self._get(name, "shape", None)) if self.has(name) else None

    def array_attribute(self, name: str) -> Array:
        return array_of(self._get(name, "tensor", None))


class TfNode(Attributes):
    """One TensorFlow node; ``inputs`` are its data inputs, control inputs are dropped."""

    def __init__(
        self,
        name: str,
        op_type: str,
        attr: Any,
        inputs: list[Ref],
        scope: Any = None,
        depth: int = 0,
    ) -> None:
        super().__init__(name, op_type, attr, scope)
        self.inputs = inputs
        self.depth = depth


class Source:
    """The nodes of a ``GraphDef`` by name, function calls inlined as they are met."""

    def __init__(self, graph: Any) -> None:
        self.producer = int(graph.versions.producer)
        self.functions = {f.signature.name: f for f in graph.library.function}
        self.nodes: dict[str, TfNode] = {}
        self._forward: dict[Ref, Ref] = {}
        self._expanded = 0
        for node in graph.node:
            inputs = [Ref.parse(i) for i in node.input if not i.startswith("^")]
            self._add(TfNode(node.name, node.op, node.attr, inputs))

    def _add(self, node: TfNode) -> None:
        if node.name in self.nodes:
            raise InvalidGraphError(f"two nodes are called {node.name!r}")
        self.nodes[node.name] = node

    # -- finding ------------------------------------------------------------------------------

    def placeholders(self) -> list[Ref]:
        return [Ref(n.name) for n in self.nodes.values() if n.op_type == "Placeholder"]

    def sinks(self, feeds: Iterable[Ref]) -> list[Ref]:
        """The results that nothing consumes and that depend on one of ``feeds``.

        All of them when none depends on a feed (a model without inputs).
        """
        users: dict[str, list[str]] = {}
        for node in self.nodes.values():
            for ref in node.inputs:
                users.setdefault(ref.name, []).append(node.name)
        ends = [n.name for n in self.nodes.values() if n.name not in users]
        ends = [n for n in ends if self.nodes[n].op_type not in LEFTOVERS]
        reached = set()
        stack = [f.name for f in feeds]
        while stack:
            name = stack.pop()
            if name not in reached:
                reached.add(name)
                stack += users.get(name, ())
        return [Ref(n) for n in ends if n in reached] or [Ref(n) for n in ends]

    def order(self, wanted: Iterable[Ref], feeds: set[Ref]) -> list[TfNode]:
        """The nodes that ``wanted`` needs, each after its inputs; ``feeds`` are not looked behind.

        Raises :class:`InvalidGraphError` for a cycle or a missing node.
        """
        order: list[TfNode] = []
        done: dict[str, bool] = {}  # False while the node's inputs are being visited
        stack = [r.name for r in map(self.resolve, wanted) if r not in feeds]
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
            node.inputs = [r if r in feeds else self.resolve(r, node) for r in node.inputs]
            for ref in reversed(node.inputs):
                if ref in feeds or done.get(ref.name):
                    continue
                if ref.name not in done:
                    stack.append(ref.name)
                elif not {node.op_type, self.nodes[ref.name].op_type} & {"NextIteration", "Merge"}:
                    raise InvalidGraphError(f"{node!r} depends on itself, through {ref.name!r}")
        return order

    def resolve(self, ref: Ref, reader: TfNode | None = None) -> Ref:
        """Where ``ref`` really comes from: through function calls and their arguments."""
        seen = set()
        while True:
            if ref in self._forward:
                ref = self._forward[ref]
                if ref in seen:
                    raise InvalidGraphError(f"the result {str(ref)!r} is defined by itself")
                seen.add(ref)
                continue
            node = self.nodes.get(ref.name)
            if node is None:
                by = f", which {reader!r} reads" if reader else ""
                raise InvalidGraphError(f"there is no node {ref.name!r}{by}")
            function = self._called(node)
            if function is None:
                return ref
            self._expand(node, function)
            if ref not in self._forward:
                raise InvalidGraphError(f"{node!r} has no result {ref.output}")

    # -- functions ----------------------------------------------------------------------------

    def _called(self, node: TfNode) -> Any:
        if node.op_type in self.functions:
            return self.functions[node.op_type]
        if node.op_type not in CALLS:
            return None
        name = node._get("f", "func", None).name
        if name not in self.functions:
            raise InvalidGraphError(f"{node!r} calls {name!r}, which the library does not have")
        return self.functions[name]

    def _expand(self, call: TfNode, function: Any) -> None:
        """Put the function's nodes in place of ``call``, under its name."""
        self._expanded += len(function.node_def) + 1
        if self._expanded > EXPANDED or call.depth > 100:
            raise UnsupportedError(
                f"{call!r} calls functions without end, or {EXPANDED} nodes' worth"
            )
        arguments = [a.name for a in function.signature.input_arg]
        if len(arguments) != len(call.inputs):
            raise InvalidGraphError(
                f"{call!r} gives {len(call.inputs)} arguments, its function takes {len(arguments)}"
            )
        for argument, ref in zip(arguments, call.inputs, strict=True):
            self._forward[Ref(f"{call.name}/{argument}")] = ref
        ops = {n.name: n.op for n in function.node_def}
        for body in function.node_def:
            inputs = [self._inner(call, i, ops) for i in body.input if not i.startswith("^")]
            name = f"{call.name}/{body.name}"
            self._add(TfNode(name, body.op, body.attr, inputs, call.attr, call.depth + 1))
        for index, result in enumerate(function.signature.output_arg):
            if result.name not in function.ret:
                raise InvalidGraphError(f"{call!r}: its function does not return {result.name!r}")
            inner = self._inner(call, function.ret[result.name], ops)
            self._forward[Ref(call.name, index)] = inner

    def _inner(self, call: TfNode, text: str, ops: Mapping[str, str]) -> Ref:
        """A function body's reference, ``argument`` or ``node:result:index``, as a ``Ref``."""
        name, _, rest = text.partition(":")
        result, _, index = rest.partition(":")
        number = int(index) if index.isdecimal() and len(index) < 7 else 0
        op = ops.get(name, "")
        results: Sequence[str] = OUTPUTS.get(op, ())
        if op in self.functions:
            results = [a.name for a in self.functions[op].signature.output_arg]
        if result in results:
            number += results.index(result)
        return Ref(f"{call.name}/{name}", number)
