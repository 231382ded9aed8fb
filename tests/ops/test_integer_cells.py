"""Fully quantized recurrent cells: every bit, of results and of states, is that of LiteRT's
reference kernels, run after run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT
from ai_edge_litert.interpreter import OpResolverType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import octolite
from octolite.errors import UnsupportedError
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import FLOAT32, INT8, INT16, INT32, UINT8, Activation, Array, DType, Quant
from octolite.ops import operator_class
from octolite.ops.base import Intermediate, Operator
from octolite.ops.basic_lstm import BasicLSTM
from octolite.ops.case import Case, Tensor, case, codes, f32, made, variable, weights
from octolite.ops.lstm import GATES
from octolite.tflite import read, write
from tests.ops.litert import arrays_of

RUNS = 3
EXACT = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def state(dtype: DType, quant: Quant, *shape: int) -> Tensor:
    """A variable of codes."""

    def make(graph: Graph) -> Value:
        return Value(f"state_{dtype}", dtype, shape, quant=quant, is_variable=True)

    return made(make, shape, dtype)


def constant(dtype: DType, scale: float, *shape: int, most: int = 127) -> Tensor:
    """Codes around 0."""
    return Tensor(
        shape, dtype, lambda rng, s: rng.integers(-most, most + 1, s), True, quant=Quant.of(scale)
    )


def feeds_of(model: Model) -> Iterator[dict[str, Array]]:
    rng = np.random.default_rng(3)
    for _ in range(RUNS):
        yield {
            v.name: rng.integers(*limits(v.dtype), [d or 1 for d in v.shape or ()]).astype(
                v.dtype.numpy
            )
            for v in model.main.inputs
        }


def limits(dtype: DType) -> tuple[int, int]:
    info = np.iinfo(dtype.numpy)
    return int(info.min), int(info.max) + 1


def by_reference(model: Model) -> list[list[Array]]:
    """Run by run the results, then the states."""
    node = model.main.nodes[0]
    arrays = arrays_of(node, next(feeds_of(model)))
    assert node.op.is_integer(node.inputs, node.outputs)
    found = []
    for feeds in feeds_of(model):
        given_now = [
            feeds.get(v.name, a) if v is not None else None
            for v, a in zip(node.inputs, arrays, strict=True)
        ]
        results = node.op.run(given_now, node.inputs, node.outputs)
        kept = [
            a.copy()
            for v, a in zip(node.inputs, arrays, strict=True)
            if v is not None and v.is_variable and a is not None
        ]
        found.append([*results, *kept])
    return found


def by_interpreter(make: Any, model: Model, **options: Any) -> list[list[Array]]:
    interpreter = make(model_content=write(model), **options)
    interpreter.allocate_tensors()
    values = list(model.main.values())
    states = [i for i, v in enumerate(values) if v.is_variable]
    found = []
    for feeds in feeds_of(model):
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], feeds[detail["name"]])
        interpreter.invoke()
        places = [d["index"] for d in interpreter.get_output_details()]
        found.append([np.array(interpreter.get_tensor(i)) for i in (*places, *states)])
    return found


def assert_bits(example: Case, operator: type[Operator]) -> None:
    """Ours, alone and in the interpreter, is LiteRT's."""
    model, _ = example.build(operator)
    theirs = by_interpreter(LiteRT, model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    for found in (by_reference(model), by_interpreter(octolite.Interpreter, model)):
        for mine, expected in zip(found, theirs, strict=True):
            for a, b in zip(mine, expected, strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)


@st.composite
def quants(draw: Any, scale: float) -> Quant:
    return Quant.of(scale * 2.0 ** draw(st.floats(-2, 2)), draw(st.integers(-128, 127)))


@st.composite
def lstms(draw: Any, name: str, most: Sequence[int] = (40, 24, 3, 4), norms: bool = True) -> Case:
    """``most``: depth, units, batch and time."""
    depth, units, batch, time = (draw(st.integers(1, n)) for n in most)
    coupled, peephole, norm, projected, clipped = (draw(st.booleans()) for _ in range(5))
    norm = norm and norms
    # Without a projection that changes the width: TFLite's peepholes are as many as outputs.
    width = draw(st.integers(1, 24)) if projected and not peephole else units
    gates = [g for g in GATES if not (coupled and g == "input")]

    def small(dtype: DType, scale: float, *shape: int, **more: int) -> Tensor:
        return constant(dtype, scale * 2.0 ** draw(st.floats(-1, 1)), *shape, **more)

    def each(make: Any, names: Any = GATES, there: bool = True) -> list[Tensor | None]:
        return [make() if there and g in gates else None for g in names]

    hidden = draw(quants(1 / 128))
    out = draw(quants(1 / 100)) if projected else hidden
    cell = Quant.of(2.0 ** draw(st.integers(-15, -9)))
    tensors = [
        *each(lambda: small(INT8, 0.01, units, depth)),
        *each(lambda: small(INT8, 0.01, units, width)),
        *each(
            lambda: small(INT16, 1e-4, units, most=32767), ("input", "forget", "output"), peephole
        ),
        *each(lambda: small(INT32, 1e-4, units, most=30_000)),
        small(INT8, 0.01, width, units) if projected else None,
        small(INT32, 1e-4, width, most=3000) if projected and draw(st.booleans()) else None,
        state(INT8, out, batch, width),
        state(INT16, cell, batch, units),
        *each(lambda: small(INT16, 2e-5, units, most=32767), there=norm),
    ]
    attributes: dict[str, Any] = {}
    x = draw(quants(0.02))
    shape: tuple[int, ...] = (batch, depth)
    if name != "LSTM":
        attributes["time_major"] = draw(st.booleans())
        shape = (time, batch, depth) if attributes["time_major"] else (batch, time, depth)
    if clipped:
        attributes |= {"cell_clip": draw(st.floats(0.01, 4)), "proj_clip": draw(st.floats(0.1, 2))}
    lent = [
        Intermediate(INT16, 2.0**-12 * 2.0 ** draw(st.floats(-2, 2)))
        if norm
        else Intermediate(FLOAT32, None)
        for _ in GATES
    ]
    last = Intermediate(INT8, float(hidden.scale[0]), int(hidden.zero_point[0]))
    return case(
        codes(*shape, quant=x),
        *tensors,
        results=[(INT8, out)],
        intermediates=(*lent, last),
        **attributes,
    )


@pytest.mark.parametrize("name", ["LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"])
@EXACT
@given(data=st.data())
def test_cells_have_the_bits_of_litert(name: str, data: st.DataObject) -> None:
    assert_bits(data.draw(lstms(name)), operator_class(name))


@st.composite
def steps(draw: Any) -> Case:
    depth, units, memory, batch = (draw(st.integers(1, n)) for n in (40, 8, 6, 3))
    rank = draw(st.integers(1, 3))
    filters, scale = units * rank, 0.01 * 2.0 ** draw(st.floats(-1, 1))
    held = Quant.of(2.0**-13 * 2.0 ** draw(st.floats(-1, 1)))
    bias = constant(INT32, 1e-7, units, most=3_000_000) if draw(st.booleans()) else None
    return case(
        codes(batch, depth, quant=draw(quants(0.02))),
        constant(INT8, scale, filters, depth),
        constant(INT16, 1e-3 / 256, filters, memory, most=32767),
        bias,
        state(INT16, held, batch, filters * memory),
        results=[(INT8, draw(quants(0.02)))],
        rank=rank,
        activation=Activation.RELU,  # TFLite's kernel takes no other
    )


@EXACT
@given(example=steps())
def test_svdf_has_the_bits_of_litert(example: Case) -> None:
    assert_bits(example, operator_class("SVDF"))


@st.composite
def basic_cells(draw: Any) -> Case:
    depth, units, batch = (draw(st.integers(1, n)) for n in (40, 24, 3))

    def unsigned(zero: int, *shape: int) -> Tensor:
        return Tensor(
            shape, UINT8, lambda rng, s: rng.integers(0, 256, s), True, quant=Quant.of(0.01, zero)
        )

    activation, cell = Quant.of(1 / 128, 128), Quant.of(2.0**-11)
    unit = 2.0**-7 * 0.005 * 2.0 ** draw(st.floats(-2, 2))
    return case(
        codes(batch, depth, quant=activation, dtype=UINT8, low=0, high=256),
        state(UINT8, activation, batch, units),
        unsigned(draw(st.integers(0, 255)), 4 * units, depth + units),
        constant(INT32, unit, 4 * units, most=30_000),
        state(INT16, cell, batch, units),
        results=[
            (UINT8, activation),
            (INT16, cell),
            (UINT8, activation),
            (INT16, Quant.of(2.0**-12)),
        ],
    )


@EXACT
@given(example=basic_cells())
def test_cells_of_uint8_have_the_bits_of_litert(example: Case) -> None:
    assert_bits(example, BasicLSTM)


def test_cells_of_2018_in_float_are_near_those_of_litert() -> None:
    example = case(f32(3, 10), variable(3, 6), weights(24, 16), weights(24), variable(3, 6))
    model, _ = example.build(BasicLSTM)
    rows = np.random.default_rng(1).uniform(-1, 1, (RUNS, 3, 10)).astype(np.float32)
    found = []
    for make in (octolite.Interpreter, LiteRT):
        interpreter = make(model_content=write(model))
        interpreter.allocate_tensors()
        for row in rows:
            interpreter.set_tensor(0, row)
            interpreter.invoke()
        found.append([interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()])
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-6)


def test_intermediate_tensors_survive_a_file() -> None:
    lent = (Intermediate(FLOAT32, None),) * 4 + (Intermediate(INT8, 0.0625, 3),)
    model, _ = plain_lstm(intermediates=lent).build(operator_class("LSTM"))
    node = read(write(model)).main.nodes[0]
    assert node.op.attributes()["intermediates"] == lent
    assert write(read(write(model))) == write(model)


def plain_lstm(cell: float = 2.0**-12, dtype: DType = INT8, **attributes: Any) -> Case:
    matrices = [constant(INT8, 0.01, 4, 4) for _ in range(8)]
    biases = [constant(INT32, 1e-4, 4) for _ in range(4)]
    states = state(INT8, Quant.of(1 / 128), 1, 4), state(INT16, Quant.of(cell), 1, 4)
    x, out = codes(1, 4, quant=Quant.of(0.02), dtype=dtype), (dtype, Quant.of(1 / 128))
    given = [*matrices, None, None, None, *biases, None, None, *states]
    return case(x, *given, results=[out], **attributes)


LENT = (Intermediate(FLOAT32, None),) * 4 + (Intermediate(INT8, 1 / 128),)


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (plain_lstm(), "has 0 intermediate tensors, expected 5"),
        (plain_lstm(intermediates=LENT[:1] * 12), "products of 8 bits reads beyond its factors"),
        (plain_lstm(intermediates=LENT[:1] * 5), "intermediate tensor 4 has none"),
        (plain_lstm(0.001, intermediates=LENT), "power of two from 2\\^-15 to 2\\^-9"),
        (plain_lstm(dtype=INT16, intermediates=LENT), "TFLite's kernels take float32 or int8"),
    ],
    ids=["none", "twelve", "no scale", "cell state", "int16"],
)
def test_what_no_kernel_computes_is_refused_with_the_reason(example: Case, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        example.build(operator_class("LSTM"))


@pytest.mark.parametrize("dtype", [INT8, UINT8, INT16])
@pytest.mark.parametrize(
    "name",
    [
        "RNN",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_LSTM",
    ],
)
def test_cells_that_tflite_has_in_float_alone(name: str, dtype: DType) -> None:
    example = operator_class(name).cases[0]
    x, *others = example.tensors
    assert x is not None
    turned = codes(*x.shape, quant=Quant.of(0.02), dtype=dtype, low=0, high=100)
    with pytest.raises(UnsupportedError, match=f"{name} of {dtype} .* take float32"):
        replace(example, tensors=[turned, *others]).build(operator_class(name))


@pytest.mark.parametrize("exponent", range(-15, -8))
def test_gates_are_right_for_every_sum(exponent: int) -> None:
    """A unit for each sum of the forget gate, another of the cell gate; the state shows both."""
    every = np.arange(-32768, 32768)
    units = every.size

    def exactly(array: Array, dtype: DType) -> Tensor:
        return Tensor(array.shape, dtype, lambda rng, s: array, True, quant=Quant.of(2.0**-12))

    none = exactly(np.zeros((units, 1), np.int64), INT8)
    sums = [exactly(a, INT32) for a in (every, every[::-1], np.roll(every, 777))]
    states = state(INT8, Quant.of(0.01), 1, 1), state(INT16, Quant.of(2.0**exponent), 1, units)
    weights_of_gates = [None, none, none, none]
    projection = exactly(np.zeros((1, units), np.int64), INT8)
    example = case(
        codes(1, 1, quant=Quant.of(2.0**-12)),
        *(weights_of_gates * 2),
        *[None] * 4,
        *sums,
        projection,
        None,
        *states,
        results=[(INT8, Quant.of(0.01))],
        intermediates=LENT,
    )
    assert_bits(example, operator_class("LSTM"))
