"""Sums, means and extrema along axes.

Axes that are neighbours act as one, so that a group of reduced axes is the middle of a tensor
[outer, count, inner]. Several groups are reduced one after the other, the last first. Long sums
are made of sums of blocks: rounding errors then grow with the square root of the length only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from octolite.errors import KernelError, did_you_mean
from octolite.kernels import jit, maths
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, Launch
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I64, PTR, Builder, Value, vec
from octolite.kernels.spec import Reduce

ARGS = Record(
    x=PTR,  # float32 [outer, count, inner]
    out=PTR,  # float32 [outer, inner]
    outer=I64,
    count=I64,
    inner=I64,
    chunk=I64,  # a tile is so many of outer
    part=I64,  # by so many of inner
    parts=I64,
    divisor=F32,
)

Combine = Callable[[Builder, Value, Value], Value]

KINDS: dict[str, tuple[float, Combine]] = {
    "max": (-math.inf, maths.maximum),
    "mean": (0.0, lambda k, a, b: a + b),
    "min": (math.inf, maths.minimum),
    "prod": (1.0, lambda k, a, b: a * b),
    "sum": (0.0, lambda k, a, b: a + b),
}
"""What nothing gives, and what adds one element to a result."""

SHORT = 8
"""The longest rows that are reduced side by side, a row in each lane."""

# Elements that make a tile worth its dispatch, and steps that make a block of a long sum.
_TILE, _BLOCK = 16384, 128

# Vectors that are reduced at once, to hide how long an addition takes.
_ABREAST = 4


def unit(kind: str, count: int) -> Unit:
    """``columns``: inner elements side by side; ``rows``: inner is 1; ``short``: so is inner, and
    the rows have ``count`` elements (0: no such function)."""
    names = ("columns", "rows", *(["short"] if count else []))

    def emit(module: Any, isa: Isa) -> None:
        _emit_columns(module, isa, kind)
        _emit_rows(module, isa, kind)
        if count:
            _emit_short(module, isa, kind, count)

    return Unit(f"reduce {kind} {count}", names, emit)


def _finish(kind: str, args: Any, total: Value) -> Value:
    return total / args.divisor if kind == "mean" else total


def _emit_columns(module: Any, isa: Isa, kind: str) -> None:
    k = Builder(module, "columns", (PTR, I64))
    args = ARGS.load(k, k.args[0])
    first = k.args[1] // args.parts * args.chunk
    start = k.args[1] % args.parts * args.part
    stop = k.smin(start + args.part, args.inner)
    wide = _ABREAST * isa.lanes
    with k.loop(first, k.smin(first + args.chunk, args.outer)) as outer:
        x = args.x + outer.index * args.count * args.inner * 4
        out = args.out + outer.index * args.inner * 4
        wides = start + (stop - start) // wide * wide
        vectors = start + (stop - start) // isa.lanes * isa.lanes
        with k.loop(start, wides, wide) as loop:
            _column(k, isa, kind, args, x + loop.index * 4, out + loop.index * 4, _ABREAST)
        with k.loop(wides, vectors, isa.lanes) as loop:
            _column(k, isa, kind, args, x + loop.index * 4, out + loop.index * 4, 1)
        with k.when(vectors < stop):
            mask = k.first(stop - vectors, isa.lanes)
            _column(k, isa, kind, args, x + vectors * 4, out + vectors * 4, 1, mask)
    k.ret()


def _column(
    k: Builder,
    isa: Isa,
    kind: str,
    args: Any,
    x: Value,
    out: Value,
    vectors: int,
    mask: Value | None = None,
) -> None:
    """Reduce ``vectors`` vectors that lie side by side, over ``count``."""
    nothing, combine = KINDS[kind]
    real = vec(F32, isa.lanes)
    start = [k.const(real, nothing)] * vectors
    with k.loop(0, args.count, _BLOCK, carry=start) as blocks:
        end = k.smin(blocks.index + _BLOCK, args.count)
        with k.loop(blocks.index, end, carry=start) as rows:
            at = x + rows.index * args.inner * 4
            for v in range(vectors):
                place = at + 4 * isa.lanes * v
                here = k.load(real, place) if mask is None else k.load_first(real, place, mask)
                rows.carry[v] = combine(k, rows.carry[v], here)
        blocks.carry = [combine(k, a, b) for a, b in zip(blocks.carry, rows.carry, strict=True)]
    for v, total in enumerate(blocks.carry):
        result = _finish(kind, args, total)
        if mask is None:
            k.store(result, out + 4 * isa.lanes * v)
        else:
            k.store_first(result, out, mask)


def _emit_rows(module: Any, isa: Isa, kind: str) -> None:
    nothing, combine = KINDS[kind]
    k = Builder(module, "rows", (PTR, I64))
    args = ARGS.load(k, k.args[0])
    first = k.args[1] * args.chunk
    real, wide = vec(F32, isa.lanes), _ABREAST * isa.lanes
    whole = args.count - args.count % wide
    with k.loop(first, k.smin(first + args.chunk, args.outer)) as rows:
        x = args.x + rows.index * args.count * 4
        start = [k.const(real, nothing)] * _ABREAST
        with k.loop(0, whole, wide * _BLOCK, carry=start) as blocks:
            end = k.smin(blocks.index + wide * _BLOCK, whole)
            with k.loop(blocks.index, end, wide, carry=start) as loop:
                at = x + loop.index * 4
                for v in range(_ABREAST):
                    here = k.load(real, at + 4 * isa.lanes * v)
                    loop.carry[v] = combine(k, loop.carry[v], here)
            blocks.carry = [combine(k, a, b) for a, b in zip(blocks.carry, loop.carry, strict=True)]
        a, b, c, d = blocks.carry
        both = combine(k, combine(k, a, b), combine(k, c, d))
        with k.loop(whole, args.count, isa.lanes, carry=[both]) as last:
            mask = k.first(args.count - last.index, isa.lanes)
            here = k.load_first(real, x + last.index * 4, mask, nothing)
            last.carry = [combine(k, last.carry[0], here)]
        total = k.fold(last.carry[0], lambda a, b: combine(k, a, b))
        k.store(_finish(kind, args, total), args.out + rows.index * 4)
    k.ret()


def _emit_short(module: Any, isa: Isa, kind: str, count: int) -> None:
    """As many rows at once as there are lanes: their first elements, then their second ones, …"""
    _, combine = KINDS[kind]
    k = Builder(module, "short", (PTR, I64))
    args = ARGS.load(k, k.args[0])
    first = k.args[1] * args.chunk
    stop = k.smin(first + args.chunk, args.outer)
    whole = first + (stop - first) // isa.lanes * isa.lanes

    def reduce(elements: Sequence[Value], row: Value) -> None:
        total, *others = elements
        for other in others:
            total = combine(k, total, other)
        k.store(_finish(kind, args, total), args.out + row * 4)

    size = isa.lanes * count
    with k.loop(first, whole, isa.lanes) as rows:
        block = k.load(vec(F32, size), args.x + rows.index * (4 * count))
        reduce([block.pick(range(i, size, count)) for i in range(count)], rows.index)
    with k.loop(whole, stop) as row:
        x = args.x + row.index * (4 * count)
        reduce([k.load(F32, x + 4 * i) for i in range(count)], row.index)
    k.ret()


# Layer -------------------------------------------------------------------------------------


class ReduceLayer:
    """A :class:`~octolite.kernels.spec.Reduce` ready to be launched."""

    def __init__(self, request: Reduce, isa: Isa) -> None:
        if request.kind not in KINDS:
            raise KernelError(f"no reduction {request.kind!r}. {did_you_mean(request.kind, KINDS)}")
        self.request = request
        self.isa = isa
        self.label = f"{request.kind} {isa.name}"
        self._library = jit.load(unit(request.kind, 0), isa)

    def launch(self, input_shape: tuple[int, ...], axes: Sequence[int], threads: int = 1) -> Launch:
        """Lay the reduction of ``input_shape`` over ``axes`` (counted from the front) out."""
        kept = [1 if i in axes else d for i, d in enumerate(input_shape)]
        if not self.request.keep_dims:
            kept = [d for i, d in enumerate(input_shape) if i not in axes]
        launch = Launch(tuple(kept), 0)
        if 0 in kept:
            return launch
        groups, source = _groups(input_shape, axes), INPUT
        while True:
            inner = 1 if groups[-1][0] else groups.pop()[1]
            count = groups.pop()[1] if groups else 1
            outer = math.prod(d for _, d in groups)
            if not any(reduced for reduced, _ in groups):
                divisor = math.prod(input_shape[a] for a in axes)
                self._add(launch, (outer, count, inner), divisor, x=source, out=OUTPUT)
                return launch
            target = launch.reserve(outer * inner * 4)
            self._add(launch, (outer, count, inner), 1, x=source, out=target)
            groups, source = _merged([*groups, (False, inner)]), target

    def _add(
        self, launch: Launch, extents: tuple[int, int, int], divisor: int, **places: Any
    ) -> None:
        outer, count, inner = extents
        name, library, quantum = "columns", self._library, _ABREAST * self.isa.lanes
        part = min(inner, -(-_TILE // max(count, 1) // quantum) * quantum)
        chunk = max(1, min(outer, _TILE // max(count * inner, 1)))
        if inner == 1 and 1 < count <= SHORT:
            name, library = "short", jit.load(unit(self.request.kind, count), self.isa)
            chunk = -(-chunk // self.isa.lanes) * self.isa.lanes
        elif inner == 1 and count > 1:
            name = "rows"
        parts = -(-inner // part)
        launch.add(
            self.label,
            library[name],
            ARGS,
            -(-outer // chunk) * parts,
            outer=outer,
            count=count,
            inner=inner,
            chunk=chunk,
            part=part,
            parts=parts,
            divisor=float(divisor),
            **places,
        )


def _groups(shape: Sequence[int], axes: Sequence[int]) -> list[tuple[bool, int]]:
    """Whether axes are reduced, and their extent, neighbours that are treated alike as one."""
    return _merged([(i in axes, d) for i, d in enumerate(shape) if d != 1]) or [(False, 1)]


def _merged(groups: Sequence[tuple[bool, int]]) -> list[tuple[bool, int]]:
    found = groupby(groups, key=lambda group: group[0])
    return [(reduced, math.prod(d for _, d in same)) for reduced, same in found]
