"""FakeQuant: training's simulated quantization says what range a value has, and is no operator."""

from __future__ import annotations

from octolite.frontends.graphdef.engine import Site, tf
from octolite.ir.graph import Value


@tf("FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel")
def fake_quant_vars(n: Site, x: Value, low: Value, high: Value) -> Value:
    if low.data is not None and high.data is not None and low.data.size and high.data.size:
        x.range = _range(n, float(low.data.min()), float(high.data.max()))
    return x


@tf("FakeQuantWithMinMaxArgs")
def fake_quant_args(n: Site, x: Value) -> Value:
    x.range = _range(n, n.number("min", -6.0), n.number("max", 6.0))
    return x


def _range(n: Site, low: float, high: float) -> tuple[float, float]:
    """The range of all codes: a narrow one, that leaves out the least code, is a step wider."""
    steps = 2 ** n.integer("num_bits", 8) - 1
    if n.flag("narrow_range", False) and steps > 1:
        low -= (high - low) / (steps - 1)
    return low, high
