"""The importer's engine: walks a TensorFlow graph in order and lets handlers build the model.

A handler is a function registered by ``@tf("Conv2D")``. It gets a :class:`Site` (the node's
attributes, and the means to add operators) and the node's inputs as values, and returns the
node's results. Nothing else is needed to support a TensorFlow operator.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from octolite.errors import FormatError, InvalidGraphError, OctoliteError, UnsupportedError
from octolite.frontends.builder import Builder, Target
from octolite.frontends.graphdef.custom import kept
from octolite.frontends.graphdef.nodes import Attributes, Ref, Region, TfNode
from octolite.frontends.graphdef.source import Source, State, resource_name
from octolite.ir.graph import Graph, Value
from octolite.ir.types import TensorType

Handler = Callable[..., Any]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """A handler and how many inputs it takes (``most`` is ``None``: any number)."""

    handler: Handler
    least: int
    most: int | None


HANDLERS: dict[str, Entry] = {}
"""TensorFlow operator → its handler."""


def tf(*names: str) -> Callable[[Handler], Handler]:
    """Register a handler ``(site, *inputs) -> value or values`` for TensorFlow's operators."""

    def register(handler: Handler) -> Handler:
        parameters = list(inspect.signature(handler).parameters.values())[1:]
        variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        fixed = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        least = sum(p.default is p.empty for p in fixed)
        for name in names:
            if name in HANDLERS:
                raise TypeError(f"TensorFlow operator {name} has two handlers")
            HANDLERS[name] = Entry(handler, least, None if variadic else len(fixed))
        return handler

    return register


@dataclass
class Importer(Target):
    """One import under way: what each TensorFlow result has become."""

    source: Source
    values: dict[Ref, Value] = field(default_factory=dict)
    imported: set[str] = field(default_factory=set)
    allow_custom_ops: bool = False
    """Operators without a handler become custom operators."""
    problems: dict[str, list[str]] = field(default_factory=dict)
    unsized: dict[int, Unsized] = field(default_factory=dict)
    readers: Counter[Ref] = field(default_factory=Counter)

    def run(
        self, order: Sequence[TfNode], keep: Iterable[Ref], on_progress: Progress | None = None
    ) -> None:
        """Import the nodes of ``order``; the values of ``keep`` stay in :attr:`values`.

        Raises :class:`UnsupportedError` for all that fail.
        """
        self.add(order, keep, on_progress)
        if self.problems:
            lines = [f"  - {what}: {_some(names)}" for what, names in self.problems.items()]
            raise UnsupportedError("the graph holds what cannot be converted:\n" + "\n".join(lines))

    def add(
        self, order: Sequence[TfNode], keep: Iterable[Ref], on_progress: Progress | None = None
    ) -> None:
        """The same; failures are noted in :attr:`problems`."""
        self.names.update(n.name for n in order)
        self.readers = readers = Counter(r for n in order for r in n.inputs) + Counter(keep)
        for done, node in enumerate(order, 1):
            try:
                self._import(node)
            except UnsupportedError as error:
                self._note(node, str(error))
            readers.subtract(node.inputs)
            for ref in node.inputs:
                if not readers[ref]:
                    self._release(ref)
            if on_progress is not None:
                on_progress("importing", done, len(order))
        for value, _, _ in self.unsized.values():
            if value.producer is None and (value.uses or self.graph.is_output(value)):
                what = "a TensorArray whose elements' shape cannot be told before its loop"
                self.problems.setdefault(what, []).append(value.name)

    def _release(self, ref: Ref) -> None:
        """Forget a result that nothing will read: the weights' first form may be freed."""
        value = self.values.pop(ref, None)
        if value is not None and self.views.get(id(value), (None,))[0] is value:
            del self.views[id(value)]

    def _note(self, node: TfNode, what: str) -> None:
        self.problems.setdefault(what, []).append(node.name)

    def _import(self, node: TfNode) -> None:
        entry = HANDLERS.get(node.op_type)
        if entry is None and self.allow_custom_ops:
            entry = Entry(self._keep, 0, None)
        if entry is None:
            raise UnsupportedError(f"TensorFlow operator {node.op_type} is not supported")
        count = len(node.inputs)
        if count < entry.least or (entry.most is not None and count > entry.most):
            raise InvalidGraphError(f"{node!r} has {count} inputs, expected {entry.least}")
        inputs = [self._input(node, ref) for ref in node.inputs]
        if None in inputs:
            return  # because of a problem that has been noted
        site = Site(self, node)
        try:
            results = entry.handler(site, *inputs)
        except (FormatError, UnsupportedError):
            raise
        except (OctoliteError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            reads = ", ".join(map(repr, inputs))
            raise InvalidGraphError(f"{node!r} reading ({reads}): {error}") from error
        if results is None:
            return  # because of a problem that has been noted
        self.imported.add(node.name)
        results = (results,) if isinstance(results, Value) else results
        for index, value in enumerate(results):
            self.values[Ref(node.name, index)] = value
            site.claim(value, str(Ref(node.name, index)))

    def _keep(self, site: Site, *inputs: Value) -> list[Value]:
        """A custom operator in the place of one that has no handler."""
        read = max((ref.output for ref in self.readers if ref.name == site.name), default=0)
        op = kept(site, 1 + read)
        results = [site.value(like) for like in op.declared]
        site.computed(op, inputs, results)
        return results

    def _input(self, node: TfNode, ref: Ref) -> Value | None:
        if ref in self.values:
            return self.values[ref]
        if ref in self.source.bound:
            raise UnsupportedError(
                "a result inside a loop or a conditional is read outside; read what comes out of it"
            )
        if ref.name not in self.imported:
            return None  # its node could not be imported
        raise InvalidGraphError(f"{node!r} reads {str(ref)!r}, a result that is not available")


class Unsized(NamedTuple):
    """A TensorArray that has been made before the shape of its elements is known.

    ``value`` gets a producer once that is known; ``size`` is the scalar number of elements,
    ``site`` where the array is made.
    """

    value: Value
    size: Value
    site: Site


class Site(Attributes, Builder):
    """Where a handler works: the TensorFlow node's attributes and the graph that is built."""

    def __init__(self, importer: Importer, node: TfNode) -> None:
        Attributes.__init__(self, node.name, node.op_type, node.attr, node.scope)
        Builder.__init__(self, importer)
        self.regions = node.regions
        self._node = node
        self._importer = importer

    # -- building -----------------------------------------------------------------------------

    def computed(self, op: Any, inputs: Sequence[Value], outputs: Sequence[Value]) -> None:
        """Let ``op`` compute ``outputs`` when the model runs, even from constants."""
        name = self._importer.unique(f"{self.name}/{op.name.lower()}")
        self._importer.graph.add(op, inputs, name, outputs=outputs)
        self._created += outputs

    def value(self, like: TensorType, name: str = "") -> Value:
        """A value that nothing computes yet."""
        return Value(name or self._importer.unique(f"{self.name}/value"), like.dtype, like.shape)

    # -- TensorArrays ---------------------------------------------------------------------------

    def leave_unsized(self, value: Value, size: Value) -> None:
        """``value``, an array of ``size`` elements, is made when their shape is known."""
        self._importer.unsized[id(value)] = Unsized(value, size, self)

    def unsized(self, value: Value) -> Unsized | None:
        """How to make ``value``, when it is such an array and not made yet."""
        found = self._importer.unsized.get(id(value))
        return found if found is not None and value.producer is None else None

    # -- variables and tables -------------------------------------------------------------------

    @property
    def resource(self) -> str:
        """What the variable or table is called that the node gives a handle of."""
        return resource_name(self._node)

    @property
    def state(self) -> State:
        """What variables and tables hold before the model runs."""
        return self._importer.source.state

    @property
    def is_live(self) -> bool:
        """Whether the variable changes that the node gives a handle of."""
        return self.resource in self._importer.source.live

    # -- loops and conditionals -----------------------------------------------------------------

    def nested(self, name: str) -> Site:
        """A place to build another graph, for an operator that runs it."""
        inner = Importer(self._importer.source, graph=Graph(f"{self.name}/{name}"))
        inner.problems = self._importer.problems
        inner.allow_custom_ops = self._importer.allow_custom_ops
        return Site(inner, self._node)

    def parameters(self, types: Sequence[TensorType]) -> list[Value]:
        """Inputs of these types for the graph that is built here."""
        unique, name = self._importer.unique, f"{self.graph.name}/given"
        return [self.graph.add_input(unique(name), t.dtype, t.shape) for t in types]

    def results(self, values: Sequence[Value]) -> None:
        """End the graph that is built here."""
        self.graph.outputs = list(values)
        self.graph.prune()

    def copy(self, constant: Value) -> Value:
        """Another graph's constant as one of this graph."""
        return _copy(constant, {})

    def subgraph(
        self, name: str, region: Region, types: Sequence[TensorType], outer: Mapping[Ref, Value]
    ) -> Graph | None:
        """A graph of what ``region`` computes; ``None`` when a node fails, which is noted.

        Args:
            types: of the region's parameters, then of the captured values that are no constants,
                in the order of ``outer``. The graph has an input for each.
            outer: values of the region's captures and others. A constant becomes one of the graph.
        """
        inner = Importer(self._importer.source, graph=Graph(f"{self.name}/{name}"))
        inner.problems, inner.spent = self._importer.problems, self._importer.spent
        inner.allow_custom_ops = self._importer.allow_custom_ops
        before = sum(map(len, inner.problems.values()))
        carried = list({id(v): v for v in outer.values() if v.data is None}.values())
        names = [str(r) for r in region.parameters] + [v.name for v in carried]
        inputs = [
            inner.graph.add_input(inner.unique(n), t.dtype, t.shape)
            for n, t in zip(names, types, strict=True)
        ]
        inner.values.update(zip(region.parameters, inputs, strict=False))
        inside = dict(zip(map(id, carried), inputs[len(region.parameters) :], strict=True))
        for ref, value in outer.items():
            inner.values[ref] = inside[id(value)] if value.data is None else _copy(value, inside)
        inner.add(region.order, (*region.results, *inner.values))
        self._importer.spent = inner.spent
        if sum(map(len, inner.problems.values())) > before:
            return None
        missing = next((r for r in region.results if r not in inner.values), None)
        if missing is not None:
            raise InvalidGraphError(f"{self!r} gives {str(missing)!r}, which nothing computes")
        inner.graph.outputs = [inner.values[r] for r in region.results]
        inner.graph.prune()
        return inner.graph


def _copy(value: Value, copies: dict[int, Value]) -> Value:
    """The same constant for another graph, once for each graph."""
    assert value.data is not None
    if id(value) not in copies:
        copies[id(value)] = Value.constant(value.name, value.data, value.dtype, value.quant)
        copies[id(value)].range = value.range
    return copies[id(value)]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"node{'s' if len(names) > 1 else ''} {shown}{more}"
