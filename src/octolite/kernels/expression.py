"""Functions of elements, as operators ask for them: plain data, nothing compiled.

:data:`FUNCTIONS` says which functions there are and for which element types; an
:class:`Expression` strings some of them together. One operator asks for an expression of a step or
two; a chain of operators is one expression too, and either becomes one loop (``maps.py``).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from octolite.errors import KernelError, did_you_mean
from octolite.ir.types import (
    BOOL,
    FLOAT16,
    FLOAT32,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT16,
    Activation,
    DType,
)
from octolite.kernels.spec import AnyRequest

REAL = (FLOAT32,)
NUMBERS = (FLOAT32, INT32, INT64)
ORDERED = (*NUMBERS, INT8, UINT8, INT16, UINT16)
EVERY = (*ORDERED, FLOAT16, BOOL)


@dataclass(frozen=True, slots=True)
class Function:
    """``operands``: an ``x`` for each that is of the function's own type, ``b`` for a bool.

    ``types``: what x may be. ``result``: the type of the result where it is not that of x.
    """

    operands: str
    types: tuple[DType, ...]
    result: DType | None = None

    def result_of(self, given: Sequence[DType]) -> DType | None:
        """The type of the result for operands of these types; ``None``: it takes others."""
        own = {t for letter, t in zip(self.operands, given, strict=False) if letter == "x"}
        rest = {t for letter, t in zip(self.operands, given, strict=False) if letter == "b"}
        if len(given) != len(self.operands) or len(own) > 1 or not rest <= {BOOL}:
            return None
        if not own:
            return self.result
        (kind,) = own
        return (self.result or kind) if kind in self.types else None


_TABLE: tuple[tuple[str, Function], ...] = (
    ("abs neg sign square relu relu6 relu_n1_to_1", Function("x", NUMBERS)),
    ("ceil floor round round_half_away relu_0_to_1 hard_swish", Function("x", REAL)),
    ("cos cube elu exp gelu gelu_tanh log logistic rsqrt sin sqrt tanh", Function("x", REAL)),
    ("add sub mul squared_difference", Function("xx", NUMBERS)),
    ("maximum minimum", Function("xx", ORDERED)),
    ("div floor_div leaky_relu pow prelu", Function("xx", REAL)),
    ("equal not_equal", Function("xx", (*ORDERED, BOOL), BOOL)),
    ("less less_equal greater greater_equal", Function("xx", ORDERED, BOOL)),
    ("logical_and logical_or", Function("xx", (BOOL,))),
    ("logical_not", Function("x", (BOOL,))),
    ("select", Function("bxx", EVERY)),
    ("half", Function("x", (INT32,))),
    ("high_product rounding_shift shift_left", Function("xx", (INT32,))),
)

SCALING = ("half", "high_product", "rounding_shift", "shift_left", "to_int32")
"""Functions of which products of integers with real factors are made."""

CONVERSIONS = {f"to_{dtype.name}": dtype for dtype in EVERY}
"""Functions that give the same number in another type, by name.

Floats are cut off towards zero and kept within the limits of an integer type, NaN becoming 0;
integers wrap; what is not 0 is true.
"""

FUNCTIONS: dict[str, Function] = {name: f for names, f in _TABLE for name in names.split()}
NUMBER, WHOLE = "number", "whole"
"""Steps without operands: a float32 or an int32 that is given when the kernel is built."""

GIVEN = {NUMBER: FLOAT32, WHOLE: INT32}
FUNCTIONS |= {name: Function("", (dtype,), dtype) for name, dtype in GIVEN.items()}
FUNCTIONS |= {name: Function("x", EVERY, dtype) for name, dtype in CONVERSIONS.items()}

ACTIVATED = {
    Activation.NONE: None,
    Activation.RELU: "relu",
    Activation.RELU_N1_TO_1: "relu_n1_to_1",
    Activation.RELU6: "relu6",
    Activation.TANH: "tanh",
}
"""Fused activations → the function that each is."""

Step = tuple[str, tuple[int, ...]]
"""A function's name and its operands."""


@dataclass(frozen=True)
class Expression(AnyRequest):
    """What every element of a result is: the last step's value for the elements in its place of
    the inputs, which broadcast.

    Operands are counted: first the inputs, then the steps. ``numbers`` are those of the steps
    called :data:`NUMBER` or :data:`WHOLE`, in order. Raises :class:`KernelError` for functions
    that there are not, or not for such operands.
    """

    inputs: tuple[DType, ...]
    steps: tuple[Step, ...]
    numbers: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.steps or len(self.types) != len(self.inputs) + len(self.steps):
            raise KernelError("an expression has at least one step")

    @cached_property
    def types(self) -> tuple[DType, ...]:
        """The type of every operand, by its number."""
        found = list(self.inputs)
        for function, operands in self.steps:
            found.append(_result(function, [found[i] for i in operands]))
        return tuple(found)

    @property
    def dtype(self) -> DType:
        """The type of the result."""
        return self.types[-1]

    @property
    def form(self) -> str:
        """All but what the numbers are: what the code depends on."""
        steps = " ".join(f"{name}({','.join(map(str, args))})" for name, args in self.steps)
        return f"[{' '.join(t.name for t in self.inputs)}] {steps}"

    @property
    def functions(self) -> list[str]:
        """The names of the functions, in the order in which they are applied, less those that
        only scale integers."""
        return [name for name, _ in self.steps if name not in GIVEN and name not in SCALING]

    def takes(self, function: str) -> bool:
        """Whether there is a ``function`` of the result alone."""
        return FUNCTIONS[function].result_of([self.dtype]) is not None

    def then(self, function: str, *numbers: float) -> Expression:
        """The same with a function behind it: of its result, and of more numbers, which are taken
        for int32 where they are behind int32."""
        last = len(self.types) - 1
        operands = range(last, last + 1 + len(numbers))
        given = WHOLE if self.dtype is INT32 else NUMBER
        steps = (*self.steps, *((given, ()) for _ in numbers), (function, tuple(operands)))
        return replace(self, steps=steps, numbers=(*self.numbers, *numbers))


def _result(function: str, given: Sequence[DType]) -> DType:
    if function not in FUNCTIONS:
        raise KernelError(f"no kernel computes {function!r}. {did_you_mean(function, FUNCTIONS)}")
    result = FUNCTIONS[function].result_of(given)
    if result is None:
        raise KernelError(f"no kernel computes {function!r} of {', '.join(map(str, given))}")
    return result


def apply(function: str, types: Sequence[DType], *numbers: float) -> Expression | None:
    """``function`` of inputs of ``types`` and of ``numbers`` behind them; ``None`` where no kernel
    computes it for such operands."""
    given = (*types, *(FLOAT32 for _ in numbers))
    if function not in FUNCTIONS or FUNCTIONS[function].result_of(given) is None:
        return None
    steps = (*((NUMBER, ()) for _ in numbers), (function, tuple(range(len(given)))))
    return Expression(tuple(types), steps, numbers)


Name = TypeVar("Name", bound=Hashable)


def join(
    inputs: Mapping[Name, DType], parts: Iterable[tuple[Expression, Sequence[Name], Name]]
) -> Expression:
    """One expression of several, in the order in which they can be computed: of each the names of
    its inputs and of its result. ``inputs`` are those that no part makes; the last part's result
    is the result."""
    place = {name: i for i, name in enumerate(inputs)}
    steps: list[Step] = []
    numbers: list[float] = []
    for expression, names, result in parts:
        operands = [place[name] for name in names]
        for function, given in expression.steps:
            steps.append((function, tuple(operands[i] for i in given)))
            operands.append(len(inputs) + len(steps) - 1)
        numbers += expression.numbers
        place[result] = operands[-1]
    return Expression(tuple(inputs.values()), tuple(steps), tuple(numbers))
