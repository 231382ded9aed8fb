"""Custom operators that the command line names: ``[NAME=]MODULE:OBJECT``."""

from __future__ import annotations

from collections.abc import Iterable

from octolite.errors import UsageError
from octolite.evaluation.imports import import_object
from octolite.ops.custom import CustomOperator


def custom_operators(given: Iterable[str]) -> dict[str, CustomOperator]:
    """The operators by name. Modules are looked for in the working directory too.

    Raises :class:`UsageError` for what cannot be imported, or is no operator.
    """
    return dict(map(_operator, given))


def _operator(item: str) -> tuple[str, CustomOperator]:
    name, _, place = item.rpartition("=")
    found = import_object(place, f"--custom {item!r}", "[NAME=]MODULE:OBJECT")
    if callable(found) and not isinstance(found, CustomOperator):
        found = CustomOperator(found)
    if not isinstance(found, CustomOperator):
        raise UsageError(
            f"--custom {item!r} is a {type(found).__name__}, expected a function of options and "
            "arrays, or an octolite.CustomOperator"
        )
    return name or place.partition(":")[2], found
