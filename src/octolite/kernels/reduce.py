"""Sums, means and extrema along axes.

Axes that are neighbours act as one, so that a group of reduced axes is the middle of a tensor
[outer, count, inner]. Several groups are reduced one after the other, the last first. Long sums
are made of sums of blocks: rounding errors then grow with the square root of the length only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from octolite.errors import KernelError, did_you_mean
from octolite.ir.fixed_point import Multiplier
from octolite.ir.types import UINT8, DType
from octolite.kernels import jit, maths
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, Launch
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I8, I16, I32, I64, PTR, Builder, Type, Value, vec
from octolite.kernels.spec import Reduce

SIZES = {
    "x": PTR,  # [outer, count, inner]
    "out": PTR,  # [outer, inner]
    "outer": I64,
    "count": I64,
    "inner": I64,
    "chunk": I64,  # a tile is so many of outer
    "part": I64,  # by so many of inner
    "parts": I64,
}
REAL_ARGS = Record(**SIZES, divisor=F32)
EXTREMUM_ARGS = Record(**SIZES)
TOTAL_ARGS = Record(
    **SIZES,
    offset=I64,  # added to a sum
    left=I64,  # as are the next two: a Multiplier
    mantissa=I64,
    right=I64,
    zero=I64,
    low=I64,
    high=I64,
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

TOTALS = ("mean", "sum")
"""What is made of codes by adding and scaling them."""

SHORT = 8
"""The longest rows that are reduced side by side, a row in each lane."""

# Elements that make a tile worth its dispatch, and steps that make a block of a long sum.
_TILE, _BLOCK = 16384, 128

# Vectors that are reduced at once, to hide how long an addition takes; columns of codes that a
# vector leaves.
_ABREAST, _FEW = 4, 8


@dataclass(frozen=True)
class Form:
    """How elements become one: ``enter`` makes ``register`` of what lies in ``memory``, ``combine``
    adds one to a result that begins as ``nothing``, ``finish`` makes ``result`` of it."""

    name: str
    args: Record
    memory: Type
    register: Type
    result: Type
    nothing: float
    combine: Combine
    enter: Callable[[Value], Value] = lambda x: x
    finish: Callable[[Builder, Any, Value], Value] = lambda k, args, x: x

    @property
    def item(self) -> int:
        return _bytes(self.memory)

    @property
    def stored(self) -> int:
        """Bytes of a result."""
        return _bytes(self.result)

    def lanes(self, isa: Isa) -> int:
        return isa.lanes * 4 // _bytes(self.register)


def _bytes(kind: Type) -> int:
    return 4 if kind == F32 else int(kind.width) // 8


def real_form(kind: str) -> Form:
    """Of float32; a mean is divided."""
    nothing, combine = KINDS[kind]

    def finish(k: Builder, args: Any, total: Value) -> Value:
        divisor: Value = args.divisor
        return total / divisor if kind == "mean" else total

    return Form(kind, REAL_ARGS, F32, F32, F32, nothing, combine, finish=finish)


def extremum_form(kind: str, codes: DType) -> Form:
    """Of integers that stay what they are; those without a sign are compared less 128."""
    memory = I8 if codes.bits == 8 else I16
    flip, edge = 0x80 if codes is UINT8 else 0, 2 ** (codes.bits - 1)
    nothing, combine = (-edge, Builder.smax) if kind == "max" else (edge - 1, Builder.smin)
    return Form(
        f"{kind} {codes}",
        EXTREMUM_ARGS,
        memory,
        memory,
        memory,
        nothing,
        combine,
        lambda x: x ^ flip,
        lambda k, args, x: x ^ flip,
    )


def total_form(codes: DType, first: bool, last: bool) -> Form:
    """A sum of codes in int32, scaled to codes. Of several stages, the ``first`` alone reads codes
    and the ``last`` alone scales; between them lie sums."""
    memory = I8 if codes.bits == 8 else I16

    def enter(x: Value) -> Value:
        if not first:
            return x
        return x.zext(I32) if codes is UINT8 else x.sext(I32)

    def finish(k: Builder, args: Any, total: Value) -> Value:
        if not last:
            return total
        left, mantissa, right = (
            k.fit(field.trunc(I32), total.type) for field in (args.left, args.mantissa, args.right)
        )
        offset, zero, low, high = (
            field.trunc(I32) for field in (args.offset, args.zero, args.low, args.high)
        )
        product = maths.high_product(k, (total + offset) << left, mantissa)
        moved = maths.rounding_shift(k, product, right)
        result: Value = (k.smin(k.smax(moved, low), high) + zero).trunc(memory)
        return result

    return Form(
        f"total {codes} {first} {last}",
        TOTAL_ARGS,
        memory if first else I32,
        I32,
        memory if last else I32,
        0,
        lambda k, a, b: a + b,
        enter,
        finish,
    )


def unit(form: Form, count: int) -> Unit:
    """``columns``: inner elements side by side; ``rows``: inner is 1; ``short``: so is inner, and
    the rows have ``count`` elements (0: no such function)."""
    names = ("columns", "rows", *(["short"] if count else []))

    def emit(module: Any, isa: Isa) -> None:
        _emit_columns(module, isa, form)
        _emit_rows(module, isa, form)
        if count:
            _emit_short(module, isa, form, count)

    return Unit(f"reduce {form.name} {count}", names, emit)


def _emit_columns(module: Any, isa: Isa, form: Form) -> None:
    k = Builder(module, "columns", (PTR, I64))
    args = form.args.load(k, k.args[0])
    first = k.args[1] // args.parts * args.chunk
    start = k.args[1] % args.parts * args.part
    stop = k.smin(start + args.part, args.inner)
    lanes = form.lanes(isa)
    # Machines load the first of some floats, but not all of them the first of some bytes.
    widths = (_ABREAST * lanes, lanes, *(() if form.memory == F32 else (_FEW, 1)))
    with k.loop(first, k.smin(first + args.chunk, args.outer)) as outer:
        x = args.x + outer.index * args.count * args.inner * form.item
        out = args.out + outer.index * args.inner * form.stored
        at = start
        for width in widths:
            whole = start + (stop - start) // width * width
            with k.loop(at, whole, width) as loop:
                source = x + loop.index * form.item
                result = _column(k, form, args, source, width)
                k.store(result, out + loop.index * form.stored)
            at = whole
        if form.memory == F32:
            with k.when(at < stop):
                mask = k.first(stop - at, lanes)
                result = _column(k, form, args, x + at * form.item, lanes, mask)
                k.store_first(result, out + at * form.stored, mask)
    k.ret()


def _column(
    k: Builder, form: Form, args: Any, x: Value, lanes: int, mask: Value | None = None
) -> Value:
    """What becomes of ``lanes`` columns, over ``count``."""
    memory = vec(form.memory, lanes)
    start = [k.const(vec(form.register, lanes), form.nothing)]
    with k.loop(0, args.count, _BLOCK, carry=start) as blocks:
        end = k.smin(blocks.index + _BLOCK, args.count)
        with k.loop(blocks.index, end, carry=start) as rows:
            at = x + rows.index * args.inner * form.item
            here = k.load(memory, at) if mask is None else k.load_first(memory, at, mask)
            rows.carry = [form.combine(k, rows.carry[0], form.enter(here))]
        blocks.carry = [form.combine(k, blocks.carry[0], rows.carry[0])]
    return form.finish(k, args, blocks.carry[0])


def _emit_rows(module: Any, isa: Isa, form: Form) -> None:
    def combine(a: Value, b: Value) -> Value:
        return form.combine(k, a, b)

    k = Builder(module, "rows", (PTR, I64))
    args = form.args.load(k, k.args[0])
    first, lanes = k.args[1] * args.chunk, form.lanes(isa)
    wide = _ABREAST * lanes
    whole = args.count - args.count % wide
    with k.loop(first, k.smin(first + args.chunk, args.outer)) as rows:
        x = args.x + rows.index * args.count * form.item
        start = [k.const(vec(form.register, wide), form.nothing)]
        with k.loop(0, whole, wide * _BLOCK, carry=start) as blocks:
            end = k.smin(blocks.index + wide * _BLOCK, whole)
            with k.loop(blocks.index, end, wide, carry=start) as loop:
                here = form.enter(k.load(vec(form.memory, wide), x + loop.index * form.item))
                loop.carry = [combine(loop.carry[0], here)]
            blocks.carry = [combine(blocks.carry[0], loop.carry[0])]
        parts = [blocks.carry[0].pick(range(i * lanes, (i + 1) * lanes)) for i in range(_ABREAST)]
        both = combine(combine(parts[0], parts[1]), combine(parts[2], parts[3]))
        total = _rest(k, form, lanes, both, x, whole, args.count)
        k.store(form.finish(k, args, total), args.out + rows.index * form.stored)
    k.ret()


def _rest(
    k: Builder, form: Form, lanes: int, sums: Value, x: Value, start: Value, stop: Value
) -> Value:
    """The lanes of ``sums`` and the elements from ``start`` to ``stop`` as one."""

    def combine(a: Value, b: Value) -> Value:
        return form.combine(k, a, b)

    memory = vec(form.memory, lanes)
    whole = start + (stop - start) // lanes * lanes
    if form.memory != F32:
        with k.loop(start, whole, lanes, carry=[sums]) as loop:
            here = k.load(memory, x + loop.index * form.item)
            loop.carry = [combine(loop.carry[0], form.enter(here))]
        with k.loop(whole, stop, carry=[k.fold(loop.carry[0], combine)]) as last:
            here = form.enter(k.load(form.memory, x + last.index * form.item))
            last.carry = [combine(last.carry[0], here)]
        return last.carry[0]
    with k.loop(start, stop, lanes, carry=[sums]) as masked:
        mask = k.first(stop - masked.index, lanes)
        here = k.load_first(memory, x + masked.index * form.item, mask, form.nothing)
        masked.carry = [combine(masked.carry[0], here)]
    return k.fold(masked.carry[0], combine)


def _emit_short(module: Any, isa: Isa, form: Form, count: int) -> None:
    """As many rows at once as there are lanes: their first elements, then their second ones, …"""
    k = Builder(module, "short", (PTR, I64))
    args = form.args.load(k, k.args[0])
    first = k.args[1] * args.chunk
    stop = k.smin(first + args.chunk, args.outer)
    whole = first + (stop - first) // isa.lanes * isa.lanes

    def reduce(elements: Sequence[Value], row: Value) -> None:
        total, *others = (form.enter(element) for element in elements)
        for other in others:
            total = form.combine(k, total, other)
        k.store(form.finish(k, args, total), args.out + row * form.stored)

    size = isa.lanes * count
    with k.loop(first, whole, isa.lanes) as rows:
        block = k.load(vec(form.memory, size), args.x + rows.index * (form.item * count))
        reduce([block.pick(range(i, size, count)) for i in range(count)], rows.index)
    with k.loop(whole, stop) as row:
        x = args.x + row.index * (form.item * count)
        reduce([k.load(form.memory, x + form.item * i) for i in range(count)], row.index)
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
                total = math.prod(input_shape[a] for a in axes)
                self._add(launch, (outer, count, inner), total, x=source, out=OUTPUT)
                return launch
            target = launch.reserve(outer * inner * 4)
            self._add(launch, (outer, count, inner), None, x=source, out=target)
            groups, source = _merged([*groups, (False, inner)]), target

    def _add(
        self, launch: Launch, extents: tuple[int, int, int], total: int | None, **places: Any
    ) -> None:
        """A stage; ``total``: if it is the last, how many elements a result is made of."""
        outer, count, inner = extents
        form = self._form(not launch.stages, total is not None)
        name, short, quantum = "columns", 0, _ABREAST * form.lanes(self.isa)
        part = min(inner, -(-_TILE // max(count, 1) // quantum) * quantum)
        chunk = max(1, min(outer, _TILE // max(count * inner, 1)))
        if inner == 1 and 1 < count <= SHORT:
            name, short = "short", count
            chunk = -(-chunk // self.isa.lanes) * self.isa.lanes
        elif inner == 1 and count > 1:
            name = "rows"
        parts = -(-inner // part)
        launch.add(
            self.label,
            jit.load(unit(form, short), self.isa)[name],
            form.args,
            -(-outer // chunk) * parts,
            outer=outer,
            count=count,
            inner=inner,
            chunk=chunk,
            part=part,
            parts=parts,
            **self._operands(form, 1 if total is None else total),
            **places,
        )

    def _form(self, first: bool, last: bool) -> Form:
        kind, codes = self.request.kind, self.request.codes
        if codes is None:
            return real_form(kind)
        return total_form(codes, first, last) if kind in TOTALS else extremum_form(kind, codes)

    def _operands(self, form: Form, total: int) -> dict[str, float]:
        """What a form takes beside sizes."""
        if form.args is REAL_ARGS:
            return {"divisor": float(total)}
        if form.args is EXTREMUM_ARGS:
            return {}
        request = self.request
        assert request.codes is not None
        factor, limits = Multiplier.of(request.scale), np.iinfo(request.codes.numpy)
        if request.kind == "mean":
            factor = factor.shared(total)
        shift = int(factor.shift)
        return {
            "offset": -request.zero * total,
            "left": max(shift, 0),
            "mantissa": int(factor.mantissa),
            "right": max(-shift, 0),
            "zero": request.result_zero,
            "low": int(limits.min) - request.result_zero,
            "high": int(limits.max) - request.result_zero,
        }


def _groups(shape: Sequence[int], axes: Sequence[int]) -> list[tuple[bool, int]]:
    """Whether axes are reduced, and their extent, neighbours that are treated alike as one."""
    return _merged([(i in axes, d) for i, d in enumerate(shape) if d != 1]) or [(False, 1)]


def _merged(groups: Sequence[tuple[bool, int]]) -> list[tuple[bool, int]]:
    found = groupby(groups, key=lambda group: group[0])
    return [(reduced, math.prod(d for _, d in same)) for reduced, same in found]
