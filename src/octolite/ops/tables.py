"""Hash tables: resources that are filled once and looked things up in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from octolite.errors import RuntimeModelError, ShapeError
from octolite.ir.graph import Graph, Node, Value
from octolite.ir.types import INT32, INT64, RESOURCE, STRING, Array, DType, Operand, TensorType
from octolite.ops.base import attr
from octolite.ops.case import Tensor, case, const, given, made
from octolite.ops.control import Effectful, Session
from octolite.ops.resources import HANDLE, check_handle
from octolite.ops.shapes import length


@dataclass
class Table:
    """A table's types, and its contents once they have been imported."""

    keys: DType
    values: DType
    found: dict[Any, Any] = field(default_factory=dict)
    filled: bool = False

    def check(self, keys: Array, values: Array) -> None:
        """Raise :class:`RuntimeModelError` for arrays of other types."""
        if keys.dtype != self.keys.numpy or values.dtype != self.values.numpy:
            raise RuntimeModelError(
                f"the table maps {self.keys} to {self.values} and was given {keys.dtype} and "
                f"{values.dtype}"
            )


def _table(session: Session, handle: Array) -> Table:
    found = session.state.get(handle, Table)
    if found is None:
        raise RuntimeModelError("the handle leads to no hash table")
    return found


def _plain(array: Array) -> list[Any]:
    """Keys or values as Python has them; text as bytes."""
    items = array.reshape(-1).tolist()
    return [item.encode() if isinstance(item, str) else item for item in items]


def _text(*words: str) -> Array:
    array = np.empty(len(words), object)
    array[:] = [word.encode() for word in words]
    return array


_IDS, _WORDS = np.array([3, 1, 4], np.int64), _text("three", "one", "four")


def _imported(keys: Array, values: Array, times: int = 1) -> Tensor:
    """The handle of a table that holds ``keys`` and ``values``."""

    def make(graph: Graph) -> Value:
        handle = _made(graph, keys, values)
        for _ in range(times):
            graph.add(HashtableImport(), [handle, *_constants(keys, values)])
        return handle

    return made(make, (1,), RESOURCE)


def _made(graph: Graph, keys: Array, values: Array) -> Value:
    types = (v.dtype for v in _constants(keys, values))
    key_dtype, value_dtype = types
    op = Hashtable(table_id=7, key_dtype=key_dtype, value_dtype=value_dtype)
    return graph.add(op, [], "table").output


def _constants(keys: Array, values: Array) -> tuple[Value, Value]:
    return Value.constant("keys", keys), Value.constant("values", values)


def _size_of(graph: Graph, node: Node) -> list[Value]:
    """How much the table holds that a node is about."""
    (handle, *_) = (v for v in (*node.inputs, *node.outputs) if v is not None)
    return [graph.add(HashtableSize(), [handle], "size").output]


class Hashtable(Effectful):
    """The handle of table ``table_id``, empty until something is imported."""

    name = "HASHTABLE"
    options = "HashtableOptions"
    inputs = ""
    outputs = "handle"
    table_id: int = attr(0)
    key_dtype: DType = attr(INT64)
    value_dtype: DType = attr(STRING)

    def infer(self) -> Sequence[TensorType]:
        return [TensorType(RESOURCE, HANDLE)]

    def flow(self, session: Session, arrays: Sequence[Array]) -> Sequence[Array]:
        handle = session.state.handle(("table", self.table_id))
        if session.state.get(handle, Table) is None:
            session.state.put(handle, Table(self.key_dtype, self.value_dtype))
        return [handle]

    cases = (
        case(seen=_size_of),
        case(table_id=3, key_dtype=STRING, value_dtype=INT64, seen=_size_of),
    )


class HashtableImport(Effectful):
    """Fills a table with ``keys`` and ``values``; one that is filled stays as it is."""

    name = "HASHTABLE_IMPORT"
    options = "HashtableImportOptions"
    inputs = "handle keys values"
    outputs = ""

    def infer(self, handle: Operand, keys: Operand, values: Operand) -> Sequence[TensorType]:
        check_handle(self.name, handle)
        if None not in (length(keys), length(values)) and length(keys) != length(values):
            raise ShapeError(
                f"{self.name}: {keys.name!r} {keys.shape} and {values.name!r} {values.shape} "
                "differ in length"
            )
        return []

    def flow(self, session: Session, arrays: Sequence[Array]) -> Sequence[Array]:
        handle, keys, values = arrays
        table = _table(session, handle)
        table.check(keys, values)
        if keys.size != values.size:
            raise ShapeError(f"{self.name}: {keys.size} keys for {values.size} values")
        if not table.filled:
            table.found = dict(zip(_plain(keys), _plain(values), strict=True))
            table.filled = True
        return []

    cases = (
        case(
            made(lambda graph: _made(graph, _IDS, _WORDS), (1,), RESOURCE),
            const(_IDS, INT64),
            const(_WORDS),
            seen=_size_of,
        ),
        case(_imported(_WORDS, _IDS), const(_text("ten")), const([10], INT64), seen=_size_of),
    )


class HashtableFind(Effectful):
    """What a table holds for each of ``keys``; ``default`` for those that it lacks."""

    name = "HASHTABLE_FIND"
    options = "HashtableFindOptions"
    inputs = "handle keys default"

    def infer(self, handle: Operand, keys: Operand, default: Operand) -> Sequence[TensorType]:
        check_handle(self.name, handle)
        if length(default) not in (None, 1):
            raise ShapeError(f"{self.name}: the default {default.name!r} is {default.shape}")
        return [TensorType(default.dtype, keys.shape)]

    def flow(self, session: Session, arrays: Sequence[Array]) -> Sequence[Array]:
        handle, keys, default = arrays
        table = _table(session, handle)
        table.check(keys, default)
        if default.size != 1:
            raise ShapeError(f"{self.name}: the default has shape {default.shape}")
        (otherwise,) = _plain(default)
        values = np.empty(keys.size, default.dtype)
        values[:] = [table.found.get(key, otherwise) for key in _plain(keys)]
        return [values.reshape(keys.shape)]

    cases = (
        case(_imported(_IDS, _WORDS), const([[4, 3], [9, 1]], INT64), const(_text("none"))),
        case(_imported(_WORDS, _IDS, 2), given(_text("one", "two")), const([-1], INT64)),
        case(
            _imported(_IDS.astype(np.int32), _WORDS),
            const([3], INT32),
            const(_text("none")),
            litert=False,
        ),
    )


class HashtableSize(Effectful):
    """How many keys a table holds."""

    name = "HASHTABLE_SIZE"
    options = "HashtableSizeOptions"
    inputs = "handle"

    def infer(self, handle: Operand) -> Sequence[TensorType]:
        check_handle(self.name, handle)
        return [TensorType(INT64, (1,))]

    def flow(self, session: Session, arrays: Sequence[Array]) -> Sequence[Array]:
        return [np.array([len(_table(session, arrays[0]).found)], np.int64)]

    cases = (case(_imported(_IDS, _WORDS)), case(_imported(_WORDS, _IDS)))
