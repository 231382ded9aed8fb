"""The LSTM cell of 2018's files: one matrix for all gates, in float32 or in uint8 throughout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from octolite.errors import UnsupportedError
from octolite.ir import fixed_point, gates
from octolite.ir.fixed_point import Codes, Multiplier, wrap
from octolite.ir.types import (
    FLOAT32,
    INT16,
    INT32,
    UINT8,
    Activation,
    Array,
    Operand,
    Shape,
    TensorType,
)
from octolite.ops.base import attr
from octolite.ops.cells import Recurrent, expect, expect_state, extent
from octolite.ops.shapes import rank_of

STATE_EXPONENT = -11
"""The logarithm of the cell state's scale: 4 integer bits."""
_MIDDLE = 128
"""The zero point of activations, whose scale is 1/128."""


class BasicLSTM(Recurrent, abstract=True):
    """One step of a cell: ``W · [x, h] + b`` holds input gate, new cell, forget and output gate.

    What LSTM is where its kernel type is BASIC; no operator of its own. In uint8 activations count
    from -1 to 127/128, the cell state is int16 in F(4), and what sums stand for is the scale of the
    bias. The last two results are what the kernel computes on its way. Source: TFLite's
    description of its quantized LstmCell.
    """

    name = "LSTM"
    options = "LSTMOptions"
    inputs = "input prev_activation! weights biases prev_state!"
    outputs = "activation state concatenated sums"
    activation: Activation = attr(Activation.NONE, "FusedActivationFunction")
    kernel_type: int = attr(1)
    integer_types = (UINT8,)
    cases = ()

    def infer(self, *inputs: Operand) -> Sequence[TensorType]:
        named = self.named(inputs)
        self.check_types(named)
        x = named["input"]
        batch, depth = rank_of(x, "input", 2) or (None, None)
        rows, columns = extent(named["weights"], 0), extent(named["weights"], 1)
        units = None if rows is None else rows // 4
        total = None if depth is None or units is None else depth + units
        expect(named["weights"], "weights", None if units is None else 4 * units, total)
        expect(named["biases"], "biases", rows)
        wide = INT16 if x.dtype is UINT8 else FLOAT32
        expect_state(named["prev_activation"], "the previous activation", batch, units, x.dtype)
        expect_state(named["prev_state"], "the previous state", batch, units, wide)
        return [
            TensorType(x.dtype, (batch, units)),
            TensorType(wide, (batch, units)),
            TensorType(x.dtype, (batch, columns)),
            TensorType(wide, (batch, rows)),
        ]

    def check_types(self, named: Mapping[str, Operand | None]) -> None:
        super().check_types(named)
        x, state = named["input"], named["prev_state"]
        if x is None or x.dtype is not UINT8:
            return
        for name, dtype in (("weights", UINT8), ("biases", INT32)):
            operand = named[name]
            if operand is not None and (operand.dtype is not dtype or operand.quant is None):
                raise UnsupportedError(
                    f"LSTM of uint8 activations takes {name} of {dtype} with a scale, and "
                    f"{operand.name!r} is {operand.dtype}"
                )
        quant = None if state is None else state.quant
        if quant is None or fixed_point.power_of_two(quant.scale[0]) != STATE_EXPONENT:
            raise UnsupportedError(
                f"LSTM of uint8 activations takes a state of the scale 2^{STATE_EXPONENT}, and "
                f"that of {state!r} is {'absent' if quant is None else quant.scale[0]}"
            )

    def states(self, inputs: Sequence[Operand | None]) -> Mapping[str, Shape]:
        rows = extent(inputs[2], 0)
        shape = extent(inputs[0], 0), None if rows is None else rows // 4
        return {"prev_activation": shape, "prev_state": shape}

    def is_hybrid(self, inputs: Sequence[Operand | None]) -> bool:
        return False

    def is_integer(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> bool:
        return inputs[0] is not None and inputs[0].dtype is UINT8

    def compute(self, named: Mapping[str, Any]) -> tuple[Array, ...]:
        joined, h, c = self._joined(named)
        sums = joined @ named["weights"].T + named["biases"]
        keep, new, forget, emit = np.split(sums, 4, axis=1)
        state = _sigmoid(keep) * np.tanh(new) + _sigmoid(forget) * c
        out = _sigmoid(emit) * np.tanh(state)
        h[...], c[...] = out, state
        return out, state, joined, sums

    def integer(
        self,
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
        *arrays: Array | None,
    ) -> tuple[Array, ...]:
        named, weights = self.named(arrays), Codes.of(inputs[2])
        joined, h, c = self._joined(named)
        centred = weights.centred(named["weights"])
        sums = (joined.astype(np.int64) - _MIDDLE) @ centred.T + named["biases"]
        unit = 4096 * Codes.like(inputs[3].quant, INT32).real_scale  # type: ignore[union-attr]
        scaled = gates.short(Multiplier.of(unit).upward(wrap(sums)))
        keep, new, forget, emit = np.split(scaled, 4, axis=1)
        fresh = _product(gates.sigmoid(keep), gates.tanh(new))
        kept = _product(gates.sigmoid(forget), c.astype(np.int64))
        state = gates.short(fixed_point.rounding_shift(fresh, 4) + kept)
        out = _product(gates.sigmoid(emit), gates.tanh(gates.short(state << 1)))
        codes = np.clip(fixed_point.rounding_shift(out, 8), -_MIDDLE, _MIDDLE - 1) + _MIDDLE
        h[...], c[...] = codes, state
        return (
            codes.astype(np.uint8),
            state.astype(np.int16),
            joined,
            scaled.astype(np.int16),
        )

    def _joined(self, named: Mapping[str, Any]) -> tuple[Array, Array, Array]:
        """Input and previous activation side by side; both states [batch, units]."""
        x = named["input"]
        h, c = (named[n].reshape(len(x), -1) for n in ("prev_activation", "prev_state"))
        return np.concatenate([x, h], axis=1), h, c

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        return 2


def _sigmoid(x: Array) -> Array:
    return np.float32(1) / (np.float32(1) + np.exp(-x))


def _product(a: Array, b: Array) -> Array:
    return fixed_point.high_product(a, b, gates.WIDTH)
