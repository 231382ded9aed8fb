"""Pictures of models: Graphviz' language, SVG, a page, and JSON for Model Explorer."""

from octolite.drawing.dot import dot
from octolite.drawing.explorer import model_explorer
from octolite.drawing.page import html
from octolite.drawing.svg import svg

__all__ = ["dot", "html", "model_explorer", "svg"]
