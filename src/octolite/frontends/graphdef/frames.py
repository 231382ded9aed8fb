"""Loops and conditionals of TensorFlow 1, cut out of the graph that they are spread over.

A loop lies between nodes that carry one frame name: each of its variables goes
``Enter → Merge → Switch → body → NextIteration → Merge`` and leaves by the Switch's other side
through ``Exit``; ``LoopCond`` decides. What only enters (``is_constant``) does not change.

A conditional is a ``Switch`` for everything that goes into its branches and a ``Merge`` for every
result. Both become the same nodes with regions that functions give (:mod:`functions`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from octolite.errors import InvalidGraphError
from octolite.frontends.graphdef.functions import captures
from octolite.frontends.graphdef.nodes import Ref, TfNode
from octolite.frontends.graphdef.source import Source, see_through

MERGE = ("Merge", "RefMerge")


def _is_switch(node: TfNode) -> bool:
    return node.op_type in ("Switch", "RefSwitch") and len(node.inputs) == 2


# -- loops ---------------------------------------------------------------------------------------


class Variable(NamedTuple):
    """One variable of a loop; ``switch`` is missing where nothing but the condition reads it."""

    merge: TfNode
    initial: Ref
    following: Ref
    switch: TfNode | None


@see_through("Enter", "RefEnter")
def enter(source: Source, node: TfNode) -> Sequence[Ref] | None:
    """What does not change inside is read from outside."""
    return [node.inputs[0]] if node.inputs and node.flag("is_constant", False) else None


@see_through("Exit", "RefExit")
def leave(source: Source, node: TfNode) -> Sequence[Ref] | None:
    """What comes out of a loop is a result of the one node that the loop becomes."""
    switch = source.origin(node.inputs[0]) if node.inputs else None
    if switch is None or not _is_switch(switch):
        return None
    test = source.origin(switch.inputs[1])
    if test is None or test.op_type != "LoopCond" or len(test.inputs) != 1:
        return None
    name = f"{test.name}/loop"
    if name not in source.nodes:
        _cut(source, test, name)
    loop = source.nodes[name]
    names = [r.name for r in loop.regions[1].parameters]
    if switch.name not in names:
        raise InvalidGraphError(f"{node!r} leaves a loop that has no variable for it")
    return [Ref(name, names.index(switch.name))]


def _cut(source: Source, test: TfNode, name: str) -> None:
    """Make the loop that ``test`` decides one node of that name."""
    variables = _variables(source, test)
    merges = [Ref(v.merge.name) for v in variables]
    inside = [Ref(v.switch.name, 1) if v.switch is not None else r
              for v, r in zip(variables, merges, strict=True)]  # fmt: skip
    loop = TfNode(name, "While", {}, [v.initial for v in variables], [], test.scope, test.depth)
    source.bound.update((*merges, *inside))
    cond = source.region(merges, [test.inputs[0]])
    body = source.region(inside, [v.following for v in variables])
    loop.regions = cond, body
    loop.inputs += captures(loop.regions)
    source.add(loop)


def _variables(source: Source, test: TfNode) -> list[Variable]:
    """The loop's variables, in the order of the file."""
    switches: dict[str, TfNode] = {}
    for node in list(source.nodes.values()):
        if _is_switch(node) and source.behind(node.inputs[1]).name == test.name:
            merge = source.origin(node.inputs[0])
            if merge is None or merge.op_type not in MERGE:
                raise InvalidGraphError(f"{node!r} is part of a loop and reads no Merge")
            switches[merge.name] = node
    merges = dict.fromkeys((*switches, *_tested(source, test)))
    found = []
    for name in sorted(merges, key=_number):
        merge = source.nodes[name]
        parts = _parts(source, merge)
        if parts is None:
            raise InvalidGraphError(f"{merge!r} is part of a loop and has no NextIteration")
        found.append(Variable(merge, *parts, switches.get(name)))
    return found


def _number(name: str) -> tuple[str, int]:
    """A name and the number at its end, by which TensorFlow counts a loop's variables."""
    base, _, number = name.rpartition("_")
    return (base, int(number)) if number.isdecimal() else (name, -1)


def _parts(source: Source, merge: TfNode) -> tuple[Ref, Ref] | None:
    """What a loop's Merge starts with, and what follows; ``None`` for one of a conditional."""
    sources = [source.origin(r) for r in merge.inputs]
    kinds = [None if n is None else n.op_type.removeprefix("Ref") for n in sources]
    if sorted(map(str, kinds)) != ["Enter", "NextIteration"]:
        return None
    first, following = (sources[kinds.index(kind)] for kind in ("Enter", "NextIteration"))
    if first is None or following is None or not first.inputs or not following.inputs:
        return None
    return first.inputs[0], following.inputs[0]


def _tested(source: Source, test: TfNode) -> Iterable[str]:
    """The names of the Merges that the condition reads directly."""
    seen: set[str] = set()
    stack = [test.inputs[0]]
    while stack:
        node = source.origin(stack.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.op_type in MERGE and _parts(source, node) is not None:
            yield node.name
        elif node.op_type not in ("Enter", "RefEnter", "Exit", "RefExit"):
            stack += node.inputs


# -- conditionals --------------------------------------------------------------------------------

Guards = dict[Ref, int]
"""Conditions on whose outcome (0 or 1) a result depends."""


@see_through(*MERGE)
def merge(source: Source, node: TfNode) -> Sequence[Ref] | None:
    """The result of a conditional: all that hang on one condition become one node."""
    if len(node.inputs) != 2 or _parts(source, node) is not None:
        return None
    found = _condition(source, node, {})
    if found is None or source.scalar(found[0]) is not None:
        return None
    condition, swapped = found
    group = [(node, swapped), *_siblings(source, node, condition)]
    name = f"{node.name}/if"
    sides = [[m.inputs[side != turned] for m, turned in group] for side in (True, False)]
    switches = _switches(source, condition, sides[0] + sides[1])
    conditional = TfNode(name, "If", {}, [], [], node.scope, node.depth)
    then, other = ([Ref(s.name, side) for s in switches] for side in (1, 0))
    source.bound.update((*then, *other))
    regions = source.region(then, sides[0]), source.region(other, sides[1])
    conditional.regions = regions
    data = [s.inputs[0] for s in switches]
    conditional.inputs = [condition, *data, *captures(regions)]
    source.add(conditional)
    for i, (m, _) in enumerate(group):
        if m is not node:
            source.settle(m, [Ref(name, i)])
    return [Ref(name, 0)]


def _condition(source: Source, node: TfNode, memo: dict[Ref, Guards]) -> tuple[Ref, bool] | None:
    """What decides between both inputs, and whether the first is that of its being true."""
    a, b = (guards(source, r, memo) for r in node.inputs)
    split = [c for c in a if c in b and a[c] != b[c]]
    return (split[0], bool(a[split[0]])) if len(split) == 1 else None


def guards(source: Source, ref: Ref, memo: dict[Ref, Guards]) -> Guards:
    """Outcomes on which ``ref`` depends, by the Switches that it has come through."""
    stack = [(source.forwarded(ref), False)]
    while stack:
        at, done = stack.pop()
        if at in memo and not done:
            continue
        node = None if at in source.feeds else source.nodes.get(at.name)
        if node is None:
            memo[at] = {}
            continue
        reads = _read(source, node)
        if not done:
            memo[at] = {}
            stack.append((at, True))
            stack += [(r, False) for r in reads if r not in memo]
            continue
        memo[at] = _joined(source, node, at, [memo[r] for r in reads])
    return memo[source.forwarded(ref)]


def _read(source: Source, node: TfNode) -> list[Ref]:
    """What a node reads or waits for; a loop's Merge only what it starts with."""
    if node.op_type in MERGE:
        parts = _parts(source, node)
        return [source.forwarded(r) for r in (node.inputs if parts is None else parts[:1])]
    read = node.inputs[:1] if _is_switch(node) else node.inputs
    return [*map(source.forwarded, read), *map(Ref, node.controls)]


def _joined(source: Source, node: TfNode, ref: Ref, inputs: list[Guards]) -> Guards:
    if node.op_type in MERGE and len(inputs) == 2:
        a, b = inputs
        return {c: v for c, v in a.items() if b.get(c) == v}
    found: Guards = {}
    for more in inputs:
        found |= more
    if _is_switch(node):
        condition = source.behind(node.inputs[1])
        decides = source.nodes.get(condition.name)
        if decides is not None and decides.op_type != "LoopCond":
            found[condition] = ref.output
    return found


def _switches(source: Source, condition: Ref, results: Iterable[Ref]) -> list[TfNode]:
    """All that goes into branches on ``condition`` which give ``results``."""
    found: dict[str, TfNode] = {}
    seen: set[str] = set()
    stack = list(results)
    while stack:
        name = source.forwarded(stack.pop()).name
        node = source.nodes.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if _is_switch(node) and source.behind(node.inputs[1]) == condition:
            found[name] = node
        else:
            stack += node.inputs
    return [found[name] for name in sorted(found)]


def _siblings(source: Source, node: TfNode, condition: Ref) -> list[tuple[TfNode, bool]]:
    """Other results of the conditional that ``node`` is one of, none of which needs another."""
    memo: dict[Ref, Guards] = {}
    found: list[tuple[TfNode, bool]] = []
    for other in list(source.nodes.values()):
        if other is node or other.op_type != node.op_type or source.is_settled(other):
            continue
        if len(other.inputs) != 2 or _parts(source, other) is not None:
            continue
        decided = _condition(source, other, memo)
        if decided is None or decided[0] != condition:
            continue
        group = {node.name, *(m.name for m, _ in found)}
        if not _depends(source, other, group) and not any(
            _depends(source, m, {other.name}) for m in (node, *(m for m, _ in found))
        ):
            found.append((other, decided[1]))
    return found


def _depends(source: Source, node: TfNode, names: set[str]) -> bool:
    """Whether ``node`` reads, through others, a result of one of ``names``."""
    seen = {node.name}
    stack = list(node.inputs)
    while stack:
        name = source.forwarded(stack.pop()).name
        if name in names:
            return True
        if name not in seen and name in source.nodes:
            seen.add(name)
            stack += source.nodes[name].inputs
    return False
