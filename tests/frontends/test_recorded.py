"""Graphs recorded from TensorFlow, imported and run through the operators' references."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from octolite import ir
from octolite.frontends import graphdef

FOLDER = Path(__file__).parents[1] / "data" / "graphs"
INDEX: dict[str, Any] = json.loads((FOLDER / "index.json").read_text())
SIMULATED = {"fake_quant", "fake_quant_per_channel"}  # rounding that the importer leaves out
NO_RESULTS = {  # recorded, but read by another node, or of no input
    "deeplab_like": {"ResizeBilinear_2"},
    "tile_fill": {"rank_1"},
}


def run(model: ir.Model, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The signature's results, from the NumPy references of its operators."""
    signature = model.signatures[0]
    arrays = {id(v): feeds[name] for name, v in signature.inputs.items()}
    arrays |= {id(v): v.data for v in model.main.constants()}
    for node in model.main.nodes:
        given = [None if v is None else arrays[id(v)] for v in node.inputs]
        results = node.op.run(given, node.inputs, node.outputs)
        for value, result in zip(node.outputs, results, strict=True):
            assert result.dtype == value.dtype.numpy, f"{node}: {value!r} came out {result.dtype}"
            assert _fits(result.shape, value.shape), f"{node}: {value!r} came out {result.shape}"
            arrays[id(value)] = result
    return {name: arrays[id(v)] for name, v in signature.outputs.items()}


def _fits(found: tuple[int, ...], known: ir.Shape | None) -> bool:
    return known is None or (
        len(found) == len(known) and all(k in (None, f) for f, k in zip(found, known, strict=True))
    )


def load(name: str, outputs: list[str] | None = None) -> ir.Model:
    recorded = np.load(FOLDER / f"{name}.npz")
    shapes = {i["name"]: i["shape"] or recorded[f"in/{i['name']}"].shape for i in inputs_of(name)}
    return graphdef.load(FOLDER / f"{name}.pb", output_arrays=outputs, input_shapes=shapes)


def inputs_of(name: str) -> list[dict[str, Any]]:
    return INDEX[name]["inputs"]


@pytest.mark.parametrize("name", sorted(set(INDEX) - SIMULATED))
def test_recorded_graph_gives_what_tensorflow_gave(name: str) -> None:
    outputs = INDEX[name]["outputs"]
    model = load(name, outputs)
    ir.verify(model.main)
    recorded = np.load(FOLDER / f"{name}.npz")
    results = run(model, {i["name"]: recorded[f"in/{i['name']}"] for i in inputs_of(name)})
    assert list(results) == outputs
    for output in outputs:
        compare(output, results[output], recorded[f"out/{output}"])


@pytest.mark.parametrize("name", sorted(INDEX))
def test_default_arrays_are_placeholders_and_results(name: str) -> None:
    signature = load(name).signatures[0]
    assert list(signature.inputs) == [i["name"] for i in inputs_of(name)]
    recorded = set(INDEX[name]["outputs"]) - NO_RESULTS.get(name, set())
    assert set(signature.outputs) == recorded


def test_simulated_quantization_becomes_ranges() -> None:
    for name in SIMULATED:
        graph = load(name).main
        assert not any("QUANT" in op for op in graph.operators())
        assert any(v.range is not None for v in graph.values())


def compare(name: str, found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    assert found.shape == expected.shape, name
    if expected.dtype.kind not in "fc":
        np.testing.assert_array_equal(found, expected, err_msg=name)
        return
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(found), finite, err_msg=name)
    largest = np.abs(expected[finite]).max(initial=1e-30)
    error = np.abs(found[finite] - expected[finite]).max(initial=0) / largest
    assert error <= tolerance, f"{name}: relative error {error:.2g}"
