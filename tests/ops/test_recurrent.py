"""State: what recurrent operators remember from run to run, and what makes them forget."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

import octolite
from octolite import passes
from octolite.errors import InvalidGraphError, ShapeError
from octolite.ir.graph import Model, Value
from octolite.ir.types import FLOAT32, Array
from octolite.ops import REGISTRY
from octolite.ops.case import Case
from octolite.ops.cells import Recurrent
from octolite.tflite import read, write
from tests.ops.litert import (
    arrays_of,
    assert_close,
    assert_hybrid,
    interpreter_of,
    real_arrays,
)

CASES = [
    pytest.param(name, case, id=f"{name}-{i}")
    for name, operator in sorted(REGISTRY.items())
    if issubclass(operator, Recurrent)
    for i, case in enumerate(operator.cases)
]
RUNS = 4
RESET_BEFORE = 2
"""The run before which all variables are reset."""

Feeds = dict[str, Array]


def feeds_of(model: Model) -> Iterator[Feeds]:
    """Inputs for each run, all different."""
    rng = np.random.default_rng(7)
    for _ in range(RUNS):
        yield {
            v.name: rng.uniform(-1, 1, [d or 1 for d in v.shape or ()]).astype(np.float32)
            for v in model.main.inputs
        }


def by_reference(model: Model, real: bool = False) -> list[tuple[Array, ...]]:
    """What the reference gives run by run; ``real``: with dequantized weights, all in float."""
    node = model.main.nodes[0]
    results = []
    for number, feeds in enumerate(feeds_of(model)):
        fresh = arrays_of(node, feeds)
        if number in (0, RESET_BEFORE):
            arrays = real_arrays(node, fresh) if real else fresh
        for i, value in enumerate(node.inputs):
            if value is not None and value.name in feeds:
                arrays[i] = feeds[value.name]
        operands = [None] * len(arrays) if real else node.inputs
        results.append(node.op.run(arrays, operands, node.outputs))
    return results


def by_interpreter(
    model: Model, create: Callable[[bytes], octolite.Interpreter]
) -> list[list[Array]]:
    """What an interpreter gives run by run."""
    interpreter = create(write(model))
    interpreter.allocate_tensors()
    results = []
    for number, feeds in enumerate(feeds_of(model)):
        if number == RESET_BEFORE:
            interpreter.reset_all_variables()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], feeds[detail["name"]])
        interpreter.invoke()
        results.append(
            [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
        )
    return results


@pytest.mark.parametrize(("name", "case"), [c for c in CASES if c.values[1].litert])
def test_state_lasts_as_in_litert(name: str, case: Case) -> None:
    model, _ = case.build(REGISTRY[name])
    theirs = by_interpreter(model, lambda content: interpreter_of(content, name))
    runs = zip(by_reference(model), theirs, by_reference(model, real=True), strict=True)
    for found, expected, exact in runs:
        for mine, other, real in zip(found, expected, exact, strict=True):
            if case.is_hybrid:
                assert_hybrid(real, mine, other)
            else:
                assert_close(mine, other, case.rtol)


@pytest.mark.parametrize(("name", "case"), CASES)
def test_interpreter_keeps_state(name: str, case: Case) -> None:
    model, _ = case.build(REGISTRY[name])
    found = by_interpreter(
        model, lambda content: octolite.Interpreter(model_content=content, hybrid="always")
    )
    for mine, expected in zip(found, by_reference(model), strict=True):
        for a, b in zip(mine, expected, strict=True):
            assert_close(a, b, 2e-6)


@pytest.mark.parametrize(("name", "case"), CASES)
def test_runs_differ_because_of_state(name: str, case: Case) -> None:
    model, feeds = case.build(REGISTRY[name])
    node = model.main.nodes[0]
    arrays = arrays_of(node, feeds)
    first = node.op.run(arrays, node.inputs, node.outputs)
    second = node.op.run(arrays, node.inputs, node.outputs)
    assert not np.allclose(first[0], second[0])


def sized(name: str, number: int = 0) -> tuple[Model, int]:
    """A model of one case, and the axis of its input along which the sequences lie."""
    case = REGISTRY[name].cases[number]
    model, _ = case.build(REGISTRY[name])
    return model, int(bool(case.attributes.get("time_major")))


@pytest.mark.parametrize("name", sorted({c.values[0] for c in CASES}))
def test_state_follows_the_batch(name: str) -> None:
    """A row of a larger batch gives what it gives alone, whatever batch the file was made for."""
    model, axis = sized(name)
    content = write(model)
    row = np.random.default_rng(1).uniform(-1, 1, model.main.inputs[0].shape).astype(np.float32)
    row = row.take([0], axis)
    results = []
    for batch in (1, 5):
        interpreter = octolite.Interpreter(model_content=content)
        interpreter.resize_tensor_input(0, np.repeat(row, batch, axis).shape)
        interpreter.allocate_tensors()
        for _ in range(2):
            interpreter.set_tensor(0, np.repeat(row, batch, axis))
            interpreter.invoke()
        results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    alone, together = results
    np.testing.assert_allclose(together, np.repeat(alone, 5, axis), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted({c.values[0] for c in CASES}))
def test_state_of_another_batch_is_refused_by_the_shape_rule(name: str) -> None:
    model, _ = sized(name)
    node = model.main.nodes[0]
    for position, parameter in enumerate(node.op.input_parameters()):
        if parameter.variable:
            inputs = list(node.inputs)
            old = inputs[position]
            assert old is not None
            inputs[position] = Value("odd", old.dtype, (7, 3), is_variable=True)
            with pytest.raises(ShapeError, match="'odd'"):
                node.op.infer(*inputs)


def test_operators_have_the_versions_that_run_times_ask_for() -> None:
    """As TensorFlow's own rules have them: float, hybrid, hybrid with asymmetric activations."""
    versions = {
        "RNN": (1, 2, 3),
        "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 3),
        "BIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 3),
        "LSTM": (1, 3, 4),
        "UNIDIRECTIONAL_SEQUENCE_LSTM": (1, 2, 3),
        "BIDIRECTIONAL_SEQUENCE_LSTM": (1, 2, 3),
        "SVDF": (1, 2, 4),
    }
    seen = set()
    for name, case in (c.values for c in CASES):
        node = case.build(REGISTRY[name])[0].main.nodes[0]
        form = case.is_hybrid + (case.is_hybrid and node.op.asymmetric_quantize_inputs)
        assert node.op.version(node.inputs, node.outputs) == versions[name][form]
        seen.add((name, form))
    assert len(seen) == 3 * len(versions)


def test_operators_whose_state_nothing_reads_are_pruned() -> None:
    model, _ = sized("UNIDIRECTIONAL_SEQUENCE_LSTM")
    graph = model.main
    node, x = graph.nodes[0], graph.inputs[0]
    graph.outputs = [graph.add(REGISTRY["NEG"](), [x], "other").output]
    graph.nodes.reverse()
    state = node.inputs[18]
    assert state is not None
    graph.outputs.append(state)
    assert graph.prune() == 0
    graph.outputs.pop()
    assert graph.prune() == 1
    assert [n.op.name for n in graph.nodes] == ["NEG"]


def test_state_can_be_a_result_as_in_litert() -> None:
    """The variable itself, and what a later node makes of it."""
    model, _ = sized("UNIDIRECTIONAL_SEQUENCE_RNN", 1)
    graph = model.main
    state = graph.nodes[0].inputs[4]
    assert state is not None
    graph.outputs += [state, graph.add(REGISTRY["NEG"](), [state], "after").output]
    theirs = by_interpreter(model, lambda c: interpreter_of(c, "UNIDIRECTIONAL_SEQUENCE_RNN"))
    mine = by_interpreter(model, lambda c: octolite.Interpreter(model_content=c))
    for found, expected in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(found[1], found[0][:, -1])
        for a, b in zip(found, expected, strict=True):
            assert_close(a, b, 1e-5)


def test_nodes_that_read_state_are_not_merged() -> None:
    """One reads it before the step, the other after it."""
    model, _ = sized("RNN")
    graph = model.main
    step = graph.nodes[0]
    state = step.inputs[4]
    before = graph.add(REGISTRY["NEG"](), [state], "before", before=step)
    after = graph.add(REGISTRY["NEG"](), [state], "after")
    total = graph.add(REGISTRY["SUB"](), [after.output, before.output], "change")
    graph.outputs = [total.output]
    passes.optimize(model)
    assert [n.op.name for n in graph.nodes] == ["NEG", "RNN", "NEG", "SUB"]


BAD = [
    ("RNN", "recurrent_weights", (6, 5)),
    ("RNN", "bias", (5,)),
    ("UNIDIRECTIONAL_SEQUENCE_RNN", "weights", (6, 9)),
    ("BIDIRECTIONAL_SEQUENCE_RNN", "bw_weights", (6, 9)),
    ("LSTM", "input_to_cell_weights", (6, 9)),
    ("LSTM", "recurrent_to_forget_weights", (6, 7)),
    ("LSTM", "input_to_input_weights", None),
    ("LSTM", "cell_to_forget_weights", (7,)),
    ("LSTM", "forget_layer_norm_coefficients", (7,)),
    ("LSTM", "projection_weights", (6, 5)),
    ("LSTM", "projection_bias", (6,)),
    ("UNIDIRECTIONAL_SEQUENCE_LSTM", "output_gate_bias", (7,)),
    ("BIDIRECTIONAL_SEQUENCE_LSTM", "bw_recurrent_to_cell_weights", (6, 4)),
    ("BIDIRECTIONAL_SEQUENCE_LSTM", "aux_input", (1, 6, 8)),
    ("SVDF", "weights_time", (5, 4)),
    ("SVDF", "bias", (5,)),
]


@pytest.mark.parametrize(("name", "which", "shape"), BAD)
def test_misfits_are_refused(name: str, which: str, shape: tuple[int, ...] | None) -> None:
    model, _ = sized(name)
    node = model.main.nodes[0]
    assert isinstance(node.op, Recurrent)
    named = node.op.named(node.inputs)
    named[which] = None if shape is None else Value(which, FLOAT32, shape)
    with pytest.raises(ShapeError, match=which):
        node.op.infer(*named.values())


LONELY = [
    ("BIDIRECTIONAL_SEQUENCE_RNN", "fw_aux_weights", (6, 8), "auxiliary weights"),
    ("BIDIRECTIONAL_SEQUENCE_LSTM", "fw_aux_input_to_output_weights", (6, 8), "auxiliary weights"),
    ("LSTM", "cell_to_forget_weights", (6,), "'cell_to_output_weights': absent"),
    ("LSTM", "forget_layer_norm_coefficients", (6,), "'cell_layer_norm_coefficients'"),
    ("BIDIRECTIONAL_SEQUENCE_LSTM", "bw_cell_to_forget_weights", (6,), "bw_cell_to_output"),
]


@pytest.mark.parametrize(("name", "which", "shape", "says"), LONELY)
def test_inputs_that_belong_together_come_together(
    name: str, which: str, shape: tuple[int, ...], says: str
) -> None:
    model, _ = sized(name)
    node = model.main.nodes[0]
    assert isinstance(node.op, Recurrent)
    named = node.op.named(node.inputs) | {which: Value(which, FLOAT32, shape)}
    with pytest.raises(ShapeError, match=says):
        node.op.infer(*named.values())


def test_lstm_takes_20_inputs_or_24() -> None:
    for name in ("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"):
        REGISTRY[name]().check_arity(20)
        REGISTRY[name]().check_arity(24)
        with pytest.raises(ShapeError, match="21"):
            REGISTRY[name]().check_arity(21)


@pytest.mark.parametrize("name", sorted({c.values[0] for c in CASES}))
def test_state_must_be_a_variable(name: str) -> None:
    model, _ = sized(name)
    for value in model.main.nodes[0].inputs:
        if value is not None and value.is_variable:
            value.is_variable = False
            value.data = np.zeros(value.shape or (), np.float32)
    with pytest.raises(InvalidGraphError, match="variable"):
        read(write(model))
