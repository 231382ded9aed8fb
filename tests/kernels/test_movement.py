"""Copies between strided views on every instruction set against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from octolite.errors import KernelError
from octolite.ir.types import Array
from octolite.kernels import copy, isa, spec
from octolite.kernels.select import build
from octolite.kernels.views import Move, View
from octolite.runtime.executor import Executor
from tests.kernels.guarded import Guarded

DTYPES = [np.int8, np.float16, np.float32, np.int64]


def run(
    row: isa.Isa | None,
    moves: list[Move],
    inputs: list[Array],
    shapes: list[tuple[int, ...]],
    executor: Executor,
    fill: float = 0,
) -> list[Array]:
    """The outputs of ``shapes``, which hold ``fill`` before."""
    dtype = inputs[0].dtype
    layer = build(spec.Copy(dtype.itemsize), isa=row)
    assert isinstance(layer, copy.CopyLayer)
    results = []
    for at_end in (True, False):
        given = [Guarded(x.shape, dtype, at_end) for x in inputs]
        outs = [Guarded(shape, dtype, at_end) for shape in shapes]
        for buffer, x in zip(given, inputs, strict=True):
            buffer.array[...] = x
        for out in outs:
            out.array[...] = fill
        launch = layer.launch(inputs[0].shape, shapes[0], moves, executor.num_threads)
        executor.run(launch.steps([b.address for b in given], [b.address for b in outs], 0))
        for buffer in (*given, *outs):
            buffer.check()
        results.append([out.array.copy() for out in outs])
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)
    return results[0]


def draw(random: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    return random.integers(-100, 100, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "order"),
    [
        ((), ()),
        ((1,), (0,)),
        ((0, 3), (1, 0)),
        ((7,), (0,)),
        ((3, 5), (1, 0)),
        ((8, 8), (1, 0)),
        ((17, 33), (1, 0)),
        ((100, 64), (1, 0)),
        ((2, 9, 11), (2, 0, 1)),
        ((2, 9, 11), (0, 2, 1)),
        ((2, 9, 11), (1, 0, 2)),
        ((4, 3, 20, 20), (0, 2, 3, 1)),
        ((1, 30, 1, 25), (3, 0, 1, 2)),
        ((2, 3, 4, 5, 6, 7), (5, 0, 3, 1, 4, 2)),
        ((2, 3, 4, 5, 6, 7), (1, 0, 3, 2, 4, 5)),
        ((300, 400), (1, 0)),
    ],
)
def test_transposition(
    row: isa.Isa,
    shape: tuple[int, ...],
    order: tuple[int, ...],
    dtype: Any,
    alone: Executor,
    random: np.random.Generator,
) -> None:
    x = draw(random, shape, dtype)
    expected = x.transpose(order)
    move = Move(View.of(shape).transposed(order), View.of(expected.shape))
    np.testing.assert_array_equal(run(row, [move], [x], [expected.shape], alone)[0], expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 3, 15, 16, 17, 31, 63, 64, 65, 127, 40_000, 200_001])
def test_runs_and_borders(
    row: isa.Isa, size: int, dtype: Any, alone: Executor, random: np.random.Generator
) -> None:
    x = draw(random, (size,), dtype)
    value = np.array(7, dtype)
    target = View.of((size + 3,))
    moves = [
        Move(View.of((size,)), target.part(0, 1, size)),
        Move(View.same((2,)), target.part(0, size + 1, 2), read=value),
        Move(View.same((1,)), target.part(0, 0, 1), read=value),
    ]
    (out,) = run(row, moves, [x], [(size + 3,)], alone, fill=1)
    np.testing.assert_array_equal(out, np.pad(x, (1, 2), constant_values=7))


@pytest.mark.parametrize("dtype", DTYPES)
def test_only_the_target_is_written(
    row: isa.Isa, dtype: Any, alone: Executor, random: np.random.Generator
) -> None:
    for shape in ((3, 5, 7), (2, 20, 19), (1, 1, 1), (2, 1, 33)):
        x = draw(random, shape, dtype)
        whole = tuple(d + 4 for d in shape)
        target = View.of(whole)
        for axis, extent in enumerate(shape):
            target = target.part(axis, axis + 1, extent)
        inside = tuple(slice(i + 1, i + 1 + d) for i, d in enumerate(shape))
        expected = np.full(whole, 9, dtype)
        expected[inside] = x
        (out,) = run(row, [Move(View.of(shape), target)], [x], [whole], alone, fill=9)
        np.testing.assert_array_equal(out, expected)
        expected[inside] = x[0, 0, 0]
        (out,) = run(row, [Move(View.same(shape), target)], [x], [whole], alone, fill=9)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_steps_backwards_and_repeats(
    row: isa.Isa, dtype: Any, alone: Executor, random: np.random.Generator
) -> None:
    x = draw(random, (9, 21), dtype)
    view = View.of(x.shape)
    cases = [
        (view.part(0, 8, 9, -1), x[::-1]),
        (view.part(1, 20, 21, -1), x[:, ::-1]),
        (view.part(1, 1, 10, 2), x[:, 1::2]),
        (view.part(0, 7, 3, -3).part(1, 19, 5, -4), x[7::-3, 19::-4][:3, :5]),
        (view.at(0, 4), x[4]),
        (view.at(1, 20), x[:, 20]),
        (view.split(1, 3, 7).transposed((1, 2, 0)), x.reshape(9, 3, 7).transpose(1, 2, 0)),
    ]
    for source, expected in cases:
        move = Move(source, View.of(expected.shape))
        (out,) = run(row, [move], [x], [expected.shape], alone)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_several_inputs_and_outputs(
    row: isa.Isa, dtype: Any, alone: Executor, random: np.random.Generator
) -> None:
    inputs = [draw(random, (6, n), dtype) for n in (1, 40, 3)]
    joined, first = View.of((6, 44)), View.of((6,))
    moves, start = [], 0
    for i, x in enumerate(inputs):
        n = x.shape[1]
        moves.append(Move(View.of(x.shape), joined.part(1, start, n), f"input{i}", "output1"))
        moves.append(Move(View.of(x.shape).at(1, 0), first, f"input{i}", "output0"))
        start += n
    out = run(row, moves, inputs, [(6,), (6, 44)], alone)
    np.testing.assert_array_equal(out[1], np.concatenate(inputs, 1))
    np.testing.assert_array_equal(out[0], inputs[-1][:, 0])  # the last to be written stays


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_change_nothing(threads: int, random: np.random.Generator) -> None:
    x = draw(random, (30, 300, 70), np.float32)
    for order in ((0, 1, 2), (2, 0, 1), (1, 0, 2), (0, 2, 1)):
        expected = x.transpose(order)
        move = Move(View.of(x.shape).transposed(order), View.of(expected.shape))
        with Executor(threads) as executor:
            (out,) = run(None, [move], [x], [expected.shape], executor)
        np.testing.assert_array_equal(out, expected)


def test_normal_form() -> None:
    view = View.of((1, 6, 1, 5))
    assert copy.axes_of(Move(view.transposed((3, 0, 2, 1)), View.of((5, 1, 1, 6)))) == [
        (5, 1, 6),
        (6, 5, 1),
    ]
    moved = Move(view.transposed((2, 1, 0, 3)), View.of((1, 6, 1, 5)))
    assert copy.axes_of(moved) == [(30, 1, 1)]
    assert copy.planes_of(copy.axes_of(moved)).kind == "dense"


def test_what_cannot_be_copied_is_refused() -> None:
    with pytest.raises(KernelError, match="elements of 16 bytes"):
        build(spec.Copy(16))
    layer = build(spec.Copy(4))
    assert isinstance(layer, copy.CopyLayer)
    with pytest.raises(KernelError, match="differ in shape"):
        layer.launch((2,), (3,), [Move(View.of((2,)), View.of((3,)))])
