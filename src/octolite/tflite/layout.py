"""What lies in each table of the format: its fields in order, with their kinds.

The tables below are those of TensorFlow's ``schema.fbs``. The options of operators, 150 tables of
numbers, vectors and strings, are laid out as the generated bindings write them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import tflite

_SIZES = {
    "bool": 1, "byte": 1, "ubyte": 1, "ushort": 2, "int": 4, "uint": 4, "float": 4,
    "long": 8, "ulong": 8,
}  # fmt: skip

_TABLES = """
Model: version:uint operator_codes:[OperatorCode] subgraphs:[SubGraph] description:string
  buffers:[Buffer] metadata_buffer:[int] metadata:[Metadata] signature_defs:[SignatureDef]
OperatorCode: deprecated_builtin_code:byte custom_code:string version:int builtin_code:int
SubGraph: tensors:[Tensor] inputs:[int] outputs:[int] operators:[Operator] name:string
  debug_metadata_index:int
Tensor: shape:[int] type:byte buffer:uint name:string quantization:QuantizationParameters
  is_variable:bool sparsity:SparsityParameters shape_signature:[int] has_rank:bool
  variant_tensors:[VariantSubType]
QuantizationParameters: min:[float] max:[float] scale:[float] zero_point:[long]
  details_type:ubyte details:<QuantizationDetails> quantized_dimension:int
SparsityParameters: traversal_order:[int] block_map:[int] dim_metadata:[DimensionMetadata]
DimensionMetadata: format:byte dense_size:int array_segments_type:ubyte
  array_segments:<SparseIndexVector> array_indices_type:ubyte array_indices:<SparseIndexVector>
VariantSubType: shape:[int] type:byte has_rank:bool
Buffer: data:bytes offset:ulong size:ulong
Operator: opcode_index:uint inputs:[int] outputs:[int] builtin_options_type:ubyte
  builtin_options:<BuiltinOptions> custom_options:bytes custom_options_format:byte
  mutating_variable_inputs:[bool] intermediates:[int] large_custom_options_offset:ulong
  large_custom_options_size:ulong builtin_options_2_type:ubyte builtin_options_2:<BuiltinOptions2>
  debug_metadata_index:int
Metadata: name:string buffer:uint
SignatureDef: inputs:[TensorMap] outputs:[TensorMap] signature_key:string deprecated_tag:string
  subgraph_index:uint
TensorMap: name:string tensor_index:uint
Int32Vector: values:[int]
Uint16Vector: values:[ushort]
Uint8Vector: values:[ubyte]
CustomQuantization: custom:[ubyte]
"""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a table.

    Attributes:
        name: as the schema calls it.
        kind: ``number``, ``vector`` (of numbers), ``bytes`` (a vector that is not walked),
            ``string``, ``table``, ``tables`` (a vector of them) or ``union``, whose type is the
            field in front.
        size: bytes of a number, or of a vector's element.
        of: the table's or the union's name.
    """

    name: str
    kind: str
    size: int = 4
    of: str = ""

    @classmethod
    def parse(cls, text: str) -> Field:
        name, kind = text.split(":")
        inner = kind.strip("[]<>")
        if kind.startswith("<"):
            return cls(name, "union", of=inner)
        if kind in ("string", "bytes"):
            return cls(name, kind, 1)
        if kind.startswith("["):
            known = inner in _SIZES
            return cls(name, "vector", _SIZES[inner]) if known else cls(name, "tables", of=inner)
        return cls(name, "number", _SIZES[kind]) if kind in _SIZES else cls(name, "table", of=kind)

    @property
    def width(self) -> int:
        """Bytes that the field takes in its table."""
        return self.size if self.kind == "number" else 4


def _parse(text: str) -> dict[str, tuple[Field, ...]]:
    entries = re.split(r"\n(?=\w)", text.strip())
    split = (entry.split(": ", 1) for entry in entries)
    return {name: tuple(map(Field.parse, fields.split())) for name, fields in split}


TABLES: Mapping[str, tuple[Field, ...]] = _parse(_TABLES)
"""Table → its fields, by their number."""


@cache
def members(union: str) -> Mapping[int, str]:
    """A union's types: number → table."""
    return {v: k for k, v in vars(getattr(tflite, union)).items() if isinstance(v, int) and v}


@cache
def fields_of(table: str) -> tuple[Field, ...]:
    """The fields of ``table``, by their number; none of one that is not known."""
    return TABLES[table] if table in TABLES else bound_fields(table)


def bound_fields(table: str) -> tuple[Field, ...]:
    """The fields of ``table`` as the generated bindings write them.

    Tables within it count as strings: no operator's options hold any.
    """
    found: dict[int, Field] = {}
    accessors = getattr(tflite, table, None)
    for option in dir(accessors):
        function = getattr(tflite, f"{table}Add{option}", None)
        if function is not None and function.__code__.co_argcount == 2:
            notes = _Notes()
            function(notes, 0)
            kind, size = "number", _SLOTS.get(notes.method, 0)
            if not size:
                start = getattr(tflite, f"{table}Start{option}Vector", None)
                kind, size = "string", 1
                if start is not None:
                    start(notes, 0)
                    kind, size = "vector", notes.element
            found[notes.slot] = Field(option, kind, size)
    blank = Field("deprecated", "number", 0)
    return tuple(found.get(i, blank) for i in range(max(found, default=-1) + 1))


_SLOTS = {
    "PrependBoolSlot": 1, "PrependInt8Slot": 1, "PrependUint8Slot": 1, "PrependInt16Slot": 2,
    "PrependUint16Slot": 2, "PrependInt32Slot": 4, "PrependUint32Slot": 4, "PrependFloat32Slot": 4,
    "PrependInt64Slot": 8, "PrependUint64Slot": 8, "PrependFloat64Slot": 8,
}  # fmt: skip


class _Notes:
    """In a builder's place: notes what a binding would write."""

    method = ""
    slot = 0
    element = 0

    def StartVector(self, element: int, count: int, alignment: int) -> None:  # noqa: N802
        self.element = element

    def __getattr__(self, method: str) -> Any:
        def note(slot: int, value: Any, default: Any) -> None:
            self.method, self.slot = method, slot

        return note
