"""Fully quantized operators: every bit is that of LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from octolite.ir import fixed_point
from octolite.ir.fixed_point import Multiplier
from octolite.ir.graph import Model
from octolite.ir.types import INT8, INT16, INT32, UINT8, Array, DType, Quant
from octolite.ops import REGISTRY, operator_class
from octolite.ops.case import Case, case, codes, const
from octolite.ops.cells import Recurrent
from octolite.tflite import write
from tests.ops.litert import ours
from tests.ops.quantized import STRATEGIES

WITHOUT_REFERENCE = {"ELU"}
"""Operators for which LiteRT has one kernel, which its reference resolver does not list."""

UNSCALED = {("SUM", INT8), ("SUM", INT16)}
"""LiteRT's reference kernel adds up codes and leaves out scales and zero points."""

TYPES = [
    (name, dtype)
    for name, operator in sorted(REGISTRY.items())
    for dtype in (*operator.integer_types, *((INT32,) if name == "QUANTIZE" else ()))
    if (name, dtype) not in UNSCALED
    and not issubclass(operator, Recurrent)  # test_integer_cells.py
]


def litert(model: Model, feeds: dict[str, Array]) -> list[Array]:
    """What LiteRT's reference kernels say."""
    without = model.main.nodes[0].op.name in WITHOUT_REFERENCE
    resolver = (
        OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if without else OpResolverType.BUILTIN_REF
    )
    interpreter = Interpreter(model_content=write(model), experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], feeds[detail["name"]])
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def results(name: str, example: Case) -> tuple[tuple[Array, ...], list[Array]]:
    """Ours, computed in integers, and LiteRT's."""
    model, feeds = example.build(operator_class(name))
    node = model.main.nodes[0]
    assert node.op.is_integer(node.inputs, node.outputs)
    return ours(model, feeds), litert(model, feeds)


@pytest.mark.parametrize(("name", "dtype"), [pytest.param(n, d, id=f"{n}-{d}") for n, d in TYPES])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_bits_are_those_of_litert(name: str, dtype: DType, data: st.DataObject) -> None:
    mine, theirs = results(name, data.draw(STRATEGIES[name](dtype)))
    for found, expected in zip(mine, theirs, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["LOGISTIC", "TANH"])
@pytest.mark.parametrize("scale", [2.0**-13, 2.0**-12, 2.0**-11, 1e-5, 3.1e-4, 0.002])
def test_tables_of_16_bits_are_right_everywhere(name: str, scale: float) -> None:
    every = codes(65536, quant=Quant.of(scale), dtype=INT16)
    model, feeds = case(every, results=[(INT16, Quant.of(2.0**-15))]).build(operator_class(name))
    feeds["in0"] = np.arange(-32768, 32768).astype(np.int16)
    np.testing.assert_array_equal(ours(model, feeds)[0], litert(model, feeds)[0])


@pytest.mark.parametrize("name", ["ADD", "SUB"])
@pytest.mark.parametrize(("left", "right"), [(-12, -12), (-12, -15), (-14, -12)])
def test_16_bits_with_scales_that_are_powers_of_two(name: str, left: int, right: int) -> None:
    sides = (codes(500, quant=Quant.of(2.0**p), dtype=INT16) for p in (left, right))
    out = Quant.of(2.0 ** max(left, right))
    mine, theirs = results(name, case(*sides, results=[(INT16, out)], pot_scale_int16=True))
    np.testing.assert_array_equal(mine[0], theirs[0])


@pytest.mark.parametrize("keep_dims", [False, True])
def test_sums_of_int8_are_those_of_uint8(keep_dims: bool) -> None:
    """LiteRT's kernel scales those of uint8 alone; all codes and zero points shift by 128."""
    low, high = Quant.of(0.05, -17), Quant.of(0.4, 30)
    signed = codes(3, 7, 5, quant=low)
    example = case(signed, const([1]), results=[(INT8, high)], keep_dims=keep_dims)
    model, feeds = example.build(operator_class("SUM"))
    unsigned = codes(3, 7, 5, quant=Quant.of(0.05, 111), dtype=UINT8)
    out = (UINT8, Quant.of(0.4, 158))
    other, _ = case(unsigned, const([1]), results=[out], keep_dims=keep_dims).build(
        operator_class("SUM")
    )
    shifted = {"in0": (feeds["in0"].astype(np.int16) + 128).astype(np.uint8)}
    expected = litert(other, shifted)[0].astype(np.int16) - 128
    np.testing.assert_array_equal(ours(model, feeds)[0], expected)


def test_every_operator_in_integers_is_tried() -> None:
    assert {name for name, _ in TYPES} == set(STRATEGIES)


@given(st.floats(1e-9, 1e6), st.integers(-(2**20), 2**20))
def test_a_multiplier_is_as_near_as_31_bits(real: float, x: int) -> None:
    factor = Multiplier.of(real)
    assert abs(int(factor.mantissa) * 2.0 ** (int(factor.shift) - 31) - real) <= real * 2.0**-31
    if abs(real * x) < 2**30:
        assert abs(int(factor(np.asarray(x))) - real * x) <= 1 + abs(real * x) * 2.0**-30


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 31))
def test_shifts_round_halves_away_from_zero(x: int, bits: int) -> None:
    half = 1 << bits >> 1
    expected = (abs(x) + half >> bits) * (1 if x >= 0 else -1)
    assert int(fixed_point.rounding_shift(np.asarray(x), bits)) == expected


@given(st.integers(-(2**31) + 1, 0))
def test_exponential_in_fixed_point(raw: int) -> None:
    found = int(fixed_point.exp_of_negative(np.asarray(raw, np.int64), 5)) / 2**31
    assert abs(found - np.exp(raw / 2**26)) < 3e-7
