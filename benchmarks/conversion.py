"""``python -m benchmarks.conversion MODEL …``: what converting costs, start-up included.

Each conversion is the whole command in a process of its own: wall time, peak memory, and the
sizes of the files. A model is a frozen graph, a SavedModel's folder or a file that Keras saved; the
large networks of the README come from ``tools/freeze.py``. ``--tensorflow PYTHON``, an interpreter
that has TensorFlow, times its converter on all but frozen graphs too, by turns, and says how many
times as long it takes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

# The process reports its own peak: what the system reports of a child begins at the size of the
# parent that it was forked from.
_PEAK = """
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""
OURS = f"""
import sys
from octolite.cli.tflite_convert import main
main(sys.argv[1:], standalone_mode=False)
{_PEAK}"""
THEIRS = f"""
import sys
import tensorflow as tf
source, output, *flags = sys.argv[1:]
if source.endswith((".keras", ".h5")):
    converter = tf.lite.TFLiteConverter.from_keras_model(tf.keras.models.load_model(source))
else:
    converter = tf.lite.TFLiteConverter.from_saved_model(source)
if flags:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
open(output, "wb").write(converter.convert())
{_PEAK}"""

KERAS = (".keras", ".h5")
FLAGS = {"float": (), "8 bits": ("--post_training_quantize",)}


def convert(model: Path, output: Path, *flags: str) -> tuple[float, float]:
    """Seconds of wall time and megabytes of peak memory of one conversion."""
    return measure(ours(model, output, *flags))


def ours(model: Path, output: Path, *flags: str) -> list[str]:
    """The command that converts ``model``."""
    source = "--saved_model_dir" if model.is_dir() else "--graph_def_file"
    source = "--keras_model_file" if model.suffix in KERAS else source
    arguments = [f"{source}={model}", f"--output_file={output}", "--quiet", *flags]
    return [sys.executable, "-c", OURS, *arguments]


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds and megabytes of a command that prints its peak at last.

    Python may keep compiled modules, as it does where a package is installed.
    """
    start = time.perf_counter()
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
    )
    return time.perf_counter() - start, int(done.stdout.split()[-1]) * 1024 / 1e6


@dataclass
class Runs:
    """One way to convert one model: its command, and what each run of it took."""

    model: str
    by: str
    to: str
    command: list[str]
    output: Path
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    def run(self) -> None:
        seconds, megabytes = measure(self.command)
        self.seconds.append(seconds)
        self.megabytes.append(megabytes)


def ways(model: Path, folder: Path, tensorflow: Path | None) -> list[Runs]:
    """How ``model`` is converted, into files in ``folder``."""
    found = []
    for to, flags in FLAGS.items():
        output = folder / f"{model.name}.{to}.tflite"
        command = ours(model, output, *flags)
        found.append(Runs(model.stem, "Octolite", to, command, output))
        if tensorflow is not None and (model.is_dir() or model.suffix in KERAS):
            output = output.with_suffix(".theirs")
            command = [str(tensorflow), "-c", THEIRS, str(model), str(output), *flags]
            found.append(Runs(model.stem, "TensorFlow", to, command, output))
    return found


def add_rows(table: Table, runs: list[Runs]) -> None:
    """A line for each way, with how much larger its figures are than ours."""
    mine = {r.to: r for r in runs if r.by == "Octolite"}
    for r in runs:
        size, whole = r.output.stat().st_size, mine["float"].output.stat().st_size
        ratio = median(r.seconds) / median(mine[r.to].seconds)
        table.add_row(
            r.model, r.by, r.to, f"{median(r.seconds):.2f}", f"{ratio:.1f}×",
            f"{median(r.megabytes):.0f}", f"{size / 1e6:.2f}", f"{size / whole:.3f}",
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conversion", description=__doc__)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tensorflow", type=Path, metavar="PYTHON")
    options = parser.parse_args()
    table = Table(box=SIMPLE_HEAD)
    for column in ("model", "by", "to", "seconds", "of ours", "peak MB", "MB", "of float"):
        left = column in ("model", "by", "to")
        table.add_column(column, justify="left" if left else "right")
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            runs = ways(model, Path(folder), options.tensorflow)
            for r in runs:
                measure(r.command)  # which leaves modules compiled, and files in the disk's cache
            for _ in range(options.runs):
                for r in runs:
                    r.run()
            add_rows(table, runs)
    Console(width=100, highlight=False).print(table)


if __name__ == "__main__":
    main()
