"""The engine behind ``tflite_convert`` and ``octolite convert``: convert, write, report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from octolite.cli import console
from octolite.errors import UsageError
from octolite.selection import Selection

if TYPE_CHECKING:
    from octolite.passes.engine import Event
    from octolite.quantize import Ledger


@dataclass(frozen=True, slots=True)
class Job:
    """One conversion as the command line asks for it."""

    source: str
    output: str
    recipe: str | Path
    selection: Selection
    min_elements: int | None = None
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
    if not output.parent.is_dir():
        raise UsageError(f"cannot write {output}: there is no directory {output.parent}")
    explain = Explanation() if job.verbose else None
    with console.progress(not (job.quiet or job.as_json)) as tell:
        result = convert_model(
            source,
            job.recipe,
            job.selection,
            min_elements=job.min_elements,
            on_progress=tell,
            explain=explain,
        )
    console.write_file(output, result.content)
    if explain is not None:
        for event in explain.events:
            click.echo(describe(event), err=True)
    for rule in result.ledger.unused:
        click.echo(f"warning: no weight fits the recipe's rule {json.dumps(rule)}", err=True)
    if job.as_json:
        facts = {"output": str(output), "bytes": len(result.content)}
        console.print_json(facts | {"ledger": result.ledger.as_dict()})
    elif not job.quiet:
        report(result.ledger, output, len(result.content))


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


def parse_shapes(text: str | None, names: Sequence[str] | None) -> dict[str, list[int]] | None:
    """``1,224,224,3:1,10`` → a shape for each input array, in their order.

    Raises :class:`UsageError`.
    """
    if text is None:
        return None
    if not names:
        raise UsageError("--input_shapes needs --input_arrays, whose order it follows")
    parts = text.split(":")
    if len(parts) != len(names):
        raise UsageError(
            f"--input_shapes gives {len(parts)} shapes and --input_arrays {len(names)} names; "
            "shapes are separated by colons, extents by commas"
        )
    return {name: _extents(part) for name, part in zip(names, parts, strict=True)}


def _extents(text: str) -> list[int]:
    try:
        return [int(d) for d in text.split(",") if d.strip()]
    except ValueError:
        raise UsageError(f"{text!r} is no shape; write extents as in 1,224,224,3") from None
