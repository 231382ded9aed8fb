"""Record small TensorFlow graphs for the tests: `python tools/record.py [NAME…]`.

Writes, in tests/data/graphs or tests/data/recurrent, NAME.pb (some also .pbtxt), NAME.npz (inputs
and TensorFlow's outputs), NAME.dynamic.tflite where the graph has weights worth quantizing, and
their lines of index.json.
Without names, everything is made again. Needs TensorFlow, tf_keras and ai-edge-litert.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recording import (
    constructs,
    convolutions,
    elementwise,
    embeddings,
    files,
    loops,
    networks,
    networks_keras,
    recurrent,
    recurrent_cells,
    recurrent_keras,
)
from recording.case import CASES
from recording.freezing import freeze

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "data"
FEED_FORWARD = (constructs, convolutions, elementwise, networks, networks_keras)  # fill CASES
RECURRENT = (recurrent, recurrent_cells, recurrent_keras, loops, embeddings)


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
    for name in options.names or sorted(CASES):
        case = CASES[name]
        folder = FOLDER / case.folder
        folder.mkdir(parents=True, exist_ok=True)
        entry = files.write(
            name, freeze(case), case.feeds(), folder, case.text, case.note, case.further_feeds()
        )
        beside = [other for other, its in CASES.items() if its.folder == case.folder]
        entry |= dict(case.expectation)
        files.update_index(folder / "index.json", {name: entry}, known=beside)
        print(f"{name}: {entry['tensorflow']}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
