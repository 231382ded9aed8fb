"""What operators have in common whose results depend, in each place, on that place alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from octolite.errors import RuntimeModelError
from octolite.ir.types import FLOAT32, INT8, INT16, UINT8, Activation, Operand
from octolite.kernels import spec
from octolite.kernels.expression import ACTIVATED, NUMBER, Expression, apply, join
from octolite.ops.base import Operator


class Elementwise(Operator, abstract=True):
    """Each element of the result follows from those in its place of the inputs, which broadcast.

    The compiled function is called like the operator, and a fused activation follows it.
    """

    def kernel(self, inputs: Sequence[Operand | None]) -> Expression | None:
        types = [v.dtype for v in inputs if v is not None]
        return activated(apply(self.name.lower(), types), self)

    def geometry(self, inputs: Sequence[Operand | None]) -> dict[str, Any] | None:
        return {"others": [v.shape for v in inputs[1:] if v is not None]}

    def integer_kernel(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> Expression | spec.Table | None:
        return self._table(inputs, outputs[0])

    def _table(self, inputs: Sequence[Operand | None], out: Operand) -> spec.Table | None:
        """The results for all codes that there are, where one tensor of codes becomes another."""
        x = inputs[0]
        if len(inputs) != 1 or x is None or not (_has_one_scale(x) and _has_one_scale(out)):
            return None
        width = x.dtype.numpy.itemsize
        every = np.arange(256**width).astype(f"u{width}").view(x.dtype.numpy)
        try:
            (entries,) = self.run([every], inputs, [out])
        except RuntimeModelError:
            return None  # it is not defined for all of them
        return spec.Table(entries)

    def on_codes(
        self, inputs: Sequence[Operand | None], outputs: Sequence[Operand]
    ) -> Expression | spec.Table | None:
        """What to ask of the kernels where codes stand for reals: real numbers are made of them,
        and codes of the result, as in :meth:`Operator.run`. ``None`` where nothing does that."""
        (out,) = outputs
        table = self._table(inputs, out)
        if table is not None:
            return table
        operands = {str(i): v for i, v in enumerate(inputs) if v is not None}
        coded = [(v, v.quant) for v in (*operands.values(), out) if v.quant is not None]
        real = self.kernel([v if v.quant is None else _Real(v) for v in operands.values()])
        if real is None or any(v.dtype not in _CODES or q.per_channel for v, q in coded):
            return None
        names = {n: n if v.quant is None else f"real {n}" for n, v in operands.items()}
        parts = [(_from_codes(v), [n], names[n]) for n, v in operands.items() if names[n] != n]
        parts.append((real, list(names.values()), "result"))
        if out.quant is not None:
            parts.append((_to_codes(out), ["result"], "codes"))
        return join({name: v.dtype for name, v in operands.items()}, parts)


_CODES = (INT8, UINT8, INT16)


def _has_one_scale(v: Operand) -> bool:
    return v.dtype in _CODES and v.quant is not None and not v.quant.per_channel


def _from_codes(operand: Operand) -> Expression:
    """``scale · (q - zero_point)``."""
    zero, scale = _parameters(operand)
    convert = Expression((operand.dtype,), (("to_float32", (0,)),))
    return convert.then("sub", zero).then("mul", scale)


def _to_codes(operand: Operand) -> Expression:
    """``round_half_away(real / scale) + zero_point``, kept within the type's limits."""
    zero, scale = _parameters(operand)
    real = Expression((FLOAT32,), ((NUMBER, ()), ("div", (0, 1))), (scale,))
    return real.then("round_half_away").then("add", zero).then(f"to_{operand.dtype}")


def _parameters(operand: Operand) -> tuple[float, float]:
    """Zero point and scale of a whole tensor."""
    assert operand.quant is not None
    return float(operand.quant.zero_point[0]), float(operand.quant.scale[0])


class _Real:
    """An operand that holds codes, seen as the reals that they stand for."""

    dtype, data, quant = FLOAT32, None, None

    def __init__(self, codes: Operand) -> None:
        self.name = codes.name
        self.shape = codes.shape


def activated(expression: Expression | None, operator: Operator) -> Expression | None:
    """``expression`` with the fused activation of ``operator``; ``None`` where that has none."""
    activation = getattr(operator, "activation", Activation.NONE)
    if expression is None or activation not in ACTIVATED:
        return None
    function = ACTIVATED[activation]
    if function is None:
        return expression
    return expression.then(function) if expression.takes(function) else None
