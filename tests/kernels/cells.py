"""Recurrent operators with random constants, run compiled and by their references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from octolite.ir import numerics
from octolite.ir.graph import Value
from octolite.ir.types import FLOAT32, INT8, Array
from octolite.kernels import isa
from octolite.kernels.select import Kernel, build
from octolite.kernels.spec import Constant
from octolite.ops.base import operator_class
from octolite.ops.cells import Recurrent
from octolite.runtime.executor import Executor
from tests.kernels.guarded import Guarded


@dataclass(frozen=True)
class Sizes:
    """Extents of a problem; ``outputs`` differ from ``units`` where there is a projection."""

    time: int
    batch: int
    depth: int
    units: int
    outputs: int = 0
    aux: int = 0

    @property
    def width(self) -> int:
        return self.outputs or self.units


@dataclass(frozen=True)
class Parts:
    """Which optional inputs are there."""

    hybrid: bool = False
    coupled: bool = False
    peephole: bool = False
    bias: bool = False
    crossed: bool = True
    norm: bool = False


class Layer:
    """An operator with constants. ``values``: its inputs by name, absent ones left out."""

    hybrid: bool

    def __init__(self, name: str, seed: int, attributes: Mapping[str, Any]) -> None:
        self.op: Any = operator_class(name)(**attributes)
        assert isinstance(self.op, Recurrent)
        self.random = np.random.default_rng(seed)
        self.values: dict[str, Value] = {}

    def weights(self, name: str, shape: tuple[int, ...], hybrid: bool) -> Value:
        """Random weights, small enough for results near 1, as they are or as codes."""
        array = self.random.standard_normal(shape, np.float32)
        array /= np.sqrt(np.float32(shape[-1] if len(shape) > 1 else 4))
        if not hybrid:
            return Value.constant(name, array)
        q, quant = numerics.quantize_weights(array)
        return Value(name, INT8, shape, data=q, quant=quant)

    @property
    def operands(self) -> list[Value | None]:
        return [self.values.get(p.name) for p in self.op.input_parameters()]

    def feeds(self) -> dict[str, Array]:
        """Inputs and states at random, the states small."""
        found = {}
        for name, value in self.values.items():
            if value.data is None:
                found[name] = self.random.standard_normal(value.shape, np.float32)
                found[name] *= 0.5 if value.is_variable else 1.0
        return found

    def reference(self, feeds: Mapping[str, Array]) -> tuple[list[Array], dict[str, Array]]:
        """The results, and the states afterwards."""
        held = {name: array.copy() for name, array in feeds.items()}
        arrays = [
            None if v is None else (v.data if v.data is not None else held[v.name])
            for v in self.operands
        ]
        results = self.op.run(arrays, self.operands, [])
        return list(results), {n: a for n, a in held.items() if n.endswith("state")}

    def kernel(self, row: isa.Isa) -> Kernel:
        request = self.op.kernel(self.operands)
        assert request is not None
        assert request.hybrid == self.hybrid
        constants = {
            name: Constant(v.data, None if v.quant is None else v.quant.scale)
            for name, v in self.values.items()
            if v.data is not None
        }
        return build(request, constants, row)

    def compiled(
        self, row: isa.Isa, feeds: Mapping[str, Array], executor: Executor, at_end: bool = True
    ) -> tuple[list[Array], dict[str, Array]]:
        """What :meth:`reference` gives, from the kernel, between forbidden pages."""
        kernel = self.kernel(row)
        types = self.op.infer(*[_sized(v, feeds) for v in self.operands])
        launch = kernel.launch(feeds["input"].shape, threads=executor.num_threads)
        assert launch.output_shape == types[0].shape
        given = {name: Guarded(feeds[name].shape, np.float32, at_end) for name in feeds}
        outs = [Guarded(t.shape, np.float32, at_end) for t in types]
        scratch = Guarded((launch.scratch_bytes,), np.uint8, at_end)
        for name, buffer in given.items():
            buffer.array[...] = feeds[name]
        pointers = [given[name].address for name in kernel.request.reads]
        executor.run(launch.steps(pointers, [o.address for o in outs], scratch.address))
        for buffer in (*given.values(), *outs, scratch):
            buffer.check()
        states = {n: b.array.copy() for n, b in given.items() if n.endswith("state")}
        for name in given.keys() - states.keys():
            np.testing.assert_array_equal(given[name].array, feeds[name])
        return [o.array.copy() for o in outs], states


class Network(Layer):
    """A cell that steps through a sequence."""

    def __init__(
        self, name: str, sizes: Sizes, parts: Parts, seed: int = 3, **attributes: Any
    ) -> None:
        super().__init__(name, seed, attributes)
        self.sizes = sizes
        self.time_major = bool(self.op.attributes().get("time_major"))
        for parameter in self.op.input_parameters():
            if _is_there(parameter.name, sizes, parts):
                self.values[parameter.name] = self._value(parameter.name, parts)
        self.hybrid = parts.hybrid

    def _value(self, name: str, parts: Parts) -> Value:
        s = self.sizes
        if name.endswith("input"):
            depth = s.depth if name == "input" else s.aux
            steps = (s.time, s.batch) if self.time_major else (s.batch, s.time)
            return Value(name, FLOAT32, (*(steps if s.time else steps[:1]), depth))
        if name.endswith("state"):
            width = s.units if name.endswith("cell_state") else s.width
            return Value(name, FLOAT32, (s.batch, width), is_variable=True)
        shape = self._shape(name, parts)
        if name.endswith("weights"):
            return self.weights(name, shape, parts.hybrid)
        return Value.constant(name, self.random.standard_normal(shape, np.float32))

    def _shape(self, name: str, parts: Parts) -> tuple[int, ...]:
        s = self.sizes
        if "projection" in name:
            return (s.width, s.units) if name.endswith("weights") else (s.width,)
        if "cell_to" in name or name.endswith(("bias", "coefficients")):
            return (s.units,)
        if "recurrent" in name:
            return (s.units, s.width)
        instead = s.aux and not parts.crossed and name.startswith("bw_")
        return (s.units, s.aux if "aux" in name or instead else s.depth)


def _sized(value: Value | None, feeds: Mapping[str, Array]) -> Value | None:
    """``value`` as wide as what is fed."""
    if value is None or value.data is not None:
        return value
    return Value(value.name, value.dtype, feeds[value.name].shape)


def _is_there(name: str, sizes: Sizes, parts: Parts) -> bool:
    conditions = {
        "input_layer_norm": parts.norm and not parts.coupled,
        "layer_norm": parts.norm,
        "cell_to_input": parts.peephole and not parts.coupled,
        "cell_to": parts.peephole,
        "projection_bias": parts.bias and bool(sizes.outputs),
        "projection": bool(sizes.outputs),
        "aux_input_to_input": sizes.aux > 0 and parts.crossed and not parts.coupled,
        "aux_input_to": sizes.aux > 0 and parts.crossed,
        "aux_weights": sizes.aux > 0 and parts.crossed,
        "aux_input": sizes.aux > 0,
        "input_to_input": not parts.coupled,
        "recurrent_to_input": not parts.coupled,
        "input_gate_bias": not parts.coupled,
    }
    return next((there for part, there in conditions.items() if part in name), True)
