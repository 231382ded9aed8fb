"""One network with its weights stored in several ways, any of which each layer may take.

The network is converted once for each way. Which layer takes which is then only a choice of what is
prepared already (:class:`octolite.runtime.mixture.Mixture`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from octolite import api, tflite
from octolite.evaluation.subject import Source, constants_of, content_of, format_of
from octolite.ir.graph import Graph, Node, Value, called_by, callees_first
from octolite.quantize import Recipe
from octolite.runtime.mixture import Mixture

FLOAT = 0
"""The number of the variant in which nothing is quantized."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a layer's constants are in one variant."""

    format: str
    bytes: int
    key: str
    """The same for two variants that make no difference to the layer."""


@dataclass(frozen=True, slots=True)
class Weighted:
    """A layer that has weights: one operator, or several that share theirs.

    Attributes:
        position: of the first operator, in the order in which the network runs.
        operators: their numbers in the mixture.
        name: of the first operator, with its number if others are called the same.
        operator: TFLite's name for it.
        shape: of its result; 1 for extents that are open.
        nodes: names of results by which a recipe's rule finds the weights; inside of graphs that
            the operator runs, too.
        stored: by variant.
    """

    position: int
    operators: tuple[int, ...]
    name: str
    operator: str
    shape: tuple[int, ...]
    nodes: tuple[str, ...]
    stored: tuple[Stored, ...]


Choice = Mapping[str, int]
"""The number of a variant by the name of a layer; float for those that are not named."""


class Variants:
    """A network in float and as each of ``recipes`` has it.

    Attributes:
        content: the float ``.tflite`` file.
        contents: the files of all variants, the float one first.
        names: what variants are called.
        layers: those that are not the same in all variants.
        mixture: runs what was chosen.

    Raises what reading, converting and preparing raise.
    """

    def __init__(
        self, source: Source, recipes: Mapping[str, Recipe], num_threads: int | None = None
    ) -> None:
        given = content_of(source)
        self.content = given if isinstance(given, bytes) else Path(given).read_bytes()
        self.names = ("float32", *recipes)
        self.contents = [self.content, *(api.convert(self.content, r) for r in recipes.values())]
        self.mixture = Mixture(self.contents, num_threads)
        self.graphs = [tflite.read(content).main for content in self.contents]
        self.graph: Graph = self.graphs[FLOAT]
        self.layers = tuple(self._layers())

    def _node(self, variant: int, operator: int) -> Node:
        """An operator as the file has it."""
        node = self.mixture.node(variant, operator)
        at = next(i for i, n in enumerate(self.mixture.models[variant].nodes) if n is node)
        return self.graphs[variant].nodes[at]

    def _layers(self) -> list[Weighted]:
        count = len(self.mixture.operators)
        nodes = [[self._node(v, at) for at in range(count)] for v in range(len(self.contents))]
        found = []
        for members in _sharing([constants_of(n) for n in nodes[FLOAT]]):
            stored = tuple(_stored([of[at] for at in members]) for of in nodes)
            if len({s.key for s in stored}) > 1:
                found.append(self._layer(members, nodes[FLOAT], stored))
        counts = Counter(layer.name for layer in found)
        return [
            replace(f, name=f"{f.name}#{f.position}") if counts[f.name] > 1 else f for f in found
        ]

    def _layer(
        self, members: tuple[int, ...], nodes: Sequence[Node], stored: tuple[Stored, ...]
    ) -> Weighted:
        first = nodes[members[0]]
        names = [name for at in members for name in _names(nodes[at])]
        shape = tuple(1 if d is None else d for d in first.outputs[0].shape or ())
        return Weighted(members[0], members, first.name, first.op.name, shape, tuple(names), stored)

    def choose(self, choice: Choice) -> None:
        """Let each layer be stored as the variant of the given number has it."""
        models = [FLOAT] * len(self.mixture.operators)
        for layer in self.layers:
            for at in layer.operators:
                models[at] = choice.get(layer.name, FLOAT)
        self.mixture.choose(models)

    def size(self, choice: Choice) -> int:
        """About how many bytes the file has then: those of the float file, less what is saved."""
        saved = sum(
            layer.stored[FLOAT].bytes - layer.stored[choice.get(layer.name, FLOAT)].bytes
            for layer in self.layers
        )
        return len(self.content) - saved


def _sharing(constants: Sequence[Mapping[int, Value]]) -> list[tuple[int, ...]]:
    """Operators that share weights together, each alone that shares none; vectors do not count."""
    leader = list(range(len(constants)))
    owner: dict[int, int] = {}

    def find(at: int) -> int:
        while leader[at] != at:
            at = leader[at]
        return at

    for at, found in enumerate(constants):
        for key, value in found.items():
            if value.dtype.is_float and len(value.shape or ()) > 1:
                first, second = sorted((find(owner.setdefault(key, at)), find(at)))
                leader[second] = first
    groups: dict[int, list[int]] = {}
    for at in range(len(constants)):
        groups.setdefault(find(at), []).append(at)
    return [tuple(group) for group in groups.values()]


def _stored(nodes: Sequence[Node]) -> Stored:
    constants = {key: v for node in nodes for key, v in constants_of(node).items()}
    digest = hashlib.blake2b(digest_size=16)
    for value in constants.values():
        assert value.data is not None
        digest.update(f"{value.dtype} {value.shape}".encode())
        if value.data.dtype != object:
            digest.update(np.ascontiguousarray(value.data).view(np.uint8).data)
        if value.quant is not None:
            digest.update(value.quant.scale.tobytes())
    for node in _all(nodes):
        real = [v is not None and v.data is None for v in node.inputs]
        digest.update(f"{node.op.name} {real} {node.op.attributes()}".encode())
    size = sum(
        v.nbytes + (4 * v.quant.scale.size if v.quant is not None else 0)
        for v in constants.values()
    )
    weights = [v for v in constants.values() if v.dtype.is_float or v.quant is not None]
    large = [v for v in weights if len(v.shape or ()) > 1] or weights
    return Stored(format_of(large), size, digest.hexdigest())


def _all(nodes: Sequence[Node]) -> list[Node]:
    """``nodes``, and those of the graphs that they run."""
    graphs = [graph for node in nodes for graph in callees_first(called_by(node))]
    return [*nodes, *(node for graph in graphs for node in graph.nodes)]


def _names(node: Node) -> list[str]:
    """Names of the results of whatever reads the weights of ``node``."""
    inner = [n for n in _all([node])[1:] if constants_of(n)]
    return [n.outputs[0].name for n in ([node] if constants_of(node, calls=False) else []) + inner]
