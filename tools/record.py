"""Record small TensorFlow graphs for the tests: `python tools/record.py [NAME…]`.

Writes tests/data/graphs/NAME.pb (some also .pbtxt), NAME.npz (inputs and TensorFlow's outputs),
NAME.dynamic.tflite where the graph has weights worth quantizing, and their lines of index.json.
Without names, everything is made again. Needs TensorFlow, tf_keras and ai-edge-litert.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recording import constructs, convolutions, elementwise, files, networks, networks_keras
from recording.case import CASES
from recording.freezing import freeze

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "data" / "graphs"
MODULES = (constructs, convolutions, elementwise, networks, networks_keras)  # fill CASES


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
        case = CASES[name]
        entry = files.write(name, freeze(case), case.feeds(), FOLDER, case.text, case.note)
        files.update_index(FOLDER / "index.json", {name: entry}, known=CASES)
        print(f"{name}: {entry['tensorflow']}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
