"""The verifier: every table is described as the bindings write it, whole files pass, and damage is
named with the path to it."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import tflite
from ai_edge_litert.interpreter import Interpreter as LiteRT

import octolite
from octolite.errors import FormatError, InvalidGraphError, OctoliteError, UnsupportedError
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import FLOAT32, INT4, INT8, STRING, Quant
from octolite.ops import REGISTRY, operator_class
from octolite.tflite import layout, read, schema, write
from octolite.tflite.read import decode
from octolite.tflite.verify import verify
from tests.fuzz import corpus, flat
from tests.recorded import GRAPHS
from tests.tflite.test_files import small

# What the bindings alone do not tell apart.
_SAME = {"tables": "vector", "bytes": "vector", "table": "string", "union": "string"}


@pytest.mark.parametrize("table", layout.TABLES)
def test_tables_are_laid_out_as_the_bindings_write_them(table: str) -> None:
    fields = layout.TABLES[table]
    bound = layout.bound_fields(table)
    assert len(bound) == len(fields)
    for field, other in zip(fields, bound, strict=True):
        if other.size:  # not deprecated
            assert field.name.replace("_", "") == other.name.lower()
            assert _SAME.get(field.kind, field.kind) == other.kind
            assert field.kind in _SAME or field.size == other.size


@pytest.mark.parametrize("union", ["BuiltinOptions", "BuiltinOptions2"])
def test_every_operators_options_have_a_layout(union: str) -> None:
    for name in layout.members(union).values():
        accessors = [a for a in vars(getattr(tflite, name)) if a.endswith("AsNumpy")]
        vectors = [f for f in layout.fields_of(name) if f.kind == "vector"]
        assert len(vectors) == len(accessors)


def test_whole_files_pass() -> None:
    for path in GRAPHS.glob("*.tflite"):
        verify(path.read_bytes())
    for name in corpus.models():
        verify(corpus.model(name))


def place_of(content: bytes, kind: str, name: str) -> flat.Place:
    return next(p for p in flat.places(content) if p.kind == kind and p.name == name)


def changed(content: bytes, at: int, value: int, size: int = 4) -> bytes:
    return content[:at] + value.to_bytes(size, "little") + content[at + size :]


@pytest.mark.parametrize(
    ("kind", "name", "value", "words"),
    [
        ("offset", "subgraphs", 2**31, r"Model\.subgraphs: the offset 2147483648 .* outside"),
        ("offset", "subgraphs", 0, "leads outside"),
        ("offset", "tensors", 6, "multiple of 4"),
        ("vector", "tensors", 2**30, r"subgraphs\[0\]\.tensors: .* end outside"),
        ("vector", "shape", 2**32 - 1, r"tensors\[\d\]\.shape: 4,294,967,295 elements"),
        ("vector", "data", 2**32 - 1, r"buffers\[\d\]\.data: "),
        ("vector", "signature_key", 3, r"signature_defs\[0\]\.signature_key: a string of 3 bytes"),
    ],
)
def test_damage_is_named_with_its_path(kind: str, name: str, value: int, words: str) -> None:
    content = write(small())
    with pytest.raises(FormatError, match=words):
        read(changed(content, place_of(content, kind, name).at, value))


def test_numbers_of_8_bytes_need_no_multiple_of_8() -> None:
    """So they lie in files to which a tool attached metadata; LiteRT takes them."""
    content = write(small())
    offset = place_of(content, "offset", "zero_point").at
    start = offset + int.from_bytes(content[offset : offset + 4], "little")
    vector = content[start : start + 4 + 8 * 3]
    content += bytes(-len(content) % 8)
    moved = changed(content, offset, len(content) - offset) + vector
    model, first = read(moved), read(content)
    assert [v.quant for v in model.main.values()] == [v.quant for v in first.main.values()]
    LiteRT(model_content=moved).allocate_tensors()


def test_every_offset_and_count_may_be_anything() -> None:
    content = write(small())
    for place in flat.places(content):
        if place.kind == "number":
            continue
        for value in (0, 1, 3, 2**31 - 1, 2**31, 2**32 - 1, len(content)):
            size = 2 if place.kind == "listed" else 4
            with contextlib.suppress(OctoliteError):
                read(changed(content, place.at, value % 2 ** (8 * size), size))


def test_a_list_of_fields_may_not_lead_out_of_its_table() -> None:
    content = write(small())
    listed = next(p for p in flat.places(content) if p.kind == "listed")
    with pytest.raises(FormatError, match="list of fields"):
        verify(changed(content, listed.at, 0xFFFF, 2))
    with pytest.raises(FormatError, match="list of fields"):
        verify(changed(content, listed.at + 2, 4, 2))


def test_shared_tables_do_not_stand_for_endlessly_many() -> None:
    """A bomb: 4,000 offsets to one graph, which has 4,000 offsets to one tensor."""
    builder = flatbuffers.Builder()

    def repeated(offset: int) -> int:
        builder.StartVector(4, 4000, 4)
        for _ in range(4000):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    tflite.TensorStart(builder)
    tensors = repeated(tflite.TensorEnd(builder))
    tflite.SubGraphStart(builder)
    tflite.SubGraphAddTensors(builder, tensors)
    graphs = repeated(tflite.SubGraphEnd(builder))
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, 3)
    tflite.ModelAddSubgraphs(builder, graphs)
    builder.Finish(tflite.ModelEnd(builder), b"TFL3")
    with pytest.raises(FormatError, match="shared tables and vectors come to more than"):
        read(bytes(builder.Output()))


def _graph(count: int) -> Model:
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (1, 4))
    graph.outputs = [graph.add(operator_class("RELU")(), [x], "y").output]
    for _ in range(count):
        graph.outputs = [graph.add(operator_class("RELU")(), [graph.outputs[0]]).output]
    return Model([graph])


def test_versions_that_nobody_knows_are_refused() -> None:
    content = write(small())
    place = next(p for p in flat.places(content) if p.name == "version" and content[p.at] != 3)
    latest = schema.LATEST_VERSIONS["FULLY_CONNECTED"]
    assert read(changed(content, place.at, latest))
    with pytest.raises(UnsupportedError, match=r"FULLY_CONNECTED of version 15 .*14.*: node 0"):
        read(changed(content, place.at, latest + 1))


def test_versions_that_are_written_are_known() -> None:
    for name, cls in REGISTRY.items():
        if cls.custom:
            continue
        for case in cls.cases:
            model, _ = case.build(cls)
            node = model.main.nodes[-1]
            latest = schema.LATEST_VERSIONS.get(node.op.name, 1)
            assert node.op.version(node.inputs, node.outputs) <= latest, name


def test_cycles_are_refused() -> None:
    content = write(_graph(1))
    vectors = [p for p in flat.places(content) if p.kind == "vector" and p.name == "inputs"]
    first = min(vectors[1:], key=lambda p: struct.unpack_from("<i", content, p.at + 4)[0])
    with pytest.raises(InvalidGraphError, match="before"):
        read(changed(content, first.at + 4, 2))


def test_an_input_is_no_result() -> None:
    content = write(_graph(0))
    outputs = [p for p in flat.places(content) if p.kind == "vector" and p.name == "outputs"]
    mutant = content
    for place in outputs:
        mutant = changed(mutant, place.at + 4, 0)
    with pytest.raises(InvalidGraphError, match="is an input and the result"):
        read(mutant)


def test_zero_points_fit_their_type() -> None:
    model = small()
    weights = model.main.nodes[0].inputs[1]
    assert isinstance(weights, Value)
    assert weights.quant is not None
    weights.quant.zero_point[:] = 1000
    with pytest.raises(FormatError, match="'w' of int8 has the zero point 1000"):
        read(write(model))


def test_what_is_decoded_is_counted() -> None:
    model = small()
    weights = Value.constant("w4", np.ones((64, 64), np.int8), INT4, Quant.of(1.0))
    model.main.nodes[0].set_input(1, weights)
    content = write(model)
    metadata = sum(map(len, model.metadata.values()))
    read(content, memory_limit=64 * 64 + metadata)
    with pytest.raises(octolite.RuntimeModelError, match="memory_limit"):
        read(content, memory_limit=64 * 64 + metadata - 1)


def test_constants_that_would_grow_are_refused() -> None:
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (1,))
    shape = Value.constant("shape", np.array([1 << 14, 1 << 14], np.int32))
    big = graph.add(operator_class("FILL")(), [shape, Value.constant("v", np.float32(1))]).output
    graph.outputs = [graph.add(operator_class("ADD")(), [x, big], "y").output]
    with pytest.raises(octolite.RuntimeModelError, match="memory_limit"):
        octolite.Interpreter(model_content=write(Model([graph])), memory_limit=1 << 20)


def test_reading_from_a_path_verifies_too(tmp_path: Path) -> None:
    content = write(small())
    place = place_of(content, "offset", "tensors")
    path = tmp_path / "broken.tflite"
    path.write_bytes(changed(content, place.at, 2**31))
    with pytest.raises(FormatError, match="damaged"):
        octolite.Interpreter(str(path))


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((3, 16, 17, 18), "should hold 2 strings"),
        ((2**31 - 1, 16, 17, 18), "should hold 2 strings"),
        ((2, 16, 15, 18), "outside its buffer"),
        ((2, -1, 17, 18), "outside its buffer"),
        ((2, 16, 17, 2**31 - 1), "outside its buffer"),
        ((2, 16), "should hold 2 strings"),
    ],
)
def test_strings_lie_in_their_buffer(numbers: tuple[int, ...], words: str) -> None:
    raw = np.frombuffer(struct.pack(f"<{len(numbers)}i", *numbers) + b"ab", np.uint8)
    with pytest.raises(FormatError, match=words):
        decode(raw, STRING, (2,), "t")


@pytest.mark.parametrize("shape", [(2**31 - 1,) * 3, (2**31 - 1, 4), (5,), (0,)])
def test_buffers_are_as_large_as_shapes_ask(shape: tuple[int, ...]) -> None:
    with pytest.raises(FormatError, match=r"needs .* bytes and its buffer"):
        decode(np.zeros(16, np.uint8), FLOAT32, shape, "t")


def test_codes_that_would_be_dequantized_are_counted() -> None:
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (1,))
    codes = Value.constant("q", np.ones((512, 512), np.int8), INT8, Quant.of(0.5))
    real = graph.add(operator_class("DEQUANTIZE")(), [codes]).output
    graph.outputs = [graph.add(operator_class("ADD")(), [x, real], "y").output]
    content = write(Model([graph]))
    with pytest.raises(octolite.RuntimeModelError, match=r"DEQUANTIZE .* memory_limit"):
        octolite.Interpreter(model_content=content, memory_limit=1 << 19)


def test_inputs_are_not_resized_beyond_the_limit() -> None:
    interpreter = octolite.Interpreter(model_content=write(_graph(0)), memory_limit=1 << 20)
    interpreter.resize_tensor_input(0, (2**31 - 1, 2**31 - 1))
    with pytest.raises(octolite.RuntimeModelError, match="memory_limit"):
        interpreter.allocate_tensors()
