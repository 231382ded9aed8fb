"""Custom operators that the command line names: ``[NAME=]MODULE:OBJECT``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from octolite.errors import UsageError
from octolite.ops.custom import CustomOperator


def custom_operators(given: Iterable[str]) -> dict[str, CustomOperator]:
    """The operators by name. Modules are looked for in the working directory too.

    Raises :class:`UsageError` for what cannot be imported, or is no operator.
    """
    return dict(map(_operator, given))


def _operator(item: str) -> tuple[str, CustomOperator]:
    name, _, place = item.rpartition("=")
    module, separator, attribute = place.partition(":")
    if not separator or not module or not attribute:
        raise UsageError(f"--custom {item!r} should be [NAME=]MODULE:OBJECT")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:  # whatever the user's module raises
        raise UsageError(f"--custom {item!r} cannot be imported: {error}") from error
    if callable(found) and not isinstance(found, CustomOperator):
        found = CustomOperator(found)
    if not isinstance(found, CustomOperator):
        raise UsageError(
            f"--custom {item!r} is a {type(found).__name__}, expected a function of options and "
            "arrays, or an octolite.CustomOperator"
        )
    return name or attribute, found
