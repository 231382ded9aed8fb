"""Maximum and average over windows, channels side by side in vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from octolite.errors import KernelError, did_you_mean
from octolite.ir.types import UINT8, DType
from octolite.kernels import jit, maths
from octolite.kernels.clamp import bounds
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, Launch
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, F64, I8, I16, I32, I64, PTR, Builder, Type, Value, vec
from octolite.kernels.spec import Pool2D

KINDS = ("average", "max")

# Vectors of channels that go over a window together, and channels of codes that a vector leaves.
TOGETHER, FEW = 4, 8

# Whole numbers under it are float32.
_WHOLE = 2**24


@dataclass(frozen=True)
class Form:
    """How the numbers of a window become one.

    ``memory``: the type of input and result; ``enter``: makes ``register`` of it. Windows begin
    with ``begin``, to which ``combine`` adds a pixel; ``finish`` takes what has come of it, the
    number of pixels, and the bounds of the result. ``bound``: the type of these, of which ``less``
    has been taken off.
    """

    name: str
    memory: Type
    register: Type
    bound: Type
    begin: float
    enter: Callable[[Value], Value]
    combine: Callable[[Builder, Value, Value], Value]
    finish: Callable[[Builder, Value, Value, tuple[Value, Value]], Value]
    less: int = 0

    @property
    def item(self) -> int:
        """Bytes of an element."""
        return 4 if self.memory == F32 else int(self.memory.width) // 8

    @property
    def args(self) -> Record:
        sizes = "height width channels rows columns kernel_h kernel_w stride_h stride_w top left"
        return Record(
            x=PTR,  # [batch, height, width, channels]
            out=PTR,  # [batch, rows, columns, channels]
            **dict.fromkeys(sizes.split(), I64),
            low=self.bound,
            high=self.bound,
        )

    def lanes(self, isa: Isa) -> int:
        """Channels of a vector."""
        return isa.lanes * 4 // self.item if self.register == self.memory else isa.lanes


def real_form(kind: str, curved: bool) -> Form:
    """Of float32; ``curved``: the result goes through tanh."""
    average = kind == "average"

    def finish(k: Builder, x: Value, count: Value, limits: tuple[Value, Value]) -> Value:
        x = x / count.to_float() if average else x
        return maths.tanh(k, x) if curved else maths.clamp(k, x, *limits)

    add = maths.maximum if not average else lambda k, a, b: a + b
    begin = 0.0 if average else float("-inf")
    return Form(f"{kind} tanh={curved}", F32, F32, F32, begin, lambda x: x, add, finish)


def largest_code_form(dtype: DType) -> Form:
    """Codes are compared as they are; those without a sign less 128, and so are the bounds."""
    memory = I8 if dtype.bits == 8 else I16
    flip = 0x80 if dtype is UINT8 else 0

    def finish(k: Builder, x: Value, count: Value, limits: tuple[Value, Value]) -> Value:
        low, high = (limit.trunc(memory) for limit in limits)
        return k.smin(k.smax(x, low), high) ^ flip

    least = -(2 ** (dtype.bits - 1))
    name = f"max {dtype}"
    return Form(name, memory, memory, I64, least, lambda x: x ^ flip, Builder.smax, finish, flip)


def mean_code_form(dtype: DType, real: Type) -> Form:
    """Sums in int32; ``real`` is a type of floats that holds them."""
    memory = I8 if dtype.bits == 8 else I16

    def enter(x: Value) -> Value:
        return x.zext(I32) if dtype is UINT8 else x.sext(I32)

    def finish(k: Builder, x: Value, count: Value, limits: tuple[Value, Value]) -> Value:
        half = (count >> 1).trunc(I32)
        rounded = x + k.select(x > 0, k.fit(half, x.type), k.const(I32, 0) - half)
        mean = (rounded.to_float(real) / count.to_float(real)).to_int(I32)
        low, high = (limit.trunc(I32) for limit in limits)
        return k.smin(k.smax(mean, low), high).trunc(memory)

    name = f"average {dtype} {real}"
    return Form(name, memory, I32, I64, 0, enter, lambda k, a, b: a + b, finish)


def form_of(request: Pool2D) -> Form:
    """Raises :class:`KernelError` for activations that no kernel applies."""
    if request.codes is None:
        return real_form(request.kind, bounds(request.activation)[2])
    if request.kind == "max":
        return largest_code_form(request.codes)
    most = 2**request.codes.bits * request.kernel[0] * request.kernel[1]
    return mean_code_form(request.codes, F32 if most <= _WHOLE else F64)


def unit(form: Form) -> Unit:
    """``pool(args, tile)``: one row of output pixels."""

    def emit(module: Any, isa: Isa) -> None:
        k = Builder(module, "pool", (PTR, I64))
        args = form.args.load(k, k.args[0])
        image, row = k.args[1] // args.rows, k.args[1] % args.rows
        y = row * args.stride_h - args.top
        ys = k.smax(y, 0), k.smin(y + args.kernel_h, args.height)
        source = args.x + image * args.height * args.width * args.channels * form.item
        line = args.out + k.args[1] * args.columns * args.channels * form.item
        lanes = form.lanes(isa)
        with k.loop(0, args.columns) as columns:
            x = columns.index * args.stride_w - args.left
            xs = k.smax(x, 0), k.smin(x + args.kernel_w, args.width)
            out = line + columns.index * args.channels * form.item
            start = k.const(I64, 0)
            # Machines load the first of some floats, but not all of them the first of some bytes.
            for together in (TOGETHER * lanes, lanes, *(() if form.memory == F32 else (FEW, 1))):
                stop = args.channels // together * together
                with k.loop(start, stop, together) as loop:
                    at = loop.index * form.item
                    k.store(_window(k, form, args, source + at, ys, xs, together), out + at)
                start = stop
            if form.memory == F32:
                with k.when(start < args.channels):
                    mask, at = k.first(args.channels - start, lanes), start * form.item
                    result = _window(k, form, args, source + at, ys, xs, lanes, mask)
                    k.store_first(result, out + at, mask)
        k.ret()

    return Unit(f"pool {form.name}", ("pool",), emit)


def _window(
    k: Builder,
    form: Form,
    args: Any,
    source: Value,
    ys: tuple[Value, Value],
    xs: tuple[Value, Value],
    lanes: int,
    mask: Value | None = None,
) -> Value:
    """``lanes`` channels over the part of a window that is inside the image."""
    memory = vec(form.memory, lanes)
    begin = k.const(vec(form.register, lanes), form.begin)
    with k.loop(*ys, carry=[begin]) as rows:
        with k.loop(*xs, carry=rows.carry) as columns:
            at = source + (rows.index * args.width + columns.index) * args.channels * form.item
            x = k.load(memory, at) if mask is None else k.load_first(memory, at, mask)
            columns.carry = [form.combine(k, columns.carry[0], form.enter(x))]
        rows.carry = columns.carry
    count = (ys[1] - ys[0]) * (xs[1] - xs[0])
    return form.finish(k, rows.carry[0], count, (args.low, args.high))


class PoolLayer:
    """A :class:`~octolite.kernels.spec.Pool2D` ready to be launched."""

    def __init__(self, request: Pool2D, isa: Isa) -> None:
        if request.kind not in KINDS:
            raise KernelError(f"no pooling {request.kind!r}. {did_you_mean(request.kind, KINDS)}")
        self.request = request
        self.label = f"{request.kind} pool {isa.name}"
        self._form = form_of(request)
        limits = bounds(request.activation)[:2] if request.codes is None else request.limits
        self.low, self.high = (limit - self._form.less for limit in limits)
        self._fn = jit.load(unit(self._form), isa)["pool"]

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
            self._form.args,
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
