"""``octolite.evaluate``: models judged on data, with error bars."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from octolite.errors import MISFITS, DataError, UsageError
from octolite.evaluation.data import ONLY, Dataset, Fields, open_data
from octolite.evaluation.engine import (
    Clock,
    Contender,
    Progress,
    Runner,
    available_threads,
    judge,
    judged,
    values_of,
)
from octolite.evaluation.journal import Columns, Row, opened
from octolite.evaluation.preprocess import Preprocess
from octolite.evaluation.task import Comparison, Metrics, Task, read_lines
from octolite.evaluation.tasks import make_task
from octolite.ops.custom import CustomOperator
from octolite.runtime.prepare import Hybrid

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Judged:
    """A model and its figures."""

    name: str
    path: Path
    metrics: Metrics


@dataclass(frozen=True)
class Compared:
    """What differs between the first model and another."""

    first: str
    second: str
    comparison: Comparison


@dataclass(frozen=True)
class Evaluation:
    """The outcome.

    Attributes:
        task: its name.
        samples: how many were judged.
        skipped: names of samples that could not be read, and why.
        models: the figures of each.
        comparisons: of the first model with each other one.
        preprocessing: what was done to inputs, in words.
        notes: what was decided, and what looks wrong.
        rows: what came of each sample, in order.
    """

    task: str
    samples: int
    skipped: tuple[tuple[str, str], ...]
    models: tuple[Judged, ...]
    comparisons: tuple[Compared, ...]
    preprocessing: str
    notes: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def metrics(self) -> Any:
        """The figures of the first model: the task's :class:`Metrics`."""
        return self.models[0].metrics

    def to_json(self) -> dict[str, Any]:
        """All of it but the rows, for machines."""
        return {
            "task": self.task,
            "samples": self.samples,
            "skipped": [{"name": n, "reason": r} for n, r in self.skipped],
            "preprocessing": self.preprocessing,
            "notes": list(self.notes),
            "models": [
                {"name": m.name, "path": str(m.path), **m.metrics.to_json()} for m in self.models
            ],
            "comparisons": [
                {"first": c.first, "second": c.second, **c.comparison.to_json()}
                for c in self.comparisons
            ],
        }


def evaluate(
    task: str | Task,
    models: PathLike | Sequence[PathLike],
    data: PathLike,
    labels: PathLike | None = None,
    *,
    output: PathLike | None = None,
    preprocess: Preprocess | str | None = None,
    input_fields: Sequence[str] = (),
    label_field: str | None = None,
    num_samples: int = 0,
    denylist: PathLike | None = None,
    num_threads: int | None = None,
    hybrid: Hybrid = "auto",
    custom_operators: Mapping[str, CustomOperator] | None = None,
    restart: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Evaluation:
    """Judge one or several ``.tflite`` models on labelled data, in one pass.

    Args:
        task: ``"classification"``, ``"detection"``, ``"segmentation"``, ``"regression"`` or
            ``"custom"``, with its ``options``; or a task that is made already.
        models: a path, or several; the others are compared with the first.
        data: a folder of images, a folder with one for each class, or an ``.npy``, ``.npz``,
            ``.csv`` or ``.tfrecord`` file.
        labels: what is expected, in the order of the samples' names: lines of text, an ``.npy``;
            COCO's annotations for detection, a folder of masks for segmentation.
        output: a table that gets a row for each sample as it is done. A run that was interrupted
            goes on where it was when called again with the same arguments.
        preprocess: what images become (:meth:`octolite.evaluation.preprocess.Preprocess.parse`);
            what it does not say is taken from the model's metadata.
        input_fields, label_field: which fields of a file are what:
            :meth:`octolite.evaluation.data.Fields.parse`.
        num_samples: only so many of the first samples; 0 for all.
        denylist: a file with numbers of samples to leave out, a line each, the first being 1.
        num_threads: samples that are judged at the same time; all processors when ``None``.
        hybrid: as for :class:`octolite.Interpreter`.
        custom_operators: the same.
        restart: begin ``output`` anew.
        on_progress: told after each sample.

    Raises:
        UsageError: arguments, labels or preprocessing that do not fit model or data.
        DataError: none of the samples can be read.
        ModelError: a model that cannot be run.
    """
    made = make_task(task, options) if isinstance(task, str) else task
    if not isinstance(task, str) and options:
        raise UsageError(f"the task is made already; {', '.join(options)} cannot be given, too")
    threads = available_threads() if num_threads is None else num_threads
    if threads < 1 or num_samples < 0:
        raise UsageError(f"num_threads is {threads} and num_samples {num_samples}; too few")
    paths = [models] if isinstance(models, str | os.PathLike) else list(models)
    contenders = [
        Contender(Path(p), name, preprocess, hybrid, custom_operators)
        for p, name in zip(paths, _names(paths), strict=True)
    ]
    chosen = _chosen(made, data, labels, input_fields, label_field, denylist, num_samples)
    made.ready(chosen, [c.facts for c in contenders])
    preprocessing = _rehearse(made, contenders, chosen)
    settings = _settings(made, contenders, preprocess, hybrid, data, labels, denylist)
    rows = _rows(made, contenders, chosen, output, settings, restart, threads, on_progress)
    return _outcome(made, contenders, chosen, rows, preprocessing)


def _names(paths: Sequence[PathLike]) -> list[str]:
    """The models' file names; their paths, where names are alike."""
    if not paths:
        raise UsageError("give at least one model")
    for path in paths:
        if not Path(path).is_file():
            raise UsageError(f"there is no model at {path}")
    names = [Path(p).stem for p in paths]
    return names if len(set(names)) == len(names) else [str(p) for p in paths]


def _chosen(
    task: Task,
    data: PathLike,
    labels: PathLike | None,
    input_fields: Sequence[str],
    label_field: str | None,
    denylist: PathLike | None,
    count: int,
) -> Dataset:
    """The samples to be judged, with their labels."""
    dataset = open_data(Path(data), Fields.parse(input_fields, label_field))
    dataset = task.labelled(dataset, None if labels is None else Path(labels))
    if task.needs_truth and not dataset.labelled:
        raise UsageError(
            f"nothing says what is expected of the samples in {data}: give a file of labels "
            "(--ground_truth_labels), the field with the label (--label_field), or a folder of "
            "images for each class"
        )
    denied = set() if denylist is None else _denied(Path(denylist))
    kept = [i for i in range(len(dataset)) if i + 1 not in denied]
    return dataset.take(kept[: count or len(kept)])


def _denied(path: Path) -> set[int]:
    try:
        return {int(line) for line in read_lines(path) if line}
    except ValueError as error:
        raise UsageError(f"{path} should have a sample's number in each line: {error}") from error


def _rehearse(task: Task, contenders: Sequence[Contender], dataset: Dataset) -> str:
    """Judge the first sample that can be read, so that what is wrong with all of them is said
    before any file is written. Gives what is done to inputs, in words.
    """
    runners = [Runner(c) for c in contenders]
    for index in range(len(dataset)):
        if judged(task, contenders, runners, dataset, index).skipped:
            continue
        contents = dataset[index].inputs
        said = {}
        for contender in contenders:
            for name, preparation in contender.preparations.items():
                content = contents[name] if name in contents else contents[ONLY]
                described = preparation.describe(not isinstance(content, np.ndarray))
                said[f"{contender.name}, {name}"] = described
        if len(set(said.values())) == 1:
            return next(iter(said.values()))
        return "; ".join(f"{where}: {what}" for where, what in said.items())
    return ""


def _settings(
    task: Task,
    contenders: Sequence[Contender],
    preprocess: Preprocess | str | None,
    hybrid: str,
    data: PathLike,
    labels: PathLike | None,
    denylist: PathLike | None,
) -> dict[str, Any]:
    """What results depend on; how many samples, and on how many threads, they do not."""
    given = Preprocess.parse(preprocess) if isinstance(preprocess, str) else preprocess
    options = {f.name: getattr(task, f.name) for f in fields(task)}  # type: ignore[arg-type]
    return {
        "task": task.name,
        **{k: _place_of(v) if callable(v) else v for k, v in options.items()},
        "models": [{"path": str(c.path), "sha256": c.digest} for c in contenders],
        "hybrid": hybrid,
        "preprocess": None if given is None else repr(given),
        "data": _identity(Path(data)),
        "labels": None if labels is None else _digest(Path(labels)),
        "denylist": None if denylist is None else _digest(Path(denylist)),
    }


def _place_of(function: Any) -> str:
    """A function by where it is defined, which is the same in the next process."""
    return f"{function.__module__}:{getattr(function, '__qualname__', type(function).__name__)}"


def _identity(path: Path) -> list[Any]:
    """A file by its place and size, as its content may be many gigabytes."""
    return [str(path), path.stat().st_size if path.is_file() else None]


def _digest(path: Path) -> str:
    if path.is_dir():
        return str(path)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _rows(
    task: Task,
    contenders: Sequence[Contender],
    dataset: Dataset,
    output: PathLike | None,
    settings: Mapping[str, Any],
    restart: bool,
    threads: int,
    on_progress: Callable[[Progress], None] | None,
) -> tuple[Row, ...]:
    """The rows of an earlier run, and those that are missing."""
    columns = Columns(
        tuple(c.name for c in contenders), task.running_columns(), task.expected, task.results
    )
    path = None if output is None else Path(output)
    with opened(path, columns, task.running(len(contenders)), settings, restart) as journal:
        done = len(journal.rows)
        for row, name in zip(journal.rows, dataset.names, strict=False):
            if row.name != " ".join(name.split()):
                raise UsageError(
                    f"{path} goes on with {row.name!r} where the data has {name!r}: it has "
                    "changed. Give another file, or restart (--restart)"
                )
        _check_recovered(task, journal.rows, len(contenders), path)
        clock = Clock(journal.rows, len(dataset))
        for row in judge(task, contenders, dataset, done, threads):
            journal.append(row)
            progress = clock.tick(row)
            if on_progress is not None:
                on_progress(progress)
        return tuple(journal.rows[: len(dataset)])


def _check_recovered(task: Task, rows: Sequence[Row], models: int, path: Path | None) -> None:
    """Whether the values of an earlier run are such as this task writes."""
    if not any(not row.skipped for row in rows):
        return
    try:
        for model in range(models):
            task.measure(values_of(rows, model))
    except MISFITS as error:
        raise UsageError(
            f"{path} holds values that no evaluation wrote ({error}); give another file, or "
            "restart (--restart)"
        ) from error


def _outcome(
    task: Task,
    contenders: Sequence[Contender],
    dataset: Dataset,
    rows: Sequence[Row],
    preprocessing: str,
) -> Evaluation:
    kept = [row for row in rows if not row.skipped]
    skipped = tuple((row.name, row.skipped) for row in rows if row.skipped)
    if not kept:
        first = f"; the first, {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise DataError(f"none of the {len(rows)} samples in {dataset.path} can be judged{first}")
    figures = tuple(
        Judged(c.name, c.path, task.measure(values_of(rows, i))) for i, c in enumerate(contenders)
    )
    compared = ((other.name, task.compare(kept, 0, i)) for i, other in enumerate(figures) if i)
    return Evaluation(
        task.name,
        len(kept),
        skipped,
        figures,
        tuple(Compared(figures[0].name, name, c) for name, c in compared if c is not None),
        preprocessing,
        (*task.notes(), *(f"{m.name}: {note}" for m in figures for note in m.metrics.notes)),
        tuple(rows),
    )
