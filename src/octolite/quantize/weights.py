"""Weights in fewer bits: which constants, in which format, and how their readers get them.

A float32 constant is quantized when it has enough elements and every use of it can live with
codes. A use is one of

* *weight*: the operator's :class:`~octolite.ops.base.QuantRule` names the input; it says along
  which axis scales may differ and whether the operator has a hybrid form that takes the codes,
* *table*: any other input of an operator without weights, from which whole codes are copied or
  which is read like a matrix (an embedding that GATHER reads, a positional encoding that is
  added): at least two extents greater than one, one scale for all,
* *parameter*: everything else, such as a bias or one factor for each channel: stays float.

Operators that are hybrid with all of their weights or not at all (recurrent ones) get codes for
the small ones too as soon as one is large.

Weights have one copy, whoever reads them: where readers disagree about the axis, the first
hybrid one (else the first) decides and the others read the real values through one shared
DEQUANTIZE. An operator that only moves codes (GATHER, SLICE …) runs on the codes, with the
DEQUANTIZE behind it, so that the table is never expanded as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from octolite.errors import ConversionError
from octolite.ir import numerics
from octolite.ir.graph import Graph, Model, Node, Value
from octolite.ir.types import FLOAT16, FLOAT32, INT8, INT32
from octolite.ops.base import Operator, operator_class
from octolite.quantize.ledger import Action, Entry, Ledger, stored_bytes
from octolite.quantize.recipe import Recipe

Progress = Callable[[int, int], None]
"""Called with the bytes of constants that are done and those there are in all."""


def quantize(
    model: Model,
    recipe: str | Recipe = "dynamic",
    min_elements: int | None = None,
    on_progress: Progress | None = None,
) -> Ledger:
    """Store the large float constants of ``model`` as ``recipe`` says, in place.

    Args:
        model: all its graphs are rewritten.
        recipe: ``dynamic``, ``weights``, ``float16``, ``none`` or a :class:`Recipe`.
        min_elements: tensors with fewer elements stay float (by default the recipe's 1,024).
        on_progress: called after each constant.

    Returns:
        what became of each constant.

    Raises:
        UsageError: there is no such recipe.
        ConversionError: a constant that should be quantized holds NaN or Inf.
    """
    chosen = Recipe.of(recipe, min_elements)
    work = [(graph, readers) for graph in model.graphs for readers in _constants(graph)]
    total, done = sum(readers.value.nbytes for _, readers in work), 0
    ledger = Ledger(chosen.name)
    joint = Joint.of(work, chosen)
    for graph, readers in work:
        size = readers.value.nbytes
        ledger.entries.append(_store(graph, readers, chosen, joint))
        done += size
        if on_progress is not None:
            on_progress(done, total)
    if chosen.asymmetric_inputs:
        for graph in model.graphs:
            _ask_for_asymmetric_inputs(graph)
    return ledger


# -- who reads a constant, and as what ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Use:
    """An input of a node."""

    node: Node
    index: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What one use asks of a quantized constant.

    ``keep`` is a reason why it must stay float, or empty; ``hybrid``: takes the codes as they
    are, with scales along ``axis``; ``moves``: only moves codes, DEQUANTIZE may come behind.
    """

    axis: int | None = None
    keep: str = ""
    hybrid: bool = False
    moves: bool = False


@dataclass(frozen=True, slots=True)
class Readers:
    """A constant and all its uses, in the order of the nodes."""

    value: Value
    uses: list[Use]

    @property
    def operators(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(use.node.op.name for use in self.uses))


def _constants(graph: Graph) -> list[Readers]:
    """Each constant of the graph once, with who reads it."""
    found: dict[int, Readers] = {id(v): Readers(v, []) for v in graph.constants()}
    for node in graph.nodes:
        for index, value in enumerate(node.inputs):
            if value is not None and value.is_constant:
                found[id(value)].uses.append(Use(node, index))
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Joint:
    """Operators that take codes for all of their weights at once, the small ones too.

    ``nodes`` and ``weights`` hold the ids of those that can, and of their weights.
    """

    nodes: frozenset[int] = frozenset()
    weights: frozenset[int] = frozenset()

    @classmethod
    def of(cls, work: Sequence[tuple[Graph, Readers]], recipe: Recipe) -> Joint:
        """Those with at least one weight that is large, and none that must stay as it is."""
        if not recipe.hybrid or recipe.storage is not INT8:
            return cls()
        fit = {id(r.value) for graph, r in work if _fits_anywhere(graph, r)}
        nodes: set[int] = set()
        weights: set[int] = set()
        for node in {id(use.node): use.node for _, r in work for use in r.uses}.values():
            assert isinstance(node.op, Operator)
            found = _weights_of(node) if node.op.quant.together else []
            largest = max((v.data.size for v in found if v.data is not None), default=0)
            if largest >= max(1, recipe.min_elements) and all(id(v) in fit for v in found):
                nodes.add(id(node))
                weights.update(map(id, found))
        return cls(frozenset(nodes), frozenset(weights))


def _weights_of(node: Node) -> list[Value]:
    assert isinstance(node.op, Operator)
    inputs = zip(node.op.input_parameters(), node.inputs, strict=False)
    return [v for p, v in inputs if p.name in node.op.quant.weights and v is not None]


def _fits_anywhere(graph: Graph, readers: Readers) -> bool:
    """Whether a constant may be stored as codes, whatever its size."""
    value = readers.value
    plain = value.dtype is FLOAT32 and value.quant is None and not graph.is_output(value)
    return plain and not any(_demand(value, use, Joint()).keep for use in readers.uses)


def _demand(value: Value, use: Use, joint: Joint) -> Demand:
    op, inputs = use.node.op, use.node.inputs
    assert isinstance(op, Operator)
    parameters = op.input_parameters()
    name = parameters[min(use.index, len(parameters) - 1)].name
    if name in op.quant.weights:
        # Beside float activations, or beside the ids of a lookup.
        beside = None if inputs[0] is None else inputs[0].dtype
        hybrid = op.quant.hybrid and beside in (FLOAT32, INT32)
        hybrid = hybrid and (not op.quant.together or id(use.node) in joint.nodes)
        return Demand(op.quant.weights[name], hybrid=hybrid)
    if op.quant.weights:
        return Demand(keep=f"{name} of {op.name}")
    if sum(extent != 1 for extent in value.shape or ()) < 2:
        return Demand(keep="a vector, no matrix")
    others = [v for i, v in enumerate(inputs) if i != use.index and v is not None]
    results = use.node.outputs
    return Demand(
        moves=op.quant.same_scale
        and all(v.dtype is not FLOAT32 for v in others)
        and all(v.dtype is FLOAT32 for v in results)
    )


# -- storing it ---------------------------------------------------------------------------------


def _store(graph: Graph, readers: Readers, recipe: Recipe, joint: Joint) -> Entry:
    """Rewrite one constant and its readers; returns what was done."""
    value, before = readers.value, stored_bytes(readers.value)
    needed = id(value) in joint.weights
    action, reason = Action.KEPT, "" if needed else _why_kept(graph, value, recipe)
    if not reason and recipe.storage is FLOAT16:
        action, reason = _store_halves(graph, readers)
    elif not reason:
        action, reason = _store_codes(graph, readers, recipe, joint)
    shape = value.data.shape if value.data is not None else ()
    return Entry(value.name, shape, readers.operators, before, stored_bytes(value), action, reason)


def _why_kept(graph: Graph, value: Value, recipe: Recipe) -> str:
    """A reason that holds whoever reads the constant, or nothing."""
    assert value.data is not None
    if value.quant is not None:
        return "quantized already"
    if value.dtype is not FLOAT32:
        return f"{value.dtype}, not float32"
    if recipe.storage is FLOAT32:
        return f"recipe {recipe.name!r}"
    if value.data.size < max(1, recipe.min_elements):
        return f"fewer than {recipe.min_elements:,} elements"
    return "result of the graph" if graph.is_output(value) else ""


def _store_halves(graph: Graph, readers: Readers) -> tuple[Action, str]:
    value = readers.value
    assert value.data is not None
    largest = max(float(value.data.max()), -float(value.data.min()))
    if not np.isfinite(largest):
        raise _not_finite(readers)
    if largest > float(np.finfo(np.float16).max):
        return Action.KEPT, "beyond the range of float16"
    value.data, value.dtype = value.data.astype(np.float16), FLOAT16
    _read_through_dequantize(graph, value, readers.uses)
    return Action.FLOAT16, "through DEQUANTIZE"


def _store_codes(
    graph: Graph, readers: Readers, recipe: Recipe, joint: Joint
) -> tuple[Action, str]:
    value = readers.value
    demands = [_demand(value, use, joint) for use in readers.uses]
    for demand in demands:
        if demand.keep:
            return Action.KEPT, demand.keep
    axis = next((d.axis for d in demands if d.hybrid), demands[0].axis if demands else None)
    axis = None if id(value) in joint.weights else axis
    assert value.data is not None
    codes, quant = numerics.quantize_weights(value.data, axis)
    if not np.all(np.isfinite(quant.scale)):
        raise _not_finite(readers)
    value.data, value.dtype, value.quant = codes, INT8, quant

    through: list[Use] = []
    for use, demand in zip(readers.uses, demands, strict=True):
        if recipe.hybrid and demand.hybrid and demand.axis == axis:
            continue
        if recipe.hybrid and demand.moves and axis is None:
            _dequantize_behind(graph, use.node, value)
        else:
            through.append(use)
    _read_through_dequantize(graph, value, through)
    action = Action.PER_CHANNEL if quant.per_channel else Action.PER_TENSOR
    return action, _how_it_is_read(readers, through)


def _how_it_is_read(readers: Readers, through: Sequence[Use]) -> str:
    """Which operators take the codes, and which the real values."""
    real = dict.fromkeys(use.node.op.name for use in through)
    codes = dict.fromkeys(use.node.op.name for use in readers.uses if use not in through)
    parts = [f"by {', '.join(codes)}"] if codes else []
    parts += [f"through DEQUANTIZE by {', '.join(real)}"] if real else []
    return ", ".join(parts)


def _not_finite(readers: Readers) -> ConversionError:
    data = readers.value.data
    assert data is not None
    bad = int(np.count_nonzero(~np.isfinite(data)))
    where = f", read by {readers.uses[0].node}," if readers.uses else ""
    return ConversionError(
        f"constant {readers.value.name!r}{where} holds {bad} NaN or Inf among {data.size} "
        "elements and cannot be quantized; repair the model, or convert it with recipe 'none'"
    )


# -- DEQUANTIZE ---------------------------------------------------------------------------------


def _read_through_dequantize(graph: Graph, value: Value, uses: Sequence[Use]) -> None:
    """Let ``uses`` read the real values of ``value`` from one DEQUANTIZE before the first."""
    if not uses:
        return
    real = Value(f"{value.name}/dequantized", FLOAT32, value.shape)
    graph.add(
        operator_class("DEQUANTIZE")(), [value], real.name, before=uses[0].node, outputs=[real]
    )
    for use in uses:
        use.node.set_input(use.index, real)


def _dequantize_behind(graph: Graph, node: Node, value: Value) -> None:
    """Let ``node`` move the codes of ``value``; its results become real behind it."""
    position = graph.nodes.index(node) + 1
    after = graph.nodes[position] if position < len(graph.nodes) else None
    reals, codes = node.outputs, []
    for real in reals:
        code = Value(f"{real.name}/codes", INT8, real.shape, quant=value.quant)
        code.producer = node
        codes.append(code)
    node.outputs = tuple(codes)
    for code, real in zip(codes, reals, strict=True):
        graph.add(operator_class("DEQUANTIZE")(), [code], real.name, before=after, outputs=[real])


def _ask_for_asymmetric_inputs(graph: Graph) -> None:
    """Set the attribute on hybrid operators that have it."""
    for node in graph.nodes:
        op = node.op
        assert isinstance(op, Operator)
        if hasattr(op, "asymmetric_quantize_inputs") and op.is_hybrid(node.inputs):
            node.op = op.replace(asymmetric_quantize_inputs=True)
