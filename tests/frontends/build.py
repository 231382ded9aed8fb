"""Small GraphDefs for tests, built message by message."""

from __future__ import annotations

from typing import Any

import numpy as np

from octolite.frontends import proto

TYPES = {name: number for number, name in proto.DATA_TYPES.items()}
NUMPY = {
    "float32": "DT_FLOAT", "float64": "DT_DOUBLE", "int32": "DT_INT32", "int64": "DT_INT64",
    "bool": "DT_BOOL",
}  # fmt: skip


class Type(str):
    """An attribute's value that names a data type."""


class Shape(tuple[int, ...]):
    """An attribute's value that is a shape."""


class Function(str):
    """An attribute's value that names a function."""


def graph(*nodes: Any, producer: int = 2000, functions: tuple[Any, ...] = ()) -> bytes:
    message = proto.GraphDef(node=nodes)
    message.versions.producer = producer
    message.library.function.extend(functions)
    return message.SerializeToString()


def node(name: str, op: str, *inputs: str, **attributes: Any) -> Any:
    message = proto.NodeDef(name=name, op=op, input=inputs)
    for key, value in attributes.items():
        set_attribute(message.attr[key], value)
    return message


def set_attribute(attr: Any, value: Any) -> None:
    match value:
        case bool():
            attr.b = value
        case int():
            attr.i = value
        case float():
            attr.f = value
        case Type():
            attr.type = TYPES[value]
        case Function():
            attr.func.name = value
        case str():
            attr.s = value.encode()
        case Shape():
            for extent in value:
                attr.shape.dim.add(size=extent)
            attr.shape.SetInParent()
        case list():
            attr.list.i.extend(value)
        case np.ndarray():
            attr.tensor.dtype = TYPES[NUMPY[str(value.dtype)]]
            attr.tensor.tensor_content = value.tobytes()
            for extent in value.shape:
                attr.tensor.tensor_shape.dim.add(size=extent)
        case _:
            attr.tensor.CopyFrom(value)


def placeholder(name: str, *shape: int, dtype: str = "DT_FLOAT") -> Any:
    return node(name, "Placeholder", dtype=Type(dtype), shape=Shape(shape))


def const(name: str, value: Any, dtype: str = "float32") -> Any:
    array = np.asarray(value, dtype)
    return node(name, "Const", dtype=Type(NUMPY[dtype]), value=array)


def tensor(dtype: str, shape: tuple[int, ...], **fields: Any) -> Any:
    message = proto.TensorProto(dtype=TYPES[dtype], **fields)
    for extent in shape:
        message.tensor_shape.dim.add(size=extent)
    return message


def function(name: str, inputs: list[str], outputs: dict[str, str], *nodes: Any) -> Any:
    message = proto.FunctionDef(node_def=nodes, ret=outputs)
    message.signature.name = name
    for argument in inputs:
        message.signature.input_arg.add(name=argument)
    for result in outputs:
        message.signature.output_arg.add(name=result)
    return message
