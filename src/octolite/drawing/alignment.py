"""Horizontal places of items in ranks, after Brandes and Köpf.

Items are stacked into blocks with the middle of their neighbours above or below, from the left or
from the right: four ways. In each, blocks are pushed together as far as their order allows; an
item's place is the mean of the middle two. Points of long edges are never bent by crossing edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Layers:
    """Items in their order, rank by rank, with their neighbours in the ranks above and below.

    Numbers below ``boxes`` are boxes, others are points of long edges.
    """

    layers: list[list[int]]
    up: list[list[int]]
    down: list[list[int]]
    boxes: int


def coordinates(graph: Layers, widths: Sequence[float], gap: float) -> list[float]:
    """The middle of each item; the leftmost item starts at 0."""
    kept_apart = _conflicts(graph)
    up, down = _leading(graph)
    found = []
    for upwards in (False, True):
        for leftwards in (False, True):
            layers = graph.layers[::-1] if upwards else graph.layers
            if leftwards:
                layers = [layer[::-1] for layer in layers]
            roots = _blocks(layers, down if upwards else up, kept_apart)
            xs = _packed(layers, roots, widths, gap)
            found.append([-x for x in xs] if leftwards else xs)
    edges = [_extent(xs, widths) for xs in found]
    low, high = min(edges, key=lambda e: e[1] - e[0])
    for i, (left, right) in enumerate(edges):
        shift = high - right if i % 2 else low - left
        found[i] = [x + shift for x in found[i]]
    middle = [sum(sorted(four)[1:3]) / 2 for four in zip(*found, strict=True)]
    left, _ = _extent(middle, widths)
    return [round(x - left, 1) for x in middle]


def _extent(xs: Sequence[float], widths: Sequence[float]) -> tuple[float, float]:
    return (
        min(x - w / 2 for x, w in zip(xs, widths, strict=True)),
        max(x + w / 2 for x, w in zip(xs, widths, strict=True)),
    )


def _leading(graph: Layers) -> tuple[list[list[int]], list[list[int]]]:
    """The neighbours that items line up with, above and below: those with the most above them.

    Unpacked weights, which begin anywhere, do not draw what reads them aside from where it lies.
    """
    depth = [0] * len(graph.up)
    for layer in graph.layers:
        for item in layer:
            depth[item] = max((depth[n] + 1 for n in graph.up[item]), default=0)
    up = [[n for n in near if depth[n] + 1 == depth[i]] for i, near in enumerate(graph.up)]
    down: list[list[int]] = [[] for _ in up]
    for item, near in enumerate(up):
        for other in near:
            down[other].append(item)
    return up, down


def _conflicts(graph: Layers) -> set[tuple[int, int]]:
    """Lines (upper, lower item) that cross one between two points: these are to stay straight."""
    found: set[tuple[int, int]] = set()
    for upper, lower in pairwise(graph.layers):
        place = {item: i for i, item in enumerate(upper)}
        start, scanned = 0, 0
        for i, item in enumerate(lower):
            inner = -1
            if item >= graph.boxes:
                inner = next((place[u] for u in graph.up[item] if u >= graph.boxes), -1)
            if inner < 0 and i < len(lower) - 1:
                continue
            end = len(upper) if inner < 0 else inner
            for other in lower[scanned : i + 1]:
                for u in graph.up[other]:
                    crosses = not start <= place[u] <= end
                    if crosses and not (u >= graph.boxes and other >= graph.boxes):
                        found.add((u, other))
            scanned, start = i + 1, end
    return found


def _blocks(
    layers: Sequence[Sequence[int]], above: list[list[int]], kept_apart: set[tuple[int, int]]
) -> list[int]:
    """Each item's block, named by its first item: the middle neighbour's, where that is free."""
    root = list(range(len(above)))
    free = [True] * len(above)
    place: dict[int, int] = {}
    for layer in layers:
        last = -1
        for item in layer:
            near = sorted(above[item], key=place.__getitem__)
            half, odd = divmod(len(near), 2)
            for other in near[half : half + 1] if odd else near[max(half - 1, 0) : half + 1]:
                apart = (other, item) in kept_apart or (item, other) in kept_apart
                if root[item] == item and free[other] and last < place[other] and not apart:
                    free[other] = False
                    root[item] = root[other]
                    last = place[other]
        place = {item: i for i, item in enumerate(layer)}
    return root


def _packed(
    layers: Sequence[Sequence[int]], roots: Sequence[int], widths: Sequence[float], gap: float
) -> list[float]:
    """Blocks as far to the left as they can be, then those with room back towards the right."""
    after: dict[int, dict[int, float]] = {root: {} for root in roots}
    waits = dict.fromkeys(after, 0)
    for layer in layers:
        for a, b in pairwise(layer):
            apart = (widths[a] + widths[b]) / 2 + gap
            nexts = after[roots[a]]
            if roots[b] not in nexts:
                waits[roots[b]] += 1
            nexts[roots[b]] = max(nexts.get(roots[b], 0.0), apart)
    xs = dict.fromkeys(after, 0.0)
    order = [root for root, count in waits.items() if count == 0]
    for block in order:
        for other, apart in after[block].items():
            xs[other] = max(xs[other], xs[block] + apart)
            waits[other] -= 1
            if waits[other] == 0:
                order.append(other)
    for block in reversed(order):
        room = min((xs[other] - apart for other, apart in after[block].items()), default=xs[block])
        xs[block] = max(xs[block], room)
    return [xs[root] for root in roots]
