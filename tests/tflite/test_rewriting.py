"""Files changed in places: what no one touched is as it was, field by field."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import ai_edge_litert.interpreter as litert
import numpy as np
import pytest

import octolite
from octolite import Recipe, Rule, Treatment, tflite
from octolite.errors import ConversionError
from octolite.ir import Graph, Model, Signature, Value
from octolite.ir.types import FLOAT16, FLOAT32, Array
from octolite.ops import operator_class
from octolite.tflite import layout, schema
from octolite.tflite.tables import UINT8, UINT32, Table

FILES = sorted(Path("tests/data").rglob("*.tflite"))


def facts(content: bytes, name: str = "Model", table: Table | None = None) -> dict[str, Any]:
    """Everything in a file, by the layout of its tables; buffers by what they hold."""
    table = table or Table.root(content)
    found: dict[str, Any] = {}
    for number, field in enumerate(layout.fields_of(name)):
        if not table.has(number):
            continue
        match field.kind:
            case "number":
                kind = {1: UINT8, 4: UINT32}.get(field.size)
                at = table._place(number)
                found[field.name] = (
                    table.number(number, kind) if kind else content[at : at + field.size]
                )
            case "tables":
                found[field.name] = [facts(content, field.of, t) for t in table.tables(number)]
            case "table":
                found[field.name] = facts(content, field.of, table.table(number))
            case "union":
                member = layout.members(field.of).get(table.number(number - 1, UINT8))
                inner = table.table(number)
                found[field.name] = facts(content, member, inner) if member and inner else None
            case _:
                found[field.name] = table.vector(number, f"V{field.size}").tobytes()
    return found


def resolved(content: bytes) -> dict[str, Any]:
    """The same with indices of buffers, codes and tensors replaced by what they stand for."""
    model = facts(content)
    buffers = [b.get("data", b"") for b in model.pop("buffers")]
    codes = model.pop("operator_codes")
    for metadata in model.get("metadata", ()):
        metadata["buffer"] = buffers[metadata["buffer"]]
    model = {k: v for k, v in model.items() if v != []}  # empty, or not there
    model.setdefault("metadata", []).sort(key=lambda m: m["name"])
    for graph in model["subgraphs"]:
        for tensor in graph["tensors"]:
            tensor["buffer"] = buffers[tensor.get("buffer", 0)]
        for operator in graph.get("operators", ()):
            operator["opcode_index"] = codes[operator.get("opcode_index", 0)]
    return model


def model_of(*names: str) -> Model:
    """A FULLY_CONNECTED of 64 → 32 in each graph of ``names``, with a signature."""
    graphs, signatures = [], []
    for seed, key in enumerate(names):
        graph = Graph(key)
        x = graph.add_input("x", FLOAT32, (2, 64))
        weights = np.random.default_rng(seed).normal(0, 1, (32, 64)).astype(np.float32)
        node = graph.add(
            operator_class("FULLY_CONNECTED")(),
            [x, Value.constant("w", weights), Value.constant("b", np.zeros(32, np.float32))],
            "y",
        )
        graph.outputs = [node.output]
        graphs.append(graph)
        signatures.append(Signature(key, {"x": x}, {"y": node.output}, graph))
    return Model(graphs, signatures, {"note": b"kept"}, "made by hand")


def run(content: bytes, x: Array, signature: str | None = None) -> Array:
    runner = litert.Interpreter(model_content=content).get_signature_runner(signature)
    return np.asarray(next(iter(runner(x=x).values())))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_nothing_to_do_leaves_everything_as_it_was(path: Path) -> None:
    content = path.read_bytes()
    before, after = resolved(content), resolved(tflite.rewrite(tflite.open_file(content)))
    for graph_before, graph_after in zip(before["subgraphs"], after["subgraphs"], strict=True):
        assert graph_before.pop("tensors") == graph_after.pop("tensors")
        for a, b in zip(graph_before["operators"], graph_after["operators"], strict=True):
            assert a == b
    assert before == after


def test_only_what_is_quantized_changes() -> None:
    content = tflite.write(model_of("first", "second"))
    recipe = Recipe("second", rules=(Rule.of(signature="first", weights="float32"),))
    quantized = octolite.convert(content, recipe)
    before, after = resolved(content), resolved(quantized)
    assert after["description"] == before["description"] == b"made by hand"
    assert after["signature_defs"] == before["signature_defs"]
    notes = {m["name"]: m["buffer"] for m in after["metadata"]}
    assert notes[b"note"] == b"kept"
    assert json.loads(notes[b"octolite"])["recipe"]["rule"] == [
        {"signature": "first", "weights": "float32"}
    ]
    assert after["subgraphs"][0] == before["subgraphs"][0]
    changed = [
        a["name"]
        for a, b in zip(
            before["subgraphs"][1]["tensors"], after["subgraphs"][1]["tensors"], strict=True
        )
        if a != b
    ]
    assert changed == [b"w"]
    x = np.random.default_rng(5).normal(0, 1, (2, 64)).astype(np.float32)
    np.testing.assert_array_equal(run(quantized, x, "first"), run(content, x, "first"))
    np.testing.assert_allclose(run(quantized, x, "second"), run(content, x, "second"), atol=0.5)


def test_halves_become_codes() -> None:
    model = model_of("main")
    content = octolite.convert(tflite.write(model), Recipe("h", Treatment(weights=FLOAT16)))
    quantized = octolite.convert(content)
    operators = [n.op.name for n in tflite.read(quantized).main.nodes]
    assert operators == ["FULLY_CONNECTED"]
    assert len(quantized) < 0.7 * len(content)


def test_quantized_again_is_the_same_file() -> None:
    once = octolite.convert(tflite.write(model_of("main")))
    assert octolite.convert(once) == octolite.convert(octolite.convert(once))
    assert resolved(once)["subgraphs"] == resolved(octolite.convert(once))["subgraphs"]


def test_operators_that_are_not_known_are_carried_along() -> None:
    """A custom one and a builtin one of a later day, each reading a constant of its own."""
    model = tflite.open_file(tflite.write(model_of("main")))
    content = bytearray(tflite.rewrite(model))
    code = Table.root(bytes(content)).tables(schema.Model.CODES)[0]
    for field, number in ((0, 127), (3, 500)):
        if code.has(field):
            at = code._place(field)
            size = 1 if field == 0 else 4
            content[at : at + size] = number.to_bytes(size, "little")
    with pytest.raises(octolite.UnsupportedError, match="operator number 500"):
        tflite.read(bytes(content))
    ledger = octolite.convert_model(bytes(content)).ledger
    assert {e.reason for e in ledger.entries if e.name == "w"} == {"input of operator number 500"}
    again = octolite.convert(bytes(content))
    assert resolved(again)["subgraphs"] == resolved(bytes(content))["subgraphs"]


def test_attached_files_stay_attached() -> None:
    attached = io.BytesIO(tflite.write(model_of("main")))
    with zipfile.ZipFile(attached, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    quantized = octolite.convert(attached.getvalue())
    with zipfile.ZipFile(io.BytesIO(quantized)) as archive:
        assert archive.read("labels.txt") == b"cat\ndog\n"
    assert octolite.convert(attached.getvalue()) == quantized
    assert len(quantized) < len(attached.getvalue())


def test_attached_files_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("octolite.tflite.rewriting.ATTACHED_LIMIT", 1000)
    attached = io.BytesIO(tflite.write(model_of("main")))
    with zipfile.ZipFile(attached, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(100_000))
    with pytest.raises(ConversionError, match="more than 1,000 bytes"):
        octolite.convert(attached.getvalue())


def test_a_part_of_a_file_cannot_be_chosen() -> None:
    with pytest.raises(octolite.UsageError, match=r"a \.tflite file has no input_arrays to choose"):
        octolite.convert(tflite.write(model_of("main")), input_arrays=["x"])
