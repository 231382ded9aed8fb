"""The table of results, row by row: what is evaluated, and what an interrupted run goes on from.

A row is written and flushed when its sample is done, in the samples' order whatever the number of
threads. Beside the table, ``FILE.settings.json`` says what made it, so that results of different
models or preprocessing never mix.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from octolite.errors import MISFITS, UsageError

Values = tuple[Any, ...]
"""What JSON can hold, for each of some columns."""

FOREIGN: tuple[type[Exception], ...] = (*MISFITS, csv.Error)
"""What is raised where a line is no row."""

SEPARATOR = ", "
"""As TensorFlow Lite's tool writes tables."""


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a sample: why it was skipped, or what each model made of it."""

    name: str
    skipped: str
    expected: Values = ()
    results: tuple[Values, ...] = ()


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table: ``running`` come first, for each model, then those of a row."""

    models: tuple[str, ...]
    running: tuple[str, ...]
    expected: tuple[str, ...]
    results: tuple[str, ...]

    def header(self) -> list[str]:
        """Columns of a model carry its name where there are several."""

        def of_each(columns: Sequence[str]) -> list[str]:
            return [
                f"{c} [{m}]" if len(self.models) > 1 else c for m in self.models for c in columns
            ]

        return [
            *of_each(self.running), "Sample", "Skipped", *self.expected, *of_each(self.results)
        ]  # fmt: skip

    def cells(self, row: Row, running: Sequence[float]) -> list[str]:
        blanks = len(self.expected) + len(self.models) * len(self.results)
        values = [*row.expected, *(v for result in row.results for v in result)] or [""] * blanks
        return [
            *(f"{number:.3f}" for number in running),
            _text(row.name),
            _text(row.skipped),
            *(v if v == "" else json.dumps(v, separators=(",", ":")) for v in values),
        ]

    def row(self, cells: Sequence[str]) -> Row:
        """The row behind its cells. Raises :class:`ValueError` where they are no such row."""
        at = len(self.models) * len(self.running)
        name, skipped, *values = cells[at:]
        if skipped:
            return Row(name, skipped)
        if len(cells) != len(self.header()):
            raise ValueError(f"{len(cells)} columns, expected {len(self.header())}")
        parsed = [json.loads(v) for v in values]
        first, step = len(self.expected), len(self.results)
        results = [
            tuple(parsed[first + m * step : first + (m + 1) * step])
            for m in range(len(self.models))
        ]
        return Row(name, skipped, tuple(parsed[:first]), tuple(results))


def _text(text: str) -> str:
    """Without line ends: a row is a line, so that a torn one can be told."""
    return " ".join(text.split())


Running = Callable[[Row], Sequence[float]]
"""Takes the next row and gives the figures so far, those of each model in turn."""


class Journal:
    """A table that grows; made by :func:`opened`."""

    def __init__(self, file: TextIO | None, columns: Columns, running: Running) -> None:
        self.rows: list[Row] = []
        self._file = file
        self._columns = columns
        self._running = running

    def recover(self, line: str) -> None:
        """Take a row that is in the file already.

        Raises :data:`FOREIGN` for one that was not written by :meth:`append`.
        """
        with _long_fields():
            (cells,) = csv.reader([line], skipinitialspace=True)
        row = self._columns.row(cells)
        if _line(self._columns.cells(row, self._running(row))) != f"{line}\n":
            raise ValueError("its figures are not those of the rows before it")
        self.rows.append(row)

    def append(self, row: Row) -> None:
        """Write a row; once this returns, no end of this process loses it."""
        running = self._running(row)
        self.rows.append(row)
        if self._file is not None:
            self._file.write(_line(self._columns.cells(row, running)))
            self._file.flush()


@contextmanager
def opened(
    path: Path | None,
    columns: Columns,
    running: Running,
    settings: Mapping[str, Any],
    restart: bool = False,
) -> Iterator[Journal]:
    """The journal at ``path``, with the rows that an earlier run of the same settings left.

    ``None`` keeps rows in memory only; ``restart`` begins anew. Raises :class:`UsageError` when the
    file is something else, or of other settings.
    """
    if path is None:
        yield Journal(None, columns, running)
        return
    beside = path.with_name(f"{path.name}.settings.json")
    try:
        with path.open("a", encoding="utf-8", newline="") as file:
            _lock(file, path)
            fresh = restart or _is_empty(path, beside)
            recovered = [] if fresh else _recover(path, beside, columns, settings)
            if fresh:
                file.truncate(0)
                beside.write_text(json.dumps(settings, indent=2) + "\n")
            if path.stat().st_size == 0:
                file.write(_line(columns.header()))
                file.flush()
            journal = Journal(file, columns, running)
            for number, line in enumerate(recovered, 2):
                try:
                    journal.recover(line)
                except FOREIGN as error:
                    raise UsageError(
                        f"line {number} of {path} was not written by an evaluation ({error}); give "
                        "another file, or restart (--restart)"
                    ) from error
            yield journal
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _lock(file: TextIO, path: Path) -> None:
    """Until it is closed, the file is this process's alone; the system sees to it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"another process is writing {path}; wait, or give another file") from None


def _is_empty(path: Path, beside: Path) -> bool:
    """Whether no result would be lost: an empty file, or a header alone that is ours."""
    if path.stat().st_size == 0:
        return True
    return beside.exists() and path.read_bytes().count(b"\n") <= 1


def _recover(path: Path, beside: Path, columns: Columns, settings: Mapping[str, Any]) -> list[str]:
    """The lines of a table behind its header; one that was torn is cut off."""
    _check_settings(path, beside, settings)
    whole = path.read_bytes()
    kept = whole.rfind(b"\n") + 1
    if kept < len(whole):
        os.truncate(path, kept)
    header, *lines = whole[:kept].decode(errors="replace").split("\n")[:-1]
    if f"{header}\n" != _line(columns.header()):
        raise UsageError(f"{path} has other columns; give another file, or restart (--restart)")
    return lines


def _check_settings(path: Path, beside: Path, settings: Mapping[str, Any]) -> None:
    try:
        before = dict(json.loads(beside.read_text()))
    except (OSError, ValueError, TypeError):
        raise UsageError(
            f"{path} exists and {beside.name}, which would tell how to go on with it, does not; "
            "give another file, or restart (--restart)"
        ) from None
    now = json.loads(json.dumps(settings))
    changed = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
    if changed:
        what = "; ".join(f"{k} was {before.get(k)!r} and is {now.get(k)!r}" for k in changed)
        raise UsageError(
            f"{path} is of another evaluation: {what}. Give another file, or restart (--restart)"
        )


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lists of detections are longer than the csv module expects of a field."""
    before = csv.field_size_limit(1 << 30)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _line(cells: Sequence[str]) -> str:
    return SEPARATOR.join(map(_quoted, cells)) + "\n"


def _quoted(cell: str) -> str:
    plain = cell == cell.strip() and not any(c in cell for c in ',"')
    return cell if plain else '"' + cell.replace('"', '""') + '"'
