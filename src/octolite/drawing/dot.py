"""A picture in Graphviz' language.

Nodes are coloured by family, edges tell type and shape, each graph of the model is a cluster.
Labels are Graphviz' HTML-like ones. No name of the model is ever an identifier.
"""

from __future__ import annotations

from collections.abc import Iterator

from octolite.drawing.picture import Box, Picture, Sheet, describe
from octolite.drawing.text import escaped
from octolite.ir.graph import Model

_NAME = 60
"""Characters of a name that are shown."""

_HEAD = """\
digraph model {
  graph [rankdir=TB, compound=true, fontname="Helvetica", nodesep=0.3, ranksep=0.35];
  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=11, margin="0.12,0.06"];
  edge [fontname="Helvetica", fontsize=8, color="#64748b", fontcolor="#475569", arrowsize=0.6];
"""


def dot(model: Model) -> str:
    """``model`` in Graphviz' language; the same model gives the same text."""
    return _HEAD + "".join(f"  {line}\n" for line in _lines(describe(model))) + "}\n"


def _lines(picture: Picture) -> Iterator[str]:
    for sheet in picture.sheets:
        yield f"subgraph cluster_{sheet.key} {{"
        yield f"  label=<<b>{escaped(sheet.title, 120)}</b>>;"
        yield '  style=rounded; color="#cbd5e1"; fontcolor="#334155"; fontsize=12;'
        yield from (f"  {line}" for line in _sheet(sheet))
        yield "}"
    yield from _calls(picture)


def _sheet(sheet: Sheet) -> Iterator[str]:
    for box in sheet.boxes:
        fill, line = box.family.light
        shape = ", shape=ellipse, style=filled" if box.end else ""
        # Names are told where the mouse rests, too; without a tooltip that would be the label.
        yield (
            f'{box.key} [label={_label(box)}, tooltip="{_quoted(box.name)}", '
            f'fillcolor="{fill}", color="{line}"{shape}];'
        )
    if not sheet.boxes:
        yield f'{sheet.key}_empty [label="empty", shape=plaintext, style=""];'
    for arrow in sheet.arrows:
        mark = ', color="#db2777"' if arrow.quantized else ""
        yield (
            f'{arrow.source} -> {arrow.target} [label="{_quoted(arrow.tensor.type)}", '
            f'tooltip="{_quoted(arrow.tensor.name)}"{mark}];'
        )


def _calls(picture: Picture) -> Iterator[str]:
    """A dotted line from each node to the graphs that it runs."""
    first = {s.key: s.boxes[0].key if s.boxes else f"{s.key}_empty" for s in picture.sheets}
    for box in (box for sheet in picture.sheets for box in sheet.boxes):
        for key in dict.fromkeys(box.calls):
            yield (
                f"{box.key} -> {first[key]} "
                f'[lhead=cluster_{key}, style=dotted, color="#dc2626", constraint=false];'
            )


def _label(box: Box) -> str:
    """What is written in a box: title, settings, name, and a line for each constant."""
    rows = [f"<b>{escaped(box.title, _NAME)}</b>"]
    if box.mark:
        rows[0] += f' <font color="#be185d" point-size="9">{escaped(box.mark)}</font>'
    if box.settings:
        rows.append(_small(", ".join(box.settings)))
    rows.append(_small(box.name, "#475569"))
    if box.end == "input":
        rows.append(_small(box.outputs[0].type))
    elif box.end == "output":
        rows.append(_small(box.inputs[0].type))
    rows += [_small(f"{t.role} {t.stored}".strip(), "#334155") for t in box.inputs if t.stored]
    rows += [_small(t.quant, "#be185d") for t in box.outputs if t.quant]
    return f"<{'<br/>'.join(rows)}>"


def _small(text: str, colour: str = "#0f172a") -> str:
    return f'<font color="{colour}" point-size="9">{escaped(text, _NAME)} </font>'


def _quoted(text: str) -> str:
    """For a string in quotes, where a backslash before a letter would mean something."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
