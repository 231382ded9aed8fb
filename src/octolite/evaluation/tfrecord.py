"""TFRecord files of tf.Example, with their checksums checked.

A record is its length (uint64), the length's checksum, the data and the data's checksum (uint32,
masked CRC-32C), all little-endian. Source: TensorFlow's "TFRecord and tf.train.Example".
"""

from __future__ import annotations

import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from octolite.errors import DataError, FormatError
from octolite.frontends import proto
from octolite.frontends.savedmodel.crc import crc32c, mask
from octolite.ir.types import Array

_TABLE = """
message Example
  1 Features features
message Features
  1 map<string,Feature> feature
message Feature
  1 BytesList bytes_list in kind
  2 FloatList float_list in kind
  3 Int64List int64_list in kind
message BytesList
  1 repeated bytes value
message FloatList
  1 repeated float value
message Int64List
  1 repeated int64 value
"""
proto.declare(_TABLE, "octolite/example.proto")
_Example: Any = proto.message("Example")
_ARRAYS = {"float_list": np.float32, "int64_list": np.int64}

Feature = list[bytes] | Array
"""Bytes, or numbers: float32 or int64 [n]."""


class TFRecord:
    """The records of a file, which is looked through once for where they are.

    Raises :class:`FormatError` where a length is damaged: what follows cannot be found then.
    Several threads may read at once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
            self._size = path.stat().st_size
        except OSError as error:
            raise FormatError(f"cannot read {path}: {error.strerror}") from error
        self._lock = threading.Lock()
        self._places = self._look()

    def _look(self) -> list[tuple[int, int]]:
        """Where the data of each record is, and how long."""
        places: list[tuple[int, int]] = []
        at = 0
        while at < self._size:
            head = self._read(at, 12)
            length, checksum = struct.unpack("<QI", head) if len(head) == 12 else (0, -1)
            if checksum != mask(crc32c(head[:8])):
                raise FormatError(
                    f"{self.path}: what should be the length of record {len(places)} (byte {at}) "
                    "does not have its checksum; the file is damaged or no TFRecord (compressed "
                    "files are to be unpacked first)"
                )
            places.append((at + 12, length))
            at += 16 + length
        return places

    def _read(self, at: int, count: int) -> bytes:
        with self._lock:
            self._file.seek(at)
            return self._file.read(count)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> dict[str, Feature]:
        """The features of a record by name. Raises :class:`DataError`."""
        at, length = self._places[index]
        if at + length + 4 > self._size:
            raise DataError(f"the file ends within record {index}")
        data = self._read(at, length + 4)
        if data[length:] != mask(crc32c(data[:length])).to_bytes(4, "little"):
            raise DataError(f"record {index} does not have its checksum: it is damaged")
        try:
            example = _Example.FromString(data[:length])
        except DecodeError as error:
            raise DataError(f"record {index} is no tf.Example: {error}") from error
        return {name: _value(f) for name, f in example.features.feature.items()}

    def first(self) -> dict[str, Feature]:
        """The first record that can be read. Raises :class:`FormatError` where there is none."""
        for index in range(len(self)):
            try:
                return self[index]
            except DataError:
                continue
        raise FormatError(f"{self.path}: none of {len(self)} records can be read")

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


def _value(feature: Any) -> Feature:
    kind = feature.WhichOneof("kind") or "bytes_list"
    values = getattr(feature, kind).value
    return np.array(values, _ARRAYS[kind]) if kind in _ARRAYS else list(values)
