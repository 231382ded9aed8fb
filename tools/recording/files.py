"""The files kept of one frozen graph, and its entry in an index."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import text_format

from . import freezing, litert
from .freezing import Frozen

QUANTIZED_FROM = 1024  # elements; TensorFlow leaves smaller weights alone
Arrays = dict[str, np.ndarray]


def write(
    name: str,
    frozen: Frozen,
    feeds: Arrays,
    folder: Path,
    text: bool = False,
    note: str = "",
    further: Iterable[Arrays] = (),
) -> dict[str, Any]:
    """Write NAME.pb, .npz, .dynamic.tflite where worth it, .pbtxt if asked; return the entry.

    `further` feeds are recorded in the .npz as in2/ and out2/, in3/ and out3/ and so on.
    """
    expected = freezing.run(frozen, feeds)
    (folder / f"{name}.pb").write_bytes(frozen.graph_def.SerializeToString(deterministic=True))
    if text:
        (folder / f"{name}.pbtxt").write_text(text_format.MessageToString(frozen.graph_def))
    recorded = _in_and_out("", feeds, expected)
    for number, more in enumerate(further, 2):
        recorded |= _in_and_out(str(number), more, freezing.run(frozen, more))
    np.savez_compressed(folder / f"{name}.npz", **recorded)
    return {
        "note": note,
        "inputs": _describe_inputs(frozen),
        "outputs": frozen.outputs,
        "ops": dict(sorted(_count_ops(frozen.graph_def).items())),
        "tensorflow": _record_conversion(
            frozen, feeds, expected, folder / f"{name}.dynamic.tflite"
        ),
    }


def _in_and_out(number: str, feeds: Arrays, results: Arrays) -> Arrays:
    return {f"in{number}/{key}": value for key, value in feeds.items()} | {
        f"out{number}/{key}": value for key, value in results.items()
    }


def _describe_inputs(frozen: Frozen) -> list[dict[str, Any]]:
    """Names, dtypes and shapes: -1 is an unknown size, null an unknown rank."""
    nodes = {node.name: node for node in frozen.graph_def.node}
    return [
        {
            "name": name,
            "shape": declared_shape(nodes[name]),
            "dtype": tf.dtypes.as_dtype(nodes[name].attr["dtype"].type).name,
        }
        for name in frozen.inputs
    ]


def declared_shape(placeholder: Any) -> list[int] | None:
    shape = placeholder.attr["shape"].shape
    return None if shape.unknown_rank else [dim.size for dim in shape.dim]


def _record_conversion(
    frozen: Frozen, feeds: Arrays, expected: Arrays, path: Path
) -> dict[str, Any]:
    """How well TensorFlow's own converter does; keeps its dynamic-range file if it is worth it."""
    path.unlink(missing_ok=True)
    try:
        model = litert.convert(frozen, feeds, dynamic=False)
        found = litert.run(model, frozen, feeds)
    except Exception as error:  # the converter raises bare Exception
        lines = [line for line in str(error).splitlines() if line.strip()]
        return {"error": lines[0][:300] if lines else type(error).__name__}
    errors = [litert.relative_error(expected[name], found[name]) for name in expected]
    result: dict[str, Any] = {"float_relative_error": float(f"{max(errors):.3g}")}
    if _largest_weight(frozen.graph_def) >= QUANTIZED_FROM:
        model = litert.convert(frozen, feeds, dynamic=True)
        if not (count := litert.count_int8(model)):
            return result  # it left every weight in float
        path.write_bytes(model)
        result["int8_tensors"] = count
        for key, resolver in (("sqnr", litert.DEFAULT), ("sqnr_without_delegate", litert.PLAIN)):
            found = litert.run(model, frozen, feeds, resolver)
            result[key] = {name: litert.sqnr(expected[name], found[name]) for name in expected}
    return result


def _count_ops(graph_def: Any) -> Counter[str]:
    functions = [node for function in graph_def.library.function for node in function.node_def]
    return Counter(node.op for node in [*graph_def.node, *functions])


def _largest_weight(graph_def: Any) -> int:
    """Elements in the largest float constant."""
    shapes = [
        [dim.size for dim in node.attr["value"].tensor.tensor_shape.dim]
        for node in graph_def.node
        if node.op == "Const" and node.attr["dtype"].type == 1
    ]
    return max((int(np.prod(shape)) for shape in shapes), default=0)


def update_index(path: Path, entries: dict[str, Any], known: Iterable[str] | None = None) -> None:
    """Put entries into a JSON index; given `known` names, entries of any other are dropped."""
    index = json.loads(path.read_text()) if path.exists() else {}
    if known is not None:
        index = {key: value for key, value in index.items() if key in known}
    path.write_text(json.dumps(dict(sorted((index | entries).items())), indent=1) + "\n")
