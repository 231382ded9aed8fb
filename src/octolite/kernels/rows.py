"""Kernels that take a tensor row by row: the loop that they share."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.record import Record
from octolite.kernels.simd import I64, PTR, Builder, Value

EmitRow = Callable[[Builder, Isa, SimpleNamespace, Value, Value], None]
"""Emits what becomes of one row: its arguments, and where the row and its result begin."""


def by_rows(name: str, label: str, record: Record, row: EmitRow) -> Unit:
    """``name(args, tile)``: ``row`` for a chunk of rows.

    ``record`` has the fields ``x``, ``out``, ``rows``, ``size`` (floats of a row) and ``chunk``.
    """

    def emit(module: Any, isa: Isa) -> None:
        k = Builder(module, name, (PTR, I64))
        args = record.load(k, k.args[0])
        first = k.args[1] * args.chunk
        with k.loop(first, k.smin(first + args.chunk, args.rows)) as rows:
            start = rows.index * args.size * 4
            row(k, isa, args, args.x + start, args.out + start)
        k.ret()

    return Unit(label, (name,), emit)
