"""Between real numbers and integer codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from octolite.errors import ShapeError
from octolite.ir.fixed_point import Codes, Multiplier
from octolite.ir.types import (
    FLOAT16,
    FLOAT32,
    INT2,
    INT4,
    INT8,
    INT16,
    INT32,
    UINT8,
    Array,
    Operand,
    Quant,
    TensorType,
)
from octolite.kernels.expression import Expression, apply
from octolite.ops.base import FLOATS, Operator, attr
from octolite.ops.case import Tensor, case, codes, f32, int8_weights
from octolite.ops.elementwise import Elementwise
from octolite.ops.integers import centred, scaled, stored
from octolite.ops.shapes import like


class Quantize(Elementwise):
    """Real numbers, or codes of another scale, as codes.

    What kind of codes is not among its attributes: the result's type and scale say so. The shape
    rule supposes int8.
    """

    name = "QUANTIZE"
    options = "QuantizeOptions"
    inputs = "input"

    def infer(self, x: Operand) -> Sequence[TensorType]:
        return [TensorType(INT8, x.shape)]

    def is_integer(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> bool:
        x, out = inputs[0], outputs[0]
        types = {INT8: (INT8, UINT8), UINT8: (INT8, UINT8), INT16: (INT8, INT16, INT32)}
        types[INT32] = (INT8, INT16)
        if x is None or x.quant is None or out.quant is None:
            return False
        single = not (x.quant.per_channel or out.quant.per_channel)
        return single and out.dtype in types.get(x.dtype, ())

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], x: Array
    ) -> Array:
        source, out = Codes.of(inputs[0]), Codes.of(outputs[0])
        return out.store(Multiplier.of(source.real_scale / out.real_scale)(source.centred(x)))

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> Expression | None:
        x, result = inputs[0], outputs[0]
        source, out = Codes.of(x), Codes.of(result)
        if x is None or (result.dtype is INT32 and out.zero):
            return None
        factor = Multiplier.of(source.real_scale / out.real_scale)
        return stored(scaled(centred(x), factor), result)

    def reference(self, x: Array) -> Array:
        return x  # ``run`` quantizes results

    def kernel(self, inputs: Sequence[Operand | None]) -> Expression | None:
        return apply("to_float32", [v.dtype for v in inputs if v is not None])

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        x, out = inputs[0], outputs[0]
        if x is not None and INT4 in (x.dtype, out.dtype):
            return 4
        if out.quant is not None and out.quant.per_channel:
            return 3
        return 2 if out.dtype is INT16 else 1

    cases = (
        case(f32(3, 40, low=-8, high=8), results=[(INT8, Quant.of(0.05, 7))]),
        case(f32(3, 40, low=-8, high=8), results=[(UINT8, Quant.of(0.05, 130))]),
        case(f32(3, 40, low=-8, high=8), results=[(INT16, Quant.of(0.0002))]),
        case(f32(40, 3, low=-8, high=8), results=[(INT8, Quant.of([0.05, 0.1, 0.2], 0, 1))]),
        case(codes(3, 40, quant=Quant.of(0.05, 7)), results=[(INT8, Quant.of(0.08, -3))]),
    )


class Dequantize(Elementwise):
    """Codes, or halves, as float32: ``scale · (q - zero_point)``."""

    name = "DEQUANTIZE"
    options = "DequantizeOptions"
    inputs = "input"

    def infer(self, x: Operand) -> Sequence[TensorType]:
        return [TensorType(FLOAT32, x.shape)]

    def reference(self, x: Array) -> Array:
        return x.astype(np.float32, copy=False)  # ``run`` dequantizes inputs

    def kernel(self, inputs: Sequence[Operand | None]) -> Expression | None:
        return apply("to_float32", [v.dtype for v in inputs if v is not None])

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        x = inputs[0]
        if x is None:
            return 1
        if x.dtype is INT8 and x.quant is not None and x.quant.per_channel:
            return 5
        return {INT4: 6, INT16: 3, FLOAT16: 3, INT8: 2}.get(x.dtype, 1)

    cases = (
        case(codes(3, 40, quant=Quant.of(0.05, 7))),
        case(codes(3, 40, quant=Quant.of(0.05, 130), dtype=UINT8, low=0, high=256)),
        case(codes(3, 40, quant=Quant.of(0.05), dtype=INT16, low=-9999, high=9999)),
        case(int8_weights(3, 40, axis=0)),
        case(int8_weights(2, 2, 3, 4, axis=3)),
        case(int8_weights(3, 7, axis=None, dtype=INT4)),
        case(int8_weights(3, 7, axis=None, dtype=INT2)),
        case(Tensor((3, 40), FLOAT16, lambda rng, s: rng.normal(0, 1, s))),
    )


class FakeQuant(Operator):
    """Real numbers moved to the nearest of the 2^num_bits values that codes could stand for.

    The range is shifted a little so that 0 is among them.
    """

    kinds = FLOATS
    name = "FAKE_QUANT"
    options = "FakeQuantOptions"
    inputs = "input"
    min: float = attr(0.0)
    max: float = attr(0.0)
    num_bits: int = attr(8)
    narrow_range: bool = attr(False)

    def infer(self, x: Operand) -> Sequence[TensorType]:
        if not self.min <= 0 <= self.max or self.min == self.max:
            raise ShapeError(
                f"{self.name} of {x.name!r}: the range [{self.min}, {self.max}] should hold 0 and "
                "more than that"
            )
        if not 2 <= self.num_bits <= 16:
            raise ShapeError(f"{self.name} of {x.name!r}: {self.num_bits} bits are not 2 to 16")
        return like(x)

    def reference(self, x: Array) -> Array:
        least, most = np.float32(self.narrow_range), np.float32(2**self.num_bits - 1)
        low, high = np.float32(self.min), np.float32(self.max)
        scale = (high - low) / (most - least)
        zero = np.clip(np.round(least - low / scale), least, most)
        below, above = (least - zero) * scale, (most - zero) * scale
        steps = np.floor((np.clip(x, below, above) - below) * (1 / scale) + np.float32(0.5))
        return np.asarray(steps * scale + below)

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        return 2 if self.narrow_range else 1

    cases = (
        case(f32(3, 40, low=-8, high=8), min=-3.0, max=5.0),
        case(f32(3, 40, low=-8, high=8), min=0.0, max=6.0, num_bits=4),
        case(f32(3, 40, low=-8, high=8), min=-6.0, max=6.0, narrow_range=True, litert=False),
    )
