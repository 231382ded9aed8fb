"""Data sets: samples with names, what a model is fed and what is expected of it.

:func:`open_data` looks at what a path is (:data:`READERS`) and gives a :class:`Dataset`, whose
samples are read one at a time. What cannot be read is a :class:`DataError` of that sample.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from octolite.errors import DataError, UsageError, did_you_mean
from octolite.evaluation.tfrecord import Feature, TFRecord
from octolite.ir.types import Array

Content = Path | bytes | Array
"""What an input is made from: an image's file, an image file's bytes, or an array."""

ONLY = ""
"""The name of the only input of a model."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One thing to be judged.

    Attributes:
        name: what it is called in files and messages; unique within its data set.
        inputs: by the name of a model's input; :data:`ONLY` where there is one.
        truth: what is expected; ``None`` when the data does not say.
    """

    name: str
    inputs: Mapping[str, Content]
    truth: Any = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """Samples that are read when they are looked at: ``dataset[i]`` may raise ``DataError``.

    Attributes:
        path: where the data is.
        names: of all samples, in order.
        read: gives the sample of a number.
        classes: names of the classes that the layout itself tells, in order.
        labelled: whether samples come with what is expected of them.
    """

    path: Path
    names: Sequence[str]
    read: Callable[[int], Sample]
    classes: tuple[str, ...] = ()
    labelled: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        return self.read(index)

    def __iter__(self) -> Iterator[Sample]:
        return map(self.read, range(len(self)))

    def take(self, indices: Sequence[int]) -> Dataset:
        """The samples of these numbers, in their order."""
        names, read = self.names, self.read
        return replace(self, names=[names[i] for i in indices], read=lambda i: read(indices[i]))

    def with_truths(self, truths: Sequence[Any]) -> Dataset:
        """The same samples, the truth of each given. Raises :class:`UsageError`."""
        if len(truths) != len(self):
            raise UsageError(
                f"{self.path} has {len(self)} samples and there are {len(truths)} labels; the "
                "n-th label belongs to the n-th sample in the order of names"
            )
        read = self.read
        return replace(self, read=lambda i: replace(read(i), truth=truths[i]), labelled=True)


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of a file with several are a model's inputs, and which is the label.

    ``inputs`` maps a model's input (:data:`ONLY` for the only one) to fields: several columns of
    numbers become one vector.
    """

    inputs: Mapping[str, tuple[str, ...]]
    label: str | None = None

    @classmethod
    def parse(cls, inputs: Sequence[str] = (), label: str | None = None) -> Fields:
        """``field``, ``a,b,c`` or ``input=field``, for each input. Raises :class:`UsageError`."""
        parsed: dict[str, tuple[str, ...]] = {}
        for item in inputs:
            name, separator, listed = item.rpartition("=")
            fields = tuple(f.strip() for f in listed.split(","))
            if not all(fields) or (separator and not name) or name in parsed:
                raise UsageError(f"field {item!r} should be FIELD[,FIELD…] or INPUT=FIELD[,FIELD…]")
            parsed[name] = fields
        return cls(parsed, label)

    def chosen(self, path: Path, known: Sequence[str], inputs: str, label: str) -> Fields:
        """With the usual names where none are given. Raises :class:`UsageError`."""
        listed = self.inputs or ({ONLY: (inputs,)} if inputs in known else {})
        if not listed:
            raise UsageError(f"say which fields of {path} are the input: {', '.join(known)}")
        wanted = [f for fields in listed.values() for f in fields]
        for field in [*wanted, *([self.label] if self.label else [])]:
            if field not in known:
                raise UsageError(f"{path} has no field {field!r}. {did_you_mean(field, known)}")
        return Fields(listed, self.label or (label if label in known else None))


def open_data(path: str | Path, fields: Fields | None = None) -> Dataset:
    """The data at ``path``: a folder of images, or a file that :data:`READERS` knows.

    Args:
        path: a folder of images; a folder with a folder of images for each class; an ``.npy``,
            ``.npz``, ``.csv`` or ``.tfrecord`` file.
        fields: which fields of a file are what.

    Raises:
        UsageError: there is no such data, or fields that it does not have.
        FormatError: a file that is damaged as a whole.
    """
    place = Path(path)
    if place.is_dir():
        return _folder(place)
    if not place.exists():
        raise UsageError(f"there is no data at {place}")
    for mark, reader in READERS.items():
        if mark in place.name.lower():
            return reader(place, fields or Fields({}))
    raise UsageError(
        f"{place} is no data that is known: give a folder of images or a file of "
        f"{', '.join(READERS)}"
    )


# -- images in folders ----------------------------------------------------------------------------


def _files(folder: Path) -> list[Path]:
    """Files in the order of their names, as TensorFlow Lite's tools take them."""
    found = (p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return sorted(found, key=lambda p: p.name)


def _folder(folder: Path) -> Dataset:
    files = _files(folder)
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if files and classes:
        raise UsageError(
            f"{folder} holds files ({files[0].name}) and folders ({classes[0]}); expected either "
            "images, or a folder of images for each class"
        )
    if classes:
        listed = [(c, p) for c in classes for p in _files(folder / c)]
        names = [f"{c}/{p.name}" for c, p in listed]
        return Dataset(
            folder,
            names,
            lambda i: Sample(names[i], {ONLY: listed[i][1]}, listed[i][0]),
            tuple(classes),
            labelled=True,
        )
    if not files:
        raise UsageError(f"{folder} holds no files")
    return Dataset(
        folder, [p.name for p in files], lambda i: Sample(files[i].name, {ONLY: files[i]})
    )


# -- arrays ---------------------------------------------------------------------------------------


def load_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an ``.npz`` by name, or that of an ``.npy`` as :data:`ONLY`.

    Raises :class:`UsageError`.
    """
    try:
        with path.open("rb") as file:
            loaded: Any = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {ONLY: loaded}
            with loaded:
                return {name: loaded[name] for name in loaded.files}
    except Exception as error:  # zipfile, zlib and NumPy raise all sorts of things
        raise UsageError(f"cannot read {path}: {error}") from error


def _npy(path: Path, fields: Fields) -> Dataset:
    array = load_arrays(path)[ONLY]
    if len(fields.inputs) > 1:
        raise UsageError(f"{path} is one array; an .npz has one for each of several inputs")
    name = next(iter(fields.inputs), ONLY)
    return _stacked(path, {name: array}, None)


def _npz(path: Path, fields: Fields) -> Dataset:
    arrays = load_arrays(path)
    chosen = fields.chosen(path, list(arrays), "images", "labels")
    for name, listed in chosen.inputs.items():
        if len(listed) > 1:
            raise UsageError(f"input {name!r} is one array of {path}, and not {', '.join(listed)}")
    inputs = {name: arrays[listed[0]] for name, listed in chosen.inputs.items()}
    return _stacked(path, inputs, arrays[chosen.label] if chosen.label else None)


def _stacked(path: Path, inputs: Mapping[str, Array], labels: Array | None) -> Dataset:
    """Samples along the first axis."""
    counts = {np.shape(a)[:1] for a in [*inputs.values(), *([] if labels is None else [labels])]}
    if len(counts) != 1 or counts == {()}:
        shapes = ", ".join(str(a.shape) for a in inputs.values())
        raise UsageError(
            f"the arrays of {path} differ in their first extent, which counts samples: {shapes}"
            + ("" if labels is None else f", labels {labels.shape}")
        )
    (count,) = counts.pop()

    def read(i: int) -> Sample:
        truth = None if labels is None else labels[i]
        return Sample(str(i), {name: a[i] for name, a in inputs.items()}, truth)

    return Dataset(path, [str(i) for i in range(count)], read, labelled=labels is not None)


# -- tables ---------------------------------------------------------------------------------------


def _csv(path: Path, fields: Fields) -> Dataset:
    """Columns of numbers; or one of paths of images, which start at the table's folder."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file, skipinitialspace=True) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"cannot read {path} as a table with a header: {error}") from error
    if fields.inputs:
        chosen = fields.chosen(path, header, "", "label")
    else:  # all columns but the label's, in their order
        label = fields.label or ("label" if "label" in header else None)
        others = tuple(name for name in header if name != label)
        chosen = Fields({ONLY: others}, label).chosen(path, header, "", "label")
    columns = {name: [header.index(f) for f in fs] for name, fs in chosen.inputs.items()}
    label_at = None if chosen.label is None else header.index(chosen.label)

    def read(i: int) -> Sample:
        if len(rows[i]) != len(header):
            raise DataError(f"row {i + 1} has {len(rows[i])} fields, expected {len(header)}")
        inputs = {n: _cells([rows[i][c] for c in at], path.parent) for n, at in columns.items()}
        return Sample(str(i + 1), inputs, None if label_at is None else rows[i][label_at])

    names = [str(i + 1) for i in range(len(rows))]
    return Dataset(path, names, read, labelled=label_at is not None)


def _cells(cells: Sequence[str], folder: Path) -> Content:
    try:
        return np.array([float(c) for c in cells], np.float32)
    except ValueError:
        if len(cells) == 1:
            return folder / cells[0]
        wrong = next(c for c in cells if not _is_number(c))
        raise DataError(f"{wrong!r} is no number") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# -- TFRecord -------------------------------------------------------------------------------------


def _tfrecord(path: Path, fields: Fields) -> Dataset:
    record = TFRecord(path)
    if not len(record):
        raise UsageError(f"{path} holds no records")
    known = sorted(record.first())
    chosen = fields.chosen(path, known, "image/encoded", "image/class/label")

    def read(i: int) -> Sample:
        example = record[i]

        def value(field: str) -> Feature:
            if field not in example:
                raise DataError(f"the record has no feature {field!r}")
            return example[field]

        inputs = {name: _fed([value(f) for f in fs]) for name, fs in chosen.inputs.items()}
        truth = None if chosen.label is None else _single(value(chosen.label))
        return Sample(str(i), inputs, truth)

    names = [str(i) for i in range(len(record))]
    return Dataset(path, names, read, labelled=chosen.label is not None)


def _fed(values: Sequence[Feature]) -> Content:
    if len(values) == 1 and isinstance(values[0], list):
        if len(values[0]) != 1:
            raise DataError(f"expected one encoded image, found {len(values[0])}")
        return values[0][0]
    if any(isinstance(v, list) for v in values):
        raise DataError("several features make one vector only where all hold numbers")
    return np.concatenate([np.asarray(v) for v in values])


def _single(value: Feature) -> Any:
    items = [v.decode("utf-8", "replace") for v in value] if isinstance(value, list) else value
    return items[0] if len(items) == 1 else items


READERS: dict[str, Callable[[Path, Fields], Dataset]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".csv": _csv,
    ".tfrecord": _tfrecord,
}
"""By what a file's name holds (``train.tfrecord-00000-of-00001`` is one, too)."""
