"""In which numbers a model is to compute, and which go in and come out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from octolite.ir.graph import Model
    from octolite.quantize import IntegerRecipe


@dataclass(frozen=True, slots=True)
class Numbers:
    """What the commands ask for.

    Attributes:
        weights: the recipe for the weights of a model that computes in float.
        throughout: codes of uint8 in place of float, as an ``IntegerRecipe`` makes them.
        coded_inputs: whether uint8 goes in; ``None``: as ``throughout``.
        coded_outputs: whether uint8 comes out, likewise.
        means: mean and deviation of each input's codes, in order.
        default_range: of tensors whose range nothing states.
        join_ranges: one range for all that is concatenated.
        move_ranges: stated ranges outlive the merging of a layer with what follows it.
    """

    weights: str | Path = "none"
    throughout: bool = False
    coded_inputs: bool | None = None
    coded_outputs: bool | None = None
    means: Sequence[tuple[float, float]] = ()
    default_range: tuple[float, float] | None = None
    join_ranges: bool = False
    move_ranges: bool = False

    def recipe(self) -> str | Path | IntegerRecipe:
        """How numbers are stored."""
        if not self.throughout:
            return self.weights
        from octolite.quantize import IntegerRecipe

        return IntegerRecipe(
            means=self.means,
            default_range=self.default_range,
            float_inputs=self.coded_inputs is False,
            float_outputs=self.coded_outputs is False,
            join_ranges=self.join_ranges,
        )

    def edits(self) -> list[Callable[[Model], object]]:
        """What is changed in the model as it was read, before it is rewritten."""
        edits: list[Callable[[Model], object]] = []
        if self.move_ranges:
            from octolite.passes.ranges import move_past_products

            edits.append(move_past_products)
        if self.coded_inputs and not self.throughout:
            from octolite.quantize.integer import take_codes

            edits.append(partial(take_codes, means=self.means))
        return edits
