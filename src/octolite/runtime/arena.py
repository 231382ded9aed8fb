"""One block of memory for all intermediate tensors, reused as they come and go."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octolite.ir.types import Array

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector register."""

FOREVER = 1 << 60


@dataclass(frozen=True, slots=True)
class Block:
    """A tensor's need: ``size`` bytes, from step ``first`` to step ``last``, both included."""

    size: int
    first: int
    last: int

    def meets(self, other: Block) -> bool:
        return self.first <= other.last and other.first <= self.last


def align(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def assign(blocks: Sequence[Block]) -> tuple[list[int], int]:
    """An offset for each block so that none overlaps another that lives at the same time.

    Greedy by size: the largest first, each into the lowest gap that fits. Returns the offsets
    and the bytes needed in all.
    """
    offsets = [0] * len(blocks)
    placed: list[int] = []  # by offset
    total = 0
    some = (i for i, block in enumerate(blocks) if block.size)
    for index in sorted(some, key=lambda i: (-blocks[i].size, i)):
        block, position = blocks[index], 0
        for other in placed:
            if not block.meets(blocks[other]):
                continue
            if offsets[other] - position >= block.size:
                break
            position = max(position, align(offsets[other] + blocks[other].size))
        offsets[index] = position
        insort(placed, index, key=offsets.__getitem__)
        total = max(total, align(position + block.size))
    return offsets, total


def allocate(size: int) -> Array:
    """Zeros that start at a multiple of :data:`ALIGNMENT`: nobody sees what lay there before."""
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]
