"""Named variables: what is known of them before anything runs, and how that makes them memory.

Most variables have one type for good. Such a one is *settled*: it has a place in memory, where
compiled code reads and writes it. Reading it is a view of that place, or a copy where it is
assigned before what was read has been used; assigning to it is a copy. All others are objects of
the interpreter's state, which Python reads and assigns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import UnionType

from octolite.errors import ShapeError
from octolite.ir.graph import Graph, Node, Value, called_by, callees_first
from octolite.ir.types import Array, DType, Operand, Shape, TensorType
from octolite.kernels import spec
from octolite.ops.base import Operator, attr
from octolite.ops.movement import Movement, known
from octolite.ops.resources import AssignVariable, CallOnce, ReadVariable, VarHandle, fits
from octolite.runtime.fuse import StandIn
from octolite.runtime.prepare import Prepared, Unit

Name = tuple[str, str, str]
"""What a handle stands for; see :attr:`VarHandle.key`."""


# What is known -------------------------------------------------------------------------------


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


def settled(graphs: Sequence[Graph]) -> dict[Name, Value]:
    """The variables that have one type for good, by the file, and are assigned before they are
    read. ``graphs``: all that can be run, callees first.

    None is settled where handles come from elsewhere than VAR_HANDLE, which may mean any; nor is
    one whose handle goes elsewhere, or which a loop or a branch touches.
    """
    if any(_name(node) is None for node in _nodes(graphs, ReadVariable | AssignVariable)):
        return {}
    found: dict[Name, Value] = {}
    for node in _nodes(graphs, AssignVariable):
        name, value = _name(node), node.inputs[1]
        if name is not None and value is not None and _fixed(value.dtype, value.shape):
            label = str(name[-1])
            found.setdefault(name, Value(label, value.dtype, value.shape, is_variable=True))
    for name in _unsettled(graphs, found):
        if name is not None:
            found.pop(name, None)
    return found


def _fixed(dtype: DType, shape: Shape | None) -> bool:
    if shape is None or None in shape or dtype.kind in "so":
        return False
    return dtype.numpy.itemsize in spec.COPIED


def _unsettled(graphs: Sequence[Graph], found: Mapping[Name, Value]) -> set[Name | None]:
    """Names of variables that are read or assigned as something else than ``found``, or that are
    used in another way, or too early."""
    out: set[Name | None] = set()
    for node in _nodes(graphs, AssignVariable | ReadVariable):
        name, value = _name(node), (*node.inputs[1:], *node.outputs)[0]
        held = None if name is None else found.get(name)
        if held is None or value is None or not _agree(held, value, node):
            out.add(name)
    assigned: dict[int, set[Name | None]] = {}
    for graph in graphs:
        out |= _unassigned(graph, assigned)
        out |= {_key(n) for n in _nodes([graph], VarHandle) if _goes(graph, n)}
    inner = [g for graph in graphs for n in graph.nodes if _branches(n) for g in called_by(n)]
    return out | {_key(node) for node in _nodes(callees_first(inner), VarHandle)}


def _agree(variable: Value, value: Value, node: Node) -> bool:
    """Whether what ``node`` assigns, or declares to read, is what ``variable`` holds."""
    reads = isinstance(node.op, ReadVariable)
    allowed = value.shape == variable.shape or (reads and fits(variable.shape or (), value.shape))
    return value.dtype is variable.dtype and allowed


def _branches(node: Node) -> bool:
    return not isinstance(node.op, CallOnce)


def _goes(graph: Graph, handle: Node) -> bool:
    """Whether anything but reading and assigning is done with a handle."""
    (made,) = handle.outputs
    return graph.is_output(made) or any(
        not isinstance(node.op, ReadVariable | AssignVariable) or made in node.inputs[1:]
        for node in made.uses
    )


def _unassigned(graph: Graph, assigned: dict[int, set[Name | None]]) -> set[Name | None]:
    """Variables that ``graph`` may read before it has assigned anything to them.

    ``assigned``: those that have been assigned when a graph, by its id, has run; what it calls is
    there, and it is added.
    """
    early: set[Name | None] = set()
    names = assigned[id(graph)] = set()
    for node in graph.nodes:
        match node.op:
            case ReadVariable() if _name(node) not in names:
                early.add(_name(node))
            case AssignVariable():
                names.add(_name(node))
            case CallOnce():
                names.update(*(assigned[id(called)] for called in called_by(node)))
    return early


def _nodes(graphs: Iterable[Graph], kind: type | UnionType) -> Iterable[Node]:
    return (node for graph in graphs for node in graph.nodes if isinstance(node.op, kind))


def _name(node: Node) -> Name | None:
    """The variable that a node is about; ``None`` where its graph does not tell."""
    handle = node.inputs[0]
    maker = None if handle is None else handle.producer
    return None if maker is None or not isinstance(maker.op, VarHandle) else _key(maker)


def _key(handle: Node) -> Name:
    assert isinstance(handle.op, VarHandle)
    return handle.op.key


# What it becomes -----------------------------------------------------------------------------


class Load(Movement, abstract=True):
    """What a settled variable holds."""

    name = "READ_VARIABLE"
    inputs = "variable"
    stateful = True
    view = True

    def infer(self, variable: Operand) -> Sequence[TensorType]:
        return [TensorType(variable.dtype, variable.shape)]

    def reference(self, variable: Array) -> Array:
        return variable


class Store(Movement, abstract=True):
    """Lets a settled variable, its result, hold ``value``; its type is that of ``variable``."""

    name = "ASSIGN_VARIABLE"
    inputs = "value"
    outputs = "variable"
    stateful = True
    variable: Value = attr(None)

    def infer(self, value: Operand) -> Sequence[TensorType]:
        held = self.variable
        if known(value.shape) not in (None, held.shape):
            raise ShapeError(
                f"{value.name!r} of shape {value.shape} is assigned to the variable "
                f"{held.name!r}, which the model declares as {held.shape}"
            )
        return [TensorType(held.dtype, held.shape)]

    def reference(self, value: Array) -> Array:
        return value


def lower(prepared: Prepared, variables: Mapping[Name, Value]) -> Prepared:
    """``prepared`` with settled ``variables`` as tensors, and with what is to be run once, if
    nothing that changes state stands before it, taken out of what runs each time. What is kept
    apart stays as it is."""
    if prepared.apart:
        return prepared
    units: list[Unit] = []
    once: list[Unit] = []
    used: dict[Name, Value] = {}
    for unit in prepared.units:
        name = _about(unit.node)
        if name in variables:
            assert name is not None
            used[name] = variables[name]
            if not isinstance(unit.node.op, VarHandle):
                units.append(_lowered(unit.node, variables[name]))
        elif isinstance(unit.op, CallOnce) and not any(u.op.stateful for u in units):
            once.append(unit)
        else:
            units.append(unit)
    return replace(prepared, units=units, once=once, variables=used)


def _about(node: Node) -> Name | None:
    match node.op:
        case VarHandle():
            return _key(node)
        case ReadVariable() | AssignVariable():
            return _name(node)
    return None


def _lowered(node: Node, variable: Value) -> Unit:
    from octolite.kernels import select

    if isinstance(node.op, ReadVariable):
        stand_in = StandIn(Load(), (variable,), node.outputs, node.name)
    else:
        stand_in = StandIn(Store(variable=variable), node.inputs[1:2], (variable,), node.name)
    kernel = select.build(spec.Copy(variable.dtype.numpy.itemsize))
    assert isinstance(stand_in.op, Operator)
    return Unit(stand_in, stand_in.op, kernel, "compiled", declared=True)
