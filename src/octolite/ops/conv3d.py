"""Convolutions in space: windows that slide over depth, height and width of NDHWC tensors."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from octolite.errors import ShapeError
from octolite.ir import numerics
from octolite.ir.types import Activation, Array, Dim, Operand, Padding, TensorType
from octolite.ops.base import Operator, attr
from octolite.ops.case import case, const, f32, weights
from octolite.ops.conv import check_bias
from octolite.ops.shapes import constant_ints, integers, rank_of, sized, window, window_padding

AXES = 1, 2, 3
"""Depth, height and width."""


class Convolution3D(Operator, abstract=True):
    """What both share: weights [depth, height, width, *, *] and how they move."""

    options = "Conv3DOptions"
    padding: Padding = attr(Padding.SAME)
    stride_d: int = attr(1)
    stride_w: int = attr(1)
    stride_h: int = attr(1)
    activation: Activation = attr(Activation.NONE, "FusedActivationFunction")
    dilation_d_factor: int = attr(1)
    dilation_w_factor: int = attr(1)
    dilation_h_factor: int = attr(1)

    @property
    def strides(self) -> tuple[int, int, int]:
        return self.stride_d, self.stride_h, self.stride_w

    @property
    def dilations(self) -> tuple[int, int, int]:
        return self.dilation_d_factor, self.dilation_h_factor, self.dilation_w_factor

    def extents(self, shape: Sequence[Dim], kernel: Sequence[Dim]) -> list[Dim]:
        """How many windows of ``kernel`` fit along each axis. Raises :class:`ShapeError`."""
        moves = zip(AXES, kernel, self.strides, self.dilations, strict=True)
        return [
            None if k is None else window(shape[a], k, s, d, self.padding) for a, k, s, d in moves
        ]

    def before_after(self, extents: Sequence[int], kernel: Sequence[int]) -> list[tuple[int, int]]:
        """The padding of a tensor of ``extents`` on both sides of each axis."""
        moves = zip(extents, kernel, self.strides, self.dilations, strict=True)
        return [window_padding(*move, self.padding) for move in moves]

    def places(
        self, kernel: Sequence[int], extents: Sequence[int]
    ) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Each element of the kernel, and what it meets of a padded tensor in ``extents``
        windows."""
        for at in itertools.product(*map(range, kernel)):
            starts = (i * d for i, d in zip(at, self.dilations, strict=True))
            ranges = (
                slice(first, first + (count - 1) * stride + 1, stride)
                for first, count, stride in zip(starts, extents, self.strides, strict=True)
            )
            yield at, (slice(None), *ranges)


class Conv3D(Convolution3D):
    """``out = act(x * weights + bias)``; weights [depth, height, width, in, out]."""

    name = "CONV_3D"
    inputs = "input weights bias?"

    def infer(self, x: Operand, w: Operand, bias: Operand | None = None) -> Sequence[TensorType]:
        shape = rank_of(x, "input", 5) or (None,) * 5
        kernel = rank_of(w, "weights", 5) or (None,) * 5
        if None not in (shape[4], kernel[3]) and shape[4] != kernel[3]:
            raise ShapeError(
                f"input {x.name!r} {x.shape} has {shape[4]} channels, weights {w.name!r} {w.shape} "
                f"read {kernel[3]}"
            )
        check_bias(bias, w, kernel[4])
        return [TensorType(x.dtype, (shape[0], *self.extents(shape, kernel[:3]), kernel[4]))]

    def reference(self, x: Array, w: Array, bias: Array | None = None) -> Array:
        kernel = w.shape[:3]
        extents = [d or 0 for d in self.extents(x.shape, kernel)]
        out = np.zeros(sized((len(x), *extents, w.shape[4])), x.dtype)
        padded = np.pad(x, [(0, 0), *self.before_after(x.shape[1:4], kernel), (0, 0)])
        for at, where in self.places(kernel, extents) if out.size else ():
            out += padded[where] @ w[at]
        return numerics.activate(out if bias is None else out + bias, self.activation)

    cases = (
        case(f32(2, 4, 5, 6, 3), weights(2, 3, 3, 3, 4), weights(4)),
        case(
            f32(1, 6, 7, 8, 2),
            weights(3, 2, 3, 2, 5),
            weights(5),
            padding=Padding.VALID,
            stride_d=2,
            stride_h=3,
            activation=Activation.RELU,
        ),
        case(
            f32(1, 6, 7, 8, 2),
            weights(2, 2, 2, 2, 3),
            None,
            stride_w=2,
            dilation_d_factor=2,
            dilation_h_factor=3,
        ),
        case(f32(1, 2, 2, 2, 3), weights(3, 1, 1, 3, 2), padding=Padding.VALID, litert=False),
    )


class Conv3DTranspose(Convolution3D):
    """The gradient of CONV_3D; weights [depth, height, width, out, in].

    ``output_shape`` [5] says which of the sizes that such a convolution could have had is meant.
    """

    name = "CONV_3D_TRANSPOSE"
    inputs = "output_shape weights input bias?"

    def infer(
        self, output_shape: Operand, w: Operand, x: Operand, bias: Operand | None = None
    ) -> Sequence[TensorType]:
        shape = rank_of(x, "input", 5) or (None,) * 5
        kernel = rank_of(w, "weights", 5) or (None,) * 5
        if None not in (shape[4], kernel[4]) and shape[4] != kernel[4]:
            raise ShapeError(
                f"input {x.name!r} {x.shape} has {shape[4]} channels, weights {w.name!r} {w.shape} "
                f"read {kernel[4]}"
            )
        check_bias(bias, w, kernel[3])
        rank_of(output_shape, "output shape", 1)
        extents = constant_ints(output_shape)
        if extents is None:
            return [TensorType(x.dtype, (None,) * 4 + (kernel[3],))]
        if len(extents) != 5:
            raise ShapeError(f"output shape {output_shape.name!r} is {extents}, expected 5 numbers")
        if None not in (*kernel, *shape):
            self._check(extents, kernel, shape)
        return [TensorType(x.dtype, sized(extents))]

    def _check(self, extents: Sequence[int], kernel: Sequence[Dim], shape: Sequence[Dim]) -> None:
        """Raise :class:`ShapeError` for a size from which no convolution leads to the input."""
        sized(extents)
        expected = [extents[0], *self.extents(extents, kernel[:3])]
        if expected != list(shape[:4]) or extents[4] != kernel[3]:
            raise ShapeError(
                f"{self.name} to {list(extents)} with weights {tuple(kernel)}: the input is "
                f"{tuple(shape)}, expected {(*expected, kernel[4])}"
            )

    def reference(
        self, output_shape: Array, w: Array, x: Array, bias: Array | None = None
    ) -> Array:
        target, kernel = integers(output_shape), w.shape[:3]
        if len(target) != 5:
            raise ShapeError(f"{self.name}: the output's shape is {target}, expected 5 numbers")
        self._check(target, w.shape, x.shape)
        borders = self.before_after(target[1:4], kernel)
        padded = [size + sum(border) for size, border in zip(target[1:4], borders, strict=True)]
        out = np.zeros(sized((target[0], *padded, target[4])), x.dtype)
        for at, where in self.places(kernel, x.shape[1:4]) if x.size else ():
            out[where] += x @ w[at].T
        inner = [slice(b, b + n) for (b, _), n in zip(borders, target[1:4], strict=True)]
        out = out[(slice(None), *inner)]
        return numerics.activate(out if bias is None else out + bias, self.activation)

    cases = (
        case(
            const([1, 4, 6, 6, 4]),
            weights(2, 3, 3, 4, 3),
            f32(1, 2, 3, 3, 3),
            None,
            stride_d=2,
            stride_h=2,
            stride_w=2,
        ),
        case(
            const([2, 5, 5, 6, 2]),
            weights(3, 3, 2, 2, 3),
            f32(2, 3, 3, 5, 3),
            weights(2),
            padding=Padding.VALID,
            activation=Activation.RELU,
        ),
        case(const([1, 3, 4, 5, 2]), weights(3, 3, 3, 2, 2), f32(1, 3, 4, 5, 2)),
    )
