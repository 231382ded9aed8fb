"""The table of tasks: a row here is a command, and a word for ``octolite.evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from octolite.errors import UsageError, did_you_mean
from octolite.evaluation.classification import Classification
from octolite.evaluation.custom import Custom
from octolite.evaluation.detection import Detection
from octolite.evaluation.regression import Regression
from octolite.evaluation.segmentation import Segmentation
from octolite.evaluation.task import Task

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (Classification, Detection, Segmentation, Regression, Custom)
}


def make_task(name: str, options: Mapping[str, Any]) -> Task:
    """A task with these options. Raises :class:`UsageError` for what it does not know."""
    if name not in TASKS:
        raise UsageError(f"there is no task {name!r}. {did_you_mean(name, TASKS)}")
    task: Any = TASKS[name]
    known = [f.name for f in fields(task)]
    for key in options:
        if key not in known:
            raise UsageError(f"{name} has no option {key!r}. {did_you_mean(key, known)}")
    made: Task = task(**options)
    return made
