"""Functions of elements on every instruction set: their error over all floats, their types, and
that a chain of them has the same bits as its parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octolite.errors import KernelError
from octolite.ir import fixed_point, numerics
from octolite.ir.types import BOOL, FLOAT16, FLOAT32, INT32, INT64, UINT8, Activation, Array, DType
from octolite.kernels import isa, maps
from octolite.kernels.expression import (
    ACTIVATED,
    CONVERSIONS,
    FUNCTIONS,
    GIVEN,
    Expression,
    apply,
)
from octolite.kernels.select import build
from octolite.ops.activations import erfc
from octolite.ops.unary import saturated
from octolite.runtime.executor import Executor
from tests.kernels.conftest import RUNNABLE
from tests.kernels.guarded import Guarded


def run(
    expression: Expression, inputs: Sequence[Array], executor: Executor, row: isa.Isa | None = None
) -> Array:
    """Between forbidden pages."""
    kernel = build(expression, isa=row)
    assert isinstance(kernel, maps.MapLayer)
    shape, *others = (x.shape for x in inputs)
    launch = kernel.launch(shape, others, executor.num_threads)
    buffers = [Guarded(x.shape, x.dtype) for x in inputs]
    out = Guarded(launch.output_shape, expression.dtype.numpy)
    scratch = Guarded((launch.scratch_bytes,), np.uint8)
    for buffer, x in zip(buffers, inputs, strict=True):
        buffer.array[...] = x
    executor.run(launch.steps([b.address for b in buffers], out.address, scratch.address))
    for buffer in (*buffers, out, scratch):
        buffer.check()
    return out.array.copy()


def asked(function: str, *types: DType, numbers: Sequence[float] = ()) -> Expression:
    expression = apply(function, types, *numbers)
    assert expression is not None
    return expression


# The error, over all floats ----------------------------------------------------------------------

UNITS = {
    "cos": (np.cos, 3),
    "elu": (lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x), 2),
    "exp": (np.exp, 2),
    "gelu": (lambda x: np.maximum(x, -1e3) * erfc(-x / math.sqrt(2)) / 2, 6),
    "hard_swish": (lambda x: x * np.clip(x + 3, 0, 6) / 6, 3),
    "log": (np.log, 2),
    "logistic": (lambda x: 1 / (1 + np.exp(-x)), 3),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 2),
    "sin": (np.sin, 3),
    "sqrt": (np.sqrt, 0),
    "tanh": (np.tanh, 3),
}
"""What is exact, and by how many units in the last place a kernel may miss it. docs/numerics.md
has the same numbers."""

FLOOR = 2.0**-120
"""Errors below it are not counted: results lose digits where they have few."""


def every_float(stride: int) -> Array:
    """Bit patterns at a distance, NaN, infinities, zeros and denormals among them."""
    bits = np.arange(0, 2**32, stride, dtype=np.uint64).astype(np.uint32)
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-40, 88.72, 88.73, -87.3, -103.9]
    return np.concatenate([bits.view(np.float32), np.array(edges, np.float32)])


def units_in_the_last_place(got: Array, exact: Array) -> Array:
    """The error; infinite where one is no number or infinite and the other is not."""
    nearest = exact.astype(np.float32)
    wrong = np.maximum(np.abs(got.astype(np.float64) - exact) - FLOOR, 0)
    unit = np.spacing(np.maximum(np.abs(nearest), np.float32(FLOOR))).astype(np.float64)
    same = (np.isnan(got) & np.isnan(exact)) | (got == nearest)
    return np.where(same, 0, np.nan_to_num(wrong / unit, nan=np.inf))


@pytest.mark.parametrize("function", UNITS)
def test_errors_are_as_stated(row: isa.Isa, function: str, alone: Executor) -> None:
    exact, most = UNITS[function]
    x = every_float(7919)
    got = run(asked(function, FLOAT32), [x], alone, row)
    with np.errstate(all="ignore"):
        expected = exact(x.astype(np.float64))
        error = units_in_the_last_place(got, expected)
    worst = int(np.argmax(error))
    assert error[worst] <= most, (x[worst], got[worst], expected[worst])


def test_gelu_by_tangent(row: isa.Isa, alone: Executor) -> None:
    """Its error grows with the exponent: 3 units and as many for each unit of 2u."""
    x = every_float(7919)
    got = run(asked("gelu_tanh", FLOAT32), [x], alone, row)
    with np.errstate(all="ignore"):
        real = np.maximum(x.astype(np.float64), -1e9)
        u = np.clip(2 * math.sqrt(2 / math.pi) * (real + 0.044715 * real**3), -700, 700)
        error = units_in_the_last_place(got, real / (1 + np.exp(-u)))
    assert (error <= 3 * (1 + np.minimum(np.abs(u), 200)))[~np.isnan(x)].all()
    assert np.isnan(got[np.isnan(x)]).all()


def test_pow(row: isa.Isa, alone: Executor, random: np.random.Generator) -> None:
    """Within 1 unit, and C's ``pow`` for what is no number."""
    edges = np.float32([0, -0.0, 1, -1, 2, -2, 0.5, 3, -3, np.inf, -np.inf, np.nan, 1e-40, -1e38])
    floats = every_float(99991)
    near, powers = random.uniform([[0], [-40]], [[9], [40]], (2, 9999)).astype(np.float32)
    a = np.concatenate([np.repeat(edges, len(edges)), floats, near])
    b = np.concatenate([np.tile(edges, len(edges)), random.permutation(floats), powers])
    got = run(asked("pow", FLOAT32, FLOAT32), [a, b], alone, row)
    with np.errstate(all="ignore"):
        expected = np.power(a.astype(np.float64), b.astype(np.float64))
        assert units_in_the_last_place(got, expected).max() <= 1
    zero = expected == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(expected[zero]))


# Exact functions and their types -----------------------------------------------------------------

EXACT: dict[str, Callable[..., Array]] = {
    "abs": np.abs,
    "add": np.add,
    "ceil": np.ceil,
    "cube": lambda x: x * x * x,
    "div": np.divide,
    "equal": np.equal,
    "floor": np.floor,
    "floor_div": lambda a, b: np.floor(a / b),
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "leaky_relu": lambda x, alpha: np.where(x < 0, x * alpha, x),
    "less": np.less,
    "less_equal": np.less_equal,
    "logical_and": np.logical_and,
    "logical_not": np.logical_not,
    "logical_or": np.logical_or,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mul": np.multiply,
    "neg": np.negative,
    "not_equal": np.not_equal,
    "prelu": lambda a, b: np.where(a >= 0, a, a * b),
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "relu_0_to_1": lambda x: np.clip(x, 0, 1),
    "relu_n1_to_1": lambda x: np.clip(x, -1, 1),
    "round": np.rint,
    "round_half_away": numerics.round_half_away,
    "select": np.where,
    "sign": np.sign,
    "square": np.square,
    "squared_difference": lambda a, b: (a - b) * (a - b),
    "sub": np.subtract,
}

ROUNDING = ("ceil", "floor", "round", "round_half_away")


def sample(dtype: DType, size: int, random: np.random.Generator) -> Array:
    """Values of which many are equal, small, extreme or none."""
    if dtype is BOOL:
        return random.integers(0, 2, size).astype(np.bool_)
    if dtype.is_float:
        few = np.float32([0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3, np.inf, -np.inf, np.nan, 2**23])
        rare, drawn = random.random(size) < 0.4, random.normal(0, 40, size)
        drawn = np.where(rare, random.choice(few, size), drawn)
        with np.errstate(over="ignore"):
            return drawn.astype(dtype.numpy)
    limits = np.iinfo(dtype.numpy)
    few = np.array([0, 1, 7, limits.min, limits.max], dtype.numpy)
    wide = random.integers(limits.min, limits.max, size, endpoint=True, dtype=dtype.numpy)
    return np.where(random.random(size) < 0.5, random.choice(few, size), wide)


def test_every_function_is_there_and_is_tested() -> None:
    assert set(maps.EMIT) | set(CONVERSIONS) | set(GIVEN) == set(FUNCTIONS)
    assert set(EXACT) | set(UNITS) | set(SCALED) | {"gelu_tanh", "pow"} == set(maps.EMIT)


@pytest.mark.parametrize("function", EXACT)
def test_exact_functions(
    row: isa.Isa, function: str, alone: Executor, random: np.random.Generator
) -> None:
    known = FUNCTIONS[function]
    for dtype in known.types:
        types = [BOOL if letter == "b" else dtype for letter in known.operands]
        for size in (1, row.lanes - 1, row.lanes + 1, 5000):
            arrays = [sample(t, size, random) for t in types]
            got = run(asked(function, *types), arrays, alone, row)
            with np.errstate(all="ignore"):
                expected = EXACT[function](*arrays)
            np.testing.assert_array_equal(got, expected.astype(got.dtype), f"{function} of {dtype}")
            if function in ROUNDING:
                np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))


SCALED: dict[str, tuple[Callable[..., Array], tuple[int, int]]] = {
    "half": (lambda x, _: fixed_point.high_product(x, 2**30), (0, 1)),
    "high_product": (fixed_point.high_product, (0, 2**31)),
    "rounding_shift": (fixed_point.rounding_shift, (0, 32)),
    "shift_left": (lambda x, bits: fixed_point.wrap(x << bits), (0, 32)),
}
"""Functions that scale int32: the reference, and between what the second operand is."""


@pytest.mark.parametrize("function", SCALED)
def test_integers_are_scaled(
    row: isa.Isa, function: str, alone: Executor, random: np.random.Generator
) -> None:
    expected, limits = SCALED[function]
    for size in (1, row.lanes - 1, row.lanes + 1, 5000):
        arrays = [sample(INT32, size, random), random.integers(*limits, size).astype(np.int32)]
        arrays[1][-1] = limits[1] - 1
        types = [INT32] * len(FUNCTIONS[function].operands)
        got = run(asked(function, *types), arrays[: len(types)], alone, row)
        wide = (array.astype(np.int64) for array in arrays)
        np.testing.assert_array_equal(got, expected(*wide))


@pytest.mark.parametrize("target", CONVERSIONS.values(), ids=str)
def test_conversions(
    row: isa.Isa, target: DType, alone: Executor, random: np.random.Generator
) -> None:
    for source in FUNCTIONS[f"to_{target}"].types:
        x = sample(source, 3000, random)
        if source is FLOAT32:
            x = np.concatenate([x, every_float(99991), np.float32([65519, 65520, 2**31, 2**63])])
        if source is FLOAT16:
            x = np.arange(2**16).astype(np.uint16).view(np.float16)
        got = run(asked(f"to_{target}", source), [x], alone, row)
        with np.errstate(all="ignore"):
            if source.is_float and target.is_integer:
                expected = saturated(x, target.numpy)
            else:
                expected = x.astype(target.numpy)
        np.testing.assert_array_equal(got, expected, f"{source} to {target}")


def test_numbers_are_given_when_a_kernel_is_built(row: isa.Isa, alone: Executor) -> None:
    x = np.float32([-2, 4])
    expression = asked("leaky_relu", FLOAT32, numbers=[0.5]).then("mul", 3).then("sub", 1)
    assert run(expression, [x], alone, row).tolist() == [-4, 11]
    other = asked("leaky_relu", FLOAT32, numbers=[0.25]).then("mul", 3).then("sub", 1)
    assert expression.form == other.form


@pytest.mark.parametrize("activation", ACTIVATED)
def test_activations(row: isa.Isa, activation: Activation, alone: Executor) -> None:
    x = np.array([-9, -0.5, 0.25, 3, 7, np.nan], np.float32)
    expression, function = asked("add", FLOAT32, FLOAT32), ACTIVATED[activation]
    if function is not None:
        expression = expression.then(function)
    got = run(expression, [x, x], alone, row)
    np.testing.assert_allclose(got, numerics.activate(x + x, activation), rtol=5e-7)


# Broadcasting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["add", "squared_difference", "prelu", "less"])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((5,), (5,)),
        ((2, 3, 5, 17), (2, 3, 5, 17)),
        ((2, 3, 5, 17), (17,)),
        ((17,), (2, 3, 5, 17)),
        ((2, 3, 5, 17), ()),
        ((1,), (2, 100)),
        ((2, 3, 5, 17), (2, 1, 1, 17)),
        ((2, 3, 5, 17), (2, 3, 5, 1)),
        ((2, 3, 5, 17), (1, 3, 1, 1)),
        ((4, 1, 6), (1, 5, 6)),
        ((4, 1), (1, 33)),
        ((1, 70_001), (1, 70_001)),
        ((3, 0), (3, 1)),
        ((), ()),
        ((70, 41, 3), (3,)),
        ((5,), (2, 7, 300, 5)),
        ((1, 2003, 5), (1, 1, 5)),
        ((600, 16), (600, 1)),
    ],
)
def test_two_shapes(
    row: isa.Isa,
    function: str,
    a: tuple[int, ...],
    b: tuple[int, ...],
    alone: Executor,
    random: np.random.Generator,
) -> None:
    x, y = (random.standard_normal(shape).astype(np.float32) for shape in (a, b))
    got = run(asked(function, FLOAT32, FLOAT32), [x, y], alone, row)
    np.testing.assert_array_equal(got, EXACT[function](x, y))


def test_three_shapes_and_types(row: isa.Isa, alone: Executor, random: np.random.Generator) -> None:
    c = random.integers(0, 2, (3, 1, 1)).astype(np.bool_)
    for dtype in (FLOAT32, INT64, UINT8, FLOAT16):
        x, y = sample(dtype, 35, random).reshape(5, 7), sample(dtype, 7, random)
        got = run(asked("select", BOOL, dtype, dtype), [c, x, y], alone, row)
        np.testing.assert_array_equal(got, np.where(c, x, y))


def test_short_rows_beside_one_element(
    row: isa.Isa, alone: Executor, random: np.random.Generator
) -> None:
    """Rows that are taken several at a time."""
    c = random.integers(0, 2, (90, 64, 3)).astype(np.bool_)
    x, y = random.standard_normal(3, np.float32), np.float32(random.standard_normal((1, 1)))
    got = run(asked("select", BOOL, FLOAT32, FLOAT32), [c, x, y], alone, row)
    np.testing.assert_array_equal(got, np.where(c, x, y))


def test_threads_change_nothing(alone: Executor, random: np.random.Generator) -> None:
    x = random.standard_normal((64, 2000), np.float32)
    y = random.standard_normal((64, 1), np.float32)
    expression = asked("add", FLOAT32, FLOAT32).then("tanh")
    expected = run(expression, [x, y], alone)
    for threads in (2, 4):
        with Executor(threads) as executor:
            np.testing.assert_array_equal(run(expression, [x, y], executor), expected)


# Chains ------------------------------------------------------------------------------------------

CHAINED = sorted(
    name for name, f in FUNCTIONS.items() if FLOAT32 in f.types and f.operands in ("x", "xx")
)


@st.composite
def expressions(draw: st.DrawFn) -> tuple[Expression, list[tuple[int, ...]]]:
    """An expression of floats and bools, and shapes for its inputs."""
    shapes = draw(
        st.lists(
            st.sampled_from([(3, 5, 33), (33,), (), (3, 5, 1), (3, 1, 1), (5, 33), (3, 1, 33)]),
            min_size=1,
            max_size=4,
        )
    )
    steps: list[tuple[str, tuple[int, ...]]] = []
    types = [FLOAT32] * len(shapes)
    for _ in range(draw(st.integers(1, 8))):
        real = [i for i, t in enumerate(types) if t is FLOAT32]
        bools = [i for i, t in enumerate(types) if t is BOOL]
        if bools and draw(st.booleans()):
            chosen = draw(st.tuples(st.sampled_from(real), st.sampled_from(real)))
            steps.append(("select", (draw(st.sampled_from(bools)), *chosen)))
            types.append(FLOAT32)
            continue
        name = draw(st.sampled_from(CHAINED))
        operands = [draw(st.sampled_from(real)) for _ in FUNCTIONS[name].operands]
        steps.append((name, tuple(operands)))
        types.append(FUNCTIONS[name].result or FLOAT32)
        if types[-1] not in (FLOAT32, BOOL):  # back to floats
            steps.append(("to_float32", (len(types) - 1,)))
            types.append(FLOAT32)
    return Expression((FLOAT32,) * len(shapes), tuple(steps)), shapes


def step_by_step(
    expression: Expression, arrays: Sequence[Array], executor: Executor, row: isa.Isa
) -> Array:
    """Each step by a kernel of its own."""
    values = list(arrays)
    for name, operands in expression.steps:
        types = [expression.types[i] for i in operands]
        values.append(run(asked(name, *types), [values[i] for i in operands], executor, row))
    return values[-1]


@settings(max_examples=40, deadline=None)
@given(drawn=expressions(), row=st.sampled_from(RUNNABLE), seed=st.integers(0, 99))
def test_chains_have_the_bits_of_their_steps(
    drawn: tuple[Expression, list[tuple[int, ...]]], row: isa.Isa, seed: int
) -> None:
    expression, shapes = drawn
    random = np.random.default_rng(seed)
    arrays = [sample(FLOAT32, math.prod(s), random).reshape(s) for s in shapes]
    with Executor(1) as executor:
        got = run(expression, arrays, executor, row)
        expected = step_by_step(expression, arrays, executor, row)
    expected = np.broadcast_to(expected, got.shape)
    np.testing.assert_array_equal(got, expected)
    if got.dtype == np.float32:
        number = ~np.isnan(got)
        np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(expected[number]))


# What is refused ---------------------------------------------------------------------------------


def test_what_there_is_not_is_refused() -> None:
    with pytest.raises(KernelError, match=r"no kernel computes 'tan'.*'tanh'"):
        Expression((FLOAT32,), (("tan", (0,)),))
    with pytest.raises(KernelError, match="no kernel computes 'tanh' of int32"):
        Expression((INT32,), (("tanh", (0,)),))
    with pytest.raises(KernelError, match="at least one step"):
        Expression((INT32,), ())
    with pytest.raises(KernelError, match=r"\[2, 3\] and \[4\] do not broadcast"):
        build(asked("add", FLOAT32, FLOAT32)).launch((2, 3), [(4,)])
    assert apply("tanh", [INT32]) is None
    assert apply("add", [INT32, INT64]) is None
    assert apply("conv", [FLOAT32]) is None
