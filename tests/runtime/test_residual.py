"""1×1 convolutions with a sum behind them: when both run as one, and that it changes no bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from octolite.ir.graph import Value
from octolite.ir.types import Activation, Array, Padding, Quant
from octolite.kernels import isa
from octolite.runtime import residual
from tests.runtime.test_fuse import Network, run

NATIVE = [row.name for row in isa.ROWS if row.runs_here]
BOTH = "CONV_2D+ADD"


def gaussian(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def weights(channels: int, depth: int, hybrid: bool) -> Value:
    codes = np.random.default_rng(depth).integers(-127, 128, (channels, 1, 1, depth), np.int8)
    scale = np.linspace(0.001, 0.01, channels, dtype=np.float32)
    if hybrid:
        return Value.constant("weights", codes, quant=Quant.of(scale))
    return Value.constant("weights", (codes * scale[:, None, None, None]).astype(np.float32))


def conv(net: Network, x: Value, w: Value, **attributes: Any) -> Value:
    bias = np.linspace(-1, 1, w.shape[0], dtype=np.float32)  # type: ignore[index]
    return net("CONV_2D", x, w, bias, padding=Padding.SAME, **attributes)


def operators(net: Network, arrays: list[Array], patch: pytest.MonkeyPatch) -> list[str]:
    """What runs; the bits must be those of the two operators alone."""
    model = net.model(*net.graph.outputs)
    joined, names = run(model, arrays)
    with patch.context() as without:
        without.setattr(residual, "additions", lambda graph: {})
        alone, plain = run(model, arrays)
    assert BOTH not in plain
    for a, b in zip(joined, alone, strict=True):
        np.testing.assert_array_equal(a, b)
    return names


@pytest.mark.parametrize("row", NATIVE)
@pytest.mark.parametrize("hybrid", [False, True], ids=["float", "hybrid"])
@pytest.mark.parametrize("activation", [Activation.NONE, Activation.RELU6, Activation.TANH])
@pytest.mark.parametrize(("depth", "channels"), [(64, 64), (33, 17), (200, 41)])
def test_a_sum_is_taken_along(
    row: str,
    hybrid: bool,
    activation: Activation,
    depth: int,
    channels: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if hybrid and row == "generic":
        pytest.skip("takes a kernel of fewer products, which gains more")
    monkeypatch.setenv("OCTOLITE_ISA", row)
    monkeypatch.setenv("OCTOLITE_ACTIVATIONS", "7bit")  # AVX2 would take fewer products, too
    net = Network()
    x, other = net.source(2, 7, 5, depth), net.source(2, 7, 5, channels)
    hidden = conv(net, x, weights(depth, depth, False), activation=Activation.RELU)
    result = conv(net, hidden, weights(channels, depth, hybrid))
    net.graph.outputs = [net("ADD", result, other, activation=activation)]
    arrays = [gaussian(2, 7, 5, depth), gaussian(2, 7, 5, channels, seed=1)]
    assert BOTH in operators(net, arrays, monkeypatch)


def test_the_later_of_two_convolutions_adds_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Network()
    x = net.source(1, 8, 8, 24)
    first = conv(net, x, weights(40, 24, False), stride_w=2, stride_h=2)
    second = conv(net, x, weights(40, 24, False), stride_w=2, stride_h=2)
    net.graph.outputs = [net("ADD", second, first, activation=Activation.RELU)]
    assert operators(net, [gaussian(1, 8, 8, 24)], monkeypatch) == ["CONV_2D", BOTH]


def test_a_batch_that_broadcasts_is_added_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes that agree in the file need not agree when the model runs."""
    net = Network()
    x, other = net.source(None, 4, 4, 16), net.source(None, 4, 4, 20)
    net.graph.outputs = [net("ADD", conv(net, x, weights(20, 16, False)), other)]
    arrays = [gaussian(3, 4, 4, 16), gaussian(1, 4, 4, 20)]
    model = net.model(*net.graph.outputs)
    (joined,), _ = run(model, arrays)
    monkeypatch.setattr(residual, "additions", lambda graph: {})
    (alone,), _ = run(model, arrays)
    np.testing.assert_allclose(joined, alone, rtol=1e-5, atol=1e-5)


def _read_twice(net: Network, result: Value, other: Value) -> list[Value]:
    return [net("ADD", net("MUL", result, other), result)]


def _an_output(net: Network, result: Value, other: Value) -> list[Value]:
    return [result, net("ADD", result, other)]


def _with_itself(net: Network, result: Value, other: Value) -> list[Value]:
    return [net("ADD", result, result)]


def _broadcasting(net: Network, result: Value, other: Value) -> list[Value]:
    return [net("ADD", result, net.source(1, 1, 1, 20))]


def _active(net: Network, result: Value, other: Value) -> list[Value]:
    return [net("ADD", net("RELU", result), other)]


@pytest.mark.parametrize("sums", [_read_twice, _an_output, _with_itself, _broadcasting, _active])
def test_what_is_needed_otherwise_stays_alone(sums: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Network()
    x, other = net.source(1, 4, 4, 16), net.source(1, 4, 4, 20)
    net.graph.outputs = sums(net, conv(net, x, weights(20, 16, False)), other)
    arrays = [gaussian(*v.shape, seed=i) for i, v in enumerate(net.graph.inputs)]  # type: ignore[misc]
    assert BOTH not in operators(net, arrays, monkeypatch)
