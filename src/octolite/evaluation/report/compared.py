"""Of a comparison: the quality of each layer's results, and where bytes went."""

from __future__ import annotations

import math
from collections.abc import Mapping

from octolite.evaluation.compare import Comparison, OutputAgreement
from octolite.evaluation.layers import Layer
from octolite.evaluation.report import charts
from octolite.evaluation.report.blocks import (
    MISSING,
    PLAIN,
    Cell,
    Chart,
    Column,
    Page,
    Row,
    Section,
    Table,
    Tile,
    Words,
    named,
    number,
    percent,
    short,
    size,
    smaller,
    text,
    told_apart,
    written,
)

MARKED = 3
"""Layers that are ringed in the chart."""
LISTED = 8
"""Culprits that are listed."""
SHOWN = 25
"""Rows of a table that are shown before all are asked for."""

LEGEND = (
    ("line", "result, errors of earlier layers included"),
    ("dot", "error that the layer adds by itself"),
    ("ring", f"the {MARKED} that add most"),
)
COLUMNS = (
    Column("#", True, "Place in the order in which the model runs"),
    Column("layer"),
    Column("operator"),
    Column("weights in"),
    Column("weights, dB", True, "SQNR of the stored weights against the float ones"),
    Column("adds, dB", True, "SQNR of the result when inputs are those of the float model"),
    Column("result, dB", True, "SQNR of the result, errors of earlier layers included"),
    Column("own part", True, "Part of the power of the result's error that the layer adds itself"),
    Column("max error", True, "Largest error of the result"),
)
CLIPPED = Column("clipped", True, "Part of the results that is beyond the codes")


def contribute(found: Comparison, page: Page) -> None:
    page.add_tiles(smaller(found.size_before, found.size_after))
    page.add_tiles(*(t for output in found.outputs for t in _output_tiles(output, found)))
    names = told_apart([row.name for row in found.layers])
    chart = Chart(_profile(found), "Signal to quantization noise, dB: higher is better", LEGEND)
    page.sections.append(
        Section(
            "layers",
            "Quality by layer",
            (chart, _culprits(found, names), _table(found, names), *_not_found(found)),
            f"{found.samples} samples; {'; '.join(found.source)}.",
        )
    )
    page.sections.append(Section("sizes", "Size by layer", (_sizes(found, names),)))


def anchor(layer: Layer) -> str:
    return f"layer-{layer.position}"


def _output_tiles(output: OutputAgreement, found: Comparison) -> list[Tile]:
    name = f" of {short(output.name, 24)}" if len(found.outputs) > 1 else ""
    tiles = []
    if output.top1 is not None:
        detail = f"same first class; {output.samples} samples"
        tiles.append(Tile(f"Agreement{name}", percent(output.top1), detail))
    if output.difference is not None:
        sqnr = output.difference.sqnr
        said = "exact" if sqnr == math.inf else f"{written(sqnr, '{:.1f}')} dB"
        detail = f"SQNR; largest error {output.difference.max_error:.3g}"
        tiles.append(Tile(f"Output quality{name}", said, detail))
    return tiles


def _profile(found: Comparison) -> charts.Svg:
    worst = {id(row) for row in found.culprits[:MARKED]}
    points = [
        charts.Point(
            _spoken(row),
            anchor(row),
            None if row.total is None else row.total.sqnr,
            None if row.added is None else row.added.sqnr,
            id(row) in worst,
        )
        for row in found.layers
    ]
    return charts.profile(points, "SQNR", "input")


def _spoken(row: Layer) -> str:
    parts = [f"{row.position}: {row.operator} {row.name}"]
    for what, difference in (("result", row.total), ("adds", row.added)):
        if difference is not None:
            parts.append(f"{what} {written(difference.sqnr, '{:.1f}')} dB")
    return "\n".join(parts)


def _culprits(found: Comparison, names: Mapping[str, str]) -> Table | Words:
    rows = found.culprits[:LISTED]
    if not rows:
        return Words(("No layer adds an error.",))
    columns = (Column("layer"), Column("operator"), Column("weights in"), *COLUMNS[4:8])
    return Table(
        columns,
        tuple(
            Row((named(r.name, names), text(r.operator), text(r.format or "–"), *_qualities(r)))
            for r in rows
        ),
        "Layers that add most of the error",
    )  # fmt: skip


def _qualities(row: Layer) -> tuple[Cell, ...]:
    share = row.own_share
    own = MISSING if share is None else Cell(percent(share, 0), share, PLAIN, charts.bar(share))
    return (
        number(None if row.weights is None else row.weights.sqnr, "{:.1f}"),
        number(None if row.added is None else row.added.sqnr, "{:.1f}"),
        number(None if row.total is None else row.total.sqnr, "{:.1f}"),
        own,
    )


def _table(found: Comparison, names: Mapping[str, str]) -> Table:
    rows = []
    clipping = any(row.after is not None and row.after.saturated for row in found.layers)
    for row in found.layers:
        cells = (
            number(row.position, "{:.0f}"),
            named(row.name, names),
            text(row.operator),
            text(row.format or "–"),
            *_qualities(row),
            number(None if row.total is None else row.total.max_error, "{:.3g}"),
            *((_clipped(row),) if clipping else ()),
        )
        rows.append(Row(cells, anchor(row)))
    columns = (*COLUMNS, CLIPPED) if clipping else COLUMNS
    return Table(columns, tuple(rows), "All layers", SHOWN)


def _clipped(row: Layer) -> Cell:
    return (
        MISSING if row.after is None else Cell(percent(row.after.saturated, 2), row.after.saturated)
    )


def _sizes(found: Comparison, names: Mapping[str, str]) -> Table:
    """Layers with constants, the largest first."""
    rows = [r for r in found.layers if r.bytes_before or r.bytes_after]
    rows.sort(key=lambda r: (-max(r.bytes_before, r.bytes_after), r.position))
    most = max((max(r.bytes_before, r.bytes_after) for r in rows), default=1)
    columns = (
        Column("layer"), Column("operator"), Column("weights in"), Column("before", True),
        Column("after", True), Column("after / before", True), Column("of the file", True),
    )  # fmt: skip
    made = []
    for row in rows:
        both = charts.bar(row.bytes_after / most, of=row.bytes_before / most)
        left = _share(row.bytes_after, row.bytes_before)
        made.append(
            Row((
                named(row.name, names), text(row.operator), text(row.format or "–"),
                Cell(size(row.bytes_before), row.bytes_before),
                Cell(size(row.bytes_after), row.bytes_after, PLAIN, both),
                left, _share(row.bytes_after, found.size_after),
            ))
        )  # fmt: skip
    return Table(columns, tuple(made), shown=15)


def _share(part: int, whole: int) -> Cell:
    return Cell(percent(part / whole, 0), part / whole) if whole else MISSING


def _not_found(found: Comparison) -> tuple[Words, ...]:
    lines = [
        f"Of the {what} model, not found in the {other} one: {', '.join(names)}."
        for what, other, names in (
            ("quantized", "float", found.unmatched),
            ("float", "quantized", found.missing),
        )
        if names
    ]
    return (Words(tuple(lines)),) if lines else ()
