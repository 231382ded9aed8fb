"""The compiled side of the executor: threads that go through a program together.

A program is a list of steps; every thread walks it from the first to the last. It takes tiles
from its own share of a step, then from the others' shares, and goes on when all tiles of the step
are done, by whomever. No step waits for a thread that the system has not scheduled: whoever comes
late finds nothing left to do. A program for one thread is a plain loop.

``gate`` is the meeting point. The caller publishes a program there, wakes whoever sleeps, walks it,
closes the gate and waits until nobody is inside; only then may the program's counters be used
again. All of that is one call, ``run``, which gives one of :data:`DONE`, :data:`BUSY` and
:data:`CLOSED`. Workers look out for the next program for some microseconds, then sleep on a
condition variable of the system's.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.record import Record
from octolite.kernels.simd import I32, I64, PTR, VOID, Builder, Value

LINE = 64
GATE = Record(
    workers=I64,
    rest=PTR,  # sched_yield
    lock=PTR,  # pthread_mutex_lock, and so on
    unlock=PTR,
    signal=PTR,
    sleep=PTR,  # pthread_cond_wait
)
# What changes at the gate, a cache line each: the open program (0: none), how many were published,
# how many threads are inside, whether a caller is; whether the workers shall go. Then the workers.
PROGRAM, EPOCH, INSIDE, TAKEN, CLOSING, WORKERS = (LINE * i for i in range(1, 7))
# Of a worker: whether it is awake, whether it has been called, its mutex and its condition.
AWAKE, CALLED, MUTEX, CONDITION, WORKER = 0, 8, LINE, 2 * LINE, 3 * LINE

PROGRAM_FIELDS = Record(
    gate=PTR,
    steps=I64,
    threads=I64,
    table=PTR,  # [steps]: function, arguments, tiles
    counters=PTR,  # [steps, threads + 1] lines: tiles taken of each share, tiles done
    times=PTR,  # int64 [threads, steps, 2]: when a thread came to a step, when its part was done
    clock=PTR,  # int clock_gettime(int, int64[2])
    clock_id=I64,
    now=PTR,  # int64 [threads, 2]
    timed=I64,  # whether to fill times
)

DONE, BUSY, CLOSED = range(3)

# Pauses before a thread that waits lets others run, or a worker goes to sleep.
SPINS = 2000

EXPORTS = ("run", "serve", "dismiss")


def unit() -> Unit:
    def emit(module: Any, isa: Isa) -> None:
        _emit_walk(module)
        _emit_run(module)
        _emit_serve(module)
        _emit_dismiss(module)

    return Unit("walk", EXPORTS, emit)


def _pause(k: Builder) -> None:
    """Tell the core that this is a waiting loop."""
    triple = k.module.triple
    if triple.startswith("x86"):
        k.call("llvm.x86.sse2.pause", VOID)
    elif triple.startswith(("aarch64", "arm64")):
        k.call("llvm.aarch64.hint", VOID, k.const(I32, 1))


def _wait(k: Builder, address: Value, value: Value, rest: Value) -> None:
    """Until the counter at ``address`` is ``value``."""
    with k.repeat([k.const(I64, 0)]) as loop:
        loop.leave(k.atomic_load(address).equals(value))
        _pause(k)
        loop.carry = [loop.carry[0] + 1]
        with k.when(loop.carry[0] > SPINS):
            k.call_at(rest, I32)


# Steps and tiles ---------------------------------------------------------------------------


def _step(k: Builder, program: SimpleNamespace, index: Value) -> tuple[Value, Value, Value]:
    """The function of a step, its arguments and its tiles."""
    at = program.table + index * 24
    return k.load(PTR, at), k.load(PTR, at + 8), k.load(I64, at + 16)


def _note_time(
    k: Builder, program: SimpleNamespace, thread: Value, index: Value, which: int
) -> None:
    """Note the time, in nanoseconds, at which a thread came to a step (0) or was done (1)."""
    with k.when(program.timed > 0):
        now = program.now + thread * 16
        k.call_at(program.clock, I32, program.clock_id.trunc(I32), now)
        at = program.times + ((thread * program.steps + index) * 2 + which) * 8
        k.store(k.load(I64, now) * 1_000_000_000 + k.load(I64, now + 8), at)


def _walk_alone(k: Builder, program: SimpleNamespace) -> None:
    thread = k.const(I64, 0)
    with k.loop(0, program.steps) as steps:
        fn, args, tiles = _step(k, program, steps.index)
        _note_time(k, program, thread, steps.index, 0)
        with k.loop(0, tiles) as loop:
            k.call_at(fn, VOID, args, loop.index)
        _note_time(k, program, thread, steps.index, 1)


def _emit_walk(module: Any) -> None:
    """``walk(program, thread)``, one of several."""
    k = Builder(module, "walk", (PTR, I64), local=True)
    address, thread = k.args
    program = PROGRAM_FIELDS.load(k, address)
    rest = GATE.load(k, program.gate).rest
    threads = program.threads
    with k.loop(0, program.steps) as steps:
        fn, args, tiles = _step(k, program, steps.index)
        taken = program.counters + steps.index * ((threads + 1) * LINE)
        done = taken + threads * LINE
        _note_time(k, program, thread, steps.index, 0)
        with k.loop(0, threads, carry=[k.const(I64, 0)]) as shares:
            share = (thread + shares.index) % threads
            first = (share * tiles + threads - 1) // threads
            last = ((share + 1) * tiles + threads - 1) // threads
            with k.repeat(shares.carry) as claims:
                tile = first + k.atomic_add(taken + share * LINE, 1)
                claims.leave(tile >= last)
                k.call_at(fn, VOID, args, tile)
                claims.carry = [claims.carry[0] + 1]
            shares.carry = claims.carry
        (count,) = shares.carry
        with k.when(count > 0):
            _note_time(k, program, thread, steps.index, 1)
            k.atomic_add(done, count)
        _wait(k, done, tiles, rest)
    k.ret()


def _call_walk(k: Builder, program: Value, thread: Value) -> None:
    k.ir.call(k.module.globals["walk"], [program.raw, thread.raw])


# The caller --------------------------------------------------------------------------------


def _emit_run(module: Any) -> None:
    """``run(program)``: all of it, by the calling thread and the workers of its gate."""
    k = Builder(module, "run", (PTR,), I64)
    (address,) = k.args
    program = PROGRAM_FIELDS.load(k, address)
    gate = program.gate
    closed = k.atomic_load(gate + CLOSING) > 0
    free = k.atomic_swap(gate + TAKEN, 0, 1)
    ready = free & (closed ^ 1)
    with k.when(ready), k.either(program.threads > 1) as (several, alone):
        with several:
            _lead(k, address, program)
        with alone:
            _walk_alone(k, program)
    with k.when(free):
        k.atomic_store(0, gate + TAKEN)
    k.ret(k.select(closed, k.const(I64, CLOSED), k.select(free, k.const(I64, DONE), BUSY)))


def _lead(k: Builder, address: Value, program: SimpleNamespace) -> None:
    """Open the gate, walk, close it, wait until all have left."""
    gate = program.gate
    with k.loop(0, program.steps * (program.threads + 1)) as lines:
        k.store(k.const(I64, 0), program.counters + lines.index * LINE)
    k.atomic_store(address.address(), gate + PROGRAM)
    _call_workers(k, gate)
    _call_walk(k, address, k.const(I64, 0))
    k.atomic_store(0, gate + PROGRAM)
    _wait(k, gate + INSIDE, k.const(I64, 0), GATE.load(k, gate).rest)


def _call_workers(k: Builder, address: Value) -> None:
    """Let those who look out see that there is something, and wake those who sleep."""
    gate = GATE.load(k, address)
    k.atomic_add(address + EPOCH, 1)
    with k.loop(0, gate.workers) as loop:
        worker = address + (loop.index * WORKER + WORKERS)
        with k.when(k.atomic_swap(worker + AWAKE, 0, 1)):
            k.call_at(gate.lock, I32, worker + MUTEX)
            k.store(k.const(I64, 1), worker + CALLED)
            k.call_at(gate.signal, I32, worker + CONDITION)
            k.call_at(gate.unlock, I32, worker + MUTEX)


def _emit_dismiss(module: Any) -> None:
    """``dismiss(gate)``: the workers go, and nothing runs any more."""
    k = Builder(module, "dismiss", (PTR,))
    k.atomic_store(1, k.args[0] + CLOSING)
    _call_workers(k, k.args[0])
    k.ret()


# The workers -------------------------------------------------------------------------------


def _emit_serve(module: Any) -> None:
    """``serve(gate, worker)``: help with programs until dismissed."""
    k = Builder(module, "serve", (PTR, I64))
    address, worker = k.args
    gate = GATE.load(k, address)
    mine = address + (worker * WORKER + WORKERS)
    with k.repeat([k.const(I64, 0)]) as loop:
        (seen,) = loop.carry
        with k.repeat([k.const(I64, 0)]) as wait:
            wait.leave(k.atomic_load(address + EPOCH).compare("!=", seen))
            wait.leave(wait.carry[0] > SPINS)
            _pause(k)
            wait.carry = [wait.carry[0] + 1]
        with k.when(wait.carry[0] > SPINS):
            k.atomic_store(0, mine + AWAKE)
            # A program that came just now: its caller may not have seen us go to sleep.
            fresh = k.atomic_load(address + EPOCH).compare("!=", seen)
            back = fresh & k.atomic_swap(mine + AWAKE, 0, fresh.zext(I64))
            with k.when(back ^ 1):
                _sleep(k, gate, mine)
        loop.leave(k.atomic_load(address + CLOSING) > 0)
        loop.carry = [k.atomic_load(address + EPOCH)]
        k.atomic_add(address + INSIDE, 1)
        program = k.atomic_load(address + PROGRAM)
        with k.when(program.compare("!=", 0)):
            _call_walk(k, program.pointer(), worker + 1)
        k.atomic_add(address + INSIDE, -1)
    k.ret()


def _sleep(k: Builder, gate: SimpleNamespace, mine: Value) -> None:
    """Until called."""
    k.call_at(gate.lock, I32, mine + MUTEX)
    with k.repeat() as loop:
        loop.leave(k.load(I64, mine + CALLED) > 0)
        k.call_at(gate.sleep, I32, mine + CONDITION, mine + MUTEX)
    k.store(k.const(I64, 0), mine + CALLED)
    k.call_at(gate.unlock, I32, mine + MUTEX)
