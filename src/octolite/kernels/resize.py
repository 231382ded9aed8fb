"""Images of another height and width: each pixel is one old pixel, or a mixture of four.

Where the old pixels lie and what they weigh is tabulated for rows and for columns when the kernel
is laid out. Channels lie side by side in vectors; where they are few, ``narrow`` goes through a
row of the result element by element instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from octolite.errors import KernelError, did_you_mean
from octolite.ir.types import Array
from octolite.kernels import jit
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, Launch
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I64, PTR, Builder, Type, Value, vec
from octolite.kernels.spec import Resize

ARGS = Record(
    x=PTR,  # float32 [batch, height, width, channels]
    out=PTR,  # float32 [batch, rows, columns, channels]
    image=I64,  # bytes of an old image
    rows=I64,
    total=I64,  # batch · rows
    chunk=I64,  # a tile is so many rows
    size=I64,  # columns; times channels where these are few
    channels=I64,
    upper=PTR,  # int64 [rows]: where the row above starts in an image, in bytes
    lower=PTR,  # … and the one below
    row_weight=PTR,  # float32 [rows]: of the row below
    left=PTR,  # int64 [size]: where the element to the left lies in a row, in bytes
    right=PTR,
    column_weight=PTR,  # float32 [size]: of the element to the right
)

KINDS = ("bilinear", "nearest")

# Elements that make a tile worth its dispatch.
_TILE = 8192


def unit(kind: str) -> Unit:
    """``wide`` and ``narrow``: a chunk of rows of the result."""

    def emit(module: Any, isa: Isa) -> None:
        _emit(module, isa, kind, "wide")
        _emit(module, isa, kind, "narrow")

    return Unit(f"resize {kind}", ("wide", "narrow"), emit)


def _emit(module: Any, isa: Isa, kind: str, name: str) -> None:
    k = Builder(module, name, (PTR, I64))
    args = ARGS.load(k, k.args[0])
    first = k.args[1] * args.chunk
    with k.loop(first, k.smin(first + args.chunk, args.total)) as rows:
        image, row = rows.index // args.rows, rows.index % args.rows
        x = args.x + image * args.image
        sources = [x + k.load(I64, args.upper + row * 8), x + k.load(I64, args.lower + row * 8)]
        weight = k.load(F32, args.row_weight + row * 4)
        pixel = args.channels * 4 if name == "wide" else k.const(I64, 4)
        out = args.out + rows.index * args.size * pixel
        with k.loop(0, args.size) as columns:
            mix = _mixture(k, kind, args, sources, weight, columns.index)
            target = out + columns.index * pixel
            if name == "narrow":
                k.store(mix(F32, k.const(I64, 0), None), target)
            else:
                _pixel(k, isa, args.channels, target, mix)
    k.ret()


def _pixel(k: Builder, isa: Isa, channels: Value, target: Value, mix: Any) -> None:
    """All channels of one pixel."""
    real = vec(F32, isa.lanes)
    full = channels // isa.lanes * isa.lanes
    with k.loop(0, full, isa.lanes) as loop:
        k.store(mix(real, loop.index * 4, None), target + loop.index * 4)
    with k.when(full < channels):
        mask = k.first(channels - full, isa.lanes)
        k.store_first(mix(real, full * 4, mask), target + full * 4, mask)


def _mixture(
    k: Builder, kind: str, args: Any, sources: Sequence[Value], weight: Value, index: Value
) -> Callable[[Type, Value, Value | None], Value]:
    """``mix(type, at, mask)``: what the new element is made of, ``at`` bytes into its pixel."""
    left = k.load(I64, args.left + index * 8)

    def load(real: Type, address: Value, mask: Value | None) -> Value:
        return k.load(real, address) if mask is None else k.load_first(real, address, mask)

    if kind == "nearest":
        return lambda real, at, mask: load(real, sources[0] + left + at, mask)

    right = k.load(I64, args.right + index * 8)
    across = k.load(F32, args.column_weight + index * 4)
    one = k.const(F32, 1.0)

    def mix(real: Type, at: Value, mask: Value | None) -> Value:
        sides = []
        for side in (left, right):
            upper, lower = (load(real, source + side + at, mask) for source in sources)
            sides.append(upper * (one - weight) + lower * weight)
        return sides[0] * (one - across) + sides[1] * across

    return mix


class ResizeLayer:
    """A :class:`~octolite.kernels.spec.Resize` ready to be launched."""

    def __init__(self, request: Resize, isa: Isa) -> None:
        if request.kind not in KINDS:
            raise KernelError(f"no resizing {request.kind!r}. {did_you_mean(request.kind, KINDS)}")
        self.request = request
        self.isa = isa
        self.label = f"resize {request.kind} {isa.name}"
        self._library = jit.load(unit(request.kind), isa)

    def launch(
        self,
        input_shape: tuple[int, ...],
        rows: tuple[Array, Array, Array],
        columns: tuple[Array, Array, Array],
        threads: int = 1,
    ) -> Launch:
        """Lay the resizing of ``input_shape`` [batch, height, width, channels] out.

        ``rows``: for each new row the old ones above and below (integers), and the weight of the
        latter (float32); ``columns`` likewise. The nearest pixel is the one above to the left.
        """
        batch, height, width, channels = input_shape
        new_rows, new_columns = len(rows[0]), len(columns[0])
        launch = Launch((batch, new_rows, new_columns, channels), 0)
        if 0 in launch.output_shape:
            return launch
        narrow = 2 * channels < self.isa.lanes
        upper, lower, row_weight = _table(rows, width * channels * 4, 1)
        left, right, column_weight = _table(columns, channels * 4, channels if narrow else 1)
        chunk = max(1, _TILE // (new_columns * channels))
        launch.add(
            self.label,
            self._library["narrow" if narrow else "wide"],
            ARGS,
            -(-batch * new_rows // chunk),
            x=INPUT,
            out=OUTPUT,
            image=height * width * channels * 4,
            rows=new_rows,
            total=batch * new_rows,
            chunk=chunk,
            size=len(left),
            channels=channels,
            upper=upper,
            lower=lower,
            row_weight=row_weight,
            left=left,
            right=right,
            column_weight=column_weight,
        )
        return launch


def _table(
    places: tuple[Array, Array, Array], step: int, channels: int
) -> tuple[Array, Array, Array]:
    """Places of ``step`` bytes in bytes, with an entry for each channel."""
    before, after, weight = places
    channel = 4 * np.arange(channels)
    offsets = [
        (np.asarray(p, np.int64)[:, None] * step + channel).reshape(-1) for p in (before, after)
    ]
    return offsets[0], offsets[1], np.repeat(np.asarray(weight, np.float32), channels)
