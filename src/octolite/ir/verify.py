"""The rules that every graph keeps, checked after each pass in tests and after each reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from octolite.errors import InvalidGraphError
from octolite.ir.graph import Graph

Rule = Callable[[Graph], Iterator[str]]
"""Yields a sentence for each place that breaks the rule."""


def nodes_are_in_order(graph: Graph) -> Iterator[str]:
    placed: set[int] = set()
    for node in graph.nodes:
        for value in node.inputs:
            producer = value.producer if value is not None else None
            if value is not None and producer is not None and id(producer) not in placed:
                yield f"{node} reads {value.name!r} before {producer} has computed it"
        placed.add(id(node))


def edges_agree(graph: Graph) -> Iterator[str]:
    members = {id(n) for n in graph.nodes}
    for node in graph.nodes:
        for result in node.outputs:
            if result.producer is not node:
                yield f"{node} computes {result.name!r}, which names {result.producer} as producer"
        for value in node.inputs:
            if value is not None and not any(u is node for u in value.uses):
                yield f"{node} reads {value.name!r}, which does not know of that use"
    for value in graph.values():
        for user in value.uses:
            if id(user) not in members:
                yield f"{value.name!r} is read by {user}, which is not in the graph"


def values_have_a_source(graph: Graph) -> Iterator[str]:
    inputs = {id(v) for v in graph.inputs}
    if len(inputs) < len(graph.inputs):
        yield "a value is an input twice"
    for value in graph.inputs:
        if value.producer is not None or value.is_constant:
            other = "a constant" if value.is_constant else f"the result of {value.producer}"
            yield f"{value.name!r} is an input and {other}"
    for value in graph.values():
        if value.producer is None and not value.is_constant and not value.is_variable:
            if id(value) not in inputs:
                yield f"{value.name!r} is no input, no constant and no node's result"
        elif value.is_variable and value.producer is not None:
            yield f"{value.name!r} is a variable and the result of {value.producer}"
        elif value.is_constant and value.producer is not None:
            yield f"{value.name!r} is a constant and the result of {value.producer}"


def constants_match_their_type(graph: Graph) -> Iterator[str]:
    for value in graph.constants():
        assert value.data is not None
        if value.shape != value.data.shape:
            yield f"{value.name!r} has shape {value.shape} and data of shape {value.data.shape}"
        if value.dtype.kind not in "so" and value.data.dtype != value.dtype.numpy:
            yield f"{value.name!r} is {value.dtype} and holds {value.data.dtype}"


def quantization_fits(graph: Graph) -> Iterator[str]:
    for value in graph.values():
        quant = value.quant
        if quant is None:
            continue
        if quant.scale.shape != quant.zero_point.shape:
            scales, zeros = quant.scale.size, quant.zero_point.size
            yield f"{value.name!r} has {scales} scales and {zeros} zero points"
        if not np.all(np.isfinite(quant.scale)) or np.any(quant.scale < 0):
            yield f"{value.name!r} has a scale that is negative, NaN or infinite"
        if quant.per_channel and value.shape is not None:
            rank = len(value.shape)
            if not 0 <= quant.axis < rank:
                yield f"{value.name!r} of rank {rank} is quantized along axis {quant.axis}"
            elif value.shape[quant.axis] not in (None, quant.scale.size):
                yield (
                    f"{value.name!r} has {value.shape[quant.axis]} channels along axis "
                    f"{quant.axis} and {quant.scale.size} scales"
                )


RULES: tuple[Rule, ...] = (
    nodes_are_in_order,
    edges_agree,
    values_have_a_source,
    constants_match_their_type,
    quantization_fits,
)


def verify(graph: Graph) -> None:
    """Raise :class:`InvalidGraphError` listing every place where ``graph`` breaks a rule."""
    problems = [problem for rule in RULES for problem in rule(graph)]
    if problems:
        raise InvalidGraphError(
            f"graph {graph.name!r} is not valid:\n" + "\n".join(f"  - {p}" for p in problems)
        )
