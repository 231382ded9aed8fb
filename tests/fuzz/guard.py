"""An arena whose tensors each end where a page does that nobody may touch."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from octolite.ir.types import Array
from octolite.runtime import context, plan
from octolite.runtime.arena import Block, align, allocate

PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class GuardedArena:
    """Stands in for :mod:`octolite.runtime.arena`: no memory is used twice, and none is joined."""

    def __init__(self) -> None:
        self._guards: dict[int, list[int]] = {}

    def assign(self, blocks: Sequence[Block]) -> tuple[list[int], int]:
        offsets, guards, end = [], [], 0
        for block in blocks:
            room = -(-max(block.size, 1) // PAGE) * PAGE
            offsets.append(end + room - align(block.size))
            guards.append(end + room)
            end += room + PAGE
        while end in self._guards:
            end += PAGE
        self._guards[end] = guards
        return offsets, end

    def allocate(self, size: int) -> Array:
        guards = self._guards.get(size)
        if not size or guards is None:
            return allocate(size)
        whole = np.frombuffer(mmap.mmap(-1, size), np.uint8)
        for guard in guards:
            if _libc.mprotect(whole.ctypes.data + guard, PAGE, 0):
                raise MemoryError("no more guarded pages")
        return whole


@contextmanager
def guarded() -> Iterator[None]:
    """While this lasts, interpreters take guarded memory."""
    arena = GuardedArena()
    before = plan.assign, context.allocate
    plan.assign, context.allocate = arena.assign, arena.allocate  # type: ignore[attr-defined]
    try:
        yield
    finally:
        plan.assign, context.allocate = before  # type: ignore[attr-defined]
