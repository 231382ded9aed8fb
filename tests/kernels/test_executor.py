"""Threads: the same bits as one, no matter who does what, and nobody is left behind."""

from __future__ import annotations

import ctypes
import gc
import itertools
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

from octolite.errors import UsageError
from octolite.ir.types import Array
from octolite.kernels import isa, jit, spec
from octolite.kernels.launch import Step
from octolite.kernels.record import Record
from octolite.kernels.select import build
from octolite.kernels.simd import I64, PTR, Builder
from octolite.runtime.executor import Executor

NOTE = Record(counts=PTR, order=PTR, clock=PTR)


def _emit_note(module: Any, row: isa.Isa) -> None:
    """``note(args, tile)``: counts the tile, and what the shared counter said at the time."""
    k = Builder(module, "note", (PTR, I64))
    args = NOTE.load(k, k.args[0])
    k.atomic_add(args.counts + k.args[1] * 8, 1)
    k.store(k.atomic_add(args.clock, 1), args.order + k.args[1] * 8)
    k.ret()


def note_steps(tiles: list[int]) -> tuple[list[Step], list[Array], list[Array]]:
    fn = jit.load(jit.Unit("note", ("note",), _emit_note), isa.current())["note"]
    clock = np.zeros(1, np.int64)
    counts = [np.zeros(max(n, 1), np.int64) for n in tiles]
    orders = [np.zeros(max(n, 1), np.int64) for n in tiles]
    steps = [
        Step(
            fn,
            NOTE.pack(counts=c.ctypes.data, order=o.ctypes.data, clock=clock.ctypes.data),
            n,
            "note",
            clock,
        )
        for n, c, o in zip(tiles, counts, orders, strict=True)
    ]
    return steps, counts, orders


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_every_tile_runs_once_and_steps_keep_their_order(threads: int) -> None:
    tiles = [1, 5, 1, 1, 64, 2, 7, 0, 1000, 3]
    steps, counts, orders = note_steps(tiles)
    with Executor(threads) as executor:
        program = executor.prepare(steps)
        for run in range(1, 51):
            executor.run(program)
            assert all((c[:n] == run).all() for c, n in zip(counts, tiles, strict=True))
            lasts = [(o[:n].min(), o[:n].max()) for o, n in zip(orders, tiles, strict=True) if n]
            for (_, before), (after, _) in itertools.pairwise(lasts):
                assert before < after


def _network(threads: int, x: Array) -> Array:
    """Three layers in a row, so that a step that starts early would read rubbish."""
    random = np.random.default_rng(3)
    executor = Executor(threads)
    steps: list[Step] = []
    buffers = [x]
    keep = []
    for hybrid in (True, False, True):
        request = spec.FullyConnected(96, 96, hybrid=hybrid)
        weights = random.integers(-127, 128, (96, 96)).astype(np.int8 if hybrid else np.float32)
        scale = np.full(1, 0.01, np.float32) if hybrid else None
        launch = build(request, {"weights": spec.Constant(weights, scale)}).launch(
            x.shape, threads=threads
        )
        scratch = np.zeros(launch.scratch_bytes + 64, np.uint8)
        at = scratch.ctypes.data + -scratch.ctypes.data % 64
        buffers.append(np.zeros(launch.output_shape, np.float32))
        steps += launch.steps(buffers[-2].ctypes.data, buffers[-1].ctypes.data, at)
        keep.append(scratch)
    program = executor.prepare(steps)
    for _ in range(30):
        for buffer in buffers[1:]:
            buffer[...] = np.nan
        executor.run(program)
    executor.close()
    return buffers[-1]


def test_threads_do_not_change_a_bit() -> None:
    x = np.random.default_rng(0).standard_normal((150, 96), np.float32)
    alone = _network(1, x)
    assert np.isfinite(alone).all()
    for threads in (2, 3, 5):
        np.testing.assert_array_equal(_network(threads, x), alone)


def test_times_are_given_when_asked_for() -> None:
    steps, _, _ = note_steps([1, 100, 1])
    with Executor(2) as executor:
        program = executor.prepare(steps)
        times = np.full(3, -1, np.int64)
        executor.run(program)
        executor.run(program, times)
        assert (times > 0).all()
        came, done = program.times[..., 0], program.times[..., 1]
        for step in range(3):
            took_part = done[:, step] > 0
            assert took_part.any()
            assert (came[took_part, step] <= done[took_part, step]).all()
            if step > 0:  # nobody begins before all of the step before is done
                assert (came[took_part, step] >= done[:, step - 1].max()).all()
        with pytest.raises(UsageError, match="2 timings for 3 steps"):
            executor.run(program, times[:2])


def test_an_empty_program_runs() -> None:
    with Executor(2) as executor:
        executor.run(executor.prepare([]))


def test_steps_can_be_run_without_preparing() -> None:
    steps, counts, _ = note_steps([4])
    with Executor(2) as executor:
        executor.run(steps)
    assert (counts[0] == 1).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_second_caller_is_refused(threads: int) -> None:
    """While a step waits, whoever comes is told so; the first caller is not disturbed."""
    inside, go_on = threading.Event(), threading.Event()

    def wait(args: int, tile: int) -> None:
        inside.set()
        assert go_on.wait(60)

    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(wait)
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    steps, counts, _ = note_steps([9])
    with Executor(threads) as executor:
        blocked = Step(address, NOTE.pack(counts=0, order=0, clock=0), 1, "wait", function)
        program = executor.prepare([blocked, *steps])
        first = threading.Thread(target=executor.run, args=(program,))
        first.start()
        assert inside.wait(60)
        for refused in (program, executor.prepare(steps)):
            with pytest.raises(UsageError, match=r"another thread is running this.*clone"):
                executor.run(refused)
        assert not counts[0].any()
        go_on.set()
        first.join()
        assert (counts[0] == 1).all()
        executor.run(program)
    assert (counts[0] == 2).all()


def test_sleeping_workers_are_woken() -> None:
    """Long pauses between runs send the workers to sleep; steps wait for a second thread."""
    threads = 3
    seen: set[int] = set()
    met = threading.Barrier(threads)

    def meet(args: int, tile: int) -> None:
        seen.add(threading.get_ident())
        met.wait(60)

    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(meet)
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    with Executor(threads) as executor:
        step = Step(address, NOTE.pack(counts=0, order=0, clock=0), threads, "meet", function)
        program = executor.prepare([step, step])
        for pause in (0.0, 0.05, 0.05, 0.0):
            time.sleep(pause)
            seen.clear()
            executor.run(program)
            assert len(seen) == threads


def crew() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("octolite-")]


def test_close_frees_the_threads() -> None:
    gc.collect()
    before = len(crew())
    executor = Executor(4)
    assert len(crew()) == before + 3
    executor.run(note_steps([10])[0])
    executor.close()
    executor.close()
    assert len(crew()) == before
    with pytest.raises(UsageError, match="closed"):
        executor.run([])


def test_collection_frees_the_threads() -> None:
    gc.collect()
    before = len(crew())
    executor = Executor(3)
    executor.run(note_steps([10])[0])
    del executor
    gc.collect()
    assert len(crew()) == before


@pytest.mark.parametrize("count", [0, -1])
def test_the_number_of_threads_is_checked(count: int) -> None:
    with pytest.raises(UsageError, match="num_threads"):
        Executor(count)


def test_leaving_the_interpreter_does_not_hang() -> None:
    code = (
        "from octolite.runtime.executor import Executor\n"
        "a, b = Executor(4), Executor(2)\n"
        "a.run([]); b.run([])\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_program_keeps_what_its_steps_point_to() -> None:
    steps, counts, _ = note_steps([3])
    with Executor(1) as executor:
        program = executor.prepare(steps)
        address = ctypes.addressof(steps[0].args)
        del steps
        gc.collect()
        assert address == ctypes.addressof(program.steps[0].args)
        executor.run(program)
    assert (counts[0] == 1).all()
