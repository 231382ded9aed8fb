"""Weights before and after, as the distributions of their values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octolite import tflite
from octolite.evaluation.matching import match
from octolite.evaluation.report import charts
from octolite.evaluation.report.blocks import (
    Page,
    Panel,
    Panels,
    Section,
    short,
    told_apart,
    written,
)
from octolite.evaluation.subject import Source, content_of, format_of, real_weights, weights_of
from octolite.evaluation.tally import Tally
from octolite.ir.graph import Node, Value

LEGEND = (("area", "float"), ("step", "quantized"))
NOTE = (
    "How often each value occurs (heights are square roots); layers whose weights lost most come "
    "first. All scales run from the largest magnitude to its negative: where one channel is much "
    "larger than the rest, the others crowd around 0."
)


@dataclass(frozen=True, slots=True)
class Weights:
    """Of one layer: how often values occur before and after, the SQNR in dB and the format."""

    name: str
    format: str
    sqnr: float
    drawing: charts.Svg


@dataclass(frozen=True, slots=True)
class Distributions:
    """Of all layers whose weights are stored otherwise; what lost most comes first."""

    layers: tuple[Weights, ...]


def distributions(before: Source, after: Source) -> Distributions:
    """Compare the weights of the float model with those of the quantized one.

    Raises what reading and converting models raise.
    """
    one, other = (tflite.read(content_of(source)).main for source in (before, after))
    found = []
    for pair in match(one, other).matches:
        known = {} if pair.twin is None else dict(_with_activation(pair.twin))
        for name, value in weights_of(pair.node):
            source = known.get(name)
            if source is not None and source.shape == value.shape and _changed(source, value):
                found.append(_weights(pair.node.name, source, value))
    return Distributions(tuple(sorted(found, key=lambda w: w.sqnr)))


def _with_activation(twin: Node) -> Sequence[tuple[str, Value]]:
    """The weights of a node, or of the one before it if it is an activation that has none."""
    own = weights_of(twin)
    first = twin.inputs[0] if twin.inputs else None
    if own or first is None or first.producer is None:
        return own
    return weights_of(first.producer)


def _changed(before: Value, after: Value) -> bool:
    return before.dtype is not after.dtype or before.quant is not after.quant


def _weights(name: str, before: Value, after: Value) -> Weights:
    a, b = real_weights(before), real_weights(after)
    tally = Tally()
    tally.add(a, b)
    difference = tally.difference()
    drawing = charts.histogram(np.ravel(a), np.ravel(b))
    sqnr = math.inf if difference is None else difference.sqnr
    return Weights(name, format_of([after]), sqnr, drawing)


def contribute(found: Distributions, page: Page) -> None:
    if not found.layers:
        return
    names = told_apart([w.name for w in found.layers])
    panels = tuple(
        Panel(short(names[w.name], 34), f"{w.format}, {written(w.sqnr, '{:.1f}')} dB", w.drawing)
        for w in found.layers
    )
    page.sections.append(Section("weights", "Weights", (Panels(panels, LEGEND),), NOTE))
