"""Instruction sets of x86 processors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from octolite.kernels.amx import amx_tile
from octolite.kernels.simd import I1, I8, I16, I32, Builder, Value, vec
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


def _microscaled_tile(heights: tuple[int, ...]) -> Tile:
    """See :mod:`octolite.kernels.microscaled`: five instructions, three of which multiply, and a
    shift for 64 products."""
    quad, lanes = vec(I8, 32), 8

    def pairs(k: Builder, a: Value, b: Value) -> Value:
        return k.call("llvm.x86.avx2.pmadd.ub.sw", vec(I16, 16), a.bits(quad), b)

    return Tile(
        name="pmaddubsw-7bit",
        lanes=lanes,
        depth=8,
        code=np.dtype(np.uint8),
        offset=0,
        weight=np.dtype(np.int8),
        sum=I32,
        load_a=load_quad(lanes),
        load_b=lambda k, at: k.load(quad, at),
        emit=_madd_x86(lanes, "llvm.x86.avx2.pmadd.wd"),
        heights=heights,
        vectors=1,
        rate=3.9 * lanes,
        mnemonic="vpmaddwd",
        grain=4,
        pairs=pairs,
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
    microscaled=_microscaled_tile((1, 2, 4, 6)),
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
    masks_codes=True,
)

AMX = replace(
    AVX512VNNI,
    name="amx",
    features=f"{AVX512VNNI.features},+amx-tile,+amx-int8",
    needs=(*AVX512VNNI.needs, "amx-tile", "amx-int8"),
    dense=amx_tile((16, 32), 2),
)
