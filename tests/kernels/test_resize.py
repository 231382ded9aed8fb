"""Resizing on every instruction set against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from octolite.errors import KernelError
from octolite.ir.graph import Value
from octolite.ir.types import FLOAT32, INT16, Array, DType, Quant
from octolite.kernels import isa, resize, spec
from octolite.kernels.launch import Launch
from octolite.kernels.select import build
from octolite.ops import operator_class
from octolite.runtime.executor import Executor
from tests.kernels.guarded import Guarded


def run(launch: Launch, x: Array, executor: Executor) -> Array:
    given, out = Guarded(x.shape, x.dtype), Guarded(launch.output_shape, x.dtype)
    given.array[...] = x
    executor.run(launch.steps(given.address, out.address, 0))
    for buffer in (given, out):
        buffer.check()
    return out.array.copy()


def layer(kind: str, row: isa.Isa | None = None) -> resize.ResizeLayer:
    built = build(spec.Resize(kind), isa=row)
    assert isinstance(built, resize.ResizeLayer)
    return built


def places(old: int, new: int, random: np.random.Generator) -> tuple[Array, Array, Array]:
    """Any two old pixels for each new one: the kernel leaves the rule to its caller."""
    before, after = random.integers(0, old, (2, new))
    before[-1], after[0] = old - 1, 0
    return before, after, random.uniform(0, 1, new).astype(np.float32)


SHAPES = [
    ((1, 8, 8, 1), (32, 32)),
    ((2, 5, 6, 3), (7, 11)),
    ((1, 9, 4, 4), (3, 2)),
    ((2, 4, 5, 8), (4, 9)),
    ((1, 3, 3, 17), (5, 5)),
    ((1, 6, 7, 64), (12, 14)),
    ((1, 1, 1, 1), (1, 1)),
    ((3, 1, 2, 33), (1, 1)),
    ((0, 2, 2, 3), (4, 4)),
]


@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_bilinear(
    row: isa.Isa,
    shape: tuple[int, int, int, int],
    size: tuple[int, int],
    alone: Executor,
    random: np.random.Generator,
) -> None:
    x = random.standard_normal(shape, np.float32)
    rows, columns = (places(old, new, random) for old, new in zip(shape[1:3], size, strict=True))
    one = np.float32(1)
    (up, down, y), (left, right, z) = rows, columns
    y, z = y[:, None, None], z[:, None]
    mixed = x[:, up] * (one - y) + x[:, down] * y
    expected = mixed[:, :, left] * (one - z) + mixed[:, :, right] * z
    out = run(layer("bilinear", row).launch(shape, rows, columns), x, alone)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_nearest(
    row: isa.Isa,
    shape: tuple[int, int, int, int],
    size: tuple[int, int],
    alone: Executor,
    random: np.random.Generator,
) -> None:
    x = random.standard_normal(shape, np.float32)
    rows, columns = (places(old, new, random) for old, new in zip(shape[1:3], size, strict=True))
    out = run(layer("nearest", row).launch(shape, rows, columns), x, alone)
    np.testing.assert_array_equal(out, x[:, rows[0]][:, :, columns[0]])


CODED = [
    (name, dtype)
    for name, kind in (("RESIZE_BILINEAR", "bilinear"), ("RESIZE_NEAREST_NEIGHBOR", "nearest"))
    for dtype in resize.TYPES[kind]
    if dtype is not FLOAT32
]


@pytest.mark.parametrize(("name", "dtype"), CODED)
@pytest.mark.parametrize(("corners", "centers"), [(False, False), (True, False), (False, True)])
def test_codes_have_the_bits_of_the_reference(
    name: str,
    dtype: DType,
    corners: bool,
    centers: bool,
    row: isa.Isa,
    alone: Executor,
    random: np.random.Generator,
) -> None:
    op = operator_class(name)(align_corners=corners, half_pixel_centers=centers)
    limits = np.iinfo(dtype.numpy)
    for shape, size in SHAPES:
        inputs = [
            Value("x", dtype, shape, quant=Quant.of(0.5, 0)),
            Value.constant("size", np.array(size, np.int32)),
        ]
        result = Value("y", dtype, None, quant=Quant.of(0.5, 0))
        x = random.integers(limits.min, limits.max + 1, shape).astype(dtype.numpy)
        (expected,) = op.run([x, inputs[1].data], inputs, [result])
        request = op.integer_kernel(inputs, [result])
        launch = build(request, isa=row).launch(shape, **op.geometry(inputs))
        np.testing.assert_array_equal(run(launch, x, alone), expected)


def test_wide_codes_are_left_to_the_reference() -> None:
    op = operator_class("RESIZE_BILINEAR")()
    x = Value("x", INT16, (1, 2, 2, 3), quant=Quant.of(0.5))
    assert op.integer_kernel([x, None], [x]) is None
    with pytest.raises(KernelError, match="no bilinear resizing of int16"):
        build(spec.Resize("bilinear", INT16))


@pytest.mark.parametrize("threads", [2, 4])
@pytest.mark.parametrize("channels", [1, 40])
def test_threads_change_nothing(
    threads: int, channels: int, alone: Executor, random: np.random.Generator
) -> None:
    x = random.standard_normal((2, 50, 60, channels), np.float32)
    rows, columns = places(50, 200, random), places(60, 90, random)
    launch = layer("bilinear").launch(x.shape, rows, columns)
    expected = run(launch, x, alone)
    with Executor(threads) as executor:
        np.testing.assert_array_equal(run(launch, x, executor), expected)


def test_what_there_is_not_is_refused() -> None:
    with pytest.raises(KernelError, match=r"no resizing 'bicubic'"):
        build(spec.Resize("bicubic"))
