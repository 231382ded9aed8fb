"""SVDF: a product of the input with every filter, and what the filters make of their memory.

The product is a fully connected layer. Then a filter's memory moves on by one, forgetting its
oldest element, and is multiplied by the filter's weights in time; the filters of a unit add up.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from octolite.errors import KernelError
from octolite.ir.types import Array
from octolite.kernels import jit, maths
from octolite.kernels.cell import copy_floats
from octolite.kernels.clamp import bounds
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, SECOND, Launch
from octolite.kernels.layers import FullyConnectedLayer
from octolite.kernels.record import Record
from octolite.kernels.simd import F32, I64, PTR, Builder, Value, vec
from octolite.kernels.spec import Constants, FullyConnected, Svdf

# Elements of memory in a tile: enough to be worth its dispatch, and they stay in the first cache.
_TILE = 4096

ARGS = Record(
    products=PTR,  # float32 [rows, filters]: of the input
    state=PTR,  # float32 [rows, filters, memory], oldest first; a variable
    time=PTR,  # float32 [filters, memory]
    bias=PTR,  # float32 [units]
    out=PTR,  # float32 [rows, units]
    units=I64,
    rank=I64,  # filters of a unit
    memory=I64,
    part=I64,  # units of a tile
    parts=I64,  # tiles of a row
    low=F32,  # the activation clamps to these
    high=F32,
)


def unit(curved: bool) -> Unit:
    """``svdf(args, tile)``: a part of the units of a row."""

    def emit(module: Any, isa: Isa) -> None:
        k = Builder(module, "svdf", (PTR, I64))
        args = ARGS.load(k, k.args[0])
        row, first = k.args[1] // args.parts, k.args[1] % args.parts * args.part
        count = k.smin(args.part, args.units - first)
        start = row * args.units + first  # among the units of all rows
        out = args.out + start * 4
        with k.loop(0, count) as units:
            found = _product(k, isa, args, start + units.index, first + units.index)
            k.store(found, out + units.index * 4)
        _append(k, isa, args, start * args.rank, count * args.rank)
        kind, bias = vec(F32, isa.lanes), args.bias + first * 4
        with k.loop(0, count, isa.lanes) as loop:
            at, mask = loop.index * 4, k.first(count - loop.index, isa.lanes)
            x = k.load_first(kind, out + at, mask) + k.load_first(kind, bias + at, mask)
            x = maths.tanh(k, x) if curved else maths.clamp(k, x, args.low, args.high)
            k.store_first(x, out + at, mask)
        k.ret()

    return Unit(f"svdf tanh={curved}", ("svdf",), emit)


def _product(k: Builder, isa: Isa, args: SimpleNamespace, place: Value, which: Value) -> Value:
    """What the filters of the unit ``which`` will remember, the oldest gone, times their weights.
    ``place``: of the unit, among those of all rows."""
    kind = vec(F32, isa.lanes)
    older = args.memory - 1
    whole = older // isa.lanes * isa.lanes
    mask = k.first(older - whole, isa.lanes)
    nothing = [k.const(kind, 0.0), k.const(F32, 0.0)]
    with k.loop(0, args.rank, carry=nothing) as filters:
        sums, newest = filters.carry
        mine = place * args.rank + filters.index
        state = args.state + (mine * args.memory + 1) * 4
        time = args.time + (which * args.rank + filters.index) * args.memory * 4
        with k.loop(0, whole, isa.lanes, carry=[sums]) as loop:
            x, y = (k.load(kind, at + loop.index * 4) for at in (state, time))
            loop.carry = [k.fma(x, y, loop.carry[0])]
        x, y = (k.load_first(kind, at + whole * 4, mask) for at in (state, time))
        sums = k.fma(x, y, loop.carry[0])
        product = k.load(F32, args.products + mine * 4)
        filters.carry = [sums, newest + product * k.load(F32, time + older * 4)]
    sums, newest = filters.carry
    return k.fold(sums, lambda a, b: a + b) + newest


def _append(k: Builder, isa: Isa, args: SimpleNamespace, first: Value, count: Value) -> None:
    """Move the memory of ``count`` filters on by one: all of it at once, the newest then set."""
    state, size = args.state + first * args.memory * 4, args.memory * 4
    copy_floats(k, isa, state + 4, state, count * args.memory - 1)
    with k.loop(0, count) as filters:
        product = k.load(F32, args.products + (first + filters.index) * 4)
        k.store(product, state + ((filters.index + 1) * size - 4))


class SvdfLayer:
    """An :class:`~octolite.kernels.spec.Svdf` ready to be launched; its steps leave the state as
    the operator does."""

    def __init__(self, request: Svdf, isa: Isa, constants: Constants) -> None:
        features, bias = constants["weights_feature"], constants.get("bias")
        self.request = request
        self.label = f"{'hybrid' if request.hybrid else 'float'} svdf {isa.name}"
        self.low, self.high, curved = bounds(request.activation)
        self.time: Array = np.ascontiguousarray(constants["weights_time"].real)
        self.bias = np.zeros(request.units, np.float32)
        if bias is not None:
            self.bias[...] = bias.real
        products = FullyConnected(
            request.depth, request.filters, hybrid=request.hybrid, asymmetric=request.asymmetric
        )
        lined = features.data[:, None, :]
        self.products = FullyConnectedLayer(products, isa, lined, None, features.scale)
        self._fn = jit.load(unit(curved), isa)["svdf"]

    def launch(self, input_shape: tuple[int, ...], threads: int = 1) -> Launch:
        """Lay the layer out for ``input_shape`` [batch, depth]; the steps take the addresses of
        the input and of the state. Raises :class:`KernelError` for a shape that does not fit."""
        request = self.request
        if len(input_shape) != 2 or input_shape[1] != request.depth:
            raise KernelError(f"rows of {request.depth} expected, not {list(input_shape)}")
        batch = input_shape[0]
        launch = Launch((batch, request.units), batch * request.filters * request.memory)
        if 0 in launch.output_shape:
            return launch
        products = launch.reserve(batch * request.filters * 4)
        part = max(1, _TILE // (request.rank * request.memory))
        parts = -(-request.units // part)
        launch.include(
            self.products.launch(input_shape, threads=threads), input0=INPUT, output0=products
        )
        launch.add(
            self.label,
            self._fn,
            ARGS,
            batch * parts,
            products=products,
            state=SECOND,
            time=self.time,
            bias=self.bias,
            out=OUTPUT,
            units=request.units,
            rank=request.rank,
            memory=request.memory,
            part=part,
            parts=parts,
            low=self.low,
            high=self.high,
        )
        return launch
