"""Chains and trees of elementwise operators as one loop.

What a kernel needs to know of an operator on elements is an
:class:`~octolite.kernels.expression.Expression`, and expressions can be joined. An operator is
joined to the one that reads its result where nobody else reads that: memory is passed over once,
and what lies between is never stored. Joined operators compute what they compute alone, bit by
bit. The graph stays as it is; only the prepared units change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from octolite.ir.graph import Graph, Node, Value
from octolite.ir.types import Array, DType, Operand, Quant, Shape, TensorType
from octolite.kernels.expression import Expression, join
from octolite.ops.base import Operator, attr

if TYPE_CHECKING:
    from octolite.runtime.prepare import Unit

MOST_INPUTS = 8
"""Tensors that one loop reads: each takes a register or two for its address."""

MOST_STEPS = 64
"""Functions in one loop, so that a long network of them does not become one function."""

WORTH_A_ROW = 64
"""Elements of a row from which on it may wait for what is computed once for all of it."""


def fuse(graph: Graph, units: Sequence[Unit]) -> list[Unit]:
    """``units`` in their order, with one for each chain in place of its last operator."""
    chains = _Chains(graph, units)
    fused: list[Unit] = []
    taken: set[int] = set()
    for unit in reversed(units):
        if id(unit) in taken:
            continue
        members = chains.ending_in(unit, taken)
        taken.update(map(id, members))
        fused.append(unit if len(members) == 1 else _join(members))
    return fused[::-1]


class _Chains:
    """Who makes and who reads every value."""

    def __init__(self, graph: Graph, units: Sequence[Unit]) -> None:
        self.order = {id(unit): i for i, unit in enumerate(units)}
        self.makers = {id(u.node.output): u for u in units if _expression(u) is not None}
        self.readers: dict[int, set[int]] = {}
        self.kept = {id(v) for v in graph.outputs}
        for unit in units:
            for value in unit.node.inputs:
                if value is not None:
                    self.readers.setdefault(id(value), set()).add(id(unit))

    def ending_in(self, last: Unit, taken: set[int]) -> list[Unit]:
        """``last`` and all that can be joined to it, in the order of their work."""
        members = {id(last): last}
        growing = _expression(last) is not None
        while growing:
            growing = False
            for value in [v for u in members.values() for v in u.node.inputs if v is not None]:
                maker = self.makers.get(id(value))
                if maker is None or id(maker) in taken or id(maker) in members:
                    continue
                if self._may_join(maker, members, last):
                    members[id(maker)] = maker
                    growing = True
        return sorted(members.values(), key=lambda u: self.order[id(u)])

    def _may_join(self, maker: Unit, members: dict[int, Unit], last: Unit) -> bool:
        value = maker.node.output
        if id(value) in self.kept or not self.readers[id(value)] <= members.keys():
            return False
        if not _is_computed_once(value.shape, last.node.output.shape):
            return False
        joined = [maker, *members.values()]
        steps = sum(len(_steps(unit)) for unit in joined)
        return steps <= MOST_STEPS and len(_inputs(joined)) <= MOST_INPUTS


def _expression(unit: Unit) -> Expression | None:
    request = getattr(unit.kernel, "request", None)
    return request if isinstance(request, Expression) else None


def _steps(unit: Unit) -> Sequence[Any]:
    expression = _expression(unit)
    return () if expression is None else expression.steps


def _is_computed_once(shape: Shape | None, result: Shape | None) -> bool:
    """Whether a loop over ``result`` computes what is of ``shape`` no more often than alone: it
    is as large, or one element for each row that is long enough, or one for all."""
    if shape is None or result is None:
        return False
    if shape == result or all(d == 1 for d in shape):
        return True
    return shape[-1] == 1 and (result[-1] or 0) >= WORTH_A_ROW


def _inputs(units: Iterable[Unit]) -> dict[int, Value]:
    """What is read from outside, by id."""
    units = list(units)
    made = {id(u.node.output) for u in units}
    return {id(v): v for u in units for v in u.read_inputs if id(v) not in made}


def _join(members: Sequence[Unit]) -> Unit:
    """The unit that stands for ``members``, which are in the order of their work."""
    from octolite.kernels import select

    inputs = _inputs(members)
    types: dict[int, DType] = {}
    parts = []
    for unit in members:
        expression = _expression(unit)
        assert expression is not None
        names = [id(v) for v in unit.read_inputs]
        types |= dict(zip(names, expression.inputs, strict=True))
        parts.append((expression, names, id(unit.node.output)))
    expression = join({name: types[name] for name in inputs}, parts)
    chain = Chain(nodes=tuple(u.node for u in members), sources=tuple(inputs.values()))
    last = members[-1].node
    node = StandIn(chain, tuple(inputs.values()), last.outputs, last.name)
    why = f"{members[-1].choice}; {len(members)} operators in one loop"
    return replace(
        members[-1], node=node, op=chain, kernel=select.build(expression), choice=why, reads=None
    )


class StandIn(Node):
    """Stands for a node, or for several, while the model runs. The edges of the graph do not know
    it."""

    __slots__ = ()

    def __init__(
        self, op: Operator, inputs: tuple[Value | None, ...], outputs: tuple[Value, ...], name: str
    ) -> None:
        self.op = op
        self.name = name
        self.outputs = outputs
        self._inputs = inputs


@dataclass(frozen=True, slots=True)
class _Between:
    """A result inside of a chain as an operand."""

    name: str
    dtype: DType
    shape: Shape | None
    quant: Quant | None
    data: Array | None = None


class Chain(Operator, abstract=True):
    """Operators that run as one; no file has it.

    ``sources``: the values that its inputs stand for.
    """

    inputs = "inputs*"
    nodes: tuple[Node, ...] = attr(())
    sources: tuple[Value, ...] = attr(())

    @property
    def name(self) -> str:  # type: ignore[override]  # every chain has its own
        return "+".join(node.op.name for node in self.nodes)

    def infer(self, *inputs: Operand) -> Sequence[TensorType]:
        known: dict[int, Operand] = dict(zip(map(id, self.sources), inputs, strict=True))
        for node in self.nodes:
            types = node.op.infer(*(None if v is None else known[id(v)] for v in node.inputs))
            for value, found in zip(node.outputs, types, strict=True):
                known[id(value)] = _Between(value.name, value.dtype, found.shape, value.quant)
        return types

    def geometry(self, inputs: Sequence[Operand | None]) -> dict[str, Any] | None:
        return {"others": [v.shape for v in inputs[1:] if v is not None]}

    def run(
        self,
        arrays: Sequence[Array | None],
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
    ) -> tuple[Array, ...]:
        """One operator after the other, by their references."""
        known = dict(zip(map(id, self.sources), zip(arrays, inputs, strict=True), strict=True))
        for node in self.nodes:
            assert isinstance(node.op, Operator)
            pairs = [(None, None) if v is None else known[id(v)] for v in node.inputs]
            results = node.op.run([a for a, _ in pairs], [o for _, o in pairs], node.outputs)
            for value, array in zip(node.outputs, results, strict=True):
                between = _Between(value.name, value.dtype, array.shape, value.quant)
                known[id(value)] = (array, between)
        return results
