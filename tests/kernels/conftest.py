from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from octolite.ir.types import Array
from octolite.kernels import isa, jit, spec
from octolite.kernels.launch import Launch, Place
from octolite.kernels.record import Record
from octolite.kernels.select import build
from octolite.kernels.simd import PTR
from octolite.runtime.executor import Executor
from tests.kernels import emulated
from tests.kernels.guarded import Guarded

# With this variable, the rows of another processor are tested in place of this one's.
EMULATED = os.environ.get("OCTOLITE_TEST_EMULATED") == "aarch64"
NATIVE = [row for row in isa.ROWS if row.runs_here]
RUNNABLE = emulated.ROWS if EMULATED else NATIVE


@pytest.fixture(scope="session", autouse=EMULATED)
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[emulated.Machine]:
    """Where the rows of another processor run."""
    if reason := emulated.missing():
        pytest.skip(reason)
    found = emulated.Machine(tmp_path_factory.mktemp("emulated"))
    with pytest.MonkeyPatch.context() as patch:
        emulated.install(patch, found)
        yield found
    found.close()


@pytest.fixture(params=RUNNABLE, ids=lambda row: row.name)
def row(request: pytest.FixtureRequest) -> isa.Isa:
    """Each instruction set that runs here, or is emulated."""
    return request.param


@pytest.fixture(params=NATIVE, ids=lambda row: row.name)
def native(request: pytest.FixtureRequest) -> isa.Isa:
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


def call(unit: jit.Unit, row: isa.Isa, executor: Executor, *buffers: Guarded) -> None:
    """Call the only function of ``unit``, which takes a record of the buffers' addresses, where
    code for ``row`` runs."""
    record = Record(**{f"input{i}": PTR for i in range(len(buffers))})
    launch = Launch((), 0)
    operands = {name: Place(name) for name in record.fields}
    (name,) = unit.exports
    with pytest.MonkeyPatch.context() as patch:  # no cache: it does not know the test's source
        patch.setenv("OCTOLITE_CACHE", os.devnull)
        fn = jit.load(unit, row)[name]
    launch.add(name, fn, record, 1, **operands)
    executor.run(launch.steps([buffer.address for buffer in buffers], 0, 0))
    for buffer in buffers:
        buffer.check()


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
