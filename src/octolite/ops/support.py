"""Which operator takes which type, and how: found out by trying the operator's own cases."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from octolite.errors import OctoliteError
from octolite.ir.types import BOOL, FLOAT32, STRING, Array, DType
from octolite.ops.case import Case, Draw, Tensor


@dataclass(frozen=True)
class Turned:
    """Draws what ``source`` does, as numbers of ``dtype`` large enough to differ as integers."""

    source: Draw
    dtype: DType

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        array = np.clip(np.nan_to_num(np.asarray(self.source(rng, shape))), -100, 100)
        if self.dtype is STRING:
            words = np.empty(array.size, object)
            words[:] = [str(int(v * 10)).encode() for v in array.reshape(-1)]
            return words.reshape(array.shape)
        if self.dtype is BOOL:
            return array > 0
        if self.dtype.is_integer:
            return np.round(np.clip(array * 5, -100 if self.dtype.kind == "i" else 0, 100))
        return array


def turned(tensor: Tensor | None, dtype: DType) -> Tensor | None:
    """A float32 tensor as one of ``dtype``; any other as it is."""
    if tensor is None or tensor.dtype is not FLOAT32 or tensor.hybrid or tensor.made is not None:
        return tensor
    return replace(tensor, dtype=dtype, draw=Turned(tensor.draw, dtype))


def plain_cases(cases: tuple[Case, ...] | list[Case]) -> list[Case]:
    """Those in which numbers of one type go in: float32, without scales or other nodes."""
    return [
        case
        for case in cases
        if not case.results
        and not any(t is not None and (t.quant or t.hybrid or t.made) for t in case.tensors)
        and any(t is not None and t.dtype is FLOAT32 for t in case.tensors)
    ]
