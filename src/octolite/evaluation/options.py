"""The ways in which a layer's weights may be stored, and the recipe that a choice of them makes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from octolite.errors import UsageError, did_you_mean
from octolite.evaluation.variants import FLOAT, Choice, Weighted
from octolite.quantize import Recipe, Rule

OPTIONS: dict[str, dict[str, str]] = {
    "float16": {"weights": "float16", "compute": "float"},
    "int8": {"weights": "int8"},
    "int8 clipped": {"weights": "int8", "clipping": "mse"},
    "int8 in float": {"weights": "int8", "compute": "float"},
    "int8 per tensor": {"weights": "int8", "granularity": "tensor"},
    "int4": {"weights": "int4", "clipping": "mse"},
    "int4 in float": {"weights": "int4", "clipping": "mse", "compute": "float"},
}
"""By name, what a recipe says of a weight. float32 is always among them."""

USUAL = ("float16", "int8", "int8 clipped", "int8 in float", "int4")
"""The options that are tried when none are named."""

AS_ASKED = "recipe"
"""The option that is whatever the recipe to begin with says."""

_UNSAID = {"granularity": "channel", "compute": "hybrid", "clipping": "max"}


def changes(option: str) -> dict[str, Any]:
    """What an option changes in a treatment, whatever it was before. Raises
    :class:`UsageError`."""
    if option == "float32":
        return {"weights": "float32"}
    if option not in OPTIONS:
        raise UsageError(f"there is no option {option!r}. {did_you_mean(option, OPTIONS)}")
    return _UNSAID | OPTIONS[option]


def recipes(base: Recipe, options: Sequence[str]) -> dict[str, Recipe]:
    """A recipe for each option that gives it to all weights, and ``base`` itself if it has rules of
    its own."""
    found = {
        option: replace(base, name=option, rules=(*base.rules, Rule.of(**changes(option))))
        for option in dict.fromkeys(options)
    }
    return {AS_ASKED: base} | found if base.rules else found


def compose(
    name: str, base: Recipe, names: Sequence[str], layers: Sequence[Weighted], choice: Choice
) -> Recipe:
    """The recipe that stores each layer as ``choice`` says.

    Args:
        name: the recipe's.
        base: what to begin with.
        names: of the options, by their number.
        layers: all that may be stored in several ways.
        choice: the number of an option by the name of a layer.
    """
    chosen: Mapping[str, str] = {
        layer.name: names[choice.get(layer.name, FLOAT)] for layer in layers
    }
    usual = AS_ASKED
    treatment = base.treatment
    if not base.rules:  # what most layers get is said once
        counts = Counter(chosen.values())
        usual = max(counts, key=lambda option: (counts[option], option), default="float32")
        treatment = treatment.changed(Rule.of(**changes(usual)).changes)
    plain = Recipe(name, treatment).as_dict()
    known = {} if base.rules else plain  # what need not be said again
    rules = tuple(
        Rule.of(
            name=_pattern(layer.nodes),
            **{k: v for k, v in changes(chosen[layer.name]).items() if known.get(k) != v},
        )
        for layer in layers
        if chosen[layer.name] != usual
    )
    return Recipe(name, treatment, (*base.rules, *rules))


def _pattern(nodes: Sequence[str]) -> str:
    """A regular expression for these names and no other."""
    escaped = [re.escape(name) for name in dict.fromkeys(nodes)]
    return f"^{escaped[0]}$" if len(escaped) == 1 else f"^({'|'.join(escaped)})$"
