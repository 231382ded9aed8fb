"""Products in whole models: what runs compiled, held against the references and LiteRT."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octolite
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import FLOAT32, INT32, Activation, Array, Padding
from octolite.ops import operator_class
from octolite.quantize import quantize
from octolite.tflite import write
from tests.ops.litert import (
    HYBRID_SQNR,
    assert_close,
    assert_hybrid,
    exact,
    litert,
    ours,
    sqnr,
)

RNG = np.random.default_rng(13)


def weights(*shape: int) -> Value:
    return Value.constant("w", RNG.normal(0, 0.3, shape).astype(np.float32))


def bias(channels: int) -> Value:
    return Value.constant("b", RNG.normal(0, 0.3, channels).astype(np.float32))


def model(name: str, *inputs: Any, **attributes: Any) -> Model:
    """One node; an input that is a tuple of extents is fed."""
    graph = Graph()
    values = [
        graph.add_input(f"x{i}", FLOAT32, given) if isinstance(given, tuple) else given
        for i, given in enumerate(inputs)
    ]
    graph.outputs = [graph.add(operator_class(name)(**attributes), values, "y").output]
    return Model([graph])


def transposed(
    shape: tuple[int | None, ...], out: list[int], kernel: int, stride: int, **attributes: Any
) -> Model:
    size = Value.constant("size", np.array(out, np.int32))
    w = weights(out[3], kernel, kernel, shape[3] or 1)
    given = {"stride_h": stride, "stride_w": stride} | attributes
    return model("TRANSPOSE_CONV", size, w, shape, bias(out[3]), **given)


def feeds_of(made: Model) -> dict[str, Array]:
    """Gaussian features for every input, 2 where an extent is open."""
    return {
        v.name: RNG.standard_normal([d or 2 for d in v.shape or ()]).astype(np.float32)
        for v in made.main.inputs
    }


def run(made: Model, feeds: dict[str, Array], **options: Any) -> tuple[Array, str, str]:
    """The output, the label of the kernel that made it, and why it runs so."""
    interpreter = octolite.Interpreter(model_content=write(made), **options)
    for details in interpreter.get_input_details():
        interpreter.resize_tensor_input(details["index"], feeds[details["name"]].shape)
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], feeds[details["name"]])
    interpreter.invoke()
    (details,) = interpreter.get_output_details()
    out = interpreter.get_tensor(details["index"])
    timing = interpreter.profile(1)[-1]
    return out, timing.label, timing.unit.choice


VALID = {"padding": Padding.VALID}
MODELS = {
    "doubled": lambda: transposed((1, 8, 8, 32), [1, 16, 16, 24], 4, 2),
    "odd": lambda: transposed((2, 5, 6, 16), [2, 9, 11, 20], 3, 2),
    "valid": lambda: transposed((1, 6, 5, 16), [1, 13, 11, 20], 3, 2, **VALID),
    "holes": lambda: transposed((1, 6, 5, 32), [1, 18, 15, 48], 2, 3),
    "same size": lambda: transposed((1, 7, 9, 24), [1, 7, 9, 40], 5, 1),
    "activation": lambda: transposed(
        (1, 6, 6, 32), [1, 12, 12, 32], 3, 2, activation=Activation.RELU
    ),
    "matrices": lambda: model("BATCH_MATMUL", (2, 9, 64), weights(64, 40)),
    "stack": lambda: model("BATCH_MATMUL", (3, 9, 64), weights(3, 64, 40)),
    "turned": lambda: model("BATCH_MATMUL", (3, 40, 17), weights(40, 64), adj_x=True),
    "both turned": lambda: model(
        "BATCH_MATMUL", (2, 40, 17), weights(2, 64, 40), adj_x=True, adj_y=True
    ),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_agrees_with_litert(name: str, threads: int) -> None:
    made = MODELS[name]()
    feeds = feeds_of(made)
    out, label, _ = run(made, feeds, num_threads=threads)
    assert label.startswith("float")
    assert_close(out, litert(made, feeds)[0], 1e-5)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_hybrid_agrees_with_litert(name: str, threads: int) -> None:
    made = MODELS[name]()
    feeds = feeds_of(made)
    quantize(made, "dynamic")
    out, label, _ = run(made, feeds, num_threads=threads, hybrid="always")
    assert label.startswith("hybrid")
    np.testing.assert_array_equal(out, ours(made, feeds)[0])
    assert_hybrid(exact(made, feeds)[0], out, litert(made, feeds)[0])


@pytest.mark.parametrize("name", MODELS)
def test_the_choice_has_a_reason(name: str) -> None:
    made = MODELS[name]()
    feeds = feeds_of(made)
    quantize(made, "dynamic")
    out, label, choice = run(made, feeds)
    assert "cycles a row" in choice
    assert choice.split(":")[0] == label.split()[0]
    never, label, _ = run(made, feeds, hybrid="never")
    assert label.startswith("float")
    assert_close(never, exact(made, feeds)[0], 1e-5)
    assert sqnr(never, out) >= HYBRID_SQNR - 3


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_the_batch_may_change(batch: int) -> None:
    """The result's extents are computed from the input's, as layers of Keras do."""
    graph = Graph()
    x = graph.add_input("x", FLOAT32, (None, 4, 5, 16))
    shape = graph.add(operator_class("SHAPE")(), [x], "shape").output
    first = [Value.constant(n, np.array([i], np.int32)) for n, i in (("from", 0), ("many", 1))]
    images = graph.add(operator_class("SLICE")(), [shape, *first], "images").output
    rest = Value.constant("rest", np.array([8, 10, 24], np.int32))
    size = graph.add(operator_class("CONCATENATION")(axis=0), [images, rest], "size").output
    op = operator_class("TRANSPOSE_CONV")(stride_h=2, stride_w=2)
    graph.outputs = [graph.add(op, [size, weights(24, 3, 3, 16), x, bias(24)], "y").output]
    made = Model([graph])
    feed = RNG.standard_normal((batch, 4, 5, 16)).astype(np.float32)
    out, label, _ = run(made, {"x": feed})
    assert label.startswith("float transposed")
    node = graph.nodes[-1]
    target = np.array([batch, 8, 10, 24], np.int32)
    arrays = [target, node.inputs[1].data, feed, node.inputs[3].data]
    np.testing.assert_allclose(out, node.op.reference(*arrays), rtol=1e-5, atol=1e-5)


def test_an_output_shape_that_is_fed() -> None:
    graph = Graph()
    size = graph.add_input("size", INT32, (4,))
    x = graph.add_input("x", FLOAT32, (1, 4, 5, 16))
    op = operator_class("TRANSPOSE_CONV")(stride_h=2, stride_w=2)
    graph.outputs = [graph.add(op, [size, weights(24, 3, 3, 16), x], "y").output]
    interpreter = octolite.Interpreter(model_content=write(Model([graph])))
    interpreter.allocate_tensors()
    feed = RNG.standard_normal((1, 4, 5, 16)).astype(np.float32)
    places = {d["name"]: d["index"] for d in interpreter.get_input_details()}
    interpreter.set_tensor(places["x"], feed)
    for height in (7, 8):
        target = np.array([1, height, 10, 24], np.int32)
        interpreter.set_tensor(places["size"], target)
        interpreter.invoke()
        out = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        expected = op.reference(target, graph.nodes[0].inputs[1].data, feed)
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("a", "b", "adj"),
    [
        ((1, 8, 33, 16), (1, 8, 16, 33), {}),
        ((1, 8, 33, 16), (1, 8, 33, 16), {"adj_y": True}),
        ((2, 4, 16, 33), (2, 1, 16, 20), {"adj_x": True}),
        ((7, 16), (16, 5), {}),
        ((2, 1, 2, 7, 16), (3, 1, 16, 5), {}),
    ],
)
def test_both_sides_at_run_time(
    a: tuple[int, ...], b: tuple[int, ...], adj: dict[str, bool]
) -> None:
    made = model("BATCH_MATMUL", a, b, **adj)
    feeds = feeds_of(made)
    one, label, _ = run(made, feeds)
    assert label.startswith("float dot")
    assert_close(one, litert(made, feeds)[0], 1e-5)
    two, _, _ = run(made, feeds, num_threads=2)
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("name", "shape", "filters", "attributes"),
    [
        ("CONV_2D", (1, 9, 9, 16), (32, 3, 3, 8), {}),
        ("CONV_2D", (1, 9, 9, 16), (32, 3, 3, 16), {"dilation_h_factor": 2}),
        ("CONV_2D", (1, 9, 9, 16), (32, 3, 3, 16), {"dilation_w_factor": 3, **VALID}),
        ("DEPTHWISE_CONV_2D", (1, 9, 9, 32), (1, 3, 3, 128), {"depth_multiplier": 4}),
        ("DEPTHWISE_CONV_2D", (1, 9, 9, 128), (1, 3, 3, 128), {"dilation_h_factor": 2}),
    ],
)
def test_unusual_convolutions_run_compiled(
    name: str, shape: tuple[int, ...], filters: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    """Groups, dilation, several results for each channel: hybrid, and no reference."""
    channels = filters[3] if name.startswith("DEPTHWISE") else filters[0]
    made = model(name, shape, weights(*filters), bias(channels), **attributes)
    feeds = feeds_of(made)
    quantize(made, "dynamic")
    out, label, _ = run(made, feeds, hybrid="always")
    assert label.startswith("hybrid")
    np.testing.assert_array_equal(out, ours(made, feeds)[0])


def test_very_many_matrices_are_left_to_numpy() -> None:
    """Laying each out by itself would take longer than multiplying them."""
    graph = Graph("main")
    x, y = (graph.add_input(name, FLOAT32, (3, 3000, 2, 2)) for name in "xy")
    graph.outputs = [graph.add(operator_class("BATCH_MATMUL")(), [x, y], "z").output]
    many = np.arange(36000, dtype=np.float32).reshape(3, 3000, 2, 2) % 7
    constant = Value.constant("many", many)
    graph.outputs += [graph.add(operator_class("BATCH_MATMUL")(), [x, constant], "w").output]
    interpreter = octolite.Interpreter(model_content=write(Model([graph])))
    interpreter.allocate_tensors()
    for index in (0, 1):
        interpreter.set_tensor(interpreter.get_input_details()[index]["index"], many)
    interpreter.invoke()
    for detail in interpreter.get_output_details():
        np.testing.assert_array_equal(interpreter.get_tensor(detail["index"]), many @ many)
