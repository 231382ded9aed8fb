"""Segmentation: which class each pixel is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from octolite.errors import DataError, UsageError
from octolite.evaluation.data import Dataset, Sample
from octolite.evaluation.journal import Row, Values
from octolite.evaluation.metrics import intersection_over_union
from octolite.evaluation.task import (
    OUTPUT,
    Details,
    Facts,
    Metrics,
    Task,
    json_number,
    option,
    read_lines,
)
from octolite.ir.types import Array

MOST_CLASSES = 256


@dataclass
class Segmentation(Task):
    """Mean intersection over union, from one confusion matrix of all pixels."""

    name: ClassVar = "segmentation"
    summary: ClassVar = "mIoU of a model that gives each pixel a class."
    results: ClassVar = ("Pixels",)

    ignore_label: int = option("A number in masks that marks pixels which do not count.", 255)
    model_output_labels: str | None = option("A file with the name of each class, a line each.")
    output_tensor: str | None = option(OUTPUT)

    def labelled(self, dataset: Dataset, labels: Path | None) -> Dataset:
        """Masks: a folder with an image for each sample, of the same name, or an array."""
        if labels is None or not labels.is_dir():
            return super().labelled(dataset, labels)
        masks = {p.stem: p for p in labels.iterdir() if p.is_file()}
        read = dataset.read

        def masked(index: int) -> Sample:
            sample = read(index)
            stem = Path(sample.name).stem
            if stem not in masks:
                raise DataError(f"{labels} has no mask {stem}.png")
            return replace(sample, truth=masks[stem])

        return replace(dataset, read=masked, labelled=True)

    def ready(self, dataset: Dataset, models: Sequence[Facts]) -> None:
        for model in models:
            model.output(self.output_tensor)

    def truth(self, sample: Sample) -> Values:
        return ()

    def judge(
        self, outputs: Mapping[str, Array], sample: Sample, expected: Values, model: Facts
    ) -> Values:
        told = _classes(outputs[model.output(self.output_tensor)], model.name)
        mask = model.preparation.mask(sample.truth)
        if mask.ndim == 3 and mask.shape[2] == 1:
            mask = mask[:, :, 0]
        if mask.ndim != 2 or mask.dtype.kind not in "iu":
            raise UsageError(
                f"the mask of {sample.name} is {mask.dtype} {list(mask.shape)}, expected whole "
                "numbers [height, width]"
            )
        told = _nearest(told, mask.shape)
        counts = mask != self.ignore_label
        pairs = np.stack([mask[counts].astype(np.int64), told[counts]])
        if pairs.size and not 0 <= pairs.min() <= pairs.max() < MOST_CLASSES:
            raise DataError(f"classes {pairs.min()}…{pairs.max()}, expected 0…{MOST_CLASSES - 1}")
        found, times = np.unique(pairs, axis=1, return_counts=True)
        return (np.stack([*found, times], axis=1).tolist(),)

    def measure(self, rows: Sequence[tuple[Row, Values]]) -> SegmentationMetrics:
        matrix = np.zeros((MOST_CLASSES, MOST_CLASSES), np.int64)
        for _, (listed,) in rows:
            truth, told, times = np.array(listed, np.int64).reshape(-1, 3).T
            matrix[truth, told] += times
        used = np.flatnonzero(matrix.sum(0) + matrix.sum(1))
        count = int(used[-1]) + 1 if used.size else 0
        names = read_lines(Path(self.model_output_labels)) if self.model_output_labels else []
        labels = [*names, *map(str, range(len(names), count))][:count]
        return SegmentationMetrics(matrix[:count, :count], tuple(labels))


def _classes(output: Array, model: str) -> Array:
    """The class of each pixel, int64 [height, width], from scores or from classes."""
    if output.ndim == 3 and output.shape[2] > 1:
        return np.asarray(output.argmax(2))
    if output.ndim == 3:
        output = output[:, :, 0]
    if output.ndim != 2:
        raise UsageError(
            f"{model} gives {list(output.shape)} for an image; expected scores [height, width, "
            "classes] or classes [height, width]"
        )
    if not np.array_equal(output, np.rint(output)):
        raise UsageError(
            f"{model} gives one number for each pixel and not all are whole: they are no classes. "
            "The score of a single class is judged by 'octolite evaluate custom'"
        )
    return output.astype(np.int64)


def _nearest(classes: Array, size: tuple[int, ...]) -> Array:
    """In another size: of each pixel's centre, the nearest."""
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.int64)
        for old, new in zip(classes.shape, size, strict=True)
    )
    return np.asarray(classes[rows[:, None], columns])


@dataclass(frozen=True)
class SegmentationMetrics(Metrics):
    """Of one model: ``confusion`` is int64 [truth, predicted], in pixels."""

    confusion: Array
    labels: tuple[str, ...]

    @property
    def iou(self) -> Array:
        """Of each class; NaN for one that is neither in masks nor said."""
        return intersection_over_union(self.confusion)

    @property
    def miou(self) -> float:
        """The mean over classes that occur."""
        known = self.iou[~np.isnan(self.iou)]
        return float(known.mean()) if known.size else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        """The share of pixels told right."""
        total = int(self.confusion.sum())
        return float(np.trace(self.confusion)) / total if total else float("nan")

    def figures(self) -> Mapping[str, str]:
        return {
            "mIoU": f"{100 * self.miou:.2f} %",
            "pixel accuracy": f"{100 * self.pixel_accuracy:.2f} %",
        }

    def details(self) -> tuple[Details, ...]:
        shares = zip(self.labels, self.iou.tolist(), strict=True)
        rows = [(name, "" if np.isnan(v) else f"{100 * v:.2f} %") for name, v in shares]
        return (Details("by class", ("class", ">IoU"), rows),)

    def to_json(self) -> dict[str, Any]:
        per_class = zip(self.labels, self.iou.tolist(), strict=True)
        return {
            "miou": json_number(self.miou),
            "pixel_accuracy": json_number(self.pixel_accuracy),
            "iou": {name: json_number(v) for name, v in per_class},
            "confusion": self.confusion.tolist(),
        }
