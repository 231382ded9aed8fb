"""Which tensors lie where another lies: those cost no memory, and some of them no work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from octolite.ir.graph import Graph, Value, called_by
from octolite.runtime.arena import FOREVER
from octolite.runtime.prepare import Unit

if TYPE_CHECKING:
    from octolite.runtime.plan import Slots, Step


def homes_of(
    graph: Graph,
    slots: Slots,
    steps: Sequence[Step],
    spans: dict[int, list[int]],
    variables: set[int],
) -> dict[int, int]:
    """Results, by id, with the tensor where they lie, which ``spans`` then keeps for as long.

    They are views, what is read of ``variables`` and used before they are assigned, and what is
    computed element by element from something that nobody needs any more.
    """
    homes = _Homes(slots, spans, {id(v) for v in (*graph.inputs, *graph.outputs)})
    homes.take_views(steps)  # first: they say how long their sources are needed
    homes.take_reads(steps, variables)
    homes.take_in_place(steps)
    return homes.found


def stays(unit: Unit, homes: Mapping[int, int]) -> bool:
    """Whether a unit has nothing to do: it is a view that lies where its source lies."""
    source = _viewed(unit)
    if source is None:
        return False
    return homes.get(id(unit.node.output)) == homes.get(id(source), id(source))


@dataclass
class _Homes:
    """``spans``: the first and the last step that needs a tensor. ``kept``: inputs and results of
    the graph."""

    slots: Slots
    spans: dict[int, list[int]]
    kept: set[int]
    found: dict[int, int] = field(default_factory=dict)
    guests: dict[int, list[int]] = field(default_factory=dict)
    """What lies in a tensor."""

    def take_views(self, steps: Sequence[Step]) -> None:
        for step in steps:
            source = _viewed(step.unit)
            if source is not None and self._may_share(step.unit.node.output, source):
                self._share(step.unit.node.output, source)

    def take_reads(self, steps: Sequence[Step], variables: set[int]) -> None:
        changes: dict[int, int] = {}  # the next step that assigns a variable, or may
        for index in reversed(range(len(steps))):
            source, node = _viewed(steps[index].unit), steps[index].unit.node
            if (
                source is not None
                and id(source) in variables
                and id(node.output) not in self.kept
                and self.spans[id(node.output)][1] < changes.get(id(source), FOREVER)
            ):
                self._share(node.output, source)
            changed = variables if called_by(node) else map(id, node.outputs)
            changes.update(dict.fromkeys(changed, index))

    def take_in_place(self, steps: Sequence[Step]) -> None:
        for index, step in enumerate(steps):
            for i in () if step.launch is None else step.launch.in_place:
                if self._ends(step.unit.read_inputs, i, index):
                    result, source = step.unit.node.output, step.unit.read_inputs[i]
                    if id(result) not in self.found and self._may_share(result, source):
                        self._share(result, source)

    def _ends(self, read: Sequence[Value], which: int, index: int) -> bool:
        """Whether nobody needs the memory of a tensor after the step that reads it, nor that step
        through another tensor."""
        places = [self.found.get(id(v), id(v)) for v in read]
        place = places[which]
        alone = all(v is read[which] for v, p in zip(read, places, strict=True) if p == place)
        return alone and place in self.spans and self.spans[place][1] == index

    def _may_share(self, result: Value, source: Value) -> bool:
        if source.is_variable or id(result) in self.kept:
            return False
        pair = self.slots[id(source)], self.slots[id(result)]
        return all(s.nbytes is not None for s in pair) and pair[0].data is None

    def _share(self, result: Value, source: Value) -> None:
        """Let ``result`` lie where ``source`` lies, and with it what lay there."""
        home = self.found.get(id(source), id(source))
        moved = [id(result), *self.guests.pop(id(result), ())]
        self.found.update(dict.fromkeys(moved, home))
        self.guests.setdefault(home, []).extend(moved)
        self.spans[home][1] = max(self.spans[home][1], self.spans[id(result)][1])


def _viewed(unit: Unit) -> Value | None:
    """The tensor that a unit sees in another way."""
    return unit.node.inputs[0] if unit.op.view else None
