"""``octolite run``: a model on arrays from files."""

from __future__ import annotations

import io

import click
import numpy as np

from octolite.cli import console
from octolite.cli.console import fails_clearly
from octolite.cli.custom import custom_operators
from octolite.cli.feeds import load_feeds, set_inputs


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=FILE.npy",
    help="An input's array; FILE.npy alone for an only input, or an .npz with all of them.",
)
@click.option("-o", "--output", required=True, metavar="FILE.npz", help="Where the outputs go.")
@click.option("--threads", type=click.IntRange(1), help="Threads. [default: all processors]")
@click.option(
    "--hybrid",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Which layers with int8 weights compute in int8.",
)
@click.option(
    "--custom",
    multiple=True,
    metavar="[NAME=]MODULE:OBJECT",
    help="What a custom operator does: a function of options and arrays, or an "
    "octolite.CustomOperator; called as the object is, unless NAME says otherwise.",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@fails_clearly
def command(
    model: str,
    inputs: tuple[str, ...],
    output: str,
    threads: int | None,
    hybrid: str,
    custom: tuple[str, ...],
    quiet: bool,
) -> None:
    """Run MODEL, a .tflite file, once and write its outputs to an .npz file."""
    from octolite.runtime.interpreter import Interpreter

    interpreter = Interpreter(
        model,
        num_threads=threads,
        hybrid=hybrid,  # type: ignore[arg-type]
        custom_operators=custom_operators(custom),
    )
    set_inputs(interpreter, load_feeds(inputs, interpreter))
    interpreter.invoke()
    results = {
        d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()
    }
    buffer = io.BytesIO()
    np.savez(buffer, **results)  # type: ignore[arg-type]
    console.write_file(output, buffer.getvalue())
    if quiet:
        return
    listing = console.table("", "output", "dtype", "shape", ">min", ">mean", ">max")
    for name, array in results.items():
        numbers = [f"{f(array):.6g}" for f in (np.min, np.mean, np.max)] if array.size else [""] * 3
        listing.add_row(name, str(array.dtype), "×".join(map(str, array.shape)), *numbers)
    console.show(listing)
    click.echo(f"wrote {output}")
