"""Layouts: nothing overlaps, ranks lead downwards, lines end at boxes; awkward graphs, too."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octolite.drawing.layout import Edge, Layout, arrange, columns

Sizes = list[tuple[float, float]]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Sizes, list[Edge]]:
    count = draw(st.integers(1, 25))
    size = st.tuples(st.floats(5, 300), st.floats(5, 90))
    sizes = draw(st.lists(size, min_size=count, max_size=count))
    box = st.integers(0, count - 1)
    edges = draw(st.lists(st.builds(Edge, box, box, st.integers(0, 2)), max_size=50))
    return sizes, [Edge(min(e[:2]), max(e[:2]), e.bundle) for e in edges]


def check(sizes: Sizes, edges: list[Edge], layout: Layout) -> None:
    boxes = [
        (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        for (w, h), (x, y) in zip(sizes, layout.centres, strict=True)
    ]
    for i, a in enumerate(boxes):
        assert a[0] >= -0.2
        assert a[1] >= -0.2
        assert a[2] <= layout.width + 0.2
        assert a[3] <= layout.height + 0.2
        for b in boxes[:i]:
            apart_x = a[2] <= b[0] + 0.2 or b[2] <= a[0] + 0.2
            assert apart_x or a[3] <= b[1] + 0.2 or b[3] <= a[1] + 0.2
    for edge, route in zip(edges, layout.routes, strict=True):
        if edge.source == edge.target:
            assert route == []
            continue
        source, target = boxes[edge.source], boxes[edge.target]
        assert source[0] <= route[0][0] <= source[2]
        assert route[0][1] == pytest.approx(source[3])
        assert target[0] <= route[-1][0] <= target[2]
        assert route[-1][1] == pytest.approx(target[1])
        heights = [y for _, y in route]
        assert heights == sorted(heights)


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_boxes_do_not_overlap_and_lines_lead_down_from_box_to_box(
    graph: tuple[Sizes, list[Edge]],
) -> None:
    sizes, edges = graph
    layout = arrange(sizes, edges)
    check(sizes, edges, layout)
    assert layout == arrange(sizes, edges)


def test_nothing_and_a_single_box() -> None:
    assert arrange([], []) == Layout([], [], 0.0, 0.0)
    assert arrange([(10.0, 4.0)], [Edge(0, 0)]) == Layout([(5.0, 2.0)], [[]], 10.0, 4.0)


def test_a_chain_is_straight_and_a_line_past_it_keeps_away() -> None:
    sizes = [(100.0, 20.0)] * 6
    edges = [Edge(i, i + 1) for i in range(5)] + [Edge(0, 5, 1)]
    layout = arrange(sizes, edges)
    assert len({x for x, _ in layout.centres[1:5]}) == 1
    x = layout.centres[2][0]
    assert all(abs(px - x) > 50 for px, _ in layout.routes[-1][1:-1])


def test_branches_that_need_not_cross_do_not() -> None:
    """Two chains whose ends come in the other order than their beginnings."""
    edges = [Edge(0, 2), Edge(0, 1), Edge(1, 4), Edge(2, 3), Edge(3, 5), Edge(4, 5)]
    layout = arrange([(50.0, 20.0)] * 6, edges)
    assert (layout.centres[1][0] < layout.centres[2][0]) == (
        layout.centres[4][0] < layout.centres[3][0]
    )


def test_an_input_that_is_read_late_stands_where_it_is_read() -> None:
    edges = [Edge(0, 2), Edge(2, 3), Edge(3, 4), Edge(1, 4)]
    layout = arrange([(50.0, 20.0)] * 5, edges)
    assert layout.centres[1][1] == layout.centres[3][1]
    edges = [Edge(0, 3), Edge(3, 4), Edge(4, 5), Edge(1, 2), Edge(2, 5)]  # with one between
    layout = arrange([(50.0, 20.0)] * 6, edges)
    assert layout.centres[2][1] == layout.centres[4][1]
    assert layout.centres[1][1] == layout.centres[3][1]


def test_edges_that_lead_back_are_laid_out() -> None:
    layout = arrange([(50.0, 20.0)] * 3, [Edge(0, 1), Edge(1, 2), Edge(2, 0)])
    assert layout.routes[2][0][1] > layout.routes[2][-1][1]


def test_a_graph_of_nothing_but_long_edges_stays_within_bounds() -> None:
    """Points that would lead all of them would be a quarter of a million."""
    edges = [Edge(i, i + 1) for i in range(999)] + [Edge(i, 999, 1) for i in range(500)]
    layout = arrange([(50.0, 20.0)] * 1000, edges)
    assert all(len(route) >= 2 for route in layout.routes)
    assert sum(map(len, layout.routes)) < 100_000


def test_columns_do_not_overlap() -> None:
    sizes = [(10.0, 100.0), (20.0, 30.0), (5.0, 60.0), (7.0, 30.0)]
    corners, width, height = columns(sizes, 5)
    assert height == 100
    assert max(x + w for (x, _), (w, _) in zip(corners, sizes, strict=True)) == width
    assert columns([], 5) == ([], 0.0, 0.0)
