"""A picture as SVG, drawn here: nothing else need be installed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from octolite.drawing.card import LABEL, SETTING, Card, card, text_width
from octolite.drawing.families import Family
from octolite.drawing.layout import Edge, Layout, Point, arrange, columns
from octolite.drawing.picture import Picture, Sheet, describe
from octolite.drawing.style import rules
from octolite.drawing.text import escaped, plain, size_text
from octolite.ir.graph import Model

MARGIN = 16.0
HEADER = 26.0
"""Height of a sheet's title."""

GAP = 32.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sheet as SVG whose upper left corner is at 0, 0, title and frame left out."""

    sheet: Sheet
    body: str
    width: float
    height: float


def svg(model: Model) -> str:
    """``model`` as an SVG image that suits light and dark surroundings; the same model gives the
    same text."""
    picture = describe(model)
    drawn = [draw(sheet) for sheet in picture.sheets]
    framed = [(d.width + 2 * MARGIN, d.height + HEADER + MARGIN) for d in drawn]
    corners, width, height = columns(framed, GAP)
    title = plain(summary(picture), 100)
    width = max(width, text_width(title, SETTING) * 1.2)
    legend, lower = _legend(picture.families, width)
    total = f"{width + 2 * MARGIN:.0f}", f"{height + lower + 2 * MARGIN:.0f}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total[0]} {total[1]}" '
        f'width="{total[0]}" height="{total[1]}" class="graph" role="img">',
        f"<title>{escaped(title)}</title>",
        f"<style>{rules(picture.families)}</style>",
        MARKERS,
        '<rect class="ground" width="100%" height="100%"/>',
        f'<g transform="translate({MARGIN:g},{MARGIN:g})">',
        f'<text class="h" y="12">{escaped(title)}</text>{legend}</g>',
    ]
    for (x, y), (wide, high), each in zip(corners, framed, drawn, strict=True):
        place = f"translate({x + MARGIN:.1f},{y + MARGIN + lower:.1f})"
        parts.append(f'<g transform="{place}">{"".join(_frame(each.sheet, wide, high))}')
        parts.append(f'<g transform="translate({MARGIN:g},{HEADER:g})">{each.body}</g></g>')
    return "\n".join([*parts, "</svg>", ""])


def summary(picture: Picture) -> str:
    """The model in a line."""
    operators = sum(not b.end for s in picture.sheets for b in s.boxes)
    parts = [f"{operators} operators, {size_text(picture.nbytes)} of constants"]
    if len(picture.sheets) > 1:
        parts.insert(0, f"{len(picture.sheets)} graphs")
    return ", ".join(parts) + (f" · {picture.description}" if picture.description else "")


def _marker(kind: str) -> str:
    return (
        f'<marker id="tip{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        'markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path class="tip {kind}" d="M0,0.5 L8,4 L0,7.5 z"/></marker>'
    )


MARKERS = f"<defs>{''.join(map(_marker, ('', 'q', 'lit')))}</defs>"
"""Heads of arrows."""


def draw(sheet: Sheet) -> Drawn:
    """Lay out a sheet and write its boxes and lines."""
    cards = [card(box) for box in sheet.boxes]
    number = {box.key: i for i, box in enumerate(sheet.boxes)}
    edges = [Edge(number[a.source], number[a.target], a.output) for a in sheet.arrows]
    placed = arrange([(c.room, c.height) for c in cards], edges)
    parts = [*_arrows(sheet, placed), *_boxes(sheet, cards, placed)]
    if not sheet.boxes:
        parts.append('<text class="n" y="12">empty</text>')
    return Drawn(
        sheet, "\n".join(parts), max(placed.width, title_width(sheet)), max(placed.height, 16.0)
    )


def title_width(sheet: Sheet) -> float:
    return text_width(plain(sheet.title, 120), SETTING) * 1.15 + 16


def _frame(sheet: Sheet, width: float, height: float) -> Iterator[str]:
    yield f'<rect class="frame" width="{width:.1f}" height="{height:.1f}" rx="10"/>'
    yield f'<text class="h" x="{MARGIN:g}" y="17">{escaped(sheet.title, 120)}</text>'


def _arrows(sheet: Sheet, placed: Layout) -> Iterator[str]:
    for arrow, route in zip(sheet.arrows, placed.routes, strict=True):
        if not route:
            continue
        mark, tip = (" q", "tipq") if arrow.quantized else ("", "tip")
        yield (
            f'<path class="edge{mark}" data-s="{arrow.source}" data-t="{arrow.target}" '
            f'marker-end="url(#{tip})" d="{_curve(route)}">'
            f"<title>{escaped(arrow.tensor.name, 120)}: {escaped(arrow.tensor.type, 80)}</title>"
            "</path>"
        )


def _curve(route: list[Point]) -> str:
    """Straight down where points lie below each other, otherwise a curve that ends vertically."""
    x, y = route[0]
    parts = [f"M{x:.1f},{y:.1f}"]
    y += LABEL.height  # past what is written beside the line
    parts.append(f"V{y:.1f}")
    for x1, y1 in route[1:]:
        if abs(x1 - x) < 0.5:
            parts.append(f"L{x1:.1f},{y1:.1f}")
        else:
            half = (y + y1) / 2
            parts.append(f"C{x:.1f},{half:.1f} {x1:.1f},{half:.1f} {x1:.1f},{y1:.1f}")
        x, y = x1, y1
    return " ".join(parts)


def _boxes(sheet: Sheet, cards: list[Card], placed: Layout) -> Iterator[str]:
    leaving: dict[str, float] = {}  # where the rightmost line starts
    for arrow, route in zip(sheet.arrows, placed.routes, strict=True):
        if route:
            leaving[arrow.source] = max(leaving.get(arrow.source, 0.0), route[0][0])
    for box, made, (x, y) in zip(sheet.boxes, cards, placed.centres, strict=True):
        left, top = x - made.width / 2, y - made.height / 2
        radius = min(made.height / 2, 22) if box.end else 6
        yield (
            f'<g class="box {box.family.key}" id="{box.key}"><title>{escaped(box.name)}</title>'
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{made.width:g}" height="{made.height:g}" '
            f'rx="{radius:g}"/>'
        )
        baseline = top + 5
        for line in made.lines:
            baseline += line.style.height
            mark = f' <tspan class="m">{escaped(line.mark)}</tspan>' if line.mark else ""
            yield (
                f'<text class="{line.style.key}" x="{x:.1f}" y="{baseline - 3.5:.1f}">'
                f"{escaped(line.text)}{mark}</text>"
            )
        if made.label and box.key in leaving:
            place = f'x="{leaving[box.key] + 5:.1f}" y="{top + made.height + LABEL.height:.1f}"'
            yield (f'<text class="l" {place}>{escaped(made.label, 80)}</text>')
        yield "</g>"


def _legend(families: list[Family], width: float) -> tuple[str, float]:
    """Families with their colours, in lines of ``width``, and where what lies below them starts."""
    parts: list[str] = []
    x, y = 0.0, 22.0
    for family in families:
        wide = 19 + text_width(family.title, SETTING)
        if x and x + wide > width:
            x, y = 0.0, y + 20
        parts.append(
            f'<g class="box {family.key}" transform="translate({x:.1f},{y:g})">'
            f'<rect width="14" height="12" rx="3"/></g>'
            f'<text class="s left" x="{x + 19:.1f}" y="{y + 10:g}">{escaped(family.title)}</text>'
        )
        x += wide + 14
    return "".join(parts), y + 30
