"""Operators of StableHLO that TFLite took over as they are: arithmetic, and random bits.

Source: the StableHLO specification, openxla.org/stablehlo/spec.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from octolite.errors import ShapeError, UnsupportedError
from octolite.ir.graph import Graph
from octolite.ir.types import (
    FLOAT32,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT32,
    UINT64,
    Array,
    DType,
    Operand,
    Shape,
    TensorType,
)
from octolite.kernels.expression import Expression, apply
from octolite.ops.arithmetic import Binary
from octolite.ops.base import CODES, Operator, attr, operator_class
from octolite.ops.bits import Bitwise
from octolite.ops.case import case, f32, flags, given, ints
from octolite.ops.random import Philox
from octolite.ops.shapes import rank_of, same_dtype, same_shape, sized


class Alike(Binary, abstract=True):
    """Two operands of one type and shape; the kernel is called like the operator of TFLite's."""

    def infer(self, a: Operand, b: Operand) -> Sequence[TensorType]:
        return [TensorType(same_dtype(a, b), same_shape(a, b))]

    def kernel(self, inputs: Sequence[Operand | None]) -> Expression | None:
        return apply(_KERNELS[self.name], [v.dtype for v in inputs if v is not None])


_KERNELS = {
    "STABLEHLO_ADD": "add",
    "STABLEHLO_MULTIPLY": "mul",
    "STABLEHLO_MAXIMUM": "maximum",
    "STABLEHLO_MINIMUM": "minimum",
}


class StablehloAdd(Alike):
    """``a + b``."""

    name = "STABLEHLO_ADD"
    plain_types = CODES
    function = np.add
    cases = (
        case(f32(2, 3), f32(2, 3)),
        case(ints(4, low=-9), ints(4)),
        case(ints(4, high=255, dtype=UINT8), ints(4, high=255, dtype=UINT8)),
        case(ints(2, dtype=INT64), ints(2, dtype=INT64)),
    )


class StablehloMultiply(Alike):
    """``a · b``."""

    name = "STABLEHLO_MULTIPLY"
    plain_types = CODES
    function = np.multiply
    cases = (
        case(f32(2, 3), f32(2, 3)),
        case(ints(4, low=-9), ints(4)),
        case(ints(4, low=-9, dtype=INT16), ints(4, dtype=INT16)),
    )


class StablehloMaximum(Alike):
    """The larger of two."""

    name = "STABLEHLO_MAXIMUM"
    plain_types = CODES
    function = np.maximum
    cases = (
        case(f32(2, 3), f32(2, 3)),
        case(ints(4, low=-9, dtype=INT8), ints(4, low=-9, dtype=INT8)),
        case(f32(3), f32(3)),
    )


class StablehloMinimum(Alike):
    """The smaller of two."""

    name = "STABLEHLO_MINIMUM"
    plain_types = CODES
    function = np.minimum
    cases = (
        case(f32(2, 3), f32(2, 3)),
        case(ints(4, low=-9, dtype=INT64), ints(4, low=-9, dtype=INT64)),
    )


class StablehloAnd(Bitwise):
    """The bits that both have."""

    name = "STABLEHLO_AND"

    def infer(self, a: Operand, b: Operand) -> Sequence[TensorType]:
        same_shape(a, b)
        return super().infer(a, b)

    def reference(self, a: Array, b: Array) -> Array:
        return np.bitwise_and(a, b)

    cases = (
        case(flags(2, 3), flags(2, 3)),
        case(ints(4, low=-99, high=99), ints(4, low=-99, high=99)),
    )


class StablehloShiftLeft(Bitwise):
    """``a`` shifted by ``b`` bits; 0 where that is no number of bits that ``a`` has."""

    name = "STABLEHLO_SHIFT_LEFT"
    options = "StablehloShiftLeftOptions"

    def infer(self, a: Operand, b: Operand) -> Sequence[TensorType]:
        same_shape(a, b)
        return super().infer(a, b)

    def reference(self, a: Array, b: Array) -> Array:
        bits = 8 * a.dtype.itemsize
        fits = (b >= 0) & (b < bits)
        return np.where(fits, np.left_shift(a, np.where(fits, b, 0)), 0).astype(a.dtype)

    cases = (
        case(ints(2, 3, low=-99, high=99), ints(2, 3)),
        case(ints(5, low=-9, dtype=INT8), ints(5, high=8, dtype=INT8)),
        case(ints(5, low=-9, dtype=INT16), ints(5, high=16, dtype=INT16)),
        case(given([1, 1, 1]), given([31, 32, -1]), litert=False),
    )


_FUNCTIONS: dict[str, np.ufunc] = {
    "ADD": np.add,
    "STABLEHLO_ADD": np.add,
    "MUL": np.multiply,
    "STABLEHLO_MULTIPLY": np.multiply,
    "MAXIMUM": np.maximum,
    "STABLEHLO_MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
    "STABLEHLO_MINIMUM": np.minimum,
    "LOGICAL_AND": np.logical_and,
    "STABLEHLO_AND": np.logical_and,
    "LOGICAL_OR": np.logical_or,
}


def function_of(operator: str, body: Graph | None) -> np.ufunc:
    """What a graph of one operator does to two numbers. Raises :class:`UnsupportedError`."""
    names = [] if body is None else [node.op.name for node in body.nodes]
    if len(names) != 1 or names[0] not in _FUNCTIONS:
        raise UnsupportedError(
            f"{operator} reduces by a graph of {' '.join(names) or 'no operator'}; expected one "
            f"of {', '.join(_FUNCTIONS)}"
        )
    return _FUNCTIONS[names[0]]


def region(name: str, function: str, dtype: DType = FLOAT32) -> Graph:
    """A graph that does ``function`` to two numbers of ``dtype``."""
    graph = Graph(name)
    numbers = [graph.add_input(f"{name}_{side}", dtype, ()) for side in "ab"]
    graph.outputs = [graph.add(operator_class(function)(), numbers, f"{name}_result").output]
    return graph


class RngAlgorithm(IntEnum):
    """What makes the bits."""

    DEFAULT = 0
    PHILOX = 1
    THREEFRY = 2


class StablehloRngBitGenerator(Operator):
    """Random bits that follow from a state, and the state after them.

    The state is a key and a counter (THREEFRY, PHILOX: uint64 [2], PHILOX also [3]). Type and
    shape of the bits are those that the file declares.
    """

    name = "STABLEHLO_RNG_BIT_GENERATOR"
    options = "StablehloRngBitGeneratorOptions"
    inputs = "initial_state"
    outputs = "state output"
    algorithm: RngAlgorithm = attr(RngAlgorithm.DEFAULT)
    dtype: DType = attr(UINT32, stored=False)
    shape: Shape | None = attr((), stored=False)

    def settle(self, outputs: Sequence[Operand]) -> StablehloRngBitGenerator:
        if len(outputs) != 2:
            return self
        return self.replace(dtype=outputs[1].dtype, shape=outputs[1].shape)

    def infer(self, state: Operand) -> Sequence[TensorType]:
        shape = rank_of(state, "state", 1)
        sizes = (2,) if self.algorithm is RngAlgorithm.THREEFRY else (2, 3)
        if state.dtype is not UINT64 or (shape is not None and shape[0] not in (None, *sizes)):
            raise ShapeError(
                f"{self.name}: the state {state.name!r} is {state.dtype} {shape}, expected uint64 "
                f"of {' or '.join(map(str, sizes))} elements"
            )
        if self.dtype not in (INT32, UINT32, INT64, UINT64):
            raise ShapeError(f"{self.name} makes integers of 32 or 64 bits, not {self.dtype}")
        if self.shape is None or None in self.shape:
            raise ShapeError(f"{self.name} is to make a tensor of the unknown shape {self.shape}")
        sized([d or 0 for d in self.shape])
        return [TensorType(UINT64, shape), TensorType(self.dtype, self.shape)]

    def reference(self, state: Array) -> tuple[Array, Array]:
        key, counter, *rest = (int(word) for word in state)
        extents = [d or 0 for d in self.shape or ()]
        count = int(np.prod(extents)) * self.dtype.numpy.itemsize // 4
        if self.algorithm is RngAlgorithm.THREEFRY:
            words, blocks = threefry(key, counter, count), -(-count // 2)
        else:
            stream = Philox(key, 0)
            stream.counter = (rest[0] if rest else key) << 64 | counter
            words, blocks = stream.words(count), -(-count // 4)
        after = np.array([key, (counter + blocks) % (1 << 64), *rest], np.uint64)
        return after, words.view(self.dtype.numpy).reshape(extents)

    cases = tuple(
        case(given(state, UINT64), algorithm=algorithm, dtype=dtype, shape=shape)
        for state, algorithm, dtype, shape in (
            ([1, 2], RngAlgorithm.DEFAULT, UINT32, (3, 5)),
            ([2**63 + 5, 7, 2**40], RngAlgorithm.PHILOX, INT64, (7,)),
            ([9, 2**32 - 1], RngAlgorithm.PHILOX, INT32, (2, 3)),
            ([9, 2**32 - 1], RngAlgorithm.THREEFRY, UINT64, (2, 3)),
            ([2**63 + 5, 7], RngAlgorithm.THREEFRY, INT32, (5,)),
        )
    )


_ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)
_PARITY = 0x1BD11BDA


def threefry(key: int, counter: int, count: int) -> Array:
    """``count`` words, two for each value of the counter: Threefry 2×32 with 20 rounds.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
    """
    blocks = np.uint64(counter) + np.arange(-(-count // 2), dtype=np.uint64)
    low, high = key & 0xFFFFFFFF, key >> 32
    keys = [np.uint32(k) for k in (low, high, low ^ high ^ _PARITY)]
    a = (blocks & np.uint64(0xFFFFFFFF)).astype(np.uint32) + keys[0]
    b = (blocks >> np.uint64(32)).astype(np.uint32) + keys[1]
    for group in range(5):
        for turn in _ROTATIONS[group % 2]:
            a += b
            b = (b << np.uint32(turn) | b >> np.uint32(32 - turn)) ^ a
        a += keys[(group + 1) % 3]
        b += keys[(group + 2) % 3] + np.uint32(group + 1)
    return np.stack([a, b], axis=1).reshape(-1)[:count]
