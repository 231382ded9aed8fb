"""Frozen TensorFlow graphs: a ``GraphDef``, binary or text → :class:`octolite.ir.Model`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from octolite.errors import OctoliteError
from octolite.frontends.graphdef import (  # noqa: F401  (they register handlers and rules)
    array,
    blocks,
    embeddings,
    frames,
    functions,
    gelu,
    leftovers,
    lists,
    loops,
    math,
    nn,
    quant,
)
from octolite.frontends.graphdef.arrays import Arrays, Dims
from octolite.frontends.graphdef.engine import HANDLERS, Importer, Progress, tf
from octolite.frontends.graphdef.nodes import Ref
from octolite.frontends.graphdef.reader import read
from octolite.frontends.graphdef.source import Source
from octolite.ir.graph import Model, Signature, Value, callees_first

__all__ = ["HANDLERS", "convert", "load", "tf"]


def load(
    source: str | os.PathLike[str] | bytes,
    input_arrays: Sequence[str] | None = None,
    output_arrays: Sequence[str] | None = None,
    input_shapes: Mapping[str, Dims] | None = None,
    on_progress: Progress | None = None,
) -> Model:
    """Read a frozen graph.

    Args:
        source: a file's path, or its contents.
        input_arrays: names ``node`` or ``node:0``; the Placeholders when not given. A node in
            the middle cuts the graph there.
        output_arrays: likewise; the nodes that nothing consumes when not given.
        input_shapes: name → extents, ``-1`` or ``None`` for one that stays unknown.
        on_progress: called as ``(what, done, total)``.

    Returns:
        A model of TFLite operators, with the signature ``serving_default``: the main graph, and
        one for each part of a loop or conditional. Values have the names of TensorFlow's nodes.

    Raises:
        UsageError: a name or shape that does not fit the graph.
        FormatError, InvalidGraphError: a file that is no GraphDef, or a broken one.
        UnsupportedError: all that cannot be converted, at once, with the nodes' names.
    """
    if on_progress is not None:
        on_progress("reading", 0, 1)
    return convert(read(source), input_arrays, output_arrays, input_shapes, on_progress)


def convert(
    graph: Any,
    input_arrays: Sequence[str] | None = None,
    output_arrays: Sequence[str] | None = None,
    input_shapes: Mapping[str, Dims] | None = None,
    on_progress: Progress | None = None,
) -> Model:
    """The same for a ``GraphDef`` message (see :mod:`octolite.frontends.proto`)."""
    source = Source(graph)
    arrays = Arrays.choose(source, input_arrays, output_arrays)
    order = source.order(arrays.outputs.values())
    arrays.settle(order)
    importer = Importer(source)
    inputs = arrays.add_inputs(importer, input_shapes or {}, lambda ref: _probe(graph, ref))
    importer.run(order, map(source.resolve, arrays.outputs.values()), on_progress)
    outputs = arrays.find_outputs(importer)
    importer.graph.prune()
    main = importer.graph
    graphs = callees_first([main])[::-1]  # the main graph first
    return Model(graphs, [Signature("serving_default", inputs, outputs, main)])


def _probe(graph: Any, ref: Ref) -> Value | None:
    """What ``ref`` is in the whole graph, or ``None`` where that cannot be imported so far."""
    try:
        return convert(graph, output_arrays=[str(ref)]).main.outputs[0]
    except OctoliteError:
        return None
