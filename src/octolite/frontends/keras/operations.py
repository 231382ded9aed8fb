"""Operations that are called on values between layers: ``keras.ops`` and TensorFlow's functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from octolite.errors import UnsupportedError
from octolite.frontends.einsum import einsum
from octolite.frontends.keras.activations import ACTIVATIONS
from octolite.frontends.keras.engine import Call, Nest, layer
from octolite.frontends.keras.inputs import DTYPES
from octolite.ir.graph import Value
from octolite.ir.types import BOOL, INT32

BINARY = {
    "ADD": "Add __operators__.add math.add", "SUB": "Subtract math.subtract",
    "MUL": "Multiply math.multiply", "DIV": "TrueDivide Divide math.truediv math.divide",
    "POW": "Power math.pow", "MAXIMUM": "Maximum math.maximum", "MINIMUM": "Minimum math.minimum",
    "FLOOR_DIV": "FloorDivide math.floordiv compat.v1.floor_div", "FLOOR_MOD": "Mod math.floormod",
    "SQUARED_DIFFERENCE": "math.squared_difference",
    "GREATER": "Greater math.greater", "GREATER_EQUAL": "GreaterEqual math.greater_equal",
    "LESS": "Less math.less", "LESS_EQUAL": "LessEqual math.less_equal",
    "EQUAL": "Equal math.equal __operators__.eq",
    "NOT_EQUAL": "NotEqual math.not_equal __operators__.ne",
    "LOGICAL_AND": "LogicalAnd math.logical_and", "LOGICAL_OR": "LogicalOr math.logical_or",
}  # fmt: skip
"""TFLite operator → operations of two values."""

UNARY = {
    "ABS": "Absolute math.abs", "NEG": "Negative math.negative", "EXP": "Exp math.exp",
    "LOG": "Log math.log", "SQRT": "Sqrt math.sqrt", "RSQRT": "Rsqrt math.rsqrt",
    "SIN": "Sin math.sin", "COS": "Cos math.cos", "FLOOR": "Floor math.floor",
    "CEIL": "Ceil math.ceil", "ROUND": "Round math.round", "SIGN": "Sign math.sign",
    "LOGICAL_NOT": "LogicalNot math.logical_not",
}  # fmt: skip
"""TFLite operator → operations of one value."""

REDUCTIONS = {
    "MEAN": "Mean math.reduce_mean", "SUM": "Sum math.reduce_sum",
    "REDUCE_MAX": "Max math.reduce_max",
    "REDUCE_MIN": "Min math.reduce_min", "REDUCE_PROD": "Prod math.reduce_prod",
    "REDUCE_ANY": "Any math.reduce_any", "REDUCE_ALL": "All math.reduce_all",
}  # fmt: skip

FUNCTIONS = (
    "Relu nn.relu", "Relu6 nn.relu6", "Sigmoid math.sigmoid", "Tanh math.tanh",
    "Softmax nn.softmax",
    "LogSoftmax nn.log_softmax", "Gelu nn.gelu", "Elu nn.elu", "Selu nn.selu", "Silu nn.silu",
    "LeakyRelu nn.leaky_relu", "Softplus math.softplus", "Softsign nn.softsign", "HardSigmoid",
    "HardSilu", "LogSigmoid math.log_sigmoid", "Celu", "Glu", "HardTanh", "TanhShrink",
    "SoftShrink", "HardShrink", "Squareplus", "SparsePlus", "Sparsemax", "Threshold",
)  # fmt: skip
"""Activation functions, which are called as operations too."""

_FROM_TF = {"input_tensor": "x", "tensor": "x", "input": "x", "a": "x", "values": "x",
            "features": "x", "logits": "x", "value": "x"}  # fmt: skip


def _matters(n: Call, name: str, value: Any, known: Mapping[str, Any]) -> bool:
    """Whether an argument is one of the ``known``; others may only say what is so anyway."""
    if name not in known and not isinstance(value, Value) and value:
        raise UnsupportedError(f"{n.layer.names[-1]} with {name} {value!r}")
    return name in known


def operation(names: str) -> Callable[[Callable[..., Nest]], Callable[..., Nest]]:
    """Register ``(call, x, …, settings) -> value``; TensorFlow's names begin with a small letter.

    What Keras 3 has in the configuration and TensorFlow among the arguments are settings alike.
    """

    def register(function: Callable[..., Nest]) -> Callable[..., Nest]:
        parameters = inspect.signature(function).parameters
        anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())

        def lowering(n: Call, *inputs: Nest, **given: Nest) -> Nest:
            named = {_FROM_TF.get(k, k): v for k, v in given.items() if k != "name"}
            named = {k: v for k, v in named.items() if anything or _matters(n, k, v, parameters)}
            known = {k: v for k, v in n.layer.data.items() if k in parameters and k != "n"}
            return function(n, *inputs, **(known | named))

        lowering.__doc__, lowering.__module__ = function.__doc__, function.__module__
        full = [f"ops.{name}" if name[0].isupper() else f"tf.{name}" for name in names.split()]
        layer(*full, masks="kept", takes=None)(lowering)
        return function

    return register


def _value(n: Call, x: Any, like: Value | None = None) -> Value:
    """An operand, which may be a number or a list of them."""
    if isinstance(x, Value):
        return x
    dtype = like.dtype.numpy if like is not None else np.float32
    return n.constant(np.asarray(x, dtype))


def _pair(n: Call, a: Any, b: Any) -> tuple[Value, Value]:
    like = a if isinstance(a, Value) else b
    a, b = _value(n, a, like), _value(n, b, like)
    if a.dtype is not b.dtype:
        a, b = n.real(a), n.real(b)
    return a, b


def _binary(operator: str) -> Callable[..., Value]:
    def lowering(n: Call, x: Any, y: Any = None) -> Value:
        a, b = _pair(n, x, y)
        if operator == "DIV" and not a.dtype.is_float:
            a, b = n.real(a), n.real(b)
        return n.op(operator, a, b)

    return lowering


def _unary(operator: str) -> Callable[..., Value]:
    return lambda n, x: n.op(operator, x)


def _reduction(operator: str) -> Callable[..., Value]:
    def lowering(n: Call, x: Value, axis: Any = None, keepdims: bool = False) -> Value:
        return n.op(operator, x, _axes(n, x, axis), keep_dims=bool(keepdims))

    return lowering


def _axes(n: Call, x: Value, axis: Any) -> list[int]:
    if axis is None:
        return list(range(n.rank(x)))
    return [n.axis(x, a) for a in (axis if isinstance(axis, list) else [axis])]


def _function(name: str) -> Callable[..., Value]:
    function = ACTIVATIONS[name]
    allowed = set(inspect.signature(function).parameters)

    def lowering(n: Call, x: Value, **settings: Any) -> Value:
        given = {"negative_slope" if k == "alpha" and name == "leaky_relu" else k: v
                 for k, v in {**n.layer.data, **settings}.items()}  # fmt: skip
        return function(n, n.real(x), **{k: v for k, v in given.items() if k in allowed - {"n"}})

    return lowering


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


for _table, _make in ((BINARY, _binary), (UNARY, _unary), (REDUCTIONS, _reduction)):
    for _operator, _names in _table.items():
        operation(_names)(_make(_operator))
for _names in FUNCTIONS:
    operation(_names)(_function(_snake(_names.split()[0])))


@operation("Square math.square")
def square(n: Call, x: Value) -> Value:
    return n.op("SQUARE", x) if x.dtype.is_float else n.op("MUL", x, x)


@operation("Reciprocal math.reciprocal")
def reciprocal(n: Call, x: Value) -> Value:
    return n.op("DIV", n.like(x, 1), x)


@operation("Var math.reduce_variance")
def variance(n: Call, x: Value, axis: Any = None, keepdims: bool = False) -> Value:
    axes = _axes(n, x, axis)
    centred = n.op("SUB", x, n.op("MEAN", x, axes, keep_dims=True))
    return n.op("MEAN", n.op("SQUARE", centred), axes, keep_dims=bool(keepdims))


@operation("Argmax Argmin math.argmax math.argmin")
def argmax(n: Call, x: Value, axis: Any = 0, output_type: Any = None) -> Value:
    operator = "ARG_MIN" if "min" in n.layer.names[-1].lower() else "ARG_MAX"
    kind = DTYPES.get(str(output_type), INT32) if n.keras >= 3 or output_type else DTYPES["int64"]
    at = n.constant(np.asarray(n.axis(x, axis), np.int32))
    return n.op(operator, x, at, output_type=kind)


@operation("Clip clip_by_value")
def clip(n: Call, x: Value, x_min: Any = None, x_max: Any = None, clip_value_min: Any = None,
         clip_value_max: Any = None) -> Value:  # fmt: skip
    low = x_min if clip_value_min is None else clip_value_min
    high = x_max if clip_value_max is None else clip_value_max
    y = n.op("MAXIMUM", x, _value(n, low, x))
    return n.op("MINIMUM", y, _value(n, high, x))


@operation("Where where")
def where(
    n: Call, condition: Value, x1: Any = None, x2: Any = None, x: Any = None, y: Any = None
) -> Value:
    a, b = _pair(n, x if x1 is None else x1, y if x2 is None else x2)
    return n.op("SELECT_V2", n.truth(condition), a, b)


@operation("Matmul linalg.matmul")
def matmul(n: Call, x: Value, x2: Any = None, b: Any = None, transpose_a: bool = False,
           transpose_b: bool = False) -> Value:  # fmt: skip
    from octolite.frontends.compose import product

    other = _value(n, x2 if x2 is not None else b, x)
    return product(n, x, other, bool(transpose_a), bool(transpose_b))


@operation("Einsum")
def einsum_(n: Call, *operands: Value, subscripts: str = "") -> Value:
    return einsum(n, subscripts, *operands)


# -- shapes -----------------------------------------------------------------------------------


@operation("Reshape reshape")
def reshape(n: Call, x: Value, newshape: Any = None, shape: Any = None) -> Value:
    wanted = newshape if newshape is not None else shape
    if not isinstance(wanted, list) or wanted.count(-1) > 1:
        raise UnsupportedError(f"reshaping to {wanted!r}")
    return n.reshape(x, [-1 if d is None else int(d) for d in wanted])


@operation("Transpose transpose compat.v1.transpose")
def transpose(n: Call, x: Value, axes: Any = None, perm: Any = None) -> Value:
    order = axes if axes is not None else perm
    return n.transpose(x, order if order is not None else list(range(n.rank(x)))[::-1])


@operation("Swapaxes")
def swap_axes(n: Call, x: Value, axis1: int, axis2: int) -> Value:
    order = list(range(n.rank(x)))
    a, b = n.axis(x, axis1), n.axis(x, axis2)
    order[a], order[b] = b, a
    return n.transpose(x, order)


@operation("Concatenate concat")
def concatenate(n: Call, x: Sequence[Value], axis: int = 0) -> Value:
    return n.op("CONCATENATION", *x, axis=n.axis(x[0], axis))


@operation("Stack stack")
def stack(n: Call, x: Sequence[Value], axis: int = 0) -> Value:
    at = axis % (n.rank(x[0]) + 1)
    return n.op("PACK", *x, axis=at, values_count=len(x))


@operation("Split split")
def split(n: Call, x: Value, indices_or_sections: Any = None, axis: int = 0,
          num_or_size_splits: Any = None) -> Nest:  # fmt: skip
    at = n.axis(x, axis)
    parts = indices_or_sections if indices_or_sections is not None else num_or_size_splits
    place = n.constant(np.asarray(at, np.int32))
    if isinstance(parts, int):
        return list(n.ops("SPLIT", place, x, num_splits=parts))
    sizes = parts
    if indices_or_sections is not None:
        ends = [0, *parts, n.extent(x, at)]
        sizes = [b - a for a, b in pairwise(ends)]
    return list(n.ops("SPLIT_V", x, sizes, place, num_splits=len(sizes)))


@operation("ExpandDims expand_dims")
def expand_dims(n: Call, x: Value, axis: int = -1) -> Value:
    return n.expand(x, axis)


@operation("Squeeze squeeze compat.v1.squeeze")
def squeeze(n: Call, x: Value, axis: Any = None) -> Value:
    axes = [i for i, d in enumerate(n.shape(x)) if d == 1] if axis is None else _axes(n, x, axis)
    return n.op("SQUEEZE", x, squeeze_dims=tuple(axes))


@operation("Tile tile")
def tile(n: Call, x: Value, repeats: Any = None, multiples: Any = None) -> Value:
    return n.op("TILE", x, repeats if repeats is not None else multiples)


@operation("Pad pad compat.v1.pad")
def pad(n: Call, x: Value, pad_width: Any = None, paddings: Any = None, mode: str = "constant",
        constant_values: Any = 0) -> Value:  # fmt: skip
    if str(mode).lower() != "constant":
        raise UnsupportedError(f"padding of mode {mode!r}")
    borders = np.asarray(pad_width if pad_width is not None else paddings, np.int32)
    if not constant_values:
        return n.op("PAD", x, borders)
    return n.op("PADV2", x, borders, float(constant_values))


@operation("ZerosLike OnesLike zeros_like ones_like")
def like(n: Call, x: Value, dtype: Any = None) -> Value:
    number = 0 if "eros" in n.layer.names[-1] else 1
    kind = DTYPES.get(str(dtype), x.dtype)
    scalar = n.constant(np.asarray(number, kind.numpy))
    return n.op("FILL", n.op("SHAPE", x, out_type=INT32), scalar)


@operation("Cast cast")
def cast(n: Call, x: Value, dtype: Any = None) -> Value:
    name = dtype if isinstance(dtype, str) else "float32"
    if name not in DTYPES:
        raise UnsupportedError(f"casting to {name!r}")
    return n.truth(x) if DTYPES[name] is BOOL else n.cast(x, DTYPES[name])


@operation("Take gather compat.v1.gather")
def take(n: Call, x: Value, indices: Any, axis: Any = 0) -> Value:
    places = indices if isinstance(indices, Value) else n.constant(np.asarray(indices, np.int32))
    return n.op("GATHER", x, n.int32(places), axis=n.axis(x, axis or 0))


@operation("GetItem __operators__.getitem")
def get_item(n: Call, x: Value, key: Any = None, slice_spec: Any = None) -> Value:
    """Slices, numbers, new axes and an ellipsis."""
    spec = key if key is not None else slice_spec
    items = spec if isinstance(spec, list | tuple) else [spec]
    begin, end, step = [], [], []
    masks = dict.fromkeys(("begin", "end", "ellipsis", "new_axis", "shrink_axis"), 0)
    for i, item in enumerate(map(_slice, items)):
        first, last, stride = 0, 0, 1
        if item is Ellipsis:
            masks["ellipsis"] |= 1 << i
        elif item is None:
            masks["new_axis"] |= 1 << i
        elif isinstance(item, slice):
            first, last, stride = item.start or 0, item.stop or 0, item.step or 1
            masks["begin"] |= (item.start is None) << i
            masks["end"] |= (item.stop is None) << i
        elif isinstance(item, int):
            first, last = item, item + 1
            masks["shrink_axis"] |= 1 << i
            masks["end"] |= (item == -1) << i
        else:
            raise UnsupportedError(f"taking {item!r} of a value")
        begin.append(first)
        end.append(last)
        step.append(stride)
    return n.op("STRIDED_SLICE", x, begin, end, step, **{f"{k}_mask": v for k, v in masks.items()})


def _slice(item: Any) -> Any:
    """A slice, which TensorFlow's layers write as an object."""
    if isinstance(item, dict) and {"start", "stop", "step"} & set(item):
        return slice(item.get("start"), item.get("stop"), item.get("step"))
    return item
