"""Metrics against values worked out by hand, and against scikit-learn and SciPy."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sk

from octolite.evaluation import metrics


@pytest.mark.parametrize(("right", "total"), [(0, 10), (10, 10), (1, 3), (597, 600), (250, 1000)])
def test_wilsons_interval_is_scipys(right: int, total: int) -> None:
    low, high = metrics.Proportion(right, total).interval()
    expected = binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert low == pytest.approx(expected.low, abs=1e-12)
    assert high == pytest.approx(expected.high, abs=1e-12)


def test_a_share_of_nothing_says_nothing() -> None:
    nothing = metrics.Proportion(0, 0)
    assert math.isnan(nothing.value)
    assert nothing.interval() == (0.0, 1.0)


def test_mcnemar_by_hand() -> None:
    # 1 against 5 of 6 coins: 2 (C(6,0) + C(6,1)) / 2⁶ = 14 / 64.
    assert metrics.mcnemar(1, 5) == metrics.mcnemar(5, 1) == float(Fraction(14, 64))
    assert metrics.mcnemar(0, 0) == 1.0
    assert metrics.mcnemar(3, 3) == 1.0


@pytest.mark.parametrize(("b", "c"), [(0, 9), (12, 31), (400, 470), (5000, 5200)])
def test_mcnemar_is_scipys_binomial_test(b: int, c: int) -> None:
    assert metrics.mcnemar(b, c) == pytest.approx(binomtest(b, b + c).pvalue, rel=1e-9)


def test_ranks_of_ties_and_nan() -> None:
    scores = np.array([0.5, 0.9, 0.5, np.nan, -1.0], np.float32)
    assert [metrics.rank(scores, i) for i in range(5)] == [2, 1, 3, 5, 4]


def test_ranks_give_scikit_learns_top_k_accuracy() -> None:
    rng = np.random.default_rng(3)
    scores, labels = rng.normal(size=(200, 7)), rng.integers(0, 7, 200)
    ranks = np.array([metrics.rank(s, t) for s, t in zip(scores, labels, strict=True)])
    for k in range(1, 7):
        expected = sk.top_k_accuracy_score(labels, scores, k=k, labels=range(7))
        assert (ranks <= k).mean() == pytest.approx(expected)


def test_confusion_and_iou_are_scikit_learns() -> None:
    rng = np.random.default_rng(4)
    truths, said = rng.integers(0, 4, 500), rng.integers(0, 5, 500)
    matrix = metrics.confusion_matrix(truths.tolist(), said.tolist(), 6)
    np.testing.assert_array_equal(matrix, sk.confusion_matrix(truths, said, labels=range(6)))
    iou = metrics.intersection_over_union(matrix)
    expected = sk.jaccard_score(truths, said, labels=range(5), average=None)
    np.testing.assert_allclose(iou[:5], expected)
    assert math.isnan(iou[5])


def test_iou_by_hand() -> None:
    # Class 0: 3 right, 1 missed, 2 too many: 3 / 6. Class 1: 4 right, 2 missed, 1 too many: 4 / 7.
    np.testing.assert_allclose(
        metrics.intersection_over_union(np.array([[3, 1], [2, 4]])), [3 / 6, 4 / 7]
    )


@pytest.mark.parametrize("outputs", [1, 3])
def test_regression_errors_are_scikit_learns(outputs: int) -> None:
    rng = np.random.default_rng(5)
    truths = rng.normal(size=(50, outputs))
    said = truths + rng.normal(size=truths.shape) * 0.3
    found = metrics.regression_errors(truths, said)
    assert found.mae == pytest.approx(sk.mean_absolute_error(truths, said))
    assert found.rmse == pytest.approx(math.sqrt(sk.mean_squared_error(truths, said)))
    assert found.r2 == pytest.approx(sk.r2_score(truths, said))


@pytest.mark.parametrize("said", [[2.0, 2.0], [2.0, 3.0]])
def test_r2_of_a_constant_is_scikit_learns(said: list[float]) -> None:
    truths = np.array([[2.0], [2.0]])
    found = metrics.regression_errors(truths, np.array(said)[:, None])
    assert found.r2 == sk.r2_score(truths, said)


def test_a_mean_with_its_standard_error_by_hand() -> None:
    found = metrics.mean_of([1, 2, 3, 6])
    # Squares from the mean 3: 4 + 1 + 0 + 9 = 14; 14 / 3 / 4 is the error's square.
    assert (found.value, found.count) == (3.0, 4)
    assert found.error == pytest.approx(math.sqrt(14 / 12))
    assert math.isnan(metrics.mean_of([7.0]).error)
