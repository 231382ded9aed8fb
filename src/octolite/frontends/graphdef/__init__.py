"""Frozen TensorFlow graphs: a ``GraphDef``, binary or text → :class:`octolite.ir.Model`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
    variables,
)
from octolite.frontends.graphdef.arrays import Arrays, Dims
from octolite.frontends.graphdef.engine import HANDLERS, Importer, Progress, tf
from octolite.frontends.graphdef.nodes import Ref
from octolite.frontends.graphdef.reader import read
from octolite.frontends.graphdef.source import Source
from octolite.ir.graph import Model, Signature, Value, callees_first

__all__ = ["HANDLERS", "convert", "load", "tf", "translate"]


def load(
    source: str | os.PathLike[str] | bytes,
    input_arrays: Sequence[str] | None = None,
    output_arrays: Sequence[str] | None = None,
    input_shapes: Mapping[str, Dims] | None = None,
    on_progress: Progress | None = None,
    allow_custom_ops: bool = False,
) -> Model:
    """Read a frozen graph.

    Args:
        source: a file's path, or its contents.
        input_arrays: names ``node`` or ``node:0``; the Placeholders when not given. A node in
            the middle cuts the graph there.
        output_arrays: likewise; the nodes that nothing consumes when not given.
        input_shapes: name → extents, ``-1`` or ``None`` for one that stays unknown.
        on_progress: called as ``(what, done, total)``.
        allow_custom_ops: keep operators that are not known as custom operators of their name.

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
    graph = read(source)
    return convert(graph, input_arrays, output_arrays, input_shapes, on_progress, allow_custom_ops)


def convert(
    graph: Any,
    input_arrays: Sequence[str] | None = None,
    output_arrays: Sequence[str] | None = None,
    input_shapes: Mapping[str, Dims] | None = None,
    on_progress: Progress | None = None,
    allow_custom_ops: bool = False,
) -> Model:
    """The same for a ``GraphDef`` message (see :mod:`octolite.frontends.proto`)."""
    source = Source(graph)
    arrays = Arrays.choose(source, input_arrays, output_arrays)
    probe = partial(_probe, graph, allow_custom_ops=allow_custom_ops)
    found = translate(
        "serving_default", source, arrays, input_shapes or {}, probe, on_progress,
        allow_custom_ops=allow_custom_ops,
    )  # fmt: skip
    return Model(callees_first([found.graph])[::-1], [found])  # the main graph first


def translate(
    key: str,
    source: Source,
    arrays: Arrays,
    input_shapes: Mapping[str, Dims],
    probe: Callable[[Ref], Value | None],
    on_progress: Progress | None = None,
    effects: Sequence[Ref] = (),
    allow_custom_ops: bool = False,
) -> Signature:
    """A graph of what ``arrays`` needs of ``source``, and of ``effects``, which nobody reads.

    ``probe`` tells what a result in the middle of TensorFlow's graph is.
    """
    order = source.order((*arrays.outputs.values(), *effects))
    arrays.settle(order)
    importer = Importer(source, allow_custom_ops=allow_custom_ops)
    inputs = arrays.add_inputs(importer, input_shapes, probe)
    importer.run(order, map(source.resolve, arrays.outputs.values()), on_progress)
    outputs = arrays.find_outputs(importer)
    importer.graph.prune()
    return Signature(key, inputs, outputs, importer.graph)


def _probe(graph: Any, ref: Ref, allow_custom_ops: bool) -> Value | None:
    """What ``ref`` is in the whole graph, or ``None`` where that cannot be imported so far."""
    try:
        found = convert(graph, output_arrays=[str(ref)], allow_custom_ops=allow_custom_ops)
        return found.main.outputs[0]
    except OctoliteError:
        return None
