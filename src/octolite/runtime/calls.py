"""Graphs that control flow runs: prepared once, planned for each set of shapes that they meet."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from weakref import WeakSet

from octolite.errors import RuntimeModelError
from octolite.ir.graph import Graph, Value, callees_first
from octolite.ir.types import Array
from octolite.ops.state import State
from octolite.runtime.budget import CALL_LIMIT, MOST_NESTED, Budget
from octolite.runtime.context import Context
from octolite.runtime.executor import Executor
from octolite.runtime.plan import Plan, make_plan
from octolite.runtime.prepare import Hybrid, Prepared, prepare
from octolite.runtime.variables import Name, lower, settled, trust_what_is_assigned, untold

MOST_PLANS = 8
"""Plans, with their memory, that are kept for one graph; shapes seen longest ago give way."""

Shapes = tuple[tuple[int, ...], ...]


class Callees:
    """The graphs that users enter, and those that operators run.

    Variables in them start at zero with each run of the operator that calls them, as it does in
    LiteRT, and last for all the rounds of a loop. ``state`` is what outlives runs: resources, which
    the main graph shares.
    """

    def __init__(
        self,
        graphs: Iterable[Graph],
        hybrid: Hybrid,
        executor: Executor,
        threads: int,
        memory_limit: int,
        call_limit: int = CALL_LIMIT,
        apart: bool = False,
    ) -> None:
        called = callees_first(graphs)
        trust_what_is_assigned(called)
        budget = Budget(memory_limit)
        self._plain = {id(graph): prepare(graph, hybrid, budget, apart) for graph in called}
        self._prepared = self._lowered({} if apart else settled(called))
        self._contexts: dict[int, OrderedDict[Shapes, Context]] = {}
        self._bound: WeakSet[Context] = WeakSet()
        self._executor = executor
        self._threads = threads
        self._memory_limit = memory_limit
        self._call_limit = call_limit
        self._calls = self._depth = 0
        self.state = State()

    def _lowered(self, variables: Mapping[Name, Value]) -> dict[int, Prepared]:
        return {key: lower(prepared, variables) for key, prepared in self._plain.items()}

    def plan(self, graph: Graph, shapes: Mapping[int, tuple[int, ...]]) -> Plan:
        """The plan of one of the graphs for inputs of ``shapes``; see :func:`make_plan`."""
        return make_plan(self._prepared[id(graph)], shapes, self._threads, self._memory_limit)

    def homes(self, context: Context) -> dict[int, Array]:
        """The memory of the named variables that the plan of ``context`` knows, by their ids."""
        plan = context.plan
        if plan.variables:
            self._bound.add(context)
        return {
            id(value): self.state.home(name, value.dtype, plan.slots[id(value)].extents or ())
            for name, value in plan.variables.items()
        }

    def prepared(self, graph: Graph) -> Prepared:
        """What has been prepared of one of the graphs."""
        return self._plain[id(graph)]

    def adopt(self, other: Callees) -> None:
        """Run the graphs of ``other``, too."""
        self._plain |= other._plain
        self._prepared |= other._prepared

    def substitute(self, graph: Graph, prepared: Prepared) -> None:
        """Run ``prepared`` whenever ``graph`` is to be run. Both must keep variables apart."""
        self._plain[id(graph)], self._prepared[id(graph)] = prepared, lower(prepared, {})

    def distrust_variables(self) -> None:
        """Inputs have shapes that the file rules out: so may what is assigned to variables."""
        for unit in (u for p in self._plain.values() for u in p.units):
            unit.op = untold(unit.op)
        self._prepared = self._lowered({})
        self._contexts.clear()
        self.state.leave_homes()
        for context in self._bound:
            context.expire()

    def reset(self) -> None:
        """Forget all state, and what has been initialised."""
        self.state.reset()
        for contexts in self._contexts.values():
            for context in contexts.values():
                context.reset_variables()

    def clone(self, executor: Executor) -> Callees:
        """The same graphs with memory and state of their own, run by ``executor``."""
        other = copy.copy(self)
        other.state = State()
        other._contexts, other._bound, other._executor = {}, WeakSet(), executor
        other._calls = other._depth = 0
        return other

    def __call__(self, graph: Graph, arrays: Sequence[Array]) -> list[Array]:
        """The outputs of ``graph`` for ``arrays``; they hold until it is called again.

        Raises :class:`RuntimeModelError` when graphs have been called too often, or are nested
        too deep.
        """
        self._count(graph)
        context = self._context(graph, tuple(a.shape for a in arrays))
        context.feed(arrays)
        self._depth += 1
        try:
            context.run()
        finally:
            self._depth -= 1
        return context.results()

    def _count(self, graph: Graph) -> None:
        self._calls += 1
        if self._calls > self._call_limit:
            raise RuntimeModelError(
                f"graph {graph.name!r} is to be run, but control flow has run graphs "
                f"{self._call_limit:,} times already; if that is no endless loop, give the "
                "Interpreter a larger call_limit"
            )
        if self._depth >= MOST_NESTED:
            raise RuntimeModelError(
                f"graph {graph.name!r} is to be run within {self._depth} others; control flow "
                f"may be nested {MOST_NESTED} deep"
            )

    def start(self, graphs: Iterable[Graph]) -> None:
        """An operator is about to run ``graphs``: set their state to zero."""
        if not self._depth:
            self._calls = 0
        for graph in graphs:
            for context in self._contexts.get(id(graph), {}).values():
                context.reset_variables()

    @staticmethod
    def _bytes(contexts: OrderedDict[Shapes, Context]) -> int:
        return sum(c.plan.arena_bytes for c in contexts.values())

    def _context(self, graph: Graph, shapes: Shapes) -> Context:
        contexts = self._contexts.setdefault(id(graph), OrderedDict())
        latest = next(reversed(contexts.values()), None)
        context = contexts.get(shapes)
        if context is None:
            inputs = {id(v): s for v, s in zip(graph.inputs, shapes, strict=True)}
            plan = self.plan(graph, inputs)
            context = Context(plan, self._executor, self._threads, self)
            contexts[shapes] = context
            while len(contexts) > (1 if self._bytes(contexts) > self._memory_limit else MOST_PLANS):
                contexts.popitem(last=False)
        contexts.move_to_end(shapes)
        if latest is not None and latest is not context:
            context.take_variables(latest)
        return context
