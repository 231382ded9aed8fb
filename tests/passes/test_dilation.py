"""Dilation recovered from blocks."""

from __future__ import annotations

import re

import pytest

from octolite.ir import Graph, Padding
from octolite.passes import dilation
from tests.passes.building import Builder, attempt, gaussian, operators, reasons

Pairs = list[tuple[int, int]]


def blocks(
    block: int,
    pads: Pairs,
    crops: Pairs,
    operator: str = "CONV_2D",
    back: int = 0,
    **attributes: int,
) -> Graph:
    b = Builder()
    x = b.op("SPACE_TO_BATCH_ND", b.input(2, 11, 13, 4), [block, block], pads)
    shape = (6, 3, 3, 4) if operator == "CONV_2D" else (1, 3, 3, 4)
    attributes = {"padding": Padding.VALID} | attributes
    y = b.op(operator, x, gaussian(*shape), None, **attributes)
    return b.returns(b.op("BATCH_TO_SPACE_ND", y, [block, back or block], crops))


@pytest.mark.parametrize("operator", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize(
    ("block", "pads", "crops", "expected", "padding"),
    [
        (2, [(2, 3), (2, 3)], [(0, 1), (0, 1)], "{}", Padding.SAME),
        (3, [(3, 4), (3, 5)], [(0, 1), (0, 2)], "{}", Padding.SAME),
        (2, [(0, 1), (0, 1)], [(0, 1), (0, 1)], "{}", Padding.VALID),
        (2, [(4, 1), (2, 3)], [(0, 1), (0, 1)], "PAD {}", Padding.VALID),
    ],
)
def test_recovers(
    operator: str, block: int, pads: Pairs, crops: Pairs, expected: str, padding: Padding
) -> None:
    graph = blocks(block, pads, crops, operator)
    attempt(graph, *dilation.RULES)
    assert operators(graph) == expected.format(operator)
    attributes = graph.nodes[-1].op.attributes()
    assert attributes["padding"] is padding
    assert attributes["dilation_h_factor"] == attributes["dilation_w_factor"] == block


def test_recovers_along_one_axis() -> None:
    b = Builder()
    x = b.op("SPACE_TO_BATCH_ND", b.input(2, 13, 4), [2], [(4, 1)])
    image = b.op("EXPAND_DIMS", x, 1)
    y = b.op("CONV_2D", image, gaussian(6, 1, 3, 4), None, padding=Padding.VALID)
    graph = b.returns(
        b.op("BATCH_TO_SPACE_ND", b.op("SQUEEZE", y, squeeze_dims=(1,)), [2], [(0, 1)])
    )
    attempt(graph, *dilation.RULES)
    assert operators(graph) == "EXPAND_DIMS PAD CONV_2D SQUEEZE"
    assert graph.nodes[2].op.attributes()["dilation_w_factor"] == 2


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (blocks(2, [(2, 3), (2, 3)], [(0, 1), (0, 1)], stride_h=2), "is strided"),
        (blocks(2, [(2, 3), (2, 3)], [(0, 1), (0, 1)], padding=Padding.SAME), "pads every image"),
        (blocks(2, [(0, 1), (0, 1)], [(1, 0), (0, 1)]), "more is cropped than padded"),
        (blocks(2, [(2, 3), (2, 3)], [(0, 1), (0, 1)], back=1), "are put back as"),
    ],
)
def test_declines_with_a_reason(graph: Graph, reason: str) -> None:
    before = operators(graph)
    assert re.search(reason, reasons(attempt(graph, *dilation.RULES)))
    assert operators(graph) == before
