"""Two networks of images, with random weights: what is timed needs no training.

Their layers are those of the published networks (MobileNetV2, arXiv:1801.04381; ResNet-50,
arXiv:1512.03385, with the stride in the first convolution of a block, as Keras has it), batch
normalization folded in. Weights are drawn after He et al. (arXiv:1502.01852), so that activations
keep their range from layer to layer.
"""

from __future__ import annotations

import math

import numpy as np

from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import FLOAT32, Activation, Padding
from octolite.ops.arithmetic import Add
from octolite.ops.base import Operator
from octolite.ops.conv import Conv2D, DepthwiseConv2D
from octolite.ops.fully_connected import FullyConnected
from octolite.ops.padding import Pad
from octolite.ops.pooling import MaxPool2D
from octolite.ops.reduction import Mean
from octolite.ops.softmax import Softmax

# Variance of a layer's results, of that of its inputs, that is kept where a sum of squares
# of n weights has this factor over n: ReLU throws half away.
RELU_GAIN, LINEAR_GAIN = 2.0, 1.0
CLASSES = 1000


class _Drawing:
    """A graph that grows layer by layer, [1, h, w, c], its weights drawn as it goes."""

    def __init__(self, size: int) -> None:
        self.random = np.random.default_rng(0)
        self.graph = Graph()
        self.x = self.graph.add_input("image", FLOAT32, (1, size, size, 3))

    def add(self, op: Operator, *inputs: Value) -> Value:
        return self.graph.add(op, inputs, f"{op.name.lower()}_{len(self.graph.nodes)}").output

    def weights(self, shape: tuple[int, ...], depth: int, gain: float) -> Value:
        drawn = self.random.standard_normal(shape, np.float32)
        return self.constant("weights", drawn * np.float32(math.sqrt(gain / depth)))

    def bias(self, channels: int) -> Value:
        return self.constant("bias", self.random.normal(0, 0.1, channels).astype(np.float32))

    def constant(self, name: str, data: np.ndarray) -> Value:
        return Value.constant(f"{name}_{len(self.graph.nodes)}", data)

    def conv(
        self,
        x: Value,
        channels: int,
        size: int = 1,
        stride: int = 1,
        activation: Activation = Activation.NONE,
        padding: Padding = Padding.SAME,
        gain: float = RELU_GAIN,
    ) -> Value:
        """A square convolution with a bias."""
        depth = _channels(x)
        weights = self.weights((channels, size, size, depth), size * size * depth, gain)
        op = Conv2D(padding=padding, stride_w=stride, stride_h=stride, activation=activation)
        return self.add(op, x, weights, self.bias(channels))

    def depthwise(self, x: Value, stride: int) -> Value:
        """A depthwise convolution of 3 × 3 and ReLU6."""
        channels = _channels(x)
        op = DepthwiseConv2D(stride_w=stride, stride_h=stride, activation=Activation.RELU6)
        weights = self.weights((1, 3, 3, channels), 9, RELU_GAIN)
        return self.add(op, x, weights, self.bias(channels))

    def pad(self, x: Value, border: int) -> Value:
        paddings = np.array([[0, 0], [border] * 2, [border] * 2, [0, 0]], np.int32)
        return self.add(Pad(), x, self.constant("paddings", paddings))

    def classified(self, x: Value) -> Model:
        """The model that ends in the mean over the image, one layer, and probabilities."""
        x = self.add(Mean(), x, self.constant("axes", np.array([1, 2], np.int32)))
        depth = _channels(x)
        weights = self.weights((CLASSES, depth), depth, LINEAR_GAIN)
        x = self.add(FullyConnected(), x, weights, self.bias(CLASSES))
        self.graph.outputs = [self.add(Softmax(), x)]
        return Model([self.graph])


def _channels(x: Value) -> int:
    assert x.shape is not None
    assert x.shape[-1] is not None
    return x.shape[-1]


def mobilenet_v2(size: int = 224) -> Model:
    """MobileNetV2 1.0 over images [1, size, size, 3]."""
    net = _Drawing(size)
    x = net.conv(net.x, 32, 3, stride=2, activation=Activation.RELU6)
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2))
    stages += ((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, channels, count, first_stride in stages:
        for i in range(count):
            stride = first_stride if i == 0 else 1
            inner = x
            if expansion > 1:
                inner = net.conv(x, expansion * _channels(x), activation=Activation.RELU6)
            inner = net.conv(net.depthwise(inner, stride), channels, gain=LINEAR_GAIN)
            x = inner if i == 0 else net.add(Add(), x, inner)
    return net.classified(net.conv(x, 1280, activation=Activation.RELU6))


def resnet50(size: int = 224) -> Model:
    """ResNet-50 over images [1, size, size, 3]."""
    net = _Drawing(size)
    relu, valid = Activation.RELU, Padding.VALID
    x = net.conv(net.pad(net.x, 3), 64, 7, stride=2, activation=relu, padding=valid)
    pool = MaxPool2D(filter_width=3, filter_height=3, stride_w=2, stride_h=2, padding=valid)
    x = net.add(pool, net.pad(x, 1))
    for stage, (channels, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for i in range(count):
            stride = 2 if i == 0 and stage > 0 else 1
            # Half the variance from either side of the sum.
            inner = net.conv(x, channels, stride=stride, activation=relu, padding=valid)
            inner = net.conv(inner, channels, 3, activation=relu)
            inner = net.conv(inner, 4 * channels, padding=valid, gain=LINEAR_GAIN / 2)
            if i == 0:
                x = net.conv(x, 4 * channels, stride=stride, padding=valid, gain=LINEAR_GAIN / 2)
            x = net.add(Add(activation=relu), x, inner)
    return net.classified(x)


def image(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """An image [n, h, w, c] in [-1, 1] with the spectrum of photographs, amplitude ∝ 1 / f."""
    random = np.random.default_rng(seed)
    n, height, width, channels = shape
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    amplitude = 1 / np.maximum(np.hypot(rows, columns), 1 / max(height, width))
    noise = random.standard_normal((n, channels, height, width))
    shaped = np.fft.irfft2(np.fft.rfft2(noise) * amplitude, (height, width))
    shaped /= np.abs(shaped).max(axis=(1, 2, 3), keepdims=True)
    return np.ascontiguousarray(np.moveaxis(shaped, 1, -1), np.float32)
