"""Files that are no GraphDef, graphs that break the rules, and graphs that ask for too much."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from octolite.errors import FormatError, InvalidGraphError, OctoliteError, UnsupportedError
from octolite.frontends import graphdef, proto
from tests.frontends.build import Shape, Type, const, graph, node, placeholder
from tests.recorded import ALL, GRAPHS

X = placeholder("x", 2, 4)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(40), r"\.tflite model"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5"),
        (b"PK\x03\x04" + bytes(40), "zip archive"),
        (gzip.compress(b"node {}"), "gzip"),
        (b"\x08\x01\x12\x04\x0a\x02\x08\x01", "SavedModel"),
        (b"\x08\x07\x12\x07pytorch", "ONNX"),
        (b'{"a": 1}', "JSON"),
        (b"hello world, this is no graph", "not a GraphDef"),
        (b"\x0a\x00", "without name"),
        (b"\x12\x00", "no nodes"),
        (b"node { name: 'x' ", "breaks off"),
        (b"node { name: 'x' op: 'Const' input: 3 }", "breaks off"),
        (b"node { name: '\xff\xfe' }", "not a GraphDef"),
        (b"node " + b"{ attr " * 5000, "GraphDef"),
        (b"\x0a\xff\xff\xff\xff\x7f", "not a GraphDef"),
    ],
)
def test_other_files_are_recognised(content: bytes, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        graphdef.load(content)


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="No such file"):
        graphdef.load(tmp_path / "missing.pb")
    with pytest.raises(FormatError, match="is a folder"):
        graphdef.load(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(FormatError, match="a SavedModel's folder"):
        graphdef.load(str(tmp_path))


def test_comments_may_come_first_in_a_text_file() -> None:
    text = b"""
    # a frozen graph
    node { name: "x" op: "Placeholder"
           attr { key: "dtype" value { type: DT_FLOAT } }
           attr { key: "shape" value { shape { dim { size: 2 } } } } }
    node { name: "y" op: "Relu" input: "x" device: "/cpu:0" }
    versions { producer: 134 }
    """
    assert [n.name for n in graphdef.load(text).main.nodes] == ["y"]


def test_all_unsupported_operators_are_told_at_once() -> None:
    content = graph(
        X,
        node("a", "Mystery", "x"),
        node("b", "Relu", "a"),
        *(node(f"c{i}", "Puzzle", "b") for i in range(7)),
        node("out", "AddN", *(f"c{i}" for i in range(7))),
    )
    with pytest.raises(UnsupportedError) as caught:
        graphdef.load(content)
    lines = str(caught.value).splitlines()
    assert lines[1:] == [
        "  - TensorFlow operator Mystery is not supported: node 'a'",
        "  - TensorFlow operator Puzzle is not supported: nodes 'c0', 'c1', 'c2', 'c3', 'c4'"
        " and 2 more",
    ]


@pytest.mark.parametrize(
    ("nodes", "problem"),
    [
        ([X, node("y", "Relu", "z")], r"no node 'z', which node 'y' \(Relu\) reads"),
        ([X, X, node("y", "Relu", "x")], "two nodes are called 'x'"),
        ([X, node("y", "Relu")], r"'y' \(Relu\)"),
        ([X, node("y", "Reshape", "x")], r"'y' \(Reshape\) has 1 inputs, expected 2"),
        ([X, node("r", "Relu", "x"), node("y", "Neg", "r:3")], "'r:3'.*not available"),
        ([X, node("y", "Cast", "x")], "no attribute 'DstT'"),
        ([X, node("y", "Cast", "x", DstT=3)], "attribute 'DstT' holds i, expected type"),
        ([X, node("y", "MatMul", "x", "x")], "'y'"),
        ([X, const("s", [3, 3], "int32"), node("y", "Reshape", "x", "s")], "'y'.*reshaped"),
        ([X, const("s", 9, "int32"), node("y", "ConcatV2", "x", "x", "s")], "'y'.*axis 9"),
    ],
)
def test_broken_graphs_are_told_by_node(nodes: list[Any], problem: str) -> None:
    with pytest.raises(InvalidGraphError, match=problem):
        graphdef.load(graph(*nodes))


def test_cycles() -> None:
    content = graph(X, node("a", "Add", "x", "b"), node("b", "Relu", "a"), node("out", "Neg", "b"))
    with pytest.raises(InvalidGraphError, match="depends on itself"):
        graphdef.load(content)


def test_loops_are_unsupported_and_not_called_cycles() -> None:
    content = graph(
        X,
        node("enter", "Enter", "x"),
        node("merge", "Merge", "enter", "next"),
        node("body", "Relu", "merge"),
        node("next", "NextIteration", "body"),
        node("out", "Exit", "body"),
    )
    with pytest.raises(UnsupportedError, match="NextIteration"):
        graphdef.load(content)


def test_a_very_long_chain_needs_no_deep_stack() -> None:
    names = ["x", *(f"n{i}" for i in range(5000))]
    ops = ["Relu", "Identity", "Mul"]
    chain = [
        node(new, ops[i % 3], *[old] * (1 + (i % 3 == 2)))
        for i, (old, new) in enumerate(itertools.pairwise(names))
    ]
    assert len(graphdef.load(graph(X, *chain)).main.nodes) == 3333


def test_results_too_large_to_evaluate_stay_operators() -> None:
    content = graph(
        X,
        const("dims", [2**14, 2**14], "int32"),
        const("zero", 0.0),
        node("huge", "Fill", "dims", "zero"),
        const("axes", [0, 1], "int32"),
        node("sum", "Sum", "huge", "axes"),
        node("out", "Add", "x", "sum"),
    )
    assert [n.op.name for n in graphdef.load(content).main.nodes] == ["FILL", "SUM", "ADD"]


# -- mutations --------------------------------------------------------------------------------

FILES = [r.path.read_bytes() for r in ALL if r.path.stat().st_size < 12_000]
EXTENTS = (0, 1, -1, -2, 7, 2**31 - 1, 2**31, 2**62, -(2**63))
fuzzed = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


def load_or_refuse(content: bytes) -> None:
    """Any other exception fails the test."""
    with contextlib.suppress(OctoliteError):
        graphdef.load(content)


def test_there_is_something_to_mutate() -> None:
    assert len(FILES) > 20
    assert list(GRAPHS.glob("*.pbtxt"))


@fuzzed
@given(st.sampled_from(FILES), st.randoms(use_true_random=False))
def test_mutated_bytes(content: bytes, rng: random.Random) -> None:
    data = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                del data[at : at + rng.randint(1, 40)]
            case 2:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
            case 3:
                del data[max(at, 1) :]
        if not data:
            data = bytearray(b"\x0a")
    load_or_refuse(bytes(data))


@fuzzed
@given(st.sampled_from(FILES), st.randoms(use_true_random=False))
def test_mutated_messages(content: bytes, rng: random.Random) -> None:
    message = proto.GraphDef.FromString(content)
    for _ in range(rng.randint(1, 4)):
        mutate_node(message, rng.choice(message.node), rng)
    load_or_refuse(message.SerializeToString())


def mutate_node(message: Any, victim: Any, rng: random.Random) -> None:
    other = rng.choice(message.node)
    kind = rng.randrange(7)
    if kind == 0:
        victim.op = rng.choice([*sorted(graphdef.HANDLERS), "Mystery", "If", "PartitionedCall"])
    elif kind == 1 and victim.input:
        victim.input[rng.randrange(len(victim.input))] = other.name + rng.choice(["", ":0", ":9"])
    elif kind == 2 and victim.input:
        del victim.input[rng.randrange(len(victim.input))]
    elif kind == 3:
        victim.input.append(other.name)
    elif kind == 4:
        victim.name = rng.choice(["", other.name, "é"])
    elif victim.attr:
        key = rng.choice(sorted(victim.attr))
        if rng.random() < 0.2:
            del victim.attr[key]
        else:
            mutate_attribute(victim.attr[key], rng)


def mutate_attribute(attr: Any, rng: random.Random) -> None:
    match attr.WhichOneof("value"):
        case "tensor":
            mutate_tensor(attr.tensor, rng)
        case "list" if attr.list.i:
            attr.list.i[rng.randrange(len(attr.list.i))] = rng.choice(EXTENTS)
        case "i":
            attr.i = rng.choice(EXTENTS)
        case "type":
            attr.type = rng.randrange(31)
        case "shape":
            attr.shape.dim.add(size=rng.choice(EXTENTS))
        case "s":
            attr.s = rng.choice([b"", b"\xff\xfe", b"NCHW", b"EXPLICIT", b"VALID"])
        case "func":
            attr.func.name = "missing"
        case _:
            attr.f = 1.0


def mutate_tensor(tensor: Any, rng: random.Random) -> None:
    match rng.randrange(5):
        case 0 if tensor.tensor_shape.dim:
            rng.choice(tensor.tensor_shape.dim).size = rng.choice(EXTENTS)
        case 1:
            tensor.tensor_shape.dim.add(size=rng.choice(EXTENTS))
        case 2:
            tensor.dtype = rng.randrange(31)
        case 3:
            tensor.tensor_content = tensor.tensor_content[: rng.randint(0, 8)]
        case _:
            tensor.tensor_content = b""
            tensor.int_val[:] = rng.choices([0, 1, -1, 2**31 - 1, -(2**31)], k=rng.randrange(3))
            tensor.float_val[:] = rng.choices([0, -1, 1e38, float("nan")], k=rng.randrange(3))


def test_shapes_of_placeholders_may_be_absurd() -> None:
    absurd = node("x", "Placeholder", dtype=Type("DT_FLOAT"), shape=Shape((2**62, 2**62)))
    load_or_refuse(graph(absurd, node("y", "Shape", "x"), node("z", "Relu", "x")))
