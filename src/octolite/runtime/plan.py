"""Where everything goes once the inputs' shapes are known: shapes, memory and order of work.

A plan is made by walking the units once with concrete shapes. Whatever can be known without
running (shape arithmetic, say) is evaluated here. Tensors with a known size live in the arena;
those whose size depends on data are made while the model runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, cast

from octolite.errors import ShapeError
from octolite.ir.graph import Graph, Value
from octolite.ir.types import Array, DType, Quant, Shape
from octolite.ops.shapes import product
from octolite.runtime.arena import FOREVER, Block, assign
from octolite.runtime.budget import MEMORY_LIMIT, Budget, check_memory, check_results
from octolite.runtime.homes import homes_of, stays
from octolite.runtime.prepare import Prepared, Unit, naming

if TYPE_CHECKING:
    from octolite.kernels.launch import Launch

MOST_COUNTED = 2**58
"""Elements that NumPy can count for any dtype."""


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
        return cast(tuple[int, ...], tuple(self.shape))

    @property
    def nbytes(self) -> int | None:
        """Bytes in memory; ``None`` when the shape is not known or the dtype has no fixed size."""
        extents = self.extents
        if extents is None or self.dtype.kind in "so":
            return None
        # NumPy has no arrays of extents that come to too much, though one more of them be 0.
        whole = math.prod(d for d in extents if d)
        count = whole if whole > MOST_COUNTED else math.prod(extents)
        return count * self.dtype.numpy.itemsize


@dataclass(frozen=True, slots=True)
class Step:
    """One unit in its place.

    ``launch`` is set where a kernel runs it with shapes known now, its scratch ``scratch`` bytes
    from the start of the arena.
    """

    unit: Unit
    launch: Launch | None = None
    scratch: int = 0


Slots = dict[int, Slot]
"""Value id → the tensor."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The order of work, every tensor's type, and an offset for those in the arena.

    ``variables`` have names and memory of their own, in which the tensors lie that ``aliases``
    tells by id. ``once``: what is to be done before the first run alone. ``memory_limit`` holds for
    tensors whose size shows only while the model runs, too. ``apart``: all tensors keep their
    memory, so that steps may be run one by one.

    Nobody changes a plan once it is made; contexts on several threads share it.
    """

    graph: Graph
    slots: Slots
    steps: tuple[Step, ...]
    offsets: dict[int, int]
    arena_bytes: int
    aliases: Mapping[int, int] = field(default_factory=dict)
    variables: Mapping[tuple[str, str, str], Value] = field(default_factory=dict)
    once: tuple[Step, ...] = ()
    memory_limit: int = MEMORY_LIMIT
    apart: bool = False


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
    slots: Slots = {}
    steps: list[Step] = []
    sizes: dict[int, int] = {}
    tables = Budget(memory_limit)
    for value in (*graph.values(), *prepared.variables.values()):
        data = prepared.known.get(id(value))
        shape = data.shape if data is not None else shapes.get(id(value), value.shape)
        slots[id(value)] = Slot(value.name, value.dtype, shape, value.quant, data)
    for unit in prepared.units:
        _size_states(slots, unit, sizes)
        _infer(slots, unit)
        tensors = {id(v): slots[id(v)] for v in (*unit.node.inputs, *unit.node.outputs) if v}
        check_memory(unit.node, sum(s.nbytes or 0 for s in tensors.values()), memory_limit)
        if not _fold(slots, unit):
            steps.append(_place(slots, unit, threads, tables))
    plan = _lay_out(prepared, slots, steps)
    held = sum(slots[id(v)].nbytes or 0 for v in prepared.variables.values())
    check_memory(f"graph {graph.name!r}", plan.arena_bytes + held + tables.taken, memory_limit)
    once = tuple(map(Step, prepared.once))
    return replace(plan, once=once, memory_limit=memory_limit, apart=prepared.apart)


def _operands(slots: Slots, unit: Unit) -> list[Slot | None]:
    return [None if v is None else slots[id(v)] for v in unit.node.inputs]


def _size_states(slots: Slots, unit: Unit, sizes: dict[int, int]) -> None:
    """Give variables a row for each sequence, whatever batch the file was written for.

    ``sizes``: elements of those that have been given their size.
    """
    operands = _operands(slots, unit)
    for name, shape in naming(unit.node, unit.op.states, operands).items():
        index = unit.op.input_index(name)
        state = operands[index] if index < len(operands) else None
        if state is not None and None not in shape and product(state.shape or ()) != product(shape):
            state.shape = shape
        size = product(shape)
        if state is not None and size is not None and sizes.setdefault(id(state), size) != size:
            raise ShapeError(
                f"{unit.node} keeps {size} numbers as its {name} in {state.name!r}, which is also "
                f"to keep {sizes[id(state)]}"
            )


def _infer(slots: Slots, unit: Unit) -> None:
    """Note the results' shapes."""
    operands = _operands(slots, unit)
    types = naming(unit.node, unit.op.infer, *operands)
    results = [slots[id(v)] for v in unit.node.outputs]
    check_results(unit.node, types, unit.infers)
    for slot, found in zip(results, types, strict=True):
        slot.shape = found.shape


def _fold(slots: Slots, unit: Unit) -> bool:
    """Evaluate the unit now if its results can be known."""
    operands = _operands(slots, unit)
    results = [slots[id(v)] for v in unit.node.outputs]
    outcome = naming(unit.node, unit.op.fold, operands, results)
    if outcome is None:
        return False
    for slot, array in zip(results, outcome, strict=True):
        slot.data, slot.shape = array, array.shape
    return True


def _place(slots: Slots, unit: Unit, threads: int, tables: Budget) -> Step:
    results = [slots[id(v)] for v in unit.node.outputs]
    if any(r.extents is None for r in results):
        return Step(unit)
    launch = naming(unit.node, launch_of, unit, _operands(slots, unit), threads, tables)
    return Step(unit, launch)


def launch_of(
    unit: Unit, operands: Sequence[Slot | None], threads: int, tables: Budget
) -> Launch | None:
    """The kernel's launch for these operands; ``None`` without a kernel, or while the operands do
    not tell all that it takes. ``tables``: for what says where rows lie."""
    if unit.kernel is None or not operands or operands[0] is None:
        return None
    if any(v is not None and v.extents is None for v in operands):
        return None
    geometry = unit.op.geometry(operands)
    if geometry is None:
        return None
    given = {"input_shape": operands[0].extents, "threads": threads} | geometry
    from octolite.kernels.pack import charging

    with charging(partial(tables.take, "laying its rows out")):
        return unit.kernel.launch(**given)


# Memory --------------------------------------------------------------------------------------


def _lay_out(prepared: Prepared, slots: Slots, steps: Sequence[Step]) -> Plan:
    """Give every tensor of known size a place (its own if apart), and every launch its scratch."""
    variables = {id(v) for v in prepared.variables.values()}
    spans = _spans(prepared.graph, slots, steps, variables)
    if prepared.apart:
        spans = {key: [-1, FOREVER] for key in spans}
    homes = {} if prepared.apart else homes_of(prepared.graph, slots, steps, spans, variables)
    lying = {*homes, *variables}
    keys = [k for k in spans if k not in lying and slots[k].nbytes is not None]
    blocks = [Block(slots[k].nbytes or 0, *spans[k]) for k in keys]
    scratch = [0 if step.launch is None else step.launch.scratch_bytes for step in steps]
    blocks += [Block(size, index, index) for index, size in enumerate(scratch)]
    places, total = assign(blocks)
    offsets = dict(zip(keys, places, strict=False))
    offsets |= {key: offsets[home] for key, home in homes.items() if home not in variables}
    placed = zip(steps, places[len(keys) :], strict=True)
    return Plan(
        prepared.graph,
        slots,
        tuple(replace(s, scratch=at) for s, at in placed if not stays(s.unit, homes)),
        offsets,
        total,
        aliases={key: home for key, home in homes.items() if home in variables},
        variables=prepared.variables,
    )


def _spans(
    graph: Graph, slots: Slots, steps: Sequence[Step], variables: set[int]
) -> dict[int, list[int]]:
    """The first and the last step that needs a tensor."""
    kept = variables | {id(v) for v in (*graph.inputs, *graph.outputs)}
    kept |= {id(v) for v in graph.values() if v.is_variable}
    spans = {key: [-1, FOREVER] for key in kept}
    for index, step in enumerate(steps):
        node = step.unit.node
        for operand in (*node.inputs, *node.outputs):
            if operand is not None and slots[id(operand)].data is None:
                span = spans.setdefault(id(operand), [index, index])
                span[1] = max(span[1], index)
    return spans
