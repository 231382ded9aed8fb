"""Many mutants in several processes; whatever brings one down is written to a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from octolite.ops import REGISTRY
from tests.fuzz.attempt import Mutant

ROOT = Path(__file__).parents[2]
STRETCH = 1000
"""Mutants that one process tries; the next one starts with empty memory."""


@dataclass
class Report:
    """How mutants ended."""

    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    """Number, outcome and traceback of each that ended otherwise than it should."""
    slowest: float = 0.0
    largest: int = 0
    """Most memory that a process held while it tried one, in bytes."""
    origins: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many of each model or graph ended with a result, and how many with an error."""

    @property
    def count(self) -> int:
        return self.outcomes.total()

    def __iadd__(self, other: Report) -> Report:
        self.outcomes += other.outcomes
        self.kinds += other.kinds
        self.failures += other.failures
        self.slowest = max(self.slowest, other.slowest)
        self.largest = max(self.largest, other.largest)
        self.origins += other.origins
        return self

    def by_origin(self) -> Iterator[tuple[str, int, int]]:
        """Each model and graph, how many of its mutants gave a result, and how many an error;
        operators' cases together."""
        for origin in sorted({origin for origin, _ in self.origins}):
            yield origin, self.origins[origin, "ran"], self.origins[origin, "error"]


def campaign(
    seed: int,
    count: int,
    jobs: int,
    save: Path | None = None,
    tell: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Try mutants 0 … ``count`` of series ``seed`` in ``jobs`` processes at a time.

    Mutants that fail are written to ``save``, each with what is known of it.
    """
    report = Report()
    stretches = [(first, min(first + STRETCH, count)) for first in range(0, count, STRETCH)]
    if count < STRETCH * jobs:
        share = -(-count // jobs)
        stretches = [(first, min(first + share, count)) for first in range(0, count, share)]
    with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor(jobs) as pool:
        for part in pool.map(lambda s: _stretch(seed, *s, Path(cache)), stretches):
            report += part
            if save is not None:
                for number, outcome, detail in part.failures:
                    _save(save, Mutant.make(seed, number), outcome, detail)
            tell(report)
    return report


def _stretch(seed: int, first: int, last: int, cache: Path) -> Report:
    """One process after another until all are tried."""
    report = Report()
    while first < last:
        command = [sys.executable, "-m", "tests.fuzz.worker", *map(str, (seed, first, last, 1))]
        environment = {**os.environ, "OCTOLITE_CACHE": str(cache)}
        with (
            tempfile.TemporaryFile("w+") as errors,
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT, env=environment
            ) as process,
        ):
            assert process.stdout is not None
            died_of = _read(process.stdout, report)
            status = process.wait()
            if not status:
                return report
            errors.seek(0)
            number = first if died_of is None else died_of
            outcome = f"ended the process with status {status}"
            report.failures.append((number, outcome, errors.read()[-4000:]))
            report.outcomes[outcome] += 1
            first = number + 1
    return report


def _read(lines: Iterable[str], report: Report) -> int | None:
    """Note what a process says; the number of the mutant that it never finished, if any."""
    open_: int | None = None
    for line in lines:
        facts = json.loads(line)
        open_ = facts["number"] if "outcome" not in facts else None
        if open_ is not None:
            continue
        report.outcomes[facts["outcome"]] += 1
        report.kinds[facts["kind"]] += 1
        report.slowest = max(report.slowest, facts["seconds"])
        report.largest = max(report.largest, facts["bytes"])
        report.origins[_origin(facts), "ran" if facts["outcome"] == "ran" else "error"] += 1
        if facts["outcome"].startswith("escaped"):
            report.failures.append((facts["number"], facts["outcome"], facts["detail"]))
    return open_


def _origin(facts: dict[str, Any]) -> str:
    """A name for a mutant's origin; one for all of the operators' cases."""
    kind, origin = facts["kind"], facts["origin"]
    if kind == "graph":
        return f"{origin}.pb"
    return "operators' cases" if origin.split("/")[0] in REGISTRY else f"{origin}.tflite"


def _save(folder: Path, mutant: Mutant, outcome: str, detail: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    suffix = "tflite" if mutant.kind == "model" else "pb"
    name = f"{mutant.seed.replace('/', '_')}_{mutant.origin.replace('/', '-')}"
    (folder / f"{name}.{suffix}").write_bytes(mutant.content)
    (folder / f"{name}.txt").write_text(f"{mutant.seed}\n{outcome}\n{detail}")
