"""A page as HTML: one file that needs no other, and no network.

Everything that comes from models and data is escaped by the template. Besides, the page forbids
itself all scripts and styles but its own, by their hashes, and everything from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from octolite.errors import UsageError
from octolite.evaluation.report.blocks import Page
from octolite.version import __version__


def html_of(page: Page) -> str:
    """The file's text. Raises :class:`UsageError` where jinja2 is not installed."""
    style, script = _read("page.css"), _read("page.js")
    return str(
        _template().render(
            page=page,
            version=__version__,
            style=_safe(style),
            script=_safe(script),
            style_hash=_hash(style),
            script_hash=_hash(script),
        )
    )


def require() -> None:
    """Raise :class:`UsageError` where jinja2 is not installed: before hours are spent."""
    _template()


@cache
def _template() -> Any:
    try:
        import jinja2
    except ImportError:
        raise UsageError("reports need jinja2: pip install 'octolite[report]'") from None
    made = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return made.from_string(_read("page.html"))


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _safe(own: str) -> Any:
    from markupsafe import Markup

    return Markup(own)


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
