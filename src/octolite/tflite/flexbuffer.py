"""FlexBuffers: how custom operators' options are most often stored.

Source: "FlexBuffers" (the binary format's description), flatbuffers.dev.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from flatbuffers import flexbuffers

from octolite.errors import FormatError

TIMES = 16
"""How many values a buffer may hold, on the average of its bytes: shared ones count each time."""

MOST_NESTED = 32

_BROKEN = (
    struct.error, LookupError, ValueError, TypeError, ArithmeticError, AttributeError,
    AssertionError,
)  # fmt: skip


def decode(raw: bytes) -> Any:
    """The value that ``raw`` holds: a number, string, list or dict of them.

    Raises :class:`FormatError` for bytes that are no FlexBuffer.
    """
    if len(raw) < 3:
        raise FormatError(f"{len(raw)} bytes are too few for a FlexBuffer")
    try:
        return _Walk(len(raw) * TIMES).value(flexbuffers.GetRoot(bytearray(raw)), 0)
    except _BROKEN as error:
        raise FormatError(f"the FlexBuffer of {len(raw)} bytes is damaged: {error!r}") from error


def encode(values: Mapping[str, Any]) -> bytes:
    """A map of ``values``. Lists of numbers are typed vectors, as TensorFlow's converter has it."""
    builder = flexbuffers.Builder()
    with builder.Map():
        for key, value in values.items():
            builder.Key(key)
            kinds = {type(item) for item in value} if isinstance(value, list) else set()
            if kinds in ({int}, {float}):
                builder.TypedVectorFromElements(value)
            else:
                builder.Add(value)
    return bytes(builder.Finish())


class _Walk:
    """Values taken out of a buffer, as many as it can reasonably hold."""

    def __init__(self, left: int) -> None:
        self.left = left

    def value(self, ref: Any, depth: int) -> Any:
        self._spend(1)
        if depth > MOST_NESTED:
            raise FormatError(f"a FlexBuffer is nested more than {MOST_NESTED} deep")
        if ref.IsMap:
            found = ref.AsMap
            self._spend(len(found))
            keys, values = found.Keys, found.Values
            return {
                _text(keys[i].AsKey): self.value(values[i], depth + 1) for i in range(len(found))
            }
        if ref.IsVector or ref.IsTypedVector or ref.IsFixedTypedVector:
            found = self._vector(ref)
            self._spend(len(found))
            return [self.value(found[i], depth + 1) for i in range(len(found))]
        return self._scalar(ref)

    @staticmethod
    def _vector(ref: Any) -> Any:
        if ref.IsVector:
            return ref.AsVector
        return ref.AsTypedVector if ref.IsTypedVector else ref.AsFixedTypedVector

    def _scalar(self, ref: Any) -> Any:
        if ref.IsNull:
            return None
        if ref.IsBool:
            return bool(ref.AsBool)
        if ref.IsInt:
            return int(ref.AsInt)
        if ref.IsFloat:
            return float(ref.AsFloat)
        if ref.IsString or ref.IsKey:
            text = _text(ref.AsString if ref.IsString else ref.AsKey)
            self._spend(len(text))
            return text
        if ref.IsBlob:
            data = bytes(ref.AsBlob)
            self._spend(len(data))
            return data
        raise FormatError("a FlexBuffer holds a value of no known type")

    def _spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise FormatError("a FlexBuffer claims more values than its bytes can hold")


def _text(raw: Any) -> str:
    return raw if isinstance(raw, str) else bytes(raw).decode("utf-8", "replace")


def number(value: Any, like: Any, where: str) -> Any:
    """``value`` as the type of ``like`` (bool, int or float). Raises :class:`FormatError`."""
    if not isinstance(value, bool | int | float) or not np.isfinite(value):
        raise FormatError(f"{where} is {value!r}, expected a number")
    return type(like)(value)
