"""Number formats, shapes and the small vocabularies that the whole project shares.

A number format is one row of traits: everything that readers, writers, references and kernels
ask about a dtype is a field here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol, TypeAlias

import ml_dtypes
import numpy as np

from octolite.errors import FormatError

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

Dim: TypeAlias = int | None
"""One extent; ``None`` where it is known only at run time."""

Shape: TypeAlias = tuple[Dim, ...]
"""Extents, outermost first. A tensor of unknown rank has ``None`` in place of a ``Shape``."""


@dataclass(frozen=True, slots=True)
class DType:
    """One number format.

    ``code`` is TFLite's ``TensorType``; ``bits`` the width of a stored element (0: variable);
    ``numpy`` the array type that holds it in memory (an int8 for each ``int4`` and ``int2``).
    """

    name: str
    code: int
    numpy: np.dtype[Any]
    bits: int
    kind: str  # f float, i signed, u unsigned, b bool, c complex, s string, o opaque handle

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    @property
    def is_integer(self) -> bool:
        return self.kind in "iu"

    def __repr__(self) -> str:
        return self.name


def _row(name: str, code: int, numpy: Any, bits: int, kind: str) -> DType:
    return DType(name, code, np.dtype(numpy), bits, kind)


FLOAT32 = _row("float32", 0, np.float32, 32, "f")
FLOAT16 = _row("float16", 1, np.float16, 16, "f")
INT32 = _row("int32", 2, np.int32, 32, "i")
UINT8 = _row("uint8", 3, np.uint8, 8, "u")
INT64 = _row("int64", 4, np.int64, 64, "i")
STRING = _row("string", 5, np.object_, 0, "s")
BOOL = _row("bool", 6, np.bool_, 8, "b")
INT16 = _row("int16", 7, np.int16, 16, "i")
COMPLEX64 = _row("complex64", 8, np.complex64, 64, "c")
INT8 = _row("int8", 9, np.int8, 8, "i")
FLOAT64 = _row("float64", 10, np.float64, 64, "f")
COMPLEX128 = _row("complex128", 11, np.complex128, 128, "c")
UINT64 = _row("uint64", 12, np.uint64, 64, "u")
RESOURCE = _row("resource", 13, np.int32, 32, "o")
VARIANT = _row("variant", 14, np.object_, 0, "o")
UINT32 = _row("uint32", 15, np.uint32, 32, "u")
UINT16 = _row("uint16", 16, np.uint16, 16, "u")
INT4 = _row("int4", 17, np.int8, 4, "i")
BFLOAT16 = _row("bfloat16", 18, ml_dtypes.bfloat16, 16, "f")
INT2 = _row("int2", 19, np.int8, 2, "i")

ALL_DTYPES: tuple[DType, ...] = tuple(v for v in list(globals().values()) if isinstance(v, DType))

_BY_CODE = {d.code: d for d in ALL_DTYPES}
# These are held in another format's array type, so a plain array never means them.
_BY_NUMPY = {d.numpy: d for d in ALL_DTYPES if d not in (INT2, INT4, RESOURCE, VARIANT)}


def dtype_from_code(code: int) -> DType:
    """The row for TFLite's ``TensorType`` ``code``. Raises :class:`FormatError`."""
    try:
        return _BY_CODE[code]
    except KeyError:
        raise FormatError(f"tensor type {code} is not one that TFLite's schema 3 defines") from None


def dtype_from_numpy(dtype: Any) -> DType:
    """The row that holds arrays of ``dtype``. Raises :class:`FormatError`."""
    found = np.dtype(dtype)
    if found.kind in "SUO":
        return STRING
    try:
        return _BY_NUMPY[found]
    except KeyError:
        raise FormatError(f"numpy type {found} has no counterpart in TFLite") from None


class Activation(IntEnum):
    """The activation that an operator applies to its result (``ActivationFunctionType``)."""

    NONE = 0
    RELU = 1
    RELU_N1_TO_1 = 2
    RELU6 = 3
    TANH = 4
    SIGN_BIT = 5


class Padding(IntEnum):
    """How a window operator treats the border (``Padding``)."""

    SAME = 0
    VALID = 1


@dataclass(frozen=True, slots=True)
class Quant:
    """``real = scale * (q - zero_point)``, per tensor or along ``axis``.

    ``scale`` is float32 and ``zero_point`` int64, both 1-D: one element for a whole tensor, or
    one for each slice along ``axis``.
    """

    scale: Array
    zero_point: Array
    axis: int = 0

    @classmethod
    def of(cls, scale: Any, zero_point: Any = 0, axis: int = 0) -> Quant:
        """Build from anything that ``numpy.asarray`` takes; zero points are broadcast."""
        s = np.atleast_1d(np.asarray(scale, np.float32))
        z = np.atleast_1d(np.asarray(zero_point, np.int64))
        return cls(s, np.broadcast_to(z, s.shape).copy(), axis)

    @property
    def per_channel(self) -> bool:
        return self.scale.size > 1

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Quant)
            and self.axis == other.axis
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if self.per_channel:
            return f"Quant(per channel, axis {self.axis}, {self.scale.size} scales)"
        return f"Quant({self.scale[0]:.6g}, {self.zero_point[0]})"


@dataclass(frozen=True, slots=True)
class TensorType:
    """What an operator's shape rule says of one result."""

    dtype: DType
    shape: Shape | None


class Operand(Protocol):
    """What an operator may ask of one of its inputs or outputs.

    A graph's values and the run time's tensors both answer to it. ``data`` is the array of a
    constant (or of a tensor that is known when the question is asked), otherwise ``None``.
    """

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> DType: ...
    @property
    def shape(self) -> Shape | None: ...
    @property
    def data(self) -> Array | None: ...
    @property
    def quant(self) -> Quant | None: ...
