"""From a request to the kernel that serves it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from octolite.errors import KernelError
from octolite.ir.types import Array
from octolite.kernels import isa as isas
from octolite.kernels import winograd
from octolite.kernels.copy import CopyLayer
from octolite.kernels.depthwise import DepthwiseLayer
from octolite.kernels.layers import ConvLayer, FullyConnectedLayer
from octolite.kernels.lookup import LookupLayer
from octolite.kernels.maps import BinaryLayer, UnaryLayer
from octolite.kernels.normalize import NormalizeLayer
from octolite.kernels.pack import round_up
from octolite.kernels.pool import PoolLayer
from octolite.kernels.recurrent import Constant, RecurrentLayer
from octolite.kernels.reduce import ReduceLayer
from octolite.kernels.resize import ResizeLayer
from octolite.kernels.softmax import SoftmaxLayer
from octolite.kernels.spec import (
    Binary,
    Conv2D,
    Copy,
    DepthwiseConv2D,
    FullyConnected,
    L2Normalization,
    Lookup,
    PlainRequest,
    Pool2D,
    Recurrent,
    Reduce,
    Request,
    Resize,
    Softmax,
    Stateful,
    Svdf,
    Unary,
    per_pixel,
)
from octolite.kernels.svdf import SvdfLayer
from octolite.kernels.window import segments
from octolite.kernels.winograd import WinogradLayer

Kernel = FullyConnectedLayer | ConvLayer | WinogradLayer | DepthwiseLayer
"""What serves a request with weights."""

StatefulKernel = RecurrentLayer | SvdfLayer
"""What serves a request with variables."""

Plain = (
    PoolLayer
    | UnaryLayer
    | BinaryLayer
    | SoftmaxLayer
    | NormalizeLayer
    | ReduceLayer
    | ResizeLayer
    | CopyLayer
    | LookupLayer
)
"""What serves any other."""


def build_plain(request: PlainRequest, isa: isas.Isa | None = None) -> Plain:
    """Have the code of a request without weights compiled.

    Raises :class:`KernelError` for a function or activation that no kernel has.
    """
    row = isa or isas.current()
    match request:
        case Pool2D():
            return PoolLayer(request, row)
        case Unary():
            return UnaryLayer(request, row)
        case Binary():
            return BinaryLayer(request, row)
        case Softmax():
            return SoftmaxLayer(request, row)
        case L2Normalization():
            return NormalizeLayer(request, row)
        case Reduce():
            return ReduceLayer(request, row)
        case Resize():
            return ResizeLayer(request, row)
        case Copy():
            return CopyLayer(request, row)
        case Lookup():
            return LookupLayer(request, row)


def build(
    request: Request,
    weights: Array,
    bias: Array | None = None,
    weight_scale: Array | None = None,
    isa: isas.Isa | None = None,
) -> Kernel:
    """Pack the constants of ``request`` for this machine and have its code compiled.

    Args:
        request: what to compute.
        weights: in the layout that the request's class documents; int8 (codes) for a hybrid
            request, else float32. Copied: the caller may drop its own.
        bias: float32 [channels] or ``None``.
        weight_scale: float32 [channels] or [1]; hybrid only.
        isa: the instruction set; ``None`` takes the best that runs here.

    Raises:
        KernelError: weights that do not fit the request, an activation without a kernel, or an
            ``OCTOLITE_ISA`` that cannot run here.
    """
    row = isa or isas.current()
    w = np.asarray(weights)
    _check(request, w, bias, weight_scale)
    if isinstance(request, FullyConnected):
        lined = w.reshape(request.channels, 1, request.depth)
        return FullyConnectedLayer(request, row, lined, bias, weight_scale)
    if isinstance(request, Conv2D) and winograd.pays(request, row):
        return WinogradLayer(request, row, w, bias, weight_scale)
    if isinstance(request, Conv2D):
        taps, depth = segments(request)
        lined = w.reshape(request.out_channels, taps, depth)
        return ConvLayer(request, row, lined, bias, weight_scale)
    return DepthwiseLayer(request, row, w, bias, weight_scale)


def build_stateful(
    request: Stateful, constants: Mapping[str, Constant], isa: isas.Isa | None = None
) -> StatefulKernel:
    """Pack the constants of ``request``, by the names that it has for them, and have its code
    compiled.

    Raises :class:`KernelError` for constants that do not fit the request, or an activation without
    a kernel.
    """
    for name, shape in request.shapes():
        found = constants[name].data.shape
        if len(found) != len(shape) or any(
            a is not None and a != b for a, b in zip(shape, found, strict=True)
        ):
            raise KernelError(f"{name} has shape {list(found)}, expected {list(shape)}")
    dtype = np.dtype(np.int8 if request.hybrid else np.float32)
    for name in request.matrices:
        given = constants[name]
        if given.data.dtype != dtype or (given.scale is None) == request.hybrid:
            raise KernelError(f"{name}: {dtype} expected, with a scale if these are codes")
    row = isa or isas.current()
    if isinstance(request, Svdf):
        return SvdfLayer(request, row, constants)
    return RecurrentLayer(request, row, constants)


def hybrid_pays(request: Request | Stateful, isa: isas.Isa | None = None) -> tuple[bool, str]:
    """Whether a layer with int8 weights is faster in int8 than with its weights made float.

    Quantizing a row costs a little for the row, for each of its elements and for each result; a
    layer with few products for each of these does not earn it back. Gives the reason, too.
    """
    row = isa or isas.current()
    if isinstance(request, Recurrent):
        # A step of the state is the part that waits for nothing else.
        cell = max(request.cells, key=lambda c: c.units)
        channels = cell.units * len(cell.gates)
        return hybrid_pays(FullyConnected(cell.outputs, channels, hybrid=True), row)
    if isinstance(request, Svdf):
        return hybrid_pays(FullyConnected(request.depth, request.filters, hybrid=True), row)
    if isinstance(request, DepthwiseConv2D):
        return False, "a depthwise product is bound by loads, not by arithmetic"
    if isinstance(request, FullyConnected):
        depth, channels, elements = request.depth, request.channels, request.depth
    else:
        _, *window, inside = weight_shape(request)
        depth, channels = math.prod(window) * inside, request.out_channels // request.groups
        # An input pixel is quantized once, and seen by a window for each output pixel near it.
        elements = inside * math.prod(request.stride)
    lanes = round_up(channels, row.dot.width)
    cycles_float = depth * lanes / row.real.rate
    per_row = 26 if isinstance(request, FullyConnected) or per_pixel(request) else 0
    extra = per_row + (2 * elements + 2 * lanes) / row.lanes
    cycles_hybrid = depth * lanes / row.dot.rate + extra
    what = f"{cycles_hybrid:.0f} cycles a row in int8, {cycles_float:.0f} in float"
    return cycles_hybrid < cycles_float, what


def weight_shape(request: Request) -> tuple[int, ...]:
    """The extents of the weights that ``request`` takes."""
    if isinstance(request, FullyConnected):
        return request.channels, request.depth
    if isinstance(request, Conv2D):
        return request.out_channels, *request.kernel, request.in_channels // request.groups
    return 1, *request.kernel, request.in_channels * request.multiplier


def _check(request: Request, weights: Array, bias: Array | None, scale: Array | None) -> None:
    shape = weight_shape(request)
    dtype = np.dtype(np.int8 if request.hybrid else np.float32)
    channels = shape[-1] if len(shape) == 4 and not isinstance(request, Conv2D) else shape[0]
    if weights.shape != shape or weights.dtype != dtype:
        raise KernelError(
            f"{request} takes {dtype} weights of shape {list(shape)}, "
            f"not {weights.dtype} of shape {list(weights.shape)}"
        )
    if request.hybrid and scale is None:
        raise KernelError(f"{request} needs the scales of its weights")
    for name, values, sizes in (("bias", bias, {channels}), ("scale", scale, {1, channels})):
        if values is not None and np.size(values) not in sizes:
            raise KernelError(
                f"{request}: {np.size(values)} values of {name} for {channels} channels"
            )
    if isinstance(request, Conv2D) and (
        request.in_channels % request.groups or request.out_channels % request.groups
    ):
        raise KernelError(f"{request}: the channels do not divide into {request.groups} groups")
