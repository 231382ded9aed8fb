"""Samples as small pictures within a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from octolite.errors import OctoliteError
from octolite.evaluation.data import Dataset, Fields, open_data
from octolite.evaluation.images import open_image, pillow
from octolite.ir.types import Array

SIDE = 160
"""Pixels of a picture's longer side, at most."""


@dataclass(slots=True)
class Pictures:
    """Looks samples up by their names; without data, there are no pictures."""

    dataset: Dataset | None = None
    _places: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of_data(
        cls, path: Path, input_fields: Sequence[str] = (), label_field: str | None = None
    ) -> Pictures:
        """Of the data at ``path``; none where it cannot be opened."""
        try:
            dataset = open_data(path, Fields.parse(input_fields, label_field))
        except OctoliteError:
            return cls()
        names = {" ".join(name.split()): i for i, name in enumerate(dataset.names)}
        return cls(dataset, names)

    def of(self, name: str) -> str:
        """A data URI; empty for what is no picture."""
        if self.dataset is None or name not in self._places:
            return ""
        try:
            contents = list(self.dataset[self._places[name]].inputs.values())
            return _encoded(contents[0]) if len(contents) == 1 else ""
        except OctoliteError:
            return ""


def _encoded(content: Path | bytes | Array) -> str:
    if isinstance(content, np.ndarray):
        content = _pixels(content)
        if not content.size:
            return ""
    image = open_image(content, "rgb")
    image.thumbnail((SIDE, SIDE), pillow().Resampling.LANCZOS)
    file = io.BytesIO()
    kind, options = ("png", {}) if max(image.size) < 96 else ("jpeg", {"quality": 80})
    image.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _pixels(array: Array) -> Array:
    """Numbers as gray values or colours; nothing for what has no such shape."""
    squeezed = array.reshape(array.shape[:2]) if array.ndim == 3 and array.shape[2] == 1 else array
    looks = squeezed.ndim == 2 or (squeezed.ndim == 3 and squeezed.shape[2] == 3)
    if not looks or squeezed.dtype.kind not in "fiub" or not squeezed.size:
        return np.zeros((0, 0), np.uint8)
    if squeezed.dtype == np.uint8 and squeezed.max() > 127:
        return squeezed
    numbers = np.nan_to_num(squeezed.astype(np.float64), posinf=0, neginf=0)
    low, span = numbers.min(), np.ptp(numbers) or 1.0
    return np.asarray((numbers - low) * (255 / span), np.uint8)
