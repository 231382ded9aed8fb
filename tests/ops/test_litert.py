"""Every operator on every one of its cases, held against LiteRT's reference kernels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from octolite.ir.graph import Graph, Node
from octolite.ir.text import dump
from octolite.ir.types import Array, Quant, Shape
from octolite.ops import REGISTRY
from octolite.ops.case import Case, node_under_test
from octolite.tflite import read, write
from tests.ops.litert import (
    arrays_of,
    assert_close,
    assert_hybrid,
    compatible,
    exact,
    litert,
    ours,
)

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


@pytest.mark.parametrize(("name", "case"), [c for c in CASES if c.values[1].litert])
def test_reference_agrees_with_litert(name: str, case: Case) -> None:
    model, feeds = case.build(REGISTRY[name])
    expected = litert(model, feeds)
    found = ours(model, feeds)
    assert len(found) == len(expected)
    for number, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        value = model.main.outputs[number]
        if value.quant is not None and not REGISTRY[name].quant.same_scale:
            # Integer kernels round each step; the reference rounds once.
            assert mine.dtype == theirs.dtype
            np.testing.assert_allclose(mine.astype(int), theirs.astype(int), rtol=0, atol=1)
        elif case.is_hybrid:
            assert_hybrid(exact(model, feeds)[number], mine, theirs)
        else:
            assert_close(mine, theirs, case.rtol)


@pytest.mark.parametrize(("name", "case"), CASES)
def test_shape_rule_says_what_comes_out(name: str, case: Case) -> None:
    model, feeds = case.build(REGISTRY[name])
    node = node_under_test(model, name)
    results = ours(model, feeds)
    # Some shapes follow from data: where all of it is known, so is every shape.
    known = [
        None if v is None else replace(v, data=array)
        for v, array in zip(blank(node), arrays_of(node, feeds), strict=True)
    ]
    types = node.op.infer(*known)
    if case.seen is not None:
        assert [(t.dtype, t.shape) for t in types] == [(v.dtype, v.shape) for v in node.outputs]
        return
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
    node = node_under_test(model, name)
    results = ours(model, feeds)
    for inputs in unknown_in_turn(node):
        types = node.op.infer(*inputs)
        for found, value, result in zip(types, node.outputs, results, strict=case.seen is None):
            if not case.results:
                assert found.dtype is value.dtype
            result_shape = result.shape if case.seen is None else value.shape
            assert compatible(found.shape, result_shape), f"{inputs} give {found.shape}"


@pytest.mark.parametrize(("name", "case"), CASES)
def test_written_file_reads_back(name: str, case: Case) -> None:
    model, _ = case.build(REGISTRY[name])
    node = node_under_test(model, name)
    again = node_under_test(read(write(model)), name)
    assert again.op.name == node.op.name
    for key, value in node.op.attributes().items():
        stored = np.float32(value) if isinstance(value, float) else value
        found = again.op.attributes()[key]
        if isinstance(value, Graph):
            assert dump(found) == dump(value), key
        else:
            assert found == stored, key
    inputs = itertools.zip_longest(node.inputs, again.inputs)  # a last absent one is left out
    for old, new in (*inputs, *zip(node.outputs, again.outputs, strict=True)):
        assert (old is None) == (new is None)
        if old is not None and new is not None:
            assert (new.dtype, new.shape, new.quant) == (old.dtype, old.shape, old.quant)
            assert (old.data is None) == (new.data is None)
            if old.data is not None and new.data is not None:
                np.testing.assert_array_equal(new.data, old.data)
