"""Instruction sets of x86 processors."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
from llvmlite import ir

from octolite.kernels.simd import I1, I8, I16, I32, I64, VOID, Builder, Value, vec
from octolite.kernels.tile import Emit, Isa, Tile, load_quad, pair_tile, real_tile


def _vnni_tile(lanes: int, heights: tuple[int, ...], vectors: int) -> Tile:
    """``vpdpbusd``: four unsigned by signed bytes to int32, wrapping, nothing saturates."""
    kind = vec(I32, lanes)
    quad = vec(I8, 4 * lanes)
    name = f"llvm.x86.avx512.vpdpbusd.{32 * lanes}"
    return Tile(
        name="vpdpbusd",
        lanes=lanes,
        depth=4,
        code=np.dtype(np.uint8),
        offset=128,
        weight=np.dtype(np.int8),
        sum=I32,
        load_a=load_quad(lanes),
        load_b=lambda k, at: k.load(kind, at),
        emit=lambda k, acc, a, b: k.call(name, kind, acc, a.bits(quad), b.bits(quad)),
        heights=heights,
        vectors=vectors,
        rate=7.5 * lanes,
        mnemonic="vpdpbusd",
    )


def _madd_x86(lanes: int, name: str) -> Emit:
    def emit(k: Builder, acc: Value, a: Value, b: Value) -> Value:
        return acc + k.call(name, vec(I32, lanes), a.bits(vec(I16, 2 * lanes)), b)

    return emit


def _word_tile(lanes: int, heights: tuple[int, ...]) -> Tile:
    """``vpdpwssd``: pairs of int16 products to int32, wrapping.

    Rows with 256 bits need ``fast-dpwssd``, or the compiler takes it apart again.
    """
    kind = vec(I32, lanes)
    name = f"llvm.x86.avx512.vpdpwssd.{32 * lanes}"

    def emit(k: Builder, acc: Value, a: Value, b: Value) -> Value:
        return k.call(name, kind, acc, a.bits(b.type), b)

    tile = pair_tile(lanes, emit, heights, "vpdpwssd", wide=True)
    return replace(tile, name="vpdpwssd", rate=3.75 * lanes)


def _quad_tile(lanes: int, heights: tuple[int, ...]) -> Tile:
    """``|a| · (sign(a) w)``, bytes to int16 by pairs and on to int32: weights stay bytes.

    Two products are at most 2 · 128 · 127 < 2^15, so that nothing saturates.
    """
    quad = vec(I8, 4 * lanes)

    def emit(k: Builder, acc: Value, a: Value, b: Value) -> Value:
        codes = a.bits(quad)
        size = k.call(f"llvm.abs.v{4 * lanes}i8", quad, codes, k.const(I1, 0))
        turned = k.call("llvm.x86.avx2.psign.b", quad, b, codes)
        pairs = k.call("llvm.x86.avx2.pmadd.ub.sw", vec(I16, 2 * lanes), size, turned)
        ones = k.const(vec(I16, 2 * lanes), 1)
        return acc + k.call("llvm.x86.avx2.pmadd.wd", vec(I32, lanes), pairs, ones)

    return Tile(
        name="pmaddubsw",
        lanes=lanes,
        depth=4,
        code=np.dtype(np.int8),
        offset=0,
        weight=np.dtype(np.int8),
        sum=I32,
        load_a=load_quad(lanes),
        load_b=lambda k, at: k.load(quad, at),
        emit=emit,
        heights=heights,
        vectors=2,
        rate=3.2 * lanes,
        mnemonic="vpmaddubsw",
    )


class _TileRegister(ir.Type):  # type: ignore[misc]
    """The type of a tile register, which llvmlite does not have."""

    def _to_string(self) -> str:
        return "x86_amx"

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, _TileRegister)

    def __hash__(self) -> int:
        return hash(_TileRegister)


_TILE = _TileRegister()


def _amx(k: Builder, name: str, result: Any, *args: Value) -> Value:
    """A tile instruction on 16 rows of 64 bytes. The compiler gives out the registers, configures
    them where a function begins and releases them where it ends."""
    extents = (k.const(I16, 16), k.const(I16, 64))
    return k.call(f"llvm.x86.{name}.internal", result, *extents, *args)


def _tile_of_rows(k: Builder, rows: list[Value], at: Value) -> Value:
    """64 bytes of each row. The instruction reads rows that are evenly far from each other;
    others, such as the windows at the end of an image row, are copied first."""
    step = rows[1].address() - rows[0].address()
    steps = ((y.address() - x.address()).equals(step) for x, y in pairwise(rows))
    even = reduce(lambda x, y: x & y, steps)
    copied = k.local(16 * 64)
    with k.when(even ^ 1):
        for r, row in enumerate(rows):
            k.store(k.load(vec(I8, 64), row + at), copied + 64 * r)
    start = k.select(even, rows[0] + at, copied)
    return _amx(k, "tileloadd64", _TILE, start, k.select(even, step, 64))


def _rows_of_tile(acc: Value) -> list[Value]:
    k = acc.k
    room = k.local(16 * 64)
    _amx(k, "tilestored64", VOID, room, k.const(I64, 64), acc)
    return [k.load(vec(I32, 16), room + 64 * r) for r in range(16)]


def _amx_tile(heights: tuple[int, ...], vectors: int) -> Tile:
    """``tdpbssd``: 16 rows by 16 channels by 64 products of signed bytes, wrapping."""

    def emit(k: Builder, acc: Value, a: Value, b: Value) -> Value:
        rows, row_bytes = k.const(I16, 16), k.const(I16, 64)
        given = (rows, row_bytes, row_bytes, acc, a, b)
        return k.call("llvm.x86.tdpbssd.internal", _TILE, *given)

    return Tile(
        name="tdpbssd",
        lanes=16,
        depth=64,
        code=np.dtype(np.int8),
        offset=0,
        weight=np.dtype(np.int8),
        sum=I32,
        load_a=_tile_of_rows,
        load_b=lambda k, at: _amx(k, "tileloadd64", _TILE, at, k.const(I64, 64)),
        emit=emit,
        heights=heights,
        vectors=vectors,
        rate=700,
        mnemonic="tdpbssd",
        rows=16,
        grain=4,
        zero=lambda k: _amx(k, "tilezero", _TILE),
        split=_rows_of_tile,
    )


# Rows --------------------------------------------------------------------------------------

_AVX2 = ("avx2", "fma", "bmi2")

_WIDE = pair_tile(8, _madd_x86(8, "llvm.x86.avx2.pmadd.wd"), (1, 2, 4, 6), "vpmaddwd", wide=True)

AVX2 = Isa(
    name="avx2",
    arch="x86_64",
    cpu="x86-64-v3",
    features="",
    needs=_AVX2,
    lanes=8,
    dot=pair_tile(8, _madd_x86(8, "llvm.x86.avx2.pmadd.wd"), (1, 2, 4, 6), "vpmaddwd"),
    real=real_tile(8, (1, 2, 4, 6), "vfmadd"),
    dense=_WIDE,
    lean=_quad_tile(8, (1, 2, 4)),
    crossed=replace(_WIDE, name="pmaddwd-crossed", heights=(1, 2, 4), crossed=True),
    words=_WIDE,
)

AVXVNNI = Isa(
    name="avxvnni",
    arch="x86_64",
    cpu="x86-64-v3",
    features="+avxvnni,+fast-dpwssd",
    needs=(*_AVX2, "avxvnni"),
    lanes=8,
    dot=_vnni_tile(8, (1, 2, 4, 6), 2),
    real=AVX2.real,
    words=_word_tile(8, (1, 2, 4, 6)),
)

AVX512VNNI = Isa(
    name="avx512vnni",
    arch="x86_64",
    cpu="x86-64-v4",
    features="+avx512vnni,+fast-dpwssd,-prefer-256-bit",
    needs=("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"),
    lanes=16,
    dot=_vnni_tile(16, (1, 2, 4, 8), 2),
    real=real_tile(16, (1, 2, 4, 8), "vfmadd"),
    words=_word_tile(16, (1, 2, 4, 8)),
)

AMX = replace(
    AVX512VNNI,
    name="amx",
    features=f"{AVX512VNNI.features},+amx-tile,+amx-int8",
    needs=(*AVX512VNNI.needs, "amx-tile", "amx-int8"),
    dense=_amx_tile((16, 32), 2),
)
