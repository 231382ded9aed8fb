"""``python -m benchmarks.quantizing MODEL.tflite …``: weights of a float ``.tflite`` to 8 bits.

Octolite beside Google's litert-quantizer, from the model's path to the new file on disk, each in
a process of its own: seconds without imports, peak memory, the file's size, and the
signal-to-noise ratio of the outputs in LiteRT against those of the float model. litert-quantizer
needs a LiteRT of its own and so an environment of its own::

    python3 -m venv quantizer && quantizer/bin/pip install litert-quantizer==0.11.0
    python -m benchmarks.quantizing model.tflite --quantizer quantizer/bin/python
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

REPORT = """
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(json.dumps([time.perf_counter() - start, int(peak) * 1024 / 1e6]))
"""

OCTOLITE = f"""
import json, pathlib, sys, time
import octolite
octolite.convert
start = time.perf_counter()
pathlib.Path(sys.argv[2]).write_bytes(octolite.convert(pathlib.Path(sys.argv[1])))
{REPORT}
"""

THEIRS = f"""
import json, sys, time
from litert_quantizer import quantizer, recipe
start = time.perf_counter()
tool = quantizer.Quantizer(sys.argv[1])
tool.load_quantization_recipe(recipe.dynamic_wi8_afp32())
tool.quantize().export_model(sys.argv[2], overwrite=True)
{REPORT}
"""


def measure(python: str, program: str, model: Path, output: Path) -> tuple[float, float]:
    """Seconds and megabytes of one run."""
    command = [python, "-c", program, str(model), str(output)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory


def outputs(model: Path, feeds: dict[int, np.ndarray]) -> list[np.ndarray]:
    """What LiteRT computes, as float64."""
    interpreter = Interpreter(str(model))
    interpreter.allocate_tensors()
    for position, detail in enumerate(interpreter.get_input_details()):
        interpreter.set_tensor(detail["index"], feeds[position])
    interpreter.invoke()
    details = interpreter.get_output_details()
    return [interpreter.get_tensor(d["index"]).astype(np.float64) for d in details]


def inputs_of(model: Path, seed: int) -> dict[int, np.ndarray]:
    """Gaussian values for each input."""
    interpreter = Interpreter(str(model))
    rng = np.random.default_rng(seed)
    return {
        position: rng.standard_normal(detail["shape"]).astype(detail["dtype"])
        for position, detail in enumerate(interpreter.get_input_details())
    }


def decibels(model: Path, quantized: Path, draws: int = 24) -> tuple[float, float]:
    """The signal-to-noise ratio of all outputs: its mean over draws of inputs, and its error."""
    found = []
    for seed in range(draws):
        feeds = inputs_of(model, seed)
        pairs = list(zip(outputs(model, feeds), outputs(quantized, feeds), strict=True))
        signal = sum(float(np.sum(exact**2)) for exact, _ in pairs)
        noise = sum(float(np.sum((exact - other) ** 2)) for exact, other in pairs)
        found.append(10 * np.log10(signal / max(noise, 1e-300)))
    return float(np.mean(found)), float(np.std(found) / draws**0.5)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantizing", description=__doc__)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.tflite")
    parser.add_argument("--quantizer", metavar="PYTHON", help="a Python that has litert-quantizer")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    tools = {"Octolite": (sys.executable, OCTOLITE)}
    if options.quantizer:
        tools["litert-quantizer"] = (options.quantizer, THEIRS)
    table = Table(box=SIMPLE_HEAD)
    for column in ("model", "by", "seconds", "peak MB", "file MB", "SQNR dB"):
        table.add_column(column, justify="left" if column in ("model", "by") else "right")
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            files = {name: Path(folder) / f"{name}.tflite" for name in tools}
            runs: dict[str, list[tuple[float, float]]] = {name: [] for name in tools}
            for _ in range(options.runs):  # in turn, so that a busy minute meets both
                for name, (python, program) in tools.items():
                    runs[name].append(measure(python, program, model, files[name]))
            for name, file in files.items():
                seconds, memory = (median(run[i] for run in runs[name]) for i in (0, 1))
                table.add_row(
                    model.stem,
                    name,
                    f"{seconds:.3f}",
                    f"{memory:.0f}",
                    f"{file.stat().st_size / 1e6:.2f}",
                    "{:.1f} ± {:.1f}".format(*decibels(model, file)),
                )
    Console(width=100, highlight=False).print(table)


if __name__ == "__main__":
    main()
