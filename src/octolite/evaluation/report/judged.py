"""Of an evaluation: how good models are, for which classes that changed, and the worst samples."""

from __future__ import annotations

import re

from octolite.evaluation.classification import Agreement, ClassAccuracy, ClassificationMetrics
from octolite.evaluation.evaluate import Evaluation, Judged
from octolite.evaluation.journal import Row as Sample
from octolite.evaluation.metrics import Proportion
from octolite.evaluation.report import charts
from octolite.evaluation.report.blocks import (
    BAD,
    GOOD,
    MISSING,
    PLAIN,
    Block,
    Cell,
    Column,
    Gallery,
    Page,
    Picture,
    Row,
    Section,
    Table,
    Tile,
    Words,
    number,
    percent,
    short,
    size,
    smaller,
    text,
    written,
)

WORST = 24
"""Samples that are shown."""
CONFUSED = 10
"""Pairs of classes that are listed."""


def contribute(found: Evaluation, page: Page) -> None:
    sizes = [_bytes(m) for m in found.models]
    if len(sizes) > 1 and all(sizes):
        page.add_tiles(smaller(sizes[0], sizes[-1]))
    blocks: list[Block] = [_models(found, sizes)]
    page.remarks += [*found.notes]
    if found.skipped:
        page.remarks.append(f"{len(found.skipped)} samples could not be read and were skipped.")
    for compared in found.comparisons:
        figures = tuple(Tile(k, v) for k, v in compared.comparison.figures().items())
        blocks.append(_figures(f"{compared.second} against {compared.first}", figures))
    page.sections.append(Section("accuracy", "Accuracy", tuple(blocks), _note(found)))
    if all(isinstance(m.metrics, ClassificationMetrics) for m in found.models):
        _classification(found, page)
    else:
        page.sections += [_details(model) for model in found.models if model.metrics.details()]
    if found.skipped:
        page.sections.append(_skipped(found))


def _note(found: Evaluation) -> str:
    return f"{found.samples} samples; preprocessing: {found.preprocessing}."


def _bytes(model: Judged) -> int:
    try:
        return model.path.stat().st_size
    except OSError:
        return 0


def _models(found: Evaluation, sizes: list[int]) -> Table:
    names = list(dict.fromkeys(k for m in found.models for k in m.metrics.figures()))
    columns = (Column("model"), Column("size", True), *(Column(n, True) for n in names))
    rows = []
    for model, count in zip(found.models, sizes, strict=True):
        figures = model.metrics.figures()
        said = (text(figures.get(name, "–")) for name in names)
        rows.append(Row((text(model.name), Cell(size(count), count), *said)))
    return Table(columns, tuple(rows))


def _figures(title: str, tiles: tuple[Tile, ...]) -> Table:
    columns = tuple(Column(t.label) for t in tiles)
    return Table(columns, (Row(tuple(text(t.value) for t in tiles)),), title)


def _details(model: Judged) -> Section:
    """What lies behind the figures of any task."""
    tables = []
    for details in model.metrics.details():
        columns = tuple(Column(c.lstrip(">"), c.startswith(">")) for c in details.columns)
        rows = (Row(tuple(_counted(part) for part in row)) for row in details.rows)
        tables.append(Table(columns, tuple(rows), details.title, 20))
    return Section(f"model-{model.name}", model.name, tuple(tables))


def _counted(part: str) -> Cell:
    """Text that starts with a number is sorted by it."""
    found = re.match(r"[+-]?\d+(\.\d+)?", part)
    return Cell(part, float(found[0])) if found else text(part)


# -- classification -------------------------------------------------------------------------------


def _classification(found: Evaluation, page: Page) -> None:
    page.add_tiles(*_accuracy(found))
    page.sections.append(Section("classes", "Classes", (_classes(found), *_confusions(found))))
    worst = _worst(found)
    if worst:
        note = "First those that the float model gets right, then by the place of the right class."
        shown = tuple(_picture(found, row, page.picture(row.name)) for row in worst)
        page.sections.append(
            Section("worst", "Worst samples", (Gallery(shown),), note if found.comparisons else "")
        )


def _accuracy(found: Evaluation) -> list[Tile]:
    last = _metrics(found.models[-1]).accuracy
    low, high = last.interval()
    value = percent(last.value, 2)
    tiles = []
    agreements = [c.comparison for c in found.comparisons]
    if agreements and isinstance(agreements[-1], Agreement):
        agreement = agreements[-1]
        change, least, most = (100 * v for v in agreement.difference())
        tone = BAD if most < 0 else GOOD if least > 0 else PLAIN
        detail = f"{written(change, '{:+.2f}')} points ({_signed(least)} … {_signed(most)})"
        first = percent(_metrics(found.models[0]).accuracy.value, 2)
        tiles.append(Tile("Accuracy", value, f"from {first}: {detail}", tone))
        same = agreement.same
        tiles.append(Tile("Agreement", percent(same.value), f"same class, {same.total} samples"))
    else:
        bounds = f"{percent(low, 2)} … {percent(high, 2)}, {last.total} samples"
        tiles.append(Tile("Accuracy", value, bounds))
    return tiles


def _signed(value: float) -> str:
    return written(value, "{:+.2f}")


def _metrics(model: Judged) -> ClassificationMetrics:
    assert isinstance(model.metrics, ClassificationMetrics)
    return model.metrics


def _classes(found: Evaluation) -> Table:
    """Each class, those that changed most first."""
    first, last = (
        {c.label: c for c in _metrics(m).per_class()} for m in (found.models[0], found.models[-1])
    )
    several = len(found.models) > 1
    columns = [Column("class"), Column("samples", True), Column(found.models[0].name, True)]
    if several:
        columns += [Column(found.models[-1].name, True), Column("change, points", True)]
    columns.append(Column("precision", True, "How many of those said to be of the class are"))
    rows = []
    for label in dict.fromkeys([*first, *last]):
        before, after = (c.get(label, _no(label)) for c in (first, last))
        cells = [text(label), number(before.recall.total, "{:.0f}"), _share(before.recall)]
        if several:
            cells += [_share(after.recall), _change(before.recall, after.recall)]
        rows.append(Row((*cells, _share(after.precision))))
    place = 4 if several else 2
    rows.sort(key=lambda r: -abs(_key(r.cells[place])) if several else _key(r.cells[place]))
    return Table(tuple(columns), tuple(rows), "Found of each class, with 95 % intervals", 30)


def _no(label: str) -> ClassAccuracy:
    return ClassAccuracy(label, Proportion(0, 0), Proportion(0, 0))


def _key(cell: Cell) -> float:
    return cell.key if isinstance(cell.key, float) and cell is not MISSING else 0.0


def _share(share: Proportion) -> Cell:
    if not share.total:
        return MISSING
    low, high = share.interval()
    drawn = charts.interval(low, share.value, high, 0.0, 1.0)
    said = f"{percent(low)} … {percent(high)}; {share.successes} of {share.total}"
    return Cell(percent(share.value), share.value, PLAIN, drawn, said)


def _change(before: Proportion, after: Proportion) -> Cell:
    if not (before.total and after.total):
        return MISSING
    change = after.value - before.value
    tone = PLAIN if not change else GOOD if change > 0 else BAD
    said = "±0" if not change else written(100 * change, "{:+.1f}")
    return Cell(said, change, tone, charts.diverging(change))


def _confusions(found: Evaluation) -> tuple[Block, ...]:
    last = found.models[-1]
    confused = _metrics(last).confused(CONFUSED)
    if not confused:
        return (Words((f"{last.name} confuses no classes.",)),)
    columns = (Column("is"), Column("taken for"), Column("how often", True))
    most = confused[0][2]
    rows = tuple(
        Row((text(t), text(p), Cell(str(n), n, PLAIN, charts.bar(n / most))))
        for t, p, n in confused
    )
    return (Table(columns, rows, f"What {last.name} confuses"),)


# -- samples --------------------------------------------------------------------------------------


def _worst(found: Evaluation) -> list[Sample]:
    """Samples that the last model gets wrong: first what the first model got right, then those
    whose class it ranks lowest."""
    wrong = [r for r in found.rows if not r.skipped and r.results[-1][1] > 1]
    lost = {r.name for r in wrong if len(r.results) > 1 and r.results[0][1] == 1}
    wrong.sort(key=lambda r: (r.name not in lost, -r.results[-1][1], r.name))
    return wrong[:WORST]


def _picture(found: Evaluation, row: Sample, source: str) -> Picture:
    labels = _metrics(found.models[-1]).labels
    truth = row.expected[0]
    lines = [("is", labels[truth], PLAIN)]
    for model, (predicted, place) in zip(found.models, row.results, strict=True):
        said = labels[predicted] if place == 1 else f"{labels[predicted]} · right at {place}"
        lines.append((short(model.name, 14), said, GOOD if place == 1 else BAD))
    return Picture(row.name, source, tuple(lines))


def _skipped(found: Evaluation) -> Section:
    columns = (Column("sample"), Column("why"))
    rows = tuple(Row((text(name), text(why))) for name, why in found.skipped)
    return Section("skipped", "Skipped samples", (Table(columns, rows, shown=20),))
