"""Functions of the library: calls are replaced by the nodes, loops and branches keep regions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from octolite.errors import InvalidGraphError, UnsupportedError
from octolite.frontends.graphdef.nodes import Ref, Region, TfNode
from octolite.frontends.graphdef.source import Source, see_through

ADDED = 100_000
"""Nodes that inlining may add to a graph."""

DEPTH = 100
"""How deep calls may be nested."""

RESULTS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"),
        ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2"),
    ),
    "TopKV2": ("values", "indices"),
    "Unique": ("y", "idx"),
    "Switch": ("output_false", "output_true"),
    "Merge": ("output", "value_index"),
    "MaxPoolWithArgmax": ("output", "argmax"),
    "BlockLSTM": ("i", "cs", "f", "o", "ci", "co", "h"),
    "BlockLSTMV2": ("i", "cs", "f", "o", "ci", "co", "h"),
    "LSTMBlockCell": ("i", "cs", "f", "o", "ci", "co", "h"),
    "GRUBlockCell": ("r", "u", "c", "h"),
    "TensorListConcatV2": ("tensor", "lengths"),
    "TensorListPopBack": ("output_handle", "tensor"),
    "TensorArrayV3": ("handle", "flow"),
    "TensorArrayConcatV3": ("value", "lengths"),
    "NonMaxSuppressionV4": ("selected_indices", "valid_outputs"),
    "NonMaxSuppressionV5": ("selected_indices", "selected_scores", "valid_outputs"),
}
"""Names of the results of operators with several, as function bodies refer to them."""


@see_through("PartitionedCall", "StatefulPartitionedCall")
def call(source: Source, node: TfNode) -> Sequence[Ref]:
    name = node.op_type if node.op_type in source.functions else node.function("f")
    return inline(source, node, name, node.inputs)


@see_through("If", "StatelessIf")
def branch(source: Source, node: TfNode) -> Sequence[Ref] | None:
    """A condition that is known chooses its branch; another one leaves both as regions."""
    if not node.inputs:
        return None
    condition, *operands = node.inputs
    known = source.scalar(condition)
    if known is not None:
        chosen = node.function("then_branch" if known else "else_branch")
        return inline(source, node, chosen, operands)
    if not node.regions:
        sides = ("then", "else")
        functions = [node.function(f"{side}_branch") for side in sides]
        node.regions = tuple(_regions(source, node, sides, functions, len(operands)))
        node.inputs = [condition, *operands, *captures(node.regions)]
    return None


@see_through("Case", "StatelessCase")
def case(source: Source, node: TfNode) -> Sequence[Ref] | None:
    """A number chooses one of several branches."""
    if not node.inputs:
        return None
    number, *operands = node.inputs
    functions = node.functions("branches")
    known = source.scalar(number)
    if known is not None:
        chosen = int(known) if 0 <= known < len(functions) else -1
        return inline(source, node, functions[chosen], operands)
    if not node.regions:
        sides = [f"branch{i}" for i in range(len(functions))]
        node.regions = tuple(_regions(source, node, sides, functions, len(operands)))
        node.inputs = [number, *operands, *captures(node.regions)]
    return None


@see_through("While", "StatelessWhile")
def loop(source: Source, node: TfNode) -> Sequence[Ref] | None:
    """A loop keeps its condition and its body as regions, and reads what they capture.

    What the body returns as it was given is no variable: it is captured too.
    """
    if node.regions:
        return None
    count, arguments, results = len(node.inputs), [], []
    for part in ("cond", "body"):
        arguments.append([Ref(f"{node.name}/{part}/argument", i) for i in range(count)])
        source.bound.update(arguments[-1])
        prefix = f"{node.name}/{part}"
        results.append(inline(source, node, node.function(part), arguments[-1], prefix))
    if len(results[1]) != count:
        raise InvalidGraphError(f"{node!r} carries {count} values, its body {len(results[1])}")
    found: list[Ref] = []
    kept: list[int] = []
    name = f"{node.name}/loop"
    for i, (given, result) in enumerate(zip(arguments[1], results[1], strict=True)):
        if source.behind(source.resolve(result)) == given:
            for side in arguments:
                source.bound.discard(side[i])
                source.forward(side[i], node.inputs[i])
            found.append(node.inputs[i])
        else:
            found.append(Ref(name, len(kept)))
            kept.append(i)
    inner = TfNode(name, "While", {}, [node.inputs[i] for i in kept], [], node.scope, node.depth)
    inner.regions = (
        source.region([arguments[0][i] for i in kept], results[0]),
        source.region([arguments[1][i] for i in kept], [results[1][i] for i in kept]),
    )
    inner.inputs += captures(inner.regions)
    source.add(inner)
    return found


def captures(regions: Iterable[Region]) -> list[Ref]:
    """What the regions read from outside, each once."""
    return list(dict.fromkeys(r for region in regions for r in region.captures))


def _regions(
    source: Source, node: TfNode, parts: Sequence[str], functions: Sequence[str], count: int
) -> Iterator[Region]:
    """A region for each part of ``node``, from a function that takes ``count`` arguments."""
    for part, name in zip(parts, functions, strict=True):
        arguments = [Ref(f"{node.name}/{part}/argument", i) for i in range(count)]
        source.bound.update(arguments)
        results = inline(source, node, name, arguments, f"{node.name}/{part}")
        yield source.region(arguments, results)


def inline(
    source: Source, node: TfNode, name: str, arguments: Sequence[Ref], prefix: str = ""
) -> list[Ref]:
    """Add the nodes of function ``name``; returns its results.

    The nodes' names begin with ``prefix``, or the name of ``node``.
    """
    prefix = prefix or node.name
    function = source.functions.get(name)
    if function is None:
        raise InvalidGraphError(f"{node!r} calls {name!r}, which the function library lacks")
    source.added += len(function.node_def) + 1
    if source.added > ADDED or node.depth >= DEPTH:
        raise UnsupportedError(
            f"{node!r}: calls of functions are nested more than {DEPTH} deep or hold more than "
            f"{ADDED:,} nodes"
        )
    parameters = [a.name for a in function.signature.input_arg]
    if len(parameters) != len(arguments):
        raise InvalidGraphError(
            f"{node!r} gives {len(arguments)} arguments to {name!r}, which takes {len(parameters)}"
        )
    for parameter, ref in zip(parameters, arguments, strict=True):
        source.forward(Ref(f"{prefix}/{parameter}"), ref)
    ops = {n.name: n.op for n in function.node_def}
    source.bodies[prefix] = [f"{prefix}/{n.name}" for n in function.node_def]
    for inner in function.node_def:
        inputs = [_inner(source, prefix, i, ops) for i in inner.input if not i.startswith("^")]
        controls = [f"{prefix}/{i[1:]}" for i in inner.input if i.startswith("^")]
        full = f"{prefix}/{inner.name}"
        source.add(TfNode(full, inner.op, inner.attr, inputs, controls, node.attr, node.depth + 1))
    results = [a.name for a in function.signature.output_arg]
    missing = [r for r in results if r not in function.ret]
    if missing:
        raise InvalidGraphError(f"function {name!r} does not say what it returns as {missing[0]!r}")
    return [_inner(source, prefix, function.ret[r], ops) for r in results]


def _inner(source: Source, prefix: str, text: str, ops: Mapping[str, str]) -> Ref:
    """A function body's reference, ``parameter`` or ``node:result:index``, as a ``Ref``."""
    name, _, rest = text.partition(":")
    result, _, index = rest.partition(":")
    number = int(index) if index.isdecimal() and len(index) < 7 else 0
    op = ops.get(name, "")
    results: Sequence[str] = RESULTS.get(op, ())
    if op in source.functions:
        results = [a.name for a in source.functions[op].signature.output_arg]
    if result in results:
        number += list(results).index(result)
    return Ref(f"{prefix}/{name}", number)
