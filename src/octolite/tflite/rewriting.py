"""A ``.tflite`` file changed in places: what no one touched is written as the file has it.

:func:`open_file` reads a file and remembers, beside the model, where each tensor and each node
lies in it. :func:`rewrite` writes the model; tensors and nodes that are as they were read are
copied field by field, so that what the intermediate form does not hold (sparse constants,
statistics of ranges, options that are not known here, operators that are not) stays in the file.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np

from octolite.errors import ConversionError, UnsupportedError
from octolite.ir.graph import Graph, Model, Node, Value
from octolite.ir.types import Array, DType, Quant, Shape
from octolite.ops.base import Operator
from octolite.ops.custom import CustomOperator, UserOperator, user_operator
from octolite.tflite import layout, schema
from octolite.tflite.read import MEMORY_LIMIT, Reader, read_with
from octolite.tflite.tables import INT8, INT32, UINT8, UINT32, UINT64, Content, Table
from octolite.tflite.write import Writer


@dataclass(frozen=True, slots=True)
class KeptValue:
    """A tensor as the file has it; ``value`` is kept so that its id stays its own."""

    value: Value
    table: Table
    dtype: DType
    shape: Shape | None
    data: Array | None
    quant: Quant | None

    @property
    def untouched(self) -> bool:
        v = self.value
        same = v.dtype is self.dtype and v.data is self.data and v.quant is self.quant
        return same and v.shape == self.shape


@dataclass(frozen=True, slots=True)
class KeptNode:
    """A node as the file has it, the types of its operands there, and its graph's tensors."""

    node: Node
    table: Table
    op: Operator
    dtypes: tuple[DType | None, ...]
    tensors: list[Value]

    @property
    def untouched(self) -> bool:
        return self.node.op is self.op and self.dtypes == _dtypes(self.node)


@dataclass
class Origin:
    """The file that a model was read from.

    Attributes:
        content: its bytes.
        values: tensors by the id of their value.
        nodes: nodes by their id.
        tensors: the values of each graph in the order of the file, by the graph's id.
        read: ids of the values that the graphs were reading.
    """

    content: Content
    values: dict[int, KeptValue] = field(default_factory=dict)
    nodes: dict[int, KeptNode] = field(default_factory=dict)
    tensors: dict[int, list[Value]] = field(default_factory=dict)
    read: set[int] = field(default_factory=set)


def _dtypes(node: Node) -> tuple[DType | None, ...]:
    return tuple(None if v is None else v.dtype for v in (*node.inputs, *node.outputs))


# -- reading ------------------------------------------------------------------------------------


def open_file(source: str | PathLike[str] | bytes, memory_limit: int = MEMORY_LIMIT) -> Model:
    """Read a ``.tflite`` file to change it. Operators that are not known are left as they are.

    Raises as :func:`octolite.tflite.read` does, save for operators.
    """
    return read_with(_OpenReader, source, memory_limit)


class _OpenReader(Reader):
    def __init__(
        self, content: Content, memory_limit: int, custom: Mapping[str, type[UserOperator]]
    ) -> None:
        self.origin = Origin(content)
        super().__init__(content, memory_limit, custom)

    def model(self) -> Model:
        model = super().model()
        self.origin.read = {id(v) for g in model.graphs for v in g.values()}
        model.origin = self.origin
        return model

    def _operator(self, code: Table) -> tuple[str, type[Operator] | None]:
        name, cls = super()._operator(code)
        return name, cls or _foreign(name, code)

    def _fill(self, graph: Graph, table: Table, graphs: list[Graph]) -> list[Value]:
        values = super()._fill(graph, table, graphs)
        self.origin.tensors[id(graph)] = values
        return values

    def _value(self, table: Table, index: int, computed: bool) -> Value:
        value = super()._value(table, index, computed)
        self.origin.values[id(value)] = KeptValue(
            value, table, value.dtype, value.shape, value.data, value.quant
        )
        return value

    def _node(
        self, graph: Graph, table: Table, position: int, values: list[Value], graphs: list[Graph]
    ) -> None:
        super()._node(graph, table, position, values, graphs)
        node = graph.nodes[-1]
        assert isinstance(node.op, Operator)
        self.origin.nodes[id(node)] = KeptNode(node, table, node.op, _dtypes(node), values)


def _foreign(called: str, code: Table) -> type[Operator]:
    """An operator that is only carried along."""

    def compute(*_: Any) -> Any:
        raise UnsupportedError(f"{called} is not supported")

    known = code.number(schema.OperatorCode.OLD_CODE, INT8) == schema.CUSTOM
    cls = user_operator(called, CustomOperator(compute, decode=lambda raw: None))
    cls.custom = known
    return cls


# -- writing ------------------------------------------------------------------------------------


def rewrite(model: Model) -> bytes:
    """The bytes of a file that :func:`open_file` has read, with all that was changed since.

    Raises :class:`ConversionError` when the model has become too large for the format.
    """
    assert isinstance(model.origin, Origin)
    size = sum(v.nbytes + 64 for g in model.graphs for v in g.values())
    content = _Rewriter(model, size, model.origin).finish()
    return _with_attached(content, model.origin.content)


class _Rewriter(Writer):
    def __init__(self, model: Model, size: int, origin: Origin) -> None:
        super().__init__(model, size)
        self.origin = origin
        self.kept_buffers: dict[int, int] = {}
        self.kept_codes: dict[tuple[str, int, bool], Table] = {}
        b = self.builder
        slots = (b.PrependUint8Slot, b.PrependUint16Slot, b.PrependUint32Slot, b.PrependUint64Slot)
        self._prepend = dict(zip(_UNSIGNED, slots, strict=True))
        root = Table.root(origin.content)
        self.old_codes = root.tables(schema.Model.CODES)
        self.old_buffers = root.tables(schema.Model.BUFFERS)

    def listed(self, graph: Graph) -> list[Value]:
        """The tensors as the file has them, less those that nothing reads any more; new ones."""
        now = {id(v): v for v in graph.values()}
        before = self.origin.tensors[id(graph)]
        kept = [v for v in before if id(v) in now or id(v) not in self.origin.read]
        known = {id(v) for v in kept}
        return kept + [v for i, v in now.items() if i not in known]

    def names(self, graph: Graph) -> list[str]:
        """Tensors of the file keep their names, whatever these are; new ones give way."""
        taken = {v.name for v in self.origin.tensors[id(graph)]}
        names = []
        for value in self.listed(graph):
            name, number = value.name, 0
            if id(value) not in self.origin.values:
                while name in taken:
                    number += 1
                    name = f"{value.name}_{number}"
                taken.add(name)
            names.append(name)
        return names

    def _tensor(self, value: Value, name: str) -> int:
        kept = self.origin.values.get(id(value))
        if kept is None or not kept.untouched:
            return super()._tensor(value, name)
        buffer = self._kept_buffer(kept.table.number(schema.Tensor.BUFFER, UINT32))
        return self.copy("Tensor", kept.table, buffer=buffer)

    def _kept_buffer(self, index: int) -> int:
        if index not in self.kept_buffers:
            data = self._raw(index)
            self.kept_buffers[index] = len(self.buffers) if len(data) else 0
            if len(data):
                self.buffers.append(data)
        return self.kept_buffers[index]

    def _raw(self, index: int) -> bytes | memoryview:
        if index >= len(self.old_buffers):
            return b""
        buffer, fields = self.old_buffers[index], schema.Buffer
        start = buffer.number(fields.OFFSET, UINT64)
        if start > 1:
            size = buffer.number(fields.SIZE, UINT64)
            return memoryview(self.origin.content)[start : start + size]
        data = buffer.vector(fields.DATA, np.uint8)
        return b"" if data is None else data.data

    def _operator(
        self, node: Node, tensors: dict[int, int], indices: dict[int, int], tables: list[int]
    ) -> int:
        kept = self.origin.nodes.get(id(node))
        if kept is None or not kept.untouched:
            return super()._operator(node, tensors, indices, tables)
        fields, old = schema.Operator, kept.tensors
        between = kept.table.vector(fields.INTERMEDIATES, np.int32)
        changes: dict[str, int | None] = {
            "opcode_index": self._kept_code(kept.table.number(fields.CODE, UINT32)),
            "inputs": self._numbers(
                (-1 if v is None else tensors[id(v)] for v in node.inputs), np.int32
            ),
            "outputs": self._numbers((tensors[id(v)] for v in node.outputs), np.int32),
        }
        if between is not None:
            places = (tensors[id(old[i])] if 0 <= i < len(old) else -1 for i in between.tolist())
            changes["intermediates"] = self._numbers(places, np.int32)
        if kept.table.number(fields.LARGE_OFFSET, UINT64) > 1:
            start = kept.table.number(fields.LARGE_OFFSET, UINT64)
            size = kept.table.number(fields.LARGE_SIZE, UINT64)
            raw = memoryview(self.origin.content)[start : start + size]
            changes |= {"large_custom_options_offset": None, "large_custom_options_size": None}
            changes["custom_options"] = self._bytes(raw)
        return self.copy("Operator", kept.table, **changes)

    def _kept_code(self, index: int) -> int:
        table, fields = self.old_codes[index], schema.OperatorCode
        number = max(table.number(fields.CODE, INT32), table.number(fields.OLD_CODE, INT8))
        custom = number == schema.CUSTOM
        name = table.text(fields.CUSTOM_CODE) if custom else schema.OPERATOR_NAMES.get(number)
        key = name or f"operator number {number}", table.number(fields.VERSION, INT32, 1), custom
        self.kept_codes[key] = table
        return self.codes.setdefault(key, len(self.codes))

    def _code(self, name: str, version: int, is_custom: bool) -> int:
        table = self.kept_codes.get((name, version, is_custom))
        if table is None:
            return super()._code(name, version, is_custom)
        return self.copy("OperatorCode", table)

    # -- any table ----------------------------------------------------------------------------

    def copy(self, name: str, table: Table, **changes: int | None) -> int:
        """The table again; ``changes``: fields that are other numbers, or lead elsewhere."""
        fields = layout.fields_of(name)
        contents = [
            changes[f.name] if f.name in changes else self._copied(table, number, f)
            for number, f in enumerate(fields)
        ]
        self.builder.StartObject(len(fields))
        for number, (f, content) in enumerate(zip(fields, contents, strict=True)):
            if content is None:
                continue
            if f.kind == "number":
                self._prepend[f.size](number, content, None)
            else:
                self.builder.PrependUOffsetTRelativeSlot(number, content, 0)
        return int(self.builder.EndObject())

    def _copied(self, table: Table, number: int, f: layout.Field) -> int | None:
        """A field's bits, or where the copy of what it leads to lies; ``None`` if it is absent."""
        if not table.has(number) or not f.width:
            return None
        match f.kind:
            case "number":
                return table.number(number, _UNSIGNED[f.size])
            case "string" | "bytes" | "vector":
                raw = table.vector(number, f"V{f.size}")
                assert raw is not None
                if f.kind == "string":
                    return int(self.builder.CreateString(raw.tobytes()))
                return self._raw_vector(raw.tobytes(), f.size)
            case "tables":
                return self._offsets([self.copy(f.of, t) for t in table.tables(number)])
            case _:
                name = f.of
                if f.kind == "union":
                    name = layout.members(f.of).get(table.number(number - 1, UINT8), "")
                inner = table.table(number)
                return self.copy(name, inner) if inner is not None and name else None

    def _raw_vector(self, data: bytes, size: int) -> int:
        key = np.dtype(f"V{size}"), data
        if key not in self.vectors:
            self.builder.StartVector(size, len(data) // size, size)
            self.builder.head -= len(data)
            self.builder.Bytes[self.builder.head : self.builder.head + len(data)] = data
            self.vectors[key] = int(self.builder.EndVector())
        return self.vectors[key]


_UNSIGNED = {1: UINT8, 2: struct.Struct("<H"), 4: UINT32, 8: UINT64}


# -- files behind the model -----------------------------------------------------------------------


ATTACHED_LIMIT = 1 << 28
"""Bytes of attached files that are carried over."""

_END_OF_ARCHIVE = b"PK\5\6"
_LONGEST_END = 22 + 0xFFFF  # with the longest comment


def _with_attached(content: bytes, origin: Content) -> bytes:
    """``content`` with the files (labels, vocabularies) that a ZIP archive behind ``origin`` holds.

    Source: TFLite metadata's associated files.
    """
    if origin.rfind(_END_OF_ARCHIVE, max(0, len(origin) - _LONGEST_END)) < 0:
        return content
    try:
        with zipfile.ZipFile(io.BytesIO(origin)) as attached:
            entries = attached.infolist()
            if sum(entry.file_size for entry in entries) > ATTACHED_LIMIT:
                raise ConversionError(
                    f"the files attached to the model take more than {ATTACHED_LIMIT:,} bytes"
                )
            whole = io.BytesIO(content)
            with zipfile.ZipFile(whole, "a") as archive:
                for entry in entries:
                    archive.writestr(entry, attached.read(entry))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, zlib.error):
        return content  # none, or none that can be read
    return whole.getvalue()
