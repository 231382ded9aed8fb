"""Shape rules: never at odds with what is computed, whatever is unknown; and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from octolite.errors import OctoliteError, RuntimeModelError, ShapeError
from octolite.ir.types import BOOL, FLOAT32, INT32, INT64, Array, Shape
from octolite.ops import Operator
from octolite.ops.case import Case
from octolite.ops.case import const as constant
from octolite.ops.case import given as fed
from tests.ops.examples import EXAMPLES, Example, Partly, known, of, op, reals
from tests.ops.litert import assert_close, litert, ours


def hidden(draw: st.DrawFn, operand: Partly) -> Partly:
    """``operand`` with something taken away: the data, some extents, or even the rank."""
    assert operand.shape is not None
    match draw(st.sampled_from(["nothing", "data", "extents", "rank"])):
        case "nothing":
            return operand
        case "data":
            return replace(operand, data=None)
        case "extents":
            shape = tuple(draw(st.sampled_from([None, d])) for d in operand.shape)
            return replace(operand, data=None, shape=shape)
        case _:
            return replace(operand, data=None, shape=None)


def contradiction(claimed: Shape | None, actual: Sequence[int]) -> bool:
    return claimed is not None and (
        len(claimed) != len(actual)
        or any(c is not None and c != a for c, a in zip(claimed, actual, strict=True))
    )


def spoiled(draw: st.DrawFn, array: Array) -> Array:
    """Other indices, axes or extents in the place of ``array``; or numbers of another shape."""
    shape = draw(st.one_of(st.just(list(array.shape)), st.lists(st.integers(0, 4), max_size=3)))
    if array.dtype == np.float32:
        return reals(*shape)
    count = math.prod(shape)
    values = draw(st.lists(st.integers(-5, 9), min_size=count, max_size=count))
    return np.array(values, array.dtype).reshape(shape)


@settings(max_examples=1500, deadline=None)
@given(EXAMPLES, st.booleans(), st.data())
def test_shape_rules_agree_with_results(example: Example, spoil: bool, data: st.DataObject) -> None:
    operator, inputs = example
    if spoil:
        place = data.draw(st.integers(0, len(inputs) - 1))
        wrong = data.draw(st.composite(spoiled)(inputs[place]))
        inputs = [*inputs[:place], wrong, *inputs[place + 1 :]]
    operands = [known(f"in{i}", a) for i, a in enumerate(inputs)]
    try:
        exact = operator.infer(*operands)
    except ShapeError:
        # What the rule refuses must not come out of the reference as a result either.
        with pytest.raises(OctoliteError):
            operator.run(inputs, operands, [])
        return
    try:
        results = operator.run(inputs, operands, [of("out")] * len(exact))
    except RuntimeModelError:
        assert spoil  # an index may lead outside, which no shape tells
        return
    assert [(t.dtype.numpy, t.shape) for t in exact] == [(r.dtype, r.shape) for r in results]
    less = [data.draw(st.composite(hidden)(operand)) for operand in operands]
    for claim, result in zip(operator.infer(*less), results, strict=True):
        assert claim.dtype.numpy == result.dtype
        assert not contradiction(claim.shape, result.shape), f"{less} give {claim.shape}"


def clear(operator: Operator) -> bool:
    """Whether LiteRT means something by it: no entry of a slice has two masks, no bound slides.

    With ``offset`` LiteRT does not cut a slice off where the tensor ends.
    """
    attributes = operator.attributes()
    kinds = [attributes.get(f"{k}_mask", 0) for k in ("ellipsis", "new_axis", "shrink_axis")]
    return sum(kinds) == kinds[0] | kinds[1] | kinds[2] and not attributes.get("offset", False)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(EXAMPLES)
def test_results_agree_with_litert(example: Example) -> None:
    operator, inputs = example
    assume(clear(operator) and all(a.size for a in inputs))
    tensors = [fed(a) if a.dtype == np.float32 else constant(a) for a in inputs]
    try:
        model, feeds = Case(tensors, operator.attributes()).build(type(operator))
    except ShapeError:
        assume(False)
    results = ours(model, feeds)
    assume(all(r.size for r in results))
    for mine, theirs in zip(results, litert(model, feeds), strict=True):
        assert_close(mine, theirs, 1e-5)


# -- what stays known of an unknown batch ---------------------------------------------------------

IMAGE = of("x", None, 8, 8, 4)


@pytest.mark.parametrize(
    ("operator", "operands", "shape"),
    [
        (op("SHAPE"), [IMAGE], (4,)),
        (op("RANK"), [Partly("x", FLOAT32, None)], ()),
        (op("RESHAPE"), [IMAGE, known("to", [-1, 256])], (None, 256)),
        (op("RESHAPE"), [IMAGE, of("to", 2, dtype=INT32)], (None, None)),
        (op("TRANSPOSE"), [IMAGE, known("perm", [0, 3, 1, 2])], (None, 4, 8, 8)),
        (op("TRANSPOSE"), [IMAGE, of("perm", 4, dtype=INT32)], (None,) * 4),
        (op("MEAN"), [IMAGE, known("axis", [1, 2])], (None, 4)),
        (op("MEAN", keep_dims=True), [IMAGE, known("axis", [-2])], (None, 8, 1, 4)),
        (op("ADD"), [IMAGE, of("b", 4)], (None, 8, 8, 4)),
        (op("ADD"), [of("a", None), of("b", None)], (None,)),
        (op("ADD"), [of("a", None), of("b", 3)], (3,)),
        (op("CONCATENATION", axis=-1), [IMAGE, of("y", 2, 8, None, 3)], (2, 8, 8, 7)),
        (op("CONCATENATION"), [IMAGE, of("y", 2, 8, 8, 4)], (None, 8, 8, 4)),
        (op("PACK", values_count=2), [of("a", dtype=INT32), of("b", dtype=INT32)], (2,)),
        (op("PAD"), [IMAGE, known("p", [[0, 0], [1, 1], [2, 0], [0, 0]])], (None, 10, 10, 4)),
        (op("PAD"), [IMAGE, of("p", 4, 2, dtype=INT32)], (None,) * 4),
        (op("TILE"), [IMAGE, known("m", [1, 2, 1, 1])], (None, 16, 8, 4)),
        (op("SLICE"), [IMAGE, known("b", [0] * 4), known("s", [-1, 2, -1, 3])], (None, 2, 8, 3)),
        (
            op("STRIDED_SLICE", shrink_axis_mask=1),
            [of("x", 4, dtype=INT32), known("b", [0]), known("e", [1]), known("s", [1])],
            (),
        ),
        (
            op("STRIDED_SLICE", begin_mask=3, end_mask=1),
            [IMAGE, known("b", [0, 0]), known("e", [0, -2]), known("s", [1, 2])],
            (None, 3, 8, 4),
        ),
        (op("GATHER"), [of("table", 100, 16), of("ids", None, 7, dtype=INT32)], (None, 7, 16)),
        (op("FILL"), [of("dims", 3, dtype=INT32), of("v")], (None,) * 3),
        (op("ONE_HOT"), [of("i", None, dtype=INT32), known("d", 5), of("a"), of("b")], (None, 5)),
        (op("TOPK_V2"), [of("x", None, 9), known("k", 3)], (None, 3)),
        (op("WHERE"), [of("c", None, 4, dtype=BOOL)], (None, 2)),
        (op("SPLIT", num_splits=2), [known("axis", -1), IMAGE], (None, 8, 8, 2)),
        (op("UNPACK", num=8, axis=1), [IMAGE], (None, 8, 4)),
        (op("SQUEEZE", squeeze_dims=(1,)), [of("x", None, 1, 5)], (None, 5)),
        (op("SQUEEZE"), [of("x", None, 1, 5)], None),
    ],
    ids=lambda v: v.name if isinstance(v, Operator) else "",
)
def test_what_is_known_of_an_unknown_batch(
    operator: Operator, operands: list[Partly], shape: Shape | None
) -> None:
    assert operator.infer(*operands)[0].shape == shape


# -- what does not fit ----------------------------------------------------------------------------

V = of("vector", 5)
M = of("matrix", 3, 4)
INTS = of("ints", 3, dtype=INT32)


@pytest.mark.parametrize(
    ("operator", "operands", "words"),
    [
        (op("ADD"), [V, M], ["'vector'", "'matrix'", "broadcast"]),
        (op("ADD"), [V, INTS], ["'vector'", "'ints'", "float32", "int32"]),
        (op("ADD_N"), [], ["no terms"]),
        (op("ADD_N"), [V, M], ["'vector'", "'matrix'"]),
        (op("LOGICAL_AND"), [V, V], ["LOGICAL_AND", "bool", "'vector'"]),
        (op("LOGICAL_NOT"), [V], ["bool", "'vector'"]),
        (op("SQRT"), [INTS], ["SQRT", "'ints'", "int32"]),
        (op("SUM"), [M, known("axis", [2])], ["'matrix'", "axis 2", "rank 2"]),
        (op("REDUCE_ANY"), [M, known("axis", [0])], ["bool", "'matrix'"]),
        (op("ARG_MAX"), [of("scalar"), known("axis", 0)], ["axis 0", "rank 0"]),
        (op("ARG_MAX"), [of("none", 0), known("axis", 0)], ["'none'", "empty"]),
        (op("CUMSUM"), [M, known("axis", -3)], ["axis -3"]),
        (op("RESHAPE"), [M, known("to", [5, -1])], ["'matrix'", "[5, -1]"]),
        (op("RESHAPE"), [M, known("to", [-1, -1])], ["'matrix'", "one extent"]),
        (op("TRANSPOSE"), [M, known("perm", [0, 0])], ["twice"]),
        (op("TRANSPOSE"), [M, known("perm", [0, 1, 2])], ["2 axes"]),
        (op("EXPAND_DIMS"), [M, known("axis", 3)], ["axis 3"]),
        (op("EXPAND_DIMS"), [M, known("axis", [0, 1])], ["'axis'", "one integer"]),
        (op("SQUEEZE", squeeze_dims=(0,)), [M], ["'matrix'", "(3, 4)"]),
        (op("BROADCAST_TO"), [M, known("to", [3, 5])], ["'matrix'", "[3, 5]"]),
        (op("BITCAST", dtype=INT64), [V], ["'vector'", "should end in 2"]),
        (op("SLICE"), [M, known("b", [0, 3]), known("s", [1, 2])], ["'matrix'", "3", "4"]),
        (op("SLICE"), [M, known("b", [0]), known("s", [1])], ["'b'", "'s'", "'matrix'"]),
        (
            op("STRIDED_SLICE"),
            [V, known("b", [0]), known("e", [3]), known("s", [0])],
            ["'vector'", "stride 0"],
        ),
        (
            op("STRIDED_SLICE", shrink_axis_mask=1),
            [V, known("b", [5]), known("e", [6]), known("s", [1])],
            ["'vector'", "index 5", "extent of 5"],
        ),
        (
            op("STRIDED_SLICE"),
            [V, known("b", [0, 0]), known("e", [1, 1]), known("s", [1, 1])],
            ["'vector'", "rank 1"],
        ),
        (op("CONCATENATION"), [V, M], ["'vector'", "'matrix'", "rank"]),
        (op("CONCATENATION"), [of("a", 2, 3), of("b", 2, 4)], ["'a'", "'b'", "axis 1"]),
        (op("SPLIT", num_splits=2), [known("axis", 0), V], ["'vector'", "2 equal parts"]),
        (op("SPLIT_V", num_splits=2), [V, known("n", [2, 2]), known("axis", 0)], ["'vector'"]),
        (op("PACK", values_count=2), [V, M], ["'vector'", "'matrix'"]),
        (op("PACK", values_count=3), [V, V], ["3", "2"]),
        (op("UNPACK", num=4), [V], ["'vector'", "4 slices"]),
        (op("PAD"), [V, known("p", [[1, -1]])], ["'p'", "negative", "'vector'"]),
        (op("PAD"), [V, known("p", [[1, 1], [1, 1]])], ["'p'", "[1, 2]", "'vector'"]),
        (op("TILE"), [V, known("m", [1, 1])], ["'m'", "'vector'"]),
        (op("REVERSE_SEQUENCE", seq_dim=1), [M, of("n", 4, dtype=INT32)], ["'n'", "'matrix'"]),
        (op("DYNAMIC_UPDATE_SLICE"), [V, of("u", 6), known("at", [0])], ["'u'", "'vector'"]),
        (op("GATHER", axis=2), [M, INTS], ["axis 2"]),
        (op("GATHER", batch_dims=1), [M, INTS], ["batch_dims 1"]),
        (op("GATHER_ND"), [M, of("at", 2, 3, dtype=INT32)], ["'at'", "'matrix'"]),
        (op("SCATTER_ND"), [of("at", 2, 1, dtype=INT32), V, known("to", [9])], ["'vector'"]),
        (op("EMBEDDING_LOOKUP"), [of("ids", 2, 2, dtype=INT32), M], ["'ids'"]),
        (op("ONE_HOT"), [INTS, known("depth", -1), of("on"), of("off")], ["-1"]),
        (op("TOPK_V2"), [V, known("k", 6)], ["'vector'", "6"]),
        (op("SELECT"), [of("c", 2, dtype=BOOL), V, V], ["'c'", "'vector'"]),
        (op("SELECT_V2"), [V, V, V], ["bool", "'vector'"]),
        (op("UNIQUE"), [M], ["'matrix'", "vector"]),
        (op("FILL"), [known("dims", [2, -2]), of("v")], ["negative"]),
        (op("FILL"), [known("dims", [2**20, 2**20]), of("v")], ["elements"]),
        (op("RANGE"), [known("a", 0), known("b", 5), known("c", -1)], ["steps of -1"]),
        (op("RANGE"), [known("a", 0), known("b", 5), known("c", 0)], ["steps of 0"]),
    ],
)
def test_what_does_not_fit_is_named(
    operator: Operator, operands: list[Partly], words: list[str]
) -> None:
    with pytest.raises(ShapeError) as raised:
        operator.infer(*operands)
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize(
    ("operator", "inputs", "words"),
    [
        (op("DIV"), [[4, 2], [1, 0]], ["DIV", "zero", "(1,)"]),
        (op("FLOOR_DIV"), [[4], [0]], ["FLOOR_DIV", "zero"]),
        (op("FLOOR_MOD"), [[4], [0]], ["FLOOR_MOD", "zero"]),
        (op("POW"), [[4], [-1]], ["POW", "negative"]),
        (op("GATHER"), [[1, 2, 3], [3]], ["GATHER", "index 3", "[0, 3)"]),
        (op("GATHER"), [[1, 2, 3], [0, -1]], ["GATHER", "index -1"]),
        (op("GATHER_ND"), [[[1, 2]], [[0, 2]]], ["GATHER_ND", "index 2", "[0, 2)"]),
        (op("SCATTER_ND"), [[[4]], [1], [4]], ["SCATTER_ND", "index 4"]),
        (op("EMBEDDING_LOOKUP"), [[2], [[1.0], [2.0]]], ["EMBEDDING_LOOKUP", "index 2"]),
        (op("REVERSE_SEQUENCE", seq_dim=1), [[[1, 2]], [3]], ["3 of 2 steps"]),
    ],
)
def test_bad_data_is_an_error_while_running(
    operator: Operator, inputs: list[Any], words: list[str]
) -> None:
    operands = [known(f"in{i}", v) for i, v in enumerate(inputs)]
    with pytest.raises(RuntimeModelError) as raised:
        operator.run([v.data for v in operands], operands, [of("out")])
    for word in words:
        assert word in str(raised.value)
