"""``octolite tune``: the recipe that meets a budget."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from octolite.cli import console, feeding, metric
from octolite.cli.console import EXIT_FAILURE, fails_clearly
from octolite.cli.sensitivity import score_text
from octolite.errors import UsageError

if TYPE_CHECKING:
    from octolite.evaluation.tune import Trial, Tuning

_UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2}


@click.command()
@click.argument("model", type=click.Path(exists=True))
@click.option("-o", "--output", required=True, metavar="FILE.tflite",
              help="The model to write; its recipe goes beside it as FILE.toml.")  # fmt: skip
@click.option("--max-drop", type=float, metavar="N",
              help="How much less than the float model's the score may be.")  # fmt: skip
@click.option("--max-size", metavar="SIZE", help="Of the file, as 3.5MB.")
@click.option("--max-latency", type=float, metavar="MS", help="The median of runs, milliseconds.")
@click.option("--minimize", type=click.Choice(["size", "latency", "score"]),
              help="What is best within the budget; score: its loss. "
              "[size with --max-drop, else score]")  # fmt: skip
@click.option("--recipe", metavar="NAME|FILE.toml", default="dynamic", show_default=True,
              help="What to begin with.")  # fmt: skip
@click.option(
    "--options",
    metavar="A,B,…",
    help="Ways to store a layer, of float16, int8, int8 clipped, int8 in float, int8 per "
    "tensor, int4, int4 in float. [all but int8 per tensor and int4 in float]",
)
@click.option("--trials", type=click.IntRange(1), default=60, show_default=True,
              help="How many choices to score at most.")  # fmt: skip
@feeding.feeding
@metric.judging
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@fails_clearly
def command(
    model: str,
    output: str,
    max_drop: float | None,
    max_size: str | None,
    max_latency: float | None,
    minimize: str | None,
    recipe: str,
    options: str | None,
    trials: int,
    data: str | None,
    samples: int | None,
    ranges: tuple[str, ...],
    seed: int | None,
    threads: int | None,
    metric: str | None,
    labels: str | None,
    images: str | None,
    state: str | None,
    restart: bool,
    as_json: bool,
) -> None:
    """Find how to store the layers of MODEL, float, within a budget.

    What is measured is kept in --state (FILE.tune.json beside the output unless given), with which
    an interrupted search goes on.
    """
    from octolite.cli.metric import arguments
    from octolite.evaluation.options import USUAL
    from octolite.evaluation.tune import tune

    place = Path(output)
    if place.suffix != ".tflite":
        raise UsageError(f"--output {output!r} should end in .tflite")
    with console.progress(not as_json, remaining=True) as tell:
        found = tune(
            model,
            max_drop=max_drop,
            max_size=None if max_size is None else _bytes(max_size),
            max_latency=max_latency,
            minimize=minimize,
            recipe=Path(recipe) if recipe.endswith(".toml") else recipe,
            options=USUAL if options is None else [o.strip() for o in options.split(",")],
            trials=trials,
            num_threads=threads,
            output=place,
            state=state or place.with_suffix(".tune.json"),
            restart=restart,
            on_progress=tell,
            **feeding.arguments(data, samples, ranges, seed),
            **arguments(model, metric, labels, images),
        )
    if as_json:
        console.print_json({"model": model} | found.as_dict())
    else:
        show(found, place)
    if found.best is None:
        sys.exit(EXIT_FAILURE)


def _bytes(text: str) -> int:
    """``3.5MB`` in bytes. Raises :class:`UsageError`."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    unit = None if found is None else _UNITS.get(found[2].lower())
    if found is None or unit is None:
        raise UsageError(f"--max-size {text!r} should be a size such as 3.5MB or 900kB")
    return int(float(found[1]) * unit)


def show(found: Tuning, place: Path) -> None:
    """Print the trials that nothing beats, and what came out."""
    table = console.table("Size against score", "", ">size", f">{found.metric}", ">ms", "layers")
    for trial in found.pareto:
        table.add_row(_mark(trial, found), *_figures(trial, found), trial.formats)
    console.show(table)
    rows = [row for row in found.layers if row.bytes_before != row.bytes_after]
    click.echo(
        f"{found.metric}: {score_text(found.before, found.unit)} in float with "
        f"{console.size_text(found.size_before)}; {found.samples} samples; "
        f"{'; '.join(found.source)}"
    )
    if found.best is None:
        click.echo("No choice that was tried meets the budget; nothing was written.", err=True)
        return
    score = score_text(found.best.score, found.unit)
    click.echo(
        f"wrote {place} and {place.with_suffix('.toml')}: {console.size_text(found.best.size)}, "
        f"{found.metric} {score}; {len(rows)} of {len(found.layers)} layers quantized, converted "
        "and run as a whole"
    )


def _mark(trial: Trial, found: Tuning) -> str:
    return "best" if trial == found.best else "meets the budget" if trial.met else ""


def _figures(trial: Trial, found: Tuning) -> tuple[str, str, str]:
    size = console.size_text(trial.size)
    latency = "" if trial.latency is None else f"{trial.latency:.3g}"
    return size if trial.verified else f"~{size}", score_text(trial.score, found.unit), latency
