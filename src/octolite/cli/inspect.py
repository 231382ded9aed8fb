"""``octolite inspect``: what is in a model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from octolite import drawing
from octolite.api import METADATA_KEY, load
from octolite.cli import console
from octolite.cli.console import fails_clearly
from octolite.cli.conversion import describe
from octolite.drawing.picture import arithmetic
from octolite.errors import UsageError, did_you_mean
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.text import dump
from octolite.passes.engine import Explanation
from octolite.tflite.read import read
from octolite.tflite.schema import FILE_IDENTIFIER


@click.command()
@click.argument("model", type=click.Path(exists=True))
@click.option("--tensors", is_flag=True, help="List every constant.")
@click.option("--text", is_flag=True, help="Print the graph, a line for each node.")
@click.option("--explain", metavar="NODE", help="For a GraphDef: what rules did with NODE.")
@click.option(
    "--graph",
    metavar="FILE",
    help="Draw the graph: FILE ends in .svg, .html (a page to explore), .dot (Graphviz) or .json "
    "(for Model Explorer).",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@fails_clearly
def command(
    model: str, tensors: bool, text: bool, explain: str | None, graph: str | None, as_json: bool
) -> None:
    """Show MODEL, a .tflite file or a model to convert: operators, tensors, what is quantized.

    A model to convert is shown as it is in float, before weights are stored in 8 bits.
    """
    draw = None if graph is None else _drawing(graph)
    log = Explanation()
    loaded = _load(Path(model), log)
    if draw is not None and graph is not None:
        console.write_file(graph, draw(loaded, Path(model).name).encode())
    elif explain is not None:
        _explain(log, explain)
    elif as_json:
        console.print_json(facts_of(model, loaded))
    elif text:
        for each in loaded.graphs:
            click.echo(dump(each))
    else:
        _show(facts_of(model, loaded), tensors)


def _load(path: Path, log: Explanation) -> Model:
    if path.is_dir():
        return load(path, explain=log)
    with path.open("rb") as file:
        head = file.read(8)
    return read(path) if head[4:] == FILE_IDENTIFIER else load(path, explain=log)


DRAWINGS: dict[str, Callable[[Model, str], str]] = {
    ".svg": lambda model, name: drawing.svg(model),
    ".html": lambda model, name: drawing.html(model),
    ".dot": lambda model, name: drawing.dot(model),
    ".json": drawing.model_explorer,
}
"""What draws a model of some name, by the ending of the file to be."""


def _drawing(path: str) -> Callable[[Model, str], str]:
    ending = Path(path).suffix.lower()
    if ending not in DRAWINGS:
        raise UsageError(
            f"--graph {path}: the ending says what is drawn, and {ending or 'none'!r} is none of "
            f"{', '.join(DRAWINGS)}"
        )
    return DRAWINGS[ending]


def _explain(log: Explanation, name: str) -> None:
    events = log.about(name)
    if not events:
        seen = sorted({n for event in log.events for n in event.nodes})
        raise UsageError(f"no rule looked at a node called {name!r}. {did_you_mean(name, seen)}")
    for event in events:
        click.echo(describe(event))


def facts_of(path: str, model: Model) -> dict[str, Any]:
    """Everything that is shown, in plain types."""
    recipe = model.metadata.get(METADATA_KEY)
    return {
        "model": path,
        "bytes": _size(Path(path)),
        "description": model.description,
        "converted_by": _converted_by(recipe),
        "signatures": {s.key: [list(s.inputs), list(s.outputs)] for s in model.signatures},
        "graphs": [_graph_facts(g) for g in model.graphs],
    }


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _converted_by(note: bytes | None) -> dict[str, Any] | None:
    """What Octolite noted in the file; nothing where there is no note, or one that is none."""
    try:
        facts = json.loads(note or b"null")
    except ValueError:
        return None
    fits = isinstance(facts, dict) and isinstance(facts.get("recipe"), dict)
    return facts if fits else None


def _graph_facts(graph: Graph) -> dict[str, Any]:
    operators = Counter((n.op.name, arithmetic(n)) for n in graph.nodes)
    return {
        "name": graph.name,
        "inputs": [_value_facts(v) for v in graph.inputs],
        "outputs": [_value_facts(v) for v in graph.outputs],
        "operators": [
            {"operator": name, "arithmetic": arithmetic, "count": count}
            for (name, arithmetic), count in sorted(operators.items())
        ],
        "constants": [
            _value_facts(v)
            | {"bytes": v.nbytes, "read_by": sorted({u.op.name for u in v.uses})}
            for v in graph.constants()
        ],
    }  # fmt: skip


def _value_facts(value: Value) -> dict[str, Any]:
    quant = value.quant
    scales = None if quant is None else int(quant.scale.size)
    shape = None if value.shape is None else [-1 if d is None else d for d in value.shape]
    return {"name": value.name, "dtype": value.dtype.name, "shape": shape, "scales": scales}


def _show(facts: dict[str, Any], with_tensors: bool) -> None:
    click.echo(f"{facts['model']}: {console.size_text(facts['bytes'])}. {facts['description']}")
    made = facts["converted_by"]
    if made:
        recipe = made["recipe"]
        rules = len(recipe.get("rule", ()))
        more = f", {rules} rule{'s' * (rules > 1)}" if rules else ""
        size = recipe.get("min_elements", "?")
        click.echo(f"recipe {recipe.get('name')}, tensors from {size} elements{more}")
    for graph in facts["graphs"]:
        _show_graph(graph, with_tensors)


def _show_graph(graph: dict[str, Any], with_tensors: bool) -> None:
    ends = console.table(f"Graph {graph['name']}", "", "name", "dtype", "shape")
    for kind in ("inputs", "outputs"):
        for value in graph[kind]:
            ends.add_row(kind[:-1], value["name"], value["dtype"], _shape_text(value["shape"]))
    console.show(ends)
    operators = console.table("Operators", "operator", "arithmetic", ">count")
    for row in graph["operators"]:
        operators.add_row(row["operator"], row["arithmetic"], str(row["count"]))
    console.show(operators)
    formats = console.table("Constants", "stored as", ">tensors", ">size")
    groups: dict[str, list[int]] = {}
    for value in graph["constants"]:
        groups.setdefault(_format_text(value), []).append(value["bytes"])
    for name, sizes in sorted(groups.items(), key=lambda item: -sum(item[1])):
        formats.add_row(name, str(len(sizes)), console.size_text(sum(sizes)))
    console.show(formats)
    if with_tensors:
        _show_tensors(graph["constants"])


def _show_tensors(constants: list[dict[str, Any]]) -> None:
    listing = console.table("Every constant", "name", "shape", "stored as", ">size", "read by")
    for value in sorted(constants, key=lambda v: -v["bytes"]):
        size, readers = console.size_text(value["bytes"]), ", ".join(value["read_by"])
        listing.add_row(
            value["name"], _shape_text(value["shape"]), _format_text(value), size, readers
        )
    console.show(listing)


def _format_text(value: dict[str, Any]) -> str:
    if value["scales"] is None:
        return str(value["dtype"])
    return f"{value['dtype']}, " + ("a scale per channel" if value["scales"] > 1 else "one scale")


def _shape_text(shape: list[int] | None) -> str:
    if shape is None:
        return "unknown"
    return "×".join("?" if d < 0 else str(d) for d in shape) or "scalar"
