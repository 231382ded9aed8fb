"""1×1 convolutions whose results are added to something: the kernel adds it itself.

Where the sum is the only reader, what a convolution computes need not be stored and read again:
its kernel takes the other operand as a second input, and the activation of the sum as its own.
The graph stays as it is; only the prepared units change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from octolite.ir.graph import Graph, Node, Value
from octolite.ir.types import FLOAT32, Activation, Array, Operand, TensorType
from octolite.kernels.spec import ACTIVATIONS, Conv2D, per_pixel
from octolite.ops.base import Operator, attr
from octolite.ops.conv import Conv2D as Convolution
from octolite.runtime.fuse import StandIn

if TYPE_CHECKING:
    from octolite.runtime.prepare import Unit


def additions(graph: Graph) -> dict[int, Node]:
    """The sum that takes up each convolution's result, by the id of the convolution's node."""
    found: dict[int, Node] = {}
    makers = {
        id(node.output): (index, node)
        for index, node in enumerate(graph.nodes)
        if isinstance(node.op, Convolution) and _may_wait(node, graph)
    }
    for node in graph.nodes:
        if not _is_sum(node):
            continue
        # Of two convolutions the later one adds the other's result.
        candidates = [makers[id(v)] for v in node.inputs if id(v) in makers]
        _, maker = max(candidates, key=lambda made: made[0], default=(0, None))
        if maker is not None:
            found[id(maker)] = node
    return found


def _is_sum(node: Node) -> bool:
    """Whether two different float tensors that look alike are added."""
    if node.op.name != "ADD" or node.op.activation not in ACTIVATIONS:  # type: ignore[attr-defined]
        return False
    a, b = node.inputs
    return (
        a is not None
        and b is not None
        and a is not b
        and a.dtype is b.dtype is FLOAT32
        and a.shape is not None
        and a.shape == b.shape == node.output.shape
        and a.data is None
        and b.data is None
    )


def _may_wait(maker: Node, graph: Graph) -> bool:
    """Whether a convolution is 1×1, has no activation of its own and one reader."""
    op, weights = maker.op, maker.inputs[1]
    assert isinstance(op, Convolution)
    return (
        op.activation is Activation.NONE
        and len(maker.output.uses) == 1
        and not graph.is_output(maker.output)
        and weights is not None
        and weights.shape is not None
        and weights.shape[1:3] == (1, 1)
    )


def request(given: Conv2D, addition: Node) -> Conv2D:
    """What the convolution asks for when it takes the sum with it, if it can."""
    from octolite.kernels import select

    if not per_pixel(given) or not select.takes_residual(given):
        return given
    activation = addition.op.activation  # type: ignore[attr-defined]
    return replace(given, residual=True, activation=activation)


def join(unit: Unit, addition: Node) -> Unit:
    """The unit of both, to be run in the place of the sum."""
    other = next(v for v in addition.inputs if v is not unit.node.output)
    x, weights, *bias = unit.node.inputs
    inputs: tuple[Value | None, ...] = (x, weights, bias[0] if bias else None, other)
    op = Residual(convolution=unit.node, addition=addition)
    node = StandIn(op, inputs, addition.outputs, addition.name)
    return replace(unit, node=node, op=op, reads=("input", "residual"))


class Residual(Operator, abstract=True):
    """``add(conv(input, weights, bias), residual)``; no file has it."""

    inputs = "input weights bias? residual"
    convolution: Node | None = attr(None)
    addition: Node | None = attr(None)

    @property
    def name(self) -> str:  # type: ignore[override]  # of both
        return "CONV_2D+ADD"

    def _both(self) -> tuple[Convolution, Operator, Value]:
        assert self.convolution is not None
        assert self.addition is not None
        conv, add = self.convolution.op, self.addition.op
        assert isinstance(conv, Convolution)
        assert isinstance(add, Operator)
        return conv, add, self.convolution.output

    def infer(self, *inputs: Operand) -> Sequence[TensorType]:
        x, weights, bias, _ = inputs
        return self._both()[0].infer(x, weights, bias)

    def geometry(self, inputs: Sequence[Operand | None]) -> dict[str, Any] | None:
        """None, so that the references run, where the sum turns out to broadcast."""
        x, weights, bias, other = inputs
        assert x is not None
        assert weights is not None
        conv, _, _ = self._both()
        (result,) = conv.infer(x, weights, bias)
        if other is None or other.shape != result.shape:
            return None
        return conv.geometry(inputs[:3])

    def run(
        self,
        arrays: Sequence[Array | None],
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
    ) -> tuple[Array, ...]:
        """One after the other, by their references."""
        conv, add, between = self._both()
        (result,) = conv.run(arrays[:3], inputs[:3], [between])
        return add.run([np.asarray(result), arrays[3]], [between, inputs[3]], outputs)
