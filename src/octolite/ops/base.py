"""What an operator is: one class that holds everything about it.

A subclass of :class:`Operator` declares, in this order,

* its name, the FlatBuffer options table and its inputs and outputs by name,
* its attributes, which are the fields of that table: reading, writing, defaults and printing
  come from them,
* ``quant``: what the quantizer may do with it, as data,
* ``infer``: the shape rule, ``reference``: its meaning in NumPy,
* optionally ``hybrid`` (int8 weights, float activations), ``integer`` (codes throughout),
  ``kernel`` (what to ask of the compiled kernels), ``dtype_versions`` and ``version``,
* ``cases``: the examples on which the tests hold the reference against LiteRT.

Defining a class registers it; a class that lacks a part fails at import.
"""

from __future__ import annotations

import dataclasses
from abc import ABC
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    TypeVar,
    dataclass_transform,
)

import numpy as np

from octolite.errors import (
    OctoliteError,
    RuntimeModelError,
    ShapeError,
    UnsupportedError,
    did_you_mean,
)
from octolite.ir import numerics
from octolite.ir.types import (
    INT2,
    INT4,
    INT8,
    INT16,
    UINT8,
    Activation,
    Array,
    DType,
    Operand,
    Quant,
    Shape,
    TensorType,
)
from octolite.kernels import spec

if TYPE_CHECKING:
    from octolite.ops.case import Case


@dataclass(frozen=True, slots=True)
class Parameter:
    """An input or output, written ``name`` with a mark that says what it may be.

    ``name?`` is optional, ``name*`` stands for any number, ``name!`` is a variable: state that the
    operator changes.
    """

    name: str
    optional: bool = False
    variadic: bool = False
    variable: bool = False

    @classmethod
    @cache
    def parse(cls, text: str) -> tuple[Parameter, ...]:
        return tuple(
            cls(w.rstrip("?*!"), w.endswith("?"), w.endswith("*"), w.endswith("!"))
            for w in text.split()
        )


@dataclass(frozen=True, slots=True)
class QuantRule:
    """What the quantizer may do with an operator.

    Attributes:
        weights: input name → channel axis (``None``: one scale for the whole tensor).
        hybrid: the operator takes int8 weights beside float activations; otherwise a
            DEQUANTIZE goes in front of it.
        same_scale: results have the scale and zero point of the tensors that they are taken
            from, so that codes may pass through.
        together: the hybrid form takes codes for all of its weights; for some it is not defined.
        fixed_output: (scale, zero point) that an int8 result always has.
        single_scale: the hybrid form takes one scale for all channels, too.
        narrow: the hybrid form takes int4 weights, too; or does if each row fills whole bytes.
    """

    weights: Mapping[str, int | None] = field(default_factory=dict)
    hybrid: bool = False
    same_scale: bool = False
    together: bool = False
    fixed_output: tuple[float, int] | None = None
    single_scale: bool = True
    narrow: Literal["any", "whole bytes"] | None = None


FLOATS, NUMBERS, COMPLEX, ANYTHING = "f", "fiub", "fiubc", "fiubcso"
"""Kinds of types (``DType.kind``): real numbers; integers and truth values, too; complex numbers;
and strings and handles."""

CODES = (INT8, UINT8, INT16)
"""Types of activations that are codes."""


class Intermediate(NamedTuple):
    """A tensor without elements that tells the scale of what an operator computes on its way."""

    dtype: DType
    scale: float | None
    zero: int = 0

    @classmethod
    def of(cls, operand: Operand) -> Intermediate:
        """As a file has it; Raises :class:`ShapeError` for one with a scale for each channel."""
        quant = operand.quant
        if quant is None:
            return cls(operand.dtype, None)
        if quant.per_channel:
            raise ShapeError(f"{operand.name!r}: an intermediate tensor has one scale")
        return cls(operand.dtype, float(quant.scale[0]), int(quant.zero_point[0]))

    @property
    def quant(self) -> Quant | None:
        return None if self.scale is None else Quant.of(self.scale, self.zero)


def attr(default: Any, name: str | None = None, *, stored: bool = True) -> Any:
    """An attribute; ``name`` is its field in the options table when CamelCase would not give it.

    One that is not ``stored`` has no field there: ``settle`` finds it in the types of the results.
    """
    return field(default=default, metadata={"name": name, "stored": stored})


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute's Python name, its options field, and its default (which tells its type)."""

    name: str
    option: str
    default: Any


REGISTRY: dict[str, type[Operator]] = {}
"""Operator name → class, for every operator that Octolite knows."""


@dataclass_transform(frozen_default=True)
class Operator(ABC):
    """An operator with its attributes; instances are immutable and compare by value."""

    name: ClassVar[str]
    options: ClassVar[str | None] = None
    inputs: ClassVar[str]
    outputs: ClassVar[str] = "output"
    quant: ClassVar[QuantRule] = QuantRule()
    integer_types: ClassVar[Collection[DType]] = ()
    """Types of codes for which ``integer`` has the bits of TFLite's reference kernels."""
    kinds: ClassVar[str] = NUMBERS
    """Kinds of the types that inputs without scales may have."""
    plain_types: ClassVar[Collection[DType]] = ()
    """Types of codes that TFLite's kernels take for plain integers, whatever their scales."""
    data_input: ClassVar[int] = 0
    """The input that is computed on, where others come first."""
    stateful: ClassVar[bool] = False
    """The results depend on more than the inputs, or a run changes more than the results."""
    view: ClassVar[bool] = False
    """The result is the first input's elements, unchanged, in another shape."""
    shape_only: ClassVar[bool] = False
    """The result depends on the first input's shape alone (SHAPE, RANK)."""
    custom: ClassVar[bool] = False
    packed: ClassVar[str] = ""
    """A custom operator's attributes as bytes, in the words of ``struct``; else a FlexBuffer."""
    nonnegative: ClassVar[Literal["always", "kept"] | None] = None
    """No result is ever negative, or none is where no float input is. (NaN is not negative.)"""
    spread: ClassVar[Literal["sums", "kept", "added", "other"]] = "kept"
    """Results are sums of many products, which lie like a bell around 0; or lie as inputs do; or
    do so unless an input is non-negative, so that sums pile up above 0; or crowd elsewhere."""
    bounded: ClassVar[bool] = False
    """Results crowd at an upper bound that the operator sets."""
    keeps_absent: ClassVar[bool] = False  # absent inputs are marked in a file even at the end
    dtype_versions: ClassVar[Mapping[DType, int]] = {}
    cases: ClassVar[Sequence[Case]]
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Fields only: code generated for two hundred classes would be a fifth of what importing
        # takes, so that making, comparing and printing are written once, below.
        dataclass(init=False, eq=False, repr=False)(cls)
        cls._defaults = {f.name: f.default for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if abstract:
            return
        for part in ("name", "inputs", "infer", "cases"):
            if not hasattr(cls, part):
                raise TypeError(f"operator class {cls.__name__} declares no {part}")
        if cls.reference is Operator.reference and cls.run is Operator.run:
            raise TypeError(f"operator class {cls.__name__} has no reference")
        if not cls.cases:
            raise TypeError(f"operator class {cls.__name__} has no cases")
        if cls.name in REGISTRY and REGISTRY[cls.name].__qualname__ != cls.__qualname__:
            raise TypeError(f"operator {cls.name} is declared twice")
        unknown = set(cls.quant.weights) - {p.name for p in Parameter.parse(cls.inputs)}
        if unknown:
            raise TypeError(f"operator class {cls.__name__}: no input called {sorted(unknown)}")
        REGISTRY[cls.name] = cls

    def __init__(self, **given: Any) -> None:
        unknown = given.keys() - self._defaults.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no attribute {', '.join(sorted(unknown))}")
        self.__dict__.update(self._defaults | given)

    def __setattr__(self, name: str, value: Any) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *(self.__dict__[name] for name in self._defaults)))

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self._defaults)
        return f"{type(self).__qualname__}({given})"

    # -- what a subclass gives ----------------------------------------------------------------

    def infer(self, *inputs: Any) -> Sequence[TensorType]:
        """The dtype and shape of each result; unknown extents stay ``None``.

        Raises :class:`ShapeError` where the inputs do not fit.
        """
        raise ShapeError(f"{self.name} declares no shape rule")

    def reference(self, *arrays: Any) -> Any:
        """The results in NumPy, for float and plain integer tensors: an array or a tuple."""
        raise UnsupportedError(f"{self.name} has no reference for these types")

    def hybrid(self, inputs: Sequence[Operand | None], *arrays: Any) -> Any:
        """The results for int8 weights and float activations."""
        raise UnsupportedError(f"{self.name} has no hybrid form")

    def integer(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand], *arrays: Any
    ) -> Any:
        """The results, as codes, of codes; see ``integer_types``."""
        raise UnsupportedError(f"{self.name} has no integer form")

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.AnyRequest | None:
        """What to ask of the compiled kernels for these inputs, or ``None``: the reference runs."""
        return None

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> spec.AnyRequest | None:
        """What to ask of the kernels where :meth:`is_integer` holds, or ``None``."""
        return None

    def geometry(self, inputs: Sequence[Operand | None]) -> dict[str, Any] | None:
        """Arguments of the kernel's ``launch``, beside or in place of the first input's shape.

        ``None``: they depend on the data of an input that is not known yet.
        """
        return {}

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        """The operator version that a run time must know for these tensors.

        Unless an operator says more, that is what ``dtype_versions`` has for its first input.
        """
        first = inputs[0] if inputs else None
        return 1 if first is None else self.dtype_versions.get(first.dtype, 1)

    def states(self, inputs: Sequence[Operand | None]) -> Mapping[str, Shape]:
        """The shape of each variable among the inputs, by name, as the other inputs ask for it."""
        return {}

    def settle(self: Self, outputs: Sequence[Operand]) -> Self:
        """The operator as it reads from a file that gives its results the types of ``outputs``.

        For the few that keep a dtype there and not (or not reliably) in their options.
        """
        return self

    def lent(self) -> Sequence[Intermediate]:
        """The intermediate tensors that a file has for the operator."""
        return ()

    def lend(self: Self, intermediates: Sequence[Intermediate]) -> Self:
        """The operator with intermediate tensors, for the few that have some."""
        return self

    # -- what follows from it -----------------------------------------------------------------

    @classmethod
    @cache
    def attribute_list(cls) -> tuple[Attribute, ...]:
        """The attributes that the options table holds, in the order of their declaration."""
        return tuple(
            Attribute(f.name, f.metadata.get("name") or camel_case(f.name), f.default)
            for f in dataclasses.fields(cls)  # type: ignore[arg-type]
            if f.metadata.get("stored", True)
        )

    def attributes(self) -> dict[str, Any]:
        """Every attribute with its value."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]

    def replace(self: Self, **changes: Any) -> Self:
        """The same operator with some attributes changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    @classmethod
    def input_parameters(cls) -> tuple[Parameter, ...]:
        return Parameter.parse(cls.inputs)

    @classmethod
    def input_index(cls, name: str) -> int:
        return [p.name for p in cls.input_parameters()].index(name)

    def check_arity(self, inputs: int, outputs: int | None = None) -> None:
        """Raise :class:`ShapeError` when so many inputs, or results, cannot be right."""
        if not _may_be(self.input_parameters(), inputs):
            raise ShapeError(f"{self.name} takes ({self.inputs}) and was given {inputs} inputs")
        if outputs is not None and not _may_be(Parameter.parse(self.outputs), outputs):
            raise ShapeError(f"{self.name} gives ({self.outputs}) and is to give {outputs} results")

    def check_kinds(self, inputs: Sequence[Operand | None]) -> None:
        """Raise :class:`ShapeError` where the operator means nothing for the type of an input."""
        for v in inputs:
            if v is not None and v.quant is None and v.dtype.kind not in self.kinds:
                raise ShapeError(f"{self.name} is not defined for {v.name!r}, which is {v.dtype}")

    def is_hybrid(self, inputs: Sequence[Operand | None]) -> bool:
        """Whether these inputs are float activations with weights that ``hybrid`` can take.

        Those are symmetric signed integers with one scale, or one for each channel. Weights
        quantized in another way are dequantized.
        """
        if not self.quant.hybrid or not inputs or inputs[0] is None:
            return False
        weights = [(inputs[self.input_index(n)], axis) for n, axis in self.quant.weights.items()]
        return inputs[0].dtype.is_float and any(is_symmetric(w, axis) for w, axis in weights)

    def is_integer(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> bool:
        """Whether ``integer`` takes these tensors: codes with one scale give codes of their type.

        Everything else that has scales goes through real numbers.
        """
        x = inputs[self.data_input] if len(inputs) > self.data_input else None
        if x is None or x.dtype not in self.integer_types:
            return False
        tensors = [v for v in (*inputs, *outputs) if v is not None]
        return (
            all(v.quant is not None for v in tensors if v.dtype in CODES)
            and all(v.dtype is x.dtype or v.dtype not in CODES for v in outputs)
            and not any(v.dtype.is_float for v in tensors)
            and not any(v.quant.per_channel for v in (x, *outputs) if v.quant is not None)
        )

    def passes_codes(self) -> bool:
        """Whether the reference may work on integer codes as they are."""
        return self.quant.same_scale

    def gives_nonnegative(self, inputs: Iterable[bool]) -> bool:
        """Whether no result can be negative. ``inputs``: the same of each input, looked at only
        where it matters; true for one that is not float."""
        last = None if self.stateful else getattr(self, "activation", None)
        if self.nonnegative == "always" or last in (Activation.RELU, Activation.RELU6):
            return True
        return (self.nonnegative == "kept" or self.quant.same_scale) and all(inputs)

    @property
    def sets_bound(self) -> bool:
        """Whether results crowd at an upper bound that the operator, or its activation, sets."""
        last = Activation.NONE if self.stateful else getattr(self, "activation", Activation.NONE)
        return self.bounded or last not in (Activation.NONE, Activation.RELU)

    def takes_arrays_as_they_are(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> bool:
        """Whether nothing needs to be dequantized: there are no scales, or codes are moved or taken
        for plain integers, which TFLite's kernels do whatever scales they have."""
        scaled = [v for v in (*inputs, *outputs) if v is not None and v.quant is not None]
        dtypes = {v.dtype for v in scaled}
        if not scaled:
            return True
        if self.passes_codes() and all(v.quant == scaled[0].quant for v in scaled):
            return True
        if len(dtypes) > 1 or dtypes <= set(self.integer_types):
            return False
        return self.passes_codes() or dtypes <= set(self.plain_types)

    def run(
        self,
        arrays: Sequence[Array | None],
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
    ) -> tuple[Array, ...]:
        """Compute the results from ``arrays``, as the types of ``inputs`` and ``outputs`` ask.

        Codes are computed on in integers where the operator can do that (``integer_types``), or
        pass where all have one scale. Otherwise they go through the float reference, a code at
        most away from integer arithmetic. NaN and Inf come about silently, as in compiled code.
        Raises :class:`RuntimeModelError` for arrays that do not fit, where no shape rule has found
        them out before.
        """
        try:
            with np.errstate(all="ignore"):
                return self._run(arrays, inputs, outputs)
        except (ArithmeticError, IndexError, MemoryError, TypeError, ValueError) as error:
            if isinstance(error, OctoliteError):
                raise
            shapes = ", ".join("none" if a is None else str(a.shape) for a in arrays)
            raise RuntimeModelError(
                f"{self.name} cannot take inputs of the shapes {shapes}: {error}"
            ) from error

    def _run(
        self,
        arrays: Sequence[Array | None],
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
    ) -> tuple[Array, ...]:
        self.check_kinds(inputs)
        if self.is_hybrid(inputs):
            return _as_tuple(self.hybrid(inputs, *arrays))
        if self.is_integer(inputs, outputs):
            return _as_tuple(self.integer(inputs, outputs, *arrays))
        if self.takes_arrays_as_they_are(inputs, outputs):
            return _narrowed(_as_tuple(self.reference(*arrays)), outputs)
        reals = [
            numerics.dequantize(a, v.quant) if a is not None and v is not None and v.quant else a
            for a, v in zip(arrays, inputs, strict=True)
        ]
        results = _as_tuple(self.reference(*reals))
        return tuple(
            numerics.quantize(r, v.quant, v.dtype.numpy) if v.quant else r
            for r, v in zip(results, outputs, strict=True)
        )

    def fold(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> tuple[Array, ...] | None:
        """The results, when they follow from what is known of the inputs; otherwise ``None``."""
        if self.stateful or not inputs:
            return None
        if self.shape_only:
            source = inputs[0]
            shape = None if source is None else source.shape
            if source is None or shape is None or None in shape:
                return None
            # One element seen everywhere stands for the array: only its extents matter.
            array = np.broadcast_to(np.zeros((), source.dtype.numpy), [d or 0 for d in shape])
            return self.run([array], inputs, outputs)
        if any(v is not None and v.data is None for v in inputs):
            return None
        return self.run([None if v is None else v.data for v in inputs], inputs, outputs)


Self = TypeVar("Self", bound=Operator)


def camel_case(name: str) -> str:
    """``fused_activation`` → ``FusedActivation``, as FlatBuffer accessors are called."""
    return "".join(part.capitalize() for part in name.split("_"))


def operator_class(name: str) -> type[Operator]:
    """The class of the operator called ``name``. Raises :class:`UnsupportedError`."""
    try:
        return REGISTRY[name]
    except KeyError:
        hint = did_you_mean(name, REGISTRY)
        raise UnsupportedError(f"operator {name} is not supported. {hint}") from None


def is_symmetric(weight: Operand | None, axis: int | None) -> bool:
    """Whether ``weight`` holds codes around 0 with one scale, or one for each slice on ``axis``."""
    if weight is None or weight.quant is None or weight.dtype not in (INT8, INT4, INT2):
        return False
    quant = weight.quant
    return not quant.zero_point.any() and (not quant.per_channel or quant.axis == axis)


def weight_quant(inputs: Sequence[Operand | None], index: int) -> Quant:
    """The quantization of the weight that is input ``index`` of a hybrid operator."""
    operand = inputs[index]
    if operand is None or operand.quant is None:
        raise ShapeError(f"input {index} should hold quantized weights and has no scale")
    return operand.quant


def _may_be(parameters: Sequence[Parameter], count: int) -> bool:
    """Whether ``count`` tensors can stand for ``parameters``."""
    least = sum(not (p.optional or p.variadic) for p in parameters)
    return count >= least and (any(p.variadic for p in parameters) or count <= len(parameters))


def _narrowed(results: tuple[Array, ...], outputs: Sequence[Operand]) -> tuple[Array, ...]:
    """Floats that NumPy has widened, in the types that the results are to have."""
    if not outputs:
        return results
    return tuple(
        r.astype(v.dtype.numpy)
        if v.dtype.bits == 16 and v.dtype.is_float and r.dtype == "f4"
        else r
        for r, v in zip(results, outputs, strict=True)
    )


def _as_tuple(results: Any) -> tuple[Array, ...]:
    items: Iterable[Any] = results if isinstance(results, tuple | list) else (results,)
    # NumPy gives a string, not an array, where a part of an array of strings has one element.
    return tuple(np.asarray(r, object if isinstance(r, bytes) else None) for r in items)
