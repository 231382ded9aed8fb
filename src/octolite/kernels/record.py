"""Records that Python fills and kernels read: one 8-byte slot a field."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping
from types import SimpleNamespace

from octolite.kernels.simd import F32, Builder, Type, Value


class Record:
    """The arguments of a kernel, by name: ``Record(a=PTR, rows=I64, low=F32)``."""

    def __init__(self, **fields: Type) -> None:
        self.fields = fields
        self._form = struct.Struct(
            "<" + "".join("f4x" if f == F32 else "q" for f in fields.values())
        )

    @property
    def size(self) -> int:
        """Bytes of a record."""
        return 8 * len(self.fields)

    def pack(self, *more: Mapping[str, float], **values: float) -> ctypes.Array[ctypes.c_char]:
        """A buffer that holds ``values`` (every field, no other), then records of ``more``."""
        data = b"".join(self._bytes(given) for given in (values, *more))
        return ctypes.create_string_buffer(data, len(data))

    def _bytes(self, values: Mapping[str, float]) -> bytes:
        if values.keys() != self.fields.keys():
            raise TypeError(f"fields differ: {sorted(values.keys() ^ self.fields.keys())}")
        return self._form.pack(*map(values.__getitem__, self.fields))

    def offset(self, name: str) -> int:
        """Where a field lies, in bytes."""
        return 8 * list(self.fields).index(name)

    def load(self, k: Builder, address: Value) -> SimpleNamespace:
        """Every field as a value in the kernel; unused loads vanish."""
        return SimpleNamespace(
            **{
                name: k.load(kind, address + 8 * slot)
                for slot, (name, kind) in enumerate(self.fields.items())
            }
        )
