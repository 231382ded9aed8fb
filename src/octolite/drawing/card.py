"""What is written in a box, and how large that makes it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from octolite.drawing.layout import LINES, SPREAD
from octolite.drawing.picture import Box
from octolite.drawing.text import plain

CONSTANTS = 4
"""How many constants a box tells of; the page's panel lists all."""

WIDE = 42
"""Characters of a line."""

PAD = 9.0
_NARROW = frozenset("fijlrtI1.,:;'|!()[]{}/\\ ")
_BROAD = frozenset("mwMW@%")


@dataclass(frozen=True, slots=True)
class Style:
    """A kind of line: the name of its class in style.css, the size there, and what it is high."""

    key: str
    size: float
    height: float


TITLE = Style("t", 12.5, 17)
SETTING = Style("s", 10.5, 14)
NAME = Style("n", 10, 13.5)
CONSTANT = Style("c", 10, 13.5)
MARK = Style("m", 10, 13.5)
LABEL = Style("l", 10, 13)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text; ``mark`` follows it in the colour of quantization."""

    text: str
    style: Style
    mark: str = ""

    @property
    def width(self) -> float:
        space = 0.4 * self.style.size if self.mark else 0.0
        return text_width(self.text, self.style) + space + text_width(self.mark, MARK)


@dataclass(frozen=True, slots=True)
class Card:
    """A box's lines. ``label`` is what its one line downwards carries; ``width`` and ``height`` are
    of the box, ``room`` is the width that box and label need."""

    lines: tuple[Line, ...]
    label: str
    width: float
    height: float
    room: float


def card(box: Box) -> Card:
    types = list(dict.fromkeys(t.type for t in box.outputs))
    label = types[0] if len(types) == 1 else ""
    lines = tuple(_lines(box, types))
    ends = bool(box.end)
    width = max(line.width for line in lines) + 2 * (PAD + 6 * ends)
    height = sum(line.style.height for line in lines) + 2 * 5
    aside = min(width * LINES / 2, SPREAD / 2 * (len(box.outputs) - 1)) if box.outputs else 0.0
    room = max(width, 2 * (aside + text_width(label, LABEL) + 8))
    return Card(lines, label, round(width, 1), round(height, 1), round(room, 1))


def text_width(text: str, style: Style) -> float:
    """About how wide ``text`` is in a common sans-serif font, rather too much than too little."""
    ems = sum(map(_ems, text))
    return ems * style.size * (1.15 if style is TITLE else 1.12)


def _ems(char: str) -> float:
    if char in _NARROW:
        return 0.34
    if char in _BROAD:
        return 0.9
    if char.isascii():
        return 0.68 if char.isupper() or char == "_" else 0.57
    return 1.0 if unicodedata.east_asian_width(char) in "WF" else 0.65


def _lines(box: Box, types: list[str]) -> Iterator[Line]:
    yield Line(plain(box.title, WIDE), TITLE, box.mark)
    if box.settings:
        yield Line(plain(", ".join(box.settings), WIDE), SETTING)
    if box.name.strip():
        yield Line(plain(box.name, WIDE), NAME)
    if box.end == "output":
        yield Line(plain(box.inputs[0].type, WIDE), SETTING)
    stored = [t for t in box.inputs if t.stored]
    shown = CONSTANTS if len(stored) <= CONSTANTS + 1 else CONSTANTS - 1
    for tensor in stored[: shown + (len(stored) == CONSTANTS + 1)]:
        yield Line(plain(f"{tensor.role} {tensor.stored}".strip(), WIDE + 8), CONSTANT)
    if len(stored) > CONSTANTS + 1:
        yield Line(f"and {len(stored) - shown} more", CONSTANT)
    if len(types) > 1:
        yield Line(plain(", ".join(types), WIDE), SETTING)
    quants = dict.fromkeys(t.quant for t in box.outputs if t.quant)
    for quant in list(quants)[:2]:
        yield Line(plain(quant, WIDE), MARK)
