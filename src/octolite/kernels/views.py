"""Where elements lie: strided views of tensors, and copies from one view to another.

An operator that only moves elements says so in these terms; :mod:`octolite.kernels.copy` runs it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from octolite.ir.types import Array


@dataclass(frozen=True, slots=True)
class View:
    """Element [i, j, …] lies ``offset + i · strides[0] + j · strides[1] + …`` elements from the
    start of a tensor."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @classmethod
    def of(cls, shape: Sequence[int]) -> View:
        """All of a tensor whose last axis is dense."""
        strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
        return cls(tuple(shape), tuple(strides))

    @classmethod
    def same(cls, shape: Sequence[int]) -> View:
        """One element, seen everywhere."""
        return cls(tuple(shape), (0,) * len(shape))

    def transposed(self, order: Sequence[int]) -> View:
        """Axis i is axis ``order[i]`` of this view."""
        return View(
            tuple(self.shape[a] for a in order), tuple(self.strides[a] for a in order), self.offset
        )

    def part(self, axis: int, start: int, extent: int, step: int = 1) -> View:
        """``extent`` elements from ``start`` on along one axis, every ``step``-th."""
        stride = self.strides[axis]
        return self._with(
            axis, [(extent, stride * step)], self.offset + (start * stride if extent else 0)
        )

    def at(self, axis: int, index: int) -> View:
        """One element along an axis, which goes."""
        return self._with(axis, [], self.offset + index * self.strides[axis])

    def split(self, axis: int, *extents: int) -> View:
        """One axis as several, the last the densest; their product is its extent."""
        stride = self.strides[axis]
        steps = View.of(extents).strides
        return self._with(axis, [(d, s * stride) for d, s in zip(extents, steps, strict=True)])

    def repeated(self, axis: int, times: int) -> View:
        """A new axis along which everything is seen again and again."""
        return self._with(axis, [(times, 0), (self.shape[axis], self.strides[axis])])

    def broadcast(self, shape: Sequence[int]) -> View:
        """Seen in a shape to which this one broadcasts: again and again along axes of extent 1."""
        added = len(shape) - len(self.shape)
        strides = (0 if d == 1 else s for d, s in zip(self.shape, self.strides, strict=True))
        return replace(self, shape=tuple(shape), strides=(0,) * added + tuple(strides))

    def _with(self, axis: int, axes: Sequence[tuple[int, int]], offset: int | None = None) -> View:
        """Other axes in place of one."""
        shape, strides = list(self.shape), list(self.strides)
        shape[axis : axis + 1] = [d for d, _ in axes]
        strides[axis : axis + 1] = [s for _, s in axes]
        found = replace(self, shape=tuple(shape), strides=tuple(strides))
        return found if offset is None else replace(found, offset=offset)


@dataclass(frozen=True, slots=True)
class Move:
    """Copy the elements that ``source`` sees to where ``target`` sees them.

    ``read`` and ``write`` name the tensors: ``input0``, ``input1``, … and ``output0``, …; a
    constant may be given as an array instead. Moves run one after the other.
    """

    source: View
    target: View
    read: str | Array = "input0"
    write: str = "output0"
