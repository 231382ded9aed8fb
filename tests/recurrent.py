"""The recorded graphs with loops, conditionals and recurrent networks (``data/recurrent``)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from octolite import ir, passes, tflite
from octolite.frontends import graphdef

GRAPHS = Path(__file__).parent / "data" / "recurrent"
INDEX: dict[str, Any] = json.loads((GRAPHS / "index.json").read_text())

FUSED = (
    "UNIDIRECTIONAL_SEQUENCE_RNN", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN",
    "BIDIRECTIONAL_SEQUENCE_LSTM", "RNN", "LSTM",
)  # fmt: skip


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

    @property
    def expected_operators(self) -> list[str]:
        """The recurrent operators that it should become; none where only a loop can do it."""
        wanted = self.facts["expect"]
        return [] if wanted == "loop" else sorted(op for op in wanted if op in FUSED)

    def runs(self) -> list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """What was fed and computed, for each set of shapes."""
        with np.load(GRAPHS / f"{self.name}.npz") as data:
            arrays = {k: data[k] for k in data.files}
        numbers = sorted({k.split("/", 1)[0].lstrip("inout") for k in arrays})
        return [
            (_of(arrays, f"in{n}/"), _of(arrays, f"out{n}/")) for n in numbers
        ]  # the first has no number

    def load(self, feeds: dict[str, np.ndarray] | None = None) -> ir.Model:
        """The model as imported, for the shapes of ``feeds`` or those of the graph."""
        shapes = None if feeds is None else {k: v.shape for k, v in feeds.items()}
        return graphdef.load(self.path, None, self.facts["outputs"], shapes)

    def optimized(self, feeds: dict[str, np.ndarray] | None = None) -> ir.Model:
        model = self.load(feeds)
        passes.optimize(model)
        return model


def _of(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


ALL = [Recording(name) for name in INDEX if not name.startswith("embedding")]


def run(make: Any, model: ir.Model, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The model's outputs by name, from its file in an interpreter of TensorFlow Lite's kind."""
    interpreter = make(model_content=tflite.write(model))
    for details in interpreter.get_input_details():
        interpreter.resize_tensor_input(details["index"], feeds[details["name"]].shape)
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], feeds[details["name"]])
    interpreter.invoke()
    names = {v.name: name for name, v in model.signatures[0].outputs.items()}
    return {
        names[d["name"]]: interpreter.get_tensor(d["index"])
        for d in interpreter.get_output_details()
    }
