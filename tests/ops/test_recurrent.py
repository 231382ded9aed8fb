"""State: what recurrent operators remember from run to run, and what makes them forget."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

import octolite
from octolite.errors import InvalidGraphError, ShapeError
from octolite.ir.graph import Model, Value
from octolite.ir.types import Array
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


@pytest.mark.parametrize("name", sorted({c.values[0] for c in CASES}))
def test_state_must_be_a_variable(name: str) -> None:
    model, _ = sized(name)
    for value in model.main.nodes[0].inputs:
        if value is not None and value.is_variable:
            value.is_variable = False
            value.data = np.zeros(value.shape or (), np.float32)
    with pytest.raises(InvalidGraphError, match="variable"):
        read(write(model))
