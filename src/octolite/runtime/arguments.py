"""What people give the interpreter, checked: whole numbers, shapes, arrays, a model's bytes.

All raise :class:`UsageError`, whatever the argument is.
"""

from __future__ import annotations

import operator
import os
from typing import Any

import numpy as np

from octolite.errors import UsageError
from octolite.ir.graph import Value
from octolite.ir.types import Array


def whole(name: str, given: Any, least: int = 0) -> int:
    """``given``, called ``name``, as a number of at least ``least``."""
    try:
        number = operator.index(given)
    except TypeError:
        raise UsageError(f"{name} is {given!r}, expected a whole number") from None
    if number < least:
        raise UsageError(f"{name} is {number}; it must be at least {least}")
    return number


def extents(what: str, given: Any) -> tuple[int, ...]:
    """``given`` as the shape of ``what``."""
    try:
        shape = tuple(operator.index(d) for d in given)
    except TypeError:
        raise UsageError(f"{what} cannot have the shape {given!r}; give whole numbers") from None
    if any(d < 0 for d in shape):
        raise UsageError(f"{what} cannot have the shape {shape}")
    return shape


def model_source(path: Any, content: Any) -> str | bytes:
    """The one of both that is given: a path, or bytes."""
    if (path is None) == (content is None):
        raise UsageError("give either model_path or model_content")
    try:
        if content is None:
            return os.fsdecode(path)
        return content if isinstance(content, bytes) else bytes(memoryview(content))
    except TypeError:
        kind = type(path if content is None else content).__name__
        wanted = "a path for model_path" if content is None else "bytes for model_content"
        raise UsageError(f"expected {wanted} and was given {kind}") from None


def array_for(value: Value, given: Any) -> Array:
    """``given`` as an array of the tensor's type. Strings become bytes, as a model holds them."""
    try:
        array = np.asarray(given)
    except Exception as error:  # __array__ may raise anything
        raise UsageError(
            f"tensor {value.name!r} cannot be {type(given).__name__}: {error}"
        ) from error
    if value.dtype.kind == "s":
        return _strings(value, array)
    if array.dtype != value.dtype.numpy:
        raise UsageError(
            f"tensor {value.name!r} holds {value.dtype} and was given {array.dtype}; "
            f"convert it with .astype(numpy.{value.dtype})"
        )
    return array


def _strings(value: Value, array: Array) -> Array:
    items = array.reshape(-1).tolist()
    wrong = next((item for item in items if not isinstance(item, str | bytes)), None)
    if wrong is not None:
        raise UsageError(f"tensor {value.name!r} holds strings and was given {wrong!r}")
    strings = np.empty(len(items), object)
    strings[:] = [item.encode() if isinstance(item, str) else item for item in items]
    return strings.reshape(array.shape)


def loose(value: Value, given: Any) -> Array:
    """An array for a tensor: Python's numbers and lists take its type, arrays must have it."""
    if isinstance(given, np.ndarray):
        return given
    try:
        return np.asarray(given, value.dtype.numpy)
    except Exception as error:
        raise UsageError(f"input {value.name!r} cannot be {given!r}: {error}") from error
