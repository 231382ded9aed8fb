"""What a ``.tflite`` file tells about how to use it: TFLite Metadata.

It is a FlatBuffer of its own in the model's metadata, ``TFLITE_METADATA``, and files of labels in
a zip archive behind the model. Source of the numbers: tflite-support's metadata_schema.fbs, 1.1.0.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from octolite.errors import FormatError
from octolite.ir import mapped
from octolite.tflite import schema
from octolite.tflite.tables import INT8, UINT8, UINT32, Table

KEY = "TFLITE_METADATA"
IDENTIFIER = b"M001"
IMAGE, NORMALIZATION = 2, 1
"""Members of the unions of contents and of process units."""
COLOURS = {1: "rgb", 2: "gray"}
LABELS_LIMIT = 1 << 26
"""Bytes that a file of labels may take."""
LABEL_FILES = (2, 3)
"""Associated files that name the entries of an axis, or the values of a tensor."""


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """What is said of an input or an output.

    Attributes:
        name: what people call it.
        mean, std: ``(x - mean) / std``, for each channel or one for all; empty when not said.
        is_image: whether its content is an image.
        colour: ``"rgb"``, ``"gray"``, or ``None``.
        size: height and width, where the tensor leaves them open.
        labels: what its entries or values are called; empty when not said.
    """

    name: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    is_image: bool = False
    colour: str | None = None
    size: tuple[int, int] | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is said of each input and output of the main graph, in the graph's order."""

    inputs: tuple[TensorMetadata, ...] = ()
    outputs: tuple[TensorMetadata, ...] = ()


def read_metadata(source: str | os.PathLike[str] | bytes) -> Metadata:
    """The metadata of a model, given its path or its bytes; an empty one where it has none.

    Raises :class:`FormatError` for metadata that is damaged.
    """
    content = source if isinstance(source, bytes) else mapped.load(Path(source))
    try:
        raw = _raw(Table.root(content))
        if raw is None:
            return Metadata()
        if raw[4:8] != IDENTIFIER:
            raise FormatError(f"the metadata starts with {raw[4:8]!r}, expected {IDENTIFIER!r}")
        graphs = Table.root(raw).tables(3)
        if not graphs:
            return Metadata()
        files = _Files(source)
        inputs, outputs = ([_tensor(t, files) for t in graphs[0].tables(f)] for f in (2, 3))
    except (struct.error, ValueError, IndexError) as error:
        raise FormatError(f"the model's metadata is damaged: {error}") from error
    return Metadata(tuple(inputs), tuple(outputs))


def _raw(model: Table) -> bytes | None:
    fields = schema.Metadata
    for entry in model.tables(schema.Model.METADATA):
        if entry.text(fields.NAME) == KEY:
            buffer = model.tables(schema.Model.BUFFERS)[entry.number(fields.BUFFER, UINT32)]
            data = buffer.vector(schema.Buffer.DATA, np.uint8)
            return None if data is None else data.tobytes()
    return None


class _Files:
    """The archive behind a model."""

    def __init__(self, source: str | os.PathLike[str] | bytes) -> None:
        self.source = source

    def lines(self, name: str) -> tuple[str, ...]:
        """A text file's lines; none where there is no such file."""
        file = io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source
        try:
            with zipfile.ZipFile(file) as archive:
                if archive.getinfo(name).file_size > LABELS_LIMIT:
                    return ()
                text = archive.read(name).decode("utf-8", "replace")
        except (zipfile.BadZipFile, KeyError, OSError, EOFError, RuntimeError, zlib.error):
            return ()
        return tuple(text.rstrip("\n").splitlines())


def _tensor(table: Table, files: _Files) -> TensorMetadata:
    mean, std = _normalization(table)
    is_image, colour, size = _image(table)
    named = [f.text(0) for f in table.tables(6) if f.number(2, INT8) in LABEL_FILES]
    labels = files.lines(named[0]) if named else ()
    return TensorMetadata(table.text(0), mean, std, is_image, colour, size, labels)


def _normalization(table: Table) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for unit in table.tables(4):
        options = unit.table(1)
        if unit.number(0, UINT8) == NORMALIZATION and options is not None:
            mean, std = (options.vector(field, np.float32) for field in (0, 1))
            return (
                () if mean is None else tuple(mean.tolist()),
                () if std is None else tuple(std.tolist()),
            )
    return (), ()


def _image(table: Table) -> tuple[bool, str | None, tuple[int, int] | None]:
    content = table.table(3)
    if content is None or content.number(0, UINT8) != IMAGE:
        return False, None, None
    properties = content.table(1)
    if properties is None:
        return True, None, None
    size = properties.table(1)
    extents = None if size is None else (size.number(1, UINT32), size.number(0, UINT32))
    return True, COLOURS.get(properties.number(0, INT8)), extents
