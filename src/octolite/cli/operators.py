"""``octolite operators``: what is supported, printed from the operators' own classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from octolite.cli import console, support
from octolite.ops import REGISTRY
from octolite.ops.base import Operator
from octolite.ops.case import node_under_test

COLUMNS = ("operator", "inputs", "compiled", "int8 weights", "integer")


@click.command()
@click.option("--markdown", is_flag=True, help="As a Markdown table, for the documentation.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(markdown: bool, as_json: bool) -> None:
    """List the supported TFLite operators, from their declarations."""
    rows = [facts(REGISTRY[name]) for name in sorted(REGISTRY)]
    if as_json:
        console.print_json(rows)
    elif markdown:
        click.echo("\n".join(document()))
    else:
        listing = console.table(f"{len(rows)} operators", *COLUMNS)
        for row in rows:
            listing.add_row(*(row[c] for c in COLUMNS))
        console.show(listing)


def _compiled(operator: type[Operator]) -> bool:
    """Whether any example of it asks for a kernel."""
    models = (case.build(operator)[0] for case in operator.cases)
    nodes = (node_under_test(model, operator.name) for model in models)
    return any(isinstance(n.op, Operator) and n.op.kernel(n.inputs) is not None for n in nodes)


def facts(operator: type[Operator]) -> dict[str, Any]:
    """One operator's row: what its class says of kernels and quantization."""
    rule, compiled = operator.quant, _compiled(operator)
    if not rule.weights:
        stored = "codes pass through" if rule.same_scale else ""
    else:
        stored = "hybrid kernel" if compiled else "hybrid"
        stored = stored if rule.hybrid else "dequantized once"
        channels = any(axis is not None for axis in rule.weights.values())
        stored += ", a scale per channel" if channels else ", one scale"
    return {
        "operator": operator.name,
        "inputs": operator.inputs,
        "compiled": "yes" if compiled else "",
        "int8 weights": stored,
        "integer": " ".join(map(str, operator.integer_types)),
    }


def document() -> Iterator[str]:
    """Both tables as Markdown: operators, and the types that each takes."""
    operators = [REGISTRY[name] for name in sorted(REGISTRY)]
    yield from markdown_lines([facts(operator) for operator in operators])
    yield from ("", "## Types", "")
    yield from support.markdown_lines(operators)


def markdown_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The table of operators as Markdown."""
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|" + "---|" * len(COLUMNS)
    for row in rows:
        cells = [f"`{row[c]}`" if c == "inputs" and row[c] else row[c] for c in COLUMNS]
        yield "| " + " | ".join(cells) + " |"
