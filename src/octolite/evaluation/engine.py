"""One pass over the data: each sample through every model, on several threads, in order."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from octolite.errors import DataError, UsageError, did_you_mean
from octolite.evaluation.data import ONLY, Content, Dataset
from octolite.evaluation.journal import Row, Values
from octolite.evaluation.preprocess import InputSpec, Preparation, Preprocess
from octolite.evaluation.task import Facts, Task
from octolite.ir.numerics import dequantize
from octolite.ir.types import Array, Quant
from octolite.ops.custom import CustomOperator
from octolite.runtime.interpreter import Interpreter
from octolite.runtime.prepare import Hybrid
from octolite.tflite.metadata import TensorMetadata, read_metadata

AHEAD = 4
"""How many samples for each thread may wait for the results of one before them."""


class Contender:
    """A model that is evaluated, and how its inputs are made.

    Raises :class:`octolite.ModelError` for a model that cannot be run.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        preprocess: Preprocess | str | None,
        hybrid: Hybrid,
        custom_operators: Mapping[str, CustomOperator] | None,
    ) -> None:
        self.path = path
        self.name = name
        self.interpreter = Interpreter(
            str(path), num_threads=1, hybrid=hybrid, custom_operators=custom_operators
        )
        details = self.interpreter.get_input_details()
        metadata = read_metadata(path)
        said: Sequence[TensorMetadata | None] = metadata.inputs or [None] * len(details)
        self.preparations = {
            d["name"]: Preparation(InputSpec.of(d), preprocess, m)
            for d, m in zip(details, [*said, *[None] * len(details)], strict=False)
        }
        self.facts = Facts(
            name,
            {
                d["name"]: tuple(None if e < 0 else int(e) for e in d["shape_signature"])
                for d in self.interpreter.get_output_details()
            },
            metadata,
            next(iter(self.preparations.values())),
        )

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def prepare(self, inputs: Mapping[str, Content]) -> dict[str, Array]:
        """What each input is fed. Raises :class:`UsageError` where inputs and data differ."""
        if set(inputs) == {ONLY} and len(self.preparations) == 1:
            (only,) = self.preparations
            inputs = {only: inputs[ONLY]}
        for name in inputs:
            if name not in self.preparations:
                hint = did_you_mean(name, self.preparations)
                raise UsageError(f"{self.name} has no input {name or 'without a name'!r}. {hint}")
        if missing := [n for n in self.preparations if n not in inputs]:
            raise UsageError(
                f"{self.name} has the inputs {', '.join(self.preparations)}; say which field each "
                f"of {', '.join(missing)} is: --input_field INPUT=FIELD"
            )
        return {name: prepare(inputs[name]) for name, prepare in self.preparations.items()}


class Runner:
    """An interpreter of one thread's own."""

    def __init__(self, contender: Contender) -> None:
        self._interpreter = contender.interpreter.clone()
        self._inputs = {d["name"]: d["index"] for d in self._interpreter.get_input_details()}
        self._outputs = [
            (d["name"], d["index"], _quant(d)) for d in self._interpreter.get_output_details()
        ]
        self._shapes: dict[str, tuple[int, ...]] = {}

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name: real numbers, without the batch of one."""
        interpreter = self._interpreter
        shapes = {name: array.shape for name, array in inputs.items()}
        if shapes != self._shapes:
            for name, shape in shapes.items():
                interpreter.resize_tensor_input(self._inputs[name], shape)
            interpreter.allocate_tensors()
            self._shapes = shapes
        interpreter.reset_all_variables()  # a recurrent layer would go on where it was
        for name, array in inputs.items():
            interpreter.set_tensor(self._inputs[name], array)
        interpreter.invoke()
        outputs = {}
        for name, index, quant in self._outputs:
            array = interpreter.get_tensor(index)
            array = array if quant is None else dequantize(array, quant)
            outputs[name] = array[0] if array.ndim and array.shape[0] == 1 else array
        return outputs


def _quant(details: Mapping[str, Any]) -> Quant | None:
    parameters = details["quantization_parameters"]
    if not parameters["scales"].size or np.dtype(details["dtype"]).kind not in "iu":
        return None
    return Quant.of(parameters["scales"], parameters["zero_points"])


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an evaluation is.

    Attributes:
        done: samples that have their row, those of an earlier run and those skipped among them.
        total: samples in all.
        skipped: those that could not be read.
        rate: samples a second, in this run; 0 before the first.
    """

    done: int
    total: int
    skipped: int
    rate: float

    @property
    def eta(self) -> float:
        """Seconds that the rest takes at this rate; infinite before there is one."""
        left = self.total - self.done
        return left / self.rate if self.rate else (float("inf") if left else 0.0)


class Clock:
    """Follows the rows of a run."""

    def __init__(self, rows: Sequence[Row], total: int) -> None:
        self._begin = time.monotonic()
        self._before = self._done = len(rows)
        self._skipped = sum(bool(row.skipped) for row in rows)
        self._total = total

    def tick(self, row: Row) -> Progress:
        """One more row."""
        self._done += 1
        self._skipped += bool(row.skipped)
        seconds = time.monotonic() - self._begin
        rate = (self._done - self._before) / seconds if seconds > 0 else 0.0
        return Progress(self._done, self._total, self._skipped, rate)


def judge(
    task: Task, contenders: Sequence[Contender], dataset: Dataset, start: int, threads: int
) -> Iterator[Row]:
    """A row for each sample from number ``start`` on, in order.

    Samples that cannot be read become rows that say why. Raises :class:`OctoliteError` for
    everything else.
    """
    own = threading.local()

    def work(index: int) -> Row:
        if not hasattr(own, "runners"):
            own.runners = [Runner(c) for c in contenders]
        return judged(task, contenders, own.runners, dataset, index)

    pending: deque[Future[Row]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="evaluate") as pool:
        try:
            for index in range(start, len(dataset)):
                pending.append(pool.submit(work, index))
                if len(pending) >= AHEAD * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def judged(
    task: Task,
    contenders: Sequence[Contender],
    runners: Sequence[Runner],
    dataset: Dataset,
    index: int,
) -> Row:
    """The row of one sample; ``runners`` are those of the thread that asks."""
    name = dataset.names[index]
    try:
        sample = dataset[index]
        if sample.truth is None and task.needs_truth:
            raise DataError("it has no label")
        expected = task.truth(sample)
        results = tuple(
            task.judge(run(contender.prepare(sample.inputs)), sample, expected, contender.facts)
            for contender, run in zip(contenders, runners, strict=True)
        )
    except DataError as error:
        return Row(name, " ".join(str(error).split()) or "cannot be read")
    return Row(name, "", expected, results)


def available_threads() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def values_of(rows: Sequence[Row], model: int) -> list[tuple[Row, Values]]:
    """The rows of one model that were not skipped."""
    return [(row, row.results[model]) for row in rows if not row.skipped]
