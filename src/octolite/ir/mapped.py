"""Files as memory maps: constants take memory only while they are looked at."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

from octolite.errors import FormatError
from octolite.ir.types import Array

Content = bytes | mmap.mmap
"""A file: its bytes, or its memory map."""


def load(path: Path) -> Content:
    """The file at ``path``, mapped where the system can. Raises :class:`FormatError`.

    As in any run time that maps its models, the file must not be cut short while it is in use;
    to put another in its place, rename.
    """
    try:
        with path.open("rb") as file:
            try:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError):  # empty, or no file that can be mapped
                return file.read()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise FormatError(f"cannot read {str(path)!r}: {reason}") from error


def release(array: Array) -> None:
    """Give the memory of a mapped constant back; looking at it reads the file again."""
    if array.nbytes < mmap.PAGESIZE:
        return
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    whole = base.obj if isinstance(base, memoryview) else base
    if not isinstance(whole, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return
    first = array.ctypes.data - np.frombuffer(whole, np.uint8).ctypes.data
    start = first // mmap.PAGESIZE * mmap.PAGESIZE
    whole.madvise(mmap.MADV_DONTNEED, start, first + array.nbytes - start)
