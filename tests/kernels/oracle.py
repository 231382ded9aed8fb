"""What the kernels must compute, in NumPy and without them."""

from __future__ import annotations

import numpy as np

from octolite.ir import numerics
from octolite.ir.types import Activation, Array
from octolite.kernels import spec

Pair = tuple[int, int]


def same_geometry(size: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    """TFLite's SAME: padding before, and extents of the result."""
    output = [-(-n // s) for n, s in zip(size, stride, strict=True)]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    total = [
        max(0, (o - 1) * s + r - n) for o, s, r, n in zip(output, stride, reach, size, strict=True)
    ]
    return (total[0] // 2, total[1] // 2), (output[0], output[1])


def valid_geometry(size: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    """TFLite's VALID."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    output = [(n - r) // s + 1 for n, r, s in zip(size, reach, stride, strict=True)]
    return (0, 0), (output[0], output[1])


def convolve(
    x: Array,
    w: Array,
    request: spec.Conv2D | spec.DepthwiseConv2D,
    padding: Pair,
    output: Pair,
    fill: Array,
) -> Array:
    """Sums of products in int64 or float64, ``fill[b]`` standing around image ``b``."""
    batch, height, width, channels = x.shape
    kind = np.float64 if x.dtype.kind == "f" else np.int64
    (sy, sx), (dy, dx), (kh, kw) = request.stride, request.dilation, request.kernel
    rows = max((output[0] - 1) * sy + (kh - 1) * dy + 1, padding[0] + height)
    columns = max((output[1] - 1) * sx + (kw - 1) * dx + 1, padding[1] + width)
    padded = np.empty((batch, rows, columns, channels), kind)
    padded[...] = fill.reshape(batch, 1, 1, 1)
    padded[:, padding[0] : padding[0] + height, padding[1] : padding[1] + width] = x
    if isinstance(request, spec.DepthwiseConv2D):
        padded = np.repeat(padded, request.multiplier, axis=3)
        w, groups = w.transpose(3, 1, 2, 0), padded.shape[3]
    else:
        groups = request.groups
    out = np.zeros((batch, *output, w.shape[0]), kind)
    each, inside = w.shape[0] // groups, padded.shape[3] // groups
    for ky in range(kh):
        for kx in range(kw):
            ys = slice(ky * dy, ky * dy + (output[0] - 1) * sy + 1, sy)
            xs = slice(kx * dx, kx * dx + (output[1] - 1) * sx + 1, sx)
            seen = padded[:, ys, xs]
            for g in range(groups):
                one = slice(g * each, (g + 1) * each)
                taps = w[one, ky, kx].astype(kind)
                out[..., one] += seen[..., g * inside : (g + 1) * inside] @ taps.T
    return out


def fully_connected(
    request: spec.FullyConnected, x: Array, w: Array, bias: Array, scale: Array | None
) -> Array:
    if not request.hybrid:
        exact = x.astype(np.float64) @ w.astype(np.float64).T + bias
        return numerics.activate(exact.astype(np.float32), request.activation)
    rows = numerics.quantize_rows(x, request.asymmetric)
    acc = rows.q.astype(np.int64) @ w.astype(np.int64).T
    return _hybrid(acc, rows, w.sum(axis=1), scale, bias, request.activation)


def convolution(
    request: spec.Conv2D | spec.DepthwiseConv2D,
    x: Array,
    w: Array,
    bias: Array,
    scale: Array | None,
    padding: Pair,
    output: Pair,
) -> Array:
    batch = len(x)
    if not request.hybrid:
        exact = convolve(x, w, request, padding, output, np.zeros(batch)) + bias
        return numerics.activate(exact.astype(np.float32), request.activation)
    pixels = np.arange(batch * output[0] * output[1])
    if isinstance(request, spec.Conv2D) and spec.per_pixel(request):
        rows = numerics.quantize_rows(x.reshape(-1, x.shape[3]), request.asymmetric)
        index = np.arange(x[..., 0].size).reshape(x.shape[:3])
        of = index[:, :: request.stride[0], :: request.stride[1]].reshape(-1)
        fill = np.zeros(batch)
    else:
        rows = numerics.quantize_rows(x.reshape(batch, -1), request.asymmetric)
        of = pixels // (output[0] * output[1])
        fill = rows.zero_point
    acc = convolve(rows.q.reshape(x.shape), w, request, padding, output, fill)
    flat = acc.reshape(len(pixels), -1)
    rows = numerics.QuantizedRows(rows.q, rows.scale[of], rows.zero_point[of])
    depthwise = isinstance(request, spec.DepthwiseConv2D)
    total = w.sum(axis=(0, 1, 2) if depthwise else (1, 2, 3))
    return _hybrid(flat, rows, total, scale, bias, request.activation).reshape(acc.shape)


def _hybrid(
    acc: Array,
    rows: numerics.QuantizedRows,
    total: Array,
    scale: Array | None,
    bias: Array,
    activation: Activation,
) -> Array:
    assert scale is not None
    assert np.abs(acc).max(initial=0) < 2**31
    sums = total.astype(np.int32)
    with np.errstate(over="ignore", invalid="ignore"):
        return numerics.hybrid_output(acc.astype(np.int32), rows, scale, sums, bias, activation)
