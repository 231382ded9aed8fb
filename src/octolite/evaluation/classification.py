"""Classification: which class, and at which place the right one is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from octolite.errors import UsageError, did_you_mean
from octolite.evaluation.data import Dataset, Sample
from octolite.evaluation.journal import Row, Running, Values
from octolite.evaluation.metrics import Proportion, confusion_matrix, mcnemar, rank
from octolite.evaluation.task import (
    OUTPUT,
    Comparison,
    Details,
    Facts,
    Metrics,
    Task,
    is_whole,
    json_number,
    option,
    read_lines,
)
from octolite.ir.types import Array

FEW = 20
"""Classes that fit a screen."""


@dataclass
class Classification(Task):
    """Top-k accuracy, as TensorFlow Lite's ILSVRC tool has it, and what lies behind it."""

    name: ClassVar = "classification"
    summary: ClassVar = "Top-k accuracy of an image classifier (or any other)."
    expected: ClassVar = ("Truth",)
    results: ClassVar = ("Predicted", "Rank")

    model_output_labels: str | None = option(
        "A file with the name of each output, a line each; by default what the model's metadata "
        "name, or class folders in alphabetical order. Labels are numbers where nothing names them."
    )
    label_offset: int = option(
        "Added to a label's place to get its output: 1 where the model's first output is a "
        "background class that the labels lack.",
        0,
    )
    num_ranks: int = option("The k of top-1 … top-k.", 10)
    output_tensor: str | None = option(OUTPUT)

    def __post_init__(self) -> None:
        if self.num_ranks < 1:
            raise UsageError(f"num_ranks is {self.num_ranks}; it must be at least 1")
        self._names: tuple[str, ...] = ()
        self._source = ""
        self._outputs = 0

    # -- labels -----------------------------------------------------------------------------------

    def ready(self, dataset: Dataset, models: Sequence[Facts]) -> None:
        counts = {m.name: _classes(m.outputs[m.output(self.output_tensor)]) for m in models}
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{name} has {count}" for name, count in counts.items())
            raise UsageError(f"the models tell different numbers of classes apart: {said}")
        self._outputs = next(iter(counts.values()))
        self._names, self._source = self._named(dataset, models[0])
        if self._names:
            _check_count(len(self._names), self.label_offset, self._outputs, self._source)
        for name in dataset.classes:
            self._index(name)

    def _named(self, dataset: Dataset, model: Facts) -> tuple[tuple[str, ...], str]:
        """What outputs are called, and who says so."""
        if self.model_output_labels is not None:
            return tuple(read_lines(Path(self.model_output_labels))), self.model_output_labels
        place = list(model.outputs).index(model.output(self.output_tensor))
        described = model.metadata.outputs[place : place + 1]
        if described and described[0].labels:
            return described[0].labels, "the model's metadata"
        if dataset.classes:
            return dataset.classes, f"the folders in {dataset.path}"
        return (), ""

    def _index(self, label: Any) -> int:
        """The output that a label stands for."""
        if is_whole(label):
            index = int(label)
        elif (text := str(label)) in self._places:
            return self._places[text]
        elif self.model_output_labels is None and text.lstrip("-").isdecimal():
            index = int(text)
        else:
            raise UsageError(self._unknown(text))
        index += self.label_offset
        if not 0 <= index < self._outputs:
            raise UsageError(
                f"label {label} would be output {index}, and the model has 0…{self._outputs - 1}. "
                "If labels start at 1, give label_offset -1; if outputs start with a background "
                "class that labels lack, 1"
            )
        return self._canonical.get(index, index)

    def _unknown(self, text: str) -> str:
        if not self._names:
            return (
                f"label {text!r} is a name, and nothing says what the outputs are called: give a "
                "file of their names, a line each (--model_output_labels)"
            )
        return f"label {text!r} is not in {self._source}. {did_you_mean(text, self._names)}"

    @cached_property
    def _places(self) -> dict[str, int]:
        """The first output of each name: of classes that share one, the tool tells none apart."""
        places: dict[str, int] = {}
        for index, name in enumerate(self._names):
            places.setdefault(name, index + self.label_offset)
        return places

    @cached_property
    def _canonical(self) -> dict[int, int]:
        """Outputs whose name an earlier one has, by that one."""
        named = {i + self.label_offset: self._places[n] for i, n in enumerate(self._names)}
        return {index: first for index, first in named.items() if index != first}

    @cached_property
    def _alike(self) -> dict[int, list[int]]:
        """Several outputs of one name, by the first."""
        groups: dict[int, list[int]] = {}
        for index, first in self._canonical.items():
            groups.setdefault(first, [first]).append(index)
        return groups

    def class_name(self, index: int) -> str:
        """What an output is called: its number, where it has no name."""
        place = index - self.label_offset
        return self._names[place] if 0 <= place < len(self._names) else str(index)

    # -- judging ----------------------------------------------------------------------------------

    def truth(self, sample: Sample) -> Values:
        return (self._index(sample.truth),)

    def judge(
        self, outputs: Mapping[str, Array], sample: Sample, expected: Values, model: Facts
    ) -> Values:
        scores = np.asarray(outputs[model.output(self.output_tensor)], np.float32).reshape(-1)
        if scores.size != self._outputs:
            raise UsageError(f"{model.name} gave {scores.size} scores, expected {self._outputs}")
        predicted = int(np.where(np.isnan(scores), -np.inf, scores).argmax())
        (truth,) = expected
        place = min(rank(scores, i) for i in self._alike.get(truth, [truth]))
        return self._canonical.get(predicted, predicted), place

    def running_columns(self) -> tuple[str, ...]:
        return tuple(f"Top {k + 1}" for k in range(self.num_ranks))

    def running(self, models: int) -> Running:
        hits, seen = np.zeros((models, self.num_ranks), np.int64), 0

        def take(row: Row) -> list[float]:
            nonlocal seen
            if not row.skipped:
                seen += 1
                for own, (_, place) in zip(hits, row.results, strict=True):
                    own[place - 1 :] += 1
            shares: list[float] = (100.0 * hits / seen).reshape(-1).tolist() if seen else []
            return shares or [math.nan] * hits.size

        return take

    def measure(self, rows: Sequence[tuple[Row, Values]]) -> ClassificationMetrics:
        truths = np.array([row.expected[0] for row, _ in rows], np.int64)
        told = np.array([values for _, values in rows], np.int64).reshape(-1, 2)
        return ClassificationMetrics(
            tuple(
                Proportion(int((told[:, 1] <= k + 1).sum()), len(rows))
                for k in range(self.num_ranks)
            ),
            confusion_matrix(truths.tolist(), told[:, 0].tolist(), self._outputs),
            tuple(self.class_name(i) for i in range(self._outputs)),
            tuple(_off_by(told[:, 0] - truths)),
        )

    def compare(self, rows: Sequence[Row], first: int, second: int) -> Agreement:
        pairs = [(row.results[first], row.results[second]) for row in rows]
        return Agreement(
            Proportion(sum(a[0] == b[0] for a, b in pairs), len(pairs)),
            sum(a[1] == 1 != b[1] for a, b in pairs),
            sum(b[1] == 1 != a[1] for a, b in pairs),
        )

    def notes(self) -> tuple[str, ...]:
        said = []
        if self._source.startswith("the folders"):
            said.append(
                f"outputs 0…{self._outputs - 1} are taken for {self._source} in alphabetical "
                "order; --model_output_labels gives another"
            )
        if self._canonical:
            names = sorted({self.class_name(i) for i in self._alike})
            said.append(f"outputs that share a name count as one class: {', '.join(names)}")
        if self.label_offset:
            said.append(f"labels are shifted by {self.label_offset}")
        return tuple(said)


def _classes(shape: Sequence[int | None]) -> int:
    extents = [d for d in shape[1:] if d != 1]
    if not extents and shape:
        extents = list(shape[-1:])
    if len(extents) != 1 or extents[0] is None:
        listed = ", ".join("?" if d is None else str(d) for d in shape)
        raise UsageError(f"the output is [{listed}]; expected [batch, classes], a score for each")
    return extents[0]


def _check_count(names: int, offset: int, outputs: int, source: str) -> None:
    if names + offset == outputs:
        return
    said = f"the model has {outputs} outputs and {source} names {names}"
    if names + 1 == outputs and not offset:
        raise UsageError(
            f"{said}: one fewer. Most likely the model's first output is a background class, as in "
            "TensorFlow's models of 1001 classes: then give label_offset 1 (--label_offset 1), or "
            "names that start with 'background'"
        )
    if names == outputs + 1:
        raise UsageError(
            f"{said}: one more. Most likely the first name is a background class that the model "
            "does not have: take it from the file, or give label_offset -1 (--label_offset -1)"
        )
    raise UsageError(f"{said}, label_offset is {offset}; give the names that belong to this model")


def _off_by(differences: Array) -> list[int]:
    """Shifts of labels by one with which the model would be right significantly more often."""
    total = len(differences)
    best = Proportion(int((differences == 0).sum()), total).interval()[1]
    shares = {d: Proportion(int((differences == d).sum()), total) for d in (-1, 1)}
    return [d for d, share in shares.items() if share.interval()[0] > best]


@dataclass(frozen=True)
class ClassAccuracy:
    """How many samples of a class were told right, and how many were said to be of it."""

    label: str
    recall: Proportion
    precision: Proportion


@dataclass(frozen=True)
class ClassificationMetrics(Metrics):
    """Of one classifier.

    Attributes:
        top: top-1, top-2, … accuracy.
        confusion: int64 [truth, predicted].
        labels: of the classes.
        off_by: shifts of the labels that would make the model much better; none, if all is well.
    """

    top: tuple[Proportion, ...]
    confusion: Array
    labels: tuple[str, ...]
    off_by: tuple[int, ...] = ()

    @property
    def accuracy(self) -> Proportion:
        """Top-1."""
        return self.top[0]

    def per_class(self) -> tuple[ClassAccuracy, ...]:
        """For each class that occurs, as a truth or as a prediction."""
        rows, columns = self.confusion.sum(1).tolist(), self.confusion.sum(0).tolist()
        right = np.diag(self.confusion).tolist()
        return tuple(
            ClassAccuracy(self.labels[i], Proportion(hit, rows[i]), Proportion(hit, columns[i]))
            for i, hit in enumerate(right)
            if rows[i] or columns[i]
        )

    def confused(self, count: int = 10) -> tuple[tuple[str, str, int], ...]:
        """The most frequent mistakes: truth, prediction, how often."""
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-wrong, axis=None, kind="stable")[:count]
        found = [(*divmod(int(at), len(self.labels)), int(wrong.flat[at])) for at in order]
        return tuple((self.labels[t], self.labels[p], n) for t, p, n in found if n)

    @property
    def notes(self) -> tuple[str, ...]:
        total = self.accuracy.total
        return tuple(
            f"labels look off by one: with every label {d:+d}, "
            f"{100 * int(np.trace(self.confusion, d)) / total:.2f} % of {total} samples would be "
            f"right in place of {100 * self.accuracy.value:.2f} %; is there a background class? "
            f"(--label_offset)"
            for d in self.off_by
        )

    def figures(self) -> Mapping[str, str]:
        shown = [k for k in (1, 5) if k <= len(self.top)]
        return {f"top-{k} accuracy": str(self.top[k - 1]) for k in shown}

    def details(self) -> tuple[Details, ...]:
        classes = sorted(self.per_class(), key=lambda c: c.recall.interval()[1])
        worst = Details(
            "by class" if len(classes) <= FEW else f"the {FEW} worst classes",
            ("class", ">told right, % (95 %)", ">of", ">rightly said, % (95 %)", ">of"),
            [
                (
                    c.label,
                    f"{c.recall}",
                    f"{c.recall.total}",
                    f"{c.precision}",
                    f"{c.precision.total}",
                )
                for c in classes[:FEW]
            ],
        )
        return worst, self._confusion_table()

    def _confusion_table(self) -> Details:
        """Of few classes the whole matrix, of many the most frequent mistakes."""
        used = np.flatnonzero(self.confusion.sum(0) + self.confusion.sum(1)).tolist()
        if len(used) > FEW:
            mistakes = [(t, p, str(n)) for t, p, n in self.confused(FEW)]
            return Details("most frequent mistakes", ("truth", "told", ">times"), mistakes)
        names = [self.labels[i] for i in used]
        rows = [
            (self.labels[t], *(str(n) if (n := self.confusion[t, p]) else "·" for p in used))
            for t in used
        ]
        return Details("truth (rows), told (columns)", ("", *(f">{n}" for n in names)), rows)

    def to_json(self) -> dict[str, Any]:
        return {
            "top": [_proportion(p) for p in self.top],
            "per_class": [
                {
                    "label": c.label,
                    "recall": _proportion(c.recall),
                    "precision": _proportion(c.precision),
                }
                for c in self.per_class()
            ],
            "confusion": [
                {"truth": self.labels[t], "predicted": self.labels[p], "count": n}
                for t, p, n in zip(
                    *(i.tolist() for i in np.nonzero(self.confusion)),
                    self.confusion[self.confusion > 0].tolist(),
                    strict=True,
                )
            ],
        }


def _proportion(share: Proportion) -> dict[str, Any]:
    low, high = share.interval()
    return {
        "value": json_number(share.value),
        "low": low,
        "high": high,
        "successes": share.successes,
        "total": share.total,
    }


@dataclass(frozen=True)
class Agreement(Comparison):
    """Two classifiers on the same samples.

    Attributes:
        same: how often both say the same class, be it right or wrong.
        first_only, second_only: samples that only one of both gets right.
    """

    same: Proportion
    first_only: int
    second_only: int

    @property
    def p_value(self) -> float:
        """McNemar's exact test that both err equally often."""
        return mcnemar(self.first_only, self.second_only)

    def difference(self) -> tuple[float, float, float]:
        """The second's accuracy minus the first's, with the bounds of its 95 % interval.

        Agresti's and Min's interval for matched proportions: half a sample is added to each of the
        four cells. Source: "Simple improved confidence intervals for comparing matched
        proportions", Statistics in Medicine 24 (2005).
        """
        total = self.same.total
        worse, better, count = self.first_only + 0.5, self.second_only + 0.5, total + 2
        centre = (better - worse) / count
        spread = 1.959964 * math.sqrt(worse + better - (better - worse) ** 2 / count) / count
        value = (self.second_only - self.first_only) / total if total else math.nan
        return value, max(centre - spread, -1.0), min(centre + spread, 1.0)

    def figures(self) -> Mapping[str, str]:
        value, low, high = (100 * v for v in self.difference())
        return {
            "same class": str(self.same),
            "difference": f"{value:+.2f} points ({low:+.2f}…{high:+.2f})",
            "only one right": f"{self.first_only} : {self.second_only}",
            "McNemar's exact test": f"p = {self.p_value:.3g}",
        }

    def to_json(self) -> dict[str, Any]:
        value, low, high = self.difference()
        return {
            "agreement": _proportion(self.same),
            "first_only": self.first_only,
            "second_only": self.second_only,
            "mcnemar_p": self.p_value,
            "difference": {"value": json_number(value), "low": low, "high": high},
        }
