"""Indices, sizes and counts that come from tensors: whatever they are, a run gives a result or an
OctoliteError, and touches no memory but its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import octolite
from octolite.errors import OctoliteError
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import (
    BOOL,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    Array,
    DType,
)
from octolite.ops import REGISTRY
from octolite.ops.case import Case, const, f32, given, int8_weights, ints, weights
from octolite.tflite import write
from tests.fuzz.guard import guarded

HOSTILE = (-1, 3, 1000, 2**31 - 1, -(2**31), 2**40, -(2**63), 2**63 - 1)
INDICES = (INT16, INT32, INT64)


@pytest.fixture(autouse=True)
def _guarded() -> Iterator[None]:
    with guarded():
        yield


def fed(case: Case) -> Case:
    """The same with every integer that the case has as a constant fed at run time."""
    return replace(
        case,
        tensors=[
            t if t is None or t.dtype not in INDICES else replace(t, constant=False)
            for t in case.tensors
        ],
    )


def run(cls: type[Any], case: Case, feeds: dict[str, Array] | None = None) -> list[Array]:
    model, own = case.build(cls)
    return feed_and_run(write(model), {**own, **(feeds or {})})


def feed_and_run(content: bytes, feeds: dict[str, Array]) -> list[Array]:
    interpreter = octolite.Interpreter(
        model_content=content, num_threads=1, memory_limit=64 << 20, call_limit=1000
    )
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], feeds[details["name"]])
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def variants(array: Array) -> Iterator[Array]:
    """The array full of a hostile number, and with one in its first or its last place."""
    for number in HOSTILE:
        if not np.iinfo(array.dtype).min <= number <= np.iinfo(array.dtype).max:
            continue
        yield np.full_like(array, number)
        for place in {0, array.size - 1} if array.size else ():
            changed = array.copy()
            changed.reshape(-1)[place] = number
            yield changed


TAKERS = [
    (name, index)
    for name, cls in sorted(REGISTRY.items())
    for index, case in enumerate(cls.cases)
    if any(t is not None and t.dtype in INDICES and t.quant is None for t in case.tensors)
]


@pytest.mark.parametrize(("name", "index"), TAKERS)
def test_hostile_numbers_end_in_a_result_or_an_error(name: str, index: int) -> None:
    cls = REGISTRY[name]
    case = fed(cls.cases[index])
    try:
        _, feeds = case.build(cls)
    except OctoliteError:
        case = cls.cases[index]  # it needs its constants
        _, feeds = case.build(cls)
    tried = 0
    for key, array in feeds.items():
        if array.dtype.kind != "i":
            continue
        for changed in variants(array):
            tried += 1
            try:
                run(cls, case, {key: changed})
            except OctoliteError as error:
                assert name in str(error) or "memory_limit" in str(error)  # noqa: PT017
    assert tried or not any(a.dtype.kind == "i" for a in feeds.values())


OUTSIDE = {
    "GATHER": (f32(5, 3), ints(4, high=5)),
    "GATHER_ND": (f32(5, 3), ints(4, 1, high=5)),
    "SCATTER_ND": (ints(4, 1, high=5), f32(4), const([5])),
    "EMBEDDING_LOOKUP": (ints(4, high=5), weights(5, 2)),
    "TILE": (f32(2, 3), given([1, 2])),
    "FILL": (given([2, 3]), const(1.0)),
    "BROADCAST_TO": (f32(1, 3), given([2, 3])),
    "TOPK_V2": (f32(5), given(2)),
    "SLICE": (f32(5, 3), given([1, 0]), given([2, 2])),
    "SPLIT_V": (f32(5, 3), given([2, 3]), const(0)),
    "REVERSE_SEQUENCE": (f32(2, 5), given([3, 5])),
    "TRANSPOSE": (f32(2, 5), given([1, 0])),
}
"""Operators with tensors of which the integers, where fed, say what to take or how much."""


@pytest.mark.parametrize("number", [-(2**31), 2**31 - 1])
@pytest.mark.parametrize("name", OUTSIDE)
def test_what_cannot_be_is_refused(name: str, number: int) -> None:
    cls = REGISTRY[name]
    attributes = {"SPLIT_V": {"num_splits": 2}, "REVERSE_SEQUENCE": {"seq_dim": 1}}.get(name, {})
    case = Case(OUTSIDE[name], attributes)
    run(cls, case)  # as it is meant
    _, feeds = case.build(cls)
    for key, array in feeds.items():
        if array.dtype == np.int32:
            changed = array.copy()
            changed.reshape(-1)[-1] = number
            with pytest.raises(OctoliteError, match=name):
                run(cls, case, {key: changed})


@pytest.mark.parametrize("number", [-1, 5, 2**31 - 1, -(2**31)])
def test_a_hybrid_table_has_no_rows_but_its_own(number: int) -> None:
    case = Case((ints(4, high=5), int8_weights(5, 64)))
    with pytest.raises(octolite.RuntimeModelError, match="EMBEDDING_LOOKUP"):
        run(REGISTRY["EMBEDDING_LOOKUP"], case, {"in0": np.array([0, 1, number, 2], np.int32)})


@pytest.mark.parametrize("depth", [-1, 2**31 - 1])
def test_one_hot_of_a_hostile_depth_is_refused(depth: int) -> None:
    case = Case((ints(3, high=4), given(4), const(1.0), const(0.0)))
    with pytest.raises(OctoliteError, match="ONE_HOT"):
        run(REGISTRY["ONE_HOT"], case, {"in1": np.array(depth, np.int32)})


@pytest.mark.parametrize(
    "bounds", [(0, 2**31 - 1, 1), (0, 5, 0), (5, 0, 1), (-(2**31), 2**31 - 1, 1)]
)
def test_a_range_without_end_is_refused(bounds: tuple[int, int, int]) -> None:
    case = Case((given(0), given(5), given(1)))
    feeds = {f"in{i}": np.array(b, np.int32) for i, b in enumerate(bounds)}
    with pytest.raises(OctoliteError, match="RANGE"):
        run(REGISTRY["RANGE"], case, feeds)


def test_a_loop_without_end_is_stopped() -> None:
    cls = REGISTRY["WHILE"]
    with pytest.raises(octolite.RuntimeModelError, match="call_limit"):
        run(cls, cls.cases[0], {"in0": np.array(-(2**31), np.int32)})


@pytest.mark.parametrize("shape", [(1, 0, 4, 2), (1, 4, 0, 2)])
@pytest.mark.parametrize("name", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
def test_an_image_without_pixels_cannot_be_made_larger(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(octolite.ShapeError, match="without pixels"):
        run(REGISTRY[name], Case((f32(*shape), const([7, 11]))))


def test_results_of_another_type_than_declared_are_not_written() -> None:
    """int64 where the model has set memory aside for int32."""
    cls = REGISTRY["GATHER"]
    model, _ = Case((ints(5, dtype=INT64), const([1, 4, 0]))).build(cls)
    model.main.outputs[0].dtype = INT32
    interpreter = octolite.Interpreter(model_content=write(model))
    with pytest.raises(octolite.ShapeError, match=r"GATHER .* gives int64 .* as int32"):
        interpreter.allocate_tensors()


def nested(depth: int, calls: int) -> Model:
    """Graphs of which each runs the next one ``calls`` times."""
    graphs = [Graph(f"graph{i}") for i in range(depth)]
    for graph, inner in zip(graphs, [*graphs[1:], None], strict=True):
        flag, x = graph.add_input("flag", BOOL, ()), graph.add_input("x", FLOAT32, (2,))
        for number in range(calls if inner else 0):
            branch = REGISTRY["IF"](then=inner, other=inner)
            result = Value(f"result{number}", FLOAT32, (2,))
            x = graph.add(branch, [flag, flag, x], outputs=[result]).output
        graph.outputs = [graph.add(REGISTRY["NEG"](), [x], "y").output]
    return Model(graphs)


@pytest.mark.parametrize(
    ("depth", "calls", "words"), [(40, 2, "call_limit"), (60, 1, "nested"), (2000, 1, "nested")]
)
def test_graphs_that_run_graphs_come_to_an_end(depth: int, calls: int, words: str) -> None:
    interpreter = octolite.Interpreter(model_content=write(nested(depth, calls)), call_limit=2000)
    interpreter.allocate_tensors()
    with pytest.raises(octolite.RuntimeModelError, match=words):
        interpreter.invoke()


RECURRENT = [
    (name, index)
    for name, cls in sorted(REGISTRY.items())
    for index, case in enumerate(cls.cases)
    if any(t is not None and t.variable for t in case.tensors)
]


@pytest.mark.parametrize("dtype", [INT8, BOOL, FLOAT16, FLOAT64])
@pytest.mark.parametrize(("name", "index"), RECURRENT)
def test_state_of_another_type_is_not_overrun(name: str, index: int, dtype: DType) -> None:
    model, feeds = REGISTRY[name].cases[index].build(REGISTRY[name])
    for value in model.main.nodes[0].inputs:
        if value is not None and value.is_variable:
            value.dtype = dtype
    with contextlib.suppress(OctoliteError):
        feed_and_run(write(model), feeds)


@pytest.mark.parametrize(("name", "index"), RECURRENT)
def test_state_that_is_shared_is_not_overrun(name: str, index: int) -> None:
    model, feeds = REGISTRY[name].cases[index].build(REGISTRY[name])
    node = model.main.nodes[0]
    states = [v for v in node.inputs if v is not None and v.is_variable]
    for state in states[1:]:
        node.replace_input(state, states[0])
    with contextlib.suppress(OctoliteError):
        feed_and_run(write(model), feeds)
