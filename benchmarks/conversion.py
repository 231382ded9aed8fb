"""``python -m benchmarks.conversion MODEL.pb …``: what converting costs, start-up included.

Each conversion is the whole command in a process of its own: wall time, peak memory, and the
sizes of the files. The large networks of the README come from ``tools/freeze.py``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

# The process reports its own peak: what the system reports of a child begins at the size of the
# parent that it was forked from.
PROGRAM = """
import sys
from octolite.cli.tflite_convert import main
main(sys.argv[1:], standalone_mode=False)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def convert(model: Path, output: Path, *flags: str) -> tuple[float, float]:
    """Seconds of wall time and megabytes of peak memory of one conversion."""
    arguments = [f"--graph_def_file={model}", f"--output_file={output}", "--quiet", *flags]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return time.perf_counter() - start, int(done.stdout) * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conversion", description=__doc__)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.pb")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    table = Table(box=SIMPLE_HEAD)
    for column in ("model", "to", "seconds", "peak MB", "MB", "of float"):
        table.add_column(column, justify="left" if column in ("model", "to") else "right")
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            sizes: dict[str, int] = {}
            for label, flags in (("float", ()), ("8 bits", ("--post_training_quantize",))):
                output = Path(folder) / f"{model.stem}.tflite"
                runs = [convert(model, output, *flags) for _ in range(options.runs)]
                sizes[label] = output.stat().st_size
                seconds, memory = (f"{median(r[i] for r in runs):.2f}" for i in (0, 1))
                ratio = f"{sizes[label] / sizes['float']:.3f}"
                table.add_row(
                    model.stem, label, seconds, memory, f"{sizes[label] / 1e6:.2f}", ratio
                )
    Console(width=100, highlight=False).print(table)


if __name__ == "__main__":
    main()
