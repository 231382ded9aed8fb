"""``python -m benchmarks.startup``: what it costs to load a model and run it once.

Each time is taken in a process of its own, beyond its imports: seconds of loading, planning and
the first run, and the peak of memory above what the imports had taken. ``cold`` finds no compiled
kernels, ``warm`` all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.models import ROWS, AnyRow, Frozen, Network

IMPORTS = {
    "LiteRT": "from ai_edge_litert.interpreter import Interpreter",
    "Octolite": """
import octolite.kernels.select
import octolite.runtime.executor
import octolite.tflite.read
from octolite import Interpreter
""",
}
PROGRAM = """
import json, sys, time
import numpy as np
import numpy.random
{imports}
def memory(what):
    line = next(l for l in open("/proc/self/status") if l.startswith(what))
    return int(line.split()[1]) * 1024 / 1e6
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from now
random = np.random.default_rng(1)
before, start = memory("VmRSS"), time.perf_counter()
interpreter = Interpreter(model_path=sys.argv[1], num_threads=int(sys.argv[2]))
interpreter.allocate_tensors()
source = interpreter.get_input_details()[0]
loaded = time.perf_counter() - start
sample = random.uniform(-1, 1, source["shape"]).astype(source["dtype"])
start = time.perf_counter()
interpreter.set_tensor(source["index"], sample)
interpreter.invoke()
interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
print(json.dumps([loaded + time.perf_counter() - start, memory("VmHWM") - before]))
"""


def start(who: str, model: Path, threads: int, cache: Path) -> tuple[float, float]:
    """Seconds and megabytes of a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(imports=IMPORTS[who]), model, str(threads)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OCTOLITE_CACHE": str(cache)},
    )
    seconds, megabytes = json.loads(done.stdout)
    return seconds, megabytes


def measure(row: AnyRow, threads: int, runs: int) -> list[dict[str, Any]]:
    """What starting the float and the hybrid file of ``row`` costs; who starts alternates."""
    files = row.files()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, content in (("float", files.plain), ("hybrid", files.quantized)):
            model = Path(folder) / f"{kind}.tflite"
            model.write_bytes(content)
            caches = [Path(folder) / f"{kind}{i}" for i in range(runs)]
            cold = [start("Octolite", model, threads, cache) for cache in caches]
            pairs = [
                (start("Octolite", model, threads, cache), start("LiteRT", model, threads, cache))
                for cache in caches
            ]
            ours, theirs = ([pair[i] for pair in pairs] for i in range(2))
            found.append(
                {
                    "name": row.name,
                    "title": row.title,
                    "file": kind,
                    "threads": threads,
                    "cold_seconds": median(seconds for seconds, _ in cold),
                    "warm_seconds": median(seconds for seconds, _ in ours),
                    "litert_seconds": median(seconds for seconds, _ in theirs),
                    "memory_mb": median(megabytes for _, megabytes in ours),
                    "litert_memory_mb": median(megabytes for _, megabytes in theirs),
                }
            )
    return found


HEADINGS = ("model", "file", "LiteRT", "warm", "", "cold", "LiteRT's peak", "our peak")


def cells(row: dict[str, Any]) -> list[str]:
    """A line of the table."""
    return [
        row["title"],
        row["file"],
        f"{row['litert_seconds'] * 1e3:.0f} ms",
        f"{row['warm_seconds'] * 1e3:.0f} ms",
        f"{row['warm_seconds'] / row['litert_seconds']:.2f}×",
        f"{row['cold_seconds']:.2f} s",
        f"{row['litert_memory_mb']:.0f} MB",
        f"{row['memory_mb']:.0f} MB",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL.pb")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    built = [row for row in ROWS if isinstance(row, Network)]
    rows = [Frozen(path) for path in options.models] or built
    found = [line for row in rows for line in measure(row, options.threads, options.runs)]
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    table = Table(box=SIMPLE_HEAD)
    for i, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if i < 2 else "right")
    for line in found:
        table.add_row(*cells(line))
    Console(width=110, highlight=False).print(table)


if __name__ == "__main__":
    main()
