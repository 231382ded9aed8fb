"""Depthwise convolution: every channel by its own window, no sums across channels.

Channels lie side by side in memory, so a vector holds as many channels; the window's taps are
the only sum. A block of output pixels shares the loads of weights.
"""

from __future__ import annotations

from typing import Any

from octolite.kernels.dot import activate, rescale
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I8, I16, I32, I64, PTR, Builder, Value, vec

ARGS = Record(
    a=PTR,  # padded image: float32 or codes [batch, height, row]
    image_bytes=I64,
    row_bytes=I64,  # from output row to output row, in the padded image
    step_bytes=I64,  # from output pixel to output pixel, in the padded image
    tap_at=PTR,  # int64 [taps]
    taps=I64,
    weights=PTR,  # [taps, padded channels]: float32, or int16 codes
    weight_bytes=I64,  # from tap to tap
    scale=PTR,  # float32 [padded channels]        (hybrid only, as are the next three)
    total=PTR,  # int32 [padded channels]
    row_scale=PTR,  # float32 [batch]
    row_zero=PTR,  # int32 [batch], of the stored code
    bias=PTR,  # float32 [padded channels]
    out=PTR,  # float32 [batch, rows, columns, channels]
    channels=I64,
    rows=I64,
    columns=I64,
    low=F32,
    high=F32,
)

# Output pixels that are computed together.
PIXELS = 4


def unit(hybrid: bool, curved: bool) -> Unit:
    def emit(module: Any, isa: Isa) -> None:
        for pixels in (PIXELS, 1):
            _emit_block(module, isa, pixels, hybrid, curved)
        _emit_row(module)

    return Unit(f"depthwise hybrid={hybrid} tanh={curved}", ("depthwise",), emit)


def _emit_row(module: Any) -> None:
    """``depthwise(args, tile)``: one row of output pixels."""
    k = Builder(module, "depthwise", (PTR, I64))
    address, row = k.args
    args = ARGS.load(k, address)
    image = row // args.rows
    start = args.a + (image * args.image_bytes + row % args.rows * args.row_bytes)
    pixel_bytes = args.channels * 4
    out = args.out + row * args.columns * pixel_bytes
    whole = args.columns // PIXELS * PIXELS
    for begin, stop, pixels in ((k.const(I64, 0), whole, PIXELS), (whole, args.columns, 1)):
        with k.loop(begin, stop, pixels) as loop:
            x = loop.index
            block = k.module.globals[f"block{pixels}"]
            a, o = start + x * args.step_bytes, out + x * pixel_bytes
            k.ir.call(block, [address.raw, image.raw, a.raw, o.raw])
    k.ret()


def _emit_block(module: Any, isa: Isa, pixels: int, hybrid: bool, curved: bool) -> None:
    """``blockP(args, image, a, out)``: ``P`` neighbouring output pixels, all channels."""
    k = Builder(module, f"block{pixels}", (PTR, I64, PTR, PTR), local=True)
    address, image, a, out = k.args
    args = ARGS.load(k, address)
    tile = isa.dot
    item = tile.code.itemsize if hybrid else 4
    weight_item = 2 if hybrid else 4
    real, whole = vec(F32, isa.lanes), vec(I32, isa.lanes)
    if hybrid:
        row_scale = k.load(F32, args.row_scale + image * 4)
        row_zero = k.load(I32, args.row_zero + image * 4)

    def load_a(at: Value, mask: Value | None) -> Value:
        if not hybrid:  # a float image may end with its last pixel; codes have slack
            return k.load(real, at) if mask is None else k.load_first(real, at, mask)
        codes = k.load(vec(I8 if item == 1 else I16, isa.lanes), at)
        return codes.zext(I32) if tile.offset else codes.sext(I32)

    def products(c: Value, mask: Value | None) -> list[Value]:
        zeros = [k.const(whole if hybrid else real, 0)] * pixels
        with k.loop(0, args.taps, carry=zeros) as loop:
            at = a + (k.load(I64, args.tap_at + loop.index * 8) + c * item)
            w_at = args.weights + (loop.index * args.weight_bytes + c * weight_item)
            w = k.load(vec(I16, isa.lanes), w_at).sext(I32) if hybrid else k.load(real, w_at)
            xs = [load_a(at + args.step_bytes * p, mask) for p in range(pixels)]
            loop.carry = [
                acc + x * w if hybrid else k.fma(x, w, acc)
                for acc, x in zip(loop.carry, xs, strict=True)
            ]
        return loop.carry

    def finish(acc: Value, c: Value) -> Value:
        if hybrid:
            result = rescale(k, args, c * 4, acc, row_scale, row_zero)
        else:
            result = acc + k.load(real, args.bias + c * 4)
        return activate(k, args, result, curved)

    def block(c: Value, mask: Value | None = None) -> None:
        for p, acc in enumerate(products(c, mask)):
            result, at = finish(acc, c), out + (args.channels * p + c) * 4
            if mask is None:
                k.store(result, at)
            else:
                k.store_first(result, at, mask)

    full = args.channels // isa.lanes * isa.lanes
    with k.loop(0, full, isa.lanes) as loop:
        block(loop.index)
    with k.when(full < args.channels):
        block(full, k.first(args.channels - full, isa.lanes))
    k.ret()
