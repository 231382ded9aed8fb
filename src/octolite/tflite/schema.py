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
