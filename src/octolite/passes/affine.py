"""Arithmetic around convolutions and matrix products goes into their weights and biases.

All of them compute ``act(w · x + bias)`` with a weight and a bias for each output channel; what
is written here for one holds for all. Which axis of the weights is the channel comes from the
operator's quantization rule.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from octolite.ir.graph import Node, Value
from octolite.ir.types import FLOAT32, Activation, Array, Padding
from octolite.ops.base import Operator
from octolite.ops.shapes import window, window_padding
from octolite.passes.engine import Match, Rule, operator
from octolite.passes.folding import reshape
from octolite.passes.patterns import Pattern, const, op, some
from octolite.passes.shapes import at_most_one_unknown

WINDOWS = "CONV_2D DEPTHWISE_CONV_2D"
PRODUCTS = f"{WINDOWS} TRANSPOSE_CONV FULLY_CONNECTED"


class Product:
    """A node of :data:`PRODUCTS` with its parts by name."""

    def __init__(self, node: Node) -> None:
        assert isinstance(node.op, Operator)
        self.node, self.op = node, node.op
        self.activation: Activation = node.op.attributes()["activation"]
        self.weights_index = node.op.input_index("weights")
        self.bias_index = node.op.input_index("bias")
        self.weights = node.inputs[self.weights_index]
        self.bias = node.inputs[self.bias_index] if self.bias_index < len(node.inputs) else None
        self.axis = node.op.quant.weights["weights"]

    @property
    def kernel(self) -> Array:
        """The data of the weights, which must be constant."""
        assert self.weights is not None
        assert self.weights.data is not None
        return self.weights.data

    @property
    def channels(self) -> int:
        assert self.axis is not None
        return int(self.kernel.shape[self.axis])

    def fixed(self) -> str | None:
        """Why its weights or bias cannot be changed, or ``None``."""
        for value in (self.weights, self.bias):
            if value is not None and value.data is None:
                return f"{value.name!r} of {self.node} is not constant"
            if value is not None and (value.dtype is not FLOAT32 or value.quant is not None):
                return f"{value.name!r} of {self.node} is {value.dtype}, not float32"
        return None

    def each_channel(self, c: Value) -> Array | str:
        """``c`` as one number for each output channel, or why it is not that."""
        data, result = c.data, self.node.output.shape
        assert data is not None
        if data.size != 1 and (data.shape[-1] != self.channels or data.size != self.channels):
            return f"{c!r} is not one number for each of {self.channels} channels"
        if result is None or data.ndim > len(result):
            return f"{c!r} has more axes than {self.node.output!r}"
        return np.broadcast_to(data.reshape(-1), (self.channels,))

    def along_channels(self, factor: Array, axis: int | None = None) -> Array:
        """``factor`` [channels], shaped to broadcast over the weights."""
        shape = [1] * self.kernel.ndim
        shape[self.axis if axis is None else axis] = -1  # type: ignore[index]
        return factor.reshape(shape)

    def inputs(self, **changes: Value | None) -> list[Value | None]:
        """The inputs with some of ``weights``, ``bias`` and ``input`` changed."""
        inputs = [*self.node.inputs] + [None] * (self.bias_index + 1 - len(self.node.inputs))
        for name, value in changes.items():
            inputs[self.op.input_index(name)] = value
        return inputs

    @property
    def input_axis(self) -> int:
        """The axis of the weights that runs over the channels of the input, the last in all."""
        return self.kernel.ndim - 1

    def bias_data(self) -> Array:
        if self.bias is None or self.bias.data is None:
            return np.zeros(self.channels, np.float32)
        return self.bias.data


class IntoProduct(Rule):
    """Base: what follows a product and is one number ``c`` for each of its channels."""

    def check(self, match: Match) -> str | None:
        product = Product(match.node("y"))
        if product.activation is not Activation.NONE:
            return f"{product.node} has an activation before it"
        reason = product.fixed()
        if reason is not None:
            return reason
        each = product.each_channel(match["c"])
        return each if isinstance(each, str) else None

    def rewrite(self, match: Match) -> Value:
        product = Product(match.node("y"))
        each = product.each_channel(match["c"])
        assert not isinstance(each, str)
        inputs = self.fused(match, product, each)
        activation = match.root.op.attributes()["activation"]
        return match.add(product.op.replace(activation=activation), *inputs)

    @abstractmethod
    def fused(self, match: Match, product: Product, each: Array) -> list[Value | None]:
        """The inputs of the product with ``each`` [channels] taken in."""


class ScaleIntoWeights(IntoProduct):
    """``(w · x + b) · c`` is ``(w·c) · x + b·c``."""

    pattern = op("MUL", op(PRODUCTS, name="y"), const("c"))

    def fused(self, match: Match, product: Product, each: Array) -> list[Value | None]:
        scaled = product.kernel * product.along_channels(each)
        weights = match.constant(scaled, like=product.weights)
        bias = product.bias
        if bias is not None:
            bias = match.constant(product.bias_data() * each, like=bias)
        return product.inputs(weights=weights, bias=bias)


class ShiftIntoBias(IntoProduct):
    """``(w · x + b) + c`` is ``w · x + (b + c)``."""

    pattern = op("ADD", op(PRODUCTS, name="y"), const("c"))

    def fused(self, match: Match, product: Product, each: Array) -> list[Value | None]:
        bias = match.constant(product.bias_data() + each, like=product.bias or match["c"])
        return product.inputs(bias=bias)


# -- what comes before --------------------------------------------------------------------------


class BeforeProduct(Rule):
    """Base: what comes before a product and is one number ``c`` for each channel of its input."""

    def check(self, match: Match) -> str | None:
        product, c, x = Product(match.root), match["c"], match["x"]
        reason = product.fixed() or self._does_not_fit(product, c, x)
        if reason is None and match.node("y").op.attributes()["activation"] is not Activation.NONE:
            reason = f"{match.node('y')} has an activation"
        return reason

    @staticmethod
    def _does_not_fit(product: Product, c: Value, x: Value) -> str | None:
        assert c.data is not None
        weights = product.weights
        assert weights is not None
        assert weights.data is not None
        if x.shape is None or c.data.ndim > len(x.shape):
            return f"{c!r} has more axes than {x!r}"
        depth = x.shape[-1]
        if depth is None or depth != weights.data.shape[product.input_axis]:
            return f"the channels of {x!r} are not those that {weights!r} reads"
        if c.data.size != 1 and (c.data.shape[-1] != depth or c.data.size != depth):
            return f"{c!r} is not one number for each of {depth} channels"
        return None

    @staticmethod
    def each(match: Match, product: Product) -> Array:
        """``c``, shaped to broadcast over the weights."""
        axis = product.input_axis
        depth = product.kernel.shape[axis]
        each = np.broadcast_to(match.data("c").reshape(-1), (depth,))
        return product.along_channels(each, axis)


class ScaleBeforeProduct(BeforeProduct):
    """``w · (x · c)`` is ``(w·c) · x``: what pads the border stays 0."""

    pattern = op(f"{WINDOWS} FULLY_CONNECTED", op("MUL", some("x"), const("c"), name="y"))

    def rewrite(self, match: Match) -> Value:
        product = Product(match.root)
        scaled = product.kernel * self.each(match, product)
        weights = match.constant(scaled, like=product.weights)
        return match.add(product.op, *product.inputs(input=match["x"], weights=weights))


class ShiftBeforeProduct(BeforeProduct):
    """``w · (x + c) + b`` is ``w · x + (w · c + b)``, where nothing is padded."""

    pattern = op(f"{WINDOWS} FULLY_CONNECTED", op("ADD", some("x"), const("c"), name="y"))

    def check(self, match: Match) -> str | None:
        reason = super().check(match)
        if reason is None and not covers_no_border(Product(match.root)):
            reason = "the border is padded with zeros, to which nothing is added"
        return reason

    def rewrite(self, match: Match) -> Value:
        product = Product(match.root)
        moved = product.kernel * self.each(match, product)
        others = tuple(i for i in range(moved.ndim) if i != product.axis)
        bias = match.constant(
            product.bias_data() + moved.sum(axis=others), like=product.bias or match["c"]
        )
        return match.add(product.op, *product.inputs(input=match["x"], bias=bias))


def covers_no_border(product: Product) -> bool:
    attributes = product.op.attributes()
    if "padding" not in attributes or attributes["padding"] is Padding.VALID:
        return True
    assert product.weights is not None
    return (product.weights.shape or ())[1:3] == (1, 1)


# -- padding ------------------------------------------------------------------------------------


class PadIntoWindows(Rule):
    """PAD before a VALID convolution is the padding SAME, when it pads as much."""

    pattern = op(WINDOWS, op("PAD", some("x"), const("paddings"), name="pad", shared=True))

    def check(self, match: Match) -> str | None:
        paddings = match.data("paddings").tolist()
        if match.root.op.attributes()["padding"] is Padding.SAME:
            return f"{match.root} pads by itself already"
        if len(paddings) != 4 or any(paddings[0]) or any(paddings[3]):
            return f"{match.node('pad')} pads batch or channels: {paddings}"
        return why_not_same(match.root, match["x"], paddings[1:3])

    def rewrite(self, match: Match) -> Value:
        same = operator(match.root).replace(padding=Padding.SAME)
        return match.add(same, match["x"], *match.root.inputs[1:])


def why_not_same(
    node: Node, x: Value, pads: Sequence[Sequence[int]], dilation: Sequence[int] | None = None
) -> str | None:
    """Why padding ``x`` by ``pads`` is not what SAME would do for ``node``, or ``None``.

    With stride 1 SAME pads by the kernel alone; otherwise the image's extents must be known.
    """
    o, weights = operator(node), node.inputs[1]
    if x.shape is None or weights is None or weights.shape is None:
        return f"the shape of {x.name!r} is not known"
    strides = (o.stride_h, o.stride_w)
    dilations = dilation or (o.dilation_h_factor, o.dilation_w_factor)
    for i, name in enumerate(("rows", "columns")):
        size, kernel = x.shape[1 + i], weights.shape[1 + i]
        if kernel is None or (size is None and strides[i] != 1):
            return f"with stride {strides[i]}, SAME depends on the {name} of {x!r}"
        # With stride 1 any size will do.
        same = window_padding(size or 1, kernel, strides[i], dilations[i], Padding.SAME)
        if same != tuple(pads[i]):
            return f"it pads {name} by {tuple(pads[i])}, SAME by {same}"
        if size is not None:
            padded = size + sum(pads[i])
            valid = window(padded, kernel, strides[i], dilations[i], Padding.VALID)
            if valid != window(size, kernel, strides[i], dilations[i], Padding.SAME):
                return f"SAME gives another number of {name}"
    return None


# -- views between a product and what could join it ---------------------------------------------


class PastView(Rule):
    """What works element by element moves before a RESHAPE, to the product that it can join."""

    pattern = op(
        "ADD MUL RELU RELU6 RELU_N1_TO_1",
        op("RESHAPE", op(PRODUCTS, name="y"), name="view"),
    )

    def check(self, match: Match) -> str | None:
        view, root = match["view"], match.root
        if len(root.inputs) == 1:
            return None
        if Product(match.node("y")).fixed() is not None:
            return Product(match.node("y")).fixed()
        c = root.inputs[1]
        if c is None or c.data is None:
            return ""
        channels = Product(match.node("y")).channels
        if view.shape is None or c.data.size not in (1, channels):
            return f"{c!r} is not one number for each of {channels} channels"
        each = tuple(d for d in c.data.shape if d != 1)
        if c.data.size != 1 and each != view.shape[len(view.shape) - len(each) :]:
            return f"{match.node('view')} moves the channels"
        if at_most_one_unknown(view.shape) is None or c.data.ndim > len(view.shape):
            return f"{match.node('view')} has more than one unknown extent"
        return None

    def rewrite(self, match: Match) -> Value:
        root, view = match.root, match.node("view")
        c = root.inputs[1] if len(root.inputs) == 2 else None
        operands = [match["y"]]
        if c is not None and c.data is not None:
            operands.append(match.constant(c.data.reshape(-1), like=c))
        moved = match.add(root.op, *operands)
        return match.add(view.op, moved, *view.inputs[1:])


class ProductOfRows(Rule):
    """RESHAPE to rows, FULLY_CONNECTED, RESHAPE back: FULLY_CONNECTED that keeps the axes."""

    pattern = op(
        "RESHAPE",
        op("FULLY_CONNECTED", op("RESHAPE", some("x"), name="rows", shared=True), name="y"),
    )

    def check(self, match: Match) -> str | None:
        x, y, result = match["x"].shape, match["y"].shape, match.root.output.shape
        weights = match.node("y").inputs[1]
        if x is None or y is None or result is None or weights is None or weights.shape is None:
            return "a shape is not known"
        if len(x) != len(result) or x[:-1] != result[:-1] or sum(d is None for d in x) > 1:
            return f"{match['x']!r} and {match.root.output!r} differ in more than their channels"
        if x[-1] != weights.shape[1] or result[-1] != weights.shape[0]:
            return f"the channels of {match['x']!r} are not those that {weights!r} reads"
        return None

    def rewrite(self, match: Match) -> Value:
        node = match.node("y")
        keep = operator(node).replace(keep_num_dims=True)
        return match.add(keep, match["x"], *node.inputs[1:])


class MatMulByConstant(Rule):
    """BATCH_MATMUL by a constant matrix is FULLY_CONNECTED."""

    pattern = op("BATCH_MATMUL", some("x"), const("w"))

    def check(self, match: Match) -> str | None:
        x, w = match["x"], match["w"]
        if len(w.shape or ()) != 2:
            return f"{w!r} is not one matrix"
        if w.dtype is not FLOAT32 or x.dtype is not FLOAT32:
            return f"{x.name!r} is {x.dtype} and {w.name!r} {w.dtype}, not float32"
        if x.shape is None or len(x.shape) < 2:
            return f"the rank of {x.name!r} is not known"
        return None

    def rewrite(self, match: Match) -> Value:
        o, x, w = operator(match.root), match["x"], match["w"]
        rank = len(x.shape or ())
        if o.adj_x:
            perm = np.array([*range(rank - 2), rank - 1, rank - 2], np.int32)
            x = match.add("TRANSPOSE", x, match.constant(perm))
        if not o.adj_y:
            w = match.constant(np.ascontiguousarray(match.data("w").T), like=w)
        return match.add("FULLY_CONNECTED", x, w, None, keep_num_dims=rank > 2)


class TransposeIntoMatMul(Rule):
    """BATCH_MATMUL of a matrix whose last two axes were exchanged reads it as it was."""

    def __init__(self, operand: str) -> None:
        moved = op("TRANSPOSE", some("matrix"), const("perm"), shared=True)
        other = some("other")
        self.operand = operand
        self.pattern = op("BATCH_MATMUL", *((moved, other) if operand == "x" else (other, moved)))

    def check(self, match: Match) -> str | None:
        perm = match.data("perm").tolist()
        swap = [*range(len(perm) - 2), len(perm) - 1, len(perm) - 2]
        return None if perm == swap else f"it moves axes {perm}, not the last two alone"

    def rewrite(self, match: Match) -> Value:
        flag = f"adj_{self.operand}"
        flipped = operator(match.root).replace(**{flag: not getattr(match.root.op, flag)})
        operands = [match["matrix"], match["other"]]
        return match.add(flipped, *(operands if self.operand == "x" else reversed(operands)))


class FlattenedTranspose(Rule):
    """FULLY_CONNECTED of a flattened TRANSPOSE reads the tensor as it is, by rearranged weights."""

    pattern = op(
        "FULLY_CONNECTED",
        op(
            "RESHAPE",
            op("TRANSPOSE", some("x"), const("perm"), name="moved", shared=True),
            name="flat",
            shared=True,
        ),
    )

    def check(self, match: Match) -> str | None:
        product, x = Product(match.root), match["x"]
        flat, weights = match["flat"].shape, product.weights
        if product.fixed() is not None or weights is None:
            return product.fixed()
        if match.data("perm")[0] != 0 or x.shape is None or None in x.shape[1:]:
            return f"the extents of {x!r} are not known, or its batch moves"
        size = int(np.prod(x.shape[1:], dtype=np.int64))  # type: ignore[arg-type]
        if flat is None or flat[1:] != (size,) or weights.shape != (product.channels, size):
            return f"{match['flat']!r} is not all of an image in one row"
        return None

    def rewrite(self, match: Match) -> Value:
        product, x = Product(match.root), match["x"]
        assert x.shape is not None
        perm = match.data("perm")
        moved = [x.shape[i] for i in perm[1:]]
        back = np.argsort(perm)
        rows = product.kernel.reshape(product.channels, *moved).transpose(back)
        weights = match.constant(
            np.ascontiguousarray(rows).reshape(product.channels, -1), like=product.weights
        )
        flat = reshape(match, x, [-1, weights.data.shape[1]])  # type: ignore[union-attr]
        return match.add(product.op, *product.inputs(input=flat, weights=weights))


class ZeroBias(Rule):
    """A convolution without bias gets one of zeros: some run times take it for granted."""

    pattern: Pattern = op(WINDOWS)

    def check(self, match: Match) -> str | None:
        product = Product(match.root)
        return "" if product.bias is not None else product.fixed()

    def rewrite(self, match: Match) -> None:
        product = Product(match.root)
        zeros = Value.constant(f"{match.root.output.name}/bias", product.bias_data())
        match.root.inputs = product.inputs(bias=zeros)


RULES: tuple[Rule, ...] = (
    MatMulByConstant(),
    TransposeIntoMatMul("x"),
    TransposeIntoMatMul("y"),
    ShiftIntoBias(),
    ScaleIntoWeights(),
    ScaleBeforeProduct(),
    ShiftBeforeProduct(),
    PadIntoWindows(),
    PastView(),
    ProductOfRows(),
    FlattenedTranspose(),
)

COMPLETION: tuple[Rule, ...] = (ZeroBias(),)
