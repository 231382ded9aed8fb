"""Timing several runners of one model against each other.

All run in one process and take turns, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import gc
import platform
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import Contender, Files, OnnxRuntime, Runner, TfLite
from benchmarks.models import AnyRow
from octolite.kernels import isa

# A turn repeats the model for about this long, so that each finds the caches as it left them.
TURN_SECONDS = 0.003
# Before it, the threads of the one before get time to stop looking for work.
PAUSE_SECONDS = 0.02
# How often a turn is taken until it is not disturbed, and how many turns must count at least.
TRIES, ENOUGH = 3, 5
# How many inputs the quality of quantized results is averaged over.
SAMPLES = 8
# Float results that differ by more, as a part of the largest, are of another model.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one run: the median, the quartiles around it, the least.

    ``quiet``: turns in which no other process took the processor; ``taken``: those that count, of
    ``turns`` in all.
    """

    median: float
    low: float
    high: float
    least: float
    quiet: int
    taken: int
    turns: int


@dataclass
class Result:
    """A row of the table.

    ``base``: whose timing others are compared with. ``timings``, and of contenders that round
    ``sqnr`` (dB, the mean over inputs, against the first that does not), of the others ``errors``
    (the largest, as a part of the largest result); ``absent`` says why a contender has none;
    ``kernels``: what Octolite runs for each of its models; ``forms``: which of several quantized
    forms was the fastest.
    """

    name: str
    title: str
    threads: int
    base: str
    timings: dict[str, Timing] = field(default_factory=dict)
    sqnr: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    kernels: dict[str, list[str]] = field(default_factory=dict)
    forms: dict[str, str] = field(default_factory=dict)

    def speedup(self, contender: str) -> float:
        """How many times as fast as the base."""
        return self.timings[self.base].median / self.timings[contender].median

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        speedups = {n: round(self.speedup(n), 3) for n in self.timings}
        return asdict(self) | {"speedup": speedups}


def measure(
    row: AnyRow, files: Files, contenders: Sequence[Contender], threads: int, rounds: int
) -> Result:
    """Time ``row``, whose models are ``files``, in ``rounds`` rounds of turns.

    Raises :class:`RuntimeError` when results that do not round are not those of the others.
    """
    result = Result(row.name, row.title, threads, contenders[0].name)
    runners: dict[str, Runner] = {}
    for each in contenders:
        try:
            runners[each.name] = each.start(files, threads, row.sample(1))
        except (NotImplementedError, ImportError) as error:
            result.absent[each.name] = str(error)
    result.forms = {n: r.form for n, r in runners.items() if isinstance(r, OnnxRuntime) and r.form}
    outputs = {n: _outputs(r, row) for n, r in runners.items()}
    exact = outputs[next(each.name for each in contenders if not each.rounds)]
    for each in contenders:
        if each.name not in runners:
            continue
        if each.rounds:
            result.sqnr[each.name] = sqnr(outputs[each.name], exact)
            continue
        error = result.errors[each.name] = _error(outputs[each.name], exact)
        if error > TOLERANCE:
            raise RuntimeError(f"{each.name} computes {row.title} with an error of {error:.2g}")
    turns = take_turns({n: r.invoke for n, r in runners.items()}, rounds)
    result.timings = {name: summary(taken) for name, taken in turns.items()}
    for name in (name for name in runners if name.startswith("Octolite")):
        result.kernels[name.removeprefix("Octolite").strip() or "codes"] = _kernels(runners[name])
    return result


def _kernels(runner: Runner) -> list[str]:
    """What Octolite runs, each kernel once, in order."""
    assert isinstance(runner, TfLite)
    return list(dict.fromkeys(t.label for t in runner.interpreter.profile(1)))


def _outputs(runner: Runner, row: AnyRow) -> list[np.ndarray]:
    found = []
    for seed in range(1, SAMPLES + 1):
        runner.feed(row.sample(seed))
        runner.invoke()
        found.append(runner.result().astype(np.float64))
    return found


def _error(outputs: list[np.ndarray], exact: list[np.ndarray]) -> float:
    pairs = zip(outputs, exact, strict=True)
    return max(float(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-30)) for a, b in pairs)


def sqnr(outputs: list[np.ndarray], exact: list[np.ndarray]) -> float:
    """Decibels, the mean over inputs."""
    ratios = [
        np.mean(b**2) / max(np.mean((a - b) ** 2), 1e-30)
        for a, b in zip(outputs, exact, strict=True)
    ]
    return round(float(np.mean(10 * np.log10(ratios))), 2)


@dataclass(frozen=True)
class Turn:
    """Seconds of a call, the mean of a turn's; how often the system took the processor away."""

    seconds: float
    disturbed: int


def take_turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[Turn]]:
    """The turns of each, round by round; one that was disturbed is taken again, a few times."""
    repeats = {}
    for name, call in calls.items():
        call()
        repeats[name] = max(1, int(TURN_SECONDS / _turn(call, 5).seconds))
    turns: dict[str, list[Turn]] = {name: [] for name in calls}
    gc.disable()
    try:
        for _ in range(rounds):
            for name, call in calls.items():
                for _ in range(TRIES):
                    time.sleep(PAUSE_SECONDS)
                    call()  # brings its data back into the caches
                    turns[name].append(_turn(call, repeats[name]))
                    if not turns[name][-1].disturbed:
                        break
    finally:
        gc.enable()
    return turns


def _turn(call: Callable[[], object], repeats: int) -> Turn:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    spent = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    return Turn(spent / repeats, after - before)


def summary(turns: Sequence[Turn]) -> Timing:
    """Of the third of the turns that was disturbed least, and of all that are as good."""
    disturbed = sorted(turn.disturbed for turn in turns)
    most = disturbed[min(max(ENOUGH, len(turns) // 3), len(turns)) - 1]
    taken = [turn.seconds for turn in turns if turn.disturbed <= most]
    found = np.percentile(np.array(taken) * 1e3, [50, 25, 75, 0])
    median, low, high, least = (round(float(f), 5) for f in found)
    return Timing(median, low, high, least, disturbed.count(0), len(taken), len(turns))


def machine() -> dict[str, str]:
    """The CPU's name and what Octolite makes of it."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    return {"cpu": name, "isa": isa.current().name}
