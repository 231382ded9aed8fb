"""One network whose operators run each as one of several models has them.

The models are of the same network, with weights stored in different ways. Each is read and packed
once; whichever operators of whichever model are chosen then make up a plan, in which nothing is
packed or compiled again.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace

from octolite.errors import UsageError
from octolite.ir.graph import Graph, Node, Value
from octolite.runtime.interpreter import Interpreter
from octolite.runtime.prepare import Prepared, Unit


class Mixture:
    """Several models of one network as one.

    Attributes:
        interpreter: runs what was chosen last; at first, all of the first model.
        operators: the nodes of the first model that run, in order; a choice has a number of a model
            for each.

    Args:
        sources: ``.tflite`` files, by path or as bytes.
        num_threads: all processors when ``None``.

    Raises:
        UsageError: the models are not of the same network.
        OctoliteError: whatever reading and preparing the models raises.
    """

    def __init__(self, sources: Sequence[str | bytes], num_threads: int | None = None) -> None:
        made = [
            Interpreter(
                model_path=None if isinstance(source, bytes) else source,
                model_content=source if isinstance(source, bytes) else None,
                num_threads=num_threads,
                preserve_all_tensors=True,
            )
            for source in sources
        ]
        self.interpreter = made[0]
        self.models = [m.graph for m in made]
        prepared = [m._callees.prepared(m.graph) for m in made]
        first = prepared[0]
        self._graph = Graph(first.graph.name)
        self._graph.inputs, self._graph.outputs = first.graph.inputs, first.graph.outputs
        self._known = {key: array for p in prepared for key, array in p.known.items()}
        self._groups = [list(_groups(first, p)) for p in prepared]
        self._units = [
            _stand_ins(first, p, groups) for p, groups in zip(prepared, self._groups, strict=True)
        ]
        self.operators = [unit.node for unit in first.units]
        for other in made[1:]:
            self.interpreter._callees.adopt(other._callees)
        self.interpreter._preserves = False
        self.choose([0] * len(self.operators))

    def node(self, model: int, operator: int) -> Node:
        """What a model runs as the operator of that number."""
        return self._groups[model][operator][0].node

    def choose(self, models: Sequence[int]) -> None:
        """Let each operator run as the model of the given number has it.

        The inputs must be set anew.
        """
        self._chosen = [self._units[model][at] for at, model in enumerate(models)]
        units = [unit for group in self._chosen for unit in group]
        self._graph.nodes = [unit.node for unit in units]
        prepared = Prepared(self._graph, units, self._known)
        self.interpreter._callees.substitute(self.interpreter.graph, prepared)
        self.interpreter._bind(None)
        self.interpreter.allocate_tensors()

    def profile(self, runs: int = 10) -> list[float]:
        """The median time of each operator as it was chosen last, in milliseconds."""
        number = {id(unit.node): at for at, units in enumerate(self._chosen) for unit in units}
        spent = [0.0] * len(self.operators)
        for timing in self.interpreter.profile(runs):
            at = number.get(id(timing.unit.node))
            if at is not None:
                spent[at] += statistics.median(timing.nanoseconds) / 1e6
        return spent


def _groups(first: Prepared, other: Prepared) -> Iterator[list[Unit]]:
    """For each unit of ``first`` that of ``other``, with DEQUANTIZE behind where it moves codes."""
    rest = list(other.units)[::-1]
    for unit in first.units:
        if not rest or rest[-1].op.name != unit.op.name:
            found = rest[-1].node if rest else "nothing"
            raise UsageError(f"the models are of different networks: {unit.node} and {found}")
        group = [rest.pop()]
        codes = {id(v) for v in group[0].node.outputs}
        names = [v.name for v in unit.node.outputs]
        while (
            rest
            and rest[-1].op.name == "DEQUANTIZE"
            and id(rest[-1].node.inputs[0]) in codes
            and [v.name for v in group[0].node.outputs] != names
        ):
            group.append(rest.pop())
        yield group
    if rest:
        raise UsageError(f"the models are of different networks: {rest[-1].node} is in one of them")


class _StandIn(Node):
    """A node that reads and writes other tensors; the edges of no graph know it."""

    __slots__ = ()

    def __init__(
        self, node: Node, inputs: tuple[Value | None, ...], outputs: tuple[Value, ...]
    ) -> None:
        self.op, self.name = node.op, node.name
        self._inputs, self.outputs = inputs, outputs


def _stand_ins(
    first: Prepared, other: Prepared, groups: Sequence[Sequence[Unit]]
) -> list[list[Unit]]:
    """The units of ``other``, on the tensors of ``first`` where both have them."""
    if first is other:
        return [list(group) for group in groups]
    same: dict[int, Value] = {
        id(b): a for a, b in zip(first.graph.inputs, other.graph.inputs, strict=True)
    }
    found = []
    for unit, group in zip(first.units, groups, strict=True):
        for a, b in zip(unit.node.inputs, group[0].node.inputs, strict=True):
            if a is not None and b is not None and b.is_variable:
                same[id(b)] = a
        real = {id(u.node.inputs[0]): u.node.output for u in group[1:]}
        for a, b in zip(unit.node.outputs, group[0].node.outputs, strict=True):
            same[id(real.get(id(b), b))] = a
        found.append([_stand_in(member, same) for member in group])
    return found


def _stand_in(unit: Unit, same: dict[int, Value]) -> Unit:
    inputs = tuple(None if v is None else same.get(id(v), v) for v in unit.node.inputs)
    outputs = tuple(same.get(id(v), v) for v in unit.node.outputs)
    return replace(unit, node=_StandIn(unit.node, inputs, outputs))
