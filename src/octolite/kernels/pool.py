"""Maximum and average over windows, channels side by side in vectors."""

from __future__ import annotations

from typing import Any

from octolite.errors import KernelError, did_you_mean
from octolite.kernels import jit, maths
from octolite.kernels.clamp import bounds
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, Launch
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I64, PTR, Builder, Value, vec
from octolite.kernels.spec import Pool2D

ARGS = Record(
    x=PTR,  # float32 [batch, height, width, channels]
    out=PTR,  # float32 [batch, rows, columns, channels]
    height=I64,
    width=I64,
    channels=I64,
    rows=I64,
    columns=I64,
    kernel_h=I64,
    kernel_w=I64,
    stride_h=I64,
    stride_w=I64,
    top=I64,
    left=I64,
    low=F32,
    high=F32,
)

KINDS = ("average", "max")

# Vectors of channels that go over a window together.
TOGETHER = 4


def unit(kind: str, curved: bool) -> Unit:
    """``pool(args, tile)``: one row of output pixels."""

    def emit(module: Any, isa: Isa) -> None:
        k = Builder(module, "pool", (PTR, I64))
        args = ARGS.load(k, k.args[0])
        image, row = k.args[1] // args.rows, k.args[1] % args.rows
        y = row * args.stride_h - args.top
        ys = k.smax(y, 0), k.smin(y + args.kernel_h, args.height)
        source = args.x + image * args.height * args.width * args.channels * 4
        line = args.out + k.args[1] * args.columns * args.channels * 4
        with k.loop(0, args.columns) as columns:
            x = columns.index * args.stride_w - args.left
            xs = k.smax(x, 0), k.smin(x + args.kernel_w, args.width)
            out = line + columns.index * args.channels * 4
            start = k.const(I64, 0)
            for vectors in (TOGETHER, 1):
                stop = args.channels // (vectors * isa.lanes) * (vectors * isa.lanes)
                with k.loop(start, stop, vectors * isa.lanes) as loop:
                    at = loop.index * 4
                    found = _window(k, isa, args, kind, curved, source + at, ys, xs, vectors)
                    for v, result in enumerate(found):
                        k.store(result, out + (at + 4 * isa.lanes * v))
                start = stop
            with k.when(start < args.channels):
                mask = k.first(args.channels - start, isa.lanes)
                at = start * 4
                (result,) = _window(k, isa, args, kind, curved, source + at, ys, xs, 1, mask)
                k.store_first(result, out + at, mask)
        k.ret()

    return Unit(f"pool {kind} tanh={curved}", ("pool",), emit)


def _window(
    k: Builder,
    isa: Isa,
    args: Any,
    kind: str,
    curved: bool,
    source: Value,
    ys: tuple[Value, Value],
    xs: tuple[Value, Value],
    vectors: int,
    mask: Value | None = None,
) -> list[Value]:
    """``vectors`` of channels over the part of a window that is inside the image."""
    real = vec(F32, isa.lanes)
    begin = k.const(real, 0.0 if kind == "average" else float("-inf"))
    with k.loop(*ys, carry=[begin] * vectors) as rows:
        with k.loop(*xs, carry=rows.carry) as columns:
            pixel = rows.index * args.width + columns.index
            for v, acc in enumerate(columns.carry):
                at = source + (pixel * args.channels * 4 + 4 * isa.lanes * v)
                x = k.load(real, at) if mask is None else k.load_first(real, at, mask)
                columns.carry[v] = acc + x if kind == "average" else maths.maximum(k, acc, x)
        rows.carry = columns.carry
    sums = rows.carry
    if kind == "average":
        count = ((ys[1] - ys[0]) * (xs[1] - xs[0])).to_float().splat(isa.lanes)
        sums = [acc / count for acc in sums]
    if curved:
        return [maths.tanh(k, acc) for acc in sums]
    return [maths.clamp(k, acc, args.low, args.high) for acc in sums]


class PoolLayer:
    """A :class:`~octolite.kernels.spec.Pool2D` ready to be launched."""

    def __init__(self, request: Pool2D, isa: Isa) -> None:
        if request.kind not in KINDS:
            raise KernelError(f"no pooling {request.kind!r}. {did_you_mean(request.kind, KINDS)}")
        self.request = request
        self.label = f"{request.kind} pool {isa.name}"
        self.low, self.high, curved = bounds(request.activation)
        self._fn = jit.load(unit(request.kind, curved), isa)["pool"]

    def launch(
        self,
        input_shape: tuple[int, ...],
        padding: tuple[int, int],
        output_hw: tuple[int, int],
        threads: int = 1,
    ) -> Launch:
        """Lay the pooling out for ``input_shape`` [batch, height, width, channels].

        ``padding``: rows above and columns left of the image.
        """
        batch, height, width, channels = input_shape
        rows, columns = output_hw
        launch = Launch((batch, rows, columns, channels), 0)
        if 0 in launch.output_shape:
            return launch
        (kernel_h, kernel_w), (stride_h, stride_w) = self.request.kernel, self.request.stride
        launch.add(
            self.label,
            self._fn,
            ARGS,
            batch * rows,
            x=INPUT,
            out=OUTPUT,
            height=height,
            width=width,
            channels=channels,
            rows=rows,
            columns=columns,
            kernel_h=kernel_h,
            kernel_w=kernel_w,
            stride_h=stride_h,
            stride_w=stride_w,
            top=padding[0],
            left=padding[1],
            low=self.low,
            high=self.high,
        )
        return launch
