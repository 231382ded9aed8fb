"""Variables that have names: resources, shared by all graphs of a model, which outlive runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from octolite.errors import RuntimeModelError, ShapeError
from octolite.ir.graph import Graph, Node, Value
from octolite.ir.types import FLOAT32, INT32, RESOURCE, Array, DType, Operand, Shape, TensorType
from octolite.ops.arithmetic import Add
from octolite.ops.base import attr
from octolite.ops.case import Tensor, case, const, f32, ints, made
from octolite.ops.control import Effectful, Session

HANDLE: Shape = (1,)
"""The shape of a tensor that holds one handle."""


def check_handle(operator: str, handle: Operand) -> None:
    """Raise :class:`ShapeError` for an operand that cannot be a resource's handle."""
    if handle.dtype is not RESOURCE:
        raise ShapeError(f"{operator} takes a resource, and {handle.name!r} is {handle.dtype}")


def _variable(name: str) -> Tensor:
    """A handle of the variable called ``name``."""
    return made(lambda graph: _handle(graph, name), (1,), RESOURCE)


def _handle(graph: Graph, name: str) -> Value:
    return graph.add(VarHandle(shared_name=name), [], f"handle_{name}").output


def _holding(array: Array) -> Tensor:
    """A handle of a variable that holds ``array``."""

    def make(graph: Graph) -> Value:
        handle = _handle(graph, "held")
        graph.add(AssignVariable(), [handle, Value.constant("content", array)])
        return handle

    return made(make, (1,), RESOURCE)


def _read(dtype: DType, *shape: int) -> Callable[[Graph, Node], list[Value]]:
    """What the variable that a node is about holds after it."""

    def see(graph: Graph, node: Node) -> list[Value]:
        (handle, *_) = (v for v in (*node.inputs, *node.outputs) if v is not None)
        return [graph.add(ReadVariable(dtype=dtype, shape=shape), [handle], "read").output]

    return see


class VarHandle(Effectful):
    """The handle of the variable called ``shared_name`` in ``container``."""

    name = "VAR_HANDLE"
    options = "VarHandleOptions"
    inputs = ""
    outputs = "handle"
    container: str = attr("")
    shared_name: str = attr("")

    def infer(self) -> Sequence[TensorType]:
        return [TensorType(RESOURCE, HANDLE)]

    def flow(self, session: Session, arrays: Sequence[Array]) -> Sequence[Array]:
        return [session.state.handle(self.key)]

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells the variable from all other resources."""
        return "variable", self.container, self.shared_name

    @staticmethod
    def _assigned(graph: Graph, node: Node) -> list[Value]:
        graph.add(
            AssignVariable(), [node.output, Value.constant("content", np.array([1, 2], np.float32))]
        )
        return _read(FLOAT32, 2)(graph, node)

    cases = (
        case(shared_name="a", seen=_assigned),
        case(shared_name="a", container="here", seen=_assigned),
    )


class AssignVariable(Effectful):
    """Lets a variable hold ``value``, whatever it held before."""

    name = "ASSIGN_VARIABLE"
    options = "AssignVariableOptions"
    inputs = "handle value"
    outputs = ""

    def infer(self, handle: Operand, value: Operand) -> Sequence[TensorType]:
        check_handle(self.name, handle)
        return []

    def flow(self, session: Session, arrays: Sequence[Array]) -> Sequence[Array]:
        handle, value = arrays
        session.state.put(handle, value.copy())
        return []

    cases = (
        case(_variable("v"), f32(2, 3), seen=_read(FLOAT32, 2, 3)),
        case(_variable("v"), ints(4), seen=_read(INT32, 4)),
        case(_holding(np.array([1, 2, 3], np.float32)), f32(3), seen=_read(FLOAT32, 3)),
        case(_variable("v"), const(2.5), seen=_read(FLOAT32)),
    )


class ReadVariable(Effectful):
    """What a variable holds. Its type is the one that the file declares for the result."""

    name = "READ_VARIABLE"
    options = "ReadVariableOptions"
    inputs = "handle"
    dtype: DType = attr(FLOAT32, stored=False)
    shape: Shape | None = attr(None, stored=False)

    def settle(self, outputs: Sequence[Operand]) -> ReadVariable:
        return self.replace(dtype=outputs[0].dtype, shape=outputs[0].shape)

    def infer(self, handle: Operand) -> Sequence[TensorType]:
        check_handle(self.name, handle)
        return [TensorType(self.dtype, self.shape)]

    def flow(self, session: Session, arrays: Sequence[Array]) -> Sequence[Array]:
        value = session.state.get(arrays[0], np.ndarray)
        if value is None:
            raise RuntimeModelError("the variable is read before anything has been assigned to it")
        if value.dtype != self.dtype.numpy or not fits(value.shape, self.shape):
            raise RuntimeModelError(
                f"the variable holds {value.dtype} of shape {value.shape}; what reads it declares "
                f"{self.dtype} of shape {self.shape}"
            )
        return [value]

    cases = (
        case(_holding(np.array([[1, 2], [3, 4]], np.float32)), dtype=FLOAT32, shape=(2, 2)),
        case(_holding(np.array([7, 8, 9], np.int32)), dtype=INT32, shape=(3,)),
    )


def fits(found: Shape, declared: Shape | None) -> bool:
    """Whether a shape is one that ``declared`` allows."""
    return declared is None or (
        len(found) == len(declared)
        and all(d is None or d == f for f, d in zip(found, declared, strict=True))
    )


class CallOnce(Effectful):
    """Runs a graph, which initialises resources, when it has not been run since they were reset.

    The graph takes and gives nothing. Nodes that name the same graph run it once between them.
    """

    name = "CALL_ONCE"
    options = "CallOnceOptions"
    inputs = ""
    outputs = ""
    init: Graph = attr(None, "InitSubgraphIndex")

    def infer(self) -> Sequence[TensorType]:
        if self.init is None or self.init.inputs or self.init.outputs:
            raise ShapeError(f"{self.name} should name a graph without inputs and outputs")
        return []

    def flow(self, session: Session, arrays: Sequence[Array]) -> Sequence[Array]:
        key = self.name, id(self.init)
        if session.state.own(key) is None:
            session(self.init, [])
            session.state.keep(key, self.init)
        return []

    @staticmethod
    def _initialising() -> Graph:
        graph = Graph("init")
        content = Value.constant("content", np.array([1, 2, 3], np.float32))
        graph.add(AssignVariable(), [_handle(graph, "v"), content])
        return graph

    @staticmethod
    def _counted(graph: Graph, node: Node) -> list[Value]:
        """Add to what has been initialised, name the same graph again, and read."""
        handle = _handle(graph, "v")
        read = graph.add(ReadVariable(shape=(3,)), [handle], "first").output
        one = Value.constant("one", np.array(1, np.float32))
        graph.add(AssignVariable(), [handle, graph.add(Add(), [read, one], "sum").output])
        graph.add(node.op, [], "again")
        return [graph.add(ReadVariable(shape=(3,)), [handle], "second").output]

    cases = (case(init=_initialising(), seen=_counted),)
