"""Conversion in one call: a trained model in, the bytes of a ``.tflite`` file out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

from octolite import passes, tflite
from octolite.frontends import graphdef
from octolite.ir.graph import Model
from octolite.quantize import Ledger, Recipe, quantize
from octolite.version import __version__

if TYPE_CHECKING:
    from octolite.passes.engine import Explanation

METADATA_KEY = "octolite"

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is in all."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """A converted model: the file's bytes, and what became of each constant."""

    content: bytes
    ledger: Ledger
    model: Model


def convert(
    source: str | PathLike[str] | bytes,
    quantize: str | Recipe = "dynamic",
    input_arrays: Sequence[str] | None = None,
    output_arrays: Sequence[str] | None = None,
    input_shapes: Mapping[str, Sequence[int | None]] | None = None,
    *,
    min_elements: int | None = None,
    on_progress: Progress | None = None,
) -> bytes:
    """Convert a frozen TensorFlow graph to a ``.tflite`` file.

    Args:
        source: path or bytes of a frozen GraphDef, binary or text.
        quantize: ``"dynamic"`` stores weights in int8 for hybrid operators, ``"weights"`` stores
            them in int8 and computes in float everywhere, ``"float16"`` stores halves,
            ``"none"`` changes nothing; or a :class:`octolite.Recipe`.
        input_arrays: names of the inputs; the Placeholders when ``None``.
        output_arrays: names of the outputs; the nodes that nothing consumes when ``None``.
        input_shapes: extents by input name, -1 or ``None`` for one that stays open.
        min_elements: tensors with fewer elements stay float (1,024 when ``None``).
        on_progress: told what is being done, how much of it is done and how much there is.

    Returns:
        The file's bytes. The same model and options give the same bytes.

    Raises:
        UsageError: an array name or a recipe that does not exist.
        FormatError: the source is no GraphDef, or a damaged one.
        UnsupportedError: operators that cannot be converted; all are named.
        ConversionError: the graph cannot be rewritten as asked.
    """
    result = convert_model(
        source,
        quantize,
        input_arrays,
        output_arrays,
        input_shapes,
        min_elements=min_elements,
        on_progress=on_progress,
    )
    return result.content


def convert_model(
    source: str | PathLike[str] | bytes,
    recipe: str | Recipe = "dynamic",
    input_arrays: Sequence[str] | None = None,
    output_arrays: Sequence[str] | None = None,
    input_shapes: Mapping[str, Sequence[int | None]] | None = None,
    *,
    min_elements: int | None = None,
    on_progress: Progress | None = None,
    explain: Explanation | None = None,
) -> Conversion:
    """As :func:`convert`, with the size ledger and the graph beside the bytes."""
    chosen = Recipe.of(recipe, min_elements)
    tell: Progress = on_progress or _silent
    model = load(source, input_arrays, output_arrays, input_shapes, tell, explain)
    ledger = quantize(model, chosen, on_progress=lambda n, of: tell("Quantizing weights", n, of))
    model.metadata[METADATA_KEY] = _metadata(chosen)
    model.description = f"Converted by Octolite {__version__}"
    tell("Writing", 0, 1)
    content = tflite.write(model)
    tell("Writing", 1, 1)
    return Conversion(content, ledger, model)


def load(
    source: str | PathLike[str] | bytes,
    input_arrays: Sequence[str] | None = None,
    output_arrays: Sequence[str] | None = None,
    input_shapes: Mapping[str, Sequence[int | None]] | None = None,
    on_progress: Progress | None = None,
    explain: Explanation | None = None,
) -> Model:
    """Read a frozen graph and rewrite it into the operators that a file will hold, in float."""
    tell: Progress = on_progress or _silent
    model = graphdef.load(source, input_arrays, output_arrays, input_shapes, on_progress=tell)
    passes.optimize(model, on_pass=lambda name, n, of: tell("Optimizing", n, of), explain=explain)
    return model


def _metadata(recipe: Recipe) -> bytes:
    """Which recipe and version made the file: JSON, with nothing in it that changes by the day."""
    facts: dict[str, Any] = {
        "version": __version__,
        "recipe": recipe.name,
        "min_elements": recipe.min_elements,
    }
    return json.dumps(facts, sort_keys=True).encode()


def _silent(_what: str, _done: int, _total: int) -> None:
    """No progress asked for."""
