"""What is done once when a model is loaded: constants evaluated, weights packed, kernels built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from octolite.errors import MISFITS, InvalidGraphError, OctoliteError
from octolite.ir import numerics
from octolite.ir.graph import Graph, Node, Value
from octolite.ir.mapped import release
from octolite.ir.types import Array, Operand
from octolite.kernels import spec
from octolite.kernels.expression import Expression
from octolite.ops.base import Operator
from octolite.ops.elementwise import Elementwise
from octolite.runtime import residual
from octolite.runtime.budget import Budget, check_memory, check_results, size_of
from octolite.runtime.fuse import fuse
from octolite.runtime.signs import finer_values, rectified_values

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
    reads: tuple[str, ...] | None = None
    """Names of the inputs that the kernel reads while it runs, where it holds the others itself."""
    declared: bool = False
    """The kernel was made for results of the types that the model declares."""

    @property
    def infers(self) -> bool:
        """Whether the kernel writes what the shape rule says, whatever the model declares."""
        return self.kernel is not None and not self.declared

    @property
    def read_inputs(self) -> list[Value]:
        """The inputs that the kernel reads while it runs."""
        inputs: Sequence[Value | None] = self.node.inputs
        if self.reads is not None:
            inputs = [inputs[self.op.input_index(name)] for name in self.reads]
        return [v for v in inputs if v is not None]


@dataclass(slots=True)
class Prepared:
    """A graph whose constant part has been evaluated; it does not depend on any extent."""

    graph: Graph
    units: list[Unit] = field(default_factory=list)
    known: dict[int, Array] = field(default_factory=dict)
    """Value id → array, for constants and for everything computed from constants alone."""
    rectified: frozenset[int] = frozenset()
    """Ids of values that are never negative, and not spread evenly."""
    finer: frozenset[int] = frozenset()
    """Of these, the ones whose blocks of channels have much finer ranges than the whole."""
    apart: bool = False
    """Every node is a unit of its own, and every tensor keeps its memory."""
    once: list[Unit] = field(default_factory=list)
    """What is to be done before the first run of ``units`` alone."""
    variables: Mapping[tuple[str, str, str], Value] = field(default_factory=dict)
    """Named variables that units use as tensors (:mod:`octolite.runtime.variables`)."""


def prepare(
    graph: Graph, hybrid: Hybrid = "auto", budget: Budget | None = None, apart: bool = False
) -> Prepared:
    """Evaluate what is constant and build a kernel for every node that has one.

    ``apart``: no node is joined to another, and no tensor takes another's memory.

    Raises what an operator raises for constants that do not fit it, with the node named, and
    :class:`RuntimeModelError` when what is evaluated or packed takes more than ``budget`` has left.
    """
    known = {id(v): v.data for v in graph.constants() if v.data is not None}
    budget = budget or Budget()
    prepared = Prepared(graph, known=known, apart=apart)
    prepared.rectified = rectified_values(graph)
    prepared.finer = finer_values(graph, prepared.rectified)
    additions = {} if apart else residual.additions(graph)
    sums: dict[int, Unit] = {}
    for node in graph.nodes:
        results = _evaluated(prepared, node, budget)
        if results is not None:
            known.update(zip(map(id, node.outputs), results, strict=True))
        elif id(node) in sums:
            prepared.units.append(sums[id(node)])
        else:
            addition = additions.get(id(node))
            unit = naming(node, _unit, prepared, node, node.op, hybrid, addition, budget)
            if unit.node is node:
                prepared.units.append(unit)
            else:
                assert addition is not None
                sums[id(addition)] = unit
    if not apart:
        prepared.units = fuse(graph, prepared.units)
    return prepared


def _evaluated(prepared: Prepared, node: Node, budget: Budget) -> tuple[Array, ...] | None:
    """The results of a node that follow from what is known, counted before they are made."""
    op = node.op
    assert isinstance(op, Operator)
    operands = _operands(prepared, node)
    if operands and all(v is None or v.data is not None for v in operands):
        types = naming(node, op.infer, *operands)
        check_results(node, types)
        budget.take(f"{node}, evaluated when the model is loaded,", size_of(types))
    return naming(node, op.fold, operands, node.outputs)


def naming(node: Node, function: Callable[..., T], *arguments: Any) -> T:
    """Call ``function``; what it raises names the node, and is an Octolite error in any case.

    Operators check what people get wrong. That a damaged file declares tensors which make no
    sense at all shows in NumPy's own words; here they become an :class:`InvalidGraphError`.
    """
    try:
        return function(*arguments)
    except OctoliteError as error:
        raise type(error)(f"{node}: {error}") from error
    except MISFITS as error:
        raise InvalidGraphError(
            f"{node} does not fit the tensors that the model declares for it: {error!r}"
        ) from error


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


def _operands(prepared: Prepared, node: Node) -> list[Operand | None]:
    return [None if v is None else Known(v, prepared.known.get(id(v))) for v in node.inputs]


def _unit(
    prepared: Prepared,
    node: Node,
    op: Operator,
    hybrid: Hybrid,
    addition: Node | None,
    budget: Budget,
) -> Unit:
    operands = _operands(prepared, node)
    request, choice = _request(prepared, node, op, addition), "float"
    own: list[Value] = []
    if op.is_hybrid(operands):
        stays, choice = choose(request, hybrid)
        if not stays:
            own = _dequantize_weights(prepared, node, op, budget)
            operands = _operands(prepared, node)
            request = _request(prepared, node, op, addition)
    as_they_are = op.takes_arrays_as_they_are(operands, node.outputs)
    coded = None
    if op.is_integer(operands, node.outputs):
        coded, choice = op.integer_kernel(operands, node.outputs), "integer"
        request = request if as_they_are and coded is None else coded
    elif isinstance(op, Elementwise) and not as_they_are:
        request = op.on_codes(operands, node.outputs)
    keeps = coded is not None or _keeps_codes(op, request, operands, node.outputs)
    if request is None or not keeps:
        return Unit(node, op, None, f"{choice}; no compiled kernel for these types")
    held = {name for name, _ in request.shapes()}
    inputs = dict(zip((p.name for p in op.input_parameters()), operands, strict=False))
    for name, operand in inputs.items():
        if name in held and operand is not None and operand.data is None:
            return Unit(node, op, None, f"{choice}; no compiled kernel for a {name} that changes")
    from octolite.kernels import select
    from octolite.kernels.pack import charging

    constants = {
        name: spec.Constant(v.data, None if v.quant is None else v.quant.scale)
        for name, v in inputs.items()
        if name in held and v is not None and v.data is not None
    }
    with charging(partial(budget.take, f"{op.name}, with its constants packed,")):
        kernel = select.build(request, constants)
    _forget(prepared, own)
    for constant in constants.values():
        release(constant.data)
    unit = Unit(
        node, op, kernel, choice, request.reads, isinstance(request, Expression | spec.Table)
    )
    if addition is not None and isinstance(request, spec.Conv2D) and request.residual:
        return residual.join(unit, addition)
    return unit


def _request(
    prepared: Prepared, node: Node, op: Operator, addition: Node | None
) -> spec.AnyRequest | None:
    """What the operator asks of the kernels, and what only the graph knows of its inputs."""
    request = op.kernel(_operands(prepared, node))
    if isinstance(request, spec.Conv2D) and id(node.inputs[0]) in prepared.rectified:
        finer = id(node.inputs[0]) in prepared.finer
        request = replace(request, rectified=True, finer_blocks=finer)
    if isinstance(request, spec.Conv2D) and addition is not None:
        return residual.request(request, addition)
    return request


def _keeps_codes(
    op: Operator,
    request: spec.AnyRequest | None,
    inputs: Sequence[Operand | None],
    outputs: Sequence[Operand],
) -> bool:
    """Whether a request suits what these tensors hold: codes may be moved, and an expression gives
    what the result is declared to be."""
    match request:
        case spec.Lookup(scaled=True):
            return outputs[0].quant is None
        case Expression():
            return request.dtype is outputs[0].dtype
        case spec.Copy() | spec.Lookup() | spec.Reduce(kind="max" | "min"):
            return op.takes_arrays_as_they_are(inputs, outputs)
    return True


def _forget(prepared: Prepared, own: Sequence[Value]) -> None:
    """Leave nothing but the shapes of weights that a kernel has packed."""
    for value in own:
        prepared.known[id(value)] = _extents_only(prepared.known[id(value)])


def _dequantize_weights(
    prepared: Prepared, node: Node, op: Operator, budget: Budget
) -> list[Value]:
    """Let ``node`` read its weights as floats, computed here once; returns the new values."""
    made = []
    for name in op.quant.weights:
        index = op.input_index(name)
        weights = node.inputs[index]
        if weights is None or weights.quant is None or weights.data is None:
            continue
        size = 4 * weights.data.size
        check_memory(f"{weights.name!r} in float", budget.taken + size, budget.limit)
        real = Value.constant(weights.name, numerics.dequantize(weights.data, weights.quant))
        assert real.data is not None
        release(weights.data)
        prepared.known[id(real)] = real.data
        real.data = _extents_only(real.data)
        node.set_input(index, real)
        made.append(real)
    return made


def _extents_only(array: Array) -> Array:
    """Stands for weights that a kernel has packed: the shape, without the memory."""
    return np.broadcast_to(np.zeros((), array.dtype), array.shape)


def choose(request: spec.AnyRequest | None, hybrid: Hybrid) -> tuple[bool, str]:
    """Whether a layer with int8 weights runs in int8, and why."""
    if hybrid == "always":
        return True, "hybrid: asked for"
    if hybrid == "never":
        return False, "float: asked for, weights dequantized once"
    if isinstance(request, spec.Lookup):
        return True, "hybrid: only the rows that are read become real"
    if request is None or not request.hybrid:
        return False, "float: no compiled hybrid kernel, weights dequantized once"
    from octolite.kernels import select

    pays, reason = select.hybrid_pays(request)
    return pays, f"{'hybrid' if pays else 'float'}: {reason}"
