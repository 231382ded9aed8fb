"""From a request to the kernel that serves it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from octolite.errors import KernelError
from octolite.ir.types import UINT8, Array
from octolite.kernels import interleaved, matmul, pointwise, strassen, winograd
from octolite.kernels import isa as isas
from octolite.kernels.coded_softmax import CodedSoftmaxLayer
from octolite.kernels.copy import CopyLayer
from octolite.kernels.depthwise import DepthwiseLayer, QuantizedDepthwiseLayer
from octolite.kernels.expression import Expression
from octolite.kernels.extremum import ArgExtremumLayer
from octolite.kernels.integer_recurrent import IntegerRecurrentLayer
from octolite.kernels.interleaved import InterleavedLayer
from octolite.kernels.launch import Launch
from octolite.kernels.layers import ConvLayer, FullyConnectedLayer
from octolite.kernels.lookup import LookupLayer
from octolite.kernels.maps import MapLayer
from octolite.kernels.normalize import NormalizeLayer
from octolite.kernels.pack import round_up
from octolite.kernels.pointwise import PointwiseLayer
from octolite.kernels.pool import PoolLayer
from octolite.kernels.quantized import QuantizedLayer
from octolite.kernels.recurrent import RecurrentLayer
from octolite.kernels.reduce import ReduceLayer
from octolite.kernels.resize import ResizeLayer
from octolite.kernels.softmax import SoftmaxLayer
from octolite.kernels.sparse import SparseLookupLayer
from octolite.kernels.spec import (
    AnyRequest,
    ArgExtremum,
    BatchMatMul,
    CodedSoftmax,
    Constant,
    Constants,
    Conv2D,
    Copy,
    DepthwiseConv2D,
    FullyConnected,
    IntegerRecurrent,
    L2Normalization,
    Lookup,
    Pool2D,
    Quantized,
    Recode,
    Recurrent,
    Reduce,
    Request,
    Resize,
    Softmax,
    SparseLookup,
    Svdf,
    Table,
    TransposeConv2D,
    per_pixel,
)
from octolite.kernels.svdf import SvdfLayer
from octolite.kernels.table import RecodeLayer, TableLayer
from octolite.kernels.transpose_conv import ReversedConvLayer, TransposeConvLayer
from octolite.kernels.window import segments
from octolite.kernels.winograd import WinogradLayer


class Kernel(Protocol):
    """A layer with its constants packed and its code compiled."""

    label: str
    """For profiles: what it is, and for which instruction set."""

    @property
    def launch(self) -> Callable[..., Launch | None]:
        """Lays the layer out: shapes and geometry in, steps out. ``None`` where the reference had
        better run."""


Builder = Callable[[Any, isas.Isa, Constants], Kernel]


def build(
    request: AnyRequest, constants: Constants | None = None, isa: isas.Isa | None = None
) -> Kernel:
    """Pack the constants of ``request`` for this machine and have its code compiled.

    Args:
        request: what to compute.
        constants: by the names that the request has for them, in the layouts that its class
            documents: int8 codes and their scales for the matrices of a hybrid request, float32
            otherwise. Copied: the caller may drop its own.
        isa: the instruction set; ``None`` takes the best that runs here.

    Raises:
        KernelError: constants that do not fit the request, a function or activation that no kernel
            has, or an ``OCTOLITE_ISA`` that cannot run here.
    """
    fitting = _fitting(request, constants or {})
    return _BUILDERS[type(request)](request, isa or isas.current(), fitting)


def _plain(layer: Callable[[Any, isas.Isa], Kernel]) -> Builder:
    """The builder of a layer without constants."""
    return lambda request, isa, constants: layer(request, isa)


def _weighted(layer: Callable[..., Kernel]) -> Builder:
    """The builder of a layer that takes (request, isa, weights, bias, weight scale)."""

    def build_layer(request: Request, isa: isas.Isa, constants: Constants) -> Kernel:
        weights, bias = constants["weights"], constants.get("bias")
        return layer(request, isa, weights.data, None if bias is None else bias.data, weights.scale)

    return build_layer


def takes_residual(request: Conv2D, isa: isas.Isa | None = None) -> bool:
    """Whether the kernel of a 1×1 convolution can add a second input at no cost of its own.

    That of fewer products cannot, which gains more than the sum costs.
    """
    row = isa or isas.current()
    if not request.hybrid or strassen.tile_of(row) is None:
        return True
    return pointwise.tile_for(request, row) is not None


def _fully_connected(request: FullyConnected, isa: isas.Isa, weights: Array, *rest: Any) -> Kernel:
    lined = weights.reshape(request.channels, 1, request.depth)
    return FullyConnectedLayer(request, isa, lined, *rest)


def _convolution(request: Conv2D, isa: isas.Isa, weights: Array, *rest: Any) -> Kernel:
    if request.in_channels % request.groups or request.out_channels % request.groups:
        raise KernelError(f"{request}: the channels do not divide into {request.groups} groups")
    form = winograd.form_for(request, isa, weights)
    if form is not None:
        return WinogradLayer(request, isa, form, weights, *rest)
    lined = weights.reshape(request.out_channels, *segments(request))
    tile = pointwise.tile_for(request, isa)
    if tile is not None:
        return PointwiseLayer(request, isa, tile, lined, *rest)
    return ConvLayer(request, isa, lined, *rest)


def _quantized(request: Quantized, isa: isas.Isa, constants: Constants) -> Kernel:
    weights, bias = constants["weights"].data, constants.get("bias")
    expected = np.uint8 if request.dtype is UINT8 else np.int8
    if weights.dtype != expected:
        raise KernelError(f"{request}: the weights are {weights.dtype}, not {expected.__name__}")
    added = None if bias is None else bias.data
    if isinstance(request.layer, DepthwiseConv2D):
        layer = InterleavedLayer if interleaved.suits(request, isa) else QuantizedDepthwiseLayer
        return layer(request, isa, weights, added)
    lined = weights.reshape(request.layer.out_channels, *segments(request.layer))
    return QuantizedLayer(request, isa, lined, added)


def _transposed(request: TransposeConv2D, isa: isas.Isa, weights: Array, *rest: Any) -> Kernel:
    conv = request.as_convolution()
    if conv is None:
        return TransposeConvLayer(request, isa, weights, *rest)
    turned = np.ascontiguousarray(weights[:, ::-1, ::-1])
    return ReversedConvLayer(request, _convolution(conv, isa, turned, *rest))


_BUILDERS: Mapping[type[AnyRequest], Builder] = {
    FullyConnected: _weighted(_fully_connected),
    Conv2D: _weighted(_convolution),
    Quantized: _quantized,
    DepthwiseConv2D: _weighted(DepthwiseLayer),
    TransposeConv2D: _weighted(_transposed),
    Recurrent: RecurrentLayer,
    IntegerRecurrent: IntegerRecurrentLayer,
    Svdf: SvdfLayer,
    BatchMatMul: matmul.build,
    Pool2D: _plain(PoolLayer),
    Expression: _plain(MapLayer),
    Softmax: _plain(SoftmaxLayer),
    CodedSoftmax: _plain(CodedSoftmaxLayer),
    Table: _plain(TableLayer),
    L2Normalization: _plain(NormalizeLayer),
    Reduce: _plain(ReduceLayer),
    ArgExtremum: _plain(ArgExtremumLayer),
    Resize: _plain(ResizeLayer),
    Copy: _plain(CopyLayer),
    Recode: _plain(RecodeLayer),
    Lookup: _plain(LookupLayer),
    SparseLookup: _plain(SparseLookupLayer),
}


def _fitting(request: AnyRequest, constants: Constants) -> dict[str, Constant]:
    """The constants that ``request`` asks for, vectors without extents of 1 around them.

    Raises :class:`KernelError` for what is missing or does not fit.
    """
    who, found = type(request).__name__, {}
    for name, shape in request.shapes():
        given = constants.get(name)
        if given is None:
            if name not in request.optional:
                raise KernelError(f"{who} needs {name}")
            continue
        data = np.asarray(given.data)
        if len(shape) == 1 and data.size == shape[0]:
            data = data.reshape(-1)
        if len(data.shape) != len(shape) or any(
            a is not None and a != b for a, b in zip(shape, data.shape, strict=True)
        ):
            raise KernelError(f"{name} has shape {list(data.shape)}, {who} takes {list(shape)}")
        found[name] = Constant(data, given.scale)
    for name in request.matrices:
        if name in found:
            _check_numbers(request, name, found[name])
    return found


def _check_numbers(request: AnyRequest, name: str, given: Constant) -> None:
    """Raise :class:`KernelError` unless these are codes with scales, or floats, as asked for."""
    scales = 0 if given.scale is None else np.size(given.scale)
    takes, dtype, allowed = "float32", "float32", {0}
    if request.hybrid:
        takes, dtype, allowed = "int8 codes with a scale", "int8", {1}
        if isinstance(request, Request):
            takes, allowed = f"{takes} or {request.results}", {1, request.results}
    if given.data.dtype != dtype or scales not in allowed:
        raise KernelError(
            f"{name} is {given.data.dtype} with {scales} scales, "
            f"{type(request).__name__} takes {takes}"
        )


def hybrid_pays(request: AnyRequest, isa: isas.Isa | None = None) -> tuple[bool, str]:
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
    if isinstance(request, BatchMatMul) and request.constant is not None:
        sizes = request.constant[-2:]
        depth, channels = reversed(sizes) if request.adj_y else sizes
        return hybrid_pays(FullyConnected(depth, channels, hybrid=True), row)
    if isinstance(request, DepthwiseConv2D):
        return False, "a depthwise product is bound by loads, not by arithmetic"
    if isinstance(request, FullyConnected):
        depth, channels, elements = request.depth, request.channels, request.depth
    elif isinstance(request, Conv2D):
        _, *window, inside = request.weight_shape
        depth, channels = math.prod(window) * inside, request.out_channels // request.groups
        # An input pixel is quantized once, and seen by a window for each output pixel near it.
        elements = inside * math.prod(request.stride)
    elif isinstance(request, TransposeConv2D):
        # A pixel of the result sees the taps of one phase; an input pixel is seen by all phases.
        phases = math.prod(request.stride)
        depth = math.prod(request.kernel) * request.in_channels // phases
        channels, elements = request.out_channels, request.in_channels // phases
    else:
        return False, "no compiled hybrid kernel"
    tile = row.dot
    if isinstance(request, Conv2D):
        tile = pointwise.tile_for(request, row) or tile
    lanes = round_up(channels, row.dot.width)
    cycles_float = depth * lanes / row.real.rate
    by_row = isinstance(request, FullyConnected) or (
        isinstance(request, Conv2D) and per_pixel(request)
    )
    per_row = 26 if by_row else 0
    extra = per_row + (2 * elements + 2 * lanes) / row.lanes
    cycles_hybrid = depth * round_up(channels, tile.width) / tile.rate + extra
    what = f"{cycles_hybrid:.0f} cycles a row in int8, {cycles_float:.0f} in float"
    return cycles_hybrid < cycles_float, what
