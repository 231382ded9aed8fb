"""What has been measured, in a file that outlives an interrupted search."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from octolite.errors import UsageError


class Memory:
    """Measured numbers by name. A search that asks for them in the same order goes on where it was.

    Args:
        path: the file; what is measured is kept in memory alone when ``None``.
        settings: what the numbers depend on; those of other settings are refused.
        restart: forget what the file holds.

    Raises :class:`UsageError` for a file that is something else, or of other settings.
    """

    def __init__(
        self, path: Path | None, settings: Mapping[str, Any], restart: bool = False
    ) -> None:
        self.path = path
        self.settings = json.loads(json.dumps(settings))
        self.numbers: dict[str, float] = {}
        self.measured = 0
        if path is not None and path.exists() and not restart:
            self.numbers = self._read(path)

    def _read(self, path: Path) -> dict[str, float]:
        try:
            held = json.loads(path.read_text("utf-8"))
            settings, numbers = held["settings"], held["numbers"]
            found = {str(key): float(value) for key, value in numbers.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(
                f"{path} is not what a search wrote ({error}); give another file, or restart"
            ) from None
        changed = sorted(
            key
            for key in {*settings, *self.settings}
            if settings.get(key) != self.settings.get(key)
        )
        if changed:
            raise UsageError(
                f"{path} is of another search: {', '.join(changed)} differ; give another file, or "
                "restart"
            )
        return found

    def recall(self, name: str, measure: Callable[[], float]) -> float:
        """The number called ``name``, measured if it is not known."""
        if name not in self.numbers:
            self.numbers[name] = float(measure())
            self.measured += 1
            if self.path is not None:
                held = {"settings": self.settings, "numbers": self.numbers}
                write_whole(self.path, json.dumps(held, indent=1).encode())
        return self.numbers[name]


def write_whole(path: Path, content: bytes) -> None:
    """Write beside, then rename: the file is there whole or not at all.

    Raises :class:`UsageError` when the place cannot be written.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
