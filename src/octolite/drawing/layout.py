"""Where boxes and lines go: a layered drawing, from top to bottom, of a graph without cycles.

The steps are Sugiyama's: ranks by longest path (*Methods for visual understanding of hierarchical
system structures*, 1981), points that lead long edges through the ranks between, fewer crossings by
barycentres, and coordinates after Brandes and Köpf (*Fast and simple horizontal coordinate
assignment*, 2001), in ``alignment.py``. An edge that leads back is laid out as if it led forward.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from octolite.drawing.alignment import Layers, coordinates

GAP_X = 26.0
GAP_Y = 46.0
POINT = 6.0
"""The width that a long edge takes on its way between boxes."""

SWEEPS = 24
PATIENCE = 4
"""Sweeps without fewer crossings after which no more are made."""

Point = tuple[float, float]


class Edge(NamedTuple):
    """From a box to a box. Edges of one box and ``bundle`` are one line that forks."""

    source: int
    target: int
    bundle: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """Centres of the boxes, a line for each edge, and the size of it all.

    Lines start at the lower side of a box and end at the upper side of one; they are vertical in
    all of their points.
    """

    centres: list[Point]
    routes: list[list[Point]]
    width: float
    height: float


def arrange(sizes: Sequence[Point], edges: Sequence[Edge]) -> Layout:
    """Lay out boxes of ``sizes`` (width, height). The same arguments give the same layout.

    Parts that no edge joins are laid out by themselves and stand side by side.
    """
    parts = _parts(len(sizes), edges)
    layouts = []
    for boxes, lines in parts:
        number = {box: i for i, box in enumerate(boxes)}
        inside = [
            Edge(number[e.source], number[e.target], e.bundle)
            for e in map(edges.__getitem__, lines)
        ]
        layouts.append(_Arrangement([sizes[b] for b in boxes], inside).layout())
    corners, width, height = columns([(part.width, part.height) for part in layouts], GAP_X * 2)
    centres = [(0.0, 0.0)] * len(sizes)
    routes: list[list[Point]] = [[] for _ in edges]
    for (boxes, lines), part, (left, top) in zip(parts, layouts, corners, strict=True):
        for box, (x, y) in zip(boxes, part.centres, strict=True):
            centres[box] = (x + left, y + top)
        for line, route in zip(lines, part.routes, strict=True):
            routes[line] = [(x + left, y + top) for x, y in route]
    return Layout(centres, routes, width, height)


def columns(sizes: Sequence[Point], gap: float) -> tuple[list[Point], float, float]:
    """Rectangles in columns, the tallest first: their upper left corners and the extent of all.

    A column is as high as the tallest rectangle, or as makes it all about a square.
    """
    limit = max((h for _, h in sizes), default=0.0)
    limit = max(limit, sum((w + gap) * (h + gap) for w, h in sizes) ** 0.5)
    corners = [(0.0, 0.0)] * len(sizes)
    left, top, wide, bottom = 0.0, 0.0, 0.0, 0.0
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i][1]):
        width, height = sizes[i]
        if top and top + height > limit:
            left, top, wide = left + wide + gap, 0.0, 0.0
        corners[i] = (left, top)
        top, wide, bottom = top + height + gap, max(wide, width), max(bottom, top + height)
    return corners, left + wide, bottom


def _parts(count: int, edges: Sequence[Edge]) -> list[tuple[list[int], list[int]]]:
    """Boxes that edges join, directly or not, and these edges: by number, in order."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for source, target, _ in edges:
        parent[max(root(source), root(target))] = min(root(source), root(target))
    parts: dict[int, tuple[list[int], list[int]]] = {}
    for box in range(count):
        parts.setdefault(root(box), ([], []))[0].append(box)
    for number, edge in enumerate(edges):
        parts[root(edge.source)][1].append(number)
    return list(parts.values())


class _Arrangement:
    """Items are the boxes, by number, followed by the points of long edges."""

    def __init__(self, sizes: Sequence[Point], edges: Sequence[Edge]) -> None:
        self.sizes = sizes
        self.edges = edges
        self.forward = [(min(s, t), max(s, t), b) for s, t, b in edges]
        self.ranks = _ranks(len(sizes), [(a, b) for a, b, _ in self.forward if a != b])
        self.up: list[list[int]] = [[] for _ in sizes]
        self.down: list[list[int]] = [[] for _ in sizes]
        self.linked: set[tuple[int, int]] = set()
        self.chains: dict[tuple[int, int], list[int]] = {}
        self._connect()
        self.layers = _ordered(self.ranks, self.up, self.down)

    def _connect(self) -> None:
        """Link items of neighbouring ranks, with a chain of points for each bundle that is long."""
        reach: dict[tuple[int, int], int] = {}
        for a, b, bundle in self.forward:
            reach[a, bundle] = max(reach.get((a, bundle), 0), self.ranks[b])
        # Points cost time: a graph that is all long edges does with straight lines for the longest.
        budget = 10_000 + 20 * len(self.sizes)
        for (a, bundle), end in sorted(reach.items(), key=lambda i: i[1] - self.ranks[i[0][0]]):
            count = end - self.ranks[a] - 1
            if 0 < count <= budget:
                budget -= count
                self.chains[a, bundle] = self._chain(a, count)
        for a, b, bundle in self.forward:
            length = self.ranks[b] - self.ranks[a]
            if length == 1:
                self._link(a, b)
            elif length > 1 and (a, bundle) in self.chains:
                self._link(self.chains[a, bundle][length - 2], b)

    def _chain(self, start: int, count: int) -> list[int]:
        chain = []
        above = start
        for i in range(count):
            item = len(self.ranks)
            self.ranks.append(self.ranks[start] + 1 + i)
            self.up.append([])
            self.down.append([])
            self._link(above, item)
            chain.append(item)
            above = item
        return chain

    def _link(self, a: int, b: int) -> None:
        if (a, b) not in self.linked:
            self.linked.add((a, b))
            self.down[a].append(b)
            self.up[b].append(a)

    def layout(self) -> Layout:
        boxes = len(self.sizes)
        widths = [w for w, _ in self.sizes] + [POINT] * (len(self.ranks) - boxes)
        xs = coordinates(Layers(self.layers, self.up, self.down, boxes), widths, GAP_X)
        heights = [
            max((self.sizes[i][1] for i in layer if i < boxes), default=0.0)
            for layer in self.layers
        ]
        tops = [0.0]
        for height in heights:
            tops.append(tops[-1] + height + GAP_Y)
        bands = [(top, top + height) for top, height in zip(tops, heights, strict=False)]
        centres = [(xs[i], sum(bands[self.ranks[i]]) / 2) for i in range(boxes)]
        width = max(xs[i] + widths[i] / 2 for i in range(len(xs)))
        routes = _Routing(self, xs, bands, centres).routes()
        return Layout(centres, routes, width, tops[-1] - GAP_Y)


# -- ranks -----------------------------------------------------------------------------------------


def _ranks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The longest way to each box. One that reads no more than is read from it goes down to that:
    with what it hangs from, as weights that are unpacked before they are used do."""
    before: list[set[int]] = [set() for _ in range(count)]
    after: list[set[int]] = [set() for _ in range(count)]
    for a, b in edges:
        before[b].add(a)
        after[a].add(b)
    ranks = [0] * count
    for i in range(count):
        ranks[i] = max((ranks[a] + 1 for a in before[i]), default=0)
    for i in reversed(range(count)):
        if after[i] and len(after[i]) >= len(before[i]):
            ranks[i] = min(ranks[b] for b in after[i]) - 1
    return ranks


# -- crossings -------------------------------------------------------------------------------------


def _ordered(ranks: list[int], up: list[list[int]], down: list[list[int]]) -> list[list[int]]:
    """Each rank's items from left to right, so that few lines cross."""
    layers = _first_order(ranks, down)
    best, least, patience = layers, _crossings(layers, down), PATIENCE
    for _ in range(SWEEPS):
        if least == 0 or patience == 0:
            break
        layers = _swept(layers, up)
        layers = _swept(layers[::-1], down)[::-1]
        crossings = _crossings(layers, down)
        patience -= 1
        if crossings < least:
            best, least, patience = layers, crossings, PATIENCE
    return best


def _first_order(ranks: list[int], down: list[list[int]]) -> list[list[int]]:
    """Items in the order in which a walk from the top, depth first, comes by."""
    layers: list[list[int]] = [[] for _ in range(max(ranks) + 1)]
    seen = [False] * len(ranks)
    for start in sorted(range(len(ranks)), key=lambda i: ranks[i]):
        stack = [start]
        while stack:
            item = stack.pop()
            if not seen[item]:
                seen[item] = True
                layers[ranks[item]].append(item)
                stack += reversed(down[item])
    return layers


def _swept(layers: list[list[int]], neighbours: list[list[int]]) -> list[list[int]]:
    """Each layer sorted by where its items' neighbours in the layer before it lie on average."""
    result: list[list[int]] = []
    place: dict[int, int] = {}
    for layer in layers:
        key = {}
        for i, item in enumerate(layer):
            near = [place[n] for n in neighbours[item]] if place else []
            key[item] = sum(near) / len(near) if near else float(i)
        result.append(sorted(layer, key=key.__getitem__))
        place = {item: i for i, item in enumerate(result[-1])}
    return result


def _crossings(layers: list[list[int]], down: list[list[int]]) -> int:
    """How many pairs of lines between neighbouring ranks cross."""
    count = 0
    for upper, lower in pairwise(layers):
        place = {item: i for i, item in enumerate(lower)}
        ends: list[int] = []
        for item in upper:
            near = [place[n] for n in down[item]]
            count += sum(len(ends) - bisect_right(ends, p) for p in near)
            for p in near:
                insort(ends, p)
    return count


# -- lines -----------------------------------------------------------------------------------------

SPREAD = 22.0
"""How far apart lines meet one side of a box, at most."""

LINES = 0.7
"""The share of a side on which lines meet a box."""


class _Routing:
    """Finds a line for each edge, once items have their places."""

    def __init__(
        self,
        made: _Arrangement,
        xs: list[float],
        bands: list[Point],
        centres: list[Point],
    ) -> None:
        self.made = made
        self.xs = xs
        self.bands = bands
        self.centres = centres
        self.ways = [self._way(edge) for edge in made.forward]
        self.leaves = self._ports(0, lambda i: made.forward[i][2])
        self.enters = self._ports(-1, lambda i: i)

    def routes(self) -> list[list[Point]]:
        routes: list[list[Point]] = []
        for i, (edge, (a, b, _)) in enumerate(zip(self.made.edges, self.made.forward, strict=True)):
            if a == b:
                routes.append([])
                continue
            (x0, y0), (x1, y1) = self.centres[a], self.centres[b]
            start = (x0 + self.leaves[i], y0 + self.made.sizes[a][1] / 2)
            end = (x1 + self.enters[i], y1 - self.made.sizes[b][1] / 2)
            route = [start, *self._between(self.ways[i]), end]
            routes.append(route if edge.source == a else route[::-1])
        return routes

    def _way(self, edge: tuple[int, int, int]) -> list[int]:
        """The points that lead an edge."""
        a, b, bundle = edge
        length = self.made.ranks[b] - self.made.ranks[a]
        return self.made.chains.get((a, bundle), [])[: max(length - 1, 0)]

    def _between(self, way: Sequence[int]) -> list[Point]:
        """Down through each rank that is passed; straight stretches are joined."""
        points: list[Point] = []
        for item in way:
            x, (top, bottom) = self.xs[item], self.bands[self.made.ranks[item]]
            if len(points) >= 2 and points[-1][0] == x == points[-2][0]:
                points[-1] = (x, bottom)
            else:
                points += [(x, top), (x, bottom)]
        return points

    def _ports(self, end: int, line_of: Callable[[int], int]) -> list[float]:
        """How far from a box's middle each edge meets it: lines in the order of where they go.

        ``end`` is 0 for the box that an edge leaves, -1 for the one that it enters.
        """
        lines: dict[int, dict[int, list[float]]] = defaultdict(dict)
        for i, edge in enumerate(self.made.forward):
            far = self.ways[i][end] if self.ways[i] else edge[1 + end]
            lines[edge[-end]].setdefault(line_of(i), []).append(self.xs[far])
        offsets: dict[tuple[int, int], float] = {}
        for box, found in lines.items():
            order = sorted(found, key=lambda line: (sum(found[line]) / len(found[line]), line))
            room = self.made.sizes[box][0] * LINES
            step = min(SPREAD, room / max(len(order) - 1, 1))
            for place, line in enumerate(order):
                offsets[box, line] = (place - (len(order) - 1) / 2) * step
        return [offsets[e[-end], line_of(i)] for i, e in enumerate(self.made.forward)]
