"""What the quantizer is asked to do: how weights are treated, and which ones otherwise.

A recipe has a treatment for every weight and rules that change it for some. Rules are read from
the first to the last, and each that holds changes what it names, so that a later one may refine
what an earlier one said. Recipes are named, built in Python or read from a file
(:mod:`octolite.quantize.recipe_file`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from os import PathLike
from typing import Any

from octolite.errors import UsageError, did_you_mean
from octolite.ir.types import FLOAT16, FLOAT32, INT4, INT8, DType
from octolite.ops import REGISTRY


class Granularity(StrEnum):
    """How many scales a weight has."""

    CHANNEL = "channel"
    """One for each output channel, where the operator has them."""
    TENSOR = "tensor"
    """One for the whole weight."""


class Compute(StrEnum):
    """Who computes with codes."""

    HYBRID = "hybrid"
    """Operators that can take codes beside float activations get them as they are."""
    FLOAT = "float"
    """Everything reads its weights through a DEQUANTIZE."""


class Activations(StrEnum):
    """The range over which hybrid operators that have the choice quantize their activations."""

    ASYMMETRIC = "asymmetric"
    """[min, max]."""
    SYMMETRIC = "symmetric"
    """±max."""


class Clipping(StrEnum):
    """The largest weight that a scale still reaches."""

    MAX = "max"
    """The largest there is."""
    MSE = "mse"
    """The one that leaves the least squared error, of those tried."""


STORAGE: dict[str, DType] = {d.name: d for d in (INT8, INT4, FLOAT16, FLOAT32)}
"""Formats in which a weight may be stored; float32 leaves it as it is."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """What becomes of a weight.

    Attributes:
        weights: the format it is stored in: int8, int4 (for operators that run it, int8 for the
            others), float16, or float32 for no change.
        granularity: a scale for each channel, or one.
        compute: whether hybrid operators take the codes.
        activations: how such operators quantize what stands beside the codes.
        clipping: how far the codes reach.
        min_elements: weights with fewer elements stay float.
    """

    weights: DType = INT8
    granularity: Granularity = Granularity.CHANNEL
    compute: Compute = Compute.HYBRID
    activations: Activations = Activations.ASYMMETRIC
    clipping: Clipping = Clipping.MAX
    min_elements: int = 1024

    def changed(self, changes: Mapping[str, Any]) -> Treatment:
        """The same but for ``changes``."""
        return replace(self, **changes)

    def as_dict(self) -> dict[str, str | int]:
        """Its attributes in plain types."""
        return plain({name: getattr(self, name) for name in TREATMENT})

    def differences(self, other: Treatment) -> dict[str, Any]:
        """What would have to be changed to make this ``other``."""
        ours, theirs = self.as_dict(), other.as_dict()
        return {name: getattr(other, name) for name in ours if ours[name] != theirs[name]}


def _non_negative(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"should be a whole number of 0 or more, and is {value!r}")
    return value


def _one_of(choices: Mapping[str, Any]) -> Callable[[Any], Any]:
    def parse(value: Any) -> Any:
        text = value.name if isinstance(value, DType) else value
        if not isinstance(text, str) or text not in choices:
            hint = did_you_mean(str(text), choices)
            raise UsageError(f"should be one of {', '.join(choices)}, and is {text!r}. {hint}")
        return choices[text]

    return parse


def _member(enum: type[StrEnum]) -> Callable[[Any], Any]:
    return _one_of({member.value: member for member in enum})


TREATMENT: dict[str, Callable[[Any], Any]] = {
    "weights": _one_of(STORAGE),
    "granularity": _member(Granularity),
    "compute": _member(Compute),
    "activations": _member(Activations),
    "clipping": _member(Clipping),
    "min_elements": _non_negative,
}
"""Attribute of a treatment → what reads it from plain types, raising :class:`UsageError`."""


def operator_names(names: Any) -> tuple[str, ...]:
    """A name, or several, of operators. Raises :class:`UsageError` for others."""
    given = (names,) if isinstance(names, str) else names
    if not isinstance(given, list | tuple):
        raise UsageError(f"should be names of operators, and is {names!r}")
    for name in given:
        if name not in REGISTRY:
            hint = did_you_mean(str(name), REGISTRY)
            raise UsageError(f"should be names of operators, which {name!r} is not. {hint}")
    return tuple(given)


def pattern(text: Any) -> str:
    """A regular expression that compiles. Raises :class:`UsageError` for others."""
    try:
        re.compile(text)
    except (re.error, TypeError) as error:
        raise UsageError(f"should be a regular expression, and {text!r} is not: {error}") from None
    return str(text)


def _checked(key: str, parse: Callable[[Any], Any], value: Any) -> Any:
    try:
        return parse(value)
    except UsageError as error:
        raise UsageError(f"{key} {error}") from None


def plain(changes: Mapping[str, Any]) -> dict[str, str | int]:
    """Attributes of a treatment as strings and numbers."""
    return {k: v.name if isinstance(v, DType) else v for k, v in changes.items()}


@dataclass(frozen=True, slots=True)
class Rule:
    """What is different for some of the weights.

    A condition that is not given holds for all; those given must hold together for one operator
    that reads the weight.

    Attributes:
        operators: names of operators (``CONV_2D``), one of which reads the weight.
        name: regular expression, found somewhere in the name of the weight, of the node that
            reads it, or of that node's results.
        signature: key of the signature whose graph reads the weight.
        changes: attributes of :class:`Treatment`, with their values there.
    """

    operators: tuple[str, ...] = ()
    name: str = ""
    signature: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        operators: str | Sequence[str] = (),
        name: str = "",
        signature: str = "",
        **changes: Any,
    ) -> Rule:
        """A rule from plain types, as in ``Rule.of("CONV_2D", weights="float16")``.

        Raises :class:`UsageError` for attributes, values and regular expressions that are none.
        """
        parsed = {}
        for key, value in changes.items():
            if key not in TREATMENT:
                hint = did_you_mean(key, TREATMENT)
                raise UsageError(f"a weight's treatment has no {key!r}. {hint}")
            parsed[key] = _checked(key, TREATMENT[key], value)
        return cls(
            _checked("operators", operator_names, operators),
            _checked("name", pattern, name),
            signature,
            parsed,
        )

    def holds(self, operator: str, names: Iterable[str], signatures: Iterable[str]) -> bool:
        """Whether all conditions hold for a weight with those ``names`` in that operator."""
        if self.operators and operator not in self.operators:
            return False
        if self.signature and self.signature not in signatures:
            return False
        return not self.name or any(re.search(self.name, name) for name in names)

    def as_dict(self) -> dict[str, Any]:
        """The conditions that are given, and the changes, in plain types."""
        given: dict[str, Any] = {
            "operators": list(self.operators), "name": self.name, "signature": self.signature,
        }  # fmt: skip
        return {k: v for k, v in given.items() if v} | plain(self.changes)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model's weights are stored, and who computes with the codes.

    Attributes:
        name: what the file's metadata and the ledger call it.
        treatment: what becomes of a weight that no rule speaks of.
        rules: what is different for some, first to last.
    """

    name: str
    treatment: Treatment = Treatment()
    rules: tuple[Rule, ...] = ()

    @classmethod
    def of(cls, recipe: str | PathLike[str] | Recipe, min_elements: int | None = None) -> Recipe:
        """The recipe called ``recipe``, in the file ``recipe`` (``*.toml``), or that one itself.

        ``min_elements`` overrides its own, not that of its rules. Raises :class:`UsageError` for
        an unknown name, a file that is none or a negative ``min_elements``.
        """
        found = recipe if isinstance(recipe, Recipe) else _find(recipe)
        if min_elements is None:
            return found
        changes = {"min_elements": _checked("min_elements", _non_negative, min_elements)}
        return replace(found, treatment=found.treatment.changed(changes))

    @property
    def stores_codes(self) -> bool:
        """Whether any weight may become int8 or int4."""
        asked = [self.treatment.weights, *(rule.changes.get("weights") for rule in self.rules)]
        return INT8 in asked or INT4 in asked

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain types, for JSON."""
        rules = {"rule": [rule.as_dict() for rule in self.rules]} if self.rules else {}
        return {"name": self.name} | self.treatment.as_dict() | rules


def _find(recipe: str | PathLike[str]) -> Recipe:
    if isinstance(recipe, str) and not recipe.endswith(".toml"):
        found = RECIPES.get(recipe)
        if found is None:
            hint = did_you_mean(recipe, RECIPES)
            raise UsageError(f"there is no quantization recipe {recipe!r}. {hint}")
        return found
    from octolite.quantize.recipe_file import read

    return read(recipe)


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("dynamic"),
        Recipe("weights", Treatment(compute=Compute.FLOAT)),
        Recipe("float16", Treatment(weights=FLOAT16, compute=Compute.FLOAT)),
        Recipe("none", Treatment(weights=FLOAT32)),
    )
}
"""Recipe name → recipe, in the order in which help texts list them."""
