"""What layers over images of any rank share: TFLite's order of axes, and its two dimensions."""

from __future__ import annotations

from octolite.errors import UnsupportedError
from octolite.frontends.keras.engine import Call
from octolite.ir.graph import Value

_LAYOUTS = {"channels_last": False, "channels_first": True}


def rank_of(n: Call) -> int:
    """How many dimensions the layer's images have, as its name says."""
    digits = [c for c in n.op_type if c.isdecimal()]
    return int(digits[-1])


def is_channels_first(n: Call) -> bool:
    return n.choice("data_format", _LAYOUTS, "channels_last")


class Images:
    """An input with channels last, and at least two dimensions.

    Where channels come first, two TRANSPOSE go around the layer, most of which the passes cancel;
    a sequence is an image of one row.
    """

    def __init__(self, n: Call, x: Value, rank: int) -> None:
        self.n, self.rank = n, rank
        self.channels_first = is_channels_first(n)
        if n.rank(x) != rank + 2:
            raise UnsupportedError(f"{n.op_type} on {x!r}, expected {rank + 2} axes")
        self.x = self.last(x)
        if rank == 1:
            self.x = n.expand(self.x, 1)

    def last(self, x: Value) -> Value:
        """``x`` with channels last."""
        order = (0, *range(2, self.rank + 2), 1)
        return self.n.transpose(x, order) if self.channels_first else x

    def result(self, y: Value) -> Value:
        """``y`` as the layer gives it."""
        if self.rank == 1:
            y = self.n.op("SQUEEZE", y, squeeze_dims=(1,))
        order = (0, self.rank + 1, *range(1, self.rank + 1))
        return self.n.transpose(y, order) if self.channels_first else y
