"""How near two float results must be: one table, which docs/conformance.md prints."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from octolite.ir.types import Array

LEAST = 2.0**-120
"""Errors below this are not counted."""


@dataclass(frozen=True)
class Tolerance:
    """``units`` in the last place of the type: of each number, or of the largest one.

    Of the largest, or of 1 where that is larger: sums of numbers up to 2 cancel.
    """

    units: float
    of_largest: bool = False

    def distance(self, found: Array, expected: Array) -> float:
        """The largest error in these units; infinite where NaN or infinities differ."""
        if expected.dtype.name != "bfloat16" and expected.dtype.kind not in "fc":
            return 0.0 if np.array_equal(found, expected) else np.inf
        place = float(ml_dtypes.finfo(expected.dtype).eps)
        finite = np.isfinite(expected)
        if not np.array_equal(found[~finite], expected[~finite], equal_nan=True):
            return np.inf
        found, expected = (a[finite].astype(np.complex128) for a in (found, expected))
        error = np.abs(found - expected)
        error = np.where(error < LEAST, 0, error)
        size = np.abs(expected)
        if self.of_largest:
            size = np.asarray(max(1.0, size.max(initial=0.0)))
        return float(np.max(error / np.maximum(place * size, LEAST), initial=0.0))

    def __str__(self) -> str:
        of = " of the largest result" if self.of_largest else " of each result"
        return "the same bits" if not self.units else f"{self.units:g} ulp{of}"


EXACT = Tolerance(0)

ROWS = (
    (
        Tolerance(6),
        """ATAN2 COMPLEX_ABS COS ELU EXP HARD_SWISH LOG LOGISTIC MUL NON_MAX_SUPPRESSION_V5 POW
        RSQRT SIN TANH""",
    ),
    (
        Tolerance(8, of_largest=True),
        """AVERAGE_POOL_2D BIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_RNN
        EMBEDDING_LOOKUP_SPARSE GELU L2_NORMALIZATION L2_POOL_2D
        LOCAL_RESPONSE_NORMALIZATION LOG_SOFTMAX LSTM MEAN RANDOM_STANDARD_NORMAL
        REDUCE_PROD REDUCE_WINDOW RESIZE_BILINEAR RFFT2D RNN SOFTMAX STABLEHLO_REDUCE_WINDOW
        SVDF TFLite_Detection_PostProcess UNIDIRECTIONAL_SEQUENCE_LSTM
        UNIDIRECTIONAL_SEQUENCE_RNN UNSORTED_SEGMENT_PROD""",
    ),
    (
        Tolerance(32, of_largest=True),
        """BATCH_MATMUL CONV_2D CONV_3D CONV_3D_TRANSPOSE DEPTHWISE_CONV_2D FULLY_CONNECTED
        TRANSPOSE_CONV""",
    ),
    (Tolerance(128, of_largest=True), "CUMSUM SEGMENT_SUM SUM UNSORTED_SEGMENT_SUM"),
)

TOLERANCES = {name: tolerance for tolerance, names in ROWS for name in names.split()}
"""Operator → tolerance of float results; those of every other have to have the same bits."""


def tolerance_of(name: str) -> Tolerance:
    return TOLERANCES.get(name, EXACT)
