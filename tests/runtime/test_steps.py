"""Intermediate results that stay, and models that run an operator at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import octolite
from octolite.ir.types import Array
from octolite.tflite import write
from tests.runtime.test_interpreter import network

DATA = Path(__file__).parent.parent / "data"


def every_result(model: octolite.Interpreter, x: Array) -> dict[str, Array]:
    """What each operator gave, by the names of the tensors, and the model's input."""
    return {
        value.name: model.get_tensor(model.index_of(value))
        for node in feed(model, x).steps()
        for value in node.outputs
    }


def feed(model: octolite.Interpreter, x: Array) -> octolite.Interpreter:
    index = model.get_input_details()[0]["index"]
    model.resize_tensor_input(index, x.shape)
    model.allocate_tensors()
    model.set_tensor(index, x)
    return model


@pytest.mark.parametrize("threads", [1, 2])
def test_every_result_can_be_read(threads: int) -> None:
    content = write(network())
    x = np.random.default_rng(1).normal(size=(3, 6, 6, 3)).astype(np.float32)
    kept = octolite.Interpreter(
        model_content=content, num_threads=threads, preserve_all_tensors=True
    )
    found = every_result(kept, x)
    plain = feed(octolite.Interpreter(model_content=content, num_threads=threads), x)
    plain.invoke()
    output = plain.get_output_details()[0]
    np.testing.assert_array_equal(found[output["name"]], plain.get_tensor(output["index"]))
    assert len(found) == len(kept.graph.nodes)
    # Once run as a whole, the tensors still hold what the steps left there.
    feed(kept, x).invoke()
    names = {d["name"]: d["index"] for d in kept.get_tensor_details()}
    for name, array in found.items():
        np.testing.assert_array_equal(kept.get_tensor(names[name]), array)


def test_results_may_be_changed_between_steps() -> None:
    model = octolite.Interpreter(model_content=write(network()), preserve_all_tensors=True)
    x = np.ones((2, 6, 6, 3), np.float32)
    before = every_result(model, x)
    for node in feed(model, x).steps():
        if node.output.name == "shift":
            model.set_tensor(model.index_of(node.output), np.zeros_like(before["shift"]))
    (output,) = model.get_output_details()
    changed = model.get_tensor(output["index"])
    assert not np.array_equal(changed, before[output["name"]])
    bias = next(v.data for v in model.graph.constants() if v.name == "logits/b")
    assert bias is not None
    np.testing.assert_allclose(changed, np.maximum(np.broadcast_to(bias, changed.shape), 0))


def test_steps_need_tensors_that_stay() -> None:
    model = octolite.Interpreter(model_content=write(network()))
    with pytest.raises(octolite.UsageError, match="allocate_tensors"):
        model.steps()
    model.allocate_tensors()
    with pytest.raises(octolite.UsageError, match="preserve_all_tensors=True"):
        model.steps()
    with pytest.raises(octolite.UsageError, match="preserve_all_tensors=True"):
        model.get_tensor(model.index_of(model.graph.nodes[0].output))


def test_a_model_at_work_is_not_run_twice() -> None:
    model = octolite.Interpreter(model_content=write(network()), preserve_all_tensors=True)
    model.allocate_tensors()
    steps = model.steps()
    next(steps)
    with pytest.raises(octolite.UsageError, match="thread"):
        model.invoke()
    steps.close()  # type: ignore[attr-defined]
    model.invoke()


@pytest.mark.parametrize("path", ["quantized/mobilenet_v3.int8.tflite", "real/basic_pitch.dynamic"])
def test_networks_give_the_same_either_way(path: str) -> None:
    file = next(DATA.glob(f"{path}*"))
    outputs = []
    for preserve in (False, True):
        model = octolite.Interpreter(file, num_threads=1, preserve_all_tensors=preserve)
        model.allocate_tensors()
        rng = np.random.default_rng(3)
        for d in model.get_input_details():
            x = rng.uniform(-1, 1, d["shape"]) * (1 if d["dtype"] is np.float32 else 100)
            model.set_tensor(d["index"], x.astype(d["dtype"]))
        model.invoke()
        outputs.append([model.get_tensor(d["index"]) for d in model.get_output_details()])
    for a, b in zip(*outputs, strict=True):
        np.testing.assert_array_equal(a, b)
