"""Storing weights in fewer bits: recipes, the rewriting of constants, the size ledger."""

from octolite.quantize.ledger import Action, Entry, Ledger, Row
from octolite.quantize.recipe import RECIPES, Recipe
from octolite.quantize.weights import quantize

__all__ = ["RECIPES", "Action", "Entry", "Ledger", "Recipe", "Row", "quantize"]
