"""GraphDefs made to do harm: recursion, nesting, and little that stands for much."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import octolite
from octolite.errors import FormatError, OctoliteError, UnsupportedError
from octolite.frontends import graphdef, proto
from tests.frontends.build import Function, Shape, Type, graph, node

X = node("x", "Placeholder", dtype=Type("DT_FLOAT"), shape=Shape((2, 2)))


def function(name: str, *calls: str) -> Any:
    """A function of one tensor that hands it through calls of others."""
    message = proto.FunctionDef()
    message.signature.name = name
    message.signature.input_arg.add(name="a", type=1)
    message.signature.output_arg.add(name="r", type=1)
    last = "a"
    for number, callee in enumerate(calls):
        inner = message.node_def.add(name=f"call{number}", op="PartitionedCall", input=[last])
        inner.attr["f"].func.name = callee
        inner.attr["Tout"].list.type.append(1)
        last = f"call{number}:output:0"
    message.ret["r"] = last
    return message


def calling(name: str) -> Any:
    call = node("call", "PartitionedCall", "x", f=Function(name))
    call.attr["Tout"].list.type.append(1)
    return call


@pytest.mark.parametrize(
    "functions",
    [
        [("f", "f")],
        [("f", "g"), ("g", "f")],
        [(f"f{i}" if i else "f", f"f{i + 1}", f"f{i + 1}") for i in range(40)] + [("f40",)],
    ],
    ids=["itself", "one another", "twice each"],
)
def test_functions_without_end_are_refused(functions: list[tuple[str, ...]]) -> None:
    content = graph(X, calling("f"), functions=tuple(function(*f) for f in functions))
    with pytest.raises(UnsupportedError, match="nested more than"):
        graphdef.load(content)


def test_messages_nested_very_deep_are_refused() -> None:
    inner = b""
    for _ in range(5000):  # AttrValue.func.attr["k"] within one another
        entry = b"\x0a\x01k\x12" + _length(inner) + inner
        name_attr_list = b"\x12" + _length(entry) + entry
        inner = b"\x52" + _length(name_attr_list) + name_attr_list
    entry = b"\x0a\x01k\x12" + _length(inner) + inner
    body = b"\x0a\x01n\x12\x04NoOp\x2a" + _length(entry) + entry
    with pytest.raises(FormatError, match="not a GraphDef"):
        graphdef.load(b"\x0a" + _length(body) + body)


def _length(data: bytes) -> bytes:
    """The length as a varint."""
    size, out = len(data), bytearray()
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes([*out, size])


def test_text_nested_very_deep_is_refused() -> None:
    deep = "attr { key: 'k' value { func { name: 'f' " * 3000
    with pytest.raises(FormatError, match="GraphDef"):
        graphdef.load(f"node {{ name: 'n' op: 'NoOp' {deep}".encode())


def test_a_long_chain_is_converted_and_run() -> None:
    names = ["x", *(f"n{i}" for i in range(1500))]
    nodes = [node(b, "Sqrt", a, T=Type("DT_FLOAT")) for a, b in pairwise(names)]
    interpreter = octolite.Interpreter(model_content=octolite.convert(graph(X, *nodes)))
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, np.full((2, 2), 2, np.float32))
    interpreter.invoke()
    np.testing.assert_allclose(
        interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), 1
    )


def splat(name: str, kind: str, value: float, *shape: int) -> Any:
    """A constant that repeats one number."""
    message = node(name, "Const", dtype=Type(kind))
    tensor = message.attr["value"].tensor
    tensor.dtype = {"DT_FLOAT": 1, "DT_INT32": 3}[kind]
    for extent in shape:
        tensor.tensor_shape.dim.add(size=extent)
    (tensor.float_val if kind == "DT_FLOAT" else tensor.int_val).append(value)  # type: ignore[arg-type]
    return message


@pytest.mark.parametrize("shape", [(2**40,), (2**31, 2**31), (2**62, 4), (40_000, 40_000)])
def test_constants_of_giant_shape_are_refused(shape: tuple[int, ...]) -> None:
    add = node("y", "AddV2", "x", "c", T=Type("DT_FLOAT"))
    with pytest.raises(OctoliteError, match="'c'"):
        octolite.convert(graph(X, splat("c", "DT_FLOAT", 1.0, *shape), add))


def test_many_large_constants_of_few_bytes_are_refused() -> None:
    nodes = [splat(f"c{i}", "DT_FLOAT", 1.0 + i, 5000, 5000) for i in range(30)]
    adds = [
        node(f"y{i}", "AddV2", f"y{i - 1}" if i else "x", f"c{i}", T=Type("DT_FLOAT"))
        for i in range(30)
    ]
    with pytest.raises(OctoliteError):
        octolite.convert(graph(X, *nodes, *adds))


@pytest.mark.parametrize("number", [2**31 - 1, -(2**31), -1])
@pytest.mark.parametrize("op", ["Fill", "Tile", "BroadcastTo", "Reshape", "Slice"])
def test_sizes_that_make_no_sense(op: str, number: int) -> None:
    size = splat("s", "DT_INT32", number, 2)
    inputs = ["s", "one"] if op == "Fill" else ["x", "zero", "s"] if op == "Slice" else ["x", "s"]
    consts = [splat("one", "DT_FLOAT", 1.0), splat("zero", "DT_INT32", 0, 2)]
    y = node("y", op, *inputs, T=Type("DT_FLOAT"))
    total = node("z", "AddV2", "x", "y", T=Type("DT_FLOAT"))
    try:
        content = octolite.convert(graph(X, size, *consts, y, total))
        octolite.Interpreter(model_content=content, memory_limit=1 << 26).allocate_tensors()
    except OctoliteError as error:
        assert str(error)  # noqa: PT017
    else:
        assert op == "Slice"
        assert number == -1  # the rest
