"""Which layers a network cannot bear to have quantized: each alone, and all but each.

The network is quantized once. For each layer the weights that are packed already, float or
quantized, are put in the place of the others; nothing is converted again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from octolite.evaluation import feeds
from octolite.evaluation.compare import Progress
from octolite.evaluation.feeds import Data, Feeds
from octolite.evaluation.layers import Layer, plain
from octolite.evaluation.memory import Memory
from octolite.evaluation.scores import UNITS, Judge, Metric
from octolite.evaluation.subject import Source
from octolite.evaluation.variants import FLOAT, Variants, Weighted
from octolite.ir.types import Array
from octolite.quantize import Recipe


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What :func:`sensitivity` found.

    Attributes:
        layers: those that the recipe changes, in the order in which they run; ``only`` and
            ``without`` are scores by the metric.
        metric: its name.
        unit: of its scores; empty if it has none.
        before: the score of the float model.
        after: the score with all layers quantized.
        samples: how many runs each score of a named metric is of.
        source: where each input's numbers come from.
    """

    layers: tuple[Layer, ...]
    metric: str
    unit: str
    before: float
    after: float
    samples: int
    source: tuple[str, ...] = ()

    @property
    def ranked(self) -> list[Layer]:
        """The layers, the one that costs most first: by the score with it alone quantized, then by
        what leaving it float gains."""

        def cost(row: Layer) -> tuple[float, float, int]:
            assert row.only is not None
            assert row.without is not None
            return row.only, -row.without, row.position

        return sorted(self.layers, key=cost)

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain types, for JSON."""
        return {
            "metric": self.metric,
            "unit": self.unit,
            "before": plain(self.before),
            "after": plain(self.after),
            "samples": self.samples,
            "inputs": list(self.source),
            "ranked": [row.name for row in self.ranked],
            "layers": [row.as_dict() for row in self.layers],
        }


def sensitivity(
    model: Source,
    recipe: str | os.PathLike[str] | Recipe = "dynamic",
    data: Data | None = None,
    *,
    metric: str | Metric | None = None,
    labels: Array | None = None,
    samples: int | None = None,
    seed: int = feeds.SEED,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    num_threads: int | None = None,
    state: str | os.PathLike[str] | None = None,
    restart: bool = False,
    on_progress: Progress | None = None,
) -> Sensitivity:
    """Score a model with one layer quantized, and with all but one, for each layer.

    Args:
        model: the float model: a ``.tflite`` file by its path or its bytes, or any model that can
            be converted.
        recipe: how layers are quantized, as :func:`octolite.convert` takes it.
        data, samples, seed, ranges: what is run, as :func:`octolite.compare` takes it.
        metric: ``"sqnr"`` (when ``None``), ``"fidelity"``, ``"agreement"``, ``"accuracy"``
            (:class:`octolite.evaluation.scores.Judge`), or a function of an
            :class:`octolite.Interpreter` that gives a number, the higher, the better.
        labels: integers [samples], the classes for ``"accuracy"``.
        num_threads: all processors when ``None``.
        state: a file for what has been measured, with which an interrupted call goes on.
        restart: begin anew, whatever ``state`` holds.
        on_progress: told what is being done, how much of it is done and how much there is.

    Raises:
        UsageError: data, metric or state that do not fit.
        OctoliteError: whatever converting and running the model raises.
    """
    tell = on_progress or (lambda _what, _done, _total: None)
    tell("Quantizing", 0, 1)
    variants = Variants(model, {"quantized": Recipe.of(recipe)}, num_threads)
    given = feeds.choose(variants.graph, variants.content, data, samples, seed, ranges)
    judge = Judge(variants.graph, given, variants.mixture.interpreter, labels)
    name, score = judge.metric(metric, "sqnr")
    memory = Memory(
        None if state is None else Path(state), settings_of(variants, given, name, labels), restart
    )
    return _Search(variants, score, memory, tell).run(name, given)


def settings_of(
    variants: Variants, given: Feeds, metric: str, labels: Array | None
) -> dict[str, Any]:
    """What measured numbers depend on."""
    digest = hashlib.blake2b(digest_size=16)
    for sample in given:
        for array in sample:
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    if labels is not None:
        digest.update(np.ascontiguousarray(labels).tobytes())
    models = [hashlib.blake2b(c, digest_size=16).hexdigest() for c in variants.contents]
    return {"models": models, "data": digest.hexdigest(), "metric": metric}


class _Search:
    """The scores of all layers."""

    def __init__(self, variants: Variants, score: Metric, memory: Memory, tell: Progress) -> None:
        self.variants, self.score, self.memory, self.tell = variants, score, memory, tell
        self.done, self.total = 0, 2 + 2 * len(variants.layers)

    def of(self, name: str, quantized: Sequence[Weighted]) -> float:
        """The score with these layers quantized; ``name`` is what is remembered."""

        def measure() -> float:
            self.variants.choose({layer.name: 1 for layer in quantized})
            return self.score(self.variants.mixture.interpreter)

        self.tell("Scoring layers", self.done, self.total)
        found = self.memory.recall(name, measure)
        self.done += 1
        return found

    def run(self, metric: str, given: Feeds) -> Sensitivity:
        layers = self.variants.layers
        before, after = self.of("float", ()), self.of("quantized", layers)
        rows = []
        for layer in layers:
            others = [other for other in layers if other is not layer]
            only = self.of(f"only {layer.name}", (layer,))
            rows.append(
                replace(
                    row_of(layer, 1), only=only, without=self.of(f"all but {layer.name}", others)
                )
            )
        self.tell("Scoring layers", self.total, self.total)
        return Sensitivity(
            tuple(rows), metric, UNITS.get(metric, ""), before, after, len(given), given.source
        )


def row_of(layer: Weighted, variant: int) -> Layer:
    """What is known of a layer as one of the variants has it."""
    return Layer(
        layer.position,
        layer.name,
        layer.operator,
        tensor=layer.nodes[0] if layer.nodes else layer.name,
        reference=layer.name,
        matched_by="name",
        shape=layer.shape,
        format=layer.stored[variant].format,
        bytes_before=layer.stored[FLOAT].bytes,
        bytes_after=layer.stored[variant].bytes,
    )
