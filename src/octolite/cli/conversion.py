"""The engine behind ``tflite_convert`` and ``octolite convert``: convert, write, report."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from octolite.cli import console
from octolite.cli.pictures import READ, WRITTEN, Pictures
from octolite.errors import UsageError
from octolite.selection import Selection

if TYPE_CHECKING:
    from octolite.api import Conversion
    from octolite.ir.graph import Model
    from octolite.passes.engine import Event
    from octolite.quantize import IntegerRecipe, Ledger


@dataclass(frozen=True, slots=True)
class Job:
    """One conversion as the command line asks for it.

    Attributes:
        source: the model's path.
        output: the path of the file to write.
        recipe, selection, min_elements, edits: as ``octolite.convert_model`` takes them.
        form: what is written: TFLITE, or GRAPHVIZ_DOT for a drawing.
        pictures: a folder for a drawing of each state of the model.
        every_change: these are states after each change of each rule, not of a pass.
        summary: a folder for the ledger and drawings of the first and the last state.
        quiet, verbose, as_json: what is printed.
    """

    source: str
    output: str
    recipe: str | Path | IntegerRecipe
    selection: Selection
    min_elements: int | None = None
    edits: Sequence[Callable[[Model], object]] = ()
    form: str = "TFLITE"
    pictures: str | None = None
    every_change: bool = False
    summary: str | None = None
    quiet: bool = False
    verbose: bool = False
    as_json: bool = False


def run(job: Job) -> None:
    """Convert, write the file and say what became of the weights."""
    # Here, not above: `--help` and a misspelt flag need none of it.
    from octolite.api import convert_model
    from octolite.passes.engine import Explanation

    source, output = Path(job.source), Path(job.output)
    if output.exists() and output.samefile(source):
        raise UsageError(f"the output {output} is the input; give another output file")
    if output.is_dir():
        raise UsageError(f"the output {job.output!r} is a folder; give a file")
    if not output.parent.is_dir():
        raise UsageError(f"cannot write {output}: there is no directory {output.parent}")
    explain = Explanation() if job.verbose else None
    draw = _draughtsman(job)
    with console.progress(not (job.quiet or job.as_json)) as tell:
        result = convert_model(
            source,
            job.recipe,
            job.selection,
            min_elements=job.min_elements,
            edits=job.edits,
            on_progress=tell,
            explain=explain,
            on_change=draw,
            on_rule=draw if job.every_change else None,
        )
    size = _write(job, result)
    if explain is not None:
        for event in explain.events:
            click.echo(describe(event), err=True)
    for rule in result.ledger.unused:
        click.echo(f"warning: no weight fits the recipe's rule {json.dumps(rule)}", err=True)
    if job.as_json:
        console.print_json(_facts(job, result, size))
    elif not job.quiet:
        report(result.ledger, output, size)


def _draughtsman(job: Job) -> Callable[[str, Model], None] | None:
    """What draws the states of the model that are asked for."""
    sets = []
    if job.pictures is not None:
        sets.append(Pictures(Path(job.pictures)))
    if job.summary is not None:
        sets.append(Pictures(Path(job.summary), (READ, WRITTEN)))
    if not sets:
        return None

    def draw(name: str, model: Model) -> None:
        for pictures in sets:
            pictures.draw(name, model)

    return draw


def _write(job: Job, result: Conversion) -> int:
    """Write what is asked for; returns the bytes of the main file."""
    content = result.content
    if job.form == "GRAPHVIZ_DOT":
        from octolite.drawing import dot

        content = dot(result.model).encode()
    console.write_file(job.output, content)
    if job.summary is not None:
        text = json.dumps(_facts(job, result, len(content)), indent=2)
        console.write_file(Path(job.summary) / "ledger.json", text.encode())
    return len(content)


def _facts(job: Job, result: Conversion, size: int) -> dict[str, Any]:
    return {"output": job.output, "bytes": size, "ledger": result.ledger.as_dict()}


def describe(event: Event) -> str:
    """What a rule did at a node, or why it did nothing, in a line."""
    did = "applied" if event.fired else f"left alone: {event.reason}"
    return f"{event.nodes[0]}: {event.rule}: {did}"


def report(ledger: Ledger, output: Path, size: int) -> None:
    """The size ledger's summary."""
    summary = console.table("", "weights", ">tensors", ">before", ">after")
    for row in ledger.summary():
        before, after = console.size_text(row.before), console.size_text(row.after)
        summary.add_row(row.label, str(row.tensors), before, after)
    before, after = console.size_text(ledger.before), console.size_text(ledger.after)
    summary.add_section()
    summary.add_row("total", str(len(ledger.entries)), before, after)
    console.show(summary)
    ratio = f", {ledger.before / ledger.after:.1f}× smaller weights" if ledger.quantized else ""
    click.echo(f"wrote {output} ({console.size_text(size)}{ratio})")


def parse_names(text: str | None) -> list[str] | None:
    """``a,b`` → names; nothing when absent."""
    return None if text is None else [n.strip() for n in text.split(",") if n.strip()]


def shapes_by_name(
    shapes: Sequence[Sequence[int]], names: Sequence[str]
) -> dict[str, Sequence[int]]:
    """A shape for each input array, in their order. Raises :class:`UsageError`."""
    if len(shapes) != len(names):
        raise UsageError(
            f"--input_shapes gives {len(shapes)} shapes and --input_arrays {len(names)} names; "
            "shapes are separated by colons, extents by commas"
        )
    return dict(zip(names, shapes, strict=True))
