"""Rows divided by their Euclidean norm."""

from __future__ import annotations

import math
from typing import Any

from octolite.kernels import jit, maths
from octolite.kernels.clamp import bounds
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, Launch
from octolite.kernels.record import Record
from octolite.kernels.rows import by_rows
from octolite.kernels.simd import F32, I64, PTR, Builder, Value, vec
from octolite.kernels.spec import L2Normalization

ARGS = Record(x=PTR, out=PTR, rows=I64, size=I64, chunk=I64, floor=F32, low=F32, high=F32)


def unit(curved: bool) -> Unit:
    """``normalize(args, tile)``: a chunk of rows."""

    def row(k: Builder, isa: Isa, args: Any, x: Value, out: Value) -> None:
        _row(k, isa, args, x, out, curved)

    return by_rows("normalize", f"normalize tanh={curved}", ARGS, row)


def _row(k: Builder, isa: Isa, args: Any, x: Value, out: Value, curved: bool) -> None:
    kind = vec(F32, isa.lanes)
    with k.loop(0, args.size, isa.lanes, carry=[k.const(kind, 0.0)]) as loop:
        mask = k.first(args.size - loop.index, isa.lanes)
        here = k.load_first(kind, x + loop.index * 4, mask)
        loop.carry = [k.fma(here, here, loop.carry[0])]
    square = k.fold(loop.carry[0], lambda a, b: a + b).splat(isa.lanes)
    norm = k.smax(maths.sqrt(k, square), args.floor)
    with k.loop(0, args.size, isa.lanes) as loop:
        mask = k.first(args.size - loop.index, isa.lanes)
        y = k.load_first(kind, x + loop.index * 4, mask) / norm
        y = maths.tanh(k, y) if curved else maths.clamp(k, y, args.low, args.high)
        k.store_first(y, out + loop.index * 4, mask)


class NormalizeLayer:
    """A :class:`~octolite.kernels.spec.L2Normalization` ready to be launched."""

    def __init__(self, request: L2Normalization, isa: Isa) -> None:
        self.request = request
        self.label = f"normalize {isa.name}"
        self.low, self.high, curved = bounds(request.activation)
        self._fn = jit.load(unit(curved), isa)["normalize"]

    def launch(self, input_shape: tuple[int, ...], threads: int = 1) -> Launch:
        """Lay the function out for ``input_shape``; its last axis gets the norm 1."""
        rows, size = math.prod(input_shape[:-1]), input_shape[-1]
        launch = Launch(tuple(input_shape), 0)
        chunk = max(1, 8192 // max(size, 1))
        launch.add(
            self.label,
            self._fn,
            ARGS,
            -(-rows // chunk) if size else 0,
            x=INPUT,
            out=OUTPUT,
            rows=rows,
            size=size,
            chunk=chunk,
            floor=self.request.floor,
            low=self.low,
            high=self.high,
        )
        return launch
