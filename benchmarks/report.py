"""The figures as tables, for a terminal and as Markdown."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks import startup

Figures = dict[str, Any]


def caption(table: Figures) -> str:
    """What the figures of a table are."""
    threads = table["threads"]
    base = table["rows"][0]["base"]
    quality = "hybrid results against float"
    if base != "LiteRT float":
        quality = "LiteRT's results against its reference kernels, whose bits are Octolite's"
    return (
        f"{table['cpu']}, {threads} thread{'s' if threads != 1 else ''}; Octolite uses "
        f"{table['isa']}. Milliseconds: the median of {table['rounds']} rounds ± half the "
        f"interquartile range; in brackets, times as fast as {base}. SQNR of "
        f"{quality}, dB."
    )


def headings(table: Figures) -> list[str]:
    return ["", *_names(table, "timings"), *(f"SQNR {n}" for n in _names(table, "sqnr"))]


def cells(table: Figures) -> Iterator[list[str]]:
    """The lines of a table."""
    for row in table["rows"]:
        line = [row["title"]]
        for name in _names(table, "timings"):
            timing = row["timings"].get(name)
            line.append("–" if timing is None else _timing(row, name, timing))
        quality = (row["sqnr"].get(name) for name in _names(table, "sqnr"))
        yield [*line, *("–" if q is None else f"{q:.1f}" for q in quality)]


def _names(table: Figures, figure: str) -> list[str]:
    """The contenders that have this figure in any row."""
    return list(dict.fromkeys(name for row in table["rows"] for name in row[figure]))


def _timing(row: Figures, name: str, timing: Figures) -> str:
    spread = 50 * (timing["high"] - timing["low"]) / timing["median"]
    times = "" if name == row["base"] else f" ({row['speedup'][name]:.2f}×)"
    return f"{timing['median']:.3f} ±{spread:.0f}%{times}"


def show(report: Figures) -> None:
    """Print all tables for people."""
    for table in report["tables"]:
        _show(caption(table), headings(table), cells(table))
    if report["startup"]:
        _show(_STARTUP, startup.HEADINGS, map(startup.cells, report["startup"]))


_STARTUP = "Loading and the first run, beyond imports: with kernels in the cache, and without."


def _show(title: str, columns: Iterable[str], lines: Iterable[list[str]]) -> None:
    shown = Table(box=SIMPLE_HEAD, caption=title, caption_justify="left")
    for i, column in enumerate(columns):
        shown.add_column(column, justify="right" if i else "left")
    for line in lines:
        shown.add_row(*line)
    # A pipe has no width: lines are as long as they are.
    Console(width=None if sys.stdout.isatty() else 220, highlight=False).print(shown)


def markdown(report: Figures) -> str:
    """All tables as Markdown."""
    parts = [_markdown(caption(t), headings(t), cells(t)) for t in report["tables"]]
    if report["startup"]:
        lines = map(startup.cells, report["startup"])
        parts.append(_markdown(_STARTUP, startup.HEADINGS, lines))
    return "\n".join(parts)


def _markdown(title: str, columns: Iterable[str], lines: Iterable[list[str]]) -> str:
    names = list(columns)
    ruled = ["|---" + "|--:" * (len(names) - 1) + "|"]
    rows = ["| " + " | ".join(line) + " |" for line in (names, *lines)]
    return "\n".join([title, "", rows[0], *ruled, *rows[1:], ""])


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of Markdown."""
    yield f"| {' | '.join(headings)} |"
    yield "|---" * len(headings) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
