"""Loops, conditionals and TensorArrays: what is imported gives what TensorFlow gave."""

from __future__ import annotations

import numpy as np
import pytest

from octolite import ir
from octolite.errors import InvalidGraphError, OctoliteError, UnsupportedError
from octolite.frontends import graphdef
from octolite.ir.types import BOOL
from octolite.ops.control import While, evaluate
from tests.frontends.build import Function, const, function, graph, node, placeholder
from tests.recorded import relative_error
from tests.recurrent import ALL, Recording


@pytest.mark.parametrize("recording", ALL, ids=lambda r: r.name)
def test_references_give_what_tensorflow_gave(recording: Recording) -> None:
    """Straight from the importer, for each recorded set of shapes, with none of them declared."""
    model = recording.load()
    for part in model.graphs:
        ir.verify(part)
    signature = model.signatures[0]
    for feeds, expected in recording.runs():
        given = {id(v): feeds[name] for name, v in signature.inputs.items()}
        arrays = [given[id(v)].astype(v.dtype.numpy) for v in model.main.inputs]
        found = dict(zip(map(id, model.main.outputs), evaluate(model.main, arrays), strict=True))
        for name, value in signature.outputs.items():
            assert found[id(value)].shape == expected[name].shape
            assert relative_error(found[id(value)], expected[name]) < 1e-5


def test_a_loop_has_a_graph_for_its_condition_and_one_for_its_body() -> None:
    model = Recording("loop_count_v1").load()
    loops = [n for n in model.main.nodes if n.op.name == "WHILE"]
    assert len(loops) == 1
    loop = loops[0].op
    assert isinstance(loop, While)
    assert model.graphs == [model.main, loop.cond, loop.body]
    assert [v.dtype for v in loop.cond.outputs] == [BOOL]


def test_both_control_flows_become_the_same() -> None:
    """The same network in either form has the same operators, in all its graphs."""
    old, new = (Recording(f"rnn_dynamic_unknown_time_v{i}").load() for i in (1, 2))
    assert [g.operators() for g in old.graphs] == [g.operators() for g in new.graphs]


def test_weights_are_constants_of_the_body() -> None:
    model = Recording("loop_power_v2").load()
    loop = next(n for n in model.main.nodes if n.op.name == "WHILE")
    assert isinstance(loop.op, While)
    product = next(n for n in loop.op.body.nodes if n.op.name == "FULLY_CONNECTED")
    assert product.inputs[1] is not None
    assert product.inputs[1].is_constant


def test_a_result_inside_a_loop_is_no_output() -> None:
    recording = Recording("rnn_dynamic")
    with pytest.raises(UnsupportedError, match="inside a loop"):
        graphdef.load(recording.path, output_arrays=["rnn/while/basic_rnn_cell/Tanh"])


# -- files that are broken -------------------------------------------------------------------------


def _frame(**changes: tuple[str, ...]) -> list[object]:
    """A loop that counts to n; ``changes`` gives other inputs to a node."""
    parts = {
        "enter": ("Enter", "zero"),
        "merge": ("Merge", "enter", "next"),
        "less": ("Less", "merge", "limit"),
        "test": ("LoopCond", "less"),
        "switch": ("Switch", "merge", "test"),
        "add": ("Add", "switch:1", "one"),
        "next": ("NextIteration", "add"),
        "exit": ("Exit", "switch"),
        "limit": ("Enter", "n"),
    }
    nodes: list[object] = [
        placeholder("n", dtype="DT_INT32"),
        const("zero", 0, "int32"),
        const("one", 1, "int32"),
    ]
    for name, (op, *inputs) in parts.items():
        attributes = {"frame_name": "loop", "is_constant": name == "limit"}
        nodes.append(
            node(
                name, op, *changes.get(name, tuple(inputs)), **(attributes if op == "Enter" else {})
            )
        )
    return nodes


def test_a_loop_written_by_hand() -> None:
    model = graphdef.load(graph(*_frame()), output_arrays=["exit"])
    assert evaluate(model.main, [np.int32(5)])[0] == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"merge": ("enter", "enter")},
        {"merge": ("enter",)},
        {"switch": ("enter", "test")},
        {"exit": ("merge",)},
        {"exit": ("missing",)},
        {"test": ("next",)},
        {"next": ("next",)},
        {"less": ("exit", "limit")},
        {"enter": ("exit",)},
        {"limit": ("exit",)},
        {"add": ("exit", "one")},
    ],
)
def test_a_broken_loop_is_an_error(changes: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(OctoliteError):
        graphdef.load(graph(*_frame(**changes)), output_arrays=["exit"])


def _while(body: str, cond: str) -> bytes:
    functions = (
        function("body", ["a"], {"r": "add:z:0"}, node("add", "AddV2", "a", "a")),
        function("cond", ["a"], {"r": "no:z:0"}, node("no", "Less", "a", "a")),
    )
    loop = node("loop", "While", "n", cond=Function(cond), body=Function(body))
    return graph(placeholder("n", dtype="DT_INT32"), loop, functions=functions)


def test_a_loop_of_functions() -> None:
    model = graphdef.load(_while("body", "cond"), output_arrays=["loop"])
    assert [n.op.name for n in model.main.nodes] == ["WHILE"]


@pytest.mark.parametrize("names", [("body", "gone"), ("gone", "cond")])
def test_functions_of_a_loop_must_exist(names: tuple[str, str]) -> None:
    with pytest.raises(InvalidGraphError, match="gone"):
        graphdef.load(_while(*names), output_arrays=["loop"])
