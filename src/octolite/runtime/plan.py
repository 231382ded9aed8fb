"""Where everything goes once the inputs' shapes are known: shapes, memory and order of work.

A plan is made by walking the units once with concrete shapes. Whatever can be known without
running (shape arithmetic, say) is evaluated here. Tensors with a known size live in the arena;
those whose size depends on data are made while the model runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from octolite.errors import RuntimeModelError, ShapeError
from octolite.ir.graph import Graph, Value
from octolite.ir.types import Array, DType, Quant, Shape
from octolite.ops.shapes import product
from octolite.runtime.arena import FOREVER, Block, align, assign
from octolite.runtime.prepare import Prepared, Unit, naming

if TYPE_CHECKING:
    from octolite.kernels.launch import Launch

MEMORY_LIMIT = 2 * 2**30
"""Bytes that an arena may take when nothing else is said."""


@dataclass(slots=True)
class Slot:
    """A tensor while the model runs: an operand whose shape, and perhaps data, is known."""

    name: str
    dtype: DType
    shape: Shape | None
    quant: Quant | None = None
    data: Array | None = None

    @property
    def extents(self) -> tuple[int, ...] | None:
        """The shape when all of it is known."""
        if self.shape is None or None in self.shape:
            return None
        return tuple(d for d in self.shape if d is not None)

    @property
    def nbytes(self) -> int | None:
        """Bytes in memory; ``None`` when the shape is not known or the dtype has no fixed size."""
        extents = self.extents
        if extents is None or self.dtype.kind in "so":
            return None
        count = 1
        for d in extents:
            count *= d
        return count * self.dtype.numpy.itemsize


@dataclass(slots=True)
class Step:
    """One unit in its place; ``launch`` is set where a kernel runs it with shapes known now."""

    unit: Unit
    launch: Launch | None = None


@dataclass(slots=True)
class Plan:
    """The order of work, every tensor's type, and an offset for those in the arena."""

    graph: Graph
    slots: dict[int, Slot]
    steps: list[Step] = field(default_factory=list)
    offsets: dict[int, int] = field(default_factory=dict)
    scratch_offset: int = 0
    arena_bytes: int = 0


def make_plan(
    prepared: Prepared,
    shapes: Mapping[int, tuple[int, ...]],
    threads: int,
    memory_limit: int = MEMORY_LIMIT,
) -> Plan:
    """Plan ``prepared`` for inputs of ``shapes`` (value id → extents).

    Raises:
        ShapeError: these shapes do not fit an operator; the node is named.
        RuntimeModelError: the tensors would take more than ``memory_limit`` bytes.
    """
    graph = prepared.graph
    plan = Plan(graph, {})
    for value in graph.values():
        data = prepared.known.get(id(value))
        shape = data.shape if data is not None else shapes.get(id(value), value.shape)
        plan.slots[id(value)] = Slot(value.name, value.dtype, shape, value.quant, data)
    for unit in prepared.units:
        _size_states(plan, unit)
        if not _fold(plan, unit):
            tensors = [plan.slots[id(v)] for v in (*unit.node.inputs, *unit.node.outputs) if v]
            _check_memory(unit.node, sum(s.nbytes or 0 for s in tensors), memory_limit)
            plan.steps.append(_place(plan, unit, threads))
    _lay_out(plan)
    _check_memory(f"graph {graph.name!r}", plan.arena_bytes, memory_limit)
    return plan


def _check_memory(what: object, needed: int, limit: int) -> None:
    if needed > limit:
        raise RuntimeModelError(
            f"{what} would need {needed:,} bytes for its tensors, over the limit of {limit:,}; "
            "use smaller inputs, or give the Interpreter a larger memory_limit"
        )


def _operands(plan: Plan, unit: Unit) -> list[Slot | None]:
    return [None if v is None else plan.slots[id(v)] for v in unit.node.inputs]


def _size_states(plan: Plan, unit: Unit) -> None:
    """Give variables a row for each sequence, whatever batch the file was written for."""
    operands = _operands(plan, unit)
    for name, shape in unit.op.states(operands).items():
        state = operands[unit.op.input_index(name)]
        if state is not None and None not in shape and product(state.shape or ()) != product(shape):
            state.shape = shape


def _fold(plan: Plan, unit: Unit) -> bool:
    """Infer the results' shapes; evaluate the unit now if its results can be known."""
    operands = _operands(plan, unit)
    types = naming(unit.node, unit.op.infer, *operands)
    results = [plan.slots[id(v)] for v in unit.node.outputs]
    if len(types) != len(results):
        raise ShapeError(f"{unit.node} has {len(types)} results and the model names {len(results)}")
    for slot, found in zip(results, types, strict=True):
        slot.shape = found.shape
    outcome = naming(unit.node, unit.op.fold, operands, results)
    if outcome is None:
        return False
    for slot, array in zip(results, outcome, strict=True):
        slot.data, slot.shape = array, array.shape
    return True


def _place(plan: Plan, unit: Unit, threads: int) -> Step:
    results = [plan.slots[id(v)] for v in unit.node.outputs]
    if any(r.extents is None for r in results):
        return Step(unit)
    launch = naming(unit.node, launch_of, unit, _operands(plan, unit), threads)
    return Step(unit, launch)


def launch_of(unit: Unit, operands: Sequence[Slot | None], threads: int) -> Launch | None:
    """The kernel's launch for these operands; ``None`` without a kernel, or while the operands do
    not tell all that it takes."""
    if unit.kernel is None or not operands or operands[0] is None:
        return None
    if any(v is not None and v.extents is None for v in operands):
        return None
    geometry = unit.op.geometry(operands)
    if geometry is None:
        return None
    given = {"input_shape": operands[0].extents, "threads": threads} | geometry
    return unit.kernel.launch(**given)


def _lay_out(plan: Plan) -> None:
    """Give every tensor of known size a place; a view shares the place of what it views."""
    root: dict[int, int] = {}
    spans: dict[int, list[int]] = {}
    keep = {id(v) for v in (*plan.graph.inputs, *plan.graph.outputs)}
    values = {id(v): v for v in plan.graph.values()}
    for key, value in values.items():
        if id(value) in keep or value.is_variable:
            spans[key] = [-1, FOREVER]
    for index, step in enumerate(plan.steps):
        node = step.unit.node
        for operand in (*node.inputs, *node.outputs):
            if operand is None or plan.slots[id(operand)].data is not None:
                continue
            span = spans.setdefault(id(operand), [index, index])
            span[1] = max(span[1], index)
        if step.unit.op.view and _is_view(plan, node.inputs[0], node.output, keep):
            assert node.inputs[0] is not None
            root[id(node.output)] = root.get(id(node.inputs[0]), id(node.inputs[0]))
    for key, base in root.items():
        spans[base][1] = max(spans[base][1], spans[key][1])
    homes = [k for k in spans if k not in root and plan.slots[k].nbytes is not None]
    blocks = [Block(plan.slots[k].nbytes or 0, *spans[k]) for k in homes]
    offsets, total = assign(blocks)
    plan.offsets = dict(zip(homes, offsets, strict=True))
    plan.offsets.update({k: plan.offsets[b] for k, b in root.items()})
    scratch = max((s.launch.scratch_bytes for s in plan.steps if s.launch is not None), default=0)
    plan.scratch_offset = align(total)
    plan.arena_bytes = plan.scratch_offset + align(scratch)


def _is_view(plan: Plan, source: Value | None, result: Value, keep: set[int]) -> bool:
    """Whether the result may lie where its source lies."""
    if source is None or source.is_variable or id(result) in keep:
        return False
    slots = plan.slots[id(source)], plan.slots[id(result)]
    return all(s.nbytes is not None for s in slots) and slots[0].data is None
