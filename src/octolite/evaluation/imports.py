"""Objects of people's own modules, named as ``MODULE:OBJECT``."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from octolite.errors import UsageError


def import_object(place: str, given: str, form: str) -> Any:
    """The object at ``place``; modules are looked for in the working directory too.

    ``given`` is what the user wrote, with the option's name, and ``form`` how it should look.
    Raises :class:`UsageError` for what is not of that form or cannot be imported.
    """
    module, separator, attribute = place.partition(":")
    if not separator or not module or not attribute:
        raise UsageError(f"{given} should be {form}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        return getattr(import_module(module), attribute)
    except Exception as error:  # whatever the user's module raises
        raise UsageError(f"{given} cannot be imported: {error}") from error
