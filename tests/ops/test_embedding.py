"""Embeddings: ids outside the table are errors, not reads outside it."""

from __future__ import annotations

import numpy as np
import pytest

from octolite.errors import RuntimeModelError
from octolite.ir.graph import Value
from octolite.ir.types import FLOAT32
from octolite.ops.base import operator_class
from octolite.ops.embedding import Combiner

TABLE = np.arange(12, dtype=np.float32).reshape(4, 3)
OUT = Value("out", FLOAT32, None)
ONES = np.ones(2, np.float32)


def sparse(ids: list[int], indices: list[list[int]], combiner: Combiner) -> np.ndarray:
    op = operator_class("EMBEDDING_LOOKUP_SPARSE")(combiner=combiner)
    arrays = [np.array(ids, np.int32), np.array(indices, np.int32), np.array([3, 2], np.int32)]
    (out,) = op.run([*arrays, ONES, TABLE], [None] * 5, [])
    return out


@pytest.mark.parametrize("combiner", list(Combiner))
def test_rows_without_ids_are_zeros(combiner: Combiner) -> None:
    out = sparse([1, 3], [[0, 0], [2, 1]], combiner)
    np.testing.assert_array_equal(out, [TABLE[1], np.zeros(3), TABLE[3]])


@pytest.mark.parametrize("bad", [-1, 4])
def test_ids_outside_the_table_are_errors(bad: int) -> None:
    with pytest.raises(RuntimeModelError, match=f"index {bad}"):
        sparse([1, bad], [[0, 0], [1, 0]], Combiner.SUM)
    with pytest.raises(RuntimeModelError, match=f"index {bad}"):
        operator_class("EMBEDDING_LOOKUP")().run([np.array([0, bad]), TABLE], [None] * 2, [OUT])


def test_rows_outside_the_dense_shape_are_errors() -> None:
    with pytest.raises(RuntimeModelError, match="index 3"):
        sparse([1, 2], [[0, 0], [3, 0]], Combiner.MEAN)
