"""Every operator on every one of its cases, held against LiteRT's reference kernels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from octolite.ir import numerics
from octolite.ir.graph import Model, Node
from octolite.ir.types import Array, Quant, Shape
from octolite.ops import REGISTRY
from octolite.ops.case import Case
from octolite.tflite import read, write

HYBRID_SQNR = 30.0
"""Least signal to noise, in dB, between two hybrid results: 8 bits over a few dozen products."""

DEFAULT_KERNELS = {
    "DEPTH_TO_SPACE",  # version 2, which int8 needs, is not among the reference kernels
    "ELU",  # no reference kernel
    "LOCAL_RESPONSE_NORMALIZATION",  # the reference kernel leaves out the window's last channel
}
"""Operators for which LiteRT's optimized kernels are the judge."""

CASES = [
    pytest.param(name, case, id=f"{name}-{i}")
    for name, operator in sorted(REGISTRY.items())
    for i, case in enumerate(operator.cases)
]


@dataclass
class Blank:
    """An operand of which only some is known."""

    name: str
    dtype: Any
    shape: Shape | None
    data: Array | None = None
    quant: Quant | None = None


def arrays_of(node: Node, feeds: dict[str, Array]) -> list[Array | None]:
    """The array of each input of ``node``: what is fed, or the constant."""
    return [
        None if v is None else (v.data if v.data is not None else feeds[v.name])
        for v in node.inputs
    ]


def ours(model: Model, feeds: dict[str, Array]) -> tuple[Array, ...]:
    """What the reference says of a model of one node."""
    node = model.main.nodes[0]
    return node.op.run(arrays_of(node, feeds), node.inputs, node.outputs)


def litert(model: Model, feeds: dict[str, Array]) -> list[Array]:
    """What LiteRT's kernels say of a model of one node."""
    reference = model.main.nodes[0].op.name not in DEFAULT_KERNELS
    interpreter = Interpreter(
        model_content=write(model),
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF
        if reference
        else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], feeds[detail["name"]])
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


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


def assert_hybrid(model: Model, feeds: dict[str, Array], mine: Array, theirs: Array) -> None:
    """Two quantizations of the same activations: neither far apart, nor ours the noisier one.

    The yardstick is the float result of the weights as they are stored.
    """
    node = model.main.nodes[0]
    arrays = [
        numerics.dequantize(a, v.quant) if a is not None and v is not None and v.quant else a
        for a, v in zip(arrays_of(node, feeds), node.inputs, strict=True)
    ]
    exact = node.op.reference(*arrays)
    assert mine.dtype == theirs.dtype
    assert mine.shape == theirs.shape
    assert sqnr(mine, theirs) >= HYBRID_SQNR
    assert sqnr(exact, mine) >= sqnr(exact, theirs) - 0.5


@pytest.mark.parametrize(("name", "case"), [c for c in CASES if c.values[1].litert])
def test_reference_agrees_with_litert(name: str, case: Case) -> None:
    model, feeds = case.build(REGISTRY[name])
    expected = litert(model, feeds)
    found = ours(model, feeds)
    assert len(found) == len(expected)
    for mine, theirs, value in zip(found, expected, model.main.outputs, strict=True):
        if value.quant is not None and not REGISTRY[name].quant.same_scale:
            # Integer kernels round each step; the reference rounds once.
            assert mine.dtype == theirs.dtype
            np.testing.assert_allclose(mine.astype(int), theirs.astype(int), rtol=0, atol=1)
        elif case.is_hybrid:
            assert_hybrid(model, feeds, mine, theirs)
        else:
            assert_close(mine, theirs, case.rtol)


@pytest.mark.parametrize(("name", "case"), CASES)
def test_shape_rule_says_what_comes_out(name: str, case: Case) -> None:
    model, feeds = case.build(REGISTRY[name])
    node = model.main.nodes[0]
    results = ours(model, feeds)
    # Some shapes follow from data: where all of it is known, so is every shape.
    known = [
        None if v is None else replace(v, data=array)
        for v, array in zip(blank(node), arrays_of(node, feeds), strict=True)
    ]
    types = node.op.infer(*known)
    assert [t.shape for t in types] == [r.shape for r in results]
    if not case.results:
        assert [t.dtype.numpy for t in types] == [r.dtype for r in results]


def blank(node: Node) -> list[Blank | None]:
    return [
        None if v is None else Blank(v.name, v.dtype, v.shape, v.data, v.quant) for v in node.inputs
    ]


def unknown_in_turn(node: Node) -> Iterator[list[Blank | None]]:
    """The inputs of ``node`` with less and less known of them."""
    known = blank(node)
    for i, operand in enumerate(known):
        if operand is None or operand.shape is None or operand.data is not None:
            continue
        for axis in range(len(operand.shape)):
            shape = (*operand.shape[:axis], None, *operand.shape[axis + 1 :])
            yield [*known[:i], replace(operand, shape=shape), *known[i + 1 :]]
    for keep_constants, keep_rank in itertools.product((True, False), (True, False)):
        yield [
            operand
            if operand is None or (keep_constants and operand.data is not None)
            else replace(
                operand,
                data=None,
                shape=(None,) * len(operand.shape or ()) if keep_rank else None,
            )
            for operand in known
        ]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_shape_rule_agrees_with_itself_when_less_is_known(name: str, case: Case) -> None:
    model, feeds = case.build(REGISTRY[name])
    node = model.main.nodes[0]
    results = ours(model, feeds)
    for inputs in unknown_in_turn(node):
        types = node.op.infer(*inputs)
        for found, value, result in zip(types, node.outputs, results, strict=True):
            if not case.results:
                assert found.dtype is value.dtype
            assert compatible(found.shape, result.shape), f"{inputs} give {found.shape}"


def compatible(found: Shape | None, shape: Sequence[int | None]) -> bool:
    """Whether ``found`` says nothing that contradicts ``shape``."""
    return found is None or (
        len(found) == len(shape)
        and all(a is None or a == b for a, b in zip(found, shape, strict=True))
    )


@pytest.mark.parametrize(("name", "case"), CASES)
def test_written_file_reads_back(name: str, case: Case) -> None:
    model, _ = case.build(REGISTRY[name])
    node = model.main.nodes[0]
    again = read(write(model)).main.nodes[0]
    assert again.op.name == node.op.name
    for key, value in node.op.attributes().items():
        stored = np.float32(value) if isinstance(value, float) else value
        assert again.op.attributes()[key] == stored, key
    inputs = itertools.zip_longest(node.inputs, again.inputs)  # a last absent one is left out
    for old, new in (*inputs, *zip(node.outputs, again.outputs, strict=True)):
        assert (old is None) == (new is None)
        if old is not None and new is not None:
            assert (new.dtype, new.shape, new.quant) == (old.dtype, old.shape, old.quant)
            assert (old.data is None) == (new.data is None)
            if old.data is not None and new.data is not None:
                np.testing.assert_array_equal(new.data, old.data)
