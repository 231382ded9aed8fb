"""What is done once when a model is loaded: constants evaluated, weights packed, kernels built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from octolite.errors import OctoliteError
from octolite.ir import numerics
from octolite.ir.graph import Graph, Node, Value
from octolite.ir.types import Array, Operand
from octolite.kernels import spec
from octolite.ops.base import Operator

if TYPE_CHECKING:
    from octolite.kernels.select import Kernel

Hybrid = Literal["auto", "always", "never"]
T = TypeVar("T")
HYBRID_MODES: tuple[Hybrid, ...] = ("auto", "always", "never")


@dataclass(slots=True)
class Unit:
    """One node, ready to be placed in a plan; ``kernel`` is ``None`` where the reference runs."""

    node: Node
    op: Operator
    kernel: Kernel | None
    choice: str
    """Why it runs the way it does, for the profile."""


@dataclass(slots=True)
class Prepared:
    """A graph whose constant part has been evaluated; it does not depend on any extent."""

    graph: Graph
    units: list[Unit] = field(default_factory=list)
    known: dict[int, Array] = field(default_factory=dict)
    """Value id → array, for constants and for everything computed from constants alone."""


def prepare(graph: Graph, hybrid: Hybrid = "auto") -> Prepared:
    """Evaluate what is constant and build a kernel for every node that has one.

    Raises what an operator raises for constants that do not fit it, with the node named.
    """
    known = {id(v): v.data for v in graph.constants() if v.data is not None}
    prepared = Prepared(graph, known=known)
    for node in graph.nodes:
        op = node.op
        assert isinstance(op, Operator)
        operands = [None if v is None else Known(v, known.get(id(v))) for v in node.inputs]
        results = naming(node, op.fold, operands, node.outputs)
        if results is None:
            prepared.units.append(_unit(prepared, node, op, operands, hybrid))
        else:
            known.update(zip(map(id, node.outputs), results, strict=True))
    return prepared


def naming(node: Node, function: Callable[..., T], *arguments: Any) -> T:
    """Call ``function``; whatever it raises on purpose then names the node."""
    try:
        return function(*arguments)
    except OctoliteError as error:
        raise type(error)(f"{node}: {error}") from error


@dataclass(frozen=True, slots=True)
class Known:
    """A value as an operand whose data includes what preparation has computed."""

    value: Value
    data: Array | None

    name = property(lambda self: self.value.name)
    dtype = property(lambda self: self.value.dtype)
    quant = property(lambda self: self.value.quant)

    @property
    def shape(self) -> tuple[int | None, ...] | None:
        return self.value.shape if self.data is None else self.data.shape


def _unit(
    prepared: Prepared, node: Node, op: Operator, operands: Sequence[Operand | None], hybrid: Hybrid
) -> Unit:
    request = op.kernel(operands)
    if request is None:
        return Unit(node, op, None, "reference: no compiled kernel for these types")
    weight = node.inputs[1]
    assert weight is not None
    weights = prepared.known[id(weight)]
    scale = weight.quant.scale if weight.quant is not None else None
    choice = "float weights"
    if request.hybrid:
        use_hybrid, choice = choose(request, hybrid)
        if not use_hybrid:
            assert weight.quant is not None
            request = replace(request, hybrid=False)
            weights, scale = numerics.dequantize(weights, weight.quant), None
    bias_value = node.inputs[2] if len(node.inputs) > 2 else None
    if bias_value is not None and id(bias_value) not in prepared.known:
        return Unit(node, op, None, "reference: the bias is not constant")
    bias = None if bias_value is None else prepared.known[id(bias_value)]
    from octolite.kernels.select import build

    return Unit(node, op, build(request, weights, bias, scale), choice)


def choose(request: spec.Request, hybrid: Hybrid) -> tuple[bool, str]:
    """Whether a layer with int8 weights runs in int8, and why."""
    if hybrid == "always":
        return True, "hybrid: asked for"
    if hybrid == "never":
        return False, "float: asked for; weights dequantized once"
    if isinstance(request, spec.DepthwiseConv2D):
        return False, "float: a depthwise product is bound by loads, not by arithmetic"
    return True, "hybrid: int8 products cost less than float ones"
