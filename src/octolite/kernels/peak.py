"""What this machine can do at most: the rate of each dot-product tile, and of moving memory.

A tile's peak is what its step reaches with everything in registers, one block of accumulators
wide: no kernel that computes every product with that instruction can be faster. (Some get by with
fewer products than they are asked for, Winograd's say, and pass it.)
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from threading import Barrier
from typing import Any

import numpy as np
from llvmlite import ir

from octolite.errors import KernelError
from octolite.kernels import isa as isas
from octolite.kernels import jit, microscaled
from octolite.kernels.dot import join_chains, zero_sum
from octolite.kernels.isa import Isa, Tile
from octolite.kernels.jit import Unit
from octolite.kernels.simd import F32, I16, I32, I64, PTR, Builder, Value, vec

SLICE_SECONDS = 0.002
SLICES = 5
# More than the caches of most machines hold for a core, and little enough to touch in a moment.
STREAM_BYTES = 64 << 20

# What the assembler calls a vector register, by the first letters of the target's triple.
_REGISTER = {"x86": "v", "i686": "v", "aarch64": "w", "arm64": "w"}


@dataclass(frozen=True)
class Peak:
    """The machine's limits for a number of threads that work at once.

    ``int8`` (of codes with all 8 bits) and ``float32``: 10⁹ products a second. ``memory``: 10⁹
    bytes a second, read and written. ``tiles``: products a second by the name of the tile.
    """

    isa: str
    threads: int
    int8: float
    float32: float
    memory: float
    tiles: dict[str, float]


def measure(threads: int = 1, isa: Isa | None = None) -> Peak:
    """The limits of this machine; takes some 0.1 s, once per process, ISA and number of threads.

    Raises :class:`KernelError` on a machine whose vector registers have no name here.
    """
    return _measure(threads, isa or isas.current())


@functools.cache
def _measure(threads: int, isa: Isa) -> Peak:
    tiles = {tile.name: tile for tile in tiles_of(isa)}
    found = {name: _tile_rate(tile, isa, threads) for name, tile in tiles.items()}
    return Peak(
        isa.name,
        threads,
        max(found[n] for n, t in tiles.items() if t.sum == I32 and t.pairs is None),
        max(found[n] for n, t in tiles.items() if t.sum == F32),
        _stream_rate(isa, threads),
        {name: round(rate, 1) for name, rate in found.items()},
    )


def tiles_of(isa: Isa) -> list[Tile]:
    """All tiles of a row of the table."""
    found = (getattr(isa, field.name) for field in fields(isa))
    return [tile for tile in found if isinstance(tile, Tile)]


# Code --------------------------------------------------------------------------------------


def tile_unit(tile: Tile) -> Unit:
    """``peak(buffer, turns)``: so many turns of a full block of ``tile``'s steps.

    ``buffer``: what values begin with, and where the sums go, a vector each.
    """

    def emit(module: Any, isa: Isa) -> None:
        k = Builder(module, "peak", (PTR, I64))
        buffer, turns = k.args
        groups, zero = tile.heights[-1] // tile.rows, k.const(I64, 0)
        step = tile.lanes * tile.depth * tile.weight.itemsize
        # Tiles of several rows have few operands, all of which stay in registers.
        places = range(groups if tile.rows > 1 else 1)
        rows = [tile.load_a(k, [buffer + 64 * r] * tile.rows, zero) for r in places]
        places = range(tile.vectors if tile.rows > 1 else 1)
        weights = [tile.load_b(k, buffer + step * v) for v in places]
        sums = [zero_sum(k, tile)] * (groups * tile.vectors)
        with k.loop(0, turns, carry=[rows[0], weights[0], *sums]) as loop:
            a, b, *sums = loop.carry
            several = []
            for v in range(tile.vectors):
                b = weights[v] if tile.rows > 1 else _unknown(k, b)
                several.append(b)
            for row in range(groups):
                a = rows[row] if tile.rows > 1 else _unknown(k, a)
                for v, w in enumerate(several):
                    at = row * tile.vectors + v
                    sums[at] = _step(k, tile, sums[at], a, w)
            loop.carry = [a, b, *sums]
        lines = join_chains(tile, tile.heights[-1], loop.carry[2:])
        for i, total in enumerate(itertools.chain(*lines)):  # else nobody would need the sums
            k.store(total, buffer + 4 * tile.lanes * i)
        k.ret()

    return Unit(f"peak {tile.name} {tile.heights[-1]}x{tile.width}", ("peak",), emit)


def _step(k: Builder, tile: Tile, acc: Value, a: Value, b: Value) -> Value:
    if tile.pairs is None:
        return tile.emit(k, acc, a, b)
    words = vec(I16, 2 * tile.lanes)
    return microscaled.step(k, tile, acc, [a, b], [b, a.bits(b.type)], b.bits(words), a)


def stream_unit() -> Unit:
    """``stream(buffer, bytes)``: add 1 to every float of the buffer; bytes in multiples of 64."""

    def emit(module: Any, isa: Isa) -> None:
        k = Builder(module, "stream", (PTR, I64))
        buffer, size = k.args
        kind = vec(F32, 16)
        with k.loop(0, size, 64) as loop:
            at = buffer + loop.index
            k.store(k.load(kind, at) + 1.0, at)
        k.ret()

    return Unit("stream", ("stream",), emit)


def _unknown(k: Builder, value: Value) -> Value:
    """The same value, in the same register, which the compiler can no longer reason about."""
    triple = k.module.triple
    register = next((r for arch, r in _REGISTER.items() if triple.startswith(arch)), None)
    if register is None:
        raise KernelError(f"no name is known here for the vector registers of {triple}")
    kind = ir.FunctionType(value.type, [value.type])
    call = k.ir.asm(kind, "", f"={register},0", [value.raw], side_effect=True)
    return Value(k, call)


# Timing ------------------------------------------------------------------------------------


def _tile_rate(tile: Tile, isa: Isa, threads: int) -> float:
    products = tile.heights[-1] * tile.vectors * tile.lanes * tile.depth
    function = _function(tile_unit(tile), isa, "peak")
    room = 4 * tile.lanes * tile.vectors * tile.heights[-1] + 64
    return products * _rate(function, 1, [np.zeros(room, np.uint8) for _ in range(threads)])


def _stream_rate(isa: Isa, threads: int) -> float:
    function = _function(stream_unit(), isa, "stream")
    size = STREAM_BYTES // threads // 4096 * 4096
    buffers = [np.zeros(size, np.uint8) for _ in range(threads)]
    return 2 * _rate(function, size, buffers)


def _function(unit: Unit, isa: Isa, name: str) -> Callable[[int, int], None]:
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(jit.load(unit, isa)[name])


def _rate(function: Callable[[int, int], None], least: int, buffers: list[Any]) -> float:
    """Units of work in a nanosecond, all threads together, in the best of some slices of time.

    ``function(buffer, work)`` does multiples of ``least``; ``least`` > 1 is the whole buffer.
    """
    work = least
    while least == 1 and _spent(function, buffers[0], work) < SLICE_SECONDS * 1e9:
        work *= 2
    start = Barrier(len(buffers))

    def slices(buffer: Any) -> float:
        start.wait()
        return min(_spent(function, buffer, work) for _ in range(SLICES))

    with ThreadPoolExecutor(len(buffers)) as pool:
        return sum(work / spent for spent in pool.map(slices, buffers))


def _spent(function: Callable[[int, int], None], buffer: Any, work: int) -> int:
    begin = time.perf_counter_ns()
    function(buffer.ctypes.data, work)
    return max(time.perf_counter_ns() - begin, 1)
