"""Recipes in files: TOML that people write, checked down to the line and column.

::

    name = "keyword spotter"      # what the model's metadata calls the recipe
    base = "dynamic"              # a named recipe to begin with
    min_elements = 512            # this and all below: see octolite.quantize.Treatment

    [[rule]]
    operators = ["FULLY_CONNECTED"]
    weights = "int4"
    clipping = "mse"

    [[rule]]
    name = "^logits/"             # a regular expression
    skip = true                   # the same as weights = "float32"
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

from octolite.errors import UsageError, did_you_mean
from octolite.ir.types import FLOAT32
from octolite.quantize.recipe import RECIPES, TREATMENT, Recipe, Rule, operator_names, pattern

LIMIT = 1 << 20
"""Bytes that a recipe may have."""

_CONDITIONS = ("operators", "name", "signature")
_TOP = ("name", "base", *TREATMENT, "rule")
_IN_RULE = (*_CONDITIONS, *TREATMENT, "skip")


def read(path: str | PathLike[str]) -> Recipe:
    """The recipe in a TOML file.

    Raises :class:`UsageError` naming file, line and column of what is wrong.
    """
    file = Path(path)
    try:
        if file.stat().st_size > LIMIT:
            raise UsageError(f"the recipe {file} is larger than {LIMIT:,} bytes")
        text = file.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read the recipe {file}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"the recipe {file} is no UTF-8 text: {error}") from None
    return parse(text, str(file), file.stem)


def parse(text: str, source: str = "recipe", name: str = "recipe") -> Recipe:
    """The recipe that ``text`` spells; ``source`` is what errors call it.

    ``name`` is the recipe's where the text gives none. Raises :class:`UsageError`.
    """
    return _Parser(text, source).recipe(name)


def write(recipe: Recipe) -> str:
    """``recipe`` as TOML, which :func:`parse` reads back as it was."""
    facts = recipe.as_dict()
    lines = [_line(key, value) for key, value in facts.items() if key != "rule"]
    for rule in facts.get("rule", ()):
        lines += ["", "[[rule]]", *(_line(key, value) for key, value in rule.items())]
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any) -> str:
    # JSON's strings, numbers and lists of strings are TOML's, save that DEL must be escaped.
    return f"{key} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"should be a string, and is {value!r}")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"should be true or false, and is {value!r}")
    return value


def _base(value: Any) -> Recipe:
    if not isinstance(value, str) or value not in RECIPES:
        raise UsageError(f"there is no recipe {value!r}. {did_you_mean(str(value), RECIPES)}")
    return RECIPES[value]


class _Parser:
    def __init__(self, text: str, source: str) -> None:
        self.text, self.source = text, source

    def recipe(self, name: str) -> Recipe:
        try:
            facts = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{self.source}: {error}") from None
        self.known(facts, _TOP, None)
        base = self.read(facts, "base", _base, None) or RECIPES["dynamic"]
        rules = facts.get("rule", [])
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            self.fail(None, "rule", "rules are tables, each under a line [[rule]]")
        return Recipe(
            self.read(facts, "name", _string, None) or name,
            base.treatment.changed(self.treatment(facts, None)),
            tuple(self.rule(rule, number) for number, rule in enumerate(rules)),
        )

    def rule(self, facts: dict[str, Any], number: int) -> Rule:
        self.known(facts, _IN_RULE, number)
        changes = self.treatment(facts, number)
        skip = self.read(facts, "skip", _flag, number)
        if skip and "weights" in facts:
            problem = f"leaves weights as they are, and so does not go with {facts['weights']!r}"
            self.fail(number, "skip", problem)
        if skip:
            changes["weights"] = FLOAT32
        return Rule(
            self.read(facts, "operators", operator_names, number) or (),
            self.read(facts, "name", pattern, number) or "",
            self.read(facts, "signature", _string, number) or "",
            changes,
        )

    def treatment(self, facts: dict[str, Any], number: int | None) -> dict[str, Any]:
        read_values = {k: self.read(facts, k, parse, number) for k, parse in TREATMENT.items()}
        return {key: value for key, value in read_values.items() if key in facts}

    def read(
        self, facts: dict[str, Any], key: str, parse: Callable[[Any], Any], number: int | None
    ) -> Any:
        """What ``parse`` makes of ``key``; ``None`` where it is not given."""
        if key not in facts:
            return None
        try:
            return parse(facts[key])
        except UsageError as error:
            self.fail(number, key, str(error))

    def known(self, facts: dict[str, Any], keys: tuple[str, ...], number: int | None) -> None:
        for key in facts:
            if key not in keys:
                where = "a recipe" if number is None else "a rule"
                self.fail(number, key, f"{where} has no such key. {did_you_mean(key, keys)}")

    def fail(self, number: int | None, key: str, problem: str) -> NoReturn:
        line, column = self.place(number, key)
        raise UsageError(f"{self.source}, line {line}, column {column}: {key}: {problem}")

    def place(self, number: int | None, key: str) -> tuple[int, int]:
        """Line and column, from 1, of ``key`` in the rule of that number, or before all rules."""
        lines = self.text.splitlines() or [""]
        heads = [i for i, line in enumerate(lines) if re.match(r"\s*\[\[\s*rule\s*\]\]", line)]
        starts = [0, *(head + 1 for head in heads), len(lines) + 1]
        at = 0 if number is None else number + 1
        if at + 1 < len(starts):
            for i in range(starts[at], min(starts[at + 1], len(lines))):
                found = re.match(rf"\s*[\[\"']*\s*({re.escape(key)})\b", lines[i])
                if found:
                    return i + 1, found.start(1) + 1
        anywhere = re.search(rf"\b{re.escape(key)}\b", self.text)
        before = self.text[: anywhere.start()] if anywhere else ""
        return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
