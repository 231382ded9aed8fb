"""Elementwise arithmetic of two tensors, with broadcasting and a fused activation."""

from __future__ import annotations

from collections.abc import Sequence

from octolite.errors import ShapeError
from octolite.ir import numerics
from octolite.ir.types import INT64, Activation, Array, Operand, TensorType
from octolite.ops.base import Operator, attr
from octolite.ops.case import case, f32, ints
from octolite.ops.shapes import broadcast


class Binary(Operator, abstract=True):
    """Two operands of one type that broadcast together."""

    inputs = "a b"

    def infer(self, a: Operand, b: Operand) -> Sequence[TensorType]:
        if a.dtype is not b.dtype:
            raise ShapeError(f"operands {a.name!r} and {b.name!r} are {a.dtype} and {b.dtype}")
        return [TensorType(a.dtype, broadcast(a.shape, b.shape))]


class Add(Binary):
    """``act(a + b)``."""

    name = "ADD"
    options = "AddOptions"
    activation: Activation = attr(Activation.NONE, "FusedActivationFunction")
    pot_scale_int16: bool = attr(True)

    def reference(self, a: Array, b: Array) -> Array:
        return numerics.activate(a + b, self.activation)

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        return 4 if outputs[0].dtype is INT64 else 1

    cases = (
        case(f32(2, 3, 4), f32(4)),
        case(f32(2, 1, 4), f32(3, 1), activation=Activation.RELU),
        case(ints(5, low=-9), ints(5, low=-9)),
    )
