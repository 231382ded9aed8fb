"""Operators that move elements in whole models: views, several results, shapes known late."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octolite
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import BOOL, FLOAT32, INT8, INT32, Array, Quant
from octolite.ops import operator_class
from octolite.tflite import write

RNG = np.random.default_rng(11)


def node(graph: Graph, name: str, inputs: list[Value | None], **attributes: Any) -> Any:
    return graph.add(operator_class(name)(**attributes), inputs, f"{name}{len(graph.nodes)}")


def const(data: Any) -> Value:
    array = np.asarray(data)
    kind = np.int32 if array.dtype == np.int64 else np.float32
    return Value.constant(f"constant {data}", array.astype(kind))


def run(graph: Graph, feeds: dict[str, Array], threads: int = 1) -> tuple[list[Array], set[str]]:
    """The outputs, equal to what the references give; and which operators NumPy ran."""
    arrays = {id(v): v.data for v in graph.constants()}
    arrays |= {id(v): feeds[v.name] for v in graph.inputs}
    for n in graph.nodes:
        inputs = [None if v is None else arrays[id(v)] for v in n.inputs]
        results = n.op.run(inputs, n.inputs, n.outputs)
        arrays |= dict(zip(map(id, n.outputs), results, strict=True))
    interpreter = octolite.Interpreter(model_content=write(Model([graph])), num_threads=threads)
    for details in interpreter.get_input_details():
        interpreter.resize_tensor_input(details["index"], feeds[details["name"]].shape)
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], feeds[details["name"]])
    outputs = []
    for _ in range(2):
        interpreter.invoke()
        outputs = [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
        for out, value in zip(outputs, graph.outputs, strict=True):
            expected = arrays[id(value)]
            assert out.dtype == expected.dtype
            np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)
    slow = {t.unit.op.name for t in interpreter.profile(1) if t.label == "NumPy"}
    return outputs, slow


@pytest.mark.parametrize("threads", [1, 2])
def test_results_of_one_operator_go_separate_ways(threads: int) -> None:
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (2, 5, 12))
    left, middle, right = node(graph, "SPLIT", [const(-1), x], num_splits=3).outputs
    wide, narrow = node(graph, "SPLIT_V", [middle, const([3, -1]), const(1)], num_splits=2).outputs
    turned = node(graph, "TRANSPOSE", [left, const([2, 0, 1])]).output
    joined = node(graph, "CONCATENATION", [wide, narrow, right], axis=1).output
    slices = node(graph, "UNPACK", [joined], num=2).outputs
    packed = node(graph, "PACK", [slices[1], slices[0]], values_count=2, axis=1).output
    graph.outputs = [turned, packed, right]
    _, slow = run(graph, {"x": RNG.normal(size=(2, 5, 12)).astype(np.float32)}, threads)
    assert not slow


def test_views_cost_nothing_and_results_are_copied() -> None:
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (2, 6))
    flat = node(graph, "RESHAPE", [x, const([12])]).output
    grown = node(graph, "EXPAND_DIMS", [flat, const(0)]).output
    turned = node(graph, "REVERSE_V2", [grown, const([1])]).output
    graph.outputs = [node(graph, "SQUEEZE", [turned]).output, flat]
    outputs, slow = run(graph, {"x": RNG.normal(size=(2, 6)).astype(np.float32)})
    assert not slow
    np.testing.assert_array_equal(outputs[0][::-1], outputs[1])


def test_bounds_that_are_fed_are_known_late() -> None:
    """The result's shape is known when the plan is made; where it is taken from is not."""
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (4, 8))
    begin = graph.add_input("begin", INT32, (2,))
    part = node(graph, "SLICE", [x, begin, const([2, 3])]).output
    axis = graph.add_input("axis", INT32, (1,))
    mean = node(graph, "MEAN", [x, axis]).output
    graph.outputs = [node(graph, "ADD", [part, const(1.0)]).output, mean]
    feeds = {"x": RNG.normal(size=(4, 8)).astype(np.float32), "begin": np.array([1, 4], np.int32)}
    _, slow = run(graph, {**feeds, "axis": np.array([1], np.int32)})
    assert not slow


@pytest.mark.parametrize("threads", [1, 3])
def test_shapes_that_depend_on_data(threads: int) -> None:
    graph = Graph("main")
    mask, x = graph.add_input("mask", BOOL, (6,)), graph.add_input("x", FLOAT32, (6, 4))
    hits = node(graph, "WHERE", [mask]).output
    ids = node(graph, "RESHAPE", [hits, const([-1])]).output
    ids = node(graph, "CAST", [ids], in_data_type=ids.dtype, out_data_type=INT32).output
    rows = node(graph, "GATHER", [x, ids]).output
    both = node(graph, "CONCATENATION", [rows, rows], axis=0).output
    halves = node(graph, "SPLIT", [const(1), both], num_splits=2).outputs
    padded = node(graph, "PADV2", [halves[1], const([[1, 0], [0, 2]]), const(5.0)]).output
    turned = node(graph, "TRANSPOSE", [padded, const([1, 0])]).output
    total = node(graph, "SUM", [turned, const([1])]).output
    whole = node(graph, "PAD", [ids, const([[1, 1]])]).output
    graph.outputs = [turned, total, halves[0], whole]
    feeds = {
        "mask": np.array([1, 0, 1, 1, 0, 1], bool),
        "x": RNG.normal(size=(6, 4)).astype(np.float32),
    }
    _, slow = run(graph, feeds, threads)
    assert slow <= {"WHERE", "CAST", "GATHER"}


def test_codes_pass_whatever_their_scales_and_borders_are_the_zero_point() -> None:
    graph = Graph("main")
    scale, other = Quant.of(0.5, 3), Quant.of(0.25, -1)
    x = graph.add_input("x", INT8, (3, 5))
    x.quant = scale
    same = node(graph, "TRANSPOSE", [x, const([1, 0])]).output
    changed = node(graph, "TRANSPOSE", [x, const([1, 0])]).output
    border = node(graph, "PAD", [x, const([[1, 1], [0, 0]])]).output
    for value, quant in ((same, scale), (changed, other), (border, scale)):
        value.dtype, value.quant = INT8, quant
    graph.outputs = [same, changed, border]
    given = RNG.integers(-20, 20, (3, 5)).astype(np.int8)
    outputs, slow = run(graph, {"x": given})
    assert not slow
    np.testing.assert_array_equal(outputs[0], given.T)
    np.testing.assert_array_equal(outputs[1], given.T)
    assert (outputs[2][0] == 3).all()
