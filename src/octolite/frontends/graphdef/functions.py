"""Calls of functions from the library are replaced by the functions' nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from octolite.errors import InvalidGraphError, UnsupportedError
from octolite.frontends.graphdef.nodes import Ref, TfNode
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
    """A condition that is known chooses its branch; another one leaves the node as it is."""
    if not node.inputs:
        return None
    condition = source.scalar(node.inputs[0])
    if condition is None:
        return None
    chosen = node.function("then_branch" if condition else "else_branch")
    return inline(source, node, chosen, node.inputs[1:])


def inline(source: Source, node: TfNode, name: str, arguments: Sequence[Ref]) -> list[Ref]:
    """Add the nodes of function ``name`` under the name of ``node``; returns its results."""
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
        source.forward(Ref(f"{node.name}/{parameter}"), ref)
    ops = {n.name: n.op for n in function.node_def}
    for inner in function.node_def:
        inputs = [_inner(source, node, i, ops) for i in inner.input if not i.startswith("^")]
        controls = [f"{node.name}/{i[1:]}" for i in inner.input if i.startswith("^")]
        full = f"{node.name}/{inner.name}"
        source.add(TfNode(full, inner.op, inner.attr, inputs, controls, node.attr, node.depth + 1))
    results = [a.name for a in function.signature.output_arg]
    missing = [r for r in results if r not in function.ret]
    if missing:
        raise InvalidGraphError(f"function {name!r} does not say what it returns as {missing[0]!r}")
    return [_inner(source, node, function.ret[r], ops) for r in results]


def _inner(source: Source, node: TfNode, text: str, ops: Mapping[str, str]) -> Ref:
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
    return Ref(f"{node.name}/{name}", number)
