"""Positions of extrema on every instruction set against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from octolite.errors import KernelError
from octolite.ir.types import Array
from octolite.kernels import extremum, isa
from octolite.kernels.select import build
from octolite.kernels.spec import ArgExtremum
from octolite.runtime.executor import Executor
from tests.kernels.conftest import around
from tests.kernels.guarded import Guarded

NUMPY = {"max": np.argmax, "min": np.argmin}
INDEX = {4: np.int32, 8: np.int64}


def run(row: isa.Isa, kind: str, x: Array, axis: int, executor: Executor, index: int = 4) -> Array:
    """Launch and run between forbidden pages, both ways round."""
    layer = build(ArgExtremum(kind, index), isa=row)
    launch = layer.launch(x.shape, axis, executor.num_threads)
    results = []
    for at_end in (True, False):
        given = Guarded(x.shape, np.float32, at_end)
        out = Guarded(launch.output_shape, INDEX[index], at_end)
        given.array[...] = x
        executor.run(launch.steps(given.address, out.address, 0))
        given.check()
        out.check()
        results.append(out.array.copy())
    np.testing.assert_array_equal(*results)
    return results[0]


def test_kinds() -> None:
    assert set(NUMPY) == set(extremum.KINDS)
    with pytest.raises(KernelError, match="no extremum 'mox'"):
        build(ArgExtremum("mox", 4))


@pytest.mark.parametrize("index", INDEX)
@pytest.mark.parametrize("kind", NUMPY)
def test_sizes_around_a_vector(
    row: isa.Isa, kind: str, index: int, alone: Executor, random: np.random.Generator
) -> None:
    for size in around(row.lanes):
        for shape, axis in (((3, size), 1), ((2, 5, size), 1), ((size, 4), 0), ((size,), 0)):
            x = random.integers(-4, 5, shape).astype(np.float32)  # equals are frequent
            out = run(row, kind, x, axis, alone, index)
            np.testing.assert_array_equal(out, NUMPY[kind](x, axis))


@pytest.mark.parametrize("kind", NUMPY)
@pytest.mark.parametrize(("shape", "axis"), [((400, 133), 1), ((3, 130, 150), 1), ((2, 0, 3), 2)])
def test_several_tiles(
    row: isa.Isa,
    kind: str,
    shape: tuple[int, ...],
    axis: int,
    alone: Executor,
    random: np.random.Generator,
) -> None:
    x = random.standard_normal(shape, np.float32)
    one = run(row, kind, x, axis, alone)
    np.testing.assert_array_equal(one, NUMPY[kind](x, axis))
    with Executor(2) as two:
        np.testing.assert_array_equal(run(row, kind, x, axis, two), one)


@pytest.mark.parametrize("kind", NUMPY)
def test_what_is_no_ordinary_number(
    row: isa.Isa, kind: str, alone: Executor, random: np.random.Generator
) -> None:
    """NaN goes before everything, infinities are numbers, zeros of either sign are equal."""
    special: list[Any] = [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0]
    for values in (special, special[2:], [-np.inf], [np.inf], [0.0, -0.0], [np.nan, 1.0]):
        x = random.choice(np.array(values, np.float32), (200, 37))
        for axis in (0, 1):
            np.testing.assert_array_equal(run(row, kind, x, axis, alone), NUMPY[kind](x, axis))
