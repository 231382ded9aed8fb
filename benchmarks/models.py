"""The models that are timed: one layer each, as bytes of a ``.tflite`` file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import octolite
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import FLOAT32
from octolite.ops.base import Operator
from octolite.ops.conv import Conv2D
from octolite.ops.fully_connected import FullyConnected
from octolite.quantize import quantize
from octolite.tflite import read, write


@dataclass(frozen=True)
class Row:
    """A layer: ``operator`` on an input of shape ``input`` with weights of shape ``weights``."""

    name: str
    title: str
    operator: Callable[[], Operator]
    input: tuple[int, ...]
    weights: tuple[int, ...]

    def files(self) -> tuple[bytes, bytes]:
        """The float file and the quantized one. Gaussian weights, zero bias."""
        model = self._model()
        plain = write(model)
        quantize(model, "dynamic")
        return plain, write(model)

    def _model(self) -> Model:
        weights = np.random.default_rng(0).standard_normal(self.weights, np.float32)
        bias = np.zeros(self.weights[0], np.float32)
        graph = Graph()
        x = graph.add_input("x", FLOAT32, self.input)
        inputs = [x, Value.constant("weights", weights), Value.constant("bias", bias)]
        graph.outputs = [graph.add(self.operator(), inputs, "y").output]
        return Model([graph])

    def sample(self) -> np.ndarray:
        """An input with the range that a layer's output has: Gaussian, cut off below 0."""
        values = np.random.default_rng(1).standard_normal(self.input, np.float32)
        return np.maximum(values, 0)


@dataclass(frozen=True)
class Network:
    """A frozen graph of images."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    title = name

    def files(self) -> tuple[bytes, bytes]:
        """The float file and the quantized one."""
        return octolite.convert(self.path, quantize="none"), octolite.convert(self.path)

    def sample(self) -> np.ndarray:
        """One input, uniform in [-1, 1)."""
        (source,) = read(octolite.convert(self.path)).main.inputs
        shape = [d or 1 for d in source.shape or ()]
        return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


ROWS = (
    Row("fc1", "FC 1×1024→1024", FullyConnected, (1, 1024), (1024, 1024)),
    Row("fc64", "FC 64×1024→1024", FullyConnected, (64, 1024), (1024, 1024)),
    Row("conv3x3", "Conv 3×3, 56×56×64→64", Conv2D, (1, 56, 56, 64), (64, 3, 3, 64)),
    Row("conv1x1", "Conv 1×1, 28×28×256→256", Conv2D, (1, 28, 28, 256), (256, 1, 1, 256)),
)
