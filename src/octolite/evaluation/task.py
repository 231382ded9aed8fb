"""What a task is: how outputs are judged, sample by sample and in the end."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from octolite.errors import UsageError, did_you_mean
from octolite.evaluation.data import Dataset, Sample, load_arrays
from octolite.evaluation.journal import Row, Running, Values
from octolite.evaluation.preprocess import Preparation
from octolite.ir.types import Array
from octolite.tflite.metadata import Metadata


def option(help: str, default: Any = None) -> Any:
    """A field of a task that people set: by keyword, or by the flag of its name."""
    return field(default=default, metadata={"help": help})


OUTPUT = "Which of several outputs is judged, by its name."


@dataclass(frozen=True, slots=True)
class Facts:
    """What a task may know of a model before it runs.

    ``outputs`` maps names to shapes, open extents being ``None``, in the model's order.
    """

    name: str
    outputs: Mapping[str, tuple[int | None, ...]]
    metadata: Metadata
    preparation: Preparation

    def output(self, name: str | None) -> str:
        """The output to be judged. Raises :class:`UsageError` where it is not clear."""
        if name is None and len(self.outputs) == 1:
            return next(iter(self.outputs))
        if name is None:
            raise UsageError(f"say which output of {self.name} counts: {', '.join(self.outputs)}")
        if name not in self.outputs:
            hint = did_you_mean(name, self.outputs)
            raise UsageError(f"{self.name} has no output {name!r}. {hint}")
        return name


@dataclass(frozen=True, slots=True)
class Details:
    """A table for people; columns that start with ``>`` are right-aligned."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


class Metrics(ABC):
    """The figures of one model."""

    @abstractmethod
    def figures(self) -> Mapping[str, str]:
        """What to show to people, by name."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """All figures, for machines."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What looks wrong."""
        return ()

    def details(self) -> tuple[Details, ...]:
        """What lies behind the figures."""
        return ()


class Comparison(ABC):
    """What differs between two models."""

    @abstractmethod
    def figures(self) -> Mapping[str, str]:
        """What to show to people, by name."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """All figures, for machines."""


class Task(ABC):
    """One kind of evaluation. A subclass is a dataclass whose fields are its options.

    Attributes:
        name: of the command; in :data:`octolite.evaluation.tasks.TASKS`.
        summary: a line for the help.
        expected: the columns for what is expected of a sample.
        results: the columns for what a model makes of it.
        needs_truth: whether a sample without a label cannot be judged.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    expected: ClassVar[tuple[str, ...]] = ()
    results: ClassVar[tuple[str, ...]]
    needs_truth: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        missing = [a for a in ("name", "summary", "results") if not hasattr(cls, a)]
        if missing:
            raise TypeError(f"task {cls.__name__} lacks {', '.join(missing)}")

    def labelled(self, dataset: Dataset, labels: Path | None) -> Dataset:
        """The data with the labels of a file, a value for each sample."""
        return dataset if labels is None else dataset.with_truths(read_labels(labels))

    @abstractmethod
    def ready(self, dataset: Dataset, models: Sequence[Facts]) -> None:
        """Look at data and models before anything runs. Raises :class:`UsageError`."""

    @abstractmethod
    def truth(self, sample: Sample) -> Values:
        """What is expected, for the columns :attr:`expected`. Raises as :meth:`judge` does."""

    @abstractmethod
    def judge(
        self, outputs: Mapping[str, Array], sample: Sample, expected: Values, model: Facts
    ) -> Values:
        """What a model made of a sample, for the columns :attr:`results`.

        Outputs are real numbers, without the batch. Raises :class:`DataError` for a sample that
        cannot be judged, :class:`UsageError` for what is wrong with all of them.
        """

    @abstractmethod
    def measure(self, rows: Sequence[tuple[Row, Values]]) -> Metrics:
        """The figures of one model from its rows; none of them was skipped."""

    def running_columns(self) -> tuple[str, ...]:
        """Columns of figures so far, before all others."""
        return ()

    def running(self, models: int) -> Running:
        """What fills :meth:`running_columns`, for each of ``models``."""
        return lambda row: ()

    def compare(self, rows: Sequence[Row], first: int, second: int) -> Comparison | None:
        """Two of the models, sample by sample; ``None`` where there is nothing to say."""
        return None

    def notes(self) -> tuple[str, ...]:
        """What has been decided that people should know."""
        return ()


def read_labels(path: Path) -> Sequence[Any]:
    """A label for each sample: the lines of a text file, or the rows of an ``.npy``.

    Raises :class:`UsageError`.
    """
    if path.suffix.lower() == ".npy":
        array = next(iter(load_arrays(path).values()))
        if array.ndim == 0:
            raise UsageError(f"{path} holds one number, expected a label for each sample")
        return list(array)
    return read_lines(path)


def read_lines(path: Path) -> list[str]:
    """Lines of a text file, empty ones at its end left out. Raises :class:`UsageError`."""
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").rstrip().splitlines()]
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def is_whole(value: Any) -> bool:
    """Whether a label is a number rather than a name."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def json_number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


def json_numbers(values: Iterable[float]) -> list[float | None]:
    """The same for several."""
    return [json_number(float(v)) for v in values]
