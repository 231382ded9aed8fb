"""The table of instruction sets, and which of them to compile for.

To add one, write its tiles and its row beside those of its family (``x86.py``, ``arm.py``), and put
the row in ``ROWS``: packing, kernels, selection and tests follow from its fields.
"""

from __future__ import annotations

import functools
import os

from llvmlite import binding as llvm

from octolite.errors import KernelError, did_you_mean
from octolite.kernels import arm, x86
from octolite.kernels.tile import Isa, Tile, madd_any, pair_tile, real_tile

__all__ = ["GENERIC", "ROWS", "Isa", "Tile", "by_name", "current"]

_WIDE = pair_tile(4, madd_any(4), (1, 2, 4), wide=True)

GENERIC = Isa(
    name="generic",
    arch="",
    cpu="",
    features="",
    needs=(),
    lanes=4,
    dot=pair_tile(4, madd_any(4), (1, 2, 4)),
    real=real_tile(4, (1, 2, 4)),
    dense=_WIDE,
    words=_WIDE,
)

# Worst first: the last that runs is taken.
ROWS: tuple[Isa, ...] = (
    GENERIC,
    x86.AVX2,
    x86.AVXVNNI,
    x86.AVX512VNNI,
    x86.AMX,
    arm.NEONDOT,
    arm.NEONI8MM,
)


def by_name(name: str) -> Isa:
    """The row called ``name``. Raises :class:`KernelError`."""
    for row in ROWS:
        if row.name == name:
            return row
    known = [row.name for row in ROWS]
    raise KernelError(f"there is no instruction set {name!r}. {did_you_mean(name, known)}")


@functools.cache
def _forced(name: str) -> Isa:
    row = by_name(name)
    if not row.runs_here:
        raise KernelError(
            f"OCTOLITE_ISA asks for {name!r}, which needs {', '.join(row.needs)}; "
            f"this CPU ({llvm.get_host_cpu_name()}) lacks some of them"
        )
    return row


@functools.cache
def _best() -> Isa:
    return next(row for row in reversed(ROWS) if row.runs_here)


def current() -> Isa:
    """The row to compile for: ``OCTOLITE_ISA`` where it is set, else the best that runs here.

    Raises :class:`KernelError` when the variable names a row that is unknown or cannot run.
    """
    name = os.environ.get("OCTOLITE_ISA")
    return _forced(name) if name else _best()
