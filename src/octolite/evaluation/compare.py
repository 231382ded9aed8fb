"""A quantized model against the float one, layer by layer: what is lost, and where.

The float model runs, then the quantized one twice: once as it is, which shows what has become of
each result, and once with each result put right as soon as it is there, so that every layer gets
the float model's inputs. What is wrong then is what the layer *adds* by itself; the rest of its
error it inherits. Layers are ranked by what they add.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from octolite.errors import UsageError
from octolite.evaluation import feeds
from octolite.evaluation.feeds import Data, Feed, Feeds
from octolite.evaluation.layers import Difference, Layer, plain
from octolite.evaluation.matching import INSERTED, Match, Matching, match, may_be_same
from octolite.evaluation.subject import (
    Source,
    Subject,
    bytes_of,
    format_of,
    real_weights,
    weights_of,
)
from octolite.evaluation.tally import Pair, Tally, stored
from octolite.ir.graph import Node, Value
from octolite.ir.types import Array

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is in all."""


@dataclass(frozen=True, slots=True)
class OutputAgreement:
    """What both models say.

    Attributes:
        name: of the output in the float model.
        difference: of the numbers; ``None`` for what is none (strings).
        equal: part of the elements that are the same.
        top1: part of the samples whose greatest entry is the same; ``None`` unless the output is a
            row of numbers for each sample, as classifiers have.
        top5: part of the samples whose greatest entry in the float model is among the quantized
            one's five greatest; ``None``, too, with five entries or fewer.
        samples: how many rows top1 and top5 are of.
    """

    name: str
    difference: Difference | None
    equal: float
    top1: float | None = None
    top5: float | None = None
    samples: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What :func:`compare` found.

    Attributes:
        layers: of the quantized model, in the order in which they run.
        outputs: by the order of the outputs.
        unmatched: operators of the quantized model that are none of the float model's, as ``TYPE
            'name'``; they have rows without differences.
        missing: operators of the float model that are none of the quantized one's.
        size_before: bytes of the float model.
        size_after: bytes of the quantized model.
        samples: how many runs were looked at.
        source: where each input's numbers come from.
    """

    layers: tuple[Layer, ...]
    outputs: tuple[OutputAgreement, ...]
    unmatched: tuple[str, ...]
    missing: tuple[str, ...]
    size_before: int
    size_after: int
    samples: int
    source: tuple[str, ...] = ()

    @property
    def culprits(self) -> list[Layer]:
        """Layers that add an error, the worst first: by the SQNR of what they add."""
        found = [row for row in self.layers if row.added is not None and row.added.sqnr != math.inf]
        return sorted(found, key=lambda row: (row.added.sqnr if row.added else 0.0, row.position))

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain types, for JSON."""
        return {
            "size_before": self.size_before,
            "size_after": self.size_after,
            "samples": self.samples,
            "inputs": list(self.source),
            "outputs": plain(self.outputs),
            "culprits": [row.name for row in self.culprits],
            "layers": [row.as_dict() for row in self.layers],
            "unmatched": list(self.unmatched),
            "missing": list(self.missing),
        }


def compare(
    before: Source,
    after: Source,
    data: Data | None = None,
    *,
    samples: int | None = None,
    seed: int = feeds.SEED,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    num_threads: int | None = None,
    on_progress: Progress | None = None,
) -> Comparison:
    """Compare a quantized model with the float one that it was made from.

    Args:
        before: the float model: a ``.tflite`` file by its path or its bytes, or any model that can
            be converted, which then is, in float.
        after: the quantized one.
        data: a ``.npy`` or ``.npz`` file, an array for an only input, or arrays by the names of the
            inputs; samples lie along the first axis. When ``None``, numbers are drawn from the
            range that each input states (:func:`octolite.evaluation.feeds.draw`).
        samples: how many to look at; 32 of the data, or 8 that are drawn, when ``None``.
        seed: of what is drawn.
        ranges: least and greatest number by an input's name, for what is drawn.
        num_threads: all processors when ``None``.
        on_progress: told what is being done, how much of it is done and how much there is.

    Raises:
        UsageError: models or data that do not go together.
        OctoliteError: whatever reading and running the models raises.
    """
    one, other = Subject(before, num_threads), Subject(after, num_threads)
    matching = match(one.graph, other.graph)
    ours, theirs = one.graph.inputs, other.graph.inputs
    if not len(ours) == len(theirs) == len(matching.inputs) or not all(
        may_be_same(a, b) for a, b in matching.inputs
    ):
        raise UsageError(f"the models have different inputs: {ours} and {theirs}")
    given = choose_feeds(one, matching, data, samples, seed, ranges)
    return _Comparing(one, other, matching).run(given, on_progress or _silent)


def choose_feeds(
    one: Subject,
    matching: Matching | None,
    data: Data | None,
    samples: int | None,
    seed: int,
    ranges: Mapping[str, tuple[float, float]] | None,
) -> Feeds:
    """People's data, or drawn numbers. Raises :class:`UsageError`."""
    twins = {} if matching is None else {id(a): b for a, b in matching.inputs}
    known = [twins.get(id(v)) for v in one.graph.inputs]
    return feeds.choose(one.graph, one.content, data, samples, seed, ranges, known)


MISMATCH = 20.0
"""dB below which operators that compute in float cannot be the same."""

LEAST_SURE = ("position", "structure", "name")


def _exact(node: Node) -> bool:
    """Whether quantization cannot have changed what a node computes: no weights, no codes."""
    floats = all(v.dtype.is_float for v in node.outputs)
    return floats and not weights_of(node) and node.op.name not in INSERTED


def _silent(_what: str, _done: int, _total: int) -> None:
    pass


@dataclass(slots=True)
class _Row:
    """What is added up for one operator of the quantized model."""

    match: Match
    total: Pair = field(default_factory=Pair)
    added: Pair = field(default_factory=Pair)


class _Comparing:
    """Both models, and what their results come to."""

    def __init__(self, one: Subject, other: Subject, matching: Matching) -> None:
        self.one, self.other, self.matching = one, other, matching
        self.rows = {id(m.node): _Row(m) for m in matching.matches}
        twins = [(other.graph.inputs.index(b), a) for a, b in matching.inputs]
        position = {id(v): i for i, v in enumerate(one.graph.inputs)}
        self.order = [position[id(a)] for _, a in sorted(twins, key=lambda pair: pair[0])]
        self.outputs = _Outputs(one.graph.outputs)

    def run(self, given: Feeds, tell: Progress) -> Comparison:
        while True:  # every round has fewer matches
            self.sample(given.samples[0])
            refuted = self.refuted()
            self.rows = {k: _Row(row.match) for k, row in self.rows.items() if k not in refuted}
            if not refuted:
                break
        self.outputs = _Outputs(self.one.graph.outputs)
        for done, sample in enumerate(given):
            tell("Comparing", done, len(given))
            self.sample(sample)
        tell("Comparing", len(given), len(given))
        return Comparison(
            tuple(self.layer(i, n) for i, n in enumerate(self.other.graph.nodes) if self.shown(n)),
            self.outputs.found(),
            tuple(
                str(n) for n in self.other.graph.nodes if self.shown(n) and id(n) not in self.rows
            ),
            tuple(str(n) for n in self.one.graph.nodes if self.is_missing(n)),
            self.one.size,
            self.other.size,
            len(given),
            given.source,
        )

    def refuted(self) -> dict[int, Match]:
        """Matches that cannot be: of operators that compute in float, without weights, and yet
        give something else for the same inputs. The least sure ones of them, as a wrong one
        spoils what follows it."""
        doubtful: dict[str, dict[int, Match]] = {}
        for key, row in self.rows.items():
            added = row.added.tally.difference()
            if added is not None and added.sqnr < MISMATCH and _exact(row.match.node):
                doubtful.setdefault(row.match.how, {})[key] = row.match
        return next((doubtful[how] for how in LEAST_SURE if how in doubtful), {})

    def sample(self, sample: Feed) -> None:
        self.one.feed(sample)
        self.one.interpreter.invoke()
        theirs = [sample[i] for i in self.order]
        self.other.feed(theirs)
        self.other.interpreter.invoke()
        self.outputs.add(self.one, self.other)
        for row in self.rows.values():
            self.note(row, row.total)
        self.other.feed(theirs)
        for node in self.other.steps():
            if id(node) in self.rows:
                self.note(self.rows[id(node)], self.rows[id(node)].added)
                self.put_right(self.rows[id(node)].match)

    def note(self, row: _Row, pair: Pair) -> None:
        for before, after in row.match.pairs:
            if _comparable(before) and _comparable(after):
                expected, got = self.one.get(before), self.other.get(after)
                if expected.shape == got.shape:
                    pair.add(expected, got, after)

    def put_right(self, found: Match) -> None:
        """Let the results of an operator be those of the float model."""
        for before, after in found.pairs:
            expected = self.one.get(before)
            index = self.other.index(after)
            if _comparable(after) and expected.shape == self.other.get(after).shape:
                self.other.interpreter.set_tensor(index, stored(expected, after))

    def shown(self, node: Node) -> bool:
        """Whether a node has a row: what is not matched has one, too; a DEQUANTIZE has not, as it
        changes nothing."""
        if node.op.name == "DEQUANTIZE":
            return False
        alone = any(n is node for n in self.matching.only_quantized)
        return alone or any(m.node is node for m in self.matching.matches)

    def is_missing(self, node: Node) -> bool:
        """Whether a node of the float model is none of the quantized one's, or was refuted."""
        if any(n is node for n in self.matching.only_float):
            return True
        twins = [m for m in self.matching.matches if m.twin is node]
        return bool(twins) and not any(id(m.node) in self.rows for m in twins)

    def layer(self, position: int, node: Node) -> Layer:
        row = self.rows.get(id(node))
        after = weights_of(node)
        facts: dict[str, Any] = {
            "format": format_of([v for _, v in after]),
            "bytes_after": bytes_of(node),
            "shape": self.shape(node),
        }
        if row is not None:
            facts |= {
                "reference": row.match.pairs[0][0].name,
                "matched_by": row.match.how,
                "total": row.total.tally.difference(),
                "added": row.added.tally.difference(),
                "before": row.total.before.spread(),
                "after": row.total.after.spread(),
            }
            twin = self.weighted(row.match)
            if twin is not None and node.op.name not in INSERTED:
                facts["bytes_before"] = bytes_of(twin)
                facts["weights"] = _weights(weights_of(twin), after)
        return Layer(position, node.name, node.op.name, node.outputs[0].name, **facts)

    def weighted(self, found: Match) -> Node | None:
        """The twin, or the operator in front of it if the twin is an activation that was fused."""
        twin = found.twin
        if twin is None or twin.op.name == found.node.op.name or not twin.inputs:
            return twin
        return None if twin.inputs[0] is None else twin.inputs[0].producer

    def shape(self, node: Node) -> tuple[int, ...]:
        details = self.other.interpreter.get_tensor_details()
        return tuple(int(d) for d in details[self.other.index(node.outputs[0])]["shape"])


def _comparable(value: Value) -> bool:
    """Whether a tensor holds real numbers, as they are or as codes."""
    return value.dtype.is_float or (value.dtype.is_integer and value.quant is not None)


def _weights(
    before: Sequence[tuple[str, Value]], after: Sequence[tuple[str, Value]]
) -> Difference | None:
    tally, known = Tally(), dict(before)
    for name, value in after:
        twin = known.get(name)
        if twin is not None and twin.shape == value.shape:
            tally.add(real_weights(twin), real_weights(value))
    return tally.difference()


# -- outputs --------------------------------------------------------------------------------------


class _Outputs:
    """Whether both models say the same."""

    def __init__(self, values: Sequence[Value]) -> None:
        self.values = values
        self.tallies = [Tally() for _ in values]
        self.equal = [[0, 0] for _ in values]
        self.top: list[list[int]] = [[0, 0, 0, 0] for _ in values]  # rows, top1, rows of 6, top5

    def add(self, one: Subject, other: Subject) -> None:
        pairs = zip(one.results(), other.results(), strict=False)
        for i, (expected, got) in enumerate(pairs):
            if expected.shape != got.shape:
                raise UsageError(
                    f"output {self.values[i].name!r} has the shape {expected.shape} in one model "
                    f"and {got.shape} in the other"
                )
            self.equal[i][0] += int(np.count_nonzero(expected == got))
            self.equal[i][1] += expected.size
            if expected.dtype.kind not in "fiub":
                continue
            self.tallies[i].add(expected, got)
            if self.values[i].dtype.is_float and like_a_classifier(expected):
                self.count(self.top[i], expected, got)

    def count(self, top: list[int], expected: Array, got: Array) -> None:
        first, second = agreements(expected, got)
        top[0] += len(expected)
        top[1] += first
        if expected.shape[1] > 5:
            top[2] += len(expected)
            top[3] += second

    def found(self) -> tuple[OutputAgreement, ...]:
        return tuple(
            OutputAgreement(
                value.name,
                tally.difference(),
                same / count if count else 1.0,
                top[1] / top[0] if top[0] else None,
                top[3] / top[2] if top[2] else None,
                top[0],
            )
            for value, tally, (same, count), top in zip(
                self.values, self.tallies, self.equal, self.top, strict=True
            )
        )


def like_a_classifier(array: Array) -> bool:
    """Whether an output is a row of numbers for each sample, of which the greatest may count."""
    return array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind == "f"


def agreements(expected: Array, got: Array) -> tuple[int, int]:
    """Rows whose greatest entry is the same, and those where it is among the five greatest."""
    best = expected.argmax(axis=1)
    order = np.argsort(-got, axis=1, kind="stable")[:, :5]
    return int((got.argmax(axis=1) == best).sum()), int((order == best[:, None]).any(axis=1).sum())
