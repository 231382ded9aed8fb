"""Pictures of models: Graphviz' language, SVG."""

from octolite.drawing.dot import dot
from octolite.drawing.svg import svg

__all__ = ["dot", "svg"]
