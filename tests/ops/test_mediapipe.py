"""MediaPipe's custom operators, against LiteRT's delegate, which alone knows them there."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

import octolite
from octolite.errors import FormatError
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import FLOAT32
from octolite.ops import operator_class
from octolite.ops.mediapipe import Convolution2DTransposeBias
from octolite.tflite import read, write

SHAPE = (1, 4, 5, 3)


def model(**attributes: int) -> bytes:
    rng = np.random.default_rng(3)
    kernel = attributes.pop("kernel_h", 2), attributes.pop("kernel_w", 2)
    graph = Graph("main")
    x = graph.add_input("x", FLOAT32, SHAPE)
    w = Value.constant("w", rng.standard_normal((2, *kernel, SHAPE[3])).astype(np.float32))
    bias = Value.constant("bias", rng.standard_normal(2).astype(np.float32))
    node = graph.add(Convolution2DTransposeBias(**attributes), [x, w, bias], "y")
    graph.outputs = [graph.add(operator_class("ABS")(), [node.output], "z").output]
    return write(Model([graph], []))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    list(itertools.product([(2, 2), (4, 4), (3, 2)], [(1, 1), (2, 2), (3, 2)], [1, 2])),
)
def test_images_grow_as_in_litert(
    kernel: tuple[int, int], stride: tuple[int, int], padding: int
) -> None:
    content = model(
        kernel_h=max(kernel[0], stride[0]),  # LiteRT refuses strides beyond the kernel
        kernel_w=max(kernel[1], stride[1]),
        stride_h=stride[0],
        stride_w=stride[1],
        padding=padding,
    )
    x = np.random.default_rng(5).standard_normal(SHAPE).astype(np.float32)
    results = []
    for make in (LiteRT, octolite.Interpreter):
        interpreter = make(model_content=content)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    assert results[0].shape == results[1].shape
    np.testing.assert_allclose(results[1], results[0], rtol=1e-5, atol=1e-5)


def test_it_is_compiled_and_comes_back() -> None:
    content = model(stride_h=2, stride_w=3, padding=2)
    assert write(read(content)) == content
    (node, _) = read(content).main.nodes
    assert node.op == Convolution2DTransposeBias(stride_h=2, stride_w=3, padding=2)
    assert node.op.kernel(node.inputs) is not None


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"padding": 0}, "padding 0 is neither 1 nor 2"),
        ({"padding": 3}, "padding 3 is neither 1 nor 2"),
        ({"stride_w": 0}, "strides 1 and 0 is under 1"),
    ],
)
def test_what_it_cannot_mean_is_refused(attributes: dict[str, int], words: str) -> None:
    with pytest.raises(octolite.OctoliteError, match=words):
        model(**attributes)


def test_options_that_are_too_short_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Convolution2DTransposeBias, "packed", "<3h")
    content = model()
    monkeypatch.undo()
    with pytest.raises(FormatError, match="its options have 6 bytes, expected 12"):
        read(content)
