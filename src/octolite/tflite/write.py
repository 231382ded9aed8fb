"""Write a model as a TFLite FlatBuffer: schema 3, the same bytes for the same model."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import flatbuffers
import numpy as np
import tflite

from octolite.errors import ConversionError
from octolite.ir.graph import Graph, Model, Node, Signature, Value
from octolite.ir.types import INT2, INT4, STRING, Array, DType, Quant
from octolite.ops.base import Attribute, Operator
from octolite.ops.custom import KeptOperator, UserOperator
from octolite.tflite import flexbuffer, layout, schema

LIMIT = 2**31 - 2**20
"""Bytes that a FlatBuffer's 32-bit offsets can reach, less room for the tables."""


def write(model: Model) -> bytes:
    """The bytes of a ``.tflite`` file.

    Raises :class:`ConversionError` when the model is too large for the format.
    """
    constants = {id(v.data): v for g in model.graphs for v in g.constants()}
    size = sum(v.nbytes + 64 for v in constants.values())
    if size > LIMIT:
        raise ConversionError(
            f"the model's constants take {size:,} bytes, and a .tflite file can hold {LIMIT:,}; "
            "quantize it, or convert a part of it with --output_arrays"
        )
    return Writer(model, size).finish()


_GLANCE = 64
"""Bytes at both ends by which contents are told apart before they are compared."""


class Writer:
    """One file in the making. FlatBuffers are built back to front: children before parents."""

    def __init__(self, model: Model, size: int) -> None:
        self.model = model
        # With room for the tables: a builder that grows copies all that it holds.
        entries = sum(len(list(g.values())) + len(g.nodes) for g in model.graphs)
        self.builder = flatbuffers.Builder(size + 65536 + 512 * entries)
        self.buffers: list[bytes | memoryview] = [b""]
        self.buffer_of: dict[int, int] = {}
        self.alike: dict[tuple[int, bytes, bytes], list[int]] = {}
        self.vectors: dict[tuple[Any, bytes], int] = {}
        self.codes: dict[tuple[str, int, bool], int] = {}

    def finish(self) -> bytes:
        model = self.model
        tensors = [{id(v): i for i, v in enumerate(self.listed(g))} for g in model.graphs]
        indices = {id(g): i for i, g in enumerate(model.graphs)}
        graphs = [self._graph(g, t, indices) for g, t in zip(model.graphs, tensors, strict=True)]
        metadata = [self._metadata(k, v) for k, v in sorted(model.metadata.items())]
        signatures = [
            self._signature(s, indices[id(s.graph)], tensors[indices[id(s.graph)]])
            for s in model.signatures
        ]
        codes = [self._code(*code) for code in self.codes]
        buffers = [self._buffer(data) for data in self.buffers]
        root = self._table(
            "Model",
            Version=schema.VERSION,
            OperatorCodes=self._offsets(codes),
            Subgraphs=self._offsets(graphs),
            Description=self.builder.CreateString(model.description or "Octolite"),
            Buffers=self._offsets(buffers),
            Metadata=self._offsets(metadata),
            SignatureDefs=self._offsets(signatures),
        )
        self.builder.Finish(root, schema.FILE_IDENTIFIER)
        # Output() would copy the file once more.
        return bytes(memoryview(self.builder.Bytes)[self.builder.Head() :])

    def listed(self, graph: Graph) -> list[Value]:
        """A graph's tensors, in the order in which the file numbers them."""
        return list(graph.values())

    def names(self, graph: Graph) -> list[str]:
        """The names of the tensors that are listed."""
        return _unique_names(graph)

    # -- FlatBuffer building blocks -------------------------------------------------------------

    def _table(self, table: str, **fields: Any) -> int:
        """A table with those fields; ``None`` leaves a field out."""
        getattr(tflite, f"{table}Start")(self.builder)
        for name, value in fields.items():
            if value is not None:
                self._add(table, name, value)
        return int(getattr(tflite, f"{table}End")(self.builder))

    def _add(self, table: str, name: str, value: Any) -> None:
        try:
            getattr(tflite, f"{table}Add{name}")(self.builder, value)
        except (TypeError, OverflowError) as error:
            raise ConversionError(
                f"{table}.{name} of a .tflite file cannot be {value}: {error}"
            ) from None

    def _offsets(self, offsets: Sequence[int]) -> int | None:
        if not offsets:
            return None
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def _numbers(self, numbers: Iterable[Any], dtype: Any) -> int:
        """A vector; tables that hold the same numbers share it (zero points are most often 0)."""
        try:
            array = np.asarray(list(numbers), dtype)
        except OverflowError as error:
            raise ConversionError(f"no .tflite file can state that: {error}") from None
        key = array.dtype, array.tobytes()
        if key not in self.vectors:
            self.vectors[key] = int(self.builder.CreateNumpyVector(array))
        return self.vectors[key]

    def _bytes(self, data: bytes | memoryview, alignment: int = 1) -> int:
        self.builder.StartVector(1, len(data), alignment)
        self.builder.head -= len(data)
        self.builder.Bytes[self.builder.head : self.builder.head + len(data)] = data
        return int(self.builder.EndVector())

    # -- the format's tables ----------------------------------------------------------------------

    def _buffer(self, data: bytes | memoryview) -> int:
        vector = self._bytes(data, schema.BUFFER_ALIGNMENT) if len(data) else None
        return self._table("Buffer", Data=vector)

    def _code(self, name: str, version: int, is_custom: bool) -> int:
        number = schema.CUSTOM if is_custom else schema.OPERATOR_CODES[name]
        custom = self.builder.CreateString(name) if is_custom else None
        return self._table(
            "OperatorCode",
            DeprecatedBuiltinCode=min(number, schema.LAST_DEPRECATED_CODE),
            CustomCode=custom,
            Version=version,
            BuiltinCode=number,
        )

    def _metadata(self, key: str, data: bytes) -> int:
        self.buffers.append(data)
        return self._table(
            "Metadata", Name=self.builder.CreateString(key), Buffer=len(self.buffers) - 1
        )

    def _signature(self, signature: Signature, graph: int, tensors: dict[int, int]) -> int:
        def entries(values: dict[str, Value]) -> int | None:
            return self._offsets(
                [
                    self._table(
                        "TensorMap",
                        Name=self.builder.CreateString(name),
                        TensorIndex=tensors[id(value)],
                    )
                    for name, value in values.items()
                ]
            )

        return self._table(
            "SignatureDef",
            Inputs=entries(signature.inputs),
            Outputs=entries(signature.outputs),
            SignatureKey=self.builder.CreateString(signature.key),
            SubgraphIndex=graph,
        )

    def _graph(self, graph: Graph, tensors: dict[int, int], indices: dict[int, int]) -> int:
        names = self.names(graph)
        tables = [self._tensor(v, n) for v, n in zip(self.listed(graph), names, strict=True)]
        operators = [self._operator(node, tensors, indices, tables) for node in graph.nodes]
        return self._table(
            "SubGraph",
            Tensors=self._offsets(tables),
            Inputs=self._numbers((tensors[id(v)] for v in graph.inputs), np.int32),
            Outputs=self._numbers((tensors[id(v)] for v in graph.outputs), np.int32),
            Operators=self._offsets(operators),
            Name=self.builder.CreateString(graph.name),
        )

    def _tensor(self, value: Value, name: str) -> int:
        shape, signature = value.shape, None
        if any(d is not None and d >= 2**31 for d in shape or ()):
            raise ConversionError(f"{value!r} has an extent that no .tflite file can state")
        if shape is not None and None in shape:
            signature = self._numbers((-1 if d is None else d for d in shape), np.int32)
        extents = None
        if shape is not None:
            extents = self._numbers((1 if d is None else d for d in shape), np.int32)
        return self._table(
            "Tensor",
            Shape=extents,
            Type=value.dtype.code,
            Buffer=self._constant(value),
            Name=self.builder.CreateString(name),
            Quantization=self._quantization(value.quant),
            IsVariable=value.is_variable,
            ShapeSignature=signature,
            HasRank=shape is not None,
        )

    def _constant(self, value: Value) -> int:
        if value.data is None:
            return 0
        if id(value.data) not in self.buffer_of:
            data = encode(value.data, value.dtype)
            self.buffer_of[id(value.data)] = self._shared_buffer(data) if len(data) else 0
        return self.buffer_of[id(value.data)]

    def _shared_buffer(self, data: bytes | memoryview) -> int:
        """A buffer of ``data``; graphs that hold the same, as signatures do, share it."""
        key = len(data), bytes(data[:_GLANCE]), bytes(data[-_GLANCE:])
        alike = self.alike.setdefault(key, []) if len(self.model.graphs) > 1 else []
        for index in alike:
            if self.buffers[index] == data:
                return index
        alike.append(len(self.buffers))
        self.buffers.append(data)
        return alike[-1]

    def _quantization(self, quant: Quant | None) -> int | None:
        if quant is None:
            return None
        return self._table(
            "QuantizationParameters",
            Scale=self._numbers(quant.scale, np.float32),
            ZeroPoint=self._numbers(quant.zero_point, np.int64),
            QuantizedDimension=quant.axis,
        )

    def _lent(self, node: Node, tables: list[int]) -> int | None:
        """Intermediate tensors, which join the graph's tensors in ``tables``."""
        assert isinstance(node.op, Operator)
        places = []
        for number, lent in enumerate(node.op.lent()):
            value = Value(f"{node.name}/intermediate_{number}", lent.dtype, (0,), quant=lent.quant)
            places.append(len(tables))
            tables.append(self._tensor(value, value.name))
        return self._numbers(places, np.int32) if places else None

    def _operator(
        self, node: Node, tensors: dict[int, int], indices: dict[int, int], tables: list[int]
    ) -> int:
        op = node.op
        assert isinstance(op, Operator)
        version = op.version(node.inputs, node.outputs)
        code = self.codes.setdefault((op.name, version, op.custom), len(self.codes))
        variables = [v is not None and v.is_variable for v in node.inputs]
        present = list(node.inputs)
        while present and present[-1] is None and not op.keeps_absent:
            present.pop()  # most of LiteRT's kernels tell by the count whether there is a bias
        inputs = self._numbers((-1 if v is None else tensors[id(v)] for v in present), np.int32)
        return self._table(
            "Operator",
            OpcodeIndex=code,
            Inputs=inputs,
            Outputs=self._numbers((tensors[id(v)] for v in node.outputs), np.int32),
            MutatingVariableInputs=self._numbers(variables, np.bool_) if any(variables) else None,
            Intermediates=self._lent(node, tables),
            **self._options_fields(op, indices),
        )

    def _options_fields(self, op: Operator, indices: dict[int, int]) -> dict[str, int]:
        """The fields of an operator's table that hold its options."""
        if op.custom:
            return {"CustomOptions": self._bytes(_custom_options(op))}
        if op.options is None:
            return {}
        number, which = schema.OPTIONS_CODES.get(op.options), ""
        if number is None:
            number, which = schema.OPTIONS_2_CODES[op.options], "2"
        return {
            f"BuiltinOptions{which}Type": number,
            f"BuiltinOptions{which}": self._options(op, indices),
        }

    def _options(self, op: Operator, indices: dict[int, int]) -> int:
        assert op.options is not None
        fields = {
            a.option: self._attribute(a, getattr(op, a.name), indices, _numbers_of(op.options, a))
            for a in op.attribute_list()
        }
        return self._table(op.options, **fields)

    def _attribute(
        self, attribute: Attribute, value: Any, indices: dict[int, int], numbers: Any
    ) -> Any:
        match value:
            case Graph():
                return indices[id(value)]
            case DType():
                return value.code
            case str():
                return self.builder.CreateString(value)
            case bytes():
                return self._bytes(value)
            case ():
                return None
            case tuple():
                floats = any(isinstance(v, float) for v in value)
                return self._numbers(value, np.float32 if floats else numbers)
            case _:
                return value


def _custom_options(op: Operator) -> bytes:
    """What a custom operator stores."""
    if isinstance(op, KeptOperator):
        return flexbuffer.encode(op.options_given)
    if isinstance(op, UserOperator):
        return op.raw
    if op.packed:
        return struct.pack(op.packed, *op.attributes().values())
    return flexbuffer.encode(op.attributes())


@cache
def _numbers_of(options: str, attribute: Attribute) -> Any:
    """The type of integers that a vector in an options table holds."""
    sizes = {f.name: f.size for f in layout.fields_of(options)}
    return np.int64 if sizes.get(attribute.option) == 8 else np.int32


def _unique_names(graph: Graph) -> list[str]:
    """A name for each value; the graph's inputs and outputs keep theirs, others give way."""
    values = list(graph.values())
    taken = {v.name for v in (*graph.inputs, *graph.outputs)}
    public = {id(v) for v in (*graph.inputs, *graph.outputs)}
    names = []
    counts: dict[str, int] = {}
    for value in values:
        name = value.name
        if id(value) not in public:
            while name in taken:
                counts[value.name] = counts.get(value.name, 0) + 1
                name = f"{value.name}_{counts[value.name]}"
            taken.add(name)
        names.append(name)
    return names


def encode(data: Array, dtype: DType) -> bytes | memoryview:
    """An array as the format stores it: little-endian, strings packed, several int4 or int2 to a
    byte, the first one lowest."""
    if dtype is STRING:
        return _encode_strings(data)
    if dtype in (INT2, INT4):
        bits, each = dtype.bits, 8 // dtype.bits
        codes = data.astype(np.uint8).reshape(-1) & (2**bits - 1)
        codes = np.append(codes, np.zeros(-codes.size % each, np.uint8)).reshape(-1, each)
        shifts = np.arange(0, 8, bits).astype(np.uint8)
        packed: Array = np.bitwise_or.reduce(codes << shifts, axis=1)
        return packed.tobytes()
    if data.size == 0:
        return b""
    flat = np.ascontiguousarray(data)
    return flat.reshape(-1).view(np.uint8).data


def _encode_strings(data: Array) -> bytes:
    """Count, offsets of the ends, then the characters: TFLite's packed strings."""
    items = [s if isinstance(s, bytes) else str(s).encode() for s in data.reshape(-1).tolist()]
    header = 4 * (len(items) + 2)
    ends = np.cumsum([header, *map(len, items)])
    return np.asarray([len(items), *ends], "<i4").tobytes() + b"".join(items)
