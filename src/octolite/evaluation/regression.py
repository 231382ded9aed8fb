"""Regression: how far numbers are from those expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from octolite.errors import DataError, UsageError
from octolite.evaluation.data import Dataset, Sample
from octolite.evaluation.journal import Row, Values
from octolite.evaluation.metrics import RegressionErrors, regression_errors
from octolite.evaluation.task import OUTPUT, Facts, Metrics, Task, json_number, option
from octolite.ir.types import Array


@dataclass
class Regression(Task):
    """MAE, RMSE and R²."""

    name: ClassVar = "regression"
    summary: ClassVar = "MAE, RMSE and R² of a model that gives numbers."
    expected: ClassVar = ("Truth",)
    results: ClassVar = ("Predicted",)

    output_tensor: str | None = option(OUTPUT)

    def ready(self, dataset: Dataset, models: Sequence[Facts]) -> None:
        for model in models:
            model.output(self.output_tensor)

    def truth(self, sample: Sample) -> Values:
        """The numbers of a label: an array, or text with spaces or commas between them."""
        label = sample.truth
        if isinstance(label, str):
            label = label.replace(",", " ").split()
        try:
            numbers = np.asarray(label, np.float64).reshape(-1)
        except (TypeError, ValueError):
            raise DataError(f"the label {sample.truth!r} is no list of numbers") from None
        return (numbers.tolist(),)

    def judge(
        self, outputs: Mapping[str, Array], sample: Sample, expected: Values, model: Facts
    ) -> Values:
        numbers = np.asarray(outputs[model.output(self.output_tensor)], np.float64).reshape(-1)
        if len(expected[0]) != numbers.size:
            raise UsageError(
                f"{model.name} gives {numbers.size} numbers, and the label of {sample.name} has "
                f"{len(expected[0])}"
            )
        return (numbers.tolist(),)

    def measure(self, rows: Sequence[tuple[Row, Values]]) -> RegressionMetrics:
        truths = np.array([row.expected[0] for row, _ in rows], np.float64)
        predicted = np.array([values[0] for _, values in rows], np.float64)
        return RegressionMetrics(regression_errors(truths, predicted), len(rows))


@dataclass(frozen=True)
class RegressionMetrics(Metrics):
    """Of one model, over ``samples``."""

    errors: RegressionErrors
    samples: int

    def figures(self) -> Mapping[str, str]:
        return {
            "MAE": f"{self.errors.mae:.6g}",
            "RMSE": f"{self.errors.rmse:.6g}",
            "R²": f"{self.errors.r2:.6f}",
        }

    def to_json(self) -> dict[str, Any]:
        return {k: json_number(v) for k, v in asdict(self.errors).items()}
