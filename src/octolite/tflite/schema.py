"""The format's names and numbers, taken from the generated bindings of the ``tflite`` package."""

from __future__ import annotations

from typing import Any

import tflite

FILE_IDENTIFIER = b"TFL3"
VERSION = 3
BUFFER_ALIGNMENT = 16
LAST_DEPRECATED_CODE = 127
"""Operator codes past this one do not fit the byte that old files keep them in."""


def _numbers(enum: Any) -> dict[str, int]:
    return {k: v for k, v in vars(enum).items() if not k.startswith("_")}


OPERATOR_CODES: dict[str, int] = _numbers(tflite.BuiltinOperator)
OPERATOR_NAMES: dict[int, str] = {v: k for k, v in OPERATOR_CODES.items()}
OPTIONS_CODES: dict[str, int] = _numbers(tflite.BuiltinOptions)
OPTIONS_2_CODES: dict[str, int] = _numbers(tflite.BuiltinOptions2)
"""Options that came late have a field, and numbers, of their own."""
CUSTOM = OPERATOR_CODES["CUSTOM"]

_VERSIONS = """
  ABS:5 ADD:6 ARG_MAX:3 ARG_MIN:3 AVERAGE_POOL_2D:3 BATCH_MATMUL:4 BATCH_TO_SPACE_ND:4
  BIDIRECTIONAL_SEQUENCE_LSTM:3 BIDIRECTIONAL_SEQUENCE_RNN:3 BROADCAST_TO:4 CAST:9
  CONCATENATION:7 CONV_2D:8 COS:2 DEPTHWISE_CONV_2D:7 DEPTH_TO_SPACE:2 DEQUANTIZE:9 DIV:2
  DYNAMIC_UPDATE_SLICE:6 EMBEDDING_LOOKUP:5 EQUAL:5 EXP:2 FAKE_QUANT:2 FILL:5 FLOOR_DIV:3
  FLOOR_MOD:2 FULLY_CONNECTED:14 GATHER:8 GATHER_ND:6 GELU:3 GREATER:2 GREATER_EQUAL:3
  L2_NORMALIZATION:2 LEAKY_RELU:2 LESS:3 LESS_EQUAL:2 LOG:2 LOGISTIC:3 LOG_SOFTMAX:2 LSTM:4
  MAXIMUM:4 MAX_POOL_2D:3 MEAN:3 MINIMUM:4 MIRROR_PAD:3 MUL:8 NOT_EQUAL:4 PACK:5 PAD:6 PADV2:6
  QUANTIZE:6 RANGE:2 REDUCE_MAX:3 REDUCE_MIN:3 REDUCE_PROD:2 RELU:3 RELU6:3 RESIZE_BILINEAR:4
  RESIZE_NEAREST_NEIGHBOR:4 REVERSE_V2:4 RNN:3 RSQRT:3 SELECT:4 SELECT_V2:2 SIGN:2 SIN:2 SLICE:8
  SOFTMAX:4 SPACE_TO_BATCH_ND:4 SPACE_TO_DEPTH:2 SPARSE_TO_DENSE:3 SPLIT:5 SPLIT_V:3 SQRT:2
  SQUARED_DIFFERENCE:2 SQUEEZE:2 STRIDED_SLICE:8 SUB:5 SUM:2 SVDF:4 TANH:3 TILE:3 TOPK_V2:3
  TRANSPOSE:9 TRANSPOSE_CONV:5 UNIDIRECTIONAL_SEQUENCE_LSTM:4 UNIDIRECTIONAL_SEQUENCE_RNN:3
  UNPACK:6 WHERE:2
"""
LATEST_VERSIONS: dict[str, int] = {
    name: int(version) for name, version in (entry.split(":") for entry in _VERSIONS.split())
}
"""The latest version of each operator that has several, as LiteRT 2.1 registers its kernels: how
far what a file asks for is known."""


# Numbers of the fields that are read, by table. Source: TensorFlow's schema.fbs.


class Model:
    VERSION, CODES, GRAPHS, DESCRIPTION, BUFFERS, _, METADATA, SIGNATURES = range(8)


class SubGraph:
    TENSORS, INPUTS, OUTPUTS, OPERATORS, NAME = range(5)


class Tensor:
    SHAPE, TYPE, BUFFER, NAME, QUANTIZATION, IS_VARIABLE, SPARSITY, SIGNATURE, HAS_RANK = range(9)


class Sparsity:
    ORDER, BLOCKS, LEVELS = range(3)


class SparseLevel:
    FORMAT, DENSE_SIZE, SEGMENTS_TYPE, _, INDICES_TYPE, _ = range(6)


class Quantization:
    _, _, SCALE, ZERO_POINT, _, _, AXIS = range(7)


class Operator:
    CODE, INPUTS, OUTPUTS, OPTIONS_TYPE, OPTIONS, CUSTOM_OPTIONS = range(6)
    INTERMEDIATES, LARGE_OFFSET, LARGE_SIZE, OPTIONS_2_TYPE, OPTIONS_2 = range(8, 13)


class OperatorCode:
    OLD_CODE, CUSTOM_CODE, VERSION, CODE = range(4)


class Buffer:
    DATA, OFFSET, SIZE = range(3)


class Metadata:
    NAME, BUFFER = range(2)


class Signature:
    INPUTS, OUTPUTS, KEY, _, GRAPH = range(5)


class TensorMap:
    NAME, TENSOR = range(2)
