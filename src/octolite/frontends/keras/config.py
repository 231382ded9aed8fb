"""A Keras configuration: JSON objects read by type, with errors that name the layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from octolite.errors import InvalidGraphError, UnsupportedError

T = TypeVar("T")
_MISSING: Any = object()


class Config:
    """What a layer's configuration says.

    What is missing without a default, or of another type than asked for, raises
    :class:`InvalidGraphError`.
    """

    def __init__(self, name: str, class_name: str, data: Any) -> None:
        self.name = name
        self.class_name = class_name
        if not isinstance(data, Mapping):
            raise InvalidGraphError(f"{self!r} is configured by {_brief(data)}, expected an object")
        self.data: Mapping[str, Any] = data

    def __repr__(self) -> str:
        return f"layer {self.name!r} ({self.class_name})"

    def has(self, key: str) -> bool:
        """Whether there is anything but null for ``key``."""
        return self.data.get(key) is not None

    def get(self, key: str, default: Any = None) -> Any:
        return self.data.get(key, default)

    def _typed(self, key: str, kinds: type | tuple[type, ...], what: str, default: Any) -> Any:
        found = self.data.get(key, default)
        if found is _MISSING:
            raise InvalidGraphError(f"{self!r} has no {key!r} in its configuration")
        if not isinstance(found, kinds) or (isinstance(found, bool) and what != "true or false"):
            raise InvalidGraphError(f"{self!r}: {key} is {_brief(found)}, expected {what}")
        return found

    def integer(self, key: str, default: int = _MISSING) -> int:
        found = self._typed(key, (int, float), "an integer", default)
        if found != int(found) or abs(found) > 2**31:
            raise InvalidGraphError(f"{self!r}: {key} is {found}, expected an integer")
        return int(found)

    def count(self, key: str, default: int = _MISSING) -> int:
        """A number of things: at least one."""
        found = self.integer(key, default)
        if found < 1:
            raise InvalidGraphError(f"{self!r}: {key} is {found}, expected 1 or more")
        return found

    def number(self, key: str, default: float = _MISSING) -> float:
        return float(self._typed(key, (int, float), "a number", default))

    def flag(self, key: str, default: bool = _MISSING) -> bool:
        return bool(self._typed(key, (bool, int), "true or false", default))

    def text(self, key: str, default: str = _MISSING) -> str:
        return str(self._typed(key, str, "a text", default))

    def ints(self, key: str, default: Sequence[int] = _MISSING) -> list[int]:
        """A list of integers; one integer is a list of one."""
        found = self.data.get(key, default)
        if found is _MISSING:
            raise InvalidGraphError(f"{self!r} has no {key!r} in its configuration")
        items: Any = [found] if type(found) is int else found
        if not isinstance(items, list | tuple) or not all(
            isinstance(i, int) and not isinstance(i, bool) and abs(i) <= 2**31 for i in items
        ):
            raise InvalidGraphError(f"{self!r}: {key} is {_brief(items)}, expected integers")
        return list(items)

    def sizes(self, key: str, rank: int, default: int | None = None) -> list[int]:
        """A size for each of ``rank`` axes, all 1 or more; one integer stands for all."""
        found = self.data.get(key)
        given = default if found is None else found
        items: Any = [given] * rank if isinstance(given, int) else given
        known = isinstance(items, list | tuple) and len(items) == rank
        if not known or not all(type(i) is int and 1 <= i < 2**31 for i in items):
            raise InvalidGraphError(
                f"{self!r}: {key} is {_brief(found)}, expected {rank} positive integers"
            )
        return list(items)

    def choice(self, key: str, choices: Mapping[str, T], default: str = _MISSING) -> T:
        """What ``choices`` has for the text of ``key``."""
        found = self.text(key, default)
        if found not in choices:
            raise UnsupportedError(
                f"{self.class_name} with {key} {found!r} (supported: {', '.join(choices)})"
            )
        return choices[found]


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
