"""Chains of elementwise operators: what is joined, and that it changes no bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import octolite
from octolite.ir.graph import Model, Value
from octolite.ir.types import BOOL, FLOAT32, INT8, Activation, Array, Quant
from octolite.ops.base import operator_class
from octolite.runtime import prepare
from octolite.tflite import write
from tests.passes.building import Builder


class Network(Builder):
    """A graph under construction, and then a file."""

    __call__ = Builder.op

    def source(self, *shape: int | None) -> Value:
        return self.input(*shape, name=f"input{len(self.graph.inputs)}")

    def model(self, *outputs: Value) -> bytes:
        return write(Model([self.returns(*outputs)]))


def run(model: bytes, arrays: Sequence[Array]) -> tuple[list[Array], list[str]]:
    """The outputs, and what the profile calls the operators that ran."""
    interpreter = octolite.Interpreter(model_content=model, num_threads=1)
    for details, array in zip(interpreter.get_input_details(), arrays, strict=True):
        interpreter.resize_tensor_input(details["index"], array.shape)
    interpreter.allocate_tensors()
    for details, array in zip(interpreter.get_input_details(), arrays, strict=True):
        interpreter.set_tensor(details["index"], array)
    interpreter.invoke()
    outputs = [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
    return outputs, [timing.unit.op.name for timing in interpreter.profile(1)]


def both(
    model: bytes, arrays: Sequence[Array], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], list[str]]:
    """Run with chains and without: the bits must be the same. What ran in either case."""
    joined, fused = run(model, arrays)
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "fuse", lambda graph, units: units)
        alone, unfused = run(model, arrays)
    for a, b in zip(joined, alone, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
        if a.dtype == np.float32:
            number = ~np.isnan(a)
            np.testing.assert_array_equal(np.signbit(a[number]), np.signbit(b[number]))
    return fused, unfused


def hard_swish(n: Network, x: Value) -> Value:
    return n("MUL", x, n("MUL", n("RELU6", n("ADD", x, 3.0)), 1 / 6))


def swish(n: Network, x: Value) -> Value:
    return n("MUL", x, n("LOGISTIC", x))


def gelu(n: Network, x: Value) -> Value:
    cube = n("POW", x, 3.0)
    inner = n("MUL", n("ADD", x, n("MUL", cube, 0.044715)), 0.7978846)
    return n("MUL", n("MUL", x, 0.5), n("ADD", n("TANH", inner), 1.0))


def layer_norm_tail(n: Network, x: Value) -> Value:
    random = np.random.default_rng(0)
    gamma, beta = random.standard_normal((2, 96), np.float32)
    mean, variance = n.source(4, 7, 1), n.source(4, 7, 1)
    scaled = n("MUL", n("SUB", x, mean), n("RSQRT", n("ADD", variance, 1e-5)))
    return n("ADD", n("MUL", scaled, gamma), beta)


def mask(n: Network, x: Value) -> Value:
    chosen = n("SELECT_V2", n("GREATER", x, 0.5), x, n("NEG", x))
    flags = n("LOGICAL_AND", n("LESS", chosen, 2.0), n("NOT_EQUAL", x, 0.0))
    return n("CAST", flags, in_data_type=BOOL, out_data_type=FLOAT32)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (hard_swish, "ADD+RELU6+MUL+MUL"),
        (swish, "LOGISTIC+MUL"),
        (gelu, "POW+MUL+ADD+MUL+MUL+TANH+ADD+MUL"),
        (layer_norm_tail, "SUB+ADD+RSQRT+MUL+MUL+ADD"),
        (mask, "GREATER+NEG+SELECT_V2+LESS+NOT_EQUAL+LOGICAL_AND+CAST"),
    ],
)
def test_what_networks_write_out_is_one_loop(
    build: Callable[[Network, Value], Value], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = Network()
    model = n.model(build(n, n.source(4, 7, 96)))
    random = np.random.default_rng(1)
    arrays = [
        random.standard_normal([d or 1 for d in v.shape or ()], np.float32) for v in n.graph.inputs
    ]
    arrays[1:] = [np.abs(a) for a in arrays[1:]]
    fused, unfused = both(model, arrays, monkeypatch)
    assert fused == [name]
    assert "+".join(unfused) == name


def test_residual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fused activations are part of their operators."""
    n = Network()
    x, y = n.source(None, 5, 5, 8), n.source(None, 5, 5, 8)
    total = n("ADD", x, n("MUL", y, np.arange(8, dtype=np.float32), activation=Activation.RELU6))
    model = n.model(n("RELU", total))
    arrays = [np.random.default_rng(i).standard_normal((3, 5, 5, 8), np.float32) for i in (0, 1)]
    fused, _ = both(model, arrays, monkeypatch)
    assert fused == ["MUL+ADD+RELU"]


def test_what_others_read_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    n = Network()
    x = n.source(3, 64)
    a = n("EXP", x)
    b = n("ADD", a, 1.0)
    total = n("SUM", a, np.array([1], np.int32))
    c = n("SQRT", b)
    model = n.model(n("NEG", c), c, total)
    fused, _ = both(model, [np.ones((3, 64), np.float32)], monkeypatch)
    assert sorted(fused) == ["ADD+SQRT", "EXP", "NEG", "SUM"]


def test_what_would_be_computed_again_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function of [64] is not computed for each of 32 rows, one of [32, 1] is."""
    n = Network()
    x, row, column = n.source(32, 64), n.source(64), n.source(32, 1)
    model = n.model(n("ADD", n("MUL", x, n("EXP", row)), n("LOG", column)))
    arrays = [np.random.default_rng(0).random(v.shape, np.float32) for v in n.graph.inputs]
    fused, _ = both(model, arrays, monkeypatch)
    assert sorted(fused) == ["EXP", "MUL+LOG+ADD"]


def test_long_chains_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    n = Network()
    x = value = n.source(50)
    for _ in range(100):
        value = n("SQRT", n("ABS", n("ADD", value, x)))
    fused, _ = both(n.model(value), [np.ones(50, np.float32)], monkeypatch)
    assert 4 < len(fused) < 10


def test_codes_go_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where codes stand for reals, nothing is stored between."""
    n = Network()
    x = n.source(2, 40)
    codes = [Value(f"q{i}", INT8, (2, 40), quant=Quant.of(0.05, i)) for i in range(2)]
    n.graph.add(operator_class("QUANTIZE")(), [x], "q0", outputs=codes[:1])
    n.graph.add(operator_class("MAXIMUM")(), codes[:1] * 2, "q1", outputs=codes[1:])
    model = n.model(n("DEQUANTIZE", codes[1]))
    fused, _ = both(model, [np.linspace(-3, 3, 80, dtype=np.float32).reshape(2, 40)], monkeypatch)
    assert fused == ["QUANTIZE+MAXIMUM+DEQUANTIZE"]


def test_shapes_that_do_not_fit_are_refused() -> None:
    n = Network()
    x, y = n.source(None, 3), n.source(None, 3)
    interpreter = octolite.Interpreter(model_content=n.model(n("RELU", n("ADD", x, y))))
    for details, rows in zip(interpreter.get_input_details(), (2, 4), strict=True):
        interpreter.resize_tensor_input(details["index"], [rows, 3])
    with pytest.raises(octolite.ShapeError, match=r"ADD\+RELU 'RELU2': .*'input0', 'input1'"):
        interpreter.allocate_tensors()


UNARY = ("ABS", "EXP", "TANH", "LOGISTIC", "SQUARE", "RSQRT", "HARD_SWISH", "FLOOR", "GELU")
BINARY = ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "SQUARED_DIFFERENCE")
SHAPES = ((2, 3, 70), (70,), (2, 3, 1), (), (3, 70), (2, 1, 1))


@st.composite
def networks(draw: st.DrawFn) -> tuple[bytes, list[Array]]:
    """Operators that read what there is by chance, and inputs."""
    n = Network()
    values = [n.source(*draw(st.sampled_from(SHAPES))) for _ in range(draw(st.integers(1, 4)))]
    for _ in range(draw(st.integers(1, 14))):
        one, other = draw(st.sampled_from(values)), draw(st.sampled_from(values))
        if draw(st.booleans()):
            values.append(n(draw(st.sampled_from(UNARY)), one))
        elif draw(st.booleans()):
            values.append(n("SELECT_V2", n("LESS", one, other), other, one))
        else:
            values.append(n(draw(st.sampled_from(BINARY)), one, other))
    outputs = [
        values[-1],
        *draw(st.lists(st.sampled_from(values[len(n.graph.inputs) :]), max_size=2)),
    ]
    random = np.random.default_rng(draw(st.integers(0, 99)))
    arrays = [random.standard_normal(v.shape, np.float32) * 3 for v in n.graph.inputs]
    return n.model(*dict.fromkeys(outputs)), arrays


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=networks())
def test_no_network_changes_by_a_bit(drawn: tuple[bytes, list[Array]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        both(*drawn, patch)
