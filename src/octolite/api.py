"""Conversion in one call: a trained model in, the bytes of a ``.tflite`` file out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octolite import passes, tflite
from octolite.errors import FormatError, UsageError, did_you_mean
from octolite.frontends import graphdef, savedmodel
from octolite.ir.graph import Model
from octolite.quantize import IntegerRecipe, Ledger, Recipe, quantize
from octolite.selection import Selection
from octolite.version import __version__

if TYPE_CHECKING:
    from octolite.passes import Explanation, OnChange

METADATA_KEY = "octolite"
ALL = Selection()
HEAD = 64
"""How many of a file's first bytes tell its kind."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is in all."""

Edit = Callable[[Model], object]
"""Changes a model in place."""

Source = str | os.PathLike[str] | bytes
"""A model: the path of a file or of a folder, or the bytes of a file."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of model that can be read.

    Attributes:
        name: what it is called, with its article.
        recognise: whether a source is one: given its path (``None`` for bytes) and its first bytes
            (none of a folder).
        read: reads it; given the source, ``on_progress`` and what is asked for of ``options``.
        options: which fields of a :class:`Selection` it knows.
    """

    name: str
    recognise: Callable[[Path | None, bytes], bool]
    read: Callable[..., Model]
    options: frozenset[str]


_ARRAYS = frozenset({"input_arrays", "output_arrays", "input_shapes", "allow_custom_ops"})


def _is_tflite(path: Path | None, head: bytes) -> bool:
    return head[4:8] == b"TFL3"


def _open_tflite(source: Source, on_progress: Progress, allow_custom_ops: bool = False) -> Model:
    on_progress("Reading", 0, 1)
    return tflite.open_file(source)  # which holds custom operators as it holds others


def _is_keras(path: Path | None, head: bytes) -> bool:
    return head.startswith((b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"))


def _load_keras(source: Source, allow_custom_ops: bool = False, **options: Any) -> Model:
    from octolite.frontends import keras  # here, as h5py takes a while to load

    return keras.load(source, **options)  # whose custom layers hold no operators to keep


KINDS: tuple[Kind, ...] = (
    Kind("a .tflite file", _is_tflite, _open_tflite, frozenset({"allow_custom_ops"})),
    Kind(
        "a SavedModel",
        savedmodel.is_saved_model,
        savedmodel.load,
        _ARRAYS | {"tags", "signature"},
    ),
    Kind(
        "a checkpoint with its MetaGraph",
        savedmodel.is_meta_graph,
        savedmodel.load_meta_graph,
        _ARRAYS | {"signature"},
    ),
    Kind("a Keras model", _is_keras, _load_keras, _ARRAYS),
    Kind(
        "a frozen GraphDef",
        lambda path, head: True,  # what it seems to be instead is said when it is read
        graphdef.load,
        _ARRAYS,
    ),
)
"""The first row that recognises a source reads it."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """A converted model: the file's bytes, and what became of each constant."""

    content: bytes
    ledger: Ledger
    model: Model


def convert(
    source: Source,
    quantize: str | os.PathLike[str] | Recipe | IntegerRecipe = "dynamic",
    input_arrays: Sequence[str] | None = None,
    output_arrays: Sequence[str] | None = None,
    input_shapes: Mapping[str, Sequence[int | None]] | None = None,
    *,
    tags: Sequence[str] | None = None,
    signature: str | None = None,
    min_elements: int | None = None,
    allow_custom_ops: bool = False,
    on_progress: Progress | None = None,
) -> bytes:
    """Convert a trained TensorFlow model to a ``.tflite`` file.

    What kind of model it is, is found by looking: a SavedModel's folder, a ``.meta`` file beside
    its checkpoint, a file that Keras saved, a frozen GraphDef, binary or text, or a ``.tflite``
    file, whose float weights are stored as the recipe says while all else in it stays as it is.

    Args:
        source: the model's path, or the bytes of its file.
        quantize: ``"dynamic"`` stores weights in int8 for hybrid operators, ``"weights"`` stores
            them in int8 and computes in float everywhere, ``"float16"`` stores halves,
            ``"none"`` changes nothing; the path of a recipe's file (``*.toml``) or a
            :class:`octolite.Recipe` says it weight by weight. ``"uint8"`` or an
            :class:`octolite.IntegerRecipe` makes everything codes, from the ranges that a model
            trained with simulated quantization states.
        input_arrays: names of the inputs; the Placeholders when ``None``.
        output_arrays: names of the outputs; the nodes that nothing consumes when ``None``.
        input_shapes: extents by input name, -1 or ``None`` for one that stays open.
        tags: of the MetaGraph in a SavedModel; ``["serve"]`` when ``None``.
        signature: the one to convert; all when ``None``.
        min_elements: tensors with fewer elements stay float (1,024 when ``None``).
        allow_custom_ops: keep TensorFlow's operators that are not known as custom operators of
            the same name, their attributes as options; whoever runs the file defines them.
        on_progress: told what is being done, how much of it is done and how much there is.

    Returns:
        The file's bytes. The same model and options give the same bytes.

    Raises:
        UsageError: an array name or a recipe that does not exist, or a recipe that has a mistake.
        FormatError: the source is no model that can be read, or a damaged one.
        UnsupportedError: operators that cannot be converted; all are named.
        ConversionError: the graph cannot be rewritten as asked.
    """
    selection = Selection(
        input_arrays, output_arrays, input_shapes, tags, signature, allow_custom_ops
    )
    result = convert_model(
        source, quantize, selection, min_elements=min_elements, on_progress=on_progress
    )
    return result.content


def convert_model(
    source: Source,
    recipe: str | os.PathLike[str] | Recipe | IntegerRecipe = "dynamic",
    selection: Selection = ALL,
    *,
    min_elements: int | None = None,
    edits: Sequence[Edit] = (),
    on_progress: Progress | None = None,
    explain: Explanation | None = None,
    on_change: OnChange | None = None,
    on_rule: OnChange | None = None,
) -> Conversion:
    """As :func:`convert`, with the size ledger and the graph beside the bytes.

    Args:
        source: as there.
        recipe: likewise; an :class:`octolite.quantize.IntegerRecipe` makes all of it codes.
        selection: what kind of model it is, and which part of it is meant.
        min_elements: tensors with fewer elements stay float.
        edits: change the model as it was read, before anything is rewritten.
        on_progress: told what is being done, how much of it is done and how much there is.
        explain: collects what each rewriting rule did, and why it left the rest alone.
        on_change: told of the model as it was read, after each pass that changed it, and as it is
            written, with a name for the state.
        on_rule: told of each change that a rule makes, with the rule's name.
    """
    chosen = _chosen(recipe, min_elements)
    tell: Progress = on_progress or _silent
    model = load(source, selection, tell, explain, edits, on_change, on_rule)
    ledger = quantize(model, chosen, on_progress=lambda n, of: tell("Quantizing weights", n, of))
    model.metadata[METADATA_KEY] = _metadata(chosen)
    if on_change is not None:
        on_change("as it is written", model)
    tell("Writing", 0, 1)
    if model.origin is None:
        model.description = f"Converted by Octolite {__version__}"
        content = tflite.write(model)
    else:
        content = tflite.rewrite(model)
    tell("Writing", 1, 1)
    return Conversion(content, ledger, model)


def _chosen(
    recipe: str | os.PathLike[str] | Recipe | IntegerRecipe, min_elements: int | None
) -> Recipe | IntegerRecipe:
    if recipe == IntegerRecipe().name:
        recipe = IntegerRecipe()
    if not isinstance(recipe, IntegerRecipe):
        return Recipe.of(recipe, min_elements)
    if min_elements is not None:
        raise UsageError(
            "min_elements is given for a model of codes throughout, where no tensor stays float"
        )
    return recipe


def load(
    source: Source,
    selection: Selection = ALL,
    on_progress: Progress | None = None,
    explain: Explanation | None = None,
    edits: Sequence[Edit] = (),
    on_change: OnChange | None = None,
    on_rule: OnChange | None = None,
) -> Model:
    """Read a model and rewrite it into the operators that a file will hold, in float.

    Takes what :func:`convert_model` takes.
    """
    tell: Progress = on_progress or _silent
    model = _read(source, selection, tell)
    if on_change is not None:
        on_change("as it was read", model)
    for edit in edits:
        edit(model)
    if model.origin is None:  # what is in the format already stays as it is
        passes.optimize(
            model,
            on_pass=lambda name, n, of: tell("Optimizing", n, of),
            explain=explain,
            on_change=on_change,
            on_rule=on_rule,
        )
    return model


def _read(source: Source, selection: Selection, tell: Progress) -> Model:
    """What the kind that is said reads; with none, the one that recognises ``source``."""
    found = _recognise(source)
    kind = found if selection.kind is None else _kind(selection.kind)
    options = selection.options()
    if unknown := options.keys() - kind.options:
        raise UsageError(f"{kind.name} has no {' or '.join(sorted(unknown))} to choose")
    try:
        return kind.read(source, **options, on_progress=tell)
    except FormatError as error:
        if found in (kind, KINDS[-1]):
            raise
        raise FormatError(
            f"{error}. Convert it as {found.name}, which `octolite convert` finds by looking"
        ) from error


def _kind(name: str) -> Kind:
    kinds = {kind.name: kind for kind in KINDS}
    if name not in kinds:
        raise UsageError(f"there is no kind of model {name!r}. {did_you_mean(name, kinds)}")
    return kinds[name]


def _recognise(source: Source) -> Kind:
    """What kind of model ``source`` seems to be. Raises :class:`FormatError`."""
    if isinstance(source, bytes):
        return next(k for k in KINDS if k.recognise(None, source[:HEAD]))
    path = Path(source)
    head = _head(path)
    return next(k for k in KINDS if k.recognise(path, head))


def _head(path: Path) -> bytes:
    """The first bytes of a file; none of a folder. Raises :class:`FormatError`."""
    try:
        if path.is_dir():
            return b""
        with path.open("rb") as file:
            return file.read(HEAD)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise FormatError(f"{str(path)!r} cannot be read: {reason}") from None


def _metadata(recipe: Recipe | IntegerRecipe) -> bytes:
    """Which recipe and version made the file: JSON, with nothing in it that changes by the day."""
    facts: dict[str, Any] = {
        "version": __version__,
        "recipe": recipe.as_dict(),
    }
    return json.dumps(facts, sort_keys=True).encode()


def _silent(_what: str, _done: int, _total: int) -> None:
    """No progress asked for."""
