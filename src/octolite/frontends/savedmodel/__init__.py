"""SavedModels, and TensorFlow 1 checkpoints with their MetaGraph → :class:`octolite.ir.Model`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from octolite.frontends.graphdef.arrays import Dims
from octolite.frontends.graphdef.engine import Progress
from octolite.frontends.savedmodel import files
from octolite.frontends.savedmodel.files import is_meta_graph, is_saved_model
from octolite.frontends.savedmodel.reader import Reader
from octolite.ir.graph import Model

__all__ = ["is_meta_graph", "is_saved_model", "load", "load_meta_graph"]


def load(
    source: str | os.PathLike[str],
    tags: Sequence[str] | None = None,
    signature: str | None = None,
    input_arrays: Sequence[str] | None = None,
    output_arrays: Sequence[str] | None = None,
    input_shapes: Mapping[str, Dims] | None = None,
    on_progress: Progress | None = None,
    allow_custom_ops: bool = False,
) -> Model:
    """Read a SavedModel, of TensorFlow 1 or 2.

    Args:
        source: its folder, or the ``saved_model.pb`` or ``.pbtxt`` in it.
        tags: of the MetaGraph; exactly ``["serve"]`` when not given.
        signature: the key of the one signature to read; all when not given.
        input_arrays: names of the signature's arguments or of TensorFlow's results, where the graph
            is to begin; with ``output_arrays``, for a part of a signature.
        output_arrays: likewise, where it is to end.
        input_shapes: argument → extents, ``-1`` or ``None`` for one that stays unknown.
        on_progress: called as ``(what, done, total)``.
        allow_custom_ops: keep operators that are not known as custom operators of their name.

    Returns:
        A model with a graph for each signature, and the signatures' own names for what goes in and
        comes out. Signatures that compute the same share a graph.

    Raises:
        UsageError: tags, a signature, a name or a shape that the model does not have.
        FormatError, InvalidGraphError: a file that is missing or damaged.
        UnsupportedError: all that cannot be converted, at once, with the nodes' names.
    """
    if on_progress is not None:
        on_progress("reading", 0, 1)
    reader = Reader(files.open_saved_model(source, tags), on_progress, allow_custom_ops)
    return reader.model(signature, input_arrays, output_arrays, input_shapes)


def load_meta_graph(
    source: str | os.PathLike[str],
    signature: str | None = None,
    input_arrays: Sequence[str] | None = None,
    output_arrays: Sequence[str] | None = None,
    input_shapes: Mapping[str, Dims] | None = None,
    on_progress: Progress | None = None,
    allow_custom_ops: bool = False,
) -> Model:
    """Read ``NAME.meta`` with the checkpoint ``NAME.index`` and ``NAME.data-…`` beside it.

    Where it has no signatures, which is usual, inputs and outputs are chosen as for a frozen graph.
    Takes, gives and raises what :func:`load` does.
    """
    if on_progress is not None:
        on_progress("reading", 0, 1)
    reader = Reader(files.open_meta_graph(source), on_progress, allow_custom_ops)
    return reader.model(signature, input_arrays, output_arrays, input_shapes)
