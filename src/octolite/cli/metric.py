"""Options that say by which metric models are judged, and where a search keeps what it measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from octolite.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--metric",
        metavar="NAME|MODULE:FUNCTION",
        help="sqnr, fidelity, agreement (with the float model), accuracy (needs --labels), or a "
        "function of an octolite.Interpreter that gives a number: the higher, the better.",
    ),
    click.option(
        "--labels",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False),
        help="The class of each sample of --data, an .npy, for --metric accuracy; or of --images, "
        "as `octolite evaluate classification` takes them.",
    ),
    click.option(
        "--images",
        metavar="DIR|FILE",
        type=click.Path(exists=True),
        help="Labelled samples as `octolite evaluate classification` takes them: the metric is the "
        "accuracy on them. MODEL is a .tflite file then.",
    ),
    click.option(
        "--state",
        metavar="FILE.json",
        type=click.Path(dir_okay=False),
        help="What has been measured: an interrupted search goes on with it.",
    ),
    click.option("--restart", is_flag=True, help="Begin anew, whatever --state holds."),
)


def judging(command: F) -> F:
    """Give a command the options ``metric``, ``labels``, ``images``, ``state`` and ``restart``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def arguments(
    model: str, metric: str | None, labels: str | None, images: str | None
) -> dict[str, Any]:
    """What the first three say, as :func:`octolite.sensitivity` takes it. Raises
    :class:`UsageError`."""
    if images is not None:
        if metric not in (None, "accuracy"):
            raise UsageError(f"--metric {metric} and --images both say how models are judged")
        from octolite.evaluation.task_metric import task_metric

        return {"metric": task_metric("classification", model, images, labels), "labels": None}
    found = _function(metric) if metric and ":" in metric else metric
    if labels is None:
        return {"metric": found, "labels": None}
    from octolite.evaluation.data import ONLY, load_arrays

    arrays = load_arrays(Path(labels))
    array = arrays.get(ONLY, arrays.get("labels"))
    if array is None:
        raise UsageError(f"{labels} has no array 'labels', but {sorted(arrays)}")
    return {"metric": found or "accuracy", "labels": array}


def _function(place: str) -> Callable[..., Any]:
    from octolite.evaluation.imports import import_object

    found = import_object(place, f"--metric {place!r}", "a metric's name or MODULE:FUNCTION")
    if not callable(found):
        raise UsageError(f"--metric {place!r} is no function")
    function: Callable[..., Any] = found
    return function
