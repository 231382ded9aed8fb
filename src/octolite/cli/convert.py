"""``octolite convert``: today's style of the same conversion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from octolite.cli import conversion
from octolite.cli.console import fails_clearly
from octolite.cli.flags import read_shape
from octolite.cli.numbers import Numbers
from octolite.errors import UsageError
from octolite.selection import Selection

WEIGHTS = ("dynamic", "weights", "float16", "none")
TYPES = ("float32", "uint8")


def pair(text: str) -> tuple[float, float]:
    """Two numbers with a comma between them."""
    try:
        first, second = map(float, text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} should be two numbers, as in 128,127") from None
    return first, second


@click.command()
@click.argument("model", type=click.Path(exists=True))
@click.option("-o", "--output", required=True, metavar="FILE", help="The .tflite file to write.")
@click.option(
    "--quantize",
    type=click.Choice([*WEIGHTS, "uint8"]),
    help="[default: dynamic] dynamic: int8 weights and hybrid operators. weights: int8 weights, "
    "float arithmetic. float16: halves. none: float. uint8: codes throughout, with the ranges "
    "that a model trained with simulated quantization (FakeQuant) states.",
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
@click.option(
    "--input-type",
    type=click.Choice(TYPES),
    help="What goes in. [float32; uint8 with --quantize uint8]",
)
@click.option("--output-type", type=click.Choice(TYPES), help="What comes out, likewise.")
@click.option(
    "--codes",
    multiple=True,
    type=pair,
    metavar="MEAN,DEVIATION",
    help="What the codes of an input mean: real = (code - mean) / deviation. Once for each input.",
)
@click.option(
    "--default-range",
    type=pair,
    metavar="MIN,MAX",
    help="For --quantize uint8: of tensors whose range nothing states. For trying out its speed.",
)
@click.option(
    "--join-ranges", is_flag=True, help="For --quantize uint8: one for all that is concatenated."
)
@click.option(
    "--move-ranges",
    is_flag=True,
    help="For --quantize uint8: ranges stated between a layer and its bias, factor or activation "
    "hold for what becomes of them together.",
)
@click.option("--draw", metavar="DIR", help="Draw the graph after each pass, for Graphviz.")
@click.option("--draw-rules", is_flag=True, help="With --draw: after each change of each rule.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Explain what was rewritten, and what was not.")
@click.option("--json", "as_json", is_flag=True, help="Print the size ledger as JSON.")
@fails_clearly
def command(
    model: str,
    output: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    tags: str | None,
    signature: str | None,
    allow_custom_ops: bool,
    min_elements: int | None,
    draw: str | None,
    draw_rules: bool,
    quiet: bool,
    verbose: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Convert MODEL to a .tflite file.

    MODEL is a SavedModel's folder, the .meta file beside a checkpoint, a file that Keras saved
    (.h5, .keras), a frozen GraphDef, or a .tflite file; which of them is found by looking.
    """
    names, shapes = _parse_inputs(inputs)
    selection = Selection(
        names, list(outputs) or None, shapes, conversion.parse_names(tags), signature,
        allow_custom_ops,
    )  # fmt: skip
    if draw_rules and draw is None:
        raise UsageError("--draw-rules needs --draw, which says where")
    numbers = _numbers(**asked)
    conversion.run(
        conversion.Job(
            model,
            output,
            numbers.recipe(),
            selection,
            min_elements,
            numbers.edits(),
            pictures=draw,
            every_change=draw_rules,
            quiet=quiet,
            verbose=verbose,
            as_json=as_json,
        )
    )


def _numbers(
    quantize: str | None,
    recipe: str | None,
    input_type: str | None,
    output_type: str | None,
    codes: tuple[tuple[float, float], ...],
    default_range: tuple[float, float] | None,
    join_ranges: bool,
    move_ranges: bool,
) -> Numbers:
    """Raises :class:`UsageError` for options that do not go together."""
    if quantize and recipe:
        raise UsageError("--quantize and --recipe both say how weights are stored; give one")
    throughout = quantize == "uint8"
    ranges = {
        "--default-range": default_range is not None,
        "--join-ranges": join_ranges,
        "--move-ranges": move_ranges,
        "--output-type uint8": output_type == "uint8",
    }
    for name, given in ranges.items():
        if given and not throughout:
            raise UsageError(f"{name} needs --quantize uint8: a float model has no ranges")
    if codes and not throughout and input_type != "uint8":
        raise UsageError("--codes needs --input-type uint8, without which floats go in")
    return Numbers(
        Path(recipe) if recipe else quantize or "dynamic",
        throughout,
        None if input_type is None else input_type == "uint8",
        None if output_type is None else output_type == "uint8",
        codes,
        default_range,
        join_ranges,
        move_ranges,
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
