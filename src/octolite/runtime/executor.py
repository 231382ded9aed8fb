"""Runs compiled steps on a crew of threads.

Python is entered once for a whole program: the calling thread and the workers walk the same list
of steps in compiled code (:mod:`octolite.kernels.walk`), without the interpreter's lock. Between
runs the workers look out for the next program for some microseconds, then sleep on a lock.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
import weakref
from collections.abc import Sequence
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


@dataclass(frozen=True)
class Program:
    """Steps laid out for one executor. Holds everything that they point to."""

    steps: tuple[Step, ...]
    times: Array  # int64 [steps] nanoseconds of the last timed run
    address: int
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
        self._busy = threading.Lock()
        self._finalizer = weakref.finalize(self, self._crew.dismiss)

    def prepare(self, steps: Sequence[Step]) -> Program:
        """Lay ``steps`` out once, to be run many times."""
        table = np.array(
            [[step.fn, ctypes.addressof(step.args), step.tiles] for step in steps], _INT64
        ).reshape(-1, 3)
        counters = aligned((max(len(steps), 1), self.num_threads + 1, _WORDS), _INT64)
        now = np.zeros(2, _INT64)
        times = np.zeros(len(steps), _INT64)
        clock, rest = _system_calls()
        record = walk.PROGRAM_FIELDS.pack(
            steps=len(steps),
            threads=self.num_threads,
            table=table.ctypes.data,
            counters=counters.ctypes.data,
            times=times.ctypes.data,
            clock=clock,
            clock_id=getattr(time, "CLOCK_MONOTONIC", 0),
            now=now.ctypes.data,
            rest=rest,
            timed=0,
        )
        timed = ctypes.c_int64.from_buffer(record, walk.PROGRAM_FIELDS.offset("timed"))
        keep = (record, table, counters, now)
        return Program(tuple(steps), times, ctypes.addressof(record), timed, keep)

    def run(self, program: Program | Sequence[Step], timings: Array | None = None) -> None:
        """Run all steps in order; returns when the last is done.

        Args:
            program: what :meth:`prepare` returned (or steps, prepared for this run only).
            timings: int64 [steps], filled with the nanoseconds of each step.

        Raises:
            UsageError: the executor is closed, or ``timings`` has another length.
        """
        if not isinstance(program, Program):
            program = self.prepare(program)
        if timings is not None and len(timings) != len(program):
            raise UsageError(f"{len(timings)} timings for {len(program)} steps")
        if not self._finalizer.alive:
            raise UsageError("the executor is closed")
        with self._busy:
            program.timed.value = timings is not None
            self._crew.run(program.address)
            if timings is not None:
                timings[:] = program.times

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
        self._alone = ctypes.CFUNCTYPE(None, pointer)(library["alone"])
        self._publish = ctypes.CFUNCTYPE(integer, pointer, pointer, integer)(library["publish"])
        self._lead = ctypes.CFUNCTYPE(None, pointer)(library["lead"])
        self._serve = ctypes.CFUNCTYPE(None, pointer, integer)(library["serve"])
        self._gate = aligned((walk.WORKERS // walk.LINE + workers, _WORDS), _INT64)
        self._at = int(self._gate.ctypes.data)
        self._asleep = [threading.Lock() for _ in range(workers)]
        self._dismissed = False
        self._threads = [
            threading.Thread(target=self._work, args=(i,), name=f"octolite-{i + 1}", daemon=True)
            for i in range(workers)
        ]
        for lock in self._asleep:
            lock.acquire()
        for thread in self._threads:
            thread.start()

    def _work(self, index: int) -> None:
        while True:
            self._asleep[index].acquire()
            if self._dismissed:
                return
            self._serve(self._at, index)

    def run(self, program: int) -> None:
        if not self._threads:
            self._alone(program)
            return
        awaited = self._publish(self._at, program, len(self._threads))
        try:
            index = 0
            while awaited:
                if awaited & 1:
                    self._asleep[index].release()
                awaited >>= 1
                index += 1
        finally:
            self._lead(self._at)

    def dismiss(self) -> None:
        self._dismissed = True
        for lock in self._asleep:
            with contextlib.suppress(RuntimeError):  # awake already
                lock.release()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()


def _system_calls() -> tuple[int, int]:
    """Addresses of ``clock_gettime`` and ``sched_yield``."""
    if os.name != "posix":
        raise KernelError("the compiled runtime needs a POSIX system")
    system = ctypes.CDLL(None)
    found = (
        ctypes.cast(getattr(system, n), ctypes.c_void_p).value
        for n in ("clock_gettime", "sched_yield")
    )
    return tuple(f or 0 for f in found)  # type: ignore[return-value]
