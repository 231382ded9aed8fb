"""What variables and tables hold at first, written into the model: a graph that runs once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from octolite.errors import ShapeError, UnsupportedError
from octolite.frontends.graphdef.source import State
from octolite.frontends.graphdef.variables import table_id
from octolite.ir.graph import Graph, Node, Value, callees_first
from octolite.ops.resources import AssignVariable, CallOnce, VarHandle
from octolite.ops.tables import Hashtable, HashtableImport


def prepend(graphs: Sequence[Graph], state: State) -> None:
    """Let each of ``graphs`` that needs a variable or a table see to it that they are filled."""
    init = Graph("initialize")
    done: set[object] = set()
    for node in (n for g in callees_first(graphs) for n in g.nodes):
        if isinstance(node.op, VarHandle | Hashtable) and _key(node) not in done:
            done.add(_key(node))
            _fill(init, node, state)
    if not init.nodes:
        return
    for graph in graphs:
        if any(
            isinstance(n.op, VarHandle | Hashtable) for g in callees_first([graph]) for n in g.nodes
        ):
            call = Node(CallOnce(init=init), [], [], f"{graph.name}/initialize")
            graph.nodes.insert(0, call)


def _key(node: Node) -> object:
    op = node.op
    return op.shared_name if isinstance(op, VarHandle) else getattr(op, "table_id", None)


def _fill(init: Graph, node: Node, state: State) -> None:
    op = node.op
    if isinstance(op, VarHandle):
        handle = init.add(op, [], op.shared_name).output
        data = state.variables[op.shared_name]()
        init.add(AssignVariable(), [handle, Value.constant(f"{op.shared_name}/value", data)])
        return
    assert isinstance(op, Hashtable)
    name = next(n for n in state.tables if table_id(n) == op.table_id)
    keys, values = (content() for content in state.tables[name])
    handle = init.add(op, [], name).output
    pair = [
        Value.constant(f"{name}/{what}", np.asarray(data).reshape(-1), dtype)
        for what, data, dtype in (("keys", keys, op.key_dtype), ("values", values, op.value_dtype))
    ]
    try:
        init.add(HashtableImport(), [handle, *pair], name)
    except ShapeError as error:
        raise UnsupportedError(f"table {name!r}: {error}") from None
