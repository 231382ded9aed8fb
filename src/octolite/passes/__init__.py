"""Rewriting graphs: constants folded, products fused, activations recognised, layouts settled."""

from octolite.passes.engine import Event, Explanation
from octolite.passes.pipeline import PIPELINE, OnChange, OnPass, optimize

__all__ = ["PIPELINE", "Event", "Explanation", "OnChange", "OnPass", "optimize"]
