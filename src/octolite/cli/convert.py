"""``octolite convert``: today's style of the same conversion."""

from __future__ import annotations

from pathlib import Path

import click

from octolite.cli import conversion
from octolite.cli.console import fails_clearly
from octolite.cli.flags import read_shape
from octolite.errors import UsageError
from octolite.selection import Selection


@click.command()
@click.argument("model", type=click.Path(exists=True))
@click.option("-o", "--output", required=True, metavar="FILE", help="The .tflite file to write.")
@click.option(
    "--quantize",
    type=click.Choice(["dynamic", "weights", "float16", "none"]),
    help="[default: dynamic] dynamic: int8 weights and hybrid operators. weights: int8 weights, "
    "float arithmetic. "
    "float16: halves. none: float.",
)
@click.option(
    "--recipe",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="What becomes of which weights: a TOML file (docs/recipes.md).",
)
@click.option(
    "--input", "inputs", multiple=True, metavar="NAME[=1,224,224,3]", help="An input, its shape."
)
@click.option("--output-array", "outputs", multiple=True, metavar="NAME", help="An output.")
@click.option("--tags", metavar="A,B", help="The tags of a SavedModel's MetaGraph. [serve]")
@click.option("--signature", metavar="KEY", help="The signature to convert. [all]")
@click.option(
    "--min-elements", type=click.IntRange(0), metavar="N", help="Smaller tensors stay float. [1024]"
)
@click.option(
    "--allow-custom-ops",
    is_flag=True,
    help="Keep operators that are not known, as custom operators of the same name.",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Explain what was rewritten, and what was not.")
@click.option("--json", "as_json", is_flag=True, help="Print the size ledger as JSON.")
@fails_clearly
def command(
    model: str,
    output: str,
    quantize: str | None,
    recipe: str | None,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    tags: str | None,
    signature: str | None,
    min_elements: int | None,
    allow_custom_ops: bool,
    quiet: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Convert MODEL to a .tflite file.

    MODEL is a SavedModel's folder, the .meta file beside a checkpoint, a frozen GraphDef, or a
    .tflite file; which of them is found by looking.
    """
    if quantize and recipe:
        raise UsageError("--quantize and --recipe both say how weights are stored; give one")
    names, shapes = _parse_inputs(inputs)
    selection = Selection(
        names,
        list(outputs) or None,
        shapes,
        conversion.parse_names(tags),
        signature,
        allow_custom_ops,
    )
    chosen = Path(recipe) if recipe else quantize or "dynamic"
    conversion.run(
        conversion.Job(
            model,
            output,
            chosen,
            selection,
            min_elements,
            quiet=quiet,
            verbose=verbose,
            as_json=as_json,
        )
    )


def _parse_inputs(inputs: tuple[str, ...]) -> tuple[list[str] | None, dict[str, list[int]] | None]:
    """``NAME=shape`` options as names and shapes. Raises :class:`UsageError`."""
    names: list[str] = []
    shapes: dict[str, list[int]] = {}
    for item in inputs:
        name, _, shape = item.partition("=")
        if name in names:
            raise UsageError(f"input {name!r} is given twice")
        names.append(name)
        if shape:
            shapes[name] = _shape(shape)
    return names or None, shapes or None


def _shape(text: str) -> list[int]:
    try:
        return read_shape(text)
    except ValueError:
        raise UsageError(f"{text!r} is no shape; write extents as in 1,224,224,3") from None
