"""Images of another height and width: each pixel is one old pixel, or a mixture of four.

Where the old pixels lie and what they weigh is tabulated for rows and for columns when the kernel
is laid out. Channels lie side by side in vectors; where they are few, ``narrow`` goes through a
row of the result element by element instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from octolite.errors import KernelError, did_you_mean
from octolite.ir.types import FLOAT32, INT8, INT16, UINT8, Array, DType
from octolite.kernels import jit, maths
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, Launch
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I8, I16, I32, I64, PTR, Builder, Type, Value, vec
from octolite.kernels.spec import Resize

ARGS = Record(
    x=PTR,  # [batch, height, width, channels]
    out=PTR,  # [batch, rows, columns, channels]
    image=I64,  # bytes of an old image
    rows=I64,
    total=I64,  # batch · rows
    chunk=I64,  # a tile is so many rows
    size=I64,  # columns; times channels where these are few
    channels=I64,
    upper=PTR,  # int64 [rows]: where the row above starts in an image, in bytes
    lower=PTR,  # … and the one below
    row_weight=PTR,  # float32 or int32 [rows]: of the row below
    left=PTR,  # int64 [size]: where the element to the left lies in a row, in bytes
    right=PTR,
    column_weight=PTR,  # float32 or int32 [size]: of the element to the right
)

KINDS = ("bilinear", "nearest")

# Elements that make a tile worth its dispatch.
_TILE = 8192


_TYPES: dict[DType, Type] = {FLOAT32: F32, INT8: I8, UINT8: I8, INT16: I16}
TYPES = {"bilinear": (FLOAT32, INT8, UINT8), "nearest": tuple(_TYPES)}

FIXED_BITS = 10
"""Of the weights of int8."""


def unit(kind: str, dtype: DType) -> Unit:
    """``wide`` and ``narrow``: a chunk of rows of the result."""

    def emit(module: Any, isa: Isa) -> None:
        _emit(module, isa, kind, dtype, "wide")
        _emit(module, isa, kind, dtype, "narrow")

    return Unit(f"resize {kind} {dtype}", ("wide", "narrow"), emit)


def _emit(module: Any, isa: Isa, kind: str, dtype: DType, name: str) -> None:
    k = Builder(module, name, (PTR, I64))
    args = ARGS.load(k, k.args[0])
    first = k.args[1] * args.chunk
    item, weights = dtype.numpy.itemsize, _weights(dtype)
    with k.loop(first, k.smin(first + args.chunk, args.total)) as rows:
        image, row = rows.index // args.rows, rows.index % args.rows
        x = args.x + image * args.image
        sources = [x + k.load(I64, args.upper + row * 8), x + k.load(I64, args.lower + row * 8)]
        weight = k.load(weights, args.row_weight + row * 4)
        pixel = args.channels * item if name == "wide" else k.const(I64, item)
        out = args.out + rows.index * args.size * pixel
        with k.loop(0, args.size) as columns:
            mix = _mixture(k, kind, dtype, args, sources, weight, columns.index)
            target = out + columns.index * pixel
            if name == "narrow":
                k.store(mix(_TYPES[dtype], k.const(I64, 0), None), target)
            else:
                _pixel(k, isa, dtype, args.channels, target, mix)
    k.ret()


def _weights(dtype: DType) -> Type:
    return I32 if dtype is INT8 else F32


Mix: TypeAlias = Callable[[Type, Value, Value | None], Value]


def _pixel(k: Builder, isa: Isa, dtype: DType, channels: Value, target: Value, mix: Mix) -> None:
    """All channels of one pixel."""
    item, element = dtype.numpy.itemsize, _TYPES[dtype]
    kind = vec(element, isa.lanes)
    full = channels // isa.lanes * isa.lanes
    with k.loop(0, full, isa.lanes) as loop:
        k.store(mix(kind, loop.index * item, None), target + loop.index * item)
    if dtype is FLOAT32:
        with k.when(full < channels):
            mask = k.first(channels - full, isa.lanes)
            k.store_first(mix(kind, full * 4, mask), target + full * 4, mask)
        return
    with k.loop(full, channels) as rest:
        k.store(mix(element, rest.index * item, None), target + rest.index * item)


def _mixture(
    k: Builder,
    kind: str,
    dtype: DType,
    args: Any,
    sources: Sequence[Value],
    weight: Value,
    index: Value,
) -> Mix:
    """``mix(type, at, mask)``: what the new element is made of, ``at`` bytes into its pixel."""
    left = k.load(I64, args.left + index * 8)

    def load(real: Type, address: Value, mask: Value | None) -> Value:
        return k.load(real, address) if mask is None else k.load_first(real, address, mask)

    if kind == "nearest":
        return lambda real, at, mask: load(real, sources[0] + left + at, mask)

    right = k.load(I64, args.right + index * 8)
    across = k.load(_weights(dtype), args.column_weight + index * 4)
    mixed = {FLOAT32: _mix_reals, INT8: _mix_fixed, UINT8: _mix_bytes}[dtype]

    def mix(real: Type, at: Value, mask: Value | None) -> Value:
        corners = [
            [load(real, source + side + at, mask) for source in sources] for side in (left, right)
        ]
        return mixed(k, corners, weight, across)

    return mix


Corners: TypeAlias = Sequence[Sequence[Value]]
"""The upper and the lower element to the left, and those to the right."""


def _mix_reals(k: Builder, corners: Corners, down: Value, across: Value) -> Value:
    one = k.const(F32, 1.0)
    left, right = (upper * (one - down) + lower * down for upper, lower in corners)
    return left * (one - across) + right * across


def _mix_fixed(k: Builder, corners: Corners, down: Value, across: Value) -> Value:
    one = k.const(I32, 1 << FIXED_BITS)
    left, right = (
        upper.sext(I32) * (one - down) + lower.sext(I32) * down for upper, lower in corners
    )
    total = left * (one - across) + right * across
    bits = k.const(total.type, 2 * FIXED_BITS)
    return maths.rounding_shift(k, total, bits).trunc(I8)


def _mix_bytes(k: Builder, corners: Corners, down: Value, across: Value) -> Value:
    """A corner after the other, as TFLite's kernel of uint8 adds them up."""
    one = k.const(F32, 1.0)
    total: Value | None = None
    for side, z in zip(corners, (one - across, across), strict=True):
        for corner, y in zip(side, (one - down, down), strict=True):
            part = corner.zext(I32).to_float() * y * z
            total = part if total is None else total + part
    assert total is not None
    whole = total.to_int()
    half = k.const(total.type, 0.5)
    return (whole + (total - whole.to_float() >= half).zext(I32)).trunc(I8)


class ResizeLayer:
    """A :class:`~octolite.kernels.spec.Resize` ready to be launched."""

    def __init__(self, request: Resize, isa: Isa) -> None:
        if request.kind not in KINDS:
            raise KernelError(f"no resizing {request.kind!r}. {did_you_mean(request.kind, KINDS)}")
        if request.dtype not in TYPES[request.kind]:
            raise KernelError(f"no {request.kind} resizing of {request.dtype}")
        self.request = request
        self.isa = isa
        self.label = f"resize {request.kind} {isa.name}"
        self._library = jit.load(unit(request.kind, request.dtype), isa)

    def launch(
        self,
        input_shape: tuple[int, ...],
        rows: tuple[Array, Array, Array],
        columns: tuple[Array, Array, Array],
        threads: int = 1,
    ) -> Launch:
        """Lay the resizing of ``input_shape`` [batch, height, width, channels] out.

        ``rows``: for each new row the old ones above and below (integers), and the weight of the
        latter (float32, or int32 for int8); ``columns`` likewise. The nearest pixel is the one
        above to the left.
        """
        batch, height, width, channels = input_shape
        new_rows, new_columns = len(rows[0]), len(columns[0])
        launch = Launch((batch, new_rows, new_columns, channels), 0)
        if 0 in launch.output_shape:
            return launch
        narrow = 2 * channels < self.isa.lanes
        upper, lower, row_weight = self._table(rows, width * channels, 1)
        left, right, column_weight = self._table(columns, channels, channels if narrow else 1)
        chunk = max(1, _TILE // (new_columns * channels))
        launch.add(
            self.label,
            self._library["narrow" if narrow else "wide"],
            ARGS,
            -(-batch * new_rows // chunk),
            x=INPUT,
            out=OUTPUT,
            image=height * width * channels * self.request.dtype.numpy.itemsize,
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
        self, places: tuple[Array, Array, Array], step: int, channels: int
    ) -> tuple[Array, Array, Array]:
        """Places of ``step`` elements in bytes, with an entry for each channel."""
        before, after, weight = places
        item = self.request.dtype.numpy.itemsize
        channel = item * np.arange(channels)
        offsets = [
            (np.asarray(p, np.int64)[:, None] * (step * item) + channel).reshape(-1)
            for p in (before, after)
        ]
        kind = np.int32 if self.request.dtype is INT8 else np.float32
        return offsets[0], offsets[1], np.repeat(np.asarray(weight, kind), channels)
