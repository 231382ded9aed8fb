"""Operators that users bring along: a Python function and a shape rule, known by a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np

from octolite.errors import (
    OctoliteError,
    RuntimeModelError,
    ShapeError,
    UnsupportedError,
    UsageError,
)
from octolite.ir.types import Array, DType, Operand, Shape, TensorType
from octolite.ops.base import ANYTHING, Operator, attr


@dataclass(frozen=True)
class CustomOperator:
    """What a custom operator of a model does.

    Attributes:
        compute: called as ``compute(options, *arrays)`` with an array for each input (``None``
            for one that is absent; codes with a scale come as real numbers); gives an array, or a
            sequence of them where there are several outputs. Their dtypes are those that the model
            declares.
        shapes: called as ``shapes(options, *shapes)`` with a tuple of extents for each input
            (``None`` for one that is absent); gives the outputs' shapes, as many as there are.
            Without it, shapes show when the operator has run, which keeps what follows from being
            planned ahead.
        decode: what makes ``options`` of the bytes that the model stores for the operator. If it
            is not given, they are a FlexBuffer, most often a map, which comes as a ``dict``; no
            bytes are an empty one.

    Example::

        floor = octolite.CustomOperator(
            compute=lambda options, x: np.maximum(x, options["floor"]),
            shapes=lambda options, x: [x],
        )
        octolite.Interpreter("model.tflite", custom_operators={"Floor": floor})
    """

    compute: Callable[..., Any]
    shapes: Callable[..., Sequence[Sequence[int]]] | None = None
    decode: Callable[[bytes], Any] | None = None


class UserOperator(Operator, abstract=True):
    """A node of a custom operator; subclasses are made by :func:`user_operator`."""

    kinds = ANYTHING
    custom = True
    stateful = True  # nobody knows what the function does beside
    inputs = "inputs*"
    outputs = "results*"
    definition: ClassVar[CustomOperator]
    raw: bytes = attr(b"", stored=False)
    options_given: Any = attr(None, stored=False)
    types: tuple[DType, ...] = attr((), stored=False)

    def settle(self, outputs: Sequence[Operand]) -> UserOperator:
        return self.replace(types=tuple(v.dtype for v in outputs))

    def infer(self, *operands: Operand | None) -> Sequence[TensorType]:
        rule = self.definition.shapes
        open_ = any(v is not None and (v.shape is None or None in v.shape) for v in operands)
        if rule is None or open_:
            return [TensorType(dtype, None) for dtype in self.types]
        known = [None if v is None else v.shape for v in operands]
        found = self._call("shape rule", ShapeError, rule, *known)
        try:
            shapes: list[Shape] = [tuple(int(d) for d in shape) for shape in found]
        except (TypeError, ValueError):
            shapes = []
        if len(shapes) != len(self.types) or any((d or 0) < 0 for s in shapes for d in s):
            raise ShapeError(
                f"the shape rule of {self.name} gave {found!r}, expected a sequence of "
                f"{len(self.types)} shapes"
            )
        return [TensorType(t, s) for t, s in zip(self.types, shapes, strict=True)]

    def reference(self, *arrays: Array | None) -> tuple[Array, ...]:
        found = self._call("function", RuntimeModelError, self.definition.compute, *arrays)
        results = found if isinstance(found, tuple | list) else (found,)
        if len(results) != len(self.types):
            raise RuntimeModelError(
                f"the function of {self.name} gave {len(results)} results, expected "
                f"{len(self.types)}"
            )
        return tuple(np.asarray(r) for r in results)

    def _run(
        self,
        arrays: Sequence[Array | None],
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
    ) -> tuple[Array, ...]:
        results = super()._run(arrays, inputs, outputs)
        for number, (result, dtype) in enumerate(zip(results, self.types, strict=True)):
            if result.dtype != dtype.numpy:
                raise RuntimeModelError(
                    f"the function of {self.name} gave {result.dtype} as result {number}, and "
                    f"the model declares {dtype}; convert it with .astype"
                )
        return results

    def _call(
        self, what: str, error: type[OctoliteError], function: Callable[..., Any], *arguments: Any
    ) -> Any:
        """Call a user's function; whatever it raises becomes ``error``."""
        try:
            return function(self.options_given, *arguments)
        except Exception as reason:
            raise error(f"the {what} of {self.name} raised {reason!r}") from reason


class KeptOperator(UserOperator, abstract=True):
    """An operator that a converted model brings along and nobody here knows; subclasses are made by
    :func:`kept_operator`. Its results are what ``declared`` says."""

    declared: tuple[TensorType, ...] = attr((), stored=False)
    definition = CustomOperator(compute=lambda options, *arrays: ())

    def infer(self, *operands: Operand | None) -> Sequence[TensorType]:
        return self.declared

    def reference(self, *arrays: Array | None) -> tuple[Array, ...]:
        raise UnsupportedError(f"nobody has said what the custom operator {self.name} does")


@cache
def kept_operator(called: str) -> type[KeptOperator]:
    """The class of operators ``called`` so that are passed on and never run."""

    class Kept(KeptOperator, abstract=True):
        name = called

    return Kept


def user_operator(called: str, given: CustomOperator) -> type[UserOperator]:
    """The operator class of the custom operator ``called``. Raises :class:`UsageError`."""
    if not isinstance(given, CustomOperator) or not isinstance(called, str):
        raise UsageError(
            f"custom operator {called!r} is given as {given!r}; expected a name and an "
            "octolite.CustomOperator(compute, shapes)"
        )
    functions = given.compute, *(f for f in (given.shapes, given.decode) if f is not None)
    if not all(map(callable, functions)):
        raise UsageError(f"custom operator {called!r} has {given!r}, not all of it functions")

    class Defined(UserOperator, abstract=True):
        name = called
        definition = given

    return Defined


def user_operators(given: Mapping[str, CustomOperator] | None) -> dict[str, type[UserOperator]]:
    """Operator classes by name. Raises :class:`UsageError` for what is no custom operator."""
    if given is not None and not isinstance(given, Mapping):
        raise UsageError(f"custom_operators is {given!r}, expected a dict of names and operators")
    return {name: user_operator(name, definition) for name, definition in (given or {}).items()}
