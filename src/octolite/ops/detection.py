"""Boxes around what is seen in an image: decoded, and thinned out where they overlap."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np

from octolite.errors import ShapeError
from octolite.ir.types import FLOAT32, INT32, UINT8, Array, Dim, Operand, Quant, TensorType
from octolite.ops.base import Operator, attr
from octolite.ops.case import Tensor, case, codes, const, f32, given
from octolite.ops.cells import expect, extent
from octolite.ops.shapes import constant_int, integer, rank_of, sized

CORNERS = 4


def overlaps(box: Array, others: Array) -> Array:
    """Intersection over union of ``box`` [4] with each of ``others`` [n, 4].

    A box is given by two opposite corners (y, x, y, x); an empty one overlaps with nothing.
    """
    low, high = np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])
    lows = np.minimum(others[:, :2], others[:, 2:])
    highs = np.maximum(others[:, :2], others[:, 2:])
    area, areas = np.prod(high - low), np.prod(highs - lows, axis=1)
    sides = np.maximum(np.minimum(high, highs) - np.maximum(low, lows), np.float32(0))
    shared = np.prod(sides, axis=1)
    union = area + areas - shared
    solid = (area > 0) & (areas > 0)
    result: Array = np.divide(shared, union, out=np.zeros_like(shared), where=solid)
    return result


class NonMaxSuppression(Operator, abstract=True):
    """The boxes [n, 4] of the best scores [n] which overlap with no better one.

    ``selected_indices`` [max_output_size] are in the order of the scores and end in zeros; the
    last result says how many are meant.
    """

    def infer(
        self, boxes: Operand, scores: Operand, most: Operand, *thresholds: Operand
    ) -> Sequence[TensorType]:
        rank_of(scores, "scores", 1)
        expect(boxes, "boxes", extent(scores, 0), CORNERS)
        count = constant_int(most)
        if count is not None:
            sized([count])
        return self.types(count)

    def types(self, count: Dim) -> list[TensorType]:
        """The results' types for ``count`` places."""
        return [TensorType(INT32, (count,)), TensorType(INT32, ())]

    def select(
        self, boxes: Array, scores: Array, most: Array, thresholds: Sequence[float]
    ) -> tuple[Array, Array, Array]:
        """Indices and scores, filled up with zeros, and how many were found.

        ``thresholds``: the overlap from which a box is suppressed, the score that a box must
        exceed, and the width of the bell by which overlaps soften scores (0: they do not).
        """
        if boxes.shape != (*scores.shape, CORNERS) or scores.ndim != 1:
            raise ShapeError(f"{self.name}: boxes {boxes.shape} for scores {scores.shape}")
        (places,) = sized((integer(most),))
        least_score = thresholds[1]
        chosen: list[int] = []
        values: list[float] = []
        # The best first, of equals the first: (-score, index, how many it was compared with).
        waiting = [(-float(s), i, 0) for i, s in enumerate(scores) if s > least_score]
        heapq.heapify(waiting)
        while waiting and len(chosen) < places:
            negative, index, begin = heapq.heappop(waiting)
            found = overlaps(boxes[index], boxes[chosen[begin:]])[::-1]
            score = _softened(-negative, found, thresholds)
            if score == -negative:
                chosen.append(index)
                values.append(score)
            elif score > least_score:
                heapq.heappush(waiting, (-score, index, len(chosen)))
        indices, kept = np.zeros(places, np.int32), np.zeros(places, np.float32)
        indices[: len(chosen)], kept[: len(chosen)] = chosen, values
        return indices, kept, np.array(len(chosen), np.int32)


def _softened(score: float, found: Array, thresholds: Sequence[float]) -> float:
    """What ``score`` comes to for a box that overlaps with better ones by ``found``; -inf for one
    that is suppressed."""
    most_overlap, least_score, sigma = thresholds
    if sigma <= 0:
        return -np.inf if np.any(found >= np.float32(most_overlap)) else score
    for overlap in found:
        if overlap >= np.float32(most_overlap):
            return -np.inf
        score = float(np.float32(score) * np.exp(np.float32(-0.5 / sigma) * overlap * overlap))
        if score <= least_score:
            break
    return score


def _boxes(count: int) -> Tensor:
    """Boxes of all sizes, corners in any order."""
    return f32(count, CORNERS, low=0, high=1)


class NonMaxSuppressionV4(NonMaxSuppression):
    """Non-maximum suppression that gives indices."""

    name = "NON_MAX_SUPPRESSION_V4"
    options = "NonMaxSuppressionV4Options"
    inputs = "boxes scores max_output_size iou_threshold score_threshold"
    outputs = "selected_indices num_selected"

    def reference(
        self, boxes: Array, scores: Array, most: Array, overlap: Array, score: Array
    ) -> tuple[Array, Array]:
        thresholds = _number(overlap), _number(score), 0.0
        indices, _, count = self.select(boxes, scores, most, thresholds)
        return indices, count

    cases = (
        case(_boxes(30), f32(30, low=0), const(12), const(0.3), const(0.2)),
        case(_boxes(30), f32(30, low=0), given(5), given(0.5), given(0.0)),
        case(_boxes(4), const([0.5, 0.5, 0.1, 0.5]), const(4), const(0.9), const(0.2)),
        case(_boxes(3), f32(3), const(8), const(0.1), const(0.9)),
        case(f32(0, 4), f32(0), const(3), const(0.5), const(0.0), litert=False),
    )


class NonMaxSuppressionV5(NonMaxSuppression):
    """Non-maximum suppression that gives scores too; overlaps may lower scores.

    With ``soft_nms_sigma`` s > 0, a box that overlaps with a better one by o keeps
    ``exp(-o² / (2 s))`` of its score. Source: Bodla et al., "Soft-NMS" (2017).
    """

    name = "NON_MAX_SUPPRESSION_V5"
    options = "NonMaxSuppressionV5Options"
    inputs = "boxes scores max_output_size iou_threshold score_threshold soft_nms_sigma"
    outputs = "selected_indices selected_scores num_selected"

    def types(self, count: Dim) -> list[TensorType]:
        indices, number = super().types(count)
        return [indices, TensorType(FLOAT32, (count,)), number]

    def reference(
        self,
        boxes: Array,
        scores: Array,
        most: Array,
        overlap: Array,
        score: Array,
        sigma: Array,
    ) -> tuple[Array, Array, Array]:
        return self.select(boxes, scores, most, [_number(x) for x in (overlap, score, sigma)])

    cases = (
        case(_boxes(30), f32(30, low=0), const(12), const(0.3), const(0.2), const(0.0)),
        case(_boxes(30), f32(30, low=0), const(30), const(0.9), const(0.3), const(0.5)),
        case(_boxes(40), f32(40, low=0), given(30), given(0.4), given(0.1), given(0.2)),
    )


def _number(x: Array) -> float:
    if x.size != 1:
        raise ShapeError(f"a threshold should be one number and has shape {x.shape}")
    return float(x.reshape(()))


_ANCHORS = given([[0.1 + 0.2 * (i // 4), 0.1 + 0.25 * (i % 4), 0.3, 0.3] for i in range(20)])
_FEW: dict[str, Any] = {"max_detections": 5, "max_classes_per_detection": 1, "num_classes": 3}
_SCALES: dict[str, Any] = {"y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0}


class DetectionPostProcess(Operator):
    """The last step of SSD detectors: decodes boxes, and keeps the best that differ.

    ``encodings`` [1, n, ≥ 4] are (y, x, height, width) beside ``anchors`` [n, 4]; ``scores``
    [1, n, classes] may have columns for the background in front of ``num_classes``. A box is
    suppressed by one that overlaps more than ``nms_iou_threshold``: of the same class with
    ``use_regular_nms``, of any class without it, and then has its best classes listed. Results
    have max_detections · max_classes_per_detection places; what is behind the last is zeros.
    """

    name = "TFLite_Detection_PostProcess"
    custom = True
    inputs = "encodings scores anchors"
    outputs = "boxes classes scores num_detections"
    max_detections: int = attr(0)
    max_classes_per_detection: int = attr(0)
    detections_per_class: int = attr(100)
    use_regular_nms: bool = attr(False)
    nms_score_threshold: float = attr(0.0)
    nms_iou_threshold: float = attr(0.5)
    num_classes: int = attr(0)
    y_scale: float = attr(1.0)
    x_scale: float = attr(1.0)
    h_scale: float = attr(1.0)
    w_scale: float = attr(1.0)

    def infer(self, encodings: Operand, scores: Operand, anchors: Operand) -> Sequence[TensorType]:
        shape = rank_of(encodings, "box encodings", 3)
        rank_of(scores, "scores", 3)
        count = extent(encodings, 1)
        expect(anchors, "anchors", count, CORNERS)
        expect(scores, "scores", 1, count, extent(scores, 2))
        if shape is not None and (shape[0] not in (1, None) or (shape[2] or CORNERS) < CORNERS):
            raise ShapeError(f"box encodings {encodings.name!r} {shape}, expected [1, n, 4]")
        classes = extent(scores, 2)
        if not 1 <= self.num_classes <= (self.num_classes if classes is None else classes):
            raise ShapeError(
                f"{self.name}: {self.num_classes} classes, and scores {scores.name!r} of {classes}"
            )
        if self.max_detections < 0 or self.max_classes_per_detection < 1:
            raise ShapeError(
                f"{self.name} of at most {self.max_detections} boxes with "
                f"{self.max_classes_per_detection} classes each"
            )
        if not 0 <= self.nms_iou_threshold <= 1 or 0.0 in self._scales:
            raise ShapeError(
                f"{self.name}: overlap {self.nms_iou_threshold} is not in [0, 1], or one of the "
                f"scales {self._scales} is 0"
            )
        places = self._places
        shapes = (1, places, CORNERS), (1, places), (1, places), (1,)
        return [TensorType(FLOAT32, shape) for shape in shapes]

    @property
    def _places(self) -> int:
        return sized((self.max_detections * self.max_classes_per_detection, CORNERS))[0]

    @property
    def _scales(self) -> tuple[float, ...]:
        return self.y_scale, self.x_scale, self.h_scale, self.w_scale

    def reference(
        self, encodings: Array, scores: Array, anchors: Array
    ) -> tuple[Array, Array, Array, Array]:
        parts = encodings[0, :, :CORNERS] / np.array(self._scales, np.float32)
        centres = parts[:, :2] * anchors[:, 2:] + anchors[:, :2]
        halves = np.float32(0.5) * np.exp(parts[:, 2:]) * anchors[:, 2:]
        corners = np.concatenate([centres - halves, centres + halves], axis=1)
        table = scores[0, :, scores.shape[2] - self.num_classes :]
        choose = self._by_class if self.use_regular_nms else self._at_once
        rows, classes, count = choose(corners, table)
        places = self._places
        boxes = np.zeros((1, places, CORNERS), np.float32)
        numbers, values = np.zeros((2, 1, places), np.float32)
        boxes[0, : len(rows)], numbers[0, : len(rows)] = corners[rows], classes
        values[0, : len(rows)] = table[rows, classes]
        return boxes, numbers, values, np.array([count], np.float32)

    def _by_class(self, corners: Array, table: Array) -> tuple[Array, Array, int]:
        """Box and class of each detection, and how many: the best of all classes."""
        most = min(self.detections_per_class, self.max_detections)
        kept = [self._thin_out(corners, column, most) for column in table.T]
        rows = np.concatenate(kept)
        classes = np.repeat(np.arange(len(kept)), [len(k) for k in kept])
        best = np.argsort(-table[rows, classes], kind="stable")[: self.max_detections]
        return rows[best], classes[best], len(best)

    def _at_once(self, corners: Array, table: Array) -> tuple[Array, Array, int]:
        """The same of boxes judged by their best class; each counts once, with its best classes."""
        each = min(self.max_classes_per_detection, self.num_classes)
        order = np.argsort(-table, axis=1, kind="stable")[:, :each]
        rows = self._thin_out(corners, table.max(axis=1), self.max_detections)
        return np.repeat(rows, each), order[rows].reshape(-1), len(rows)

    def _thin_out(self, corners: Array, scores: Array, most: int) -> Array:
        """The boxes of the best scores that do not overlap too much, at most ``most``."""
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] >= np.float32(self.nms_score_threshold)]
        chosen: list[int] = []
        while order.size and len(chosen) < most:
            chosen.append(int(order[0]))
            found = overlaps(corners[chosen[-1]], corners[order[1:]])
            order = order[1:][found <= np.float32(self.nms_iou_threshold)]
        return np.array(chosen, np.int64)

    cases = (
        case(f32(1, 20, 4), f32(1, 20, 4, low=0), _ANCHORS, **_FEW, **_SCALES),
        case(
            f32(1, 20, 4),
            f32(1, 20, 4, low=0),
            _ANCHORS,
            use_regular_nms=True,
            nms_iou_threshold=0.25,
            nms_score_threshold=0.3,
            **(_FEW | _SCALES | {"max_detections": 9, "detections_per_class": 4}),
        ),
        case(
            f32(1, 20, 4),
            f32(1, 20, 3, low=0),
            _ANCHORS,
            nms_score_threshold=0.6,
            **(_FEW | _SCALES | {"max_classes_per_detection": 2}),
        ),
        case(
            codes(1, 20, 4, quant=Quant.of(0.05, 128), dtype=UINT8, low=0, high=256),
            codes(1, 20, 4, quant=Quant.of(1 / 256), dtype=UINT8, low=0, high=256),
            _ANCHORS,
            **_FEW,
            **_SCALES,
            litert=False,
        ),
    )
