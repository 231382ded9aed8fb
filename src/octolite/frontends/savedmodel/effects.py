"""What a signature does to variables, and in which order.

TensorFlow orders the operators on a variable by control edges: within a function each waits for
those before it, and what follows a call waits for all that the call does.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Any

from octolite.errors import UnsupportedError
from octolite.frontends.graphdef.nodes import Ref, TfNode
from octolite.frontends.graphdef.source import VARIABLES, Source, resource_name
from octolite.frontends.savedmodel.startup import BRANCHES, CHANGES, owner, performed

_READS = ("ReadVariableOp", "ResourceGather", "ResourceGatherNd")
_PARTS = ("then_branch", "else_branch", "cond", "body")


def possible(graph: Any, ran: Container[str]) -> bool:
    """Whether anything changes a variable but the nodes and functions of ``ran``: a quick look."""
    if any(CHANGES.match(n.op) and n.name not in ran for n in graph.node):
        return True
    others = (f for f in graph.library.function if f.signature.name not in ran)
    return any(CHANGES.match(n.op) for f in others for n in f.node_def)


def find(source: Source, outputs: Iterable[Ref]) -> list[Ref]:
    """The nodes that change a variable when ``outputs`` are computed; none, as a rule.

    Where there are any, :attr:`Source.waits` says what each operator on a variable comes after.
    Raises :class:`UnsupportedError` for a change inside a loop or a conditional.
    """
    nodes = {n.name: n for n in performed(source, outputs)}
    for node in nodes.values():
        if node.op_type in BRANCHES and node.name not in source.bodies:
            _check_branches(source, node)
    changes = [Ref(n.name) for n in nodes.values() if CHANGES.match(n.op_type)]
    if changes:
        callers = {inner: call for call, body in source.bodies.items() for inner in body}
        for node in nodes.values():
            if _is_ordered(node):
                source.waits[_runs_as(source, node)] = sorted(_before(source, node, callers))
    return changes


def changed(source: Source, ref: Ref) -> str:
    """The variable that the node of ``ref`` changes."""
    node = source.nodes[ref.name]
    target = owner(source, node.inputs[0]) if node.inputs else None
    if target is None or target.op_type not in VARIABLES:
        raise UnsupportedError(f"{node!r} changes something else than a variable of the model")
    return resource_name(target)


def _check_branches(source: Source, node: TfNode) -> None:
    """Raise if a function that ``node`` may run changes a variable."""
    stack = [node.function(name) for name in _PARTS if node.has(name)]
    stack += node.functions("branches") if node.has("branches") else []
    seen: set[str] = set()
    while stack:
        function = source.functions.get(stack.pop())
        if function is None or function.signature.name in seen:
            continue
        seen.add(function.signature.name)
        for inner in function.node_def:
            if CHANGES.match(inner.op):
                raise UnsupportedError(
                    f"{node!r} changes a variable ({inner.op} {inner.name!r} of function "
                    f"{function.signature.name!r}), which TFLite cannot do inside it"
                )
            stack += [inner.op, *(a.func.name for a in inner.attr.values() if a.func.name)]


def _is_ordered(node: TfNode) -> bool:
    return bool(node.op_type in _READS or node.op_type in BRANCHES or CHANGES.match(node.op_type))


def _runs_as(source: Source, node: TfNode) -> str:
    """The node that stands for a loop once it is seen through."""
    loop = f"{node.name}/loop"
    return loop if loop in source.nodes else node.name


def _before(source: Source, node: TfNode, callers: dict[str, str]) -> set[str]:
    """The nearest operators on variables that ``node`` waits for, directly or not."""
    found: set[str] = set()
    seen: set[str] = set()
    stack = list(_waited_for(source, node, callers))
    while stack:
        name = stack.pop()
        if name in seen or name not in source.nodes:
            continue
        seen.add(name)
        other = source.nodes[name]
        if name in source.bodies:  # a call: all that it does
            stack += source.bodies[name]
        if _is_ordered(other) and name not in source.bodies:
            found.add(_runs_as(source, other))
        else:
            stack += _waited_for(source, other, callers)
    return found - {_runs_as(source, node)}


def _waited_for(source: Source, node: TfNode, callers: dict[str, str]) -> Iterator[str]:
    """What ``node`` reads, and what it and the calls around it wait for."""
    yield from (source.forwarded(r).name for r in node.inputs)
    yield from node.controls
    name = node.name
    while name in callers:
        name = callers[name]
        if name in source.nodes:
            yield from source.nodes[name].controls
