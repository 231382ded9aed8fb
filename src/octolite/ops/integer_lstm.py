"""A fully quantized LSTM cell: int8 activations and weights, an int16 cell state.

The sums of a gate, peepholes and layer normalization are int16 in F(3), gates int16 in F(0) (see
:mod:`octolite.ir.fixed_point`). What a cell gives before it is projected has a scale of its own,
which the operator's last intermediate tensor tells; with layer normalization the other four tell
those of the gates' sums. Source: TFLite's specification of its quantized LSTM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from octolite.errors import UnsupportedError
from octolite.ir import fixed_point, gates
from octolite.ir.fixed_point import Codes, Multiplier, saturate, wrap
from octolite.ir.types import INT8, INT16, INT32, Array, Operand
from octolite.kernels import spec
from octolite.ops.base import Intermediate

GATES = ("input", "forget", "cell", "output")
INTERMEDIATES = 5
CELL_EXPONENTS = range(-15, -8)
"""Logarithms of the scales that a cell state may have."""
_TYPES = {"cell_to_": INT16, "cell_state": INT16, "layer_norm": INT16, "bias": INT32}
"""Types of inputs by a part of their names; others are int8."""
_GUARD = 10_000
"""The least variance of a gate's sums, in units of a coefficient of layer normalization."""


def check(
    named: Mapping[str, Operand | None], intermediates: Sequence[Intermediate], operator: str
) -> None:
    """Raise :class:`UnsupportedError` for a quantization that TFLite's kernel does not take."""
    for name, operand in named.items():
        wanted = next((t for part, t in _TYPES.items() if part in name), INT8)
        if operand is not None and (operand.dtype is not wanted):
            raise UnsupportedError(
                f"{operator} of int8 activations takes {name} of {wanted}, and "
                f"{operand.name!r} is {operand.dtype}"
            )
    if len(intermediates) != INTERMEDIATES:
        reason = f"has {len(intermediates)} intermediate tensors, expected {INTERMEDIATES}"
        if len(intermediates) == 12:
            reason += ": the form with products of 8 bits reads beyond its factors in TFLite"
        raise UnsupportedError(f"{operator} of int8 activations {reason}")
    norm = named["forget_layer_norm_coefficients"] is not None
    for index, between in enumerate(intermediates):
        if between.scale is None and (norm or index == INTERMEDIATES - 1):
            absent = norm and index == 0 and named["input_gate_bias"] is None
            if not absent:
                raise UnsupportedError(
                    f"{operator} of int8 activations needs the scale of what it computes on the "
                    f"way, and its intermediate tensor {index} has none"
                )
    cell = named["cell_state"]
    if cell is None or cell.quant is None or _exponent(cell) not in CELL_EXPONENTS:
        raise UnsupportedError(
            f"{operator} of int8 activations takes cell states whose scale is a power of two from "
            f"2^{CELL_EXPONENTS[0]} to 2^{CELL_EXPONENTS[-1]}, and {cell!r} has {_scale(cell)}"
        )


def _exponent(cell: Operand) -> int | None:
    assert cell.quant is not None
    scale = cell.quant.scale[0]
    return fixed_point.power_of_two(scale) if scale > 0 and np.isfinite(scale) else None


def _scale(x: Operand | None) -> np.float32:
    """The one scale of a tensor; 1 for one that is absent."""
    if x is None or x.quant is None:
        return np.float32(1)
    return np.float32(x.quant.scale[0])


@dataclass(frozen=True)
class Scales:
    """What the numbers of one operator stand for: its inputs and its result, ``output``, by name;
    clips are 0 for none."""

    operands: Mapping[str, Operand | None]
    intermediates: Sequence[Intermediate]
    cell_clip: float
    proj_clip: float

    @property
    def gates(self) -> list[str]:
        """The gates that are there."""
        return [g for g in GATES if self.operands[f"{g}_gate_bias"] is not None]

    def zero(self, source: str) -> int:
        """The zero point of the ``input``, or of the ``recurrent`` state."""
        return int(Codes.of(self._source(source)).zero)

    def product(self, source: str, gate: str) -> np.float32:
        """What makes products of a source's codes and weights sums of a gate."""
        return self._of(source, gate) * _scale(self._source(source)) / self._unit(gate)

    def peephole(self, gate: str) -> np.float32:
        """What makes products with the cell state sums of a gate."""
        unit = np.float64(2.0) ** self.cell_exponent * self._of("cell", gate)
        return np.float32(unit / self._unit(gate))

    @property
    def cell_exponent(self) -> int:
        """The logarithm of the cell state's scale."""
        cell = self.operands["cell_state"]
        assert cell is not None
        exponent = _exponent(cell)
        assert exponent is not None
        return exponent

    @property
    def emitted(self) -> np.float32:
        """What makes products of F(0) and F(0) codes."""
        scale = np.float32(self.intermediates[-1].scale)
        return np.float32(2.0**-15 / np.float64(scale) * 2.0**-15)

    @property
    def projected(self) -> np.float32:
        """What makes sums of the projection results."""
        scale = np.float32(self.intermediates[-1].scale)
        weights = _scale(self.operands["projection_weights"])
        return weights * scale / _scale(self.operands["output_state"])

    @property
    def cell_limit(self) -> int:
        """The code at which the cell state is cut off; 0: nowhere."""
        return _clip_code(self.cell_clip, _scale(self.operands["cell_state"]), gates.HIGH)

    @property
    def output_limit(self) -> int:
        """The same of what is projected."""
        return _clip_code(self.proj_clip, _scale(self.operands["output"]), 127)

    def _source(self, source: str) -> Operand | None:
        return self.operands["input" if source == "input" else "output_state"]

    def _of(self, source: str, gate: str) -> np.float32:
        return _scale(self.operands[f"{source}_to_{gate}_weights"])

    def _unit(self, gate: str) -> np.float32:
        """What 1 stands for in the sums of a gate."""
        if self.operands["forget_layer_norm_coefficients"] is None:
            return np.float32(2.0**-12)
        scale = self.intermediates[GATES.index(gate)].scale
        assert scale is not None
        return np.float32(scale)


@dataclass(frozen=True)
class IntegerCell:
    """The cell of one operator with its arrays, by name."""

    scales: Scales
    arrays: Mapping[str, Any]

    def run(self, x: Array) -> Array:
        """The output codes after each step [time, batch, width] of ``x`` [time, batch, depth];
        both states are left as the last step has them."""
        states = self.arrays["output_state"], self.arrays["cell_state"]
        batch = x.shape[1]
        h, c = (s.reshape(batch, s.size // max(batch, 1)).astype(np.int64) for s in states)
        products = {g: gates.short(self._scaled("input", g, x)) for g in self.scales.gates}
        out = np.empty((*x.shape[:2], h.shape[1]), np.int8)
        for t in range(len(x)):
            h, c = self._step({g: p[t] for g, p in products.items()}, h, c)
            out[t] = h
        for state, last in zip(states, (h, c), strict=True):
            state[...] = last.reshape(state.shape)
        return out

    def _step(self, now: Mapping[str, Array], h: Array, c: Array) -> tuple[Array, Array]:
        forget = gates.sigmoid(self._sum("forget", now, h, c))
        keep = gates.sigmoid(self._sum("input", now, h, c)) if "input" in now else None
        keep = gates.HIGH - forget if keep is None else keep
        new = gates.tanh(self._sum("cell", now, h, None))
        exponent = self._cell_exponent
        c = gates.short(gates.product(forget, c, 15) + gates.product(keep, new, 30 + exponent))
        limit = self.scales.cell_limit
        if limit > 0:
            c = np.clip(c, -limit, limit)
        emit = gates.sigmoid(self._sum("output", now, h, c))
        return self._output(emit * gates.tanh(c, 15 + exponent)), c

    def _sum(self, gate: str, now: Mapping[str, Array], h: Array, c: Array | None) -> Array:
        """A gate before its activation."""
        z = gates.short(now[gate] + self._scaled("recurrent", gate, h))
        peephole = self.arrays[f"cell_to_{gate}_weights"] if c is not None else None
        if peephole is not None:
            z = gates.short(z + self._peepholes[gate](c * peephole))
        norm = self.arrays[f"{gate}_layer_norm_coefficients"]
        if norm is None:
            return z
        scale = _scale(self.scales.operands[f"{gate}_layer_norm_coefficients"])
        least = max(1, int(np.float32(_GUARD) * scale))
        bias = self.arrays[f"{gate}_gate_bias"].astype(np.int64)
        return gates.normalize(z, norm.astype(np.int64), bias, Multiplier.of(scale), least)

    def _scaled(self, source: str, gate: str, x: Array) -> Array:
        """What the input, or the state, contributes to a gate, in the unit of its sums."""
        factor, zero, weights = self._products[source, gate]
        sums = _product(x.astype(np.int64) - zero, weights)
        if source == "input" and self.arrays[f"{gate}_layer_norm_coefficients"] is None:
            sums = sums + self.arrays[f"{gate}_gate_bias"]
        return factor(wrap(sums))

    @cached_property
    def _products(self) -> dict[tuple[str, str], tuple[Multiplier, int, Array]]:
        """What products are multiplied by, the zero point, and the weights as they are multiplied,
        by source and gate."""
        return {
            (source, gate): (
                Multiplier.of(self.scales.product(source, gate)),
                self.scales.zero(source),
                _turned(self.arrays[f"{source}_to_{gate}_weights"]),
            )
            for source in ("input", "recurrent")
            for gate in self.scales.gates
        }

    @cached_property
    def _peepholes(self) -> dict[str, Multiplier]:
        seeing = [g for g in self.scales.gates if g != "cell"]
        return {gate: Multiplier.of(self.scales.peephole(gate)) for gate in seeing}

    @cached_property
    def _cell_exponent(self) -> int:
        return self.scales.cell_exponent

    def _output(self, emitted: Array) -> Array:
        """Codes of the output state, from products of F(0) and F(0)."""
        factor, zero = Multiplier.of(self.scales.emitted), self.scales.intermediates[-1].zero
        weights, bias = self.arrays["projection_weights"], self.arrays["projection_bias"]
        if weights is None:
            return saturate(factor(emitted) + zero, -128, 127)
        hidden = saturate(factor(emitted) - zero, -128, 127)  # so in TFLite: minus, not plus
        sums = _product(hidden + zero, _turned(weights))
        sums = wrap(sums if bias is None else sums + bias)
        projected = Multiplier.of(self.scales.projected)
        out = saturate(projected(sums) + self.scales.zero("recurrent"), -128, 127)
        limit = self.scales.output_limit
        return np.clip(out, -limit, limit) if limit > 0 else out


def _turned(weights: Array) -> Array:
    """``weightsᵀ`` in float64, which holds every sum that int32 does."""
    return weights.T.astype(np.float64)


def _product(x: Array, weights: Array) -> Array:
    """Sums of products of integers, exact, by what :func:`_turned` has made of the weights."""
    return np.asarray(x.astype(np.float64) @ weights).astype(np.int64)


def _clip_code(limit: float, scale: np.float32, most: int) -> int:
    """The code at which a state is cut off; 0: nowhere."""
    return int(min(np.float32(limit) / scale, np.float32(most))) if limit > 0 else 0


# Compiled ------------------------------------------------------------------------------------

_ROOM = 2**30
"""What no sum of the inputs' products may reach."""


def request(scales: Scales, cell: spec.Cell, time_major: bool) -> spec.IntegerRecurrent | None:
    """What to ask of the kernels; ``None``: the reference runs. That is so where gates are
    normalized, where weights or biases are no constants, and where sums may be too large."""
    named = scales.operands
    constants = [named[name] for name, _ in cell.shapes()]
    if any(x is None or x.data is None or not x.data.size for x in constants):
        return None
    if cell.normalized or any(_largest_sum(named, g) >= _ROOM for g in cell.gates):
        return None
    there = scales.gates
    holes = [g for g in there if named.get(f"cell_to_{g}_weights") is not None]
    return spec.IntegerRecurrent(
        cell,
        scales.zero("input"),
        scales.zero("recurrent"),
        tuple(float(scales.product("input", g)) for g in there),
        tuple(float(scales.product("recurrent", g)) for g in there),
        tuple(float(scales.peephole(g)) for g in holes),
        float(scales.emitted),
        scales.intermediates[-1].zero,
        float(scales.projected) if cell.projection is not None else 1.0,
        scales.cell_exponent,
        scales.cell_limit,
        scales.output_limit,
        time_major,
    )


def _largest_sum(named: Mapping[str, Operand | None], gate: spec.Gate) -> int:
    """What the input's products with a gate, and its bias, may come to."""
    weights, bias = named[gate.weights], named[gate.bias]
    assert weights is not None
    assert bias is not None
    assert weights.data is not None
    assert bias.data is not None
    products = 255 * np.abs(weights.data.astype(np.int64)).sum(axis=1).max(initial=0)
    return int(products + np.abs(bias.data.astype(np.int64)).max(initial=0))
