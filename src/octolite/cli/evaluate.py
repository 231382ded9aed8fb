"""``octolite evaluate``: models judged on people's own data."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import click

from octolite.cli import console, page
from octolite.cli.console import fails_clearly
from octolite.cli.custom import custom_operators
from octolite.errors import UsageError
from octolite.evaluation.tasks import TASKS

if TYPE_CHECKING:
    from octolite.evaluation.engine import Progress
    from octolite.evaluation.evaluate import Evaluation

LOG_SECONDS = 10.0
"""How often progress is told where there is no terminal."""

COMMON = (
    click.Option(["--model_file"], help="The .tflite file."),
    click.Option(
        ["--models"],
        multiple=True,
        metavar="A.tflite B.tflite …",
        help="Several at once: the others are compared with the first.",
    ),
    click.Argument(["more"], nargs=-1, metavar="[B.tflite]..."),
    click.Option(
        ["--ground_truth_images_path", "--data", "data"],
        required=True,
        help="A folder of images, a folder with one for each class, or a file of arrays, a table "
        "or records: .npy, .npz, .csv, .tfrecord.",
    ),
    click.Option(
        ["--ground_truth_labels", "--labels", "labels"],
        help="What is expected of the samples, in the order of their names: lines of text or .npy; "
        "COCO's annotations for detection, a folder of masks for segmentation.",
    ),
    click.Option(
        ["--output_file_path", "-o", "output"],
        help="A table (CSV) with a row for each sample; the same command goes on with it after "
        "an interruption.",
    ),
    click.Option(
        ["--blacklist_file_path", "--denylist_file_path", "denylist"],
        help="A file with numbers of samples to leave out, a line each, the first being 1.",
    ),
    click.Option(
        ["--num_images"],
        type=click.IntRange(0),
        default=0,
        help="Only so many of the first samples; 0 for all.",
    ),
    click.Option(
        ["--num_threads"],
        type=click.IntRange(1),
        help="Samples judged at the same time. [default: all processors]",
    ),
    click.Option(
        ["--preprocess"],
        metavar="STEPS",
        help="What images become, as crop=0.875,resize=224x224,channels=rgb,mean=127.5,std=127.5, "
        "or tflite (as TensorFlow Lite's tool). [default: what the model's metadata say]",
    ),
    click.Option(
        ["--input_field", "input_fields"],
        multiple=True,
        metavar="[INPUT=]FIELD[,FIELD…]",
        help="Which fields of a file are the model's input.",
    ),
    click.Option(["--label_field"], help="Which field of a file is the label."),
    click.Option(
        ["--hybrid"],
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        help="Which layers with int8 weights compute in int8.",
    ),
    click.Option(
        ["--custom"], multiple=True, metavar="[NAME=]MODULE:OBJECT", help="A custom operator."
    ),
    click.Option(["--restart"], is_flag=True, help="Begin the table anew."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print all figures as JSON."),
    click.Option(["--html"], metavar="FILE", help=page.HTML),
    click.Option(["--quiet"], is_flag=True, help="Show no progress."),
)


@click.group()
def command() -> None:
    """Judge .tflite models on labelled data: figures with error bars, models compared."""


def _options_of(task: type) -> list[click.Option]:
    """A flag for each field of a task."""
    hints = get_type_hints(task)
    return [
        click.Option(
            [f"--{f.name}"],
            type=int if int in (hints[f.name], *get_args(hints[f.name])) else str,
            default=f.default,
            show_default=f.default is not None,
            help=f.metadata["help"],
        )
        for f in fields(task)
    ]


def _command(name: str) -> click.Command:
    task = TASKS[name]
    options = _options_of(task)
    chosen = [option.name for option in options]

    @fails_clearly
    def run(**given: Any) -> None:
        _run(name, {key: given.pop(key) for key in chosen if key}, **given)

    return click.Command(name, params=[*COMMON, *options], callback=run, help=task.summary)


def _run(
    name: str,
    options: Mapping[str, Any],
    *,
    model_file: str | None,
    models: tuple[str, ...],
    more: tuple[str, ...],
    num_images: int,
    custom: tuple[str, ...],
    as_json: bool,
    html: str | None,
    quiet: bool,
    **given: Any,
) -> None:
    from octolite.evaluation.evaluate import evaluate

    paths = [*([model_file] if model_file else []), *models, *more]
    if not paths:
        raise UsageError("give a model: --model_file M.tflite, or --models A.tflite B.tflite")
    page.expect(html)
    with _progress(not quiet) as tell:
        result = evaluate(
            name,
            paths,
            num_samples=num_images,
            custom_operators=custom_operators(custom),
            on_progress=tell,
            **given,
            **options,
        )
    if as_json:
        console.print_json(result.to_json())
    else:
        _show(result)
    if html is not None:
        _write_page(html, result, given)


def _write_page(path: str, result: Evaluation, given: Mapping[str, Any]) -> None:
    from octolite.evaluation.report import Pictures

    fields = given["input_fields"], given["label_field"]
    pictures = Pictures.of_data(Path(given["data"]), *fields)
    names = " · ".join(model.name for model in result.models)
    page.write(path, result, title="How good it is", subtitle=names, pictures=pictures)


@contextmanager
def _progress(show: bool) -> Iterator[Callable[[Progress], None]]:
    """On stderr: a bar on a terminal, else a line now and then."""
    if not show:
        yield lambda progress: None
    elif sys.stderr.isatty():
        with _bar() as tell:
            yield tell
    else:
        yield _log()


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    from rich import progress as rich
    from rich.console import Console

    columns = (rich.BarColumn(), rich.MofNCompleteColumn(), rich.TextColumn("{task.description}"))
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def tell(progress: Progress) -> None:
            bar.update(
                task, completed=progress.done, total=progress.total, description=pace(progress)
            )

        yield tell


def _log() -> Callable[[Progress], None]:
    last = time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= LOG_SECONDS or progress.done == progress.total:
            last = time.monotonic()
            click.echo(f"{progress.done}/{progress.total}  {pace(progress)}", err=True)

    return tell


def pace(progress: Progress) -> str:
    """Rate, time left and what was skipped: ``31.4/s, 0:02:10 left, 3 skipped``."""
    left = "?"
    if math.isfinite(progress.eta):
        minutes, seconds = divmod(round(progress.eta), 60)
        left = f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    skipped = f", {progress.skipped} skipped" if progress.skipped else ""
    return f"{progress.rate:.1f}/s, {left} left{skipped}"


def _show(result: Evaluation) -> None:
    click.echo(f"preprocessing: {result.preprocessing}")
    for note in result.notes:
        click.echo(f"note: {note}")
    title = f"{result.samples} samples" + (
        f", {len(result.skipped)} skipped" if result.skipped else ""
    )
    names = [m.name for m in result.models]
    listing = console.table(title, "", *(f">{n}" for n in names))
    told = [m.metrics.figures() for m in result.models]
    for figure in told[0]:
        listing.add_row(figure, *(t.get(figure, "") for t in told))
    console.show(listing)
    for compared in result.comparisons:
        listing = console.table(f"{compared.second} against {compared.first}", "", ">")
        for what, value in compared.comparison.figures().items():
            listing.add_row(what, value)
        console.show(listing)
    for judged in result.models:
        for listing in _details(judged.name, judged.metrics):
            console.show(listing)
    for name, reason in result.skipped[:20]:
        click.echo(f"skipped {name}: {reason}")
    if len(result.skipped) > 20:
        click.echo(f"and {len(result.skipped) - 20} more")


def _details(name: str, metrics: Any) -> Iterator[Any]:
    for details in metrics.details():
        listing = console.table(f"{name}: {details.title}", *details.columns)
        for row in details.rows:
            listing.add_row(*row)
        yield listing


for _name in TASKS:
    command.add_command(_command(_name))
