"""Softmax and its logarithm over rows that lie side by side in memory."""

from __future__ import annotations

import math
from typing import Any

from octolite.kernels import jit, maths
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, Launch
from octolite.kernels.record import Record
from octolite.kernels.rows import by_rows
from octolite.kernels.simd import F32, I64, PTR, Builder, Value, vec
from octolite.kernels.spec import Softmax

ARGS = Record(x=PTR, out=PTR, rows=I64, size=I64, chunk=I64, beta=F32)


def unit(log: bool) -> Unit:
    """``softmax(args, tile)``: a chunk of rows."""

    def row(k: Builder, isa: Isa, args: Any, x: Value, out: Value) -> None:
        _row(k, isa, args, x, out, log)

    return by_rows("softmax", f"softmax log={log}", ARGS, row)


def _row(k: Builder, isa: Isa, args: Any, x: Value, out: Value, log: bool) -> None:
    """Three passes: the largest; powers and their sum; the quotient or its logarithm."""
    kind = vec(F32, isa.lanes)
    lowest = k.const(kind, float("-inf"))
    with k.loop(0, args.size, isa.lanes, carry=[lowest]) as loop:
        mask = k.first(args.size - loop.index, isa.lanes)
        here = k.load_first(kind, x + loop.index * 4, mask, float("-inf"))
        loop.carry = [maths.maximum(k, loop.carry[0], here)]
    top = k.fold(loop.carry[0], lambda a, b: maths.maximum(k, a, b)).splat(isa.lanes)

    with k.loop(0, args.size, isa.lanes, carry=[k.const(kind, 0.0)]) as loop:
        mask = k.first(args.size - loop.index, isa.lanes)
        here = k.load_first(kind, x + loop.index * 4, mask, float("-inf"))
        below = (here - top) * args.beta
        power = maths.exp(k, below)
        k.store_first(below if log else power, out + loop.index * 4, mask)
        loop.carry = [loop.carry[0] + k.select(mask, power, 0.0)]
    total = k.fold(loop.carry[0], lambda a, b: a + b).splat(isa.lanes)
    total = maths.log(k, total) if log else total

    with k.loop(0, args.size, isa.lanes) as last:
        mask = k.first(args.size - last.index, isa.lanes)
        at = out + last.index * 4
        kept = k.load_first(kind, at, mask)
        k.store_first(kept - total if log else kept / total, at, mask)


class SoftmaxLayer:
    """A :class:`~octolite.kernels.spec.Softmax` ready to be launched."""

    def __init__(self, request: Softmax, isa: Isa) -> None:
        self.request = request
        self.label = f"{'log ' if request.log else ''}softmax {isa.name}"
        self._fn = jit.load(unit(request.log), isa)["softmax"]

    def launch(self, input_shape: tuple[int, ...], threads: int = 1) -> Launch:
        """Lay the function out for ``input_shape``; its last axis sums to 1."""
        rows, size = math.prod(input_shape[:-1]), input_shape[-1]
        launch = Launch(tuple(input_shape), 0)
        chunk = max(1, 4096 // max(size, 1))
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
            beta=self.request.beta,
        )
        return launch
