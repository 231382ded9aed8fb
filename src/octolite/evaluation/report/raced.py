"""Of the same model on LiteRT and on Octolite: who is faster, and whether they agree."""

from __future__ import annotations

from octolite.evaluation.litert import Against
from octolite.evaluation.report import charts
from octolite.evaluation.report.blocks import (
    PLAIN,
    Cell,
    Column,
    Page,
    Row,
    Section,
    Table,
    number,
    percent,
    short,
    text,
)


def contribute(found: Against, page: Page) -> None:
    threads = f"{found.threads} thread{'s' if found.threads > 1 else ''}"
    note = f"In turns, {threads}, {found.samples} samples; {'; '.join(found.source)}."
    page.sections.append(Section("litert", "LiteRT", (_latency(found), _outputs(found)), note))


def _latency(found: Against) -> Table:
    columns = (
        Column("on"), Column("median, ms", True), Column("mean, ms", True),
        Column("deviation, ms", True), Column("least, ms", True),
    )  # fmt: skip
    most = max(found.litert.median, found.octolite.median)
    rows = tuple(
        Row((
            text(name),
            Cell(f"{spent.median:.4g}", spent.median, PLAIN, charts.bar(spent.median / most)),
            *(number(v, "{:.4g}") for v in (spent.mean, spent.deviation, spent.least)),
        ))
        for name, spent in (("LiteRT", found.litert), ("Octolite", found.octolite))
    )  # fmt: skip
    return Table(columns, rows, "Latency")


def _outputs(found: Against) -> Table:
    columns = (
        Column("output"), Column("SQNR, dB", True), Column("mean difference", True),
        Column("largest", True), Column("equal", True, "Part of the elements that are the same"),
    )  # fmt: skip
    rows = tuple(
        Row((
            text(short(o.name)), number(o.sqnr, "{:.1f}"), number(o.average, "{:.3g}"),
            number(o.greatest, "{:.3g}"), Cell(percent(o.equal), o.equal),
        ))
        for o in found.outputs
    )  # fmt: skip
    return Table(columns, rows, "Outputs, LiteRT's being the signal")
