"""``TensorProto`` → NumPy array, checked before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from octolite.errors import FormatError, UnsupportedError
from octolite.frontends.proto import DATA_TYPES
from octolite.ir import types
from octolite.ir.types import Array, DType, Shape

LIMIT = 2**31 - 1
"""Bytes that a tensor may have: what fits into a .tflite file."""


@dataclass(frozen=True, slots=True)
class TfType:
    """How TensorFlow stores a data type, and what it becomes.

    TFLite computes in float32: doubles are narrowed to it, halves are widened.
    """

    dtype: DType
    stored: Any
    field: str
    bits: bool = False  # the field holds bit patterns


_TYPES = {
    "DT_FLOAT": TfType(types.FLOAT32, np.float32, "float_val"),
    "DT_DOUBLE": TfType(types.FLOAT32, np.float64, "double_val"),
    "DT_HALF": TfType(types.FLOAT32, np.float16, "half_val", bits=True),
    "DT_BFLOAT16": TfType(types.FLOAT32, ml_dtypes.bfloat16, "half_val", bits=True),
    "DT_INT8": TfType(types.INT8, np.int8, "int_val"),
    "DT_INT16": TfType(types.INT16, np.int16, "int_val"),
    "DT_INT32": TfType(types.INT32, np.int32, "int_val"),
    "DT_INT64": TfType(types.INT64, np.int64, "int64_val"),
    "DT_UINT8": TfType(types.UINT8, np.uint8, "int_val"),
    "DT_UINT16": TfType(types.UINT16, np.uint16, "int_val"),
    "DT_UINT32": TfType(types.UINT32, np.uint32, "uint32_val"),
    "DT_UINT64": TfType(types.UINT64, np.uint64, "uint64_val"),
    "DT_BOOL": TfType(types.BOOL, np.bool_, "bool_val"),
    "DT_STRING": TfType(types.STRING, np.object_, "string_val"),
}


def tf_type(number: int) -> TfType:
    """The row for TensorFlow's data type ``number``. Raises :class:`UnsupportedError`."""
    name = DATA_TYPES.get(number, f"number {number}")
    try:
        return _TYPES[name]
    except KeyError:
        raise UnsupportedError(f"data type {name} has no counterpart in TFLite") from None


def shape_of(proto: Any) -> Shape | None:
    """A ``TensorShapeProto``'s extents; ``None`` when the rank is unknown."""
    if proto.unknown_rank:
        return None
    sizes = [d.size for d in proto.dim]
    if any(s < -1 for s in sizes):
        raise FormatError(f"shape {sizes} has a negative extent")
    return tuple(None if s == -1 else s for s in sizes)


def array_of(proto: Any) -> Array:
    """The tensor's elements; a view of the message's bytes where it has them raw.

    Raises :class:`FormatError` where contents and shape disagree or exceed :data:`LIMIT`.
    """
    row = tf_type(proto.dtype)
    shape = shape_of(proto.tensor_shape)
    if shape is None or None in shape:
        raise FormatError(f"a constant has shape {shape}, which is not fully known")
    extents = tuple(d for d in shape if d is not None)
    count = 1
    for extent in extents:
        count *= extent
    stored = np.dtype(row.stored)
    if count * max(stored.itemsize, row.dtype.numpy.itemsize) > LIMIT:
        raise FormatError(f"a constant of shape {extents} is larger than a .tflite file can be")
    flat = _raw(proto, stored, count) if proto.tensor_content else _listed(proto, row, count)
    return flat.astype(row.dtype.numpy, copy=False).reshape(extents)


def _raw(proto: Any, stored: np.dtype[Any], count: int) -> Array:
    content = proto.tensor_content
    if stored.kind == "O" or len(content) != count * stored.itemsize:
        raise FormatError(
            f"a constant of {count} {stored} elements has {len(content)} bytes of contents"
        )
    if stored.kind == "b":
        return np.asarray(np.frombuffer(content, np.uint8) != 0)
    return np.frombuffer(content, stored)


def _listed(proto: Any, row: TfType, count: int) -> Array:
    """Elements from the typed field; the last one stands for all that are missing."""
    values = _typed(getattr(proto, row.field), row)
    if len(values) > count:
        raise FormatError(f"a constant of {count} elements lists {len(values)}")
    if len(values) == count:
        return values
    if not len(values):
        return (
            np.full(count, b"", np.object_)
            if row.field == "string_val"
            else np.zeros(count, row.stored)
        )
    if not np.any(values[-1:]):  # untouched pages of zeros cost no memory
        out = np.zeros(count, values.dtype)
    else:
        out = np.full(count, values[-1])
    out[: len(values)] = values
    return out


def _typed(field: Any, row: TfType) -> Array:
    stored = np.dtype(row.stored)
    if row.bits:
        return np.array(field, np.int64).astype(np.uint16).view(stored)
    if stored.kind == "O":
        values = np.empty(len(field), np.object_)
        values[:] = list(field)
        return values
    return np.array(field, np.int64 if row.field == "int_val" else stored).astype(stored)
