"""A picture as one HTML page that needs nothing else: no network, no other files.

The drawing is that of ``svg.py``; what each box knows lies beside it as JSON, and page.js moves,
searches, and shows it. The page's policy lets no script run but that one, and nothing be loaded.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from octolite.drawing.picture import Box, Picture, Tensor, describe
from octolite.drawing.style import asset, rules
from octolite.drawing.svg import HEADER, MARGIN, MARKERS, Drawn, draw, summary
from octolite.drawing.text import escaped, size_text
from octolite.ir.graph import Model


def html(model: Model) -> str:
    """``model`` as a page: move, zoom, search, click; the same model gives the same text."""
    picture = describe(model)
    script = asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    title = escaped(summary(picture), 200)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{rules(picture.families)}{asset("page.css")}</style>
</head>
<body>
<header>
<strong>{title}</strong>
<input id="search" type="search" placeholder="Search names, operators, types ( / )"
 autocomplete="off" spellcheck="false"><output id="found"></output>
<span class="buttons"><button id="closer" title="Zoom in (+)">+</button>
<button id="farther" title="Zoom out (-)">−</button>
<button id="fit" title="All of it (0)">fit</button></span>
</header>
<nav class="graph" id="legend">{_legend(picture)}</nav>
<main>
<svg class="graph" id="canvas" role="img">{MARKERS}
<rect class="ground" width="100%" height="100%"/>
<g id="all">{"".join(_sheet(draw(sheet)) for sheet in picture.sheets)}</g></svg>
<aside id="panel" hidden></aside>
</main>
<script type="application/json" id="facts">{_json(facts(picture))}</script>
<script>{script}</script>
</body>
</html>
"""


def facts(picture: Picture) -> dict[str, Any]:
    """What page.js knows of each box and sheet, by their keys."""
    return {
        "boxes": {box.key: _box(box) for sheet in picture.sheets for box in sheet.boxes},
        "sheets": {sheet.key: sheet.title for sheet in picture.sheets},
    }


def _box(box: Box) -> dict[str, Any]:
    told: dict[str, Any] = {"title": box.title, "name": box.name, "family": box.family.title}
    told["mark"] = box.mark
    if box.nbytes:
        told["bytes"] = f"{size_text(box.nbytes)} ({box.nbytes:,} bytes)"
    told["attributes"] = [list(pair) for pair in box.attributes]
    if box.end:
        told["attributes"] = [["signature", text] for text in box.settings]
    told["inputs"] = [_tensor(t) for t in box.inputs]
    told["outputs"] = [_tensor(t) for t in box.outputs]
    told["calls"] = list(dict.fromkeys(box.calls))
    return told


def _tensor(tensor: Tensor) -> dict[str, Any]:
    told = {
        "role": tensor.role,
        "name": tensor.name,
        "type": tensor.type,
        "quant": tensor.quant,
        "stored": tensor.stored,
        "boxes": [tensor.source] if tensor.source else list(tensor.targets),
    }
    return {key: value for key, value in told.items() if value}


def _json(data: Any) -> str:
    """JSON that may stand in a script element: nothing in it ends one or starts a comment."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _sheet(drawn: Drawn) -> str:
    sheet = drawn.sheet
    width, height = drawn.width + 2 * MARGIN, drawn.height + HEADER + MARGIN
    return (
        f'<g class="sheet" id="{sheet.key}" data-w="{width:.1f}" data-h="{height:.1f}">'
        f'<rect class="frame" width="{width:.1f}" height="{height:.1f}" rx="10"/>'
        f'<g class="fold"><rect class="bar" width="{width:.1f}" height="{HEADER:g}" rx="10"/>'
        f'<text class="h" x="{MARGIN:g}" y="17"><tspan class="sign">▾</tspan> '
        f"{escaped(sheet.title, 120)}</text></g>"
        f'<g class="body" transform="translate({MARGIN:g},{HEADER:g})">{drawn.body}</g></g>\n'
    )


def _legend(picture: Picture) -> str:
    return "".join(
        f'<button class="key" data-family="{f.key}"><svg class="{f.key}" width="14" height="12">'
        f'<rect x="1" y="1" width="12" height="10" rx="3"/></svg>{escaped(f.title)}</button>'
        for f in picture.families
    )
