"""What is known of named variables before anything runs."""

from __future__ import annotations

from collections.abc import Iterable

from octolite.ir.graph import Graph, Node
from octolite.ir.types import Shape
from octolite.ops.base import Operator
from octolite.ops.resources import AssignVariable, ReadVariable, VarHandle

Name = tuple[str, str]


def trust_what_is_assigned(graphs: Iterable[Graph]) -> None:
    """Leave READ_VARIABLE the shape that its file declares only where all that is ever assigned
    to the variable has it, by the file. Any other shows when the model runs, and so do those
    of handles that come from elsewhere.
    """
    graphs = list(graphs)
    assigned: dict[Name | None, set[Shape | None]] = {}
    for node in _nodes(graphs, AssignVariable):
        value = node.inputs[1]
        assigned.setdefault(_name(node), set()).add(None if value is None else value.shape)
    anonymous = assigned.get(None, set())
    for node in _nodes(graphs, ReadVariable):
        name = _name(node)
        shapes = assigned.get(name, set()) | anonymous
        declared = node.output.shape
        if name is None or declared is None or None in declared or shapes != {declared}:
            assert isinstance(node.op, Operator)
            node.op = untold(node.op)


def untold(op: Operator) -> Operator:
    """A READ_VARIABLE whose result's shape shows when it runs; any other operator as it is."""
    return op.replace(shape=None) if isinstance(op, ReadVariable) else op


def _nodes(graphs: Iterable[Graph], kind: type) -> Iterable[Node]:
    return (node for graph in graphs for node in graph.nodes if isinstance(node.op, kind))


def _name(node: Node) -> Name | None:
    """The variable that a node is about; ``None`` where its graph does not tell."""
    handle = node.inputs[0]
    maker = None if handle is None or handle.producer is None else handle.producer.op
    return (maker.container, maker.shared_name) if isinstance(maker, VarHandle) else None
