"""The order in which passes run, and what runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from octolite.errors import ConversionError
from octolite.ir.graph import Graph, Model, callees_first
from octolite.passes import (
    activations,
    affine,
    bidirectional,
    dilation,
    folding,
    identities,
    layout,
    loops,
    recurrent,
    shapes,
    sharing,
    slices,
    unrolled,
)
from octolite.passes.engine import Explanation, OnRule, Rewriter, Rule

OnPass = Callable[[str, int, int], None]
"""Called after a pass with its name, its number in the round, and how many a round has."""

OnChange = Callable[[str, Model], None]
"""Called with the name of what has changed the model, and the model as it is then."""


@dataclass(frozen=True)
class Watch:
    """Who is told of what while a model is rewritten.

    Attributes:
        on_pass: called after each pass.
        explain: collects what each rule did and why it declined.
        on_change: called after each pass that changed something.
        on_rule: called after each change of each rule, within a pass.
    """

    on_pass: OnPass | None = None
    explain: Explanation | None = None
    on_change: OnChange | None = None
    on_rule: OnChange | None = None


class Pass(Protocol):
    """One step of the pipeline."""

    @property
    def name(self) -> str: ...
    def run(self, graph: Graph, explain: Explanation | None, on_rule: OnRule | None) -> int:
        """Rewrite ``graph``; returns how much was changed, 0 when there is nothing to do."""
        ...


@dataclass(frozen=True)
class Rules:
    """Rules that run together until none of them fires."""

    name: str
    rules: Sequence[Rule]

    def run(self, graph: Graph, explain: Explanation | None, on_rule: OnRule | None) -> int:
        return Rewriter(graph, self.rules, explain, on_rule).run()


@dataclass(frozen=True)
class Step:
    """A function over the whole graph."""

    name: str
    function: Callable[[Graph], int]

    def run(self, graph: Graph, explain: Explanation | None, on_rule: OnRule | None) -> int:
        return self.function(graph)


PIPELINE: tuple[Pass, ...] = (
    Step("remove what nothing needs", Graph.prune),
    Step("infer shapes", shapes.refine),
    Rules("fold constants", folding.RULES + identities.CANCEL),
    Step("share what is computed twice", sharing.merge_duplicates),
    Rules("take steps of sequences", bidirectional.RULES + slices.RULES),
    Rules("move transpositions", layout.RULES + identities.CANCEL),
    Rules("recognise activations", identities.ARITHMETIC + activations.COMPOSED),
    Rules("recover dilation", dilation.RULES),
    Rules("fuse into products", identities.ARITHMETIC + affine.RULES + folding.RULES),
    Rules("fuse activations", activations.FUSED),
    Rules("views", identities.VIEWS),
    Rules("complete operators", affine.COMPLETION),
)

MAX_ROUNDS = 20


RECURRENT: tuple[tuple[str, Callable[[Graph, Explanation | None], int]], ...] = (
    ("loops become recurrent layers", recurrent.fuse),
    ("equal steps become recurrent layers", unrolled.fuse),
    ("two directions become one layer", bidirectional.pair),
)
"""What runs once the pipeline has settled, until one of them has changed something."""


def optimize(
    model: Model,
    on_pass: OnPass | None = None,
    explain: Explanation | None = None,
    *,
    on_change: OnChange | None = None,
    on_rule: OnChange | None = None,
) -> int:
    """Rewrite every graph of ``model`` in place, pass after pass, until nothing changes.

    Args:
        on_pass, explain, on_change, on_rule: see :class:`Watch`.

    Returns:
        how many changes were made.

    Raises:
        ConversionError: the graph contradicts itself about a shape.
    """
    watch = Watch(on_pass, explain, on_change, on_rule)
    total = 0
    while True:
        # What a graph gives is known better once it has been rewritten: callers come after it.
        graphs = callees_first(model.graphs)
        total += sum(_settle(model, graph, watch) for graph in graphs)
        callers = loops.callers_of(model)
        changed = _told(watch, model, "simplify loops", loops.simplify(model))
        # A called graph may run often, and the operators' states would go on from run to run.
        once = [graph for graph in graphs if id(graph) not in callers]
        for name, step in RECURRENT:
            changed = changed or _told(
                watch, model, name, sum(step(graph, explain) for graph in once)
            )
        loops.drop_graphs(model, callers)
        if not changed:
            return total
        total += changed


def _told(watch: Watch, model: Model, name: str, changed: int) -> int:
    """``changed``, which is told to who watches changes."""
    if changed and watch.on_change is not None:
        watch.on_change(name, model)
    return changed


def _settle(model: Model, graph: Graph, watch: Watch) -> int:
    total = 0
    on_rule = None
    if watch.on_rule is not None:
        on_rule = partial(_tell_rule, watch.on_rule, model)
    for _ in range(MAX_ROUNDS):
        changed = 0
        for number, step in enumerate(PIPELINE, 1):
            changed += _told(watch, model, step.name, step.run(graph, watch.explain, on_rule))
            if watch.on_pass is not None:
                watch.on_pass(step.name, number, len(PIPELINE))
        if not changed:
            return total
        total += changed
    raise ConversionError(
        f"graph {graph.name!r} still changes after {MAX_ROUNDS} rounds of all passes; this is a "
        "defect in Octolite, please report it"
    )


def _tell_rule(tell: OnChange, model: Model, rule: str) -> None:
    tell(rule, model)
