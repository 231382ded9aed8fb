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
DEQUANTIZE. One scale for the whole weight serves nearly all of them. An operator that only moves
codes (GATHER, SLICE …) runs on the codes, with the DEQUANTIZE behind it, so that the table is
never expanded as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from octolite.errors import ConversionError
from octolite.ir import numerics
from octolite.ir.graph import Graph, Model, Node, Value
from octolite.ir.mapped import release
from octolite.ir.types import FLOAT16, FLOAT32, INT4, INT8, Array, DType, Quant
from octolite.ops.base import Operator, operator_class
from octolite.quantize import halves
from octolite.quantize.integer import IntegerRecipe, quantize_fully
from octolite.quantize.ledger import Action, Entry, Ledger, stored_bytes
from octolite.quantize.readers import Joint, Readers, Use, Way, demand, large_enough, readers_of
from octolite.quantize.recipe import (
    Activations,
    Clipping,
    Compute,
    Granularity,
    Recipe,
)

Progress = Callable[[int, int], None]
"""Called with the bytes of constants that are done and those there are in all."""


def quantize(
    model: Model,
    recipe: str | Recipe | IntegerRecipe = "dynamic",
    min_elements: int | None = None,
    on_progress: Progress | None = None,
) -> Ledger:
    """Store the large float constants of ``model`` as ``recipe`` says, in place.

    Halves that a DEQUANTIZE widens count as the float constants that they were.

    Args:
        model: all its graphs are rewritten.
        recipe: ``dynamic``, ``weights``, ``float16``, ``none``, the path of a recipe's file
            (``*.toml``), a :class:`Recipe`, or an :class:`IntegerRecipe` for codes throughout.
        min_elements: tensors with fewer elements stay float (by default the recipe's 1,024).
        on_progress: called after each constant.

    Returns:
        what became of each constant.

    Raises:
        UsageError: there is no such recipe.
        ConversionError: a constant that should be quantized holds NaN or Inf.
    """
    if isinstance(recipe, IntegerRecipe):
        return quantize_fully(model, recipe)
    return _Quantizer(model, Recipe.of(recipe, min_elements)).run(on_progress)


class _Quantizer:
    """One model in the making.

    ``codes`` holds what was made of arrays, for those that several graphs read; with the arrays,
    so that ids stay theirs.
    """

    def __init__(self, model: Model, recipe: Recipe) -> None:
        self.model, self.recipe = model, recipe
        self.widened = halves.widen(model) if recipe.stores_codes else []
        work, self.unused = readers_of(model, recipe)
        hidden = {id(item.halves) for item in self.widened}
        self.work = [readers for readers in work if id(readers.value) not in hidden]
        self.joint = Joint.of(self.work)
        self.codes: dict[tuple[int, int | None, int, Clipping], tuple[Array, Array, Quant]] = {}
        self.halves: dict[int, tuple[Array, Array]] = {}

    def run(self, on_progress: Progress | None) -> Ledger:
        stored_as = {id(item.stand_in): item.halves for item in self.widened}
        total, done = sum(readers.value.nbytes for readers in self.work), 0
        entries = []
        for readers in self.work:
            value, size = readers.value, readers.value.nbytes
            original = value.data
            before = stored_bytes(stored_as.get(id(value), value))
            action, reason = self.store(readers)
            shape = () if value.data is None else value.data.shape
            after = stored_bytes(value)
            entries.append(
                Entry(value.name, shape, readers.operators, before, after, action, reason)
            )
            if original is not None and original is not value.data:
                release(original)
            done += size
            if on_progress is not None:
                on_progress(done, total)
        again = {id(value) for value in halves.narrow(self.widened)}
        for i, readers in enumerate(self.work):
            if id(readers.value) in again:  # the same halves as before
                entries[i] = replace(entries[i], after=entries[i].before)
        return Ledger(self.recipe.name, entries, [rule.as_dict() for rule in self.unused])

    def store(self, readers: Readers) -> tuple[Action, str]:
        """Rewrite one constant and its readers; returns what was done, and why or for whom."""
        needed = id(readers.value) in self.joint.weights
        reason = "" if needed else self.why_kept(readers)
        if reason:
            return Action.KEPT, reason
        halves_asked = readers.treatment.weights is FLOAT16
        return self.store_halves(readers) if halves_asked else self.store_codes(readers)

    def why_kept(self, readers: Readers) -> str:
        """A reason that holds whoever reads the constant, or nothing."""
        value, treatment = readers.value, readers.treatment
        assert value.data is not None
        if value.quant is not None:
            return "quantized already"
        if value.dtype is not FLOAT32:
            return f"{value.dtype}, not float32"
        if treatment.weights is FLOAT32:
            return f"recipe {self.recipe.name!r}"
        if not large_enough(value.data.size, treatment):
            return f"fewer than {treatment.min_elements:,} elements"
        return "result of the graph" if readers.graph.is_output(value) else ""

    def store_halves(self, readers: Readers) -> tuple[Action, str]:
        value = readers.value
        assert value.data is not None
        largest = max(float(value.data.max()), -float(value.data.min()))
        if not np.isfinite(largest):
            raise _not_finite(readers)
        if largest > float(np.finfo(np.float16).max):
            return Action.KEPT, "beyond the range of float16"
        if id(value.data) not in self.halves:
            self.halves[id(value.data)] = value.data, value.data.astype(np.float16)
        value.data, value.dtype = self.halves[id(value.data)][1], FLOAT16
        _read_through_dequantize(readers.graph, value, readers.uses)
        return Action.FLOAT16, "through DEQUANTIZE"

    def store_codes(self, readers: Readers) -> tuple[Action, str]:
        value, graph = readers.value, readers.graph
        for use in readers.uses:
            kept = demand(value, use, self.joint).keep
            if kept:
                return Action.KEPT, kept
        plan = _Plan.of(readers, self.joint)
        self.encode(readers, plan)
        through: list[Use] = []
        for use, way in zip(readers.uses, plan.ways, strict=True):
            if way is Way.REAL:
                through.append(use)
            elif way is Way.MOVES:
                _dequantize_behind(graph, use.node, value)
            elif readers.treatment.activations is Activations.ASYMMETRIC:
                _ask_for_asymmetric_inputs(use.node)
        _read_through_dequantize(graph, value, through)
        assert value.quant is not None
        action = Action.of(value.dtype, value.quant.per_channel)
        return action, _how_it_is_read(readers, through) + plan.note

    def encode(self, readers: Readers, plan: _Plan) -> None:
        """Codes and scales in place of the real values."""
        value, clipping = readers.value, readers.treatment.clipping
        assert value.data is not None
        key = id(value.data), plan.axis, plan.dtype.bits, clipping
        if key not in self.codes:
            peak = None
            if clipping is Clipping.MSE:
                peak = numerics.least_error_peak(value.data, plan.axis, plan.dtype.bits)
            codes, quant = numerics.quantize_weights(value.data, plan.axis, plan.dtype.bits, peak)
            if not np.all(np.isfinite(quant.scale)):
                raise _not_finite(readers)
            self.codes[key] = value.data, codes, quant
        _, value.data, value.quant = self.codes[key]
        value.dtype = plan.dtype


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a weight is to be stored, how each use gets it, and a remark for the ledger."""

    dtype: DType
    axis: int | None
    ways: tuple[Way, ...]
    note: str

    @classmethod
    def of(cls, readers: Readers, joint: Joint) -> _Plan:
        treatment, value = readers.treatment, readers.value
        demands = [demand(value, use, joint) for use in readers.uses]
        axis = None
        if treatment.granularity is Granularity.CHANNEL and id(value) not in joint.weights:
            axis = next((d.axis for d in demands if d.hybrid), demands[0].axis if demands else None)
        hybrid = treatment.compute is Compute.HYBRID
        ways = tuple(d.way(axis) if hybrid else Way.REAL for d in demands)
        wide = [
            use.node.op.name
            for use, d, way in zip(readers.uses, demands, ways, strict=True)
            if not (way is Way.REAL or d.narrow)
        ]
        narrow = treatment.weights is INT4 and not wide
        note = f"; {wide[0]} runs no int4" if wide and treatment.weights is INT4 else ""
        return cls(INT4 if narrow else INT8, axis, ways, note)


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
        code = Value(f"{real.name}/codes", value.dtype, real.shape, quant=value.quant)
        code.producer = node
        codes.append(code)
    node.outputs = tuple(codes)
    for code, real in zip(codes, reals, strict=True):
        graph.add(operator_class("DEQUANTIZE")(), [code], real.name, before=after, outputs=[real])


def _ask_for_asymmetric_inputs(node: Node) -> None:
    """Set the attribute on a hybrid operator that has it."""
    op = node.op
    assert isinstance(op, Operator)
    if hasattr(op, "asymmetric_quantize_inputs"):
        node.op = op.replace(asymmetric_quantize_inputs=True)
