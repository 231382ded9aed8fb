"""``octolite sensitivity``: which layers a model cannot bear to have quantized."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from octolite.cli import console, feeding, metric, page
from octolite.cli.console import fails_clearly
from octolite.cli.profile import shorten

if TYPE_CHECKING:
    from octolite.evaluation.sensitivity import Sensitivity

NAME_WIDTH = 60


@click.command()
@click.argument("model", type=click.Path(exists=True))
@click.option("--recipe", metavar="NAME|FILE.toml", default="dynamic", show_default=True,
              help="How layers are quantized.")  # fmt: skip
@feeding.feeding
@metric.judging
@click.option("--top", type=click.IntRange(1), help="How many layers to list. [all]")
@page.option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@fails_clearly
def command(
    model: str,
    recipe: str,
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
    top: int | None,
    html: str | None,
    as_json: bool,
) -> None:
    """Score MODEL, float, with each layer alone quantized, and with all layers but each."""
    from octolite.cli.metric import arguments
    from octolite.evaluation.sensitivity import sensitivity

    page.expect(html)
    with console.progress(not as_json, remaining=True) as tell:
        found = sensitivity(
            model,
            Path(recipe) if recipe.endswith(".toml") else recipe,
            num_threads=threads,
            state=state,
            restart=restart,
            on_progress=tell,
            **feeding.arguments(data, samples, ranges, seed),
            **arguments(model, metric, labels, images),
        )
    if as_json:
        console.print_json({"model": model} | found.as_dict())
    else:
        show(found, top)
    page.write(html, found, title="Which layers are sensitive", subtitle=Path(model).name)


def show(found: Sensitivity, top: int | None) -> None:
    """Print the layers, the one that costs most first."""
    if not found.layers:
        click.echo("The recipe quantizes no layer.")
        return
    rows = found.ranked[:top]
    table = console.table("", ">", "operator", "layer", "weights", ">only it", ">all but it",
                          ">bytes")  # fmt: skip
    for rank, (row, name) in enumerate(
        zip(rows, shorten([r.name for r in rows], NAME_WIDTH), strict=True), 1
    ):
        assert row.only is not None
        assert row.without is not None
        table.add_row(
            str(rank), row.operator, name, row.format.replace(" per ", "/"),
            score_text(row.only, found.unit), score_text(row.without, found.unit),
            f"{console.size_text(row.bytes_before)} → {console.size_text(row.bytes_after)}",
        )  # fmt: skip
    console.show(table)
    click.echo(
        f"{found.metric}: {score_text(found.before, found.unit)} in float, "
        f"{score_text(found.after, found.unit)} with all {len(found.layers)} layers quantized; "
        f"{found.samples} samples; {'; '.join(found.source)}"
    )


def score_text(score: float, unit: str) -> str:
    """A score for people."""
    if not math.isfinite(score):
        return "exact" if score > 0 else "–∞"
    return f"{score:.2f} {unit}".rstrip()
