"""The files that Keras writes: what a model is, as JSON, and its weights, in HDF5.

Nothing in a file is trusted: no code in it is ever run, links that lead elsewhere are refused, and
what would take more memory than the file has bytes is counted.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import h5py
import numpy as np

from octolite.errors import FormatError, InvalidGraphError, UnsupportedError, UsageError
from octolite.frontends.builder import SPARE
from octolite.ir.types import Array

ZIP, HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
MAX_TEXT = 256 << 20
"""Bytes that a configuration may have."""

Source = str | os.PathLike[str] | bytes

_BROKEN = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, OverflowError,
           MemoryError, NotImplementedError)  # fmt: skip
"""What h5py and zipfile raise for damaged files."""


@dataclass
class Archive:
    """A file that is being read.

    Attributes:
        config: the model: an object with ``class_name`` and ``config``.
        keras: the version of Keras that wrote it, 2 or 3.
        weights: the group of the file that holds them.
        legacy: whether they lie as Keras 2 wrote them, a list for each layer.
    """

    config: Mapping[str, Any]
    keras: int
    weights: Any
    legacy: bool
    spare: Spare = field(default_factory=lambda: Spare())


@dataclass
class Spare:
    """Bytes that arrays take beyond what the file has for them."""

    taken: int = 0

    def take(self, size: int, name: str) -> None:
        self.taken += max(0, size)
        if self.taken > SPARE:
            raise UnsupportedError(
                f"weight {name!r}: weights come to {SPARE >> 20} MiB more than the file has for "
                "them"
            )


def open_archive(source: Source, close: ExitStack) -> Archive:
    """Read the model's configuration, and find its weights.

    Raises:
        UsageError: there is no such file.
        FormatError: it is no file that Keras writes, or a damaged one.
    """
    try:
        file: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"cannot read {source!r}: {error.strerror or error}") from None
    close.enter_context(file)
    head = file.read(8)
    file.seek(0)
    read = _read_zip if head.startswith(ZIP) else _read_hdf5
    try:
        return read(file, close)
    except (zipfile.BadZipFile, EOFError, *_BROKEN) as error:
        if isinstance(error, UsageError):
            raise
        raise FormatError(f"the file is no Keras model, or damaged: {error}") from error


# -- the two kinds of file --------------------------------------------------------------------


def _read_hdf5(file: BinaryIO, close: ExitStack) -> Archive:
    root = close.enter_context(h5py.File(file, "r"))
    if "model_config" not in root.attrs:
        raise FormatError(
            "the HDF5 file holds no model_config: it has weights alone, or is no Keras model. Save "
            "the whole model, by model.save()"
        )
    config = parse_json(_text(root.attrs["model_config"]), "model_config")
    group = child(root, "model_weights")
    version = root.attrs.get("keras_version", group.attrs.get("keras_version", "2"))
    return Archive(config, _major(_text(version)), group, legacy=True)


def _read_zip(file: BinaryIO, close: ExitStack) -> Archive:
    archive = close.enter_context(zipfile.ZipFile(file))
    names = set(archive.namelist())
    if "config.json" not in names:
        raise FormatError("the zip archive holds no config.json: it is no .keras file")
    if "model.weights.h5" not in names:
        more = " It has them in shards." if "model.weights.json" in names else ""
        raise FormatError(f"the .keras file holds no model.weights.h5.{more}")
    config = parse_json(_member(archive, "config.json"), "config.json")
    facts: Mapping[str, Any] = {}
    if "metadata.json" in names:
        facts = parse_json(_member(archive, "metadata.json"), "metadata.json")
    keras = _major(str(facts.get("keras_version", "3")))
    info = archive.getinfo("model.weights.h5")
    weights: io.RawIOBase | BinaryIO
    if info.compress_type == zipfile.ZIP_STORED:
        weights = _Window(file, info)  # read where it lies
    else:
        if info.file_size - info.compress_size > SPARE:
            raise FormatError(f"model.weights.h5 claims {info.file_size} bytes, which is too much")
        weights = io.BytesIO(archive.open(info).read(info.file_size))
    root = close.enter_context(h5py.File(weights, "r"))
    return Archive(config, keras, root, legacy=False)


def _member(archive: zipfile.ZipFile, name: str) -> str:
    info = archive.getinfo(name)
    if info.file_size > MAX_TEXT:
        raise FormatError(f"{name} claims {info.file_size} bytes, which is too much")
    with archive.open(info) as file:
        return file.read(MAX_TEXT).decode("utf-8", errors="replace")


class _Window(io.RawIOBase):
    """A member of an archive that is stored as it is."""

    def __init__(self, file: BinaryIO, info: zipfile.ZipInfo) -> None:
        super().__init__()
        file.seek(info.header_offset)
        header = file.read(30)
        if len(header) < 30 or not header.startswith(ZIP):
            raise FormatError(f"{info.filename} is not where the archive says it is")
        lengths = (int.from_bytes(header[i : i + 2], "little") for i in (26, 28))
        self._file, self._start = file, info.header_offset + 30 + sum(lengths)
        self._size, self._at = info.file_size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._at)
        count = self._file.readinto(memoryview(buffer)[: max(0, self._size - self._at)])  # type: ignore[attr-defined]
        self._at += count
        return int(count)


def parse_json(text: str, what: str) -> Mapping[str, Any]:
    """The object that ``text`` is. Raises :class:`FormatError`."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what} is no JSON: {error}") from None
    if not isinstance(found, Mapping):
        raise FormatError(f"{what} holds {type(found).__name__}, expected an object")
    return found


def _text(found: Any) -> str:
    return found.decode("utf-8", errors="replace") if isinstance(found, bytes) else str(found)


def _major(version: str) -> int:
    number = re.match(r"\d+", version)
    return 3 if number is not None and int(number.group()) >= 3 else 2


# -- HDF5 -------------------------------------------------------------------------------------


def child(group: Any, path: str) -> Any:
    """What lies at ``path`` in ``group``, through no links.

    Raises :class:`InvalidGraphError` where there is nothing.
    """
    for name in path.split("/"):
        link = group.get(name, getlink=True) if isinstance(group, h5py.Group) and name else None
        if link is None:
            raise InvalidGraphError(f"the file has no {path!r} among its weights")
        if not isinstance(link, h5py.HardLink):
            raise InvalidGraphError(f"{path!r} is a link to elsewhere, which is not followed")
        group = group[name]
    return group


def has(group: Any, path: str) -> bool:
    """Whether anything lies at ``path``."""
    try:
        child(group, path)
    except InvalidGraphError:
        return False
    return True


def names(group: Any, attribute: str) -> list[str]:
    """A list of names, which long ones are written as several attributes."""
    found = []
    if attribute in group.attrs:
        found = list(group.attrs[attribute])
    else:
        number = 0
        while f"{attribute}{number}" in group.attrs:
            found += list(group.attrs[f"{attribute}{number}"])
            number += 1
    return [_text(name) for name in found]


class Dataset:
    """A weight in the file."""

    def __init__(self, found: Any, name: str, spare: Spare) -> None:
        if not isinstance(found, h5py.Dataset):
            raise InvalidGraphError(f"weight {name!r} is no array")
        if found.external or found.is_virtual:
            raise InvalidGraphError(f"weight {name!r} lies in another file, which is not read")
        if found.dtype.kind not in "fiub" or found.shape is None:
            raise InvalidGraphError(f"weight {name!r} holds {found.dtype}, expected numbers")
        self._found, self._name, self._spare = found, name, spare
        self.shape: tuple[int, ...] = tuple(found.shape)

    def read(self) -> Array:
        """The array. Raises :class:`FormatError` where the file is damaged."""
        try:
            size = int(np.prod(self.shape, dtype=object)) * self._found.dtype.itemsize
            self._spare.take(size - self._found.id.get_storage_size(), self._name)
            return np.asarray(self._found[()])
        except _BROKEN as error:
            raise FormatError(f"weight {self._name!r} cannot be read: {error}") from error


def guarded(read: Callable[[], Any]) -> Any:
    """What ``read`` gives. Raises :class:`FormatError` where h5py finds the file damaged."""
    try:
        return read()
    except _BROKEN as error:
        raise FormatError(f"the weights are damaged: {error}") from error
