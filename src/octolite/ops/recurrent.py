"""Recurrent operators with one matrix for the input and one for the state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from octolite.errors import ShapeError
from octolite.ir import numerics
from octolite.ir.types import Activation, Array, Dim, Operand, Shape, TensorType
from octolite.kernels import spec
from octolite.ops.base import QuantRule, attr
from octolite.ops.case import Case, case, f32, int8_weights, variable, weights
from octolite.ops.cells import (
    Matrix,
    Recurrent,
    expect,
    expect_state,
    extent,
    sequence_extents,
    sequence_shape,
    time_first,
)
from octolite.ops.shapes import rank_of

WEIGHTS = QuantRule(
    weights={"weights": None, "recurrent_weights": None}, hybrid=True, together=True
)


def steps(
    products: Array, named: Mapping[str, Any], activation: Activation, prefix: str = ""
) -> Array:
    """``h = act(product + R · h + bias)``, step by step; the last ``h`` is the new state.

    Args:
        products: float32 [time, batch, units], what the inputs contribute to each step.
        named: recurrent weights, bias and hidden state of the cell, their names after ``prefix``.

    Returns:
        float32 [time, batch, units], ``h`` after each step.
    """
    recurrent: Matrix = named[f"{prefix}recurrent_weights"]
    bias, state = named[f"{prefix}bias"], named[f"{prefix}hidden_state"]
    out = np.empty_like(products)
    h = state.reshape(products.shape[1:])
    for t, inputs in enumerate(products):
        h = numerics.activate(inputs + recurrent(h) + bias, activation)
        out[t] = h
    state[...] = h.reshape(state.shape)
    return out


def check_cell(named: Mapping[str, Operand | None], prefix: str, batch: Dim, depth: Dim) -> Dim:
    """How many units a cell has. Raises :class:`ShapeError` for weights that do not fit."""
    units = extent(named[f"{prefix}weights"], 0)
    expect(named[f"{prefix}weights"], "weights", units, depth)
    expect(named[f"{prefix}recurrent_weights"], "recurrent weights", units, units)
    expect(named[f"{prefix}bias"], "bias", units)
    expect_state(named[f"{prefix}hidden_state"], "the state", batch, units)
    return units


def plain_cell(
    named: Mapping[str, Operand | None],
    activation: Activation,
    prefix: str = "",
    source: str = "input",
    aux: str | None = None,
) -> spec.Cell:
    """A cell as compiled kernels know it; ``aux``: the auxiliary input, where it has weights."""
    units = extent(named[f"{prefix}weights"], 0) or 0
    gate = spec.Gate(
        f"{prefix}weights",
        f"{prefix}recurrent_weights",
        f"{prefix}bias",
        aux and f"{prefix}aux_weights",
    )
    depth = extent(named[gate.weights], 1) or 0
    states = (f"{prefix}hidden_state",)
    return spec.Cell((gate,), depth, units, units, states, activation, source, aux)


class RNN(Recurrent):
    """One step for each row of the batch: ``h = act(W · x + R · h + bias)``, which is the result.

    x [batch, depth], W [units, depth], R [units, units].
    """

    name = "RNN"
    options = "RNNOptions"
    inputs = "input weights recurrent_weights bias hidden_state!"
    activation: Activation = attr(Activation.NONE, "FusedActivationFunction")
    asymmetric_quantize_inputs: bool = attr(False)
    quant = WEIGHTS

    def infer(self, *inputs: Operand) -> Sequence[TensorType]:
        named = self.named(inputs)
        self.check_types(named)
        x = named["input"]
        batch, depth = rank_of(x, "input", 2) or (None, None)
        units = check_cell(named, "", batch, depth)
        return [TensorType(x.dtype, (batch, units))]

    def states(self, inputs: Sequence[Operand | None]) -> Mapping[str, Shape]:
        return {"hidden_state": (extent(inputs[0], 0), extent(inputs[1], 0))}

    def cells(self, named: Mapping[str, Operand | None]) -> Sequence[spec.Cell]:
        return [plain_cell(named, self.activation)]

    def compute(self, named: Mapping[str, Any]) -> Array:
        products = named["weights"](named["input"])[None]
        return np.asarray(steps(products, named, self.activation)[0])

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        return self.graded(inputs, 2, 3)

    cases = (
        case(f32(3, 8), weights(6, 8), weights(6, 6), weights(6), variable(3, 6)),
        case(
            f32(1, 8),
            weights(6, 8),
            weights(6, 6),
            weights(6),
            variable(1, 6),
            activation=Activation.TANH,
        ),
        case(
            f32(3, 40),
            int8_weights(24, 40, axis=None, scale=0.2),
            int8_weights(24, 24, axis=None, scale=0.2),
            weights(24),
            variable(3, 24),
            activation=Activation.TANH,
        ),
        case(
            f32(3, 40, low=0.0),
            int8_weights(24, 40, axis=None, scale=0.2),
            int8_weights(24, 24, axis=None, scale=0.2),
            weights(24),
            variable(3, 24),
            activation=Activation.RELU6,
            asymmetric_quantize_inputs=True,
        ),
    )


def _sequence(
    time: int, batch: int, depth: int, units: int, hybrid: bool = False, **attributes: Any
) -> Case:
    """A sequence through one cell."""
    w = _weights(hybrid)
    return case(
        f32(*sequence_shape_of(time, batch, depth, attributes)),
        w(units, depth),
        w(units, units),
        weights(units),
        variable(batch, units),
        **attributes,
    )


def _weights(hybrid: bool) -> Any:
    def small(*shape: int) -> Any:
        if hybrid:
            return int8_weights(*shape, axis=None, scale=0.2)
        return weights(*shape, scale=0.2)

    return small


def sequence_shape_of(
    time: int, batch: int, depth: int, attributes: Mapping[str, Any]
) -> tuple[int, int, int]:
    """The shape of a case's sequence, as its attribute ``time_major`` has it."""
    return (time, batch, depth) if attributes.get("time_major") else (batch, time, depth)


class SequenceRNN(Recurrent):
    """RNN over all steps of a sequence [batch, time, depth], or with ``time_major`` time first."""

    name = "UNIDIRECTIONAL_SEQUENCE_RNN"
    options = "SequenceRNNOptions"
    inputs = "input weights recurrent_weights bias hidden_state!"
    time_major: bool = attr(False)
    activation: Activation = attr(Activation.NONE, "FusedActivationFunction")
    asymmetric_quantize_inputs: bool = attr(False)
    quant = WEIGHTS

    def infer(self, *inputs: Operand) -> Sequence[TensorType]:
        named = self.named(inputs)
        self.check_types(named)
        time, batch, depth = sequence_extents(named["input"], self.time_major)
        units = check_cell(named, "", batch, depth)
        shape = sequence_shape(time, batch, units, self.time_major)
        return [TensorType(named["input"].dtype, shape)]

    def states(self, inputs: Sequence[Operand | None]) -> Mapping[str, Shape]:
        return {"hidden_state": (extent(inputs[0], int(self.time_major)), extent(inputs[1], 0))}

    def cells(self, named: Mapping[str, Operand | None]) -> Sequence[spec.Cell]:
        return [plain_cell(named, self.activation)]

    def compute(self, named: Mapping[str, Any]) -> Array:
        products = named["weights"](time_first(named["input"], self.time_major))
        return time_first(steps(products, named, self.activation), self.time_major)

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        return self.graded(inputs, 2, 3)

    cases = (
        _sequence(5, 1, 8, 6, activation=Activation.TANH),
        _sequence(5, 3, 8, 6, activation=Activation.TANH),
        _sequence(4, 3, 8, 6, activation=Activation.RELU, time_major=True),
        _sequence(4, 2, 8, 6, activation=Activation.NONE),
        _sequence(6, 3, 40, 24, True, activation=Activation.TANH),
        _sequence(6, 3, 40, 24, True, activation=Activation.TANH, time_major=True),
        _sequence(6, 3, 40, 24, True, activation=Activation.TANH, asymmetric_quantize_inputs=True),
    )


def _both_ways(
    time: int,
    batch: int,
    depth: int,
    units: tuple[int, int],
    aux: int = 0,
    crossed: bool = True,
    **attributes: Any,
) -> Case:
    """A sequence through a cell forward and another backward; ``aux``: the auxiliary depth."""
    w = _weights(attributes.pop("hybrid", False))
    cells = [part for n in units for part in (w(n, depth), w(n, n), weights(n), variable(batch, n))]
    x, extra = (f32(*sequence_shape_of(time, batch, d, attributes)) for d in (depth, aux))
    crossing = [w(n, aux) if aux and crossed else None for n in units]
    return case(x, *cells, extra if aux else None, *crossing, **attributes)


_ASYMMETRIC: dict[str, Any] = {
    "activation": Activation.TANH,
    "asymmetric_quantize_inputs": True,
}


class BidirectionalSequenceRNN(Recurrent):
    """A cell that reads the sequence forward and one that reads it backward.

    The auxiliary input, where there is one, either goes through weights of its own in both cells,
    or (without such weights) is what the backward cell reads in place of the input. Results stay
    in the order of the input's steps; ``merge_outputs`` joins them along the last axis.
    """

    name = "BIDIRECTIONAL_SEQUENCE_RNN"
    options = "BidirectionalSequenceRNNOptions"
    inputs = (
        "input fw_weights fw_recurrent_weights fw_bias fw_hidden_state! "
        "bw_weights bw_recurrent_weights bw_bias bw_hidden_state! "
        "aux_input? fw_aux_weights? bw_aux_weights?"
    )
    outputs = "fw_output bw_output?"
    time_major: bool = attr(False)
    activation: Activation = attr(Activation.NONE, "FusedActivationFunction")
    merge_outputs: bool = attr(False)
    asymmetric_quantize_inputs: bool = attr(False)
    quant = QuantRule(
        weights={
            f"{d}_{kind}weights": None for d in ("fw", "bw") for kind in ("", "recurrent_", "aux_")
        },
        hybrid=True,
        together=True,
    )

    def infer(self, *inputs: Operand) -> Sequence[TensorType]:
        named = self.named(inputs)
        self.check_types(named)
        x, aux = named["input"], named["aux_input"]
        time, batch, depth = sequence_extents(x, self.time_major)
        wide = None
        if aux is not None:
            expect(aux, "auxiliary input", *sequence_shape(time, batch, None, self.time_major))
            wide = extent(aux, 2)
        crossed = [named[f"{d}_aux_weights"] is not None for d in ("fw", "bw")]
        if crossed[0] != crossed[1] or (crossed[0] and aux is None):
            raise ShapeError(
                f"{self.name}: auxiliary weights come for both directions, with an auxiliary input"
            )
        widths = []
        for d in ("fw", "bw"):
            apart = d == "bw" and aux is not None and not crossed[0]
            units = check_cell(named, f"{d}_", batch, wide if apart else depth)
            expect(named[f"{d}_aux_weights"], "auxiliary weights", units, wide)
            widths.append(units)
        return both_types(x, (time, batch), widths, self.time_major, self.merge_outputs)

    def states(self, inputs: Sequence[Operand | None]) -> Mapping[str, Shape]:
        named, batch = self.named(inputs), extent(inputs[0], int(self.time_major))
        return {
            f"{d}_hidden_state": (batch, extent(named[f"{d}_weights"], 0)) for d in ("fw", "bw")
        }

    def cells(self, named: Mapping[str, Operand | None]) -> Sequence[spec.Cell]:
        aux, source = both_sources(named, named["fw_aux_weights"] is not None)
        return [
            plain_cell(named, self.activation, "fw_", "input", aux),
            plain_cell(named, self.activation, "bw_", source, aux),
        ]

    def compute(self, named: Mapping[str, Any]) -> Array | tuple[Array, ...]:
        results = []
        for d, x, aux in both_inputs(named, named["fw_aux_weights"] is not None, self.time_major):
            products = named[f"{d}_weights"](x)
            if aux is not None:
                products = products + named[f"{d}_aux_weights"](aux)
            results.append(steps(products, named, self.activation, f"{d}_"))
        return both_results(results, self.time_major, self.merge_outputs)

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        return self.graded(inputs, 2, 3)

    cases = (
        _both_ways(5, 1, 8, (6, 6), activation=Activation.TANH),
        _both_ways(5, 3, 8, (6, 4), activation=Activation.TANH, merge_outputs=True),
        _both_ways(4, 4, 8, (6, 4), activation=Activation.TANH, time_major=True),
        _both_ways(4, 2, 8, (6, 4), aux=5, activation=Activation.RELU),
        _both_ways(4, 2, 8, (6, 4), aux=8, time_major=True, merge_outputs=True),
        _both_ways(4, 4, 8, (6, 4), aux=8, crossed=False, time_major=True),
        _both_ways(5, 3, 40, (24, 24), hybrid=True, activation=Activation.TANH),
        _both_ways(5, 3, 40, (24, 20), hybrid=True, merge_outputs=True, **_ASYMMETRIC),
        _both_ways(5, 3, 40, (24, 20), aux=40, hybrid=True, activation=Activation.TANH),
        _both_ways(5, 3, 40, (24, 20), aux=40, hybrid=True, **_ASYMMETRIC),
        # LiteRT steps through the auxiliary input as if it were as deep as the input,
        _both_ways(4, 2, 8, (6, 4), aux=5, time_major=True, merge_outputs=True, litert=False),
        _both_ways(5, 3, 40, (24, 20), aux=16, hybrid=True, litert=False, **_ASYMMETRIC),
        # reads it in place of the input only where time comes first,
        _both_ways(4, 2, 8, (6, 4), aux=8, crossed=False, litert=False),
        # and there runs the hybrid form over the whole sequence once for each step.
        _both_ways(4, 4, 40, (24, 24), hybrid=True, time_major=True, litert=False, **_ASYMMETRIC),
    )


def both_types(
    x: Operand, extents: tuple[Dim, Dim], widths: Sequence[Dim], time_major: bool, merged: bool
) -> list[TensorType]:
    """The results' types, for ``extents`` (time, batch) and the units of both directions."""
    if merged:
        fw, bw = widths
        widths = [None if fw is None or bw is None else fw + bw]
    return [TensorType(x.dtype, sequence_shape(*extents, width, time_major)) for width in widths]


def both_sources(named: Mapping[str, Operand | None], crossed: bool) -> tuple[str | None, str]:
    """The auxiliary input that both cells read beside the input, and what the backward cell reads.

    ``crossed``: the auxiliary input has weights of its own.
    """
    if named["aux_input"] is None:
        return None, "input"
    return ("aux_input", "input") if crossed else (None, "aux_input")


def both_inputs(
    named: Mapping[str, Any], crossed: bool, time_major: bool
) -> list[tuple[str, Array, Array | None]]:
    """For each direction its prefix, input and auxiliary input, the step that it reads first first.

    ``crossed``: the auxiliary input has weights of its own.
    """
    x = time_first(named["input"], time_major)
    if named["aux_input"] is None:
        return [("fw", x, None), ("bw", x[::-1], None)]
    aux = time_first(named["aux_input"], time_major)
    if crossed:
        return [("fw", x, aux), ("bw", x[::-1], aux[::-1])]
    return [("fw", x, None), ("bw", aux[::-1], None)]


def both_results(results: Sequence[Array], time_major: bool, merged: bool) -> tuple[Array, ...]:
    """What a forward and a backward pass give, in the order of the input's steps."""
    fw, bw = results
    outs = [time_first(fw, time_major), time_first(bw[::-1], time_major)]
    return (np.concatenate(outs, -1),) if merged else tuple(outs)
