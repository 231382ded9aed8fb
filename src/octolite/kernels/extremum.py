"""Where the largest or smallest element along an axis is; of equals the first, and of NaN.

The axis is the middle of a tensor [outer, count, inner]. With elements inside, vectors run along
them; without, a vector holds elements of one row, and its lanes are compared at the end.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from octolite.errors import KernelError, did_you_mean
from octolite.kernels import jit
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, Launch
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I32, I64, PTR, Builder, Value, lanes_of, like, vec
from octolite.kernels.spec import ArgExtremum

ARGS = Record(
    x=PTR,  # float32 [outer, count, inner]
    out=PTR,  # int32 or int64 [outer, inner]
    outer=I64,
    count=I64,
    inner=I64,
    chunk=I64,  # a tile is so many of outer
    part=I64,  # by so many of inner
    parts=I64,
)

KINDS = {"max": (">", -math.inf), "min": ("<", math.inf)}
"""How an element stands to those that it replaces, and what any element may replace."""

_MOST = 2**31 - 1

# Elements that make a tile worth its dispatch.
_TILE = 16384


def unit(request: ArgExtremum) -> Unit:
    """``columns``: inner elements side by side; ``rows``: inner is 1."""

    def emit(module: Any, isa: Isa) -> None:
        _emit_columns(module, isa, request)
        _emit_rows(module, isa, request)

    return Unit(f"extremum {request}", ("columns", "rows"), emit)


def _beats(x: Value, best: Value, relation: str) -> Value:
    """Whether ``x``, which comes later, replaces ``best``: NaN replaces all but NaN."""
    beyond = Value(x.k, x.k.ir.fcmp_unordered(relation, x.raw, best.raw))
    return beyond & best.equals(best)


def _emit_columns(module: Any, isa: Isa, request: ArgExtremum) -> None:
    k = Builder(module, "columns", (PTR, I64))
    args = ARGS.load(k, k.args[0])
    first = k.args[1] // args.parts * args.chunk
    start = k.args[1] % args.parts * args.part
    stop = k.smin(start + args.part, args.inner)
    with k.loop(first, k.smin(first + args.chunk, args.outer)) as outer:
        x = args.x + outer.index * args.count * args.inner * 4
        out = args.out + outer.index * args.inner * request.index
        vectors = start + (stop - start) // isa.lanes * isa.lanes
        with k.loop(start, vectors, isa.lanes) as loop:
            at = loop.index
            _column(k, isa, request, args, x + at * 4, out + at * request.index, None)
        with k.when(vectors < stop):
            mask = k.first(stop - vectors, isa.lanes)
            _column(k, isa, request, args, x + vectors * 4, out + vectors * request.index, mask)
    k.ret()


def _column(
    k: Builder,
    isa: Isa,
    request: ArgExtremum,
    args: SimpleNamespace,
    x: Value,
    out: Value,
    mask: Value | None,
) -> None:
    """One vector of results."""
    relation, nothing = KINDS[request.kind]
    kind = vec(F32, isa.lanes)
    begin = [k.const(kind, nothing), k.const(vec(I32, isa.lanes), 0)]
    with k.loop(0, args.count, carry=begin) as loop:
        best, where = loop.carry
        at = x + loop.index * args.inner * 4
        here = k.load(kind, at) if mask is None else k.load_first(kind, at, mask)
        beats = _beats(here, best, relation)
        index = loop.index.trunc(I32).splat(isa.lanes)
        loop.carry = [k.select(beats, here, best), k.select(beats, index, where)]
    found = loop.carry[1] if request.index == 4 else loop.carry[1].sext(I64)
    if mask is None:
        k.store(found, out)
    else:
        k.store_first(found, out, mask)


def _emit_rows(module: Any, isa: Isa, request: ArgExtremum) -> None:
    k = Builder(module, "rows", (PTR, I64))
    args = ARGS.load(k, k.args[0])
    relation, nothing = KINDS[request.kind]
    kind, lanes = vec(F32, isa.lanes), k.iota(isa.lanes)
    whole = args.count // isa.lanes * isa.lanes
    first = k.args[1] * args.chunk

    def step(state: list[Value], here: Value, index: Value) -> list[Value]:
        beats = _beats(here, state[0], relation)
        place = lanes + index.trunc(I32).splat(isa.lanes)
        return [k.select(beats, here, state[0]), k.select(beats, place, state[1])]

    with k.loop(first, k.smin(first + args.chunk, args.outer)) as rows:
        x = args.x + rows.index * args.count * 4
        with k.loop(0, whole, isa.lanes, carry=[k.const(kind, nothing), lanes]) as loop:
            loop.carry = step(loop.carry, k.load(kind, x + loop.index * 4), loop.index)
        with k.loop(whole, args.count, isa.lanes, carry=loop.carry) as last:
            mask = k.first(args.count - whole, isa.lanes)
            here = k.load_first(kind, x + whole * 4, mask, nothing)
            last.carry = step(last.carry, here, whole)
        where = _across(k, request.kind, *last.carry)
        found = where if request.index == 4 else where.sext(I64)
        k.store(found, args.out + rows.index * request.index)
    k.ret()


def _across(k: Builder, kind: str, best: Value, where: Value) -> Value:
    """The place of the best lane; of equals the first place. Lanes that no element reached hold
    places behind the row.

    As integers, floats keep their order when those below zero have all bits but the sign flipped.
    """
    real = best + 0.0 if kind == "max" else k.const(best.type, 0.0) - best  # of zeros, +0 alone
    bits = real.bits(like(best.type, I32))
    key = k.select(best.equals(best), bits ^ ((bits >> 31) & _MOST), _MOST)
    most = k.fold(key, k.smax).splat(lanes_of(key.type))
    return k.fold(k.select(key.equals(most), where, _MOST), k.smin)


class ArgExtremumLayer:
    """An :class:`~octolite.kernels.spec.ArgExtremum` ready to be launched."""

    def __init__(self, request: ArgExtremum, isa: Isa) -> None:
        if request.kind not in KINDS:
            raise KernelError(f"no extremum {request.kind!r}. {did_you_mean(request.kind, KINDS)}")
        self.request = request
        self.isa = isa
        self.label = f"arg {request.kind} {isa.name}"
        self._library = jit.load(unit(request), isa)

    def launch(self, input_shape: tuple[int, ...], axis: int, threads: int = 1) -> Launch:
        """Lay the search in ``input_shape`` along ``axis`` out; it is not empty there."""
        launch = Launch((*input_shape[:axis], *input_shape[axis + 1 :]), 0)
        if 0 in launch.output_shape:
            return launch
        outer, count = math.prod(input_shape[:axis]), input_shape[axis]
        inner = math.prod(input_shape[axis + 1 :])
        part = min(inner, -(-_TILE // count // self.isa.lanes) * self.isa.lanes)
        chunk = max(1, min(outer, _TILE // (count * inner)))
        parts = -(-inner // part)
        launch.add(
            self.label,
            self._library["rows" if inner == 1 else "columns"],
            ARGS,
            -(-outer // chunk) * parts,
            x=INPUT,
            out=OUTPUT,
            outer=outer,
            count=count,
            inner=inner,
            chunk=chunk,
            part=part,
            parts=parts,
        )
        return launch
