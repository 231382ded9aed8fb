"""TensorFlow's nodes: what they read, and their attributes by type."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from octolite.errors import FormatError, InvalidGraphError, UnsupportedError
from octolite.frontends.graphdef.tensors import TfType, array_of, shape_of, tf_type
from octolite.ir.types import Array, DType, Shape

T = TypeVar("T")


class Ref(NamedTuple):
    """Result number ``output`` of the node called ``name``."""

    name: str
    output: int = 0

    @classmethod
    def parse(cls, text: str) -> Ref:
        """From ``node`` or ``node:1``."""
        name, colon, index = text.rpartition(":")
        if colon and index.isdecimal() and len(index) < 7:
            return cls(name, int(index))
        return cls(text)

    def __str__(self) -> str:
        return f"{self.name}:{self.output}" if self.output else self.name


class Attributes:
    """A node's attributes by type. What is missing without a default, or of another type than
    asked for, raises :class:`InvalidGraphError`."""

    def __init__(self, name: str, op_type: str, attr: Any, scope: Any = None) -> None:
        self.name = name
        self.op_type = op_type
        self.attr = attr
        self.scope = scope  # the attributes of the call whose function body holds the node

    def __repr__(self) -> str:
        return f"node {self.name!r} ({self.op_type})"

    def _get(self, name: str, kind: str, default: Any) -> Any:
        found = self.attr.get(name)
        if found is not None and found.WhichOneof("value") == "placeholder":
            stand_in, scope = found.placeholder, self.scope
            found = scope[stand_in] if scope is not None and stand_in in scope else None
        if found is None:
            if default is None:
                raise InvalidGraphError(f"{self!r} has no attribute {name!r}")
            return default
        if found.WhichOneof("value") != kind:
            holds = found.WhichOneof("value") or "nothing"
            raise InvalidGraphError(f"{self!r}: attribute {name!r} holds {holds}, expected {kind}")
        return getattr(found, kind)

    def has(self, name: str) -> bool:
        return name in self.attr

    def integer(self, name: str, default: int | None = None) -> int:
        return int(self._get(name, "i", default))

    def number(self, name: str, default: float | None = None) -> float:
        return float(self._get(name, "f", default))

    def flag(self, name: str, default: bool | None = None) -> bool:
        return bool(self._get(name, "b", default))

    def text(self, name: str, default: str | None = None) -> str:
        found = self._get(name, "s", default)
        return found if isinstance(found, str) else found.decode(errors="replace")

    def choice(self, name: str, choices: Mapping[str, T], default: str | None = None) -> T:
        """What ``choices`` has for the attribute's text."""
        text = self.text(name, default)
        if text not in choices:
            known = ", ".join(choices)
            raise UnsupportedError(f"{self!r}: {name} is {text!r}, supported: {known}")
        return choices[text]

    def ints(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        found = self._get(name, "list", default)
        return [int(i) for i in (found.i if hasattr(found, "i") else found)]

    def tf_type(self, name: str, default: int | None = None) -> TfType:
        try:
            return tf_type(self._get(name, "type", default))
        except UnsupportedError as error:
            raise UnsupportedError(f"{self!r}: {error}") from None

    def dtype(self, name: str, default: int | None = None) -> DType:
        return self.tf_type(name, default).dtype

    def shape(self, name: str) -> Shape | None:
        """The shape, or ``None`` when the attribute is missing or its rank is unknown."""
        return shape_of(self._get(name, "shape", None)) if self.has(name) else None

    def array_attribute(self, name: str) -> Array:
        try:
            return array_of(self._get(name, "tensor", None))
        except FormatError as error:
            raise InvalidGraphError(f"{self!r}: {error}") from None

    def element_count(self, name: str) -> int:
        """How many elements a tensor attribute claims to have."""
        return math.prod(d.size for d in self._get(name, "tensor", None).tensor_shape.dim)

    def unwritten_bytes(self, name: str) -> int:
        """The size of a tensor attribute that repeats one value, 0 of one that lists them all."""
        tensor = self._get(name, "tensor", None)
        return 0 if tensor.tensor_content else max(0, self.element_count(name)) * 8

    def function(self, name: str) -> str:
        """The name of the function that an attribute refers to."""
        return str(self._get(name, "func", None).name)

    def functions(self, name: str) -> list[str]:
        """The names of the functions that an attribute lists."""
        return [str(f.name) for f in self._get(name, "list", None).func]


class TfNode(Attributes):
    """One TensorFlow node.

    Attributes:
        inputs: the results that it reads.
        controls: names of the nodes that must have run before it.
        depth: how many function calls it lies in.
        regions: for a loop its condition and body, for a conditional its branches.
    """

    def __init__(
        self, name: str, op_type: str, attr: Any, inputs: list[Ref], controls: list[str],
        scope: Any = None, depth: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(name, op_type, attr, scope)
        self.inputs = inputs
        self.controls = controls
        self.depth = depth
        self.regions: tuple[Region, ...] = ()

    def result_count(self) -> int:
        """How many results the node has, for the operators that may have several."""
        match self.op_type:
            case "Split" | "SplitV":
                return self.integer("num_split")
            case "Unpack":
                return self.integer("num")
            case "IdentityN":
                return len(self.inputs)
            case "While" | "StatelessWhile":
                return len(self._get("T", "list", None).type)
            case (
                "PartitionedCall" | "StatefulPartitionedCall" | "If" | "StatelessIf" | "Case"
                | "StatelessCase"
            ):  # fmt: skip
                return len(self._get("Tout", "list", None).type)
            case "TopKV2" | "Unique":
                return 2
        return 1


@dataclass(frozen=True)
class Region:
    """Nodes that run as often as a loop or a conditional says, and where they begin and end.

    Attributes:
        parameters: results that each run is given.
        results: what each run gives.
        order: the nodes that depend on the parameters, each after its inputs. All others need
            to run only once, before the region.
        captures: results from outside that are read inside.
    """

    parameters: tuple[Ref, ...]
    results: tuple[Ref, ...]
    order: tuple[TfNode, ...]
    captures: tuple[Ref, ...]
