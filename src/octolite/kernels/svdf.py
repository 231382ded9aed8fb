"""SVDF: a product of the input with every filter, and what the filters make of their memory.

The product is a fully connected layer. Then a filter's memory moves on by one, forgetting its
oldest element, and is multiplied by the filter's weights in time; the filters of a unit add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from octolite.errors import KernelError
from octolite.ir.types import Array
from octolite.kernels import jit, maths
from octolite.kernels.clamp import bounds
from octolite.kernels.isa import Isa
from octolite.kernels.jit import Unit
from octolite.kernels.launch import INPUT, OUTPUT, SECOND, Launch
from octolite.kernels.layers import FullyConnectedLayer
from octolite.kernels.record import Record
from octolite.kernels.recurrent import Constant
from octolite.kernels.simd import F32, I64, PTR, Builder, Value, vec
from octolite.kernels.spec import FullyConnected, Svdf

# Elements of memory that make a tile worth its dispatch.
_TILE = 16384

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
        last = k.smin(first + args.part, args.units)
        out = args.out + row * args.units * 4
        with k.loop(first, last) as units:
            start = (row * args.units + units.index) * args.rank
            k.store(_remember(k, isa, args, start, units.index), out + units.index * 4)
        kind = vec(F32, isa.lanes)
        with k.loop(first, last, isa.lanes) as loop:
            at, mask = loop.index * 4, k.first(last - loop.index, isa.lanes)
            x = k.load_first(kind, out + at, mask) + k.load_first(kind, args.bias + at, mask)
            x = maths.tanh(k, x) if curved else maths.clamp(k, x, args.low, args.high)
            k.store_first(x, out + at, mask)
        k.ret()

    return Unit(f"svdf tanh={curved}", ("svdf",), emit)


def _remember(k: Builder, isa: Isa, args: SimpleNamespace, start: Value, which: Value) -> Value:
    """Append the products from ``start`` on to the memory of a unit's filters; gives the sum of
    this memory times the weights of the unit ``which``."""
    kind = vec(F32, isa.lanes)
    older = args.memory - 1
    whole = older // isa.lanes * isa.lanes
    mask = k.first(older - whole, isa.lanes)
    nothing = [k.const(kind, 0.0), k.const(F32, 0.0)]
    with k.loop(0, args.rank, carry=nothing) as filters:
        sums, newest = filters.carry
        state = args.state + (start + filters.index) * args.memory * 4
        time = args.time + (which * args.rank + filters.index) * args.memory * 4
        with k.loop(0, whole, isa.lanes, carry=[sums]) as loop:
            at = loop.index * 4
            x = k.load(kind, state + (at + 4))
            k.store(x, state + at)
            loop.carry = [k.fma(x, k.load(kind, time + at), loop.carry[0])]
        at = whole * 4
        x = k.load_first(kind, state + (at + 4), mask)
        k.store_first(x, state + at, mask)
        sums = k.fma(x, k.load_first(kind, time + at, mask), loop.carry[0])
        product = k.load(F32, args.products + (start + filters.index) * 4)
        k.store(product, state + older * 4)
        filters.carry = [sums, newest + product * k.load(F32, time + older * 4)]
    sums, newest = filters.carry
    return k.fold(sums, lambda a, b: a + b) + newest


class SvdfLayer:
    """An :class:`~octolite.kernels.spec.Svdf` ready to be launched; its steps leave the state as
    the operator does."""

    def __init__(self, request: Svdf, isa: Isa, constants: Mapping[str, Constant]) -> None:
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
