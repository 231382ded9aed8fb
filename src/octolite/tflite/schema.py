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
CUSTOM = OPERATOR_CODES["CUSTOM"]


# Numbers of the fields that are read, by table. Source: TensorFlow's schema.fbs.


class Model:
    VERSION, CODES, GRAPHS, DESCRIPTION, BUFFERS, _, METADATA, SIGNATURES = range(8)


class SubGraph:
    TENSORS, INPUTS, OUTPUTS, OPERATORS, NAME = range(5)


class Tensor:
    SHAPE, TYPE, BUFFER, NAME, QUANTIZATION, IS_VARIABLE, _, SIGNATURE, HAS_RANK = range(9)


class Quantization:
    _, _, SCALE, ZERO_POINT, _, _, AXIS = range(7)


class Operator:
    CODE, INPUTS, OUTPUTS, OPTIONS_TYPE, OPTIONS = range(5)


class OperatorCode:
    OLD_CODE, CUSTOM_CODE, _, CODE = range(4)


class Buffer:
    DATA, OFFSET, SIZE = range(3)


class Metadata:
    NAME, BUFFER = range(2)


class Signature:
    INPUTS, OUTPUTS, KEY, _, GRAPH = range(5)


class TensorMap:
    NAME, TENSOR = range(2)
