"""SVDF on every instruction set against the operator's reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import octolite
from octolite.errors import KernelError
from octolite.ir import graph
from octolite.ir.types import FLOAT32, Activation, Array
from octolite.kernels import isa
from octolite.kernels.select import hybrid_pays
from octolite.ops.svdf import SVDF
from octolite.runtime.executor import Executor
from octolite.tflite import write
from tests.kernels.cells import Layer
from tests.kernels.conftest import around


@dataclass(frozen=True)
class Sizes:
    """Extents of a problem."""

    batch: int
    depth: int
    units: int
    rank: int
    memory: int


class Filters(Layer):
    """The operator with random constants."""

    def __init__(
        self, sizes: Sizes, hybrid: bool = False, bias: bool = True, **attributes: Any
    ) -> None:
        super().__init__("SVDF", 5, {"rank": sizes.rank, **attributes})
        self.hybrid = hybrid
        s, filters = sizes, sizes.units * sizes.rank
        state = (s.batch, filters * s.memory)
        self.values = {
            "input": graph.Value("input", FLOAT32, (s.batch, s.depth)),
            "weights_feature": self.weights("weights_feature", (filters, s.depth), hybrid),
            "weights_time": self.weights("weights_time", (filters, s.memory), hybrid),
            "state": graph.Value("state", FLOAT32, state, is_variable=True),
        }
        if bias:
            random = self.random.standard_normal(s.units, np.float32)
            self.values["bias"] = graph.Value.constant("bias", random)


def compare(layer: Filters, row: isa.Isa, executor: Executor, at_end: bool = True) -> None:
    """Two runs, the second with the state that the first has left."""
    feeds = layer.feeds()
    for _ in range(2):
        (out,), states = layer.compiled(row, feeds, executor, at_end)
        (expected,), after = layer.reference(feeds)
        np.testing.assert_allclose(out, expected, rtol=0, atol=1e-5)
        close = 0 if layer.hybrid else 4e-6
        np.testing.assert_allclose(states["state"], after["state"], rtol=0, atol=close)
        feeds = {"input": layer.feeds()["input"], "state": after["state"]}


@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_memories_of_any_length(
    row: isa.Isa, hybrid: bool, batch: int, rank: int, alone: Executor
) -> None:
    for memory in around(row.lanes + 1):
        compare(Filters(Sizes(batch, 13, 7, rank, memory), hybrid), row, alone)


@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
def test_any_number_of_units(row: isa.Isa, hybrid: bool, alone: Executor) -> None:
    for units, depth in zip(around(row.lanes), (1, 3, 40, 65, 4, 7), strict=False):
        compare(Filters(Sizes(3, depth, units, 2, 10), hybrid), row, alone, at_end=False)


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("batch", [1, 3, 40])
def test_inputs_are_quantized_row_by_row(
    row: isa.Isa, asymmetric: bool, batch: int, alone: Executor
) -> None:
    sizes = Sizes(batch, 40, 24, 2, 10)
    layer = Filters(sizes, True, asymmetric_quantize_inputs=asymmetric)
    compare(layer, row, alone)


@pytest.mark.parametrize("activation", [a for a in Activation if a is not Activation.SIGN_BIT])
@pytest.mark.parametrize("bias", [False, True])
def test_activations(row: isa.Isa, activation: Activation, bias: bool, alone: Executor) -> None:
    compare(Filters(Sizes(3, 9, 19, 2, 6), bias=bias, activation=activation), row, alone)


def test_threads_do_not_change_a_bit(row: isa.Isa, alone: Executor) -> None:
    layer = Filters(Sizes(3, 20, 900, 2, 21), True)
    feeds = layer.feeds()
    (expected,), after = layer.compiled(row, feeds, alone)
    with Executor(3) as crew:
        (out,), states = layer.compiled(row, feeds, crew)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(states["state"], after["state"])
    compare(layer, row, alone)


def test_what_is_forgotten_has_no_share(row: isa.Isa, alone: Executor) -> None:
    layer = Filters(Sizes(3, 8, 5, 2, 6))
    feeds = layer.feeds()
    memory: Array = feeds["state"].reshape(3, 10, 6)
    memory[:, :, 0] = np.nan
    memory[1, 4, 3] = np.inf
    (out,), states = layer.compiled(row, feeds, alone)
    expected = np.ones((3, 5), bool)
    expected[1, 2] = False
    np.testing.assert_array_equal(np.isfinite(out), expected)
    np.testing.assert_array_equal(states["state"].reshape(memory.shape)[..., :-1], memory[..., 1:])


def test_batches_without_rows_leave_the_state(row: isa.Isa, alone: Executor) -> None:
    layer = Filters(Sizes(0, 8, 5, 2, 6))
    (out,), _ = layer.compiled(row, layer.feeds(), alone)
    assert out.shape == (0, 5)


def test_what_does_not_fit_is_refused() -> None:
    layer = Filters(Sizes(2, 8, 5, 2, 6))
    with pytest.raises(KernelError, match="rows of 8 expected"):
        layer.kernel(isa.current()).launch((2, 7))
    layer.values["weights_time"] = layer.weights("weights_time", (9, 6), False)
    with pytest.raises(KernelError, match=r"weights_time has shape \[9, 6\], Svdf takes \[10, 6\]"):
        layer.kernel(isa.current())


def test_the_node_is_named_whose_constants_do_not_fit() -> None:
    model, _ = SVDF.cases[1].build(SVDF)
    node = model.main.nodes[0]
    node.set_input(3, graph.Value.constant("bias", np.zeros(5, np.float32)))
    with pytest.raises(KernelError, match=r"SVDF 'out': bias has shape \[5\], Svdf takes \[6\]"):
        octolite.Interpreter(model_content=write(model))


def test_what_no_kernel_knows_is_left_to_the_reference() -> None:
    for name in ("weights_feature", "weights_time", "bias"):
        layer = Filters(Sizes(2, 8, 5, 2, 6))
        assert layer.op.kernel(layer.operands) is not None
        layer.values[name] = graph.Value(name, FLOAT32, layer.values[name].shape)
        assert layer.op.kernel(layer.operands) is None
    layer = Filters(Sizes(2, 8, 5, 2, 6))
    layer.values["state"] = graph.Value.constant("state", np.zeros((2, 60), np.float32))
    assert layer.op.kernel(layer.operands) is None
    signs = Filters(Sizes(2, 8, 5, 2, 6), activation=Activation.SIGN_BIT)
    assert signs.op.kernel(signs.operands) is None


def test_int8_pays_in_wide_layers_only() -> None:
    wide, narrow = (Filters(Sizes(1, n, n, 2, 8), True) for n in (256, 2))
    assert hybrid_pays(wide.op.kernel(wide.operands))[0]
    assert not hybrid_pays(narrow.op.kernel(narrow.operands))[0]
