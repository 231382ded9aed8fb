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
class IntegerCell:
    """The cell of one operator: its inputs, and their arrays, by name; clips are 0 for none."""

    operands: Mapping[str, Operand | None]
    arrays: Mapping[str, Any]
    intermediates: Sequence[Intermediate]
    cell_clip: float
    proj_clip: float

    def run(self, x: Array) -> Array:
        """The output codes after each step [time, batch, width] of ``x`` [time, batch, depth];
        both states are left as the last step has them."""
        states = self.arrays["output_state"], self.arrays["cell_state"]
        batch = x.shape[1]
        h, c = (s.reshape(batch, s.size // max(batch, 1)).astype(np.int64) for s in states)
        products = {g: gates.short(self._scaled("input", g, x)) for g in self._gates}
        out = np.empty((*x.shape[:2], h.shape[1]), np.int8)
        for t in range(len(x)):
            h, c = self._step({g: p[t] for g, p in products.items()}, h, c)
            out[t] = h
        for state, last in zip(states, (h, c), strict=True):
            state[...] = last.reshape(state.shape)
        return out

    @cached_property
    def _gates(self) -> list[str]:
        return [g for g in GATES if self.arrays[f"{g}_gate_bias"] is not None]

    def _step(self, now: Mapping[str, Array], h: Array, c: Array) -> tuple[Array, Array]:
        forget = gates.sigmoid(self._sum("forget", now, h, c))
        keep = gates.sigmoid(self._sum("input", now, h, c)) if "input" in now else None
        keep = gates.HIGH - forget if keep is None else keep
        new = gates.tanh(self._sum("cell", now, h, None))
        exponent = self._cell_exponent
        c = gates.short(gates.product(forget, c, 15) + gates.product(keep, new, 30 + exponent))
        limit = _clip_code(self.cell_clip, _scale(self.operands["cell_state"]), gates.HIGH)
        if limit > 0:
            c = np.clip(c, -limit, limit)
        emit = gates.sigmoid(self._sum("output", now, h, c))
        return self._output(emit * gates.tanh(c, 15 + exponent)), c

    def _sum(self, gate: str, now: Mapping[str, Array], h: Array, c: Array | None) -> Array:
        """A gate before its activation."""
        z = gates.short(now[gate] + self._scaled("recurrent", gate, h))
        peephole = self.arrays[f"cell_to_{gate}_weights"] if c is not None else None
        if peephole is not None:
            unit = np.float64(2.0) ** self._cell_exponent * _scale(self._of("cell", gate))
            factor = Multiplier.of(np.float32(unit / self._unit(gate)))
            z = gates.short(z + factor(c * peephole))
        norm = self.arrays[f"{gate}_layer_norm_coefficients"]
        if norm is None:
            return z
        scale = _scale(self.operands[f"{gate}_layer_norm_coefficients"])
        least = max(1, int(np.float32(_GUARD) * scale))
        bias = self.arrays[f"{gate}_gate_bias"].astype(np.int64)
        return gates.normalize(z, norm.astype(np.int64), bias, Multiplier.of(scale), least)

    def _scaled(self, source: str, gate: str, x: Array) -> Array:
        """What the input, or the state, contributes to a gate, in the unit of its sums."""
        operand = self.operands["input" if source == "input" else "output_state"]
        weights = self.arrays[f"{source}_to_{gate}_weights"]
        centred = Codes.of(operand).centred(x)
        sums = _product(centred, weights)
        if source == "input" and self.arrays[f"{gate}_layer_norm_coefficients"] is None:
            sums = sums + self.arrays[f"{gate}_gate_bias"]
        factor = _scale(self._of(source, gate)) * _scale(operand) / self._unit(gate)
        return Multiplier.of(factor)(wrap(sums))

    def _of(self, source: str, gate: str) -> Operand | None:
        return self.operands[f"{source}_to_{gate}_weights"]

    def _unit(self, gate: str) -> np.float32:
        """What 1 stands for in the sums of a gate."""
        if self.arrays["forget_layer_norm_coefficients"] is None:
            return np.float32(2.0**-12)
        scale = self.intermediates[GATES.index(gate)].scale
        assert scale is not None
        return np.float32(scale)

    @cached_property
    def _cell_exponent(self) -> int:
        cell = self.operands["cell_state"]
        assert cell is not None
        exponent = _exponent(cell)
        assert exponent is not None
        return exponent

    def _output(self, emitted: Array) -> Array:
        """Codes of the output state, from products of F(0) and F(0)."""
        last = self.intermediates[-1]
        scale = np.float32(last.scale)
        factor = Multiplier.of(np.float32(2.0**-15 / np.float64(scale) * 2.0**-15))
        weights, bias = self.arrays["projection_weights"], self.arrays["projection_bias"]
        if weights is None:
            return saturate(factor(emitted) + last.zero, -128, 127)
        hidden = saturate(factor(emitted) - last.zero, -128, 127)  # so in TFLite: minus, not plus
        state = self.operands["output_state"]
        sums = _product(hidden + last.zero, weights)
        sums = wrap(sums if bias is None else sums + bias)
        projected = Multiplier.of(
            _scale(self.operands["projection_weights"]) * scale / _scale(state)
        )
        out = saturate(projected(sums) + Codes.of(state).zero, -128, 127)
        limit = _clip_code(self.proj_clip, _scale(self.operands["output"]), 127)
        return np.clip(out, -limit, limit) if limit > 0 else out


def _product(x: Array, weights: Array) -> Array:
    """``x · wᵀ`` of integers, exact: float64 holds every sum that int32 does."""
    out = x.astype(np.float64) @ weights.T.astype(np.float64)
    return np.asarray(out).astype(np.int64)


def _clip_code(limit: float, scale: np.float32, most: int) -> int:
    """The code at which a state is cut off; 0: nowhere."""
    return int(min(np.float32(limit) / scale, np.float32(most))) if limit > 0 else 0
