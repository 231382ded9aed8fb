"""Memory that notices when a kernel leaves it."""

from __future__ import annotations

import ctypes
import mmap
import weakref
from typing import Any, ClassVar

import numpy as np

from octolite.ir.types import Array

PAGE = mmap.PAGESIZE
_NO_ACCESS = 0  # PROT_NONE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Guarded:
    """``shape`` elements with forbidden pages on both sides; touching one ends the process.

    The elements end where the page does (``at_end``) or start where it does; the bytes between
    them and the other end hold a pattern that ``check`` looks after.
    """

    PATTERN = 0xA5
    alive: ClassVar[weakref.WeakSet[Guarded]] = weakref.WeakSet()

    def __init__(self, shape: tuple[int, ...], dtype: Any, at_end: bool = True) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        inner = -(-max(size, 1) // PAGE) * PAGE
        self._map = mmap.mmap(-1, inner + 2 * PAGE)
        whole = np.frombuffer(self._map, np.uint8)
        for start in (0, PAGE + inner):
            if _libc.mprotect(whole.ctypes.data + start, PAGE, _NO_ACCESS):
                raise OSError(ctypes.get_errno(), "mprotect")
        room = whole[PAGE : PAGE + inner]
        room[:] = self.PATTERN
        start = inner - size if at_end else 0
        self.room: Array = room
        self.array: Array = room[start : start + size].view(dtype).reshape(shape)
        self._margins = (room[:start], room[start + size :])
        Guarded.alive.add(self)

    @property
    def address(self) -> int:
        return int(self.array.ctypes.data)

    def check(self) -> None:
        assert all((margin == self.PATTERN).all() for margin in self._margins), "written outside"
