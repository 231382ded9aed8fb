"""Whatever else: a function of people's own judges each sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from octolite.errors import UsageError
from octolite.evaluation.data import Dataset, Sample
from octolite.evaluation.imports import import_object
from octolite.evaluation.journal import Row, Values
from octolite.evaluation.metrics import Mean, mean_of
from octolite.evaluation.task import Facts, Metrics, Task, json_number, option
from octolite.ir.types import Array

Judge = Callable[[Mapping[str, Array], Any], Mapping[str, float]]
"""Of the outputs by name, without the batch, and the truth: figures by name, or one number."""


@dataclass
class Custom(Task):
    """The means of figures that a function gives for each sample."""

    name: ClassVar = "custom"
    summary: ClassVar = "The mean of what a Python function says of each sample."
    results: ClassVar = ("Figures",)
    needs_truth: ClassVar = False

    function: str | Judge | None = option(  # noqa: RUF009 (it is field())
        "MODULE:FUNCTION, called with the outputs by name and the truth; gives a number, or "
        "numbers by name."
    )

    def __post_init__(self) -> None:
        if self.function is None:
            raise UsageError("say which function judges a sample: --function MODULE:FUNCTION")
        self._judge = _import(self.function) if isinstance(self.function, str) else self.function

    def ready(self, dataset: Dataset, models: Sequence[Facts]) -> None:
        """Any model will do."""

    def truth(self, sample: Sample) -> Values:
        return ()

    def judge(
        self, outputs: Mapping[str, Array], sample: Sample, expected: Values, model: Facts
    ) -> Values:
        try:
            said: Any = self._judge(outputs, sample.truth)
            figures = said if isinstance(said, Mapping) else {"value": said}
            return ({str(name): float(value) for name, value in figures.items()},)
        except Exception as error:  # whatever the user's function raises
            raise UsageError(
                f"the function failed for {sample.name} ({type(error).__name__}: {error}); it is "
                f"called with outputs ({', '.join(outputs)}) and the truth, and gives numbers"
            ) from error

    def measure(self, rows: Sequence[tuple[Row, Values]]) -> CustomMetrics:
        names = sorted({name for _, (figures,) in rows for name in figures})
        return CustomMetrics(
            {n: mean_of([f[n] for _, (f,) in rows if n in f]) for n in names},
        )


def _import(place: str) -> Judge:
    """The function at MODULE:FUNCTION."""
    found = import_object(place, f"function {place!r}", "MODULE:FUNCTION")
    if not callable(found):
        raise UsageError(f"{place!r} is a {type(found).__name__}, expected a function")
    return found  # type: ignore[no-any-return]


@dataclass(frozen=True)
class CustomMetrics(Metrics):
    """The mean of each figure, by name."""

    means: Mapping[str, Mean]

    def figures(self) -> Mapping[str, str]:
        return {
            name: f"{m.value:.6g}" + ("" if math.isnan(m.error) else f" ± {m.error:.2g}")
            for name, m in self.means.items()
        }

    def to_json(self) -> dict[str, Any]:
        return {
            name: {k: json_number(v) for k, v in asdict(m).items()}
            for name, m in self.means.items()
        }
