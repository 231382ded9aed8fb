"""What every frontend builds with: operators added one by one, constants evaluated at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from octolite.errors import UnsupportedError
from octolite.ir.graph import Graph, Value
from octolite.ir.types import INT32, INT64, Array, DType
from octolite.ops import REGISTRY

Known = Value | float | Sequence[int] | Array
"""What an operator may be given: a value, or something that becomes a constant."""

SPARE = 1 << 29
"""Bytes that a model may take beyond what its file holds: results of operators evaluated while
it is imported, and constants that are written as one repeated value."""

_ROWS = 32
"""Rows of a matrix that are transposed together."""


@dataclass(kw_only=True)
class Target:
    """A graph that is being built.

    Attributes:
        names: those that are taken.
        views: constants that have been rearranged, by the identity of the first form.
        spent: bytes that are not in the source's file.
    """

    graph: Graph = field(default_factory=Graph)
    names: set[str] = field(default_factory=set)
    views: dict[int, tuple[Value, dict[Any, Value]]] = field(default_factory=dict)
    spent: int = 0

    def unique(self, base: str) -> str:
        """``base``, or with a number behind it that makes it new."""
        name, number = base, 0
        while name in self.names:
            number += 1
            name = f"{base}_{number}"
        self.names.add(name)
        return name


class Builder:
    """A place in a model from which operators are added.

    Attributes:
        name: of the place; what is made there is named after it.
        op_type: what is being translated, for messages.
    """

    name: str
    op_type: str

    def __init__(self, target: Target) -> None:
        self._target = target
        self._created: list[Value] = []

    @property
    def graph(self) -> Graph:
        """The graph that is built here."""
        return self._target.graph

    # -- building -----------------------------------------------------------------------------

    def op(self, operator: str, *inputs: Known | None, **attributes: Any) -> Value:
        """Add the TFLite operator of that name; its first result.

        A number or an array among the inputs becomes a constant: a number of the first
        value's dtype, a list of integers int32.
        """
        return self.ops(operator, *inputs, **attributes)[0]

    def ops(self, operator: str, *inputs: Known | None, **attributes: Any) -> tuple[Value, ...]:
        """The same, with all results."""
        if operator not in REGISTRY:
            raise UnsupportedError(f"{operator}, which {self.op_type} needs, is not supported")
        op = REGISTRY[operator](**attributes)
        like = next((v for v in inputs if isinstance(v, Value)), None)
        values = [None if v is None else self.known(v, like) for v in inputs]
        op.check_arity(len(values))
        name = self._target.unique(f"{self.name}/{operator.lower()}")
        outputs = [
            Value(name if i == 0 else f"{name}:{i}", t.dtype, t.shape)
            for i, t in enumerate(op.infer(*values))
        ]
        results = self._fold(op, values, outputs)
        if results is None:
            self._target.graph.add(op, values, name, outputs=outputs)
            results = tuple(outputs)
        self._created += results
        return results

    def known(self, x: Known, like: Value | None = None) -> Value:
        """``x`` as a value."""
        if isinstance(x, Value):
            return x
        if isinstance(x, int | float):
            array = np.asarray(x, like.dtype.numpy if like is not None else np.float32)
        else:
            array = x if isinstance(x, np.ndarray) else np.asarray(x, np.int32)
        return self.constant(array)

    def constant(self, array: Array, dtype: DType | None = None) -> Value:
        value = Value.constant(self._target.unique(f"{self.name}/const"), array, dtype)
        self._created.append(value)
        return value

    def spend(self, size: int) -> None:
        """Count ``size`` bytes that are not in the file. Raises :class:`UnsupportedError`."""
        self._target.spent += size
        if self._target.spent > SPARE:
            raise UnsupportedError(
                f"constants of repeated values come to more than {SPARE >> 20} MiB"
            )

    def like(self, x: Value, number: float) -> Value:
        """A constant scalar of the dtype of ``x``."""
        return self.known(number, x)

    def _fold(
        self, op: Any, values: Sequence[Value | None], outputs: Sequence[Value]
    ) -> tuple[Value, ...] | None:
        """The results as constants, when they are known and not too large."""
        size = 0
        for out in outputs:
            extents = [d for d in out.shape or () if d is not None]
            size += out.dtype.numpy.itemsize * int(np.prod(extents, dtype=object))
        if self._target.spent + size > SPARE:
            return None
        try:
            arrays = op.fold(values, outputs)
        except UnsupportedError:
            return None
        if arrays is None:
            return None
        self._target.spent += size
        return tuple(
            Value.constant(v.name, np.asarray(a), v.dtype)
            for v, a in zip(outputs, arrays, strict=True)
        )

    def claim(self, value: Value, name: str) -> None:
        """Call ``value`` by a name of the source, if it was made here."""
        if any(v is value for v in self._created):
            self._created = [v for v in self._created if v is not value]
            value.name = name
            if value.producer is not None and value.producer.output is value:
                value.producer.name = name

    # -- asking -------------------------------------------------------------------------------

    def rank(self, x: Value) -> int:
        """The rank of ``x``. Raises :class:`UnsupportedError` when it is unknown."""
        if x.shape is None:
            raise UnsupportedError(f"{self.op_type} needs to know the rank of its input")
        return len(x.shape)

    def array(self, x: Value, what: str) -> Array:
        """The data of a constant. Raises :class:`UnsupportedError` when ``x`` is none."""
        if x.data is None:
            raise UnsupportedError(f"{self.op_type} needs {what} to be constant")
        return x.data

    def int_list(self, x: Value, what: str) -> list[int]:
        """The integers of a constant, flat."""
        return [int(i) for i in self.array(x, what).reshape(-1)]

    def axis(self, x: Value, what: str = "its axis") -> int:
        """The one integer of a constant."""
        return int(self.array(x, what).reshape(()))

    # -- what many handlers do ----------------------------------------------------------------

    def transpose(self, x: Value, perm: Sequence[int]) -> Value:
        """``x`` with its axes in another order; a constant is rearranged at once."""
        if list(perm) == sorted(perm):
            return x
        if x.data is None:
            return self.op("TRANSPOSE", x, perm)
        return self.view(x, ("T", *perm), lambda a: transposed(a, perm))

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """``x`` in another shape (one extent may be -1); a constant is reshaped at once."""
        if x.data is None:
            return self.op("RESHAPE", x, shape, new_shape=tuple(shape))
        return self.view(x, ("R", *shape), lambda a: a.reshape(shape))

    def view(self, x: Value, key: Any, change: Callable[[Array], Array]) -> Value:
        """A constant in another form: made once, however many nodes ask for it."""
        _, views = self._target.views.setdefault(id(x), (x, {}))
        if key not in views:
            assert x.data is not None
            name = self._target.unique(f"{x.name}/rearranged")
            views[key] = Value.constant(name, change(x.data), x.dtype)
            views[key].range = x.range
        return views[key]

    def int32(self, x: Value) -> Value:
        """``x`` as int32, which is what most of TFLite's shape and axis inputs are."""
        if x.dtype is not INT64:
            return x
        if x.data is None:
            return self.cast(x, INT32)
        clipped = np.clip(x.data, -(2**31), 2**31 - 1)
        return self.constant(clipped.astype(np.int32))

    def cast(self, x: Value, dtype: DType) -> Value:
        if x.dtype is dtype:
            return x
        return self.op("CAST", x, in_data_type=x.dtype, out_data_type=dtype)


def transposed(array: Array, perm: Sequence[int]) -> Array:
    """``array`` with its axes in another order, contiguous.

    Where the last axis comes first, as in every convolution's weights, it is done by a few rows at
    a time, which stay in the cache until all columns are written.
    """
    if list(perm) != [array.ndim - 1, *range(array.ndim - 1)] or array.size < 1 << 14:
        return np.ascontiguousarray(array.transpose(perm))
    matrix = array.reshape(-1, array.shape[-1])
    out = np.empty(matrix.shape[::-1], array.dtype)
    for row in range(0, len(matrix), _ROWS):
        out[:, row : row + _ROWS] = matrix[row : row + _ROWS].T
    return out.reshape([array.shape[i] for i in perm])
