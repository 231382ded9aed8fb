"""SOFTMAX and LOG_SOFTMAX: a probability, or its logarithm, for each entry of the last axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from octolite.errors import ShapeError
from octolite.ir import fixed_point
from octolite.ir.fixed_point import Codes
from octolite.ir.types import FLOAT32, INT8, INT16, UINT8, Array, Operand, Quant, TensorType
from octolite.kernels import spec
from octolite.ops.base import Operator, QuantRule, attr
from octolite.ops.case import case, codes, f32, given
from octolite.ops.shapes import like


class OverLastAxis(Operator, abstract=True):
    """A function of each row of a tensor with at least one axis."""

    inputs = "input"

    def infer(self, x: Operand) -> Sequence[TensorType]:
        if x.shape == ():
            raise ShapeError(f"{self.name} of {x.name!r}: a scalar has no last axis")
        return like(x)


def _below_maximum(x: Array) -> Array:
    """x less the largest of its row, so that no exponential overflows."""
    return np.asarray(x - np.max(x, axis=-1, keepdims=True, initial=-np.inf).astype(x.dtype))


class Softmax(OverLastAxis):
    """``exp(beta · x) / Σ exp(beta · x)``."""

    name = "SOFTMAX"
    spread = "other"
    nonnegative = "always"
    options = "SoftmaxOptions"
    beta: float = attr(1.0)
    quant = QuantRule(fixed_output=(1 / 256, -128))
    dtype_versions = {INT8: 2, INT16: 3}
    integer_types = (INT8, UINT8, INT16)

    def is_integer(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> bool:
        """Results fill the range of their type, and 16 bits are symmetric. Of uint8 they do so
        whatever the file declares."""
        if not super().is_integer(inputs, outputs):
            return False
        source, out = Codes.of(inputs[0]), Codes.of(outputs[0])
        if source.dtype == np.uint8:
            return True
        short = source.dtype == np.int16
        unit, zero = (2.0**-15, 0) if short else (1 / 256, out.limits[0])
        near = abs(out.real_scale - unit) <= 0.001 * unit
        return near and out.zero == zero and not (short and source.zero)

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], x: Array
    ) -> Array:
        source = Codes.of(inputs[0])
        if x.dtype == np.int16:
            return fixed_point.softmax16(x, float(source.scale * np.float32(self.beta)))
        unit = float(np.float32(self.beta)) * source.real_scale
        return fixed_point.softmax(x, unit, Codes.of(outputs[0]).dtype)

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> spec.CodedSoftmax | None:
        out, source = outputs[0], Codes.of(inputs[0])
        if out.dtype is INT16:
            return None
        return spec.CodedSoftmax(out.dtype, float(np.float32(self.beta)) * source.real_scale)

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.Softmax | None:
        x = inputs[0]
        return spec.Softmax(self.beta) if x is not None and x.dtype is FLOAT32 else None

    def reference(self, x: Array) -> Array:
        powers = np.exp(_below_maximum(x) * np.float32(self.beta))
        return np.asarray(powers / np.sum(powers, axis=-1, keepdims=True))

    cases = (
        case(f32(3, 10, low=-5, high=5)),
        case(f32(2, 3, 2, 7), beta=0.5),
        case(f32(9)),
        case(given([[1000.0, 999.0, -1000.0], [-1e30, -1e30, -1e30]])),
        case(codes(3, 40, quant=Quant.of(0.05, 7)), results=[(INT8, Quant.of(1 / 256, -128))]),
    )


class LogSoftmax(OverLastAxis):
    """``x - log Σ exp(x)``."""

    name = "LOG_SOFTMAX"
    options = "LogSoftmaxOptions"
    quant = QuantRule(fixed_output=(16 / 256, 127))
    dtype_versions = {INT8: 2}
    integer_types = (INT8, UINT8)

    def is_integer(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> bool:
        if not super().is_integer(inputs, outputs):
            return False
        return outputs[0].quant == Quant.of(1 / 16, Codes.of(outputs[0]).limits[1])

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], x: Array
    ) -> Array:
        return fixed_point.log_softmax(x, Codes.of(inputs[0]).real_scale)

    def reference(self, x: Array) -> Array:
        below = _below_maximum(x)
        return np.asarray(below - np.log(np.sum(np.exp(below), axis=-1, keepdims=True)))

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.Softmax | None:
        x = inputs[0]
        return spec.Softmax(log=True) if x is not None and x.dtype is FLOAT32 else None

    cases = (
        case(f32(3, 10, low=-5, high=5)),
        case(f32(2, 3, 2, 7)),
        case(given([[1000.0, 999.0, -1000.0]])),
        case(codes(3, 40, quant=Quant.of(0.05, 7)), results=[(INT8, Quant.of(16 / 256, 127))]),
    )
