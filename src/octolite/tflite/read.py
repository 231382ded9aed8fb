"""Read a TFLite FlatBuffer into the intermediate form. Constants are views of the file's bytes."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Mapping
from enum import IntEnum
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import tflite

from octolite.errors import FormatError, InvalidGraphError, RuntimeModelError, UnsupportedError
from octolite.ir.graph import Graph, Model, Node, Signature, Value, callees_first
from octolite.ir.mapped import load
from octolite.ir.types import (
    INT2,
    INT4,
    STRING,
    VARIANT,
    Array,
    DType,
    Quant,
    Shape,
    dtype_from_code,
)
from octolite.ir.verify import verify
from octolite.ops.base import REGISTRY, Attribute, Intermediate, Operator
from octolite.ops.custom import UserOperator
from octolite.tflite import flexbuffer, schema
from octolite.tflite.sparse import densify
from octolite.tflite.tables import BOOL, INT8, INT32, UINT8, UINT32, UINT64, Content, Table
from octolite.tflite.verify import verify as verify_tables

# What flatbuffers' accessors raise when offsets lead outside the file.
_BROKEN = (struct.error, IndexError, ValueError, TypeError, OverflowError, AttributeError)


MEMORY_LIMIT = 2 * 2**30
"""Bytes that may be taken for what a file holds in a denser form, when nothing else is said."""

MOST_AXES = 32
"""Axes that a tensor may have; NumPy's arrays have no more."""


def read(
    source: str | PathLike[str] | bytes,
    memory_limit: int = MEMORY_LIMIT,
    custom: Mapping[str, type[UserOperator]] | None = None,
) -> Model:
    """Read a ``.tflite`` file, given by its path or as its bytes.

    Constants are views of the file, save those that it holds in a denser form than arrays do
    (int4, strings, sparse tensors), which may take ``memory_limit`` bytes. ``custom`` says what
    custom operators are, by name.

    Raises:
        FormatError: the bytes are no such file, or lead outside themselves.
        InvalidGraphError: a graph breaks a rule, e.g. a node reads what nothing computes, or a
            graph calls itself.
        UnsupportedError: it uses operators that Octolite lacks; all are named.
        RuntimeModelError: what is decoded would take more than ``memory_limit``.
    """
    return read_with(Reader, source, memory_limit, custom)


def read_with(
    reader: type[Reader],
    source: str | PathLike[str] | bytes,
    memory_limit: int,
    custom: Mapping[str, type[UserOperator]] | None = None,
) -> Model:
    """Read a file with a kind of reader; see :func:`read`."""
    content = source if isinstance(source, bytes) else load(Path(source))
    if len(content) < 8 or content[4:8] != schema.FILE_IDENTIFIER:
        raise FormatError(
            "not a TFLite model: the file identifier should be 'TFL3' and is "
            f"{content[4:8]!r} ({len(content):,} bytes)"
        )
    verify_tables(content)
    try:
        model = reader(content, memory_limit, custom or {}).model()
    except _BROKEN as error:
        raise FormatError(f"the TFLite file is damaged: {error}") from error
    for graph in model.graphs:
        verify(graph)
    callees_first(model.graphs)  # raises for recursion
    return model


class Reader:
    def __init__(
        self, content: Content, memory_limit: int, custom: Mapping[str, type[UserOperator]]
    ) -> None:
        self.content = content
        self.custom = custom
        self.limit = self.left = memory_limit
        self.root = Table.root(content)
        codes = self.root.tables(schema.Model.CODES)
        self.operators = [self._operator(t) for t in codes]
        self.buffers = self.root.tables(schema.Model.BUFFERS)
        self.unsupported: dict[str, list[str]] = {}
        self.arrays: dict[tuple[int, int, Shape], Array] = {}

    def model(self) -> Model:
        root, fields = self.root, schema.Model
        version = root.number(fields.VERSION, UINT32)
        if version != schema.VERSION:
            raise FormatError(f"TFLite schema version {version}, expected {schema.VERSION}")
        tables = root.tables(fields.GRAPHS)
        if not tables:
            raise InvalidGraphError("the file holds no graph")
        names = [t.text(schema.SubGraph.NAME) for t in tables]
        graphs = [Graph(name or f"subgraph_{i}") for i, name in enumerate(names)]
        values = [self._fill(g, t, graphs) for g, t in zip(graphs, tables, strict=True)]
        if self.unsupported:
            raise self._refusal()
        metadata = schema.Metadata
        return Model(
            graphs,
            [self._signature(s, graphs, values) for s in root.tables(fields.SIGNATURES)],
            {
                m.text(metadata.NAME): self._metadata(m.number(metadata.BUFFER, UINT32))
                for m in root.tables(fields.METADATA)
            },
            root.text(fields.DESCRIPTION),
        )

    def _operator(self, code: Table) -> tuple[str, type[Operator] | None]:
        """An operator's name as people know it, and its class if there is one."""
        fields = schema.OperatorCode
        number = max(code.number(fields.CODE, INT32), code.number(fields.OLD_CODE, INT8))
        if number == schema.CUSTOM:
            name = code.text(fields.CUSTOM_CODE)
            cls = self.custom.get(name) or REGISTRY.get(name)
            return f"custom operator {name!r}", cls if cls is not None and cls.custom else None
        name = schema.OPERATOR_NAMES.get(number, f"operator number {number}")
        version, latest = code.number(fields.VERSION, INT32, 1), schema.LATEST_VERSIONS.get(name, 1)
        if version > latest and name in REGISTRY:
            return f"{name} of version {version} (known up to {latest})", None
        return name, REGISTRY.get(name)

    def _refusal(self) -> UnsupportedError:
        lines = [f"  - {op}: node {', '.join(at)}" for op, at in self.unsupported.items()]
        if any(op.startswith("custom operator") for op in self.unsupported):
            lines.append(
                "say what a custom operator does with Interpreter(..., custom_operators="
                "{name: octolite.CustomOperator(compute, shapes)})"
            )
        return UnsupportedError(
            "the model uses operators that Octolite does not support:\n" + "\n".join(lines)
        )

    def _raw(self, index: int) -> Array:
        """The bytes of buffer ``index``, wherever the file keeps them."""
        if not 0 <= index < len(self.buffers):
            raise FormatError(f"buffer {index} is not one of {len(self.buffers)}")
        buffer, fields = self.buffers[index], schema.Buffer
        start = buffer.number(fields.OFFSET, UINT64)
        if start > 1:
            size = buffer.number(fields.SIZE, UINT64)
            if start + size > len(self.content):
                raise FormatError(f"buffer {index} ends behind the end of the file")
            return np.frombuffer(self.content, np.uint8, size, start)
        data = buffer.vector(fields.DATA, np.uint8)
        return np.empty(0, np.uint8) if data is None else data

    def _metadata(self, index: int) -> bytes:
        raw = self._raw(index)
        self._spend(raw.size, "the metadata")
        return raw.tobytes()

    def _spend(self, size: int, what: str) -> None:
        """Count bytes that are taken beside the file's own."""
        self.left -= size
        if self.left < 0:
            raise RuntimeModelError(
                f"{what}: what the file holds in a denser form needs more than the limit of "
                f"{self.limit:,} bytes; give the Interpreter a larger memory_limit"
            )

    # -- graphs -----------------------------------------------------------------------------------

    def _fill(self, graph: Graph, table: Table, graphs: list[Graph]) -> list[Value]:
        fields = schema.SubGraph
        inputs, outputs = _indices(table, fields.INPUTS), _indices(table, fields.OUTPUTS)
        operators = table.tables(fields.OPERATORS)
        computed = set(inputs)
        for operator in operators:
            computed.update(_indices(operator, schema.Operator.OUTPUTS))
        values = [
            self._value(t, i, i in computed) for i, t in enumerate(table.tables(fields.TENSORS))
        ]
        where = f"graph {graph.name!r}"
        graph.inputs = [_pick(values, i, where) for i in inputs]
        graph.outputs = [_pick(values, i, where) for i in outputs]
        for position, operator in enumerate(operators):
            self._node(graph, operator, position, values, graphs)
        return values

    def _value(self, table: Table, index: int, computed: bool) -> Value:
        fields = schema.Tensor
        dtype = dtype_from_code(table.number(fields.TYPE, INT8))
        name = table.text(fields.NAME) or f"tensor_{index}"
        shape: Shape | None = self._shape(table, name)
        quant = self._quant(table.table(fields.QUANTIZATION), name, dtype)
        is_variable = bool(table.number(fields.IS_VARIABLE, BOOL))
        data = None
        if shape is not None and not computed and not is_variable:
            buffer, sparsity = table.number(fields.BUFFER, UINT32), table.table(fields.SPARSITY)
            if sparsity is None:
                data = self._constant(buffer, dtype, shape, name)
            else:
                data = self._dense(buffer, sparsity, dtype, shape, name)
        if data is None and computed and shape == () and not table.number(fields.HAS_RANK, BOOL):
            shape = None  # old files write no shape for an unknown rank
        return Value(name, dtype, shape, data=data, quant=quant, is_variable=is_variable)

    def _shape(self, table: Table, name: str) -> Shape:
        shape = _indices(table, schema.Tensor.SHAPE)
        signature = _indices(table, schema.Tensor.SIGNATURE)
        if len(shape) > MOST_AXES:
            raise FormatError(f"tensor {name!r} has {len(shape)} axes, more than {MOST_AXES}")
        if any(d < 0 for d in shape):
            raise FormatError(f"tensor {name!r} has the negative extent {min(shape)}")
        if len(signature) == len(shape):
            return tuple(None if s < 0 else d for d, s in zip(shape, signature, strict=True))
        return tuple(shape)

    def _quant(self, table: Table | None, name: str, dtype: DType) -> Quant | None:
        fields = schema.Quantization
        scale = None if table is None else table.vector(fields.SCALE, np.float32)
        if table is None or scale is None or not scale.size:
            return None
        zero_point = np.zeros(scale.size, np.int64)
        given = table.vector(fields.ZERO_POINT, np.int64)
        if given is not None and given.size:
            if given.size not in (1, scale.size):
                raise FormatError(
                    f"tensor {name!r} has {scale.size} scales and {given.size} zero points"
                )
            zero_point = np.broadcast_to(given, scale.shape).copy()
            codes = np.iinfo(dtype.numpy if dtype.is_integer else np.int32)
            if given.min() < codes.min or given.max() > codes.max:
                worst = max(given.tolist(), key=abs)
                raise FormatError(f"tensor {name!r} of {dtype} has the zero point {worst}")
        return Quant(scale.copy(), zero_point, table.number(fields.AXIS, INT32))

    def _constant(self, index: int, dtype: DType, shape: Shape, name: str) -> Array | None:
        if index == 0 and 0 not in shape:
            return None
        key = (index, dtype.code, shape)
        if key not in self.arrays:
            raw = self._raw(index)
            if raw.size == 0 and 0 not in shape:
                return None
            if dtype in (INT2, INT4, STRING):  # several codes a byte; 4 bytes and more a string
                each = 16 if dtype is STRING else 8 // dtype.bits
                self._spend(raw.size * each, f"tensor {name!r}")
            self.arrays[key] = decode(raw, dtype, shape, name)
        return self.arrays[key]

    def _dense(self, buffer: int, sparsity: Table, dtype: DType, shape: Shape, name: str) -> Array:
        """A constant that the file holds without most of its zeros."""
        extents = [d or 0 for d in shape]
        self._spend(math.prod(extents) * dtype.numpy.itemsize, f"sparse tensor {name!r}")
        return densify(sparsity, self._raw(buffer), dtype, extents, name)

    def _node(
        self, graph: Graph, table: Table, position: int, values: list[Value], graphs: list[Graph]
    ) -> None:
        fields = schema.Operator
        code = table.number(fields.CODE, UINT32)
        name, cls = _pick(self.operators, code, f"node {position}")
        if cls is None:
            self.unsupported.setdefault(name, []).append(str(position))
            return
        where = f"node {position} ({name})"
        inputs = [
            None if i == -1 else _pick(values, i, where) for i in _indices(table, fields.INPUTS)
        ]
        outputs = [_pick(values, i, where) for i in _indices(table, fields.OUTPUTS)]
        between = [_pick(values, i, where) for i in _indices(table, fields.INTERMEDIATES)]
        op = cls(**self._attributes(cls, table, where, graphs)).settle(outputs)
        op = op.lend([Intermediate.of(v) for v in between])
        op.check_arity(len(inputs), len(outputs))
        op.check_kinds(inputs)
        _check_variables(op, inputs, where)
        if len({id(v) for v in outputs}) < len(outputs):
            raise InvalidGraphError(f"{where} has one tensor as two of its results")
        for value in outputs:
            if value.producer is not None:
                raise InvalidGraphError(
                    f"{where} computes {value.name!r}, which {value.producer} computes too"
                )
        graph.nodes.append(Node(op, inputs, outputs))

    def _attributes(
        self, cls: type[Operator], table: Table, where: str, graphs: list[Graph]
    ) -> dict[str, Any]:
        if cls.custom:
            return self._custom_attributes(cls, table, where)
        if cls.options is None:
            return {}
        fields = schema.Operator
        if cls.options in schema.OPTIONS_CODES:
            expected, place = schema.OPTIONS_CODES[cls.options], fields.OPTIONS
            kind = table.number(fields.OPTIONS_TYPE, UINT8)
        else:
            expected, place = schema.OPTIONS_2_CODES[cls.options], fields.OPTIONS_2
            kind = table.number(fields.OPTIONS_2_TYPE, UINT8)
        if kind == 0:
            return {}
        if kind != expected:
            raise FormatError(
                f"{where} should carry {cls.options} and carries options of type {kind}"
            )
        union = table.table(place)
        if union is None:
            return {}
        options = getattr(tflite, cls.options)()
        options.Init(self.content, union.at)
        return {a.name: _attribute(a, options, where, graphs) for a in cls.attribute_list()}

    def _custom_attributes(self, cls: type[Operator], table: Table, where: str) -> dict[str, Any]:
        raw = self._custom_options(table, where)
        if issubclass(cls, UserOperator):
            return {"raw": raw, "options_given": _users_options(cls, raw, where)}
        if cls.packed:
            return _unpacked(cls, raw, where)
        found = flexbuffer.decode(raw) if raw else {}
        if not isinstance(found, dict):
            raise FormatError(f"{where}: its options are {type(found).__name__}, expected a map")
        return {
            a.name: flexbuffer.number(found[a.name], a.default, f"{where}: option {a.name}")
            for a in cls.attribute_list()
            if a.name in found
        }

    def _custom_options(self, table: Table, where: str) -> bytes:
        fields = schema.Operator
        start = table.number(fields.LARGE_OFFSET, UINT64)
        if start > 1:
            size = table.number(fields.LARGE_SIZE, UINT64)
            if start + size > len(self.content):
                raise FormatError(f"{where}: its options end behind the end of the file")
            return bytes(self.content[start : start + size])
        found = table.vector(fields.CUSTOM_OPTIONS, np.uint8)
        return b"" if found is None else found.tobytes()

    def _signature(self, table: Table, graphs: list[Graph], values: list[list[Value]]) -> Signature:
        fields, entry = schema.Signature, schema.TensorMap
        index, key = table.number(fields.GRAPH, UINT32), table.text(fields.KEY)
        graph = _pick(graphs, index, "a signature")
        where = f"signature {key!r}"

        def entries(field: int) -> dict[str, Value]:
            return {
                e.text(entry.NAME): _pick(values[index], e.number(entry.TENSOR, UINT32), where)
                for e in table.tables(field)
            }

        return Signature(key, entries(fields.INPUTS), entries(fields.OUTPUTS), graph)


def _users_options(cls: type[UserOperator], raw: bytes, where: str) -> Any:
    """What a user's operator is given for the bytes of its options."""
    read_options = cls.definition.decode
    if read_options is None:
        return flexbuffer.decode(raw) if raw else {}
    try:
        return read_options(raw)
    except Exception as error:
        raise FormatError(f"{where}: decode raised {error!r} for its options") from error


def _unpacked(cls: type[Operator], raw: bytes, where: str) -> dict[str, Any]:
    """The attributes of an operator that stores them as a C structure."""
    size = struct.calcsize(cls.packed)
    if len(raw) < size:
        raise FormatError(f"{where}: its options have {len(raw)} bytes, expected {size}")
    names = (a.name for a in cls.attribute_list())
    return dict(zip(names, struct.unpack_from(cls.packed, raw), strict=True))


def _check_variables(op: Operator, inputs: list[Value | None], where: str) -> None:
    for parameter, value in zip(op.input_parameters(), inputs, strict=False):
        if parameter.variable and not (value is not None and value.is_variable):
            name = "which is absent" if value is None else f"and {value.name!r} is not one"
            raise InvalidGraphError(
                f"{where} should keep its {parameter.name} in a variable, {name}"
            )


def _attribute(attribute: Attribute, options: Any, where: str, graphs: list[Graph]) -> Any:
    """One options field, as the type of the attribute's default asks."""
    default = attribute.default
    if isinstance(default, tuple):
        vector = getattr(options, f"{attribute.option}AsNumpy")()
        return tuple(np.asarray(vector).tolist()) if isinstance(vector, np.ndarray) else ()
    if isinstance(default, bytes):
        vector = getattr(options, f"{attribute.option}AsNumpy")()
        return vector.tobytes() if isinstance(vector, np.ndarray) else b""
    value = getattr(options, attribute.option)()
    match default:
        case IntEnum():
            try:
                return type(default)(value)
            except ValueError:
                raise FormatError(
                    f"{where}: {value} is no {type(default).__name__} ({attribute.option})"
                ) from None
        case DType():
            return dtype_from_code(value)
        case Graph() | None:
            return _pick(graphs, value, where)
        case str():
            return _text(value)
        case _:
            return type(default)(value)


def _pick(items: list[Any], index: int, where: str) -> Any:
    if not 0 <= index < len(items):
        raise FormatError(f"{where} refers to number {index} of {len(items)}")
    return items[index]


def _indices(table: Table, field: int) -> list[int]:
    """A vector of int32; nothing where it is absent."""
    vector = table.vector(field, np.int32)
    return [] if vector is None else vector.tolist()


def _text(raw: bytes | None) -> str:
    return raw.decode("utf-8", "replace") if raw else ""


def decode(raw: Array, dtype: DType, shape: Shape, name: str) -> Array:
    """An array from its stored bytes. Raises :class:`FormatError` when the sizes disagree."""
    extents = tuple(1 if d is None else d for d in shape)
    count = 1
    for d in extents:
        count *= d
    if dtype is VARIANT:
        raise FormatError(f"tensor {name!r} is a constant of type variant, which has no bytes")
    if dtype is STRING:
        return _decode_strings(raw, count, name).reshape(extents)
    expected = (count * dtype.bits + 7) // 8
    if raw.size != expected:
        raise FormatError(
            f"tensor {name!r} of {dtype} {list(extents)} needs {expected:,} bytes and its buffer "
            f"holds {raw.size:,}"
        )
    if dtype in (INT2, INT4):
        bits = dtype.bits
        codes = np.stack([raw << shift for shift in range(8 - bits, -1, -bits)], axis=1)
        return (codes.reshape(-1)[:count].view(np.int8) >> (8 - bits)).reshape(extents)
    array = raw.view(dtype.numpy).reshape(extents)
    return array if array.flags.aligned else array.copy()


def _decode_strings(raw: Array, count: int, name: str) -> Array:
    data = raw.tobytes()
    if len(data) < 4 * (count + 2) or int.from_bytes(data[:4], "little") != count:
        raise FormatError(f"tensor {name!r} should hold {count} strings and does not")
    ends = np.frombuffer(data, "<i4", count + 1, 4)
    if np.any(np.diff(ends) < 0) or ends[0] < 0 or ends[-1] > len(data):
        raise FormatError(f"tensor {name!r} has string offsets outside its buffer")
    items = np.empty(count, object)
    items[:] = [data[a:b] for a, b in itertools.pairwise(ends)]
    return items
