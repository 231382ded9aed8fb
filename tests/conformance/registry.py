"""Which generator draws examples of an operator: its own, its family's, or its declared cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from octolite.ir.types import FLOAT32, DType
from octolite.ops import Operator
from octolite.ops.base import CODES
from octolite.ops.case import Case
from octolite.ops.support import TYPES, in_type, types_taken
from tests.conformance.drawing import Drawer

Generator = Callable[[Drawer, type[Operator]], Case]
GENERATORS: dict[type[Operator] | str, Generator] = {}


def draws(*owners: type[Operator] | str) -> Callable[[Generator], Generator]:
    """The decorated function draws examples of these operators, or of all in these families."""

    def register(generator: Generator) -> Generator:
        GENERATORS.update(dict.fromkeys(owners, generator))
        return generator

    return register


def generator_of(operator: type[Operator]) -> Generator:
    """The generator of the operator, or of the nearest family that has one."""
    keys: list[Any] = [operator.name, *operator.__mro__]
    return next((GENERATORS[k] for k in keys if k in GENERATORS), declared)


def declared(d: Drawer, operator: type[Operator]) -> Case:
    """One of the declared cases that LiteRT runs, in the type that is drawn where it is float."""
    if d.dtype in types_taken(operator):
        return d.pick([c for c in in_type(operator, d.dtype) if c.litert] or list(operator.cases))
    return d.pick([c for c in operator.cases if c.litert] or list(operator.cases))


@st.composite
def examples(draw: st.DrawFn, operator: type[Operator], dtype: DType) -> Case:
    """An example of ``operator`` whose numbers are of ``dtype``."""
    return generator_of(operator)(Drawer(draw, dtype), operator)


def unscaled(operator: type[Operator]) -> list[DType]:
    """The types that numbers of an operator may have without scales.

    Codes without scales mean nothing to operators that compute on codes in integers; those with
    scales are drawn in ``tests.ops.quantized``.
    """
    scaled = CODES if operator.integer_types else ()
    return [t for t in TYPES if t not in scaled]


@st.composite
def types(draw: st.DrawFn, operator: type[Operator]) -> DType:
    """float32 most often, else a type that Octolite takes, now and then any."""
    possible = unscaled(operator)
    taken = [t for t in types_taken(operator) if t in possible] or [FLOAT32]
    usual = FLOAT32 if FLOAT32 in taken else taken[0]
    match draw(st.integers(0, 9)):
        case 9:
            return draw(st.sampled_from(possible))
        case n if n >= 5:
            return draw(st.sampled_from(taken))
    return usual
