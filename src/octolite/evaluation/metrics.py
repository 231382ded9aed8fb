"""What results are judged by: plain functions of numbers, each with the source of its formula."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from octolite.ir.types import Array

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Proportion:
    """``successes`` of ``total``, with Wilson's score interval.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927). Unlike the normal approximation it is right near 0 and 1, too.
    """

    successes: int
    total: int

    @property
    def value(self) -> float:
        """The share, NaN of nothing."""
        return self.successes / self.total if self.total else math.nan

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """The lower and upper bound of the share; all of 0…1 when there is nothing."""
        if not self.total:
            return 0.0, 1.0
        z, n, p = NormalDist().inv_cdf(0.5 + confidence / 2), self.total, self.value
        centre = p + z * z / (2 * n)
        spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        low, high = ((centre + s) / (1 + z * z / n) for s in (-spread, spread))
        # At the ends rounding may leave a bound beside what it is exactly.
        return (0.0 if not self.successes else low, 1.0 if self.successes == n else high)

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{100 * self.value:.2f} % ({100 * low:.2f}…{100 * high:.2f})"


def mcnemar(first_only: int, second_only: int) -> float:
    """McNemar's exact test: the two-sided p-value that two models err equally often.

    Only samples that one of both gets right count: ``first_only`` and ``second_only`` of them. If
    neither model is better, each falls on either side like a coin. Source: Q. McNemar, "Note on the
    sampling error of the difference between correlated proportions", Psychometrika 12 (1947), with
    the binomial distribution in place of its approximation.
    """
    count, fewer = first_only + second_only, min(first_only, second_only)
    ways, term = 0, 1
    for k in range(fewer + 1):
        ways += term
        term = term * (count - k) // (k + 1)
    return min(1.0, 2 * ways / (1 << count))


def rank(scores: Array, label: int) -> int:
    """The place of ``label`` when scores are sorted, best first: 1 is top-1.

    Of equal scores the lower index comes first; NaN comes last.
    """
    clean = np.where(np.isnan(scores), -np.inf, scores)
    own = clean[label]
    return int((clean > own).sum() + (clean[:label] == own).sum()) + 1


def confusion_matrix(truths: Sequence[int], predicted: Sequence[int], classes: int) -> Array:
    """How often each truth (row) was taken for each class (column); int64 [classes, classes]."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (np.asarray(truths, np.int64), np.asarray(predicted, np.int64)), 1)
    return matrix


def intersection_over_union(confusion: Array) -> Array:
    """Each class's IoU from a confusion matrix of pixels; NaN for what is neither seen nor said.

    ``TP / (TP + FP + FN)``; the mean over what is not NaN is mIoU. Source: Everingham et al., "The
    PASCAL Visual Object Classes Challenge", IJCV 88 (2010).
    """
    right = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - right
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(union > 0, right / union, np.nan))


@dataclass(frozen=True, slots=True)
class RegressionErrors:
    """Errors over all samples and outputs.

    ``r2`` is ``1 - Σ(t - p)² / Σ(t - mean(t))²``, averaged over the outputs; NaN where that is not
    defined: fewer than two samples. An output that never varies counts 1 when it is met exactly and
    0 otherwise.
    """

    mae: float
    rmse: float
    r2: float


def regression_errors(truths: Array, predicted: Array) -> RegressionErrors:
    """Of float64 [samples, outputs] each."""
    if not truths.size:
        return RegressionErrors(math.nan, math.nan, math.nan)
    error = truths - predicted
    residual = (error**2).sum(0)
    spread = ((truths - truths.mean(0)) ** 2).sum(0)
    exact = np.where(residual == 0, 1.0, 0.0)
    share = 1 - np.divide(residual, spread, out=1 - exact, where=spread > 0)
    r2 = float(share.mean()) if len(truths) > 1 else math.nan
    return RegressionErrors(float(np.abs(error).mean()), math.sqrt(float((error**2).mean())), r2)


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of ``count`` values and its standard error (NaN of fewer than two)."""

    value: float
    error: float
    count: int


def mean_of(values: Sequence[float]) -> Mean:
    """Mean, and standard error from the sample variance."""
    array = np.asarray(values, np.float64)
    count = len(array)
    if not count:
        return Mean(math.nan, math.nan, 0)
    error = float(array.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    return Mean(float(array.mean()), error, count)
