"""How long models take, run in turns."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from octolite.evaluation import feeds
from octolite.evaluation.litert import Latency
from octolite.evaluation.report.blocks import BAD, GOOD, Page, Tile
from octolite.evaluation.subject import Source, Subject

RUNS, WARMUP = 40, 3
SECONDS = 20.0
"""No more runs are made after so long."""


@dataclass(frozen=True, slots=True)
class Race:
    """Of the float model and the quantized one; ``threads`` each."""

    before: Latency
    after: Latency
    threads: int


def race(before: Source, after: Source, num_threads: int | None = None, runs: int = RUNS) -> Race:
    """Time both models on numbers from their inputs' ranges, in turns.

    Raises what reading, converting and running models raise.
    """
    subjects = [Subject(source, num_threads, apart=False) for source in (before, after)]
    for subject in subjects:
        subject.feed(next(iter(feeds.draw(subject.graph, count=1))))
    spent: list[list[float]] = [[], []]
    start = time.perf_counter()
    for number in range(runs + WARMUP):
        for times, subject in zip(spent, subjects, strict=True):
            begin = time.perf_counter()
            subject.interpreter.invoke()
            if number >= WARMUP or number + 1 == runs + WARMUP:
                times.append(1e3 * (time.perf_counter() - begin))
        if spent[0] and time.perf_counter() - start > SECONDS:
            break
    threads = num_threads or len(os.sched_getaffinity(0))
    return Race(Latency.of(spent[0]), Latency.of(spent[1]), threads)


def contribute(found: Race, page: Page) -> None:
    ratio = found.before.median / found.after.median
    plural = "s" if found.threads > 1 else ""
    page.add_tiles(
        Tile(
            "Latency",
            _milliseconds(found.after.median),
            f"from {_milliseconds(found.before.median)}: {ratio:.2f}× as fast, "
            f"{found.threads} thread{plural}",
            GOOD if ratio > 1.02 else BAD if ratio < 0.98 else "",
        )
    )


def _milliseconds(value: float) -> str:
    return f"{value:.3g} ms" if value < 1000 else f"{value:,.0f} ms"
