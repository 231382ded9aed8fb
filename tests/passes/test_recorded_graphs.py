"""Every recorded TensorFlow graph, optimised: the same results, in the operators one expects."""

from __future__ import annotations

import numpy as np
import pytest

from octolite import ir, passes
from octolite.frontends import graphdef
from tests.passes.interpret import run
from tests.recorded import INDEX, Recording, relative_error

SIMULATED = {"fake_quant", "fake_quant_per_channel"}  # rounding that the importer leaves out


def optimized(name: str) -> ir.Model:
    recording = Recording(name)
    arrays = recording.arrays("in")
    shapes = {i["name"]: i["shape"] or arrays[i["name"]].shape for i in recording.facts["inputs"]}
    model = graphdef.load(
        recording.path, output_arrays=recording.facts["outputs"], input_shapes=shapes
    )
    passes.optimize(model, on_pass=lambda *_: ir.verify(model.main))
    return model


@pytest.mark.parametrize("name", sorted(set(INDEX) - SIMULATED))
def test_results_stay(name: str) -> None:
    recording = Recording(name)
    signature = optimized(name).signatures[0]
    given = recording.arrays("in")
    feeds = {value.name: given[key] for key, value in signature.inputs.items()}
    arrays = run(signature.graph, feeds)
    for key, expected in recording.arrays("out").items():
        found = arrays[id(signature.outputs[key])]
        assert found.shape == expected.shape
        if expected.dtype.kind == "f":
            assert relative_error(found, expected) <= 1e-5, key
        else:
            np.testing.assert_array_equal(found, expected, err_msg=key)
