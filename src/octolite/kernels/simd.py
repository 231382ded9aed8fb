"""A thin builder over llvmlite, so that a kernel reads like the loop it stands for.

``Value`` gives LLVM values operators; ``Builder`` opens functions, loops and branches::

    k = Builder(module, "axpy", (PTR, PTR, I64))
    x, y, n = k.args
    with k.loop(0, n, 8) as loop:
        at = loop.index * 4
        k.store(k.fma(k.load(F32x8, x + at), 2.0, k.load(F32x8, y + at)), y + at)
    k.ret()

Integers are signed and wrap. Pointers are opaque and count in bytes. Nothing is contracted or
reassociated behind the kernel's back: a product and a sum stay two roundings unless ``fma`` says
otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from llvmlite import ir

Type: TypeAlias = Any
Scalar: TypeAlias = "Value | int | float"

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F32 = ir.FloatType()
F64 = ir.DoubleType()
PTR = ir.PointerType()
VOID = ir.VoidType()


def vec(element: Type, lanes: int) -> Type:
    """The vector type of ``lanes`` elements."""
    return ir.VectorType(element, lanes)


def lanes_of(kind: Type) -> int:
    """How many elements a type holds; 0 for a scalar."""
    return int(kind.count) if isinstance(kind, ir.VectorType) else 0


def element_of(kind: Type) -> Type:
    return kind.element if isinstance(kind, ir.VectorType) else kind


def like(kind: Type, element: Type) -> Type:
    """``kind`` with its elements exchanged for ``element``."""
    return vec(element, lanes_of(kind)) if lanes_of(kind) else element


def mangle(kind: Type) -> str:
    """How LLVM spells a type in the name of an overloaded intrinsic."""
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{mangle(kind.element)}"
    if isinstance(kind, ir.PointerType):
        return "p0"
    return {F32: "f32", F64: "f64"}.get(kind) or f"i{kind.width}"


class Value:
    """An LLVM value with operators. Numbers on the other side are made to fit its type."""

    __slots__ = ("k", "raw")

    def __init__(self, k: Builder, raw: Any) -> None:
        self.k = k
        self.raw = raw

    @property
    def type(self) -> Type:
        return self.raw.type

    @property
    def is_float(self) -> bool:
        return element_of(self.type) in (F32, F64)

    def _binary(self, other: Scalar, integer: str, real: str = "") -> Value:
        name = real if self.is_float else integer
        return Value(self.k, getattr(self.k.ir, name)(self.raw, self.k.fit(other, self.type).raw))

    def __add__(self, other: Scalar) -> Value:
        if isinstance(self.type, ir.PointerType):
            offset = self.k.fit(other, I64).raw
            return Value(self.k, self.k.ir.gep(self.raw, [offset], source_etype=I8))
        return self._binary(other, "add", "fadd")

    def __sub__(self, other: Scalar) -> Value:
        return self._binary(other, "sub", "fsub")

    def __mul__(self, other: Scalar) -> Value:
        return self._binary(other, "mul", "fmul")

    def __truediv__(self, other: Scalar) -> Value:
        return self._binary(other, "", "fdiv")

    def __floordiv__(self, other: Scalar) -> Value:
        return self._binary(other, "udiv")

    def __mod__(self, other: Scalar) -> Value:
        return self._binary(other, "urem")

    def __and__(self, other: Scalar) -> Value:
        return self._binary(other, "and_")

    def __or__(self, other: Scalar) -> Value:
        return self._binary(other, "or_")

    def __xor__(self, other: Scalar) -> Value:
        return self._binary(other, "xor")

    def __lshift__(self, other: Scalar) -> Value:
        return self._binary(other, "shl")

    def __rshift__(self, other: Scalar) -> Value:
        return self._binary(other, "ashr")

    def compare(self, relation: str, other: Scalar) -> Value:
        """Signed, or ordered where floats: false when either side is NaN."""
        emit = self.k.ir.fcmp_ordered if self.is_float else self.k.ir.icmp_signed
        return Value(self.k, emit(relation, self.raw, self.k.fit(other, self.type).raw))

    def __lt__(self, other: Scalar) -> Value:
        return self.compare("<", other)

    def __le__(self, other: Scalar) -> Value:
        return self.compare("<=", other)

    def __gt__(self, other: Scalar) -> Value:
        return self.compare(">", other)

    def __ge__(self, other: Scalar) -> Value:
        return self.compare(">=", other)

    def equals(self, other: Scalar) -> Value:
        return self.compare("==", other)

    def _cast(self, name: str, element: Type) -> Value:
        return Value(self.k, getattr(self.k.ir, name)(self.raw, like(self.type, element)))

    def sext(self, element: Type) -> Value:
        return self._cast("sext", element)

    def zext(self, element: Type) -> Value:
        return self._cast("zext", element)

    def trunc(self, element: Type) -> Value:
        return self._cast("trunc", element)

    def to_float(self, element: Type = F32) -> Value:
        return self._cast("sitofp", element)

    def to_int(self, element: Type = I32) -> Value:
        """A float without its fraction; anything at all where that does not fit."""
        return self._cast("fptosi", element)

    def to_double(self) -> Value:
        return self._cast("fpext", F64)

    def to_single(self) -> Value:
        return self._cast("fptrunc", F32)

    def bits(self, kind: Type) -> Value:
        """The same bits as another type of the same size."""
        return Value(self.k, self.k.ir.bitcast(self.raw, kind))

    def address(self) -> Value:
        """A pointer as int64."""
        return Value(self.k, self.k.ir.ptrtoint(self.raw, I64))

    def pointer(self) -> Value:
        """An int64 as a pointer."""
        return Value(self.k, self.k.ir.inttoptr(self.raw, PTR))

    def splat(self, lanes: int) -> Value:
        """A vector with this scalar in every lane (itself for 0 lanes)."""
        if not lanes:
            return self
        kind = vec(self.type, lanes)
        undef = ir.Constant(kind, ir.Undefined)
        one = self.k.ir.insert_element(undef, self.raw, ir.Constant(I32, 0))
        zeros = ir.Constant(vec(I32, lanes), [0] * lanes)
        return Value(self.k, self.k.ir.shuffle_vector(one, undef, zeros))

    def lane(self, index: int) -> Value:
        return Value(self.k, self.k.ir.extract_element(self.raw, ir.Constant(I32, index)))

    def pick(self, lanes: Sequence[int], other: Value | None = None) -> Value:
        """Lanes of this vector (and then of ``other``), in the order given."""
        second = ir.Constant(self.type, ir.Undefined) if other is None else other.raw
        mask = ir.Constant(vec(I32, len(lanes)), list(lanes))
        return Value(self.k, self.k.ir.shuffle_vector(self.raw, second, mask))


class _Callee:
    """A pointer that is called: llvmlite asks for the type, which the pointer does not have."""

    def __init__(self, pointer: Any, kind: Any) -> None:
        self.type = pointer.type
        self.function_type = kind
        self.get_reference = pointer.get_reference


class Loop:
    """What the body of ``Builder.loop`` sees: ``index``, and ``carry`` to read and replace."""

    def __init__(self, index: Value, carry: list[Value]) -> None:
        self.index = index
        self.carry = carry


class Repeat:
    """What the body of ``Builder.repeat`` sees: ``carry``, and ``leave`` to end the loop."""

    def __init__(self, k: Builder, done: Any, carry: list[Value]) -> None:
        self.k = k
        self.done = done
        self.carry = carry
        self.exits: list[tuple[Any, list[Value]]] = []

    def leave(self, condition: Value) -> None:
        """End the loop where ``condition`` holds, with ``carry`` as it is now."""
        onward = self.k.function.append_basic_block("onward")
        self.exits.append((self.k.ir.block, list(self.carry)))
        self.k.ir.cbranch(condition.raw, self.done, onward)
        self.k.ir.position_at_end(onward)


class Builder:
    """One LLVM function under construction."""

    def __init__(
        self,
        module: Any,
        name: str,
        args: Sequence[Type],
        result: Type = VOID,
        *,
        local: bool = False,
    ) -> None:
        self.module = module
        self.function = ir.Function(module, ir.FunctionType(result, list(args)), name)
        self.function.attributes.add("nounwind")
        if local:
            self.function.linkage = "internal"
            self.function.attributes.add("noinline")
        self.ir = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.args = [Value(self, a) for a in self.function.args]

    def ret(self, value: Value | None = None) -> None:
        if value is None:
            self.ir.ret_void()
        else:
            self.ir.ret(value.raw)

    # Constants ---------------------------------------------------------------------------

    def fit(self, value: Scalar, kind: Type) -> Value:
        """``value`` as ``kind``: a number becomes a constant, a scalar is splat over lanes."""
        if isinstance(value, Value):
            same = value.type == kind or not lanes_of(kind) or lanes_of(value.type)
            return value if same else value.splat(lanes_of(kind))
        number = float(value) if element_of(kind) in (F32, F64) else int(value)
        count = lanes_of(kind)
        return Value(self, ir.Constant(kind, [number] * count if count else number))

    def const(self, kind: Type, value: float) -> Value:
        return self.fit(value, kind)

    def iota(self, lanes: int) -> Value:
        """0, 1, 2, … as int32."""
        return Value(self, ir.Constant(vec(I32, lanes), list(range(lanes))))

    # Memory ------------------------------------------------------------------------------

    def load(self, kind: Type, address: Value) -> Value:
        """Load without any demand on alignment."""
        return Value(self, self.ir.load(address.raw, typ=kind, align=1))

    def store(self, value: Value, address: Value) -> None:
        self.ir.store(value.raw, address.raw, align=1)

    def prefetch(self, address: Value, level: int = 1) -> None:
        """Have the line at ``address``, if there is one, brought to the cache of ``level``."""
        hints = (self.const(I32, hint) for hint in (0, 4 - level, 1))  # to be read; data
        self.call("llvm.prefetch.p0", VOID, address, *hints)

    def stack(self, size: Value) -> Value:
        """``size`` bytes that last until the function returns, on a cache line."""
        place = self.ir.alloca(I8, size.raw)
        place.align = 64
        return Value(self, place).address().pointer()  # llvmlite would keep a typed pointer

    def local(self, size: int) -> Value:
        """``size`` bytes of the function's own, on a cache line; the same ones in every turn of a
        loop."""
        with self.ir.goto_entry_block():
            return self.stack(self.const(I64, size))

    def first(self, count: Value, lanes: int) -> Value:
        """A mask of the first ``count`` lanes (none when negative, all when more)."""
        limit = self.smin(self.smax(count, 0), lanes).trunc(I32)
        return self.iota(lanes) < limit

    def load_first(self, kind: Type, address: Value, mask: Value, other: float = 0) -> Value:
        """Load the lanes in ``mask``; the others are ``other`` and their memory is not read."""
        rest = self.const(kind, other)
        return self.call(
            f"llvm.masked.load.{mangle(kind)}.p0", kind, address, self.const(I32, 1), mask, rest
        )

    def store_first(self, value: Value, address: Value, mask: Value) -> None:
        """Store the lanes in ``mask``; the memory of the others is not touched."""
        name = f"llvm.masked.store.{mangle(value.type)}.p0"
        self.call(name, VOID, value, address, self.const(I32, 1), mask)

    # Arithmetic --------------------------------------------------------------------------

    def call(self, name: str, result: Type, *args: Value) -> Value:
        """Call a function of the module or an intrinsic, declaring it at its first use."""
        function = self.module.globals.get(name)
        if function is None:
            kind = ir.FunctionType(result, [a.type for a in args])
            function = ir.Function(self.module, kind, name)
        return Value(self, self.ir.call(function, [a.raw for a in args]))

    def call_at(self, address: Value, result: Type, *args: Value) -> Value:
        """Call through a pointer."""
        callee = _Callee(address.raw, ir.FunctionType(result, [a.type for a in args]))
        return Value(self, self.ir.call(callee, [a.raw for a in args]))

    # Atomics (8 bytes, sequentially consistent) --------------------------------------------

    def atomic_load(self, address: Value) -> Value:
        return Value(self, self.ir.load_atomic(address.raw, "seq_cst", 8, typ=I64))

    def atomic_store(self, value: Scalar, address: Value) -> None:
        self.ir.atomic_rmw("xchg", address.raw, self.fit(value, I64).raw, "seq_cst")

    def atomic_add(self, address: Value, value: Scalar) -> Value:
        """Add, and give what was there before."""
        amount = self.fit(value, I64).raw
        return Value(self, self.ir.atomic_rmw("add", address.raw, amount, "seq_cst"))

    def atomic_swap(self, address: Value, expected: Scalar, value: Scalar) -> Value:
        """Replace ``expected`` by ``value``; whether that is what was there."""
        old, new = self.fit(expected, I64).raw, self.fit(value, I64).raw
        pair = self.ir.cmpxchg(address.raw, old, new, "seq_cst")
        return Value(self, self.ir.extract_value(pair, 1))

    def fma(self, a: Value, b: Scalar, c: Scalar) -> Value:
        """``a · b + c``, in one rounding where the machine has it and in two elsewhere."""
        kind = a.type
        name = f"llvm.fmuladd.{mangle(kind)}"
        return self.call(name, kind, a, self.fit(b, kind), self.fit(c, kind))

    def select(self, condition: Value, yes: Scalar, no: Scalar) -> Value:
        kind = next(v.type for v in (yes, no) if isinstance(v, Value))
        picked = (self.fit(yes, kind).raw, self.fit(no, kind).raw)
        return Value(self, self.ir.select(condition.raw, *picked))

    def smin(self, a: Value, b: Scalar) -> Value:
        """The lesser; ``a`` where it is NaN."""
        other = self.fit(b, a.type)
        return self.select(other < a, other, a)

    def smax(self, a: Value, b: Scalar) -> Value:
        """The greater; ``a`` where it is NaN."""
        other = self.fit(b, a.type)
        return self.select(other > a, other, a)

    def fold(self, value: Value, combine: Any) -> Value:
        """Reduce a vector to a scalar by halves."""
        lanes = lanes_of(value.type)
        while lanes > 1:
            lanes //= 2
            value = combine(value.pick(range(lanes)), value.pick(range(lanes, 2 * lanes)))
        return value.lane(0)

    def fold_each(self, values: Sequence[Value], combine: Any) -> Value:
        """As many vectors as they have lanes (4 or more), each reduced to a lane of the result.

        Neighbouring lanes of two vectors meet at every turn: first within 128 bits, where
        shuffles are cheapest, then whole parts of 128 bits.
        """
        lanes, inside = len(values), 2
        while len(values) > 1:
            parts = range(lanes // 4)
            even, odd = (
                [x + 4 * p + 2 * i + n for p in parts for x in (0, lanes) for i in (0, 1)]
                if inside > 0
                else [x + 4 * p + i for x in (0, lanes) for p in parts[n::2] for i in range(4)]
                for n in (0, 1)
            )
            pairs = zip(values[::2], values[1::2], strict=True)
            values = [combine(a.pick(even, b), a.pick(odd, b)) for a, b in pairs]
            inside -= 1
        return values[0]

    # Control -----------------------------------------------------------------------------

    @contextmanager
    def loop(
        self, start: Scalar, stop: Scalar, step: Scalar = 1, carry: Sequence[Value] = ()
    ) -> Iterator[Loop]:
        """``for index in range(start, stop, step)``; ``carry`` goes from turn to turn."""
        first, last = self.fit(start, I64), self.fit(stop, I64)
        entry = self.ir.block
        head = self.function.append_basic_block("head")
        body = self.function.append_basic_block("body")
        done = self.function.append_basic_block("done")
        self.ir.branch(head)
        self.ir.position_at_end(head)
        phis = [self.ir.phi(v.type) for v in (first, *carry)]
        for phi, value in zip(phis, (first, *carry), strict=True):
            phi.add_incoming(value.raw, entry)
        index, *held = (Value(self, phi) for phi in phis)
        self.ir.cbranch((index < last).raw, body, done)
        self.ir.position_at_end(body)
        loop = Loop(index, list(held))
        yield loop
        following = (index + step, *loop.carry)
        for phi, value in zip(phis, following, strict=True):
            phi.add_incoming(value.raw, self.ir.block)
        self.ir.branch(head)
        self.ir.position_at_end(done)
        loop.carry = held

    @contextmanager
    def repeat(self, carry: Sequence[Value] = ()) -> Iterator[Repeat]:
        """``while True``; the body ends the loop by ``leave(condition)``."""
        entry = self.ir.block
        body = self.function.append_basic_block("again")
        done = self.function.append_basic_block("left")
        self.ir.branch(body)
        self.ir.position_at_end(body)
        phis = [self.ir.phi(v.type) for v in carry]
        for phi, value in zip(phis, carry, strict=True):
            phi.add_incoming(value.raw, entry)
        loop = Repeat(self, done, [Value(self, phi) for phi in phis])
        yield loop
        for phi, value in zip(phis, loop.carry, strict=True):
            phi.add_incoming(value.raw, self.ir.block)
        self.ir.branch(body)
        self.ir.position_at_end(done)
        results = [self.ir.phi(v.type) for v in carry]
        for block, values in loop.exits:
            for phi, value in zip(results, values, strict=True):
                phi.add_incoming(value.raw, block)
        loop.carry = [Value(self, phi) for phi in results]

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Run the body where ``condition`` holds."""
        with self.ir.if_then(condition.raw):
            yield

    @contextmanager
    def either(self, condition: Value) -> Iterator[tuple[Any, Any]]:
        """``with k.either(c) as (then, otherwise): with then: … with otherwise: …``"""
        with self.ir.if_else(condition.raw) as branches:
            yield branches
