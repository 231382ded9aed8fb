"""Products of stacks of matrices: the right side a constant, or packed while the model runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from octolite.ir.types import Activation, Array
from octolite.kernels import pack, products
from octolite.kernels.clamp import bounds
from octolite.kernels.copy import CopyLayer
from octolite.kernels.isa import Isa
from octolite.kernels.launch import INPUT, OUTPUT, SECOND, Launch, Place
from octolite.kernels.layers import FullyConnectedLayer
from octolite.kernels.products import Product, Rows
from octolite.kernels.spec import MOST_MATRICES, BatchMatMul, Constants, Copy, FullyConnected
from octolite.kernels.views import Move, View
from octolite.kernels.window import Image, expect

Shape = tuple[int, ...]


def build(request: BatchMatMul, isa: Isa, constants: Constants) -> ConstantMatMul | MatMul:
    """The layer for a right side that is a constant or is not."""
    if request.constant is None:
        return MatMul(request, isa)
    y = constants["y"]
    return ConstantMatMul(request, isa, y.data, y.scale)


@dataclass(frozen=True)
class Stacks:
    """``out[…, m, n] = x[…, m, k] · y[…, k, n]`` with the leading axes of both made one.

    ``shape``: of the result; ``left``, ``out`` [stack, rows]: for each matrix of y, the rows of x
    that are multiplied by it, and the rows of the result that come of them.
    """

    shape: Shape
    depth: int
    columns: int
    left: Array
    out: Array

    @classmethod
    def of(cls, request: BatchMatMul, x: Shape, y: Shape) -> Stacks:
        (m, k), (depth, n) = _upright(x, request.adj_x), _upright(y, request.adj_y)
        expect("depth of the right side", k, depth)
        batch = np.broadcast_shapes(x[:-2], y[:-2])
        which_x, which_y = (
            np.broadcast_to(np.arange(math.prod(s[:-2])).reshape(s[:-2]), batch).ravel()
            for s in (x, y)
        )
        stack = math.prod(y[:-2])
        # Every matrix of y is met by as many of x as any other.
        order = np.argsort(which_y, kind="stable").reshape(stack, len(which_y) // max(stack, 1))
        row = np.arange(m)
        left, out = (
            (i[:, :, None] * m + row).reshape(stack, order.shape[1] * m)
            for i in (which_x[order], order)
        )
        return cls((*batch, m, n), k, n, left, out)


def _upright(shape: Shape, turned: bool) -> tuple[int, int]:
    rows, columns = shape[-2:]
    return (columns, rows) if turned else (rows, columns)


class ConstantMatMul:
    """The right side is a constant: each of its matrices is a fully connected layer."""

    def __init__(
        self, request: BatchMatMul, isa: Isa, weights: Array, weight_scale: Array | None
    ) -> None:
        depth, channels = _upright(weights.shape, request.adj_y)
        each = FullyConnected(depth, channels, hybrid=request.hybrid, asymmetric=request.asymmetric)
        upright = weights if request.adj_y else np.swapaxes(weights, -1, -2)
        self.request = request
        self.y_shape = weights.shape
        self.layers = [
            FullyConnectedLayer(each, isa, w[:, None], None, weight_scale)
            for w in upright.reshape(math.prod(weights.shape[:-2]), channels, depth)
        ]
        kind = "hybrid" if request.hybrid else "float"
        self.label = self.layers[0].label if self.layers else f"{kind} {isa.name}"
        self._copy = CopyLayer(Copy(4), isa)

    def launch(self, input_shape: Shape, y_shape: Shape | None = None, threads: int = 1) -> Launch:
        """Lay the product out for ``input_shape``, the extents of x."""
        stacks = Stacks.of(self.request, input_shape, self.y_shape)
        launch = Launch(stacks.shape, 0)
        if 0 in stacks.shape:
            return launch
        left = rows_of(launch, self._copy, self.request, input_shape, threads)
        depth, columns = stacks.depth, stacks.columns
        for layer, rows, out in zip(self.layers, stacks.left, stacks.out, strict=True):
            one = layer.launch(
                (len(rows), depth),
                threads=threads,
                row_at=rows * (depth * 4),
                out_at=out * (columns * 4),
            )
            launch.include(one, input0=left, output0=OUTPUT)
        return launch


class MatMul:
    """Both sides are known only when the model runs: the right one is packed then."""

    def __init__(self, request: BatchMatMul, isa: Isa) -> None:
        tile = isa.real
        self.request = request
        self.isa = isa
        self.tile = tile
        self.label = f"float dot {tile.name} {tile.heights[-1]}x{tile.width} {isa.name}"
        self._copy = CopyLayer(Copy(4), isa)

    def launch(self, input_shape: Shape, y_shape: Shape, threads: int = 1) -> Launch | None:
        """Lay the product out for the extents of x and y; ``None`` for too many matrices."""
        stacks = Stacks.of(self.request, input_shape, y_shape)
        launch = Launch(stacks.shape, 0)
        if 0 in stacks.shape:
            return launch
        if len(stacks.out) > MOST_MATRICES:
            return None
        depth, columns, tile = stacks.depth, stacks.columns, self.tile
        left = rows_of(launch, self._copy, self.request, input_shape, threads)
        right = self._pack(launch, y_shape, threads)
        rows = Rows.of_tile(
            tile, stacks.left * (depth * 4), stacks.out * (columns * 4), np.zeros(stacks.out.shape)
        )
        panels = pack.panels(tile, np.zeros((columns, 1, 0), np.float32), 1, None, None)
        image = Image(left, math.prod(input_shape) * 4, depth * 4)
        each = panels.count * depth * tile.width * 4
        found = [
            Product(
                image,
                rows.part(i),
                np.zeros(1, np.int64),
                depth,
                panels,
                Place(right.base, right.offset + i * each),
                depth * tile.width * 4,
            )
            for i in range(len(stacks.out))
        ]
        launch.macs = sum(p.macs(tile) for p in found)
        products.add(launch, self.label, self.isa, tile, found, bounds(Activation.NONE), threads)
        return launch

    def _pack(self, launch: Launch, y_shape: Shape, threads: int) -> Place:
        """Panels of the matrices of y: [matrix, panel, depth, width]. What pads the last panel is
        left as it is found: nobody reads what comes of it."""
        depth, columns = _upright(y_shape, self.request.adj_y)
        stack, width = math.prod(y_shape[:-2]), self.tile.width
        count = -(-columns // width)
        source = View.of((stack, *y_shape[-2:]))
        if self.request.adj_y:
            source = source.transposed((0, 2, 1))
        target = View.of((stack, count, depth, width))
        whole = columns // width
        moves = [
            Move(
                source.part(2, 0, whole * width).split(2, whole, width).transposed((0, 2, 1, 3)),
                target.part(1, 0, whole),
            ),
            Move(
                source.part(2, whole * width, columns % width),
                target.at(1, count - 1).part(2, 0, columns % width),
            ),
        ]
        packed = launch.reserve(math.prod(target.shape) * 4)
        copies = self._copy.launch(
            y_shape, target.shape, [m for m in moves if 0 not in m.source.shape], threads
        )
        launch.include(copies, input0=SECOND, output0=packed)
        return packed


def rows_of(launch: Launch, copy: CopyLayer, request: BatchMatMul, x: Shape, threads: int) -> Place:
    """Where the rows of x lie side by side, whichever way it is stored."""
    if not request.adj_x or 1 in x[-2:]:
        return INPUT
    target = launch.reserve(math.prod(x) * 4)
    turned = View.of((math.prod(x[:-2]), *x[-2:])).transposed((0, 2, 1))
    move = Move(turned, View.of(turned.shape))
    copies = copy.launch(x, turned.shape, [move], threads)
    launch.include(copies, input0=INPUT, output0=target)
    return target
