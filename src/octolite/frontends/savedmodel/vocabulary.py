"""Tables that are filled from the lines of a text file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from octolite.errors import FormatError
from octolite.frontends.graphdef.nodes import TfNode
from octolite.ir.types import STRING, Array, DType

_WHOLE_LINE, _LINE_NUMBER = -2, -1


@dataclass(frozen=True)
class Vocabulary:
    """How the lines of a file become keys and values: by column, ``-1`` is the line's number and
    ``-2`` all of it."""

    name: str
    content: Callable[[], bytes]
    columns: tuple[int, int]
    dtypes: tuple[DType, DType]
    delimiter: bytes
    offset: int
    count: int

    @classmethod
    def of(cls, node: TfNode, table: TfNode, content: Callable[[], bytes]) -> Vocabulary:
        """What ``node`` (InitializeTableFromTextFile) fills ``table`` with."""
        return cls(
            node.name,
            content,
            (node.integer("key_index"), node.integer("value_index")),
            (table.dtype("key_dtype"), table.dtype("value_dtype")),
            node.text("delimiter", "\t").encode(),
            node.integer("offset", 0),
            node.integer("vocab_size", -1),
        )

    def keys(self) -> Array:
        return self._column(0)

    def values(self) -> Array:
        return self._column(1)

    def _column(self, which: int) -> Array:
        index, dtype = self.columns[which], self.dtypes[which]
        lines = self.content().split(b"\n")
        lines = lines[self.offset : -1 if not lines[-1] else None]
        if self.count >= 0:
            lines = lines[: self.count]
        if index == _LINE_NUMBER:
            return np.arange(len(lines)).astype(dtype.numpy)
        if index != _WHOLE_LINE:
            lines = [self._field(line, index) for line in lines]
        if dtype is not STRING:
            return self._numbers(lines, dtype)
        found = np.empty(len(lines), np.object_)
        found[:] = lines
        return found

    def _field(self, line: bytes, index: int) -> bytes:
        fields = line.split(self.delimiter)
        if not 0 <= index < len(fields):
            raise FormatError(f"table {self.name!r}: line {line[:60]!r} has no column {index}")
        return fields[index]

    def _numbers(self, lines: list[bytes], dtype: DType) -> Array:
        try:
            return np.array(
                [float(x) if dtype.numpy.kind == "f" else int(x) for x in lines], dtype.numpy
            )
        except (ValueError, OverflowError):
            raise FormatError(f"table {self.name!r}: its file holds what is no {dtype}") from None
