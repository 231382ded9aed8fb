"""What kernels know of an instruction set: ``Tile``, one step of a dot product, and ``Isa``, a row
of the table; and the tiles that are written without any machine's own instructions.

A ``Tile`` is the innermost step of a dot product: ``acc[m, n] += Σ_k a[m, k] · b[n, k]`` for one
row ``m`` or several, ``n`` channels at once and ``k`` depths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from llvmlite import binding as llvm

from octolite.ir.types import Array
from octolite.kernels import host
from octolite.kernels.simd import F32, I8, I16, I32, Builder, Type, Value, vec

Emit = Callable[[Builder, Value, Value, Value], Value]
LoadA = Callable[[Builder, list[Value], Value], Value]
LoadB = Callable[[Builder, Value], Value]


def _only(acc: Value) -> list[Value]:
    return [acc]


# Rows of a block whose addresses all find a register.
_ADDRESSES = 12


@dataclass(frozen=True)
class Tile:
    """One dot-product step and the block of such steps that fills the registers.

    ``rows`` of activations and ``lanes`` channels go into a step, and ``depth`` products into each
    of its sums.

    ``code``: how an activation lies in memory, ``offset`` what is added to its int8 code to get
    there. ``weight``: how a packed weight lies in memory, ``[depth / grain, lanes, grain]`` for
    each step (a ``grain`` of 0 stands for the whole depth). ``sum``: element type of the sums.

    ``load_a`` takes the addresses of the step's rows and how far from each it is, in bytes;
    ``load_b`` loads a step of weights; ``emit`` adds the products to an accumulator. That may be
    anything, as long as ``zero`` makes an empty one and ``split`` turns it into vectors, one a row,
    of ``lanes`` sums; unless they are given it is this vector for the only row.

    ``heights``: rows that a block may have, ascending, multiples of ``rows``; ``vectors``: vectors
    that it is wide. ``rate``: products in a cycle that a block reaches, for choosing between
    kernels. ``crossed``: two steps at a time, by :func:`octolite.kernels.dot.run_crossed`.
    ``pairs``: for :mod:`octolite.kernels.microscaled`, products of bytes as int16 sums of two;
    ``emit`` then takes a factor and such sums.
    """

    name: str
    lanes: int
    depth: int
    code: np.dtype[np.generic]
    offset: int
    weight: np.dtype[np.generic]
    sum: Type
    load_a: LoadA
    load_b: LoadB
    emit: Emit
    heights: tuple[int, ...]
    vectors: int
    rate: float
    mnemonic: str = ""
    crossed: bool = False
    rows: int = 1
    grain: int = 0
    zero: Callable[[Builder], Value] | None = None
    split: Callable[[Value], list[Value]] = _only
    pairs: Callable[[Builder, Value, Value], Value] | None = None

    @property
    def width(self) -> int:
        """Channels of a block, which is the width of a packed panel."""
        return self.lanes * self.vectors

    def fitting(self, channels: int) -> Tile:
        """This tile, or a higher one of single vectors where many lanes would have no channel."""
        empty = -channels % self.width
        if empty < self.lanes or 8 * empty < channels:
            return self
        most = min(self.heights[-1] * self.vectors, _ADDRESSES)
        return replace(self, vectors=1, heights=(*self.heights, most))

    @property
    def centred(self) -> bool:
        """Whether codes of rows are kept less their zero point, for which they have room, or never
        have any."""
        return self.code == np.int16 or self.pairs is not None

    @property
    def order(self) -> tuple[int, int, int]:
        """Extents of a step of packed weights: [depth / grain, lanes, grain]."""
        grain = self.grain or self.depth
        return self.depth // grain, self.lanes, grain

    def model(self, acc: Array, a: Array, b: Array) -> Array:
        """What ``emit`` computes: ``acc`` [rows, lanes], ``a`` [rows, depth], ``b`` as packed."""
        kind = np.int64 if self.sum == I32 else np.float32
        by_depth = b.reshape(self.order).transpose(0, 2, 1).reshape(self.depth, self.lanes)
        product = a.astype(kind) @ by_depth.astype(kind)
        return np.asarray((acc.astype(kind) + product).astype(acc.dtype))


@dataclass(frozen=True)
class Isa:
    """One instruction set: ``needs`` are the host features that it takes to run it.

    ``arch``: the processors that have it, as a target triple begins; empty where all do.

    ``lanes``: floats in a vector. ``real`` is the tile of float products, ``dot`` that of int8
    products; both take a row at a time. ``dense``, where there is one, replaces ``dot`` where each
    weight is used for many rows: its weights need not be small, and its steps may take several
    rows. Its panels are as wide. ``lean`` replaces ``dot`` where each weight is used for few rows;
    it is exact as long as no weight is -128. ``crossed`` replaces ``dense`` where every row of
    activations has a range, and so its own codes. ``words`` takes int16 pairs on both sides, for
    codes that have outgrown bytes. ``microscaled`` takes 7-bit codes, where that is much
    faster. ``masks_codes``: parts of vectors of bytes and halfwords can be loaded and stored.
    ``high_product``: a doubled product of int32, its upper half rounded, in an instruction.
    """

    name: str
    arch: str
    cpu: str
    features: str
    needs: tuple[str, ...]
    lanes: int
    dot: Tile
    real: Tile
    dense: Tile | None = None
    lean: Tile | None = None
    crossed: Tile | None = None
    words: Tile | None = None
    microscaled: Tile | None = None
    masks_codes: bool = False
    high_product: Callable[[Builder, Value, Value], Value] | None = None

    @property
    def runs_here(self) -> bool:
        return all(map(host.has, self.needs))

    @property
    def triple(self) -> str:
        """The target to compile for: this machine where it has such a processor."""
        here = str(llvm.get_default_triple())
        family = here.replace("arm64", "aarch64", 1)  # as Apple calls it
        return here if family.startswith(self.arch) else f"{self.arch}-unknown-linux-gnu"


# Tiles -------------------------------------------------------------------------------------


def load_quad(lanes: int) -> LoadA:
    """Four activation bytes (or two halfwords), the same in every 32-bit lane."""
    return lambda k, rows, at: k.load(I32, rows[0] + at).splat(lanes)


def real_tile(lanes: int, heights: tuple[int, ...], mnemonic: str = "", vectors: int = 2) -> Tile:
    kind = vec(F32, lanes)
    return Tile(
        name="fma",
        lanes=lanes,
        depth=1,
        code=np.dtype(np.float32),
        offset=0,
        weight=np.dtype(np.float32),
        sum=F32,
        load_a=lambda k, rows, at: k.load(F32, rows[0] + at).splat(lanes),
        load_b=lambda k, at: k.load(kind, at),
        emit=lambda k, acc, a, b: k.fma(a, b, acc),
        heights=heights,
        vectors=vectors,
        rate=2 * lanes,
        mnemonic=mnemonic,
    )


def madd_any(lanes: int) -> Emit:
    """The same in plain IR; code generators know the pattern where they have the instruction."""

    def emit(k: Builder, acc: Value, a: Value, b: Value) -> Value:
        product = a.bits(vec(I16, 2 * lanes)).sext(I32) * b.sext(I32)
        even, odd = range(0, 2 * lanes, 2), range(1, 2 * lanes, 2)
        return acc + (product.pick(even) + product.pick(odd))

    return emit


def pair_tile(
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
        load_a=load_quad(lanes),
        load_b=lambda k, at: k.load(words, at) if wide else k.load(bytes_, at).sext(I16),
        emit=emit,
        heights=heights,
        vectors=2,
        rate=3.2 * lanes,
        mnemonic=mnemonic,
    )
