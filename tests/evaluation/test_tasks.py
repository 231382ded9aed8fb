"""Detection, segmentation, regression and functions of one's own, against independent figures."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn import metrics as sk

import octolite
from octolite.errors import UsageError
from octolite.evaluation.detection import FIGURES, DetectionMetrics, coco_metrics
from octolite.evaluation.metrics import Mean
from octolite.evaluation.regression import RegressionMetrics
from octolite.evaluation.segmentation import SegmentationMetrics
from octolite.evaluation.task import Task
from octolite.evaluation.tasks import TASKS
from octolite.ir.graph import Graph
from octolite.ir.types import FLOAT32
from tests.evaluation.echoes import detector, echo, op, write_model

RNG = np.random.default_rng(31)

# -- the table of tasks ----------------------------------------------------------------------------


def test_a_task_that_lacks_a_part_is_refused() -> None:
    with pytest.raises(TypeError, match="lacks name, summary, results"):
        type("Half", (Task,), {})


def test_every_task_has_its_own_module_and_name() -> None:
    assert list(TASKS) == ["classification", "detection", "segmentation", "regression", "custom"]
    assert all(task.__module__.endswith(f".{name}") for name, task in TASKS.items())


# -- detection -------------------------------------------------------------------------------------

SIDE = 255  # so that a pixel's value is a coordinate
KINDS = {"ant": 1, "bee": 2, "cat": 5}


def annotated(boxes: dict[str, list[tuple[str, list[float]]]]) -> dict[str, Any]:
    """COCO's annotations: x, y, width and height by image."""
    images = [
        {"id": 10 + i, "file_name": name, "height": SIDE, "width": SIDE}
        for i, name in enumerate(boxes)
    ]
    return {
        "images": images,
        "categories": [{"id": i, "name": name} for name, i in KINDS.items()],
        "annotations": [
            {"image_id": image["id"], "category_id": KINDS[kind], "bbox": box}
            for image in images
            for kind, box in boxes[image["file_name"]]
        ],
    }


def detected(folder: Path, name: str, rows: list[list[int]]) -> None:
    """An image that says what :func:`detector` finds in it."""
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.array(rows, np.uint8)).save(folder / name)


def official(annotations: dict[str, Any], found: list[dict[str, Any]]) -> list[float]:
    """The twelve figures, by pycocotools' own reading and summing up."""
    with contextlib.redirect_stdout(io.StringIO()):
        truths = COCO()
        truths.dataset = json.loads(json.dumps(annotations))
        for number, box in enumerate(truths.dataset["annotations"], 1):
            box |= {"id": number, "iscrowd": 0, "area": box["bbox"][2] * box["bbox"][3]}
        truths.createIndex()
        judged = COCOeval(truths, truths.loadRes(found), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return [float(v) for v in judged.stats]


def test_detections_by_hand(tmp_path: Path) -> None:
    """A box met exactly counts at ten thresholds, one of IoU 0.62 at 0.50, 0.55 and 0.60."""
    truth = {"a.png": [("ant", [10, 20, 40, 60])], "b.png": [("bee", [0, 0, 100, 100])]}
    labels = tmp_path / "truth.json"
    labels.write_text(json.dumps(annotated(truth)))
    # top, left, bottom, right, class, score; 62 of 100 columns are told of the bee.
    detected(tmp_path / "images", "a.png", [[20, 10, 80, 50, 0, 250], [0, 0, 1, 1, 9, 255]])
    detected(tmp_path / "images", "b.png", [[0, 0, 100, 62, 1, 200], [0, 0, 1, 1, 9, 255]])
    names = tmp_path / "names.txt"
    names.write_text("ant\nbee\n???\n")
    model = detector(tmp_path / "m.tflite", 2)
    found = octolite.evaluate(
        "detection", model, tmp_path / "images", labels,
        preprocess="none", model_output_labels=str(names),
    )  # fmt: skip
    metrics = found.metrics
    assert isinstance(metrics, DetectionMetrics)
    assert metrics.per_class["ant"] == pytest.approx(1.0)
    assert metrics.per_class["bee"] == pytest.approx(0.3)
    assert np.isnan(metrics.per_class["cat"])
    assert metrics.mean_average_precision == pytest.approx(0.65)
    assert metrics.values["AP75"] == pytest.approx(0.5)
    by_offset = octolite.evaluate(
        "detection", model, tmp_path / "images", labels, preprocess="none", category_offset=1
    )
    assert by_offset.metrics.values["AP"] == pytest.approx(0.65)


def test_detections_are_pycocotools(tmp_path: Path) -> None:
    kinds = list(KINDS)
    truth: dict[str, list[tuple[str, list[float]]]] = {}
    found = []
    for number in range(12):
        boxes = RNG.integers(0, 90, (4, 2)), RNG.integers(5, 120, (4, 2))
        truth[f"{number:02}.png"] = listed = [
            (kinds[RNG.integers(3)], [*map(float, (*at, *size))])
            for at, size in zip(*boxes, strict=True)
        ]
        rows = []
        for kind, (x, y, width, height) in listed:
            shift = RNG.integers(0, 12, 4)
            top, left, bottom, right = np.array([y, x, y + height, x + width]) + shift
            told = kinds.index(kind) if RNG.random() < 0.8 else int(RNG.integers(3))
            score = int(RNG.integers(1, 256))
            rows.append([*map(int, (top, left, bottom, right)), told, score])
            found.append(
                {
                    "image_id": 10 + number,
                    "category_id": KINDS[kinds[told]],
                    "score": score / 255,
                    "bbox": [*map(float, (left, top, right - left, bottom - top))],
                }
            )
        detected(tmp_path / "images", f"{number:02}.png", rows)
    annotations = annotated(truth)
    expected = official(annotations, found)
    labels = tmp_path / "truth.json"
    labels.write_text(json.dumps(annotations))
    names = tmp_path / "names.txt"
    names.write_text("\n".join(kinds))
    output = tmp_path / "out.csv"
    for _ in range(2):  # the second time from the table alone
        judged = octolite.evaluate(
            "detection", detector(tmp_path / "m.tflite", 4), tmp_path / "images", labels,
            preprocess="none", model_output_labels=str(names), output=output,
        )  # fmt: skip
        values = [judged.metrics.values[name] for name in FIGURES]
        np.testing.assert_allclose(values, [v if v > -1 else np.nan for v in expected], atol=1e-9)
    assert 0.1 < judged.metrics.mean_average_precision < 0.9


def test_nothing_found_is_no_error() -> None:
    truth = {**annotated({"a.png": [("ant", [0, 0, 9, 9])]})}
    truth["annotations"][0] |= {"id": 1, "iscrowd": 0, "area": 81}
    assert coco_metrics(truth, [], [10]).mean_average_precision == 0.0


def test_detection_is_not_guessed(tmp_path: Path) -> None:
    labels = tmp_path / "truth.json"
    labels.write_text(json.dumps(annotated({"a.png": [("ant", [0, 0, 9, 9])]})))
    detected(tmp_path / "images", "a.png", [[0, 0, 9, 9, 0, 99]])
    model, images = detector(tmp_path / "m.tflite", 1), tmp_path / "images"
    with pytest.raises(UsageError, match="which category each class is"):
        octolite.evaluate("detection", model, images, labels, preprocess="none")
    with pytest.raises(UsageError, match="leave out the crop"):
        octolite.evaluate("detection", model, images, labels, preprocess="none,crop=0.5")
    with pytest.raises(UsageError, match="give COCO's annotations"):
        octolite.evaluate("detection", model, images, preprocess="none")
    with pytest.raises(UsageError, match="say which are boxes,classes,scores,count"):
        octolite.evaluate(
            "detection", model, images, labels, category_offset=1, output_tensors="boxes"
        )
    labels.write_text("{}")
    with pytest.raises(UsageError, match="as COCO's annotations"):
        octolite.evaluate("detection", model, images, labels, preprocess="none")


# -- segmentation ----------------------------------------------------------------------------------


def segmenter(path: Path, height: int, width: int, classes: int) -> Path:
    """Scores of each pixel: how near the pixel's value is to a class."""
    graph = Graph()
    x = graph.add_input("x", FLOAT32, (1, height, width, 1))
    numbers = np.arange(classes, dtype=np.float32)
    distance = op(graph, "ABS", "distance", op(graph, "SUB", "off", x, numbers))
    return write_model(path, graph, op(graph, "NEG", "scores", distance))


def test_segmentation_is_scikit_learns(tmp_path: Path) -> None:
    told = RNG.integers(0, 4, (5, 6, 7), np.uint8)
    masks = np.where(RNG.random(told.shape) < 0.7, told, RNG.integers(0, 4, told.shape))
    masks[:, 0, 0] = 255  # does not count
    for folder, arrays in (("images", told), ("masks", masks.astype(np.uint8))):
        (tmp_path / folder).mkdir()
        for number, array in enumerate(arrays):
            Image.fromarray(array).save(tmp_path / folder / f"{number}.png")
    (tmp_path / "images" / "5.png").write_bytes((tmp_path / "images" / "0.png").read_bytes())
    model = segmenter(tmp_path / "m.tflite", 6, 7, 4)
    found = octolite.evaluate(
        "segmentation", model, tmp_path / "images", tmp_path / "masks", preprocess="none"
    )
    counted = masks != 255
    expected = sk.jaccard_score(masks[counted], told[counted], average=None)
    metrics = found.metrics
    assert isinstance(metrics, SegmentationMetrics)
    np.testing.assert_allclose(metrics.iou, expected)
    assert metrics.miou == pytest.approx(expected.mean())
    assert metrics.pixel_accuracy == pytest.approx((masks == told)[counted].mean())
    assert found.skipped == (("5.png", f"{tmp_path / 'masks'} has no mask 5.png"),)


def test_masks_are_cropped_and_resized_as_images_are(tmp_path: Path) -> None:
    """Blocks of 4×4: enlarged, the pixels of image and mask are still the same ones."""
    blocks = np.kron(RNG.integers(0, 3, (4, 4), np.uint8), np.ones((4, 4), np.uint8))
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.fromarray(blocks).save(tmp_path / folder / "a.png")
    found = octolite.evaluate(
        "segmentation", segmenter(tmp_path / "m.tflite", 16, 16, 3),
        tmp_path / "images", tmp_path / "masks",
        preprocess="crop=8x8,resize=model,filter=nearest,none",
    )  # fmt: skip
    assert found.metrics.miou == 1.0
    assert found.metrics.confusion.sum() == 256


def test_an_output_of_another_size_is_enlarged(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "d.npz",
        images=np.array([[[1, 2], [0, 1]]], np.float32),
        labels=np.kron([[1, 2], [0, 2]], np.ones((3, 3)))[None].astype(np.uint8),
    )
    model = echo(tmp_path / "m.tflite", (1, 2, 2), [1, 2, 2])
    metrics = octolite.evaluate("segmentation", model, tmp_path / "d.npz").metrics
    np.testing.assert_array_equal(metrics.confusion, [[9, 0, 0], [0, 9, 0], [0, 9, 9]])
    np.testing.assert_allclose(metrics.iou, [1, 1 / 2, 1 / 2])


def test_scores_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=np.full((1, 2, 2), 0.5), labels=np.zeros((1, 2, 2), int))
    model = echo(tmp_path / "m.tflite", (1, 2, 2), [1, 2, 2])
    with pytest.raises(UsageError, match="they are no classes"):
        octolite.evaluate("segmentation", model, tmp_path / "d.npz")


# -- regression ------------------------------------------------------------------------------------


def test_regression_is_scikit_learns(tmp_path: Path) -> None:
    told = RNG.normal(size=(40, 2)).astype(np.float32)
    truths = told + RNG.normal(size=told.shape) * 0.2
    np.savez(tmp_path / "d.npz", images=told, labels=truths)
    model = echo(tmp_path / "m.tflite", (1, 2), [1, 2])
    output = tmp_path / "out.csv"
    for _ in range(2):  # the second time from the table alone: no digit is lost
        metrics = octolite.evaluate("regression", model, tmp_path / "d.npz", output=output).metrics
        assert isinstance(metrics, RegressionMetrics)
        assert metrics.errors.mae == pytest.approx(sk.mean_absolute_error(truths, told), rel=1e-12)
        assert metrics.errors.rmse == pytest.approx(sk.mean_squared_error(truths, told) ** 0.5)
        assert metrics.errors.r2 == pytest.approx(sk.r2_score(truths, told))


def test_regression_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b,y\n1,2,1 3\n3,4,"3,4"\n5,6,none\n')
    model = echo(tmp_path / "m.tflite", (1, 2), [1, 2])
    found = octolite.evaluate("regression", model, tmp_path / "t.csv", label_field="y")
    assert found.metrics.errors.mae == 0.25
    assert found.skipped == (("3", "the label 'none' is no list of numbers"),)


# -- functions of one's own ----------------------------------------------------------------------


def test_a_function_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("def judge(outputs, truth):\n    return outputs['y'].sum()\n")
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "x.npy", np.float32([[1, 2], [3, 4], [5, 6]]))
    model = echo(tmp_path / "m.tflite", (1, 2), [1, 2])
    metrics = octolite.evaluate("custom", model, "x.npy", function="mine:judge").metrics
    assert metrics.means == {"value": Mean(7.0, pytest.approx(4 / 3**0.5), 3)}
    (tmp_path / "labels.txt").write_text("1\n2\n3\n")

    def judge(outputs: dict[str, np.ndarray], truth: str) -> dict[str, float]:
        return {"first": float(outputs["y"][0]), "label": float(truth)}

    for _ in range(2):  # the second time from the table alone
        named = octolite.evaluate(
            "custom", model, "x.npy", "labels.txt", function=judge, output="out.csv"
        ).metrics
        assert {n: m.value for n, m in named.means.items()} == {"first": 3.0, "label": 2.0}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (None, "--function MODULE:FUNCTION"),
        ("mine", "should be MODULE:FUNCTION"),
        ("no_such_module:f", "cannot be imported"),
        ("math:pi", "is a float, expected a function"),
        (lambda outputs, truth: outputs["z"], r"failed for 0 \(KeyError: 'z'\).*outputs \(y\)"),
    ],
)
def test_functions_that_do_not_work(tmp_path: Path, function: Any, message: str) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 2), np.float32))
    model = echo(tmp_path / "m.tflite", (1, 2), [1, 2])
    with pytest.raises(UsageError, match=message):
        octolite.evaluate("custom", model, tmp_path / "x.npy", function=function)
