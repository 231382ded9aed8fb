"""Instruction sets of 64-bit ARM processors: products of bytes in NEON registers."""

from __future__ import annotations

import numpy as np

from octolite.kernels.simd import I8, I32, I64, Builder, Value, vec
from octolite.kernels.tile import Isa, Tile, load_quad, real_tile

_BYTES, _SUMS = vec(I8, 16), vec(I32, 4)


def _sdot_tile(heights: tuple[int, ...], vectors: int) -> Tile:
    """``sdot``: four products of signed bytes to each of four int32, wrapping."""

    def emit(k: Builder, acc: Value, a: Value, b: Value) -> Value:
        return k.call("llvm.aarch64.neon.sdot.v4i32.v16i8", _SUMS, acc, a.bits(_BYTES), b)

    return Tile(
        name="sdot",
        lanes=4,
        depth=4,
        code=np.dtype(np.int8),
        offset=0,
        weight=np.dtype(np.int8),
        sum=I32,
        load_a=load_quad(4),
        load_b=lambda k, at: k.load(_BYTES, at),
        emit=emit,
        heights=heights,
        vectors=vectors,
        rate=24,
        mnemonic="sdot",
    )


def _smmla_tile(heights: tuple[int, ...], vectors: int) -> Tile:
    """``smmla``: two rows by two channels by eight products of signed bytes, wrapping.

    A step takes four channels, so that a row's sums fill a register. Its accumulator is two
    registers: ``[row 0, row 1]`` by channels 0 and 1, and the same by channels 2 and 3.
    """
    low, high = range(4), range(4, 8)

    def load_a(k: Builder, rows: list[Value], at: Value) -> Value:
        first, second = (k.load(vec(I64, 1), row + at) for row in rows)
        return first.pick((0, 1), second).bits(_BYTES)

    def emit(k: Builder, acc: Value, a: Value, b: Value) -> Value:
        name = "llvm.aarch64.neon.smmla.v4i32.v16i8"
        pairs = ((acc.pick(low), b.pick(range(16))), (acc.pick(high), b.pick(range(16, 32))))
        left, right = (k.call(name, _SUMS, sums, a, weights) for sums, weights in pairs)
        return left.pick((*low, *high), right)

    return Tile(
        name="smmla",
        lanes=4,
        depth=8,
        code=np.dtype(np.int8),
        offset=0,
        weight=np.dtype(np.int8),
        sum=I32,
        load_a=load_a,
        load_b=lambda k, at: k.load(vec(I8, 32), at),
        emit=emit,
        heights=heights,
        vectors=vectors,
        rate=48,
        mnemonic="smmla",
        rows=2,
        zero=lambda k: k.const(vec(I32, 8), 0),
        split=lambda acc: [acc.pick((0, 1, 4, 5)), acc.pick((2, 3, 6, 7))],
    )


def _sqrdmulh(k: Builder, x: Value, y: Value) -> Value:
    return k.call("llvm.aarch64.neon.sqrdmulh.v4i32", _SUMS, x, y)


NEONDOT = Isa(
    name="neondot",
    arch="aarch64",
    cpu="generic",
    features="+neon,+dotprod",
    needs=("dotprod",),
    lanes=4,
    dot=_sdot_tile((1, 2, 4, 6), 4),
    real=real_tile(4, (1, 2, 4, 6), "fmla", vectors=4),
    high_product=_sqrdmulh,
)

NEONI8MM = Isa(
    name="neoni8mm",
    arch="aarch64",
    cpu="generic",
    features="+neon,+dotprod,+i8mm",
    needs=("dotprod", "i8mm"),
    lanes=4,
    dot=NEONDOT.dot,
    real=NEONDOT.real,
    dense=_smmla_tile((2, 4), 4),
    high_product=_sqrdmulh,
)
