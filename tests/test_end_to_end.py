"""Every recorded graph: converted, run in LiteRT and in Octolite, held against TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

import octolite
from tests.recorded import ALL, Recording, relative_error, run, sqnr

FLOAT_TOLERANCE = 1e-5
SQNR_SLACK = 0.5
"""Decibels that our hybrid file may be behind TensorFlow's own."""

ENOUGH = 90.0
"""Decibels past which only the order of float sums is heard, not quantization."""

FINER_IN_TENSORFLOW = dict.fromkeys(
    (
        "conv2d_space_to_batch",
        "conv2d_space_to_batch_bias",
        "conv2d_space_to_batch_odd",
        "conv2d_space_to_batch_unknown_size",
    ),
    2.0,
)
"""Graphs where more decibels are allowed, and how many: TensorFlow leaves their dilated
convolutions between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND, which cuts each image into four that
get a range each; the one dilated convolution that we write has one range for the image. On white
noise, which these recordings are, the finer ranges are worth up to 1.7 dB."""

PASSED_THROUGH = ("fake_quant", "fake_quant_per_channel")
"""Their FakeQuant nodes become ranges, so that results differ by what those would round off."""

every_graph = pytest.mark.parametrize(
    "recording", [r for r in ALL if r.name not in PASSED_THROUGH], ids=lambda r: r.name
)
quantized_graphs = pytest.mark.parametrize(
    "recording", [r for r in ALL if r.tensorflow_sqnr], ids=lambda r: r.name
)


def check(got: list[np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert len(got) == len(expected)
    for array, (name, reference) in zip(got, expected.items(), strict=True):
        assert array.shape == reference.shape, name
        assert array.dtype == reference.dtype, name
        if reference.dtype.kind == "f":
            assert relative_error(array, reference) <= FLOAT_TOLERANCE, name
        else:
            np.testing.assert_array_equal(array, reference, err_msg=name)


@every_graph
def test_float_file_in_litert(recording: Recording) -> None:
    content = recording.convert(quantize="none")
    check(run(LiteRT, content, recording.arrays("in")), recording.arrays("out"))


@every_graph
def test_float_file_in_octolite(recording: Recording) -> None:
    content = recording.convert(quantize="none")
    check(run(octolite.Interpreter, content, recording.arrays("in")), recording.arrays("out"))


@quantized_graphs
def test_hybrid_file(recording: Recording) -> None:
    """No worse than TensorFlow's own file, in LiteRT and here."""
    content = recording.convert()
    expected = recording.arrays("out")
    for make in (LiteRT, octolite.Interpreter):
        results = run(make, content, recording.arrays("in"))
        for array, (name, reference) in zip(results, expected.items(), strict=True):
            if name in recording.tensorflow_sqnr:
                slack = FINER_IN_TENSORFLOW.get(recording.name, SQNR_SLACK)
                floor = min(recording.tensorflow_sqnr[name], ENOUGH) - slack
                assert sqnr(array, reference) >= floor, (make.__module__, name)


@quantized_graphs
@pytest.mark.parametrize("recipe", ["weights", "float16"])
def test_other_recipes_in_litert_and_octolite(recording: Recording, recipe: str) -> None:
    """Both run times dequantize the same weights, so they agree to float precision."""
    content = recording.convert(quantize=recipe)
    feeds = recording.arrays("in")
    ours, theirs = run(octolite.Interpreter, content, feeds), run(LiteRT, content, feeds)
    for a, b in zip(ours, theirs, strict=True):
        assert relative_error(a, b) <= 2e-5


@quantized_graphs
def test_same_bytes_every_time(recording: Recording) -> None:
    assert recording.convert() == recording.convert()
