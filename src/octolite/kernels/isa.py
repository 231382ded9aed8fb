"""Instruction sets: one row each, holding all that kernels need to know of a machine.

A ``Tile`` is the innermost step of a dot product: ``acc[n] += Σ_k a[k] · b[n, k]`` for ``n``
channels at once and ``k`` depths. To add an instruction set, write its tiles and a row, and put
the row in ``ROWS``: packing, kernels, selection and tests follow from the fields.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from llvmlite import binding as llvm

from octolite.errors import KernelError, did_you_mean
from octolite.ir.types import Array
from octolite.kernels.simd import F32, I1, I8, I16, I32, Builder, Type, Value, vec

Emit = Callable[[Builder, Value, Value, Value], Value]
Load = Callable[[Builder, Value], Value]


@dataclass(frozen=True)
class Tile:
    """One dot-product step and the block of such steps that fills the registers.

    ``lanes``: channels in one vector; ``depth``: products that each lane sums per step;
    ``code``: how an activation lies in memory, ``offset`` what is added to its int8 code to get
    there; ``weight``: how a packed weight lies in memory (``[lanes, depth]`` for each step);
    ``sum``: element type of the accumulator. ``load_a`` gives one row's ``depth`` activations to
    every lane, ``load_b`` loads a step of weights, ``emit`` adds the products to an accumulator.
    ``heights``: rows that a block may have, ascending; ``vectors``: vectors that it is wide.
    ``rate``: products in a cycle that a block reaches, for choosing between kernels.
    ``crossed``: two steps at a time, by :func:`octolite.kernels.dot.run_crossed`.
    """

    name: str
    lanes: int
    depth: int
    code: np.dtype[np.generic]
    offset: int
    weight: np.dtype[np.generic]
    sum: Type
    load_a: Load
    load_b: Load
    emit: Emit
    heights: tuple[int, ...]
    vectors: int
    rate: float
    mnemonic: str = ""
    crossed: bool = False

    @property
    def width(self) -> int:
        """Channels of a block, which is the width of a packed panel."""
        return self.lanes * self.vectors

    def model(self, acc: Array, a: Array, b: Array) -> Array:
        """What ``emit`` computes: ``acc`` [lanes], ``a`` [depth], ``b`` [lanes, depth]."""
        kind = np.int64 if self.sum == I32 else np.float32
        product = b.astype(kind) @ a.astype(kind)
        return np.asarray((acc.astype(kind) + product).astype(acc.dtype))


@dataclass(frozen=True)
class Isa:
    """One instruction set: ``needs`` are the host features that it takes to run it.

    ``lanes``: floats in a vector. ``real`` is the tile of float products, ``dot`` that of int8
    products; ``dense``, where there is one, replaces ``dot`` where each weight is used for many
    rows, so that it need not be small. It packs weights in the same order. ``lean`` replaces it
    where each weight is used for few rows; it is exact as long as no weight is -128. ``crossed``
    replaces ``dense`` where every row of activations has a range, and so its own codes.
    """

    name: str
    cpu: str
    features: str
    needs: tuple[str, ...]
    lanes: int
    dot: Tile
    real: Tile
    dense: Tile | None = None
    lean: Tile | None = None
    crossed: Tile | None = None

    @property
    def runs_here(self) -> bool:
        host = llvm.get_host_cpu_features()
        return all(host.get(feature, False) for feature in self.needs)


# Tiles -------------------------------------------------------------------------------------


def _load_quad(lanes: int) -> Load:
    """Four activation bytes (or two halfwords), the same in every 32-bit lane."""
    return lambda k, at: k.load(I32, at).splat(lanes)


def _real_tile(lanes: int, heights: tuple[int, ...], vectors: int = 2) -> Tile:
    kind = vec(F32, lanes)
    return Tile(
        name="fma",
        lanes=lanes,
        depth=1,
        code=np.dtype(np.float32),
        offset=0,
        weight=np.dtype(np.float32),
        sum=F32,
        load_a=lambda k, at: k.load(F32, at).splat(lanes),
        load_b=lambda k, at: k.load(kind, at),
        emit=lambda k, acc, a, b: k.fma(a, b, acc),
        heights=heights,
        vectors=vectors,
        rate=2 * lanes,
        mnemonic="vfmadd",
    )


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
        load_a=_load_quad(lanes),
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


def _madd_any(lanes: int) -> Emit:
    """The same in plain IR; code generators know the pattern where they have the instruction."""

    def emit(k: Builder, acc: Value, a: Value, b: Value) -> Value:
        product = a.bits(vec(I16, 2 * lanes)).sext(I32) * b.sext(I32)
        even, odd = range(0, 2 * lanes, 2), range(1, 2 * lanes, 2)
        return acc + (product.pick(even) + product.pick(odd))

    return emit


def _pair_tile(
    lanes: int, emit: Emit, heights: tuple[int, ...], mnemonic: str = "", wide: bool = False
) -> Tile:
    """Pairs of int16 products: two never overflow int32 and none saturates.

    Activations are kept as int16. Weights are kept as bytes and widened as they are loaded, or
    kept ``wide``, which is faster where they are read often.
    """
    bytes_, words = vec(I8, 2 * lanes), vec(I16, 2 * lanes)
    return Tile(
        name=("pmaddwd" if mnemonic else "madd") + ("-wide" if wide else ""),
        lanes=lanes,
        depth=2,
        code=np.dtype(np.int16),
        offset=0,
        weight=np.dtype(np.int16 if wide else np.int8),
        sum=I32,
        load_a=_load_quad(lanes),
        load_b=lambda k, at: k.load(words, at) if wide else k.load(bytes_, at).sext(I16),
        emit=emit,
        heights=heights,
        vectors=2,
        rate=3.2 * lanes,
        mnemonic=mnemonic,
    )


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
        load_a=_load_quad(lanes),
        load_b=lambda k, at: k.load(quad, at),
        emit=emit,
        heights=heights,
        vectors=2,
        rate=3.2 * lanes,
        mnemonic="vpmaddubsw",
    )


# Rows --------------------------------------------------------------------------------------

_AVX2 = ("avx2", "fma", "bmi2")

GENERIC = Isa(
    name="generic",
    cpu="",
    features="",
    needs=(),
    lanes=4,
    dot=_pair_tile(4, _madd_any(4), (1, 2, 4)),
    real=_real_tile(4, (1, 2, 4)),
    dense=_pair_tile(4, _madd_any(4), (1, 2, 4), wide=True),
)

_WIDE = _pair_tile(8, _madd_x86(8, "llvm.x86.avx2.pmadd.wd"), (1, 2, 4, 6), "vpmaddwd", wide=True)

AVX2 = Isa(
    name="avx2",
    cpu="x86-64-v3",
    features="",
    needs=_AVX2,
    lanes=8,
    dot=_pair_tile(8, _madd_x86(8, "llvm.x86.avx2.pmadd.wd"), (1, 2, 4, 6), "vpmaddwd"),
    real=_real_tile(8, (1, 2, 4, 6)),
    dense=_WIDE,
    lean=_quad_tile(8, (1, 2, 4)),
    crossed=replace(_WIDE, name="pmaddwd-crossed", heights=(1, 2, 4), crossed=True),
)

AVXVNNI = Isa(
    name="avxvnni",
    cpu="x86-64-v3",
    features="+avxvnni",
    needs=(*_AVX2, "avxvnni"),
    lanes=8,
    dot=_vnni_tile(8, (1, 2, 4, 6), 2),
    real=AVX2.real,
)

AVX512VNNI = Isa(
    name="avx512vnni",
    cpu="x86-64-v4",
    features="+avx512vnni,-prefer-256-bit",
    needs=("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"),
    lanes=16,
    dot=_vnni_tile(16, (1, 2, 4, 8), 2),
    real=_real_tile(16, (1, 2, 4, 8)),
)

# Worst first: the last that runs is taken.
ROWS: tuple[Isa, ...] = (GENERIC, AVX2, AVXVNNI, AVX512VNNI)


def by_name(name: str) -> Isa:
    """The row called ``name``. Raises :class:`KernelError`."""
    for row in ROWS:
        if row.name == name:
            return row
    known = [row.name for row in ROWS]
    raise KernelError(f"there is no instruction set {name!r}. {did_you_mean(name, known)}")


@functools.cache
def _forced(name: str) -> Isa:
    row = by_name(name)
    if not row.runs_here:
        raise KernelError(
            f"OCTOLITE_ISA asks for {name!r}, which needs {', '.join(row.needs)}; "
            f"this CPU ({llvm.get_host_cpu_name()}) lacks some of them"
        )
    return row


@functools.cache
def _best() -> Isa:
    return next(row for row in reversed(ROWS) if row.runs_here)


def current() -> Isa:
    """The row to compile for: ``OCTOLITE_ISA`` where it is set, else the best that runs here.

    Raises :class:`KernelError` when the variable names a row that is unknown or cannot run.
    """
    name = os.environ.get("OCTOLITE_ISA")
    return _forced(name) if name else _best()
