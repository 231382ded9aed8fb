"""The size ledger: what became of every constant of a model, in bytes, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from octolite.ir.graph import Value
from octolite.ir.types import DType

BYTES_PER_SCALE = 4
"""A scale is a float32; the zero points of weights are all 0 and shared in the file."""


class Action(StrEnum):
    """What was done with a constant."""

    PER_CHANNEL = "int8 per channel"
    PER_TENSOR = "int8 per tensor"
    INT4_PER_CHANNEL = "int4 per channel"
    INT4_PER_TENSOR = "int4 per tensor"
    UINT8 = "uint8 per tensor"
    INT32 = "int32"
    FLOAT16 = "float16"
    KEPT = "kept"

    @classmethod
    def of(cls, codes: DType, per_channel: bool) -> Action:
        """Storing as ``codes``."""
        return cls(f"{codes} per {'channel' if per_channel else 'tensor'}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One constant.

    ``consumers`` names the operators that read it, each once, in order; ``before`` and ``after``
    are the bytes it takes in a file, scales included.
    """

    name: str
    shape: tuple[int, ...]
    consumers: tuple[str, ...]
    before: int
    after: int
    action: Action
    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the summary: the constants that share an action, or a reason to be kept."""

    label: str
    tensors: int
    before: int
    after: int


@dataclass
class Ledger:
    """The entries of all constants of a model, in the order in which the graphs read them.

    ``unused`` holds the rules of the recipe that spoke of none of them, in plain types.
    """

    recipe: str
    entries: list[Entry] = field(default_factory=list)
    unused: list[dict[str, Any]] = field(default_factory=list)

    @property
    def before(self) -> int:
        """Bytes of all constants before quantization."""
        return sum(e.before for e in self.entries)

    @property
    def after(self) -> int:
        """Bytes of all constants after quantization."""
        return sum(e.after for e in self.entries)

    @property
    def quantized(self) -> list[Entry]:
        """The constants that are stored in fewer bits than before."""
        return [e for e in self.entries if e.action is not Action.KEPT]

    def summary(self) -> list[Row]:
        """What was quantized, by format, then what was kept, by reason; most bytes first."""
        groups: dict[tuple[bool, str], list[Entry]] = {}
        for entry in self.entries:
            kept = entry.action is Action.KEPT
            label = f"kept: {entry.reason}" if kept else str(entry.action)
            groups.setdefault((kept, label), []).append(entry)
        rows = {key: _row(key[1], entries) for key, entries in groups.items()}
        order = sorted(rows, key=lambda key: (key[0], -rows[key].before, key[1]))
        return [rows[key] for key in order]

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain types, for JSON."""
        return {
            "recipe": self.recipe,
            "bytes_before": self.before,
            "bytes_after": self.after,
            "unused_rules": self.unused,
            "summary": [dataclasses.asdict(row) for row in self.summary()],
            "constants": [_plain(entry) for entry in self.entries],
        }


def _row(label: str, entries: Iterable[Entry]) -> Row:
    members = list(entries)
    return Row(label, len(members), sum(e.before for e in members), sum(e.after for e in members))


def _plain(entry: Entry) -> dict[str, Any]:
    fields = dataclasses.asdict(entry)
    return fields | {
        "shape": list(entry.shape),
        "consumers": list(entry.consumers),
        "action": str(entry.action),
    }


def stored_bytes(value: Value) -> int:
    """Bytes of a constant in a file, its scales included."""
    return value.nbytes + (BYTES_PER_SCALE * value.quant.scale.size if value.quant else 0)
