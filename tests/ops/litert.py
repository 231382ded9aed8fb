"""What LiteRT and the references say of a model of one node, and how near they must be."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from octolite.ir import numerics
from octolite.ir.graph import Model, Node, Value
from octolite.ir.types import Array, Shape
from octolite.ops.control import evaluate
from octolite.tflite import write

HYBRID_SQNR = 38.0
"""Least signal to noise, in dB, between two hybrid results: 8 bits over a few dozen products."""

GOOD_SQNR = 45.0
"""Signal to noise, in dB, from which chance rather than method tells two hybrid results apart."""


DEFAULT_KERNELS = {
    "LOCAL_RESPONSE_NORMALIZATION",  # the reference kernel leaves out the window's last channel
}
"""Operators for which LiteRT's optimized kernels are the judge though it has reference ones."""


def arrays_of(node: Node, feeds: dict[str, Array]) -> list[Array | None]:
    """The array of each input of ``node``: what is fed, the constant, or a variable's first."""
    return [None if v is None else _array_of(v, feeds) for v in node.inputs]


def _array_of(value: Value, feeds: dict[str, Array]) -> Array:
    if value.is_variable or value.producer is not None:  # a handle: nobody looks at the number
        return np.full(value.shape or (), value.initial, value.dtype.numpy)
    return value.data if value.data is not None else feeds[value.name]


def ours(model: Model, feeds: dict[str, Array]) -> tuple[Array, ...]:
    """What the references say of a model of one node, or of few."""
    node = model.main.nodes[0]
    if len(model.main.nodes) > 1:
        return tuple(evaluate(model.main, [feeds[v.name] for v in model.main.inputs]))
    return node.op.run(arrays_of(node, feeds), node.inputs, node.outputs)


def exact(model: Model, feeds: dict[str, Array]) -> tuple[Array, ...]:
    """What the reference says with float activations and the weights as they are stored."""
    node = model.main.nodes[0]
    arrays = real_arrays(node, arrays_of(node, feeds))
    return node.op.run(arrays, [None] * len(arrays), node.outputs)


def real_arrays(node: Node, arrays: Sequence[Array | None]) -> list[Array | None]:
    """The inputs' arrays, those that hold codes dequantized."""
    return [
        numerics.dequantize(a, v.quant) if a is not None and v is not None and v.quant else a
        for a, v in zip(arrays, node.inputs, strict=True)
    ]


def litert(model: Model, feeds: dict[str, Array]) -> list[Array]:
    """What LiteRT's kernels say of a model of one node."""
    interpreter = interpreter_of(write(model), model.main.nodes[0].op.name)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], feeds[detail["name"]])
    interpreter.invoke()
    return [
        # LiteRT's bindings cannot hand out a tensor without elements.
        np.empty(d["shape"], d["dtype"]) if 0 in d["shape"] else interpreter.get_tensor(d["index"])
        for d in interpreter.get_output_details()
    ]


def interpreter_of(content: bytes, name: str) -> Interpreter:
    """LiteRT with its reference kernels, or with the default ones where it has no such kernel."""
    resolvers = [OpResolverType.BUILTIN_REF, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES]
    if name not in DEFAULT_KERNELS:
        with contextlib.suppress(ValueError):  # an operator, or its version, is not registered
            return Interpreter(model_content=content, experimental_op_resolver_type=resolvers[0])
    return Interpreter(model_content=content, experimental_op_resolver_type=resolvers[1])


def assert_close(found: Array, expected: Array, tolerance: float) -> None:
    """``found`` has the type and shape of ``expected``, and is near it where it is float."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if expected.dtype.kind not in "fc":
        np.testing.assert_array_equal(found, expected)
        return
    largest = np.max(np.abs(expected[np.isfinite(expected)]), initial=0.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=max(tolerance * largest, 1e-30))


def sqnr(signal: Array, approximation: Array) -> float:
    """Signal to noise ratio in dB, both sides summed over everything."""
    noise = float(np.sum((signal.astype(np.float64) - approximation) ** 2))
    return float(10 * np.log10(np.sum(signal.astype(np.float64) ** 2) / max(noise, 1e-30)))


def assert_hybrid(exact: Array, mine: Array, theirs: Array) -> None:
    """Two quantizations of the same activations: neither far apart, nor ours the noisier one.

    The yardstick is ``exact``, the float result of the weights as they are stored.
    """
    assert mine.dtype == theirs.dtype
    assert mine.shape == theirs.shape
    assert sqnr(mine, theirs) >= HYBRID_SQNR
    assert sqnr(exact, mine) >= min(sqnr(exact, theirs) - 0.5, GOOD_SQNR)


def compatible(found: Shape | None, shape: Sequence[int | None]) -> bool:
    """Whether ``found`` says nothing that contradicts ``shape``."""
    return found is None or (
        len(found) == len(shape)
        and all(a is None or a == b for a, b in zip(found, shape, strict=True))
    )
