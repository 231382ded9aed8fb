"""Graphs that control flow runs: prepared once, planned for each set of shapes that they meet."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from octolite.errors import RuntimeModelError
from octolite.ir.graph import Graph, callees_first
from octolite.ir.types import Array
from octolite.ops.state import State
from octolite.runtime.budget import CALL_LIMIT, MOST_NESTED, Budget
from octolite.runtime.context import Context
from octolite.runtime.executor import Executor
from octolite.runtime.plan import make_plan
from octolite.runtime.prepare import Hybrid, Prepared, prepare
from octolite.runtime.variables import trust_what_is_assigned, untold

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
        self._prepared = {id(graph): prepare(graph, hybrid, budget, apart) for graph in called}
        self._contexts: dict[int, OrderedDict[Shapes, Context]] = {}
        self._executor = executor
        self._threads = threads
        self._memory_limit = memory_limit
        self._call_limit = call_limit
        self._calls = self._depth = 0
        self.state = State()

    def prepared(self, graph: Graph) -> Prepared:
        """What has been prepared of one of the graphs."""
        return self._prepared[id(graph)]

    def adopt(self, other: Callees) -> None:
        """Run the graphs of ``other``, too."""
        self._prepared |= other._prepared

    def distrust_variables(self) -> None:
        """Inputs have shapes that the file rules out: so may what is assigned to variables."""
        for unit in (u for p in self._prepared.values() for u in p.units):
            unit.op = untold(unit.op)

    def clone(self, executor: Executor) -> Callees:
        """The same graphs with memory and state of their own, run by ``executor``."""
        other = copy.copy(self)
        other.state = State()
        other._contexts, other._executor = {}, executor
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
            plan = make_plan(self._prepared[id(graph)], inputs, self._threads, self._memory_limit)
            context = Context(plan, self._executor, self._threads, self)
            contexts[shapes] = context
            while len(contexts) > (1 if self._bytes(contexts) > self._memory_limit else MOST_PLANS):
                contexts.popitem(last=False)
        contexts.move_to_end(shapes)
        if latest is not None and latest is not context:
            context.take_variables(latest)
        return context
