"""The emulation notices what it is there to notice, and threads meet on ARM as they do here.

Everything else that runs on ARM is in the other files, whose rows ``make test-arm`` exchanges.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from octolite.kernels import host, isa, jit, walk
from octolite.kernels.simd import I64, PTR, Builder
from octolite.runtime.executor import Executor
from tests.kernels import emulated
from tests.kernels.conftest import EMULATED, call
from tests.kernels.guarded import PAGE, Guarded

pytestmark = pytest.mark.skipif(not EMULATED, reason="ARM is emulated by make test-arm")

BASE = 1 << 37


def store(distance: int) -> jit.Unit:
    """Writes 7 so many bytes from the start of its buffer."""

    def emit(module: Any, row: isa.Isa) -> None:
        k = Builder(module, "store", (PTR, I64))
        k.store(k.const(I64, 7), k.load(PTR, k.args[0]) + distance)
        k.ret()

    return jit.Unit(f"store {distance}", ("store",), emit)


def test_memory_comes_back(row: isa.Isa, alone: Executor) -> None:
    buffer = Guarded((4,), np.int64)
    buffer.array[...] = [1, 2, 3, 4]
    call(store(8), row, alone, buffer)
    np.testing.assert_array_equal(buffer.array, [1, 7, 3, 4])


@pytest.mark.parametrize("distance", [32, -PAGE])
def test_memory_outside_ends_the_process(
    row: isa.Isa, distance: int, alone: Executor, capfd: pytest.CaptureFixture[str]
) -> None:
    buffer = Guarded((4,), np.int64)
    with pytest.raises(pytest.fail.Exception, match="ended its process"):
        call(store(distance), row, alone, buffer)
    test_memory_comes_back(row, alone)  # by another one


def test_the_machine_says_what_it_has(
    machine: emulated.Machine, row: isa.Isa, alone: Executor
) -> None:
    """By the words of the auxiliary vector that a run on ARM reads."""
    getauxval = machine.symbols()["getauxval"]

    def emit(module: Any, row: isa.Isa) -> None:
        k = Builder(module, "ask", (PTR, I64))
        out = k.load(PTR, k.args[0])
        for i, (entry, _) in enumerate(host._HWCAPS.values()):
            callee = k.const(I64, getauxval).pointer()
            k.store(k.call_at(callee, I64, k.const(I64, entry)), out + 8 * i)
        k.ret()

    words = Guarded((len(host._HWCAPS),), np.int64)
    call(jit.Unit("ask", ("ask",), emit), row, alone, words)
    for word, (_, bit) in zip(words.array, host._HWCAPS.values(), strict=True):
        assert int(word) & bit


# Threads -----------------------------------------------------------------------------------

THREADS, TILES, STEPS = 4, 96, 5


def follow() -> jit.Unit:
    """A tile takes the sum of its neighbours in the last step's results: ``args`` are addresses of
    int64 [tiles + 2] to read and to write."""

    def emit(module: Any, row: isa.Isa) -> None:
        k = Builder(module, "follow", (PTR, I64))
        source, out = (k.load(PTR, k.args[0] + 8 * i) for i in range(2))
        at = k.args[1] * 8
        left, right = (k.load(I64, source + at + 8 * side) for side in (0, 2))
        k.store(left + right, out + at + 8)
        k.ret()

    return jit.Unit("follow", ("follow",), emit)


class Memory:
    """Memory of the machine, handed out from the front."""

    def __init__(self, machine: emulated.Machine, size: int) -> None:
        self.machine = machine
        self.end = BASE
        machine.map(BASE, size)

    def take(self, data: bytes) -> int:
        start = self.end
        self.end += -(-len(data) // 64) * 64
        self.machine.fill(start, data)
        return start


@pytest.fixture
def gate(machine: emulated.Machine, row: isa.Isa) -> Iterator[tuple[Memory, int]]:
    """Where threads meet, and workers that serve there until the test is over."""
    functions, calls = machine.load(walk.unit(), row), machine.symbols()
    memory = Memory(machine, 64 * PAGE)
    record = walk.GATE.pack(
        workers=THREADS - 1,
        rest=calls["sched_yield"],
        lock=calls["pthread_mutex_lock"],
        unlock=calls["pthread_mutex_unlock"],
        signal=calls["pthread_cond_signal"],
        sleep=calls["pthread_cond_wait"],
    )
    size = walk.WORKERS + (THREADS - 1) * walk.WORKER
    whole = bytearray(bytes(record).ljust(size, b"\0"))
    for worker in range(THREADS - 1):
        struct.pack_into("<q", whole, walk.WORKERS + worker * walk.WORKER + walk.AWAKE, 1)
    place = memory.take(bytes(whole))
    for worker in range(THREADS - 1):
        machine.start(functions["serve"], place, worker)
    yield memory, place
    machine.call(functions["dismiss"], place, 1)
    machine.join()
    machine.unmap(BASE, 64 * PAGE)


@pytest.mark.parametrize("threads", [1, THREADS])
def test_steps_wait_for_each_other(
    machine: emulated.Machine, row: isa.Isa, gate: tuple[Memory, int], threads: int
) -> None:
    memory, place = gate
    size = 8 * (TILES + 2)
    start = np.zeros(TILES + 2, np.int64)
    start[TILES // 2] = 1
    lines = [memory.take(start.tobytes()), *(memory.take(bytes(size)) for _ in range(STEPS))]
    args = [memory.take(struct.pack("<2q", *pair)) for pair in pairwise(lines)]
    fn = machine.load(follow(), row)["follow"]
    noted = threads * STEPS * 2
    times = memory.take(bytes(8 * noted))
    record = walk.PROGRAM_FIELDS.pack(
        gate=place,
        steps=STEPS,
        threads=threads,
        table=memory.take(b"".join(struct.pack("<3q", fn, a, TILES) for a in args)),
        counters=memory.take(bytes(STEPS * (threads + 1) * walk.LINE)),
        times=times,
        clock=machine.symbols()["clock_gettime"],
        clock_id=1,
        now=memory.take(bytes(16 * threads)),
        timed=1,
    )
    program = memory.take(bytes(record))
    expected = start.copy()
    for _ in range(STEPS):
        expected[1:-1] = expected[:-2] + expected[2:]
    for _ in range(50):
        machine.fill(lines[-1], bytes(size))
        machine.call(machine.load(walk.unit(), row)["run"], program, 1)
        found = np.frombuffer(machine.read(lines[-1], size), np.int64)
        np.testing.assert_array_equal(found, expected)
    came = np.frombuffer(machine.read(times, 8 * noted), np.int64)[: 2 * STEPS : 2]  # the caller
    assert came[0] > 0
    assert (np.diff(came) >= 0).all()
