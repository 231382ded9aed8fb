"""Read the tensors of a file that ``torch.save`` wrote before 1.6, without torch.

Such a file is a row of pickles: a magic number, a protocol number, facts about the machine, the
tensors as views of storages, the storages' keys. Then comes each storage: its number of elements
(8 bytes) and the elements, all in little-endian order. Nothing but tensors is unpickled, so that a
file cannot run code.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclass(frozen=True)
class View:
    """A tensor before its storage has been read: ``strides`` and ``offset`` in elements."""

    storage: tuple[str, str, int]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, elements: np.ndarray) -> np.ndarray:
        size = elements.itemsize
        strides = tuple(s * size for s in self.strides)
        return np.ndarray(self.shape, elements.dtype, elements, self.offset * size, strides).copy()


class Tensors(pickle.Unpickler):
    """Knows the names that a dictionary of tensors needs, and refuses all others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: View(storage, offset, shape, strides)
        if module == "torch" and name in DTYPES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a dictionary of tensors")

    def persistent_load(self, pid: Any) -> tuple[str, str, int]:
        _, kind, key, _, size, _ = pid
        return kind, key, size


def read(path: Path) -> dict[str, np.ndarray]:
    """Each tensor by its name. Raises :class:`pickle.UnpicklingError` for any other file."""
    with path.open("rb") as file:
        if Tensors(file).load() != MAGIC:
            raise pickle.UnpicklingError(f"{path} is no file of torch's older format")
        _protocol, _machine = Tensors(file).load(), Tensors(file).load()
        views = Tensors(file).load()
        kinds = {view.storage[1]: view.storage for view in views.values()}
        storages = {key: _storage(file, *kinds[key]) for key in Tensors(file).load()}
    return {name: view.of(storages[view.storage[1]]) for name, view in views.items()}


def _storage(file: BinaryIO, kind: str, key: str, size: int) -> np.ndarray:
    count = int.from_bytes(file.read(8), "little")
    content = file.read(size * DTYPES[kind].itemsize)
    if count != size or len(content) != size * DTYPES[kind].itemsize:
        raise pickle.UnpicklingError(f"storage {key} holds {count} elements instead of {size}")
    return np.frombuffer(content, DTYPES[kind])
