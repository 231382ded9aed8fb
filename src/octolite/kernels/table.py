"""Functions of codes by tables: as many entries as there are codes, each looked up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from octolite.kernels import jit
from octolite.kernels.copy import CopyLayer
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, Launch, Place
from octolite.kernels.record import Record
from octolite.kernels.simd import I64, PTR, Builder, Value
from octolite.kernels.spec import Copy, Recode, Table
from octolite.kernels.views import Move

ARGS = Record(x=PTR, out=PTR, table=PTR, size=I64, chunk=I64)

# Elements of a tile, and of a turn of the loop.
_TILE, _ABREAST = 16384, 8


def unit(code: int, entry: int) -> Unit:
    """``table(args, tile)``: a chunk of elements; the bytes of a code and of an entry."""

    def emit(module: Any, isa: Isa) -> None:
        k = Builder(module, "table", (PTR, I64))
        args = ARGS.load(k, k.args[0])
        start = k.args[1] * args.chunk
        stop = k.smin(start + args.chunk, args.size)
        whole = start + (stop - start) // _ABREAST * _ABREAST

        def look_up(first: Value, count: int) -> None:
            x, out = args.x + first * code, args.out + first * entry
            found = []
            for i in range(count):
                index = k.load(ir.IntType(8 * code), x + i * code).zext(I64)
                found.append(k.load(ir.IntType(8 * entry), args.table + index * entry))
            for i, value in enumerate(found):
                k.store(value, out + i * entry)

        with k.loop(start, whole, _ABREAST) as loop:
            look_up(loop.index, _ABREAST)
        with k.loop(whole, stop) as last:
            look_up(last.index, 1)
        k.ret()

    return Unit(f"table {code} {entry}", ("table",), emit)


class TableLayer:
    """A :class:`~octolite.kernels.spec.Table` ready to be launched."""

    def __init__(self, request: Table, isa: Isa) -> None:
        self.request = request
        self.label = f"table {isa.name}"
        self._entries = np.ascontiguousarray(request.entries)
        self._code = 1 if self._entries.size == 256 else 2
        self._fn = jit.load(unit(self._code, self._entries.itemsize), isa)["table"]

    def launch(
        self,
        input_shape: tuple[int, ...],
        others: tuple[tuple[int, ...], ...] = (),
        threads: int = 1,
    ) -> Launch:
        """Lay the function out for ``input_shape``; there are no ``others``."""
        launch = Launch(tuple(input_shape), 0)
        size = math.prod(input_shape)
        if self._entries.itemsize == self._code:
            launch.in_place = (0,)
        launch.add(
            self.label,
            self._fn,
            ARGS,
            -(-size // _TILE),
            x=INPUT,
            out=OUTPUT,
            table=self._entries,
            size=size,
            chunk=_TILE,
        )
        return launch


class RecodeLayer:
    """A :class:`~octolite.kernels.spec.Recode` ready to be launched."""

    def __init__(self, request: Recode, isa: Isa) -> None:
        self.request = request
        self.label = f"recode {isa.name}"
        self._copy = CopyLayer(Copy(1), isa)
        self._tables = [None if t is None else TableLayer(t, isa) for t in request.tables]

    def launch(
        self,
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        moves: Sequence[Move],
        threads: int = 1,
    ) -> Launch:
        """Lay ``moves`` out, each of which reads one input wholly."""
        launch = Launch(output_shape, 0)
        places = {"output0": OUTPUT}
        for i, (table, move) in enumerate(zip(self._tables, moves, strict=True)):
            source = Place(f"input{i}")
            places[source.base] = source
            if table is not None and 0 not in move.source.shape:
                recoded = launch.reserve(math.prod(move.source.shape))
                stages = table.launch(move.source.shape)
                launch.include(stages, input0=source, output0=recoded)
                places[source.base] = recoded
        launch.include(self._copy.launch(input_shape, output_shape, moves), **places)
        return launch
