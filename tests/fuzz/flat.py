"""Mutations of a ``.tflite`` file that know where its numbers, offsets and vectors lie."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from octolite.tflite import layout

EXTREMES = (
    0, 1, 2, 3, -1, -2, 7, 64, 127, 128, -128, 255, 32767, -32768, 65535, 10**5, 2**24, 2**30,
    2**31 - 1, -(2**31), 2**31, 2**32 - 1, 2**63 - 1, -(2**63),
)  # fmt: skip


class Place(NamedTuple):
    """A number of ``size`` bytes, an offset, or a vector of ``count`` elements, at byte ``at``."""

    kind: str
    at: int
    size: int
    count: int = 0
    name: str = ""


def places(content: bytes) -> list[Place]:
    """All that a whole file holds, by the format's tables."""
    found: list[Place] = []
    _table(content, "Model", struct.unpack_from("<I", content)[0], found)
    return found


def _table(content: bytes, name: str, at: int, found: list[Place]) -> None:
    listed = at - struct.unpack_from("<i", content, at)[0]
    length = struct.unpack_from("<H", content, listed)[0]
    offsets = struct.unpack_from(f"<{length // 2 - 2}H", content, listed + 4)
    found.append(Place("listed", listed, 2, length // 2))
    for number, (field, offset) in enumerate(zip(layout.fields_of(name), offsets, strict=False)):
        if not offset:
            continue
        here = at + offset
        if field.kind == "number":
            found.append(Place("number", here, field.size, name=field.name))
            continue
        target = here + struct.unpack_from("<I", content, here)[0]
        found.append(Place("offset", here, 4, name=field.name))
        if field.kind == "table":
            _table(content, field.of, target, found)
        elif field.kind == "union":
            kind = content[at + offsets[number - 1]] if offsets[number - 1] else 0
            if kind in layout.members(field.of):
                _table(content, layout.members(field.of)[kind], target, found)
        else:
            count = struct.unpack_from("<I", content, target)[0]
            found.append(Place("vector", target, field.size, count, field.name))
            for index in range(count if field.kind == "tables" else 0):
                item = target + 4 + 4 * index
                found.append(Place("offset", item, 4, name=field.name))
                _table(content, field.of, item + struct.unpack_from("<I", content, item)[0], found)


def mutate(content: bytes, rng: Random) -> bytes:
    """A mutant: the file with one to four changes."""
    out = bytearray(content)
    known = places(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        rng.choice(MUTATIONS)(out, known, rng)
    return bytes(out)


def _number(rng: Random, old: int) -> int:
    return rng.choice((rng.choice(EXTREMES), old + rng.choice((-1, 1)), rng.randrange(16), old * 2))


def _put(out: bytearray, at: int, size: int, value: int) -> None:
    if at + size <= len(out):
        out[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, "little")


def _pick(known: list[Place], rng: Random, *kinds: str) -> Place:
    return rng.choice([p for p in known if p.kind in kinds])


def flip(out: bytearray, known: list[Place], rng: Random) -> None:
    """A byte anywhere."""
    out[rng.randrange(len(out))] = rng.randrange(256)


def flip_near(out: bytearray, known: list[Place], rng: Random) -> None:
    """A bit of a table or a list of fields."""
    at = rng.choice(known).at + rng.randrange(4)
    if at < len(out):
        out[at] ^= 1 << rng.randrange(8)


def number(out: bytearray, known: list[Place], rng: Random) -> None:
    """A field's value."""
    place = _pick(known, rng, "number")
    old = int.from_bytes(out[place.at : place.at + place.size], "little", signed=True)
    _put(out, place.at, place.size, _number(rng, old))


def element(out: bytearray, known: list[Place], rng: Random) -> None:
    """An element of a vector: an extent, an index, a weight."""
    vectors = [p for p in known if p.kind == "vector" and p.count]
    # Small vectors say more about a model than weights do.
    place = min(rng.sample(vectors, min(3, len(vectors))), key=lambda p: p.count)
    size = rng.choice((4, 8)) if place.size == 1 and place.name == "data" else place.size
    at = place.at + 4 + size * rng.randrange(max(1, place.count * place.size // size))
    old = int.from_bytes(out[at : at + size], "little", signed=True)
    _put(out, at, size, _number(rng, old))


def count(out: bytearray, known: list[Place], rng: Random) -> None:
    """How many elements a vector claims."""
    place = _pick(known, rng, "vector")
    _put(out, place.at, 4, _number(rng, place.count))


def drop(out: bytearray, known: list[Place], rng: Random) -> None:
    """An element taken out of a vector."""
    place = _pick(known, rng, "vector")
    if place.count:
        gone = place.at + 4 + place.size * rng.randrange(place.count)
        end = place.at + 4 + place.size * place.count
        out[gone : end - place.size] = out[gone + place.size : end]
        _put(out, place.at, 4, place.count - 1)


def repeat(out: bytearray, known: list[Place], rng: Random) -> None:
    """An element in the place of another; offsets are kept right."""
    place = _pick(known, rng, "vector")
    if place.count > 1:
        source, target = (place.at + 4 + place.size * i for i in rng.sample(range(place.count), 2))
        value = int.from_bytes(out[source : source + place.size], "little")
        is_offset = any(p.at == source and p.kind == "offset" for p in known)
        _put(out, target, place.size, value + (source - target if is_offset else 0))


def rearrange(out: bytearray, known: list[Place], rng: Random) -> None:
    """A tensor's extents in another order, or as others with the same product."""
    shapes = [p for p in known if p.kind == "vector" and p.name == "shape" and p.count]
    if not shapes:
        return
    place = rng.choice(shapes)
    if place.at + 4 + 4 * place.count > len(out):  # it has been cut off
        return
    extents = list(struct.unpack_from(f"<{place.count}i", out, place.at + 4))
    rng.shuffle(extents)
    if place.count > 1 and rng.random() < 0.6:
        one, other = rng.sample(range(place.count), 2)
        extents[one], extents[other] = extents[one] * extents[other] % 2**31, 1
    struct.pack_into(f"<{place.count}i", out, place.at + 4, *extents)


def redirect(out: bytearray, known: list[Place], rng: Random) -> None:
    """An offset to what another one leads to."""
    one, other = _pick(known, rng, "offset"), _pick(known, rng, "offset")
    if rng.random() < 0.5:
        same = [p for p in known if p.kind == "offset" and p.name == one.name]
        other = rng.choice(same)
    _put(out, one.at, 4, other.at + int.from_bytes(out[other.at : other.at + 4], "little") - one.at)


def lead_astray(out: bytearray, known: list[Place], rng: Random) -> None:
    """An offset to anywhere."""
    place = _pick(known, rng, "offset")
    _put(out, place.at, 4, rng.choice((rng.choice(EXTREMES), rng.randrange(len(out)))))


def extend(out: bytearray, known: list[Place], rng: Random) -> None:
    """A longer vector behind the end of the file."""
    place = _pick(known, rng, "offset")
    target = place.at + int.from_bytes(out[place.at : place.at + 4], "little")
    vector = next((p for p in known if p.kind == "vector" and p.at == target), None)
    if vector is None or vector.count * vector.size > 1 << 16:
        return
    items = bytes(out[target + 4 : target + 4 + vector.count * vector.size])
    more = rng.choice((items, items[: vector.size], bytes(vector.size * rng.choice((1, 2, 40)))))
    out += bytes(-len(out) % 8 + 4)
    _put(out, place.at, 4, len(out) - place.at)
    out += (vector.count + len(more) // vector.size).to_bytes(4, "little") + items + more


def cut(out: bytearray, known: list[Place], rng: Random) -> None:
    """The end of the file gone."""
    if len(out) > 16:
        del out[rng.randrange(len(out)) :]
        out.extend(bytes(16 - len(out)) if len(out) < 16 else b"")


MUTATIONS: tuple[Callable[[bytearray, list[Place], Random], None], ...] = (
    flip, flip_near, *[number] * 5, *[element] * 6, count, *[drop] * 2, *[repeat] * 3,
    *[rearrange] * 3, *[redirect] * 3, lead_astray, *[extend] * 2, cut,
)  # fmt: skip
"""Those that a verifier sees at once are rarer than those that it lets pass."""
