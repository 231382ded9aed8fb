"""Signatures that compute the same: their calls run equal functions on equal arguments."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from octolite.frontends.graphdef.arrays import Arrays
from octolite.frontends.graphdef.nodes import Ref
from octolite.ir.graph import Signature, Value


def likeness(graph: Any, arrays: Arrays) -> Hashable:
    """Equal for arrays whose results follow equally from their inputs, in the same order.

    A result is known by the function that is called, whatever that is named, and by what it is
    given; one of no call is known by its node, and then the inputs by theirs. Nodes that read
    others are not looked through: what seems to differ may still be the same.
    """
    nodes = {n.name: n for n in graph.node}
    functions = {f.signature.name: f for f in graph.library.function}
    places = {ref: index for index, ref in enumerate(arrays.inputs.values())}

    def source(text: str) -> Hashable:
        ref = Ref.parse(text)
        node = nodes.get(ref.name)
        if ref in places and node is not None:
            attributes = (node.attr[a].SerializeToString() for a in ("dtype", "shape"))
            return node.op, places[ref], *attributes
        is_leaf = node is not None and not node.input
        return text if is_leaf else (text, *map(str, places))

    def result(ref: Ref) -> Hashable:
        node = nodes.get(ref.name)
        function = functions.get(node.attr["f"].func.name) if node and "f" in node.attr else None
        if node is None or function is None or ref in places:
            return str(ref), *map(str, places)
        body = type(function)()
        body.CopyFrom(function)
        body.signature.name = ""
        body.DiscardUnknownFields()
        content = body.SerializeToString(deterministic=True)
        return node.op, ref.output, content, *map(source, node.input)

    return (*map(result, arrays.outputs.values()), len(places))


def alias(key: str, arrays: Arrays, other: Signature) -> Signature:
    """A signature on the graph of ``other``, which computes the same."""
    return Signature(
        key, _named(list(arrays.inputs), other.inputs), _named(list(arrays.outputs), other.outputs),
        other.graph,
    )  # fmt: skip


def _named(names: Sequence[str], values: dict[str, Value]) -> dict[str, Value]:
    return dict(zip(names, values.values(), strict=True))
