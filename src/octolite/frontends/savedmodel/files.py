"""The files of a model with variables: a SavedModel's folder, or a checkpoint and MetaGraph."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from octolite.errors import FormatError, UsageError
from octolite.frontends.savedmodel import proto
from octolite.frontends.savedmodel.bundle import Bundle, index_of

BINARY, TEXT = "saved_model.pb", "saved_model.pbtxt"
SERVE = ("serve",)
_ASSETS = "saved_model_assets"
_ASSET_LIMIT = 1 << 28
"""Bytes that an asset may have."""


@dataclass(frozen=True)
class Files:
    """A MetaGraph, with where its checkpoint and its assets lie."""

    meta_graph: Any
    checkpoint: Path
    assets: Path

    def bundle(self) -> Bundle | None:
        """The checkpoint; ``None`` when there is none and the model restores nothing."""
        restores = self.meta_graph.saver_def.restore_op_name
        if not restores and not index_of(self.checkpoint).exists():
            return None
        return Bundle.open(self.checkpoint)

    def asset(self, tensor: str) -> bytes:
        """The contents of the file that the node ``tensor`` names."""
        for entry in self._assets():
            if entry.tensor_info.name.rpartition(":")[0] == tensor:
                return self._asset(entry.filename)
        raise FormatError(f"node {tensor!r} names a file, which the model's list of assets lacks")

    def _assets(self) -> list[Any]:
        """What the model says of its assets; TensorFlow 1 does so in a collection."""
        packed = self.meta_graph.collection_def.get(_ASSETS)
        try:
            old = (
                [proto.AssetFileDef.FromString(a.value) for a in packed.any_list.value]
                if packed
                else []
            )
        except DecodeError as error:
            raise FormatError(f"the collection {_ASSETS!r} is damaged ({error})") from None
        return [*self.meta_graph.asset_file_def, *old]

    def _asset(self, name: str) -> bytes:
        path = self.assets / name
        if self.assets.resolve() not in path.resolve().parents:
            raise FormatError(f"the asset {name!r} lies outside the model's folder {self.assets}")
        try:
            if path.stat().st_size > _ASSET_LIMIT:
                raise FormatError(
                    f"the asset {str(path)!r} is larger than {_ASSET_LIMIT >> 20} MiB"
                )
            return path.read_bytes()
        except OSError as error:
            raise FormatError(f"the asset {str(path)!r} cannot be read: {error.strerror}") from None


def is_saved_model(path: Path | None, head: bytes = b"") -> bool:
    """Whether a path is a SavedModel: its folder, or the file in it."""
    if path is None:
        return False
    if path.name in (BINARY, TEXT):
        return True
    return any((path / name).is_file() for name in (BINARY, TEXT))


def is_meta_graph(path: Path | None, head: bytes = b"") -> bool:
    """Whether a path is a MetaGraph file beside a checkpoint."""
    return path is not None and path.name.endswith(".meta")


def open_saved_model(source: str | os.PathLike[str], tags: Sequence[str] | None) -> Files:
    """The MetaGraph of a SavedModel that has exactly these tags, ``serve`` when ``None``."""
    path = Path(source)
    folder = path.parent if path.name in (BINARY, TEXT) else path
    file = path if path != folder else folder / BINARY
    if not file.is_file():
        file = folder / TEXT
    message = _message(proto.SavedModel, file)
    wanted = _tag_set(SERVE if tags is None else tags)
    found = [set(m.meta_info_def.tags) for m in message.meta_graphs]
    if wanted not in found:
        sets = "; ".join(",".join(sorted(tags)) or "(no tags)" for tags in found) or "none"
        raise UsageError(
            f"the SavedModel {str(folder)!r} has no MetaGraph with the tags "
            f"{','.join(sorted(wanted)) or '(none)'}; its tag sets are: {sets}"
        )
    meta_graph = message.meta_graphs[found.index(wanted)]
    return Files(meta_graph, folder / "variables" / "variables", folder / "assets")


def open_meta_graph(source: str | os.PathLike[str]) -> Files:
    """The MetaGraph in ``NAME.meta``, whose checkpoint is ``NAME.index`` and ``NAME.data-…``."""
    path = Path(source)
    checkpoint = path.with_name(path.name.removesuffix(".meta"))
    return Files(_message(proto.MetaGraphDef, path), checkpoint, path.parent)


def _tag_set(tags: Sequence[str]) -> set[str]:
    if isinstance(tags, str):
        raise UsageError(f"tags are a list of names, not the text {tags!r}")
    return set(tags)


def _message(kind: Any, path: Path) -> Any:
    """The message in a file, binary or text."""
    name = kind.DESCRIPTOR.name
    try:
        data = path.read_bytes()
        message = _text(kind, data) if path.suffix == ".pbtxt" else kind.FromString(data)
    except OSError as error:
        raise FormatError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    except (DecodeError, ValueError, RecursionError) as error:
        raise FormatError(f"{str(path)!r} is no {name}, or damaged ({error})") from None
    if not message.ListFields():
        raise FormatError(f"{str(path)!r} is no {name}: it is empty")
    return message


def _text(kind: Any, data: bytes) -> Any:
    from google.protobuf import text_format  # slow to import, and seldom needed

    try:
        return text_format.Parse(data.decode(), kind(), allow_unknown_field=True)
    except text_format.ParseError as error:
        raise ValueError(error) from None
