"""Examples of operators at work, declared beside them and run by the tests and benchmarks."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from octolite.ir import numerics, types
from octolite.ir.graph import Graph, Model, Node, Signature, Value, callees_first
from octolite.ir.types import Array, DType, Quant, Shape, dtype_from_numpy

Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input of a case: fed at run time, or constant; drawn from ``draw`` with a fixed seed."""

    shape: tuple[int, ...]
    dtype: DType
    draw: Draw
    constant: bool = False
    weight_axis: int | None = None
    hybrid: bool = False
    stored: DType = types.INT8
    quant: Quant | None = None
    variable: bool = False
    made: Callable[[Graph], Value] | None = None

    def array(self, rng: np.random.Generator) -> Array:
        return np.asarray(self.draw(rng, self.shape)).astype(self.dtype.numpy)


def f32(*shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
    """A float32 input, uniform in [low, high)."""
    return Tensor(shape, types.FLOAT32, lambda rng, s: rng.uniform(low, high, s))


def ints(*shape: int, low: int = 0, high: int = 10, dtype: DType = types.INT32) -> Tensor:
    """An integer input, uniform in [low, high)."""
    return Tensor(shape, dtype, lambda rng, s: rng.integers(low, high, s))


def flags(*shape: int) -> Tensor:
    """A bool input, even odds."""
    return Tensor(shape, types.BOOL, lambda rng, s: rng.random(s) < 0.5)


def const(data: Any, dtype: DType | None = None) -> Tensor:
    """A constant of exactly ``data`` (integers become int32 unless ``dtype`` says otherwise)."""
    array = np.asarray(data)
    if dtype is None and array.dtype == np.int64:
        array = array.astype(np.int32)
    if dtype is None and array.dtype == np.float64:
        array = array.astype(np.float32)
    found = dtype or dtype_from_numpy(array.dtype)
    return Tensor(array.shape, found, lambda rng, s: array, constant=True)


def given(data: Any, dtype: DType | None = None) -> Tensor:
    """An input fed exactly ``data``."""
    fixed = const(data, dtype)
    return Tensor(fixed.shape, fixed.dtype, fixed.draw)


def weights(*shape: int, scale: float = 0.5) -> Tensor:
    """A constant float32 weight, Gaussian."""
    return Tensor(shape, types.FLOAT32, lambda rng, s: rng.normal(0, scale, s), constant=True)


def int8_weights(
    *shape: int, axis: int | None = 0, scale: float = 0.5, dtype: DType = types.INT8
) -> Tensor:
    """A constant weight that is quantized along ``axis``, to int8 or to ``dtype``: makes the case
    a hybrid one."""
    return Tensor(
        shape,
        types.FLOAT32,
        lambda rng, s: rng.normal(0, scale, s),
        constant=True,
        weight_axis=axis,
        hybrid=True,
        stored=dtype,
    )


def codes(
    *shape: int, quant: Quant, dtype: DType = types.INT8, low: int = -128, high: int = 128
) -> Tensor:
    """A quantized input: codes uniform in [low, high), with their scale and zero point."""
    return Tensor(shape, dtype, lambda rng, s: rng.integers(low, high, s), quant=quant)


def variable(*shape: int) -> Tensor:
    """A float32 variable: state, zeros before the first run."""
    return Tensor(shape, types.FLOAT32, lambda rng, s: np.zeros(s), variable=True)


def made(make: Callable[[Graph], Value], shape: tuple[int, ...], dtype: DType) -> Tensor:
    """An input that other nodes compute, which ``make`` puts in front of the operator."""
    return Tensor(shape, dtype, lambda rng, s: np.zeros(s), made=make)


@dataclass(frozen=True)
class Case:
    """One example: inputs in order (``None``: absent) and the attributes that differ from default.

    Attributes:
        rtol: how far LiteRT may be from the reference, relative to the largest result.
        litert: whether LiteRT runs it at all (it lacks a few operator × type pairs).
        results: dtype and quantization of each result, where the shape rule cannot tell.
        seen: adds the nodes that show what the operator did, where its own results do not, and
            gives the values to look at.
    """

    tensors: Sequence[Tensor | None]
    attributes: dict[str, Any] = field(default_factory=dict)
    rtol: float = 1e-5
    litert: bool = True
    results: Sequence[tuple[DType, Quant]] = ()
    seen: Callable[[Graph, Node], Sequence[Value]] | None = None

    @property
    def is_hybrid(self) -> bool:
        return any(t is not None and t.hybrid for t in self.tensors)

    def build(
        self, operator: type[Any], open_shapes: bool = False
    ) -> tuple[Model, dict[str, Array]]:
        """A model around one node, and the arrays to feed it by input name.

        With ``open_shapes``, the model leaves every extent of its inputs open.
        """
        rng = np.random.default_rng(zlib.crc32(repr((operator.name, self.attributes)).encode()))
        graph = Graph("main")
        feeds: dict[str, Array] = {}
        values: list[Value | None] = []
        for index, tensor in enumerate(self.tensors):
            values.append(
                None
                if tensor is None
                else _value(graph, f"in{index}", tensor, rng, feeds, open_shapes)
            )
        node = graph.add(operator(**self.attributes), values, "out")
        for value, (dtype, quant) in zip(node.outputs, self.results, strict=False):
            value.dtype, value.quant = dtype, quant
        graph.outputs = list(node.outputs if self.seen is None else self.seen(graph, node))
        signature = Signature(
            "serving_default",
            {v.name: v for v in graph.inputs},
            {f"out{i}": v for i, v in enumerate(graph.outputs)},
            graph,
        )
        return Model(callees_first([graph])[::-1], [signature]), feeds


def _value(
    graph: Graph,
    name: str,
    tensor: Tensor,
    rng: np.random.Generator,
    feeds: dict[str, Array],
    open_shapes: bool,
) -> Value:
    if tensor.variable:
        return Value(name, tensor.dtype, tensor.shape, is_variable=True)
    if tensor.made is not None:
        return tensor.made(graph)
    array = tensor.array(rng)
    if tensor.hybrid:
        q, quant = numerics.quantize_weights(array, tensor.weight_axis, tensor.stored.bits)
        return Value.constant(name, q, tensor.stored, quant)
    if tensor.constant:
        return Value.constant(name, array, tensor.dtype, tensor.quant)
    feeds[name] = array
    shape: Shape = tuple(None if open_shapes else int(d) for d in array.shape)
    value = graph.add_input(name, tensor.dtype, shape)
    value.quant = tensor.quant
    return value


def case(
    *tensors: Tensor | None,
    rtol: float = 1e-5,
    litert: bool = True,
    results: Sequence[tuple[DType, Quant]] = (),
    seen: Callable[[Graph, Node], Sequence[Value]] | None = None,
    **attributes: Any,
) -> Case:
    """Write a case as a call: its tensors in order, its attributes by name."""
    return Case(tensors, attributes, rtol, litert, results, seen)


def node_under_test(model: Model, name: str) -> Node:
    """The node of a case's model that is about operator ``name``."""
    return next(node for node in model.main.nodes if node.op.name == name)
