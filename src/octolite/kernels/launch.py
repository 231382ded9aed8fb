"""A kernel laid out for one shape: which functions run, on what, in how many tiles."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from octolite.ir.types import Array
from octolite.kernels.record import Record


@dataclass(frozen=True, slots=True)
class Place:
    """An address that is known when the buffers are: ``base`` is ``input0``, ``input1``, …,
    ``output0``, …, ``scratch`` or ``faults``."""

    base: str
    offset: int = 0


INPUT, SECOND, OUTPUT = Place("input0"), Place("input1"), Place("output0")
NOWHERE = 0

Operand = int | float | Place | Array


@dataclass(frozen=True)
class Step:
    """``fn(args, 0)`` … ``fn(args, tiles - 1)``, in any order and on any thread.

    ``fn``: address of a compiled ``void fn(args *, int64 tile)``. ``args`` is kept alive by the
    step, and so is ``keep``, what the arguments point to.
    """

    fn: int
    args: ctypes.Array[ctypes.c_char]
    tiles: int
    label: str
    keep: Any = None


@dataclass(frozen=True)
class Stage:
    """A step before its buffers are known.

    ``more``: the operands of records that follow the first, for a function that takes several.
    """

    label: str
    fn: int
    record: Record
    tiles: int
    operands: dict[str, Operand]
    more: tuple[dict[str, Operand], ...] = ()


@dataclass
class Launch:
    """A kernel ready for one shape.

    ``output_shape``: extents of the (first) result. ``scratch_bytes``: working memory, 64-byte
    aligned, that the steps need while they run. ``macs``: multiplications of the operator.
    ``in_place``: which inputs the result may overwrite, as each of its elements depends on the
    element in its place alone, and has as many bytes.
    ``fault_words``: int64 words, zero at first, in which the steps note what they find wrong.
    ``checks``: to be called with these when the steps have run; they raise for what stands there.

    A launch is bound to buffers by :meth:`steps`, as often as there are threads that run it; it
    does not change by that.
    """

    output_shape: tuple[int, ...]
    macs: int
    stages: list[Stage] = field(default_factory=list)
    scratch_bytes: int = 0
    in_place: tuple[int, ...] = ()
    fault_words: int = 0
    checks: list[Callable[[Array], None]] = field(default_factory=list)

    def reserve(self, size: int) -> Place:
        """``size`` bytes of scratch, 64-byte aligned."""
        place = Place("scratch", self.scratch_bytes)
        self.scratch_bytes += -(-size // 64) * 64
        return place

    def reserve_faults(self, words: int, check: Callable[[Array], None]) -> Place:
        """``words`` int64 for what goes wrong; ``check`` raises for it, and sets them to zero."""
        first = self.fault_words
        self.fault_words += words
        self.checks.append(_behind(first, check))
        return Place("faults", 8 * first)

    def add(
        self,
        label: str,
        fn: int,
        record: Record,
        tiles: int,
        *more: dict[str, Operand],
        **operands: Operand,
    ) -> None:
        if tiles > 0:
            self.stages.append(Stage(label, fn, record, tiles, operands, more))

    def include(self, other: Launch, **bases: Place) -> None:
        """Take over the stages of ``other``; ``bases`` are the places of its buffers here. Its
        scratch becomes part of this one's."""
        bases["scratch"] = self.reserve(other.scratch_bytes)
        bases["faults"] = Place("faults", 8 * self.fault_words)
        first, self.fault_words = self.fault_words, self.fault_words + other.fault_words

        def move(value: Operand) -> Operand:
            if not isinstance(value, Place):
                return value
            base = bases[value.base]
            return Place(base.base, base.offset + value.offset)

        for stage in other.stages:
            operands, *more = (
                {name: move(value) for name, value in given.items()}
                for given in (stage.operands, *stage.more)
            )
            self.stages.append(replace(stage, operands=operands, more=tuple(more)))
        self.macs += other.macs
        self.checks += [_behind(first, check) for check in other.checks]

    def faults(self) -> Array:
        """Words for the steps of one binding."""
        return np.zeros(self.fault_words, np.int64)

    def steps(
        self,
        input_ptr: int | Sequence[int],
        output_ptr: int | Sequence[int],
        scratch_ptr: int,
        faults: Array | None = None,
    ) -> list[Step]:
        """The steps that compute into these buffers, to be run one after the other.

        ``input_ptr``, ``output_ptr``: the address of the input and output, or of each of several.
        ``faults``: what the checks are to be called with.
        """
        if faults is None:
            faults = self.faults()
        bases = {"scratch": scratch_ptr, "faults": int(faults.ctypes.data)}
        for kind, given in (("input", input_ptr), ("output", output_ptr)):
            pointers = [given] if isinstance(given, int) else given
            bases.update({f"{kind}{i}": pointer for i, pointer in enumerate(pointers)})

        def resolve(value: Operand) -> int | float:
            if isinstance(value, Place):
                return bases[value.base] + value.offset
            return value if isinstance(value, int | float) else int(value.ctypes.data)

        return [
            Step(
                stage.fn,
                stage.record.pack(
                    *({n: resolve(v) for n, v in given.items()} for given in stage.more),
                    **{n: resolve(v) for n, v in stage.operands.items()},
                ),
                stage.tiles,
                stage.label,
                (stage, faults),
            )
            for stage in self.stages
        ]


def _behind(first: int, check: Callable[[Array], None]) -> Callable[[Array], None]:
    """``check`` of the words from ``first`` on."""
    return lambda faults: check(faults[first:])
