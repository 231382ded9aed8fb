"""The recipe that meets a budget: which layer is stored in which way.

First each layer is measured by itself, in each way that it may be stored: the noise that it brings
to the outputs, its bytes and, if latency counts, its time. Noises of layers add up, more or less,
so the ways from float to the smallest model is a path: whatever saves most for the least noise
comes next. The point of the path that meets the budget is looked for by running the models, then
single layers are tried. Whatever comes out best is converted and run as a whole, and kept only if
it meets the budget then.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from octolite import api
from octolite.errors import UsageError
from octolite.evaluation import feeds
from octolite.evaluation.compare import Progress
from octolite.evaluation.feeds import Data, feed
from octolite.evaluation.layers import Layer, plain
from octolite.evaluation.memory import Memory, write_whole
from octolite.evaluation.options import USUAL, compose, recipes
from octolite.evaluation.scores import UNITS, Judge, Metric
from octolite.evaluation.sensitivity import row_of, settings_of
from octolite.evaluation.subject import Source
from octolite.evaluation.variants import FLOAT, Choice, Variants, Weighted
from octolite.ir.types import Array
from octolite.quantize import Recipe, recipe_file
from octolite.runtime.interpreter import Interpreter

GOALS = ("size", "latency", "score")
TIMED_RUNS = 20


@dataclass(frozen=True, slots=True)
class Budget:
    """What a model may cost; ``None`` for no limit.

    Attributes:
        max_drop: how much less than the float model's its score may be.
        max_size: bytes of the file.
        max_latency: milliseconds, the median of runs.
    """

    max_drop: float | None = None
    max_size: int | None = None
    max_latency: float | None = None

    def __post_init__(self) -> None:
        limits = (self.max_drop, self.max_size, self.max_latency)
        if all(limit is None for limit in limits):
            raise UsageError("give a budget: max_drop, max_size or max_latency")
        if any(limit is not None and not 0 <= limit < math.inf for limit in limits):
            raise UsageError(f"a budget should be 0 or more, and is {limits}")

    def met(self, drop: float, size: float, latency: float | None) -> bool:
        """Whether all limits hold; a latency that was not measured counts as met."""
        return (
            (self.max_drop is None or drop <= self.max_drop)
            and (self.max_size is None or size <= self.max_size)
            and (self.max_latency is None or latency is None or latency <= self.max_latency)
        )


@dataclass(frozen=True, slots=True)
class Trial:
    """A choice that was scored.

    Attributes:
        formats: how many layers are stored in which way, as ``12 int8, 1 float32``.
        score: by the metric.
        size: bytes; of the file if it is ``verified``, else what they come to without it.
        latency: milliseconds; ``None`` unless it was measured.
        verified: whether the model was converted and run as a whole.
        met: whether it meets the budget.
    """

    formats: str
    score: float
    size: int
    latency: float | None = None
    verified: bool = False
    met: bool = False


@dataclass(frozen=True, slots=True)
class Tuning:
    """What :func:`tune` found.

    Attributes:
        recipe: an ordinary recipe; ``None`` if no choice meets the budget.
        content: the ``.tflite`` file that it makes.
        best: what was chosen; ``None`` if nothing meets the budget.
        trials: everything that was scored, in that order.
        layers: how each layer is stored in the best, or in the float model without one.
        metric, unit: of scores.
        before: the float model's score.
        size_before: bytes of the float model.
        samples: how many runs each score of a named metric is of.
        source: where each input's numbers come from.
    """

    recipe: Recipe | None
    content: bytes
    best: Trial | None
    trials: tuple[Trial, ...]
    layers: tuple[Layer, ...]
    metric: str
    unit: str
    before: float
    size_before: int
    samples: int
    source: tuple[str, ...] = ()

    @property
    def pareto(self) -> list[Trial]:
        """Trials than which no other is as small and as good, the largest first."""
        found: list[Trial] = []
        for trial in sorted(self.trials, key=lambda t: (t.size, -t.score, not t.verified)):
            if not found or trial.score > found[-1].score:
                found.append(trial)
        return found[::-1]

    def as_dict(self) -> dict[str, Any]:
        """Everything but the file in plain types, for JSON."""
        return {
            "recipe": None if self.recipe is None else self.recipe.as_dict(),
            "best": plain(self.best),
            "metric": self.metric,
            "unit": self.unit,
            "before": plain(self.before),
            "size_before": self.size_before,
            "samples": self.samples,
            "inputs": list(self.source),
            "pareto": plain(self.pareto),
            "trials": plain(self.trials),
            "layers": [row.as_dict() for row in self.layers],
        }


def tune(
    model: Source,
    data: Data | None = None,
    *,
    max_drop: float | None = None,
    max_size: int | None = None,
    max_latency: float | None = None,
    minimize: str | None = None,
    recipe: str | os.PathLike[str] | Recipe = "dynamic",
    options: Sequence[str] = USUAL,
    metric: str | Metric | None = None,
    labels: Array | None = None,
    trials: int = 60,
    samples: int | None = None,
    seed: int = feeds.SEED,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    num_threads: int | None = None,
    output: str | os.PathLike[str] | None = None,
    state: str | os.PathLike[str] | None = None,
    restart: bool = False,
    on_progress: Progress | None = None,
) -> Tuning:
    """Find the recipe that meets a budget.

    Args:
        model: the float model: a ``.tflite`` file by its path or its bytes, or any model that can
            be converted.
        data, samples, seed, ranges: what is run, as :func:`octolite.compare` takes it.
        max_drop: how much less than the float model's the score may be, in the metric's unit.
        max_size: bytes of the file.
        max_latency: milliseconds.
        minimize: what is to be as small as can be within the budget: ``"size"`` (the default with
            ``max_drop``), ``"latency"``, or the loss of ``"score"`` (the default without).
        recipe: what to begin with; its rules hold where the result's own say nothing else.
        options: the ways in which a layer may be stored
            (:data:`octolite.evaluation.options.OPTIONS`); float32 is always among them.
        metric: as :func:`octolite.sensitivity` takes it. When ``None``: ``"accuracy"`` with
            labels, ``"agreement"`` for a classifier with data, else ``"fidelity"``.
        labels: integers [samples], the classes for ``"accuracy"``.
        trials: how many choices to score at most.
        num_threads: all processors when ``None``.
        output: the ``.tflite`` file to write; the recipe goes beside it as ``.toml``. Both are
            written whenever something better was found.
        state: a file for what has been measured, with which an interrupted call goes on.
        restart: begin anew, whatever ``state`` holds.
        on_progress: told what is being done, how much of it is done and how much there is.

    Raises:
        UsageError: a budget, options, data or a metric that cannot be meant.
        OctoliteError: whatever converting and running the model raises.
    """
    budget = Budget(max_drop, max_size, max_latency)
    goal = minimize or ("score" if max_drop is None else "size")
    if goal not in GOALS:
        raise UsageError(f"minimize is {goal!r}, expected one of {', '.join(GOALS)}")
    if trials < 1:
        raise UsageError(f"{trials} trials are too few; there must be 1 at least")
    tell = on_progress or (lambda _what, _done, _total: None)
    tell("Quantizing", 0, 1)
    base = Recipe.of(recipe)
    variants = Variants(model, recipes(base, options), num_threads)
    given = feeds.choose(variants.graph, variants.content, data, samples, seed, ranges)
    judge = Judge(variants.graph, given, variants.mixture.interpreter, labels)
    usual = "agreement" if data is not None and judge.is_classifier else "fidelity"
    name, score = judge.metric(metric, usual if labels is None else "accuracy")
    settings = settings_of(variants, given, name, labels) | {"threads": num_threads}
    memory = Memory(None if state is None else Path(state), settings, restart)
    bench = _Bench(variants, judge, score, memory, base, tell, trials)
    search = _Search(bench, budget, goal, None if output is None else Path(output))
    return search.run(name)


class _Bench:
    """Measures layers and choices; what is known already is not measured again."""

    def __init__(
        self,
        variants: Variants,
        judge: Judge,
        score: Metric,
        memory: Memory,
        base: Recipe,
        tell: Progress,
        most: int,
    ) -> None:
        self.variants, self.judge, self.metric = variants, judge, score
        self.memory, self.base, self.tell, self.most = memory, base, tell, most
        self.layers = variants.layers
        self.ways = {layer.name: _different(layer) for layer in self.layers}
        self.before = memory.recall("float", lambda: self._score({}))
        self.scored: dict[str, float] = {}
        self._profiles: dict[int, list[float]] = {}

    def _score(self, choice: Choice) -> float:
        self.variants.choose(choice)
        return self.metric(self.variants.mixture.interpreter)

    def key(self, choice: Choice) -> str:
        return " ".join(self.variants.names[choice.get(y.name, FLOAT)].replace(" ", "-")
                        for y in self.layers)  # fmt: skip

    def score(self, choice: Choice) -> float | None:
        """By the metric; ``None`` when there have been as many trials as there may be."""
        key = self.key(choice)
        if key not in self.scored:
            if len(self.scored) >= self.most:
                return None
            self.tell("Searching", len(self.scored), self.most)
            self.scored[key] = self.memory.recall(f"score {key}", lambda: self._score(choice))
        return self.scored[key]

    def noise(self) -> dict[tuple[str, int], float]:
        """What each layer, stored in each way, brings to the outputs by itself."""
        wanted = [(y, way) for y in self.layers for way in self.ways[y.name] if way != FLOAT]
        found = {(y.name, FLOAT): 0.0 for y in self.layers}
        for done, (layer, way) in enumerate(wanted):
            self.tell("Measuring layers", done, len(wanted))
            name = f"noise {layer.name} {self.variants.names[way]}"
            found[layer.name, way] = self.memory.recall(name, partial(self._noise, layer, way))
        return found

    def _noise(self, layer: Weighted, way: int) -> float:
        self.variants.choose({layer.name: way})
        return self.judge.noise(self.variants.mixture.interpreter)

    def times(self) -> tuple[dict[tuple[str, int], float], float]:
        """Milliseconds of each layer, stored in each way, and of all else."""
        found: dict[tuple[str, int], float] = {}
        for way, name in enumerate(self.variants.names):
            self.tell("Timing layers", way, len(self.variants.names))
            for layer in self.layers:
                time_of = partial(self._time, way, frozenset(layer.operators))
                found[layer.name, way] = self.memory.recall(f"time {layer.name} {name}", time_of)
        weighted = frozenset(at for layer in self.layers for at in layer.operators)
        others = frozenset(range(len(self.variants.mixture.operators))) - weighted
        return found, self.memory.recall("time of the rest", partial(self._time, FLOAT, others))

    def _time(self, way: int, operators: frozenset[int]) -> float:
        """Milliseconds that some operators take when all layers are stored in one way."""
        if way not in self._profiles:
            self.variants.choose(dict.fromkeys(self.ways, way))
            interpreter = self.variants.mixture.interpreter
            feed(interpreter, self.variants.graph.inputs, next(iter(self.judge.given)))
            self._profiles[way] = self.variants.mixture.profile(TIMED_RUNS)
        return sum(self._profiles[way][at] for at in sorted(operators))

    def real(self, choice: Choice, timed: bool) -> tuple[Recipe, bytes, float, float | None]:
        """Recipe, file, score and latency of the model as it is converted for good."""
        recipe = compose("tuned", self.base, self.variants.names, self.layers, choice)
        content = api.convert(self.variants.content, recipe)
        made: list[Interpreter] = []

        def interpreter() -> Interpreter:
            if not made:
                threads = self.variants.mixture.interpreter.num_threads
                made.append(Interpreter(model_content=content, num_threads=threads))
                made[0].allocate_tensors()
            return made[0]

        key = self.key(choice)
        score = self.memory.recall(f"verified {key}", lambda: self.metric(interpreter()))
        latency = None
        if timed:
            latency = self.memory.recall(f"latency {key}", lambda: self._latency(interpreter()))
        return recipe, content, score, latency

    def _latency(self, interpreter: Interpreter) -> float:
        feed(interpreter, self.variants.graph.inputs, next(iter(self.judge.given)))
        spent = []
        for _ in range(3 + TIMED_RUNS):
            start = time.perf_counter()
            interpreter.invoke()
            spent.append((time.perf_counter() - start) * 1e3)
        return statistics.median(spent[3:])

    def formats(self, choice: Choice) -> str:
        """How many layers are stored in which way."""
        names = [self.variants.names[choice.get(y.name, FLOAT)] for y in self.layers]
        return ", ".join(f"{names.count(n)} {n}" for n in self.variants.names if n in names)


def _different(layer: Weighted) -> list[int]:
    """The ways of storing a layer, without those that are the same as an earlier one."""
    keys = [stored.key for stored in layer.stored]
    return [way for way, key in enumerate(keys) if key not in keys[:way]]


class _Search:
    """Looks for the best choice within the budget, and keeps it."""

    def __init__(self, bench: _Bench, budget: Budget, goal: str, output: Path | None) -> None:
        self.bench, self.budget, self.goal, self.output = bench, budget, goal, output
        self.timed = goal == "latency" or budget.max_latency is not None
        if budget.max_drop is not None and not math.isfinite(bench.before):
            raise UsageError(
                "max_drop needs a metric that is finite for the float model, such as 'fidelity'"
            )
        self.noise = bench.noise()
        self.times, self.rest = bench.times() if self.timed else ({}, 0.0)
        self.found: dict[str, Trial] = {}
        self.best: tuple[Trial, Choice, Recipe, bytes] | None = None

    # -- what a choice comes to ---------------------------------------------------------------

    def cost(self, layer: Weighted, way: int) -> float:
        """What is to be saved: milliseconds if they count, else bytes."""
        by_time = self.goal == "latency" or (
            self.budget.max_size is None and self.budget.max_latency is not None
            and self.goal == "score"
        )  # fmt: skip
        return self.times[layer.name, way] if by_time else layer.stored[way].bytes

    def latency(self, choice: Choice) -> float | None:
        if not self.timed:
            return None
        layers = self.bench.layers
        return self.rest + sum(self.times[y.name, choice.get(y.name, FLOAT)] for y in layers)

    def fits(self, choice: Choice) -> bool:
        """Whether bytes and milliseconds, added up, are within the budget."""
        return self.budget.met(-math.inf, self.bench.variants.size(choice), self.latency(choice))

    def drop(self, score: float) -> float:
        return 0.0 if score == self.bench.before else self.bench.before - score

    def rank(self, trial: Trial) -> tuple[float, ...]:
        """The less the better."""
        latency = math.inf if trial.latency is None else trial.latency
        keys = {"size": trial.size, "latency": latency, "score": -trial.score}
        return (keys[self.goal], -trial.score, trial.size)

    # -- trying -------------------------------------------------------------------------------

    def try_out(self, choice: Choice) -> bool:
        """Score a choice, and keep it if it is the best; whether it is within the budget."""
        score = self.bench.score(choice)
        if score is None:
            return False
        key, size, latency = self.bench.key(choice), self.bench.variants.size(choice), None
        met = self.fits(choice) and self.budget.met(self.drop(score), 0, None)
        if key not in self.found:
            self.found[key] = Trial(self.bench.formats(choice), score, size, latency, False, met)
            if met and self.may_be_best(self.found[key], choice):
                return self.verify(choice)
        return self.found[key].met

    def may_be_best(self, trial: Trial, choice: Choice) -> bool:
        if self.best is None:
            return True
        estimate = replace(trial, latency=self.latency(choice))
        known = replace(self.best[0], latency=self.latency(self.best[1]),
                        size=self.bench.variants.size(self.best[1]))  # fmt: skip
        return self.rank(estimate) < self.rank(known)

    def verify(self, choice: Choice) -> bool:
        """Convert for good and run; keep what meets the budget and is better than what was kept."""
        recipe, content, score, latency = self.bench.real(choice, self.timed)
        met = self.budget.met(self.drop(score), len(content), latency)
        key = self.bench.key(choice)
        trial = Trial(self.bench.formats(choice), score, len(content), latency, True, met)
        self.found[key] = trial
        if met and (self.best is None or self.rank(trial) < self.rank(self.best[0])):
            self.best = trial, choice, recipe, content
            if self.output is not None:
                text = recipe_file.write(recipe).encode()
                write_whole(self.output.with_suffix(".toml"), text)
                write_whole(self.output, content)
        return met

    # -- where to look ------------------------------------------------------------------------

    def path(self) -> list[Choice]:
        """From all in float to the least cost: next comes what saves most for the least noise."""
        steps: list[tuple[float, int, int, str, int]] = []
        for number, layer in enumerate(self.bench.layers):
            for at, (slope, way) in enumerate(self.hull(layer)):
                steps.append((slope, number, at, layer.name, way))
        choice: dict[str, int] = {}
        found: list[Choice] = [dict(choice)]
        for *_, name, way in sorted(steps):
            choice[name] = way
            found.append(dict(choice))
        return found

    def hull(self, layer: Weighted) -> list[tuple[float, int]]:
        """The ways of storing a layer that are worth it, from float to the least cost, each with
        the noise that it costs for what it saves, which grows."""
        ways = self.bench.ways[layer.name]
        cost = {way: self.cost(layer, way) for way in ways}
        noise = {way: min(self.noise[layer.name, way], 1e30) for way in ways}
        at, found = FLOAT, []
        while cheaper := [way for way in ways if cost[way] < cost[at]]:
            slopes = {w: max(0.0, noise[w] - noise[at]) / (cost[at] - cost[w]) for w in cheaper}
            at = min(cheaper, key=lambda way: (slopes[way], cost[way]))
            found.append((slopes[at], at))
        return found

    def run(self, metric: str) -> Tuning:
        path = self.path()
        first = next((i for i, choice in enumerate(path) if self.fits(choice)), len(path) - 1)
        start = path[self.last_met(path, first) if self.budget.max_drop is not None else first]
        self.try_out(start)
        if self.best is None:  # converted for good it is a little larger, or slower
            any(self.try_out(choice) for choice in path[first:])
        self.refine(self.best[1] if self.best else start)
        self.bench.tell("Searching", self.bench.most, self.bench.most)
        return self.result(metric)

    def last_met(self, path: Sequence[Choice], first: int) -> int:
        """The point of a path up to which the budget is met, as if it were met up to one point."""
        low, high = first, len(path) - 1
        if self.try_out(path[high]):
            return high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.try_out(path[middle]) else (low, middle)
        return low

    def refine(self, choice: Choice) -> None:
        """Change one layer at a time for as long as that helps and trials are left."""
        improved = True
        while improved and len(self.bench.scored) < self.bench.most:
            improved = False
            for name, way in self.changes(choice):
                before = self.best
                self.try_out({**choice, name: way})
                if self.best is not before:
                    assert self.best is not None
                    choice, improved = self.best[1], True
                    break

    def changes(self, choice: Choice) -> list[tuple[str, int]]:
        """What may be better for single layers, the most promising first."""
        found = []
        for number, layer in enumerate(self.bench.layers):
            now = choice.get(layer.name, FLOAT)
            for way in self.bench.ways[layer.name]:
                saved = self.cost(layer, now) - self.cost(layer, way)
                quieter = self.noise[layer.name, now] - self.noise[layer.name, way]
                if self.best is None or self.goal == "score":
                    gain = quieter
                else:
                    gain = saved / (1e-12 + max(0.0, -quieter)) if saved > 0 else 0.0
                if gain > 0 and way != now and self.fits({**choice, layer.name: way}):
                    found.append((-gain, number, layer.name, way))
        return [(name, way) for *_, name, way in sorted(found)]

    def result(self, metric: str) -> Tuning:
        bench = self.bench
        best, choice, recipe, content = self.best or (None, {}, None, b"")
        rows = tuple(row_of(y, choice.get(y.name, FLOAT)) for y in bench.layers)
        return Tuning(
            recipe, content, best, tuple(self.found.values()), rows, metric,
            UNITS.get(metric, ""), bench.before, len(bench.variants.content),
            len(bench.judge.given), bench.judge.given.source,
        )  # fmt: skip
