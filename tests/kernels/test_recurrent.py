"""Recurrent cells on every instruction set against the operators' references."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from octolite.errors import KernelError
from octolite.ir import graph
from octolite.ir.types import FLOAT32, Activation, Array
from octolite.kernels import isa, jit, maths, recurrent
from octolite.kernels.select import build, hybrid_pays
from octolite.kernels.simd import F32, I64, PTR, Builder, Value, vec
from octolite.kernels.spec import Constant
from octolite.runtime.executor import Executor
from tests.kernels.cells import Network, Parts, Sizes
from tests.kernels.conftest import around, call
from tests.kernels.guarded import Guarded

RNN, LSTM = "UNIDIRECTIONAL_SEQUENCE_RNN", "UNIDIRECTIONAL_SEQUENCE_LSTM"
BOTH_RNN, BOTH_LSTM = "BIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_LSTM"
CURVED = {"activation": Activation.TANH}
NORM = Parts(norm=True)
CELLS = [
    pytest.param(RNN, Parts(), id="rnn"),
    pytest.param(LSTM, Parts(), id="lstm"),
    pytest.param(LSTM, NORM, id="norm"),
]
BOTH_CELLS = [
    pytest.param(BOTH_RNN, Parts(), id="rnns"),
    pytest.param(BOTH_LSTM, Parts(), id="lstms"),
]


def close(found: Array, expected: Array, tolerance: float) -> None:
    """``tolerance`` is a part of the largest that is expected, or of 1."""
    size = max(1.0, float(np.nanmax(np.abs(expected), initial=0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * size)


def compare(network: Network, row: isa.Isa, executor: Executor, tolerance: float) -> None:
    """Results and states of a whole run from random states."""
    feeds = network.feeds()
    outs, states = network.compiled(row, feeds, executor)
    expected, after = network.reference(feeds)
    for found, wanted in zip(outs, expected, strict=True):
        close(found, wanted, tolerance)
    for name, state in states.items():
        close(state, after[name], tolerance)


def step_feeds(network: Network, feeds: dict[str, Array], t: int) -> dict[str, Array]:
    """The feeds of step ``t`` alone."""
    axis = 0 if network.time_major else 1
    return {
        name: array if name.endswith("state") else np.take(array, [t], axis)
        for name, array in feeds.items()
    }


def compare_steps(network: Network, row: isa.Isa, executor: Executor, tolerance: float) -> None:
    """A hybrid cell step by step, each from the state that the kernel has come to.

    A last digit of the state may decide between two codes, and from there on two runs that are
    both right go apart; from one state they cannot. The steps one by one must also give the very
    bits of the whole sequence.
    """
    feeds = network.feeds()
    outs, states = network.compiled(row, feeds, executor)
    axis = 0 if network.time_major else 1
    now = feeds
    for t in range(network.sizes.time):
        now = {**step_feeds(network, feeds, t), **{n: now[n] for n in states}}
        expected, after = network.reference(now)
        results, now_states = network.compiled(row, now, executor)
        close(results[0], expected[0], tolerance)
        np.testing.assert_array_equal(results[0], np.take(outs[0], [t], axis))
        for name, state in now_states.items():
            close(state, after[name], tolerance)
        now.update(now_states)
    for name, state in states.items():
        np.testing.assert_array_equal(state, now[name])


# Sizes -------------------------------------------------------------------------------------


def _problems(row: isa.Isa, hybrid: bool) -> list[tuple[Sizes, dict[str, Any]]]:
    tile = row.dot if hybrid else row.real
    units = around(tile.lanes, 2 * tile.lanes)
    extents = itertools.cycle(itertools.product((1, 7), (1, 3, 9)))
    depths = itertools.cycle((1, 3, 4, 17, 64))
    return [
        (Sizes(time, batch, depth, n), {"time_major": bool(i % 2)})
        for i, (n, (time, batch), depth) in enumerate(zip(units, extents, depths, strict=False))
    ]


@pytest.mark.parametrize(("name", "parts"), CELLS)
def test_float_sizes(row: isa.Isa, name: str, parts: Parts, alone: Executor) -> None:
    for sizes, attributes in _problems(row, False):
        compare(Network(name, sizes, parts, **CURVED, **attributes), row, alone, 2e-6)


@pytest.mark.parametrize(("name", "parts"), CELLS)
@pytest.mark.parametrize("asymmetric", [False, True])
def test_hybrid_sizes(
    row: isa.Isa, name: str, parts: Parts, asymmetric: bool, alone: Executor
) -> None:
    for sizes, attributes in _problems(row, True):
        given = {**CURVED, **attributes, "asymmetric_quantize_inputs": asymmetric}
        network = Network(name, sizes, replace(parts, hybrid=True), **given)
        compare_steps(network, row, alone, 1e-6)


@pytest.mark.parametrize(("name", "parts"), CELLS)
@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
def test_nothing_is_read_before_the_buffers(
    row: isa.Isa, name: str, parts: Parts, hybrid: bool, alone: Executor
) -> None:
    for sizes in (Sizes(1, 1, 1, 1), Sizes(3, 2, 5, 9), Sizes(2, 3, 40, 33)):
        network = Network(name, sizes, replace(parts, hybrid=hybrid), **CURVED)
        feeds = network.feeds()
        outs, _ = network.compiled(row, feeds, alone, at_end=False)
        close(outs[0], network.reference(feeds)[0][0], 0.05 if hybrid else 2e-6)


# Options -----------------------------------------------------------------------------------

ACTIVATIONS = [a for a in Activation if a is not Activation.SIGN_BIT]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_plain_activations(row: isa.Isa, activation: Activation, alone: Executor) -> None:
    sizes = Sizes(7, 3, 20, 21)
    compare(Network(RNN, sizes, Parts(), activation=activation), row, alone, 2e-6)
    hybrid = Network(RNN, sizes, Parts(hybrid=True), activation=activation)
    exact = 0.0 if activation is not Activation.TANH else 1e-6
    compare_steps(hybrid, row, alone, exact)


OPTIONS = [
    pytest.param(Sizes(7, 3, 20, 21), Parts(coupled=True), {}, id="coupled"),
    pytest.param(Sizes(7, 3, 20, 21), Parts(peephole=True), {}, id="peephole"),
    pytest.param(Sizes(7, 3, 20, 21), Parts(peephole=True, coupled=True), {}, id="both"),
    pytest.param(Sizes(7, 3, 20, 21), Parts(), {"cell_clip": 0.3}, id="cell clip"),
    pytest.param(Sizes(7, 3, 20, 21, 13), Parts(), {}, id="projected"),
    pytest.param(Sizes(7, 1, 20, 21, 33), Parts(bias=True), {"proj_clip": 0.2}, id="clipped"),
    pytest.param(Sizes(7, 9, 20, 40, 17), Parts(bias=True, coupled=True), {}, id="wide"),
    pytest.param(Sizes(7, 3, 20, 21), Parts(), {"activation": Activation.RELU6}, id="relu6"),
    pytest.param(Sizes(7, 3, 20, 21), NORM, {}, id="norm"),
    pytest.param(Sizes(7, 3, 20, 21), replace(NORM, coupled=True), {}, id="norm coupled"),
    pytest.param(
        Sizes(7, 9, 20, 21), replace(NORM, peephole=True), {"cell_clip": 0.3}, id="norm peephole"
    ),
    pytest.param(
        Sizes(7, 1, 20, 40, 17),
        replace(NORM, peephole=True, coupled=True, bias=True),
        {"proj_clip": 0.2, "time_major": True},
        id="norm projected",
    ),
    pytest.param(Sizes(7, 3, 20, 21), NORM, {"activation": Activation.RELU6}, id="norm relu6"),
    pytest.param(Sizes(7, 3, 20, 21), Parts(), {"time_major": True}, id="time major"),
]


@pytest.mark.parametrize(("sizes", "parts", "attributes"), OPTIONS)
@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
def test_gates_with_options(
    row: isa.Isa,
    hybrid: bool,
    sizes: Sizes,
    parts: Parts,
    attributes: dict[str, Any],
    alone: Executor,
) -> None:
    chosen = replace(parts, hybrid=hybrid)
    network = Network(LSTM, sizes, chosen, **{**CURVED, **attributes})
    if hybrid:
        # What is projected is quantized within the step: a code more or less is in the results.
        compare_steps(network, row, alone, 5e-3 if sizes.outputs else 1e-6)
    else:
        compare(network, row, alone, 2e-6)


@pytest.mark.parametrize(("name", "parts"), [("RNN", Parts()), ("LSTM", Parts()), ("LSTM", NORM)])
@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
def test_single_steps(row: isa.Isa, name: str, parts: Parts, hybrid: bool, alone: Executor) -> None:
    network = Network(name, Sizes(0, 3, 20, 21), replace(parts, hybrid=hybrid), **CURVED)
    compare(network, row, alone, 2e-6)


@pytest.mark.parametrize("name", [BOTH_RNN, BOTH_LSTM])
@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize(("aux", "crossed"), [(0, True), (11, True), (11, False)])
def test_both_ways(
    row: isa.Isa,
    name: str,
    merged: bool,
    time_major: bool,
    aux: int,
    crossed: bool,
    alone: Executor,
) -> None:
    given = {**CURVED, "merge_outputs": merged, "time_major": time_major}
    sizes = Sizes(7, 3, 20, 21, aux=aux)
    compare(Network(name, sizes, Parts(crossed=crossed), **given), row, alone, 2e-6)
    given["asymmetric_quantize_inputs"] = True
    once = Sizes(1, 3, 20, 21, aux=aux)
    compare(Network(name, once, Parts(True, crossed=crossed), **given), row, alone, 2e-6)
    compare(Network(name, sizes, Parts(True, crossed=crossed), **given), row, alone, 0.05)


# State, threads, extremes ------------------------------------------------------------------


@pytest.mark.parametrize(("name", "parts"), [*CELLS, *BOTH_CELLS])
def test_state_goes_on_where_it_was_left(
    row: isa.Isa, name: str, parts: Parts, alone: Executor
) -> None:
    network = Network(name, Sizes(4, 2, 9, 10), parts, **CURVED)
    feeds = network.feeds()
    _, states = network.compiled(row, feeds, alone)
    outs, _ = network.compiled(row, {**feeds, **states}, alone)
    _, after = network.reference(feeds)
    expected, _ = network.reference({**feeds, **after})
    for found, wanted in zip(outs, expected, strict=True):
        close(found, wanted, 2e-6)
    first, _ = network.compiled(row, feeds, alone)
    assert not np.array_equal(first[0], outs[0])


@pytest.mark.parametrize("batch", [1, 19])
def test_directions_may_differ_in_their_gates(row: isa.Isa, batch: int, alone: Executor) -> None:
    network = Network(BOTH_LSTM, Sizes(4, batch, 9, 10), Parts(peephole=True), **CURVED)
    for name in list(network.values):
        if name.startswith("fw_") and ("input_gate" in name or "_to_input_" in name):
            del network.values[name]
    feeds = network.feeds()
    expected, after = network.reference(feeds)
    with Executor(2) as crew:
        for executor in (alone, crew):
            outs, states = network.compiled(row, feeds, executor)
            for found, wanted in zip(outs, expected, strict=True):
                close(found, wanted, 2e-6)
            for name, state in states.items():
                close(state, after[name], 2e-6)


@pytest.mark.parametrize(("name", "parts"), [*CELLS, *BOTH_CELLS])
@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
def test_threads_do_not_change_a_bit(
    row: isa.Isa, name: str, parts: Parts, hybrid: bool, alone: Executor
) -> None:
    network = Network(name, Sizes(3, 19, 20, 21), replace(parts, hybrid=hybrid), **CURVED)
    feeds = network.feeds()
    expected, after = network.compiled(row, feeds, alone)
    with Executor(3) as crew:
        outs, states = network.compiled(row, feeds, crew)
    for found, wanted in zip(outs, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    for name_, state in states.items():
        np.testing.assert_array_equal(state, after[name_])


@pytest.mark.parametrize(("name", "parts"), [*CELLS, *BOTH_CELLS])
@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
@pytest.mark.parametrize("time_major", [False, True])
def test_long_sequences_are_read_in_stretches(
    name: str,
    parts: Parts,
    hybrid: bool,
    time_major: bool,
    alone: Executor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = isa.current()
    sizes = Sizes(7, 2, 20, 21, aux=11 if name.startswith("BI") else 0)
    network = Network(name, sizes, replace(parts, hybrid=hybrid), **CURVED, time_major=time_major)
    feeds = network.feeds()
    whole, after = network.compiled(row, feeds, alone)
    step = 2 * network.kernel(row).cells[0].channels * 4
    monkeypatch.setattr(recurrent, "_STRETCH", 3 * step)  # stretches of 3, 3 and 1
    outs, states = network.compiled(row, feeds, alone)
    for found, wanted in zip([*outs, *states.values()], [*whole, *after.values()], strict=True):
        close(found, wanted, 0 if hybrid else 2e-6)


@pytest.mark.parametrize("least", [-127, -128])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_extreme_codes_are_exact(
    row: isa.Isa, least: int, asymmetric: bool, alone: Executor
) -> None:
    network = Network(
        RNN, Sizes(1, 5, 4, 70), Parts(hybrid=True), asymmetric_quantize_inputs=asymmetric
    )
    weights = network.values["recurrent_weights"].data
    assert weights is not None
    feeds = network.feeds()
    patterns = np.array([[1, 1, 1, 1], [-1, -1, -1, -1], [-1, 1, -1, 1], [1, 1, -1, -1]])
    feeds["hidden_state"][:4] = np.tile(patterns, 18)[:, :70]
    feeds["hidden_state"][4] = 255
    feeds["hidden_state"][4, 0] = -1
    for value in (least, 127):
        weights[...] = value
        outs, _ = network.compiled(row, feeds, alone)
        np.testing.assert_array_equal(outs[0], network.reference(feeds)[0][0])


@pytest.mark.parametrize(("name", "parts"), CELLS)
@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
def test_poison_stays_in_its_sequence(
    row: isa.Isa, name: str, parts: Parts, hybrid: bool, alone: Executor
) -> None:
    network = Network(name, Sizes(5, 3, 12, 19), replace(parts, hybrid=hybrid), **CURVED)
    feeds = network.feeds()
    clean, _ = network.compiled(row, feeds, alone)
    feeds["input"][1, 2, 7] = np.nan
    outs, states = network.compiled(row, feeds, alone)
    assert np.isnan(outs[0][1, 2:]).all()
    assert np.isnan(states["hidden_state" if name == RNN else "cell_state"][1]).all()
    np.testing.assert_array_equal(outs[0][1, :2], clean[0][1, :2])
    np.testing.assert_array_equal(outs[0][::2], clean[0][::2])


def test_sequences_without_steps_or_rows_leave_the_state(row: isa.Isa, alone: Executor) -> None:
    network = Network(RNN, Sizes(2, 3, 8, 9), Parts(), **CURVED)
    feeds = network.feeds()
    outs, states = network.compiled(row, {**feeds, "input": feeds["input"][:, :0]}, alone)
    assert outs[0].shape == (3, 0, 9)
    np.testing.assert_array_equal(states["hidden_state"], feeds["hidden_state"])


# What is refused ---------------------------------------------------------------------------


def test_constants_that_do_not_fit_are_refused() -> None:
    network = Network(RNN, Sizes(2, 1, 8, 9), Parts(hybrid=True))
    request = network.op.kernel(network.operands)
    constants = {n: Constant(v.data) for n, v in network.values.items() if v.data is not None}
    with pytest.raises(KernelError, match="int8 with 0 scales"):
        build(request, constants)
    with pytest.raises(KernelError, match="rows of 8 expected"):
        network.kernel(isa.current()).launch((1, 2, 7))

    constants["recurrent_weights"] = Constant(np.ones((9, 8), np.int8), np.ones(1, np.float32))
    with pytest.raises(KernelError, match=r"recurrent_weights has shape \[9, 8\]"):
        build(request, constants)


def test_a_state_that_is_constant_is_left_to_the_reference() -> None:
    network = Network(RNN, Sizes(2, 1, 8, 9), Parts())
    network.values["hidden_state"] = graph.Value.constant("h", np.zeros((1, 9), np.float32))
    assert network.op.kernel(network.operands) is None


def test_coefficients_that_change_are_left_to_the_reference() -> None:
    network = Network(LSTM, Sizes(2, 1, 8, 9), NORM, **CURVED)
    assert network.op.kernel(network.operands) is not None
    name = "cell_layer_norm_coefficients"
    network.values[name] = graph.Value(name, FLOAT32, (9,))
    assert network.op.kernel(network.operands) is None


def test_int8_pays_in_wide_cells_only() -> None:
    wide, narrow = (
        Network(LSTM, Sizes(2, 1, n, n), Parts(hybrid=True), **CURVED) for n in (256, 4)
    )
    assert hybrid_pays(wide.op.kernel(wide.operands))[0]
    assert not hybrid_pays(narrow.op.kernel(narrow.operands))[0]


# The functions of the gates ----------------------------------------------------------------


def mapped(
    function: Callable[[Builder, Value], Value], row: isa.Isa, x: Array, executor: Executor
) -> Array:
    """``function`` of every element; their number is a multiple of a vector."""

    def emit(module: Any, row: isa.Isa) -> None:
        k = Builder(module, "map", (PTR, I64))
        given, to = (k.load(PTR, k.args[0] + 8 * i) for i in range(2))
        with k.loop(0, x.size, row.lanes) as loop:
            at = loop.index * 4
            k.store(function(k, k.load(vec(F32, row.lanes), given + at)), to + at)
        k.ret()

    unit = jit.Unit(f"map {function.__name__} {x.size}", ("map",), emit)
    source, out = (Guarded(x.shape, np.float32) for _ in range(2))
    source.array[...] = x
    call(unit, row, executor, source, out)
    return out.array.copy()


def every_kind_of_float() -> Array:
    """Each 509th bit pattern: all exponents, both signs, infinities and NaN among them."""
    bits = np.arange(0, 2**32, 509, dtype=np.uint64)[: 2**23 - 64]
    special = np.array([0, 1 << 31, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F7FFFFF], np.uint64)
    both = np.concatenate([bits, np.resize(special, 64)])
    return both.astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("name", ["tanh", "logistic"])
def test_gate_functions_are_accurate(row: isa.Isa, name: str, alone: Executor) -> None:
    samples = [every_kind_of_float(), np.linspace(-20, 20, 1 << 20, dtype=np.float32)]
    for x in samples:
        with np.errstate(over="ignore", invalid="ignore"):
            wide = x.astype(np.float64)
            exact = np.tanh(wide) if name == "tanh" else 1 / (1 + np.exp(-wide))
        function = maths.fast_tanh if name == "tanh" else maths.fast_logistic
        out = mapped(function, row, x, alone)
        np.testing.assert_array_equal(np.isnan(out), np.isnan(x))
        worst = np.nanmax(np.abs(out - exact))
        assert worst < 2e-7
        if name == "tanh":
            whole = np.isfinite(x) & (np.abs(x) > 1e-30)
            assert np.max(np.abs(out[whole] / exact[whole] - 1)) < 1e-6
