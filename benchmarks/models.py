"""The models that are timed: layers, and two networks, made without TensorFlow."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

import octolite
from benchmarks import networks
from benchmarks.coded import in_codes, quant_of
from benchmarks.contenders import Files
from octolite.ir import numerics
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import FLOAT32, INT8, INT16, INT32, UINT8, Activation, DType
from octolite.ops.activations import Relu
from octolite.ops.base import Operator, operator_class
from octolite.ops.conv import Conv2D, DepthwiseConv2D
from octolite.ops.fully_connected import FullyConnected
from octolite.ops.indexing import EmbeddingLookup
from octolite.quantize import quantize
from octolite.tflite import read, write


@dataclass(frozen=True)
class Row:
    """A layer: ``operator`` on an input of shape ``input`` with weights of shape ``weights``, whose
    channels are the last axis of a depthwise convolution's and the first of others'.

    ``relu``: behind a ReLU, as in networks, where the layer's input is known to be at least 0.
    """

    name: str
    title: str
    operator: Callable[[], Operator]
    input: tuple[int, ...]
    weights: tuple[int, ...]
    relu: bool = False

    def files(self) -> Files:
        """Gaussian weights, zero bias."""
        return _files(self.build())

    def build(self) -> Model:
        weights = np.random.default_rng(0).standard_normal(self.weights, np.float32)
        channels = self.weights[3 if isinstance(self.operator(), DepthwiseConv2D) else 0]
        bias = np.zeros(channels, np.float32)
        graph = Graph()
        x = graph.add_input("x", FLOAT32, self.input)
        x = graph.add(Relu(), [x], "relu").output if self.relu else x
        inputs = [x, Value.constant("weights", weights), Value.constant("bias", bias)]
        graph.outputs = [graph.add(self.operator(), inputs, "y").output]
        return Model([graph])

    def sample(self, seed: int) -> np.ndarray:
        """An input with the range that a layer's output has: Gaussian, cut off below 0."""
        values = np.random.default_rng(seed).standard_normal(self.input, np.float32)
        return np.maximum(values, 0)


@dataclass(frozen=True)
class Cells:
    """A recurrent operator called ``operator``: ``steps`` of 256 features, 256 units."""

    name: str
    title: str
    operator: str
    steps: int = 50
    units: int = 256

    def files(self) -> Files:
        """Gaussian weights, zero bias."""
        return _files(self._model())

    def _model(self) -> Model:
        random = np.random.default_rng(0)
        cls = operator_class(self.operator)
        graph = Graph()
        n = self.units

        def value(name: str) -> Value | None:
            if name == "input":
                return graph.add_input("x", FLOAT32, (1, self.steps, n))
            if name.endswith("state"):
                return Value(name, FLOAT32, (1, n), is_variable=True)
            if name.endswith("bias") and "projection" not in name:
                return Value.constant(name, np.zeros(n, np.float32))
            if name.endswith("weights") and not name.startswith(_OPTIONAL):
                weights = random.standard_normal((n, n), np.float32)
                return Value.constant(name, weights / np.sqrt(np.float32(2 * n)))
            return None

        inputs = [value(p.name) for p in cls.input_parameters() if "layer_norm" not in p.name]
        given = {"activation": Activation.TANH, "time_major": False}
        graph.outputs = list(graph.add(cls(**given), inputs, "y").outputs)
        return Model([graph])

    def sample(self, seed: int) -> np.ndarray:
        """Gaussian features."""
        shape = (1, self.steps, self.units)
        return np.random.default_rng(seed).standard_normal(shape, np.float32)


@dataclass(frozen=True)
class Embedding:
    """Rows of a table [words, features] by their numbers."""

    name: str
    title: str
    ids: int
    table: tuple[int, int]

    def files(self) -> Files:
        """A Gaussian table."""
        graph = Graph()
        ids = graph.add_input("ids", INT32, (self.ids,))
        table = np.random.default_rng(0).standard_normal(self.table, np.float32)
        inputs = [ids, Value.constant("table", table)]
        graph.outputs = [graph.add(EmbeddingLookup(), inputs, "y").output]
        return _files(Model([graph]))

    def sample(self, seed: int) -> np.ndarray:
        """Words at random."""
        return np.random.default_rng(seed).integers(0, self.table[0], self.ids).astype(np.int32)


# The auxiliary input, peepholes and projections are left out.
_OPTIONAL = tuple(f"{d}{part}" for d in ("", "fw_", "bw_") for part in ("aux", "cell_to", "proj"))


def _files(model: Model) -> Files:
    plain = write(model)
    quantize(model, "dynamic")
    return Files(plain, write(model))


@dataclass(frozen=True)
class Network:
    """A network of images that is built here, its weights drawn at random."""

    name: str
    title: str
    build: Callable[[], Model]

    def files(self) -> Files:
        return _files(self.build())

    def sample(self, seed: int) -> np.ndarray:
        return networks.image((1, 224, 224, 3), seed)


@dataclass(frozen=True)
class Coded:
    """``row`` in codes of ``dtype`` throughout."""

    row: Row | Network
    dtype: DType

    @property
    def name(self) -> str:
        return f"{self.dtype}_{self.row.name}"

    @property
    def title(self) -> str:
        return f"{self.row.title}, {self.dtype}"

    def files(self) -> Files:
        return Files(write(in_codes(self.row.build(), self.row.sample(0), self.dtype)), b"")

    def sample(self, seed: int) -> np.ndarray:
        """Codes of what the row is given, by the scale of its first sample."""
        quant = quant_of(self.row.sample(0), self.dtype)
        return numerics.quantize(self.row.sample(seed), quant, self.dtype.numpy)


@dataclass(frozen=True)
class Frozen:
    """A frozen graph of images from a file."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    title = name

    @cached_property
    def _converted(self) -> Files:
        return Files(octolite.convert(self.path, quantize="none"), octolite.convert(self.path))

    def files(self) -> Files:
        return self._converted

    def sample(self, seed: int) -> np.ndarray:
        (source,) = read(self._converted.plain).main.inputs
        return networks.image(tuple(d or 1 for d in source.shape or ()), seed)


AnyRow = Row | Cells | Embedding | Network | Coded | Frozen


def _strided(operator: Callable[..., Operator]) -> Callable[[], Operator]:
    return functools.partial(operator, stride_w=2, stride_h=2)


_LAYERS = (
    Row("fc1", "FC 1×1024→1024", FullyConnected, (1, 1024), (1024, 1024)),
    Row("fc64", "FC 64×1024→1024", FullyConnected, (64, 1024), (1024, 1024)),
    Row("conv3x3", "Conv 3×3, 56×56×64→64", Conv2D, (1, 56, 56, 64), (64, 3, 3, 64)),
    Row("conv1x1", "Conv 1×1, 28×28×256→256", Conv2D, (1, 28, 28, 256), (256, 1, 1, 256)),
)
_MOBILE = (
    Row("stem", "Conv 3×3 / 2, 224×224×3→32", _strided(Conv2D), (1, 224, 224, 3), (32, 3, 3, 3)),
    Row("expand", "Conv 1×1, 56×56×24→144", Conv2D, (1, 56, 56, 24), (144, 1, 1, 24)),
    Row("project", "Conv 1×1, 56×56×144→24", Conv2D, (1, 56, 56, 144), (24, 1, 1, 144)),
    Row("depthwise", "Depthwise 3×3, 56×56×144", DepthwiseConv2D, (1, 56, 56, 144), (1, 3, 3, 144)),
    Row(
        "depthwise2",
        "Depthwise 3×3 / 2, 56×56×144",
        _strided(DepthwiseConv2D),
        (1, 56, 56, 144),
        (1, 3, 3, 144),
    ),
)
_NETWORKS = (
    Network("mobilenet_v2", "MobileNetV2 224", networks.mobilenet_v2),
    Network("resnet50", "ResNet-50 224", networks.resnet50),
)
ROWS: tuple[AnyRow, ...] = (
    *_LAYERS,
    Row(
        "relu_conv1x1",
        "ReLU, conv 1×1, 28×28×256→256",
        Conv2D,
        (1, 28, 28, 256),
        (256, 1, 1, 256),
        True,
    ),
    Cells("lstm", "LSTM 256, 50 steps", "UNIDIRECTIONAL_SEQUENCE_LSTM"),
    Cells("rnn", "RNN 256, 50 steps", "UNIDIRECTIONAL_SEQUENCE_RNN"),
    Cells("bilstm", "LSTM 256 both ways, 50 steps", "BIDIRECTIONAL_SEQUENCE_LSTM"),
    Cells("birnn", "RNN 256 both ways, 50 steps", "BIDIRECTIONAL_SEQUENCE_RNN"),
    Embedding("embedding", "512 of 20 000 embeddings of 256", 512, (20_000, 256)),
    *_NETWORKS,
    *(Coded(row, INT8) for row in (*_LAYERS, *_MOBILE, *_NETWORKS)),
    *(Coded(row, dtype) for dtype in (UINT8, INT16) for row in (*_LAYERS, *_NETWORKS[:1])),
)
