"""Mutations of a ``GraphDef``: of the tree of messages that it is, or of its bytes."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from google.protobuf import message_factory

from octolite.frontends import proto
from tests.fuzz.flat import EXTREMES

_BLANK: dict[int, Any] = {1: 0.0, 2: 0.0, 8: False, 9: "", 12: b""}
"""What elements of lists are made from, by the type's number in a descriptor."""


def mutate(content: bytes, rng: Random) -> bytes:
    """A mutant: the graph with one to four changes."""
    graph = proto.GraphDef.FromString(content)
    messages = list(_messages(graph))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        _change(rng.choice(messages), messages, rng)
    out = bytearray(graph.SerializeToString(deterministic=True))
    if out and rng.random() < 0.15:
        for _ in range(rng.choice((1, 1, 4))):
            out[rng.randrange(len(out))] = rng.randrange(256)
    if rng.random() < 0.02:
        del out[rng.randrange(len(out) or 1) :]
    return bytes(out)


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if _is_map(field):
            if field.message_type.fields_by_name["value"].message_type:
                for key in sorted(value):
                    yield from _messages(value[key])
        else:
            for item in value if _is_repeated(value) else (value,):
                yield from _messages(item)


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _is_repeated(value: Any) -> bool:
    return hasattr(value, "append") or hasattr(value, "add")


def _change(message: Any, messages: list[Any], rng: Random) -> None:
    present = [f for f, _ in message.ListFields()]
    fields = present if present and rng.random() < 0.85 else message.DESCRIPTOR.fields
    if not fields:
        return
    field = rng.choice(list(fields))
    value = getattr(message, field.name)
    if rng.random() < 0.05:
        message.ClearField(field.name)
    elif _is_map(field):
        _change_map(field, value, messages, rng)
    elif _is_repeated(value):
        _change_list(field, value, messages, rng)
    elif field.message_type is not None:
        value.CopyFrom(_another(field.message_type, messages, rng))
    else:
        setattr(message, field.name, _scalar(field, value, messages, rng))


def _another(kind: Any, messages: list[Any], rng: Random) -> Any:
    """A message of the same type from elsewhere in the graph."""
    alike = [m for m in messages if m.DESCRIPTOR is kind]
    copy = message_factory.GetMessageClass(kind)()
    if alike:
        copy.CopyFrom(rng.choice(alike))
    return copy


def _change_map(field: Any, entries: Any, messages: list[Any], rng: Random) -> None:
    keys = sorted(entries)
    kind = field.message_type.fields_by_name["value"].message_type
    if not keys:
        return
    one, other = rng.choice(keys), rng.choice(keys)
    if rng.random() < 0.3:
        del entries[one]
    elif kind is None:
        entries[one] = rng.choice((entries[other], "", "x:y:z", entries[one] + ":9999999"))
    else:
        entries[one].CopyFrom(_another(kind, messages, rng))


def _change_list(field: Any, items: Any, messages: list[Any], rng: Random) -> None:
    index = rng.randrange(len(items)) if items else 0
    choice = rng.randrange(4)
    if choice == 0 and items:
        del items[index]
    elif field.message_type is not None:
        if items and choice == 1:
            items[index].CopyFrom(_another(field.message_type, messages, rng))
        else:
            items.append(_another(field.message_type, messages, rng))
    elif items and choice == 1:
        items[index] = _scalar(field, items[index], messages, rng)
    elif items and choice == 2:
        other = rng.randrange(len(items))
        items[index], items[other] = items[other], items[index]
    else:
        old = items[index] if items else _BLANK.get(field.type, 0)
        items.extend([_scalar(field, old, messages, rng)])


def _scalar(field: Any, old: Any, messages: list[Any], rng: Random) -> Any:
    if isinstance(old, bool):
        return not old
    if isinstance(old, float):
        return rng.choice((0.0, -1.0, 1e38, -1e-30, float("nan"), float("inf"), old * 2))
    if isinstance(old, int):
        return _integer(field, old, rng)
    if isinstance(old, bytes):
        return rng.choice(
            (b"", old[:-1], old + old, old + b"\0", bytes(1000), b"NCHW", b"\xff\xfe")
        )
    texts = [m.name for m in messages if m.DESCRIPTOR.name in ("NodeDef", "OpDef")]
    texts += [m.op for m in messages if m.DESCRIPTOR.name == "NodeDef"]
    texts += [f"{old}:1", f"^{old}", "", f"{old}:99999999999", old + "x", ":", "^"]
    return rng.choice(texts)


def _integer(field: Any, old: int, rng: Random) -> int:
    """A number that the field can hold."""
    new = rng.choice((rng.choice(EXTREMES), old + rng.choice((-1, 1)), rng.randrange(32)))
    if field.enum_type is not None:
        return rng.randrange(32)
    bits = 64 if field.type in (field.TYPE_INT64, field.TYPE_UINT64) else 32
    if field.type in (field.TYPE_UINT32, field.TYPE_UINT64):
        return int(new % 2**bits)
    return int((new + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1))
