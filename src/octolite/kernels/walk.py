"""The compiled side of the executor: threads that go through a program together.

A program is a list of steps; every thread walks it from the first to the last. It takes tiles
from its own share of a step, then from the others' shares, and goes on when all tiles of the step
are done, by whomever. No step waits for a thread that the system has not scheduled: whoever comes
late finds nothing left to do.

``gate`` is the meeting point. The caller publishes a program, leads the walk, closes the gate and
waits until nobody is inside; only then may the program's counters be used again.
"""

from __future__ import annotations

from typing import Any

from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.record import Record
from octolite.kernels.simd import I32, I64, PTR, VOID, Builder, Value

# Fields of the gate, a cache line each: the open program (0: none), how many were published, how
# many threads are inside; then one line for each worker.
LINE = 64
PROGRAM, EPOCH, INSIDE, WORKERS = (LINE * i for i in range(4))
# Of a worker: whether it is awake, the last epoch that it has seen, whether it serves on.
AWAKE, SEEN, STAY = 0, 8, 16

PROGRAM_FIELDS = Record(
    steps=I64,
    threads=I64,
    table=PTR,  # [steps]: function, arguments, tiles
    counters=PTR,  # [steps, threads + 1] lines: tiles taken of each share, tiles done
    times=PTR,  # int64 [steps] nanoseconds
    clock=PTR,  # int clock_gettime(int, int64[2])
    clock_id=I64,
    now=PTR,  # int64 [2]
    rest=PTR,  # sched_yield
    timed=I64,  # whether to fill times
)

# Pauses before a thread that waits lets others run, or a worker goes to sleep.
SPINS = 2000

EXPORTS = ("alone", "publish", "lead", "serve")


def unit() -> Unit:
    def emit(module: Any, isa: Isa) -> None:
        _emit_walk(module)
        _emit_alone(module)
        _emit_publish(module)
        _emit_lead(module)
        _emit_serve(module)

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


def _now(k: Builder, program: Any) -> Value:
    """Nanoseconds."""
    k.call_at(program.clock, I32, program.clock_id.trunc(I32), program.now)
    return k.load(I64, program.now) * 1_000_000_000 + k.load(I64, program.now + 8)


def _emit_walk(module: Any) -> None:
    """``walk(program, thread)``."""
    k = Builder(module, "walk", (PTR, I64), local=True)
    address, thread = k.args
    program = PROGRAM_FIELDS.load(k, address)
    threads = program.threads
    timed = thread.equals(0) & (program.timed > 0)
    with k.loop(0, program.steps) as steps:
        step = program.table + steps.index * 24
        fn, args = k.load(PTR, step), k.load(PTR, step + 8)
        tiles = k.load(I64, step + 16)
        taken = program.counters + steps.index * ((threads + 1) * LINE)
        done = taken + threads * LINE
        with k.when(timed):
            k.store(k.const(I64, 0) - _now(k, program), program.times + steps.index * 8)

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
            k.atomic_add(done, count)
        _wait(k, done, tiles, program.rest)

        with k.when(timed):
            at = program.times + steps.index * 8
            k.store(k.load(I64, at) + _now(k, program), at)
    k.ret()


def _emit_publish(module: Any) -> None:
    """``publish(gate, program, workers)``: open the gate; bit i is set if worker i must be woken.

    Nobody is inside, as the last run ended so.
    """
    k = Builder(module, "publish", (PTR, PTR, I64), I64)
    gate, address, workers = k.args
    _reset(k, address)
    k.atomic_store(address.address(), gate + PROGRAM)
    k.atomic_add(gate + EPOCH, 1)
    with k.loop(0, workers, carry=[k.const(I64, 0)]) as loop:
        awake = gate + (loop.index * LINE + WORKERS + AWAKE)
        asleep = k.atomic_swap(awake, 0, 1)
        loop.carry = [loop.carry[0] | (asleep.zext(I64) << loop.index)]
    k.ret(loop.carry[0])


def _reset(k: Builder, address: Value) -> None:
    """Set the counters of a program that nobody walks to zero."""
    program = PROGRAM_FIELDS.load(k, address)
    with k.loop(0, program.steps * (program.threads + 1)) as lines:
        k.store(k.const(I64, 0), program.counters + lines.index * LINE)


def _emit_alone(module: Any) -> None:
    """``alone(program)``: the whole of it in the calling thread."""
    k = Builder(module, "alone", (PTR,))
    _reset(k, k.args[0])
    _call_walk(k, k.args[0], k.const(I64, 0))
    k.ret()


def _emit_lead(module: Any) -> None:
    """``lead(gate)``: walk the open program, close the gate, wait until all have left."""
    k = Builder(module, "lead", (PTR,))
    (gate,) = k.args
    program = k.load(PTR, gate + PROGRAM)
    _call_walk(k, program, k.const(I64, 0))
    k.atomic_store(0, gate + PROGRAM)
    rest = PROGRAM_FIELDS.load(k, program).rest
    _wait(k, gate + INSIDE, k.const(I64, 0), rest)
    k.ret()


def _emit_serve(module: Any) -> None:
    """``serve(gate, worker)``: help with programs until none came for a while."""
    k = Builder(module, "serve", (PTR, I64))
    gate, worker = k.args
    mine = gate + (worker * LINE + WORKERS)
    with k.repeat() as loop:
        seen = k.load(I64, mine + SEEN)
        with k.repeat([k.const(I64, 0)]) as wait:
            wait.leave(k.atomic_load(gate + EPOCH).compare("!=", seen))
            wait.leave(wait.carry[0] > SPINS)
            _pause(k)
            wait.carry = [wait.carry[0] + 1]
        with k.either(wait.carry[0] > SPINS) as (idle, called):
            with idle:
                # Asleep, unless a program came just now and its caller has not seen us sleep.
                k.atomic_store(0, mine + AWAKE)
                fresh = k.atomic_load(gate + EPOCH).compare("!=", seen)
                with k.when(fresh):
                    back = k.atomic_swap(mine + AWAKE, 0, 1)
                    k.store(back.zext(I64), mine + STAY)
                with k.when(fresh ^ 1):
                    k.store(k.const(I64, 0), mine + STAY)
            with called:
                k.store(k.const(I64, 1), mine + STAY)
                k.store(k.atomic_load(gate + EPOCH), mine + SEEN)
                k.atomic_add(gate + INSIDE, 1)
                program = k.atomic_load(gate + PROGRAM)
                with k.when(program.compare("!=", 0)):
                    _call_walk(k, program.pointer(), worker + 1)
                k.atomic_add(gate + INSIDE, -1)
        loop.leave(k.load(I64, mine + STAY).equals(0))
    k.ret()


def _call_walk(k: Builder, program: Value, thread: Value) -> None:
    k.ir.call(k.module.globals["walk"], [program.raw, thread.raw])
