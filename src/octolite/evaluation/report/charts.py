"""Small drawings in SVG. Colours and type come from the page's style sheet, by classes.

Texts are escaped as they are put in (:func:`markupsafe.escape` through ``Markup.format``), so that
a layer's name cannot become markup.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from octolite.errors import UsageError
from octolite.ir.types import Array

if TYPE_CHECKING:
    from markupsafe import Markup

    Svg = Markup
else:
    Svg = str


def markup() -> Any:
    """The class ``Markup``. Raises :class:`UsageError` where jinja2 is not installed."""
    try:
        from markupsafe import Markup
    except ImportError:
        raise UsageError("reports need jinja2: pip install 'octolite[report]'") from None
    return Markup


def _put(form: str, **values: Any) -> Svg:
    """``form`` with escaped values."""
    drawn: Svg = markup()(form).format(**values)
    return drawn


def _join(parts: Iterable[Svg]) -> Svg:
    joined: Svg = markup()("").join(parts)
    return joined


def _short(number: float) -> str:
    """A coordinate."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``: steps of 1, 2 or 5 times a power of ten."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low] if math.isfinite(low) else []
    raw = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(raw))
    step = unit * next(s for s in (1, 2, 5, 10) if s * unit >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


_BAR = '<svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'


def bar(share: float, kind: str = "after", of: float | None = None) -> Svg:
    """A bar in a table: ``share`` of the cell's width, on top of a paler one of ``of``."""
    rects = [(of, "before")] if of is not None else []
    rects.append((share, kind))
    drawn = _join(
        _put('<rect class="{kind}" width="{w}" height="1"/>', kind=k, w=_short(100 * _unit(s)))
        for s, k in rects
    )
    return _put(f"{_BAR}{{d}}</svg>", d=drawn)


def diverging(share: float) -> Svg:
    """A bar from the middle to the right (better) or to the left (worse); ``share`` in -1…1."""
    width = 50 * _unit(abs(share))
    return _put(
        _BAR + '<rect class="{kind}" x="{x}" width="{w}" height="1"/></svg>',
        kind="better" if share > 0 else "worse",
        x=_short(50 if share > 0 else 50 - width),
        w=_short(width),
    )


def _unit(share: float) -> float:
    return min(1.0, max(0.0, share)) if math.isfinite(share) else 0.0


@dataclass(frozen=True, slots=True)
class Point:
    """Of a profile: two numbers of a layer (``None``: not known; inf: no error), and its name."""

    title: str
    anchor: str
    line: float | None
    dot: float | None
    mark: bool = False


def profile(points: Sequence[Point], unit: str, low_end: str) -> Svg:
    """A number along the layers of a model: a line, and a dot for each.

    What is infinite lies at the upper edge. Each layer is a link to its ``anchor``.
    """
    width, height, left, top, bottom = 1080.0, 260.0, 46.0, 12.0, 26.0
    known = [v for p in points for v in (p.line, p.dot) if v is not None and math.isfinite(v)]
    low, high = (min(0.0, *known), max(known)) if known else (0.0, 1.0)
    high = max(high * 1.08, low + 1)
    step = (width - left) / max(1, len(points))

    def y(value: float) -> float:
        shown = min(max(value, low), high)
        return top + (height - top - bottom) * (high - shown) / (high - low)

    grid = _join(
        _put(
            '<line class="grid" x1="{l}" x2="{r}" y1="{y}" y2="{y}"/>'
            '<text class="tick" x="{x}" y="{ty}" text-anchor="end">{t}</text>',
            l=_short(left), r=_short(width), y=_short(y(t)), x=_short(left - 7),
            ty=_short(y(t) + 4), t=f"{t:g}",
        )
        for t in ticks(low, high)
    )  # fmt: skip
    runs = _runs([(left + (i + 0.5) * step, p.line) for i, p in enumerate(points)], y)
    lines = _join(_put('<polyline class="line" points="{p}"/>', p=run) for run in runs)
    marks = _join(
        _spot(p, left + i * step, step, top, height - bottom, y) for i, p in enumerate(points)
    )
    captions = _put(
        '<text class="tick" x="{l}" y="{b}">{a}</text>'
        '<text class="tick" x="{r}" y="{b}" text-anchor="end">{z}</text>',
        l=_short(left), r=_short(width), b=_short(height - 6), a=low_end,
        z=f"{unit}, layer by layer →",
    )  # fmt: skip
    return _put(
        '<svg class="profile" viewBox="0 0 {w} {h}" role="img" aria-label="{u} of each layer">'
        "{grid}{lines}{marks}{captions}</svg>",
        w=_short(width), h=_short(height), u=unit, grid=grid, lines=lines, marks=marks,
        captions=captions,
    )  # fmt: skip


def _runs(points: Iterable[tuple[float, float | None]], y: Any) -> list[str]:
    """Coordinates of the line; it breaks where nothing is known."""
    runs: list[list[str]] = [[]]
    for x, value in points:
        if value is None:
            runs.append([])
        else:
            runs[-1].append(f"{_short(x)},{_short(y(value))}")
    return [" ".join(run) for run in runs if len(run) > 1]


def _spot(point: Point, x: float, step: float, top: float, bottom: float, y: Any) -> Svg:
    """A layer: a strip to point at, its dot, and a ring around it if it stands out."""
    centre = x + step / 2
    parts = [
        _put(
            '<rect class="strip" x="{x}" y="{y}" width="{w}" height="{h}"/>',
            x=_short(x), y=_short(top), w=_short(step), h=_short(bottom - top),
        )
    ]  # fmt: skip
    if point.dot is not None:
        place = {"x": _short(centre), "y": _short(y(point.dot))}
        radius = _short(min(4.0, max(1.5, step / 3)))
        parts.append(_put('<circle class="dot" cx="{x}" cy="{y}" r="{r}"/>', r=radius, **place))
        if point.mark:
            parts.append(_put('<circle class="ring" cx="{x}" cy="{y}" r="8"/>', **place))
    return _put(
        '<a href="#{a}"><title>{t}</title>{parts}</a>',
        a=point.anchor, t=point.title, parts=_join(parts),
    )  # fmt: skip


BINS = 61


def histogram(before: Array, after: Array, bins: int = BINS) -> Svg:
    """Two sets of numbers on one scale: the first as an area, the second as a line of steps.

    Heights are square roots of counts, so that tails can be seen.
    """
    finite = [a[np.isfinite(a)] for a in (before, after)]
    reach = max((float(np.abs(a).max()) for a in finite if a.size), default=0.0) or 1.0
    edges = np.linspace(-reach, reach, bins + 1)
    counts = [np.sqrt(np.histogram(a, edges)[0]) for a in finite]
    peak = max(float(c.max()) for c in counts) or 1.0
    width, height, base = 240.0, 84.0, 68.0
    steps = [_steps(c / peak, width, base) for c in counts]
    return _put(
        '<svg class="histogram" viewBox="0 0 {w} {h}" role="img" aria-label="histogram">'
        '<path class="area" d="M0,{b}L{first}L{w},{b}Z"/><polyline class="step" points="{second}"/>'
        '<line class="axis" x1="0" x2="{w}" y1="{b}" y2="{b}"/>'
        '<text class="tick" x="0" y="{t}">{low}</text>'
        '<text class="tick" x="{m}" y="{t}" text-anchor="middle">0</text>'
        '<text class="tick" x="{w}" y="{t}" text-anchor="end">{high}</text></svg>',
        w=_short(width), h=_short(height), b=_short(base), t=_short(height - 3),
        m=_short(width / 2), first=steps[0].replace(" ", "L"), second=steps[1],
        low=f"−{reach:.3g}", high=f"{reach:.3g}",
    )  # fmt: skip


def _steps(shares: Array, width: float, base: float) -> str:
    step = width / len(shares)
    points = []
    for i, share in enumerate(shares.tolist()):
        y = _short(base - (base - 4) * share)
        points += [f"{_short(i * step)},{y}", f"{_short((i + 1) * step)},{y}"]
    return " ".join(points)


def interval(low: float, value: float, high: float, least: float, most: float) -> Svg:
    """A share with its interval, as a dot on a line, between ``least`` and ``most``."""
    span = (most - least) or 1.0
    a, v, b = (_short(100 * _unit((x - least) / span)) for x in (low, value, high))
    return _put(
        '<svg class="interval" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<line class="whisker" x1="{a}" x2="{b}" y1="5" y2="5"/>'
        '<line class="middle" x1="{v}" x2="{v}" y1="0" y2="10"/></svg>',
        a=a, b=b, v=v,
    )  # fmt: skip
