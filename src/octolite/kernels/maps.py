"""Functions of elements: any expression as one loop over tensors that broadcast.

The result is seen as rows, within which every input either runs along, element by element, or is
one element. What an expression makes of inputs that stand still is computed where they last
changed: once for a call, or once for a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from octolite.errors import KernelError
from octolite.ir.types import BOOL, FLOAT16, FLOAT32, INT64, Array, DType
from octolite.kernels import jit, maths
from octolite.kernels.copy import CopyLayer
from octolite.kernels.expression import CONVERSIONS, GIVEN, NUMBER, Expression
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import OUTPUT, Launch, Operand, Place
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I8, I16, I32, I64, PTR, Builder, Type, Value, lanes_of, vec
from octolite.kernels.spec import Copy
from octolite.kernels.views import Move, View

EMIT: dict[str, Callable[..., Value]] = {
    "abs": maths.absolute,
    "add": lambda k, a, b: a + b,
    "ceil": maths.ceil,
    "cos": lambda k, x: maths.sine(k, x, quarters=1),
    "cube": lambda k, x: x * x * x,
    "div": lambda k, a, b: a / b,
    "elu": lambda k, x: k.select(x < 0.0, maths.expm1(k, k.smin(x, 0.0)), x),
    "equal": lambda k, a, b: a.equals(b),
    "exp": maths.exp,
    "floor": maths.floor,
    "floor_div": lambda k, a, b: maths.floor(k, a / b),
    "gelu": maths.gelu,
    "gelu_tanh": maths.gelu_tanh,
    "greater": lambda k, a, b: a > b,
    "greater_equal": lambda k, a, b: a >= b,
    "half": lambda k, x: (x >> 1) + (x & 1),
    "high_product": maths.high_product,
    "hard_swish": lambda k, x: x * (maths.clamp(k, x + 3.0, 0.0, 6.0) * (1 / 6)),
    "leaky_relu": lambda k, x, alpha: k.select(x < 0.0, x * alpha, x),
    "less": lambda k, a, b: a < b,
    "less_equal": lambda k, a, b: a <= b,
    "log": maths.log,
    "logical_and": lambda k, a, b: a & b,
    "logical_not": lambda k, x: x ^ 1,
    "logical_or": lambda k, a, b: a | b,
    "logistic": maths.logistic,
    "maximum": maths.maximum,
    "minimum": maths.minimum,
    "mul": lambda k, a, b: a * b,
    "neg": lambda k, x: x * -1.0,
    "not_equal": lambda k, a, b: a.equals(b) ^ 1,
    "pow": maths.power,
    "prelu": lambda k, a, b: k.select(a >= 0.0, a, a * b),
    "relu": lambda k, x: k.smax(x, 0.0),
    "relu6": lambda k, x: maths.clamp(k, x, 0.0, 6.0),
    "relu_0_to_1": lambda k, x: maths.clamp(k, x, 0.0, 1.0),
    "relu_n1_to_1": lambda k, x: maths.clamp(k, x, -1.0, 1.0),
    "round": maths.round_even,
    "round_half_away": maths.round_half_away,
    "rounding_shift": maths.rounding_shift,
    "rsqrt": lambda k, x: k.const(x.type, 1.0) / maths.sqrt(k, x),
    "select": lambda k, condition, x, y: k.select(condition, x, y),
    "shift_left": lambda k, x, bits: x << bits,
    "sign": maths.sign,
    "sin": maths.sine,
    "sqrt": maths.sqrt,
    "square": lambda k, x: x * x,
    "squared_difference": lambda k, a, b: (a - b) * (a - b),
    "sub": lambda k, a, b: a - b,
    "tanh": maths.tanh,
}
"""How each function of :data:`~octolite.kernels.expression.FUNCTIONS` is computed, conversions
apart."""


# Element types in memory and in registers --------------------------------------------------------


def _memory(dtype: DType) -> Type:
    return {8: I8, 16: I16, 32: I32, 64: I64}[dtype.bits] if dtype is not FLOAT32 else F32


def _enter(dtype: DType, x: Value) -> Value:
    """What was loaded, as functions take it: small integers as int32, bools as int1."""
    if dtype is BOOL:
        return x.equals(0) ^ 1
    if dtype.is_integer and dtype.bits < 32:
        return x.zext(I32) if dtype.kind == "u" else x.sext(I32)
    return x


def _leave(dtype: DType, x: Value) -> Value:
    """What functions gave, as it is stored."""
    if dtype is BOOL:
        return x.zext(I8)
    if dtype.is_integer and dtype.bits < 32:
        return x.trunc(_memory(dtype))
    return x


def convert(k: Builder, x: Value, source: DType, target: DType) -> Value:
    """The same number in another type; see :data:`~octolite.kernels.expression.CONVERSIONS`."""
    if source is target:
        return x
    if source is FLOAT16:
        return convert(k, maths.from_half(k, x), FLOAT32, target)
    if target is BOOL:
        return x.equals(0) ^ 1
    if source is BOOL:
        x = x.zext(I64 if target is INT64 else I32)
    if target is FLOAT32:
        return x if source is FLOAT32 else x.to_float()
    if target is FLOAT16:
        return maths.to_half(k, x if source is FLOAT32 else x.to_float())
    register = I64 if target is INT64 else I32
    if source is FLOAT32:
        limits = np.iinfo(target.numpy)
        return maths.to_integer(k, x, int(limits.min), int(limits.max), register)
    if source is not BOOL and (source is INT64) != (target is INT64):
        x = x.sext(I64) if target is INT64 else x.trunc(I32)
    return _enter(target, x.trunc(_memory(target))) if target.bits < 32 else x


# The code ----------------------------------------------------------------------------------------

CALL, ROW, ELEMENT = range(3)
"""How often an operand changes."""


@dataclass(frozen=True, slots=True)
class Access:
    """How an input is read: how often it ``varies``, and whether its rows lie at addresses that
    are ``listed``, or one ``step`` after the other (which the arguments tell)."""

    varies: int
    listed: bool = False

    def __str__(self) -> str:
        return "cre"[self.varies] + "*" * self.listed


def record(expression: Expression, accesses: Sequence[Access]) -> Record:
    """The arguments: ``out`` [rows, size]; a tile is ``row_chunk`` rows by ``part`` elements, of
    which a row has ``parts``. Of input i, the address ``x{i}`` and, in bytes from there,
    ``at{i}``: an int64 for each row, or ``step{i}``: from one row to the next. ``number{i}``."""
    names = ("rows", "size", "row_chunk", "part", "parts")
    fields = {"out": PTR} | dict.fromkeys(names, I64)
    for i, access in enumerate(accesses):
        fields[f"x{i}"] = PTR
        if access.varies != CALL:
            fields[f"at{i}" if access.listed else f"step{i}"] = PTR if access.listed else I64
    given = [name for name, _ in expression.steps if name in GIVEN]
    fields |= {f"number{i}": F32 if name == NUMBER else I64 for i, name in enumerate(given)}
    return Record(**fields)


def unit(expression: Expression, accesses: Sequence[Access]) -> Unit:
    """``map(args, tile)``: a chunk of rows by a part of them."""

    def emit(module: Any, isa: Isa) -> None:
        k = Builder(module, "map", (PTR, I64))
        args = record(expression, accesses).load(k, k.args[0])
        code = _Code(k, expression, accesses, args)
        first = k.args[1] // args.parts * args.row_chunk
        start = k.args[1] % args.parts * args.part
        stop = k.smin(start + args.part, args.size)
        fixed = code.settle(CALL, {}, isa.lanes)
        with k.loop(first, k.smin(first + args.row_chunk, args.rows)) as rows:
            code.enter_row(rows.index)
            still = code.settle(ROW, fixed, isa.lanes)
            for lanes in (isa.lanes * WIDE, isa.lanes):
                known = {i: _widened(x, lanes) for i, x in still.items()}
                whole = start + (stop - start) // lanes * lanes
                with k.loop(start, whole, lanes) as loop:
                    code.compute(known, lanes, loop.index)
                start = whole
            with k.when(start < stop):
                code.compute(still, isa.lanes, start, k.first(stop - start, isa.lanes))
        k.ret()

    return Unit(f"map {' '.join(map(str, accesses))} {expression.form}", ("map",), emit)


WIDE = 2
"""Vectors of the machine in one of the loop: while one waits, the other computes. With more, long
expressions run out of registers."""


def _widened(x: Value, lanes: int) -> Value:
    """A vector of which all lanes are equal, with ``lanes`` of them."""
    return x.pick([0] * lanes) if lanes_of(x.type) != lanes else x


class _Code:
    """The expression's code, of which each part is emitted where it belongs."""

    def __init__(
        self,
        k: Builder,
        expression: Expression,
        accesses: Sequence[Access],
        args: SimpleNamespace,
    ) -> None:
        self.k = k
        self.expression = expression
        self.args = args
        self.at = [getattr(args, f"x{i}") for i in range(len(accesses))]  # of the present row
        self.out = args.out
        self.accesses = accesses
        self.varies = [a.varies for a in accesses]
        for _, operands in expression.steps:
            self.varies.append(max((self.varies[i] for i in operands), default=CALL))

    def enter_row(self, row: Value) -> None:
        """Find where the inputs' and the result's rows begin."""
        for i, access in enumerate(self.accesses):
            if access.varies == CALL:
                continue
            base = getattr(self.args, f"x{i}")
            if access.listed:
                self.at[i] = base + self.k.load(I64, getattr(self.args, f"at{i}") + row * 8)
            else:
                self.at[i] = base + row * getattr(self.args, f"step{i}")
        size = self.args.size * self.expression.dtype.numpy.itemsize
        self.out = self.args.out + row * size

    def settle(
        self,
        level: int,
        known: Mapping[int, Value],
        lanes: int,
        index: Value | None = None,
        mask: Value | None = None,
    ) -> dict[int, Value]:
        """``known`` and every operand, by number, that varies at ``level``, as ``lanes`` lanes."""
        values, expression = dict(known), self.expression
        for i, dtype in enumerate(expression.inputs):
            if self.varies[i] == level:
                values[i] = self._load(dtype, self.at[i], lanes, index, mask)
        numbers = 0
        for i, (function, operands) in enumerate(expression.steps, len(expression.inputs)):
            if function in GIVEN:
                numbers += 1
            if self.varies[i] != level:
                continue
            given = [values[j] for j in operands]
            if function in GIVEN:
                number = getattr(self.args, f"number{numbers - 1}")
                values[i] = (number if function == NUMBER else number.trunc(I32)).splat(lanes)
            elif function in CONVERSIONS:
                source = expression.types[operands[0]]
                values[i] = convert(self.k, given[0], source, CONVERSIONS[function])
            else:
                values[i] = EMIT[function](self.k, *given)
        return values

    def _load(
        self, dtype: DType, row: Value, lanes: int, index: Value | None, mask: Value | None
    ) -> Value:
        k, element = self.k, _memory(dtype)
        if index is None:
            return _enter(dtype, k.load(element, row).splat(lanes))
        at, kind = row + index * dtype.numpy.itemsize, vec(element, lanes)
        return _enter(dtype, k.load(kind, at) if mask is None else k.load_first(kind, at, mask, 1))

    def compute(
        self, known: Mapping[int, Value], lanes: int, index: Value, mask: Value | None = None
    ) -> None:
        """The results of a vector of elements, or of those in ``mask``."""
        dtype = self.expression.dtype
        values = self.settle(ELEMENT, known, lanes, index, mask)
        x = _leave(dtype, values[len(self.expression.types) - 1])
        at = self.out + index * dtype.numpy.itemsize
        if mask is None:
            self.k.store(x, at)
        else:
            self.k.store_first(x, at, mask)


# The layer ---------------------------------------------------------------------------------------

# Elements of a tile: at most, and at least what makes it worth its dispatch.
_MOST, _LEAST = 16384, 2048
# Elements of a row that is made of several short ones, and of a result that is worth that.
_LONG, _WORTH_COPIES = 2048, 8192


class MapLayer:
    """An :class:`~octolite.kernels.expression.Expression` ready to be launched."""

    def __init__(self, request: Expression, isa: Isa) -> None:
        self.request = request
        self.label = f"{'+'.join(request.functions)} {isa.name}"
        self._isa = isa

    def launch(
        self,
        input_shape: tuple[int, ...],
        others: Sequence[tuple[int, ...]] = (),
        threads: int = 1,
    ) -> Launch:
        """Lay the expression out for the shapes of its inputs; the steps take their addresses.

        Raises :class:`KernelError` when the shapes do not broadcast.
        """
        shapes = (tuple(input_shape), *map(tuple, others))
        try:
            shape = np.broadcast_shapes(*shapes)
        except ValueError:
            listed = " and ".join(str(list(s)) for s in shapes)
            raise KernelError(f"{listed} do not broadcast") from None
        launch = Launch(shape, 0)
        if 0 in shape:
            return launch
        size = self.request.dtype.numpy.itemsize
        launch.in_place = tuple(
            i
            for i, (given, dtype) in enumerate(zip(shapes, self.request.inputs, strict=True))
            if given == shape and dtype.numpy.itemsize == size
        )
        cut = _shared_run(shape, *shapes)
        rows, size = math.prod(shape[:cut]), math.prod(shape[cut:])
        times = self._repeats(shape, cut, shapes)
        if times > 1:
            self._lengthen(launch, size, times, shapes, threads)
            return launch
        tile = max(_LEAST, min(_MOST, -(-rows * size // (4 * threads))))
        part, row_chunk = min(size, tile), max(1, min(rows, tile // size))
        parts = -(-size // part)
        operands: dict[str, Operand] = {
            f"number{i}": number for i, number in enumerate(self.request.numbers)
        }
        accesses = []
        for i, (given, dtype) in enumerate(zip(shapes, self.request.inputs, strict=True)):
            operands[f"x{i}"] = Place(f"input{i}")
            access, where = _access(shape, cut, given, dtype.numpy.itemsize)
            accesses.append(access)
            if where is not None:
                operands[f"at{i}" if access.listed else f"step{i}"] = where
        library = jit.load(unit(self.request, accesses), self._isa)
        launch.add(
            self.label,
            library["map"],
            record(self.request, accesses),
            -(-rows // row_chunk) * parts,
            out=OUTPUT,
            rows=rows,
            size=size,
            row_chunk=row_chunk,
            part=part,
            parts=parts,
            **operands,
        )
        return launch

    def _repeats(self, shape: tuple[int, ...], cut: int, shapes: Sequence[tuple[int, ...]]) -> int:
        """How many rows to take for one: more than 1 where they are short, and every input is of
        the whole shape, the same in each row, or one element."""
        rows, size = math.prod(shape[:cut]), math.prod(shape[cut:])
        whole = [math.prod(s) == rows * size for s in shapes]
        same = [math.prod(s) in (1, size) and math.prod(s[: cut - len(shape)]) == 1 for s in shapes]
        short = size < 2 * WIDE * self._isa.lanes and rows * size >= _WORTH_COPIES
        if not short or not all(a or b for a, b in zip(whole, same, strict=True)):
            return 1
        return max(n for n in range(1, min(rows, _LONG // size) + 1) if rows % n == 0)

    def _lengthen(
        self,
        launch: Launch,
        size: int,
        times: int,
        shapes: Sequence[tuple[int, ...]],
        threads: int,
    ) -> None:
        """Add stages that copy what is the same in each row ``times`` times, and compute rows
        that are so much longer."""
        places: dict[str, Place] = {"output0": OUTPUT}
        longer: list[tuple[int, ...]] = []
        total = math.prod(launch.output_shape)
        for i, (given, dtype) in enumerate(zip(shapes, self.request.inputs, strict=True)):
            name, count = f"input{i}", math.prod(given)
            places[name] = Place(name)
            if count in (1, total):
                longer.append((total // (size * times), size * times) if count == total else ())
                continue
            longer.append((size * times,))
            itemsize = dtype.numpy.itemsize
            move = Move(View.of((size,)).repeated(0, times), View.of((times, size)))
            copies = CopyLayer(Copy(itemsize), self._isa).launch((size,), (times, size), [move])
            room = launch.reserve(size * times * itemsize)
            launch.include(copies, input0=Place(name), output0=room)
            places[name] = room
        launch.include(self.launch(longer[0], longer[1:], threads), **places)


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


def _access(
    shape: tuple[int, ...], cut: int, operand: tuple[int, ...], itemsize: int
) -> tuple[Access, Array | int | None]:
    """How an operand is read, and where its rows are: a list of bytes, or a step."""
    lined = _aligned(operand, len(shape))
    size = math.prod(lined[cut:])
    varies = ELEMENT if lined[cut:] == shape[cut:] else ROW
    starts = np.arange(math.prod(lined[:cut]), dtype=np.int64).reshape(lined[:cut])
    starts = np.broadcast_to(starts * (itemsize * size), shape[:cut]).reshape(-1)
    step = int(starts[1]) if starts.size > 1 else 0
    if (np.diff(starts) != step).any():
        return Access(varies, listed=True), starts.copy()
    if varies == ROW and step == 0:
        return Access(CALL), None
    return Access(varies), step
