"""Rows of a table by their numbers: embeddings, and gathering along an axis.

A number that names no row reads nothing: it is noted, and ``Launch.checks`` raises for it when
the steps have run.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir

from octolite.errors import KernelError, RuntimeModelError
from octolite.ir.types import Array
from octolite.kernels import jit
from octolite.kernels.copy import pieces
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import NOWHERE, OUTPUT, Launch, Place
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I8, I32, I64, PTR, Builder, Value, vec
from octolite.kernels.spec import Lookup

ARGS = Record(
    table=PTR,  # [batch, outer, extent, row]
    ids=PTR,  # [batch, count]
    out=PTR,  # [batch, outer, count, row]
    total=I64,  # batch · outer · count
    count=I64,
    each=I64,  # outer · count: rows of the result that have the same ids
    extent=I64,
    row=I64,  # elements
    scale=PTR,  # float32 [extent] or [1]  (scaled only)
    scale_step=I64,  # bytes, or 0
    chunk=I64,  # rows of a tile
    fault=PTR,  # int64: 1 where a number named no row; the number
)

# Bytes that make a tile worth its dispatch.
_TILE = 65536


def unit(request: Lookup) -> Unit:
    """``lookup(args, tile)``: a chunk of rows."""

    def emit(module: Any, isa: Isa) -> None:
        k = Builder(module, "lookup", (PTR, I64))
        args = ARGS.load(k, k.args[0])
        first = k.args[1] * args.chunk
        read = args.row * request.size
        written = args.row * (4 if request.scaled else request.size)
        with k.loop(first, k.smin(first + args.chunk, args.total)) as rows:
            number = rows.index // args.each * args.count + rows.index % args.count
            at = args.ids + number * request.index
            id_ = k.load(ir.IntType(8 * request.index), at)
            id_ = id_ if request.index == 8 else id_.sext(I64)
            out = args.out + rows.index * written
            with k.either((id_ >= 0) & (id_ < args.extent)) as (inside, outside):
                with inside:
                    source = args.table + (rows.index // args.count * args.extent + id_) * read
                    if request.scaled:
                        scale = k.load(F32, args.scale + id_ * args.scale_step)
                        _scaled(k, isa, source, out, args.row, scale)
                    else:
                        _copied(k, isa, request.size, source, out, read)
                with outside:
                    k.store(id_, args.fault + 8)
                    k.store(k.const(I64, 1), args.fault)
        k.ret()

    return Unit(f"lookup {request}", ("lookup",), emit)


def _copied(k: Builder, isa: Isa, size: int, source: Value, out: Value, total: Value) -> None:
    def body(at: Value, width: int) -> None:
        k.store(k.load(vec(I8, width), source + at), out + at)

    pieces(k, isa, size, total, body)


def _scaled(k: Builder, isa: Isa, source: Value, out: Value, row: Value, scale: Value) -> None:
    whole = row // isa.lanes * isa.lanes
    with k.loop(0, whole, isa.lanes) as loop:
        codes = k.load(vec(I8, isa.lanes), source + loop.index)
        k.store(codes.sext(I32).to_float() * scale, out + loop.index * 4)
    with k.loop(whole, row) as tail:
        code = k.load(I8, source + tail.index)
        k.store(code.sext(I32).to_float() * scale, out + tail.index * 4)


class LookupLayer:
    """A :class:`~octolite.kernels.spec.Lookup` ready to be launched."""

    def __init__(self, request: Lookup, isa: Isa) -> None:
        self.request = request
        self.label = f"{'scaled ' if request.scaled else ''}lookup {isa.name}"
        self._fn = jit.load(unit(request), isa)["lookup"]

    def launch(
        self,
        input_shape: tuple[int, ...],
        table: tuple[int, ...],
        axis: int = 0,
        scale: Array | None = None,
        batch_dims: int = 0,
        threads: int = 1,
    ) -> Launch:
        """Lay the lookup out for numbers of ``input_shape`` along ``axis`` of a ``table``.

        ``scale``: float32 [rows] or [1], for codes that are made real. ``batch_dims``: axes in
        front that numbers and table share.
        """
        own = input_shape[batch_dims:]
        launch = Launch((*table[:axis], *own, *table[axis + 1 :]), 0)
        count, row = math.prod(own), math.prod(table[axis + 1 :])
        each = math.prod(table[batch_dims:axis]) * count
        total = math.prod(table[:batch_dims]) * each
        chunk = max(1, _TILE // max(row * self.request.size, 1))
        if scale is not None and scale.size not in (1, table[axis]):
            raise KernelError(f"{scale.size} scales for a table of {table[axis]} rows")
        scales = None if scale is None else np.ascontiguousarray(scale, np.float32)
        ids, rows = Place("input0"), Place("input1")
        if self.request.table_first:
            ids, rows = rows, ids
        launch.add(
            self.label,
            self._fn,
            ARGS,
            -(-total // chunk),
            table=rows,
            ids=ids,
            out=OUTPUT,
            total=total,
            count=count,
            each=each,
            extent=table[axis],
            row=row,
            scale=NOWHERE if scales is None else scales,
            scale_step=4 if scales is not None and scales.size > 1 else 0,
            chunk=chunk,
            fault=launch.reserve_faults(2, lambda fault: _check(fault, table[axis])),
        )
        return launch


def _check(fault: Array, extent: int) -> None:
    """Raise :class:`RuntimeModelError` where a number named no row."""
    if fault[0]:
        fault[0] = 0
        raise RuntimeModelError(f"index {fault[1]} is not in [0, {extent})")
