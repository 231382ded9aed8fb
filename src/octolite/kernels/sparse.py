"""Rows of a table added up by the rows of a sparse tensor of their numbers.

Each tile takes some columns of all rows, so that sums run in the order of the numbers. A number or
place that is out of range reads and writes nothing: it is noted, and ``Launch.checks`` raises for
it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from octolite.errors import KernelError, RuntimeModelError, did_you_mean
from octolite.ir.types import Array
from octolite.kernels import jit, maths
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import OUTPUT, Launch, Place
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I32, I64, PTR, Builder, Value, vec
from octolite.kernels.spec import SparseLookup

ARGS = Record(
    ids=PTR,  # int32 [count]
    places=PTR,  # int32 [count, rank + 1]
    weights=PTR,  # float32 [count]
    table=PTR,  # float32 [extent, row]
    out=PTR,  # float32 [rows, row]
    norm=PTR,  # float32 [tile, rows, 2]: the divisor, and 1 where any number was found
    count=I64,
    rank=I64,
    limits=PTR,  # int64 [rank]: extents of the rows
    rows=I64,
    extent=I64,
    row=I64,  # elements
    part=I64,  # elements of a tile
    fault=PTR,  # int64: 1 where a number was out of range; the number; its limit
)

COMBINERS = ("mean", "sqrtn", "sum")

# Products that make a tile worth its dispatch.
_TILE = 16384


def unit(combiner: str) -> Unit:
    """``sparse(args, tile)``: some columns of all rows."""

    def emit(module: Any, isa: Isa) -> None:
        k = Builder(module, "sparse", (PTR, I64))
        args = ARGS.load(k, k.args[0])
        args.first = k.args[1] * args.part
        args.size = k.smin(args.row - args.first, args.part)
        args.norm = args.norm + k.args[1] * args.rows * 8
        with k.loop(0, args.rows) as rows:
            k.store(k.const(vec(F32, 2), 0.0), args.norm + rows.index * 8)
            at = args.out + (rows.index * args.row + args.first) * 4
            _each(k, isa, args.size, at, lambda at, x, mask: k.const(x.type, 0.0))
        with k.loop(0, args.count) as numbers:
            _add(k, isa, args, combiner, numbers.index)
        if combiner != "sum":
            _divide(k, isa, args, combiner)
        k.ret()

    return Unit(f"sparse {combiner}", ("sparse",), emit)


Change = Callable[[Value, Value, Value | None], Value]
"""From a vector, where it lies from the start, in bytes, and a mask where it is not whole, to what
comes in its place."""


def _each(k: Builder, isa: Isa, size: Value, at: Value, change: Change) -> None:
    """Change ``size`` floats at ``at``."""
    kind = vec(F32, isa.lanes)
    whole = size // isa.lanes * isa.lanes
    with k.loop(0, whole, isa.lanes) as loop:
        here = loop.index * 4
        k.store(change(here, k.load(kind, at + here), None), at + here)
    with k.when(whole < size):
        mask, here = k.first(size - whole, isa.lanes), whole * 4
        k.store_first(change(here, k.load_first(kind, at + here, mask), mask), at + here, mask)


def _add(k: Builder, isa: Isa, args: SimpleNamespace, combiner: str, number: Value) -> None:
    """One weighted row of the table, added where it belongs."""
    id_ = k.load(I32, args.ids + number * 4).sext(I64)
    start = args.places + number * (args.rank + 1) * 4
    with k.loop(0, args.rank, carry=[k.const(I64, 0), _checked(k, args, id_, args.extent)]) as axes:
        place, good = axes.carry
        limit = k.load(I64, args.limits + axes.index * 8)
        index = k.load(I32, start + axes.index * 4).sext(I64)
        axes.carry = [place * limit + index, good & _checked(k, args, index, limit)]
    place, good = axes.carry
    weight = k.load(F32, args.weights + number * 4)
    with k.when(good):
        source = args.table + (id_ * args.row + args.first) * 4

        def add(at: Value, x: Value, mask: Value | None) -> Value:
            there = source + at
            row = k.load(x.type, there) if mask is None else k.load_first(x.type, there, mask)
            return x + row * weight

        _each(k, isa, args.size, args.out + (place * args.row + args.first) * 4, add)
        norm = args.norm + place * 8
        k.store(k.load(F32, norm) + (weight if combiner == "mean" else weight * weight), norm)
        k.store(k.const(F32, 1.0), norm + 4)


def _checked(k: Builder, args: SimpleNamespace, index: Value, limit: Value) -> Value:
    """Whether ``index`` is in [0, limit); noted where it is not."""
    with k.when((index < 0) | (index >= limit)):
        k.store(index, args.fault + 8)
        k.store(limit, args.fault + 16)
        k.store(k.const(I64, 1), args.fault)
    return (index >= 0) & (index < limit)


def _divide(k: Builder, isa: Isa, args: SimpleNamespace, combiner: str) -> None:
    """What has any number, by the sum of its weights or the root of that of their squares."""
    with k.loop(0, args.rows) as rows:
        norm = args.norm + rows.index * 8
        with k.when(k.load(F32, norm + 4) > 0.0):
            total = k.load(F32, norm)
            divisor = total if combiner == "mean" else maths.sqrt(k, total)
            at = args.out + (rows.index * args.row + args.first) * 4
            _each(k, isa, args.size, at, lambda at, x, mask: x / divisor)


class SparseLookupLayer:
    """A :class:`~octolite.kernels.spec.SparseLookup` ready to be launched."""

    def __init__(self, request: SparseLookup, isa: Isa) -> None:
        if request.combiner not in COMBINERS:
            hint = did_you_mean(request.combiner, COMBINERS)
            raise KernelError(f"no combiner {request.combiner!r}. {hint}")
        self.request = request
        self.isa = isa
        self.label = f"sparse lookup {isa.name}"
        self._fn = jit.load(unit(request.combiner), isa)["sparse"]

    def launch(
        self,
        input_shape: tuple[int, ...],
        rows: tuple[int, ...],
        table: tuple[int, ...],
        threads: int = 1,
    ) -> Launch:
        """Lay the lookup out for ``input_shape`` [count] numbers of a ``table``, which are added up
        to ``rows``, whatever their rank."""
        launch = Launch((*rows, *table[1:]), 0)
        (count,), row, places = input_shape, math.prod(table[1:]), math.prod(rows)
        launch.macs = count * row
        parts = max(1, min(threads, row // self.isa.lanes, count * row // _TILE))
        part = max(1, -(-row // parts // self.isa.lanes)) * self.isa.lanes
        parts = max(1, -(-row // part))
        launch.add(
            self.label,
            self._fn,
            ARGS,
            parts,
            ids=Place("input0"),
            places=Place("input1"),
            weights=Place("input3"),
            table=Place("input4"),
            out=OUTPUT,
            norm=launch.reserve(parts * places * 8),
            count=count,
            rank=len(rows),
            limits=np.array(rows, np.int64),
            rows=places,
            extent=table[0],
            row=row,
            part=part,
            fault=launch.reserve_faults(3, _check),
        )
        return launch


def _check(fault: Array) -> None:
    """Raise :class:`RuntimeModelError` where a number was out of range."""
    if fault[0]:
        fault[0] = 0
        raise RuntimeModelError(f"index {fault[1]} is not in [0, {fault[2]})")
