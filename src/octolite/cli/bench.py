"""``octolite bench``: how long a model takes, and where the time goes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from octolite.cli import console, profile
from octolite.cli.console import fails_clearly
from octolite.cli.feeds import load_feeds, random_feeds, set_inputs

if TYPE_CHECKING:
    from octolite.runtime.interpreter import Interpreter

PROFILED_RUNS = 20


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.option("--threads", type=click.IntRange(1), help="Threads. [default: all processors]")
@click.option("--runs", type=click.IntRange(1), default=50, show_default=True, help="Timed runs.")
@click.option("--warmup", type=click.IntRange(0), default=5, show_default=True, help="Runs before.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=FILE.npy", help="Real input data.")
@click.option(
    "--hybrid",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Which layers with int8 weights compute in int8.",
)
@click.option("--profile", "with_profile", is_flag=True, help="Show where the time goes.")
@click.option(
    "--trace",
    type=click.Path(dir_okay=False),
    metavar="FILE.json",
    help="Write the profiled runs for Perfetto or chrome://tracing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@fails_clearly
def command(
    model: str,
    threads: int | None,
    runs: int,
    warmup: int,
    inputs: tuple[str, ...],
    hybrid: str,
    with_profile: bool,
    trace: str | None,
    as_json: bool,
) -> None:
    """Time MODEL, a .tflite file: median and spread, and with --profile where the time goes."""
    from octolite.runtime.interpreter import Interpreter

    interpreter = Interpreter(model, num_threads=threads, hybrid=hybrid)  # type: ignore[arg-type]
    feeds = load_feeds(inputs, interpreter) if inputs else random_feeds(interpreter)
    set_inputs(interpreter, feeds)
    if not (inputs or as_json):
        _tell_open_shapes(interpreter)
    with console.progress(not as_json) as tell:
        spent = measure(interpreter, runs, warmup, tell)
    facts = {"model": model, "threads": interpreter.num_threads, "hybrid": hybrid}
    facts |= spread(spent)
    if not as_json:
        _show(facts)
    if not (with_profile or trace or as_json):
        return
    from octolite.kernels import peak

    limits = peak.measure(interpreter.num_threads)
    lines = profile.take(interpreter, min(runs, PROFILED_RUNS), limits)
    if trace:
        events = json.dumps(profile.trace(model, lines), indent=1)
        console.write_file(trace, events.encode())
    if as_json:
        console.print_json(facts | profile.report(lines, limits))
    elif with_profile:
        profile.show(lines, limits)


def measure(interpreter: Interpreter, runs: int, warmup: int, tell: Any) -> list[float]:
    """Milliseconds of each of ``runs`` invocations, after ``warmup`` that are not counted."""
    spent = []
    for done in range(warmup + runs):
        start = time.perf_counter()
        interpreter.invoke()
        spent.append((time.perf_counter() - start) * 1e3)
        tell("Running", done + 1, warmup + runs)
    return spent[warmup:]


def spread(milliseconds: list[float]) -> dict[str, Any]:
    """Median, extremes and quartiles."""
    quartiles = np.percentile(milliseconds, [0, 25, 50, 75, 100])
    names = ("min_ms", "p25_ms", "median_ms", "p75_ms", "max_ms")
    values = [round(float(q), 4) for q in quartiles]
    return {"runs": len(milliseconds)} | dict(zip(names, values, strict=True))


def _tell_open_shapes(interpreter: Interpreter) -> None:
    """Say which extents stand for those that the model leaves open, the batch aside."""
    for details in interpreter.get_input_details():
        if -1 in details["shape_signature"][1:]:
            now = "×".join(map(str, details["shape"]))
            name = details["name"]
            click.echo(f"input {name} is {now}; for other sizes --input {name}=FILE.npy")


def _show(facts: dict[str, Any]) -> None:
    threads = facts["threads"]
    unit, factor = ("ms", 1) if facts["median_ms"] >= 1 else ("µs", 1000)
    times = {k: f"{v * factor:.4g}" for k, v in facts.items() if k.endswith("_ms")}
    click.echo(
        f"{facts['model']}: median {times['median_ms']} {unit}, "
        f"{times['p25_ms']} to {times['p75_ms']} in half of {facts['runs']} runs, "
        f"{times['min_ms']} to {times['max_ms']} in all; "
        f"{threads} thread{'s' if threads != 1 else ''}"
    )
