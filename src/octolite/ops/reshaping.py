"""Operators that give the same elements another shape."""

from __future__ import annotations

from collections.abc import Sequence

from octolite.errors import ShapeError
from octolite.ir.types import Array, Operand, Shape, TensorType
from octolite.ops.base import Operator, QuantRule, attr
from octolite.ops.case import case, const, f32
from octolite.ops.shapes import constant_ints, product


class Reshape(Operator):
    """The same elements in another shape; one extent may be -1, for what is left."""

    name = "RESHAPE"
    options = "ReshapeOptions"
    inputs = "input shape?"
    new_shape: tuple[int, ...] = attr(())
    view = True
    quant = QuantRule(same_scale=True)

    def infer(self, x: Operand, shape: Operand | None = None) -> Sequence[TensorType]:
        target = constant_ints(shape) if shape is not None else list(self.new_shape)
        if target is None:
            rank = shape.shape[0] if shape is not None and shape.shape else None
            return [TensorType(x.dtype, None if rank is None else (None,) * rank)]
        return [TensorType(x.dtype, _resolve(x, target))]

    def reference(self, x: Array, shape: Array | None = None) -> Array:
        target = self.new_shape if shape is None else tuple(int(d) for d in shape)
        try:
            return x.reshape(target)
        except ValueError:
            raise ShapeError(f"{x.shape} cannot be reshaped to {tuple(target)}") from None

    cases = (
        case(f32(2, 3, 4), const([6, 4])),
        case(f32(2, 3, 4), const([2, -1])),
    )


def _resolve(x: Operand, target: list[int]) -> Shape:
    """``target`` with its -1 worked out, where the extents of ``x`` allow."""
    if sum(d == -1 for d in target) > 1 or any(d < -1 for d in target):
        raise ShapeError(f"{x.name!r} cannot be reshaped to {target}: one extent at most may be -1")
    size = None if x.shape is None else product(x.shape)
    rest = 1
    for d in target:
        rest *= 1 if d == -1 else d
    if size is None:
        return tuple(None if d == -1 else d for d in target)
    if (-1 not in target and rest != size) or (-1 in target and (rest == 0 or size % rest)):
        raise ShapeError(f"{x.name!r} of shape {x.shape} cannot be reshaped to {target}")
    return tuple(size // rest if d == -1 else d for d in target)
