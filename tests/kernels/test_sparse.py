"""Sparse lookups on every instruction set against the operator's reference."""

from __future__ import annotations

import numpy as np
import pytest

from octolite.errors import KernelError, RuntimeModelError
from octolite.ir.types import Array
from octolite.kernels import isa, sparse
from octolite.kernels.select import build
from octolite.kernels.spec import SparseLookup
from octolite.ops.embedding import Combiner, EmbeddingLookupSparse
from octolite.runtime.executor import Executor
from tests.kernels.conftest import around
from tests.kernels.guarded import Guarded


def run(
    row: isa.Isa,
    combiner: Combiner,
    arrays: list[Array],
    executor: Executor,
    at_end: bool = True,
) -> Array:
    """Launch and run between forbidden pages; ``arrays`` are the operator's inputs."""
    ids, _, shape, _, table = arrays
    layer = build(SparseLookup(combiner.name.lower()), isa=row)
    rows = tuple(int(d) for d in shape[:-1])
    launch = layer.launch(ids.shape, rows, table.shape, executor.num_threads)
    inputs = [Guarded(a.shape, a.dtype, at_end) for a in arrays]
    out = Guarded(launch.output_shape, np.float32, at_end)
    scratch = Guarded((launch.scratch_bytes,), np.uint8, at_end)
    for buffer, array in zip(inputs, arrays, strict=True):
        buffer.array[...] = array
    faults = launch.faults()
    addresses = [b.address for b in inputs]
    executor.run(launch.steps(addresses, out.address, scratch.address, faults))
    for buffer in (*inputs, out, scratch):
        buffer.check()
    for check in launch.checks:
        check(faults)
    return out.array.copy()


def draw(
    random: np.random.Generator, count: int, shape: tuple[int, ...], table: tuple[int, ...]
) -> list[Array]:
    """``count`` weighted numbers at places in a tensor of ``shape``, in any order."""
    return [
        random.integers(0, table[0], count).astype(np.int32),
        np.stack([random.integers(0, d, count) for d in shape], 1).astype(np.int32),
        np.array(shape, np.int32),
        random.uniform(0.5, 2, count).astype(np.float32),
        random.standard_normal(table, np.float32),
    ]


def test_combiners_have_names() -> None:
    assert {c.name.lower() for c in Combiner} == set(sparse.COMBINERS)
    with pytest.raises(KernelError, match="no combiner 'meen'"):
        build(SparseLookup("meen"))


@pytest.mark.parametrize("combiner", Combiner)
@pytest.mark.parametrize(
    ("count", "shape", "table"),
    [
        (7, (3, 4), (5, 9)),
        (40, (2, 3, 5), (11, 2, 3)),
        (5, (4,), (3, 17)),
        (0, (2, 3), (4, 5)),
        (3, (2, 3), (4, 0)),
        (1, (1, 1), (1, 1)),
    ],
)
def test_against_the_reference(
    row: isa.Isa,
    combiner: Combiner,
    count: int,
    shape: tuple[int, ...],
    table: tuple[int, ...],
    alone: Executor,
    random: np.random.Generator,
) -> None:
    arrays = draw(random, count, shape, table)
    expected = EmbeddingLookupSparse(combiner=combiner).reference(*arrays)
    for at_end in (True, False):
        out = run(row, combiner, arrays, alone, at_end)
        np.testing.assert_allclose(out, expected, rtol=2e-6, atol=1e-6)


def test_widths_around_a_vector(row: isa.Isa, alone: Executor, random: np.random.Generator) -> None:
    for width in around(row.lanes):
        arrays = draw(random, 9, (4, 3), (6, width))
        expected = EmbeddingLookupSparse(combiner=Combiner.MEAN).reference(*arrays)
        out = run(row, Combiner.MEAN, arrays, alone)
        np.testing.assert_allclose(out, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("combiner", Combiner)
def test_threads_do_not_change_a_bit(
    row: isa.Isa, combiner: Combiner, alone: Executor, random: np.random.Generator
) -> None:
    arrays = draw(random, 900, (7, 50), (60, 150))
    one = run(row, combiner, arrays, alone)
    for threads in (2, 3):
        with Executor(threads) as several:
            np.testing.assert_array_equal(run(row, combiner, arrays, several), one)


@pytest.mark.parametrize(
    ("which", "wrong", "limit"), [(0, 6, 6), (0, -1, 6), (1, 4, 4), (1, -9, 4)]
)
def test_what_is_out_of_range_is_not_touched(
    row: isa.Isa, which: int, wrong: int, limit: int, alone: Executor, random: np.random.Generator
) -> None:
    arrays = draw(random, 5, (4, 3), (6, 8))
    arrays[which].reshape(5, -1)[2, 0] = wrong
    with pytest.raises(RuntimeModelError, match=rf"index {wrong} is not in \[0, {limit}\)"):
        run(row, Combiner.SUM, arrays, alone)
