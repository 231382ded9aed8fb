"""Operators of one tensor, element by element; activations are in a module of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from octolite.errors import RuntimeModelError, ShapeError
from octolite.ir import fixed_point
from octolite.ir.fixed_point import Codes, Multiplier, by_table
from octolite.ir.types import (
    BFLOAT16,
    BOOL,
    COMPLEX64,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    INT4,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT16,
    UINT32,
    Array,
    DType,
    Operand,
    Quant,
    TensorType,
)
from octolite.kernels.expression import Expression, apply
from octolite.ops.base import CODES, COMPLEX, Operator, attr
from octolite.ops.case import case, codes, f32, flags, given, ints
from octolite.ops.elementwise import Elementwise
from octolite.ops.shapes import like


class Unary(Elementwise, abstract=True):
    """``function`` of each element, in the dtype of ``x``; ``kinds`` are those it is defined for.

    Integers that stand for reals are always fine.
    """

    inputs = "x"
    kinds: ClassVar[str] = "fc"
    function: ClassVar[np.ufunc]

    def infer(self, x: Operand) -> Sequence[TensorType]:
        if x.dtype.kind not in self.kinds and x.quant is None:
            raise ShapeError(f"{self.name} is not defined for {x.name!r}, which is {x.dtype}")
        return like(x)

    def reference(self, x: Array) -> Array:
        return np.asarray(self.function(x), x.dtype)


class Tabled(Unary, abstract=True):
    """A function whose codes are looked up: each of 8 bits, or of 16 bits in steps."""

    integer_types = (INT8, INT16)

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], x: Array
    ) -> Array:
        out = Codes.of(outputs[0])
        return by_table(Codes.of(inputs[0]), out, lambda real: self.nearest(real, out), x)

    def nearest(self, x: Array, out: Codes) -> Array:
        """The function of float32, as near as float32 comes, for results that ``out`` holds."""
        return np.asarray(self.function(x.astype(np.float64)), np.float32)


class Abs(Unary):
    """``|x|``; the least integer stays what it is."""

    name = "ABS"
    nonnegative = "always"
    options = "AbsOptions"
    integer_types = (INT8, INT16)
    kinds = "fi"
    function = np.abs
    dtype_versions = {INT32: 5, INT8: 2, UINT8: 2}

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], x: Array
    ) -> Array:
        source, out = Codes.of(inputs[0]), Codes.of(outputs[0])
        magnitude = np.abs(source.centred(x))
        if source.scale == out.scale:
            return out.store(magnitude)
        return out.store(Multiplier.of(source.scale / out.scale)(magnitude))

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        x = inputs[0]
        if x is not None and x.dtype is INT16:
            return 4 if x.quant is None else 3
        return super().version(inputs, outputs)

    cases = (
        case(f32(2, 3)),
        case(f32()),
        case(f32(0)),
        case(ints(5, low=-9)),
        case(codes(9, quant=Quant.of(0.5, 3)), results=[(INT8, Quant.of(0.5, 3))]),
    )


class Neg(Unary):
    """``-x``."""

    name = "NEG"
    plain_types = CODES
    options = "NegOptions"
    kinds = "fic"
    function = np.negative
    cases = (case(f32(2, 3)), case(ints(5, low=-9)), case(ints(5, low=-9, dtype=INT64)))


class Exp(Tabled):
    """``eˣ``."""

    name = "EXP"
    nonnegative = "always"
    options = "ExpOptions"
    function = np.exp
    dtype_versions = {INT8: 2, INT16: 2}
    cases = (case(f32(2, 3, low=-5, high=5)), case(given([-200.0, 0.0])))


class Log(Tabled):
    """The natural logarithm; -inf at 0 and NaN below."""

    name = "LOG"
    function = np.log
    dtype_versions = {INT8: 2, INT16: 2}

    def nearest(self, x: Array, out: Codes) -> Array:
        least = np.float32(out.limits[0] - out.zero) * out.scale
        logarithm = np.log(np.where(x > 0, x, 1).astype(np.float64)).astype(np.float32)
        return np.where(x > 0, logarithm, least)

    cases = (case(f32(2, 3, low=0.1, high=9)), case(given([0.0, 1.0, -1.0])))


class Sqrt(Unary):
    """``√x``; NaN below 0. Codes are computed in float32 and cut off, not rounded."""

    name = "SQRT"
    nonnegative = "always"
    function = np.sqrt
    dtype_versions = {INT8: 2, INT16: 2}
    integer_types = (INT8, INT16)

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], x: Array
    ) -> Array:
        source, out = Codes.of(inputs[0]), Codes.of(outputs[0])
        centred = source.centred(x)
        if (centred < 0).any():
            raise RuntimeModelError("SQRT of codes that stand for numbers under 0")
        root = np.sqrt(source.scale * centred.astype(np.float32)) / out.scale
        return out.store(np.trunc(root).astype(np.int64))

    cases = (case(f32(2, 3, low=0, high=9)), case(given([0.0, 4.0, -1.0])))


class Rsqrt(Tabled):
    """``1 / √x``."""

    name = "RSQRT"

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], x: Array
    ) -> Array:
        if x.dtype == np.int16:
            return super().integer(inputs, outputs, x)
        source, out = Codes.of(inputs[0]), Codes.of(outputs[0])
        centred = source.centred(x)
        if (centred < 0).any():
            raise RuntimeModelError("RSQRT of codes that stand for numbers under 0")
        root = fixed_point.inverse_root(centred).shifted(20)(np.asarray(1))
        factor = Multiplier.of(1 / (float(np.sqrt(source.scale)) * out.real_scale))
        result = factor.shifted(-20)(root)
        return out.store(np.where(centred == 0, out.limits[1] - out.zero, result))

    def nearest(self, x: Array, out: Codes) -> Array:
        root = np.sqrt(np.where(x > 0, x, 1).astype(np.float32))
        most = np.float32(out.limits[1]) * out.scale
        return np.where(x > 0, np.float32(1) / root, most)

    dtype_versions = {INT16: 3, INT8: 2}

    def reference(self, x: Array) -> Array:
        return np.asarray(x.dtype.type(1) / np.sqrt(x), x.dtype)

    cases = (case(f32(2, 3, low=0.1, high=9)), case(given([0.0, 4.0])))


class Square(Unary):
    """``x²``."""

    name = "SQUARE"
    nonnegative = "always"
    options = "SquareOptions"
    kinds = "fic"
    function = np.square
    cases = (case(f32(2, 3)), case(f32()))


class Sin(Unary):
    """The sine of an angle in radians."""

    name = "SIN"
    function = np.sin
    cases = (case(f32(2, 3, low=-9, high=9)),)


class Cos(Unary):
    """The cosine of an angle in radians."""

    name = "COS"
    options = "CosOptions"
    function = np.cos
    cases = (case(f32(2, 3, low=-9, high=9)),)


class Ceil(Unary):
    """The least integer that is not less."""

    name = "CEIL"
    kinds = "f"
    function = np.ceil
    cases = (case(f32(2, 3, low=-9, high=9)), case(given([-0.5, 2.0])))


class Floor(Unary):
    """The greatest integer that is not more."""

    name = "FLOOR"
    kinds = "f"
    function = np.floor
    cases = (case(f32(2, 3, low=-9, high=9)), case(given([-0.5, 2.0])))


class Round(Unary):
    """The nearest integer, halves to the even one."""

    name = "ROUND"
    kinds = "f"
    function = np.rint
    cases = (case(f32(2, 3, low=-9, high=9)), case(given([0.5, 1.5, 2.5, -0.5, -1.5])))


class Sign(Unary):
    """-1, 0 or 1."""

    name = "SIGN"
    options = "SignOptions"
    kinds = "fi"
    function = np.sign
    dtype_versions = {INT32: 2}
    cases = (case(f32(2, 3)), case(given([0.0, -0.0, 4.0])), case(ints(5, low=-2, high=3)))


class Cast(Elementwise):
    """The same numbers in another dtype; codes are taken as they are.

    Floats are cut off towards zero and kept within the limits of an integer type, NaN becoming 0;
    integers wrap, and what is not 0 is true.
    """

    kinds = COMPLEX
    name = "CAST"
    options = "CastOptions"
    inputs = "x"
    in_data_type: DType = attr(FLOAT32)
    out_data_type: DType = attr(FLOAT32)

    def settle(self, outputs: Sequence[Operand]) -> Cast:
        # Converters leave the options out: the result's tensor is what counts.
        return self.replace(out_data_type=outputs[0].dtype)

    def infer(self, x: Operand) -> Sequence[TensorType]:
        return [TensorType(self.out_data_type, x.shape)]

    def reference(self, x: Array) -> Array:
        target = self.out_data_type.numpy
        if x.dtype.kind == "c" and target.kind != "c":
            x = x.real
        if x.dtype.kind in "fV" and target.kind in "iu":
            return saturated(x, target)
        return x.astype(target)

    def kernel(self, inputs: Sequence[Operand | None]) -> Expression | None:
        return apply(f"to_{self.out_data_type}", [v.dtype for v in inputs if v is not None])

    def passes_codes(self) -> bool:
        return True

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        dtypes = {v.dtype for v in (*inputs, *outputs) if v is not None}
        newest = [version for dtype, version in _CAST_VERSIONS if dtype in dtypes]
        return newest[0] if newest else 1

    cases = (
        case(given([-2.7, -0.5, 0.0, 1.9]), in_data_type=FLOAT32, out_data_type=INT32),
        case(ints(2, 3, low=-9), in_data_type=INT32, out_data_type=FLOAT32),
        case(given([-2.7, 0.0, 1.9]), in_data_type=FLOAT32, out_data_type=BOOL),
        case(flags(5), in_data_type=BOOL, out_data_type=FLOAT32),
        case(flags(5), in_data_type=BOOL, out_data_type=INT32),
        case(ints(5, dtype=INT64), in_data_type=INT64, out_data_type=INT32),
        case(given([2**40 + 3, -1], INT64), in_data_type=INT64, out_data_type=INT32),
        case(given([300, -1, 7]), in_data_type=INT32, out_data_type=UINT8),
        case(ints(5, high=255, dtype=UINT8), in_data_type=UINT8, out_data_type=FLOAT32),
        case(f32(5), in_data_type=FLOAT32, out_data_type=FLOAT16),
        case(f32(5), in_data_type=FLOAT32, out_data_type=COMPLEX64),
        case(f32(), in_data_type=FLOAT32, out_data_type=INT64),
        case(f32(5), in_data_type=FLOAT32, out_data_type=FLOAT64),
    )


def saturated(x: Array, target: np.dtype[Any]) -> Array:
    """Floats as integers of the type ``target``, which NumPy leaves open where they do not fit."""
    limits = np.iinfo(target)
    real = np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf)
    above = real >= float(limits.max) + (limits.bits < 64)
    whole = np.where(above, 0, np.maximum(real, float(limits.min))).astype(target)
    return np.where(above, np.asarray(limits.max, target), whole)


_CAST_VERSIONS = (
    (BFLOAT16, 7), (INT4, 6), (FLOAT64, 5), (FLOAT16, 5), (UINT16, 4), (INT8, 3), (UINT32, 2),
)  # fmt: skip


class ZerosLike(Operator):
    """Zeros of the shape and dtype of ``x``."""

    kinds = COMPLEX
    name = "ZEROS_LIKE"
    options = "ZerosLikeOptions"
    inputs = "x"
    shape_only = True

    def infer(self, x: Operand) -> Sequence[TensorType]:
        return like(x)

    def reference(self, x: Array) -> Array:
        return np.zeros(x.shape, x.dtype)

    cases = (case(f32(2, 3)), case(ints(3)), case(ints(3, dtype=INT64)), case(f32()))
