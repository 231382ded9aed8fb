"""The formulas of quantization: against their definitions, written out, and at the extremes."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from octolite.ir import numerics
from octolite.ir.types import Activation, Quant

FINITE = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=True)
DENORMAL = np.float32(1e-42)


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("x", "rounded"),
    [(0.5, 1), (-0.5, -1), (1.5, 2), (2.5, 3), (-2.5, -3), (0.49999997, 0), (8388609.0, 8388609)],
)
def test_halves_round_away_from_zero(x: float, rounded: int) -> None:
    assert numerics.round_half_away(f32(x))[0] == rounded


@given(st.floats(-1e9, 1e9, width=32))
def test_rounding_is_exact(x: float) -> None:
    exact = math.floor(abs(Fraction(x)) + Fraction(1, 2))
    assert numerics.round_half_away(f32(x))[0] == np.float32(math.copysign(exact, x))


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=FINITE))
def test_weights_are_symmetric_and_within_half_a_step(w: np.ndarray) -> None:
    q, quant = numerics.quantize_weights(w, 0)
    assert q.dtype == np.int8
    assert quant.scale.shape == (len(w),)
    assert not quant.zero_point.any()
    assert np.abs(q.astype(int)).max() <= 127
    for row, codes, scale in zip(
        w.astype(np.float64), q, quant.scale.astype(np.float64), strict=True
    ):
        peak = np.abs(row).max()
        if peak < 1e-36:  # where float32 itself is coarse
            continue
        assert scale == pytest.approx(peak / 127, rel=1e-6)
        assert np.abs(codes).max() == 127
        assert np.all(np.abs(row - scale * codes) <= scale * 0.50001)


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_scale_lies_along_the_axis(axis: int | None) -> None:
    w = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    q, quant = numerics.quantize_weights(w, axis)
    assert quant.scale.size == (1 if axis is None else w.shape[axis])
    np.testing.assert_allclose(
        numerics.dequantize(q, quant), w, rtol=0, atol=float(quant.scale.max()) * 0.51
    )


def test_channel_of_zeros_has_scale_one() -> None:
    q, quant = numerics.quantize_weights(np.array([[0, 0], [1, -2]], np.float32), 0)
    assert quant.scale[0] == 1
    assert not q[0].any()
    np.testing.assert_array_equal(q[1], [64, -127])


def test_denormal_weights_are_finite() -> None:
    q, quant = numerics.quantize_weights(np.full((2, 3), DENORMAL), 0)
    assert np.all(quant.scale > 0)
    assert np.all(np.isfinite(numerics.dequantize(q, quant)))


def test_four_bits_reach_seven() -> None:
    q, quant = numerics.quantize_weights(f32(-7.0, 3.4, 1.0), None, bits=4)
    np.testing.assert_array_equal(q, [-7, 3, 1])
    assert quant.scale[0] == 1


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=FINITE),
    st.booleans(),
)
def test_rows_come_back_within_half_a_step(x: np.ndarray, asymmetric: bool) -> None:
    rows = numerics.quantize_rows(x, asymmetric)
    low, high = np.minimum(x.min(axis=1), 0.0), np.maximum(x.max(axis=1), 0.0)
    span = high.astype(np.float64) - low if asymmetric else np.maximum(high, -low)
    step = span / (255 if asymmetric else 127)
    live = span >= numerics.TINY_RANGE
    np.testing.assert_allclose(rows.scale[live], step[live], rtol=1e-6)
    back = rows.scale[:, None].astype(np.float64) * (rows.q - rows.zero_point[:, None])
    limit = np.where(live, step * 0.501, numerics.TINY_RANGE)
    assert np.all(np.abs(back - x) <= limit[:, None])
    assert np.all(rows.q[~live] == rows.zero_point[~live, None])
    if not asymmetric:
        assert not rows.zero_point.any()
        assert rows.q.min() >= -127


def test_range_holds_zero_exactly() -> None:
    rows = numerics.quantize_rows(np.array([[5, 6, 0], [-5, -6, 0]], np.float32), True)
    np.testing.assert_array_equal(rows.q[:, 2], rows.zero_point)
    np.testing.assert_array_equal(rows.zero_point, [-128, 127])


def test_halves_of_rows_round_to_even() -> None:
    rows = numerics.quantize_rows(f32(127, 0.5, 1.5, 2.5, -0.5)[None], False)
    np.testing.assert_array_equal(rows.q[0], [127, 0, 2, 2, 0])


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_row_is_nan_and_others_are_not(bad: float, asymmetric: bool) -> None:
    x = np.array([[1, 2, 3], [1, bad, 3], [0, 0, 0]], np.float32)
    rows = numerics.quantize_rows(x, asymmetric)
    np.testing.assert_array_equal(np.isnan(rows.scale), [False, True, False])
    acc = numerics.exact_product(rows.q, np.ones((3, 2), np.int8))
    out = numerics.hybrid_output(acc, rows, f32(1, 1), np.array([3, 3]), f32(7, 8))
    np.testing.assert_array_equal(np.isnan(out), [[False] * 2, [True] * 2, [False] * 2])
    np.testing.assert_array_equal(out[2], [7, 8])  # a row of zeros gives the bias


@pytest.mark.parametrize("asymmetric", [False, True])
def test_rows_of_denormals_are_zero(asymmetric: bool) -> None:
    rows = numerics.quantize_rows(np.full((1, 4), DENORMAL), asymmetric)
    assert np.all(rows.q == rows.zero_point[:, None])
    assert np.all(np.isfinite(rows.scale))


@pytest.mark.parametrize("asymmetric", [False, True])
def test_no_rows_and_no_columns(asymmetric: bool) -> None:
    assert numerics.quantize_rows(np.zeros((0, 3), np.float32), asymmetric).q.shape == (0, 3)
    assert numerics.quantize_rows(np.zeros((2, 0), np.float32), asymmetric).scale.shape == (2,)


@pytest.mark.parametrize("depth", [1, 1024, 1025, 5000])
def test_product_of_codes_is_exact(depth: int) -> None:
    rng = np.random.default_rng(depth)
    a = rng.integers(-128, 128, (3, depth)).astype(np.int8)
    b = rng.integers(-128, 128, (depth, 4)).astype(np.int8)
    a[0], b[:, 0] = -128, -128
    b[0, 0] = -127  # an odd sum, beyond what float32 holds when it is large
    exact = a.astype(np.int64) @ b.astype(np.int64)
    found = numerics.exact_product(a, b)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, exact)


def test_hybrid_formula_written_out() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(1, 2, (3, 20)).astype(np.float32)
    w, quant = numerics.quantize_weights(rng.normal(size=(4, 20)), 0)
    bias = rng.normal(size=4).astype(np.float32)
    rows = numerics.quantize_rows(x, True)
    acc = numerics.exact_product(rows.q, w.T)
    out = numerics.hybrid_output(
        acc, rows, quant.scale, w.sum(axis=1, dtype=np.int32), bias, Activation.RELU
    )
    for m, n in np.ndindex(3, 4):
        total = sum(
            float(rows.scale[m])
            * (int(a) - int(rows.zero_point[m]))
            * float(quant.scale[n])
            * int(b)
            for a, b in zip(rows.q[m], w[n], strict=True)
        )
        assert out[m, n] == pytest.approx(max(total + float(bias[n]), 0), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        (Activation.NONE, [-9, -0.5, 0.5, 9]),
        (Activation.RELU, [0, 0, 0.5, 9]),
        (Activation.RELU_N1_TO_1, [-1, -0.5, 0.5, 1]),
        (Activation.RELU6, [0, 0, 0.5, 6]),
        (Activation.TANH, np.tanh([-9, -0.5, 0.5, 9])),
        (Activation.SIGN_BIT, [1, 1, 0, 0]),
    ],
)
def test_activations(activation: Activation, expected: list[float]) -> None:
    found = numerics.activate(f32(-9, -0.5, 0.5, 9), activation)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("activation", [a for a in Activation if a is not Activation.SIGN_BIT])
def test_activations_keep_nan(activation: Activation) -> None:
    assert np.isnan(numerics.activate(f32(np.nan), activation)[0])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
def test_codes_stay_within_their_type(dtype: type) -> None:
    limits = np.iinfo(dtype)
    codes = numerics.quantize(f32(-1e9, 0, 0.5, 1e9), Quant.of(1.0, 3), np.dtype(dtype))
    np.testing.assert_array_equal(codes, [limits.min, 3, 4, limits.max])


def test_codes_of_channels_use_their_own_scales() -> None:
    quant = Quant.of([1.0, 0.5], [0, 10], axis=1)
    real = np.array([[3, 3], [-2, -2]], np.float32)
    codes = numerics.quantize(real, quant, np.dtype(np.int8))
    np.testing.assert_array_equal(codes, [[3, 16], [-2, 6]])
    np.testing.assert_array_equal(numerics.dequantize(codes, quant), real)


# Codes of 7 bits with factors ----------------------------------------------------------------


@example(np.array([[2.2859327e-35]], np.float32))
@example(np.array([[float(numerics.MICRO_TINY_RANGE), 0, 1e-34]], np.float32))
@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 90)), elements=FINITE))
def test_microscaled_rows_come_back_within_half_a_step(x: np.ndarray) -> None:
    x = np.abs(x)
    rows = numerics.microscale_rows(x)
    assert not rows.zero_point.any()
    assert rows.q.min() >= 0
    ends = [32 * n for n in range(1, numerics.micro_blocks(x.shape[1]))]
    for real, q, scale in zip(x.astype(np.float64), rows.q, rows.scale, strict=True):
        if real.max() < numerics.MICRO_TINY_RANGE:
            assert not q.any()
            continue
        for part, codes in zip(np.split(real, ends), np.split(q, ends), strict=True):
            # Half a step of the block, whose factor may be one more than it need be.
            factor = math.ceil(255 * part.max() / real.max()) + 1
            assert codes.max() <= 127 * factor
            step = float(scale) * min(factor, 255)
            assert np.all(np.abs(part - float(scale) * codes) <= step * 0.50001)


@pytest.mark.parametrize(
    ("depth", "blocks"), [(1, 1), (31, 1), (56, 1), (57, 2), (64, 2), (88, 2), (89, 3)]
)
def test_what_is_over_belongs_to_the_last_block(depth: int, blocks: int) -> None:
    assert numerics.micro_blocks(depth) == blocks
    x = np.full((1, depth), 1e-3, np.float32)
    x[0, : 32 * (blocks - 1)] = 1
    last = numerics.microscale_rows(x).q[0, 32 * (blocks - 1) :]
    assert (last > 0).all()


@pytest.mark.parametrize("depth", [2048, 2049, 16384])
def test_microscaled_sums_fit_int32(depth: int) -> None:
    rows = numerics.microscale_rows(np.ones((1, depth), np.float32))
    assert rows.q.astype(np.int64).sum() * 128 < 2**31


def test_microscaled_rows_that_are_too_long_are_refused() -> None:
    with pytest.raises(ValueError, match="132105 numbers are too long"):
        numerics.microscale_rows(np.zeros((1, 132105), np.float32))


def noise(real: np.ndarray, found: np.ndarray) -> float:
    """SQNR in dB."""
    return float(10 * np.log10((real**2).sum() / ((real - found) ** 2).sum()))


INPUTS = {
    # What reaches a layer, and by how many dB 7 bits may fall behind 8 bits for the whole image.
    "relu of normal": (lambda rng, shape: np.maximum(rng.normal(size=shape), 0), 0.5),
    "relu of t(4)": (lambda rng, shape: np.maximum(rng.standard_t(4, shape), 0), 0.5),
    "channels of all sizes": (
        lambda rng, shape: np.maximum(rng.normal(0, rng.lognormal(size=shape[1]), shape), 0),
        0.5,
    ),
    # Where a range is used evenly, a bit is a bit, and no finer range makes up for it.
    "uniform": (lambda rng, shape: rng.uniform(0, 1, shape), 1.3),
    "relu6, half of it saturated": (
        lambda rng, shape: np.clip(rng.normal(0, 4, shape), 0, 6),
        1.3,
    ),
}


@pytest.mark.parametrize("depth", [32, 64, 144, 256, 1024, 2048])
@pytest.mark.parametrize("kind", INPUTS)
def test_seven_bits_with_factors_against_eight_for_the_image(kind: str, depth: int) -> None:
    make, loss = INPUTS[kind]
    rng = np.random.default_rng(depth)
    x = make(rng, (196, depth)).astype(np.float32)
    w = rng.normal(size=(depth, 64)).astype(np.float32)
    codes, quant = numerics.quantize_weights(w, 1)
    real, held = x.astype(np.float64) @ w, codes * quant.scale.astype(np.float64)
    image = numerics.quantize_rows(x.reshape(1, -1), asymmetric=True)
    whole = (image.q - image.zero_point[:, None]) * image.scale[:, None].astype(np.float64)
    rows = numerics.microscale_rows(x)
    fine = rows.q * rows.scale[:, None].astype(np.float64)
    assert noise(real, fine @ held) >= noise(real, whole.reshape(x.shape) @ held) - loss
