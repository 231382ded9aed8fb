"""What of a model's file is to be converted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Selection:
    """What kind of model a source is, and which part of it is meant: all of it, unless said.

    Attributes:
        input_arrays: names of the inputs; the Placeholders when ``None``.
        output_arrays: names of the outputs; the nodes that nothing consumes when ``None``.
        input_shapes: extents by input name, -1 or ``None`` for one that stays open.
        tags: of the MetaGraph in a SavedModel; ``["serve"]`` when ``None``.
        signature: the one to convert; all when ``None``.
        allow_custom_ops: keep TensorFlow's operators that are not known as custom operators of
            the same name, their attributes as options; whoever runs the file defines them.
        kind: the name of one of ``octolite.api.KINDS``, which the source is to be; found by
            looking when ``None``.
    """

    input_arrays: Sequence[str] | None = None
    output_arrays: Sequence[str] | None = None
    input_shapes: Mapping[str, Sequence[int | None]] | None = None
    tags: Sequence[str] | None = None
    signature: str | None = None
    allow_custom_ops: bool = False
    kind: str | None = None

    def options(self) -> dict[str, Any]:
        """What is said, by name, for the reader of a kind of model."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "kind"}
        return {name: value for name, value in values.items() if value not in (None, False)}
