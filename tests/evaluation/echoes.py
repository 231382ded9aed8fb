"""Small models whose outputs are known: what they are fed, in another shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np

from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import FLOAT32, DType, Quant
from octolite.ops import operator_class
from octolite.tflite import write

Shape = tuple[int | None, ...]


def op(graph: Graph, kind: str, name: str, *inputs: Any, **attributes: Any) -> Value:
    """Add an operator; arrays become constants."""
    values = [
        v if isinstance(v, Value) else Value.constant(f"{name}/{i}", np.asarray(v))
        for i, v in enumerate(inputs)
    ]
    return graph.add(operator_class(kind)(**attributes), values, name).output


def write_model(path: Path, graph: Graph, *outputs: Value, metadata: bytes | None = None) -> Path:
    graph.outputs = list(outputs)
    held = {} if metadata is None else {"TFLITE_METADATA": metadata}
    path.write_bytes(write(Model([graph], [], held)))
    return path


def echo(
    path: Path,
    shape: Shape,
    to: Sequence[int],
    dtype: DType = FLOAT32,
    quant: Quant | None = None,
    metadata: bytes | None = None,
) -> Path:
    """Gives its only input ``x`` back, reshaped."""
    graph = Graph()
    x = graph.add_input("x", dtype, shape)
    x.quant = quant
    y = op(graph, "RESHAPE", "y", x, np.asarray(to, np.int32))
    y.quant = quant
    return write_model(path, graph, y, metadata=metadata)


def scaled(path: Path, classes: int, factors: Sequence[float]) -> Path:
    """Scores: the inputs times ``factors``."""
    graph = Graph()
    x = graph.add_input("x", FLOAT32, (1, classes))
    return write_model(path, graph, op(graph, "MUL", "y", x, np.asarray(factors, np.float32)))


def detector(path: Path, boxes: int) -> Path:
    """Reads boxes off the pixels of a gray image [boxes, 6].

    A row is top, left, bottom and right (255 being the whole side), class, and score of 255.
    """
    graph = Graph()
    x = graph.add_input("x", FLOAT32, (1, boxes, 6, 1))

    def columns(name: str, first: int, count: int, *shape: int) -> Value:
        begin, size = np.int32([0, 0, first, 0]), np.int32([1, boxes, count, 1])
        part = op(graph, "SLICE", f"{name}/part", x, begin, size)
        return op(graph, "RESHAPE", f"{name}/flat", part, np.int32(shape))

    part = columns("boxes", 0, 4, 1, boxes, 4)
    places = op(graph, "MUL", "boxes", part, np.float32(1 / 255))
    kinds = op(graph, "MUL", "classes", columns("classes", 4, 1, 1, boxes), np.float32(1))
    scores = op(graph, "MUL", "scores", columns("scores", 5, 1, 1, boxes), np.float32(1 / 255))
    top = op(graph, "REDUCE_MAX", "top", kinds, np.int32([1]))
    none = op(graph, "MUL", "none", top, np.float32(0))
    count = op(graph, "ADD", "count", none, np.float32(boxes))
    return write_model(path, graph, places, kinds, scores, count)


def metadata(
    mean: Sequence[float] = (), std: Sequence[float] = (), colour: int = 0, labels: str = ""
) -> bytes:
    """TFLite metadata: an image's normalization and the name of a file with the outputs' labels."""
    b = flatbuffers.Builder(256)

    def vector(items: Sequence[int]) -> int:
        b.StartVector(4, len(items), 4)
        for item in reversed(items):
            b.PrependUOffsetTRelative(item)
        return int(b.EndVector())

    def table(*fields: tuple[int, str, int]) -> int:
        b.StartObject(8)
        for number, kind, value in fields:
            getattr(b, f"Prepend{kind}Slot")(number, value, 0)
        return int(b.EndObject())

    means, stds = b.CreateNumpyVector(np.float32(mean)), b.CreateNumpyVector(np.float32(std))
    options = table((0, "UOffsetTRelative", means), (1, "UOffsetTRelative", stds))
    unit = table((0, "Uint8", 1), (1, "UOffsetTRelative", options))
    image = table((0, "Int8", colour))
    content = table((0, "Uint8", 2), (1, "UOffsetTRelative", image))
    units = vector([unit])
    name = b.CreateString("image")
    entry = table(
        (0, "UOffsetTRelative", name),
        (3, "UOffsetTRelative", content),
        (4, "UOffsetTRelative", units),
    )
    inputs = vector([entry])
    file = table((0, "UOffsetTRelative", b.CreateString(labels)), (2, "Int8", 2))
    files = vector([file])
    outputs = vector([table((6, "UOffsetTRelative", files))])
    graph = table((2, "UOffsetTRelative", inputs), (3, "UOffsetTRelative", outputs))
    b.Finish(table((3, "UOffsetTRelative", vector([graph]))), b"M001")
    return bytes(b.Output())
