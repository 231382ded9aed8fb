"""Loops and conditionals: each region becomes a graph, and the node a WHILE or an IF.

What a region reads from outside is given to its graph: a constant as a constant of that graph,
anything else as one more input, which a loop hands on unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from octolite.errors import UnsupportedError
from octolite.frontends.graphdef.engine import Site, tf
from octolite.frontends.graphdef.nodes import Ref, Region
from octolite.ir.graph import Graph, Value
from octolite.ir.origin import Extent, origin
from octolite.ir.types import BOOL, INT32, Shape, TensorType
from octolite.ops.comparison import Equal
from octolite.ops.control import If, While
from octolite.ops.generation import Fill

_ROUNDS = 20
"""How often a body is imported until the shapes that it carries are found."""


@tf("While", "StatelessWhile")
def while_(n: Site, *inputs: Value) -> tuple[Value, ...] | None:
    cond, body = n.regions
    count = len(cond.parameters)
    initial, outer = inputs[:count], _captured(n, inputs[count:])
    operands = [*initial, *_carried(outer)]
    types = [TensorType(v.dtype, v.shape) for v in operands]
    graph = _settled(n, body, operands, types, outer)
    test = n.subgraph("cond", cond, types, outer)
    if graph is None or test is None:
        return None
    for i, (value, out) in enumerate(zip(initial, graph.outputs, strict=False)):
        _size(n, value, out, graph, operands, i)
    results = [n.value(t, str(Ref(n.name, i))) for i, t in enumerate(types)]
    n.computed(While(cond=test, body=graph), operands, results)
    return tuple(results[:count])


def _captured(n: Site, values: Sequence[Value]) -> dict[Ref, Value]:
    """What the regions capture, by reference."""
    refs = list(dict.fromkeys(r for region in n.regions for r in region.captures))
    return dict(zip(refs, values, strict=True))


def _carried(outer: Mapping[Ref, Value]) -> list[Value]:
    """The captured values that are no constants, each once."""
    return list({id(v): v for v in outer.values() if v.data is None}.values())


def _settled(
    n: Site, body: Region, operands: Sequence[Value], types: list[TensorType],
    outer: Mapping[Ref, Value],
) -> Graph | None:  # fmt: skip
    """The body's graph, with ``types`` changed until it gives what it takes."""
    for _ in range(_ROUNDS):
        graph = n.subgraph("body", body, types, outer)
        if graph is None:
            return None
        graph.outputs += graph.inputs[len(body.parameters) :]
        changed = False
        for i, (taken, given) in enumerate(zip(list(types), graph.outputs, strict=True)):
            if taken.dtype is not given.dtype:
                raise UnsupportedError(
                    f"{n.op_type} carries {operands[i].name!r} as {taken.dtype} and its body "
                    f"gives {given.dtype}"
                )
            common = _refined if n.unsized(operands[i]) is not None else _common
            shape = common(taken.shape, given.shape)
            changed |= shape != taken.shape
            types[i] = TensorType(taken.dtype, shape)
        if not changed:
            return graph
    raise UnsupportedError(f"{n.op_type} whose shapes do not settle")


def _common(a: Shape | None, b: Shape | None) -> Shape | None:
    """What both shapes allow."""
    if a is None or b is None or len(a) != len(b):
        return None
    return tuple(x if x == y else None for x, y in zip(a, b, strict=True))


def _refined(a: Shape | None, b: Shape | None) -> Shape | None:
    """What is known from either shape; the first decides."""
    if a is None or b is None or len(a) != len(b):
        return b if a is None else a
    return tuple(y if x is None else x for x, y in zip(a, b, strict=True))


# -- TensorArrays of which the loop tells the elements' shape -----------------------------------


def _size(
    n: Site, array: Value, result: Value, graph: Graph, operands: Sequence[Value], index: int
) -> None:
    """Make ``array`` in front of the loop whose body gives ``result`` for it."""
    unsized = n.unsized(array)
    if unsized is None or result.shape is None:
        return
    array.shape = _refined(array.shape, result.shape)
    assert array.shape is not None
    extents: list[int | Value] = [unsized.size]
    for axis, extent in enumerate(array.shape[1:], 1):
        found: int | Extent | None = extent
        if found is None:
            found = origin(result, axis)
        if isinstance(found, Extent):
            found = _outside(found, graph, operands, index)
        if found is None:
            first = _first_round(n, result, graph, operands, index)
            if first is None:
                return  # which is noted when something reads it
            found = Extent(first, axis)
        extents.append(found if isinstance(found, int) else extent_of(n, found))
    make(n, array, extents)


def _outside(
    found: Extent, graph: Graph, operands: Sequence[Value], index: int
) -> int | Extent | None:
    """An extent of one of the body's inputs, as that of the loop's operand."""
    at = next((i for i, v in enumerate(graph.inputs) if v is found.value), index)
    if at == index:
        return None  # the array's elements have the shape that its elements have
    outer = operands[at]
    if outer.shape is not None and outer.shape[found.axis] is not None:
        return outer.shape[found.axis]
    return origin(outer, found.axis) or Extent(outer, found.axis)


def _first_round(
    n: Site, result: Value, graph: Graph, operands: Sequence[Value], index: int
) -> Value | None:
    """What the first round writes, computed in front of the loop for the sake of its shape."""
    node = result.producer
    if node is None or node.op.name != "DYNAMIC_UPDATE_SLICE" or node.inputs[1] is None:
        return None
    known = {id(v): o for v, o in zip(graph.inputs, operands, strict=True)}
    stack: list[Value] = [node.inputs[1]]
    while stack:
        value = stack[-1]
        if id(value) in known:
            stack.pop()
        elif value.data is not None:
            known[id(stack.pop())] = n.copy(value)
        elif value.producer is None or value.producer.op.stateful:
            return None
        else:
            inner = value.producer
            missing = [v for v in inner.inputs if v is not None and id(v) not in known]
            stack += missing
            if not missing:
                inputs = [None if v is None else known[id(v)] for v in inner.inputs]
                outputs = n.ops(inner.op.name, *inputs, **inner.op.attributes())
                known.update(zip(map(id, inner.outputs), outputs, strict=True))
    return None if operands[index].uses else known[id(node.inputs[1])]


def extent_of(n: Site, extent: Extent) -> Value:
    """A scalar int32: one extent of a value, when the model runs."""
    shape = n.op("SHAPE", extent.value, out_type=INT32)
    end = [extent.axis + 1]
    return n.op("STRIDED_SLICE", shape, [extent.axis], end, [1], shrink_axis_mask=1)


def make(n: Site, array: Value, extents: Sequence[int | Value]) -> None:
    """Fill ``array`` with zeros, of these extents."""
    shape = n.op("PACK", *[_scalar(e) for e in extents], values_count=len(extents), axis=0)
    zero = n.constant(np.zeros((), array.dtype.numpy))
    n.computed(Fill(), [shape, zero], [array])


def _scalar(extent: int | Value) -> Value | np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return extent if isinstance(extent, Value) else np.asarray(extent, np.int32)


# -- conditionals -------------------------------------------------------------------------------


@tf("If", "StatelessIf")
def if_(n: Site, condition: Value, *inputs: Value) -> tuple[Value, ...] | None:
    graphs = _branches(n, inputs, ("then", "else"))
    if graphs is None:
        return None
    return _choose(n, _as_truth(n, condition), graphs, _operands(n, inputs))


@tf("Case", "StatelessCase")
def case(n: Site, number: Value, *inputs: Value) -> tuple[Value, ...] | None:
    """A chain of IFs, each inside the last's second branch; another number takes the last one."""
    branches = _branches(n, inputs, [f"branch{i}" for i in range(len(n.regions))])
    if branches is None:
        return None
    operands = [number, *_operands(n, inputs)]
    *firsts, last = [_with_number(n, g, number) for g in branches]
    for i in reversed(range(1, len(firsts))):
        last = _chain(n, firsts[i], last, i)
    condition = n.op("EQUAL", number, 0)
    return _choose(n, condition, [firsts[0], last], operands)


def _operands(n: Site, inputs: Sequence[Value]) -> list[Value]:
    count = len(n.regions[0].parameters)
    return [*inputs[:count], *_carried(_captured(n, inputs[count:]))]


def _branches(n: Site, inputs: Sequence[Value], names: Sequence[str]) -> list[Graph] | None:
    """A graph for each region, all with the same inputs."""
    count = len(n.regions[0].parameters)
    outer = _captured(n, inputs[count:])
    types = [TensorType(v.dtype, v.shape) for v in (*inputs[:count], *_carried(outer))]
    pairs = zip(names, n.regions, strict=True)
    graphs = [n.subgraph(name, region, types, outer) for name, region in pairs]
    found = [g for g in graphs if g is not None]
    return found if len(found) == len(graphs) else None


def _choose(
    n: Site, condition: Value, graphs: Sequence[Graph], operands: Sequence[Value]
) -> tuple[Value, ...]:
    then, other = graphs
    results = []
    for i, (a, b) in enumerate(zip(then.outputs, other.outputs, strict=True)):
        if a.dtype is not b.dtype:
            raise UnsupportedError(f"{n.op_type} whose branches give {a.dtype} and {b.dtype}")
        shape = _common(a.shape, b.shape)
        results.append(n.value(TensorType(a.dtype, shape), str(Ref(n.name, i))))
    n.computed(If(then=then, other=other), [condition, *operands], results)
    return tuple(results)


def _as_truth(n: Site, x: Value) -> Value:
    """Whether ``x`` is true, as TensorFlow understands numbers."""
    if n.rank(x):
        raise UnsupportedError(f"{n.op_type} on a tensor that is no scalar")
    return x if x.dtype is BOOL else n.op("NOT_EQUAL", x, 0)


def _with_number(n: Site, graph: Graph, number: Value) -> Graph:
    """``graph`` with the branch's number as its first input."""
    graph.inputs.insert(0, n.value(TensorType(number.dtype, number.shape)))
    return graph


def _chain(n: Site, then: Graph, other: Graph, number: int) -> Graph:
    """A graph that runs ``then`` where its first input is ``number``, otherwise ``other``."""
    graph = Graph(f"{then.name}/choice")
    inputs = [graph.add_input(v.name, v.dtype, v.shape) for v in then.inputs]
    limit = Value.constant(f"{graph.name}/number", np.asarray(number, inputs[0].dtype.numpy))
    condition = graph.add(Equal(), [inputs[0], limit], f"{graph.name}/equal").output
    node = graph.add(If(then=then, other=other), [condition, *inputs], f"{graph.name}/if")
    graph.outputs = list(node.outputs)
    return graph
