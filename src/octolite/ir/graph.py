"""The one intermediate form: a graph of TFLite operators over values.

Everything is an object: a :class:`Value` knows its producer and its uses, a :class:`Node` its
inputs and outputs, and nothing is found by an integer index. Mutation goes through the methods
here, which keep both sides of every edge in step, so that a rewrite may change the graph while
it walks a snapshot of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from octolite.errors import InvalidGraphError
from octolite.ir.types import INT8, Array, DType, Quant, Shape, TensorType, dtype_from_numpy


class Op(Protocol):
    """What the graph asks of an operator (see :class:`octolite.ops.base.Operator`)."""

    @property
    def name(self) -> str: ...
    @property
    def stateful(self) -> bool: ...
    def attributes(self) -> dict[str, Any]: ...
    def infer(self, *inputs: Any) -> Sequence[TensorType]: ...


class Value:
    """A tensor: the result of a node, an input of the graph, a constant or a variable.

    Attributes:
        name: unique within a written file (the writer sees to it).
        dtype: its number format.
        shape: its extents, ``None`` for each unknown one; ``None`` when even the rank is unknown.
        data: the array, for a constant.
        quant: scale and zero point, when it holds codes.
        range: (min, max) of real values, where the source stated one (FakeQuant).
        is_variable: state that lives across runs.
        producer: the node that computes it, or ``None``.
    """

    __slots__ = (
        "_uses", "data", "dtype", "is_variable", "name", "producer", "quant", "range", "shape",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        dtype: DType,
        shape: Shape | None,
        *,
        data: Array | None = None,
        quant: Quant | None = None,
        is_variable: bool = False,
    ) -> None:
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self.data = data
        self.quant = quant
        self.range: tuple[float, float] | None = None
        self.is_variable = is_variable
        self.producer: Node | None = None
        self._uses: list[Node] = []

    @classmethod
    def constant(
        cls, name: str, data: Array, dtype: DType | None = None, quant: Quant | None = None
    ) -> Value:
        """A value that is known: ``data`` is kept, not copied."""
        array = np.asarray(data)
        shape = tuple(int(d) for d in array.shape)
        return cls(name, dtype or dtype_from_numpy(array.dtype), shape, data=array, quant=quant)

    @property
    def is_constant(self) -> bool:
        return self.data is not None

    @property
    def uses(self) -> tuple[Node, ...]:
        """The nodes that read this value, once for each input they read it through."""
        return tuple(self._uses)

    @property
    def nbytes(self) -> int:
        """Bytes of a constant as a file stores them; 0 for anything else."""
        if self.data is None:
            return 0
        return (self.data.size * self.dtype.bits + 7) // 8

    @property
    def initial(self) -> int:
        """What fills a variable before the first run: 0, or the int8 code of 0."""
        if self.quant is None or self.dtype is not INT8:
            return 0
        return int(self.quant.zero_point[0])

    def __repr__(self) -> str:
        dims = (
            "?"
            if self.shape is None
            else "×".join("?" if d is None else str(d) for d in self.shape)
        )
        return f"{self.name}: {self.dtype}[{dims}]"


class Node:
    """One operator at work: ``op`` with its attributes, its inputs and its outputs.

    An optional input that is absent is ``None``.
    """

    __slots__ = ("_inputs", "name", "op", "outputs")

    def __init__(
        self, op: Op, inputs: Sequence[Value | None], outputs: Sequence[Value], name: str = ""
    ) -> None:
        self.op = op
        self.name = name or (outputs[0].name if outputs else op.name)
        self._inputs: tuple[Value | None, ...] = ()
        self.outputs: tuple[Value, ...] = tuple(outputs)
        for value in self.outputs:
            value.producer = self
        self.inputs = tuple(inputs)

    @property
    def inputs(self) -> tuple[Value | None, ...]:
        return self._inputs

    @inputs.setter
    def inputs(self, values: Sequence[Value | None]) -> None:
        for old in self._inputs:
            if old is not None:
                old._uses.remove(self)
        self._inputs = tuple(values)
        for new in self._inputs:
            if new is not None:
                new._uses.append(self)

    @property
    def output(self) -> Value:
        """The first result."""
        return self.outputs[0]

    def replace_input(self, old: Value, new: Value | None) -> None:
        """Read ``new`` wherever this node reads ``old``."""
        self.inputs = tuple(new if v is old else v for v in self._inputs)

    def set_input(self, index: int, value: Value | None) -> None:
        """Read ``value`` as input number ``index``."""
        self.inputs = (*self._inputs[:index], value, *self._inputs[index + 1 :])

    def __repr__(self) -> str:
        return f"{self.op.name} {self.name!r}"


class Graph:
    """Nodes in an order in which they can run, with the values that go in and come out."""

    def __init__(self, name: str = "main") -> None:
        self.name = name
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self.nodes: list[Node] = []

    # -- building ---------------------------------------------------------------------------

    def add_input(self, name: str, dtype: DType, shape: Shape | None) -> Value:
        value = Value(name, dtype, shape)
        self.inputs.append(value)
        return value

    def add(
        self,
        op: Op,
        inputs: Sequence[Value | None],
        name: str = "",
        *,
        before: Node | None = None,
        outputs: Sequence[Value] | None = None,
    ) -> Node:
        """Append a node (or put it in front of ``before``); results come from ``op.infer``.

        ``outputs`` gives ready-made values instead. Raises what ``infer`` raises
        (:class:`octolite.errors.ShapeError`).
        """
        if outputs is None:
            types = op.infer(*inputs)
            base = name or op.name.lower()
            outputs = [
                Value(base if i == 0 else f"{base}:{i}", t.dtype, t.shape)
                for i, t in enumerate(types)
            ]
        node = Node(op, inputs, outputs, name)
        if before is None:
            self.nodes.append(node)
        else:
            self.nodes.insert(self._position(before), node)
        return node

    def _position(self, node: Node) -> int:
        return next(i for i, n in enumerate(self.nodes) if n is node)

    # -- changing ---------------------------------------------------------------------------

    def replace(self, old: Value, new: Value) -> None:
        """Make every reader of ``old``, and the graph's outputs, read ``new``."""
        for node in dict.fromkeys(old.uses):  # in order, so that files come out the same
            node.replace_input(old, new)
        self.outputs = [new if v is old else v for v in self.outputs]

    def remove(self, node: Node) -> None:
        """Take ``node`` out. Raises :class:`InvalidGraphError` while a result is still read."""
        for value in node.outputs:
            if value.uses or self.is_output(value):
                raise InvalidGraphError(f"{node} cannot be removed: {value.name!r} is still read")
            value.producer = None
        node.inputs = ()
        del self.nodes[self._position(node)]

    def prune(self) -> int:
        """Remove nodes that no output needs; returns how many."""
        needed: set[int] = set()
        stack = [v.producer for v in self.outputs if v.producer is not None]
        stack += [n for n in self.nodes if self.leaves_traces(n)]
        while stack:
            node = stack.pop()
            if id(node) in needed:
                continue
            needed.add(id(node))
            stack += [v.producer for v in node.inputs if v is not None and v.producer is not None]
        dead = [n for n in self.nodes if id(n) not in needed]
        for node in dead:
            node.inputs = ()
        self.nodes = [n for n in self.nodes if id(n) in needed]
        return len(dead)

    def leaves_traces(self, node: Node) -> bool:
        """Whether a run of ``node`` may be seen elsewhere than in its results."""
        if not node.op.stateful:
            return False
        variables = [v for v in node.inputs if v is not None and v.is_variable]
        called = called_by(node)
        if not variables and not called:
            return True
        return any(len(v.uses) > 1 or self.is_output(v) for v in variables) or any(
            n.op.stateful and not called_by(n)
            for graph in callees_first(called)
            for n in graph.nodes
        )

    def sort(self) -> None:
        """Put the nodes in a runnable order, keeping the present one where it is runnable.

        Raises :class:`InvalidGraphError` for a cycle.
        """
        order: list[Node] = []
        state: dict[int, int] = {}  # 1: being visited, 2: placed
        for root in self.nodes:
            stack = [(root, False)]
            while stack:
                node, done = stack.pop()
                if done:
                    state[id(node)] = 2
                    order.append(node)
                    continue
                if state.get(id(node)) == 2:
                    continue
                if state.get(id(node)) == 1:
                    raise InvalidGraphError(f"{node} is part of a cycle")
                state[id(node)] = 1
                stack.append((node, True))
                for value in reversed(node.inputs):
                    producer = value.producer if value is not None else None
                    if producer is None or state.get(id(producer)) == 2:
                        continue
                    if state.get(id(producer)) == 1:
                        raise InvalidGraphError(f"{node} is part of a cycle")
                    stack.append((producer, False))
        self.nodes = order

    # -- looking ----------------------------------------------------------------------------

    def is_output(self, value: Value) -> bool:
        return any(v is value for v in self.outputs)

    def values(self) -> Iterator[Value]:
        """Every value once: inputs, then each node's inputs and outputs in order, then outputs."""
        seen: set[int] = set()
        for value in self._values():
            if value is not None and id(value) not in seen:
                seen.add(id(value))
                yield value

    def _values(self) -> Iterator[Value | None]:
        yield from self.inputs
        for node in self.nodes:
            yield from node.inputs
            yield from node.outputs
        yield from self.outputs

    def constants(self) -> Iterator[Value]:
        return (v for v in self.values() if v.is_constant)

    def operators(self) -> Counter[str]:
        """How often each operator is used."""
        return Counter(n.op.name for n in self.nodes)

    def __repr__(self) -> str:
        return f"Graph({self.name!r}, {len(self.nodes)} nodes)"


@dataclass
class Signature:
    """A named entry point: the caller's argument names and the graph's values."""

    key: str
    inputs: dict[str, Value]
    outputs: dict[str, Value]
    graph: Graph


@dataclass
class Model:
    """What a file holds: graphs (the first is the main one), signatures and metadata.

    ``origin`` is what a reader leaves for the writer of its format; nothing else looks at it.
    """

    graphs: list[Graph]
    signatures: list[Signature] = field(default_factory=list)
    metadata: dict[str, bytes] = field(default_factory=dict)
    description: str = ""
    origin: object = None

    @property
    def main(self) -> Graph:
        return self.graphs[0]


def called_by(node: Node) -> list[Graph]:
    """The graphs that ``node`` runs (control flow)."""
    return [a for a in node.op.attributes().values() if isinstance(a, Graph)]


def callees_first(graphs: Iterable[Graph]) -> list[Graph]:
    """``graphs`` and all that they call, each once, behind those that it calls itself.

    Raises :class:`InvalidGraphError` for a graph that calls itself, directly or not.
    """
    order: list[Graph] = []
    state: dict[int, int] = {}  # 1: its callees are being placed, 2: placed
    stack = [(graph, False) for graph in graphs][::-1]
    while stack:
        graph, done = stack.pop()
        if done:
            state[id(graph)] = 2
            order.append(graph)
        elif id(graph) not in state:
            state[id(graph)] = 1
            stack.append((graph, True))
            for callee in (c for node in graph.nodes for c in called_by(node)):
                if state.get(id(callee)) == 1:
                    raise InvalidGraphError(f"graph {callee.name!r} calls itself without end")
                stack.append((callee, False))
    return order
