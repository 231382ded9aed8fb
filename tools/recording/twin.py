"""What TensorFlow's CPU kernels cannot run, rewritten into what they can.

They convolve and pool in NHWC only, and depthwise without dilation. The twin of a graph has each
NCHW node replaced by its NHWC form between two transpositions, and each dilated depthwise filter by
one with zeros between its elements; its outputs are the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.python.framework import tensor_util

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
PER_DIMENSION = ("strides", "dilations", "ksize")  # attributes with one entry per dimension


def runnable_twin(graph_def: Any) -> Any:
    twin = graph_pb2.GraphDef(versions=graph_def.versions, library=graph_def.library)
    constants = {node.name: node for node in graph_def.node if node.op == "Const"}
    for node in graph_def.node:
        if "data_format" in node.attr and node.attr["data_format"].s == b"NCHW":
            _add_channels_last(twin, node)
        elif (
            node.op == "DepthwiseConv2dNative" and max(node.attr["dilations"].list.i, default=1) > 1
        ):
            _add_undilated(twin, node, constants[node.input[1]])
        else:
            twin.node.add().CopyFrom(node)
    return twin


def _add_undilated(twin: Any, node: Any, filters: Any) -> None:
    _, rows, columns, _ = node.attr["dilations"].list.i
    dense = tensor_util.MakeNdarray(filters.attr["value"].tensor)
    height, width, channels, multiplier = dense.shape
    spread = np.zeros(
        ((height - 1) * rows + 1, (width - 1) * columns + 1, channels, multiplier), dense.dtype
    )
    spread[::rows, ::columns] = dense
    added = twin.node.add()
    added.CopyFrom(node)
    added.input[1] = _constant(twin, f"{node.name}/undilated", spread)
    added.attr["dilations"].list.i[:] = [1, 1, 1, 1]


def _add_channels_last(twin: Any, node: Any) -> None:
    inner = node_def_pb2.NodeDef()
    inner.CopyFrom(node)
    inner.name = f"{node.name}/nhwc"
    inner.attr["data_format"].s = b"NHWC"
    for name in PER_DIMENSION:
        if name in inner.attr:
            values = inner.attr[name].list.i
            values[:] = [values[axis] for axis in TO_LAST]
    if "explicit_paddings" in inner.attr and inner.attr["explicit_paddings"].list.i:
        pairs = inner.attr["explicit_paddings"].list.i
        pairs[:] = np.reshape(pairs, (4, 2))[list(TO_LAST)].ravel().tolist()

    data = 0
    if node.op == "Conv2DBackpropInput":  # (output sizes, filter, data)
        data = 2
        inner.input[0] = _gather(twin, node.name, inner.input[0])
    inner.input[data] = _transpose(twin, f"{node.name}/to_nhwc", inner.input[data], TO_LAST, node)
    twin.node.add().CopyFrom(inner)
    _transpose(twin, node.name, inner.name, TO_FIRST, node)


def _transpose(twin: Any, name: str, source: str, order: tuple[int, ...], node: Any) -> str:
    added = twin.node.add(name=name, op="Transpose")
    added.input.extend([source, _constant(twin, f"{name}/order", np.array(order, np.int32))])
    added.attr["T"].type = node.attr["T"].type
    added.attr["Tperm"].type = 3
    return name


def _gather(twin: Any, name: str, sizes: str) -> str:
    added = twin.node.add(name=f"{name}/sizes", op="Gather")
    added.input.extend([sizes, _constant(twin, f"{name}/sizes/order", np.array(TO_LAST, np.int32))])
    added.attr["Tparams"].type = added.attr["Tindices"].type = 3
    return added.name


def _constant(twin: Any, name: str, values: np.ndarray) -> str:
    tensor = tensor_util.make_tensor_proto(values)
    added = twin.node.add(name=name, op="Const")
    added.attr["dtype"].type = tensor.dtype
    added.attr["value"].tensor.CopyFrom(tensor)
    return name
