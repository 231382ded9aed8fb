"""A model that is looked at: its graph as the file has it, and an interpreter of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from octolite import api, tflite
from octolite.evaluation.feeds import feed
from octolite.evaluation.tally import real
from octolite.ir import numerics
from octolite.ir.graph import Graph, Node, Value, called_by, callees_first
from octolite.ir.types import Array
from octolite.ops.base import Operator
from octolite.runtime.interpreter import Interpreter

Source = str | os.PathLike[str] | bytes


def content_of(source: Source) -> str | bytes:
    """What an interpreter can open: a ``.tflite`` as it is, any other model converted in float."""
    given, head = _peek(source)
    return given if head[4:8] == b"TFL3" else api.convert(source, "none")


def _peek(source: Source) -> tuple[str | bytes, bytes]:
    """A source as an interpreter takes it, and its first bytes; none of a folder, or of no file."""
    if isinstance(source, bytes):
        return source, source[:8]
    path = Path(source)
    if not path.is_file():
        return str(path), b""
    with path.open("rb") as file:
        return str(path), file.read(8)


class Subject:
    """One of the models that are compared.

    Args:
        source: a ``.tflite`` file by its path or as bytes, or any model that can be converted.
        num_threads: of the interpreter; all processors when ``None``.
        apart: keep intermediate results.

    Raises what reading, converting and preparing a model raise.
    """

    def __init__(self, source: Source, num_threads: int | None = None, apart: bool = True) -> None:
        given = content_of(source)
        self.content = given
        self.graph: Graph = tflite.read(given).main
        self.interpreter = Interpreter(
            model_content=given if isinstance(given, bytes) else None,
            model_path=None if isinstance(given, bytes) else given,
            num_threads=num_threads,
            preserve_all_tensors=apart,
        )
        self._values = list(self.graph.values())
        self._index = {id(v): i for i, v in enumerate(self._values)}
        self._positions = {id(n): i for i, n in enumerate(self.interpreter.graph.nodes)}

    @cached_property
    def size(self) -> int:
        """Bytes of the file."""
        if isinstance(self.content, bytes):
            return len(self.content)
        return Path(self.content).stat().st_size

    def index(self, value: Value) -> int:
        """The interpreter's number for one of the graph's tensors."""
        return self._index[id(value)]

    def feed(self, arrays: Sequence[Array]) -> None:
        """Set the inputs and forget all state."""
        feed(self.interpreter, self.graph.inputs, arrays)

    def steps(self) -> Iterator[Node]:
        """Run it an operator at a time; gives the nodes of :attr:`graph`."""
        for node in self.interpreter.steps():
            yield self.graph.nodes[self._positions[id(node)]]

    def get(self, value: Value) -> Array:
        """What a tensor holds, as real numbers."""
        return real(self.interpreter.get_tensor(self.index(value)), value)

    def results(self) -> list[Array]:
        """The outputs, as real numbers."""
        return [self.get(v) for v in self.graph.outputs]


def weights_of(node: Node) -> list[tuple[str, Value]]:
    """The stored weights of a node by their names among its inputs, read through DEQUANTIZE."""
    assert isinstance(node.op, Operator)
    named = zip(node.op.input_parameters(), node.inputs, strict=False)
    found = []
    for parameter, value in named:
        constant = None if value is None else _constant(value)
        large = constant is not None and constant.data is not None and constant.data.ndim > 1
        if constant is not None and (parameter.name in node.op.quant.weights or large):
            found.append((parameter.name, constant))
    return [(name, v) for name, v in found if v.dtype.is_float or v.quant is not None]


def _constant(value: Value) -> Value | None:
    if value.data is not None:
        return value
    producer = value.producer
    if producer is None or producer.op.name not in ("DEQUANTIZE", "DENSIFY"):
        return None
    return None if producer.inputs[0] is None else _constant(producer.inputs[0])


def real_weights(value: Value) -> Array:
    """A stored weight as float32."""
    assert value.data is not None
    if value.quant is not None and value.dtype.is_integer:
        return numerics.dequantize(value.data, value.quant)
    return value.data.astype("float32")


def format_of(weights: Sequence[Value]) -> str:
    """How weights are stored: ``int8 per channel``, ``float16``; each format once."""
    found = []
    for value in weights:
        scales = value.quant is not None and value.dtype.is_integer
        per = f" per {'channel' if value.quant.per_channel else 'tensor'}" if scales else ""  # type: ignore[union-attr]
        found.append(f"{value.dtype}{per}")
    return ", ".join(dict.fromkeys(found))


def constants_of(node: Node, calls: bool = True) -> dict[int, Value]:
    """All constants that a node reads, through DEQUANTIZE, too, by id; with ``calls``, those of the
    graphs that it runs as well."""
    found = {id(c): c for v in node.inputs if v is not None and (c := _constant(v)) is not None}
    for graph in callees_first(called_by(node)) if calls else ():
        found |= {id(v): v for v in graph.constants()}
    return found


def bytes_of(node: Node) -> int:
    """Of all constants that a node reads, scales included."""
    return sum(
        c.nbytes + (4 * c.quant.scale.size if c.quant is not None else 0)
        for c in constants_of(node).values()
    )
