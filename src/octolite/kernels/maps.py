"""Functions of one or two float tensors, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from octolite.errors import KernelError, did_you_mean
from octolite.ir.types import Array
from octolite.kernels import jit, maths
from octolite.kernels.clamp import bounds
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, SECOND, Launch
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I64, PTR, Builder, Value, vec
from octolite.kernels.spec import Binary, Unary

# Elements that make a tile worth its dispatch.
_TILE = 16384

UNARY: dict[str, Callable[[Builder, Value, Value], Value]] = {
    "abs": lambda k, x, _: maths.absolute(k, x),
    "elu": lambda k, x, _: k.select(x < 0.0, maths.expm1(k, k.smin(x, 0.0)), x),
    "exp": lambda k, x, _: maths.exp(k, x),
    "hard_swish": lambda k, x, _: x * maths.clamp(k, x + 3.0, 0.0, 6.0) * (1 / 6),
    "leaky_relu": lambda k, x, alpha: k.select(x < 0.0, x * alpha, x),
    "log": lambda k, x, _: maths.log(k, x),
    "logistic": lambda k, x, _: maths.logistic(k, x),
    "neg": lambda k, x, _: x * -1.0,
    "relu": lambda k, x, _: k.smax(x, 0.0),
    "relu6": lambda k, x, _: maths.clamp(k, x, 0.0, 6.0),
    "relu_0_to_1": lambda k, x, _: maths.clamp(k, x, 0.0, 1.0),
    "relu_n1_to_1": lambda k, x, _: maths.clamp(k, x, -1.0, 1.0),
    "rsqrt": lambda k, x, _: k.const(x.type, 1.0) / maths.sqrt(k, x),
    "sqrt": lambda k, x, _: maths.sqrt(k, x),
    "square": lambda k, x, _: x * x,
    "tanh": lambda k, x, _: maths.tanh(k, x),
}

BINARY: dict[str, Callable[[Builder, Value, Value], Value]] = {
    "add": lambda k, a, b: a + b,
    "div": lambda k, a, b: a / b,
    "maximum": maths.maximum,
    "minimum": maths.minimum,
    "mul": lambda k, a, b: a * b,
    "prelu": lambda k, a, b: k.select(a >= 0.0, a, a * b),
    "squared_difference": lambda k, a, b: (a - b) * (a - b),
    "sub": lambda k, a, b: a - b,
}

UNARY_ARGS = Record(x=PTR, out=PTR, size=I64, chunk=I64, alpha=F32)

BINARY_ARGS = Record(
    a=PTR,
    b=PTR,
    a_at=PTR,  # int64 [rows]: where each row of the result starts in a, in bytes
    b_at=PTR,
    out=PTR,  # [rows, size]
    rows=I64,
    size=I64,
    row_chunk=I64,  # a tile is so many rows
    part=I64,  # by so many elements
    parts=I64,
    low=F32,
    high=F32,
)

# How the operands run along a row: element by element, or one element for all.
_RUNS = {"both": (1, 1), "one_b": (1, 0), "one_a": (0, 1)}


def _sweep(
    k: Builder, isa: Isa, start: Value, stop: Value, body: Callable[[Value, Value | None], None]
) -> None:
    """``body(index, mask)`` for each vector of elements; the mask is for the last, if partial."""
    whole = start + (stop - start) // isa.lanes * isa.lanes
    with k.loop(start, whole, isa.lanes) as loop:
        body(loop.index, None)
    with k.when(whole < stop):
        body(whole, k.first(stop - whole, isa.lanes))


def _load(k: Builder, isa: Isa, address: Value, index: Value, mask: Value | None) -> Value:
    at, kind = address + index * 4, vec(F32, isa.lanes)
    return k.load(kind, at) if mask is None else k.load_first(kind, at, mask, 1.0)


def _store(k: Builder, x: Value, address: Value, index: Value, mask: Value | None) -> None:
    at = address + index * 4
    if mask is None:
        k.store(x, at)
    else:
        k.store_first(x, at, mask)


def unary_unit(function: str) -> Unit:
    """``unary(args, tile)``: one chunk of elements."""

    def emit(module: Any, isa: Isa) -> None:
        k = Builder(module, "unary", (PTR, I64))
        args = UNARY_ARGS.load(k, k.args[0])
        start = k.args[1] * args.chunk

        def body(index: Value, mask: Value | None) -> None:
            x = _load(k, isa, args.x, index, mask)
            _store(k, UNARY[function](k, x, args.alpha), args.out, index, mask)

        _sweep(k, isa, start, k.smin(start + args.chunk, args.size), body)
        k.ret()

    return Unit(f"unary {function}", ("unary",), emit)


def binary_unit(function: str, curved: bool) -> Unit:
    """``both``, ``one_b``, ``one_a``: a chunk of rows by a part of them."""

    def emit(module: Any, isa: Isa) -> None:
        for name, (a_runs, b_runs) in _RUNS.items():
            _emit_binary(module, isa, name, BINARY[function], a_runs, b_runs, curved)

    return Unit(f"binary {function} tanh={curved}", tuple(_RUNS), emit)


def _emit_binary(
    module: Any,
    isa: Isa,
    name: str,
    function: Callable[[Builder, Value, Value], Value],
    a_runs: int,
    b_runs: int,
    curved: bool,
) -> None:
    k = Builder(module, name, (PTR, I64))
    args = BINARY_ARGS.load(k, k.args[0])
    first = k.args[1] // args.parts * args.row_chunk
    start = k.args[1] % args.parts * args.part
    stop = k.smin(start + args.part, args.size)
    with k.loop(first, k.smin(first + args.row_chunk, args.rows)) as rows:
        row = rows.index
        a = args.a + k.load(I64, args.a_at + row * 8)
        b = args.b + k.load(I64, args.b_at + row * 8)
        out = args.out + row * args.size * 4

        def operand(address: Value, runs: int) -> Callable[[Value, Value | None], Value]:
            if runs:
                return lambda index, mask: _load(k, isa, address, index, mask)
            same = k.load(F32, address).splat(isa.lanes)
            return lambda index, mask: same

        left, right = operand(a, a_runs), operand(b, b_runs)

        def body(index: Value, mask: Value | None) -> None:
            x = function(k, left(index, mask), right(index, mask))
            x = maths.tanh(k, x) if curved else maths.clamp(k, x, args.low, args.high)
            _store(k, x, out, index, mask)

        _sweep(k, isa, start, stop, body)
    k.ret()


# Layers ------------------------------------------------------------------------------------


class UnaryLayer:
    """A :class:`~octolite.kernels.spec.Unary` ready to be launched."""

    def __init__(self, request: Unary, isa: Isa) -> None:
        _known(request.function, UNARY)
        self.request = request
        self.label = f"{request.function} {isa.name}"
        self._fn = jit.load(unary_unit(request.function), isa)["unary"]

    def launch(self, input_shape: tuple[int, ...], threads: int = 1) -> Launch:
        """Lay the function out for ``input_shape``."""
        size = math.prod(input_shape)
        launch = Launch(tuple(input_shape), 0)
        launch.add(
            self.label,
            self._fn,
            UNARY_ARGS,
            -(-size // _TILE),
            x=INPUT,
            out=OUTPUT,
            size=size,
            chunk=_TILE,
            alpha=self.request.alpha,
        )
        return launch


class BinaryLayer:
    """A :class:`~octolite.kernels.spec.Binary` ready to be launched."""

    def __init__(self, request: Binary, isa: Isa) -> None:
        _known(request.function, BINARY)
        self.request = request
        self.label = f"{request.function} {isa.name}"
        self.low, self.high, curved = bounds(request.activation)
        self._library = jit.load(binary_unit(request.function, curved), isa)

    def launch(
        self, input_shape: tuple[int, ...], second_shape: tuple[int, ...], threads: int = 1
    ) -> Launch:
        """Lay the function out for two shapes; the steps take the addresses of both inputs.

        Raises :class:`KernelError` when the shapes do not broadcast.
        """
        try:
            shape = np.broadcast_shapes(input_shape, second_shape)
        except ValueError:
            raise KernelError(
                f"{list(input_shape)} and {list(second_shape)} do not broadcast"
            ) from None
        launch = Launch(shape, 0)
        if 0 in shape:
            return launch
        cut = _shared_run(shape, input_shape, second_shape)
        rows, size = math.prod(shape[:cut]), math.prod(shape[cut:])
        a_at, a_runs = _row_starts(shape, cut, input_shape)
        b_at, b_runs = _row_starts(shape, cut, second_shape)
        name = next(n for n, runs in _RUNS.items() if runs == (a_runs, b_runs))
        part, row_chunk = min(size, _TILE), max(1, min(rows, _TILE // size))
        parts = -(-size // part)
        launch.add(
            self.label,
            self._library[name],
            BINARY_ARGS,
            -(-rows // row_chunk) * parts,
            a=INPUT,
            b=SECOND,
            a_at=a_at,
            b_at=b_at,
            out=OUTPUT,
            rows=rows,
            size=size,
            row_chunk=row_chunk,
            part=part,
            parts=parts,
            low=self.low,
            high=self.high,
        )
        return launch


def _known(function: str, table: dict[str, Any]) -> None:
    if function not in table:
        raise KernelError(f"no kernel computes {function!r}. {did_you_mean(function, table)}")


def _aligned(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (1,) * (rank - len(shape)) + tuple(shape)


def _shared_run(shape: tuple[int, ...], *operands: tuple[int, ...]) -> int:
    """The first axis from which on every operand is either whole or one element."""
    lined = [_aligned(operand, len(shape)) for operand in operands]
    cut = len(shape)
    while cut > 0 and all(
        operand[cut - 1 :] == shape[cut - 1 :] or math.prod(operand[cut - 1 :]) == 1
        for operand in lined
    ):
        cut -= 1
    return cut


def _row_starts(shape: tuple[int, ...], cut: int, operand: tuple[int, ...]) -> tuple[Array, int]:
    """Where each row of the result starts in an operand (bytes), and whether it runs along."""
    lined = _aligned(operand, len(shape))
    runs = int(lined[cut:] == shape[cut:])
    size = math.prod(lined[cut:])
    starts = np.arange(math.prod(lined[:cut]), dtype=np.int64).reshape(lined[:cut]) * (4 * size)
    return np.broadcast_to(starts, shape[:cut]).reshape(-1).copy(), runs
