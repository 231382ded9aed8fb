"""What the importer makes of inputs, outputs, constants, functions and what training leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from octolite import ir
from octolite.errors import InvalidGraphError, UnsupportedError, UsageError
from octolite.frontends import graphdef
from octolite.ir.types import BOOL, FLOAT32, INT32
from tests.frontends.build import (
    Function,
    Shape,
    Type,
    const,
    function,
    graph,
    node,
    placeholder,
    tensor,
)

DENSE = (
    placeholder("x", -1, 4),
    const("w", np.eye(4, 3)),
    node("product", "MatMul", "x", "w"),
    const("b", [1, 2, 3]),
    node("sum", "BiasAdd", "product", "b"),
    node("out", "Relu", "sum"),
)


def operators(model: ir.Model) -> list[str]:
    return [n.op.name for n in model.main.nodes]


# -- arrays --------------------------------------------------------------------------------------


def test_a_dense_layer() -> None:
    model = graphdef.load(graph(*DENSE))
    ir.verify(model.main)
    assert operators(model) == ["FULLY_CONNECTED", "ADD", "RELU"]
    assert [n.name for n in model.main.nodes] == ["product", "sum", "out"]
    signature = model.signatures[0]
    assert signature.key == "serving_default"
    assert {k: v.name for k, v in signature.inputs.items()} == {"x": "x"}
    assert {k: v.name for k, v in signature.outputs.items()} == {"out": "out"}
    assert model.main.outputs[0].shape == (None, 3)


@pytest.mark.parametrize("name", ["sum", "sum:0"])
def test_arrays_may_be_named(name: str) -> None:
    model = graphdef.load(graph(*DENSE), ["product:0"], [name])
    assert operators(model) == ["ADD"]
    assert model.main.inputs[0].shape == (None, 3)  # as the whole graph has it
    assert list(model.signatures[0].inputs) == ["product"]
    assert list(model.signatures[0].outputs) == ["sum"]


def test_a_cut_behind_an_unsupported_operator_needs_a_shape() -> None:
    content = graph(
        node("bytes", "Placeholder", dtype=Type("DT_STRING"), shape=Shape(())),
        node("image", "DecodeJpeg", "bytes"),
        node("small", "Cast", "image", SrcT=Type("DT_UINT8"), DstT=Type("DT_FLOAT")),
        node("out", "Relu", "small"),
    )
    with pytest.raises(UsageError, match="shape of input 'small' is unknown"):
        graphdef.load(content, ["small"])
    model = graphdef.load(content, ["small"], input_shapes={"small": [1, 8, -1, 3]})
    assert model.main.inputs[0].shape == (1, 8, None, 3)
    assert model.main.inputs[0].dtype is FLOAT32


def test_a_cut_takes_dtype_and_shape_from_the_whole_graph() -> None:
    content = graph(
        placeholder("a", 2, 3),
        placeholder("b", 2, 3),
        node("less", "Less", "a", "b", T=Type("DT_FLOAT")),
        node("out", "LogicalNot", "less"),
    )
    value = graphdef.load(content, ["less"]).main.inputs[0]
    assert (value.dtype, value.shape) == (BOOL, (2, 3))


def test_wrong_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'otu'.*Did you mean 'out'"):
        graphdef.load(graph(*DENSE), output_arrays=["otu"])
    with pytest.raises(UsageError, match=r"'prodct:0'.*Did you mean 'product'"):
        graphdef.load(graph(*DENSE), input_arrays=["prodct:0"])
    with pytest.raises(UsageError, match=r"'y', which is no input array.*'x'"):
        graphdef.load(graph(*DENSE), input_shapes={"y": [1, 4]})
    with pytest.raises(UsageError, match="named twice"):
        graphdef.load(graph(*DENSE), output_arrays=["out", "out:0"])
    with pytest.raises(UsageError, match="list of names"):
        graphdef.load(graph(*DENSE), output_arrays="out")
    with pytest.raises(InvalidGraphError, match="'out:7'"):
        graphdef.load(graph(*DENSE), output_arrays=["out:7"])


def test_a_placeholder_that_is_needed_and_not_given() -> None:
    content = graph(
        placeholder("x", 2), placeholder("y", 2), node("out", "Add", "x", "y", T=Type("DT_FLOAT"))
    )
    with pytest.raises(UsageError, match=r"need the placeholder 'y'.*\('x'\)"):
        graphdef.load(content, ["x"])


def test_shapes_make_unknown_extents_known() -> None:
    model = graphdef.load(graph(*DENSE), input_shapes={"x:0": [5, None]})
    assert model.main.inputs[0].shape == (5, 4)
    with pytest.raises(UsageError, match="contradicts"):
        graphdef.load(graph(*DENSE), input_shapes={"x": [5, 7]})
    with pytest.raises(UsageError, match="contradicts"):
        graphdef.load(graph(*DENSE), input_shapes={"x": [5]})
    with pytest.raises(UsageError, match="negative"):
        graphdef.load(graph(*DENSE), input_shapes={"x": [-7, 4]})


def test_old_graphs_write_an_unknown_shape_as_a_scalar() -> None:
    nodes = (placeholder("x"), node("out", "Relu", "x"))
    assert graphdef.load(graph(*nodes)).main.inputs[0].shape == ()
    with pytest.raises(UsageError, match="give its input shape"):
        graphdef.load(graph(*nodes, producer=21))
    model = graphdef.load(graph(*nodes, producer=21), input_shapes={"x": [2, 3]})
    assert model.main.outputs[0].shape == (2, 3)


def test_default_outputs_leave_checks_and_constants_out() -> None:
    content = graph(
        *DENSE,
        const("unused", [1.0]),
        node("unused/read", "Identity", "unused"),
        node("positive", "All", "x", "unused"),
        node("check", "Assert", "positive", "x"),
        node("guard", "Identity", "x"),
        node("group", "NoOp", "^guard", "^check"),
    )
    assert list(graphdef.load(content).signatures[0].outputs) == ["out"]


def test_dead_parts_are_not_imported() -> None:
    content = graph(*DENSE, placeholder("label", -1), node("loss", "Mystery", "label"))
    model = graphdef.load(content, output_arrays=["out"])
    assert list(model.signatures[0].inputs) == ["x"]


def test_two_names_for_one_result() -> None:
    content = graph(*DENSE, node("p", "Identity", "out"), node("q", "Identity", "out"))
    outputs = graphdef.load(content).signatures[0].outputs
    assert list(outputs) == ["p", "q"]
    assert outputs["p"] is outputs["q"]


def test_progress_is_told() -> None:
    seen: list[tuple[str, int, int]] = []
    graphdef.load(graph(*DENSE), on_progress=lambda *args: seen.append(args))
    assert seen[0][0] == "reading"
    assert seen[-1] == ("importing", 5, 5)


# -- constants -----------------------------------------------------------------------------------


def loaded_constant(message: Any, dtype: str) -> np.ndarray:
    content = graph(node("c", "Const", dtype=Type(dtype), value=message))
    model = graphdef.load(content, output_arrays=["c"])
    data = model.main.outputs[0].data
    assert data is not None
    return data


@pytest.mark.parametrize(
    ("dtype", "fields", "expected"),
    [
        ("DT_FLOAT", {"float_val": [1, 2]}, np.float32([1, 2, 2])),
        ("DT_FLOAT", {}, np.float32([0, 0, 0])),
        ("DT_DOUBLE", {"double_val": [0.5]}, np.float32([0.5, 0.5, 0.5])),
        ("DT_HALF", {"half_val": [0x3C00, 0xC000]}, np.float32([1, -2, -2])),
        ("DT_BFLOAT16", {"half_val": [0x3F80, 0xC000, 0]}, np.float32([1, -2, 0])),
        ("DT_INT8", {"int_val": [-1]}, np.int8([-1, -1, -1])),
        ("DT_UINT8", {"int_val": [255, 1]}, np.uint8([255, 1, 1])),
        ("DT_INT64", {"int64_val": [2**40]}, np.int64([2**40] * 3)),
        ("DT_UINT32", {"uint32_val": [2**32 - 1]}, np.uint32([2**32 - 1] * 3)),
        ("DT_BOOL", {"bool_val": [True, False]}, np.bool_([1, 0, 0])),
        ("DT_BOOL", {"tensor_content": b"\x01\x00\x02"}, np.bool_([1, 0, 1])),
        ("DT_INT16", {"tensor_content": b"\x01\x00\xff\xff\x00\x01"}, np.int16([1, -1, 256])),
        ("DT_STRING", {"string_val": [b"a", b"b", b""]}, np.array([b"a", b"b", b""], object)),
    ],
)
def test_constants_of_every_type(dtype: str, fields: Any, expected: np.ndarray) -> None:
    found = loaded_constant(tensor(dtype, (3,), **fields), dtype)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (tensor("DT_FLOAT", (3,), tensor_content=b"1234"), "3 float32 elements has 4 bytes"),
        (tensor("DT_FLOAT", (1,), float_val=[1, 2]), "1 elements lists 2"),
        (tensor("DT_FLOAT", (2**40,), tensor_content=b"1"), "larger than a .tflite file"),
        (tensor("DT_FLOAT", (2**62, 2**62), tensor_content=b"1"), "larger than a .tflite file"),
        (tensor("DT_FLOAT", (-1,)), "not fully known"),
        (tensor("DT_FLOAT", (-5,)), "negative extent"),
        (tensor("DT_STRING", (1,), tensor_content=b"a"), "contents"),
    ],
)
def test_constants_that_contradict_themselves(message: Any, problem: str) -> None:
    with pytest.raises(InvalidGraphError, match=rf"'c'.*{problem}"):
        loaded_constant(message, "DT_FLOAT")


def test_many_small_messages_cannot_ask_for_much_memory() -> None:
    big = tensor("DT_FLOAT", (2**25,), float_val=[1])
    nodes = [node(f"c{i}", "Const", dtype=Type("DT_FLOAT"), value=big) for i in range(8)]
    add = node("out", "AddN", *(n.name for n in nodes))
    with pytest.raises(UnsupportedError, match="repeated values"):
        graphdef.load(graph(*nodes, add))


def test_a_weight_that_two_layers_share_is_rearranged_once() -> None:
    content = graph(
        *DENSE[:3], node("again", "MatMul", "x", "w"), node("out", "Add", "product", "again")
    )
    first, second = graphdef.load(content).main.nodes[:2]
    assert first.inputs[1] is second.inputs[1]


def test_constants_are_evaluated_where_a_handler_needs_them() -> None:
    content = graph(
        placeholder("x", 2, 6),
        const("one", 1, "int32"),
        const("two", 2, "int32"),
        node("axis", "Sub", "two", "one"),
        node("out", "ConcatV2", "x", "x", "axis"),
    )
    model = graphdef.load(content)
    assert operators(model) == ["CONCATENATION"]
    assert model.main.outputs[0].shape == (2, 12)


# -- functions and conditions --------------------------------------------------------------------


HALVE = function(
    "halve",
    ["t"],
    {"first": "parts:output:0", "rest": "parts:output:1"},
    const("axis", 1, "int32"),
    node("parts", "Split", "axis:output:0", "t", num_split=2),
)


def call(name: str, *inputs: str, f: str = "halve", op: str = "PartitionedCall") -> Any:
    message = node(name, op, *inputs, f=Function(f))
    message.attr["Tout"].list.type.extend([1, 1])
    return message


def test_calls_are_inlined() -> None:
    nodes = (placeholder("x", 2, 6), call("call", "x"), node("out", "Sub", "call:1", "call"))
    model = graphdef.load(graph(*nodes, functions=(HALVE,)))
    ir.verify(model.main)
    assert operators(model) == ["SPLIT", "SUB"]
    assert model.main.nodes[0].name == "call/parts"
    split = model.main.nodes[0].outputs
    assert list(model.main.nodes[1].inputs) == [split[1], split[0]]


def test_a_call_whose_results_are_the_outputs() -> None:
    model = graphdef.load(graph(placeholder("x", 2, 6), call("call", "x"), functions=(HALVE,)))
    assert list(model.signatures[0].outputs) == ["call", "call:1"]


def test_calls_that_cannot_be() -> None:
    x = placeholder("x", 2, 6)
    with pytest.raises(InvalidGraphError, match="'other', which the function library lacks"):
        graphdef.load(graph(x, call("call", "x", f="other"), functions=(HALVE,)))
    with pytest.raises(InvalidGraphError, match=r"gives 2 arguments.*takes 1"):
        graphdef.load(graph(x, call("call", "x", "x"), functions=(HALVE,)))
    endless = function("f", ["t"], {"y": "inner:output:0"}, call("inner", "t", f="f"))
    with pytest.raises(UnsupportedError, match="nested more than"):
        graphdef.load(graph(x, call("call", "x", f="f"), functions=(endless,)))
    itself = function("f", ["t"], {"y": "t"})
    with pytest.raises(InvalidGraphError, match="defined by itself"):
        graphdef.load(
            graph(x, call("call", "call", f="f"), functions=(itself,)), output_arrays=["call"]
        )


def test_calls_that_double_are_stopped() -> None:
    levels = [
        function(
            f"f{i}",
            ["t"],
            {"y": "b:output:0"},
            call("a", "t", f=f"f{i + 1}"),
            call("b", "a:output:0", f=f"f{i + 1}"),
        )
        for i in range(40)
    ]
    levels.append(function("f40", ["t"], {"y": "t"}))
    with pytest.raises(UnsupportedError, match="nodes"):
        graphdef.load(graph(placeholder("x", 2), call("out", "x", f="f0"), functions=tuple(levels)))


@pytest.mark.parametrize(("training", "expected"), [(False, "NEG"), (True, "EXP")])
def test_a_decided_condition_leaves_one_side(training: bool, expected: str) -> None:
    content = graph(
        placeholder("x", 2),
        const("default", training, "bool"),
        node("training", "PlaceholderWithDefault", "default", dtype=Type("DT_BOOL")),
        node("switch", "Switch", "x", "training"),
        node("no", "Neg", "switch"),
        node("yes", "Exp", "switch:1"),
        node("out", "Merge", "no", "yes"),
    )
    assert operators(graphdef.load(content)) == [expected]


def test_an_open_condition_becomes_an_if() -> None:
    content = graph(
        placeholder("x", 2),
        placeholder("training", dtype="DT_BOOL"),
        node("switch", "Switch", "x", "training"),
        node("no", "Neg", "switch"),
        node("yes", "Exp", "switch:1"),
        node("out", "Merge", "no", "yes"),
    )
    model = graphdef.load(content)
    assert operators(model) == ["IF"]
    assert [[n.op.name for n in g.nodes] for g in model.graphs[1:]] == [["EXP"], ["NEG"]]


# -- what training leaves ------------------------------------------------------------------------


@pytest.mark.parametrize("swapped", [False, True])
def test_dropout_with_a_fed_probability_goes(swapped: bool) -> None:
    factors = ("floor", "scaled") if swapped else ("scaled", "floor")
    content = graph(
        *DENSE,
        placeholder("keep"),
        node("shape", "Shape", "out"),
        node("uniform", "RandomUniform", "shape", dtype=Type("DT_FLOAT")),
        node("shifted", "Add", "keep", "uniform"),
        node("floor", "Floor", "shifted"),
        node("scaled", "RealDiv", "out", "keep"),
        node("dropped", "Mul", *factors),
        node("end", "Tanh", "dropped"),
    )
    model = graphdef.load(content)
    assert operators(model) == ["FULLY_CONNECTED", "ADD", "RELU", "TANH"]
    assert list(model.signatures[0].inputs) == ["x"]


def test_other_random_numbers_are_unsupported() -> None:
    content = graph(
        *DENSE,
        node("shape", "Shape", "out"),
        node("noise", "RandomUniform", "shape", dtype=Type("DT_FLOAT")),
        node("end", "Add", "out", "noise"),
    )
    with pytest.raises(UnsupportedError, match="RandomUniform is not supported: node 'noise'"):
        graphdef.load(content)


def test_batch_norm_in_training_mode_says_what_to_do() -> None:
    parameters = [const(n, np.ones(3)) for n in ("scale", "offset", "mean", "variance")]
    names = [p.name for p in parameters]
    norm = node("norm", "FusedBatchNormV3", "x", *names, is_training=True)
    with pytest.raises(UnsupportedError, match=r"training mode.*freeze the graph.*'norm'"):
        graphdef.load(graph(placeholder("x", -1, 2, 2, 3), *parameters, norm))


def test_simulated_quantization_is_a_range() -> None:
    content = graph(*DENSE, node("fake", "FakeQuantWithMinMaxArgs", "out", min=-1.0, max=3.0))
    model = graphdef.load(content)
    assert operators(model) == ["FULLY_CONNECTED", "ADD", "RELU"]
    assert model.main.outputs[0].range == (-1.0, 3.0)


# -- layouts -------------------------------------------------------------------------------------


def test_channels_first_becomes_transpositions() -> None:
    content = graph(
        placeholder("x", -1, 3, 8, 8),
        const("w", np.zeros((3, 3, 3, 4))),
        node("out", "Conv2D", "x", "w", strides=[1, 1, 2, 2], padding="SAME", data_format="NCHW"),
    )
    model = graphdef.load(content)
    assert operators(model) == ["TRANSPOSE", "CONV_2D", "TRANSPOSE"]
    assert model.main.outputs[0].shape == (None, 4, 4, 4)


def test_strides_over_the_batch_are_unsupported() -> None:
    content = graph(
        placeholder("x", -1, 8, 8, 3),
        const("w", np.zeros((3, 3, 3, 4))),
        node("out", "Conv2D", "x", "w", strides=[2, 1, 1, 1], padding="SAME"),
    )
    with pytest.raises(UnsupportedError, match=r"across batch or depth: node 'out'"):
        graphdef.load(content)


def test_int64_axes_and_shapes_become_int32() -> None:
    content = graph(
        placeholder("x", 2, 6),
        const("shape", [3, -1], "int64"),
        node("rows", "Reshape", "x", "shape"),
        const("axis", [1], "int64"),
        node("out", "Sum", "rows", "axis", keep_dims=True),
    )
    graph_ = graphdef.load(content).main
    assert graph_.outputs[0].shape == (3, 1)
    assert all(v.dtype is INT32 for v in graph_.constants())


def test_global_normalization_of_old_graphs() -> None:
    rng = np.random.default_rng(0)
    mean, variance, beta, gamma = rng.uniform(0.5, 2, (4, 3)).astype(np.float32)
    parameters = {"m": mean, "v": variance, "beta": beta, "gamma": gamma}
    for after in (True, False):
        content = graph(
            const("x", np.ones((1, 2, 2, 3))),
            *(const(name, array) for name, array in parameters.items()),
            node(
                "out",
                "BatchNormWithGlobalNormalization",
                "x",
                *parameters,
                variance_epsilon=0.1,
                scale_after_normalization=after,
            ),
        )
        expected = (1 - mean) / np.sqrt(variance + 0.1) * (gamma if after else 1) + beta
        found = graphdef.load(content).main.outputs[0].data
        assert found is not None
        np.testing.assert_allclose(found[0, 0, 0], expected, rtol=1e-5)


def test_a_graph_with_variables_is_not_frozen() -> None:
    content = graph(
        placeholder("x", 2),
        node("v", "VarHandleOp", dtype=Type("DT_FLOAT")),
        node("read", "ReadVariableOp", "v", dtype=Type("DT_FLOAT")),
        node("out", "Add", "x", "read"),
    )
    with pytest.raises(UnsupportedError, match=r"not frozen.*'v'"):
        graphdef.load(content)
