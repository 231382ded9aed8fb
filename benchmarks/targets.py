"""What Octolite promises, and whether figures keep it: ``python -m benchmarks --check``.

Works on the figures as they stand in the JSON file, so that a file can be checked later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Figures = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """Times as fast as LiteRT float, on as many threads: hybrid and float at least, and the
    hybrid figure to strive for. ``winograd`` replaces ``plain`` where the float kernel is one."""

    hybrid: float
    stretch: float
    plain: float
    winograd: float | None = None


# On AVX2, which is what most machines have and where the instructions help least.
TARGETS: dict[str, Target] = {
    "fc1": Target(hybrid=3.5, stretch=4.0, plain=1.0),
    "fc64": Target(hybrid=2.0, stretch=2.5, plain=1.0),
    "conv3x3": Target(hybrid=3.0, stretch=4.0, plain=1.0, winograd=1.8),
    "conv1x1": Target(hybrid=2.0, stretch=2.5, plain=1.0),
    "mobilenet_v2": Target(hybrid=2.2, stretch=3.0, plain=1.1),
    "resnet50": Target(hybrid=2.4, stretch=3.0, plain=1.1),
}
TARGET_ISA = "avx2"
# Our hybrid results may be this much further from float than LiteRT's, in decibels.
SQNR_SLACK = 0.5
# Whom the hybrid model must be ahead of in every row.
RIVALS = ("ONNX Runtime int8", "OpenVINO float")
# Loading and the first run: times LiteRT's with kernels in the cache, seconds without, and
# megabytes above LiteRT's.
WARM_RATIO = 1.5
COLD_SECONDS = {"resnet50": 2.0}
MEMORY_SLACK = 30.0


def check(tables: Iterable[Figures], startup: Iterable[Figures] = ()) -> list[str]:
    """Every promise that the figures break, in words. Empty: all are kept."""
    missed = []
    for table in tables:
        for row in table["rows"]:
            where = f"{row['title']}, {table['isa']}, threads {table['threads']}"
            if row["base"] != "LiteRT float":
                broken = list(_reference(row))
            else:
                broken = [*_ratios(row, table["isa"]), *_quality(row), *_rivals(row)]
            missed += [f"{where}: {what}" for what in broken]
    for row in startup:
        missed += [f"{row['title']}, {row['file']}: {what}" for what in _startup(row)]
    return missed


def _ratios(row: Figures, isa: str) -> Iterator[str]:
    target = TARGETS.get(row["name"])
    if target is None or isa != TARGET_ISA:
        return
    plain = target.plain
    if target.winograd is not None and any("winograd" in k for k in row["kernels"]["float"]):
        plain = target.winograd
    for name, least in (("Octolite hybrid", target.hybrid), ("Octolite float", plain)):
        found = row["speedup"][name]
        if found < least:
            yield f"{name} is {found:.2f}× as fast as LiteRT float, {least:.1f}× promised"


def _quality(row: Figures) -> Iterator[str]:
    ours, theirs = row["sqnr"]["Octolite hybrid"], row["sqnr"]["LiteRT hybrid"]
    if ours < theirs - SQNR_SLACK:
        yield f"SQNR is {ours:.1f} dB, LiteRT's {theirs:.1f}; {SQNR_SLACK} dB less allowed"


def _rivals(row: Figures) -> Iterator[str]:
    ours = row["timings"]["Octolite hybrid"]["median"]
    for rival in RIVALS:
        theirs = row["timings"].get(rival)
        if theirs is not None and theirs["median"] < ours:
            yield f"Octolite hybrid takes {ours:.3f} ms, {rival} {theirs['median']:.3f}"


def _reference(row: Figures) -> Iterator[str]:
    ours, theirs = (row["timings"][n]["median"] for n in ("Octolite", "LiteRT reference"))
    if ours > theirs:
        yield f"Octolite takes {ours:.3f} ms, LiteRT's reference kernels {theirs:.3f}"


def _startup(row: Figures) -> Iterator[str]:
    ratio = row["warm_seconds"] / row["litert_seconds"]
    if ratio > WARM_RATIO:
        yield f"loading takes {ratio:.2f}× LiteRT's time, at most {WARM_RATIO} promised"
    most = COLD_SECONDS.get(row["name"])
    if most is not None and row["cold_seconds"] > most:
        yield f"loading without a cache takes {row['cold_seconds']:.2f} s, {most} s promised"
    extra = row["memory_mb"] - row["litert_memory_mb"]
    if row["file"] == "hybrid" and extra > MEMORY_SLACK:
        yield f"peak memory is {extra:.0f} MB above LiteRT's, at most {MEMORY_SLACK:.0f} promised"
