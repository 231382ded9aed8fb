"""Read a TFLite FlatBuffer into the intermediate form. Constants are views of the file's bytes."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import tflite

from octolite.errors import FormatError, InvalidGraphError, UnsupportedError
from octolite.ir.graph import Graph, Model, Node, Signature, Value, callees_first
from octolite.ir.types import (
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
from octolite.ops.base import REGISTRY, Attribute, Operator, operator_class
from octolite.tflite import schema

# What flatbuffers' accessors raise when offsets lead outside the file.
_BROKEN = (struct.error, IndexError, ValueError, TypeError, OverflowError, AttributeError)


def read(source: str | PathLike[str] | bytes) -> Model:
    """Read a ``.tflite`` file, given by its path or as its bytes.

    Raises:
        FormatError: the bytes are no such file, or lead outside themselves.
        InvalidGraphError: a graph breaks a rule, e.g. a node reads what nothing computes, or a
            graph calls itself.
        UnsupportedError: it uses operators that Octolite lacks; all are named.
    """
    content = source if isinstance(source, bytes) else _load(Path(source))
    if len(content) < 8 or content[4:8] != schema.FILE_IDENTIFIER:
        raise FormatError(
            "not a TFLite model: the file identifier should be 'TFL3' and is "
            f"{content[4:8]!r} ({len(content):,} bytes)"
        )
    try:
        model = _Reader(content).model()
    except _BROKEN as error:
        raise FormatError(f"the TFLite file is damaged: {error}") from error
    for graph in model.graphs:
        verify(graph)
    callees_first(model.graphs)  # raises for recursion
    return model


def _load(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FormatError(f"cannot read {path}: {error.strerror}") from error


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.root = tflite.Model.GetRootAsModel(content, 0)
        self.unsupported: dict[str, list[str]] = {}
        self.arrays: dict[tuple[int, int, Shape], Array] = {}

    def model(self) -> Model:
        root = self.root
        if root.Version() != schema.VERSION:
            raise FormatError(f"TFLite schema version {root.Version()}, expected {schema.VERSION}")
        tables = list(self._items(root.Subgraphs, root.SubgraphsLength()))
        if not tables:
            raise InvalidGraphError("the file holds no graph")
        graphs = [Graph(_text(t.Name()) or f"subgraph_{i}") for i, t in enumerate(tables)]
        values = [self._fill(g, t, graphs) for g, t in zip(graphs, tables, strict=True)]
        if self.unsupported:
            lines = [f"  - {op}: node {', '.join(at)}" for op, at in self.unsupported.items()]
            raise UnsupportedError(
                "the model uses operators that Octolite does not support:\n" + "\n".join(lines)
            )
        return Model(
            graphs,
            [self._signature(s, graphs, values) for s in self._signatures()],
            {_text(m.Name()): self._buffer(m.Buffer()) for m in self._metadata()},
            _text(root.Description()),
        )

    def _items(self, accessor: Callable[[int], Any], length: int) -> Iterator[Any]:
        """The elements of a vector whose claimed length the file could hold."""
        if length * 4 > len(self.content):
            raise FormatError(f"a vector claims {length:,} elements in a smaller file")
        return (accessor(i) for i in range(length))

    def _signatures(self) -> Iterator[Any]:
        return self._items(self.root.SignatureDefs, self.root.SignatureDefsLength())

    def _metadata(self) -> Iterator[Any]:
        return self._items(self.root.Metadata, self.root.MetadataLength())

    def _buffer(self, index: int) -> bytes:
        return self._raw(index).tobytes()

    def _raw(self, index: int) -> Array:
        """The bytes of buffer ``index``, wherever the file keeps them."""
        if not 0 <= index < self.root.BuffersLength():
            raise FormatError(f"buffer {index} is not one of {self.root.BuffersLength()}")
        buffer = self.root.Buffers(index)
        if buffer.Offset() > 1:
            start, size = buffer.Offset(), buffer.Size()
            if start + size > len(self.content):
                raise FormatError(f"buffer {index} ends behind the end of the file")
            return np.frombuffer(self.content, np.uint8, size, start)
        if buffer.DataLength() == 0:
            return np.empty(0, np.uint8)
        return np.asarray(buffer.DataAsNumpy())

    # -- graphs -----------------------------------------------------------------------------------

    def _fill(self, graph: Graph, table: Any, graphs: list[Graph]) -> list[Value]:
        inputs = _indices(table.InputsAsNumpy())
        produced: set[int] = set()
        operators = list(self._items(table.Operators, table.OperatorsLength()))
        for operator in operators:
            produced.update(_indices(operator.OutputsAsNumpy()))
        values = [
            self._value(t, i, i in inputs or i in produced)
            for i, t in enumerate(self._items(table.Tensors, table.TensorsLength()))
        ]
        where = f"graph {graph.name!r}"
        graph.inputs = [_pick(values, i, where) for i in inputs]
        graph.outputs = [_pick(values, i, where) for i in _indices(table.OutputsAsNumpy())]
        for position, operator in enumerate(operators):
            self._node(graph, operator, position, values, graphs)
        return values

    def _value(self, table: Any, index: int, computed: bool) -> Value:
        dtype = dtype_from_code(table.Type())
        name = _text(table.Name()) or f"tensor_{index}"
        shape: Shape | None = self._shape(table, name)
        quant = self._quant(table.Quantization(), name)
        data = None
        if shape is not None and not computed and not table.IsVariable():
            data = self._constant(table.Buffer(), dtype, shape, name)
        if data is None and computed and not table.HasRank() and shape == ():
            shape = None  # old files write no shape for an unknown rank
        return Value(
            name, dtype, shape, data=data, quant=quant, is_variable=bool(table.IsVariable())
        )

    def _shape(self, table: Any, name: str) -> Shape:
        shape = _indices(table.ShapeAsNumpy())
        signature = _indices(table.ShapeSignatureAsNumpy())
        if any(d < 0 for d in shape):
            raise FormatError(f"tensor {name!r} has the negative extent {min(shape)}")
        if len(signature) == len(shape):
            return tuple(None if s < 0 else d for d, s in zip(shape, signature, strict=True))
        return tuple(shape)

    def _quant(self, table: Any, name: str) -> Quant | None:
        if table is None or table.ScaleLength() == 0:
            return None
        scale = np.array(table.ScaleAsNumpy(), np.float32)
        zero_point = np.zeros(scale.size, np.int64)
        if table.ZeroPointLength():
            given = np.array(table.ZeroPointAsNumpy(), np.int64)
            if given.size not in (1, scale.size):
                raise FormatError(
                    f"tensor {name!r} has {scale.size} scales and {given.size} zero points"
                )
            zero_point = np.broadcast_to(given, scale.shape).copy()
        return Quant(scale, zero_point, int(table.QuantizedDimension()))

    def _constant(self, index: int, dtype: DType, shape: Shape, name: str) -> Array | None:
        if index == 0 and 0 not in shape:
            return None
        key = (index, dtype.code, shape)
        if key not in self.arrays:
            raw = self._raw(index)
            if raw.size == 0 and 0 not in shape:
                return None
            self.arrays[key] = decode(raw, dtype, shape, name)
        return self.arrays[key]

    def _node(
        self, graph: Graph, table: Any, position: int, values: list[Value], graphs: list[Graph]
    ) -> None:
        name = self._operator_name(table.OpcodeIndex())
        if name not in REGISTRY:
            self.unsupported.setdefault(name, []).append(str(position))
            return
        cls = operator_class(name)
        where = f"node {position} ({name})"
        inputs = [
            None if i == -1 else _pick(values, i, where) for i in _indices(table.InputsAsNumpy())
        ]
        outputs = [_pick(values, i, where) for i in _indices(table.OutputsAsNumpy())]
        op = cls(**self._attributes(cls, table, where, graphs)).settle(outputs)
        op.check_arity(len(inputs))
        _check_variables(op, inputs, where)
        for value in outputs:
            if value.producer is not None:
                raise InvalidGraphError(
                    f"{where} computes {value.name!r}, which {value.producer} computes too"
                )
        graph.nodes.append(Node(op, inputs, outputs))

    def _operator_name(self, index: int) -> str:
        if not 0 <= index < self.root.OperatorCodesLength():
            raise FormatError(f"operator code {index} of {self.root.OperatorCodesLength()}")
        code = self.root.OperatorCodes(index)
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if number == schema.CUSTOM:
            return _text(code.CustomCode()) or "CUSTOM"
        return schema.OPERATOR_NAMES.get(number, f"operator number {number}")

    def _attributes(
        self, cls: type[Operator], table: Any, where: str, graphs: list[Graph]
    ) -> dict[str, Any]:
        if cls.options is None or table.BuiltinOptionsType() == 0:
            return {}
        if table.BuiltinOptionsType() != schema.OPTIONS_CODES[cls.options]:
            raise FormatError(
                f"{where} should carry {cls.options} and carries options of type "
                f"{table.BuiltinOptionsType()}"
            )
        options = getattr(tflite, cls.options)()
        union = table.BuiltinOptions()
        if union is None:
            return {}
        options.Init(union.Bytes, union.Pos)
        return {a.name: _attribute(a, options, where, graphs) for a in cls.attribute_list()}

    def _signature(self, table: Any, graphs: list[Graph], values: list[list[Value]]) -> Signature:
        index = table.SubgraphIndex()
        graph = _pick(graphs, index, "a signature")
        where = f"signature {_text(table.SignatureKey())!r}"

        def entries(accessor: Callable[[int], Any], length: int) -> dict[str, Value]:
            return {
                _text(e.Name()): _pick(values[index], e.TensorIndex(), where)
                for e in self._items(accessor, length)
            }

        return Signature(
            _text(table.SignatureKey()),
            entries(table.Inputs, table.InputsLength()),
            entries(table.Outputs, table.OutputsLength()),
            graph,
        )


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


def _indices(vector: Any) -> list[int]:
    """A vector of integers; the accessors give 0 for one that is absent."""
    return vector.tolist() if isinstance(vector, np.ndarray) else []


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
    if dtype is INT4:
        nibbles = np.stack([raw << 4, raw & 0xF0], axis=1).reshape(-1)[:count]
        return (nibbles.view(np.int8) >> 4).reshape(extents)
    return raw.view(dtype.numpy).reshape(extents)


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
