"""Products of bytes in the tile registers of AMX.

A register holds 16 rows of 64 bytes. The compiler gives the registers out, configures them where a
function begins and releases them where it ends.
"""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
from llvmlite import ir

from octolite.kernels.simd import I8, I16, I32, I64, VOID, Builder, Value, vec
from octolite.kernels.tile import Tile

ROWS, ROW_BYTES = 16, 64
SIZE = ROWS * ROW_BYTES


class _Type(ir.Type):  # type: ignore[misc]
    """The type of a tile register, which llvmlite does not have."""

    def _to_string(self) -> str:
        return "x86_amx"

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, _Type)

    def __hash__(self) -> int:
        return hash(_Type)


_TYPE = _Type()


def _call(k: Builder, name: str, result: Any, *args: Value) -> Value:
    extents = (k.const(I16, ROWS), k.const(I16, ROW_BYTES))
    return k.call(f"llvm.x86.{name}.internal", result, *extents, *args)


def _load(k: Builder, address: Value, step: Value) -> Value:
    """Rows that are ``step`` bytes apart."""
    return _call(k, "tileloadd64", _TYPE, address, step)


def _load_rows(k: Builder, rows: list[Value], at: Value) -> Value:
    """Rows that are not evenly apart, as windows at the end of an image row, are copied first."""
    step = rows[1].address() - rows[0].address()
    steps = ((y.address() - x.address()).equals(step) for x, y in pairwise(rows))
    even = reduce(lambda x, y: x & y, steps)
    copied = k.local(SIZE)
    with k.when(even ^ 1):
        for r, row in enumerate(rows):
            k.store(k.load(vec(I8, ROW_BYTES), row + at), copied + ROW_BYTES * r)
    start = k.select(even, rows[0] + at, copied)
    return _load(k, start, k.select(even, step, ROW_BYTES))


def _multiply(k: Builder, acc: Value, a: Value, b: Value) -> Value:
    """``acc[m, n] += Σ_k Σ_i a[m, 4k + i] · b[k, 4n + i]``, sums int32 and the rest int8."""
    return _call(k, "tdpbssd", _TYPE, k.const(I16, ROW_BYTES), acc, a, b)


def _split(acc: Value) -> list[Value]:
    k = acc.k
    room = k.local(SIZE)
    _call(k, "tilestored64", VOID, room, k.const(I64, ROW_BYTES), acc)
    return [k.load(vec(I32, ROW_BYTES // 4), room + ROW_BYTES * r) for r in range(ROWS)]


def amx_tile(heights: tuple[int, ...], vectors: int) -> Tile:
    """``tdpbssd``: 16 rows by 16 channels by 64 products of signed bytes, wrapping."""
    return Tile(
        name="tdpbssd",
        lanes=ROW_BYTES // 4,
        depth=ROW_BYTES,
        code=np.dtype(np.int8),
        offset=0,
        weight=np.dtype(np.int8),
        sum=I32,
        load_a=_load_rows,
        load_b=lambda k, at: _load(k, at, k.const(I64, ROW_BYTES)),
        emit=_multiply,
        heights=heights,
        vectors=vectors,
        rate=700,
        mnemonic="tdpbssd",
        rows=ROWS,
        grain=4,
        zero=lambda k: _call(k, "tilezero", _TYPE),
        split=_split,
    )
