"""``octolite report``: all that can be said of a quantized model, as a page of HTML."""

from __future__ import annotations

from pathlib import Path

import click

from octolite.cli import console, page
from octolite.cli.console import fails_clearly
from octolite.evaluation.tasks import TASKS


@click.command()
@click.argument("model", metavar="FLOAT", type=click.Path(exists=True, dir_okay=False))
@click.argument("quantized", metavar="QUANT", type=click.Path(exists=True, dir_okay=False))
@click.option("--html", "-o", metavar="FILE", type=click.Path(dir_okay=False),
              default="report.html", show_default=True, help="The page.")  # fmt: skip
@click.option("--data", metavar="DATA", type=click.Path(exists=True),
              help="What models are judged on, as octolite evaluate takes it. Without it, numbers "
              "are drawn from the range that each input states.")  # fmt: skip
@click.option("--labels", metavar="FILE", help="What is expected of the samples.")
@click.option("--task", type=click.Choice(sorted(set(TASKS) - {"custom"})),
              default="classification", show_default=True)  # fmt: skip
@click.option("--preprocess", metavar="STEPS", help="What images become.")
@click.option("--model_output_labels", metavar="FILE", help="What the outputs are called.")
@click.option("--input_field", "input_fields", multiple=True, metavar="[INPUT=]FIELD[,FIELD…]",
              help="Which fields of a file are the model's input.")  # fmt: skip
@click.option("--label_field", help="Which field of a file is the label.")
@click.option("--samples", type=click.IntRange(1), metavar="N",
              help="How many layers are compared on. [32 of the data, or 8]")  # fmt: skip
@click.option("--recipe", metavar="NAME|FILE.toml", default="dynamic", show_default=True,
              help="How QUANT was made: layers are ranked by their sensitivity to it; "
              "none leaves that out, which takes longest.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1), help="Threads. [default: all processors]")
@fails_clearly
def command(
    model: str,
    quantized: str,
    html: str,
    data: str | None,
    labels: str | None,
    task: str,
    preprocess: str | None,
    model_output_labels: str | None,
    input_fields: tuple[str, ...],
    label_field: str | None,
    samples: int | None,
    recipe: str,
    threads: int | None,
) -> None:
    """Show what quantization cost on one page: QUANT against FLOAT, from which it was made.

    Size, accuracy and latency, the quality and the sensitivity of each layer, weights before and
    after, classes that changed, and the samples that came out worst. Both are .tflite files.
    """
    page.expect(html)
    from octolite.evaluation.report import examine

    options = {} if model_output_labels is None else {"model_output_labels": model_output_labels}
    with console.progress(True) as tell:
        found = examine(
            model, quantized, data, labels, task=task, preprocess=preprocess,
            input_fields=input_fields, label_field=label_field, samples=samples,
            recipe=_recipe(recipe), num_threads=threads,
            on_progress=tell, **options,
        )  # fmt: skip
    page.write(
        html,
        *found.findings,
        subtitle=f"{Path(model).name} → {Path(quantized).name}",
        pictures=found.pictures,
    )


def _recipe(name: str) -> str | Path | None:
    return None if name == "none" else Path(name) if name.endswith(".toml") else name
