"""A file's bytes → a ``GraphDef`` message, binary or text, and a clear word on anything else."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from octolite.errors import FormatError
from octolite.frontends import proto

_TEXT = re.compile(rb"(?:\s|#[^\n]*\n)*(?:node|versions|version|library|debug_info)\s*[:{<]")

_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (4, b"TFL3", "a .tflite model"),
    (0, b"\x89HDF", "an HDF5 file (Keras .h5)"),
    (0, b"PK\x03\x04", "a zip archive (Keras .keras)"),
    (0, b"\x1f\x8b", "a gzip archive: unpack it first"),
    (0, b"BZh", "a bzip2 archive: unpack it first"),
    (0, b"\x08\x01\x12", "a SavedModel's saved_model.pb: convert its folder"),
    (0, b"\x08", "an ONNX model"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"{", "JSON"),
)
"""Offset, bytes found there, and what a file that has them is."""


def read(source: str | os.PathLike[str] | bytes) -> Any:
    """The ``GraphDef`` in a file or in bytes. Raises :class:`FormatError`."""
    name = "the given bytes" if isinstance(source, bytes) else repr(os.fspath(source))
    data = source if isinstance(source, bytes) else _file(Path(source))
    if not data:
        raise FormatError(f"{name} is empty; a GraphDef was expected")
    try:
        graph = _text(data) if _TEXT.match(data) else proto.GraphDef.FromString(data)
    except (DecodeError, ValueError, RecursionError) as error:
        raise FormatError(f"{name} is not a GraphDef{_guess(data)} ({error})") from None
    if not graph.node:
        raise FormatError(f"{name} is not a GraphDef{_guess(data)} (it has no nodes)")
    if any(not n.op or not n.name for n in graph.node):
        raise FormatError(f"{name} is not a GraphDef{_guess(data)} (it has nodes without name)")
    return graph


def _file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except IsADirectoryError:
        is_saved = (path / "saved_model.pb").exists()
        what = "a SavedModel's folder, no GraphDef" if is_saved else "a folder"
        raise FormatError(f"{str(path)!r} is {what}; a GraphDef file was expected") from None
    except OSError as error:
        raise FormatError(f"{str(path)!r} cannot be read: {error.strerror}") from None


def _text(data: bytes) -> Any:
    from google.protobuf import text_format  # slow to import, and seldom needed

    try:
        return text_format.Parse(data.decode(), proto.GraphDef(), allow_unknown_field=True)
    except text_format.ParseError as error:
        raise FormatError(f"the text GraphDef breaks off: {error}") from None


def _guess(data: bytes) -> str:
    for offset, magic, what in _OTHERS:
        if data[offset : offset + len(magic)] == magic:
            return f"; it seems to be {what}"
    return ""
