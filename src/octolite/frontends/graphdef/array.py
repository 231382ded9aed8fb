"""Sources, shapes, slices and layouts."""

from __future__ import annotations

from octolite.frontends.graphdef.engine import Site, tf
from octolite.ir.graph import Value


@tf("Const")
def const(n: Site) -> Value:
    return n.constant(n.array_attribute("value"), n.dtype("dtype"))


@tf("Identity", "StopGradient", "PreventGradient", "CheckNumerics", "Snapshot",
    "PlaceholderWithDefault", "EnsureShape")  # fmt: skip
def identity(n: Site, x: Value) -> Value:
    return x


@tf("Reshape")
def reshape(n: Site, x: Value, shape: Value) -> Value:
    return n.op("RESHAPE", x, n.int32(shape))
