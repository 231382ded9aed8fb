"""Copies between strided views: whatever moves elements and computes nothing.

A move is brought to a normal form first: axes of extent 1 go, the target's strides descend, and
axes that continue each other in both tensors become one. What is left is a stack of planes of
``rows`` by ``run`` elements, of four kinds: runs that are dense on both sides, runs of one
element, planes that are dense along one axis here and along the other there, and all others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir

from octolite.errors import KernelError
from octolite.kernels import jit
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import Launch, Operand, Place
from octolite.kernels.record import Record
from octolite.kernels.simd import I8, I64, PTR, Builder, Type, Value, vec
from octolite.kernels.spec import COPIED, Copy
from octolite.kernels.views import Move

ARGS = Record(
    x=PTR,
    out=PTR,
    axes=PTR,  # int64 [rank, 3]: extent and both strides of the axes that count the planes
    rank=I64,
    planes=I64,
    plane_chunk=I64,  # a tile is so many planes
    part=I64,  # by so many rows
    parts=I64,
    rows=I64,
    x_row=I64,  # all strides in bytes
    out_row=I64,
    run=I64,
    x_step=I64,
    out_step=I64,
)

# Bytes that make a tile worth its dispatch.
_TILE = 65536

# Extents of the square that is transposed in registers, and of the strip of such squares that
# fills cache lines of the source.
_SQUARE, _STRIP = 8, 16

Axis: TypeAlias = tuple[int, int, int]
"""Extent, and the strides of source and target in elements."""


def unit(size: int) -> Unit:
    """``dense``, ``fill``, ``turned`` and ``strided``, for elements of ``size`` bytes."""

    def emit(module: Any, isa: Isa) -> None:
        element = ir.IntType(8 * size)
        _emit(
            module, "dense", lambda k, args, x, out, n: _dense_rows(k, isa, size, args, x, out, n)
        )
        _emit(
            module, "fill", lambda k, args, x, out, n: _fill_rows(k, isa, element, args, x, out, n)
        )
        _emit(
            module, "turned", lambda k, args, x, out, n: _turned(k, element, size, args, x, out, n)
        )
        _emit(module, "strided", lambda k, args, x, out, n: _strided(k, element, args, x, out, n))

    return Unit(f"copy {size}", ("dense", "fill", "turned", "strided"), emit)


Body: TypeAlias = Callable[[Builder, Any, Value, Value, Value], None]


def _emit(module: Any, name: str, body: Body) -> None:
    """``name(args, tile)``: ``body(k, args, x, out, rows)`` for the tile's part of its planes."""
    k = Builder(module, name, (PTR, I64))
    args = ARGS.load(k, k.args[0])
    first = k.args[1] // args.parts * args.plane_chunk
    row = k.args[1] % args.parts * args.part
    rows = k.smin(args.part, args.rows - row)
    with k.loop(first, k.smin(first + args.plane_chunk, args.planes)) as planes:
        start = [planes.index, args.x + row * args.x_row, args.out + row * args.out_row]
        with k.loop(0, args.rank, carry=start) as axes:
            rest, x, out = axes.carry
            axis = args.axes + axes.index * 24
            extent = k.load(I64, axis)
            index = rest % extent
            axes.carry = [
                rest // extent,
                x + index * k.load(I64, axis + 8),
                out + index * k.load(I64, axis + 16),
            ]
        _, x, out = axes.carry
        body(k, args, x, out, rows)
    k.ret()


def pieces(
    k: Builder, isa: Isa, size: int, total: Value, body: Callable[[Value, int], None]
) -> None:
    """``body(at, bytes)`` for vectors that cover ``total`` bytes, and then for ever fewer bytes."""
    width = 4 * isa.lanes
    with k.loop(0, total - (total & (width - 1)), width) as loop:
        body(loop.index, width)
    while width > size:
        width //= 2
        with k.when((total & width) > 0):
            body(total & -2 * width, width)


def _dense_rows(
    k: Builder, isa: Isa, size: int, args: Any, x: Value, out: Value, rows: Value
) -> None:
    with k.loop(0, rows, carry=[x, out]) as loop:
        source, target = loop.carry

        def body(at: Value, width: int) -> None:
            k.store(k.load(vec(I8, width), source + at), target + at)

        pieces(k, isa, size, args.run * size, body)
        loop.carry = [source + args.x_row, target + args.out_row]


def _fill_rows(
    k: Builder, isa: Isa, element: Type, args: Any, x: Value, out: Value, rows: Value
) -> None:
    size = element.width // 8
    with k.loop(0, rows, carry=[x, out]) as loop:
        source, target = loop.carry
        value = k.load(element, source)

        def body(at: Value, width: int) -> None:
            k.store(value.splat(width // size), target + at)

        pieces(k, isa, size, args.run * size, body)
        loop.carry = [source + args.x_row, target + args.out_row]


def _strided(k: Builder, element: Type, args: Any, x: Value, out: Value, rows: Value) -> None:
    with k.loop(0, rows, carry=[x, out]) as loop:
        source, target = loop.carry
        _elements(k, element, args.run, source, args.x_step, target, args.out_step)
        loop.carry = [source + args.x_row, target + args.out_row]


def _elements(
    k: Builder, element: Type, count: Value, x: Value, x_step: Value, out: Value, out_step: Value
) -> None:
    """One element at a time."""
    with k.loop(0, count, carry=[x, out]) as loop:
        source, target = loop.carry
        k.store(k.load(element, source), target)
        loop.carry = [source + x_step, target + out_step]


def _turned(
    k: Builder, element: Type, size: int, args: Any, x: Value, out: Value, rows: Value
) -> None:
    """The source is dense along rows, the target along runs: squares turn in registers."""
    whole_rows = rows - rows % _SQUARE
    whole_run = args.run - args.run % _SQUARE
    with (
        k.loop(0, whole_rows, _STRIP) as strip,
        k.loop(0, whole_run, _SQUARE) as column,
        k.loop(strip.index, k.smin(strip.index + _STRIP, whole_rows), _SQUARE) as row,
    ):
        source = x + row.index * size + column.index * args.x_step
        target = out + row.index * args.out_row + column.index * size
        kind = vec(element, _SQUARE)
        lines = [k.load(kind, source + args.x_step * i) for i in range(_SQUARE)]
        for i, line in enumerate(_transposed(lines)):
            k.store(line, target + args.out_row * i)
    edge = whole_run
    with k.loop(0, whole_rows) as row:
        source = x + row.index * size + edge * args.x_step
        target = out + row.index * args.out_row + edge * size
        _elements(k, element, args.run - edge, source, args.x_step, target, k.const(I64, size))
    with k.loop(whole_rows, rows) as row:
        source, target = x + row.index * size, out + row.index * args.out_row
        _elements(k, element, args.run, source, args.x_step, target, k.const(I64, size))


def _transposed(lines: list[Value]) -> list[Value]:
    """A square of vectors turned, by swapping halves, quarters and so on across its diagonal."""
    count = len(lines)
    step = count // 2
    while step:
        # Lane j of the pair (a, b) comes from the other where it crosses the diagonal.
        upper = [j if not j & step else count + j - step for j in range(count)]
        lower = [j + step if not j & step else count + j for j in range(count)]
        turned = list(lines)
        for i in range(count):
            if not i & step:
                a, b = lines[i], lines[i + step]
                turned[i], turned[i + step] = a.pick(upper, b), a.pick(lower, b)
        lines, step = turned, step // 2
    return lines


# Normal form -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Planes:
    """A move in normal form: planes of ``rows`` by ``run``, ``outer`` counts them."""

    kind: str
    outer: tuple[Axis, ...]
    rows: Axis
    run: Axis


def axes_of(move: Move) -> list[Axis]:
    """The axes that a move goes along, as few as possible, the target's strides descending."""
    if move.source.shape != move.target.shape:
        raise KernelError(f"{move.source} and {move.target} differ in shape")
    found = zip(move.source.shape, move.source.strides, move.target.strides, strict=True)
    axes = sorted((a for a in found if a[0] != 1), key=lambda a: -a[2])
    merged: list[Axis] = []
    for n, s, t in axes:
        if merged and merged[-1][1:] == (n * s, n * t):
            n *= merged.pop()[0]
        merged.append((n, s, t))
    return merged


def planes_of(axes: Sequence[Axis]) -> Planes:
    """What the innermost two axes make of a copy."""
    *outer, run = axes or [(1, 1, 1)]
    kinds = {(1, 1): "dense", (0, 1): "fill"}
    kind = kinds.get(run[1:], "strided")
    rows = outer[-1] if outer else (1, 0, 0)
    if kind == "strided" and run[2] == 1:
        rows = next((a for a in outer if a[1] == 1), rows)
        kind = "turned" if rows[1] == 1 else kind
    if outer:
        outer.remove(rows)
    return Planes(kind, tuple(outer), rows, run)


def _cut(axes: list[Axis], most: int) -> list[tuple[list[Axis], int]]:
    """Very long runs as rows of ``most`` elements and a rest, each with what it leaves out."""
    if not axes or axes[-1][0] < 2 * most:
        return [(axes, 0)]
    n, s, t = axes[-1]
    whole = n // most
    pieces = [([*axes[:-1], (whole, most * s, most * t), (most, s, t)], 0)]
    if n % most:
        pieces.append(([*axes[:-1], (n % most, s, t)], whole * most))
    return pieces


# Layer -------------------------------------------------------------------------------------


class CopyLayer:
    """A :class:`~octolite.kernels.spec.Copy` ready to be launched."""

    def __init__(self, request: Copy, isa: Isa) -> None:
        if request.size not in COPIED:
            raise KernelError(f"no kernel copies elements of {request.size} bytes, but of {COPIED}")
        self.request = request
        self.label = f"copy {isa.name}"
        self._library = jit.load(unit(request.size), isa)

    def launch(
        self,
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        moves: Sequence[Move],
        threads: int = 1,
    ) -> Launch:
        """Lay ``moves`` out. They alone say what is read and written, and where."""
        launch = Launch(output_shape, 0)
        for move in moves:
            axes = axes_of(move)
            if any(n == 0 for n, _, _ in axes):
                continue
            for piece, skipped in _cut(axes, _TILE // self.request.size):
                _, s, t = axes[-1] if axes else (1, 1, 1)
                offsets = move.source.offset + skipped * s, move.target.offset + skipped * t
                self._add(launch, move, planes_of(piece), offsets)
        return launch

    def _add(self, launch: Launch, move: Move, found: Planes, offsets: tuple[int, int]) -> None:
        size = self.request.size
        read: Operand = (
            Place(move.read, offsets[0] * size) if isinstance(move.read, str) else move.read
        )
        rows, run = found.rows[0], found.run[0]
        outer = np.array(found.outer[::-1], np.int64).reshape(-1, 3) * (1, size, size)
        planes = int(np.prod(outer[:, 0]))
        part = max(1, min(rows, _TILE // (run * size)))
        if found.kind == "turned":
            part = min(rows, -(-part // _STRIP) * _STRIP)
        parts = -(-rows // part)
        plane_chunk = max(1, min(planes, _TILE // (rows * run * size)))
        launch.add(
            self.label,
            self._library[found.kind],
            ARGS,
            -(-planes // plane_chunk) * parts,
            x=read,
            out=Place(move.write, offsets[1] * size),
            axes=outer,
            rank=len(outer),
            planes=planes,
            plane_chunk=plane_chunk,
            part=part,
            parts=parts,
            rows=rows,
            x_row=found.rows[1] * size,
            out_row=found.rows[2] * size,
            run=run,
            x_step=found.run[1] * size,
            out_step=found.run[2] * size,
        )
