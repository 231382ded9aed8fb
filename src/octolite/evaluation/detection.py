"""Detection: boxes of objects, judged as COCO does, by pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from octolite.errors import UsageError, did_you_mean
from octolite.evaluation.data import ONLY, Dataset, Sample
from octolite.evaluation.images import open_image
from octolite.evaluation.journal import Row, Values
from octolite.evaluation.task import Details, Facts, Metrics, Task, json_number, option, read_lines
from octolite.ir.types import Array

ROLES = ("boxes", "classes", "scores", "count")
"""The outputs of TFLite_Detection_PostProcess, in its order."""

FIGURES = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip
"""What pycocotools sums up, in its order."""


@dataclass
class Detection(Task):
    """COCO's mean average precision."""

    name: ClassVar = "detection"
    summary: ClassVar = "COCO's mAP of a detector with TFLite's post-processing."
    results: ClassVar = ("Detections",)
    needs_truth: ClassVar = False  # it is in the annotations, of which there must be a file

    model_output_labels: str | None = option(
        "A file with the name of each class, a line each, as the annotations call them; '???' for "
        "a class that they do not have."
    )
    category_offset: int | None = option(
        "Without names: what is added to a class to get the annotations' category id; 1 for "
        "models of TensorFlow's that were trained on COCO."
    )
    output_tensors: str | None = option(
        "Outputs in the order boxes,classes,scores,count; by default the model's own order, which "
        "TFLite_Detection_PostProcess has so."
    )

    def __post_init__(self) -> None:
        self._annotations: dict[str, Any] = {}
        self._images: dict[str, dict[str, Any]] = {}
        self._categories: dict[int, int] | None = None

    def labelled(self, dataset: Dataset, labels: Path | None) -> Dataset:
        """The images that a file of COCO's annotations has. Raises :class:`UsageError`."""
        if labels is None:
            raise UsageError("give COCO's annotations, a JSON file (--ground_truth_labels)")
        self._annotations = _annotations(labels)
        self._images = {image["file_name"]: image for image in self._annotations["images"]}
        known = [i for i, name in enumerate(dataset.names) if name in self._images]
        if not known:
            raise UsageError(
                f"{labels} has annotations of {next(iter(self._images), 'no image')}, … and "
                f"{dataset.path} holds none of them, but {dataset.names[0]}"
            )
        return replace(dataset.take(known), labelled=True)

    def ready(self, dataset: Dataset, models: Sequence[Facts]) -> None:
        _cocotools()
        for model in models:
            self._roles(model)
            if not model.preparation.stretches_only:
                raise UsageError(
                    "boxes are relative to the whole image, which --preprocess crops: leave out "
                    "the crop for detection"
                )
        self._categories = self._map(models[0])

    def _map(self, model: Facts) -> dict[int, int] | None:
        """Category ids by class; ``None`` where they differ by :attr:`category_offset`."""
        described = model.metadata.outputs[1:2]
        if self.model_output_labels is not None:
            names: Sequence[str] = read_lines(Path(self.model_output_labels))
        elif self.category_offset is not None:
            return None
        elif described and described[0].labels:
            names = described[0].labels
        else:
            raise UsageError(
                "nothing says which category each class is: give the classes' names "
                "(--model_output_labels), or what to add to a class to get its category id "
                "(--category_offset, 1 for TensorFlow's models of COCO)"
            )
        ids = {c["name"]: c["id"] for c in self._annotations["categories"]}
        if not any(name in ids for name in names):
            raise UsageError(
                f"no class name is a category of the annotations. {did_you_mean(names[0], ids)}"
            )
        return {i: ids[name] for i, name in enumerate(names) if name in ids}

    def _roles(self, model: Facts) -> dict[str, str]:
        """Names of outputs, by what they are."""
        listed = (self.output_tensors or ",".join(model.outputs)).split(",")
        if len(listed) != len(ROLES):
            raise UsageError(
                f"{model.name} has the outputs {', '.join(model.outputs)}; expected those of "
                "TFLite_Detection_PostProcess, or say which are boxes,classes,scores,count "
                "(--output_tensors)"
            )
        return {role: model.output(name) for role, name in zip(ROLES, listed, strict=True)}

    def truth(self, sample: Sample) -> Values:
        return ()

    def judge(
        self, outputs: Mapping[str, Array], sample: Sample, expected: Values, model: Facts
    ) -> Values:
        arrays = {role: outputs[name] for role, name in self._roles(model).items()}
        boxes, classes, scores = (np.asarray(arrays[role], np.float64) for role in ROLES[:3])
        count = int(np.asarray(arrays["count"]).reshape(-1)[0]) if arrays["count"].size == 1 else -1
        if boxes.ndim != 2 or boxes.shape[1] != 4 or not 0 <= count <= len(boxes):
            shapes = ", ".join(f"{role} {list(a.shape)}" for role, a in arrays.items())
            raise UsageError(
                f"{model.name} gives {shapes}; expected boxes [n, 4], classes [n], scores [n] and "
                "count [1]. Say which output is which (--output_tensors boxes,classes,scores,count)"
            )
        height, width = self._size(sample)
        top, left, bottom, right = boxes[:count].T * [[height], [width], [height], [width]]
        places = np.stack([left, top, right - left, bottom - top], axis=1)
        found = [
            [category, round(float(score), 6), *(round(v, 3) for v in place)]
            for kind, score, place in zip(classes[:count], scores, places.tolist(), strict=False)
            if (category := self._category(int(kind))) is not None
        ]
        return (found,)

    def _category(self, kind: int) -> int | None:
        if self._categories is None:
            return kind + (self.category_offset or 0)
        return self._categories.get(kind)

    def _size(self, sample: Sample) -> tuple[int, int]:
        """The image's height and width: those annotated, or its own."""
        image = self._images[sample.name]
        if "height" in image and "width" in image:
            return image["height"], image["width"]
        width, height = open_image(sample.inputs[ONLY], "gray").size
        return height, width

    def measure(self, rows: Sequence[tuple[Row, Values]]) -> DetectionMetrics:
        ids = {row.name: self._images[row.name]["id"] for row, _ in rows}
        found = [
            {"image_id": ids[row.name], "category_id": category, "score": score, "bbox": box}
            for row, (listed,) in rows
            for category, score, *box in listed
        ]
        return coco_metrics(self._annotations, found, list(ids.values()))


def coco_metrics(
    annotations: Mapping[str, Any], found: Sequence[Mapping[str, Any]], images: Sequence[int]
) -> DetectionMetrics:
    """COCO's figures of detections, over ``images``.

    Args:
        annotations: as COCO's files have them.
        found: ``image_id``, ``category_id``, ``score`` and ``bbox`` (x, y, width, height) of each.
        images: ids of the images that were looked at.
    """
    coco, evaluation = _cocotools()
    boxes = [
        {**d, "id": i + 1, "area": d["bbox"][2] * d["bbox"][3], "iscrowd": 0}
        for i, d in enumerate(found)
    ]
    with _silence():
        truths, told = coco(), coco()
        truths.dataset = annotations
        told.dataset = {**annotations, "annotations": boxes}
        truths.createIndex()
        told.createIndex()
        judged = evaluation(truths, told, "bbox")
        judged.params.imgIds = sorted(images)
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    # Precision is [thresholds, recalls, categories, areas, most detections]; -1 where undefined.
    precision = judged.eval["precision"][:, :, :, 0, -1]
    names = {c["id"]: c["name"] for c in annotations["categories"]}
    per_class = {}
    for place, category in enumerate(judged.params.catIds):
        known = precision[:, :, place]
        known = known[known > -1]
        per_class[names[category]] = float(known.mean()) if known.size else float("nan")
    values = [float(v) if v > -1 else float("nan") for v in judged.stats]
    return DetectionMetrics(dict(zip(FIGURES, values, strict=True)), per_class, len(images))


def _annotations(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text("utf-8"))
        for image in data["images"]:
            int(image["id"]), str(image["file_name"])
        for category in data["categories"]:
            int(category["id"]), str(category["name"])
        for box in data["annotations"]:
            int(box["image_id"]), int(box["category_id"]), [float(v) for v in box["bbox"]]
            box.setdefault("iscrowd", 0)
            box.setdefault("area", box["bbox"][2] * box["bbox"][3])
        for number, box in enumerate(data["annotations"]):
            box.setdefault("id", number + 1)
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise UsageError(f"cannot read {path} as COCO's annotations: {error!r}") from error
    return dict(data)


def _cocotools() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise UsageError("detection needs pycocotools: pip install 'octolite[evaluate]'") from None
    return COCO, COCOeval


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without what pycocotools prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


@dataclass(frozen=True)
class DetectionMetrics(Metrics):
    """Of one detector.

    Attributes:
        values: COCO's twelve figures (:data:`FIGURES`), 0…1; NaN where there is nothing to find.
        per_class: AP of each category.
        images: how many were looked at.
    """

    values: Mapping[str, float]
    per_class: Mapping[str, float]
    images: int

    @property
    def mean_average_precision(self) -> float:
        """Over IoU 0.50…0.95, COCO's main figure."""
        return self.values["AP"]

    def figures(self) -> Mapping[str, str]:
        shown = {"AP": "mAP 0.50…0.95", "AP50": "mAP 0.50", "AP75": "mAP 0.75", "AR100": "AR 100"}
        return {title: f"{100 * self.values[key]:.2f} %" for key, title in shown.items()}

    def details(self) -> tuple[Details, ...]:
        found = [(n, f"{100 * v:.2f} %") for n, v in self.per_class.items() if v == v]
        return (Details("by class", ("class", ">mAP"), found),)

    def to_json(self) -> dict[str, Any]:
        return {
            **{k: json_number(v) for k, v in self.values.items()},
            "per_class": {k: json_number(v) for k, v in self.per_class.items()},
        }
