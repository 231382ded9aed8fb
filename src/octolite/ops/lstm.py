"""Long short-term memory: one step, a sequence, and a sequence read both ways."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from octolite.errors import ShapeError
from octolite.ir import numerics
from octolite.ir.types import (
    FLOAT32,
    INT8,
    INT16,
    Activation,
    Array,
    Dim,
    Operand,
    Shape,
    TensorType,
)
from octolite.kernels import spec
from octolite.ops import integer_lstm
from octolite.ops.base import Intermediate, Parameter, QuantRule, attr
from octolite.ops.basic_lstm import BasicLSTM
from octolite.ops.case import Case, Tensor, case, f32, int8_weights, variable, weights
from octolite.ops.cells import (
    Recurrent,
    expect,
    expect_state,
    extent,
    sequence_extents,
    sequence_shape,
    time_first,
    varies,
)
from octolite.ops.integer_lstm import GATES, IntegerCell
from octolite.ops.recurrent import both_inputs, both_results, both_sources, both_types
from octolite.ops.shapes import rank_of

GUARD = np.float32(1e-8)
"""Added to the variance that layer normalization divides by."""


# -- the inputs, by name ------------------------------------------------------------------------


def _of_gates(pattern: str, gates: str = "input? forget cell output") -> str:
    """An input for each gate, ``?`` behind those that may be absent."""
    return " ".join(pattern.format(g.rstrip("?")) + "?" * g.endswith("?") for g in gates.split())


def _of_cell(prefix: str = "") -> str:
    """What a cell reads beside its inputs and states, in the order in which a file has it."""
    return " ".join(
        (
            _of_gates(f"{prefix}input_to_{{}}_weights"),
            _of_gates(f"{prefix}recurrent_to_{{}}_weights"),
            _of_gates(f"{prefix}cell_to_{{}}_weights", "input? forget? output?"),
            _of_gates(f"{prefix}{{}}_gate_bias"),
            f"{prefix}projection_weights? {prefix}projection_bias?",
        )
    )


ONE_WAY = f"input {_of_cell()} output_state! cell_state! " + _of_gates(
    "{}_layer_norm_coefficients", "input? forget? cell? output?"
)
BOTH_WAYS = (
    f"input {_of_cell('fw_')} {_of_cell('bw_')} "
    "fw_output_state! fw_cell_state! bw_output_state! bw_cell_state! aux_input? "
    + _of_gates("fw_aux_input_to_{}_weights", "input? forget? cell? output?")
    + " "
    + _of_gates("bw_aux_input_to_{}_weights", "input? forget? cell? output?")
)


def _rule(inputs: str) -> QuantRule:
    """All weights, peepholes among them, have one scale each."""
    names = (p.name for p in Parameter.parse(inputs) if p.name.endswith("_weights"))
    return QuantRule(weights=dict.fromkeys(names), hybrid=True, together=True)


# -- one cell -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its inputs by name behind ``prefix``, its activation and its clips (0: none)."""

    named: Mapping[str, Any]
    activation: Activation
    cell_clip: float
    proj_clip: float
    prefix: str = ""

    def _get(self, name: str) -> Any:
        return self.named.get(f"{self.prefix}{name}")

    def run(self, x: Array, aux: Array | None = None) -> Array:
        """The output after each step [time, batch, depth]; both states are left as the last has it.

        Each of the input, forget, cell and output gates has ``W · x + R · h``, with a peephole
        also ``p ⊙ c`` (c after the step, for the output gate). With layer normalization that is
        brought to mean 0 and variance 1 and scaled, then the bias is added. An absent input gate
        is what the forget gate leaves (CIFG).

        Source: Sak et al., "Long Short-Term Memory Based Recurrent Neural Network Architectures
        for Large Vocabulary Speech Recognition"; Ba et al., "Layer Normalization".
        """
        gates = [g for g in GATES if self._get(f"{g}_gate_bias") is not None]
        products = {g: self._products(g, x, aux) for g in gates}
        states = self._get("output_state"), self._get("cell_state")
        h, c = (state.reshape(x.shape[1], state.size // max(x.shape[1], 1)) for state in states)
        out = np.empty((*x.shape[:2], h.shape[1]), np.float32)
        for t in range(len(x)):
            now = {g: p[t] for g, p in products.items()}
            forget = _sigmoid(self._gate("forget", now, h, c))
            keep = _sigmoid(self._gate("input", now, h, c)) if "input" in now else 1 - forget
            new = numerics.activate(self._gate("cell", now, h), self.activation)
            c = _clip(forget * c + keep * new, self.cell_clip)
            emit = _sigmoid(self._gate("output", now, h, c))
            h = self._project(emit * numerics.activate(c, self.activation))
            out[t] = h
        for state, last in zip(states, (h, c), strict=True):
            state[...] = last.reshape(state.shape)
        return out

    def _products(self, gate: str, x: Array, aux: Array | None) -> Array:
        """What the inputs contribute to a gate in all steps at once."""
        out: Array = self._get(f"input_to_{gate}_weights")(x)
        return out if aux is None else out + self._get(f"aux_input_to_{gate}_weights")(aux)

    def _gate(self, gate: str, now: Mapping[str, Array], h: Array, c: Array | None = None) -> Array:
        """A gate before its activation."""
        z = now[gate] + self._get(f"recurrent_to_{gate}_weights")(h)
        peephole = self._get(f"cell_to_{gate}_weights")
        if peephole is not None and c is not None:
            z = z + peephole * c
        norm = self._get(f"{gate}_layer_norm_coefficients")
        if norm is not None:
            z = normalize(z) * norm
        return np.asarray(z + self._get(f"{gate}_gate_bias"))

    def _project(self, h: Array) -> Array:
        projection, bias = self._get("projection_weights"), self._get("projection_bias")
        if projection is None:
            return h
        out = projection(h)
        return _clip(out if bias is None else out + bias, self.proj_clip)


def _sigmoid(x: Array) -> Array:
    return np.float32(1) / (np.float32(1) + np.exp(-x))


def _clip(x: Array, limit: float) -> Array:
    return np.clip(x, -np.float32(limit), np.float32(limit)) if limit > 0 else x


def normalize(x: Array) -> Array:
    """Each row brought to mean 0 and variance 1; equal elements become 0."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + GUARD))


def compiled(
    named: Mapping[str, Operand | None],
    activation: Activation,
    clips: tuple[float, float],
    prefix: str = "",
    source: str = "input",
    aux: str | None = None,
) -> list[spec.Cell]:
    """The cell as compiled kernels know it.

    Args:
        clips: of the cell state and of the projection.
        aux: the auxiliary input, where it has weights.
    """

    def name(pattern: str, gate: str = "") -> str | None:
        found = prefix + pattern.format(gate)
        return found if named.get(found) is not None else None

    gates = tuple(
        spec.Gate(
            f"{prefix}input_to_{gate}_weights",
            f"{prefix}recurrent_to_{gate}_weights",
            f"{prefix}{gate}_gate_bias",
            aux and f"{prefix}aux_input_to_{gate}_weights",
            name("cell_to_{}_weights", gate),
            name("{}_layer_norm_coefficients", gate),
        )
        for gate in GATES
        if name("{}_gate_bias", gate)
    )
    units, depth = (extent(named[gates[-1].weights], axis) or 0 for axis in (0, 1))
    return [
        spec.Cell(
            gates,
            depth,
            units,
            extent(named[gates[-1].recurrent], 1) or 0,
            (f"{prefix}output_state", f"{prefix}cell_state"),
            activation,
            source,
            aux,
            name("projection_weights"),
            name("projection_bias"),
            *clips,
            float(GUARD),
        )
    ]


# -- its shape rule -----------------------------------------------------------------------------


def check_cell(
    named: Mapping[str, Operand | None], prefix: str, batch: Dim, depth: Dim, wide: Dim = None
) -> Dim:
    """How wide the cell's output is. Raises :class:`ShapeError` for inputs that do not fit.

    Args:
        prefix: of the names of the cell's inputs.
        batch, depth: extents of the input.
        wide: depth of the auxiliary input.
    """

    def get(name: str) -> Operand | None:
        return named.get(f"{prefix}{name}")

    units = extent(get("input_to_output_weights"), 0)
    width = extent(get("recurrent_to_output_weights"), 1)
    for gate in GATES:
        for source, columns in (("input", depth), ("recurrent", width), ("aux_input", wide)):
            expect(get(f"{source}_to_{gate}_weights"), f"{source} weights", units, columns)
        expect(get(f"cell_to_{gate}_weights"), "peephole", units)
        expect(get(f"{gate}_gate_bias"), "bias", units)
        expect(get(f"{gate}_layer_norm_coefficients"), "layer norm coefficients", units)
    expect(get("projection_weights"), "projection", width, units)
    expect(get("projection_bias"), "projection bias", width)
    x = named["input"]
    types = (INT8, INT16) if x is not None and x.dtype is INT8 else (FLOAT32, FLOAT32)
    expect_state(get("output_state"), "the output state", batch, width, types[0])
    expect_state(get("cell_state"), "the cell state", batch, units, types[1])
    for names in _companions(get):
        if len({get(n) is None for n in names}) > 1:
            absent = ", ".join(repr(prefix + n) for n in names if get(n) is None)
            raise ShapeError(f"{absent}: absent, though what belongs to it is there")
    if get("projection_weights") is None and None not in (units, width) and units != width:
        raise ShapeError(f"{units} units and {width} outputs, with no projection between them")
    if get("projection_weights") is None and get("projection_bias") is not None:
        raise ShapeError(f"{prefix}projection_bias without projection_weights")
    return width


def _companions(get: Any) -> Iterator[list[str]]:
    """Inputs of a cell of which all are there, or none."""
    yield ["input_to_input_weights", "recurrent_to_input_weights", "input_gate_bias"]
    coupled = get("input_gate_bias") is None
    gates = GATES[1:] if coupled else GATES
    yield [f"cell_to_{g}_weights" for g in gates if g != "cell"]
    yield [f"{g}_layer_norm_coefficients" for g in gates]
    yield [f"aux_input_to_{g}_weights" for g in gates]


# -- the operators ------------------------------------------------------------------------------


class _OneWay(Recurrent, abstract=True):
    """What a step and a sequence have in common."""

    inputs = ONE_WAY
    quant = _rule(ONE_WAY)
    activation: Activation = attr(Activation.NONE, "FusedActivationFunction")
    cell_clip: float = attr(0.0)
    proj_clip: float = attr(0.0)
    intermediates: tuple[Intermediate, ...] = attr((), stored=False)
    integer_types = (INT8,)

    def lent(self) -> Sequence[Intermediate]:
        return self.intermediates

    def lend(self, intermediates: Sequence[Intermediate]) -> Self:
        return self.replace(intermediates=tuple(intermediates))

    def check_types(self, named: Mapping[str, Operand | None]) -> None:
        super().check_types(named)
        x = named["input"]
        if x is not None and x.dtype is INT8:
            integer_lstm.check(named, self.intermediates, self.name)

    def integer(
        self,
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
        *arrays: Array | None,
    ) -> Array:
        given = self.named(arrays)
        return self.through(IntegerCell(self.scales(inputs, outputs), given).run, given["input"])

    def scales(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> integer_lstm.Scales:
        """What the codes of these tensors stand for."""
        operands = self.named(inputs) | {"output": outputs[0]}
        return integer_lstm.Scales(operands, self.intermediates, self.cell_clip, self.proj_clip)

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> spec.IntegerRecurrent | None:
        cells = self.cells(self.named(inputs))
        self.check_types(self.named(inputs))
        if not cells or not all(varies(self.named(inputs)[name]) for name in cells[0].states):
            return None
        major = bool(self.attributes().get("time_major"))
        return integer_lstm.request(self.scales(inputs, outputs), cells[0], major)

    @abstractmethod
    def through(self, cell: Callable[[Array], Array], x: Array) -> Array:
        """What ``cell`` makes of the input ``x``: it takes and gives [time, batch, …]."""

    def compute(self, named: Mapping[str, Any]) -> Array:
        return self.through(self.cell(named).run, named["input"])

    def check_arity(self, inputs: int, outputs: int | None = None) -> None:
        super().check_arity(inputs, outputs)
        if inputs not in (20, 24):
            raise ShapeError(f"{self.name} takes 20 inputs, or 24, and was given {inputs}")

    def cells(self, named: Mapping[str, Operand | None]) -> Sequence[spec.Cell]:
        if self.attributes().get("diagonal_recurrent_tensors"):
            return []
        return compiled(named, self.activation, (self.cell_clip, self.proj_clip))

    def cell(self, named: Mapping[str, Any]) -> Cell:
        return Cell(named, self.activation, self.cell_clip, self.proj_clip)


def _states(
    named: Mapping[str, Operand | None], batch: Dim, prefix: str = ""
) -> Mapping[str, Shape]:
    units = extent(named[f"{prefix}input_to_output_weights"], 0)
    width = extent(named[f"{prefix}recurrent_to_output_weights"], 1)
    return {f"{prefix}output_state": (batch, width), f"{prefix}cell_state": (batch, units)}


def _weights(hybrid: bool, *shape: int) -> Tensor:
    if hybrid:
        return int8_weights(*shape, axis=None, scale=0.2)
    return weights(*shape, scale=0.2)


def _cell_tensors(
    depth: int, units: int, width: int, hybrid: bool, coupled: bool, peephole: bool, bias: bool
) -> list[Tensor | None]:
    """Inputs of a cell in order; it is projected where ``width`` differs from ``units``."""
    gates = [g for g in GATES if not (coupled and g == "input")]
    of_input: list[Tensor | None] = [
        _weights(hybrid, units, depth) if g in gates else None for g in GATES
    ]
    of_state = [_weights(hybrid, units, width) if g in gates else None for g in GATES]
    of_cell = [
        _weights(hybrid, units) if peephole and g in gates else None for g in GATES if g != "cell"
    ]
    biases = [weights(units) if g in gates else None for g in GATES]
    projected = width != units
    projection = [
        _weights(hybrid, width, units) if projected else None,
        weights(width) if projected and bias else None,
    ]
    return [*of_input, *of_state, *of_cell, *biases, *projection]


def _example(
    shape: tuple[int, ...],
    units: int,
    width: int = 0,
    *,
    hybrid: bool = False,
    coupled: bool = False,
    peephole: bool = False,
    bias: bool = False,
    norm: bool = False,
    **attributes: Any,
) -> Case:
    """A case of one cell, for an input of ``shape``."""
    width = width or units
    batch = shape[1 if attributes.get("time_major") else 0]
    cell = _cell_tensors(shape[-1], units, width, hybrid, coupled, peephole, bias)
    norms = [weights(units) if norm and not (coupled and g == "input") else None for g in GATES]
    given = {"activation": Activation.TANH, **attributes}
    x, states = f32(*shape), (variable(batch, width), variable(batch, units))
    return case(x, *cell, *states, *(norms if norm else ()), **given)


class LSTM(_OneWay):
    """One step of a cell with input, forget, cell and output gates, for x [batch, depth]."""

    name = "LSTM"
    options = "LSTMOptions"
    kernel_type: int = attr(0)
    asymmetric_quantize_inputs: bool = attr(False)

    def settle(self, outputs: Sequence[Operand]) -> Any:
        """One of the basic kernel type has other inputs and results."""
        return BasicLSTM(activation=self.activation) if self.kernel_type == 1 else self

    def infer(self, *inputs: Operand) -> Sequence[TensorType]:
        named = self.named(inputs)
        self.check_types(named)
        x = named["input"]
        batch, depth = rank_of(x, "input", 2) or (None, None)
        return [TensorType(x.dtype, (batch, check_cell(named, "", batch, depth)))]

    def states(self, inputs: Sequence[Operand | None]) -> Mapping[str, Shape]:
        return _states(self.named(inputs), extent(inputs[0], 0))

    def through(self, cell: Callable[[Array], Array], x: Array) -> Array:
        return np.asarray(cell(x[None])[0])

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        return self.graded(inputs, 3, 4)

    cases = (
        _example((3, 8), 6),
        _example((1, 8), 6, norm=True),
        _example((3, 8), 6, 4, peephole=True, bias=True, cell_clip=0.5, proj_clip=0.3),
        _example((3, 8), 6, coupled=True, activation=Activation.RELU),
        _example((3, 40), 24, hybrid=True),
        _example((3, 40), 24, 16, hybrid=True, peephole=True, asymmetric_quantize_inputs=True),
    )


class SequenceLSTM(_OneWay):
    """LSTM over all steps of a sequence [batch, time, depth], or with ``time_major`` time first."""

    name = "UNIDIRECTIONAL_SEQUENCE_LSTM"
    options = "UnidirectionalSequenceLSTMOptions"
    time_major: bool = attr(False)
    asymmetric_quantize_inputs: bool = attr(False)
    diagonal_recurrent_tensors: bool = attr(False)

    def infer(self, *inputs: Operand) -> Sequence[TensorType]:
        named = self.named(inputs)
        self.check_types(named)
        time, batch, depth = sequence_extents(named["input"], self.time_major)
        width = check_cell(named, "", batch, depth)
        shape = sequence_shape(time, batch, width, self.time_major)
        return [TensorType(named["input"].dtype, shape)]

    def states(self, inputs: Sequence[Operand | None]) -> Mapping[str, Shape]:
        return _states(self.named(inputs), extent(inputs[0], int(self.time_major)))

    def through(self, cell: Callable[[Array], Array], x: Array) -> Array:
        return time_first(cell(time_first(x, self.time_major)), self.time_major)

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        return 4 if self.diagonal_recurrent_tensors else self.graded(inputs, 2, 3)

    cases = (
        _example((1, 5, 8), 6),
        _example((5, 3, 8), 6, time_major=True),
        _example((3, 5, 8), 6, coupled=True),
        _example((3, 5, 8), 6, peephole=True, cell_clip=0.4),
        _example((3, 5, 8), 6, 4, bias=True, proj_clip=0.3),
        _example((3, 5, 8), 6, 4),
        _example((3, 5, 8), 6, norm=True, activation=Activation.RELU6),
        _example((3, 5, 8), 6, 4, norm=True, coupled=True, peephole=True, time_major=True),
        _example((3, 5, 40), 24, hybrid=True),
        _example((5, 3, 40), 24, hybrid=True, time_major=True),
        _example((3, 5, 40), 24, hybrid=True, asymmetric_quantize_inputs=True),
        _example((3, 5, 40), 24, 16, hybrid=True, peephole=True, bias=True, proj_clip=0.6),
        _example((3, 5, 40), 24, hybrid=True, norm=True, coupled=True, cell_clip=0.6),
    )


def _both_ways(
    time: int,
    batch: int,
    depth: int,
    units: int,
    width: int = 0,
    *,
    aux: int = 0,
    crossed: bool = True,
    hybrid: bool = False,
    coupled: bool = False,
    peephole: bool = False,
    **attributes: Any,
) -> Case:
    """A sequence through a cell forward and another backward; ``aux``: the auxiliary depth."""
    width = width or units
    major = bool(attributes.setdefault("time_major", True))
    x, extra = (f32(*_fixed(time, batch, d, major)) for d in (depth, aux))
    cells = [_cell_tensors(depth, units, width, hybrid, coupled, peephole, False) for _ in "12"]
    states = [variable(batch, n) for _ in "12" for n in (width, units)]
    gates = [aux and crossed and not (coupled and g == "input") for _ in "12" for g in GATES]
    crossing = [_weights(hybrid, units, aux) if there else None for there in gates]
    given = {"activation": Activation.TANH, **attributes}
    return case(x, *cells[0], *cells[1], *states, extra if aux else None, *crossing, **given)


def _fixed(time: int, batch: int, depth: int, time_major: bool) -> tuple[int, int, int]:
    return (time, batch, depth) if time_major else (batch, time, depth)


class BidirectionalSequenceLSTM(Recurrent):
    """A cell that reads the sequence forward and one that reads it backward.

    The auxiliary input, where there is one, either goes through weights of its own in both cells,
    or (without such weights) is what the backward cell reads in place of the input. Results stay
    in the order of the input's steps; ``merge_outputs`` joins them along the last axis.
    """

    name = "BIDIRECTIONAL_SEQUENCE_LSTM"
    options = "BidirectionalSequenceLSTMOptions"
    inputs = BOTH_WAYS
    outputs = "fw_output bw_output?"
    quant = _rule(BOTH_WAYS)
    activation: Activation = attr(Activation.NONE, "FusedActivationFunction")
    cell_clip: float = attr(0.0)
    proj_clip: float = attr(0.0)
    merge_outputs: bool = attr(False)
    time_major: bool = attr(True)
    asymmetric_quantize_inputs: bool = attr(False)

    def infer(self, *inputs: Operand) -> Sequence[TensorType]:
        named = self.named(inputs)
        self.check_types(named)
        x, aux = named["input"], named["aux_input"]
        time, batch, depth = sequence_extents(x, self.time_major)
        if aux is not None:
            expect(aux, "auxiliary input", *sequence_shape(time, batch, None, self.time_major))
        crossed = [self._is_crossed(named, d) for d in ("fw", "bw")]
        if crossed[0] != crossed[1] or (crossed[0] and aux is None):
            raise ShapeError(
                f"{self.name}: auxiliary weights come for both directions, with an auxiliary input"
            )
        wide = extent(aux, 2)
        apart = aux is not None and not crossed[0]
        widths = [
            check_cell(named, "fw_", batch, depth, wide),
            check_cell(named, "bw_", batch, wide if apart else depth, wide),
        ]
        return both_types(x, (time, batch), widths, self.time_major, self.merge_outputs)

    @staticmethod
    def _is_crossed(named: Mapping[str, Any], direction: str) -> bool:
        return named[f"{direction}_aux_input_to_output_weights"] is not None

    def states(self, inputs: Sequence[Operand | None]) -> Mapping[str, Shape]:
        named, batch = self.named(inputs), extent(inputs[0], int(self.time_major))
        return {**_states(named, batch, "fw_"), **_states(named, batch, "bw_")}

    def cells(self, named: Mapping[str, Operand | None]) -> Sequence[spec.Cell]:
        aux, source = both_sources(named, self._is_crossed(named, "fw"))
        given = named, self.activation, (self.cell_clip, self.proj_clip)
        return compiled(*given, "fw_", "input", aux) + compiled(*given, "bw_", source, aux)

    def compute(self, named: Mapping[str, Any]) -> tuple[Array, ...]:
        passes = both_inputs(named, self._is_crossed(named, "fw"), self.time_major)
        results = [
            Cell(named, self.activation, self.cell_clip, self.proj_clip, f"{d}_").run(x, aux)
            for d, x, aux in passes
        ]
        return both_results(results, self.time_major, self.merge_outputs)

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        return self.graded(inputs, 2, 3)

    cases = (
        _both_ways(5, 1, 8, 6, time_major=False),
        _both_ways(5, 1, 8, 6, merge_outputs=True, time_major=False),
        _both_ways(4, 3, 8, 6, time_major=True),
        _both_ways(4, 2, 8, 6, 4, coupled=True, merge_outputs=True, cell_clip=0.5, proj_clip=0.2),
        _both_ways(4, 2, 8, 6, peephole=True, aux=5, time_major=False),
        _both_ways(4, 2, 8, 6, aux=5, merge_outputs=True),
        _both_ways(4, 2, 8, 6, aux=8, crossed=False, time_major=False),
        _both_ways(4, 2, 8, 6, aux=8, crossed=False, time_major=True),
        _both_ways(5, 3, 40, 24, hybrid=True, time_major=False),
        _both_ways(5, 3, 40, 24, 16, hybrid=True, peephole=True, merge_outputs=True),
        _both_ways(5, 3, 40, 24, aux=16, hybrid=True, asymmetric_quantize_inputs=True),
        _both_ways(5, 3, 40, 24, aux=16, hybrid=True, time_major=False, coupled=True),
        _both_ways(5, 3, 40, 24, aux=40, crossed=False, hybrid=True, time_major=False),
        # LiteRT writes the merged rows of all sequences but the first to a wrong place.
        _both_ways(5, 3, 8, 6, merge_outputs=True, time_major=False, litert=False),
    )
