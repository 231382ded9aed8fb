"""Where a file has the weights of each layer, in either way in which Keras lays them out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from octolite.errors import InvalidGraphError
from octolite.frontends.keras.archive import Archive, Dataset, child, guarded, has, names
from octolite.frontends.keras.engine import Layer, Weight

RENAMED = {"GroupQueryAttention": "GroupedQueryAttention"}
"""Classes that have another name in Python than in files."""


def assign(archive: Archive, root: Layer) -> None:
    """Let each layer know its weights.

    Raises :class:`InvalidGraphError` where a layer has another number of them.
    """
    place = _place_legacy if archive.legacy else _place
    guarded(lambda: place(archive, root))


def _stored(archive: Archive, layer: Layer, weight: Weight, path: str) -> Dataset:
    try:
        return Dataset(child(archive.weights, path), path, archive.spare)
    except InvalidGraphError as error:
        raise InvalidGraphError(f"{layer!r}, weight {weight.name!r}: {error}") from None


# -- Keras 2: a list for each layer of the model ----------------------------------------------


def _place_legacy(archive: Archive, root: Layer) -> None:
    layers = root.parts.get("layers", [])
    for layer in layers if isinstance(layers, list) else []:
        wanted = _in_order(layer)
        if any(inner.entry is None for inner in layer.everything()):
            continue  # which is reported with all others
        stored: list[tuple[str, str]] = []
        if has(archive.weights, layer.name):
            group = child(archive.weights, layer.name)
            stored = [(name, f"{layer.name}/{name}") for name in names(group, "weight_names")]
        if len(stored) != len(wanted):
            raise InvalidGraphError(
                f"{layer!r} has {len(stored)} weights in the file, expected {len(wanted)}: "
                + ", ".join(f"{owner.name}/{w.name}" for owner, w in wanted)
            )
        for (owner, weight), (_, path) in zip(wanted, stored, strict=True):
            owner.stored[weight.name] = _stored(archive, owner, weight, path)


def _in_order(layer: Layer) -> list[tuple[Layer, Weight]]:
    """Weights of a layer and of all inside: those that are trained first."""
    found = list(_with_training(layer, True))
    return [(o, w) for o, w, t in found if t] + [(o, w) for o, w, t in found if not t]


def _with_training(layer: Layer, trained: bool) -> Iterator[tuple[Layer, Weight, bool]]:
    trained = trained and layer.flag("trainable", True)
    for weight in layer.weights:
        yield layer, weight, trained and weight.trained
    for part in layer.parts.values():
        for inner in part if isinstance(part, list) else [part]:
            yield from _with_training(inner, trained)


# -- Keras 3: a group for each layer, within that of what it lies in --------------------------


def _place(archive: Archive, layer: Layer, base: str = "") -> None:
    counts: Counter[str] = Counter()
    for weight in layer.weights:
        part = weight.name.rpartition("/")[0]
        group = _group(archive, base, part)
        path = f"{group}vars/{counts[part]}"
        counts[part] += 1
        layer.stored[weight.name] = _stored(archive, layer, weight, path)
    for attribute, part_of in layer.parts.items():
        if isinstance(part_of, list):
            for name, inner in zip(container_names(part_of), part_of, strict=True):
                if name is not None:
                    _place(archive, inner, f"{base}{attribute}/{name}/")
        else:
            _place(archive, part_of, f"{base}{attribute}/")


def _group(archive: Archive, base: str, part: str) -> str:
    """The group of a layer's part, whose attribute may be private."""
    if not part:
        return base
    private = base + "/".join(f"_{p}" for p in part.split("/")) + "/"
    return private if has(archive.weights, private.rstrip("/")) else f"{base}{part}/"


def container_names(layers: Sequence[Layer]) -> list[str | None]:
    """What a list of layers is called in the file: after their classes, numbered."""
    found: list[str | None] = []
    used: Counter[str] = Counter()
    for layer in layers:
        if layer.names[-1].startswith("ops."):
            found.append(None)  # an operation, which has no state
            continue
        name = snake_case(RENAMED.get(layer.class_name, layer.class_name))
        found.append(f"{name}_{used[name]}" if used[name] else name)
        used[name] += 1
    return found


def snake_case(name: str) -> str:
    """``LayerNormalization`` → ``layer_normalization``, as Keras does it."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
