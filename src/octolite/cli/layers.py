"""``octolite layers``: which Keras layers are supported, printed from their declarations."""

from __future__ import annotations

from collections.abc import Iterator

import click

from octolite.cli import console

COLUMNS = ("layers", "weights", "remarks")


@click.command()
@click.option("--markdown", is_flag=True, help="As Markdown tables, for the documentation.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(markdown: bool, as_json: bool) -> None:
    """List the supported Keras layers, operations and activation functions."""
    if as_json:
        console.print_json([{"family": f, **row} for f, rows in facts().items() for row in rows])
    elif markdown:
        click.echo("\n".join(markdown_lines()))
    else:
        for family, rows in facts().items():
            listing = console.table(family, *COLUMNS)
            for row in rows:
                listing.add_row(*(row[c] for c in COLUMNS))
            console.show(listing)


def facts() -> dict[str, list[dict[str, str]]]:
    """For each family, a row for each lowering: the layers that it serves, and their weights."""
    from octolite.frontends.keras import LAYERS

    rows: dict[str, dict[int, dict[str, str]]] = {}
    for name, entry in LAYERS.items():
        if name.startswith(("ops.", "tf.")):
            continue
        family = rows.setdefault(entry.family, {})
        row = family.setdefault(id(entry.lowering), {"layers": ""})
        row["layers"] += f"{' ' if row['layers'] else ''}{name}"
        row["weights"] = " ".join(str(w) for w in entry.weights)
        row["remarks"] = entry.remark
    return {family: list(found.values()) for family, found in sorted(rows.items())}


def operations() -> dict[str, list[str]]:
    """Operations between layers, by where they come from, and activation functions."""
    from octolite.frontends.keras import LAYERS
    from octolite.frontends.keras.activations import ACTIVATIONS

    return {
        "keras.ops": sorted(n[4:] for n in LAYERS if n.startswith("ops.")),
        "TensorFlow's functions, in Keras 2": sorted(n for n in LAYERS if n.startswith("tf.")),
        "activation functions": sorted(ACTIVATIONS),
    }


def markdown_lines() -> Iterator[str]:
    """The tables as Markdown."""
    for family, rows in facts().items():
        yield from (f"### {family.capitalize()}", "", "| " + " | ".join(COLUMNS) + " |")
        yield "|" + "---|" * len(COLUMNS)
        for row in rows:
            weights = f"`{row['weights']}`" if row["weights"] else ""
            remark = row["remarks"].replace("``", "`")
            yield f"| {row['layers']} | {weights} | {remark} |"
        yield ""
    yield from ("### Between layers", "")
    for what, names in operations().items():
        yield f"- **{what}:** {', '.join(names)}"
