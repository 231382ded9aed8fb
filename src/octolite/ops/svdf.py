"""SVDF: a layer over the last steps, its weights split into features and their course in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from octolite.errors import ShapeError, UnsupportedError
from octolite.ir import gates, numerics
from octolite.ir.fixed_point import Codes, Multiplier, wrap
from octolite.ir.types import (
    FLOAT32,
    INT8,
    INT16,
    INT32,
    Activation,
    Array,
    Operand,
    Shape,
    TensorType,
)
from octolite.kernels import spec
from octolite.ops.base import QuantRule, attr
from octolite.ops.case import Case, case, f32, int8_weights, variable, weights
from octolite.ops.cells import Recurrent, expect, expect_state, extent, is_known, varies
from octolite.ops.shapes import product, rank_of


def _step(batch: int, rank: int, hybrid: bool = False, **attributes: Any) -> Case:
    depth, units, memory = (40, 12, 10) if hybrid else (8, 6, 4)
    filters = units * rank
    if hybrid:
        features = int8_weights(filters, depth, axis=None, scale=0.2)
        time = int8_weights(filters, memory, axis=None, scale=0.2)
    else:
        features, time = weights(filters, depth), weights(filters, memory)
    bias = weights(units) if attributes.pop("bias", True) else None
    state = variable(batch, filters * memory)
    return case(f32(batch, depth), features, time, bias, state, rank=rank, **attributes)


class SVDF(Recurrent):
    """One step: ``features · x`` joins what is remembered, ``time`` weighs the memory.

    x [batch, depth], features [filters, depth], time [filters, memory], state [batch, filters ·
    memory], oldest first. ``rank`` filters that lie side by side add up to one unit. Source:
    Nakkiran et al., "Compressing Deep Neural Networks using a Rank-Constrained Topology".

    In integers, x and features are int8, time and state int16, the bias int32. RELU is what the
    codes' limits make of a result, as in TFLite.
    """

    name = "SVDF"
    options = "SVDFOptions"
    inputs = "input weights_feature weights_time bias? state!"
    rank: int = attr(0)
    activation: Activation = attr(Activation.NONE, "FusedActivationFunction")
    asymmetric_quantize_inputs: bool = attr(False)
    integer_types = (INT8,)
    quant = QuantRule(
        weights={"weights_feature": None, "weights_time": None}, hybrid=True, together=True
    )

    def infer(self, *inputs: Operand) -> Sequence[TensorType]:
        named = self.named(inputs)
        self.check_types(named)
        x, time = named["input"], named["weights_time"]
        batch, depth = rank_of(x, "input", 2) or (None, None)
        filters, memory = extent(named["weights_feature"], 0), extent(time, 1)
        expect(named["weights_feature"], "feature weights", filters, depth)
        expect(time, "time weights", filters, memory)
        if self.rank < 1 or (filters or 0) % self.rank:
            raise ShapeError(f"SVDF: {filters} filters cannot be of rank {self.rank}")
        units = None if filters is None else filters // self.rank
        expect(named["bias"], "bias", units)
        dtype = INT16 if x.dtype is INT8 else FLOAT32
        expect_state(named["state"], "the state", batch, product((filters, memory)), dtype)
        return [TensorType(x.dtype, (batch, units))]

    def states(self, inputs: Sequence[Operand | None]) -> Mapping[str, Shape]:
        elements = product((extent(inputs[1], 0), extent(inputs[2], 1)))
        return {"state": (extent(inputs[0], 0), elements)}

    def compute(self, named: Mapping[str, Any]) -> Array:
        features, time, state = named["weights_feature"], named["weights_time"].real, named["state"]
        x = named["input"]
        memory = state.reshape(len(x), *time.shape)
        memory = np.concatenate([memory[..., 1:], features(x)[..., None]], axis=-1)
        state[...] = memory.reshape(state.shape)
        filters = np.einsum("bfm,fm->bf", memory, time)
        units = filters.reshape(len(x), len(time) // self.rank, self.rank).sum(axis=-1)
        if named["bias"] is not None:
            units = units + named["bias"]
        return numerics.activate(units, self.activation)

    def check_types(self, named: Mapping[str, Operand | None]) -> None:
        super().check_types(named)
        if named["input"] is None or named["input"].dtype is not INT8:
            return
        wanted = {"weights_feature": INT8, "weights_time": INT16, "bias": INT32, "state": INT16}
        for name, dtype in wanted.items():
            operand = named[name]
            if operand is not None and operand.dtype is not dtype:
                raise UnsupportedError(
                    f"SVDF of int8 activations takes {name} of {dtype}, as TFLite's kernel does, "
                    f"and {operand.name!r} is {operand.dtype}"
                )
        if self.activation not in (Activation.NONE, Activation.RELU):
            raise UnsupportedError(
                f"SVDF of int8 activations ends in {self.activation.name}; TFLite's kernel knows "
                "RELU alone"
            )

    def integer(
        self,
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
        *arrays: Array | None,
    ) -> Array:
        operands, given = self.named(inputs), self.named(arrays)
        x, out = Codes.of(operands["input"]), Codes.of(outputs[0])
        features, time, state = (
            Codes.of(operands[n]).real_scale for n in ("weights_feature", "weights_time", "state")
        )
        centred, weights = x.centred(given["input"]), given["weights_feature"].astype(np.int64)
        now = Multiplier.of(x.real_scale * features / state)(wrap(centred @ weights.T))
        memory = given["state"].reshape(len(centred), *given["weights_time"].shape)
        memory[..., :-1] = memory[..., 1:]
        memory[..., -1] = gates.short(now)
        filters = np.einsum("bfm,fm->bf", memory, given["weights_time"], dtype=np.int64)
        units = filters.reshape(len(filters), -1, self.rank).sum(axis=-1)
        bias = given["bias"]
        sums = wrap(units if bias is None else units + bias)
        return out.store(Multiplier.of(state * time / out.real_scale)(sums))

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.Svdf | None:
        named, hybrid = self.named(inputs), self.is_hybrid(inputs)
        x, features, time = named["input"], named["weights_feature"], named["weights_time"]
        matrix = INT8 if hybrid else FLOAT32
        filters, depth, memory = extent(features, 0), extent(features, 1), extent(time, 1)
        if (
            x.dtype is not FLOAT32
            or not all(is_known(w, matrix) for w in (features, time))
            or not (named["bias"] is None or is_known(named["bias"], FLOAT32))
            or not varies(named["state"])
            or self.activation not in spec.ACTIVATIONS
            or not (filters and depth and memory)
            or self.rank < 1
            or filters % self.rank
        ):
            return None
        return spec.Svdf(
            depth,
            filters,
            memory,
            self.rank,
            named["bias"] is not None,
            self.activation,
            hybrid,
            self.asymmetric_quantize_inputs,
        )

    def version(self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]) -> int:
        return self.graded(inputs, 2, 4)

    cases = (
        _step(1, 1),
        _step(3, 2),
        _step(3, 2, bias=False, activation=Activation.RELU),
        _step(3, 1, True),
        _step(3, 2, True, activation=Activation.RELU),
        _step(3, 2, True, asymmetric_quantize_inputs=True),
    )
