"""Types other than float32, where LiteRT's operators take them without scales: reference, compiled
kernels and LiteRT agree on the operators' own cases, their floats turned into the type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octolite
from octolite.errors import ShapeError
from octolite.ir.graph import Value
from octolite.ir.types import ALL_DTYPES, FLOAT16, Array, DType
from octolite.ops import REGISTRY
from octolite.ops.case import Case
from octolite.ops.shapes import constant_ints, integers
from octolite.ops.support import in_type
from octolite.tflite import write
from tests.ops.litert import assert_close, litert, ours

ANY = "int8 uint8 int16 int32 int64 bool float16 float64 uint32 uint16"

TYPES = """
ABS int16 int32
ADD int32 int64 float16
ADD_N int32
ARG_MAX int8 uint8 int32 bool
ARG_MIN int8 uint8 int32 bool
ATAN2 float16 float64
BATCH_TO_SPACE_ND all
BITCAST int32 int64 float64 uint32
BROADCAST_TO all
BUCKETIZE int32 int64 float64
CAST all
CONCATENATION int8 uint8 int16 int32 int64 bool float16 uint32
COS float16
CUMSUM int32 int64
DEPTH_TO_SPACE int8 uint8 int32 int64
DIV int32
DYNAMIC_UPDATE_SLICE all
EMBEDDING_LOOKUP all
EQUAL int16 int32 int64 bool float16
EXPAND_DIMS all
FILL all
FLOOR float16
FLOOR_DIV int8 int16 int32
FLOOR_MOD int8 int16 int32 int64
GATHER int8 uint8 int16 int32 int64 bool float16
GATHER_ND int8 uint8 int16 int32 int64 bool float16 string
GELU float16
GREATER int16 int32 int64 float16
GREATER_EQUAL int16 int32 int64 float16
LESS int16 int32 int64 float16
LESS_EQUAL int16 int32 int64 float16
LOGISTIC float16
MATRIX_DIAG int8 uint8 int16 int32 int64 uint32
MATRIX_SET_DIAG int8 uint8 int16 int32 int64 uint32
MAXIMUM int8 uint8 int16 int32 int64 float16
MEAN int32 int64
MINIMUM int8 uint8 int16 int32 int64 float16
MIRROR_PAD all
MUL int32 int64 float16 uint32
NEG int8 int16 int32 int64 float16
NOT_EQUAL int32 int64 bool float16
ONE_HOT int8 uint8 int32 int64 bool
PACK int8 uint8 int16 int32 int64 uint32
PAD int8 uint8 int16 int32 int64 bool float16
PADV2 int8 uint8 int16 int32 int64 bool float16
RANGE int32 int64
RANK int8 uint8 int16 int32 int64 bool float16 float64 uint32 uint16 string
REDUCE_MAX int8 uint8 int16 int32 int64 bool
REDUCE_MIN int8 uint8 int16 int32 int64 bool
REDUCE_PROD int8 uint8 int16 int32 int64 bool
RESHAPE all
RESIZE_NEAREST_NEIGHBOR int8 uint8 int16 int32 bool float16 uint32 uint16
REVERSE_SEQUENCE uint8 int16 int32 int64
REVERSE_V2 int8 uint8 int16 int32 int64 bool float16
ROUND float16
SCATTER_ND int8 uint8 int32 int64 bool
SEGMENT_SUM int32
SELECT all
SELECT_V2 all
SHAPE int8 uint8 int16 int32 int64 bool float16 float64 uint32 uint16 string
SIGN int32 float64
SIN float16
SLICE all
SPACE_TO_BATCH_ND all
SPACE_TO_DEPTH int8 uint8 int32 int64
SPARSE_TO_DENSE int8 uint8 int32 int64
SPLIT int8 uint8 int16 int32 int64
SPLIT_V int8 uint8 int16 int32 int64
SQUARED_DIFFERENCE int32
SQUEEZE int8 uint8 int16 int32 int64 bool float16 float64 uint32 uint16 string
STRIDED_SLICE all
SUB int32 int64
SUM int32 int64 bool
TANH float16
TILE all
TOPK_V2 int8 uint8 int16 int32 int64
TRANSPOSE all
UNIQUE int8 uint8 int16 int32 int64
UNPACK int8 uint8 int16 int32 bool float16
UNSORTED_SEGMENT_MAX int32
UNSORTED_SEGMENT_MIN int32
UNSORTED_SEGMENT_PROD int32
UNSORTED_SEGMENT_SUM int32
WHERE int8 uint8 int32 int64 bool uint32
ZEROS_LIKE int32 int64
"""
"""Operator and types, ``all`` for those of :data:`ANY`. Other pairs of LiteRT's ask for scales, or
read memory that no tensor has (MATRIX_DIAG of bool)."""

DTYPES = {dtype.name: dtype for dtype in ALL_DTYPES}

PAIRS = [
    pytest.param(name, DTYPES[word], id=f"{name}-{word}")
    for name, *words in map(str.split, TYPES.strip().splitlines())
    for word in (ANY.split() if words == ["all"] else words)
]


def cases(name: str, dtype: DType) -> list[Case]:
    """The first cases of an operator in that type."""
    return [c for c in in_type(REGISTRY[name], dtype) if c.litert][:3]


def compiled(content: bytes, feeds: dict[str, Any]) -> list[Array]:
    interpreter = octolite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], feeds[detail["name"]])
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


@pytest.mark.parametrize(("name", "dtype"), PAIRS)
def test_types_other_than_float32_are_taken_as_in_litert(name: str, dtype: DType) -> None:
    tried = 0
    for case in cases(name, dtype):
        model, feeds = case.build(REGISTRY[name])
        try:
            expected = litert(model, feeds)
        except (RuntimeError, ValueError):
            continue  # some take the type with some attributes or ranks only
        tried += 1
        found = ours(model, feeds), compiled(write(model), feeds)
        for results in found:
            for mine, theirs in zip(results, expected, strict=True):
                assert_close(mine, theirs, 1e-3 if dtype is FLOAT16 else 1e-5)
    assert tried


def test_complex_numbers_are_no_extents() -> None:
    shape = np.array([2 + 1j, 3], np.complex64)
    for operation in (constant_ints, lambda x: integers(x.data)):
        with pytest.raises(ShapeError, match="complex64"):
            operation(Value.constant("shape", shape))
