"""The main job on a network that was trained on real digits: convert, check, time, compare.

    make demo

runs ``tflite_convert`` on the frozen graph beside this file, once in float and once with
``--post_training_quantize``, evaluates both files on images that training never saw, times them in
turns, and prints one table. LiteRT joins in where it is installed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import octolite

HERE = Path(__file__).parent
OUT = HERE.parents[1] / "out"
ROUNDS, RUNS_PER_ROUND = 60, 5


@dataclass
class Contender:
    """One file in one run time."""

    label: str
    path: Path
    make: Callable[..., Any]
    accuracy: float = 0.0
    milliseconds: list[float] = field(default_factory=list)

    def interpreter(self, batch: int) -> tuple[Any, int, int]:
        """An interpreter for that batch size, its input's and its output's index."""
        made = self.make(model_path=str(self.path), num_threads=1)
        source = made.get_input_details()[0]
        made.resize_tensor_input(source["index"], [batch, *source["shape"][1:]])
        made.allocate_tensors()
        return made, source["index"], made.get_output_details()[0]["index"]


def convert(name: str, *flags: str) -> Path:
    """The command of the README, in a process of its own."""
    output = OUT / name
    command = [
        str(Path(sys.executable).with_name("tflite_convert")),
        f"--output_file={output}",
        f"--graph_def_file={HERE / 'digits.pb'}",
        *flags,
    ]
    print("$ tflite_convert", *command[1:], flush=True)
    subprocess.run(command, check=True)
    return output


def evaluate(contender: Contender, images: np.ndarray, labels: np.ndarray) -> None:
    interpreter, source, result = contender.interpreter(len(images))
    interpreter.set_tensor(source, images)
    interpreter.invoke()
    found = interpreter.get_tensor(result).argmax(axis=1)
    contender.accuracy = float((found == labels).mean())


def race(contenders: list[Contender], image: np.ndarray) -> None:
    """Time one image, the contenders in turns, so that a noisy moment hits them all."""
    runners = []
    for contender in contenders:
        interpreter, source, _ = contender.interpreter(1)
        interpreter.set_tensor(source, image)
        runners.append((contender, interpreter))
    for number in range(ROUNDS + 3):
        for contender, interpreter in runners:
            start = time.perf_counter()
            for _ in range(RUNS_PER_ROUND):
                interpreter.invoke()
            spent = (time.perf_counter() - start) / RUNS_PER_ROUND * 1e3
            if number >= 3:  # the first rounds warm up
                contender.milliseconds.append(spent)


def litert() -> Callable[..., Any] | None:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        return None
    return Interpreter


def table(contenders: list[Contender]) -> Table:
    made = Table(box=SIMPLE_HEAD, title=None)
    for column in ("", "size", "accuracy", "latency, 1 thread", "against float"):
        made.add_column(column, justify="left" if not column else "right", no_wrap=True)
    base = float(np.median(contenders[0].milliseconds))
    for c in contenders:
        median = float(np.median(c.milliseconds))
        made.add_row(
            c.label,
            f"{c.path.stat().st_size / 1e3:.0f} kB",
            f"{100 * c.accuracy:.2f} %",
            f"{median:.3f} ms",
            f"{base / median:.2f}×",
        )
    return made


def main() -> None:
    OUT.mkdir(exist_ok=True)
    with np.load(HERE / "holdout.npz") as data:
        images, labels = data["images"].astype(np.float32), data["labels"]
    small = convert("digits_int8.tflite", "--post_training_quantize")
    large = convert("digits_float.tflite", "--quiet")
    contenders = [
        Contender("Octolite, float", large, octolite.Interpreter),
        Contender("Octolite, 8-bit weights", small, octolite.Interpreter),
    ]
    other = litert()
    if other is not None:
        contenders += [
            Contender("LiteRT, float", large, other),
            Contender("LiteRT, 8-bit weights", small, other),
        ]
    for contender in contenders:
        evaluate(contender, images, labels)
    race(contenders, images[:1])
    print(f"\n{len(labels)} images of handwritten digits that training never saw:")
    Console(width=100, highlight=False).print(table(contenders))


if __name__ == "__main__":
    main()
