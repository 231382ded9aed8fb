"""Compiled LSTMs of codes: every bit, of results and of states, is the reference's, on every
instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import octolite
from octolite.ir.types import Array
from octolite.kernels import spec
from octolite.kernels.isa import Isa
from octolite.kernels.launch import Launch
from octolite.kernels.select import build
from octolite.ops import operator_class
from octolite.ops.case import Case
from octolite.runtime.executor import Executor
from octolite.tflite import write
from tests.kernels.guarded import Guarded
from tests.ops.litert import arrays_of
from tests.ops.test_integer_cells import lstms

NAMES = ["LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"]
LARGE = (90, 70, 9, 5)


class Example:
    """One node, with arrays for its inputs."""

    def __init__(self, name: str, case: Case) -> None:
        model, feeds = case.build(operator_class(name))
        self.node = model.main.nodes[0]
        self.op: Any = self.node.op
        self.arrays = arrays_of(self.node, feeds)
        rng = np.random.default_rng(5)
        self.states = [i for i, v in enumerate(self.node.inputs) if v is not None and v.is_variable]
        for index in self.states:
            state = self.arrays[index]
            assert state is not None
            limits = np.iinfo(state.dtype)
            state[...] = rng.integers(limits.min, limits.max + 1, state.shape)

    def reference(self) -> list[Array]:
        """The results, and both states after them."""
        arrays = [None if a is None else a.copy() for a in self.arrays]
        (result,) = self.op.run(arrays, self.node.inputs, self.node.outputs)
        return [result, *(arrays[i] for i in self.states)]  # type: ignore[list-item]

    def launch(self, row: Isa, threads: int) -> Launch:
        request = self.op.integer_kernel(self.node.inputs, self.node.outputs)
        assert isinstance(request, spec.IntegerRecurrent)
        named = dict(zip((p.name for p in self.op.input_parameters()), self.arrays, strict=False))
        constants = {name: spec.Constant(named[name]) for name, _ in request.shapes()}
        shape = self.arrays[0].shape  # type: ignore[union-attr]
        return build(request, constants, row).launch(input_shape=shape, threads=threads)

    def compiled(self, row: Isa, executor: Executor, threads: int = 1) -> list[Array]:
        launch = self.launch(row, threads)
        read = [self.arrays[i] for i in (0, *self.states)]
        buffers = [Guarded(a.shape, a.dtype) for a in read if a is not None]
        for buffer, array in zip(buffers, read, strict=True):
            buffer.array[...] = array
        out = Guarded(launch.output_shape, np.int8)
        scratch = Guarded((launch.scratch_bytes,), np.uint8)
        places = [buffer.address for buffer in buffers]
        executor.run(launch.steps(places, out.address, scratch.address))
        for buffer in (*buffers, out, scratch):
            buffer.check()
        return [out.array, *(buffer.array for buffer in buffers[1:])]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_bits_are_the_references(name: str, row: Isa, alone: Executor, data: st.DataObject) -> None:
    example = Example(name, data.draw(lstms(name, LARGE, norms=False)))
    threads = data.draw(st.integers(1, 3))
    found = example.compiled(row, alone, threads)
    for mine, expected in zip(found, example.reference(), strict=True):
        np.testing.assert_array_equal(mine.reshape(expected.shape), expected)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=lstms(NAMES[1]))
def test_gates_that_are_normalized_are_left_to_the_reference(case: Case) -> None:
    *_, norm = case.tensors
    model, _ = case.build(operator_class(NAMES[1]))
    interpreter = octolite.Interpreter(model_content=write(model), num_threads=1)
    interpreter.allocate_tensors()
    (timing,) = interpreter.profile(1)
    assert timing.label.startswith("integer recurrent" if norm is None else "NumPy")
