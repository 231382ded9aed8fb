"""Of a ranking by sensitivity: what each layer costs alone, and what leaving it float gains."""

from __future__ import annotations

import math

from octolite.evaluation.layers import Layer
from octolite.evaluation.report import charts
from octolite.evaluation.report.blocks import (
    MISSING,
    PLAIN,
    Cell,
    Column,
    Page,
    Row,
    Section,
    Table,
    Words,
    named,
    number,
    size,
    text,
    told_apart,
    written,
)
from octolite.evaluation.sensitivity import Sensitivity

SHOWN = 15
SPOKEN = {
    "sqnr": "SQNR of the outputs, the float model's being the signal",
    "agreement": "Samples with the float model's first class",
    "accuracy": "Samples whose class is right",
}
"""What metrics are called."""


def contribute(found: Sensitivity, page: Page) -> None:
    block = _table(found) if found.layers else Words(("The recipe quantizes no layer.",))
    page.sections.append(Section("sensitivity", "Sensitivity", (block,), _note(found)))


def _note(found: Sensitivity) -> str:
    said = (
        f"{SPOKEN.get(found.metric, found.metric)}: {_score(found.before, found)} in float and "
        f"{_score(found.after, found)} with all {len(found.layers)} layers quantized; "
        f"{found.samples} samples; {'; '.join(found.source)}."
    )
    best = max(found.layers, key=lambda row: _finite(row.without), default=None)
    if best is None or not _finite(best.without) > _finite(found.after):
        return said
    return f"{said} Of single layers, leaving {best.name} in float gains most."


def _score(score: float, found: Sensitivity) -> str:
    return "exact" if score == math.inf else f"{written(score)} {found.unit}".rstrip()


def _finite(score: float | None) -> float:
    return -math.inf if score is None or math.isnan(score) else score


def _table(found: Sensitivity) -> Table:
    unit = f", {found.unit}" if found.unit else ""
    columns = (
        Column("rank", True), Column("layer"), Column("operator"), Column("weights in"),
        Column(f"only it{unit}", True, "The score with this layer alone quantized"),
        Column("costs", True, "What is lost by it, as a part of the most that one layer costs"),
        Column(f"all but it{unit}", True, "The score with all layers but this one quantized"),
        Column("gains", True, "What the score gains over that of the fully quantized model"),
        Column("before", True), Column("after", True),
    )  # fmt: skip
    names = told_apart([row.name for row in found.layers])
    most = max((_cost(row, found) for row in found.layers), default=0.0)
    rows = []
    for rank, row in enumerate(found.ranked, 1):
        rows.append(
            Row((
                number(rank, "{:.0f}"), named(row.name, names),
                text(row.operator), text(row.format), number(row.only), _part(row, found, most),
                number(row.without), _gain(row, found),
                Cell(size(row.bytes_before), row.bytes_before),
                Cell(size(row.bytes_after), row.bytes_after),
            ))
        )  # fmt: skip
    return Table(columns, tuple(rows), shown=SHOWN)


def _cost(row: Layer, found: Sensitivity) -> float:
    """What a layer costs alone: power of noise where scores are decibels, else points."""
    only = _finite(row.only)
    if found.unit == "dB":
        return 10 ** (-only / 10) if only > -300 else math.inf
    return max(0.0, found.before - only)


def _part(row: Layer, found: Sensitivity, most: float) -> Cell:
    cost = _cost(row, found)
    part = 1.0 if cost == math.inf else cost / most if 0 < most < math.inf else 0.0
    return Cell(f"{100 * part:.0f} %", part, PLAIN, charts.bar(part))


def _gain(row: Layer, found: Sensitivity) -> Cell:
    gain = math.nan if row.without is None else row.without - found.after
    return MISSING if math.isnan(gain) else number(gain, "{:+.2f}")
