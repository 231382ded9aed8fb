"""Operators that run other graphs of the model, or read and change its state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from octolite.errors import RuntimeModelError, ShapeError, UnsupportedError
from octolite.ir.graph import Graph, Value
from octolite.ir.types import BOOL, FLOAT32, INT32, Array, Operand, Shape, TensorType
from octolite.ops.arithmetic import Add
from octolite.ops.base import ANYTHING, Operator, attr
from octolite.ops.case import case, f32, given
from octolite.ops.comparison import Less
from octolite.ops.shapes import length
from octolite.ops.state import State
from octolite.ops.unary import Neg


class Session(Protocol):
    """The run that an operator is part of."""

    @property
    def state(self) -> State:
        """What lasts from run to run."""

    def __call__(self, graph: Graph, arrays: Sequence[Array]) -> Sequence[Array]:
        """Run a graph on arrays for its inputs; gives those of its outputs."""


class Effectful(Operator, abstract=True):
    """An operator that does more than computing results from arrays; a subclass gives ``flow``."""

    kinds = ANYTHING
    stateful: ClassVar[bool] = True

    @abstractmethod
    def flow(self, session: Session, arrays: Sequence[Array]) -> Sequence[Array]:
        """The results, with ``session`` to run graphs and to keep state."""

    def reference(self, *arrays: Array) -> tuple[Array, ...]:
        return tuple(self.flow(Evaluation(), arrays))

    def _run(
        self,
        arrays: Sequence[Array | None],
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
    ) -> tuple[Array, ...]:
        self.check_kinds(inputs)
        return self.reference(
            *(a for a in arrays if a is not None)
        )  # codes stay codes: the graphs know what they are


class ControlFlow(Effectful, abstract=True):
    """An operator whose attributes are graphs, which it runs.

    Results have the types on which the graphs' outputs agree. These hold only for operands of the
    types that the graphs declare for their inputs; for any other, the results' shapes are unknown
    until they have been computed.
    """

    def result_types(self, graph: Graph | None, operands: Sequence[Operand]) -> list[TensorType]:
        """What ``graph`` gives for ``operands``. Raises :class:`ShapeError` if it takes others."""
        if graph is None:
            raise ShapeError(f"{self.name} does not say which graph it runs")
        if len(graph.inputs) != len(operands):
            raise ShapeError(
                f"{self.name} runs graph {graph.name!r}, which takes {len(graph.inputs)} inputs, "
                f"on {len(operands)}"
            )
        for value, operand in zip(graph.inputs, operands, strict=True):
            if value.dtype is not operand.dtype:
                raise ShapeError(
                    f"{self.name} gives {operand.name!r}, {operand.dtype}, to {value.name!r} of "
                    f"graph {graph.name!r}, {value.dtype}"
                )
        told = all(map(_is_one_of, operands, graph.inputs))
        return [TensorType(v.dtype, v.shape if told else None) for v in graph.outputs]


def _is_one_of(operand: Operand, declared: Value) -> bool:
    """Whether every shape that ``operand`` can have is one that ``declared`` allows."""
    if declared.shape is None:
        return True
    if operand.shape is None or len(operand.shape) != len(declared.shape):
        return False
    return all(d is None or d == o for o, d in zip(operand.shape, declared.shape, strict=True))


def agreed(
    operator: str, a: Sequence[TensorType | Operand], b: Sequence[TensorType | Operand]
) -> list[TensorType]:
    """What two lists of types have in common. Raises :class:`ShapeError` for unlike dtypes."""
    if len(a) != len(b):
        raise ShapeError(f"{operator} has {len(a)} results on one way and {len(b)} on the other")
    for number, (x, y) in enumerate(zip(a, b, strict=True)):
        if x.dtype is not y.dtype:
            raise ShapeError(f"{operator}: result {number} is {x.dtype} on one way, else {y.dtype}")
    return [TensorType(x.dtype, _common(x.shape, y.shape)) for x, y in zip(a, b, strict=True)]


def _common(a: Shape | None, b: Shape | None) -> Shape | None:
    if a is None or b is None or len(a) != len(b):
        return None
    return tuple(x if x == y else None for x, y in zip(a, b, strict=True))


def truth(array: Array, what: str) -> bool:
    """The one boolean in ``array``. Raises :class:`RuntimeModelError`."""
    if array.size != 1 or array.dtype != np.bool_:
        raise RuntimeModelError(
            f"{what} is {array.dtype} of shape {array.shape}, expected one boolean"
        )
    return bool(array.reshape(()))


class Evaluation:
    """Runs graphs by the references of their operators, on a state of its own."""

    def __init__(self) -> None:
        self.state = State()

    def __call__(self, graph: Graph, arrays: Sequence[Array]) -> list[Array]:
        """The outputs of ``graph`` for ``arrays``.

        Raises :class:`UnsupportedError` for a graph with variables: only the run time keeps them.
        """
        found: dict[int, Array] = {id(v): v.data for v in graph.constants() if v.data is not None}
        found |= {id(v): a for v, a in zip(graph.inputs, arrays, strict=True)}
        for node in graph.nodes:
            op = node.op
            assert isinstance(op, Operator)
            if any(v is not None and v.is_variable for v in node.inputs):
                raise UnsupportedError(
                    f"{node} of graph {graph.name!r} keeps state in a called graph"
                )
            given = [None if v is None else found[id(v)] for v in node.inputs]
            if isinstance(op, Effectful):
                op.check_kinds(node.inputs)
                results = tuple(op.flow(self, [a for a in given if a is not None]))
            else:
                results = op.run(given, node.inputs, node.outputs)
            found.update(zip(map(id, node.outputs), results, strict=True))
        return [found[id(v)] for v in graph.outputs]


def evaluate(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """The outputs of ``graph`` for ``arrays``, from a state in which nothing has happened yet."""
    return Evaluation()(graph, arrays)


# -- small graphs for the cases -----------------------------------------------------------------


def _graph(name: str, *inputs: tuple[Any, Shape | None]) -> tuple[Graph, list[Value]]:
    graph = Graph(name)
    return graph, [graph.add_input(f"{name}{i}", t, s) for i, (t, s) in enumerate(inputs)]


def _constant(data: Any) -> Value:
    return Value.constant("k", np.asarray(data))


def _add(amount: float) -> Graph:
    graph, (x,) = _graph(f"add_{amount:g}".replace(".", "_"), (FLOAT32, (2, 3)))
    graph.outputs = [graph.add(Add(), [x, _constant(np.float32(amount))], "sum").output]
    return graph


def _negate() -> Graph:
    graph, (x,) = _graph("negate", (FLOAT32, (2, 3)))
    graph.outputs = [graph.add(Neg(), [x], "negative").output]
    return graph


def _below(limit: int, *others: tuple[Any, Shape | None]) -> Graph:
    """Whether the first of the inputs, a counter, is under ``limit``."""
    graph, (count, *_) = _graph("below", (INT32, ()), *others)
    graph.outputs = [graph.add(Less(), [count, _constant(np.int32(limit))], "less").output]
    return graph


def _count_and(step: str, shape: Shape) -> Graph:
    """A body that counts, and doubles or swaps what it carries."""
    graph, (count, *carried) = _graph(
        step, (INT32, ()), *[(FLOAT32, shape)] * (2 if step == "swap" else 1)
    )
    counted = graph.add(Add(), [count, _constant(np.int32(1))], "counted").output
    if step == "double":
        results = [graph.add(Add(), [carried[0], carried[0]], "doubled").output]
    else:
        results = carried[::-1]
    graph.outputs = [counted, *results]
    return graph


class If(ControlFlow):
    """Runs one of two graphs on the inputs behind the condition, a single boolean."""

    name = "IF"
    options = "IfOptions"
    inputs = "cond inputs*"
    outputs = "results*"
    then: Graph = attr(None, "ThenSubgraphIndex")
    other: Graph = attr(None, "ElseSubgraphIndex")

    def infer(self, cond: Operand, *operands: Operand) -> Sequence[TensorType]:
        if cond.dtype is not BOOL or length(cond) not in (None, 1):
            raise ShapeError(f"IF on {cond.name!r}, {cond.dtype} {cond.shape}, expected a boolean")
        ways = [self.result_types(graph, operands) for graph in (self.then, self.other)]
        return agreed(self.name, *ways)

    def flow(self, session: Session, arrays: Sequence[Array]) -> Sequence[Array]:
        cond, *operands = arrays
        return session(self.then if truth(cond, "the condition of IF") else self.other, operands)

    cases = (
        case(given(True), f32(2, 3), then=_add(0.5), other=_negate()),
        case(given(False), f32(2, 3), then=_add(0.5), other=_negate()),
        case(given([True]), f32(2, 3), then=_add(-2.0), other=_negate()),
    )


class While(ControlFlow):
    """Runs ``body`` on what it gave last as long as ``cond`` of that is true, if it is for ever.

    The operands are what the first round gets; results are what the last round gave, or the
    operands where there was none. Shapes may change from round to round.
    """

    name = "WHILE"
    options = "WhileOptions"
    inputs = "inputs*"
    outputs = "results*"
    cond: Graph = attr(None, "CondSubgraphIndex")
    body: Graph = attr(None, "BodySubgraphIndex")

    def infer(self, *operands: Operand) -> Sequence[TensorType]:
        told = self.result_types(self.cond, operands)
        if len(told) != 1 or told[0].dtype is not BOOL:
            raise ShapeError(f"WHILE: graph {self.cond.name!r} should give a single boolean")
        return agreed(self.name, operands, self._stable(operands))

    def _stable(self, operands: Sequence[Operand]) -> list[TensorType]:
        """What the body gives, if that is again something that its inputs are declared to be."""
        types = self.result_types(self.body, operands)
        if len(types) != len(operands):
            raise ShapeError(
                f"WHILE: graph {self.body.name!r} takes {len(operands)} inputs and gives "
                f"{len(types)} results"
            )
        if all(map(_is_one_of, self.body.outputs, self.body.inputs)):
            return types
        return [TensorType(t.dtype, None) for t in types]

    def flow(self, session: Session, arrays: Sequence[Array]) -> Sequence[Array]:
        while truth(session(self.cond, arrays)[0], "the condition of WHILE"):
            arrays = session(self.body, arrays)
        return arrays

    cases = (
        case(
            given(0),
            f32(2, 3),
            cond=_below(3, (FLOAT32, (2, 3))),
            body=_count_and("double", (2, 3)),
        ),
        case(
            given(5),
            f32(2, 3),
            cond=_below(3, (FLOAT32, (2, 3))),
            body=_count_and("double", (2, 3)),
        ),
        # LiteRT hands results over one by one, and so overwrites what is passed through.
        case(
            given(0),
            f32(2),
            f32(2),
            cond=_below(3, *[(FLOAT32, (2,))] * 2),
            body=_count_and("swap", (2,)),
            litert=False,
        ),
    )


class StablehloComposite(ControlFlow):
    """A larger operator, by its ``title`` and ``composite_attributes``, that a graph spells out.

    The graph is what runs; the rest is for those who know the operator better.
    """

    name = "STABLEHLO_COMPOSITE"
    options = "StableHLOCompositeOptions"
    inputs = "inputs*"
    outputs = "results*"
    title: str = attr("", "Name")
    decomposition: Graph = attr(None, "DecompositionSubgraphIndex")
    composite_attributes: bytes = attr(b"")
    composite_attributes_format: int = attr(0)
    revision: int = attr(0, "Version")

    def infer(self, *operands: Operand) -> Sequence[TensorType]:
        return self.result_types(self.decomposition, operands)

    def flow(self, session: Session, arrays: Sequence[Array]) -> Sequence[Array]:
        return session(self.decomposition, arrays)

    cases = (
        case(f32(2, 3), title="odml.half", decomposition=_add(0.5)),
        case(
            f32(2, 3),
            title="mine.negated",
            decomposition=_negate(),
            composite_attributes=b"abc",
            revision=2,
        ),
    )
