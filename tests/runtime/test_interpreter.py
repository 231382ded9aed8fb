"""The interpreter's interface, held against what ``tf.lite.Interpreter`` promises."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import octolite
from octolite.ir.graph import Graph, Model, Signature, Value
from octolite.ir.numerics import quantize_weights
from octolite.ir.types import FLOAT32, INT8, INT32, Activation, Padding
from octolite.ops import operator_class
from octolite.tflite import write

RNG = np.random.default_rng(7)


def dense(graph: Graph, x: Value, units: int, depth: int, name: str, int8: bool = False) -> Value:
    w = RNG.normal(0, 0.3, (units, depth)).astype(np.float32)
    weights = Value.constant(f"{name}/w", w)
    if int8:
        q, quant = quantize_weights(w, 0)
        weights = Value.constant(f"{name}/w", q, INT8, quant)
    bias = Value.constant(f"{name}/b", RNG.normal(0, 0.3, units).astype(np.float32))
    op = operator_class("FULLY_CONNECTED")(
        activation=Activation.RELU, asymmetric_quantize_inputs=int8
    )
    return graph.add(op, [x, weights, bias], name).output


def network(int8: bool = False) -> Model:
    """Convolution, reshape with an open batch, two dense layers, an addition in between."""
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (None, 6, 6, 3))
    w = RNG.normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32)
    kernel = Value.constant("w", w)
    bias = Value.constant("b", np.zeros(4, np.float32))
    conv = operator_class("CONV_2D")(padding=Padding.SAME, stride_h=2, stride_w=2)
    y = graph.add(conv, [x, kernel, bias], "conv").output
    shape = Value.constant("shape", np.array([-1, 36], np.int32))
    y = graph.add(operator_class("RESHAPE")(), [y, shape], "flat").output
    y = dense(graph, y, 32, 36, "hidden", int8)
    half = Value.constant("c", np.float32(0.5))
    y = graph.add(operator_class("ADD")(), [y, half], "shift").output
    y = dense(graph, y, 5, 32, "logits", int8)
    graph.outputs = [y]
    return Model([graph], [Signature("serving_default", {"image": x}, {"scores": y}, graph)])


def by_reference(model: Model, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    graph = model.main
    arrays = {id(v): v.data for v in graph.constants()}
    arrays |= {id(v): feeds[v.name] for v in graph.inputs}
    for node in graph.nodes:
        inputs = [None if v is None else arrays[id(v)] for v in node.inputs]
        results = node.op.run(inputs, node.inputs, node.outputs)
        arrays |= dict(zip(map(id, node.outputs), results, strict=True))
    return [arrays[id(v)] for v in graph.outputs]


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_agrees_with_the_references(int8: bool, threads: int) -> None:
    model = network(int8)
    interpreter = octolite.Interpreter(
        model_content=write(model), num_threads=threads, hybrid="always"
    )
    for batch in (1, 3, 2):
        x = RNG.normal(size=(batch, 6, 6, 3)).astype(np.float32)
        details = interpreter.get_input_details()[0]
        interpreter.resize_tensor_input(details["index"], x.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(details["index"], x)
        interpreter.invoke()
        got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        (expected,) = by_reference(model, {"x": x})
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_threads_do_not_change_bits() -> None:
    content = write(network(int8=True))
    x = RNG.normal(size=(5, 6, 6, 3)).astype(np.float32)
    results = []
    for threads in (1, 2, 4):
        runner = octolite.Interpreter(model_content=content, num_threads=threads, hybrid="always")
        results.append(runner.get_signature_runner()(image=x)["scores"])
    assert all(np.array_equal(results[0], r) for r in results[1:])


def test_inputs_survive_an_invocation() -> None:
    interpreter = octolite.Interpreter(model_content=write(network()))
    interpreter.allocate_tensors()
    index = interpreter.get_input_details()[0]["index"]
    x = RNG.normal(size=(1, 6, 6, 3)).astype(np.float32)
    interpreter.set_tensor(index, x)
    interpreter.invoke()
    first = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    interpreter.invoke()
    second = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_array_equal(interpreter.get_tensor(index), x)
    np.testing.assert_array_equal(first, second)


def test_hybrid_modes_force_the_arithmetic() -> None:
    content = write(network(int8=True))
    x = RNG.normal(size=(2, 6, 6, 3)).astype(np.float32)
    outputs, labels = {}, {}
    for mode in ("auto", "always", "never"):
        interpreter = octolite.Interpreter(model_content=content, hybrid=mode)
        outputs[mode] = interpreter.get_signature_runner()(image=x)["scores"]
        labels[mode] = [t.label for t in interpreter.profile(1) if t.unit.op.name != "ADD"]
    assert [label.startswith("hybrid") for label in labels["always"]] == [False, True, True]
    assert all(label.startswith("float") for label in labels["never"])
    difference = np.abs(outputs["always"] - outputs["never"]).max()
    assert 0 < difference < 0.05 * np.abs(outputs["never"]).max()


def test_details_have_tensorflow_lites_keys() -> None:
    interpreter = octolite.Interpreter(model_content=write(network(int8=True)))
    (details,) = interpreter.get_input_details()
    assert details["name"] == "x"
    assert details["dtype"] is np.float32
    assert details["shape"].tolist() == [1, 6, 6, 3]
    assert details["shape_signature"].tolist() == [-1, 6, 6, 3]
    assert details["quantization"] == (0.0, 0)
    assert set(details["quantization_parameters"]) == {
        "scales",
        "zero_points",
        "quantized_dimension",
    }
    weights = next(d for d in interpreter.get_tensor_details() if d["name"] == "hidden/w")
    assert weights["dtype"] is np.int8
    assert weights["quantization_parameters"]["scales"].shape == (32,)


def test_details_equal_litert() -> None:
    from ai_edge_litert.interpreter import Interpreter

    content = write(network(int8=True))
    ours, theirs = octolite.Interpreter(model_content=content), Interpreter(model_content=content)
    ours.allocate_tensors()
    theirs.allocate_tensors()
    for a, b in zip(ours.get_tensor_details(), theirs.get_tensor_details(), strict=False):
        assert (a["name"], a["index"], a["dtype"]) == (b["name"], b["index"], b["dtype"])
        np.testing.assert_array_equal(a["shape_signature"], b["shape_signature"])
        np.testing.assert_array_equal(
            a["quantization_parameters"]["scales"], b["quantization_parameters"]["scales"]
        )
    assert ours.get_signature_list() == theirs.get_signature_list()


def test_tensor_gives_a_view() -> None:
    interpreter = octolite.Interpreter(model_content=write(network()))
    interpreter.allocate_tensors()
    index = interpreter.get_input_details()[0]["index"]
    interpreter.tensor(index)()[...] = 3.0
    assert (interpreter.get_tensor(index) == 3.0).all()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda i: i.invoke(), "allocate_tensors"),
        (lambda i: i.set_tensor(0, np.zeros((1, 6, 6, 3), np.float32)), "allocate_tensors"),
        (lambda i: (i.allocate_tensors(), i.set_tensor(0, np.zeros((1, 6, 6, 3)))), "float64"),
        (
            lambda i: (i.allocate_tensors(), i.set_tensor(0, np.zeros((2, 6, 6, 3), np.float32))),
            "resize_tensor_input",
        ),
        (lambda i: i.get_tensor(99), "no tensor 99"),
        (lambda i: i.resize_tensor_input(1, (1,)), "not an input"),
        (lambda i: i.resize_tensor_input(0, (1, 7, 6, 3), strict=True), "asked for"),
        (lambda i: i.get_signature_runner("serve"), "serving_default"),
        (lambda i: i.get_signature_runner()(imag=1), "image"),
        (lambda i: i.get_signature_runner()(), "missing"),
    ],
)
def test_misuse_is_explained(act, message: str) -> None:
    interpreter = octolite.Interpreter(model_content=write(network()))
    with pytest.raises(octolite.UsageError, match=message):
        act(interpreter)


def test_a_shape_that_does_not_fit_names_the_node() -> None:
    interpreter = octolite.Interpreter(model_content=write(network()))
    interpreter.resize_tensor_input(0, (1, 9, 9, 3))
    with pytest.raises(octolite.ShapeError, match=r"RESHAPE|FULLY_CONNECTED"):
        interpreter.allocate_tensors()


def test_intermediate_results_are_not_readable() -> None:
    interpreter = octolite.Interpreter(model_content=write(network()))
    interpreter.allocate_tensors()
    index = next(d["index"] for d in interpreter.get_tensor_details() if d["name"] == "hidden")
    with pytest.raises(octolite.UsageError, match="intermediate"):
        interpreter.get_tensor(index)


def test_constructor_arguments() -> None:
    with pytest.raises(octolite.UsageError, match="either"):
        octolite.Interpreter()
    with pytest.raises(octolite.UsageError, match="always"):
        octolite.Interpreter(model_content=write(network()), hybrid="alwys")  # type: ignore[arg-type]
    with pytest.raises(octolite.UsageError, match="num_threads"):
        octolite.Interpreter(model_content=write(network()), num_threads=0)
    with pytest.raises(octolite.FormatError, match="cannot read"):
        octolite.Interpreter("/nonexistent.tflite")


def test_shape_arithmetic_is_known_before_running() -> None:
    """SHAPE → … → RESHAPE of an open batch leaves nothing for Python to do in between."""
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (None, 2, 3))
    shape = graph.add(operator_class("SHAPE")(out_type=INT32), [x], "shape").output
    begin, end = (Value.constant(n, np.array([v], np.int32)) for n, v in (("b", 0), ("e", 1)))
    ones = Value.constant("s", np.array([1], np.int32))
    batch = graph.add(
        operator_class("STRIDED_SLICE")(shrink_axis_mask=1), [shape, begin, end, ones], "batch"
    ).output
    six = Value.constant("six", np.int32(6))
    target = graph.add(operator_class("PACK")(values_count=2), [batch, six], "target").output
    y = graph.add(operator_class("RESHAPE")(), [x, target], "flat").output
    graph.outputs = [graph.add(operator_class("ABS")(), [y], "out").output]
    interpreter = octolite.Interpreter(model_content=write(Model([graph])))
    interpreter.resize_tensor_input(0, (4, 2, 3))
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, np.full((4, 2, 3), -2, np.float32))
    interpreter.invoke()
    assert [t.unit.op.name for t in interpreter.profile(1)] == ["ABS"]
    out = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_array_equal(out, np.full((4, 6), 2, np.float32))


def test_shapes_that_depend_on_data() -> None:
    """WHERE gives as many rows as there are hits; a compiled layer behind it still runs."""
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (4, 8))
    keep = graph.add_input("keep", INT32, (None,))
    rows = graph.add(operator_class("GATHER")(), [x, keep], "rows").output
    hits = graph.add(operator_class("WHERE")(), [graph.add_input("mask", _bool(), (4,))], "hits")
    flat = graph.add(
        operator_class("RESHAPE")(), [hits.output, Value.constant("m1", np.array([-1], np.int32))]
    ).output
    cast = operator_class("CAST")(in_data_type=flat.dtype, out_data_type=INT32)
    picked = graph.add(
        operator_class("GATHER")(), [x, graph.add(cast, [flat], "ids").output], "picked"
    ).output
    graph.outputs = [dense(graph, rows, 3, 8, "a"), dense(graph, picked, 3, 8, "b", int8=True)]
    model = Model([graph])
    feeds = {
        "x": RNG.normal(size=(4, 8)).astype(np.float32),
        "keep": np.array([3, 1], np.int32),
        "mask": np.array([True, False, True, True]),
    }
    interpreter = octolite.Interpreter(model_content=write(model), hybrid="always")
    for details in interpreter.get_input_details():
        interpreter.resize_tensor_input(details["index"], feeds[details["name"]].shape)
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], feeds[details["name"]])
    expected = by_reference(model, feeds)
    for _ in range(2):
        interpreter.invoke()
        for details, array in zip(interpreter.get_output_details(), expected, strict=True):
            np.testing.assert_allclose(
                interpreter.get_tensor(details["index"]), array, rtol=1e-4, atol=1e-6
            )


def _bool():
    from octolite.ir.types import BOOL

    return BOOL


def test_two_interpreters_in_two_threads() -> None:
    content = write(network(int8=True))
    x = RNG.normal(size=(2, 6, 6, 3)).astype(np.float32)
    expected = octolite.Interpreter(model_content=content).get_signature_runner()(image=x)["scores"]
    wrong: list[int] = []

    def work() -> None:
        runner = octolite.Interpreter(model_content=content, num_threads=2).get_signature_runner()
        wrong.extend(
            1 for _ in range(50) if not np.array_equal(runner(image=x)["scores"], expected)
        )

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_memory_has_a_limit() -> None:
    interpreter = octolite.Interpreter(model_content=write(network()), memory_limit=50_000)
    interpreter.allocate_tensors()
    interpreter.resize_tensor_input(0, (2000, 6, 6, 3))
    with pytest.raises(octolite.RuntimeModelError, match="memory_limit"):
        interpreter.allocate_tensors()


def test_tensors_declared_wrongly_name_the_node() -> None:
    """RESHAPE's target is declared as floats, which NumPy alone would stumble over."""
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, (2, 3))
    shape = Value.constant("shape", np.array([np.nan, 2], np.float32))
    reshape = operator_class("RESHAPE")()
    graph.outputs = [graph.add(reshape, [x, shape], outputs=[Value("y", FLOAT32, (3, 2))]).output]
    with pytest.raises(octolite.InvalidGraphError, match="RESHAPE 'y'"):
        octolite.Interpreter(model_content=write(Model([graph]))).allocate_tensors()
