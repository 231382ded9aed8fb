"""The main job on networks that were trained on real digits: convert, check, time, compare.

    make demo

runs ``tflite_convert`` on each frozen graph, once in float and once with
``--post_training_quantize``, evaluates both files on images that training never saw, times them in
turns, and prints one table. LiteRT joins in where it is installed. In the end it writes a page of
what quantization cost the first network: ``out/report.html``.
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
OUT = HERE.parent / "out"
HELD_OUT = HERE / "digits" / "holdout.npz"
ROUNDS, RUNS_PER_ROUND = 60, 5


@dataclass(frozen=True)
class Network:
    """A frozen graph, and the shape in which it takes an image of 8×8."""

    title: str
    path: Path
    shape: tuple[int, ...]


NETWORKS = (
    Network("convolutions", HERE / "digits" / "digits.pb", (8, 8, 1)),
    Network("LSTM", HERE / "digit_rows" / "lstm.pb", (8, 8)),
    Network("bidirectional RNN", HERE / "digit_rows" / "bidirectional_rnn.pb", (8, 8)),
)


@dataclass
class Contender:
    """One file in one run time."""

    label: str
    path: Path
    make: Callable[..., Any]
    accuracy: float = 0.0
    milliseconds: list[float] = field(default_factory=list)

    def interpreter(self) -> tuple[Any, int, int]:
        """An interpreter for one image, its input's and its output's index."""
        made = self.make(model_path=str(self.path), num_threads=1)
        made.allocate_tensors()
        return made, made.get_input_details()[0]["index"], made.get_output_details()[0]["index"]


def convert(network: Network, suffix: str, *flags: str) -> Path:
    """The command of the README, in a process of its own."""
    output = OUT / f"{network.path.stem}_{suffix}.tflite"
    run("tflite_convert", f"--output_file={output}", f"--graph_def_file={network.path}", *flags)
    return output


def run(command: str, *arguments: str) -> None:
    print("$", command, *arguments, flush=True)
    subprocess.run([str(Path(sys.executable).with_name(command)), *arguments], check=True)


def report(network: Network) -> None:
    """What quantization cost, as a page."""
    models = (str(OUT / f"{network.path.stem}_{suffix}.tflite") for suffix in ("float", "int8"))
    fields = "--input_field=images", "--label_field=labels"
    run("octolite", "report", *models, f"--data={HELD_OUT}", *fields, f"--html={OUT}/report.html")


def evaluate(contender: Contender, images: np.ndarray, labels: np.ndarray) -> None:
    """Image by image: LiteRT's recurrent layers take no other batch than the file's."""
    interpreter, source, result = contender.interpreter()
    right = 0
    for image, label in zip(images, labels, strict=True):
        interpreter.reset_all_variables()  # a recurrent layer goes on where it was otherwise
        interpreter.set_tensor(source, image[np.newaxis])
        interpreter.invoke()
        right += interpreter.get_tensor(result).argmax() == label
    contender.accuracy = right / len(labels)


def race(contenders: list[Contender], image: np.ndarray) -> None:
    """Time one image, the contenders in turns, so that a noisy moment hits them all."""
    runners = []
    for contender in contenders:
        interpreter, source, _ = contender.interpreter()
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


def contend(network: Network, images: np.ndarray, labels: np.ndarray) -> list[Contender]:
    """Convert, evaluate and time one network."""
    small = convert(network, "int8", "--post_training_quantize")
    large = convert(network, "float", "--quiet")
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
    shaped = images.reshape(-1, *network.shape)
    for contender in contenders:
        evaluate(contender, shaped, labels)
    race(contenders, shaped[:1])
    return contenders


def table(results: dict[str, list[Contender]]) -> Table:
    made = Table(box=SIMPLE_HEAD, title=None)
    for column in ("network", "", "size", "accuracy", "latency, 1 thread", "speed"):
        left = column in ("network", "")
        made.add_column(column, justify="left" if left else "right", no_wrap=True)
    for title, contenders in results.items():
        # LiteRT's float model is what people run today; without it, ours is what the rest is
        # held against.
        floats = [c for c in contenders if c.label.endswith(", float")]
        base = float(np.median(floats[-1].milliseconds))
        for c in contenders:
            median = float(np.median(c.milliseconds))
            made.add_row(
                title if c is contenders[0] else "",
                c.label,
                f"{c.path.stat().st_size / 1e3:.0f} kB",
                f"{100 * c.accuracy:.2f} %",
                f"{median:.3f} ms",
                f"{base / median:.2f}×",
            )
        made.add_section()
    return made


def main() -> None:
    OUT.mkdir(exist_ok=True)
    with np.load(HELD_OUT) as data:
        images, labels = data["images"].astype(np.float32), data["labels"]
    results = {network.title: contend(network, images, labels) for network in NETWORKS}
    print(f"\n{len(labels)} images of handwritten digits that training never saw:")
    Console(width=110, highlight=False).print(table(results))
    report(NETWORKS[0])


if __name__ == "__main__":
    main()
