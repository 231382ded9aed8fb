"""What all commands share: where they print, how they fail, and how they write files."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from octolite.errors import OctoliteError, UsageError

P = ParamSpec("P")
R = TypeVar("R")

EXIT_FAILURE = 1
EXIT_USAGE = 2


def fails_clearly(command: Callable[P, R]) -> Callable[P, R]:
    """Turn an Octolite error into one message on stderr and an exit code: no traceback."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except OctoliteError as error:
            click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
            sys.exit(EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILURE)

    return wrapper


def print_json(data: Any) -> None:
    """For machines: one JSON document on stdout."""
    click.echo(json.dumps(data, indent=2))


def write_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Write beside, then rename: the file is there whole or not at all.

    Raises :class:`UsageError` when the place cannot be written.
    """
    target = Path(path)
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise UsageError(f"cannot write {target}: {error.strerror}") from error


@contextmanager
def progress(show: bool, remaining: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on stderr, when that is a terminal and ``show``; the callback feeds it.

    ``remaining``: tell how much is done, and how long the rest will take.
    """
    if not (show and sys.stderr.isatty()):
        yield lambda _what, _done, _total: None
        return
    from rich import progress as rich
    from rich.console import Console

    columns: list[rich.ProgressColumn] = [
        rich.TextColumn("{task.description:<20}"), rich.BarColumn(), rich.TimeElapsedColumn()
    ]  # fmt: skip
    if remaining:
        columns += [rich.MofNCompleteColumn(), rich.TextColumn("left"), rich.TimeRemainingColumn()]
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=max(total, 1))

        yield tell


def table(title: str, *columns: str) -> Any:
    """A table for people; columns that start with ``>`` are right-aligned."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for column in columns:
        made.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left")
    return made


def show(item: Any) -> None:
    """Print a table (or anything else that rich can render) on stdout."""
    from rich.console import Console

    # A pipe has no width: let tables be as wide as they are.
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(item)


def size_text(count: float) -> str:
    """Bytes for people: ``3.4 MB`` (powers of ten, as file managers count)."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
