"""Words of a model made fit to be drawn: names can hold anything, of any length."""

from __future__ import annotations

import html
from enum import IntEnum
from typing import Any

import numpy as np

from octolite.ir.graph import Graph
from octolite.ir.types import Quant, Shape

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
LIMIT = 400
"""Characters of a name or an attribute that are shown where there is room."""


def plain(text: str, limit: int = LIMIT) -> str:
    """One line of at most ``limit`` characters that can all be printed.

    What cannot, control characters, marks that turn the direction of writing and lone surrogates,
    becomes U+FFFD; of a long text the end stays, which tells names apart.
    """
    if len(text) > limit:
        front = limit // 3
        text = text[:front] + ELLIPSIS + text[len(text) - (limit - front - 1) :]
    text = " ".join(text.split("\n"))
    return "".join(c if c.isprintable() else REPLACEMENT for c in text)


def escaped(text: str, limit: int = LIMIT) -> str:
    """The same for HTML, SVG and Graphviz' labels."""
    return html.escape(plain(text, limit))


def shape_text(shape: Shape | None) -> str:
    """``1×224×224×3``, ``?`` for an unknown extent."""
    if shape is None:
        return "unknown shape"
    return "×".join("?" if d is None else str(d) for d in shape) or "scalar"


def size_text(count: float) -> str:
    """Bytes for people: ``3.4 MB`` (powers of ten)."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def quant_text(quant: Quant) -> str:
    """``scale 0.02, zero point -3``, or how many scales there are along which axis."""
    if not quant.per_channel:
        zero = f", zero point {int(quant.zero_point[0])}" if quant.zero_point.size else ""
        return f"scale {quant.scale[0]:.6g}{zero}" if quant.scale.size else "no scale"
    low, high = float(quant.scale.min()), float(quant.scale.max())
    return f"{quant.scale.size} scales along axis {quant.axis}, {low:.3g} to {high:.3g}"


def attribute_text(value: Any, limit: int = LIMIT) -> str:
    """An attribute's value for people."""
    match value:
        case bool():
            return "yes" if value else "no"
        case IntEnum() | Graph():
            return plain(value.name, limit)
        case float():
            return f"{value:.6g}"
        case bytes():
            return f"{len(value)} bytes"
        case np.ndarray() if value.size > 16:
            return f"{value.dtype} {shape_text(value.shape)}"
        case _:
            return plain(str(value), limit)
