"""Every operator, one class each. Importing this package registers them all."""

from __future__ import annotations

import importlib
import pkgutil

from octolite.ops.base import REGISTRY, Operator, Parameter, QuantRule, operator_class

_MACHINERY = {"base", "case", "cells", "shapes", "state", "windows"}

for _module in pkgutil.iter_modules(__path__):
    if _module.name not in _MACHINERY:
        importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["REGISTRY", "Operator", "Parameter", "QuantRule", "operator_class"]
