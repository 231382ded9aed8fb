"""Drawings of a conversion under way, as numbered files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from octolite.cli.console import write_file
from octolite.errors import UsageError

if TYPE_CHECKING:
    from octolite.ir.graph import Model

READ, WRITTEN = "as it was read", "as it is written"
"""What ``octolite.api`` calls the first and the last state of a model."""


@dataclass
class Pictures:
    """Draws into ``folder`` what it is told of: ``000-as-it-was-read.dot`` and so on.

    Attributes:
        only: the names of the states that are drawn; all when ``None``.
    """

    folder: Path
    only: Iterable[str] | None = None
    _count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot draw into {self.folder}: {error.strerror}") from None

    def draw(self, name: str, model: Model) -> None:
        """Draw ``model``, whose state is called so. Raises :class:`UsageError` when it cannot."""
        if self.only is not None and name not in self.only:
            return
        from octolite.drawing import dot

        slug = re.sub(r"[^a-z0-9]+", "-", _words(name).lower()).strip("-")
        write_file(self.folder / f"{self._count:03}-{slug}.dot", dot(model).encode())
        self._count += 1


def _words(name: str) -> str:
    """``FuseBias`` → ``Fuse Bias``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
