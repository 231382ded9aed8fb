"""The recorded Keras models: the files that Keras saved, and what it computed."""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[2] / "data" / "keras"


@dataclass(frozen=True)
class Recording:
    """One file: a model as a version of Keras saved it in one of its formats."""

    name: str
    version: int
    kind: str

    def __str__(self) -> str:
        return f"{self.name}.{self.version}.{self.kind}"

    @property
    def content(self) -> bytes:
        return lzma.decompress((FOLDER / f"{self}.xz").read_bytes())

    @property
    def feeds(self) -> dict[str, np.ndarray]:
        with np.load(FOLDER / f"{self.name}.npz") as data:
            return {k[3:]: data[k] for k in data.files if k.startswith("in/")}

    @property
    def expected(self) -> list[np.ndarray]:
        with np.load(FOLDER / f"{self.name}.npz") as data:
            names = sorted(k for k in data.files if k.startswith(f"out{self.version}/"))
            return [data[k] for k in names]


def _found() -> list[Recording]:
    parts = (path.name.removesuffix(".xz").split(".") for path in sorted(FOLDER.glob("*.xz")))
    return [Recording(name, int(version), kind) for name, version, kind in parts]


ALL = _found()
