"""Softmax of codes of 8 bits in fixed point, to the bit as the reference has it.

What an element adds to the sum, and what its share is of, follow from how far it is below the
largest of its row: two tables of 256 entries say so.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from octolite.ir import fixed_point
from octolite.ir.types import UINT8, DType
from octolite.kernels import jit
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, Launch
from octolite.kernels.record import Record
from octolite.kernels.simd import I1, I8, I32, I64, PTR, Builder, Value, vec
from octolite.kernels.spec import CodedSoftmax

ARGS = Record(x=PTR, out=PTR, powers=PTR, terms=PTR, rows=I64, size=I64, chunk=I64)

# Sums that are under way at once, to hide how long a look-up takes; elements of a tile.
_ABREAST, _TILE = 4, 4096


def unit(codes: DType) -> Unit:
    """``softmax(args, tile)``: a chunk of rows."""
    signed = codes is not UINT8

    def whole(x: Value, element: Any) -> Value:
        return x.sext(element) if signed else x.zext(element)

    def emit(module: Any, isa: Isa) -> None:
        k = Builder(module, "softmax", (PTR, I64))
        args = ARGS.load(k, k.args[0])
        first = k.args[1] * args.chunk
        with k.loop(first, k.smin(first + args.chunk, args.rows)) as rows:
            x, out = (base + rows.index * args.size for base in (args.x, args.out))
            top = _largest(k, isa, x, args.size, whole)

            def below(at: Value, x: Value = x, top: Value = top) -> Value:
                return (top - whole(k.load(I8, x + at), I64)) * 4

            share, shift = _share(k, _total(k, args, below))
            half, least = k.const(I64, 1) << (shift - 1), -128 if signed else 0
            with k.loop(0, args.size) as loop:
                power = k.load(I32, args.powers + below(loop.index)).sext(I64)
                scaled = (_product(share, power) + half) >> shift
                k.store((k.smin(scaled, 255) + least).trunc(I8), out + loop.index)
        k.ret()

    return Unit(f"softmax of {codes}", ("softmax",), emit)


def _largest(k: Builder, isa: Isa, x: Value, size: Value, whole: Any) -> Value:
    """The largest of a row, int64."""
    lanes = isa.lanes
    vectors = size // lanes * lanes
    with k.loop(0, vectors, lanes, carry=[k.const(vec(I32, lanes), -256)]) as loop:
        here = whole(k.load(vec(I8, lanes), x + loop.index), I32)
        loop.carry = [k.smax(loop.carry[0], here)]
    top = k.fold(loop.carry[0], k.smax)
    with k.loop(vectors, size, carry=[top]) as last:
        last.carry = [k.smax(last.carry[0], whole(k.load(I8, x + last.index), I32))]
    return last.carry[0].sext(I64)


def _total(k: Builder, args: Any, below: Any) -> Value:
    """The sum of a row's terms, int64."""
    vectors = args.size // _ABREAST * _ABREAST
    with k.loop(0, vectors, _ABREAST, carry=[k.const(I64, 0)] * _ABREAST) as loop:
        for i, total in enumerate(loop.carry):
            loop.carry[i] = total + k.load(I32, args.terms + below(loop.index + i)).sext(I64)
    a, b, c, d = loop.carry
    with k.loop(vectors, args.size, carry=[a + b + (c + d)]) as last:
        last.carry = [last.carry[0] + k.load(I32, args.terms + below(last.index)).sext(I64)]
    return last.carry[0]


def _product(a: Value, b: Value) -> Value:
    """:func:`~octolite.ir.fixed_point.high_product` in int64."""
    return (a * b + (1 << 30)) >> 31


def _share(k: Builder, total: Value) -> tuple[Value, Value]:
    """``1 / total`` by Newton and Raphson, as :func:`~octolite.ir.fixed_point.reciprocal` has it,
    and how far its products with powers are shifted to the right."""
    leading = k.call("llvm.ctlz.i64", I64, total, k.const(I1, 0))
    zeros = k.smax(leading - 32, 0)
    half = ((total << zeros) - 2**31 + 2**31) >> 1
    start, slope = (fixed_point.fixed(real, 2) for real in (48 / 17, -32 / 17))
    x = _product(half, k.const(I64, slope)) + start
    for _ in range(3):
        missing = k.const(I64, 1 << 29) - _product(half, x)
        x = x + (_product(x, missing) << 2)
    return k.smin(x << 1, 2**31 - 1), k.const(I64, fixed_point.SUM_BITS + 31 - 8) - zeros


class CodedSoftmaxLayer:
    """A :class:`~octolite.kernels.spec.CodedSoftmax` ready to be launched."""

    def __init__(self, request: CodedSoftmax, isa: Isa) -> None:
        self.request = request
        self.label = f"softmax of codes {isa.name}"
        powers = fixed_point.powers_by_distance(request.unit)
        self._powers = powers.astype(np.int32)
        terms = fixed_point.rounding_shift(powers, fixed_point.SUM_BITS)
        self._terms = terms.astype(np.int32)
        self._fn = jit.load(unit(request.codes), isa)["softmax"]

    def launch(self, input_shape: tuple[int, ...], threads: int = 1) -> Launch:
        """Lay the function out for ``input_shape``; its last axis sums to 1."""
        rows, size = math.prod(input_shape[:-1]), input_shape[-1]
        launch = Launch(tuple(input_shape), 0)
        chunk = max(1, _TILE // max(size, 1))
        launch.add(
            self.label,
            self._fn,
            ARGS,
            -(-rows // chunk) if size else 0,
            x=INPUT,
            out=OUTPUT,
            powers=self._powers,
            terms=self._terms,
            rows=rows,
            size=size,
            chunk=chunk,
        )
        return launch
