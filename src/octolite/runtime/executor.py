"""Runs compiled steps on a crew of threads.

A whole program is one native call: the calling thread and the workers walk the same list of steps
in compiled code (:mod:`octolite.kernels.walk`), without the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from octolite.errors import KernelError, UsageError
from octolite.ir.types import Array
from octolite.kernels import isa, jit, walk
from octolite.kernels.launch import Step
from octolite.kernels.pack import aligned

MAX_THREADS = 64

_INT64 = np.dtype(np.int64)
_WORDS = walk.LINE // 8

BUSY = walk.BUSY
REFUSED = {
    BUSY: "another thread is running this; give each thread an Interpreter.clone() of its own",
    walk.CLOSED: "the executor is closed",
}
"""What it means that a program was not run."""


@dataclass(frozen=True)
class Program:
    """Steps laid out for one executor. Holds everything that they point to.

    ``call``: runs all of it in one native call; 0, or one of :data:`REFUSED`.
    """

    steps: tuple[Step, ...]
    times: Array
    """int64 [threads, steps, 2]: nanoseconds, by the clock of ``time.perf_counter_ns``, at which a
    thread came to a step and at which its part of it was done, in the last timed run. The second
    is 0 where the thread came too late to have a part."""
    call: Callable[[], int]
    timed: ctypes.c_int64
    keep: tuple[object, ...]

    def __len__(self) -> int:
        return len(self.steps)


class Executor:
    """A crew of ``num_threads`` threads (at most 64), the caller's being one of them.

    Raises:
        UsageError: ``num_threads`` is not positive.
        KernelError: the compiled side could not be made.
    """

    def __init__(self, num_threads: int = 1) -> None:
        if num_threads < 1:
            raise UsageError(f"num_threads is {num_threads}; it must be at least 1")
        self.num_threads = min(num_threads, MAX_THREADS)
        self._crew = _Crew(self.num_threads - 1)
        self._finalizer = weakref.finalize(self, self._crew.dismiss)

    def prepare(self, steps: Sequence[Step]) -> Program:
        """Lay ``steps`` out once, to be run many times."""
        shared = any(step.tiles > 1 for step in steps)
        threads = self.num_threads if shared else 1
        table = np.array(
            [[step.fn, ctypes.addressof(step.args), step.tiles] for step in steps], _INT64
        ).reshape(-1, 3)
        counters = aligned((len(steps) if threads > 1 else 0, threads + 1, _WORDS), _INT64)
        now = np.zeros((threads, 2), _INT64)
        times = np.zeros((threads, len(steps), 2), _INT64)
        record = walk.PROGRAM_FIELDS.pack(
            gate=self._crew.gate,
            steps=len(steps),
            threads=threads,
            table=table.ctypes.data,
            counters=counters.ctypes.data,
            times=times.ctypes.data,
            clock=_system_calls()["clock_gettime"],
            clock_id=getattr(time, "CLOCK_MONOTONIC", 0),
            now=now.ctypes.data,
            timed=0,
        )
        timed = ctypes.c_int64.from_buffer(record, walk.PROGRAM_FIELDS.offset("timed"))
        keep = (record, table, counters, now, self._crew)
        call = functools.partial(self._crew.run, ctypes.addressof(record))
        return Program(tuple(steps), times, call, timed, keep)

    def run(self, program: Program | Sequence[Step], timings: Array | None = None) -> None:
        """Run all steps in order; returns when the last is done.

        Args:
            program: what :meth:`prepare` returned (or steps, prepared for this run only).
            timings: int64 [steps], filled with the nanoseconds of each step; the program's
                ``times`` are then those of this run.

        Raises:
            UsageError: the executor is closed or runs something already, or ``timings`` has
                another length.
        """
        if not isinstance(program, Program):
            program = self.prepare(program)
        if timings is not None and len(timings) != len(program):
            raise UsageError(f"{len(timings)} timings for {len(program)} steps")
        program.timed.value = timings is not None
        if timings is not None:
            program.times.fill(0)
        if refused := program.call():
            raise UsageError(REFUSED[refused])
        if timings is not None:
            came, done = program.times[:, :1, 0], program.times[:, :, 1].max(axis=0)
            start = came.min(axis=0, where=came > 0, initial=np.iinfo(_INT64).max)
            timings[:] = np.diff(done, prepend=start)

    def close(self) -> None:
        """Let the threads go. Running afterwards is an error; closing again is not."""
        self._finalizer()

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Crew:
    """The worker threads and the gate where they meet the caller."""

    def __init__(self, workers: int) -> None:
        library = jit.load(walk.unit(), isa.current())
        pointer, integer = ctypes.c_void_p, ctypes.c_int64
        self.run = ctypes.CFUNCTYPE(integer, pointer)(library["run"])
        self._dismiss = ctypes.CFUNCTYPE(None, pointer)(library["dismiss"])
        self._serve = ctypes.CFUNCTYPE(None, pointer, integer)(library["serve"])
        self._memory = aligned((walk.WORKERS + workers * walk.WORKER,), np.dtype(np.uint8))
        self.gate = int(self._memory.ctypes.data)
        calls = _system_calls()
        record = walk.GATE.pack(
            workers=workers,
            rest=calls["sched_yield"],
            lock=calls["pthread_mutex_lock"],
            unlock=calls["pthread_mutex_unlock"],
            signal=calls["pthread_cond_signal"],
            sleep=calls["pthread_cond_wait"],
        )
        ctypes.memmove(self.gate, record, walk.GATE.size)
        system = ctypes.CDLL(None)
        for index in range(workers):
            worker = self.gate + walk.WORKERS + index * walk.WORKER
            ctypes.c_int64.from_address(worker + walk.AWAKE).value = 1
            system.pthread_mutex_init(pointer(worker + walk.MUTEX), None)
            system.pthread_cond_init(pointer(worker + walk.CONDITION), None)
        self._threads = [
            threading.Thread(
                target=self._serve, args=(self.gate, i), name=f"octolite-{i + 1}", daemon=True
            )
            for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def dismiss(self) -> None:
        self._dismiss(self.gate)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()


@functools.cache
def _system_calls() -> dict[str, int]:
    """Addresses of what the compiled side calls."""
    if os.name != "posix":
        raise KernelError("the compiled runtime needs a POSIX system")
    system = ctypes.CDLL(None)
    names = (
        "clock_gettime", "sched_yield", "pthread_mutex_lock", "pthread_mutex_unlock",
        "pthread_cond_signal", "pthread_cond_wait",
    )  # fmt: skip
    return {n: ctypes.cast(getattr(system, n), ctypes.c_void_p).value or 0 for n in names}
