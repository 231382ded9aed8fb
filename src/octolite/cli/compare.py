"""``octolite compare``: what quantization cost, layer by layer; or Octolite against LiteRT."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from octolite.cli import console, feeding, page
from octolite.cli.console import fails_clearly
from octolite.cli.profile import shorten
from octolite.errors import UsageError

if TYPE_CHECKING:
    from octolite.evaluation.compare import Comparison, OutputAgreement
    from octolite.evaluation.layers import Layer
    from octolite.evaluation.litert import Against
    from octolite.evaluation.litert import Difference as Differs

WIDTH, GAP = 160, 2
NAME_WIDTHS = (16, 40)


@click.command()
@click.argument("model", metavar="FLOAT", type=click.Path(exists=True))
@click.argument(
    "quantized", metavar="[QUANT]", required=False, type=click.Path(exists=True, dir_okay=False)
)
@feeding.feeding
@click.option(
    "--against",
    type=click.Choice(["litert"]),
    help="Compare one model on Octolite with the same on LiteRT instead: results and latency.",
)
@click.option("--runs", type=click.IntRange(1), default=50, show_default=True,
              help="Timed runs with --against.")  # fmt: skip
@click.option("--top", type=click.IntRange(1), default=5, show_default=True,
              help="How many culprits to list.")  # fmt: skip
@page.option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@fails_clearly
def command(
    model: str,
    quantized: str | None,
    data: str | None,
    samples: int | None,
    ranges: tuple[str, ...],
    seed: int | None,
    threads: int | None,
    against: str | None,
    runs: int,
    top: int,
    html: str | None,
    as_json: bool,
) -> None:
    """Compare QUANT with FLOAT, the model that it was made from, layer by layer.

    FLOAT may be any model that can be converted; QUANT is a .tflite file.
    """
    given = feeding.arguments(data, samples, ranges, seed)
    page.expect(html)
    if against:
        compared = quantized or model
        page.write(
            html,
            _against(compared, given, threads, runs, as_json),
            title="Octolite and LiteRT",
            subtitle=Path(compared).name,
        )
        return
    if quantized is None:
        raise UsageError("give two models, the float and the quantized one, or --against litert")
    from octolite.evaluation.compare import compare

    with console.progress(not as_json) as tell:
        found = compare(model, quantized, num_threads=threads, on_progress=tell, **given)
    if as_json:
        console.print_json({"float": model, "quantized": quantized} | found.as_dict())
    else:
        show(found, top)
    if html is not None:
        from octolite.evaluation.report import distributions

        both = found, distributions(model, quantized)
        page.write(html, *both, subtitle=f"{Path(model).name} → {Path(quantized).name}")


def show(found: Comparison, top: int) -> None:
    """Print what was compared for people."""
    console.show(layer_table(found.layers))
    culprits = found.culprits[:top]
    if culprits:
        click.echo("What layers add by themselves, the worst first:")
        for rank, row in enumerate(culprits, 1):
            click.echo(f"  {rank}. {_sentence(row)}")
    else:
        click.echo("No layer adds an error.")
    click.echo()
    console.show(_outputs(found.outputs))
    for what, names in (("quantized", found.unmatched), ("float", found.missing)):
        if names:
            listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if names[8:] else "")
            other = "float" if what == "quantized" else "quantized"
            click.echo(f"of the {what} model, not found in the {other} one: {listed}")
    click.echo(
        f"{found.samples} samples; {'; '.join(found.source)}. "
        f"{console.size_text(found.size_before)} → {console.size_text(found.size_after)}"
    )


_COLUMNS = (
    ">", "operator", "layer", "weights", ">dB", ">result dB", ">adds dB", ">channel", ">own",
    ">max error", ">cosine", ">range", ">clipped", ">zeros",
)  # fmt: skip


def layer_table(rows: Sequence[Layer]) -> object:
    """A line for each layer, in 160 columns: figures stay whole, names give way."""
    cells = [
        [str(r.position), r.operator, r.name, r.format.replace(" per ", "/"), *_figures(r)]
        for r in rows
    ]
    widths = [
        max(len(text.lstrip(">")) for text in column)
        for column in zip(_COLUMNS, *cells, strict=True)
    ]
    others = sum(widths) - widths[2] + GAP * len(widths)
    names = shorten(
        [r.name for r in rows], max(NAME_WIDTHS[0], min(WIDTH - others, NAME_WIDTHS[1]))
    )
    table = console.table("", *_COLUMNS)
    table.collapse_padding, table.pad_edge = True, False
    for row, name in zip(cells, names, strict=True):
        table.add_row(*row[:2], name, *row[3:])
    for column, width in zip(table.columns, widths, strict=True):
        column.no_wrap = True
        if column.header != "layer":
            column.min_width = width
    return table


def _figures(row: Layer) -> Iterable[str]:
    yield decibels(row.weights.sqnr) if row.weights else ""
    yield decibels(row.total.sqnr) if row.total else ("not found" if not row.reference else "")
    yield decibels(row.added.sqnr) if row.added else ""
    yield decibels(row.added.channels) if row.added else ""
    yield "" if row.own_share is None else f"{row.own_share:.0%}"
    yield f"{row.total.max_error:.3g}" if row.total else ""
    yield f"{row.total.cosine:.5f}" if row.total else ""
    yield f"{row.after.low:.3g} … {row.after.high:.3g}" if row.after else ""
    yield f"{row.after.saturated:.2%}" if row.after and row.after.saturated else ""
    yield f"{row.after.zeros:.1%}" if row.after else ""


def decibels(value: float) -> str:
    """An SQNR for people."""
    return "exact" if value == math.inf else "–∞" if value == -math.inf else f"{value:.1f}"


def _sentence(row: Layer) -> str:
    assert row.added is not None
    parts = [f"{row.operator} {row.name}: {decibels(row.added.sqnr)} dB"]
    if row.added.channels < row.added.sqnr - 3:
        parts.append(f"{decibels(row.added.channels)} dB in its median channel")
    if row.weights is not None and row.weights.sqnr != math.inf:
        parts.append(f"weights in {row.format}, {decibels(row.weights.sqnr)} dB")
    if row.own_share is not None:
        parts.append(f"{row.own_share:.0%} of its result's error")
    if row.after is not None and row.after.saturated:
        parts.append(f"{row.after.saturated:.2%} of its results beyond the codes")
    return "; ".join(parts)


def _outputs(outputs: Sequence[OutputAgreement]) -> object:
    table = console.table("Outputs", "output", ">dB", ">max error", ">cosine", ">equal", ">top-1",
                          ">top-5")  # fmt: skip
    for row in outputs:
        found = row.difference
        numbers = ["", "", ""] if found is None else [
            decibels(found.sqnr), f"{found.max_error:.3g}", f"{found.cosine:.5f}"
        ]  # fmt: skip
        tops = ["" if part is None else f"{part:.1%}" for part in (row.top1, row.top5)]
        table.add_row(row.name, *numbers, f"{row.equal:.1%}", *tops)
    return table


def _against(
    model: str, given: dict[str, object], threads: int | None, runs: int, as_json: bool
) -> Against:
    from octolite.evaluation.litert import compare_with_litert

    with console.progress(not as_json) as tell:
        found = compare_with_litert(
            model,
            num_threads=threads,
            runs=runs,
            on_progress=tell,
            **given,  # type: ignore[arg-type]
        )
    if as_json:
        console.print_json({"model": model} | found.as_dict())
    else:
        _show_against(found, runs)
    return found


def _show_against(found: Against, runs: int) -> None:
    table = console.table("Latency", "", ">median ms", ">mean ms", ">deviation", ">least ms")
    for name, spent in (("LiteRT", found.litert), ("Octolite", found.octolite)):
        table.add_row(name, *(f"{v:.4g}" for v in (spent.median, spent.mean, spent.deviation,
                                                    spent.least)))  # fmt: skip
    console.show(table)
    console.show(_differences(found.outputs))
    click.echo(
        f"Octolite takes {found.octolite.median / found.litert.median:.2f} of LiteRT's time; "
        f"{runs} runs in turns, {found.threads} threads, {found.samples} samples; "
        f"{'; '.join(found.source)}"
    )


def _differences(rows: Sequence[Differs]) -> object:
    table = console.table("Output differences", "output", ">average", ">deviation", ">greatest",
                          ">dB", ">equal")  # fmt: skip
    for row in rows:
        numbers = (f"{v:.4g}" for v in (row.average, row.deviation, row.greatest))
        table.add_row(row.name, *numbers, decibels(row.sqnr), f"{row.equal:.1%}")
    return table
