"""Files: read and written back unchanged, the same bytes every time, and damage refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import octolite
from octolite.errors import FormatError, OctoliteError, UnsupportedError
from octolite.ir.graph import Graph, Model, Signature, Value
from octolite.ir.types import FLOAT32, INT4, INT8, STRING, Quant
from octolite.ops import REGISTRY, operator_class
from octolite.tflite import read, write
from octolite.tflite.read import decode
from octolite.tflite.write import encode
from tests.recorded import ALL, GRAPHS, Recording

OTHERS = sorted(GRAPHS.glob("*.dynamic.tflite"))


def small() -> Model:
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (None, 4))
    w = Value.constant("w", np.ones((3, 4), np.int8), INT8, Quant.of(np.full(3, 0.5), 0, 0))
    y = graph.add(operator_class("FULLY_CONNECTED")(), [x, w, None], "y").output
    graph.outputs = [y]
    return Model([graph], [Signature("serve", {"a": x}, {"b": y}, graph)], {"note": b"hello"})


@pytest.mark.parametrize("recording", ALL[::4], ids=lambda r: r.name)
@pytest.mark.parametrize("recipe", ["none", "dynamic", "weights", "float16"])
def test_reading_and_writing_changes_nothing(recording: Recording, recipe: str) -> None:
    content = recording.convert(quantize=recipe)
    assert write(read(content)) == content


@pytest.mark.parametrize("path", OTHERS[::4], ids=lambda p: p.name)
def test_files_of_tensorflows_converter_are_read(path) -> None:
    model = read(path)
    again = read(write(model))
    assert [n.op for n in again.main.nodes] == [n.op for n in model.main.nodes]
    assert [repr(v) for v in again.main.values()] == [repr(v) for v in model.main.values()]


def test_everything_comes_back() -> None:
    model = read(write(small()))
    (node,) = model.main.nodes
    assert model.main.inputs[0].shape == (None, 4)
    assert node.inputs[1].quant == Quant.of(np.full(3, 0.5), 0, 0)
    assert len(node.inputs) == 2
    (signature,) = model.signatures
    assert (signature.key, list(signature.inputs), list(signature.outputs)) == (
        "serve",
        ["a"],
        ["b"],
    )
    assert signature.inputs["a"] is model.main.inputs[0]
    assert model.metadata == {"note": b"hello"}


def test_buffers_are_aligned() -> None:
    """LiteRT maps constants in place and reads them with aligned loads."""
    content = Recording("matmul_large").convert()
    weights = max(read(content).main.constants(), key=lambda v: v.nbytes)
    start = weights.data.ctypes.data - np.frombuffer(content, np.uint8).ctypes.data
    assert start % 16 == 0


def test_names_are_unique_and_the_ends_keep_theirs() -> None:
    model = small()
    graph = model.main
    inner = graph.add(operator_class("RELU")(), [graph.outputs[0]], "x").output
    graph.outputs = [graph.add(operator_class("ABS")(), [inner], "w").output]
    written = read(write(model)).main
    names = [v.name for v in written.values()]
    assert len(set(names)) == len(names)
    assert [v.name for v in (*written.inputs, *written.outputs)] == ["x", "w"]


@given(st.lists(st.one_of(st.binary(max_size=9), st.text(max_size=5)), max_size=6))
def test_strings_survive(items: list) -> None:
    array = np.empty(len(items), object)
    array[:] = items
    raw = np.frombuffer(bytes(encode(array, STRING)), np.uint8)
    back = decode(raw, STRING, (len(items),), "t")
    assert back.tolist() == [s if isinstance(s, bytes) else s.encode() for s in items]


@given(st.lists(st.integers(-8, 7), max_size=9))
def test_int4_survives(items: list[int]) -> None:
    raw = np.frombuffer(bytes(encode(np.array(items, np.int8), INT4)), np.uint8)
    assert len(raw) == (len(items) + 1) // 2
    assert decode(raw, INT4, (len(items),), "t").tolist() == items


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "0 bytes"),
        (b"TFL3", "identifier"),
        (b"\x08\x00\x00\x00TFL3", "damaged"),
        (b"\xff\xff\xff\xffTFL3" + bytes(100), "damaged|version"),
        (b"PK\x03\x04" + bytes(100), "identifier"),
    ],
)
def test_what_is_no_model_is_refused(content: bytes, word: str) -> None:
    with pytest.raises(FormatError, match=word):
        read(content)


def test_unsupported_operators_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(REGISTRY, "RANDOM_UNIFORM")
    with pytest.raises(UnsupportedError, match="RANDOM_UNIFORM: node 10"):
        read(GRAPHS / "lenet.dynamic.tflite")  # draws numbers, for a dropout that is off


def _survives(content: bytes) -> None:
    """A result or an OctoliteError: nothing else."""
    try:
        interpreter = octolite.Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        for details in interpreter.get_input_details():
            shape, dtype = details["shape"], details["dtype"]
            interpreter.set_tensor(details["index"], np.zeros(shape, dtype))
        interpreter.invoke()
    except OctoliteError:
        pass


VICTIMS = [Recording(n).convert() for n in ("lenet", "slicing", "mlp")]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(VICTIMS),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_changed_bytes_never_crash(content: bytes, changes: list[tuple[float, int]]) -> None:
    mutant = bytearray(content)
    # The tables lie behind the constants: most changes go there.
    tables = len(mutant) - 6000
    for place, value in changes:
        mutant[max(0, tables) + int(place * (min(6000, len(mutant)) - 1))] = value
    _survives(bytes(mutant))


def test_truncated_files_never_crash() -> None:
    for content in VICTIMS:
        for size in itertools.chain(range(0, 200, 7), range(200, len(content), len(content) // 40)):
            _survives(content[:size])
