"""What is known of one layer of a quantized model: the row that all reports on layers share."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Difference:
    """How far numbers are from those that they should be, all of them real.

    Attributes:
        elements: how many were compared.
        sqnr: signal to quantization noise, ``10 · log10(Σ reference² / Σ error²)`` in dB; inf where
            all are equal, -inf where some are NaN or infinite that should not be.
        max_error: the largest magnitude of an error.
        mean_error: the mean of the errors with their signs: a bias.
        rms_error: the root of their mean square.
        cosine: of the angle between both, as vectors; 1 where both are zero.
        channels: the median SQNR of the channels (of the last axis) in dB: one channel of great
            numbers hides in ``sqnr`` what has become of the others. The SQNR without channels.
    """

    elements: int
    sqnr: float
    max_error: float
    mean_error: float
    rms_error: float
    cosine: float
    channels: float = math.inf

    @property
    def worst(self) -> float:
        """The lower one of ``sqnr`` and ``channels``: by this layers are ranked."""
        return min(self.sqnr, self.channels)


@dataclass(frozen=True, slots=True)
class Spread:
    """What a tensor held: its range in real numbers, and parts of its elements from 0 to 1.

    Attributes:
        low: the least.
        high: the greatest.
        zeros: the part that is exactly 0.
        saturated: the part that is the least or the greatest code; 0 for floats.
    """

    low: float
    high: float
    zeros: float
    saturated: float


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator of a quantized model, and what quantization costs there.

    What was not looked at is ``None``.

    Attributes:
        position: in the order in which the model runs, from 0.
        name: of the node.
        operator: TFLite's name for it.
        tensor: name of its (first) result.
        reference: name of the tensor of the float model that this is, empty if none was found.
        matched_by: ``name``, ``structure`` or ``position``; empty if it could not be matched.
        shape: of the result.
        format: of the weights: ``int8 per channel``, ``float32`` …; empty without weights.
        bytes_before: of the constants in the float model.
        bytes_after: of those in the quantized model, scales included.
        weights: the stored weights against the float ones.
        total: the result, all of the model being quantized, against the float model's.
        added: the result for inputs of the float model: what this layer adds by itself.
        before: what the result holds in the float model.
        after: what it holds in the quantized one.
        only: the score with this layer alone quantized.
        without: the score with all layers but this quantized.
    """

    position: int
    name: str
    operator: str
    tensor: str = ""
    reference: str = ""
    matched_by: str = ""
    shape: tuple[int, ...] = ()
    format: str = ""
    bytes_before: int = 0
    bytes_after: int = 0
    weights: Difference | None = None
    total: Difference | None = None
    added: Difference | None = None
    before: Spread | None = None
    after: Spread | None = None
    only: float | None = None
    without: float | None = None

    @property
    def own_share(self) -> float | None:
        """Part of the power of the result's error that the layer adds itself, at most 1.

        The rest is inherited. ``None`` where there is no error, or none that is finite.
        """
        if self.total is None or self.added is None or not self.total.rms_error > 0:
            return None
        share = (self.added.rms_error / self.total.rms_error) ** 2
        return min(1.0, share) if math.isfinite(share) else None

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain types, for JSON; what is not finite is ``None``."""
        found: dict[str, Any] = plain(self)
        return found | {"own_share": plain(self.own_share)}


def plain(item: Any) -> Any:
    """``item`` in JSON's types; numbers that are not finite become ``None``."""
    if is_dataclass(item):
        return {f.name: plain(getattr(item, f.name)) for f in fields(item)}
    if isinstance(item, dict):
        return {str(key): plain(value) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [plain(part) for part in item]
    if isinstance(item, float):
        return float(item) if math.isfinite(item) else None
    return item
