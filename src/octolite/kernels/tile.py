"""What kernels know of an instruction set: ``Tile``, one step of a dot product, and ``Isa``, a row
of the table; and the tiles that are written without any machine's own instructions.

A ``Tile`` is the innermost step of a dot product: ``acc[n] += Σ_k a[k] · b[n, k]`` for ``n``
channels at once and ``k`` depths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from llvmlite import binding as llvm

from octolite.ir.types import Array
from octolite.kernels.simd import F32, I8, I16, I32, Builder, Type, Value, vec

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


def load_quad(lanes: int) -> Load:
    """Four activation bytes (or two halfwords), the same in every 32-bit lane."""
    return lambda k, at: k.load(I32, at).splat(lanes)


def real_tile(lanes: int, heights: tuple[int, ...], vectors: int = 2) -> Tile:
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
