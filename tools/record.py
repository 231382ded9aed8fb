"""Record small TensorFlow graphs for the tests: `python tools/record.py [NAME…]`.

Writes tests/data/graphs/NAME.pb (some also .pbtxt), NAME.npz (inputs and TensorFlow's outputs),
NAME.dynamic.tflite where the graph has weights worth quantizing, and their lines of index.json.
Without names, everything is made again. Needs TensorFlow and ai-edge-litert.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

from recording import (
    constructs,
    convolutions,
    elementwise,
    freezing,
    litert,
    networks,
    networks_keras,
)
from recording.case import CASES, Case, Input

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "data" / "graphs"
QUANTIZED_FROM = 1024  # elements; TensorFlow leaves smaller weights alone
MODULES = (constructs, convolutions, elementwise, networks, networks_keras)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="graphs to record (default: all)")
    parser.add_argument("--list", action="store_true", help="print the names of all graphs")
    options = parser.parse_args()
    if options.list:
        print("\n".join(sorted(CASES)))
        return 0
    if unknown := set(options.names) - set(CASES):
        parser.error(f"no graph is called {', '.join(sorted(unknown))}; --list prints all names")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in options.names or sorted(CASES):
        entry = record(CASES[name], FOLDER)
        update_index(FOLDER / "index.json", name, entry, keep_others=bool(options.names))
        converted = entry["tensorflow"]
        print(f"{name}: {converted.get('error') or converted}", file=sys.stderr)
    return 0


def record(case: Case, folder: Path) -> dict[str, Any]:
    """Write one graph's files; return its entry in the index."""
    frozen, feeds = freezing.freeze(case), case.feeds()
    expected = freezing.run(frozen, feeds)
    (folder / f"{case.name}.pb").write_bytes(frozen.graph_def.SerializeToString(deterministic=True))
    if case.text:
        (folder / f"{case.name}.pbtxt").write_text(text_format.MessageToString(frozen.graph_def))
    np.savez_compressed(
        folder / f"{case.name}.npz",
        **{f"in/{name}": value for name, value in feeds.items()},
        **{f"out/{name}": value for name, value in expected.items()},
    )
    return {
        "note": case.note,
        "inputs": [describe(name, spec) for name, spec in case.inputs.items()],
        "outputs": frozen.outputs,
        "ops": dict(sorted(count_ops(frozen.graph_def).items())),
        "tensorflow": record_conversion(case, frozen, feeds, expected, folder),
    }


def describe(name: str, spec: Input) -> dict[str, Any]:
    shape = None if spec.unranked else [-1 if size is None else size for size in spec.shape]
    return {"name": name, "shape": shape, "dtype": spec.dtype}


def record_conversion(
    case: Case,
    frozen: freezing.Frozen,
    feeds: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    folder: Path,
) -> dict[str, Any]:
    """How well TensorFlow's own converter does; keeps its dynamic-range file if it is worth it."""
    path = folder / f"{case.name}.dynamic.tflite"
    path.unlink(missing_ok=True)
    try:
        model = litert.convert(frozen, feeds, dynamic=False)
        found = litert.run(model, frozen, feeds)
    except Exception as error:  # the converter raises bare Exception
        lines = [line for line in str(error).splitlines() if line.strip()]
        return {"error": lines[0][:300] if lines else type(error).__name__}
    errors = [litert.relative_error(expected[name], found[name]) for name in expected]
    result: dict[str, Any] = {"float_relative_error": float(f"{max(errors):.3g}")}
    if largest_weight(frozen.graph_def) >= QUANTIZED_FROM:
        model = litert.convert(frozen, feeds, dynamic=True)
        path.write_bytes(model)
        for key, resolver in (("sqnr", litert.DEFAULT), ("sqnr_without_delegate", litert.PLAIN)):
            found = litert.run(model, frozen, feeds, resolver)
            result[key] = {name: litert.sqnr(expected[name], found[name]) for name in expected}
    return result


def count_ops(graph_def: Any) -> Counter[str]:
    functions = [node for function in graph_def.library.function for node in function.node_def]
    return Counter(node.op for node in [*graph_def.node, *functions])


def largest_weight(graph_def: Any) -> int:
    """Elements in the largest float constant."""
    shapes = [
        [dim.size for dim in node.attr["value"].tensor.tensor_shape.dim]
        for node in graph_def.node
        if node.op == "Const" and node.attr["dtype"].type == 1
    ]
    return max((int(np.prod(shape)) for shape in shapes), default=0)


def update_index(path: Path, name: str, entry: dict[str, Any], keep_others: bool) -> None:
    """Replace one entry; entries of graphs that no longer exist are dropped."""
    index = json.loads(path.read_text()) if path.exists() else {}
    index = {key: value for key, value in index.items() if key in CASES} | {name: entry}
    path.write_text(json.dumps(dict(sorted(index.items())), indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
