"""TensorFlow's graph messages, declared here in a package of their own.

The table below is all that Octolite needs of TensorFlow's ``.proto`` files: field numbers and
types are the wire format's facts. The messages live in a private descriptor pool under the
package name ``octolite``, so that TensorFlow may be imported in the same process. Fields that
are not listed are skipped when a binary file is parsed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_TABLE = """
enum DataType
  0 DT_INVALID    1 DT_FLOAT     2 DT_DOUBLE    3 DT_INT32     4 DT_UINT8     5 DT_INT16
  6 DT_INT8       7 DT_STRING    8 DT_COMPLEX64 9 DT_INT64    10 DT_BOOL     11 DT_QINT8
 12 DT_QUINT8    13 DT_QINT32   14 DT_BFLOAT16 15 DT_QINT16   16 DT_QUINT16  17 DT_UINT16
 18 DT_COMPLEX128 19 DT_HALF    20 DT_RESOURCE 21 DT_VARIANT  22 DT_UINT32   23 DT_UINT64
 24 DT_FLOAT8_E5M2 25 DT_FLOAT8_E4M3FN 29 DT_INT4 30 DT_UINT4

message GraphDef
  1 repeated NodeDef node
  2 FunctionDefLibrary library
  3 int32 version
  4 VersionDef versions
message VersionDef
  1 int32 producer
  2 int32 min_consumer
  3 repeated int32 bad_consumers
message NodeDef
  1 string name
  2 string op
  3 repeated string input
  4 string device
  5 map<string,AttrValue> attr
message AttrValue
  1 ListValue list in value
  2 bytes s in value
  3 int64 i in value
  4 float f in value
  5 bool b in value
  6 DataType type in value
  7 TensorShapeProto shape in value
  8 TensorProto tensor in value
  9 string placeholder in value
  10 NameAttrList func in value
message ListValue
  2 repeated bytes s
  3 repeated int64 i
  4 repeated float f
  5 repeated bool b
  6 repeated DataType type
  7 repeated TensorShapeProto shape
  8 repeated TensorProto tensor
  9 repeated NameAttrList func
message NameAttrList
  1 string name
  2 map<string,AttrValue> attr
message TensorShapeProto
  2 repeated Dim dim
  3 bool unknown_rank
message Dim
  1 int64 size
  2 string name
message TensorProto
  1 DataType dtype
  2 TensorShapeProto tensor_shape
  3 int32 version_number
  4 bytes tensor_content
  5 repeated float float_val
  6 repeated double double_val
  7 repeated int32 int_val
  8 repeated bytes string_val
  9 repeated float scomplex_val
  10 repeated int64 int64_val
  11 repeated bool bool_val
  12 repeated double dcomplex_val
  13 repeated int32 half_val
  16 repeated uint32 uint32_val
  17 repeated uint64 uint64_val
message FunctionDefLibrary
  1 repeated FunctionDef function
message FunctionDef
  1 OpDef signature
  3 repeated NodeDef node_def
  4 map<string,string> ret
  5 map<string,AttrValue> attr
  6 map<string,string> control_ret
message OpDef
  1 string name
  2 repeated ArgDef input_arg
  3 repeated ArgDef output_arg
message ArgDef
  1 string name
  3 DataType type
  4 string type_attr
  5 string number_attr
  6 string type_list_attr
"""

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "double": _Field.TYPE_DOUBLE, "float": _Field.TYPE_FLOAT, "int64": _Field.TYPE_INT64,
    "uint64": _Field.TYPE_UINT64, "int32": _Field.TYPE_INT32, "bool": _Field.TYPE_BOOL,
    "string": _Field.TYPE_STRING, "bytes": _Field.TYPE_BYTES, "uint32": _Field.TYPE_UINT32,
    "fixed32": _Field.TYPE_FIXED32,
}  # fmt: skip
_PACKAGE = "octolite"
GRAPH_FILE = "octolite/graph.proto"


def declare(table: str, name: str, *uses: str) -> None:
    """Add the messages of ``table``, as the file ``name``, which uses those of other files.

    A line for each field: ``number [repeated] type name [in oneof]``.
    """
    _pool.AddSerializedFile(_describe(table, name, uses).SerializeToString())


def message(name: str) -> Any:
    """The class of a message that has been declared."""
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


def _describe(table: str, name: str, uses: Sequence[str]) -> descriptor_pb2.FileDescriptorProto:
    """The table as a file descriptor."""
    file = descriptor_pb2.FileDescriptorProto(
        name=name, package=_PACKAGE, syntax="proto3", dependency=uses
    )
    current: Any = None
    for line in filter(None, map(str.split, table.splitlines())):
        if line[0] == "message":
            current = file.message_type.add(name=line[1])
        elif line[0] == "enum":
            current = file.enum_type.add(name=line[1])
        elif isinstance(current, descriptor_pb2.EnumDescriptorProto):
            for number, name in zip(line[::2], line[1::2], strict=True):
                current.value.add(name=name, number=int(number))
        else:
            _add_field(file, current, line)
    return file


def _add_field(file: Any, message: Any, words: list[str]) -> None:
    number, *words = words
    oneof = words.pop() if words[-2] == "in" else None
    words = words[:-1] if oneof else words
    repeated = words[0] == "repeated" or words[0].startswith("map<")
    kind, name = words[-2:]
    if kind.startswith("map<"):
        kind = _add_map_entry(file, message, name, kind[4:-1].split(","))
    field = message.field.add(name=name, number=int(number))
    field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    _set_type(file, field, kind)
    if oneof:
        if not message.oneof_decl:
            message.oneof_decl.add(name=oneof)
        field.oneof_index = 0


def _add_map_entry(file: Any, message: Any, name: str, kinds: list[str]) -> str:
    """A map is a repeated nested message of key and value; returns that message's name."""
    entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
    entry.options.map_entry = True
    for number, (part, kind) in enumerate(zip(("key", "value"), kinds, strict=True), 1):
        field = entry.field.add(name=part, number=number, label=_Field.LABEL_OPTIONAL)
        _set_type(file, field, kind)
    return f"{message.name}.{entry.name}"


def _set_type(file: Any, field: Any, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
        return
    is_enum = kind == "DataType" or any(e.name == kind for e in file.enum_type)
    field.type = _Field.TYPE_ENUM if is_enum else _Field.TYPE_MESSAGE
    field.type_name = f".{_PACKAGE}.{kind}"


_pool = descriptor_pool.DescriptorPool()
declare(_TABLE, GRAPH_FILE)

GraphDef: Any = message("GraphDef")
NodeDef: Any = message("NodeDef")
AttrValue: Any = message("AttrValue")
TensorProto: Any = message("TensorProto")
TensorShapeProto: Any = message("TensorShapeProto")
FunctionDef: Any = message("FunctionDef")

DATA_TYPES: dict[int, str] = {
    v.number: v.name for v in _pool.FindEnumTypeByName(f"{_PACKAGE}.DataType").values
}
"""TensorFlow's number for a data type → its name, e.g. ``1 → "DT_FLOAT"``."""
