"""The float models of the benchmarks as ONNX, for the run times that read that.

Images lie channels first, as ONNX has them: what is [n, h, w, c] in our graphs is [n, c, h, w]
here, inputs and outputs too. Extents that a model leaves open are 1. Covers the operators of the
benchmarks' models and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from octolite.ir.graph import Graph, Node, Value
from octolite.ir.types import Activation

OPSET, IR_VERSION = 17, 8
_TYPES = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}
_AXES = {1: 2, 2: 3, 3: 1, 0: 0}  # of an image: from channels last to channels first


def export(graph: Graph) -> ModelProto:
    """The ONNX model that computes what ``graph`` does.

    Raises :class:`NotImplementedError` for an operator that is not among the benchmarks'.
    """
    made = _Export()
    inputs = [made.declared(v) for v in graph.inputs]
    for node in graph.nodes:
        handler = HANDLERS.get(node.op.name)
        if handler is None:
            raise NotImplementedError(f"{node}: the benchmarks export no {node.op.name} to ONNX")
        handler(made, node)
    outputs = [made.declared(v) for v in graph.outputs]
    proto = helper.make_graph(made.nodes, graph.name, inputs, outputs, made.constants)
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(proto, opset_imports=[opset], ir_version=IR_VERSION)


def channels_first(array: np.ndarray) -> np.ndarray:
    """An image [n, h, w, c] as [n, c, h, w]; anything else as it is."""
    return np.ascontiguousarray(np.moveaxis(array, -1, 1)) if array.ndim == 4 else array


def channels_last(array: np.ndarray) -> np.ndarray:
    """The way back."""
    return np.moveaxis(array, 1, -1) if array.ndim == 4 else array


class _Export:
    """A model in the making; a value is called by its name and a number."""

    def __init__(self) -> None:
        self.nodes: list[object] = []
        self.constants: list[TensorProto] = []
        self._names: dict[int, str] = {}

    def name(self, value: Value) -> str:
        return self._names.setdefault(id(value), f"{value.name}_{len(self._names)}")

    def declared(self, value: Value) -> object:
        shape = extents(value)
        if len(shape) == 4:
            shape = (shape[0], shape[3], *shape[1:3])
        return helper.make_tensor_value_info(self.name(value), _TYPES[str(value.dtype)], shape)

    def constant(self, array: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def add(self, kind: str, inputs: Sequence[str], outputs: int = 1, **attributes: object) -> str:
        """Append a node; gives the name of its (first) result."""
        names = [f"{kind.lower()}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0]

    def finish(self, node: Node, result: str) -> None:
        """``result``, behind the node's activation, is the node's output."""
        activation = getattr(node.op, "activation", Activation.NONE)
        if activation is Activation.RELU:
            result = self.add("Relu", [result])
        elif activation is Activation.RELU6:
            bounds = [self.constant(np.array(b, np.float32)) for b in (0, 6)]
            result = self.add("Clip", [result, *bounds])
        elif activation is not Activation.NONE:
            raise NotImplementedError(f"{node}: no {activation.name} in the benchmarks")
        self._names[id(node.output)] = result


def extents(value: Value) -> tuple[int, ...]:
    """The shape, 1 for what is open."""
    return tuple(1 if d is None else d for d in value.shape or ())


def _data(node: Node, index: int) -> np.ndarray:
    value = node.inputs[index]
    assert value is not None
    assert value.data is not None
    return value.data


def _source(made: _Export, node: Node) -> str:
    assert node.inputs[0] is not None
    return made.name(node.inputs[0])


# Operators -----------------------------------------------------------------------------------


def _conv(made: _Export, node: Node) -> None:
    source, weights = node.inputs[0], _data(node, 1)
    assert source is not None
    depth = extents(source)[3]
    if node.op.name == "DEPTHWISE_CONV_2D":  # [1, h, w, c] to [c, 1, h, w]
        weights, groups = np.moveaxis(weights, 3, 0), depth
    else:
        groups = depth // weights.shape[3]
        weights = np.moveaxis(weights, 3, 1)
    inputs = [made.name(source), made.constant(weights)]
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        inputs.append(made.constant(_data(node, 2)))
    windows = node.op.windows(weights.shape[2:])
    geometry = _geometry(windows, source)
    result = made.add("Conv", inputs, group=groups, dilations=windows.dilation, **geometry)
    made.finish(node, result)


def _geometry(windows: object, source: Value) -> dict[str, object]:
    """Attributes that convolutions and pooling share; pads are top, left, bottom, right."""
    image = np.empty(extents(source), bool)
    before = windows.before(image.shape)
    whole = windows.padded(image).shape
    after = [whole[i + 1] - image.shape[i + 1] - before[i] for i in range(2)]
    return {
        "kernel_shape": windows.kernel,
        "strides": windows.stride,
        "pads": [*before, *after],
    }


def _max_pool(made: _Export, node: Node) -> None:
    assert node.inputs[0] is not None
    geometry = _geometry(node.op.windows, node.inputs[0])
    made.finish(node, made.add("MaxPool", [_source(made, node)], **geometry))


def _average_pool(made: _Export, node: Node) -> None:
    assert node.inputs[0] is not None
    geometry = _geometry(node.op.windows, node.inputs[0])
    result = made.add("AveragePool", [_source(made, node)], count_include_pad=0, **geometry)
    made.finish(node, result)


def _pad(made: _Export, node: Node) -> None:
    borders = _data(node, 1).T.astype(np.int64)
    borders = borders[:, [0, 3, 1, 2]] if borders.shape[1] == 4 else borders
    inputs = [_source(made, node), made.constant(borders.reshape(-1))]
    made.finish(node, made.add("Pad", inputs))


def _fully_connected(made: _Export, node: Node) -> None:
    source, weights = node.inputs[0], _data(node, 1)
    assert source is not None
    name = made.name(source)
    if len(extents(source)) != 2:
        if len(extents(source)) == 4 and extents(source)[1:3] != (1, 1):
            raise NotImplementedError(f"{node} flattens an image channels last")
        name = made.add("Reshape", [name, made.constant(np.array([-1, weights.shape[1]]))])
    bias = node.inputs[2].data if len(node.inputs) > 2 and node.inputs[2] is not None else None
    inputs = [name, made.constant(weights)]
    inputs += [] if bias is None else [made.constant(bias)]
    made.finish(node, made.add("Gemm", inputs, transB=1))


def _add(made: _Export, node: Node) -> None:
    names = []
    for value in node.inputs:
        assert value is not None
        constant = value.data
        names.append(made.name(value) if constant is None else made.constant(_image(constant)))
    made.finish(node, made.add("Add", names))


def _image(constant: np.ndarray) -> np.ndarray:
    """What is added to images, channels last, made to fit channels first."""
    return constant.reshape(-1, 1, 1) if constant.ndim == 1 else channels_first(constant)


def _mean(made: _Export, node: Node) -> None:
    assert node.inputs[0] is not None
    image = len(extents(node.inputs[0])) == 4
    axes = [_AXES[int(a)] if image else int(a) for a in np.ravel(_data(node, 1))]
    kept = int(node.op.keep_dims)
    if image and not kept and sorted(axes) == [2, 3]:
        pooled = made.add("GlobalAveragePool", [_source(made, node)])
        result = made.add("Flatten", [pooled])
    else:
        result = made.add("ReduceMean", [_source(made, node)], axes=axes, keepdims=kept)
    made.finish(node, result)


def _softmax(made: _Export, node: Node) -> None:
    made.finish(node, made.add("Softmax", [_source(made, node)], axis=-1))


def _relu(made: _Export, node: Node) -> None:
    made.finish(node, made.add("Relu", [_source(made, node)]))


def _embedding(made: _Export, node: Node) -> None:
    made.finish(node, made.add("Gather", [made.constant(_data(node, 1)), _source(made, node)]))


# ONNX has the gates in the order input, output, forget, cell.
_LSTM_GATES = ("input", "output", "forget", "cell")


def _recurrent(kind: str, both: bool) -> Callable[[_Export, Node], None]:
    """A recurrent operator over [1, time, depth], starting from zeros."""

    def handler(made: _Export, node: Node) -> None:
        names = (p.name for p in type(node.op).input_parameters())
        given = {n: v.data for n, v in zip(names, node.inputs, strict=False) if v is not None}
        cells = [_cell(kind, given, prefix) for prefix in (("fw_", "bw_") if both else ("",))]
        matrices = [made.constant(np.stack(part)) for part in zip(*cells, strict=True)]
        units = cells[0][1].shape[1]
        time_first = made.add("Transpose", [_source(made, node)], perm=[1, 0, 2])
        result = made.add(
            kind,
            [time_first, *matrices],
            hidden_size=units,
            direction="bidirectional" if both else "forward",
        )  # [time, directions, batch, units]
        for way, value in enumerate(node.outputs):
            one = made.add("Gather", [result, made.constant(np.array(way))], axis=1)
            made._names[id(value)] = made.add("Transpose", [one], perm=[1, 0, 2])

    return handler


def _cell(kind: str, given: dict[str, np.ndarray | None], prefix: str) -> list[np.ndarray]:
    """W, R and B of one direction, the gates below one another."""

    def stacked(*patterns: str) -> np.ndarray:
        found = [given[prefix + p.format(g)] for p in patterns for g in gates]
        return np.concatenate([f for f in found if f is not None])

    gates = _LSTM_GATES if kind == "LSTM" else ("",)
    if kind == "LSTM":
        weights = stacked("input_to_{}_weights")
        recurrent = stacked("recurrent_to_{}_weights")
        bias = stacked("{}_gate_bias")
    else:
        weights, recurrent, bias = (stacked(p) for p in ("weights", "recurrent_weights", "bias"))
    return [weights, recurrent, np.concatenate([bias, np.zeros_like(bias)])]


HANDLERS: dict[str, Callable[[_Export, Node], None]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _conv,
    "MAX_POOL_2D": _max_pool,
    "AVERAGE_POOL_2D": _average_pool,
    "PAD": _pad,
    "FULLY_CONNECTED": _fully_connected,
    "ADD": _add,
    "MEAN": _mean,
    "SOFTMAX": _softmax,
    "RELU": _relu,
    "EMBEDDING_LOOKUP": _embedding,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _recurrent("LSTM", both=False),
    "BIDIRECTIONAL_SEQUENCE_LSTM": _recurrent("LSTM", both=True),
    "UNIDIRECTIONAL_SEQUENCE_RNN": _recurrent("RNN", both=False),
    "BIDIRECTIONAL_SEQUENCE_RNN": _recurrent("RNN", both=True),
}
