"""TensorFlow's own conversion of a frozen graph, and its result run in LiteRT."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert import interpreter as litert

from .freezing import Frozen

PLAIN = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
DEFAULT = litert.OpResolverType.AUTO


def convert(frozen: Frozen, feeds: dict[str, np.ndarray], dynamic: bool) -> bytes:
    """TensorFlow's float or dynamic-range .tflite; raises what its converter raises.

    Unknown batch stays unknown; any other unknown size becomes that of `feeds`.
    """
    nodes = {node.name: node for node in frozen.graph_def.node}
    shapes = {}
    for name in frozen.inputs:
        shape = list(feeds[name].shape)
        declared = nodes[name].attr["shape"].shape
        if declared.dim and declared.dim[0].size < 0:
            shape[0] = None
        shapes[name] = shape
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.pb"
        path.write_bytes(frozen.graph_def.SerializeToString())
        converter = tf.compat.v1.lite.TFLiteConverter.from_frozen_graph(
            str(path), frozen.inputs, frozen.outputs, shapes
        )
        if dynamic:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return converter.convert()


def run(
    model: bytes,
    frozen: Frozen,
    feeds: dict[str, np.ndarray],
    resolver: litert.OpResolverType = DEFAULT,
) -> dict[str, np.ndarray]:
    """Outputs by name, in the order in which the graph was converted."""
    interpreter = litert.Interpreter(
        model_content=model, num_threads=1, experimental_op_resolver_type=resolver
    )
    details = {
        detail["name"].removesuffix(":0"): detail for detail in interpreter.get_input_details()
    }
    for name, detail in details.items():
        interpreter.resize_tensor_input(detail["index"], feeds[name].shape)
    interpreter.allocate_tensors()
    for name, detail in details.items():
        interpreter.set_tensor(detail["index"], feeds[name])
    interpreter.invoke()
    outputs = [
        interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()
    ]
    return dict(zip(frozen.outputs, outputs, strict=True))


def count_int8(model: bytes) -> int:
    """Tensors stored in 8 bits."""
    details = litert.Interpreter(
        model_content=model, experimental_op_resolver_type=PLAIN
    ).get_tensor_details()
    return sum(detail["dtype"] == np.int8 for detail in details)


def sqnr(expected: np.ndarray, found: np.ndarray) -> float | None:
    """Signal to quantization noise in dB, at most 200; None where it means nothing."""
    if expected.dtype.kind != "f" or expected.shape != found.shape:
        return None
    expected, noise = expected.astype(np.float64), found.astype(np.float64) - expected
    signal, noise_power = np.sum(expected**2), np.sum(noise**2)
    if not signal:
        return None
    return round(float(min(200.0, 10 * np.log10(signal / max(noise_power, 1e-300)))), 3)


def relative_error(expected: np.ndarray, found: np.ndarray) -> float:
    """Largest difference over the largest magnitude expected."""
    if expected.shape != found.shape:
        return float("inf")
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    return float(
        np.max(np.abs(expected - found), initial=0)
        / max(1e-30, np.max(np.abs(expected), initial=0))
    )
