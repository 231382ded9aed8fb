"""Cells of recurrent networks, recognised by their arithmetic.

What goes into an activation is brought into one form, however it was written: a sum of matrices
times values, vectors times values, and a bias (:class:`Affine`). So one product of the joined input
and state, or two, or eight, gates in any order, biases added anywhere, are all the same cell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from octolite.ir.graph import Node, Value
from octolite.ir.types import Activation, Array
from octolite.passes.engine import operator

GATES = ("input", "forget", "cell", "output")

ACTIVATIONS = {
    "TANH": Activation.TANH,
    "RELU": Activation.RELU,
    "RELU6": Activation.RELU6,
    "RELU_N1_TO_1": Activation.RELU_N1_TO_1,
}


@dataclass
class Affine:
    """``Σ matrix · value + Σ vector ⊙ value + bias`` of values [batch, width].

    Attributes:
        terms: by the value's id: the value, and its matrix [units, width]; ``None`` for the
            identity.
        scales: likewise, and its vector [units].
        bias: a scalar, or [units].
        norm: where all but the bias is first brought to mean 0 and variance 1 (layer
            normalization), what it is then scaled by [units].
    """

    terms: dict[int, tuple[Value, Array | None]] = field(default_factory=dict)
    scales: dict[int, tuple[Value, Array]] = field(default_factory=dict)
    bias: Array = field(default_factory=lambda: np.zeros((), np.float32))
    norm: Array | None = None

    def plus(self, other: Affine) -> Affine | None:
        for a, b in ((self, other), (other, self)):
            if a.norm is not None:
                more = b.terms or b.scales or b.norm is not None
                return None if more else replace(a, bias=a.bias + b.bias)
        if set(self.terms) & set(other.terms):
            return None
        if set(self.scales) & set(other.scales):
            return None
        terms, scales = self.terms | other.terms, self.scales | other.scales
        return Affine(terms, scales, self.bias + other.bias)

    def rows(self, first: int, last: int, units: int) -> Affine | None:
        """Elements ``first`` to ``last`` of ``units``."""
        if self.norm is not None or self.bias.size not in (1, units):
            return None
        terms: dict[int, tuple[Value, Array | None]] = {}
        for key, (value, matrix) in self.terms.items():
            if matrix is None:
                return None
            terms[key] = value, matrix[first:last]
        scales = {k: (v, s[first:last]) for k, (v, s) in self.scales.items()}
        bias = np.broadcast_to(self.bias, (units,))[first:last]
        return Affine(terms, scales, bias)


def affine(value: Value) -> Affine:
    """``value`` as far as it is affine; what is not, is a term of its own."""
    return _affine(value) or Affine({id(value): (value, None)})


def _affine(value: Value) -> Affine | None:
    node = value.producer
    if node is None or node.op.attributes().get("activation"):
        return None
    match node.op.name:
        case "FULLY_CONNECTED":
            return _product(node)
        case "ADD":
            return _sum(node)
        case "MUL":
            return _scaled(node)
        case "SPLIT" | "SPLIT_V":
            return _slice(node, value)
    return None


def _vector(value: Value | None) -> Array | None:
    """A constant that is added to or multiplied with each row."""
    if value is None or value.data is None or value.quant is not None:
        return None
    if value.data.size == 1:
        return value.data.reshape(())
    if not value.data.any():
        return np.zeros((), value.data.dtype)
    wide = value.data.shape[-1] == value.data.size
    return value.data.reshape(-1) if wide else None


def pieces(value: Value) -> list[Value]:
    """What is joined along the last axis."""
    node = value.producer
    if node is None or node.op.name != "CONCATENATION" or node.op.attributes().get("activation"):
        return [value]
    rank = len(value.shape or (0, 0))
    if operator(node).axis % rank != rank - 1:
        return [value]
    return [p for v in node.inputs if v is not None for p in pieces(v)]


def width(value: Value) -> int | None:
    return value.shape[-1] if value.shape else None


def _product(node: Node) -> Affine | None:
    x, w, b = (*node.inputs, None)[:3]
    if x is None or w is None or w.data is None or w.quant is not None:
        return None
    bias = np.zeros((), np.float32) if b is None else _vector(b)
    if bias is None or w.data.ndim != 2:
        return None
    parts = pieces(x)
    widths = [width(p) for p in parts]
    if widths.count(None) > 1:
        return None
    rest = w.data.shape[1] - sum(d for d in widths if d is not None)
    result, first = Affine(bias=bias), 0
    for part, wide in zip(parts, widths, strict=True):
        last = first + (rest if wide is None else wide)
        more = result.plus(Affine({id(part): (part, w.data[:, first:last])}))
        if more is None:
            return None
        result, first = more, last
    return result if first == w.data.shape[1] else None


NORM_GUARDS = (0.0, 2e-8)
"""What may be added to a variance: the operators add 1e-8, which nobody can tell from less."""


def _normalized(node: Node) -> Affine | None:
    """``(z - mean) / sqrt(variance + guard) · gamma + beta``, as tf.nn.batch_normalization has it:
    ``z · k + (beta - mean · k)``, k being gamma / sqrt(variance + guard).
    """
    for scaled, rest in (node.inputs, node.inputs[::-1]):
        pair = _factors(scaled)
        shift = None if rest is None else rest.producer
        if pair is None or shift is None or shift.op.name != "SUB":
            continue
        beta, back = _vector(shift.inputs[0]), _factors(shift.inputs[1])
        for z, k in (pair, pair[::-1]):
            mean = _mean(z)
            gamma = None if mean is None else _norm_scale(k, z, mean)
            if gamma is None or beta is None or back is None or not _are(back, mean, k):
                continue
            inner = affine(z)
            if inner.norm is None and not np.any(inner.bias):
                return replace(inner, bias=beta, norm=gamma)
    return None


def _are(pair: tuple[Value, Value], *values: Value | None) -> bool:
    return {id(v) for v in pair} == {id(v) for v in values}


def _mean(z: Value) -> Value | None:
    """The mean of each row of ``z``, where it is computed."""
    return next((n.output for n in z.uses if _is_mean(n) and n.inputs[0] is z), None)


def _is_mean(node: Node | None) -> bool:
    if node is None or node.op.name != "MEAN" or not operator(node).keep_dims:
        return False
    axes, x = node.inputs[1], node.inputs[0]
    last = {-1} if x is None or x.shape is None else {-1, len(x.shape) - 1}
    return axes is not None and axes.data is not None and axes.data.size == 1 \
        and int(axes.data.reshape(())) in last  # fmt: skip


def _norm_scale(k: Value, z: Value, mean: Value) -> Array | None:
    """gamma, if ``k`` is gamma / sqrt(variance of z + guard)."""
    pair = _factors(k)
    if pair is None:
        return None
    for root, other in (pair, pair[::-1]):
        gamma, node = _vector(other), root.producer
        if gamma is None or gamma.ndim != 1 or node is None or node.op.name != "RSQRT":
            continue
        guarded = None if node.inputs[0] is None else node.inputs[0].producer
        if guarded is None or guarded.op.name != "ADD":
            continue
        for variance, guard in (guarded.inputs, guarded.inputs[::-1]):
            number = _vector(guard)
            inner = None if variance is None else variance.producer
            if number is None or number.ndim or inner is None or not _is_mean(inner):
                continue
            squares = None if inner.inputs[0] is None else inner.inputs[0].producer
            if squares is None or squares.op.name != "SQUARED_DIFFERENCE":
                continue
            both = [v for v in squares.inputs if v is not None]
            low, high = NORM_GUARDS
            if low <= float(number) <= high and _are((both[0], both[1]), z, mean):
                return gamma
    return None


def _sum(node: Node) -> Affine | None:
    found = _normalized(node)
    if found is not None:
        return found
    a, b = node.inputs
    for x, other in ((a, b), (b, a)):
        bias = _vector(other)
        if bias is not None and x is not None:
            return affine(x).plus(Affine(bias=bias))
    return affine(a).plus(affine(b)) if a is not None and b is not None else None


def _scaled(node: Node) -> Affine | None:
    a, b = node.inputs
    for x, other in ((a, b), (b, a)):
        factors = _vector(other)
        if factors is not None and factors.ndim == 1 and x is not None:
            return Affine(scales={id(x): (x, factors)})
    return None


def _slice(node: Node, value: Value) -> Affine | None:
    """One of the parts of a vector for several gates."""
    data = 1 if node.op.name == "SPLIT" else 0
    x, axis = node.inputs[data], node.inputs[0 if data else 2]
    if x is None or not x.shape or axis is None or axis.data is None:
        return None
    if int(axis.data.reshape(())) % len(x.shape) != len(x.shape) - 1:
        return None
    widths = [width(v) for v in node.outputs]
    units = width(x)
    if units is None or None in widths:
        return None
    place = next(i for i, v in enumerate(node.outputs) if v is value)
    first = sum(d for d in widths[:place] if d is not None)
    return affine(x).rows(first, first + (widths[place] or 0), units)


# -- the cells -----------------------------------------------------------------------------------


@dataclass
class Cell:
    """A step: its result ``new``, from the last step's ``old`` and other values.

    Attributes:
        gates: what goes into each; one, called ``cell``, for an RNN. A coupled LSTM has no
            input gate.
        states: pairs (last step's value, this step's): the output, for an LSTM also the cell.
    """

    activation: Activation
    gates: dict[str, Affine]
    old: Value
    new: Value
    memory: tuple[Value, Value] | None = None
    cell_clip: float = 0.0
    proj_clip: float = 0.0
    projection: tuple[Array, Array | None] | None = None

    @property
    def is_lstm(self) -> bool:
        return self.memory is not None

    @property
    def units(self) -> int | None:
        """How many units the gates have, from any of the matrices."""
        sizes = {len(m) for g in self.gates.values() for _, m in g.terms.values() if m is not None}
        return sizes.pop() if len(sizes) == 1 else None


def activated(value: Value) -> tuple[Activation, Affine]:
    """The activation that gives ``value``, perhaps none, and of what."""
    node = value.producer
    if node is not None and node.op.name in ACTIVATIONS and node.inputs[0] is not None:
        return ACTIVATIONS[node.op.name], affine(node.inputs[0])
    if node is not None and node.op.name in ("FULLY_CONNECTED", "ADD"):
        activation = operator(node).activation
        if activation:
            found = _product(node) if node.op.name == "FULLY_CONNECTED" else _sum(node)
            if found is not None:
                return activation, found
    return Activation.NONE, affine(value)


def rnn(new: Value, old: Value) -> Cell | None:
    """The cell ``new = act(W x + R old + b)``."""
    activation, inner = activated(new)
    if id(old) not in inner.terms or inner.scales:
        return None
    return Cell(activation, {"cell": inner}, old, new)


def _clipped(value: Value) -> tuple[float, Value]:
    """The limit, if ``value`` is clipped to ±limit, and of what."""
    limits = {}
    inner = value
    for _ in range(2):
        node = inner.producer
        if node is None or node.op.name not in ("MINIMUM", "MAXIMUM"):
            break
        a, b = node.inputs
        bound, other = (_vector(b), a) if _vector(b) is not None else (_vector(a), b)
        if bound is None or bound.ndim or other is None or node.op.name in limits:
            return 0.0, value
        limits[node.op.name] = float(bound)
        inner = other
    high, low = limits.get("MINIMUM"), limits.get("MAXIMUM")
    if high is None or low is None or high != -low or high <= 0:
        return 0.0, value
    return high, inner


def _factors(value: Value | None) -> tuple[Value, Value] | None:
    node = None if value is None else value.producer
    if node is None or node.op.name != "MUL" or operator(node).activation:
        return None
    a, b = node.inputs
    return (a, b) if a is not None and b is not None else None


def _gate(value: Value) -> Affine | None:
    """What goes into a sigmoid."""
    node = value.producer
    if node is None or node.op.name != "LOGISTIC" or node.inputs[0] is None:
        return None
    return affine(node.inputs[0])


def lstm(new: Value, old: Value, memory: Callable[[Value], Value | None] | None) -> Cell | None:
    """The cell whose output ``new`` is.

    ``memory`` gives, for a new cell state, the old one; without it, that is found too.
    """
    proj_clip, projected = _clipped(new)
    projection, emitted = _projected(projected)
    if proj_clip and projection is None:
        return None
    pair = _factors(emitted)
    if pair is None:
        return None
    for opened, curved in (pair, pair[::-1]):
        output = _gate(opened)
        activation, c = _curved(curved)
        before = None if c is None or memory is None else memory(c)
        if output is None or c is None or (before is None and memory is not None):
            continue
        limit, summed = _clipped(c)
        found = _inner_gates(summed, before, activation)
        if found is None:
            continue
        before, gates = found
        gates["output"] = output
        return Cell(activation, gates, old, new, (before, c), limit, proj_clip, projection)
    return None


def _curved(value: Value) -> tuple[Activation, Value | None]:
    node = value.producer
    if node is not None and node.op.name in ACTIVATIONS:
        return ACTIVATIONS[node.op.name], node.inputs[0]
    return Activation.NONE, value


def _projected(value: Value) -> tuple[tuple[Array, Array | None] | None, Value]:
    """The matrix and bias that project an output, if it is projected."""
    node = value.producer
    if node is None or node.op.name != "FULLY_CONNECTED" or operator(node).activation:
        return None, value
    x, w, b = (*node.inputs, None)[:3]
    if x is None or w is None or w.data is None or (b is not None and b.data is None):
        return None, value
    return (w.data, None if b is None else b.data), x


def _inner_gates(
    summed: Value, before: Value | None, activation: Activation
) -> tuple[Value, dict[str, Affine]] | None:
    """``before`` and the gates of ``forget ⊙ before + input ⊙ act(cell)``."""
    node = summed.producer
    if node is None or node.op.name != "ADD" or operator(node).activation:
        return None
    parts = [_factors(v) for v in node.inputs]
    for kept, added in (parts, parts[::-1]):
        if kept is None or added is None:
            continue
        for forget, state in (kept, kept[::-1]):
            if before is not None and state is not before:
                continue
            for entrance, curved in (added, added[::-1]):
                found = _entrances(forget, entrance, curved, activation)
                if found is not None:
                    return state, found
    return None


def _entrances(
    forget: Value, entrance: Value, curved: Value, activation: Activation
) -> dict[str, Affine] | None:
    kept, (found, cell) = _gate(forget), activated(curved)
    if kept is None or found is not activation or _gate(curved) is not None:
        return None
    if _is_rest(entrance, forget):
        return {"forget": kept, "cell": cell}
    added = _gate(entrance)
    return None if added is None else {"input": added, "forget": kept, "cell": cell}


def _is_rest(value: Value, of: Value) -> bool:
    """Whether ``value`` is ``1 - of``."""
    node = value.producer
    if node is None or node.op.name != "SUB" or node.inputs[1] is not of:
        return False
    one = _vector(node.inputs[0])
    return one is not None and one.ndim == 0 and float(one) == 1.0


def inputs_of(cell: Cell) -> list[Value]:
    """What the gates read beside the states, each once."""
    states = {id(cell.old)} | ({id(v) for v in cell.memory} if cell.memory else set())
    found = {
        key: value
        for gate in cell.gates.values()
        for key, (value, _) in gate.terms.items()
        if key not in states
    }
    return list(found.values())


def is_whole(cell: Cell) -> bool:
    """Whether the operators have all that the gates do."""
    if cell.units is None or not inputs_of(cell):
        return False
    old = id(cell.old)
    for name, gate in cell.gates.items():
        if old not in gate.terms or gate.terms[old][1] is None:
            return False
        allowed = set()
        if cell.memory is not None and name != "cell":
            allowed = {id(cell.memory[1 if name == "output" else 0])}
        if set(gate.scales) - allowed:
            return False
        if cell.memory is not None and {id(v) for v in cell.memory} & set(gate.terms):
            return False
    vectors = [v for g in cell.gates.values() for v in _vectors(g)]
    if any(v.size not in (1, cell.units) for v in vectors):
        return False
    norms = {g.norm is None for g in cell.gates.values()}
    if len(norms) > 1 or (False in norms and cell.memory is None):
        return False
    peepholes = {bool(g.scales) for n, g in cell.gates.items() if n != "cell"}
    return len(peepholes) <= 1 or cell.memory is None


def _vectors(gate: Affine) -> list[Array]:
    norm = [] if gate.norm is None else [gate.norm]
    return [gate.bias, *(scale for _, scale in gate.scales.values()), *norm]


def matrix_of(cell: Cell, gate: str, values: list[Value]) -> Array:
    """The gate's matrix for ``values`` one behind the other; zeros where it does not read one."""
    units = cell.units
    assert units is not None
    blocks = []
    for value in values:
        found = cell.gates[gate].terms.get(id(value))
        wide = width_of(cell, value)
        if found is None:
            blocks.append(np.zeros((units, wide), np.float32))
        else:
            blocks.append(np.eye(units, dtype=np.float32) if found[1] is None else found[1])
    return np.ascontiguousarray(np.concatenate(blocks, 1), np.float32)


def width_of(cell: Cell, value: Value) -> int:
    for gate in cell.gates.values():
        found = gate.terms.get(id(value))
        if found is not None and found[1] is not None:
            return int(found[1].shape[1])
    return cell.units or 0
