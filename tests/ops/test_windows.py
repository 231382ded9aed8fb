"""Convolutions and pooling of any size, stride, dilation and padding, held against LiteRT."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from octolite.ir.types import Padding
from octolite.ops import REGISTRY
from octolite.ops.case import Case, Tensor, case, const, f32, int8_weights, weights
from octolite.ops.shapes import window
from tests.ops.litert import assert_close, assert_hybrid, exact, litert, ours

SIZES = st.integers(1, 9)
KERNELS = st.tuples(st.integers(1, 4), st.integers(1, 4))


@st.composite
def movements(draw: st.DrawFn, dilated: bool) -> dict[str, Any]:
    """Stride, dilation and padding; TFLite has no window that is both strided and dilated."""
    found: dict[str, Any] = {"padding": draw(st.sampled_from(Padding))}
    if dilated and draw(st.booleans()):
        factors = st.integers(1, 3)
        return found | {"dilation_h_factor": draw(factors), "dilation_w_factor": draw(factors)}
    strides = st.integers(1, 4)
    return found | {"stride_h": draw(strides), "stride_w": draw(strides)}


def check(name: str, example: Case) -> None:
    model, feeds = example.build(REGISTRY[name])
    (out,) = model.main.outputs
    (found,) = ours(model, feeds)
    assert out.shape == found.shape
    assume(found.size > 0)  # LiteRT refuses windows that do not fit at all
    (expected,) = litert(model, feeds)
    if example.is_hybrid:
        assert_hybrid(exact(model, feeds)[0], found, expected)
    else:
        assert_close(found, expected, 1e-5)


@settings(max_examples=60, deadline=None)
@given(SIZES, SIZES, KERNELS, st.integers(1, 3), st.integers(1, 3), movements(dilated=True))
def test_conv(
    h: int, w: int, kernel: tuple[int, int], groups: int, depth: int, movement: dict[str, Any]
) -> None:
    filters = weights(2 * groups, *kernel, depth)
    check("CONV_2D", case(f32(2, h, w, groups * depth), filters, weights(2 * groups), **movement))


@settings(max_examples=60, deadline=None)
@given(SIZES, SIZES, KERNELS, st.integers(1, 3), st.integers(1, 3), movements(dilated=True))
def test_depthwise_conv(
    h: int, w: int, kernel: tuple[int, int], depth: int, multiplier: int, movement: dict[str, Any]
) -> None:
    channels = depth * multiplier
    filters = weights(1, *kernel, channels)
    movement["depth_multiplier"] = multiplier
    check("DEPTHWISE_CONV_2D", case(f32(2, h, w, depth), filters, weights(channels), **movement))


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, KERNELS, movements(dilated=True), st.booleans())
def test_hybrid_convolutions(
    h: int, w: int, kernel: tuple[int, int], movement: dict[str, Any], depthwise: bool
) -> None:
    x = f32(2, h, w, 16, low=-0.2, high=2.0)
    name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    shape, axis = ((1, *kernel, 16), 3) if depthwise else ((16, *kernel, 16), 0)
    check(name, case(x, int8_weights(*shape, axis=axis), weights(16), **movement))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["MAX_POOL_2D", "AVERAGE_POOL_2D", "L2_POOL_2D"]),
    SIZES,
    SIZES,
    KERNELS,
    movements(dilated=False),
)
def test_pooling(
    name: str, h: int, w: int, kernel: tuple[int, int], movement: dict[str, Any]
) -> None:
    check(name, case(f32(2, h, w, 3), filter_height=kernel[0], filter_width=kernel[1], **movement))


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, KERNELS, st.integers(1, 3), st.integers(1, 3), st.sampled_from(Padding))
def test_transpose_conv(
    height: int, width: int, kernel: tuple[int, int], rows: int, columns: int, padding: Padding
) -> None:
    """The image that a convolution would have made ``h`` × ``w`` is made large again."""
    h = window(height, kernel[0], rows, 1, padding)
    w = window(width, kernel[1], columns, 1, padding)
    assume(h and w)
    size = const(np.array([2, height, width, 3], np.int32))
    example = case(
        size,
        weights(3, *kernel, 4),
        f32(2, int(h or 0), int(w or 0), 4),
        weights(3),
        padding=padding,
        stride_h=rows,
        stride_w=columns,
    )
    check("TRANSPOSE_CONV", example)


@pytest.mark.parametrize(
    ("name", "filters"),
    [
        ("CONV_2D", int8_weights(5, 3, 3, 4)),
        ("CONV_2D", int8_weights(5, 1, 1, 4)),
        ("CONV_2D", int8_weights(6, 3, 3, 2)),
        ("DEPTHWISE_CONV_2D", int8_weights(1, 3, 3, 4, axis=3)),
    ],
)
def test_images_of_a_batch_do_not_touch_each_other(name: str, filters: Tensor) -> None:
    example = case(f32(3, 5, 4, 4), filters)
    model, feeds = example.build(REGISTRY[name])
    images = feeds["in0"] * np.array([1, 1000, np.nan], np.float32).reshape(3, 1, 1, 1)
    (together,) = ours(model, {"in0": images})
    alone = [ours(model, {"in0": images[i : i + 1]})[0][0] for i in range(3)]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(np.isnan(together).all(axis=(1, 2, 3)), [False, False, True])
    assert np.isfinite(together[:2]).all()
