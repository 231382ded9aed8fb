"""Colours and type: style.css, and rules for the families of operators."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from octolite.drawing.families import Family


@cache
def asset(name: str) -> str:
    """A file that lies beside this module."""
    return files("octolite.drawing").joinpath(name).read_text("utf-8")


def rules(families: Iterable[Family]) -> str:
    """All style rules of a graph, for light and for dark surroundings."""
    families = list(families)
    light = "".join(_rule(f, *f.light) for f in families)
    dark = "".join(_rule(f, *f.dark) for f in families)
    return f"{asset('style.css')}{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n"


def _rule(family: Family, fill: str, line: str) -> str:
    return f".graph .{family.key} rect {{ fill: {fill}; stroke: {line}; }}\n"
