"""The same model on Octolite and on LiteRT: do results agree, and which is faster?

What TensorFlow Lite's ``inference_diff`` tells of a delegate, of Octolite.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from octolite.errors import RuntimeModelError, UsageError
from octolite.evaluation import feeds
from octolite.evaluation.compare import Progress, choose_feeds
from octolite.evaluation.feeds import Data
from octolite.evaluation.layers import plain
from octolite.evaluation.subject import Source, Subject
from octolite.evaluation.tally import Tally, real
from octolite.ir.graph import Value
from octolite.ir.types import Array

WARMUP = 3


@dataclass(frozen=True, slots=True)
class Latency:
    """Of runs, in milliseconds."""

    median: float
    mean: float
    deviation: float
    least: float

    @classmethod
    def of(cls, spent: Sequence[float]) -> Latency:
        return cls(
            statistics.median(spent), statistics.fmean(spent), statistics.pstdev(spent), min(spent)
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """How an output differs; all numbers real.

    Attributes:
        average: mean magnitude of the difference, averaged over the samples.
        deviation: of that mean, from sample to sample.
        greatest: the largest difference there was.
        sqnr: dB, LiteRT's being the signal.
        equal: part of the elements that are the same.
    """

    name: str
    average: float
    deviation: float
    greatest: float
    sqnr: float
    equal: float


@dataclass(frozen=True, slots=True)
class Against:
    """What :func:`compare_with_litert` found."""

    litert: Latency
    octolite: Latency
    outputs: tuple[Difference, ...]
    samples: int
    threads: int
    source: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain types, for JSON."""
        found: dict[str, Any] = plain(self)
        return found


def compare_with_litert(
    model: Source,
    data: Data | None = None,
    *,
    samples: int | None = None,
    seed: int = feeds.SEED,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    num_threads: int | None = None,
    runs: int = 50,
    on_progress: Progress | None = None,
) -> Against:
    """Run a model on LiteRT and on Octolite and compare results and time.

    Both run in turns, so that whatever else the machine does is shared by both.

    Args:
        model: a ``.tflite`` file by its path or its bytes, or any model that can be converted.
        data, samples, seed, ranges: as :func:`octolite.compare` takes them.
        num_threads: of both; all processors when ``None``.
        runs: how many are timed.
        on_progress: told what is being done.

    Raises:
        UsageError: LiteRT is not installed; the data does not fit.
        RuntimeModelError: LiteRT cannot run the model.
    """
    if runs < 1:
        raise UsageError(f"{runs} runs are too few; there must be 1 at least")
    tell = on_progress or (lambda _what, _done, _total: None)
    one = Subject(model, num_threads, apart=False)
    given = choose_feeds(one, None, data, samples, seed, ranges)
    other = _LiteRT(one, num_threads or len(os.sched_getaffinity(0)))
    rows = [_Sums(v.name) for v in one.graph.outputs]
    for done, sample in enumerate(given):
        tell("Comparing", done, len(given))
        one.feed(sample)
        one.interpreter.invoke()
        other.feed(sample)
        other.invoke()
        for row, found, expected in zip(rows, one.results(), other.results(), strict=True):
            row.add(expected, found)
    theirs, ours = _in_turns((other.invoke, one.interpreter.invoke), runs, tell)
    return Against(
        Latency.of(theirs),
        Latency.of(ours),
        tuple(row.found() for row in rows),
        len(given),
        one.interpreter.num_threads,
        given.source,
    )


def _in_turns(
    runners: Sequence[Callable[[], object]], runs: int, tell: Progress
) -> list[list[float]]:
    """Milliseconds of each run of each; runs before the first that is timed do not count."""
    spent: list[list[float]] = [[] for _ in runners]
    for done in range(WARMUP + runs):
        tell("Timing", done, WARMUP + runs)
        for times, run in zip(spent, runners, strict=True):
            start = time.perf_counter()
            run()
            times.append((time.perf_counter() - start) * 1e3)
    return [times[WARMUP:] for times in spent]


class _LiteRT:
    """The model on LiteRT, with the graph's tensors for what its numbers mean."""

    def __init__(self, subject: Subject, threads: int) -> None:
        self.graph = subject.graph
        content = subject.content
        source = {"model_content" if isinstance(content, bytes) else "model_path": content}
        interpreter_class = _interpreter_class()
        try:
            self.interpreter = interpreter_class(num_threads=threads, **source)
            self.interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise RuntimeModelError(f"LiteRT cannot load the model: {error}") from error

    def feed(self, sample: Sequence[Array]) -> None:
        order = _by_name(self.interpreter.get_input_details(), self.graph.inputs)
        inputs, arrays = [self.graph.inputs[i] for i in order], [sample[i] for i in order]
        feeds.feed(self.interpreter, inputs, arrays)

    def invoke(self) -> None:
        try:
            self.interpreter.invoke()
        except RuntimeError as error:
            raise RuntimeModelError(f"LiteRT cannot run the model: {error}") from error

    def results(self) -> list[Array]:
        details = self.interpreter.get_output_details()
        order = _by_name(details, self.graph.outputs)
        found = {
            i: real(self.interpreter.get_tensor(d["index"]), self.graph.outputs[i])
            for i, d in zip(order, details, strict=True)
        }
        return [found[i] for i in range(len(self.graph.outputs))]


def _by_name(details: Sequence[Mapping[str, Any]], values: Sequence[Value]) -> list[int]:
    """The place among ``values`` of each of LiteRT's tensors, which may have another order."""
    names = [v.name for v in values]
    if len(set(names)) < len(names) or sorted(names) != sorted(d["name"] for d in details):
        return list(range(len(names)))
    return [names.index(d["name"]) for d in details]


def _interpreter_class() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise UsageError(
            "comparing with LiteRT needs the package ai-edge-litert, which is not installed: "
            "pip install ai-edge-litert"
        ) from None
    return Interpreter


@dataclass(slots=True)
class _Sums:
    """Of one output, sample by sample."""

    name: str
    means: list[float] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    same: int = 0

    def add(self, expected: Array, found: Array) -> None:
        if expected.shape != found.shape:
            raise UsageError(
                f"output {self.name!r} has the shape {found.shape} here and {expected.shape} in "
                "LiteRT"
            )
        self.same += int(np.count_nonzero(expected == found))
        if expected.dtype.kind not in "fiub":
            self.tally.elements += expected.size
            return
        self.tally.add(expected, found)
        error = np.abs(found.astype(np.float64) - expected.astype(np.float64))
        self.means.append(float(error.mean()) if error.size else 0.0)

    def found(self) -> Difference:
        whole = self.tally.difference()
        return Difference(
            self.name,
            statistics.fmean(self.means) if self.means else 0.0,
            statistics.pstdev(self.means) if self.means else 0.0,
            whole.max_error if whole else 0.0,
            whole.sqnr if whole else math.inf,
            self.same / self.tally.elements if self.tally.elements else 1.0,
        )
