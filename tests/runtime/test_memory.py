"""What lies where: results in the place of what nobody needs any more, scratch between tensors."""

from __future__ import annotations

import numpy as np
import pytest

import octolite
from octolite.errors import RuntimeModelError
from octolite.ir import numerics
from octolite.ir.graph import Graph, Model, Signature, Value
from octolite.ir.types import FLOAT32, INT8, Array
from octolite.ops.base import operator_class
from octolite.runtime.arena import Block, align
from octolite.runtime.plan import Plan, make_plan
from octolite.runtime.prepare import prepare
from octolite.tflite import write

SHAPE = (8, 24)


def apply(graph: Graph, name: str, *inputs: Value | Array, **attributes: object) -> Value:
    values = [v if isinstance(v, Value) else Value.constant("k", np.asarray(v)) for v in inputs]
    op = operator_class(name)(**attributes)
    return graph.add(op, values, f"{name}_{len(graph.nodes)}").output


def random_graph(random: np.random.Generator, nodes: int) -> Graph:
    """Elements, views and rows at random; some values have several readers, some are outputs."""
    graph = Graph("main")
    values = [graph.add_input(f"x{i}", FLOAT32, SHAPE) for i in range(2)]
    for _ in range(nodes):
        a, b = (values[i] for i in random.integers(max(0, len(values) - 5), len(values), 2))
        match random.integers(7):
            case 0:
                made = apply(graph, "ADD", a, b)
            case 1:
                made = apply(graph, "SUB", a, apply(graph, "SOFTMAX", b, beta=1.0))
            case 2:
                made = apply(graph, "TANH", apply(graph, "SOFTMAX", a, beta=1.0))
            case 3:
                flat = apply(graph, "RESHAPE", a, np.array([24, 8], np.int32))
                other = apply(graph, "SOFTMAX", flat, beta=0.5)
                both = apply(graph, "MUL", flat, other)
                made = apply(graph, "RESHAPE", both, np.array(SHAPE, np.int32))
            case 4:
                sums = apply(graph, "SUM", a, np.array([1], np.int32), keep_dims=True)
                made = apply(graph, "ADD", b, sums)
            case 5:
                made = apply(graph, "RELU", apply(graph, "SOFTMAX", a, beta=2.0))
            case _:
                flat = apply(graph, "RESHAPE", a, np.array([1, *SHAPE], np.int32))
                made = apply(graph, "RESHAPE", flat, np.array(SHAPE, np.int32))
        values.append(made)
    graph.outputs = [values[-1], values[-3]] if values[-1] is not values[-3] else [values[-1]]
    graph.prune()
    return graph


def run(content: bytes, feeds: list[Array], threads: int) -> list[Array]:
    """The outputs of a second run; the inputs survive both."""
    interpreter = octolite.Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    places = [d["index"] for d in interpreter.get_input_details()]
    for index, feed in zip(places, feeds, strict=True):
        interpreter.set_tensor(index, feed)
    interpreter.invoke()
    interpreter.invoke()
    for index, feed in zip(places, feeds, strict=True):
        np.testing.assert_array_equal(interpreter.get_tensor(index), feed)
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


@pytest.mark.parametrize("seed", range(40))
def test_shared_places_change_no_bit(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(seed)
    graph = random_graph(random, 14)
    content, threads = write(Model([graph])), 1 + seed % 2
    feeds = [random.normal(size=SHAPE).astype(np.float32) for _ in graph.inputs]
    shared = run(content, feeds, threads)
    monkeypatch.setattr("octolite.runtime.plan.homes_of", lambda *arguments: {})
    monkeypatch.setattr("octolite.runtime.plan.assign", one_behind_the_other)
    for result, alone in zip(shared, run(content, feeds, threads), strict=True):
        np.testing.assert_array_equal(result, alone)


def one_behind_the_other(blocks: list[Block]) -> tuple[list[int], int]:
    """Places for blocks, none of which is ever used again."""
    ends = np.cumsum([0, *(align(block.size) for block in blocks)])
    return ends[:-1].tolist(), int(ends[-1])


def planned(graph: Graph) -> Plan:
    return make_plan(prepare(graph), {id(v): v.shape for v in graph.inputs}, threads=1)  # type: ignore[misc]


def test_an_addition_lies_where_its_operand_did() -> None:
    """Without that, the addition would need a third tensor beside its operands."""
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (64, 64))
    a = apply(graph, "SOFTMAX", x, beta=1.0)
    b = apply(graph, "SOFTMAX", x, beta=2.0)
    both = apply(graph, "ADD", a, b)
    graph.outputs = [apply(graph, "SUM", both, np.array([1], np.int32))]
    plan = planned(graph)
    assert plan.offsets[id(both)] in (plan.offsets[id(a)], plan.offsets[id(b)])
    scratch = max(s.launch.scratch_bytes for s in plan.steps if s.launch is not None)
    assert plan.arena_bytes <= 3 * 64 * 64 * 4 + 64 * 4 + scratch


def test_what_is_read_later_is_not_overwritten() -> None:
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (64, 64))
    a = apply(graph, "SOFTMAX", x, beta=1.0)
    negative = apply(graph, "NEG", a)
    graph.outputs = [apply(graph, "SOFTMAX", negative, beta=1.0), apply(graph, "ABS", x), a]
    graph.outputs.append(apply(graph, "SOFTMAX", a, beta=2.0))
    plan = planned(graph)
    assert plan.offsets[id(negative)] != plan.offsets[id(a)]
    assert plan.offsets[id(graph.outputs[1])] != plan.offsets[id(x)]


def test_scratch_lies_between_tensors() -> None:
    """Scratch of one step takes the room of tensors that only other steps need."""
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (1, 32, 32, 8))
    weights = np.ones((8, 3, 3, 8), np.float32)
    value = apply(graph, "CONV_2D", x, weights, np.zeros(8, np.float32), stride_h=2, stride_w=2)
    wide = apply(graph, "RESIZE_BILINEAR", value, np.array([64, 64], np.int32))
    graph.outputs = [apply(graph, "MEAN", wide, np.array([1, 2], np.int32))]
    plan = planned(graph)
    sizes = {id(v): plan.slots[id(v)].nbytes or 0 for v in (x, value, wide)}
    scratch = max(s.launch.scratch_bytes for s in plan.steps if s.launch is not None)
    assert scratch > 10_000
    assert plan.arena_bytes < sum(sizes.values()) + scratch


@pytest.mark.parametrize("name", ["FULLY_CONNECTED", "BATCH_MATMUL"])
def test_packed_weights_count(name: str) -> None:
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (1, 512))
    graph.outputs = [apply(graph, name, x, np.ones((512, 512), np.float32))]
    content = write(Model([graph]))
    with pytest.raises(RuntimeModelError, match=f"{name}, with its constants packed, would need"):
        octolite.Interpreter(model_content=content, memory_limit=1_000_000)
    octolite.Interpreter(model_content=content, memory_limit=4_000_000).allocate_tensors()


def test_packed_weights_of_all_graphs_count_together() -> None:
    graphs = []
    for name in ("one", "other"):
        graph = Graph(name)
        x = graph.add_input(f"x_{name}", FLOAT32, (1, 512))
        weights = np.full((512, 512), len(name), np.float32)
        graph.outputs = [apply(graph, "FULLY_CONNECTED", x, weights)]
        graphs.append(graph)
    signatures = [Signature(g.name, {"x": g.inputs[0]}, {"y": g.outputs[0]}, g) for g in graphs]
    content = write(Model(graphs, signatures))
    with pytest.raises(RuntimeModelError, match="packed"):
        octolite.Interpreter(model_content=content, memory_limit=1_500_000)
    octolite.Interpreter(model_content=content, memory_limit=3_000_000)


def test_weights_made_real_count() -> None:
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (1, 512))
    codes, quant = numerics.quantize_weights(np.ones((512, 512), np.float32), 0)
    weights = Value.constant("w", codes, INT8, quant)
    graph.outputs = [apply(graph, "FULLY_CONNECTED", x, weights)]
    content = write(Model([graph]))
    with pytest.raises(RuntimeModelError, match="'w' in float would need"):
        octolite.Interpreter(model_content=content, hybrid="never", memory_limit=1_000_000)
    octolite.Interpreter(model_content=content, hybrid="always", memory_limit=1_000_000)
    octolite.Interpreter(model_content=content, hybrid="never", memory_limit=2_000_000)


def test_nothing_of_other_memory_shows() -> None:
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (300,))
    graph.outputs = [apply(graph, "RELU", x)]
    content = write(Model([graph]))
    for _ in range(20):
        np.full(300, 1.5, np.float32)  # leaves its numbers behind
        interpreter = octolite.Interpreter(model_content=content)
        interpreter.allocate_tensors()
        interpreter.invoke()
        out = interpreter.get_output_details()[0]["index"]
        np.testing.assert_array_equal(interpreter.get_tensor(out), np.zeros(300))


def test_tables_of_where_rows_lie_count() -> None:
    """A pixel of one channel takes 4 bytes, and several times as much to say where it lies."""
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (1, 1000, 1000, 1))
    kernel = np.ones((1, 3, 3, 1), np.float32)
    graph.outputs = [apply(graph, "CONV_2D", x, kernel, stride_h=1, stride_w=1)]
    content = write(Model([graph]))
    interpreter = octolite.Interpreter(model_content=content, memory_limit=20_000_000)
    with pytest.raises(RuntimeModelError, match="laying its rows out would need"):
        interpreter.allocate_tensors()
    octolite.Interpreter(model_content=content, memory_limit=60_000_000).allocate_tensors()
