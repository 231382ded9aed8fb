"""``numerics.quantize_weights`` against its formula, written out plainly."""

from __future__ import annotations

import numpy as np
import pytest

from octolite.ir import numerics
from octolite.ir.types import Array


def plainly(w: Array, axis: int | None) -> tuple[Array, Array]:
    others = None if axis is None else tuple(i for i in range(w.ndim) if i != axis)
    peak = np.max(np.abs(w), axis=others, keepdims=True, initial=0.0)
    scale = np.where(peak > 0, peak / np.float32(127), np.float32(1)).astype(np.float32)
    scale[scale == 0] = 1
    return np.clip(numerics.round_half_away(w / scale), -127, 127).astype(np.int8), scale.ravel()


@pytest.mark.parametrize("magnitude", [1.0, 1e30, 1e-38, 1e-43])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((64, 3, 3, 40), 0),
        ((1, 3, 3, 960), 3),
        ((300, 500), 1),
        ((2, 70000), 0),
        ((3, 4, 5), 1),
        ((400, 400), None),
        ((5,), 0),
        ((), None),
        ((0, 4), 0),
        ((4, 0), 0),
    ],
)
def test_blocks_change_nothing(shape: tuple[int, ...], axis: int | None, magnitude: float) -> None:
    w = (np.random.default_rng(0).normal(0, 1, shape) * magnitude).astype(np.float32)
    if w.size and w.ndim:
        w[..., 0] = 0
    codes, scale = plainly(w, axis)
    found, quant = numerics.quantize_weights(w, axis)
    assert found.shape == w.shape
    np.testing.assert_array_equal(found, codes)
    np.testing.assert_array_equal(quant.scale, scale)


def test_halves_go_away_from_zero_and_their_neighbours_do_not() -> None:
    halves = (np.arange(127) + np.float32(0.5)).astype(np.float32)
    w = np.concatenate(
        [halves, np.nextafter(halves, np.float32(0)), np.nextafter(halves, np.float32(200)), [127]]
    ).astype(np.float32)
    w = np.concatenate([w, -w])
    codes, quant = numerics.quantize_weights(w)
    assert quant.scale[0] == 1
    np.testing.assert_array_equal(codes, numerics.round_half_away(w))


def test_a_channel_that_is_not_finite_shows_in_its_scale() -> None:
    w = np.ones((4, 3), np.float32)
    w[1, 0], w[2, 1] = np.nan, -np.inf
    scale = numerics.quantize_weights(w, 0)[1].scale
    np.testing.assert_array_equal(np.isfinite(scale), [True, False, False, True])
