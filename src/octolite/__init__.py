"""Octolite: 8-bit TensorFlow models on ordinary CPUs.

::

    content = octolite.convert("model.pb")            # bytes of a .tflite file, weights in int8
    interpreter = octolite.Interpreter(model_content=content)

What is named here is the public interface; it is loaded when it is first used, so that
converting never loads the compiler and running never loads the converter.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from octolite.errors import (
    ConversionError,
    DataError,
    FormatError,
    InvalidGraphError,
    KernelError,
    ModelError,
    OctoliteError,
    RuntimeModelError,
    ShapeError,
    UnsupportedError,
    UsageError,
)
from octolite.version import __version__

if TYPE_CHECKING:
    from octolite.api import Conversion, convert, convert_model
    from octolite.evaluation.compare import compare
    from octolite.evaluation.evaluate import Evaluation, evaluate
    from octolite.evaluation.sensitivity import sensitivity
    from octolite.evaluation.tune import tune
    from octolite.ops.custom import CustomOperator
    from octolite.quantize import IntegerRecipe, Ledger, Recipe, Rule, Treatment
    from octolite.runtime.interpreter import Interpreter, SignatureRunner
    from octolite.selection import Selection

_LAZY = {
    "Conversion": "octolite.api",
    "convert": "octolite.api",
    "convert_model": "octolite.api",
    "compare": "octolite.evaluation.compare",
    "sensitivity": "octolite.evaluation.sensitivity",
    "tune": "octolite.evaluation.tune",
    "Evaluation": "octolite.evaluation.evaluate",
    "evaluate": "octolite.evaluation.evaluate",
    "CustomOperator": "octolite.ops.custom",
    "Interpreter": "octolite.runtime.interpreter",
    "SignatureRunner": "octolite.runtime.interpreter",
    "IntegerRecipe": "octolite.quantize",
    "Ledger": "octolite.quantize",
    "Recipe": "octolite.quantize",
    "Rule": "octolite.quantize",
    "Selection": "octolite.selection",
    "Treatment": "octolite.quantize",
}

__all__ = [
    "Conversion",
    "ConversionError",
    "CustomOperator",
    "DataError",
    "Evaluation",
    "FormatError",
    "IntegerRecipe",
    "Interpreter",
    "InvalidGraphError",
    "KernelError",
    "Ledger",
    "ModelError",
    "OctoliteError",
    "Recipe",
    "Rule",
    "RuntimeModelError",
    "Selection",
    "ShapeError",
    "SignatureRunner",
    "Treatment",
    "UnsupportedError",
    "UsageError",
    "__version__",
    "compare",
    "convert",
    "convert_model",
    "evaluate",
    "sensitivity",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'octolite' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
