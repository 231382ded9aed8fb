"""Rewriting graphs: constants folded, products fused, activations recognised, layouts settled."""

from octolite.passes.engine import Event, Explanation
from octolite.passes.pipeline import PIPELINE, OnPass, optimize

__all__ = ["PIPELINE", "Event", "Explanation", "OnPass", "optimize"]
