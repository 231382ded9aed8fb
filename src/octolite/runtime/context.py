"""One run's memory and its bound program: what a plan becomes when it is given an arena."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from octolite.errors import RuntimeModelError, UsageError
from octolite.ir.graph import Node, Value, called_by
from octolite.ir.types import Array, TensorType
from octolite.ops.control import Effectful
from octolite.runtime import executor
from octolite.runtime.arena import allocate
from octolite.runtime.budget import Budget, check_memory, check_results, size_of
from octolite.runtime.executor import BUSY, Executor, Program
from octolite.runtime.plan import Plan, Slot, Step, launch_of
from octolite.runtime.prepare import Unit, naming

if TYPE_CHECKING:
    from octolite.kernels.launch import Launch
    from octolite.runtime.calls import Callees

STALE = -1
REFUSED = executor.REFUSED | {
    STALE: "inputs of another graph that shares its variables have been resized; call "
    "allocate_tensors() again"
}
"""Why a context was not run, by what ``call`` gave."""


@dataclass(slots=True)
class NativeRun:
    """Consecutive compiled steps: one native call."""

    program: Program
    owners: list[Unit]
    """The unit that each native step belongs to."""
    checks: list[tuple[Unit, Callable[[], None]]]
    """What is to be asked of units when the run is over."""


@dataclass(frozen=True, slots=True)
class Span:
    """What one thread did for a unit at a stretch, in nanoseconds of ``time.perf_counter_ns``."""

    step: str
    thread: int
    start: int
    end: int


@dataclass(slots=True)
class Timing:
    """What one unit took, run by run: all in all, and by thread."""

    unit: Unit
    label: str
    macs: int
    nanoseconds: list[int] = field(default_factory=list)
    spans: list[list[Span]] = field(default_factory=list)


class Context:
    """Memory for one plan, and the plan bound to it; a second thread that runs it is refused.

    ``callees`` runs the graphs of control flow. ``call``: runs everything once and gives 0, or
    why it did not (:data:`REFUSED`): the one native call itself, where all is compiled and what is
    to be done once is done.
    """

    def __init__(self, plan: Plan, executor: Executor, threads: int, callees: Callees) -> None:
        self.plan = plan
        self.callees = callees
        self.expired = False
        self.executor = executor
        self.threads = threads
        self.arena = allocate(plan.arena_bytes)
        self.arrays: dict[int, Array] = callees.homes(self)
        self._memory = [self.arena, *self.arrays.values()]
        self._placed = {*self.arrays, *plan.offsets, *plan.aliases}
        for value in plan.graph.values():
            slot = plan.slots[id(value)]
            if slot.data is not None:
                self.arrays[id(value)] = slot.data
            elif id(value) in plan.offsets:
                self.arrays[id(value)] = self._view(slot, plan.offsets[id(value)])
            elif id(value) in plan.aliases:
                home = self.arrays[plan.aliases[id(value)]]
                self.arrays[id(value)] = home.reshape(slot.extents or ())
        self.variables = [v for v in plan.graph.values() if v.is_variable and id(v) in self.arrays]
        self.schedule = self._bind()
        self._busy = threading.Lock()
        self._again: Callable[[], int] = self._attempt
        match self.schedule:
            case [NativeRun(program, _, [])]:
                self._again = program.call
        self.reset_variables()

    def _view(self, slot: Slot, offset: int) -> Array:
        extents, size = slot.extents, slot.nbytes
        assert extents is not None
        assert size is not None
        return self.arena[offset : offset + size].view(slot.dtype.numpy).reshape(extents)

    def reset_variables(self) -> None:
        """Set all state to what stands for zero, as it is before the first run."""
        self._begun = not self.plan.once
        ready = self._begun and not self.expired
        self.call: Callable[[], int] = self._again if ready else self._attempt
        for value in self.variables:
            self.arrays[id(value)].fill(value.initial)

    def expire(self) -> None:
        """Run no more: variables are no longer what was planned for."""
        self.expired, self.call = True, self._attempt

    def take_variables(self, other: Context) -> None:
        """Go on from the state of ``other``; a variable of another shape there starts anew."""
        for value in self.variables:
            mine, theirs = self.arrays[id(value)], other.arrays.get(id(value))
            kept = theirs is not None and theirs.shape == mine.shape
            mine[...] = theirs if kept else value.initial

    def feed(self, arrays: Sequence[Array]) -> None:
        """Set the graph's inputs, in order; they have the shapes that were planned for. Those that
        nothing needs are left as they are."""
        graph = self.plan.graph
        for value, array in zip(graph.inputs, arrays, strict=True):
            if not value.uses and not graph.is_output(value):
                continue
            if id(value) in self._placed:
                np.copyto(self.arrays[id(value)], array)
            else:
                self.arrays[id(value)] = array

    def results(self) -> list[Array]:
        """The graph's outputs, apart from the memory of its inputs."""
        inputs = {id(v) for v in self.plan.graph.inputs}
        arrays = [(v, self.arrays[id(v)]) for v in self.plan.graph.outputs]
        return [a.copy() if id(v) in inputs else a for v, a in arrays]

    # -- binding --------------------------------------------------------------------------------

    def _bind(self) -> list[NativeRun | Step]:
        """Native runs between the steps that Python takes."""
        schedule: list[NativeRun | Step] = []
        native: list[Any] = []
        owners: list[Unit] = []
        checks: list[tuple[Unit, Callable[[], None]]] = []

        def flush() -> None:
            if native:
                program = self.executor.prepare(list(native))
                schedule.append(NativeRun(program, list(owners), list(checks)))
                for gathered in (native, owners, checks):
                    gathered.clear()

        for step in self.plan.steps:
            if step.launch is None:
                flush()
                schedule.append(step)
                continue
            scratch = self.arena[step.scratch :]
            steps, asked = self._steps(step.unit, step.launch, scratch)
            native.extend(steps)
            owners.extend([step.unit] * len(steps))
            checks.extend((step.unit, check) for check in asked)
            if self.plan.apart:
                flush()
        flush()
        return schedule

    def _steps(
        self, unit: Unit, launch: Launch, scratch: Array
    ) -> tuple[list[Any], list[Callable[[], None]]]:
        """The steps of a launch, and what to ask when they have run."""
        faults = launch.faults()
        steps = launch.steps(
            [self._contiguous(v, unit).ctypes.data for v in unit.read_inputs],
            [self.arrays[id(v)].ctypes.data for v in unit.node.outputs],
            scratch.ctypes.data,
            faults,
        )
        return steps, [partial(check, faults) for check in launch.checks]

    def _contiguous(self, value: Value, unit: Unit) -> Array:
        """The array of ``value`` as compiled code can read it; it stays where it is found."""
        array = np.asarray(self._array(value, unit), order="C")
        self.arrays[id(value)] = array
        return array

    # -- running --------------------------------------------------------------------------------

    def run(self, timings: dict[int, Timing] | None = None) -> None:
        """Run everything once. Raises what an operator raises, the node named, and
        :class:`UsageError` while another thread runs it."""
        if refused := self.call() if timings is None else self._attempt(timings):
            raise UsageError(REFUSED[refused])

    def _attempt(self, timings: dict[int, Timing] | None = None) -> int:
        if self.expired:
            return STALE
        if not self._busy.acquire(blocking=False):
            return BUSY
        try:
            self._go_through(timings)
        finally:
            self._busy.release()
        return 0

    def walk(self) -> Iterator[Node]:
        """Run everything once, a node at a time; gives each node when it has run.

        The plan keeps tensors apart. Raises as :meth:`run` does.
        """
        if self.expired:
            raise UsageError(REFUSED[STALE])
        if not self._busy.acquire(blocking=False):
            raise UsageError(REFUSED[BUSY])
        try:
            for item in self.schedule:
                self._run_item(item)
                yield (item.owners[0] if isinstance(item, NativeRun) else item.unit).node
        finally:
            self._busy.release()

    def _go_through(self, timings: dict[int, Timing] | None) -> None:
        if not self._begun:
            for step in self.plan.once:
                self._run_item(step, timings)
            self._begun, self.call = True, self._again
        for item in self.schedule:
            self._run_item(item, timings)

    def _run_item(self, item: NativeRun | Step, timings: dict[int, Timing] | None = None) -> None:
        if isinstance(item, NativeRun):
            self._run_native(item, timings)
            return
        start = time.perf_counter_ns()
        self._run_step(item)
        if timings is not None:
            kernel = item.unit.kernel
            label = "NumPy" if kernel is None else kernel.label
            span = Span("reference", 0, start, time.perf_counter_ns())
            _note(timings, item.unit, label, 0, span.end - start, [span])

    def _run_native(self, item: NativeRun, timings: dict[int, Timing] | None) -> None:
        spent = None if timings is None else np.zeros(len(item.owners), np.int64)
        self.executor.run(item.program, spent)
        for unit, check in item.checks:
            naming(unit.node, check)
        if timings is None or spent is None:
            return
        totals: dict[int, int] = {}
        spans: dict[int, list[Span]] = {}
        for index, (unit, nanoseconds) in enumerate(zip(item.owners, spent.tolist(), strict=True)):
            totals[id(unit)] = totals.get(id(unit), 0) + nanoseconds
            spans.setdefault(id(unit), []).extend(_spans(item.program, index))
        launches = {id(s.unit): s.launch for s in self.plan.steps}
        for unit in {id(u): u for u in item.owners}.values():
            launch = launches[id(unit)]
            assert unit.kernel is not None
            assert launch is not None
            _note(timings, unit, unit.kernel.label, launch.macs, totals[id(unit)], spans[id(unit)])

    def _run_step(self, step: Step) -> None:
        """A step that Python takes: the reference, or a kernel whose shapes are known only now."""
        unit = step.unit
        operands = [self._operand(v) for v in unit.node.inputs]
        results = [self.plan.slots[id(v)] for v in unit.node.outputs]
        if unit.kernel is not None or any(r.extents is None for r in results):
            types = self._result_types(unit, operands)
        tables = Budget(self.plan.memory_limit)
        launch = naming(unit.node, launch_of, unit, operands, self.threads, tables)
        if launch is not None:
            self._run_late(unit, types, launch)
            return
        arrays = [None if v is None else self._array(v, unit) for v in unit.node.inputs]
        if isinstance(unit.op, Effectful):
            self.callees.start(called_by(unit.node))
            given = [a for a in arrays if a is not None]
            outcome = tuple(naming(unit.node, unit.op.flow, self.callees, given))
        else:
            outcome = naming(unit.node, unit.op.run, arrays, operands, results)
        for value, array in zip(unit.node.outputs, outcome, strict=True):
            self._store(value, array, borrowed=isinstance(unit.op, Effectful))

    def _result_types(self, unit: Unit, operands: list[Slot | None]) -> list[TensorType]:
        """The results' types, which show only now. Raises :class:`RuntimeModelError` where they
        need too much memory."""
        types = naming(unit.node, unit.op.infer, *operands)
        check_results(unit.node, types, unit.infers)
        check_memory(unit.node, size_of(types), self.plan.memory_limit)
        return list(types)

    def _store(self, value: Value, array: Array, borrowed: bool) -> None:
        """Keep a result; what lies in memory that will be used again (``borrowed``) is copied."""
        home = self.arrays.get(id(value))
        if id(value) not in self._placed or home is None:
            borrowed = borrowed or any(np.may_share_memory(array, m) for m in self._memory)
            self.arrays[id(value)] = array.copy() if borrowed else array
        elif home.shape != array.shape or home.dtype != array.dtype:
            raise RuntimeModelError(
                f"{value.producer} made {value.name!r} as {array.dtype} of shape {array.shape}, "
                f"planned as {home.dtype} of shape {home.shape}"
            )
        else:
            np.copyto(home, array)

    def _operand(self, value: Value | None) -> Slot | None:
        if value is None:
            return None
        slot, array = self.plan.slots[id(value)], self.arrays.get(id(value))
        shape = slot.shape if array is None else array.shape
        return Slot(slot.name, slot.dtype, shape, slot.quant, array)

    def _array(self, value: Value, unit: Unit) -> Array:
        try:
            return self.arrays[id(value)]
        except KeyError:
            raise RuntimeModelError(
                f"{unit.node} reads {value.name!r}, which has no value yet"
            ) from None

    def _run_late(self, unit: Unit, types: Sequence[TensorType], launch: Launch) -> None:
        """Run a kernel on shapes that were not known when the plan was made."""
        for value, found in zip(unit.node.outputs, types, strict=True):
            if id(value) not in self._placed:
                extents = [d or 0 for d in found.shape or ()]
                self.arrays[id(value)] = np.empty(extents, value.dtype.numpy)
        scratch = allocate(launch.scratch_bytes)
        steps, checks = self._steps(unit, launch, scratch)
        self.executor.run(self.executor.prepare(steps))
        for check in checks:
            naming(unit.node, check)


def _spans(program: Program, index: int) -> Iterator[Span]:
    """Who took part in a step of a program that has been timed."""
    for thread, (start, end) in enumerate(program.times[:, index].tolist()):
        if end:
            yield Span(program.steps[index].label, thread, start, end)


def _note(
    timings: dict[int, Timing], unit: Unit, label: str, macs: int, spent: int, spans: list[Span]
) -> None:
    timing = timings.setdefault(id(unit), Timing(unit, label, macs))
    timing.nanoseconds.append(spent)
    timing.spans.append(spans)
