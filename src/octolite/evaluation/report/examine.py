"""Everything that can be said of a float model and the quantized one, in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from octolite.errors import DataError, UsageError
from octolite.evaluation.compare import compare
from octolite.evaluation.data import Fields, open_data
from octolite.evaluation.engine import Contender
from octolite.evaluation.engine import Progress as Judging
from octolite.evaluation.evaluate import evaluate
from octolite.evaluation.feeds import MOST_SAMPLES
from octolite.evaluation.preprocess import Preprocess
from octolite.evaluation.report.latency import race
from octolite.evaluation.report.page import require
from octolite.evaluation.report.pictures import Pictures
from octolite.evaluation.report.weights import distributions
from octolite.evaluation.sensitivity import sensitivity
from octolite.ir.types import Array
from octolite.quantize import Recipe

PathLike = str | os.PathLike[str]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Examination:
    """What :func:`octolite.evaluation.report.render` takes."""

    findings: tuple[Any, ...]
    pictures: Pictures


def examine(
    before: PathLike,
    after: PathLike,
    data: PathLike | None = None,
    labels: PathLike | None = None,
    *,
    task: str = "classification",
    preprocess: Preprocess | str | None = None,
    input_fields: Sequence[str] = (),
    label_field: str | None = None,
    samples: int | None = None,
    recipe: PathLike | Recipe | None = None,
    num_threads: int | None = None,
    on_progress: Progress | None = None,
    **options: Any,
) -> Examination:
    """Evaluate, compare, time and look at the weights of two models.

    Args:
        before: the float model, a ``.tflite`` file.
        after: the quantized one.
        data: what :func:`octolite.evaluate` takes. Without it there is no evaluation, and layers
            are compared on numbers drawn from the ranges that inputs state.
        labels, task, preprocess, input_fields, label_field, options: of the evaluation.
        samples: how many layers are compared on.
        recipe: how ``after`` was made; layers are ranked by their sensitivity to it. They are not
            when ``None``.
        num_threads: all processors when ``None``.
        on_progress: told what is being done, how much of it is done and how much there is.

    Raises:
        UsageError: arguments that do not fit; jinja2 is not installed.
        OctoliteError: whatever evaluating and comparing raise.
    """
    require()
    tell = on_progress or (lambda _what, _done, _total: None)
    findings: list[Any] = []
    pictures, arrays = Pictures(), None
    if data is not None:

        def told(progress: Judging) -> None:
            tell("Evaluating", progress.done, progress.total)

        fields: dict[str, Any] = {"input_fields": input_fields, "label_field": label_field}
        findings.append(
            evaluate(
                task, [before, after], data, labels, preprocess=preprocess,
                num_threads=num_threads, on_progress=told, **fields, **options,
            )
        )  # fmt: skip
        pictures = Pictures.of_data(Path(data), input_fields, label_field)
        arrays = _prepared(
            Path(before), Path(data), Fields.parse(**_parsed(fields)), preprocess,
            samples or MOST_SAMPLES,
        )  # fmt: skip
    findings.append(
        compare(before, after, arrays, samples=samples, num_threads=num_threads, on_progress=tell)
    )
    if recipe is not None:
        findings.append(
            sensitivity(
                before, recipe, arrays, samples=samples, num_threads=num_threads, on_progress=tell
            )
        )
    findings.append(race(before, after, num_threads))
    findings.append(distributions(before, after))
    return Examination(tuple(findings), pictures)


def _parsed(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"inputs": fields["input_fields"], "label": fields["label_field"]}


def _prepared(
    model: Path, data: Path, fields: Fields, preprocess: Preprocess | str | None, count: int
) -> dict[str, Array]:
    """The first samples as the float model takes them, by the names of its inputs."""
    contender = Contender(model, model.stem, preprocess, "auto", None)
    dataset = open_data(data, fields)
    found: list[dict[str, Array]] = []
    for number in range(len(dataset)):
        if len(found) == count:
            break
        try:
            found.append(contender.prepare(dataset[number].inputs))
        except DataError:
            continue  # the evaluation has told of it
    if not found:
        raise UsageError(f"none of the samples in {data} can be read")
    return {name: np.concatenate([arrays[name] for arrays in found]) for name in found[0]}
