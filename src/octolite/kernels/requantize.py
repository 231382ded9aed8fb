"""Sums of products as codes: the last step of every layer of codes, exact to the bit.

``clamp(zero + round(factor · sum), low, high)``, where sums are int32 and have their bias in them.
:class:`~octolite.ir.fixed_point.OutputStage` says what rounding means; what the kernels need of the
factors lies in tables, a line for each channel. Neither sums nor what is added for rounding may
overflow, which the request vouches for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from octolite.ir.fixed_point import Multiplier, OutputStage
from octolite.ir.types import Array
from octolite.kernels import maths
from octolite.kernels.isa import Isa
from octolite.kernels.launch import NOWHERE, Operand
from octolite.kernels.simd import F64, I8, I16, I32, I64, PTR, Builder, Value, lanes_of, vec
from octolite.kernels.spec import Requantize

FIELDS: dict[str, Any] = {
    "start": PTR,  # int32 [channels]: what sums begin with, as are the next three int32
    "mantissa": PTR,
    "half": PTR,  # half of what is shifted out on the right
    "shift_right": PTR,
    "shift_left": PTR,
    "wide_half": PTR,  # int64 [channels], as is the next
    "wide_right": PTR,
    "factor": PTR,  # float64 [channels]
    "result_zero": I64,
    "least": I64,
    "most": I64,
}
"""What a kernel's record holds of it."""

NONE: Mapping[str, Operand] = dict.fromkeys(FIELDS, NOWHERE)

Spread = Callable[[Array, "np.dtype[Any]"], Array]
"""Makes a table of one number a channel, in the order in which a kernel reads channels."""


@dataclass(frozen=True)
class Ending:
    """What the code depends on: the way of rounding, the bytes of a result, and whether any factor
    is ½ or more, so that nothing is shifted out or something moves left."""

    stage: OutputStage
    item: int
    large: bool

    @classmethod
    def of(cls, request: Requantize) -> Ending:
        large = request.stage is OutputStage.FIXED and max(request.factor) >= 0.49
        return cls(request.stage, request.dtype.numpy.itemsize, large)


def operands(request: Requantize, start: Array, spread: Spread) -> dict[str, Operand]:
    """What the fields of :data:`FIELDS` hold. ``start``: int64 [channels]."""
    factor = np.broadcast_to(np.array(request.factor), start.shape)
    multiplier = Multiplier.of(factor)
    right = np.maximum(-multiplier.shift, 0)
    short, bits = multiplier.short()
    i32, i64 = np.dtype(np.int32), np.dtype(np.int64)
    tables: dict[OutputStage, dict[str, tuple[Array, Any]]] = {
        OutputStage.FIXED: {
            "mantissa": (multiplier.mantissa, i32),
            "half": ((1 << right) >> 1, i32),
            "shift_right": (right, i32),
            "shift_left": (np.maximum(multiplier.shift, 0), i32),
        },
        OutputStage.WIDE: {
            "mantissa": (short, i32),
            "wide_half": (np.int64(1) << (bits - 1), i64),
            "wide_right": (bits, i64),
        },
        OutputStage.REAL: {"factor": (factor, np.dtype(np.float64))},
    }
    found = {name: spread(*given) for name, given in tables[request.stage].items()}
    limits = {"result_zero": request.zero, "least": request.low, "most": request.high}
    return {**NONE, "start": spread(start, i32), **found, **limits}


# Code --------------------------------------------------------------------------------------


def codes(
    k: Builder, isa: Isa, ending: Ending, args: SimpleNamespace, at: Value, sums: Sequence[Value]
) -> Value:
    """Vectors of sums, ``start`` in them, of the channels from ``at`` on, as one vector of
    codes."""
    scaled = {OutputStage.FIXED: _fixed, OutputStage.WIDE: _wide, OutputStage.REAL: _real}
    found = []
    for x in sums:
        found.append(scaled[ending.stage](k, isa, ending, args, at, x))
        at = at + lanes_of(x.type)
    return _narrow(k, ending, args, joined(found))


def joined(values: Sequence[Value]) -> Value:
    """A power of two of vectors as one."""
    values = list(values)
    while len(values) > 1:
        lanes = 2 * lanes_of(values[0].type)
        pairs = zip(values[::2], values[1::2], strict=True)
        values = [a.pick(range(lanes), b) for a, b in pairs]
    return values[0]


def store(k: Builder, isa: Isa, x: Value, address: Value, count: Value | None = None) -> None:
    """Store a vector of codes, or the first ``count`` of them, less than all."""
    if count is None:
        k.store(x, address)
        return
    lanes = lanes_of(x.type)
    if isa.masks_codes:
        k.store_first(x, address, k.first(count, lanes))
        return
    size = lanes // 2  # of ever shorter pieces, those whose sizes make up the count
    while size:
        low, high = x.pick(range(size)), x.pick(range(size, 2 * size))
        taken = (count & size) > 0
        with k.when(taken):
            k.store(low, address)
        x = k.select(taken, high, low)
        address = address + (count & size) * (x.type.element.width // 8)
        size //= 2


def rounding_shift(k: Builder, x: Value, half: Value, right: Value, large: bool) -> Value:
    """``x / 2^right`` of int32, halves away from zero; ``half``: ``2^(right - 1)``, or 0.
    ``large``: ``right`` may be 0."""
    below = x >> 31
    if large:
        below = below & (right > 0).sext(I32)
    return (x + half + below) >> right


def _fixed(
    k: Builder, isa: Isa, ending: Ending, args: SimpleNamespace, at: Value, x: Value
) -> Value:
    """As :class:`~octolite.ir.fixed_point.Multiplier` of int32 has it."""
    mantissa, half, right, left = (
        k.load(x.type, table + at * 4)
        for table in (args.mantissa, args.half, args.shift_right, args.shift_left)
    )
    if ending.large:
        x = x << left
    high_product = isa.high_product or maths.high_product
    return rounding_shift(k, high_product(k, x, mantissa), half, right, ending.large)


def _wide(
    k: Builder, isa: Isa, ending: Ending, args: SimpleNamespace, at: Value, x: Value
) -> Value:
    """As :meth:`~octolite.ir.fixed_point.Multiplier.wide` has it."""
    kind = vec(I64, lanes_of(x.type))
    mantissa = k.load(x.type, args.mantissa + at * 4)
    half, right = (k.load(kind, table + at * 8) for table in (args.wide_half, args.wide_right))
    return ((x.sext(I64) * mantissa.sext(I64) + half) >> right).trunc(I32)


def _real(
    k: Builder, isa: Isa, ending: Ending, args: SimpleNamespace, at: Value, x: Value
) -> Value:
    """In float64, halves away from zero: what is cut off is a half and what is just under it."""
    factor = k.load(vec(F64, lanes_of(x.type)), args.factor + at * 8)
    real = x.to_float(F64) * factor
    real = k.smin(k.smax(real, -(2.0**30)), 2.0**30)  # beyond all codes
    half = k.const(real.type, float(np.nextafter(0.5, 0.0)))
    signed = k.call(f"llvm.copysign.v{lanes_of(x.type)}f64", real.type, half, real)
    return (real + signed).to_int(I32)


def _narrow(k: Builder, ending: Ending, args: SimpleNamespace, x: Value) -> Value:
    """Codes of what counts from the zero point. Saturated to 16 bits, it stays beyond all limits
    that it is beyond; zero points of 16 bits are 0."""
    lanes = lanes_of(x.type)
    short = k.smin(k.smax(x, -(2**15)), 2**15 - 1).trunc(I16)
    zero, least, most = (
        v.trunc(I16).splat(lanes) for v in (args.result_zero, args.least, args.most)
    )
    moved = k.call(f"llvm.sadd.sat.v{lanes}i16", short.type, short, zero)
    within = k.smin(k.smax(moved, least), most)
    return within.trunc(I8) if ending.item == 1 else within
