"""What a page is made of: sections of figures, tables, charts and pictures.

Blocks hold texts as they are; the template escapes them. Markup comes from :mod:`.charts` only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import ClassVar

from octolite.evaluation.report.charts import Svg

GOOD, BAD, PLAIN = "good", "bad", ""
"""How a figure is to be read: by its colour, beside its sign."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure to be seen first: ``value`` large, ``label`` above it, ``detail`` below."""

    label: str
    value: str
    detail: str = ""
    tone: str = PLAIN


@dataclass(frozen=True, slots=True)
class Column:
    """Of a table. ``number``: aligned to the right; ``help`` is shown when it is pointed at."""

    title: str
    number: bool = False
    help: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """``key`` is what rows are sorted by; ``bar`` a drawing behind the text."""

    text: str
    key: float | str
    tone: str = PLAIN
    bar: Svg | None = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """``anchor``: what charts link to."""

    cells: tuple[Cell, ...]
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Figures in a row."""

    kind: ClassVar = "tiles"
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows that can be sorted by each column; those after ``shown`` are folded away."""

    kind: ClassVar = "table"
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    title: str = ""
    shown: int = 0


@dataclass(frozen=True, slots=True)
class Chart:
    """``legend``: a class of the style sheet and what is drawn in it."""

    kind: ClassVar = "chart"
    svg: Svg
    title: str = ""
    legend: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """One of many small charts."""

    title: str
    detail: str
    svg: Svg


@dataclass(frozen=True, slots=True)
class Panels:
    """Small charts beside each other; those after ``shown`` are folded away."""

    kind: ClassVar = "panels"
    panels: tuple[Panel, ...]
    legend: tuple[tuple[str, str], ...] = ()
    shown: int = 12


@dataclass(frozen=True, slots=True)
class Picture:
    """``source``: a data URI, empty where there is nothing to be seen; ``lines`` stand below."""

    title: str
    source: str
    lines: tuple[tuple[str, str, str], ...] = ()
    """What is said, by whom, and the tone of it."""


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures beside each other."""

    kind: ClassVar = "gallery"
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Words:
    """Paragraphs."""

    kind: ClassVar = "words"
    lines: tuple[str, ...]


Block = Tiles | Table | Chart | Panels | Gallery | Words


@dataclass(frozen=True, slots=True)
class Section:
    """``anchor`` names it within the page."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]
    note: str = ""


ORDER = ("size", "accuracy", "latency", "agreement", "output", "layers")
"""Of figures in a summary, by their labels' first words; others come behind."""


@dataclass(slots=True)
class Page:
    """All there is to show. ``subtitle``: which models; ``picture``: a sample's, by its name."""

    title: str
    subtitle: str = ""
    picture: Callable[[str], str] = lambda _name: ""
    tiles: list[Tile] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    def add_tiles(self, *tiles: Tile) -> None:
        """Figures for the summary; the first that bears a label stays."""
        known = {t.label for t in self.tiles}
        self.tiles += [t for t in tiles if t.label not in known]
        self.tiles.sort(key=_place)


def _place(tile: Tile) -> int:
    word = tile.label.split()[0].lower()
    return ORDER.index(word) if word in ORDER else len(ORDER)


# -- texts ----------------------------------------------------------------------------------------

MISSING = Cell("–", math.inf)
"""Nothing is known; sorted last."""


def text(value: str, tone: str = PLAIN) -> Cell:
    return Cell(value, value.casefold(), tone)


def named(row_name: str, names: Mapping[str, str]) -> Cell:
    """A layer's name as :func:`told_apart` shows it; the whole of it when it is pointed at."""
    shown = names[row_name]
    return Cell(shown, shown.casefold(), title=row_name)


def number(value: float | None, form: str = "{:.2f}", tone: str = PLAIN) -> Cell:
    """``value`` as ``form`` writes it."""
    if value is None or math.isnan(value):
        return MISSING
    return Cell(written(value, form), value, tone)


def written(value: float, form: str = "{:.2f}") -> str:
    """A number with a proper minus sign; infinity as its sign."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    said = form.format(value)
    return said.replace("-", "−", 1) if said.startswith("-") else said


def size(count: float) -> str:
    """Bytes for people: ``3.4 MB`` (powers of ten)."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def percent(share: float, digits: int = 1) -> str:
    return written(100 * share, f"{{:.{digits}f}} %")


def short(name: str, width: int = 44) -> str:
    """The end of a long name, which tells more of a layer than its beginning."""
    return name if len(name) <= width else "…" + name[1 - width :]


def told_apart(names: Sequence[str]) -> dict[str, str]:
    """What names are shown as: without the folders that all of them are in, and not too long."""
    folders = [name.split("/")[:-1] for name in names if "/" in name]
    common = list(takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False)))
    start = "".join(f"{parts[0]}/" for parts in common)
    return {name: short(name.removeprefix(start)) for name in names}


def smaller(before: int, after: int) -> Tile:
    """What became of a file's size."""
    share = f"{percent(after / before)} of {size(before)}" if before else ""
    return Tile("Size", size(after), share, GOOD if after < before else PLAIN)
