"""The recorded graphs: TensorFlow's frozen files, inputs and outputs, and how to compare."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import octolite

GRAPHS = Path(__file__).parent / "data" / "graphs"
INDEX: dict[str, Any] = json.loads((GRAPHS / "index.json").read_text())


@dataclass(frozen=True)
class Recording:
    """One frozen graph with what TensorFlow computed from it."""

    name: str

    @property
    def path(self) -> Path:
        return GRAPHS / f"{self.name}.pb"

    @property
    def facts(self) -> dict[str, Any]:
        return INDEX[self.name]

    def arrays(self, kind: str) -> dict[str, np.ndarray]:
        """Arrays by tensor name; ``kind`` is ``in`` or ``out``."""
        with np.load(GRAPHS / f"{self.name}.npz") as data:
            return {k.split("/", 1)[1]: data[k] for k in data.files if k.startswith(f"{kind}/")}

    @property
    def tensorflow_sqnr(self) -> dict[str, float]:
        """Decibels of TensorFlow's own dynamic-range file in LiteRT, by output."""
        known = (self.facts.get("tensorflow") or {}).get("sqnr") or {}
        return {name: value for name, value in known.items() if value is not None}

    def convert(self, **options: Any) -> bytes:
        """Our ``.tflite`` file with the outputs that were recorded.

        Shapes are given only where the graph does not even know the rank.
        """
        unranked = [i["name"] for i in self.facts["inputs"] if i["shape"] is None]
        feeds = self.arrays("in")
        shapes = {name: [-1] * feeds[name].ndim for name in unranked}
        options.setdefault("output_arrays", self.facts["outputs"])
        return octolite.convert(self.path, input_shapes=shapes or None, **options)


ALL = [Recording(name) for name in INDEX]


def run(make: Callable[..., Any], content: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs of a ``.tflite`` file in an interpreter with TensorFlow Lite's interface."""
    interpreter = make(model_content=content)
    for details in interpreter.get_input_details():
        interpreter.resize_tensor_input(details["index"], feeds[details["name"]].shape)
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], feeds[details["name"]])
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def relative_error(got: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference over the largest magnitude; equal NaN and Inf do not count."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.where(
            (got == expected) | (np.isnan(got) & np.isnan(expected)), 0, got - expected
        )
    finite = np.abs(expected[np.isfinite(expected)])
    return float(np.max(np.abs(difference), initial=0.0) / max(np.max(finite, initial=0.0), 1e-30))


def sqnr(got: np.ndarray, expected: np.ndarray) -> float:
    """Signal to quantization noise in decibels."""
    expected = expected.astype(np.float64)
    noise = np.sum((got.astype(np.float64) - expected) ** 2)
    return float(10 * np.log10(np.sum(expected**2) / noise)) if noise else np.inf
