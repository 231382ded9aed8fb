"""Timing several runners of one model against each other.

All run in one process and take turns, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import gc
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter as LiteRT

import octolite
from benchmarks.models import Layer, Network
from octolite.kernels import isa

# A turn repeats the model for about this long, so that each finds the caches as it left them.
TURN_SECONDS = 0.003
# Before it, the threads of the one before get time to stop looking for work.
PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one run: the median and the quartiles around it."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Result:
    """A row of the table: timings by contender, and our results' distance from LiteRT's."""

    row: Layer | Network
    timings: dict[str, Timing]
    float_error: float
    hybrid_sqnr: float

    def speedup(self, contender: str) -> float:
        """How many times as fast as LiteRT's float model."""
        return self.timings["LiteRT float"].median / self.timings[contender].median


CONTENDERS = ("LiteRT float", "LiteRT hybrid", "Octolite float", "Octolite hybrid")


def measure(row: Layer | Network, threads: int, runs: int) -> Result:
    """Time ``row`` in ``runs`` rounds of turns."""
    float_file, hybrid_file = row.files()
    sample = row.sample()
    interpreters = {
        "LiteRT float": LiteRT(model_content=float_file, num_threads=threads),
        "LiteRT hybrid": LiteRT(model_content=hybrid_file, num_threads=threads),
        "Octolite float": octolite.Interpreter(model_content=float_file, num_threads=threads),
        "Octolite hybrid": octolite.Interpreter(model_content=hybrid_file, num_threads=threads),
    }
    outputs = {name: _start(each, sample) for name, each in interpreters.items()}
    samples = _take_turns({n: i.invoke for n, i in interpreters.items()}, runs)
    exact = outputs["LiteRT float"].astype(np.float64)
    error = float(np.max(np.abs(outputs["Octolite float"] - exact)) / np.max(np.abs(exact)))
    noise = outputs["Octolite hybrid"] - exact
    sqnr = float(10 * np.log10(np.mean(exact**2) / np.mean(noise**2)))
    timings = {name: _summary(times) for name, times in samples.items()}
    return Result(row, timings, error, sqnr)


def _start(interpreter: octolite.Interpreter | LiteRT, sample: np.ndarray) -> np.ndarray:
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def _take_turns(calls: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    repeats = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        for _ in range(5):
            call()
        spent = (time.perf_counter() - start) / 5
        repeats[name] = max(1, int(TURN_SECONDS / spent))
    times: dict[str, list[float]] = {name: [] for name in calls}
    gc.disable()
    try:
        for _ in range(rounds):
            for name, call in calls.items():
                time.sleep(PAUSE_SECONDS)
                call()  # brings its data back into the caches
                start = time.perf_counter()
                for _ in range(repeats[name]):
                    call()
                times[name].append((time.perf_counter() - start) / repeats[name])
    finally:
        gc.enable()
    return times


def _summary(seconds: list[float]) -> Timing:
    low, median, high = np.percentile(np.array(seconds) * 1e3, [25, 50, 75])
    return Timing(float(median), float(low), float(high))


def machine() -> dict[str, str]:
    """The CPU's name and what Octolite makes of it."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    return {"cpu": name, "isa": isa.current().name}
