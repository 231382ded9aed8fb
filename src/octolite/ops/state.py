"""What lasts from run to run beside the tensors: variables and tables that have names."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeVar

import numpy as np

from octolite.errors import RuntimeModelError
from octolite.ir.types import Array, DType

T = TypeVar("T")


class State:
    """The resources of one interpreter, and what its operators keep for themselves.

    A tensor of type resource holds a handle: the number of a name. What it stands for is put here
    and looked up here, by any graph of the model.
    """

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._things: dict[int, Any] = {}
        self._own: dict[Hashable, Any] = {}
        self._homes: dict[Hashable, Array] = {}

    def handle(self, name: Hashable) -> Array:
        """The handle of ``name``, the same whenever it is asked for."""
        return np.array([self._numbers.setdefault(name, len(self._numbers))], np.int32)

    def put(self, handle: Array, thing: Any) -> None:
        """Let ``handle`` stand for ``thing`` from now on. Raises :class:`RuntimeModelError`."""
        self._things[self._number(handle)] = thing

    def get(self, handle: Array, kind: type[T]) -> T | None:
        """What ``handle`` stands for; ``None`` before anything was put there.

        Raises :class:`RuntimeModelError` for a handle of something else.
        """
        thing = self._things.get(self._number(handle))
        if thing is not None and not isinstance(thing, kind):
            raise RuntimeModelError(
                f"resource {handle.reshape(-1)[0]} is a {type(thing).__name__}, expected a "
                f"{kind.__name__}"
            )
        return thing

    def home(self, name: Hashable, dtype: DType, shape: tuple[int, ...]) -> Array:
        """The memory of the variable ``name``, which has one type for good. It outlasts
        :meth:`reset`, what it holds does not."""
        if name not in self._homes:
            self._homes[name] = np.zeros(shape, dtype.numpy)
        return self._homes[name]

    def leave_homes(self) -> None:
        """Variables may have any type from now on; they hold what they held."""
        for name, array in self._homes.items():
            self.put(self.handle(name), array)
        self._homes = {}

    def own(self, key: Hashable) -> Any:
        """What an operator has kept under ``key``; ``None`` at first."""
        return self._own.get(key)

    def keep(self, key: Hashable, thing: Any) -> None:
        """Keep ``thing`` under ``key`` until the state is reset."""
        self._own[key] = thing

    def reset(self) -> None:
        """Forget everything but names, as before the first run."""
        self._things.clear()
        self._own.clear()

    def _number(self, handle: Array) -> int:
        if (
            handle.size != 1
            or handle.dtype != np.int32
            or not 0 <= handle.item() < len(self._numbers)
        ):
            raise RuntimeModelError(
                f"a resource's handle is {handle.reshape(-1)[:4].tolist()}, which none of the "
                f"model's {len(self._numbers)} resources has"
            )
        return int(handle.item())
