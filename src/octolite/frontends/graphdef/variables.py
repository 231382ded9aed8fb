"""Variables and tables: what they hold is known beforehand, or they are read while the model runs.

A variable that nothing assigns to is a constant. One that the model does assign to is *live*: it
has a handle, and is read and assigned to in TensorFlow's order.
"""

from __future__ import annotations

import zlib

import numpy as np

from octolite.errors import UnsupportedError
from octolite.frontends.graphdef.engine import Site, tf
from octolite.frontends.graphdef.source import VARIABLES
from octolite.ir.graph import Value
from octolite.ir.types import INT64, RESOURCE, STRING, Shape
from octolite.ops.resources import VarHandle


@tf(*VARIABLES)
def variable(n: Site) -> Value:
    """The handle of a variable, or, of one that never changes, the value that it holds."""
    name = n.resource
    if name not in n.state.variables:
        raise UnsupportedError(
            f"{n.op_type}: the graph is not frozen; give the SavedModel or the checkpoint that "
            "holds what its variables are"
        )
    if n.is_live and n.op_type != "VarHandleOp":
        raise UnsupportedError(f"{n.op_type}: a variable that changes, and is no resource")
    if n.is_live:
        return n.op("VAR_HANDLE", shared_name=name)
    return n.constant(n.state.variables[name]())


@tf("ReadVariableOp")
def read(n: Site, handle: Value) -> Value:
    if handle.dtype is not RESOURCE:
        return handle
    return n.op("READ_VARIABLE", handle, dtype=n.dtype("dtype"), shape=_shape(n, handle))


@tf("ResourceGather")
def gather(n: Site, handle: Value, indices: Value) -> Value:
    return n.op("GATHER", read(n, handle), indices, axis=0, batch_dims=n.integer("batch_dims", 0))


@tf("ResourceGatherNd")
def gather_nd(n: Site, handle: Value, indices: Value) -> Value:
    return n.op("GATHER_ND", read(n, handle), indices)


@tf("VariableShape")
def variable_shape(n: Site, handle: Value) -> Value:
    held = handle.shape if handle.dtype is not RESOURCE else _shape(n, handle)
    if held is None or None in held:
        raise UnsupportedError(f"{n.op_type} of a variable whose shape is unknown")
    return n.constant(np.asarray(held, n.dtype("out_type", 3).numpy))


@tf("VarIsInitializedOp", "IsVariableInitialized")
def is_initialized(n: Site, handle: Value) -> Value:
    return n.constant(np.asarray(True))


@tf("AssignVariableOp")
def assign(n: Site, handle: Value, value: Value) -> tuple[()]:
    _put(n, handle, value)
    return ()


@tf("AssignAddVariableOp", "AssignSubVariableOp")
def assign_changed(n: Site, handle: Value, change: Value) -> tuple[()]:
    before = n.op("READ_VARIABLE", handle, dtype=change.dtype, shape=_shape(n, handle))
    operator = "ADD" if n.op_type == "AssignAddVariableOp" else "SUB"
    _put(n, handle, n.op(operator, before, change))
    return ()


def _put(n: Site, handle: Value, value: Value) -> None:
    held = _shape(n, handle)
    if held is None or value.shape != held:
        raise UnsupportedError(f"{n.op_type} of {value.shape} to a variable of shape {held}")
    n.ops("ASSIGN_VARIABLE", handle, value)


def _shape(n: Site, handle: Value) -> Shape | None:
    """The shape of what the variable of ``handle`` holds."""
    op = handle.producer.op if handle.producer is not None else None
    return n.state.variables[op.shared_name]().shape if isinstance(op, VarHandle) else None


# -- tables ---------------------------------------------------------------------------------------


@tf("HashTableV2", "HashTable", "MutableHashTableV2", "MutableHashTable")
def table(n: Site) -> Value:
    """The handle of a table, which is filled before the model runs."""
    name = n.resource
    if name not in n.state.tables:
        raise UnsupportedError(f"{n.op_type}: a table that is filled by nothing that is known")
    pair = n.dtype("key_dtype"), n.dtype("value_dtype")
    if pair not in ((INT64, STRING), (STRING, INT64)):
        raise UnsupportedError(f"a table from {pair[0]} to {pair[1]}; TFLite has int64 and string")
    return n.op("HASHTABLE", table_id=table_id(name), key_dtype=pair[0], value_dtype=pair[1])


def table_id(name: str) -> int:
    """The number that a table has in a file."""
    return zlib.crc32(name.encode()) & 0x7FFFFFFF


@tf("LookupTableFindV2", "LookupTableFind")
def find(n: Site, handle: Value, keys: Value, default: Value) -> Value:
    return n.op("HASHTABLE_FIND", handle, keys, n.reshape(default, [1]))


@tf("LookupTableSizeV2", "LookupTableSize")
def size(n: Site, handle: Value) -> Value:
    return n.reshape(n.op("HASHTABLE_SIZE", handle), [])
