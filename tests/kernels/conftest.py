from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from octolite.ir.types import Array
from octolite.kernels import isa, spec
from octolite.kernels.select import build
from octolite.runtime.executor import Executor
from tests.kernels.guarded import Guarded

RUNNABLE = [row for row in isa.ROWS if row.runs_here]


@pytest.fixture(params=RUNNABLE, ids=lambda row: row.name)
def row(request: pytest.FixtureRequest) -> isa.Isa:
    """Each instruction set that runs here."""
    return request.param


@pytest.fixture(scope="session")
def alone() -> Iterator[Executor]:
    """One thread."""
    with Executor(1) as executor:
        yield executor


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def constants(
    weights: Array, bias: Array | None = None, scale: Array | None = None
) -> dict[str, spec.Constant]:
    """Those of a layer with weights."""
    found = {"weights": spec.Constant(weights, scale)}
    return found if bias is None else found | {"bias": spec.Constant(bias)}


@dataclass
class Problem:
    """A layer with constants that exercise it."""

    request: spec.Request
    weights: Array
    bias: Array
    scale: Array | None

    @classmethod
    def of(cls, request: spec.Request, random: np.random.Generator) -> Problem:
        shape = request.weight_shape
        channels = shape[3] if isinstance(request, spec.DepthwiseConv2D) else shape[0]
        bias = random.standard_normal(channels, np.float32)
        if request.hybrid:
            weights = random.integers(-127, 128, shape).astype(np.int8)
            scale = random.uniform(0.5, 2, channels).astype(np.float32)
            return cls(request, weights, bias, scale)
        return cls(request, random.standard_normal(shape, np.float32), bias, None)

    def run(
        self,
        row: isa.Isa,
        x: Array,
        executor: Executor,
        *,
        padding: tuple[int, int] = (0, 0),
        output: tuple[int, int] | None = None,
        at_end: bool = True,
    ) -> Array:
        """Build, launch and run between forbidden pages."""
        kernel = build(self.request, constants(self.weights, self.bias, self.scale), row)
        launch = kernel.launch(x.shape, padding, output, executor.num_threads)
        buffers = [
            Guarded(x.shape, np.float32, at_end),
            Guarded(launch.output_shape, np.float32, at_end),
            Guarded((launch.scratch_bytes,), np.uint8, at_end),
        ]
        given, out, scratch = buffers
        given.array[...] = x
        executor.run(launch.steps(given.address, out.address, scratch.address))
        for buffer in buffers:
            buffer.check()
        assert np.array_equal(given.array, x, equal_nan=True)
        return out.array.copy()


def around(*sizes: int) -> Sequence[int]:
    """1, and each size with its neighbours and one more than twice it."""
    found = {1}
    for size in sizes:
        found |= {size - 1, size, size + 1, 2 * size + 1}
    return sorted(found - {0})
