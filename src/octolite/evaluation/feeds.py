"""What models are fed while they are compared: people's arrays cut into runs, or drawn numbers.

A feed is one array for each input of the float model, in order: real numbers, or whatever the
input holds. Each model gets it in the type of its own input.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from octolite.errors import UsageError, did_you_mean
from octolite.evaluation.tally import limits, stored
from octolite.ir.graph import Graph, Value
from octolite.ir.types import Array
from octolite.tflite.metadata import Metadata, TensorMetadata, read_metadata

SEED = 20180917

MOST_SAMPLES = 32
"""Samples of people's data that are looked at when they do not say how many."""

Feed = tuple[Array, ...]

Data = str | os.PathLike[str] | Array | Mapping[str, Array]
"""A file (``.npy``, ``.npz``), an array for an only input, or arrays by the inputs' names; samples
lie along the first axis."""


@dataclass(frozen=True, slots=True)
class Feeds:
    """What is run, and where it comes from, in a sentence for each input."""

    samples: tuple[Feed, ...]
    source: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Feed]:
        return iter(self.samples)


def load(graph: Graph, data: Data, most: int | None = None) -> Feeds:
    """People's arrays, cut along the first axis into runs of the batch that the model states.

    Args:
        graph: the float one.
        data: see :data:`Data`.
        most: how many runs at most; all when ``None``.

    Raises:
        UsageError: a file that cannot be read, names or shapes that do not fit.
    """
    where = str(data) if isinstance(data, str | os.PathLike) else "the given arrays"
    arrays = _arrays(graph, data)
    runs = {v.name: _runs(v, arrays[v.name], where) for v in graph.inputs}
    counts = {name: len(found) for name, found in runs.items() if len(found) != 1}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise UsageError(f"{where} has different numbers of samples for the inputs: {listed}")
    count = next(iter(counts.values()), 1)
    columns = [r * count if len(r) == 1 else r for r in runs.values()]
    samples = tuple(zip(*columns, strict=True))[:most]
    if not samples:
        raise UsageError(f"{where} holds no samples")
    return Feeds(samples, tuple(f"{v.name}: {where}" for v in graph.inputs))


def _arrays(graph: Graph, data: Data) -> dict[str, Array]:
    found: Any = data
    if isinstance(data, str | os.PathLike):
        try:
            found = np.load(Path(data), allow_pickle=False)
            if not isinstance(found, np.ndarray):
                with found:
                    found = {name: found[name] for name in found.files}
        except Exception as error:  # zipfile, zlib and NumPy raise all sorts of things
            raise UsageError(f"cannot read {data} as .npy or .npz: {error}") from error
    names = [v.name for v in graph.inputs]
    if not isinstance(found, Mapping):
        if len(names) != 1:
            raise UsageError(f"one array for {len(names)} inputs; give one each: {names}")
        return {names[0]: np.asarray(found)}
    if len(names) == 1 and len(found) == 1:
        return {names[0]: np.asarray(next(iter(found.values())))}
    for name in names:
        if name not in found:
            hint = did_you_mean(name, found)
            raise UsageError(f"there is no array for the input {name!r}. {hint}")
    return {name: np.asarray(found[name]) for name in names}


def _runs(value: Value, array: Array, where: str) -> list[Array]:
    """``array`` as one array for each run."""
    shape = value.shape
    if shape is None:
        return [array]
    if array.ndim == len(shape) + 1:  # whole inputs, one after the other
        array = array.reshape(-1, *array.shape[2:]) if shape else array
    rank = max(1, len(shape))
    wanted = "×".join("?" if d is None else str(d) for d in shape)
    fits = array.ndim == rank and all(
        d is None or d == n for d, n in zip(shape[1:], array.shape[1:], strict=False)
    )
    batch = (shape[0] if shape else 1) or 1
    if not fits or array.shape[0] % batch:
        raise UsageError(
            f"input {value.name!r} is {wanted}, and {where} has "
            f"{'×'.join(map(str, array.shape))}; samples lie along the first axis"
        )
    if not shape:
        return list(array)
    return [array[i : i + batch] for i in range(0, len(array), batch)]


# -- drawn ----------------------------------------------------------------------------------------

Ranges = Mapping[str, tuple[float, float]]
"""Least and greatest number by the name of an input; ``""`` for all that are not named."""


def choose(
    graph: Graph,
    content: str | bytes,
    data: Data | None,
    samples: int | None,
    seed: int = SEED,
    ranges: Ranges | None = None,
    twins: Sequence[Value | None] = (),
) -> Feeds:
    """People's data, or drawn numbers for a model's file. Raises :class:`UsageError`."""
    if samples is not None and samples < 1:
        raise UsageError(f"{samples} samples are too few; there must be 1 at least")
    if data is not None:
        return load(graph, data, samples or MOST_SAMPLES)
    return draw(graph, twins, samples or 8, seed, ranges, read_metadata(content))


def draw(
    graph: Graph,
    twins: Sequence[Value | None] = (),
    count: int = 8,
    seed: int = SEED,
    ranges: Ranges | None = None,
    metadata: Metadata | None = None,
) -> Feeds:
    """Numbers drawn uniformly from the range that each input states.

    A range is stated by ``ranges``, else by the normalization of pixels in the model's metadata,
    else by the scale of the input, or of its twin in the quantized model, or of the QUANTIZE that
    reads it. Numbers that look up rows of a table are drawn from the rows that there are. For any
    other input it is [-1, 1), or 0 and 1, and ``source`` says so.

    Raises :class:`UsageError` for an input of strings, or for a name that no input has.
    """
    rng = np.random.default_rng(seed)
    given = ranges or {}
    names = [v.name for v in graph.inputs]
    for name in given:
        if name and name not in names:
            raise UsageError(f"the model has no input {name!r}. {did_you_mean(name, names)}")
    others = [*twins, *[None] * (len(names) - len(twins))]
    about = [*(metadata.inputs if metadata else ()), *[None] * len(names)]
    chosen = [
        _stated(value, twin, given.get(value.name, given.get("")), told)
        for value, twin, told in zip(graph.inputs, others, about, strict=False)
    ]
    samples = tuple(
        tuple(
            _drawn(rng, v, low, high)
            for v, (low, high, _) in zip(graph.inputs, chosen, strict=True)
        )
        for _ in range(count)
    )
    source = tuple(
        f"{v.name}: drawn from {low:g} to {high:g}, {why}"
        for v, (low, high, why) in zip(graph.inputs, chosen, strict=True)
    )
    return Feeds(samples, source)


def _drawn(rng: np.random.Generator, value: Value, low: float, high: float) -> Array:
    shape = [1 if d is None else d for d in value.shape or ()]
    if value.dtype.kind in "so":
        raise UsageError(f"input {value.name!r} holds {value.dtype}; give data for it")
    if value.dtype.is_float or value.quant is not None:
        return np.asarray(rng.uniform(low, high, shape), np.float32)
    drawn = np.asarray(rng.integers(int(low), int(high) + 1, shape))
    return drawn.astype(value.dtype.numpy)


def _stated(
    value: Value,
    twin: Value | None,
    given: tuple[float, float] | None,
    about: TensorMetadata | None,
) -> tuple[float, float, str]:
    """The range of an input, and who says so."""
    if given is not None:
        return *given, "as asked for"
    if about is not None and about.is_image and about.std and value.dtype.is_float:
        ends = [(x - m) / s for m, s in zip(about.mean, about.std, strict=False) for x in (0, 255)]
        return min(ends), max(ends), "as the metadata normalizes pixels"
    for candidate in (value, twin):
        for stated in _written(candidate):
            assert stated.quant is not None
            low, high = limits(stated.quant, stated.dtype.numpy)
            return float(low.min()), float(high.max()), "which its codes can say"
    if value.dtype.is_float:
        return -1.0, 1.0, "as the model states no range"
    rows = [
        next(v.shape[0] for v in node.inputs if v is not value and v is not None and v.shape)
        for node in value.uses
        if node.op.name in ("GATHER", "EMBEDDING_LOOKUP")
        and any(v is not value and v is not None and v.shape and v.shape[0] for v in node.inputs)
    ]
    most = min((r for r in rows if r), default=0)
    if most:
        return 0, most - 1, "the rows that it looks up"
    return 0, 1, "as the model states no range"


def _written(value: Value | None) -> list[Value]:
    """``value``, or what a QUANTIZE makes of it, where these are codes."""
    if value is None:
        return []
    results = [n.output for n in value.uses if n.op.name == "QUANTIZE"]
    return [v for v in (value, *results) if v.quant is not None and v.dtype.is_integer]


# -- feeding --------------------------------------------------------------------------------------


def feed(interpreter: Any, inputs: Sequence[Value], arrays: Sequence[Array]) -> None:
    """Set the inputs of an interpreter (LiteRT's or ours), resized to fit, and its state to zero.

    Args:
        inputs: the tensors, in the interpreter's order of inputs.
        arrays: real numbers, or what these tensors hold.
    """
    details = interpreter.get_input_details()
    fitting = [_typed(value, array) for value, array in zip(inputs, arrays, strict=True)]
    for d, array in zip(details, fitting, strict=True):
        if tuple(d["shape"]) != array.shape:
            interpreter.resize_tensor_input(d["index"], array.shape)
    interpreter.allocate_tensors()
    with suppress(AttributeError):
        interpreter.reset_all_variables()
    for d, array in zip(details, fitting, strict=True):
        interpreter.set_tensor(d["index"], array)


def _typed(value: Value, array: Array) -> Array:
    """``array`` as the tensor holds it; raises :class:`UsageError` where that would lose it."""
    wanted = value.dtype.numpy
    if array.dtype == wanted:
        return array
    if value.quant is not None and array.dtype.kind == "f":
        return stored(array, value)
    if np.can_cast(array.dtype, wanted, "same_kind"):
        return array.astype(wanted)
    raise UsageError(f"input {value.name!r} holds {value.dtype} and was given {array.dtype}")
