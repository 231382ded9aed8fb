"""What the quantizer is asked to do: a recipe, by name or spelled out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from octolite.errors import UsageError, did_you_mean
from octolite.ir.types import FLOAT16, FLOAT32, INT8, DType


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model's constants are stored and who computes with the codes.

    Attributes:
        name: what the file's metadata and the ledger call it.
        storage: the format of large float constants: int8, float16, or float32 for no change.
        hybrid: operators that can take int8 weights beside float activations get them as they
            are; otherwise everything reads its weights through a DEQUANTIZE.
        asymmetric_inputs: hybrid operators that have the choice quantize their activations
            over [min, max] rather than ±max.
        min_elements: tensors with fewer elements stay float.
    """

    name: str
    storage: DType = INT8
    hybrid: bool = False
    asymmetric_inputs: bool = False
    min_elements: int = 1024

    @classmethod
    def of(cls, recipe: str | Recipe, min_elements: int | None = None) -> Recipe:
        """The recipe called ``recipe``, or that recipe itself; ``min_elements`` overrides its own.

        Raises :class:`UsageError` for an unknown name or a negative ``min_elements``.
        """
        found = RECIPES.get(recipe) if isinstance(recipe, str) else recipe
        if found is None:
            hint = did_you_mean(str(recipe), RECIPES)
            raise UsageError(f"there is no quantization recipe {recipe!r}. {hint}")
        if min_elements is None:
            return found
        if min_elements < 0:
            raise UsageError(f"min_elements is {min_elements}, expected 0 or more")
        return replace(found, min_elements=min_elements)


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("dynamic", hybrid=True, asymmetric_inputs=True),
        Recipe("weights"),
        Recipe("float16", storage=FLOAT16),
        Recipe("none", storage=FLOAT32),
    )
}
"""Recipe name → recipe, in the order in which help texts list them."""
