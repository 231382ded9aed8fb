"""The figure of a task, on people's own data, as the metric of a search."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from octolite.errors import DataError, UsageError
from octolite.evaluation.classification import ClassificationMetrics
from octolite.evaluation.data import Fields, open_data
from octolite.evaluation.engine import Contender, judge, values_of
from octolite.evaluation.preprocess import Preprocess
from octolite.evaluation.scores import Metric
from octolite.evaluation.task import Metrics
from octolite.evaluation.tasks import make_task
from octolite.runtime.interpreter import Interpreter

PathLike = str | os.PathLike[str]

Figure = Callable[[Metrics], float]
"""The number that counts, of all that a task finds; the higher, the better."""


def task_metric(
    task: str,
    model: PathLike,
    data: PathLike,
    labels: PathLike | None = None,
    *,
    figure: Figure | None = None,
    preprocess: Preprocess | str | None = None,
    input_fields: Sequence[str] = (),
    label_field: str | None = None,
    num_samples: int = 0,
    **options: Any,
) -> Metric:
    """A metric for :func:`octolite.sensitivity` and :func:`octolite.tune` from a task.

    ::

        accuracy = task_metric("classification", "float.tflite", "photos/", "labels.txt")
        octolite.tune("float.tflite", max_drop=0.5, metric=accuracy)

    Args:
        task, data, labels, preprocess, input_fields, label_field, num_samples, options: as
            :func:`octolite.evaluate` takes them.
        model: the float ``.tflite`` file, whose metadata tell what inputs are made of.
        figure: the number that counts; the top-1 accuracy of a classification, in percent, when
            ``None``. Other tasks need one.

    Raises what :func:`octolite.evaluate` raises.
    """
    if figure is None and task != "classification":
        raise UsageError(f"say which figure of the task {task!r} counts, by a function of Metrics")
    made = make_task(task, options)
    contender = Contender(Path(model), Path(model).stem, preprocess, "auto", None)
    dataset = open_data(Path(data), Fields.parse(input_fields, label_field))
    dataset = made.labelled(dataset, None if labels is None else Path(labels))
    dataset = dataset.take(range(min(num_samples or len(dataset), len(dataset))))
    made.ready(dataset, [contender.facts])
    counts = figure or _accuracy

    def metric(interpreter: Interpreter) -> float:
        contender.interpreter = interpreter
        rows = list(judge(made, [contender], dataset, 0, threads=1))
        if all(row.skipped for row in rows):
            raise DataError(f"none of the {len(rows)} samples in {data} can be judged")
        return counts(made.measure(values_of(rows, 0)))

    metric.__name__ = f"{task} on {data}"
    return metric


def _accuracy(found: Metrics) -> float:
    assert isinstance(found, ClassificationMetrics)
    return 100 * found.accuracy.value
