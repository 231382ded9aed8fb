"""Preprocessing that is part of a model: of numbers, images and categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from octolite.errors import InvalidGraphError, UnsupportedError
from octolite.frontends.keras.engine import Call, layer
from octolite.frontends.keras.images import is_channels_first
from octolite.frontends.keras.inputs import dtype_of
from octolite.ir.graph import Value
from octolite.ir.types import INT32, INT64, STRING, Array

EPSILON = 1e-7


def _numbers(n: Call, key: str, default: float = 0.0) -> Array:
    """A number or a list of them."""
    found = n.get(key, default)
    try:
        return np.asarray(found, np.float32)
    except (TypeError, ValueError):
        raise InvalidGraphError(f"{n.layer!r}: {key} is {found!r}, expected numbers") from None


@layer("Rescaling", masks="kept")
def rescaling(n: Call, x: Value) -> Value:
    """A factor and an offset, or one for each channel."""
    y = n.op("MUL", n.real(x), _numbers(n, "scale", 1.0))
    offset = _numbers(n, "offset")
    return n.op("ADD", y, offset) if offset.any() else y


@layer("Normalization", weights="mean?!mean~ variance?!mean~ count?!mean~", masks="kept")
def normalization(n: Call, x: Value) -> Value:
    """By the mean and variance that it has been adapted to or given."""
    x = n.real(x)
    given = n.get("axis", -1)
    axes = [] if given is None else given if isinstance(given, list) else [given]
    kept = sorted(n.axis(x, a) for a in axes)
    found = []
    for name in ("mean", "variance"):
        array = _numbers(n, name) if n.has("mean") else n.array(n.weight(name), name)
        shape = [1] * n.rank(x)
        for axis, extent in zip(reversed(kept), reversed(array.shape), strict=False):
            shape[axis] = extent
        found.append(array.reshape(shape).astype(np.float32))
    deviation = np.maximum(np.sqrt(found[1]), np.float32(EPSILON))
    if n.flag("invert", False):
        return n.op("ADD", n.op("MUL", x, deviation), found[0])
    return n.op("DIV", n.op("SUB", x, found[0]), deviation)


# -- images -----------------------------------------------------------------------------------


class _Picture:
    """An image or a batch of them, as a batch with channels last."""

    def __init__(self, n: Call, x: Value) -> None:
        self.n, self.single, self.first = n, n.rank(x) == 3, is_channels_first(n)
        self.x = n.expand(n.real(x), 0) if self.single else n.real(x)
        self.x = n.transpose(self.x, (0, 2, 3, 1)) if self.first else self.x
        self.size = n.extent(self.x, 1), n.extent(self.x, 2)

    def result(self, y: Value) -> Value:
        y = self.n.transpose(y, (0, 3, 1, 2)) if self.first else y
        return self.n.op("SQUEEZE", y, squeeze_dims=(0,)) if self.single else y

    def crop(self, top: int, left: int, height: int, width: int) -> Value:
        return self.n.op("SLICE", self.x, [0, top, left, 0], [-1, height, width, -1])


def _resized(n: Call, x: Value, size: tuple[int, int], kind: str) -> Value:
    operators = {"nearest": "RESIZE_NEAREST_NEIGHBOR", "bilinear": "RESIZE_BILINEAR"}
    if kind not in operators:
        raise UnsupportedError(f"{n.op_type} with interpolation {kind!r}")
    return n.op(operators[kind], x, list(size), half_pixel_centers=True)


@layer("Resizing")
def resizing(n: Call, x: Value) -> Value:
    """To the nearest element or between neighbours; cut or padded to keep the aspect ratio."""
    picture, size = _Picture(n, x), (n.count("height"), n.count("width"))
    if n.flag("antialias", False):
        raise UnsupportedError("Resizing with antialias")
    (height, width), image = picture.size, picture.x
    if n.flag("crop_to_aspect_ratio", False):
        high = max(1, min(height, int(width * size[0] / size[1])))
        wide = max(1, min(width, int(height * size[1] / size[0])))
        image = picture.crop((height - high) // 2, (width - wide) // 2, high, wide)
    elif n.flag("pad_to_aspect_ratio", False):
        high = max(height, int(width * size[0] / size[1]))
        wide = max(width, int(height * size[1] / size[0]))
        top, left = (high - height) // 2, (wide - width) // 2
        borders = [[0, 0], [top, top], [left, left], [0, 0]]  # an odd row is left out, as in Keras
        image = n.op("PADV2", image, np.asarray(borders, np.int32), n.number("fill_value", 0.0))
    return picture.result(_resized(n, image, size, n.text("interpolation", "bilinear").lower()))


@layer("CenterCrop")
def center_crop(n: Call, x: Value) -> Value:
    """An image that is smaller is enlarged first."""
    picture, (high, wide) = _Picture(n, x), (n.count("height"), n.count("width"))
    height, width = picture.size
    if height >= high and width >= wide:
        return picture.result(picture.crop((height - high) // 2, (width - wide) // 2, high, wide))
    tall = max(1, min(height, int(width * high / wide)))
    broad = max(1, min(width, int(height * wide / high)))
    image = picture.crop((height - tall) // 2, (width - broad) // 2, tall, broad)
    return picture.result(_resized(n, image, (high, wide), "bilinear"))


# -- categories -------------------------------------------------------------------------------


def encoded(n: Call, ids: Value, depth: int, mode: str, weights: Value | None = None) -> Value:
    """Ids as ``mode`` has it: the numbers, or float vectors of ``depth``."""
    if mode == "int":
        return n.cast(ids, dtype_of(n.layer) if _whole(n) else INT64)
    if mode not in ("one_hot", "multi_hot", "count"):
        raise UnsupportedError(f"{n.op_type} with output_mode {mode!r}")
    ids = n.cast(ids, INT32)
    last = n.rank(ids) - 1
    if mode == "one_hot" and n.rank(ids) > 1 and n.shape(ids)[-1] == 1:
        ids = n.op("SQUEEZE", ids, squeeze_dims=(last,))
    hot = n.op("ONE_HOT", ids, *_hot(depth), axis=-1)
    if mode == "one_hot" or n.rank(ids) == 1:
        return hot
    if mode == "multi_hot":
        return n.op("REDUCE_MAX", hot, [last], keep_dims=False)
    if weights is not None:
        hot = n.op("MUL", hot, n.expand(n.real(weights), last + 1))
    return n.op("SUM", hot, [last], keep_dims=False)


def _hot(depth: int) -> tuple[Array, Array, Array]:
    return np.asarray(depth, np.int32), np.asarray(1, np.float32), np.asarray(0, np.float32)


def _whole(n: Call) -> bool:
    found = n.get("dtype")
    name = found.get("config", {}).get("name") if isinstance(found, dict) else found
    return name in ("int32", "int64")


@layer("CategoryEncoding")
def category_encoding(n: Call, x: Value, count_weights: Value | None = None) -> Value:
    """one_hot, multi_hot and count."""
    return encoded(n, x, n.count("num_tokens"), n.text("output_mode", "multi_hot"), count_weights)


@layer("Discretization")
def discretization(n: Call, x: Value) -> Value:
    """Into bins whose boundaries are in the configuration."""
    limits = n.get("bin_boundaries")
    if not isinstance(limits, list) or not limits:
        raise UnsupportedError("Discretization whose configuration holds no bin_boundaries")
    bounds = tuple(float(b) for b in _numbers(n, "bin_boundaries"))
    ids = n.op("BUCKETIZE", n.real(x), boundaries=bounds)
    return encoded(n, ids, len(bounds) + 1, n.text("output_mode", "int"))


@layer("IntegerLookup", "StringLookup")
def lookup(n: Call, x: Value) -> Value:
    """Of a vocabulary in the configuration, with at most one index for what is not in it."""
    words = n.get("vocabulary")
    if not isinstance(words, list) or not words:
        raise UnsupportedError(
            f"{n.op_type} whose configuration holds no vocabulary: give it when the layer is made"
        )
    strange = n.integer("num_oov_indices", 1)
    if strange > 1:
        raise UnsupportedError(f"{n.op_type} that spreads unknown words over {strange} indices")
    masked = n.get("mask_token") is not None
    if masked and words[0] == n.get("mask_token"):
        words = words[1:]
    if strange and words[:1] == [n.get("oov_token")]:
        words = words[1:]
    first = strange + masked
    default = int(masked) if strange else -1
    keys = ([n.get("mask_token")] if masked else []) + words
    places = ([0] if masked else []) + list(range(first, first + len(words)))
    text = n.op_type == "StringLookup"
    if n.flag("invert", False):
        return _inverse(n, x, keys, places, text)
    find = _find_text if text else _find_number
    ids = find(n, x, keys, places, default)
    mode = n.text("output_mode", "int")
    return encoded(n, ids, first + len(words), mode)


def _find_number(
    n: Call, x: Value, keys: Sequence[Any], places: Sequence[int], default: int
) -> Value:
    """The place of each number: a sum over those that are equal, of which there is one at most."""
    wide = n.expand(x if x.dtype is INT64 else n.cast(x, INT32), n.rank(x))
    known = np.asarray(keys, np.int64).astype(wide.dtype.numpy)
    equal = n.cast(n.op("EQUAL", wide, known), INT32)
    offsets = np.asarray(places, np.int32) - np.int32(default)
    found = n.op("SUM", n.op("MUL", equal, offsets), [n.rank(x)], keep_dims=False)
    return n.op("ADD", found, default)


def _find_text(
    n: Call, x: Value, keys: Sequence[Any], places: Sequence[int], default: int
) -> Value:
    words = np.asarray([str(k).encode() for k in keys], np.object_)
    return _table(n, x, STRING, INT64, words, np.asarray(places, np.int64), np.int64(default))


def _table(n: Call, x: Value, of: Any, to: Any, keys: Array, values: Array, default: Any) -> Value:
    """What a hash table that is filled once has for each element of ``x``."""
    identity = len(n.target.names)
    make = {"table_id": identity, "key_dtype": of, "value_dtype": to}
    inner = n.nested("init")
    inner.ops("HASHTABLE_IMPORT", inner.op("HASHTABLE", **make), keys, values)
    inner.graph.outputs = []
    n.ops("CALL_ONCE", init=inner.graph)
    handle = n.op("HASHTABLE", **make)
    return n.op("HASHTABLE_FIND", handle, x, n.constant(np.asarray(default)))


def _inverse(n: Call, x: Value, keys: Sequence[Any], places: Sequence[int], text: bool) -> Value:
    if text:
        words = np.asarray([str(k).encode() for k in keys], np.object_)
        unknown = np.asarray([str(n.get("oov_token", "[UNK]")).encode()], np.object_).reshape(())
        places_ = np.asarray(places, np.int64)
        return _table(n, n.cast(x, INT64), INT64, STRING, places_, words, unknown)
    table = np.full(max(places) + 1, n.integer("oov_token", -1), np.int64)
    table[list(places)] = keys
    return n.op("GATHER", n.constant(table), n.cast(x, INT32), axis=0)
