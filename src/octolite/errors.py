"""Every error that Octolite raises on purpose.

::

    OctoliteError
    ├── UsageError            a call or command line that cannot be meant
    ├── ModelError            the model file is at fault
    │   ├── FormatError       not readable as what it claims to be
    │   ├── InvalidGraphError readable, but breaks a rule of its format
    │   └── UnsupportedError  valid, but holds something Octolite cannot do
    ├── ShapeError            tensors that do not fit an operator
    ├── ConversionError       a graph that cannot be rewritten as asked
    ├── RuntimeModelError     a model that fails while it runs
    ├── DataError             a sample that cannot be read or fed to a model
    └── KernelError           code could not be generated, compiled or loaded

A message names the node, the operator and the tensors, says what was expected and what was
found, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OctoliteError(Exception):
    """Base class: catch this to catch everything that Octolite raises on purpose."""


class UsageError(OctoliteError, ValueError):
    """The call or the command line cannot be meant as it stands."""


class ModelError(OctoliteError):
    """The model file is at fault."""


class FormatError(ModelError):
    """The file is not readable as the format that it claims to be."""


class InvalidGraphError(ModelError):
    """The file can be read, but its graph breaks a rule of the format."""


class UnsupportedError(ModelError):
    """The model is valid but holds something that Octolite cannot do.

    All such places of a model are reported together, a line each.
    """


class ShapeError(OctoliteError):
    """The tensors given to an operator do not fit it."""


class ConversionError(OctoliteError):
    """The graph cannot be rewritten as asked."""


class RuntimeModelError(OctoliteError, RuntimeError):
    """The model failed while it ran: a bad index, an input of the wrong shape or type."""


class DataError(OctoliteError):
    """A sample cannot be read, or is nothing that a model could be fed or judged by."""


class KernelError(OctoliteError):
    """Machine code could not be generated, compiled or loaded."""


MISFITS: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
)
"""What Python and NumPy raise where tensors are not what an operator or a rule was written for."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence naming the nearest of ``known``, or all of them when they are few, or ''."""
    options = list(known)
    near = difflib.get_close_matches(name, options, n=3, cutoff=0.5)
    if near:
        return "Did you mean " + " or ".join(repr(n) for n in near) + "?"
    if 0 < len(options) <= 8:
        return "There is " + ", ".join(repr(n) for n in options) + "."
    return ""
