"""What recurrent operators share: state, weights that are real or codes, checks of extents."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from octolite.errors import ShapeError, UnsupportedError
from octolite.ir import numerics
from octolite.ir.types import FLOAT32, INT8, Array, Dim, DType, Operand, Shape
from octolite.kernels import spec
from octolite.ops.base import CODES, Operator, is_symmetric, weight_quant
from octolite.ops.shapes import product


@dataclass(frozen=True, slots=True)
class Matrix:
    """Weights [units, depth] that multiply rows: real numbers, or codes of one scale."""

    w: Array
    scale: Array | None = None
    asymmetric: bool = False

    def __call__(self, x: Array) -> Array:
        """``x · wᵀ`` for x [..., depth]; codes meet every row quantized by its own range."""
        if self.scale is None:
            return x @ self.w.T
        flat = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        rows = numerics.quantize_rows(flat, self.asymmetric)
        acc = numerics.exact_product(rows.q, self.w.T)
        sums = self.w.sum(axis=1, dtype=np.int32)
        out = numerics.hybrid_output(acc, rows, self.scale, sums, None)
        return out.reshape(*x.shape[:-1], len(self.w))

    @property
    def real(self) -> Array:
        """The weights as real numbers."""
        return self.w if self.scale is None else np.multiply(self.w, self.scale, dtype=np.float32)


class Recurrent(Operator, abstract=True):
    """An operator with variables among its inputs, which a run leaves as its last step did.

    A subclass gives ``compute``, where weights are :class:`Matrix` and everything else an array;
    it serves the float form and the hybrid one. ``states`` gives the shape of each variable.
    """

    stateful: ClassVar[bool] = True
    keeps_absent: ClassVar[bool] = True

    @abstractmethod
    def compute(self, named: Mapping[str, Any]) -> Array | tuple[Array, ...]:
        """The results from the inputs by name (absent ones ``None``); updates the variables."""

    def reference(self, *arrays: Array | None) -> Array | tuple[Array, ...]:
        given = self.named(arrays)
        return self.compute(given | {n: _matrix(given[n]) for n in self.quant.weights})

    def hybrid(
        self, inputs: Sequence[Operand | None], *arrays: Array | None
    ) -> Array | tuple[Array, ...]:
        given = self.named(arrays)
        asymmetric = bool(self.attributes()["asymmetric_quantize_inputs"])
        weights = {
            n: _matrix(given[n], weight_quant(inputs, self.input_index(n)).scale, asymmetric)
            for n in self.quant.weights
            if given[n] is not None
        }
        return self.compute(given | weights)

    def check_types(self, named: Mapping[str, Operand | None]) -> None:
        """Raise :class:`UnsupportedError` for codes that neither this nor TFLite can compute on."""
        x = named["input"]
        if x is not None and x.dtype.is_integer and x.dtype not in self.integer_types:
            known = " or ".join(["float32", *(t.name for t in self.integer_types)])
            raise UnsupportedError(
                f"{self.name} of {x.dtype} activations is not defined: TFLite's kernels take "
                f"{known}. Convert the model so that {x.name!r} is one of them"
            )

    def _run(
        self,
        arrays: Sequence[Array | None],
        inputs: Sequence[Operand | None],
        outputs: Sequence[Operand],
    ) -> tuple[Array, ...]:
        x = inputs[0]
        if x is not None and x.dtype in CODES and not self.is_integer(inputs, outputs):
            raise UnsupportedError(
                f"{self.name} of {x.dtype} activations needs a scale for every tensor of codes, "
                "and a result of the same type"
            )
        return super()._run(arrays, inputs, outputs)

    def cells(self, named: Mapping[str, Operand | None]) -> Sequence[spec.Cell]:
        """The cells as compiled kernels know them, the second one reading backward; none where
        they do not."""
        return ()

    def kernel(self, inputs: Sequence[Operand | None]) -> spec.Recurrent | spec.Svdf | None:
        named, attributes = self.named(inputs), self.attributes()
        cells, x = tuple(self.cells(named)), named["input"]
        hybrid = self.is_hybrid(inputs)

        matrix = INT8 if hybrid else FLOAT32
        known = all(
            cell.activation in spec.ACTIVATIONS
            and all(is_known(named[n], matrix) for n in cell.matrices)
            and all(is_known(named[n], FLOAT32) for n in cell.vectors)
            and all(varies(named[n]) for n in cell.states)
            for cell in cells
        )
        if not cells or not known or x is None or x.dtype is not FLOAT32:
            return None
        return spec.Recurrent(
            cells,
            bool(attributes.get("time_major")),
            bool(attributes.get("merge_outputs")),
            hybrid,
            bool(attributes["asymmetric_quantize_inputs"]),
        )

    def named(self, values: Sequence[Any]) -> dict[str, Any]:
        """Inputs by name; those left out at the end are ``None`` like the absent ones."""
        names = [p.name for p in self.input_parameters()]
        return dict.fromkeys(names) | dict(zip(names, values, strict=False))

    def is_hybrid(self, inputs: Sequence[Operand | None]) -> bool:
        """Whether all weights that are there are codes of one scale; a mixture is dequantized."""
        named = self.named(inputs)
        weights = [named[n] for n in self.quant.weights if named[n] is not None]
        x = named["input"]
        return x is not None and x.dtype.is_float and all(is_symmetric(w, None) for w in weights)

    def graded(self, inputs: Sequence[Operand | None], hybrid: int, asymmetric: int) -> int:
        """Version 1, or that of the hybrid form with symmetric or asymmetric activations."""
        if not self.is_hybrid(inputs):
            return 1
        return asymmetric if self.attributes()["asymmetric_quantize_inputs"] else hybrid


def _matrix(w: Array | None, scale: Array | None = None, asymmetric: bool = False) -> Any:
    """Weights for ``compute``; a vector (a peephole) is read as real numbers."""
    if w is None:
        return None
    matrix = Matrix(w, scale, asymmetric)
    return matrix if w.ndim == 2 else matrix.real


def is_known(x: Operand | None, dtype: DType) -> bool:
    """Whether ``x`` is a constant of ``dtype`` with anything in it, which a kernel can pack."""
    return x is not None and x.dtype is dtype and x.data is not None and x.data.size > 0


def varies(x: Operand | None) -> bool:
    """Whether ``x`` is there and no constant."""
    return x is not None and x.data is None


def time_first(x: Array, time_major: bool) -> Array:
    """[batch, time, …] as [time, batch, …], or back; what is so already stays."""
    return x if time_major else x.swapaxes(0, 1)


def sequence_extents(x: Operand, time_major: bool) -> tuple[Dim, Dim, Dim]:
    """Time, batch and depth of a sequence of rows. Raises :class:`ShapeError`."""
    expect(x, "input", None, None, None)
    if x.shape is None:
        return None, None, None
    first, second, depth = x.shape
    return (first, second, depth) if time_major else (second, first, depth)


def sequence_shape(time: Dim, batch: Dim, units: Dim, time_major: bool) -> Shape:
    return (time, batch, units) if time_major else (batch, time, units)


def expect(x: Operand | None, what: str, *shape: Dim) -> None:
    """Raise :class:`ShapeError` where the shape of ``x`` contradicts ``shape``."""
    if x is None or x.shape is None:
        return
    fits = len(x.shape) == len(shape) and all(
        a is None or b is None or a == b for a, b in zip(x.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if d is None else str(d) for d in shape)
        raise ShapeError(f"{what} {x.name!r} has shape {x.shape}, expected ({wanted})")


def expect_state(
    x: Operand | None, what: str, batch: Dim, units: Dim, dtype: DType = FLOAT32
) -> None:
    """Raise :class:`ShapeError` where a state has not ``units`` elements for each sequence.

    Files may hold it flat, so that only the number of elements counts.
    """
    if x is None:
        raise ShapeError(f"{what} is absent, expected a variable")
    if x.dtype is not dtype:
        raise ShapeError(f"{what} {x.name!r} is {x.dtype}, expected {dtype}")
    found = None if x.shape is None else product(x.shape)
    wanted = product((batch, units))
    if None not in (found, wanted) and found != wanted:
        raise ShapeError(
            f"{what} {x.name!r} has shape {x.shape}, expected ({batch}, {units}): "
            "a row for each sequence of the batch"
        )


def extent(x: Operand | None, axis: int) -> Dim:
    """One extent of ``x``, where it is known."""
    if x is None or x.shape is None or axis >= len(x.shape):
        return None
    return x.shape[axis]
