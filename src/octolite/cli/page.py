"""Reports as pages of HTML: the option that asks for one, and what writes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from octolite.cli import console
from octolite.errors import UsageError

if TYPE_CHECKING:
    from octolite.evaluation.report import Pictures

HTML = "Also write a report: one page of HTML that needs no other file."

option = click.option("--html", metavar="FILE", type=click.Path(dir_okay=False), help=HTML)


def expect(path: str | None) -> None:
    """Make sure that a page can be written, before hours are spent on what it would show.

    Raises :class:`UsageError`.
    """
    if path is None:
        return
    from octolite.evaluation import report

    report.require()
    if not Path(path).absolute().parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no such folder")


def write(
    path: str | None,
    *findings: Any,
    title: str = "What quantization cost",
    subtitle: str = "",
    pictures: Pictures | None = None,
) -> None:
    """Write a page of what was found, if there is a ``path``, and say so on stderr."""
    if path is None:
        return
    from octolite.evaluation import report

    text = report.render(*findings, title=title, subtitle=subtitle, pictures=pictures)
    console.write_file(path, text.encode())
    click.echo(f"{path}: {console.size_text(len(text.encode()))}", err=True)
