"""How a recorded model is declared: a function of its inputs that returns the outputs."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

CASES: dict[str, Case] = {}


@dataclass(frozen=True)
class Keras:
    """One of the two versions: its module, its layers and its number."""

    module: Any
    version: int

    @property
    def layers(self) -> Any:
        return self.module.layers


@dataclass(frozen=True)
class Given:
    """An input layer and how to draw what is fed to it; `fill` stands for unknown extents."""

    shape: tuple[int | None, ...]
    dtype: str
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    batch: int | None = None
    fill: int = 5

    def feed(self, rng: np.random.Generator) -> np.ndarray:
        shape = (self.batch or 2, *(self.fill if d is None else d for d in self.shape))
        return np.asarray(self.draw(rng, shape)).astype(self.dtype)


def normal(*shape: int | None, batch: int | None = None) -> Given:
    """Normal numbers on a grid, which compresses well."""
    return Given(shape, "float32", lambda rng, s: np.round(rng.standard_normal(s) * 16) / 16, batch)


def integers(low: int, high: int, *shape: int | None, batch: int | None = None) -> Given:
    return Given(shape, "int32", lambda rng, s: rng.integers(low, high, s), batch)


def padded(*shape: int | None, batch: int | None = None) -> Given:
    """Sequences [time, depth] whose steps at the start, in the middle and at the end are zero."""

    def draw(rng: np.random.Generator, s: tuple[int, ...]) -> np.ndarray:
        x = np.round(rng.standard_normal(s) * 16) / 16
        x[0, :1], x[0, 3:4], x[1, -2:] = 0, 0, 0
        return x

    return Given(shape, "float32", draw, batch)


@dataclass(frozen=True)
class Case:
    """One recorded model; `versions` of Keras that have its layers."""

    name: str
    build: Callable[..., Any]
    inputs: dict[str, Given]
    versions: tuple[int, ...]

    def feeds(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        return {name: given.feed(rng) for name, given in self.inputs.items()}

    def model(self, keras: Keras) -> Any:
        """The model, with seeded weights."""
        inputs = {
            name: keras.layers.Input(batch_shape=(g.batch, *g.shape), dtype=g.dtype, name=name)
            if keras.version == 3
            else keras.layers.Input(batch_size=g.batch, shape=g.shape, dtype=g.dtype, name=name)
            for name, g in self.inputs.items()
        }
        outputs = self.build(keras, **inputs)
        if not isinstance(outputs, list | dict | keras.module.Model):
            outputs = [outputs]
        model = outputs
        if not isinstance(outputs, keras.module.Model):
            model = keras.module.Model(list(inputs.values()), outputs)
        rng = np.random.default_rng(zlib.crc32(self.name.encode()) + 1)
        for weight in model.weights:
            weight.assign(_drawn(rng, weight))
        for layer in model.layers:
            if hasattr(layer, "finalize_state"):
                layer.finalize_state()
        return model


def _drawn(rng: np.random.Generator, weight: Any) -> np.ndarray:
    shape, name = tuple(weight.shape), getattr(weight, "path", weight.name)
    if "variance" in name:
        return np.round(rng.uniform(0.5, 1.5, shape) * 64) / 64
    if "count" in name or "seed" in name or "state" in name:
        return np.zeros(shape)
    return np.round(rng.standard_normal(shape) * 0.4 * 64) / 64


def model(versions: tuple[int, ...] = (2, 3), **inputs: Given) -> Callable[..., Any]:
    """Declare a model by a function `(keras, **inputs) -> outputs`, or a model of its own."""

    def register(build: Callable[..., Any]) -> Callable[..., Any]:
        name = build.__name__
        CASES[name] = Case(name, build, inputs, versions)
        return build

    return register
