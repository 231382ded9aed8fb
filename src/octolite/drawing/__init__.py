"""Pictures of models: Graphviz."""

from octolite.drawing.dot import dot

__all__ = ["dot"]
