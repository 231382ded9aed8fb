"""Keras models: ``.h5`` files and ``.keras`` archives → :class:`octolite.ir.Model`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from octolite.errors import MISFITS, InvalidGraphError, UnsupportedError, UsageError, did_you_mean
from octolite.frontends.keras import (  # noqa: F401  (they register lowerings)
    activations,
    attention,
    convolution,
    core,
    merging,
    normalization,
    operations,
    pooling,
    preprocessing,
    recurrent,
    reshaping,
)
from octolite.frontends.keras.archive import open_archive
from octolite.frontends.keras.engine import CUSTOM, LAYERS, Assembly, Call, flat, lowering
from octolite.frontends.keras.inputs import add_inputs
from octolite.frontends.keras.network import Ref, Structure, evaluate, read
from octolite.frontends.keras.weights import assign
from octolite.ir.graph import Model, Signature, Value, callees_first

__all__ = ["CUSTOM", "LAYERS", "Call", "load", "lowering"]

Dims = Sequence[int | None]
Progress = Callable[[str, int, int], None]


def load(
    source: str | os.PathLike[str] | bytes,
    input_arrays: Sequence[str] | None = None,
    output_arrays: Sequence[str] | None = None,
    input_shapes: Mapping[str, Dims] | None = None,
    on_progress: Progress | None = None,
) -> Model:
    """Read a model that Keras saved.

    Args:
        source: a file's path, or its contents.
        input_arrays: names of input layers, in the order that the file is to have them; all in
            the model's order when not given.
        output_arrays: names of layers, ``layer:1`` for a second result; the model's outputs when
            not given.
        input_shapes: input layer → extents, ``-1`` or ``None`` for one that stays unknown.
        on_progress: called as ``(what, done, total)``.

    Returns:
        A model of TFLite operators, with the signature ``serving_default``. Values have the names
        of the layers.

    Raises:
        UsageError: a name or shape that does not fit the model.
        FormatError, InvalidGraphError: a file that is no Keras model, or a broken one.
        UnsupportedError: all layers that cannot be converted, at once.
    """
    if on_progress is not None:
        on_progress("reading", 0, 1)
    with ExitStack() as close:
        archive = open_archive(source, close)
        try:
            root = read(archive.config, archive.keras)
        except MISFITS as error:
            raise InvalidGraphError(f"the model's configuration is damaged: {error}") from error
        structure = root.structure
        if not isinstance(structure, Structure):
            raise UnsupportedError(
                f"the model is a {root.class_name}, whose layers are called by Python code, which "
                "is not run: only Sequential and Functional models say how. Save it as SavedModel"
            )
        assign(archive, root)
        return _convert(structure, input_arrays, output_arrays, input_shapes or {}, on_progress)


def _convert(
    structure: Structure,
    input_arrays: Sequence[str] | None,
    output_arrays: Sequence[str] | None,
    input_shapes: Mapping[str, Dims],
    on_progress: Progress | None,
) -> Model:
    target = Assembly()
    known = add_inputs(target, structure, input_arrays, input_shapes)
    outputs = _outputs(structure, output_arrays)
    structure.outputs = list(outputs.values())
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress("importing", done, len(structure.steps))

    values = evaluate(target, structure, known, tell)
    if target.problems:
        lines = [f"  - {what}: {_some(paths)}" for what, paths in target.problems.items()]
        raise UnsupportedError(
            "the model holds what cannot be converted:\n"
            + "\n".join(lines)
            + "\noctolite.keras.lowering says what becomes of a layer"
        )
    results: dict[str, Value] = {}
    for name, ref in outputs.items():
        found = values.get(ref)
        if found is None:
            raise InvalidGraphError(f"the output {name!r} is a result that its layer lacks")
        results[name] = found
    main = target.graph
    main.outputs = list(results.values())
    main.prune()
    inputs = {ref.layer: value for ref, value in known.items()}
    return Model(callees_first([main])[::-1], [Signature("serving_default", inputs, results, main)])


def _outputs(structure: Structure, wanted: Sequence[str] | None) -> dict[str, Ref]:
    """The model's results, by name."""
    if wanted is None:
        if isinstance(structure.outputs, Mapping):
            return {k: r for k, v in structure.outputs.items() for r in flat(v)}
        found: dict[str, Ref] = {}
        for ref in flat(structure.outputs):
            name = f"{ref.layer}:{ref.tensor}" if ref.tensor else ref.layer
            while name in found:
                name += "_1"
            found[name] = ref
        return found
    if isinstance(wanted, str) or not wanted:
        raise UsageError(f"output arrays are a list of names, not {wanted!r}")
    return {name: _output(structure, name) for name in wanted}


def _output(structure: Structure, name: str) -> Ref:
    layer, colon, number = name.rpartition(":")
    if not colon or not number.isdecimal():
        layer, number = name, "0"
    if (layer, 0) not in structure.steps:
        hint = did_you_mean(layer, [key[0] for key in structure.steps])
        raise UsageError(f"the model has no layer {layer!r} to be an output array. {hint}")
    return Ref(layer, 0, int(number))


def _some(paths: Sequence[str]) -> str:
    shown = ", ".join(map(repr, paths[:8]))
    more = f" and {len(paths) - 8} more" if len(paths) > 8 else ""
    return f"layer{'s' if len(paths) > 1 else ''} {shown}{more}"
