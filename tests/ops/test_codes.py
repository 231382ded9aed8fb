"""Operators that move codes, or take them for plain integers: LiteRT does so whatever scales their
tensors have, and so do the references and the compiled kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from octolite.ir.types import FLOAT32, INT8, INT16, UINT8, Array, DType, Quant
from octolite.ops import REGISTRY
from octolite.ops.base import Operator
from octolite.ops.case import Case, Tensor
from octolite.tflite import write
from tests.ops.litert import litert, ours
from tests.ops.test_types import compiled

REFUSED = """
DENSIFY int8 uint8 int16
DEPTH_TO_SPACE int16
FLOOR_DIV uint8
FLOOR_MOD uint8
LOGICAL_AND int16
LOGICAL_OR int16
NEG uint8
ONE_HOT int16
REVERSE_SEQUENCE int8
SCATTER_ND int16
SPACE_TO_DEPTH int16
SPARSE_TO_DENSE int16
WHERE int16
"""
"""Operators and types of codes that LiteRT does not take in any of the operator's cases."""

NEVER = {name: types for name, *types in map(str.split, REFUSED.strip().splitlines())}
UNITS = {INT8: 0.02, UINT8: 0.02, INT16: 2e-4}
ZEROS = {INT8: -7, UINT8: 120, INT16: 0}


def passes(operator: type[Operator], dtype: DType) -> bool:
    moved = operator.quant.same_scale and dtype not in operator.integer_types
    return (moved or dtype in operator.plain_types) and not operator.custom


PAIRS = [
    pytest.param(name, dtype, id=f"{name}-{dtype}")
    for name, operator in sorted(REGISTRY.items())
    for dtype in UNITS
    if passes(operator, dtype) and str(dtype) not in NEVER.get(name, ())
]


def coded(tensor: Tensor | None, dtype: DType, quant: Quant) -> Tensor | None:
    """A float32 tensor as codes of it."""
    if tensor is None or tensor.dtype is not FLOAT32:
        return tensor
    limits, zero = np.iinfo(dtype.numpy), int(quant.zero_point[0])

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        real = np.clip(np.nan_to_num(np.asarray(tensor.draw(rng, shape))), -1e3, 1e3)
        return np.clip(np.round(real / quant.scale[0]) + zero, limits.min, limits.max)

    return replace(tensor, dtype=dtype, draw=draw, quant=quant)


def scales(dtype: DType, apart: bool) -> list[Quant]:
    """A scale and zero point for each tensor, ``apart``: different ones."""
    shift = 0 if dtype is INT16 else 3
    places = range(12) if apart else [0] * 12
    return [Quant.of(UNITS[dtype] * 1.37**k, ZEROS[dtype] + shift * k) for k in places]


def cases(operator: type[Operator], dtype: DType, apart: bool) -> list[Case]:
    """The first float cases of an operator, in codes."""
    quants = scales(dtype, apart)[1:]
    plain = [
        case
        for case in operator.cases
        if case.litert
        and not case.results
        and not any(t is not None and (t.quant or t.hybrid or t.made) for t in case.tensors)
        and any(t is not None and t.dtype is FLOAT32 for t in case.tensors)
    ]
    return [
        replace(c, tensors=[coded(t, dtype, q) for t, q in zip(c.tensors, quants, strict=False)])
        for c in plain
    ][:4]


@pytest.mark.parametrize(("name", "dtype"), PAIRS)
def test_codes_are_taken_as_they_are_whatever_their_scales(name: str, dtype: DType) -> None:
    tried = 0
    pairs = [
        (case, apart) for apart in (True, False) for case in cases(REGISTRY[name], dtype, apart)
    ]
    for case, apart in pairs:
        model, feeds = case.build(REGISTRY[name])
        for value in model.main.nodes[0].outputs:
            if value.dtype is dtype:
                value.quant = scales(dtype, apart)[0]
        try:
            expected = litert(model, feeds)
        except (RuntimeError, ValueError):
            continue  # some want equal scales, some take the type in some ranks only
        tried += 1
        for found in (ours(model, feeds), compiled(write(model), feeds)):
            for mine, theirs in zip(found, expected, strict=True):
                assert mine.dtype == theirs.dtype
                np.testing.assert_array_equal(mine, theirs)
    assert tried
