"""Storing weights in fewer bits: recipes, the rewriting of constants, the size ledger."""

from octolite.quantize import recipe_file
from octolite.quantize.integer import IntegerRecipe
from octolite.quantize.ledger import Action, Entry, Ledger, Row
from octolite.quantize.recipe import (
    RECIPES,
    Activations,
    Clipping,
    Compute,
    Granularity,
    Recipe,
    Rule,
    Treatment,
)
from octolite.quantize.weights import quantize

__all__ = [
    "RECIPES",
    "Action",
    "Activations",
    "Clipping",
    "Compute",
    "Entry",
    "Granularity",
    "IntegerRecipe",
    "Ledger",
    "Recipe",
    "Row",
    "Rule",
    "Treatment",
    "quantize",
    "recipe_file",
]
