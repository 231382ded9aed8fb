"""How good a model is, as one number: the higher, the better.

A metric is any function of an interpreter that gives a number. Those that are named here run the
feeds and compare with the float model's outputs, or with labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from octolite.errors import UsageError, did_you_mean
from octolite.evaluation.compare import agreements, like_a_classifier
from octolite.evaluation.feeds import Feeds, feed
from octolite.evaluation.tally import Tally, real
from octolite.ir.graph import Graph
from octolite.ir.types import Array
from octolite.runtime.interpreter import Interpreter

Metric = Callable[[Interpreter], float]
"""Runs an interpreter and gives a number; the higher, the better."""


class Judge:
    """Judges interpreters of one network by what they make of the same feeds.

    Args:
        graph: the float model's.
        given: what to run.
        interpreter: of the float model; others are compared with what it gives.
        labels: the class of each sample, for ``accuracy``.
    """

    def __init__(
        self, graph: Graph, given: Feeds, interpreter: Interpreter, labels: Array | None = None
    ) -> None:
        self.graph, self.given = graph, given
        self.reference = self.run(interpreter)
        self.labels = None if labels is None else np.asarray(labels).reshape(-1)
        if self.labels is not None:
            rows = sum(len(outputs[0]) if outputs[0].ndim else 1 for outputs in self.reference)
            if len(self.labels) < rows or self.labels.dtype.kind not in "iu":
                raise UsageError(
                    f"{len(self.labels)} labels of {self.labels.dtype} for {rows} samples; there "
                    "must be a whole number for each"
                )
            self.labels = self.labels[:rows]

    def run(self, interpreter: Interpreter) -> list[list[Array]]:
        """The outputs, as real numbers, for each feed."""
        indices = [d["index"] for d in interpreter.get_output_details()]
        found = []
        for sample in self.given:
            feed(interpreter, self.graph.inputs, sample)
            interpreter.invoke()
            pairs = zip(indices, self.graph.outputs, strict=True)
            found.append([real(interpreter.get_tensor(i), v) for i, v in pairs])
        return found

    # -- metrics ------------------------------------------------------------------------------

    def noise(self, interpreter: Interpreter) -> float:
        """Noise over signal, a quotient of powers, averaged over the outputs."""
        tallies: dict[int, Tally] = {}
        for expected, found in zip(self.reference, self.run(interpreter), strict=True):
            for i, (a, b) in enumerate(zip(expected, found, strict=True)):
                if a.dtype.kind not in "fiub":
                    continue
                if a.shape != b.shape:  # an extent that depends on data
                    return math.inf
                tallies.setdefault(i, Tally()).add(a, b)
        ratios = [_ratio(t.signal, t.noise) for t in tallies.values()]
        return sum(ratios) / len(ratios) if ratios else 0.0

    def sqnr(self, interpreter: Interpreter) -> float:
        """Of the outputs, against those of the float model, in dB."""
        noise = self.noise(interpreter)
        return (
            math.inf if noise == 0 else -math.inf if noise == math.inf else -10 * math.log10(noise)
        )

    def fidelity(self, interpreter: Interpreter) -> float:
        """100 · (1 - root of noise over signal), in percent."""
        return 100 * (1 - math.sqrt(self.noise(interpreter)))

    def agreement(self, interpreter: Interpreter) -> float:
        """Samples whose greatest entry of the first output is the float model's, in percent."""
        rows = same = 0
        for expected, found in zip(self.reference, self.run(interpreter), strict=True):
            rows += len(expected[0])
            same += agreements(expected[0], found[0])[0]
        return 100 * same / rows

    def accuracy(self, interpreter: Interpreter) -> float:
        """Samples whose greatest entry of the first output is their label, in percent."""
        found = np.concatenate([outputs[0].argmax(axis=-1) for outputs in self.run(interpreter)])
        return float(100 * np.mean(found.reshape(-1) == self.labels))

    # -- which --------------------------------------------------------------------------------

    def metric(self, wanted: str | Metric | None, default: str) -> tuple[str, Metric]:
        """A metric with its name: one of :data:`METRICS`, or people's own.

        Raises :class:`UsageError` for names of none, and for those that do not suit the outputs.
        """
        if callable(wanted):
            return getattr(wanted, "__name__", "metric"), _checked(wanted)
        name = wanted or default
        if name not in METRICS:
            raise UsageError(f"there is no metric {name!r}. {did_you_mean(name, METRICS)}")
        if name == "accuracy" and self.labels is None:
            raise UsageError("the metric 'accuracy' needs labels")
        if name in ("agreement", "accuracy") and not self.is_classifier:
            raise UsageError(
                f"the metric {name!r} is for classifiers, and the first output has the shape "
                f"{self.reference[0][0].shape}"
            )
        found: Metric = getattr(self, name)
        return name, found

    @property
    def is_classifier(self) -> bool:
        """Whether the first output is a row of numbers for each sample."""
        return bool(self.reference[0]) and like_a_classifier(self.reference[0][0])


METRICS: Sequence[str] = ("sqnr", "fidelity", "agreement", "accuracy")
"""Methods of :class:`Judge` that are metrics."""

UNITS = {"sqnr": "dB", "fidelity": "%", "agreement": "%", "accuracy": "%"}


def _ratio(signal: float, noise: float) -> float:
    if noise == 0:
        return 0.0
    return noise / signal if signal > 0 and math.isfinite(noise) else math.inf


def _checked(metric: Callable[[Interpreter], Any]) -> Metric:
    def checked(interpreter: Interpreter) -> float:
        found = metric(interpreter)
        try:
            number = float(found)
        except (TypeError, ValueError):
            raise UsageError(f"the metric gave {found!r}, expected a number") from None
        if math.isnan(number):
            raise UsageError("the metric gave NaN, expected a number")
        return number

    return checked
